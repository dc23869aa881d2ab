//! The engine: `io_uring_setup`, `io_uring_enter` and `io_uring_register` as functions of a [`System`].

mod counters;
mod system;

pub use counters::{Counters, Served};
pub use system::{Caller, Mapping, System};
