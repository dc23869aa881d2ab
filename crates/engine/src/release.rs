//! Closing the engine's duplicates without a trace.
//!
//! Whenever a process closes *any* descriptor of a file, it loses all its record locks on that file (`fcntl_locking.2`). The kernel's
//! io_uring holds files, not descriptors, and loses nobody's locks. So a duplicate of a file that somebody has locked stays open
//! until the locks are gone. The kernel does not say whether they are ours as long as another lock comes first.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ringer_sys::call::has_record_locks;
use ringer_sys::thread::Lock;
use ringer_sys::{Errno, descriptor};

/// Duplicates that cannot be closed yet.
static KEPT: Lock<Vec<OwnedFd>> = Lock::new(Vec::new());
static KEPT_COUNT: AtomicUsize = AtomicUsize::new(0);

/// The engine's duplicate of a descriptor of the program.
#[derive(Debug)]
pub(crate) struct Duplicate {
    /// Taken when it is dropped.
    fd: Option<OwnedFd>,
}

impl Duplicate {
    /// # Errors
    /// `EBADF` when the descriptor is not open, `EMFILE`.
    pub(crate) fn of(fd: RawFd) -> Result<Self, Errno> {
        descriptor::duplicate_for_engine(fd).map(Self::from)
    }

    /// In a child after fork: closes it if nobody else has it there. The child holds no record locks.
    pub(crate) fn abandon(this: Arc<Self>) {
        drop(Arc::into_inner(this).and_then(|mut duplicate| duplicate.fd.take()));
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// The descriptor, to be watched. `None` while it is dropped.
    pub(crate) fn owned(&self) -> Option<&OwnedFd> {
        self.fd.as_ref()
    }
}

impl From<OwnedFd> for Duplicate {
    fn from(fd: OwnedFd) -> Self {
        Self { fd: Some(fd) }
    }
}

impl Drop for Duplicate {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            close(fd);
        }
    }
}

/// Closes a duplicate of a file of the program, now or later.
fn close(duplicate: OwnedFd) {
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
