//! The submission queue: the program fills slots, the serving side takes them.
//!
//! ```text
//! program                                     serving side
//!   head.load(Acquire)  ◄───────────────┐       tail.load(Acquire)  ◄──┐
//!   write SQE and index                 │       read index and SQE     │
//!   tail.store(Release) ────────────────┼──┐    head.store(Release) ───┼──┐
//!                                       └──┼───────────────────────────┼──┘
//!                                          └───────────────────────────┘
//! ```

use crate::head_publication::HeadPublication;
use crate::memory::{Memory, ServingMemory, SharedWord};
use crate::orderings::Orderings;
use crate::primitive::Ordering::Relaxed;
use crate::sides::{ClientRing, ServingRing};
use ringer_abi::{SqRingFlags, Sqe};

/// What the serving side took from one position of the submission queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// A snapshot of the SQE. The slot may change from now on without any effect.
    Sqe {
        /// The entry, or the first half of a 128-byte one: no operation that is served looks at the second.
        sqe: Sqe,
    },
    /// The index was beyond the SQE array: counted in `dropped`, nothing to serve.
    Dropped,
}

/// The serving side. One thread at a time takes and publishes: the holder of the submission lock.
impl<M: ServingMemory, O: Orderings> ServingRing<M, O> {
    /// Entries that the program published and that are not yet taken: at most the ring's size,
    /// whatever the program wrote.
    #[inline]
    pub fn sq_available(&self) -> u32 {
        // Partner: SQ_TAIL_STORE in ClientRing::sq_publish.
        let tail = self.memory.word(SharedWord::SqTail).load(O::SQ_TAIL_LOAD);
        tail.wrapping_sub(self.sq_cached_head()).min(self.shape().sq_entries)
    }

    /// Begins to take entries: of those that the program has published, `most` at most.
    #[inline]
    pub fn sq_batch(&self, most: u32) -> SqBatch<'_, M, O> {
        SqBatch {
            ring: self,
            memory: self.memory.present(),
            head: self.sq_cached_head(),
            left: self.sq_available().min(most),
            ahead: u32::MAX,
        }
    }

    /// Whether the program has published nothing that is not yet taken.
    #[inline]
    pub fn sq_is_empty(&self) -> bool {
        self.sq_available() == 0
    }

    /// Whether the program finds no free slot: what `IORING_ENTER_SQ_WAIT` waits for to end.
    #[inline]
    pub fn sq_is_full(&self) -> bool {
        // Relaxed: the answer is a hint, the program looks itself with SQ_HEAD_LOAD.
        let tail = self.memory.word(SharedWord::SqTail).load(Relaxed);
        let head = self.memory.word(SharedWord::SqHead).load(Relaxed);
        tail.wrapping_sub(head) >= self.shape().sq_entries
    }

    /// The flags that the program sees.
    #[inline]
    pub fn sq_flags(&self) -> SqRingFlags {
        SqRingFlags::from_bits_retain(self.memory.word(SharedWord::SqFlags).load(Relaxed))
    }

    /// Shows these flags to the program. Callable without a lock.
    ///
    /// Relaxed: a flag asks the program to call `enter`, and the call orders what follows. The one
    /// flag that needs more has [`sq_announce_sleep`](Self::sq_announce_sleep).
    #[inline]
    pub fn sq_set_flags(&self, flags: SqRingFlags) {
        self.memory.word(SharedWord::SqFlags).fetch_or(flags.bits(), Relaxed);
    }

    /// Takes these flags away. Callable without a lock.
    #[inline]
    pub fn sq_clear_flags(&self, flags: SqRingFlags) {
        self.memory.word(SharedWord::SqFlags).fetch_and(!flags.bits(), Relaxed);
    }

    /// Next position to be taken. Only the holder of the submission lock changes it, and the lock
    /// hands it on.
    #[inline]
    pub(crate) fn sq_cached_head(&self) -> u32 {
        self.memory.control().sq_head.load(Relaxed)
    }
}

/// What is taken from the submission queue in one go. Nothing counts as taken before it is [published](Self::publish).
#[derive(Debug)]
pub struct SqBatch<'a, M: ServingMemory, O> {
    ring: &'a ServingRing<M, O>,
    memory: &'a M::Present,
    /// Next position to be taken.
    head: u32,
    left: u32,
    /// So many entries further on is the next one to be asked for.
    ahead: u32,
}

// Not derived: that would ask the same of the memory.
impl<M: ServingMemory, O> Clone for SqBatch<'_, M, O> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<M: ServingMemory, O: Orderings> SqBatch<'_, M, O> {
    /// How many entries are still to be taken.
    #[inline]
    pub fn left(&self) -> u32 {
        self.left
    }

    /// Takes the next entry, if there is one. Its slot stays the serving side's until [`publish`](Self::publish).
    #[inline]
    pub fn take(&mut self) -> Option<Taken> {
        if self.left == 0 {
            return None;
        }
        self.prefetch();
        // Once: a second load could give another value than the one that is checked.
        let index = self.memory.load_index(self.head);
        self.take_peeked();
        if index >= self.memory.shape().sq_entries {
            // The program only reads this word and we are its only writer: no read-modify-write needed.
            let dropped = self.memory.word(SharedWord::SqDropped);
            dropped.store(dropped.load(Relaxed).wrapping_add(1), Relaxed);
            return Some(Taken::Dropped);
        }
        Some(Taken::Sqe { sqe: self.memory.load_sqe(index) })
    }

