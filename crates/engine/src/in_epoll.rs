//! Rings in epoll instances of the program.
//!
//! The readiness of a ring's descriptor goes stale when the program takes completions by memory alone. Where it waits for an epoll instance that
//! has rings, the engine looks again: so it is noted which ones have. A request that polls such an instance is told how many completions its rings had.

use std::os::fd::RawFd;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicUsize, Ordering};

use ringer_abi::poll::{POLLIN, POLLRDNORM};
use ringer_sys::Errno;
use ringer_sys::epoll_members::{Member, epoll_members};
use ringer_sys::thread::Lock;

use crate::ring::Ring;
use crate::system::System;

/// Epoll instances and rings in them whose completions they tell of, by their descriptors.
pub(crate) type Pairs = Vec<(RawFd, RawFd)>;

/// The kernel has no more epoll instances watch each other in a row.
const DEEPEST: u32 = 4;

/// Which rings are in which epoll instances, by their descriptors.
#[derive(Debug, Default)]
pub(crate) struct InEpoll {
    /// The instance and the ring.
    pairs: Lock<Pairs>,
    /// How many there are.
    count: AtomicUsize,
}

impl InEpoll {
    fn change(&self, change: impl FnOnce(&mut Pairs)) {
        let mut pairs = self.pairs.lock();
        change(&mut pairs);
        // Relaxed: whoever waits for what another thread registered has been told so by that thread.
        self.count.store(pairs.len(), Ordering::Relaxed);
    }

    /// Keeps others from looking and changing.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Pairs> {
        self.pairs.lock()
    }

    /// The same, if nobody has the lock.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, Pairs>> {
        self.pairs.try_lock()
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// A ring's descriptor is being closed.
    pub(crate) fn forget(&self, ring: RawFd) {
        if !self.is_empty() {
            self.change(|pairs| pairs.retain(|(_, fd)| *fd != ring));
        }
    }
}

impl System {
    /// To be called before `epoll_ctl.2` with this operation and these events for a descriptor that may be a ring's: from now on
    /// [`watch_epoll`](Self::watch_epoll) looks at it, too.
    ///
    /// # Errors
    /// `ENOMEM` when the engine has no descriptor left to keep its readiness true.
    pub fn note_in_epoll(&self, epoll: RawFd, operation: u32, fd: RawFd, events: u32) -> Result<(), Errno> {
        const DELETE: u32 = 2;
        // A ring has room without anybody's doing: that alone it shows in any case.
        let hears_of_completions = operation != DELETE && events & (POLLIN | POLLRDNORM) != 0;
        if hears_of_completions && self.watch(fd)? {
            self.in_epoll.change(|pairs| {
                if !pairs.contains(&(epoll, fd)) {
                    pairs.push((epoll, fd));
                }
            });
        } else if !self.in_epoll.is_empty() {
            self.in_epoll.change(|pairs| pairs.retain(|pair| *pair != (epoll, fd)));
        }
        Ok(())
    }

    /// Says that the program waits for this epoll instance: the rings in it show truly whether they are ready.
    ///
    /// # Errors
    /// As of [`watch`](Self::watch).
    pub fn watch_epoll(&self, epoll: RawFd) -> Result<(), Errno> {
        let pairs = self.in_epoll.pairs.lock();
        let mut rings = pairs.iter().filter(|(instance, _)| *instance == epoll);
        rings.try_for_each(|(_, ring)| self.watch(*ring).map(drop))
    }

    /// The same for a request that waits for it, also where the instance watches another one that has rings. Returns how many completions these
    /// rings have had. `None`: the file is no epoll instance.
    pub(crate) fn look_at_rings_in_epoll(&self, file: RawFd) -> Option<u32> {
        if self.in_epoll.is_empty() {
            return Some(0);
        }
        let mut completions = 0_u32;
        self.for_each_ring_in(file, DEEPEST, &mut |ring| {
            ring.show_readiness();
            let all = ring.posted().wrapping_add(ring.completions.timeouts());
            completions = completions.wrapping_add(all);
        })?;
        Some(completions)
    }

    fn for_each_ring_in(&self, file: RawFd, depth: u32, body: &mut impl FnMut(&Ring)) -> Option<()> {
        for Member { fd, events } in epoll_members(file)? {
            if events & (POLLIN | POLLRDNORM) == 0 {
                continue;
            }
            if let Some(ring) = self.ring_of(fd) {
                body(&ring);
            } else if depth > 0 {
                self.for_each_ring_in(fd, depth - 1, body);
            }
        }
        Some(())
    }

    /// Whether [`watch_epoll`](Self::watch_epoll) has anything to do.
    pub fn has_rings_in_epoll(&self) -> bool {
        !self.in_epoll.is_empty()
    }
}
