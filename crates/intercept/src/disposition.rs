//! What the program does on SIGSYS, SIGSEGV and SIGBUS: remembered here, as the library has handlers of its own there.
//!
//! For SIGSEGV and SIGBUS the kernel gets our handler with the flags and the mask of the program's, so that a fault of the program
//! finds everything as it would be without us: alternate stack, mask, restart.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use libc::{siginfo_t, ucontext_t};
use ringer_sys::fault::{self, call, end};
use ringer_sys::signal::{
    self, Action, DEFAULT, How, IGNORE, SA_NODEFER, SA_RESETHAND, SA_RESTART, SIGBUS, SIGSEGV, SIGSYS,
    SignalSet, change_mask, set_of,
};
use ringer_sys::{Errno, UserAddress, user};

use crate::dispatch::Arguments;
use crate::guest::ENGINE_MASK;
use crate::mask::NEVER_BLOCKED;
use crate::{guest, handlers, mask, next, trap};

/// What the program wants done on one signal.
///
/// Handlers read it without a lock: `version` is odd while it changes.
pub struct Disposition {
    version: AtomicU64,
    handler: AtomicUsize,
    flags: AtomicU64,
    mask: AtomicU64,
}

static SYS: Disposition = Disposition::new();
static SEGV: Disposition = Disposition::new();
static BUS: Disposition = Disposition::new();

/// Set by who changes one. Not a lock that sleeps: a child of `fork` must be able to forget it.
static CHANGING: AtomicBool = AtomicBool::new(false);

/// Runs `body` with signals blocked, on one thread at a time.
pub fn while_changing<R>(body: impl FnOnce() -> R) -> R {
    let mask = change_mask(How::Set, ENGINE_MASK);
    // Acquire: partner of the Release store below.
    while CHANGING.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
        std::thread::yield_now();
    }
    let result = body();
    // Release: partner of the Acquire above.
    CHANGING.store(false, Ordering::Release);
    change_mask(How::Set, mask);
    result
}

/// In a child of `fork`: whoever was changing one did not come along.
pub fn forget_changes() {
    [&SYS, &SEGV, &BUS].into_iter().for_each(Disposition::finish);
    CHANGING.store(false, Ordering::Relaxed);
}

impl Disposition {
    /// The default action.
    pub const fn new() -> Self {
        Self {
            version: AtomicU64::new(0),
            handler: AtomicUsize::new(DEFAULT),
            flags: AtomicU64::new(0),
            mask: AtomicU64::new(0),
        }
    }

    fn of(signal: c_int) -> Option<&'static Self> {
        match signal {
            SIGSYS => Some(&SYS),
            SIGSEGV => Some(&SEGV),
            SIGBUS => Some(&BUS),
            _ => None,
        }
    }

    /// The action.
    pub fn load(&self) -> Action {
        loop {
            // Acquire: partner of the Release stores of `version` in `store`.
            let before = self.version.load(Ordering::Acquire);
            // Acquire: the second look at `version` below comes after these; their partners are the Release stores in `store`.
            let handler = self.handler.load(Ordering::Acquire);
            let flags = self.flags.load(Ordering::Acquire);
            let mask = self.mask.load(Ordering::Acquire);
            if before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before {
                return Action::new(handler, flags, mask);
            }
            std::hint::spin_loop();
        }
    }

    /// Ends a change that nobody will end. What was stored of it counts.
    pub fn finish(&self) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.next_multiple_of(2), Ordering::Relaxed);
    }

    /// To be called inside [`while_changing`].
    pub fn store(&self, action: &Action) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version + 1, Ordering::Relaxed);
        // Release: who sees one of these sees the odd version; partners are the Acquire loads in `load`.
        self.handler.store(action.handler, Ordering::Release);
        self.flags.store(action.flags, Ordering::Release);
        self.mask.store(action.mask, Ordering::Release);
        // Release: who sees the even version sees the values; partner is the first load of `version` in `load`.
        self.version.store(version + 2, Ordering::Release);
    }
}

