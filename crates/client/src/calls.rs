//! The three calls, as different programs make them.

use std::os::fd::RawFd;

use ringer_engine::{Caller, Mapping, System};
use ringer_sys::alternatives::{close_by_libc, enter_by_libc, register_by_libc, setup_by_libc};
use ringer_sys::{Errno, UserAddress, native};

/// The three calls, and the mapping of a ring.
///
/// # Safety
/// What [`map`](Self::map) returns is memory of that length, which stays until it is unmapped.
pub unsafe trait Calls {
    /// `io_uring_setup.2`.
    ///
    /// # Errors
    /// Those of the man page.
    fn setup(entries: u32, params: UserAddress) -> Result<RawFd, Errno>;
    /// `io_uring_enter.2` without an argument.
    ///
    /// # Errors
    /// Those of the man page.
    fn enter(fd: RawFd, to_submit: u32, min_complete: u32, flags: u32) -> Result<i32, Errno>;
    /// `io_uring_register.2`.
    ///
    /// # Errors
    /// Those of the man page.
    fn register(fd: RawFd, opcode: u32, argument: UserAddress, count: u32) -> Result<i32, Errno>;
    /// `mmap.2` of a ring descriptor.
    ///
    /// # Errors
    /// Those of the man page.
    fn map(fd: RawFd, length: usize, offset: u64) -> Result<UserAddress, Errno>;
    /// `close.2` of a ring descriptor.
    ///
    /// # Errors
    /// Those of the man page.
    fn close(fd: RawFd) -> Result<(), Errno>;
    /// `close.2` of a file that a request has made.
    ///
    /// # Errors
    /// Those of the man page.
    fn close_file(fd: RawFd) -> Result<(), Errno> {
        ringer_sys::call::close(fd).map(drop)
    }
}

const NO_ARGUMENT: UserAddress = UserAddress::new(0);

/// By `syscall` instructions of the program's own, as liburing does. Who serves them is decided around the program.
#[derive(Debug)]
pub struct Inline;

// SAFETY: it is `mmap.2` that maps.
unsafe impl Calls for Inline {
    fn setup(entries: u32, params: UserAddress) -> Result<RawFd, Errno> {
        native::io_uring_setup(entries, params)
    }

    fn enter(fd: RawFd, to_submit: u32, min_complete: u32, flags: u32) -> Result<i32, Errno> {
        native::io_uring_enter(fd, to_submit, min_complete, flags, NO_ARGUMENT, 0)
    }

    fn register(fd: RawFd, opcode: u32, argument: UserAddress, count: u32) -> Result<i32, Errno> {
        native::io_uring_register(fd, opcode, argument, count)
    }

    fn map(fd: RawFd, length: usize, offset: u64) -> Result<UserAddress, Errno> {
        native::map_ring(fd, length, offset)
    }

    fn close(fd: RawFd) -> Result<(), Errno> {
        Self::close_file(fd)
    }

    fn close_file(fd: RawFd) -> Result<(), Errno> {
        // As programs do: the preload library hears of it.
        close_by_libc(fd)
    }
}

/// By libc's `syscall()`, as the `io-uring` crate does.
#[derive(Debug)]
pub struct Libc;

// SAFETY: as for `Inline`.
unsafe impl Calls for Libc {
    fn setup(entries: u32, params: UserAddress) -> Result<RawFd, Errno> {
        setup_by_libc(entries, params)
    }

    fn enter(fd: RawFd, to_submit: u32, min_complete: u32, flags: u32) -> Result<i32, Errno> {
        enter_by_libc(fd, to_submit, min_complete, flags, NO_ARGUMENT, 0)
    }

    fn register(fd: RawFd, opcode: u32, argument: UserAddress, count: u32) -> Result<i32, Errno> {
        register_by_libc(fd, opcode, argument, count)
    }

    fn map(fd: RawFd, length: usize, offset: u64) -> Result<UserAddress, Errno> {
        Inline::map(fd, length, offset)
    }

    fn close(fd: RawFd) -> Result<(), Errno> {
        Inline::close(fd)
    }
}

/// The engine in this process, as an embedder calls it.
#[derive(Debug)]
pub struct Embedded;

// SAFETY: the engine maps by `mmap.2`, too.
unsafe impl Calls for Embedded {
    fn setup(entries: u32, params: UserAddress) -> Result<RawFd, Errno> {
        System::global().handle_faults()?;
        System::global().setup(entries, params)
    }

    fn enter(fd: RawFd, to_submit: u32, min_complete: u32, flags: u32) -> Result<i32, Errno> {
        System::global().enter(fd, to_submit, min_complete, flags, NO_ARGUMENT, 0, &Caller::default())
    }

    fn register(fd: RawFd, opcode: u32, argument: UserAddress, count: u32) -> Result<i32, Errno> {
        System::global().register(fd, opcode, argument, count)
    }

    fn map(fd: RawFd, length: usize, offset: u64) -> Result<UserAddress, Errno> {
        let mapping = Mapping::anywhere(length, offset);
        System::global().map(fd, &mapping).map(|address| UserAddress::new(address as u64))
    }

    fn close(fd: RawFd) -> Result<(), Errno> {
        System::global().close(fd)
    }
}
