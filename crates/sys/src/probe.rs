//! Whether this kernel, here and now, lets this process have what Ringer is built on.
//!
//! Each function tries the thing itself and leaves nothing behind. A refusal may come from the kernel's
//! version, a sysctl or an outer seccomp filter; the errno is what the call gave.

use std::os::fd::AsRawFd;

use linux_raw_sys::general as nr;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, Mode, OFlags, ResolveFlags, memfd_create, openat2};
use rustix::io::{Errno, IoSliceMut, ReadWriteFlags};

use crate::call::{self, raw};
use crate::{UserAddress, native};

/// The kernel's own io_uring: makes a ring and closes it again.
///
/// # Errors
/// `EPERM` where it is forbidden, `ENOSYS` where there is none.
pub fn kernel_io_uring() -> Result<(), Errno> {
    let mut params = ringer_abi::Params::default();
    let fd = native::io_uring_setup(1, UserAddress::of(&raw mut params))?;
    call::close(fd).map(drop)
}

/// Linux AIO. `io_setup.2`.
///
/// # Errors
/// Those of the call.
pub fn linux_aio() -> Result<(), Errno> {
    let mut context = 0_usize;
    let arguments = [1, (&raw mut context) as usize, 0, 0, 0, 0];
    // SAFETY: the kernel writes one word, which is live; the context it makes is destroyed below.
    unsafe { raw(nr::__NR_io_setup, arguments) }?;
    // SAFETY: the context of the call above.
    unsafe { raw(nr::__NR_io_destroy, [context, 0, 0, 0, 0, 0]) }.map(drop)
}

/// `epoll_pwait2.2`, which waits for nanoseconds.
///
/// # Errors
/// Those of the call.
pub fn epoll_pwait2() -> Result<(), Errno> {
    let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC)?;
    let mut event = [0_u64; 2];
    let no_time = [0_u64; 2];
    let fd = epoll.as_raw_fd() as usize;
    let arguments = [fd, (&raw mut event) as usize, 1, (&raw const no_time) as usize, 0, 0];
    // SAFETY: the kernel writes at most one event, of 12 or 16 bytes, and reads one timespec; both are live.
    unsafe { raw(nr::__NR_epoll_pwait2, arguments) }.map(drop)
}

/// `process_vm_readv.2` on oneself.
///
/// # Errors
/// Those of the call.
pub fn process_vm_readv() -> Result<(), Errno> {
    let (from, mut to) = (1_u64, 0_u64);
    call::copy_by_kernel((&raw mut to) as u64, (&raw const from) as u64, size_of::<u64>(), false)
}

/// `memfd_create.2`.
///
/// # Errors
/// Those of the call.
pub fn memfd() -> Result<(), Errno> {
    memfd_create("ringer-probe", MemfdFlags::CLOEXEC).map(drop)
}

/// `eventfd.2`.
///
/// # Errors
/// Those of the call.
pub fn event_descriptor() -> Result<(), Errno> {
    eventfd(0, EventfdFlags::CLOEXEC).map(drop)
}

/// Reads that do not wait: `preadv2.2` with `RWF_NOWAIT`.
///
/// # Errors
/// Those of the call.
pub fn read_without_waiting() -> Result<(), Errno> {
    let file = rustix::fs::open("/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut byte = [0_u8];
    let mut buffers = [IoSliceMut::new(&mut byte)];
    match rustix::io::preadv2(&file, &mut buffers, 0, ReadWriteFlags::NOWAIT) {
        // Not in the page cache just now: the flag is understood.
        Ok(_) | Err(Errno::AGAIN) => Ok(()),
        Err(error) => Err(error),
    }
}

/// `openat2.2`, with which paths are looked up without waiting.
///
/// # Errors
/// Those of the call.
pub fn open_with_resolution() -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat2(rustix::fs::CWD, "/", flags, Mode::empty(), ResolveFlags::empty()).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_of_today_has_all_of_it_and_no_descriptor_is_left() {
        let open = || std::fs::read_dir("/proc/self/fd").map(Iterator::count).expect("proc is mounted");
        let before = open();
        for (name, result) in [
            ("epoll_pwait2", epoll_pwait2()),
            ("memfd", memfd()),
            ("eventfd", event_descriptor()),
            ("RWF_NOWAIT", read_without_waiting()),
            ("openat2", open_with_resolution()),
        ] {
            assert_eq!(result, Ok(()), "{name}");
        }
        // These may be forbidden where the tests run.
        let _: [Result<(), Errno>; 3] = [kernel_io_uring(), linux_aio(), process_vm_readv()];
        // Other tests of this process open and close theirs meanwhile, a few at a time.
        assert!(open() < before + 8, "descriptors are left open");
    }
}
