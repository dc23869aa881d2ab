//! Conformance: the same case on the kernel and on Ringer, and real programs under Ringer.

pub mod process;
