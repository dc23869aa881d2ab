//! Closing the engine's duplicates without a trace.
//!
//! Whenever a process closes *any* descriptor of a file, it loses all its record locks on that file (`fcntl_locking.2`). The kernel's
//! io_uring holds files, not descriptors, and loses nobody's locks. So a duplicate of a file that somebody has locked stays open
//! until the locks are gone. The kernel does not say whether they are ours as long as another lock comes first.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use ringer_sys::call::has_record_locks;
use ringer_sys::thread::Lock;

/// Duplicates that cannot be closed yet.
static KEPT: Lock<Vec<OwnedFd>> = Lock::new(Vec::new());
static KEPT_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Closes a duplicate of a file of the program, now or later.
pub(crate) fn close(duplicate: OwnedFd) {
    let is_locked = has_record_locks(duplicate.as_raw_fd());
    // Relaxed: what another thread keeps just now is looked at with the next one.
    if !is_locked && KEPT_COUNT.load(Ordering::Relaxed) == 0 {
        return;
    }
    let mut kept = KEPT.lock();
    kept.retain(|duplicate| has_record_locks(duplicate.as_raw_fd()));
    if is_locked {
        kept.push(duplicate);
    }
    KEPT_COUNT.store(kept.len(), Ordering::Relaxed);
}
