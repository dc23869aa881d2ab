//! Faults of guarded copies: handlers for a process that embeds the engine, and what they share with those of the preload library.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::{siginfo_t, ucontext_t};

use crate::Errno;
use crate::signal::{
    self, Action, DEFAULT, IGNORE, SA_NODEFER, SA_ONSTACK, SA_RESETHAND, SA_RESTART, SA_SIGINFO, SIGBUS,
    SIGSEGV, SignalSet,
};
use crate::{call, interrupt, user};

/// Handlers of SIGSEGV and SIGBUS that recover from the faults of guarded copies. Whatever else arrives goes to the handlers
/// that were there before, with the arguments, the mask and the stack that they asked for.
///
/// Does nothing if they are installed already. Handlers that are installed later have to call the ones before them, as is the custom:
/// else a bad address in an SQE ends the process instead of being `EFAULT`.
///
/// # Errors
/// Those of `rt_sigaction.2`: `ENOSYS`, `EPERM` where a seccomp filter refuses it.
pub fn install_handlers() -> Result<(), Errno> {
    static INSTALLED: OnceLock<Result<(), Errno>> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        if user::has_fault_handler() {
            // The preload library's: it keeps the process's handlers behind its own.
            return Ok(());
        }
        SEGV.install(SIGSEGV)?;
        BUS.install(SIGBUS)?;
        // SAFETY: `on_fault` has `is_not_recovered` call `recover_from_fault`. Replacing them is said to be wrong above.
        unsafe { user::declare_fault_handler(on_fault as *const () as usize) };
        Ok(())
    })
}

/// What a signal did before.
struct Before {
    action: OnceLock<Action>,
    /// Its handler now: one may ask to be called once only.
    handler: AtomicUsize,
}

static SEGV: Before = Before { action: OnceLock::new(), handler: AtomicUsize::new(DEFAULT) };
static BUS: Before = Before { action: OnceLock::new(), handler: AtomicUsize::new(DEFAULT) };

impl Before {
    fn install(&self, signal: c_int) -> Result<(), Errno> {
        let before = signal::action(signal)?;
        // Relaxed: no handler of ours runs before the system call below.
        self.handler.store(before.handler, Ordering::Relaxed);
        let before = self.action.get_or_init(|| before);
        // SAFETY: `on_fault` takes no lock and touches nothing but its arguments and what was set here.
        unsafe { signal::set_action(signal, &in_front_of(before, on_fault, before.mask)) }.map(drop)
    }
}

/// The action of a handler that is to be called as the one `before` it would be.
pub fn in_front_of(
    before: &Action,
    handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void),
    mask: SignalSet,
) -> Action {
    let handler = handler as *const () as usize;
    if matches!(before.handler, DEFAULT | IGNORE) {
        return Action::new(handler, SA_SIGINFO | SA_ONSTACK | SA_RESTART, 0);
    }
    let flags = before.flags & (SA_ONSTACK | SA_RESTART | SA_NODEFER);
    Action::new(handler, flags | SA_SIGINFO, mask)
}

extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the arguments are the kernel's.
    let Some(is_fault) = (unsafe { is_not_recovered(info, context) }) else { return };
    let before = if signal == SIGSEGV { &SEGV } else { &BUS };
    let Some(action) = before.action.get() else { return };
    let is_for_once = action.flags & SA_RESETHAND != 0;
    // Relaxed: whoever swaps first calls it.
    let handler = match is_for_once {
        true => before.handler.swap(DEFAULT, Ordering::Relaxed),
        false => before.handler.load(Ordering::Relaxed),
    };
    match handler {
        // A signal that somebody sent can be ignored, a fault cannot.
        IGNORE if !is_fault => {}
        DEFAULT | IGNORE => end(signal, is_fault),
        // SAFETY: the arguments are the kernel's.
        _ => unsafe { call(action, signal, info, context) },
    }
}

/// Goes on behind a guarded copy that faulted, or a call that was to be [interrupted](crate::interrupt): `None`. Else whether the
/// signal is of a fault, or somebody sent it.
///
/// # Safety
/// The arguments are those of a handler with `SA_SIGINFO`.
pub unsafe fn is_not_recovered(info: *mut siginfo_t, context: *mut c_void) -> Option<bool> {
    // SAFETY: the kernel passes both to such a handler; they are its frame's own.
    let (code, frame) = unsafe { ((*info).si_code, &mut *context.cast::<ucontext_t>()) };
    let is_fault = code > 0;
    let registers = &mut frame.uc_mcontext.gregs;
    let instruction = registers[libc::REG_RIP as usize] as u64;
    if is_fault && let Some(recovery) = user::recover_from_fault(instruction) {
        registers[libc::REG_RIP as usize] = recovery as i64;
        return None;
    }
    // SAFETY: it is the next instruction of the thread that runs this.
    let end_call = || unsafe {
        if let Some(behind) = call::behind_call(instruction) {
            registers[libc::REG_RIP as usize] = behind as i64;
            registers[libc::REG_RAX as usize] = -i64::from(Errno::INTR.raw_os_error());
        }
    };
    if code == libc::SI_TKILL && interrupt::arrived(end_call) {
        return None;
    }
    Some(is_fault)
}

/// Lets the default action of the signal end the process.
pub fn end(signal: c_int, is_fault: bool) {
    // SAFETY: the default action is no handler.
    let _ = unsafe { signal::set_action(signal, &Action::default()) };
    // A fault happens again on return, and shows the place where it did.
    if !is_fault {
        let _ = signal::raise(signal);
    }
}

/// Calls a handler of the program.
///
/// # Safety
/// `action` has a handler, and the last two arguments are those of the handler that this one stands in for.
pub unsafe fn call(action: &Action, signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the program gave this address as that of a handler. One without SA_SIGINFO ignores the other arguments.
    unsafe {
        let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = std::mem::transmute(action.handler);
        handler(signal, info, context);
    }
}
