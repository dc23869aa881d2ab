//! A lock that one thread has to itself, until a second one comes.
//!
//! To take a lock and to give it back are two atomic exchanges, and a call takes two locks: for a call with a single NOP that is a
//! quarter of its time. But most rings are used by one thread. So the first thread that takes such a lock becomes its tenant: a
//! store and a load take the lock, a store gives it back. When another thread comes, the tenancy ends, for good, and everybody
//! takes the lock itself.
//!
//! ```text
//! tenant                                        whoever ends the tenancy
//!   inside = 1                                    tenant = NOTICE
//!   fence for the compiler alone                  fence in all threads (membarrier.2)
//!   still the tenant? then it has the lock        wait until inside == 0
//!   inside = 0                                    tenant = NONE
//! ```
//!
//! That one of two threads sees what the other has stored takes a full fence on both sides. Here one side pays for both: its system call has every
//! thread pass a full barrier, wherever it is. Either that is after the tenant's store, which is then seen; or before its load, which
//! then sees the notice.

use core::num::NonZeroU32;

use crate::orderings::Orderings;
use crate::primitive::{AtomicU32, Ordering::Relaxed, are_fenced_together, wait_a_little};

/// There is no tenant, and never will be.
const NONE: u32 = 0;
/// There was none yet.
const TO_LET: u32 = u32::MAX;
/// The tenant is to leave.
const NOTICE: u32 = u32::MAX - 1;

/// Who the tenant of a lock is, and whether it has the lock. May lie in memory shared between processes. All zero bytes: none.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Tenancy {
    /// The number of a thread, or one of the above.
    tenant: AtomicU32,
    /// Whether the tenant has the lock: 1 or 0. Only the tenant writes it.
    inside: AtomicU32,
}

impl Tenancy {
    /// No tenancy.
    pub(crate) fn none() -> Self {
        Self { tenant: AtomicU32::new(NONE), inside: AtomicU32::new(0) }
    }

    /// The first thread becomes the tenant, where that is [possible](crate::prepare_tenancies).
    pub(crate) fn to_let() -> Self {
        let tenant = if are_fenced_together() { TO_LET } else { NONE };
        Self { tenant: AtomicU32::new(tenant), inside: AtomicU32::new(0) }
    }

    /// The thread with this number comes, or one that is no tenant. Returns whether it has the lock by its tenancy, and must
    /// [`leave`](Self::leave).
    #[inline]
    pub(crate) fn enter<O: Orderings>(&self, thread: Option<NonZeroU32>) -> bool {
        let Some(thread) = thread.map(NonZeroU32::get) else { return false };
        debug_assert!(!matches!(thread, TO_LET | NOTICE), "numbers of threads are below 2^22");
        // Relaxed: only this thread writes its own number, and nobody has had the lock before the first tenant.
        let tenant = self.tenant.load(Relaxed);
        let is_tenant = tenant == thread
            || tenant == TO_LET && self.tenant.compare_exchange(TO_LET, thread, Relaxed, Relaxed).is_ok();
        if !is_tenant {
            return false;
        }
        self.inside.store(1, Relaxed);
        // Partner: eviction_fence in evict.
        O::tenant_fence();
        if self.tenant.load(Relaxed) == thread {
            return true;
        }
        self.leave::<O>();
        false
    }

    /// The tenant gives the lock back.
    #[inline]
    pub(crate) fn leave<O: Orderings>(&self) {
        // Partner: the load in evict.
        self.inside.store(0, O::UNLOCK);
    }

    /// Whether the tenant has the lock just now: a hint.
    #[inline]
    pub(crate) fn is_inside(&self) -> bool {
        self.inside.load(Relaxed) != 0
    }

    /// Whether this thread is the tenant.
    #[inline]
    pub(crate) fn is_of(&self, thread: Option<NonZeroU32>) -> bool {
        thread.is_some_and(|thread| self.tenant.load(Relaxed) == thread.get())
    }

    /// Makes sure that there is no tenant, so that the lock itself counts.
    #[inline]
    pub(crate) fn end<O: Orderings>(&self) {
        // Partner: the last store in evict.
        if self.tenant.load(O::LOCK) != NONE {
            self.evict::<O>();
        }
    }

    #[cold]
    fn evict<O: Orderings>(&self) {
        let mut tenant = self.tenant.load(Relaxed);
        while !matches!(tenant, NONE | NOTICE) {
            match self.tenant.compare_exchange(tenant, NOTICE, Relaxed, Relaxed) {
                Ok(_) => break,
                Err(now) => tenant = now,
            }
        }
        // Partner: tenant_fence in enter.
        O::eviction_fence();
        let mut attempt = 0;
        // Partner: the store in leave.
        while self.inside.load(O::LOCK) != 0 {
            wait_a_little(attempt);
            attempt += 1;
        }
        // Partner: the load in end. What the tenant did under the lock is seen by who finds this.
        self.tenant.store(NONE, O::UNLOCK);
    }
}
