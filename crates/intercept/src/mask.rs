//! The program's signal masks: SIGSYS is never blocked, though the program may believe so.
//!
//! A trap whose signal is blocked kills the process. Everything else in a mask stays as the program wants it.

use std::cell::Cell;
use std::ffi::c_int;

use libc::sigset_t;
use linux_raw_sys::general as nr;
use ringer_sys::call::raw_undecoded;
use ringer_sys::signal::{SIGSYS, SignalSet, set_of};
use ringer_sys::{Errno, UserAddress};

use crate::dispatch::Arguments;
use crate::{guest, handlers, next};

const TRAP: SignalSet = set_of(SIGSYS);

thread_local! {
    /// Whether the program has blocked SIGSYS on this thread, as far as it knows.
    static BLOCKED: Cell<bool> = const { Cell::new(false) };
}

/// Notes what a change of the mask does to SIGSYS. Returns what was before.
fn note(how: c_int, set: Option<SignalSet>) -> bool {
    if how != libc::SIG_UNBLOCK {
        handlers::note_blocked(set.unwrap_or(0));
    }
    BLOCKED.with(|blocked| {
        let before = blocked.get();
        match set.map(|set| set & TRAP != 0) {
            Some(there) if how == libc::SIG_SETMASK => blocked.set(there),
            Some(true) => blocked.set(how == libc::SIG_BLOCK),
            _ => {}
        }
        before
    })
}

/// The first word of a set: all signals that there are.
///
/// # Safety
/// The address is that of a set.
unsafe fn word(set: *const sigset_t) -> SignalSet {
    // SAFETY: passed on to the caller.
    unsafe { set.cast::<SignalSet>().read_unaligned() }
}

/// A set without SIGSYS, or none.
///
/// # Safety
/// The address is null or that of a set.
pub unsafe fn without_trap(set: *const sigset_t) -> Option<sigset_t> {
    // SAFETY: passed on to the caller; the first word of the copy is part of it.
    unsafe {
        (!set.is_null()).then(|| {
            let mut copy = set.read_unaligned();
            (&raw mut copy).cast::<SignalSet>().write(word(set) & !TRAP);
            copy
        })
    }
}

/// The address of an optional set, or null.
pub fn address(set: &Option<sigset_t>) -> *const sigset_t {
    set.as_ref().map_or(std::ptr::null(), std::ptr::from_ref)
}

type Change = unsafe extern "C" fn(c_int, *const sigset_t, *mut sigset_t) -> c_int;

/// # Safety
/// The addresses are null or those of sets.
unsafe fn change(next: Option<Change>, how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    let Some(next) = next else { return libc::ENOSYS };
    // SAFETY: passed on to the caller.
    unsafe {
        let wanted = (!set.is_null()).then(|| word(set));
        let stripped = without_trap(set);
        let result = next(how, address(&stripped), old);
        if result == 0 {
            let blocked = note(how, wanted);
            if blocked && !old.is_null() {
                old.cast::<SignalSet>().write_unaligned(word(old) | TRAP);
            }
        }
        result
    }
}

/// `sigprocmask.2`.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigprocmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    // SAFETY: the program's call.
    unsafe { change(next::sigprocmask.find(), how, set, old) }
}

/// `pthread_sigmask.3`.
///
/// # Safety
/// As for the function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_sigmask(how: c_int, set: *const sigset_t, old: *mut sigset_t) -> c_int {
    // SAFETY: the program's call.
    unsafe { change(next::pthread_sigmask.find(), how, set, old) }
}

/// `rt_sigprocmask.2` through `syscall`. The result as the kernel gives it.
///
/// # Safety
/// As for the call.
pub unsafe fn raw_sigprocmask(mut arguments: Arguments) -> usize {
    let wanted = UserAddress::new(arguments[1] as u64).read::<SignalSet>();
    let stripped = wanted.map(|set| set & !TRAP);
    if let Ok(set) = &stripped {
        arguments[1] = std::ptr::from_ref(set) as usize;
    }
    // SAFETY: the program's call, with a set of its size.
    let result = unsafe { raw_undecoded(nr::__NR_rt_sigprocmask as usize, arguments) };
    if result == 0 {
        let blocked = note(arguments[0] as c_int, wanted.ok());
        let old = UserAddress::new(arguments[2] as u64);
        if blocked && let Ok(set) = old.read::<SignalSet>() {
            // The kernel has just written there.
            let _: Result<(), Errno> = old.write(set | TRAP);
        }
    }
    result
}

/// `sigsuspend.2`.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigsuspend(set: *const sigset_t) -> c_int {
    let Some(next) = next::sigsuspend.find() else {
        guest::set_errno(libc::ENOSYS);
        return -1;
    };
    // SAFETY: the program's call.
    unsafe { next(address(&without_trap(set))) }
}

/// `pthread_attr_setsigmask_np.3`.
///
/// # Safety
/// As for the function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_attr_setsigmask_np(
    attributes: *mut libc::pthread_attr_t,
    set: *const sigset_t,
) -> c_int {
    let Some(next) = next::pthread_attr_setsigmask_np.find() else { return libc::ENOSYS };
    // SAFETY: the program's call.
    unsafe {
        if !set.is_null() {
            handlers::note_blocked(word(set));
        }
        next(attributes, address(&without_trap(set)))
    }
}

/// `pthread_setcanceltype.3`. A thread that can be cancelled at any instruction must not be inside the engine then.
///
/// # Safety
/// As for the function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_setcanceltype(kind: c_int, old: *mut c_int) -> c_int {
    if kind != PTHREAD_CANCEL_DEFERRED {
        handlers::note_cancelled_anywhere();
    }
    // SAFETY: the program's call.
    next::pthread_setcanceltype.find().map_or(libc::ENOSYS, |next| unsafe { next(kind, old) })
}

/// Source: `pthread.h`.
const PTHREAD_CANCEL_DEFERRED: c_int = 0;
