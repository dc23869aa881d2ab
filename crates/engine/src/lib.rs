//! The engine: `io_uring_setup`, `io_uring_enter` and `io_uring_register` as functions of a [`System`].

mod system;

pub use system::{Caller, Mapping, System};
