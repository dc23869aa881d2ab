//! System calls that take the program's addresses.
//!
//! rustix wraps calls on Rust buffers. The engine passes addresses it does not own on to the
//! kernel, which checks them: those calls are here, thin and alike. A bad address is `EFAULT`.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use linux_raw_sys::general as nr;
use rustix::io::Errno;

use crate::UserAddress;
use crate::file_status::FileStatus;
use crate::seccomp::interception;

/// A time as `struct timespec` has it; the latest one that it can have for what is later.
pub(crate) fn timespec(time: Duration) -> [i64; 2] {
    [time.as_secs().min(i64::MAX as u64) as i64, time.subsec_nanos().into()]
}

/// One raw system call, with the kernel's result decoded.
///
/// # Safety
/// The call does nothing to memory or descriptors of this process that its owner has not asked for.
pub unsafe fn raw(number: u32, arguments: [usize; 6]) -> Result<usize, Errno> {
    // SAFETY: passed on to the caller.
    let result = unsafe { raw_undecoded(number as usize, arguments) };
    if result > -4096_isize as usize {
        // The errno is in 1..4096, so that it fits.
        Err(Errno::from_raw_os_error(-(result as isize) as i32))
    } else {
        Ok(result)
    }
}

/// One raw system call; the result as the kernel gave it.
///
/// # Safety
/// As for [`raw`].
#[cfg(target_arch = "x86_64")]
#[inline]
pub unsafe fn raw_undecoded(number: usize, arguments: [usize; 6]) -> usize {
    let [a, b, c, d, e, f] = arguments;
    let result: usize;
    // SAFETY: the kernel's calling convention: arguments in these registers, rcx and r11 clobbered.
    unsafe {
        std::arch::asm!(
            "syscall",
            // The mark of `marked` does not stay behind for a call of the program to carry.
            "xor r9d, r9d",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, inlateout("r9") f => _,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// What stands at a call of [`raw_undecoded`]: the `syscall`, and the instruction behind it, by which it is told from those of others.
const CALL: [u8; 5] = [0x0f, 0x05, 0x45, 0x31, 0xc9];

/// If one of our system calls is about to be made, or to be made again after a signal, returns where it goes on afterwards.
///
/// # Safety
/// There is code at the address.
pub(crate) unsafe fn behind_call(instruction: u64) -> Option<u64> {
    const SYSCALL: usize = 2;
    let code = instruction as *const u8;
    // SAFETY: code can be read, and behind a `syscall` there is more of it.
    let is_ours = unsafe {
        code.cast::<[u8; SYSCALL]>().read() == CALL[..SYSCALL]
            && code.add(SYSCALL).cast::<[u8; CALL.len() - SYSCALL]>().read() == CALL[SYSCALL..]
    };
    is_ours.then_some(instruction + SYSCALL as u64)
}

/// A raw system call that the preload library's filter lets pass, whatever descriptor it is on. See
/// [`crate::seccomp::interception`]. The result as the kernel gave it.
///
/// For calls with at most five arguments, and `mmap`.
///
/// # Safety
/// As for [`raw`].
pub unsafe fn marked(number: u32, mut arguments: [usize; 6]) -> usize {
    if number == nr::__NR_mmap {
        arguments[4] = interception::marked_descriptor(arguments[4] as RawFd);
    } else {
        arguments[5] = interception::MARK as usize;
    }
    // SAFETY: passed on to the caller.
    unsafe { raw_undecoded(number as usize, arguments) }
}

macro_rules! calls {
    ($($(#[$meta:meta])* $name:ident = $number:ident ( $($argument:ident: $type:ty),* );)*) => { $(
        $(#[$meta])*
        ///
        /// # Errors
        /// Those of the system call.
        pub fn $name($($argument: $type),*) -> Result<usize, Errno> {
            // The mark that the preload library's filter knows the engine by, where an argument is free.
            let mut arguments = [0, 0, 0, 0, 0, interception::MARK as usize];
            let given = [$(Argument::word($argument)),*];
            arguments[..given.len()].copy_from_slice(&given);
            // SAFETY: the addresses are the program's, which asked for this operation on them by an SQE
            // or a call; the kernel checks that they are mapped. Descriptors are the program's or owned.
            unsafe { raw(nr::$number, arguments) }
        }
    )* };
}

/// Something that travels in one register.
trait Argument {
    fn word(self) -> usize;
}

macro_rules! arguments {
    ($($type:ty),*) => { $(impl Argument for $type { fn word(self) -> usize { self as usize } })* };
}
arguments!(i32, u32, u64, i64, usize);

impl Argument for UserAddress {
    fn word(self) -> usize {
        self.get() as usize
    }
}

calls! {
    /// `fcntl.2`.
    fcntl = __NR_fcntl(fd: RawFd, command: u32, argument: usize);
    /// `preadv2.2`; offset -1 reads at the file position.
    preadv2 = __NR_preadv2(fd: RawFd, vectors: UserAddress, count: usize, offset: u64, offset_high: u64, flags: u32);
    /// `pwritev2.2`; offset -1 writes at the file position.
    pwritev2 = __NR_pwritev2(fd: RawFd, vectors: UserAddress, count: usize, offset: u64, offset_high: u64, flags: u32);
    /// `read.2`.
    read = __NR_read(fd: RawFd, buffer: UserAddress, bytes: usize);
    /// `write.2`.
    write = __NR_write(fd: RawFd, buffer: UserAddress, bytes: usize);
    /// `pread64.2`.
    pread = __NR_pread64(fd: RawFd, buffer: UserAddress, bytes: usize, offset: u64);
    /// `pwrite64.2`.
    pwrite = __NR_pwrite64(fd: RawFd, buffer: UserAddress, bytes: usize, offset: u64);
    /// `fsync.2`.
    fsync = __NR_fsync(fd: RawFd);
    /// `fdatasync.2`.
    fdatasync = __NR_fdatasync(fd: RawFd);
    /// `sync_file_range.2`.
    sync_file_range = __NR_sync_file_range(fd: RawFd, offset: u64, bytes: u64, flags: u32);
    /// `fallocate.2`.
    fallocate = __NR_fallocate(fd: RawFd, mode: u32, offset: u64, bytes: u64);
    /// `posix_fadvise.2`.
    fadvise = __NR_fadvise64(fd: RawFd, offset: u64, bytes: u64, advice: u32);
    /// `getgroups.2`.
    getgroups = __NR_getgroups(count: usize, groups: UserAddress);
    /// `setgroups.2`, of the calling thread alone.
    setgroups = __NR_setgroups(count: usize, groups: UserAddress);
    /// `getresuid.2`.
    getresuid = __NR_getresuid(real: UserAddress, effective: UserAddress, saved: UserAddress);
    /// `getresgid.2`.
    getresgid = __NR_getresgid(real: UserAddress, effective: UserAddress, saved: UserAddress);
    /// `setresuid.2`, of the calling thread alone.
    setresuid = __NR_setresuid(real: u32, effective: u32, saved: u32);
    /// `setresgid.2`, of the calling thread alone.
    setresgid = __NR_setresgid(real: u32, effective: u32, saved: u32);
    /// `waitid.2`.
    waitid = __NR_waitid(kind: u32, id: i32, info: UserAddress, options: u32, usage: UserAddress);
    /// `futex.2`. The fourth argument is a timeout or a second number.
    futex = __NR_futex(word: UserAddress, operation: u32, value: u32, timeout: u64, second: UserAddress, third: u32);
    /// `futex_waitv(2)`, Linux 5.16.
    futex_waitv = __NR_futex_waitv(waiters: UserAddress, count: usize, flags: u32, timeout: UserAddress, clock: u32);
    /// `futex_wake(2)`, Linux 6.7.
    futex_wake = __NR_futex_wake(word: UserAddress, mask: u64, count: i32, flags: u32);
    /// `futex_wait(2)`, Linux 6.7.
    futex_wait = __NR_futex_wait(word: UserAddress, value: u64, mask: u64, flags: u32, timeout: UserAddress, clock: u32);
    /// `madvise.2`.
    madvise = __NR_madvise(address: UserAddress, bytes: u64, advice: u32);
    /// `statx.2`.
    statx = __NR_statx(directory: RawFd, path: UserAddress, flags: u32, mask: u32, buffer: UserAddress);
    /// `splice.2`.
    splice = __NR_splice(input: RawFd, input_offset: UserAddress, output: RawFd, output_offset: UserAddress, bytes: usize, flags: u32);
    /// `tee.2`.
    tee = __NR_tee(input: RawFd, output: RawFd, bytes: usize, flags: u32);
    /// `connect.2`.
    connect = __NR_connect(fd: RawFd, address: UserAddress, address_size: usize);
    /// `renameat2.2`.
    renameat2 = __NR_renameat2(from_directory: RawFd, from: UserAddress, to_directory: RawFd, to: UserAddress, flags: u32);
    /// `faccessat.2`.
    faccessat = __NR_faccessat(directory: RawFd, path: UserAddress, mode: u32);
    /// `unlinkat.2`.
    unlinkat = __NR_unlinkat(directory: RawFd, path: UserAddress, flags: u32);
    /// `mkdirat.2`.
    mkdirat = __NR_mkdirat(directory: RawFd, path: UserAddress, mode: u32);
    /// `symlinkat.2`.
    symlinkat = __NR_symlinkat(target: UserAddress, directory: RawFd, path: UserAddress);
    /// `linkat.2`.
    linkat = __NR_linkat(from_directory: RawFd, from: UserAddress, to_directory: RawFd, to: UserAddress, flags: u32);
    /// `ftruncate.2`.
    ftruncate = __NR_ftruncate(fd: RawFd, size: u64);
    /// `setxattr.2`.
    setxattr = __NR_setxattr(path: UserAddress, name: UserAddress, value: UserAddress, bytes: usize, flags: u32);
    /// `fsetxattr.2`.
    fsetxattr = __NR_fsetxattr(fd: RawFd, name: UserAddress, value: UserAddress, bytes: usize, flags: u32);
    /// `getxattr.2`.
    getxattr = __NR_getxattr(path: UserAddress, name: UserAddress, value: UserAddress, bytes: usize);
    /// `fgetxattr.2`.
    fgetxattr = __NR_fgetxattr(fd: RawFd, name: UserAddress, value: UserAddress, bytes: usize);
    /// `epoll_ctl.2`.
    epoll_ctl = __NR_epoll_ctl(epoll: RawFd, operation: u32, fd: RawFd, event: UserAddress);
    /// `epoll_pwait.2`; a timeout of 0 does not wait.
    epoll_pwait = __NR_epoll_pwait(epoll: RawFd, events: UserAddress, most: u32, timeout: i32, mask: UserAddress, mask_size: usize);
    /// `bind.2`.
    bind = __NR_bind(fd: RawFd, address: UserAddress, address_size: usize);
    /// `listen.2`.
    listen = __NR_listen(fd: RawFd, backlog: u32);
    /// `getsockname.2`.
    getsockname = __NR_getsockname(fd: RawFd, address: UserAddress, address_size: UserAddress);
    /// `getpeername.2`.
    getpeername = __NR_getpeername(fd: RawFd, address: UserAddress, address_size: UserAddress);
    /// `getsockopt.2`.
    getsockopt = __NR_getsockopt(fd: RawFd, level: u32, name: u32, value: UserAddress, value_size: UserAddress);
    /// `setsockopt.2`.
    setsockopt = __NR_setsockopt(fd: RawFd, level: u32, name: u32, value: UserAddress, value_size: u32);
    /// `ioctl.2` with an address as its argument.
    ioctl = __NR_ioctl(fd: RawFd, request: u32, argument: UserAddress);
    /// `shutdown.2`.
    shutdown = __NR_shutdown(fd: RawFd, how: u32);
    /// `sendto.2`.
    sendto = __NR_sendto(fd: RawFd, buffer: UserAddress, bytes: usize, flags: u32, address: UserAddress, address_size: usize);
    /// `recvfrom.2`.
    recvfrom = __NR_recvfrom(fd: RawFd, buffer: UserAddress, bytes: usize, flags: u32, address: UserAddress, address_size: UserAddress);
    /// `sendmsg.2`.
    sendmsg = __NR_sendmsg(fd: RawFd, message: UserAddress, flags: u32);
    /// `recvmsg.2`.
    recvmsg = __NR_recvmsg(fd: RawFd, message: UserAddress, flags: u32);
}

macro_rules! descriptor_calls {
    ($($(#[$meta:meta])* $name:ident = $number:ident ( $($argument:ident: $type:ty),* );)*) => { $(
        $(#[$meta])*
        ///
        /// The descriptor is the caller's, to hand on or to close.
        ///
        /// # Errors
        /// Those of the system call.
        pub fn $name($($argument: $type),*) -> Result<OwnedFd, Errno> {
            let mut arguments = [0_usize; 6];
            let given = [$(Argument::word($argument)),*];
            arguments[..given.len()].copy_from_slice(&given);
            // SAFETY: as in `calls`; the call made the descriptor just now, so that nobody else owns it.
            unsafe { raw(nr::$number, arguments).map(|fd| OwnedFd::from_raw_fd(fd as RawFd)) }
        }
    )* };
}

descriptor_calls! {
    /// `openat.2`.
    openat = __NR_openat(directory: RawFd, path: UserAddress, flags: u32, mode: u32);
    /// `openat2.2`.
    openat2 = __NR_openat2(directory: RawFd, path: UserAddress, how: UserAddress, how_size: usize);
    /// `socket.2`.
    socket = __NR_socket(domain: i32, kind: u32, protocol: u32);
    /// `accept4.2`.
    accept4 = __NR_accept4(fd: RawFd, address: UserAddress, address_size: UserAddress, flags: u32);
}

/// Makes a pipe: its read end and its write end. `pipe2.2`.
///
/// # Errors
/// Those of the system call.
pub fn pipe2(flags: u32) -> Result<[OwnedFd; 2], Errno> {
    let mut ends: [RawFd; 2] = [-1; 2];
    // SAFETY: the array is a live local that the kernel fills.
    unsafe { raw(nr::__NR_pipe2, [(&raw mut ends) as usize, flags as usize, 0, 0, 0, 0]) }?;
    let [read, write] = ends;
    // SAFETY: the call made both just now, so that nobody else owns them.
    Ok(unsafe { [OwnedFd::from_raw_fd(read), OwnedFd::from_raw_fd(write)] })
}

/// Closes a descriptor of the program by number, as it asked for. `close.2`.
///
/// # Errors
/// Those of the system call.
pub fn close(fd: RawFd) -> Result<usize, Errno> {
    // SAFETY: the program asked for this number to be closed; the engine's own descriptors are
    // refused by the caller.
    unsafe { raw(nr::__NR_close, [fd as usize, 0, 0, 0, 0, interception::MARK as usize]) }
}

/// Makes a call that may raise SIGPIPE or SIGXFSZ in the calling thread, and lets no such signal
/// reach the program: where the kernel itself serves such a request on one of its workers, they
/// are blocked there. `wanted` is the result of full success, after which there was no signal.
///
/// # Errors
/// Those of the call.
pub fn without_write_signals(
    wanted: usize,
    call: impl FnOnce() -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    const SIG_BLOCK: usize = 0;
    const SIG_SETMASK: usize = 2;
    let signals = (1_u64 << (nr::SIGPIPE - 1)) | (1 << (nr::SIGXFSZ - 1));
    let mut before = 0_u64;
    let block =
        [SIG_BLOCK, (&raw const signals) as usize, (&raw mut before) as usize, size_of::<u64>(), 0, 0];
    // SAFETY: both addresses are live objects of the size given; the mask is put back below.
    unsafe { raw(nr::__NR_rt_sigprocmask, block) }?;
    let result = call();
    if result != Ok(wanted) {
        // What the program has blocked itself may have been pending before, and stays.
        let raised_here = signals & !before;
        let no_time = [0_u64; 2];
        let take =
            [(&raw const raised_here) as usize, 0, (&raw const no_time) as usize, size_of::<u64>(), 0, 0];
        // SAFETY: the addresses are live locals of the sizes the call expects. It fails when there was no signal.
        let _ = unsafe { raw(nr::__NR_rt_sigtimedwait, take) };
    }
    let restore = [SIG_SETMASK, (&raw const before) as usize, 0, size_of::<u64>(), 0, 0];
    // SAFETY: as above. It cannot fail: the mask is one that the kernel gave.
    let _ = unsafe { raw(nr::__NR_rt_sigprocmask, restore) };
    result
}

/// Whether a descriptor names a pipe or FIFO. A closed one does not.
pub fn is_pipe(fd: RawFd) -> bool {
    const F_GETPIPE_SZ: u32 = 1032;
    fcntl(fd, F_GETPIPE_SZ, 0).is_ok()
}

/// Copies between an object of ours and the program's memory by `process_vm_readv`/`writev` on ourselves.
///
/// # Errors
/// `EFAULT` when the whole range is not accessible; `ENOSYS`/`EPERM` where the call is refused.
pub(crate) fn copy_by_kernel(ours: u64, theirs: u64, bytes: usize, to_user: bool) -> Result<(), Errno> {
    copy_all_by_kernel(&[[ours, bytes as u64]], &[[theirs, bytes as u64]], to_user)
}

/// The same for several ranges, one after the other. Each range of ours has its partner of the same length.
///
/// # Errors
/// As [`copy_by_kernel`].
pub(crate) fn copy_all_by_kernel(ours: &[[u64; 2]], theirs: &[[u64; 2]], to_user: bool) -> Result<(), Errno> {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let number = if to_user { nr::__NR_process_vm_writev } else { nr::__NR_process_vm_readv };
    let (local, remote) = (ours.as_ptr() as usize, theirs.as_ptr() as usize);
    let arguments = [pid as usize, local, ours.len(), remote, theirs.len(), 0];
    // SAFETY: `ours` are live objects of the caller in `user`; the kernel checks `theirs`.
    let copied = unsafe { raw(number, arguments) }?;
    let wanted: u64 = theirs.iter().map(|[_, bytes]| bytes).sum();
    if copied as u64 == wanted { Ok(()) } else { Err(Errno::FAULT) }
}

/// A descriptor whose readiness is asked for: `struct pollfd` of `poll.2`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PollFd {
    /// The descriptor.
    pub fd: RawFd,
    /// What is asked for, as `poll.2` bits.
    pub events: u16,
    /// What there is of it, and `POLLERR`, `POLLHUP`, `POLLNVAL`.
    pub revents: u16,
}

impl PollFd {
    /// The question.
    pub const fn new(fd: RawFd, events: u16) -> Self {
        Self { fd, events, revents: 0 }
    }
}

/// The readiness of descriptors now.
///
/// # Errors
/// Those of `ppoll.2`; `EINTR` if a signal is pending and none is ready.
pub fn poll_all_now(descriptors: &mut [PollFd]) -> Result<(), Errno> {
    let no_time = [0_u64; 2];
    let (address, count) = (descriptors.as_mut_ptr() as usize, descriptors.len());
    let arguments = [address, count, (&raw const no_time) as usize, 0, 0, 0];
    // SAFETY: the descriptors are borrowed for the call, the time is a local that outlives it; no signal mask is given.
    unsafe { raw(nr::__NR_ppoll, arguments) }.map(drop)
}

/// The readiness of a descriptor now, as `poll.2` bits. `POLLNVAL` becomes `EBADF`.
///
/// # Errors
/// `EBADF`, and those of `ppoll.2`.
pub fn poll_now(fd: RawFd, events: u16) -> Result<u16, Errno> {
    const POLLNVAL: u16 = 0x20;
    let mut entry = PollFd::new(fd, events);
    poll_all_now(std::slice::from_mut(&mut entry))?;
    if entry.revents & POLLNVAL != 0 { Err(Errno::BADF) } else { Ok(entry.revents) }
}

/// Whether any process has record locks on the file. Asked as the owner of none, so that those of this process count.
/// A file that cannot be asked has none. `F_OFD_GETLK` of `fcntl_locking.2`.
pub fn has_record_locks(fd: RawFd) -> bool {
    const F_OFD_GETLK: u32 = 36;
    const F_WRLCK: i16 = 1;
    const F_UNLCK: i16 = 2;
    /// `struct flock`.
    #[repr(C)]
    struct RecordLock {
        kind: i16,
        whence: i16,
        start: i64,
        length: i64,
        process: i32,
    }
    // The whole file, to which no lock could be added by us if there is any.
    let mut lock = RecordLock { kind: F_WRLCK, whence: 0, start: 0, length: 0, process: 0 };
    fcntl(fd, F_OFD_GETLK, (&raw mut lock) as usize).is_ok() && lock.kind != F_UNLCK
}

/// The status flags of the open file that a descriptor names. `F_GETFL` of `fcntl.2`.
///
/// # Errors
/// `EBADF`.
pub fn status_flags(fd: RawFd) -> Result<u32, Errno> {
    const F_GETFL: u32 = 3;
    fcntl(fd, F_GETFL, 0).map(|flags| flags as u32)
}

/// Checks that a descriptor is open, and more than a path. `fcntl.2`.
///
/// # Errors
/// `EBADF`.
pub fn check_open(fd: RawFd) -> Result<(), Errno> {
    const O_PATH: u32 = 0o10_000_000;
    if status_flags(fd)? & O_PATH != 0 { Err(Errno::BADF) } else { Ok(()) }
}

/// What kind of file a descriptor names, as far as the engine cares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A regular file, a directory, a block device: it has positions and is always "ready".
    Seekable,
    /// A pipe, a socket, a character device, an anonymous file: it may be waited for by poll.
    Stream,
}

/// Whether a descriptor is a socket; one that is not open is none. `statx.2`.
pub fn is_socket(fd: RawFd) -> bool {
    file_type(fd) == Some(rustix::fs::FileType::Socket)
}

/// Whether a descriptor is a pipe, a FIFO or a socket; one that is not open is none. `statx.2`.
pub fn is_pipe_or_socket(fd: RawFd) -> bool {
    matches!(file_type(fd), Some(rustix::fs::FileType::Fifo | rustix::fs::FileType::Socket))
}

/// Whether a descriptor is a character device; one that is not open is none. `statx.2`.
pub fn is_character_device(fd: RawFd) -> bool {
    file_type(fd) == Some(rustix::fs::FileType::CharacterDevice)
}

/// Whether a descriptor is `/dev/null`; one that is not open is not. `null.4`.
pub fn is_null_device(fd: RawFd) -> bool {
    status(fd).is_some_and(|found| {
        found.file_type == rustix::fs::FileType::CharacterDevice && found.is_of == rustix::fs::makedev(1, 3)
    })
}

fn file_type(fd: RawFd) -> Option<rustix::fs::FileType> {
    status(fd).map(|found| found.file_type)
}

pub(crate) fn status(fd: RawFd) -> Option<FileStatus> {
    FileStatus::of(borrowed(fd)?).ok()
}

/// A descriptor that is only asked about.
pub(crate) fn borrowed<'a>(fd: RawFd) -> Option<std::os::fd::BorrowedFd<'a>> {
    // SAFETY: no negative number; a closed one gives EBADF.
    (fd >= 0).then(|| unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) })
}

/// Whether a descriptor is of a file without a name: an eventfd, a timerfd, an epoll instance. False where that cannot be
/// seen.
pub fn is_anonymous(fd: RawFd) -> bool {
    name_of(fd).is_some_and(|name| name.starts_with(b"anon_inode:"))
}

/// What `/proc` calls the file. `proc_pid_fd.5`.
pub(crate) fn name_of(fd: RawFd) -> Option<Vec<u8>> {
    rustix::fs::readlink(format!("/proc/self/fd/{fd}"), Vec::new()).ok().map(std::ffi::CString::into_bytes)
}

/// Moves the file position by so many bytes. `lseek.2`.
///
/// # Errors
/// `EBADF`, `ESPIPE`; `EINVAL` when that would be before the beginning.
pub fn move_position(fd: RawFd, bytes: i64) -> Result<u64, Errno> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: a closed descriptor gives EBADF; nothing is kept of it.
    let file = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    rustix::fs::seek(file, rustix::fs::SeekFrom::Current(bytes))
}

/// Which transfers at an offset of a file do what its content alone says, and wait for the device only where the page cache is behind.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PlainFor {
    /// Reads: it is a regular file, open neither for direct I/O nor to append.
    pub reads: bool,
    /// Writes: besides, they do not end on the device (`O_DSYNC` of `open.2`).
    pub writes: bool,
}

impl PlainFor {
    /// Those of a descriptor's file. None if it is closed.
    pub fn of(fd: RawFd) -> Self {
        use rustix::fs::{FileType, OFlags, fcntl_getfl};
        let Some(file) = borrowed(fd) else { return Self::default() };
        let is_regular = FileStatus::of(file).is_ok_and(|status| status.file_type == FileType::RegularFile);
        let Some(flags) = is_regular.then(|| fcntl_getfl(file).ok()).flatten() else {
            return Self::default();
        };
        let reads = !flags.intersects(OFlags::DIRECT | OFlags::APPEND);
        // rustix 1.1 has the value of `O_SYNC` under `DSYNC`.
        Self { reads, writes: reads && flags.bits() & nr::O_DSYNC == 0 }
    }
}

/// The kind of a descriptor's file. `statx.2`.
///
/// # Errors
/// `EBADF`.
pub fn file_kind(fd: RawFd) -> Result<FileKind, Errno> {
    let file = borrowed(fd).ok_or(Errno::BADF)?;
    Ok(match FileStatus::of(file)?.file_type {
        rustix::fs::FileType::RegularFile
        | rustix::fs::FileType::Directory
        | rustix::fs::FileType::BlockDevice => FileKind::Seekable,
        _ => FileKind::Stream,
    })
}
