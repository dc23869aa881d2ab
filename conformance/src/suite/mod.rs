//! The runner of liburing 2.3's own test suite.
//!
//! A test runs in one of three [modes](run::Mode): on the kernel, with io_uring refused (the null
//! run, which finds the tests that pass without any io_uring), and under Ringer with the kernel's
//! io_uring refused. The [table] in `conformance/liburing-2.3.toml` holds what is known of each
//! test; [compare] holds a run against it.
//!
//! Every test has its own working directory, its own session, limits, and a [supervisor](supervise)
//! process that ends whatever the test leaves behind.

pub mod compare;
mod failure;
pub mod launch;
pub mod outcome;
pub mod processes;
pub mod run;
pub mod source;
pub mod supervise;
pub mod table;

pub use failure::Failure;
