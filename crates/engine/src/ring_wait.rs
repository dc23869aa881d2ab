//! Waiting for a ring: for its CQ to get something.
//!
//! The kernel tells whoever waits for a ring at the moment when a CQE is posted there, also if it is reaped before anybody looks. The
//! descriptor of a ring shows only what is there. So each request that waits for a ring has an eventfd of its own, which is written when a
//! CQE is posted, and which nobody reads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use ringer_abi::poll::{POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM};
use ringer_ops::{RingFile, Until};
use ringer_sys::thread::Lock;
use ringer_sys::{Errno, ready::Kick};

use crate::arm::Again;
use crate::release::Duplicate;
use crate::request::{Request, Watching};
use crate::ring::Ring;
use crate::turn::Turn;

/// The requests that wait for a ring, of this and of other rings.
#[derive(Debug, Default)]
pub(crate) struct RingWaits {
    signals: Lock<Vec<Signal>>,
    is_any: AtomicBool,
}

/// The eventfd of a request that waits.
#[derive(Debug)]
enum Signal {
    /// Of this process: it goes with its request.
    Own(Weak<Duplicate>),
    /// Of the process that this one was forked from.
    Inherited(Arc<Duplicate>),
}

impl Signal {
    fn get(&self) -> Option<Arc<Duplicate>> {
        match self {
            Self::Own(signal) => signal.upgrade(),
            Self::Inherited(signal) => Some(Arc::clone(signal)),
        }
    }
}

impl RingWaits {
    /// A CQE was posted.
    #[inline]
    pub(crate) fn tell(&self) {
        // Relaxed: a poster has had the completion lock, under which it is set.
        if self.is_any.load(Ordering::Relaxed) {
            self.tell_all();
        }
    }

    #[cold]
    fn tell_all(&self) {
        let mut signals = self.signals.lock();
        self.is_any.store(false, Ordering::Relaxed);
        for signal in signals.drain(..).filter_map(|signal| signal.get()) {
            if let Some(fd) = signal.owned() {
                // Each process writes it once, so that the counter cannot be full.
                let _ = rustix::io::write(fd, &1_u64.to_ne_bytes());
            }
        }
    }

    /// In a child after fork: keeps the eventfds of the parent's requests, which are about to be given up here.
    pub(crate) fn keep_in_child(&self) {
        // Held by another thread at the time of the fork: then the parent does not hear of what the child posts.
        if let Some(mut signals) = self.signals.try_lock() {
            let kept: Vec<Signal> = signals.iter().filter_map(Signal::get).map(Signal::Inherited).collect();
            *signals = kept;
        }
    }

    /// In a child after fork: what the ring there has of it.
    pub(crate) fn inherited(&self) -> Self {
        let signals =
            self.signals.try_lock().map(|mut signals| std::mem::take(&mut *signals)).unwrap_or_default();
        Self { is_any: AtomicBool::new(!signals.is_empty()), signals: Lock::new(signals) }
    }
}

fn new_signal() -> Result<Arc<Duplicate>, Errno> {
    Kick::new().map(|kick| Arc::new(Duplicate::from(kick.into_fd())))
}

impl Ring {
    /// A wait for this ring begins: what is posted from now on is told by the eventfd.
    fn begin_wait(&self) -> Result<Arc<Duplicate>, Errno> {
        let signal = new_signal()?;
        let _guard = self.shared.lock_completions();
        let mut signals = self.ring_waits.signals.lock();
        signals.retain(|signal| signal.get().is_some());
        signals.push(Signal::Own(Arc::downgrade(&signal)));
        // Relaxed: either a later look at the CQ sees a CQE, or its poster, which holds the completion lock, sees this.
        self.ring_waits.is_any.store(true, Ordering::Relaxed);
        Ok(signal)
    }
}

impl RingFile for Ring {
    fn ready_events(&self) -> u32 {
        let mut ready = 0;
        if self.shared.cq_ready() > 0 || self.deferred_count() > 0 {
            ready |= POLLIN | POLLRDNORM;
        }
        if !self.shared.sq_is_full() {
            ready |= POLLOUT | POLLWRNORM;
        }
        ready
    }
}

impl Turn<'_> {
    /// Arms a request that waits for a ring.
    pub(crate) fn arm_for_ring(
        &mut self,
        mut request: Box<Request>,
        events: u32,
        until: Until,
    ) -> Result<(), Again> {
        let Some(target) = request.held.ring.clone() else {
            // Whoever calls this has looked.
            return Err(self.refuse_to_arm(request, Errno::BADF));
        };
        let begun =
            self.detach(&mut request).and_then(|()| self.begin_wait(&mut request, &target, events, until));
        if let Err(errno) = begun {
            return Err(self.refuse_to_arm(request, errno));
        }
        if until != Until::Change && target.ready_events() & events != 0 {
            return Err(Again::Run(request));
        }
        let edge = until == Until::Change && target.readiness.is_shared();
        self.arm_alone(request, POLLIN, edge)
    }

    fn begin_wait(
        &self,
        request: &mut Request,
        target: &Ring,
        events: u32,
        until: Until,
    ) -> Result<(), Errno> {
        // What was posted since the state was reported must be told, too.
        if until == Until::Change && request.watching.is_some() {
            return Ok(());
        }
        self.unwatch(request);
        let file = if events & POLLIN == 0 {
            // A ring tells of nothing else.
            new_signal()?
        } else if target.readiness.is_shared() {
            // Who posts in another process knows of the ring's own descriptor only.
            let fd = request.held.file.raw();
            target.watch(fd)?;
            Arc::new(Duplicate::of(fd)?)
        } else {
            target.begin_wait()?
        };
        request.watching = Some(Watching::Own { file, interest: None });
        Ok(())
    }
}
