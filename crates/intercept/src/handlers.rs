//! Whether a handler of the program can run on a thread that is inside the engine.
//!
//! No handler may run while a lock of the engine is held, as it may want the same lock. Blocking all signals around each call
//! costs two system calls, more than the call itself. A program that has no handler needs neither.
//!
//! Signals that an instruction raises do not count: the engine never blocks them, and raises none that is not caught.

use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};

use ringer_sys::signal::{
    self, DEFAULT, How, IGNORE, RAISED_BY_INSTRUCTIONS, SignalSet, change_mask, set_of,
};

use crate::guest::FAULTS;

/// Set for good with the first handler, and where faults may be blocked: a guarded copy could kill the process then.
static MASK_NEEDED: AtomicBool = AtomicBool::new(true);

/// Whether the engine must be entered with signals blocked.
#[inline]
pub fn need_mask() -> bool {
    // Relaxed: whoever installs a handler and then calls sees its own store. Another thread that is inside the engine at that
    // very moment has been there since before there was a handler.
    MASK_NEEDED.load(Ordering::Relaxed)
}

/// Looks at what the process starts with.
pub fn begin() {
    MASK_NEEDED.store(change_mask(How::Block, 0) & FAULTS != 0, Ordering::Relaxed);
    look();
}

/// Asks the kernel: handlers that were installed without the C library are found so.
pub fn look() {
    const LAST: c_int = 64;
    if need_mask() {
        return;
    }
    for number in 1..=LAST {
        if let Ok(action) = signal::action(number) {
            note(number, action.handler);
        }
    }
}

/// Notes an action that the program is about to install.
pub fn note(number: c_int, handler: usize) {
    let is_signal = (1..=64).contains(&number);
    if is_signal && !matches!(handler, DEFAULT | IGNORE) && set_of(number) & RAISED_BY_INSTRUCTIONS == 0 {
        MASK_NEEDED.store(true, Ordering::Relaxed);
    }
}

/// Notes signals that the program is about to block.
pub fn note_blocked(set: SignalSet) {
    if set & FAULTS != 0 {
        MASK_NEEDED.store(true, Ordering::Relaxed);
    }
}

/// Notes that a thread can be cancelled at any instruction, which the C library does by a handler of its own.
pub fn note_cancelled_anywhere() {
    MASK_NEEDED.store(true, Ordering::Relaxed);
}
