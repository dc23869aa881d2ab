//! The handshake of threads that wait for CQEs with threads that post them.
//!
//! Posting must not cost a system call when nobody waits. Same shape as the NEED_WAKEUP handshake:
//! each side writes, fences fully, and reads what the other wrote.
//!
//! ```text
//! waiter                             poster
//!   waiters += 1                       push CQEs
//!   full fence                         full fence
//!   enough CQEs? then return           waiters != 0? then wake them
//!   sleep
//!   waiters -= 1
//! ```

use crate::memory::ServingMemory;
use crate::orderings::Orderings;
use crate::primitive::Ordering::Relaxed;
use crate::sides::ServingRing;

impl<M: ServingMemory, O: Orderings> ServingRing<M, O> {
    /// The waiter, before its last look at [`cq_ready`](Self::cq_ready) and its sleep.
    #[inline]
    pub fn announce_waiter(&self) {
        self.memory.control().waiters.fetch_add(1, Relaxed);
        // Partner: poster_fence in waiters.
        O::waiter_fence();
    }

    /// The waiter, when it waits no more. Once for each [`announce_waiter`](Self::announce_waiter).
    #[inline]
    pub fn retire_waiter(&self) {
        self.memory.control().waiters.fetch_sub(1, Relaxed);
    }

    /// The poster, after it has pushed: threads that must be woken. It costs a full fence, so ask once per batch.
    #[inline]
    pub fn waiters(&self) -> u32 {
        // Partner: waiter_fence in announce_waiter.
        O::poster_fence();
        self.memory.control().waiters.load(Relaxed)
    }
}
