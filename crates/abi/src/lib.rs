//! The io_uring interface of Linux 6.18: structures, flags and numbers.
//!
//! Everything here is a fact of the interface, taken from the uapi header through
//! `linux-raw-sys` where it has them and from the man pages of liburing elsewhere.
//! Layouts are asserted field by field in [`layout`]'s tests.
#![forbid(unsafe_code)]

mod cqe;
#[allow(missing_docs, reason = "the flags' names are the uapi's own")]
mod flags;
mod layout;
mod numbers;
mod params;
mod sqe;

/// Events of `poll.2`.
pub mod poll {
    pub use linux_raw_sys::general::{
        POLLERR, POLLHUP, POLLIN, POLLOUT, POLLPRI, POLLRDHUP, POLLRDNORM, POLLWRNORM,
    };
}

pub use cqe::Cqe;
pub use flags::*;
pub use numbers::*;
pub use params::{CqRingOffsets, GetEventsArg, Params, SqRingOffsets};
pub use sqe::{Sqe, SqeBytes};
