//! The registered eventfd: signalled when CQEs are posted.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringer_sys::thread::Lock;
use ringer_sys::{Errno, UserAddress, descriptor};

use crate::ring::Ring;
use crate::system::System;

/// The eventfd of one ring, if one is registered.
#[derive(Debug, Default)]
pub(crate) struct EventfdSignal {
    present: AtomicBool,
    registered: Lock<Option<Registered>>,
}

#[derive(Debug)]
struct Registered {
    eventfd: OwnedFd,
    /// Only completions by a worker count.
    asynchronous_only: bool,
}

impl EventfdSignal {
    /// Whether there is one.
    pub(crate) fn is_registered(&self) -> bool {
        self.present.load(Ordering::Relaxed)
    }

    /// Signals that CQEs were posted; `asynchronous`: by a worker.
    #[inline(always)]
    pub(crate) fn signal(&self, ring: &Ring, asynchronous: bool) {
        // Relaxed: a signal may come just before or just after the registration.
        if self.present.load(Ordering::Relaxed) && !ring.shared.cq_eventfd_disabled() {
            self.write(asynchronous);
        }
    }

    #[cold]
    fn write(&self, asynchronous: bool) {
        if let Some(registered) = &*self.registered.lock()
            && (asynchronous || !registered.asynchronous_only)
        {
            // Full counters do not lose the signal: they are readable already.
            let _ = rustix::io::write(&registered.eventfd, &1_u64.to_ne_bytes());
        }
    }
}

/// `IORING_REGISTER_EVENTFD` and `_ASYNC`. Source: `io_uring_register_eventfd.3`.
///
/// # Errors
/// `EBUSY` when one is registered, `EBADF` or `EINVAL` when the descriptor is no eventfd.
pub(crate) fn register(
    ring: &Ring,
    argument: UserAddress,
    count: u32,
    asynchronous_only: bool,
) -> Result<i32, Errno> {
    if count != 1 {
        return Err(Errno::INVAL);
    }
    let signal = &ring.completions.eventfd;
    let mut registered = signal.registered.lock();
    if registered.is_some() {
        return Err(Errno::BUSY);
    }
    let fd = argument.read::<i32>()?;
    // A ring's own descriptor is an eventfd in disguise.
    if !descriptor::is_eventfd(fd)? || System::global().ring_of(fd).is_some() {
        return Err(Errno::INVAL);
    }
    *registered = Some(Registered { eventfd: descriptor::duplicate_for_engine(fd)?, asynchronous_only });
    signal.present.store(true, Ordering::Relaxed);
    Ok(0)
}

/// `IORING_UNREGISTER_EVENTFD`.
///
/// # Errors
/// `ENXIO` when none is registered.
pub(crate) fn unregister(ring: &Arc<Ring>) -> Result<i32, Errno> {
    let signal = &ring.completions.eventfd;
    signal.present.store(false, Ordering::Relaxed);
    signal.registered.lock().take().map(|_| 0).ok_or(Errno::NXIO)
}
