//! Fork: what a child gets of the rings, and what ends with a process.
//!
//! A child has only the thread that forked. What another thread had locked stays locked there, and half done. So that thread takes the locks of
//! the process for the moment of the fork, and beforehand a copy of what each ring has registered.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError, RwLockWriteGuard};

use ringer_sys::descriptor;

use crate::in_epoll::Pairs;
use crate::ring::{Hold, Registered, Ring};
use crate::system::{Rings, System, Threads, forget_table};
use crate::{cancel, elsewhere, recent};

thread_local! {
    /// Between [`System::before_fork`] and what is called after the fork, on either side.
    static FORKING: RefCell<Option<Forking>> = const { RefCell::new(None) };
}

/// What the thread that forks has taken.
struct Forking {
    in_epoll: MutexGuard<'static, Pairs>,
    rings: RwLockWriteGuard<'static, Rings>,
    threads: RwLockWriteGuard<'static, Threads>,
    registered: Vec<(Arc<Ring>, Registered)>,
}

/// What this thread has taken before it forked.
fn taken() -> Option<Forking> {
    FORKING.try_with(RefCell::take).ok().flatten()
}

impl System {
    /// To be called before `fork`, by the thread that forks, with its signals blocked: makes what the child must share with its parent,
    /// and keeps other threads from changing the rings until [`after_fork_in_parent`](Self::after_fork_in_parent).
    pub fn before_fork(&'static self) {
        let mut rings: Vec<Arc<Ring>> = self.read().values().map(|handle| handle.ring.ring()).collect();
        rings.sort_unstable_by_key(Arc::as_ptr);
        rings.dedup_by(|one, other| Arc::ptr_eq(one, other));
        let copy = |ring: Arc<Ring>| {
            ring.reactor.before_fork();
            ring.readiness.share();
            let registered = ring.registered();
            (ring, registered)
        };
        let registered = rings.into_iter().map(copy).collect();
        // In this order: who looks at the epoll instances looks for rings.
        let forking = Forking {
            in_epoll: self.in_epoll.lock(),
            rings: self.write(),
            threads: self.threads.write().unwrap_or_else(PoisonError::into_inner),
            registered,
        };
        // A thread that has given up its own memory already goes without.
        let _ = FORKING.try_with(|place| place.replace(Some(forking)));
    }

    /// To be called in the parent after `fork`, whether or not there is a child.
    pub fn after_fork_in_parent(&self) {
        if let Some(Forking { in_epoll, rings, threads, registered }) = taken() {
            drop((in_epoll, rings, threads));
            // Afterwards: what was unregistered meanwhile ends here, which takes other locks.
            drop(registered);
        }
    }

    /// To be called in the child after `fork`: the engine's threads do not exist there.
    ///
    /// Requests live in the process that submitted them. The child keeps the rings' shared memory and
    /// registered resources, and begins with nothing pending. Where nobody called [`before_fork`](Self::before_fork) and another
    /// thread was changing a ring's tables just then, the ring is of no use to the child.
    pub fn after_fork_in_child(&'static self) {
        ringer_sys::thread::forget_all();
        descriptor::after_fork_in_child();
        let Some(forking) = taken().or_else(|| self.unprepared()) else {
            // Relaxed: there is no other thread.
            return self.is_orphan.store(true, Ordering::Relaxed);
        };
        let Forking { in_epoll: _in_epoll, mut rings, mut threads, mut registered } = forking;
        std::mem::forget(std::mem::take(&mut *threads));
        recent::forget_all();
        self.parking().after_fork_in_child();
        rings.values().for_each(|handle| handle.ring.ring_waits.keep_in_child());
        let mut known: Vec<(Arc<Ring>, Arc<Ring>)> = Vec::new();
        for handle in rings.values_mut() {
            let same = known.iter().find(|(old, _)| Arc::ptr_eq(old, &handle.ring));
            let inherited = match same {
                Some((_, new)) => Hold::new(Arc::clone(new)),
                None => {
                    let place = registered.iter().position(|(ring, _)| Arc::ptr_eq(ring, &handle.ring));
                    let copied = place.map(|place| registered.swap_remove(place).1);
                    let Some(copied) = copied.or_else(|| handle.ring.try_registered()) else {
                        self.is_orphan.store(true, Ordering::Relaxed);
                        continue;
                    };
                    let inherited = Arc::new(handle.ring.inherited(copied));
                    handle.ring.drop_files_of_parent();
                    known.push((handle.ring.ring(), Arc::clone(&inherited)));
                    Hold::new(inherited)
                }
            };
            // Its requests are the parent's: nothing of them may be cancelled or posted here.
            std::mem::forget(std::mem::replace(&mut handle.ring, inherited));
        }
        // Those that were closed between the copy and the fork likewise.
        registered.into_iter().for_each(std::mem::forget);
        forget_table();
    }

    /// What can be had where the fork was not announced.
    fn unprepared(&'static self) -> Option<Forking> {
        let in_epoll = self.in_epoll.try_lock()?;
        let (rings, threads) = (self.rings.try_write().ok()?, self.threads.try_write().ok()?);
        Some(Forking { in_epoll, rings, threads, registered: Vec::new() })
    }

    /// To be called when the process ends: its requests on rings that other processes share end with it, but for timeouts that stand
    /// alone, which the others go on with.
    pub fn at_exit(&self) {
        for ring in self.shared_rings() {
            elsewhere::bequeath_timeouts(&ring);
            cancel::cancel_pending(&ring);
        }
    }

    /// To be called when the process executes another program: its requests on rings that other processes share end with it.
    pub fn at_exec(&self) {
        self.shared_rings().iter().for_each(cancel::cancel_pending);
    }

    fn shared_rings(&self) -> Vec<Arc<Ring>> {
        // Relaxed: set before there was another thread.
        if self.is_orphan.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let rings = self.read();
        let shared = rings.values().filter(|handle| handle.ring.readiness.is_shared());
        shared.map(|handle| handle.ring.ring()).collect()
    }
}
