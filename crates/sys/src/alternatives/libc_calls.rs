//! Calls by way of libc: the three by its `syscall()`, as the `io-uring` crate makes them, and what the preload library must hear of.

use std::ffi::c_long;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use crate::UserAddress;

/// `io_uring_setup.2`.
///
/// # Errors
/// Those of the man page.
pub fn setup_by_libc(entries: u32, params: UserAddress) -> Result<RawFd, Errno> {
    // SAFETY: whoever serves the call checks the address; the descriptor it makes belongs to the caller.
    decode(unsafe { libc::syscall(libc::SYS_io_uring_setup, entries as usize, params.get()) })
}

/// `io_uring_enter.2`.
///
/// # Errors
/// Those of the man page.
pub fn enter_by_libc(
    fd: RawFd,
    to_submit: u32,
    min_complete: u32,
    flags: u32,
    argument: UserAddress,
    argument_size: usize,
) -> Result<i32, Errno> {
    // SAFETY: the ring's entries are requests of the caller on its own memory, checked by whoever serves the call.
    decode(unsafe {
        libc::syscall(
            libc::SYS_io_uring_enter,
            fd as usize,
            to_submit as usize,
            min_complete as usize,
            flags as usize,
            argument.get(),
            argument_size,
        )
    })
}

/// `io_uring_register.2`.
///
/// # Errors
/// Those of the man page.
pub fn register_by_libc(fd: RawFd, opcode: u32, argument: UserAddress, count: u32) -> Result<i32, Errno> {
    // SAFETY: whoever serves the call checks the addresses.
    decode(unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            fd as usize,
            opcode as usize,
            argument.get(),
            count as usize,
        )
    })
}

/// `close.2`.
///
/// # Errors
/// Those of the man page.
pub fn close_by_libc(fd: RawFd) -> Result<(), Errno> {
    // SAFETY: the descriptor is the caller's, who gives it up.
    decode(unsafe { libc::close(fd) }.into()).map(drop)
}

/// `dup2.2`: puts a file in the place of another one, which is closed. rustix makes this call without libc.
///
/// # Errors
/// Those of the man page.
pub fn replace_by_libc(from: impl AsFd, to: &mut OwnedFd) -> Result<(), Errno> {
    // SAFETY: both are open, and `to` is the caller's to replace.
    decode(unsafe { libc::dup2(from.as_fd().as_raw_fd(), to.as_raw_fd()) }.into()).map(drop)
}

/// `fork.2`: has a child that ends at once.
///
/// # Errors
/// `EAGAIN` when there may be no more processes.
pub fn fork_and_end() -> Result<(), Errno> {
    // SAFETY: in the child, what other threads held is as it was; it does nothing but end.
    match unsafe { libc::fork() } {
        // SAFETY: it runs nothing of the process's on its way.
        0 => unsafe { libc::_exit(0) },
        child => {
            let child = rustix::process::Pid::from_raw(decode(child.into())?);
            rustix::process::waitpid(child, rustix::process::WaitOptions::empty()).map(drop)
        }
    }
}

fn decode(result: c_long) -> Result<i32, Errno> {
    if result < 0 {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL));
    }
    Ok(result as i32)
}
