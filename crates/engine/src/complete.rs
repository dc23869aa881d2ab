//! Completion: CQEs into the CQ, the backlog behind a full one, and who is told.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use ringer_abi::{Cqe, SetupFlags, SqRingFlags};
use ringer_ring::{CqBatch, Production, SharedGuard, SharedPages};
use ringer_sys::thread::Lock;

use crate::register::eventfd::EventfdSignal;
use crate::ring::Ring;

/// What this process keeps of a ring's completion side.
#[derive(Debug, Default)]
pub(crate) struct Completions {
    /// CQEs that found the CQ full (`IORING_FEAT_NODROP`). Guarded by the ring's completion lock as well.
    backlog: Lock<VecDeque<Cqe>>,
    has_backlog: AtomicBool,
    /// Completions that wait for the submitter to run its task work (`IORING_SETUP_DEFER_TASKRUN`).
    deferred: Lock<Vec<Cqe>>,
    has_deferred: AtomicBool,
    pub(crate) eventfd: EventfdSignal,
    /// CQEs posted that timeouts with a count look at.
    posted: AtomicU32,
    /// TIMEOUTs that completed: each ends the waits of its ring.
    timeouts: AtomicU32,
    /// Some timeout counts CQEs.
    pub(crate) is_counted: AtomicBool,
}

/// CQEs were posted.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct Posted {
    /// How many were posted so far that timeouts with a count look at.
    pub(crate) so_far: u32,
    /// How many threads wait for some, to be given to [`Ring::announce_completions`].
    pub(crate) waiters: u32,
}

/// CQEs that go to the CQ one by one and are shown to the program together. The ring's completion lock is held meanwhile.
pub(crate) struct Results<'a> {
    ring: &'a Ring,
    cqes: CqBatch<'a, SharedPages, Production>,
    guard: SharedGuard<'a>,
    count: u32,
}

impl Results<'_> {
    /// Adds one. Returns false where the CQ has no room for it.
    #[inline]
    pub(crate) fn push(&mut self, cqe: &Cqe) -> bool {
        // Relaxed: only written under the completion lock. Posting directly would overtake the backlog.
        let has_room = !self.ring.completions.has_backlog.load(Ordering::Relaxed);
        let is_pushed = has_room && self.cqes.push(cqe).is_ok();
        self.count += u32::from(is_pushed);
        is_pushed
    }

    /// Shows them to the program.
    #[inline(always)]
    pub(crate) fn post(self) -> Posted {
        self.cqes.publish();
        self.ring.end_post(self.guard, self.count)
    }
}

impl Completions {
    /// How many TIMEOUTs completed.
    pub(crate) fn timeouts(&self) -> u32 {
        // Relaxed: a waiter looks again after it announced itself, with a fence.
        self.timeouts.load(Ordering::Relaxed)
    }

    /// A TIMEOUT completed.
    pub(crate) fn count_timeout(&self) {
        self.timeouts.fetch_add(1, Ordering::Relaxed);
    }
}

impl Ring {
    /// Whether one more CQE fits into the CQ behind those that wait for it, `unpublished` included.
    pub(crate) fn has_room_for_completion(&self, unpublished: usize, thread: Option<NonZeroU32>) -> bool {
        // Under the lock, or the tail could be older than the head and the CQ look full.
        let _guard = self.shared.lock_completions_by(thread);
        // Relaxed: only written under the completion lock.
        !self.completions.has_backlog.load(Ordering::Relaxed)
            && self.shared.cq_ready().saturating_add(self.deferred_count()).saturating_add(unpublished as u32)
                < self.shared.shape().cq_entries
    }

    /// Posts CQEs. `counted`: how many of them timeouts with a count look at. `asynchronous`: not from within the submission
    /// of their requests. `thread`: see [`own_thread`](Self::own_thread).
    #[inline(always)]
    pub(crate) fn post(
        &self,
        cqes: &[Cqe],
        counted: u32,
        asynchronous: bool,
        thread: Option<NonZeroU32>,
    ) -> Posted {
        let guard = self.shared.lock_completions_by(thread);
        if asynchronous && self.defers_completions() {
            self.defer(cqes);
        } else {
            self.push(cqes);
        }
        self.end_post(guard, counted)
    }

    /// Posts a CQE behind the CQ, whether that is full or not. It counts as any other does.
    pub(crate) fn post_behind(&self, cqe: &Cqe, thread: Option<NonZeroU32>) -> Posted {
        let guard = self.shared.lock_completions_by(thread);
        self.push_to_backlog(std::slice::from_ref(cqe));
        self.end_post(guard, 1)
    }

    #[inline(always)]
    fn end_post(&self, guard: SharedGuard<'_>, counted: u32) -> Posted {
        // Relaxed, and not in one step: only written under the completion lock.
        let so_far = self.completions.posted.load(Ordering::Relaxed).wrapping_add(counted);
        self.completions.posted.store(so_far, Ordering::Relaxed);
        let waiters = guard.release();
        self.ring_waits.tell();
        Posted { so_far, waiters }
    }

