//! The readiness of a ring's descriptor.
//!
//! The descriptor is an eventfd. Keeping it readable exactly while the CQ holds something would
//! cost two system calls a round, so it is done only once somebody is known to wait for it, in any of the processes that have
//! the ring.

use std::os::fd::{OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use ringer_sys::thread::Lock;
use ringer_sys::{Errno, descriptor};

use crate::ring::Ring;
use crate::system::System;

/// What this process knows of it.
#[derive(Debug, Default)]
pub(crate) struct Readiness {
    /// A duplicate, made when somebody waits.
    descriptor: OnceLock<OwnedFd>,
    /// Another process shows it, too: what was shown last is not known here.
    is_shared: AtomicBool,
    shown: Lock<bool>,
}

impl Readiness {
    /// Whether another process has the ring, too.
    pub(crate) fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::Relaxed)
    }

    /// Another process has the ring, too, from now on.
    pub(crate) fn share(&self) {
        // Relaxed: set before there is another process, or by its only thread.
        self.is_shared.store(true, Ordering::Relaxed);
    }
}

impl Ring {
    /// Keeps the readiness of the ring's descriptors, of which this is one, true from now on.
    ///
    /// # Errors
    /// `EMFILE`: nobody can be told.
    pub(crate) fn watch(&self, fd: RawFd) -> Result<(), Errno> {
        if self.readiness.descriptor.get().is_none() {
            // All descriptors of the ring are of one eventfd: if another one is there by now, it serves as well.
            let _ = self.readiness.descriptor.set(descriptor::duplicate_for_engine(fd)?);
        }
        let guard = self.shared.lock_completions();
        self.shared.watch();
        drop(guard);
        self.show_readiness();
        Ok(())
    }

    /// Shows whether the CQ holds something.
    #[inline]
    pub(crate) fn show_readiness(&self) {
        if self.shared.is_watched() {
            self.show_watched(false);
        }
    }

    /// The same when CQEs were posted: whoever waits for a change is told, also if the CQ held something before.
    #[inline]
    pub(crate) fn tell_readiness(&self) {
        if self.shared.is_watched() {
            self.show_watched(true);
        }
    }

    #[cold]
    fn show_watched(&self, is_news: bool) {
        // Without a descriptor left nobody can be told.
        let Some(descriptor) = self.readiness_descriptor() else { return };
        let mut shown = self.readiness.shown.lock();
        // Looked at under the lock, so that the last word is a true one.
        let ready = self.shared.cq_ready() > 0 || self.deferred_count() > 0;
        if self.readiness.is_shared() {
            // Shown once too often does no harm.
            *shown = !ready;
        }
        if ready && (is_news || !*shown) {
            // The counter is far from its limit, so that the write cannot fail.
            let _ = rustix::io::write(descriptor, &1_u64.to_ne_bytes());
        } else if !ready && *shown {
            let _ = rustix::io::read(descriptor, &mut [0_u8; 8]);
        }
        *shown = ready;
    }

    fn readiness_descriptor(&self) -> Option<&OwnedFd> {
        if self.readiness.descriptor.get().is_none() {
            // It was in another process that somebody began to wait.
            let _ = self.readiness.descriptor.set(System::global().duplicate_of(self)?);
        }
        self.readiness.descriptor.get()
    }
}
