//! The handshake of threads that wait for CQEs with threads that post them.
//!
//! Posting must not cost a system call when nobody waits, nor a fence: CQEs are posted under the completion lock, and
//! the waiters are counted in the word of that lock. Both sides change that one word, so that one of them comes first.
//!
//! ```text
//! waiter                                  poster
//!   announce: word += waiter (acquire)      lock, push CQEs
//!   enough CQEs? then return                unlock (release): waiters in the word? then wake them
//!   sleep
//!   retire: word -= waiter
//! ```
//!
//! The announcement first: the poster finds it in the word. The unlock first: the waiter's change of the word reads what
//! the unlock wrote, and its look at the CQ sees the CQEs.

use core::num::NonZeroU32;

use crate::lock::SharedGuard;
use crate::memory::ServingMemory;
use crate::orderings::Orderings;
use crate::primitive::Ordering::{Acquire, Relaxed, Release};
use crate::sides::ServingRing;

impl<M: ServingMemory, O: Orderings> ServingRing<M, O> {
    /// Takes the lock of the submission queue's serving side. Process-shared.
    #[inline]
    pub fn lock_submissions(&self) -> SharedGuard<'_, O> {
        self.memory.control().submission_lock.lock_as()
    }

    /// The same by the thread with this number, as for [`SharedLock::lock_by`](crate::SharedLock::lock_by): while no other takes the
    /// lock, it pays little for it.
    #[inline]
    pub fn lock_submissions_by(&self, thread: Option<NonZeroU32>) -> SharedGuard<'_, O> {
        self.memory.control().submission_lock.lock_by_as(thread)
    }

    /// Whether a thread has the lock of the submission queue's serving side just now: a hint.
    #[inline]
    pub fn is_submitting(&self) -> bool {
        self.memory.control().submission_lock.is_held()
    }

    /// Takes the lock of the completion queue's serving side. Process-shared. Its release tells the poster whom to wake.
    #[inline]
    pub fn lock_completions(&self) -> SharedGuard<'_, O> {
        self.memory.control().completion_lock.lock_as()
    }

    /// The same by the thread with this number, as for [submissions](Self::lock_submissions_by).
    #[inline]
    pub fn lock_completions_by(&self, thread: Option<NonZeroU32>) -> SharedGuard<'_, O> {
        self.memory.control().completion_lock.lock_by_as(thread)
    }

    /// The waiter, which is the thread with this number, before its last look at [`cq_ready`](Self::cq_ready) and its sleep.
    #[inline]
    pub fn announce_waiter(&self, thread: Option<NonZeroU32>) {
        self.memory.control().completion_lock.announce::<O>(thread);
    }

    /// The waiter, when it waits no more. Once for each [`announce_waiter`](Self::announce_waiter).
    #[inline]
    pub fn retire_waiter(&self) {
        self.memory.control().completion_lock.retire();
    }

    /// How often waiters of this ring were woken, by any process.
    #[inline]
    pub fn wakeups(&self) -> u32 {
        // Partner: the addition in count_wakeup. What the waker left for the waiters is there.
        self.memory.control().wakeups.load(Acquire)
    }

    /// Counts that waiters were woken, after that was done.
    #[inline]
    pub fn count_wakeup(&self) {
        // Partner: the load in wakeups.
        self.memory.control().wakeups.fetch_add(1, Release);
    }

    /// Somebody waits for the ring's descriptor from now on, in this process or in another. For the holder of the completion lock:
    /// either a later look at the CQ sees a CQE, or its poster sees this.
    #[inline]
    pub fn watch(&self) {
        self.memory.control().watched.store(1, Relaxed);
    }

    /// Whether somebody waits for the ring's descriptor.
    #[inline]
    pub fn is_watched(&self) -> bool {
        // Relaxed: a poster has had the completion lock, under which it is set.
        self.memory.control().watched.load(Relaxed) != 0
    }

    /// Threads that are announced. For who shares another lock with them, taken after the announcement and before this.
    #[inline]
    pub fn waiters(&self) -> u32 {
        self.memory.control().completion_lock.announced()
    }
}