/// Whether the program's action on this signal is kept by this library: here, or with the handlers that are put off.
pub const fn is_ours(signal: c_int) -> bool {
    matches!(signal, SIGSYS | SIGSEGV | SIGBUS) || handlers::is_deferrable(signal)
}

/// Installs the handlers of this library. What was there before counts as the program's.
///
/// # Errors
/// Those of `rt_sigaction.2`.
pub fn begin() -> Result<(), Errno> {
    SYS.store(&trap::install()?);
    for signal in [SIGSEGV, SIGBUS] {
        let before = signal::action(signal)?;
        if let Some(disposition) = Disposition::of(signal) {
            disposition.store(&before);
        }
        let action = in_kernel(&before);
        // SAFETY: `on_fault` takes no lock and touches nothing but its arguments and atomics.
        unsafe { signal::set_action(signal, &action) }?;
    }
    // SAFETY: both handlers call `recover_from_fault`. The program can replace them only by a system call of its own making,
    // not by a function of the C library.
    unsafe { user::declare_fault_handler(on_fault as *const () as usize) };
    Ok(())
}

/// Our handler, to be called as the program's would be.
fn in_kernel(program: &Action) -> Action {
    fault::in_front_of(program, on_fault, program.mask & !NEVER_BLOCKED)
}

/// Replaces the program's action, if there is a new one, and returns the one before.
fn exchange(signal: c_int, new: Option<&Action>) -> Result<Action, Errno> {
    let Some(disposition) = Disposition::of(signal) else { return handlers::exchange(signal, new) };
    while_changing(|| {
        let before = disposition.load();
        let mut result = Ok(before);
        if let Some(new) = new {
            disposition.store(new);
            if signal != SIGSYS {
                // SAFETY: as in `begin`.
                result = unsafe { signal::set_action(signal, &in_kernel(new)) }.map(|_| before);
            }
        }
        result
    })
}

extern "C" fn on_fault(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the arguments are the kernel's.
    let Some(is_fault) = (unsafe { fault::is_not_recovered(info, context) }) else { return };
    let Some(disposition) = Disposition::of(signal) else { return };
    let action = disposition.load();
    match action.handler {
        // A signal that somebody sent can be ignored, a fault cannot.
        IGNORE if !is_fault => {}
        DEFAULT | IGNORE => end(signal, is_fault),
        // The kernel does not call a handler for a fault whose signal is blocked.
        _ if is_fault && mask::is_blocked(signal) => end(signal, true),
        _ => {
            reset_if_asked(signal, &action);
            // SAFETY: the arguments are the kernel's.
            unsafe { call(&action, signal, info, context) };
        }
    }
}

/// Puts the default action back, where the program's handler is for one signal only.
pub fn reset_if_asked(signal: c_int, action: &Action) {
    if action.flags & SA_RESETHAND != 0 {
        let _ = exchange(signal, Some(&Action::default()));
    }
}

/// Hands a SIGSYS that is none of ours to the program.
///
/// # Safety
/// The arguments are those of a signal handler.
pub unsafe fn deliver_trap(info: *mut siginfo_t, context: &mut ucontext_t) {
    let action = SYS.load();
    // SAFETY: the caller's `siginfo_t`.
    let code = unsafe { (*info).si_code };
    match action.handler {
        IGNORE if code <= 0 => {}
        DEFAULT | IGNORE => end(SIGSYS, false),
        _ => {
            // SAFETY: the kernel's part of the set is its first word.
            let mask = unsafe { (&raw const context.uc_sigmask).cast::<SignalSet>().read() };
            change_mask(How::Set, (mask | action.mask) & !NEVER_BLOCKED);
            reset_if_asked(SIGSYS, &action);
            // SAFETY: passed on to the caller. The mask is put back when the handler returns.
            unsafe { call(&action, SIGSYS, info, std::ptr::from_mut(context).cast()) };
        }
    }
}

