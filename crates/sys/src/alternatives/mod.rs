//! What programs use where they do not use io_uring, and how they reach it: for comparisons with Ringer.
//!
//! The engine never calls these; `ringer bench` and the conformance cases do.

mod libc_calls;
mod linux_aio;
mod posix_aio;

pub use libc_calls::{
    close_by_libc, enter_by_libc, fork_and_end, register_by_libc, replace_by_libc, setup_by_libc,
};
pub use linux_aio::LinuxAio;
pub use posix_aio::PosixAio;

use std::os::fd::RawFd;

use crate::UserAddress;

/// What a transfer does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// File to memory.
    Read,
    /// Memory to file.
    Write,
}

/// One transfer between a file and memory. The memory is of the caller's, who keeps it until the transfer has ended.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Which way.
    pub direction: Direction,
    /// The file.
    pub fd: RawFd,
    /// The memory.
    pub address: UserAddress,
    /// Bytes to transfer.
    pub bytes: usize,
    /// Offset in the file.
    pub offset: u64,
}
