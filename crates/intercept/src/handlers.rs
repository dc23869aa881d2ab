//! The program's handlers, and when they run on a thread that is inside the engine: not at all.
//!
//! No handler may run while a lock of the engine is held, as it may want the same lock. Blocking all signals around each call
//! costs two system calls, more than the call itself. Instead the kernel gets [`on_signal`] for every handler of the program:
//! outside it calls the program's at once. Inside it sends the signal again, to its thread, blocks all signals for as long as
//! the thread stays inside, and lets them through at the end. While the engine waits no lock is held; that counts as outside.
//!
//! Handlers that come into the kernel another way are not seen to; where there are any, signals are blocked.
//!
//! Signals that an instruction raises do not count: the engine never blocks them, and raises none that is not caught.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering, compiler_fence};

use libc::{siginfo_t, ucontext_t};
use ringer_sys::Errno;
use ringer_sys::ready::{AroundWaits, BeforeWait, do_around_waits};
use ringer_sys::signal::{
    self, Action, DEFAULT, How, IGNORE, RAISED_BY_INSTRUCTIONS, SA_RESETHAND, SA_SIGINFO, SIGSYS, SignalSet,
    change_mask, set_of,
};

use crate::disposition::{self, Disposition};
use crate::guest::{ENGINE_MASK, FAULTS};
use crate::process;

/// Set for good with the first handler that is not ours, and where faults may be blocked: a guarded copy could kill the process then.
static MASK_NEEDED: AtomicBool = AtomicBool::new(true);

/// Whether the engine must be entered with signals blocked.
#[inline]
pub fn need_mask() -> bool {
    // Relaxed: whoever installs a handler and then calls sees its own store. Another thread that is inside the engine at that
    // very moment has been there since before there was a handler.
    MASK_NEEDED.load(Ordering::Relaxed)
}

/// Set for good with the first handler that is ours.
static WRAPPED: AtomicBool = AtomicBool::new(false);

/// Whether a handler may have interrupted something.
pub fn are_there_any() -> bool {
    WRAPPED.load(Ordering::Relaxed) || need_mask()
}

/// Looks at what the process starts with.
pub fn begin() {
    MASK_NEEDED.store(change_mask(How::Block, 0) & FAULTS != 0, Ordering::Relaxed);
    do_around_waits(AroundWaits { begin: begin_wait, end: end_wait });
    look();
}

/// Asks the kernel: handlers that were installed without the C library are found so.
pub fn look() {
    const LAST: c_int = 64;
    if need_mask() {
        return;
    }
    for number in 1..=LAST {
        // The C library's own are never blocked, and come to no lock of the engine.
        if let Ok(action) = signal::action(number)
            && !matches!(number, SIGCANCEL | SIGSETXID)
            && action.handler != on_signal as *const () as usize
        {
            note(number, action.handler);
        }
    }
}

/// Notes an action that the program is about to install, past [`exchange`].
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

/// The C library's signals. Source: its `internal-signals.h`.
const SIGCANCEL: c_int = 32;
const SIGSETXID: c_int = 33;

/// The program's handlers by signal. What is here counts only while the kernel has [`on_signal`].
static HANDLERS: [Disposition; 65] = [const { Disposition::new() }; 65];

thread_local! {
    /// Whether this thread is inside the engine.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// The program's mask, after a signal came while the thread was inside.
    static HELD: Cell<Option<SignalSet>> = const { Cell::new(None) };
}

/// The thread goes into the engine. Whether it was there already.
#[inline]
pub fn go_inside() -> bool {
    let before = INSIDE.replace(true);
    // What follows is inside for a handler on this thread, too.
    compiler_fence(Ordering::SeqCst);
    before
}

/// The thread comes out again. Signals that came meanwhile are let through; whether there were any.
#[inline]
pub fn go_outside() -> bool {
    compiler_fence(Ordering::SeqCst);
    INSIDE.set(false);
    compiler_fence(Ordering::SeqCst);
    match HELD.take() {
        Some(mask) => {
            change_mask(How::Set, mask);
            true
        }
        None => false,
    }
}

