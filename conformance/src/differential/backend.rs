//! Who serves the three calls: the kernel, or Ringer's engine inside this process.

use std::os::fd::RawFd;

use ringer_engine::{Caller, Mapping, System};
use ringer_sys::{Errno, UserAddress, native};

/// The three calls, and what else a program does to a ring descriptor.
pub trait Backend: Sync {
    /// `kernel` or `ringer`.
    fn name(&self) -> &'static str;

    /// `io_uring_setup.2`.
    ///
    /// # Errors
    /// Those of the man page.
    fn setup(&self, entries: u32, params: UserAddress) -> Result<RawFd, Errno>;

    /// `io_uring_enter.2`.
    ///
    /// # Errors
    /// Those of the man page.
    fn enter(
        &self,
        fd: RawFd,
        to_submit: u32,
        min_complete: u32,
        flags: u32,
        argument: UserAddress,
        argument_size: usize,
    ) -> Result<i32, Errno>;

    /// `io_uring_register.2`.
    ///
    /// # Errors
    /// Those of the man page.
    fn register(&self, fd: RawFd, opcode: u32, argument: UserAddress, count: u32) -> Result<i32, Errno>;

    /// `mmap.2` of a ring descriptor.
    ///
    /// # Errors
    /// Those of the kernel for a ring.
    fn map(&self, fd: RawFd, length: usize, offset: u64) -> Result<UserAddress, Errno>;

    /// `close.2` of a ring descriptor.
    ///
    /// # Errors
    /// `EBADF` when it is not open.
    fn close(&self, fd: RawFd) -> Result<(), Errno>;

    /// Says that the program is about to poll the ring descriptor.
    fn watch(&self, fd: RawFd);
}

/// The kernel's io_uring: the oracle.
#[derive(Debug)]
pub struct Kernel;

impl Backend for Kernel {
    fn name(&self) -> &'static str {
        KERNEL
    }

    fn setup(&self, entries: u32, params: UserAddress) -> Result<RawFd, Errno> {
        native::io_uring_setup(entries, params)
    }

    fn enter(
        &self,
        fd: RawFd,
        to_submit: u32,
        min_complete: u32,
        flags: u32,
        argument: UserAddress,
        argument_size: usize,
    ) -> Result<i32, Errno> {
        native::io_uring_enter(fd, to_submit, min_complete, flags, argument, argument_size)
    }

    fn register(&self, fd: RawFd, opcode: u32, argument: UserAddress, count: u32) -> Result<i32, Errno> {
        native::io_uring_register(fd, opcode, argument, count)
    }

    fn map(&self, fd: RawFd, length: usize, offset: u64) -> Result<UserAddress, Errno> {
        native::map_ring(fd, length, offset)
    }

    fn close(&self, fd: RawFd) -> Result<(), Errno> {
        native::close(fd).map(drop)
    }

    fn watch(&self, _fd: RawFd) {}
}

/// Ringer's engine as a library, without interception.
#[derive(Debug)]
pub struct Ringer {
    /// The process has the engine's handlers of SIGSEGV and SIGBUS: memory is copied without system calls, and cached reads from mappings.
    handles_faults: bool,
}

impl Backend for Ringer {
    fn name(&self) -> &'static str {
        if self.handles_faults { FAST } else { PLAIN }
    }

    fn setup(&self, entries: u32, params: UserAddress) -> Result<RawFd, Errno> {
        if self.handles_faults {
            System::global().handle_faults()?;
        }
        System::global().setup(entries, params)
    }

    fn enter(
        &self,
        fd: RawFd,
        to_submit: u32,
        min_complete: u32,
        flags: u32,
        argument: UserAddress,
        argument_size: usize,
    ) -> Result<i32, Errno> {
        let caller = Caller::default();
        System::global().enter(fd, to_submit, min_complete, flags, argument, argument_size, &caller)
    }

    fn register(&self, fd: RawFd, opcode: u32, argument: UserAddress, count: u32) -> Result<i32, Errno> {
        System::global().register(fd, opcode, argument, count)
    }

    fn map(&self, fd: RawFd, length: usize, offset: u64) -> Result<UserAddress, Errno> {
        let mapping = Mapping::anywhere(length, offset);
        System::global().map(fd, &mapping).map(|address| UserAddress::new(address as u64))
    }

    fn close(&self, fd: RawFd) -> Result<(), Errno> {
        System::global().close(fd)
    }

    fn watch(&self, fd: RawFd) {
        System::global().watch(fd).expect("a case leaves the engine descriptors");
    }
}

/// The kernel, or what takes its place when the process runs under `ringer run`.
pub const KERNEL: &str = "kernel";
/// The kernel's calls of a process that runs under `ringer run`.
pub const UNMODIFIED: &str = "unmodified";
/// Ringer's engine as it starts.
pub const PLAIN: &str = "ringer";
/// The engine with handlers of faults, as in unmodified programs.
pub const FAST: &str = "ringer-with-handlers";

/// The backend with this name.
pub fn by_name(name: &str) -> Option<&'static dyn Backend> {
    match name {
        KERNEL => Some(&Kernel),
        PLAIN => Some(&Ringer { handles_faults: false }),
        FAST => Some(&Ringer { handles_faults: true }),
        _ => None,
    }
}
