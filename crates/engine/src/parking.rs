//! Watches that stay when their request is done.
//!
//! A request that waits for a file owns a duplicate of it, registered with its ring's epoll instance. To make both for each wait
//! and to undo them costs more than the transfer that is waited for. So they are *parked* for the next request
//! on the same descriptor. Their registration is one that has reported once and is silent since.
//!
//! A parked duplicate keeps the program's file open, so that it must go when the program closes its descriptor. That is
//! known only where somebody tells ([`Parking::closing`]), as the preload library does: nothing is parked elsewhere. A close that
//! nobody told of is found before the next use, as the kernel is asked whether both are one file, and otherwise when
//! a thread has waited in vain for [`IDLE`].

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ringer_sys::thread::Lock;

use crate::cancel::same_file;
use crate::ring::Ring;

/// After so long without any report the parked watches of a ring are given up.
pub(crate) const IDLE: Duration = Duration::from_millis(20);

/// Descriptor numbers share a count of closes with others that are this far away.
const NUMBERS: usize = 256;

/// How often descriptors of one number were closed. Equal counts at two times: not closed between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Closes(u32);

#[derive(Debug)]
struct Watch {
    ring: Weak<Ring>,
    duplicate: OwnedFd,
}

/// The parked watches of the process.
#[derive(Debug)]
pub(crate) struct Parking {
    /// Whether closes are told.
    enabled: AtomicBool,
    count: AtomicUsize,
    closes: [AtomicU32; NUMBERS],
    watches: Lock<HashMap<RawFd, Vec<Watch>>>,
}

impl Default for Parking {
    fn default() -> Self {
        Self {
            enabled: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            closes: [const { AtomicU32::new(0) }; NUMBERS],
            watches: Lock::default(),
        }
    }
}

impl Parking {
    /// From now on somebody tells of closes.
    pub(crate) fn enable(&self) {
        // Relaxed: set by the library's constructor, before any ring.
        self.enabled.store(true, Ordering::Relaxed);
    }

    /// How often this number was closed so far.
    pub(crate) fn closes(&self, fd: RawFd) -> Closes {
        // Relaxed: a close beside this is the program's race.
        Closes(self.closes[fd as usize % NUMBERS].load(Ordering::Relaxed))
    }

    /// The program is about to close this descriptor, or to put another file there. Returns whether [`forget`](Self::forget) must
    /// be called for it.
    #[inline]
    pub(crate) fn closing(&self, fd: RawFd) -> bool {
        if !self.enabled.load(Ordering::Relaxed) || fd < 0 {
            return false;
        }
        self.closes[fd as usize % NUMBERS].fetch_add(1, Ordering::Relaxed);
        self.count.load(Ordering::Relaxed) > 0
    }

    /// [`closing`](Self::closing) for a range of numbers.
    pub(crate) fn closing_range(&self, first: u32, last: u32) -> bool {
        if first > last || !self.enabled.load(Ordering::Relaxed) {
            return false;
        }
        for number in first..=last.min(first.saturating_add(NUMBERS as u32 - 1)) {
            self.closes[number as usize % NUMBERS].fetch_add(1, Ordering::Relaxed);
        }
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Gives up what is parked for a descriptor.
    pub(crate) fn forget(&self, fd: RawFd) {
        let watches = {
            let mut parked = self.watches.lock();
            let watches = parked.remove(&fd).unwrap_or_default();
            self.count.fetch_sub(watches.len(), Ordering::Relaxed);
            watches
        };
        watches.into_iter().for_each(Watch::end);
    }

    /// Gives up what is parked for a range of descriptors, both ends included.
    pub(crate) fn forget_range(&self, first: u32, last: u32) {
        self.end_where(|fd, _| (first..=last).contains(&(fd as u32)));
    }

    fn end_where(&self, is_meant: impl Fn(RawFd, &Watch) -> bool) {
        let mut gone = Vec::new();
        {
            let mut parked = self.watches.lock();
            parked.retain(|fd, watches| {
                gone.extend(watches.extract_if(.., |watch| is_meant(*fd, watch)));
                !watches.is_empty()
            });
            self.count.fetch_sub(gone.len(), Ordering::Relaxed);
        }
        gone.into_iter().for_each(Watch::end);
    }

    /// Parks a request's duplicate of descriptor `fd`, unless that was closed meanwhile. Gives it back then.
    pub(crate) fn park(
        &self,
        ring: &Arc<Ring>,
        fd: RawFd,
        closes: Closes,
        duplicate: OwnedFd,
    ) -> Option<OwnedFd> {
        if !self.enabled.load(Ordering::Relaxed) || self.closes(fd) != closes {
            return Some(duplicate);
        }
        let mut parked = self.watches.lock();
        let watches = parked.entry(fd).or_default();
        if watches.iter().any(|watch| watch.is_of(ring)) {
            return Some(duplicate);
        }
        watches.push(Watch { ring: Arc::downgrade(ring), duplicate });
        self.count.fetch_add(1, Ordering::Relaxed);
        ring.reactor.parked.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Takes a parked duplicate for a request on descriptor `fd`, if that is still the same file.
    pub(crate) fn take(&self, ring: &Arc<Ring>, fd: RawFd) -> Option<OwnedFd> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let watch = {
            let mut parked = self.watches.lock();
            let watches = parked.get_mut(&fd)?;
            let position = watches.iter().position(|watch| watch.is_of(ring))?;
            self.count.fetch_sub(1, Ordering::Relaxed);
            watches.swap_remove(position)
        };
        if same_file(watch.duplicate.as_raw_fd(), fd) == Some(true) {
            ring.reactor.parked.fetch_sub(1, Ordering::Relaxed);
            return Some(watch.duplicate);
        }
        watch.end();
        None
    }

    /// Gives up what a ring has parked.
    pub(crate) fn forget_ring(&self, ring: &Arc<Ring>) {
        if ring.reactor.parked.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.end_where(|_, watch| watch.is_of(ring));
    }

    /// In a child after fork: the registrations are the parent's. Only the duplicates are given up.
    pub(crate) fn after_fork_in_child(&self) {
        // Held by another thread at the time of the fork, it stays held, and nothing is parked here any more.
        match self.watches.try_lock() {
            Some(mut parked) => parked.clear(),
            None => self.enabled.store(false, Ordering::Relaxed),
        }
        self.count.store(0, Ordering::Relaxed);
    }
}

impl Watch {
    fn is_of(&self, ring: &Arc<Ring>) -> bool {
        std::ptr::eq(self.ring.as_ptr(), Arc::as_ptr(ring))
    }

    /// Takes it out of its ring's instance: a duplicate elsewhere would keep the registration alive.
    fn end(self) {
        if let Some(ring) = self.ring.upgrade() {
            ring.reactor.parked.fetch_sub(1, Ordering::Relaxed);
            ring.reactor.forget(&self.duplicate);
        }
    }
}
