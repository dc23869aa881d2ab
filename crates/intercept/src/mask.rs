//! The program's signal masks: SIGSYS, SIGSEGV and SIGBUS are never blocked, though the program may believe so.
//!
//! A trap or a fault whose signal is blocked kills the process. Everything else in a mask stays as the program wants it.

use std::cell::Cell;
use std::ffi::c_int;

use libc::sigset_t;
use linux_raw_sys::general as nr;
use ringer_sys::call::raw_undecoded;
use ringer_sys::signal::{SIGBUS, SIGSEGV, SIGSYS, SignalSet, set_of};
use ringer_sys::{Errno, UserAddress};

use crate::dispatch::Arguments;
use crate::{guest, next};

/// What the program may believe to have blocked, but never has: a trap or a fault that is blocked kills the process, and
/// the engine's guarded copies recover from faults.
pub const NEVER_BLOCKED: SignalSet = set_of(SIGSYS) | set_of(SIGSEGV) | set_of(SIGBUS);

thread_local! {
    /// Which of them the program has blocked on this thread, as far as it knows.
    static BLOCKED: Cell<SignalSet> = const { Cell::new(0) };
}

/// Notes what a change of the mask does to them. Returns what was before.
fn note(how: c_int, set: Option<SignalSet>) -> SignalSet {
    let before = BLOCKED.get();
    if let Some(set) = set {
        BLOCKED.set(match how {
            libc::SIG_BLOCK => before | set & NEVER_BLOCKED,
            libc::SIG_UNBLOCK => before & !set,
            _ => set & NEVER_BLOCKED,
        });
    }
    before
}

/// Notes what was blocked when the program was started.
pub fn begin(mask: SignalSet) {
    BLOCKED.set(mask & NEVER_BLOCKED);
}

/// Whether the program believes to have blocked a signal that never is.
pub fn is_blocked(signal: c_int) -> bool {
    BLOCKED.get() & set_of(signal) != 0
}

/// The first word of a set: all signals that there are.
///
/// # Safety
/// The address is that of a set.
unsafe fn word(set: *const sigset_t) -> SignalSet {
    // SAFETY: passed on to the caller.
    unsafe { set.cast::<SignalSet>().read_unaligned() }
}

/// A set without those that are never blocked, or none.
///
/// # Safety
/// The address is null or that of a set.
pub unsafe fn without_trap(set: *const sigset_t) -> Option<sigset_t> {
    // SAFETY: passed on to the caller; the first word of the copy is part of it.
    unsafe {
        (!set.is_null()).then(|| {
            let mut copy = set.read_unaligned();
            (&raw mut copy).cast::<SignalSet>().write(word(set) & !NEVER_BLOCKED);
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
            if blocked != 0 && !old.is_null() {
                old.cast::<SignalSet>().write_unaligned(word(old) | blocked);
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
    let stripped = wanted.map(|set| set & !NEVER_BLOCKED);
    if let Ok(set) = &stripped {
        arguments[1] = std::ptr::from_ref(set) as usize;
    }
    // SAFETY: the program's call, with a set of its size.
    let result = unsafe { raw_undecoded(nr::__NR_rt_sigprocmask as usize, arguments) };
    if result == 0 {
        let blocked = note(arguments[0] as c_int, wanted.ok());
        let old = UserAddress::new(arguments[2] as u64);
        if blocked != 0
            && let Ok(set) = old.read::<SignalSet>()
        {
            // The kernel has just written there.
            let _: Result<(), Errno> = old.write(set | blocked);
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
    unsafe { next(attributes, address(&without_trap(set))) }
}

/// `pthread_setcanceltype.3`. A thread that can be cancelled at any instruction must not be inside the engine then.
///
/// # Safety
/// As for the function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pthread_setcanceltype(kind: c_int, old: *mut c_int) -> c_int {
    if kind != PTHREAD_CANCEL_DEFERRED {
        guest::block_signals_from_now_on();
    }
    // SAFETY: the program's call.
    next::pthread_setcanceltype.find().map_or(libc::ENOSYS, |next| unsafe { next(kind, old) })
}

/// Source: `pthread.h`.
const PTHREAD_CANCEL_DEFERRED: c_int = 0;