    /// Begins to post CQEs of SQEs that say themselves what their results are. `thread`: see [`own_thread`](Self::own_thread).
    #[inline]
    pub(crate) fn begin_results(&self, thread: Option<NonZeroU32>) -> Results<'_> {
        let guard = self.shared.lock_completions_by(thread);
        Results { ring: self, cqes: self.shared.cq_batch(), guard, count: 0 }
    }

    /// Keeps CQEs until the submitter asks for them.
    #[inline(never)]
    fn defer(&self, cqes: &[Cqe]) {
        self.completions.deferred.lock().extend_from_slice(cqes);
        // Release, with the Acquire in `run_deferred`.
        self.completions.has_deferred.store(true, Ordering::Release);
        if self.setup.contains(SetupFlags::TASKRUN_FLAG) {
            self.shared.sq_set_flags(SqRingFlags::TASKRUN);
        }
    }

    /// Puts CQEs into the CQ or behind it. For the holder of the completion lock.
    #[inline(always)]
    fn push(&self, cqes: &[Cqe]) {
        let completions = &self.completions;
        // Relaxed: only written under the completion lock.
        let has_backlog = completions.has_backlog.load(Ordering::Relaxed);
        // Posting directly would overtake the backlog.
        let posted = if has_backlog { 0 } else { self.shared.cq_push_all(cqes) };
        if posted < cqes.len() {
            self.push_to_backlog(&cqes[posted..]);
        }
    }

    #[cold]
    fn push_to_backlog(&self, cqes: &[Cqe]) {
        self.completions.backlog.lock().extend(cqes);
        self.completions.has_backlog.store(true, Ordering::Relaxed);
        self.shared.sq_set_flags(SqRingFlags::CQ_OVERFLOW);
    }

    /// How many CQEs were posted that count.
    pub(crate) fn posted(&self) -> u32 {
        self.completions.posted.load(Ordering::Relaxed)
    }

    /// Moves deferred completions into the CQ. Called by the submitter when it asks for events.
    #[inline]
    pub(crate) fn run_deferred(&self) {
        // Relaxed: completions of this thread are seen, and those of others belong to a later call.
        if self.completions.has_deferred.load(Ordering::Relaxed) {
            self.take_deferred();
        }
    }

    #[cold]
    fn take_deferred(&self) {
        // Acquire, with the Release in `post`.
        if !self.completions.has_deferred.swap(false, Ordering::AcqRel) {
            return;
        }
        let deferred = std::mem::take(&mut *self.completions.deferred.lock());
        self.shared.sq_clear_flags(SqRingFlags::TASKRUN);
        // It is the submitter who waits for them, if anybody does: this thread.
        let _guard = self.shared.lock_completions_by(self.own_thread());
        self.push(&deferred);
    }

    /// Tells a program that leaves its task work to `enter` whether there may be some (`IORING_SQ_TASKRUN`).
    ///
    /// The kernel sets the flag at the moment a file becomes ready. Here nobody may notice that moment, so the
    /// flag stays set as long as something is armed: the call that it asks for looks at the files.
    #[inline]
    pub(crate) fn show_pending_work(&self) {
        if self.defers_completions() && self.setup.contains(SetupFlags::TASKRUN_FLAG) {
            self.show_taskrun();
        }
    }

    #[cold]
    fn show_taskrun(&self) {
        let is_armed = self.inflight.lock().armed > 0;
        if is_armed || self.deferred_count() > 0 {
            self.shared.sq_set_flags(SqRingFlags::TASKRUN);
        } else {
            self.shared.sq_clear_flags(SqRingFlags::TASKRUN);
            // A completion that was deferred meanwhile set it before.
            if self.deferred_count() > 0 {
                self.shared.sq_set_flags(SqRingFlags::TASKRUN);
            }
        }
    }

    /// How many completions wait for the submitter to ask for them.
    pub(crate) fn deferred_count(&self) -> u32 {
        if !self.completions.has_deferred.load(Ordering::Acquire) {
            return 0;
        }
        self.completions.deferred.lock().len() as u32
    }

    /// Whether CQEs stand behind the CQ, to be looked at by a thread that waits and has said so: who puts one there later wakes it.
    pub(crate) fn has_backlog(&self) -> bool {
        // Relaxed: set under the completion lock, whose release looks for waiters; the waiter's announcement is a fence.
        self.completions.has_backlog.load(Ordering::Relaxed)
    }

    /// Moves the backlog into the CQ as far as there is room.
    #[inline]
    pub(crate) fn flush_backlog(&self) {
        // Relaxed: a backlog made by this thread is seen, one made just now by another is for the next call.
        if self.completions.has_backlog.load(Ordering::Relaxed) {
            self.move_backlog();
        }
    }

    #[cold]
    fn move_backlog(&self) {
        let _guard = self.shared.lock_completions_by(self.own_thread());
        let mut backlog = self.completions.backlog.lock();
        while let Some(cqe) = backlog.front() {
            if self.shared.cq_push(cqe).is_err() {
                return;
            }
            backlog.pop_front();
        }
        self.completions.has_backlog.store(false, Ordering::Relaxed);
        self.shared.sq_clear_flags(SqRingFlags::CQ_OVERFLOW);
    }

    /// Tells whoever waits that CQEs were posted: `waiters` in `enter`, and those that poll the descriptor.
    #[inline(always)]
    pub(crate) fn announce_completions(&self, waiters: u32) {
        if waiters > 0 {
            self.reactor.wake(&self.shared, waiters);
        }
        self.tell_readiness();
    }
}
