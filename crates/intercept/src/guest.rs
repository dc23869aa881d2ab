//! How the engine is entered from the program's threads: it is a guest there.

use std::ffi::c_int;

use ringer_sys::Errno;
use ringer_sys::signal::{How, RAISED_BY_INSTRUCTIONS, SIGBUS, SIGSEGV, SignalSet, change_mask, set_of};

use crate::{handlers, process};

/// The signals of the fault guard. Blocked, a fault would kill the process.
pub const FAULTS: SignalSet = set_of(SIGSEGV) | set_of(SIGBUS);

/// What is blocked while the engine runs on a thread of the program: everything, so that no handler of the
/// program runs while a lock of the engine is held, but the signals that an instruction raises.
pub const ENGINE_MASK: SignalSet = !RAISED_BY_INSTRUCTIONS;

/// Runs `body` as the engine's guest. `errno` stays as it was. Handlers of the program wait meanwhile. Where that takes
/// blocking all signals, `body` gets the mask that the program had; else the mask stays and there is nothing to get.
#[inline]
pub fn enter<R>(body: impl FnOnce(Option<SignalSet>) -> R) -> R {
    let mask = handlers::need_mask().then(|| change_mask(How::Set, ENGINE_MASK));
    let was_inside = handlers::go_inside();
    let before = errno();
    process::notice_fork();
    let result = body(mask);
    if !was_inside {
        handlers::go_outside();
    }
    set_errno(before);
    if let Some(mask) = mask {
        change_mask(How::Set, mask);
    }
    result
}

/// The program's `errno`.
pub fn errno() -> c_int {
    // SAFETY: the address is that of this thread's errno, always valid.
    unsafe { *libc::__errno_location() }
}

/// Sets the program's `errno`.
pub fn set_errno(value: c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = value };
}

/// The result of a function of the C library: -1 and `errno`, or the number.
pub fn answer(result: Result<usize, Errno>) -> isize {
    match result {
        Ok(number) => number as isize,
        Err(error) => {
            set_errno(error.raw_os_error());
            -1
        }
    }
}
