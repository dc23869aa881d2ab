//! Signal actions and masks as the kernel has them, for the preload library.
//!
//! The C library's own functions cannot be used there: they are what the program calls and the library
//! interposes, and the seccomp filter lets only marked calls replace the SIGSYS handler.

use linux_raw_sys::general as nr;
use rustix::io::Errno;

use crate::call::{marked, raw};

const SIGILL: i32 = 4;
const SIGTRAP: i32 = 5;
const SIGFPE: i32 = 8;
/// `SIGBUS`.
pub const SIGBUS: i32 = 7;
/// `SIGSEGV`.
pub const SIGSEGV: i32 = 11;
/// `SIGSYS`.
pub const SIGSYS: i32 = 31;

/// `SIG_DFL`.
pub const DEFAULT: usize = 0;
/// `SIG_IGN`.
pub const IGNORE: usize = 1;

/// `SA_SIGINFO`.
pub const SA_SIGINFO: u64 = 4;
/// `SA_ONSTACK`.
pub const SA_ONSTACK: u64 = 0x0800_0000;
/// `SA_RESTART`.
pub const SA_RESTART: u64 = 0x1000_0000;
/// `SA_NODEFER`.
pub const SA_NODEFER: u64 = 0x4000_0000;
/// `SA_RESETHAND`.
pub const SA_RESETHAND: u64 = 0x8000_0000;
const SA_RESTORER: u64 = 0x0400_0000;

/// A set of signals as the kernel has it: signal `n` is bit `n - 1`.
pub type SignalSet = u64;

/// The set of one signal.
pub const fn set_of(signal: i32) -> SignalSet {
    1 << (signal - 1)
}

/// What is done on a signal: the kernel's `struct sigaction`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Action {
    /// The address of the handler, [`DEFAULT`] or [`IGNORE`].
    pub handler: usize,
    /// `SA_` bits.
    pub flags: u64,
    restorer: usize,
    /// What is blocked while the handler runs, besides the signal itself.
    pub mask: SignalSet,
}

/// The signals that an instruction raises: faults, which the guarded copies recover from, traps of the seccomp
/// filter, and what a debugger or a failed check needs. One of them that is blocked kills the process, so that the
/// engine never blocks them.
pub const RAISED_BY_INSTRUCTIONS: SignalSet =
    set_of(SIGSEGV) | set_of(SIGBUS) | set_of(SIGSYS) | set_of(SIGTRAP) | set_of(SIGILL) | set_of(SIGFPE);

/// The signals of the C library itself: cancellation of threads, and the change of user or group, which every thread
/// makes for itself (`nptl.7`). The library waits until all threads have answered, those of the engine too.
pub const OF_THE_C_LIBRARY: SignalSet = set_of(32) | set_of(33);

impl Action {
    /// An action.
    pub const fn new(handler: usize, flags: u64, mask: SignalSet) -> Self {
        Self { handler, flags, restorer: 0, mask }
    }
}

#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    // Debuggers and unwinders know the frame of a signal handler by exactly these bytes.
    ".pushsection .text.ringer_signal_return,\"ax\",@progbits",
    ".p2align 4",
    "nop",
    "ringer_signal_return:",
    ".byte 0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05",
    ".popsection",
);

unsafe extern "C" {
    fn ringer_signal_return();
}

/// Sets what is done on a signal and returns what was before. `rt_sigaction.2`.
///
/// # Safety
/// The handler is a function that may run at any instruction of any thread, with the arguments of a
/// handler with `SA_SIGINFO` when the flags say so.
///
/// # Errors
/// `EINVAL` for a signal that has no handler.
pub unsafe fn set_action(signal: i32, action: &Action) -> Result<Action, Errno> {
    let action = Action {
        flags: action.flags | SA_RESTORER,
        restorer: ringer_signal_return as *const () as usize,
        ..*action
    };
    change_action(signal, &raw const action as usize)
}

/// What is done on a signal. `rt_sigaction.2`.
///
/// # Errors
/// `EINVAL` for a number that is no signal.
pub fn action(signal: i32) -> Result<Action, Errno> {
    change_action(signal, 0)
}

