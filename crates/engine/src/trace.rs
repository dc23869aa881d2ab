//! Tracing: whoever asks for it hears of every SQE that is taken and of every CQE.
//!
//! A ring knows from its beginning whether it is traced. One that is not pays a look at that for each call.

mod record;

use std::os::fd::RawFd;
use std::sync::OnceLock;

use ringer_abi::{Cqe, SetupFlags, Sqe};

use crate::Served;
use crate::chaos::Injected;
use crate::system::System;

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

    /// A fault of [`System::inject`] strikes a request that was submitted just now, or (`None`) a call.
    fn injected(&self, ring: u32, request: Option<u64>, injected: &Injected);
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

impl System {
    /// Has every ring that this process makes from now on traced. The first tracer stays: a later one is given back.
    ///
    /// # Errors
    /// The tracer, if there is one already.
    pub fn trace_to(&self, tracer: &'static dyn Tracer) -> Result<(), &'static dyn Tracer> {
        TRACER.set(tracer)
    }
}

/// Who hears of new rings.
pub(crate) fn tracer() -> Option<&'static dyn Tracer> {
    TRACER.get().copied()
}
