//! The ring that a thread entered last, so that the next call finds it without a lock.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::ring::Ring;

/// How often a descriptor came to mean something else, or a thread another one. What was kept before the last time counts no more.
static CHANGES: AtomicU64 = AtomicU64::new(0);

struct Recent {
    fd: RawFd,
    changes: u64,
    entered: Entered,
}

/// A ring, for the thread that enters it.
pub(crate) struct Entered {
    pub(crate) ring: Arc<Ring>,
    /// See [`Ring::own_thread`].
    pub(crate) thread: Option<NonZeroU32>,
}

impl Entered {
    /// For the calling thread.
    pub(crate) fn by_this_thread(ring: Arc<Ring>) -> Self {
        let thread = ring.own_thread();
        Self { ring, thread }
    }
}

thread_local! {
    static RECENT: Cell<Option<Recent>> = const { Cell::new(None) };
}

/// What a descriptor means may be kept as long as this number stays. To be asked before the descriptor is looked up.
#[inline]
pub(crate) fn changes() -> u64 {
    // Acquire, with the Release in `forget_all`: a descriptor that was closed and given out again is looked up again.
    CHANGES.load(Ordering::Acquire)
}

/// The ring of this descriptor, if this thread entered it last. To be given back by [`keep`].
#[inline]
pub(crate) fn take(fd: RawFd, changes: u64) -> Option<Entered> {
    // A thread that is ending may have no place for it any more.
    let recent = RECENT.try_with(Cell::take).ok().flatten()?;
    (recent.fd == fd && recent.changes == changes).then_some(recent.entered)
}

/// Keeps the ring for the thread's next call.
#[inline]
pub(crate) fn keep(fd: RawFd, changes: u64, entered: Entered) {
    let _ = RECENT.try_with(|recent| recent.set(Some(Recent { fd, changes, entered })));
}

/// Some descriptor means something else from now on.
pub(crate) fn forget_all() {
    // Release, with the Acquire in `changes`.
    CHANGES.fetch_add(1, Ordering::Release);
}
