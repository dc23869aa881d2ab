//! Interposed functions: `syscall`, and those on descriptors.
//!
//! They do nothing about a descriptor that is not in the reserved range, but call the function behind them.

use std::ffi::{c_int, c_long, c_uint, c_void};
use std::os::fd::RawFd;

use libc::{epoll_event, off_t, size_t};
use linux_raw_sys::general as nr;
use ringer_sys::call::raw_undecoded;
use ringer_sys::{Errno, call};

use crate::descriptors::{is_in_engine_half, is_in_ring_half};
use crate::dispatch::{Arguments, concerns_us, serve};
use crate::{descriptors, disposition, environment, guest, mask, next, start};

/// Serves a call that concerns us, with the result of a function of the C library.
///
/// # Safety
/// As for `dispatch::serve`.
unsafe fn taken(number: u32, arguments: Arguments) -> isize {
    // SAFETY: passed on to the caller.
    guest::answer(guest::enter(|mask| unsafe { serve(number, &arguments, mask) }))
}

fn no_such_function() -> c_int {
    guest::set_errno(libc::ENOSYS);
    -1
}

/// `syscall.2`.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    f: usize,
) -> c_long {
    let arguments = [a, b, c, d, e, f];
    // SAFETY: the program's call, as it stands; in the arms that change something, an equal one.
    let result = unsafe {
        match number as u32 {
            number if concerns_us(number, &arguments) => return taken(number, arguments) as c_long,
            nr::__NR_close => {
                descriptors::closing(a as c_int);
                raw_undecoded(number as usize, arguments)
            }
            nr::__NR_rt_sigprocmask => mask::raw_sigprocmask(arguments),
            nr::__NR_rt_sigaction if disposition::is_ours(a as c_int) => {
                return guest::answer(disposition::raw_sigaction(&arguments)) as c_long;
            }
            nr::__NR_execve => environment::completed(c as *const _, |environment| {
                raw_undecoded(number as usize, [a, b, environment as usize, d, e, f])
            }),
            nr::__NR_execveat => environment::completed(d as *const _, |environment| {
                raw_undecoded(number as usize, [a, b, c, environment as usize, e, f])
            }),
            _ => raw_undecoded(number as usize, arguments),
        }
    };
    if result > -4096_isize as usize {
        guest::set_errno(-(result as isize) as c_int);
        return -1;
    }
    result as c_long
}

/// `close.2`. The standard library inside this one closes the engine's descriptors by this function too: the return
/// address tells who calls.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
#[unsafe(naked)]
pub unsafe extern "C" fn close(fd: c_int) -> c_int {
    std::arch::naked_asm!("mov rsi, [rsp]", "jmp {close_from}", close_from = sym close_from)
}

unsafe extern "C" fn close_from(fd: c_int, caller: usize) -> c_int {
    if start::is_our_code(caller) {
        return guest::answer(call::close(fd)) as c_int;
    }
    if is_in_ring_half(fd) || is_in_engine_half(fd) {
        return guest::answer(guest::enter(|_| descriptors::close(fd))) as c_int;
    }
    descriptors::closing(fd);
    match next::close.find() {
        // SAFETY: the program's call, as it stands.
        Some(close) => unsafe { close(fd) },
        None => guest::answer(call::close(fd)) as c_int,
    }
}

/// `close_range.2`.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    if descriptors::reaches_reserved(first, last) {
        return guest::answer(guest::enter(|_| descriptors::close_range(first, last, flags as u32))) as c_int;
    }
    descriptors::closing_range(first, last);
    match next::close_range.find() {
        // SAFETY: the program's call, as it stands.
        Some(close_range) => unsafe { close_range(first, last, flags) },
        None => no_such_function(),
    }
}

/// `closefrom.3`.
#[unsafe(no_mangle)]
pub extern "C" fn closefrom(first: c_int) {
    let first = first.max(0).cast_unsigned();
    descriptors::closing_range(first, c_uint::MAX);
    // The function has no way to fail; without the call in the kernel the descriptors are closed one by one.
    if guest::enter(|_| descriptors::close_range(first, u32::MAX, 0)) == Err(Errno::NOSYS) {
        let end = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(1 << 20);
        for fd in first..end as u32 {
            let _ = guest::enter(|_| descriptors::close(fd as RawFd));
        }
    }
}

/// `fclose.3`, which closes its descriptor without a function that could be interposed.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fclose(stream: *mut libc::FILE) -> c_int {
    // SAFETY: the program's stream.
    descriptors::closing(unsafe { libc::fileno(stream) });
    match next::fclose.find() {
        // SAFETY: the program's call, as it stands.
        Some(fclose) => unsafe { fclose(stream) },
        None => no_such_function(),
    }
}

macro_rules! on_descriptors {
    ($($(#[$meta:meta])* $name:ident($($argument:ident: $type:ty),*) = $number:ident
        if $condition:expr $(, replaces $replaced:ident)?;)*) => { $(
        $(#[$meta])*
        ///
        /// # Safety
        /// As for the call.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $type),*) -> c_int {
            if $condition {
                let mut arguments = [0_usize; 6];
                let given = [$($argument as usize),*];
                arguments[..given.len()].copy_from_slice(&given);
                // SAFETY: the program's call.
                return unsafe { taken(nr::$number, arguments) } as c_int;
            }
            $(descriptors::closing($replaced);)?
            match next::$name.find() {
                // SAFETY: the program's call, as it stands.
                Some(next) => unsafe { next($($argument),*) },
                None => no_such_function(),
            }
        }
    )* };
}

on_descriptors! {
    /// `dup.2`.
    dup(fd: c_int) = __NR_dup if is_in_ring_half(fd);
    /// `dup2.2`.
    dup2(old: c_int, new: c_int) = __NR_dup2
        if is_in_ring_half(old) || is_in_ring_half(new) || is_in_engine_half(new), replaces new;
    /// `dup3.2`.
    dup3(old: c_int, new: c_int, flags: c_int) = __NR_dup3
        if is_in_ring_half(old) || is_in_ring_half(new) || is_in_engine_half(new), replaces new;
    /// `fcntl.2`. The third argument, where there is none, is a register that nobody looks at.
    fcntl(fd: c_int, command: c_int, argument: usize) = __NR_fcntl if is_in_ring_half(fd);
    /// `fcntl.2`.
    fcntl64(fd: c_int, command: c_int, argument: usize) = __NR_fcntl if is_in_ring_half(fd);
    /// `epoll_ctl.2`.
    epoll_ctl(epoll: c_int, operation: c_int, fd: c_int, event: *mut epoll_event) = __NR_epoll_ctl
        if is_in_ring_half(fd);
}

/// `mmap.2`.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap(
    address: *mut c_void,
    length: size_t,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    let arguments =
        [address as usize, length, protection as usize, flags as usize, fd as usize, offset as usize];
    // SAFETY: the program's call, as it stands.
    unsafe {
        if is_in_ring_half(fd) {
            return taken(nr::__NR_mmap, arguments) as *mut c_void;
        }
        match next::mmap.find() {
            Some(mmap) => mmap(address, length, protection, flags, fd, offset),
            None => guest::answer(descriptors::pass_on(nr::__NR_mmap, arguments)) as *mut c_void,
        }
    }
}

/// `mmap.2`.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mmap64(
    address: *mut c_void,
    length: size_t,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: off_t,
) -> *mut c_void {
    // SAFETY: the same call: offsets have 64 bits here.
    unsafe { mmap(address, length, protection, flags, fd, offset) }
}
