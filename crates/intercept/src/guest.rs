//! How the engine is entered from the program's threads: it is a guest there.
//!
//! No handler of the program may run while the engine has a lock: it could submit to the same ring, or leave by `longjmp`.
//! Blocking the signals would cost two system calls, more than the engine needs for a whole call. So the thread says that it is a
//! guest's now, in a word of its own, and handlers that come meanwhile are put off (`handlers`). Only where the
//! program has handlers that this library does not know of, signals are blocked.

use std::arch::asm;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, compiler_fence};

use ringer_engine::WaitMask;
use ringer_sys::Errno;
use ringer_sys::signal::{How, RAISED_BY_INSTRUCTIONS, SIGBUS, SIGSEGV, SignalSet, change_mask, set_of};

use crate::{handlers, process};

/// The signals of the fault guard. Blocked, a fault would kill the process.
pub const FAULTS: SignalSet = set_of(SIGSEGV) | set_of(SIGBUS);

/// What is blocked where signals are: everything but those that an instruction raises.
pub const ENGINE_MASK: SignalSet = !RAISED_BY_INSTRUCTIONS;

/// What a thread knows of its guest. Handlers on the same thread are the only others that look.
#[repr(C)]
pub struct State {
    /// Whether the engine runs on this thread.
    pub is_inside: AtomicU32,
    /// How many handlers are just being put off, one on top of the other.
    pub deferring: AtomicU32,
    /// Whether handlers were put off, and all signals are blocked since.
    pub has_deferred: AtomicU32,
    _padding: u32,
    /// The program's mask then.
    pub mask: AtomicU64,
    /// Whose handlers were put off.
    pub signals: AtomicU64,
    /// Where the thread's `errno` is. Null: it was not asked for yet.
    errno: AtomicPtr<c_int>,
}

impl State {
    /// Where the thread's `errno` is. Only for the thread itself.
    #[inline]
    fn errno(&self) -> *mut c_int {
        // Relaxed: only this thread writes it, and always the same.
        let known = self.errno.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        // SAFETY: the function has no condition.
        let place = unsafe { libc::__errno_location() };
        self.errno.store(place, Ordering::Relaxed);
        place
    }
}

// Not `thread_local!`: that may call a function of the dynamic linker, and the entry of a handler in assembly needs it. The
// library is loaded with the program, so that its thread-local memory is at a fixed distance from the thread pointer.
std::arch::global_asm!(
    ".pushsection .tbss.ringer_guest,\"awT\",@nobits",
    ".p2align 3",
    ".globl ringer_guest",
    ".hidden ringer_guest",
    ".type ringer_guest,@object",
    ".size ringer_guest,40",
    "ringer_guest:",
    ".zero 40",
    ".popsection",
);

const _: () = assert!(size_of::<State>() == 40);

/// This thread's state.
#[inline]
pub fn state<'a>() -> &'a State {
    let address: *const State;
    // SAFETY: `ringer_guest` is a thread-local object of the size and alignment of `State`, for which zeroes are a value. It lives
    // as long as its thread, and no reference is given to another one.
    unsafe {
        asm!(
            "mov {address}, qword ptr [rip + ringer_guest@GOTTPOFF]",
            "add {address}, qword ptr fs:[0]",
            address = out(reg) address,
            options(pure, nomem, nostack),
        );
        &*address
    }
}

/// Set when the program has handlers that this library does not know of, or threads that can be cancelled at any instruction:
/// the C library does that by a handler of its own.
static BLOCKS_SIGNALS: AtomicBool = AtomicBool::new(false);

/// From now on signals are blocked while the engine runs.
pub fn block_signals_from_now_on() {
    // Relaxed: it orders nothing.
    BLOCKS_SIGNALS.store(true, Ordering::Relaxed);
}

/// Runs `body` as the engine's guest. It gets the mask to wait with. `errno` stays as it was.
#[inline]
pub fn enter<R>(body: impl FnOnce(WaitMask) -> R) -> R {
    if BLOCKS_SIGNALS.load(Ordering::Relaxed) {
        let mask = change_mask(How::Set, ENGINE_MASK);
        let result = keeping_errno(|| body(WaitMask::These(mask)));
        change_mask(How::Set, mask);
        return result;
    }
    let state = state();
    let is_inner = state.is_inside.load(Ordering::Relaxed);
    state.is_inside.store(1, Ordering::Relaxed);
    // A handler on this thread sees the word before anything that the engine does, and the other way round below.
    compiler_fence(Ordering::SeqCst);
    let result = keeping_errno(|| body(WaitMask::Ask(handlers::wait_mask)));
    compiler_fence(Ordering::SeqCst);
    state.is_inside.store(is_inner, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    if is_inner == 0 && state.has_deferred.load(Ordering::Relaxed) != 0 {
        handlers::deliver_deferred(state, state.mask.load(Ordering::Relaxed));
    }
    result
}

/// Runs `body` as the engine's guest in a signal handler that has all signals blocked, and whose return puts the program's `mask`
/// back. Handlers that come while the engine waits are put off until it is done.
pub fn enter_in_handler<R>(mask: SignalSet, body: impl FnOnce() -> R) -> R {
    let state = state();
    let is_inner = state.is_inside.load(Ordering::Relaxed);
    state.is_inside.store(1, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    let result = body();
    compiler_fence(Ordering::SeqCst);
    state.is_inside.store(is_inner, Ordering::Relaxed);
    compiler_fence(Ordering::SeqCst);
    if is_inner == 0 && state.has_deferred.load(Ordering::Relaxed) != 0 {
        handlers::deliver_deferred(state, mask);
        change_mask(How::Set, ENGINE_MASK);
    }
    result
}

fn keeping_errno<R>(body: impl FnOnce() -> R) -> R {
    let place = state().errno();
    // SAFETY: it is this thread's `errno`, which is there as long as the thread, and nobody else's.
    let before = unsafe { *place };
    process::notice_fork();
    let result = body();
    // SAFETY: as above.
    unsafe { *place = before };
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
