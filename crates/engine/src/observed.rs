//! Rings whose requests others want to know of, or to strike: what they have for that.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use ringer_abi::{Cqe, SetupFlags, Sqe};

use crate::Served;
use crate::chaos::{Chaos, Fate, Injected};
use crate::request::Request;
use crate::ring::Ring;
use crate::trace::{self, Completed, Made, Tracer};
use crate::turn::Turn;

/// What an observed ring has.
pub(crate) struct Observed {
    tracer: Option<&'static dyn Tracer>,
    chaos: Option<&'static Chaos>,
    /// What completes later comes when it is asked for (`IORING_SETUP_DEFER_TASKRUN`), and finds room.
    has_overflows: bool,
    /// The ring's number in this process, from 1.
    ring: u32,
    /// Requests so far. Only the holder of the submission lock adds one.
    requests: AtomicU64,
    /// Calls so far, where there may be faults.
    calls: AtomicU64,
}

impl std::fmt::Debug for Observed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Observed").field("ring", &self.ring).finish_non_exhaustive()
    }
}

impl Observed {
    /// For a new ring, if anybody wants to know of it.
    pub(crate) fn new(setup: SetupFlags) -> Option<Self> {
        static RINGS: AtomicU32 = AtomicU32::new(0);
        let (tracer, chaos) = (trace::tracer(), Chaos::of_process());
        (tracer.is_some() || chaos.is_some()).then(|| {
            // Relaxed: a number for each.
            let ring = RINGS.fetch_add(1, Ordering::Relaxed) + 1;
            let has_overflows = !setup.contains(SetupFlags::DEFER_TASKRUN);
            let (requests, calls) = (AtomicU64::new(0), AtomicU64::new(0));
            Self { tracer, chaos, has_overflows, ring, requests, calls }
        })
    }

    /// For the same ring in a child process.
    pub(crate) fn inherited(&self) -> Self {
        let copy = |count: &AtomicU64| AtomicU64::new(count.load(Ordering::Relaxed));
        Self { requests: copy(&self.requests), calls: copy(&self.calls), ..*self }
    }

    /// Whether faults may strike.
    pub(crate) fn may_be_struck(&self) -> bool {
        self.chaos.is_some()
    }

    /// An SQE was taken. Returns the number of its request, from 1, what is served in its place, and its fate.
    pub(crate) fn submitted(&self, sqe: &Sqe) -> (u64, Sqe, Option<Fate>) {
        // Relaxed: see `requests`.
        let number = self.requests.load(Ordering::Relaxed) + 1;
        self.requests.store(number, Ordering::Relaxed);
        if let Some(tracer) = self.tracer {
            tracer.submitted(self.ring, number, sqe);
        }
        let Some(chaos) = self.chaos else { return (number, *sqe, None) };
        let (sqe, fate, injected) = chaos.decide((self.ring, number), sqe, self.has_overflows);
        injected.iter().for_each(|injected| self.injected(Some(number), injected));
        (number, sqe, fate)
    }

    fn injected(&self, request: Option<u64>, injected: &Injected) {
        if let Some(tracer) = self.tracer {
            tracer.injected(self.ring, request, injected);
        }
    }

    fn next_call(&self) -> (u32, u64) {
        (self.ring, self.calls.fetch_add(1, Ordering::Relaxed))
    }

    /// How many of so many SQEs a call takes at most.
    // Not inlined, as what follows: the way of rings that nobody observes is short.
    #[cold]
    #[inline(never)]
    pub(crate) fn limit(&self, ring: &Ring, left: u32) -> u32 {
        let chaos = self.chaos.filter(|_| ring.poll_thread.get().is_none());
        chaos.and_then(|chaos| chaos.limit(self.next_call(), left)).unwrap_or(u32::MAX)
    }

    /// A call has taken so many of them.
    #[cold]
    #[inline(never)]
    pub(crate) fn was_limited(&self, from: u32, to: u32) {
        if to < from {
            self.injected(None, &Injected::Partial { from, to });
        }
    }

    /// Whether a wait is to end at once.
    pub(crate) fn interrupts(&self) -> bool {
        let interrupts = self.chaos.is_some_and(|chaos| chaos.interrupts(self.next_call()));
        if interrupts {
            self.injected(None, &Injected::Interrupt);
        }
        interrupts
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn completed(&self, completed: &Completed) {
        if let Some(tracer) = self.tracer {
            tracer.completed(self.ring, completed);
        }
    }
}

impl Ring {
    /// The ring was made, and has this descriptor.
    pub(crate) fn tell_of(&self, fd: RawFd) {
        if let Some(Observed { tracer: Some(tracer), ring, .. }) = &self.observed {
            let shape = self.shared.shape();
            let (sq_entries, cq_entries) = (shape.sq_entries, shape.cq_entries);
            tracer.made(*ring, &Made { fd, setup: self.setup, sq_entries, cq_entries });
        }
    }
}

impl Turn<'_> {
    /// A request has a result.
    #[inline]
    pub(crate) fn trace(&self, request: &Request, cqe: &Cqe, is_posted: bool) {
        self.trace_numbered(Some(request.number), cqe, request.served, is_posted);
    }

    /// The same for what is not a [`Request`].
    #[inline]
    pub(crate) fn trace_numbered(&self, request: Option<u64>, cqe: &Cqe, served: Served, is_posted: bool) {
        if let Some(observed) = &self.ring.observed {
            observed.completed(&Completed { request, cqe: *cqe, served, is_posted });
        }
    }
}
