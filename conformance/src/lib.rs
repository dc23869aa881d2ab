//! Conformance: the same case on the kernel and on Ringer, and real programs under Ringer.
#![forbid(unsafe_code)]

pub mod applications;
pub mod cases;
pub mod conservation;
pub mod differential;
pub mod process;
pub mod random;
pub mod suite;
pub mod support;
