//! The completion queue: the serving side fills slots, the program reaps them.
//!
//! ```text
//! serving side                                program
//!   head.load(Acquire)  ◄───────────────┐       tail.load(Acquire)  ◄──┐
//!   write CQE                           │       read CQE               │
//!   tail.store(Release) ────────────────┼──┐    head.store(Release) ───┼──┐
//!                                       └──┼───────────────────────────┼──┘
//!                                          └───────────────────────────┘
//! ```

use crate::memory::{Memory, ServingMemory, SharedWord};
use crate::orderings::Orderings;
use crate::primitive::Ordering::Relaxed;
use crate::sides::{ClientRing, ServingRing};
use ringer_abi::{CQ_EVENTFD_DISABLED, Cqe, CqeFlags};

/// The completion queue has no free slot: the CQE belongs into the backlog.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CqFull;

/// CQEs that are posted together. The program sees none of them before they are [published](Self::publish).
#[derive(Debug)]
pub struct CqBatch<'a, M: ServingMemory, O> {
    ring: &'a ServingRing<M, O>,
    memory: &'a M::Present,
    /// Where the next one goes.
    tail: u32,
    free: u32,
}

impl<M: ServingMemory, O: Orderings> CqBatch<'_, M, O> {
    /// Adds a CQE that has no second half, or is on a ring where all have one.
    ///
    /// # Errors
    /// [`CqFull`], as for [`cq_push`](ServingRing::cq_push).
    #[inline]
    pub fn push(&mut self, cqe: &Cqe) -> Result<(), CqFull> {
        if self.free == 0 {
            return Err(CqFull);
        }
        self.store(cqe);
        Ok(())
    }

    /// The same where there is room.
    #[inline]
    fn store(&mut self, cqe: &Cqe) {
        self.memory.store_cqe(self.tail, cqe);
        self.tail = self.tail.wrapping_add(1);
        self.free = self.free.wrapping_sub(1);
    }

    /// Shows them to the program.
    #[inline]
    pub fn publish(self) {
        self.ring.cq_publish(self.tail);
    }
}

/// The serving side. One thread at a time pushes: the holder of the completion lock.
impl<M: ServingMemory, O: Orderings> ServingRing<M, O> {
    /// Posts a CQE: writes and publishes it. `extra` is written on rings with 32-byte CQEs only.
    ///
    /// # Errors
    /// [`CqFull`] when the program has not reaped enough, or pretends to have reaped too much.
    #[inline]
    pub fn cq_push(&self, cqe: &Cqe) -> Result<(), CqFull> {
        let control = self.memory.control();
        // Relaxed: only the holder of the completion lock changes it.
        let tail = control.cq_tail.load(Relaxed);
        // A head beyond our tail makes a huge difference, and a full queue.
        let free = self.shape().cq_entries.saturating_sub(tail.wrapping_sub(self.cq_head()));
        let (fillers, slots) = self.slots_for(tail, cqe);
        if free < fillers + slots {
            if fillers > 0 && free > 0 {
                // Filler goes ahead of its CQE: in a queue of two entries both never fit at once.
                self.memory.store_cqe(tail, &Cqe::new(0, 0, CqeFlags::SKIP.bits()));
                self.cq_publish(tail.wrapping_add(fillers));
            }
            return Err(CqFull);
        }
        let mut tail = tail;
        if fillers > 0 {
            self.memory.store_cqe(tail, &Cqe::new(0, 0, CqeFlags::SKIP.bits()));
            tail = tail.wrapping_add(fillers);
        }
        self.memory.store_cqe(tail, cqe);
        self.cq_publish(tail.wrapping_add(slots));
        Ok(())
    }

    /// Posts as many of these CQEs as fit, and shows them to the program together. Returns how many.
    #[inline]
    pub fn cq_push_all(&self, cqes: &[Cqe]) -> usize {
        let memory = self.memory.present();
        if memory.shape().cqe_mixed {
            return self.cq_push_each(cqes);
        }
        let mut batch = self.cq_batch();
        let fitting = cqes.len().min(batch.free as usize);
        for cqe in &cqes[..fitting] {
            batch.store(cqe);
        }
        if fitting > 0 {
            batch.publish();
        }
        fitting
    }

