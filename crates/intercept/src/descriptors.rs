//! What a program does to ring descriptors, and to those of the engine that it does not know.
//!
//! Everything but the questions at the top is called as the engine's guest.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};

use linux_raw_sys::general as nr;
use ringer_engine::{Mapping, System};
use ringer_sys::call::{marked, raw};
use ringer_sys::descriptor::reserved;
use ringer_sys::{Errno, UserAddress};

use crate::guest;
use crate::process::borrows_memory;

/// The bounds of the reserved range, for two quick comparisons. Empty before the constructor ran.
static RINGS_START: AtomicI32 = AtomicI32::new(i32::MAX);
static ENGINE_START: AtomicI32 = AtomicI32::new(i32::MAX);
static ENGINE_END: AtomicI32 = AtomicI32::new(i32::MAX);
/// The highest ring descriptor that was ever handed out.
static HIGHEST: AtomicI32 = AtomicI32::new(-1);

/// Makes the reserved range known. Called once, by the constructor.
pub fn begin() {
    let range = reserved();
    // Relaxed, here and below: the constructor runs before the program does.
    ENGINE_END.store(range.engine.end, Ordering::Relaxed);
    ENGINE_START.store(range.engine.start, Ordering::Relaxed);
    RINGS_START.store(range.rings.start, Ordering::Relaxed);
}

/// Whether the number lies where rings are. It need not be one.
#[inline]
pub fn is_in_ring_half(fd: RawFd) -> bool {
    fd >= RINGS_START.load(Ordering::Relaxed) && fd < ENGINE_START.load(Ordering::Relaxed)
}

/// Whether the number lies where the engine's own descriptors are.
#[inline]
pub fn is_in_engine_half(fd: RawFd) -> bool {
    fd >= ENGINE_START.load(Ordering::Relaxed) && fd < ENGINE_END.load(Ordering::Relaxed)
}

/// The numbers below `end` where rings are.
pub fn ring_numbers_below(end: RawFd) -> std::ops::Range<RawFd> {
    RINGS_START.load(Ordering::Relaxed)..end.min(ENGINE_START.load(Ordering::Relaxed))
}

/// Whether a range of numbers, both ends included, has any of the reserved ones.
pub fn reaches_reserved(first: u32, last: u32) -> bool {
    last >= RINGS_START.load(Ordering::Relaxed) as u32 && first < ENGINE_END.load(Ordering::Relaxed) as u32
}

/// Notes a ring descriptor that the program got.
pub fn made(fd: RawFd) {
    HIGHEST.fetch_max(fd, Ordering::Relaxed);
}

/// The program is about to close a descriptor that is neither a ring nor the engine's, or to put another file there.
#[inline]
pub fn closing(fd: RawFd) {
    if System::global().closing(fd) && !borrows_memory() {
        guest::enter(|_| System::global().closed(fd));
    }
}

/// The same for a range of numbers, both ends included.
pub fn closing_range(first: u32, last: u32) {
    if System::global().closing_range(first, last) && !borrows_memory() {
        guest::enter(|_| System::global().closed_range(first, last));
    }
}

fn is_ring(fd: RawFd) -> bool {
    is_in_ring_half(fd) && !borrows_memory() && System::global().is_ring(fd)
}

/// Makes the call as it is.
///
/// # Safety
/// It is a call of the program, on its own memory and descriptors.
pub unsafe fn pass_on(number: u32, arguments: [usize; 6]) -> Result<usize, Errno> {
    // SAFETY: passed on to the caller.
    decode(unsafe { marked(number, arguments) })
}

fn decode(result: usize) -> Result<usize, Errno> {
    if result > -4096_isize as usize {
        // The errno is in 1..4096, so that it fits.
        Err(Errno::from_raw_os_error(-(result as isize) as i32))
    } else {
        Ok(result)
    }
}

/// A call of the program on numbers only.
fn pass_on_numbers(number: u32, a: i32, b: usize, c: usize) -> Result<usize, Errno> {
    // SAFETY: the program asked for this call on its own descriptors; the engine's were sorted out.
    unsafe { pass_on(number, [a as usize, b, c, 0, 0, 0]) }
}

/// `mmap.2` of a descriptor in the ring half.
///
/// # Safety
/// As for `mmap.2`: the program answers for what it maps over.
pub unsafe fn map(fd: RawFd, mapping: &Mapping) -> Result<usize, Errno> {
    if is_ring(fd) {
        return System::global().map(fd, mapping);
    }
    let Mapping { address, length, protection, flags, offset } = *mapping;
    let arguments =
        [address.get() as usize, length, protection as usize, flags as usize, fd as usize, offset as usize];
    // SAFETY: passed on to the caller.
    unsafe { pass_on(nr::__NR_mmap, arguments) }
}