fn change_action(signal: i32, new: usize) -> Result<Action, Errno> {
    let mut before = Action::default();
    let arguments = [signal as usize, new, (&raw mut before) as usize, size_of::<SignalSet>(), 0, 0];
    // SAFETY: both structures are live and have the kernel's layout; the handler is the caller's promise.
    decode(unsafe { marked(nr::__NR_rt_sigaction, arguments) })?;
    Ok(before)
}

/// How [`change_mask`] changes the mask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum How {
    /// Adds the set.
    Block = 0,
    /// Takes the set away.
    Unblock = 1,
    /// Replaces the mask.
    Set = 2,
}

/// Changes the calling thread's signal mask and returns the one before. `rt_sigprocmask.2`.
pub fn change_mask(how: How, set: SignalSet) -> SignalSet {
    let mut before = 0;
    let arguments =
        [how as usize, (&raw const set) as usize, (&raw mut before) as usize, size_of::<SignalSet>(), 0, 0];
    // SAFETY: both sets are live and of the size given. The call has no other way to fail.
    let _ = unsafe { raw(nr::__NR_rt_sigprocmask, arguments) };
    before
}

/// Sends a signal to the calling thread. `tgkill.2`.
///
/// # Errors
/// `EINVAL` for a number that is no signal.
pub fn raise(signal: i32) -> Result<(), Errno> {
    let process = rustix::process::getpid().as_raw_nonzero().get() as usize;
    let thread = rustix::thread::gettid().as_raw_nonzero().get() as usize;
    // SAFETY: the call touches no memory.
    unsafe { raw(nr::__NR_tgkill, [process, thread, signal as usize, 0, 0, 0]) }.map(drop)
}

/// Sends a signal to the calling thread with what came with it. `rt_tgsigqueueinfo.2`.
///
/// # Safety
/// The address is that of a `siginfo_t`.
///
/// # Errors
/// `EAGAIN` when too many signals are queued.
pub unsafe fn send_again(signal: i32, info: *const std::ffi::c_void) -> Result<(), Errno> {
    let process = rustix::process::getpid().as_raw_nonzero().get() as usize;
    let thread = rustix::thread::gettid().as_raw_nonzero().get() as usize;
    // SAFETY: the kernel reads the structure, which is the caller's.
    unsafe {
        raw(nr::__NR_rt_tgsigqueueinfo, [process, thread, signal as usize, info as usize, 0, 0]).map(drop)
    }
}

fn decode(result: usize) -> Result<usize, Errno> {
    if result > -4096_isize as usize {
        Err(Errno::from_raw_os_error(-(result as isize) as i32))
    } else {
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI32, Ordering};

    use super::*;

    static SEEN: AtomicI32 = AtomicI32::new(0);

    extern "C" fn note(signal: i32) {
        SEEN.store(signal, Ordering::Relaxed);
    }

    #[test]
    fn a_handler_runs_and_returns_and_a_blocked_signal_waits() {
        const SIGUSR2: i32 = 12;
        let mine = Action::new(note as *const () as usize, SA_RESTART, 0);
        // SAFETY: the handler stores one atomic.
        let before = unsafe { set_action(SIGUSR2, &mine) }.expect("a signal with handlers");
        assert_eq!(action(SIGUSR2).map(|now| now.handler), Ok(mine.handler));
        let mask = change_mask(How::Block, set_of(SIGUSR2));
        raise(SIGUSR2).expect("a signal");
        assert_eq!(SEEN.load(Ordering::Relaxed), 0);
        change_mask(How::Set, mask & !set_of(SIGUSR2));
        assert_eq!(SEEN.load(Ordering::Relaxed), SIGUSR2);
        // SAFETY: what was there before.
        unsafe { set_action(SIGUSR2, &before) }.expect("a signal with handlers");
        assert_eq!(action(9), Ok(Action::default()), "SIGKILL can be asked for");
        assert_eq!(action(65), Err(Errno::INVAL));
    }
}
