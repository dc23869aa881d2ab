//! Differential cases: the same scene played on the kernel's io_uring and on Ringer, and compared.
//!
//! A [`Case`] plays in a [`Session`] and records what it sees: completions by `user_data`, order
//! only where links or drain fix it, results of the three calls, and what the requests did to
//! files and buffers. Addresses, descriptor numbers and times are not recorded. Each backend
//! plays in processes of its own (the program `differential`), so that a crash or a hang is the failure of one case.
//! The kernel plays several rounds, as a case that it does not answer alike twice is a bad case.

pub mod backend;
pub mod buffer_ring;
pub mod case;
pub mod child;
pub mod compare;
pub mod errno;
pub mod exemplar;
pub mod fixtures;
pub mod kinds;
pub mod known;
pub mod memory;
pub mod player;
pub mod prep;
pub(crate) mod process;
pub mod record;
pub mod ring;
pub mod runner;
pub mod session;

pub use case::Case;
pub use ring::Ring;
pub use session::Session;
