//! Interposed functions that wait: poll, select and epoll.
//!
//! The readiness of a ring descriptor goes stale when the program takes completions by memory alone. Where the program
//! waits for one, the engine is told, and looks again.

use std::ffi::c_int;
use std::os::fd::RawFd;

use libc::{epoll_event, fd_set, nfds_t, pollfd, sigset_t, size_t, timespec, timeval};
use ringer_engine::System;
use ringer_sys::{Errno, UserAddress};

use crate::descriptors::{is_in_ring_half, ring_numbers_below};
use crate::dispatch::has_rings;
use crate::mask::{address, without_trap};
use crate::{guest, next};

/// Tells the engine of the rings in an epoll instance.
fn watch_epoll(epoll: RawFd) -> Result<(), Errno> {
    if !System::global().has_rings_in_epoll() {
        return Ok(());
    }
    guest::enter(|_| System::global().watch_epoll(epoll))
}

/// Tells the engine of a ring that the program waits for.
fn watch(fd: RawFd) -> Result<(), Errno> {
    guest::enter(|_| System::global().watch(fd).map(drop))
}

/// Tells the engine of the rings among what is polled. A bad address is the kernel's to refuse.
fn watch_polled(fds: *const pollfd, count: nfds_t) -> Result<(), Errno> {
    if !has_rings() {
        return Ok(());
    }
    let start = UserAddress::of(fds);
    for index in 0..count {
        // `fd` is the first field.
        match start.add(index * size_of::<pollfd>() as u64).read::<i32>() {
            Ok(fd) if is_in_ring_half(fd) => watch(fd)?,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

/// Tells the engine of the rings among what is selected: those below `count` in one of the sets.
fn watch_selected(count: c_int, sets: [*const fd_set; 3]) -> Result<(), Errno> {
    const BITS: i32 = u64::BITS as i32;
    if !has_rings() {
        return Ok(());
    }
    for fd in ring_numbers_below(count) {
        let offset = (fd / BITS) as u64 * 8;
        let is_in = |set: &*const fd_set| {
            !set.is_null()
                && UserAddress::of(*set)
                    .add(offset)
                    .read::<u64>()
                    .is_ok_and(|word| word >> (fd % BITS) & 1 == 1)
        };
        if sets.iter().any(is_in) {
            watch(fd)?;
        }
    }
    Ok(())
}

/// Calls the function behind, or fails where there is none.
/// Calls the C library once the rings are watched that the call waits for.
macro_rules! pass_on {
    ($watched:expr, $name:ident($($argument:expr),*)) => {
        match ($watched, next::$name.find()) {
            // SAFETY: the program's call, with a signal set that is at most smaller.
            (Ok(()), Some(next)) => unsafe { next($($argument),*) },
            (Ok(()), None) => guest::answer(Err(Errno::NOSYS)) as c_int,
            (Err(errno), _) => guest::answer(Err(errno)) as c_int,
        }
    };
}

/// `poll.2`.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn poll(fds: *mut pollfd, count: nfds_t, timeout: c_int) -> c_int {
    pass_on!(watch_polled(fds, count), poll(fds, count, timeout))
}

/// `poll.2` as the C library's headers call it when they know the size of the array.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __poll_chk(fds: *mut pollfd, count: nfds_t, timeout: c_int, size: size_t) -> c_int {
    check(count, size);
    pass_on!(watch_polled(fds, count), poll(fds, count, timeout))
}

/// `ppoll.2`.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ppoll(
    fds: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    set: *const sigset_t,
) -> c_int {
    // SAFETY: null, or the program's set.
    let stripped = unsafe { without_trap(set) };
    pass_on!(watch_polled(fds, count), ppoll(fds, count, timeout, address(&stripped)))
}

/// `ppoll.2` as the C library's headers call it when they know the size of the array.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __ppoll_chk(
    fds: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    set: *const sigset_t,
    size: size_t,
) -> c_int {
    check(count, size);
    // SAFETY: the program's call.
    unsafe { ppoll(fds, count, timeout, set) }
}

/// What the C library does when the array is too small.
fn check(count: nfds_t, size: size_t) {
    if size as u64 / (size_of::<pollfd>() as u64) < count {
        std::process::abort();
    }
}

/// `select.2`.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn select(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    pass_on!(watch_selected(count, [read, write, except]), select(count, read, write, except, timeout))
}

/// `pselect.2`.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pselect(
    count: c_int,
    read: *mut fd_set,
    write: *mut fd_set,
    except: *mut fd_set,
    timeout: *const timespec,
    set: *const sigset_t,
) -> c_int {
    // SAFETY: null, or the program's set.
    let stripped = unsafe { without_trap(set) };
    pass_on!(
        watch_selected(count, [read, write, except]),
        pselect(count, read, write, except, timeout, address(&stripped))
    )
}

/// `epoll_wait.2`.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_wait(
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
    timeout: c_int,
) -> c_int {
    pass_on!(watch_epoll(epoll), epoll_wait(epoll, events, count, timeout))
}

/// `epoll_pwait.2`.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_pwait(
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
    timeout: c_int,
    set: *const sigset_t,
) -> c_int {
    // SAFETY: null, or the program's set.
    let stripped = unsafe { without_trap(set) };
    pass_on!(watch_epoll(epoll), epoll_pwait(epoll, events, count, timeout, address(&stripped)))
}

/// `epoll_pwait2.2`.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn epoll_pwait2(
    epoll: c_int,
    events: *mut epoll_event,
    count: c_int,
    timeout: *const timespec,
    set: *const sigset_t,
) -> c_int {
    // SAFETY: null, or the program's set.
    let stripped = unsafe { without_trap(set) };
    pass_on!(watch_epoll(epoll), epoll_pwait2(epoll, events, count, timeout, address(&stripped)))
}