    /// Begins to post CQEs together.
    #[inline]
    pub fn cq_batch(&self) -> CqBatch<'_, M, O> {
        let memory = self.memory.present();
        // Relaxed, and the free slots: as in `cq_push`.
        let tail = self.memory.control().cq_tail.load(Relaxed);
        let free = memory.shape().cq_entries.saturating_sub(tail.wrapping_sub(self.cq_head()));
        CqBatch { ring: self, memory, tail, free }
    }

    /// The same one by one: they are of different sizes.
    #[inline(never)]
    fn cq_push_each(&self, cqes: &[Cqe]) -> usize {
        cqes.iter().take_while(|cqe| self.cq_push(cqe).is_ok()).count()
    }

    /// Shows the program that the queue is filled up to `tail`.
    #[inline]
    fn cq_publish(&self, tail: u32) {
        // Partner: CQ_TAIL_LOAD in ClientRing::cq_pop.
        self.memory.word(SharedWord::CqTail).store(tail, O::CQ_TAIL_STORE);
        // After the shared tail. Partner: CQ_COUNT_LOAD in cq_tail.
        self.memory.control().cq_tail.store(tail, O::CQ_COUNT_STORE);
    }

    /// How many slots must be skipped before this CQE, and how many it takes. On a mixed ring a CQE of 32 bytes takes
    /// two that follow each other in memory.
    #[inline]
    fn slots_for(&self, tail: u32, cqe: &Cqe) -> (u32, u32) {
        if !self.shape().cqe_mixed || cqe.flags & CqeFlags::BIG.bits() == 0 {
            return (0, 1);
        }
        let last = self.shape().cq_entries - 1;
        (u32::from(tail & last == last), 2)
    }

    /// CQEs that the program has not reaped: at most the ring's size, whatever the program wrote.
    /// Callable without the lock.
    ///
    /// When this counts a CQE, the program sees it too as soon as the calling thread returns to it.
    #[inline]
    pub fn cq_ready(&self) -> u32 {
        self.cq_tail().wrapping_sub(self.cq_head()).min(self.shape().cq_entries)
    }

    /// The program's head, as it stands.
    #[inline]
    pub fn cq_head(&self) -> u32 {
        // Partner: CQ_HEAD_STORE in ClientRing::cq_pop.
        self.memory.word(SharedWord::CqHead).load(O::CQ_HEAD_LOAD)
    }

    /// Our tail: the position of the next CQE. Callable without the lock.
    #[inline]
    pub fn cq_tail(&self) -> u32 {
        // Partner: CQ_COUNT_STORE in cq_push.
        self.memory.control().cq_tail.load(O::CQ_COUNT_LOAD)
    }

    /// Counts a completion that is lost because there was no memory to keep it. Callable without the lock.
    #[inline]
    pub fn cq_count_overflow(&self) {
        self.memory.word(SharedWord::CqOverflow).fetch_add(1, Relaxed);
    }

    /// Whether the program wants no eventfd signals now.
    #[inline]
    pub fn cq_eventfd_disabled(&self) -> bool {
        self.memory.word(SharedWord::CqFlags).load(Relaxed) & CQ_EVENTFD_DISABLED != 0
    }
}

/// The program's side.
impl<M: Memory, O: Orderings> ClientRing<M, O> {
    /// CQEs to be reaped.
    #[inline]
    pub fn cq_waiting(&self) -> u32 {
        // Partner: CQ_TAIL_STORE in ServingRing::cq_push.
        self.memory.word(SharedWord::CqTail).load(O::CQ_TAIL_LOAD).wrapping_sub(self.cq_head)
    }

    /// The oldest CQE, which stays in the queue.
    #[inline]
    pub fn cq_peek(&self) -> Option<Cqe> {
        (self.cq_waiting() != 0).then(|| self.memory.load_cqe(self.cq_head))
    }

    /// Reaps the oldest CQE and gives its slot back.
    #[inline]
    pub fn cq_pop(&mut self) -> Option<Cqe> {
        let cqe = self.cq_peek()?;
        let is_mixed = self.shape().cqe_mixed;
        let takes_two = is_mixed && cqe.flags & CqeFlags::BIG.bits() != 0;
        self.cq_head = self.cq_head.wrapping_add(1 + u32::from(takes_two));
        // Partner: CQ_HEAD_LOAD in ServingRing::cq_push.
        self.memory.word(SharedWord::CqHead).store(self.cq_head, O::CQ_HEAD_STORE);
        if is_mixed && cqe.flags & CqeFlags::SKIP.bits() != 0 {
            // A filler is never followed by another one.
            return self.cq_pop();
        }
        Some(cqe)
    }

    /// Completions that the serving side lost for lack of memory.
    #[inline]
    pub fn cq_overflow(&self) -> u32 {
        self.memory.word(SharedWord::CqOverflow).load(Relaxed)
    }

    /// Asks for no eventfd signals, or for signals again.
    #[inline]
    pub fn cq_disable_eventfd(&mut self, disabled: bool) {
        let flags = if disabled { CQ_EVENTFD_DISABLED } else { 0 };
        self.memory.word(SharedWord::CqFlags).store(flags, Relaxed);
    }
}