fn begin_wait() -> BeforeWait {
    let inside = INSIDE.get();
    BeforeWait { inside, interrupted: inside && go_outside() }
}

fn end_wait(before: BeforeWait) {
    if before.inside {
        go_inside();
    }
}

/// Whether the handler of a signal goes through [`on_signal`].
pub const fn is_wrapped(number: c_int) -> bool {
    let is_own_of_libc = matches!(number, SIGCANCEL | SIGSETXID);
    1 <= number && number <= 64 && !is_own_of_libc && set_of(number) & RAISED_BY_INSTRUCTIONS == 0
}

/// In a child of `fork`: whoever was changing a handler did not come along.
pub fn forget_changes() {
    HANDLERS.iter().for_each(Disposition::finish);
}

/// Replaces the program's action on a signal that [`is_wrapped`], and returns the one before.
///
/// # Errors
/// Those of `rt_sigaction.2`.
pub fn exchange(number: c_int, new: Option<&Action>) -> Result<Action, Errno> {
    process::notice_fork();
    let wrapper = on_signal as *const () as usize;
    let Some(handler) = HANDLERS.get(number as usize) else { return Err(Errno::INVAL) };
    let translate = |kernel: Action, program: Action| match kernel.handler == wrapper {
        true => Action::new(program.handler, program.flags, kernel.mask),
        false => kernel,
    };
    let Some(new) = new else {
        return signal::action(number).map(|kernel| translate(kernel, handler.load()));
    };
    let mask = new.mask & !set_of(SIGSYS);
    disposition::while_changing(|| {
        let before = handler.load();
        // A child in its parent's memory leaves the parent's handlers alone; it has its own in the kernel.
        let is_wrapped = !matches!(new.handler, DEFAULT | IGNORE) && !process::borrows_memory();
        if is_wrapped {
            WRAPPED.store(true, Ordering::Relaxed);
            handler.store(new);
        }
        let action = match is_wrapped {
            true => Action::new(wrapper, new.flags & !SA_RESETHAND | SA_SIGINFO, mask),
            false => Action::new(new.handler, new.flags, mask),
        };
        // SAFETY: `on_signal`, or what the program gave as a handler.
        let kernel = unsafe { signal::set_action(number, &action) };
        if kernel.is_err() && is_wrapped {
            handler.store(&before);
        }
        kernel.map(|kernel| translate(kernel, before))
    })
}

extern "C" fn on_signal(number: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let Some(handler) = HANDLERS.get(number as usize) else { return };
    if INSIDE.get() {
        // SAFETY: the arguments of this handler.
        unsafe { hold(number, info, &mut *context.cast::<ucontext_t>()) };
        return;
    }
    let action = handler.load();
    if action.flags & SA_RESETHAND != 0 {
        let _ = exchange(number, Some(&Action::default()));
    }
    if !matches!(action.handler, DEFAULT | IGNORE) {
        // SAFETY: the program gave this address as that of a handler. One without SA_SIGINFO ignores the other arguments.
        unsafe {
            let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
                std::mem::transmute(action.handler);
            handler(number, info, context);
        }
    }
}

/// Sends the signal again, and keeps all signals away until the thread comes out.
///
/// # Safety
/// The arguments are those of the handler.
unsafe fn hold(number: c_int, info: *mut siginfo_t, context: &mut ucontext_t) {
    change_mask(How::Set, ENGINE_MASK);
    // SAFETY: the kernel's part of the set is its first word.
    unsafe {
        let mask = (&raw mut context.uc_sigmask).cast::<SignalSet>();
        if HELD.get().is_none() {
            HELD.set(Some(mask.read()));
        }
        // Put in force when this handler returns.
        mask.write(ENGINE_MASK);
    }
    // SAFETY: the caller's `siginfo_t`.
    if unsafe { signal::send_again(number, info.cast()) }.is_err() {
        let _ = signal::raise(number);
    }
}