/// `close.2`. In the engine half nothing is open as far as the program knows.
pub fn close(fd: RawFd) -> Result<usize, Errno> {
    if is_in_engine_half(fd) && !borrows_memory() {
        return Err(Errno::BADF);
    }
    if is_ring(fd) {
        return System::global().close(fd).map(|()| 0);
    }
    // A file of the program that lies among the rings.
    closing(fd);
    pass_on_numbers(nr::__NR_close, fd, 0, 0)
}

/// `close_range.2`, which goes round the engine's descriptors and closes rings one by one.
pub fn close_range(first: u32, last: u32, flags: u32) -> Result<usize, Errno> {
    const UNSHARE: u32 = 2;
    let range = |first: u32, last: u32| {
        // SAFETY: the program asked for this; the engine's descriptors are not in what is passed on below, or stay.
        unsafe { raw(nr::__NR_close_range, [first as usize, last as usize, flags as usize, 0, 0, 0]) }
    };
    // Engine descriptors are close-on-exec anyway. A child in borrowed memory has a table of its own and will execute something.
    if first > last || flags & !UNSHARE != 0 || borrows_memory() {
        return range(first, last);
    }
    let reserved = reserved();
    let (rings, engine) = (reserved.rings.start as u32, reserved.engine.clone());
    if first < rings {
        range(first, rings - 1)?;
    } else if flags != 0 {
        // Nothing is closed by this, but the table gets its own copy as asked for.
        range(u32::MAX, u32::MAX)?;
    }
    let highest = HIGHEST.load(Ordering::Relaxed).max(reserved.rings.start - 1) as u32;
    for fd in first.max(rings)..=last.min(highest) {
        // Most numbers are not open, which is no error here.
        let _ = close(fd as RawFd);
    }
    let above = first.max(highest + 1);
    let rest = last.min(engine.start as u32 - 1);
    if above <= rest {
        range(above, rest)?;
    }
    if last >= engine.end as u32 {
        range(first.max(engine.end as u32), last)?;
    }
    Ok(0)
}

/// `dup.2`. A ring's duplicate is in the ring half again.
pub fn dup(fd: RawFd) -> Result<usize, Errno> {
    if is_ring(fd) { duplicate(fd, false) } else { pass_on_numbers(nr::__NR_dup, fd, 0, 0) }
}

fn duplicate(fd: RawFd, close_on_exec: bool) -> Result<usize, Errno> {
    let duplicate = System::global().duplicate(fd, close_on_exec)?;
    made(duplicate);
    Ok(duplicate as usize)
}

/// `dup2.2`, or `dup3.2` with its flags.
///
/// A ring that is put onto a given number becomes a plain duplicate of its descriptor there: it can be polled, passed on and
/// closed, but the three calls do not know it by that number.
pub fn replace(old: RawFd, new: RawFd, flags: Option<u32>) -> Result<usize, Errno> {
    const F_GETFD: u32 = 1;
    if is_in_engine_half(new) && !borrows_memory() {
        return Err(Errno::BADF);
    }
    if old != new && is_ring(new) && ringer_sys::call::fcntl(old, F_GETFD, 0).is_ok() {
        System::global().close(new)?;
    } else if old != new {
        closing(new);
    }
    match flags {
        Some(flags) => pass_on_numbers(nr::__NR_dup3, old, new as usize, flags as usize),
        None => pass_on_numbers(nr::__NR_dup2, old, new as usize, 0),
    }
}

/// `fcntl.2`.
pub fn fcntl(fd: RawFd, command: u32, argument: usize) -> Result<usize, Errno> {
    const F_DUPFD: u32 = 0;
    const F_DUPFD_CLOEXEC: u32 = 1030;
    if matches!(command, F_DUPFD | F_DUPFD_CLOEXEC) && is_ring(fd) {
        return duplicate(fd, command == F_DUPFD_CLOEXEC);
    }
    ringer_sys::call::fcntl(fd, command, argument)
}

/// `epoll_ctl.2` on a descriptor in the ring half.
pub fn epoll_ctl(epoll: RawFd, operation: u32, fd: RawFd, event: usize) -> Result<usize, Errno> {
    let event = UserAddress::new(event as u64);
    // What cannot be read is for the call itself to refuse.
    System::global().note_in_epoll(epoll, operation, fd, event.read::<u32>().unwrap_or(0))?;
    let arguments = [epoll as usize, operation as usize, fd as usize, event.get() as usize, 0, 0];
    // SAFETY: a call of the program; the kernel checks the address.
    unsafe { pass_on(nr::__NR_epoll_ctl, arguments) }
}
