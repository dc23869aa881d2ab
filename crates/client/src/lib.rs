//! What a program does with io_uring, for the demo and the benchmark.
//!
//! This is one of the four crates that may hold `unsafe`: whoever submits a request promises that what it points to stays
//! where it is. [`slots`] keeps that promise by owning the buffers, and [`ring`] leaves it to the memory that its user hands in, which is
//! that of the benchmark and looked at by nobody else.

pub mod calls;
pub mod ring;
pub mod slots;
