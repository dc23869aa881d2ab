//! The ring that a thread entered last, so that the next call finds it without a lock.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringer_sys::Errno;

use crate::ring::Ring;

/// How often a descriptor came to mean something else, or a thread another one. What was kept before the last time counts no more.
static CHANGES: AtomicU64 = AtomicU64::new(0);

/// In parts, which are moved through registers.
struct Recent {
    fd: Cell<RawFd>,
    changes: Cell<u64>,
    thread: Cell<Option<NonZeroU32>>,
    /// `None`: there was none, or it is entered just now.
    ring: Cell<Option<Arc<Ring>>>,
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
    static RECENT: Recent = const {
        Recent {
            fd: Cell::new(-1),
            changes: Cell::new(0),
            thread: Cell::new(None),
            ring: Cell::new(None),
        }
    };
}

/// Has the calling thread enter the ring of a descriptor: the one that it entered last, or what `find` finds. `None`: a thread that is
/// ending may have no place for it any more.
#[inline(always)]
pub(crate) fn enter<R>(
    fd: RawFd,
    find: impl FnOnce() -> Result<Entered, Errno>,
    body: impl FnOnce(&Entered) -> Result<R, Errno>,
) -> Option<Result<R, Errno>> {
    // Before the descriptor is looked up: what it means may be kept as long as this number stays.
    // Acquire, with the Release in `forget_all`: a descriptor that was closed and given out again is looked up again.
    let changes = CHANGES.load(Ordering::Acquire);
    RECENT
        .try_with(|recent| {
            let is_it = recent.fd.get() == fd && recent.changes.get() == changes;
            let entered = match recent.ring.take() {
                Some(ring) if is_it => Entered { ring, thread: recent.thread.get() },
                _ => find()?,
            };
            let result = body(&entered);
            // All of it: a handler of the program may have entered another ring meanwhile.
            recent.fd.set(fd);
            recent.changes.set(changes);
            recent.thread.set(entered.thread);
            recent.ring.set(Some(entered.ring));
            result
        })
        .ok()
}

/// Some descriptor means something else from now on.
pub(crate) fn forget_all() {
    // Release, with the Acquire in `enter`.
    CHANGES.fetch_add(1, Ordering::Release);
}
