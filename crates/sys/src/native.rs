//! The kernel's own io_uring, for comparisons with it.
//!
//! And other calls that are a program's own. The engine never calls these. The conformance cases run on the kernel through them, and
//! `ringer probe` and `ringer bench` may ask whether the kernel's io_uring works here.

use std::os::fd::RawFd;

use linux_raw_sys::general as nr;
use rustix::io::Errno;

use crate::UserAddress;
use crate::call::raw;

/// `io_uring_setup.2` of the kernel.
///
/// # Errors
/// Those of the man page.
pub fn io_uring_setup(entries: u32, params: UserAddress) -> Result<RawFd, Errno> {
    // SAFETY: the kernel checks the address; the descriptor it makes belongs to the caller.
    unsafe { raw(nr::__NR_io_uring_setup, [entries as usize, params.get() as usize, 0, 0, 0, 0]) }
        .map(|fd| fd as RawFd)
}

/// `io_uring_enter.2` of the kernel. `argument` is a sigset, or an extended argument with `EXT_ARG`.
///
/// # Errors
/// Those of the man page.
pub fn io_uring_enter(
    fd: RawFd,
    to_submit: u32,
    min_complete: u32,
    flags: u32,
    argument: UserAddress,
    argument_size: usize,
) -> Result<i32, Errno> {
    let arguments = [
        fd as usize,
        to_submit as usize,
        min_complete as usize,
        flags as usize,
        argument.get() as usize,
        argument_size,
    ];
    // SAFETY: the ring's entries are requests of the caller on its own memory, checked by the kernel.
    unsafe { raw(nr::__NR_io_uring_enter, arguments) }.map(|result| result as i32)
}

/// `io_uring_register.2` of the kernel.
///
/// # Errors
/// Those of the man page.
pub fn io_uring_register(fd: RawFd, opcode: u32, argument: UserAddress, count: u32) -> Result<i32, Errno> {
    let arguments = [fd as usize, opcode as usize, argument.get() as usize, count as usize, 0, 0];
    // SAFETY: the kernel checks the addresses; what it keeps of them is pinned by itself.
    unsafe { raw(nr::__NR_io_uring_register, arguments) }.map(|result| result as i32)
}

/// Maps a ring at an address of the kernel's choice, readable and writable. `mmap.2`.
///
/// # Errors
/// Those of the system call.
pub fn map_ring(fd: RawFd, length: usize, offset: u64) -> Result<UserAddress, Errno> {
    let flags = nr::MAP_SHARED | nr::MAP_POPULATE;
    map(fd, length, flags, offset)
}

/// Maps zeroed memory at an address of the kernel's choice, readable and writable. `mmap.2`.
///
/// # Errors
/// Those of the system call.
pub fn map_anonymous(length: usize) -> Result<UserAddress, Errno> {
    map(-1, length, nr::MAP_PRIVATE | nr::MAP_ANONYMOUS, 0)
}

fn map(fd: RawFd, length: usize, flags: u32, offset: u64) -> Result<UserAddress, Errno> {
    let protection = nr::PROT_READ | nr::PROT_WRITE;
    let arguments = [0, length, protection as usize, flags as usize, fd as usize, offset as usize];
    // SAFETY: no address is asked for, so that no mapping of anybody is replaced.
    unsafe { raw(nr::__NR_mmap, arguments) }.map(|address| UserAddress::new(address as u64))
}

/// Changes the protection of memory that one of this module's calls mapped. `mprotect.2`.
///
/// # Errors
/// Those of the system call.
pub fn protect(address: UserAddress, length: usize, protection: u32) -> Result<(), Errno> {
    let arguments = [address.get() as usize, length, protection as usize, 0, 0, 0];
    // SAFETY: as for `call::madvise`: the address is the program's, which looks at it by guarded copies only.
    unsafe { raw(nr::__NR_mprotect, arguments) }.map(drop)
}

/// Unmaps memory that one of this module's calls, or the engine's `map`, mapped. `munmap.2`.
///
/// # Errors
/// Those of the system call.
pub fn unmap(address: UserAddress, length: usize) -> Result<(), Errno> {
    // SAFETY: as for `protect`.
    unsafe { raw(nr::__NR_munmap, [address.get() as usize, length, 0, 0, 0, 0]) }.map(drop)
}

/// Closes a descriptor, as a program does: unlike [`crate::call::close`], the preload library hears of it. `close.2`.
///
/// # Errors
/// Those of the system call.
pub fn close(fd: RawFd) -> Result<usize, Errno> {
    // SAFETY: whoever calls this says that the number is its own.
    unsafe { raw(nr::__NR_close, [fd as usize, 0, 0, 0, 0, 0]) }
}

/// Sets the calling thread's signal mask and returns the one before. `rt_sigprocmask.2`.
///
/// # Errors
/// Those of the system call.
pub fn set_signal_mask(mask: u64) -> Result<u64, Errno> {
    const SIG_SETMASK: usize = 2;
    let mut before = 0_u64;
    let arguments =
        [SIG_SETMASK, (&raw const mask) as usize, (&raw mut before) as usize, size_of::<u64>(), 0, 0];
    // SAFETY: both addresses are live locals of the size given.
    unsafe { raw(nr::__NR_rt_sigprocmask, arguments) }?;
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_arguments_give_an_errno_and_memory_can_be_mapped() {
        // Where io_uring is blocked the errno is another one, never success.
        assert!(io_uring_setup(0, UserAddress::new(0)).is_err());
        assert!(io_uring_enter(-1, 0, 0, 0, UserAddress::new(0), 0).is_err());
        assert!(io_uring_register(-1, 0, UserAddress::new(0), 0).is_err());
        let memory = map_anonymous(8192).expect("two pages");
        memory.write(5_u64).expect("writable");
        protect(memory, 4096, nr::PROT_NONE).expect("a mapping of our own");
        assert_eq!(memory.read::<u64>(), Err(Errno::FAULT));
        unmap(memory, 8192).expect("a mapping of our own");
    }

    #[test]
    fn the_signal_mask_is_set_and_put_back() {
        let before = set_signal_mask(1 << 9).expect("a valid mask");
        assert_eq!(set_signal_mask(before), Ok(1 << 9));
    }
}
