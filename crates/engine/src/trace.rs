//! Tracing: whoever asks for it hears of every SQE that is taken and of every CQE.
//!
//! A ring knows from its beginning whether it is traced. One that is not pays a look at that for each call.

mod record;

use std::os::fd::RawFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use ringer_abi::{Cqe, SetupFlags, Sqe};

use crate::Served;
use crate::request::Request;
use crate::ring::Ring;
use crate::system::System;
use crate::turn::Turn;

pub use record::{Record, What};

/// Who hears of what is submitted and what completes. It is called by any thread of the process, with locks of the engine held: it must not
/// make calls on rings. While it waits, so does the thread.
pub trait Tracer: Sync {
    /// A ring was made. `ring` is its number in this process, from 1.
    fn made(&self, ring: u32, made: &Made);

    /// An SQE was taken. `request` is its number among those of its ring in this process, from 1. What it points to is still the program's.
    fn submitted(&self, ring: u32, request: u64, sqe: &Sqe);

    /// A request has a result. More follow where the CQE says so (`IORING_CQE_F_MORE`).
    fn completed(&self, ring: u32, completed: &Completed);
}

/// A new ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Made {
    /// Its descriptor, or its place in the thread's table with `IORING_SETUP_REGISTERED_FD_ONLY`.
    pub fd: RawFd,
    /// How it was made.
    pub setup: SetupFlags,
    /// Entries of the SQ.
    pub sq_entries: u32,
    /// Entries of the CQ.
    pub cq_entries: u32,
}

/// A result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Completed {
    /// The number of its request. `None`: it has none on this ring, as a message of another one or the end of a registered resource.
    pub request: Option<u64>,
    /// The CQE.
    pub cqe: Cqe,
    /// How the request was served.
    pub served: Served,
    /// Whether the program gets the CQE: with `IOSQE_CQE_SKIP_SUCCESS` it may not.
    pub is_posted: bool,
}

static TRACER: OnceLock<&'static dyn Tracer> = OnceLock::new();
static RINGS: AtomicU32 = AtomicU32::new(0);

impl System {
    /// Has every ring that this process makes from now on traced. The first tracer stays: a later one is given back.
    ///
    /// # Errors
    /// The tracer, if there is one already.
    pub fn trace_to(&self, tracer: &'static dyn Tracer) -> Result<(), &'static dyn Tracer> {
        TRACER.set(tracer)
    }
}

/// What a traced ring needs for that.
pub(crate) struct Traced {
    tracer: &'static dyn Tracer,
    ring: u32,
    /// Requests so far. Only the holder of the submission lock adds one.
    requests: AtomicU64,
}

impl std::fmt::Debug for Traced {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Traced")
            .field("ring", &self.ring)
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}

impl Traced {
    /// For a new ring.
    pub(crate) fn new() -> Option<Self> {
        // Relaxed: a number for each.
        let next = || RINGS.fetch_add(1, Ordering::Relaxed) + 1;
        TRACER.get().map(|tracer| Self { tracer: *tracer, ring: next(), requests: AtomicU64::new(0) })
    }

    /// For the same ring in a child process.
    pub(crate) fn inherited(&self) -> Self {
        let requests = AtomicU64::new(self.requests.load(Ordering::Relaxed));
        Self { tracer: self.tracer, ring: self.ring, requests }
    }

    /// An SQE was taken. Returns the number of its request.
    pub(crate) fn submitted(&self, sqe: &Sqe) -> u64 {
        // Relaxed: see `requests`.
        let request = self.requests.load(Ordering::Relaxed) + 1;
        self.requests.store(request, Ordering::Relaxed);
        self.tracer.submitted(self.ring, request, sqe);
        request
    }

    pub(crate) fn completed(&self, completed: &Completed) {
        self.tracer.completed(self.ring, completed);
    }
}

impl Ring {
    /// The ring was made, and has this descriptor.
    pub(crate) fn trace_made(&self, fd: RawFd) {
        if let Some(Traced { tracer, ring, .. }) = &self.traced {
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
        if let Some(traced) = &self.ring.traced {
            traced.completed(&Completed { request, cqe: *cqe, served, is_posted });
        }
    }
}