    /// The entries were written by another processor, just now. Each costs a trip there, and several at a time cost little more than
    /// one: they are asked for some entries ahead.
    #[inline]
    #[must_use]
    pub fn from_elsewhere(self) -> Self {
        Self { ahead: 8, ..self }
    }

    #[inline]
    fn prefetch(&self) {
        if self.left > self.ahead {
            self.memory.prefetch_sqe(self.memory.load_index(self.head.wrapping_add(self.ahead)));
        }
    }

    /// A snapshot of the entry that [`take`](Self::take) would take, if there is a good one. It is taken by
    /// [`take_peeked`](Self::take_peeked).
    #[inline]
    pub fn peek(&self) -> Option<Sqe> {
        if self.left == 0 {
            return None;
        }
        let index = self.memory.load_index(self.head);
        (index < self.memory.shape().sq_entries).then(|| self.memory.load_sqe(index))
    }

    /// Takes the entry that [`peek`](Self::peek) gave a snapshot of, without a look at what stands there now.
    #[inline]
    pub fn take_peeked(&mut self) {
        self.head = self.head.wrapping_add(1);
        self.left -= 1;
    }

    /// Gives the slots of all taken entries back to the program.
    #[inline]
    pub fn publish(&mut self) {
        self.ring.memory.control().sq_head.store(self.head, Relaxed);
        // Partner: SQ_HEAD_LOAD in ClientRing::sq_space.
        O::SqHead::publish(self.memory.word(SharedWord::SqHead), self.head);
    }
}

/// The submission queue has no free slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SqFull;

/// The program's side.
impl<M: Memory, O: Orderings> ClientRing<M, O> {
    /// Free slots.
    #[inline]
    pub fn sq_space(&self) -> u32 {
        // Partner: SqHead in SqBatch::publish.
        let head = self.memory.word(SharedWord::SqHead).load(O::SQ_HEAD_LOAD);
        self.shape().sq_entries.saturating_sub(self.sq_tail.wrapping_sub(head))
    }

    /// Adds an entry. The serving side sees it after [`sq_publish`](Self::sq_publish).
    ///
    /// # Errors
    /// [`SqFull`] when every slot is taken.
    #[inline]
    pub fn sq_push(&mut self, sqe: &Sqe) -> Result<(), SqFull> {
        self.sq_push_wide(sqe, &[0; 8])
    }

    /// Adds an entry of 128 bytes. The second half is ignored on rings with 64-byte entries.
    ///
    /// # Errors
    /// [`SqFull`] when every slot is taken.
    #[inline]
    pub fn sq_push_wide(&mut self, sqe: &Sqe, second_half: &[u64; 8]) -> Result<(), SqFull> {
        if self.sq_space() == 0 {
            return Err(SqFull);
        }
        let slot = self.sq_tail & (self.shape().sq_entries - 1);
        self.sq_fill_slot(slot, sqe, second_half);
        self.sq_add_index(slot);
        Ok(())
    }

    /// Writes an SQE slot without adding it to the queue: the index array lets entries stand in any order.
    /// The slot must not be one that the serving side may still read.
    #[inline]
    pub fn sq_fill_slot(&mut self, slot: u32, sqe: &Sqe, second_half: &[u64; 8]) {
        self.memory.store_sqe(slot, sqe, second_half);
    }

    /// Adds the SQE slot with this index to the queue. On a ring without the index array the index has no effect.
    ///
    /// # Errors
    /// [`SqFull`] when every position is taken.
    #[inline]
    pub fn sq_push_index(&mut self, index: u32) -> Result<(), SqFull> {
        if self.sq_space() == 0 {
            return Err(SqFull);
        }
        self.sq_add_index(index);
        Ok(())
    }

    /// Publishes what was added.
    #[inline]
    pub fn sq_publish(&mut self) {
        // Partner: SQ_TAIL_LOAD in ServingRing::sq_available.
        self.memory.word(SharedWord::SqTail).store(self.sq_tail, O::SQ_TAIL_STORE);
    }

    /// The flags that the serving side shows. For NEED_WAKEUP see [`sq_needs_wakeup`](Self::sq_needs_wakeup).
    #[inline]
    pub fn sq_flags(&self) -> SqRingFlags {
        SqRingFlags::from_bits_retain(self.memory.word(SharedWord::SqFlags).load(Relaxed))
    }

    /// Entries that the serving side refused for a bad index.
    #[inline]
    pub fn sq_dropped(&self) -> u32 {
        self.memory.word(SharedWord::SqDropped).load(Relaxed)
    }

    #[inline]
    fn sq_add_index(&mut self, index: u32) {
        self.memory.store_index(self.sq_tail, index);
        self.sq_tail = self.sq_tail.wrapping_add(1);
    }
}
