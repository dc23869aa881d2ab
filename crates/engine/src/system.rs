//! The process-wide system: the three calls, and what a program does to a ring descriptor.

use std::os::fd::RawFd;

use ringer_sys::{Errno, UserAddress};

/// What the engine must know of the thread that calls `enter`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    /// The signal mask to hold while the call waits, as one word of 64 signals.
    ///
    /// `None`: the thread's current mask stays. The preload library runs the engine with all
    /// signals blocked and passes the mask of the interrupted program, so that a signal ends the
    /// wait with `EINTR`, as it would in the kernel.
    pub wait_mask: Option<u64>,
}

/// The arguments of `mmap.2` on a ring descriptor.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names are those of mmap.2")]
pub struct Mapping {
    pub address: UserAddress,
    pub length: usize,
    pub protection: u32,
    pub flags: u32,
    pub offset: u64,
}

/// The engine of this process.
#[derive(Debug)]
pub struct System {
    _private: (),
}

impl System {
    /// The engine of this process, made on first use.
    pub fn global() -> &'static Self {
        static SYSTEM: System = System { _private: () };
        &SYSTEM
    }

    /// Counts from now on in `counters`, which may lie in memory shared with other processes.
    /// Without this call the process counts in memory of its own.
    pub fn count_in(&self, _counters: &'static crate::Counters) {}

    /// The counters in use.
    pub fn counters(&self) -> &'static crate::Counters {
        static COUNTERS: crate::Counters = crate::Counters::new();
        &COUNTERS
    }

    /// `io_uring_setup.2`. Returns the ring descriptor.
    ///
    /// # Errors
    /// Those of the man page.
    pub fn setup(&self, _entries: u32, _params: UserAddress) -> Result<RawFd, Errno> {
        Err(Errno::NOSYS)
    }

    /// `io_uring_enter.2`. `argument` is a sigset, or an extended argument with `EXT_ARG`.
    ///
    /// # Errors
    /// Those of the man page.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the call, and the caller")]
    pub fn enter(
        &self,
        _fd: RawFd,
        _to_submit: u32,
        _min_complete: u32,
        _flags: u32,
        _argument: UserAddress,
        _argument_size: usize,
        _caller: &Caller,
    ) -> Result<i32, Errno> {
        Err(Errno::NOSYS)
    }

    /// `io_uring_register.2`.
    ///
    /// # Errors
    /// Those of the man page.
    pub fn register(
        &self,
        _fd: RawFd,
        _opcode: u32,
        _argument: UserAddress,
        _count: u32,
    ) -> Result<i32, Errno> {
        Err(Errno::NOSYS)
    }

    /// `mmap.2` of a ring descriptor: maps the SQ/CQ ring or the SQE array. Returns the address.
    ///
    /// # Errors
    /// Those of the kernel's io_uring for the same arguments.
    pub fn map(&self, _fd: RawFd, _mapping: &Mapping) -> Result<usize, Errno> {
        Err(Errno::NOSYS)
    }

    /// Whether this descriptor is a ring of this process.
    pub fn is_ring(&self, _fd: RawFd) -> bool {
        false
    }

    /// `close.2` of a ring descriptor. The last descriptor of a ring cancels what is pending and frees it.
    ///
    /// # Errors
    /// `EBADF` when it is not open.
    pub fn close(&self, _fd: RawFd) -> Result<(), Errno> {
        Err(Errno::BADF)
    }

    /// `dup.2`, `fcntl(F_DUPFD)` of a ring descriptor: another descriptor of the same ring, in the reserved range.
    ///
    /// # Errors
    /// `EBADF` when it is not a ring, `EMFILE` when the range is full.
    pub fn duplicate(&self, _fd: RawFd, _close_on_exec: bool) -> Result<RawFd, Errno> {
        Err(Errno::BADF)
    }

    /// Says that the program waits for this ring descriptor by poll, select or epoll, so that the
    /// engine keeps the descriptor's readiness true from now on.
    pub fn watch(&self, _fd: RawFd) {}

    /// To be called in the child after `fork`: the engine's threads do not exist there.
    pub fn after_fork_in_child(&self) {}
}