/// `rt_sigaction.2` through `syscall`, for a signal that [`is_ours`].
///
/// # Safety
/// As for the call.
pub unsafe fn raw_sigaction(arguments: &Arguments) -> Result<usize, Errno> {
    let [signal, new, old, size, ..] = *arguments;
    if size != size_of::<SignalSet>() {
        return Err(Errno::INVAL);
    }
    let (new, old) = (UserAddress::new(new as u64), UserAddress::new(old as u64));
    let action = match new.is_null() {
        true => None,
        false => {
            let [handler, flags, _, mask] = new.read::<[u64; 4]>()?;
            Some(Action::new(handler as usize, flags, mask))
        }
    };
    let before = exchange(signal as c_int, action.as_ref())?;
    if !old.is_null() {
        old.write([before.handler as u64, before.flags, 0, before.mask])?;
    }
    Ok(0)
}

/// `sigaction.2`.
///
/// # Safety
/// As for the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    // SAFETY: the addresses are null or those of the program's structures.
    unsafe {
        if !is_ours(signal) {
            let Some(next) = next::sigaction.find() else { return -1 };
            let stripped = new.as_ref().map(|new| {
                let mut new = *new;
                if let Some(mask) = mask::without_trap(&raw const new.sa_mask) {
                    new.sa_mask = mask;
                }
                new
            });
            return next(signal, stripped.as_ref().map_or(std::ptr::null(), std::ptr::from_ref), old);
        }
        let action = new.as_ref().map(|new| {
            let mask = (&raw const new.sa_mask).cast::<SignalSet>().read();
            Action::new(new.sa_sigaction, u64::from(new.sa_flags.cast_unsigned()), mask)
        });
        match exchange(signal, action.as_ref()) {
            Ok(before) => {
                if let Some(old) = old.as_mut() {
                    *old = std::mem::zeroed();
                    old.sa_sigaction = before.handler;
                    old.sa_flags = (before.flags as u32).cast_signed();
                    (&raw mut old.sa_mask).cast::<SignalSet>().write(before.mask);
                }
                0
            }
            Err(error) => guest::answer(Err(error)) as c_int,
        }
    }
}

macro_rules! signals {
    ($($(#[$meta:meta])* $name:ident = $flags:expr, $mask:expr;)*) => { $(
        $(#[$meta])*
        ///
        /// # Safety
        /// As for the function.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(signal: c_int, handler: usize) -> usize {
            if !is_ours(signal) {
                // SAFETY: the program's call.
                return next::$name.find().map_or(libc::SIG_ERR, |next| unsafe { next(signal, handler) });
            }
            let mask = if $mask { set_of(signal) } else { 0 };
            match exchange(signal, Some(&Action::new(handler, $flags, mask))) {
                Ok(before) => before.handler,
                Err(error) => {
                    guest::set_errno(error.raw_os_error());
                    libc::SIG_ERR
                }
            }
        }
    )* };
}

signals! {
    /// `signal.2`, with the semantics of the C library: calls are restarted, the signal is blocked meanwhile.
    signal = SA_RESTART, true;
    /// `bsd_signal.3`: the same by another name.
    bsd_signal = SA_RESTART, true;
    /// The same by a third name.
    ssignal = SA_RESTART, true;
    /// `sysv_signal.3`: the handler runs once, and may be interrupted by itself.
    sysv_signal = SA_RESETHAND | SA_NODEFER, false;
    /// The same by the name that the headers use.
    __sysv_signal = SA_RESETHAND | SA_NODEFER, false;
}

/// `sigset.3`. It also changes the mask: the C library does it all, and a handler that it set is taken over.
///
/// # Safety
/// As for the function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sigset(signal: c_int, handler: usize) -> usize {
    if Disposition::of(signal).is_some() {
        return match exchange(signal, Some(&Action::new(handler, 0, set_of(signal)))) {
            Ok(before) => before.handler,
            Err(_) => libc::SIG_ERR,
        };
    }
    let Some(next) = next::sigset.find() else { return libc::SIG_ERR };
    if !handlers::is_deferrable(signal) {
        // SAFETY: the program's call.
        return unsafe { next(signal, handler) };
    }
    let before = handlers::exchange(signal, None).unwrap_or_default();
    // SAFETY: the program's call.
    let result = unsafe { next(signal, handler) };
    handlers::adopt(signal);
    handlers::known_as(result, &before)
}
