//! The program's signal handlers: put off while the engine is the guest of the thread that they interrupt.
//!
//! The kernel gets our handler in the place of the program's, with the program's flags and mask, so that a handler that is not
//! put off runs exactly as without us: nothing is done in between but a jump. One that comes while the engine runs is
//! queued again, with all signals blocked, and delivered by the kernel when the engine is done and the
//! program's mask is back. The engine's waits end with `EINTR` then.
//!
//! Not handled here: signals that instructions raise (`disposition`), those of the C library itself, and handlers that the program
//! sets by an inline system call; when there are such, signals are blocked instead (`guest`).

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{siginfo_t, ucontext_t};
use linux_raw_sys::general as nr;
use ringer_sys::Errno;
use ringer_sys::call::raw_undecoded;
use ringer_sys::fault::call;
use ringer_sys::signal::{
    self, Action, DEFAULT, How, IGNORE, OF_THE_C_LIBRARY, RAISED_BY_INSTRUCTIONS, SA_RESETHAND, SA_SIGINFO,
    SignalSet, change_mask, set_of,
};

use crate::disposition::{Disposition, while_changing};
use crate::guest::{self, ENGINE_MASK, State};
use crate::mask::NEVER_BLOCKED;
use crate::process;

/// The highest signal.
const SIGNALS: usize = 64;

/// The program's handlers, by signal. One counts only while the kernel has ours.
static HANDLERS: [Disposition; SIGNALS + 1] = [const { Disposition::new() }; SIGNALS + 1];

/// Whether the program ever had a handler.
static HAD_HANDLER: AtomicBool = AtomicBool::new(false);

/// Whether the program's handler for this signal is put off.
pub const fn is_deferrable(signal: c_int) -> bool {
    const NEVER: SignalSet =
        RAISED_BY_INSTRUCTIONS | OF_THE_C_LIBRARY | set_of(libc::SIGKILL) | set_of(libc::SIGSTOP);
    signal >= 1 && signal <= SIGNALS as c_int && NEVER & set_of(signal) == 0
}

/// Whether the program ever had a handler, which may have interrupted anything.
pub fn had_one() -> bool {
    // Relaxed: whoever gets a signal gets it after the handler was set.
    HAD_HANDLER.load(Ordering::Relaxed)
}

/// In a child of `fork`: whoever was changing a handler did not come along.
pub fn forget_changes() {
    HANDLERS.iter().for_each(Disposition::finish);
}

fn is_handler(action: &Action) -> bool {
    !matches!(action.handler, DEFAULT | IGNORE)
}

fn is_ours(action: &Action) -> bool {
    action.handler == on_signal as *const () as usize
}

/// Looks for handlers that were set without this library's knowledge.
pub fn look() {
    let known = |signal| signal::action(signal).is_ok_and(|action| !is_handler(&action) || is_ours(&action));
    if !(1..=SIGNALS as c_int).filter(|signal| is_deferrable(*signal)).all(known) {
        HAD_HANDLER.store(true, Ordering::Relaxed);
        guest::block_signals_from_now_on();
    }
}

/// Takes care of a handler that the C library has set by itself for a signal that [`is_deferrable`].
pub fn adopt(signal: c_int) {
    let Ok(action) = signal::action(signal) else { return };
    if is_handler(&action) && !is_ours(&action) {
        let _ = exchange(signal, Some(&action));
    }
}

/// The handler that the program knows for one that the kernel or the C library has.
pub fn known_as(handler: usize, before: &Action) -> usize {
    if handler == on_signal as *const () as usize { before.handler } else { handler }
}

/// Replaces the program's action on a signal that [`is_deferrable`], if there is a new one, and returns the one before.
pub fn exchange(signal: c_int, new: Option<&Action>) -> Result<Action, Errno> {
    process::notice_fork();
    while_changing(|| exchange_alone(signal, new))
}

fn exchange_alone(signal: c_int, new: Option<&Action>) -> Result<Action, Errno> {
    let handler = &HANDLERS[signal as usize];
    let before = match signal::action(signal)? {
        ours if is_ours(&ours) => handler.load(),
        other => other,
    };
    let Some(new) = new else { return Ok(before) };
    // A child in its parent's memory leaves the parent's handlers alone; it has its own in the kernel.
    let action = if is_handler(new) && !process::borrows_memory() {
        handler.store(new);
        HAD_HANDLER.store(true, Ordering::Relaxed);
        // What resets a handler is done here, as one that is put off is delivered twice.
        let flags = new.flags & !SA_RESETHAND | SA_SIGINFO;
        Action::new(on_signal as *const () as usize, flags, new.mask & !NEVER_BLOCKED)
    } else {
        Action::new(new.handler, new.flags, new.mask & !NEVER_BLOCKED)
    };
    // SAFETY: `on_signal` may run anywhere; it hands on to what the program gave.
    unsafe { signal::set_action(signal, &action) }?;
    Ok(before)
}

/// What the kernel calls: the program's handler follows at once, or is put off.
///
/// The first two instructions make it known that a handler is being put off; see [`is_nested`].
#[unsafe(naked)]
unsafe extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    std::arch::naked_asm!(
        "mov rax, qword ptr [rip + ringer_guest@GOTTPOFF]",
        "cmp dword ptr fs:[rax], 0",
        "je {deliver}",
        "inc dword ptr fs:[rax + 4]",
        ".globl ringer_deferring",
        ".hidden ringer_deferring",
        "ringer_deferring:",
        "jmp {defer}",
        deliver = sym deliver,
        defer = sym defer,
    )
}

unsafe extern "C" {
    fn ringer_deferring();
}

/// Calls the program's handler.
unsafe extern "C" fn deliver(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let action = HANDLERS[signal as usize].load();
    if action.flags & SA_RESETHAND != 0 {
        let _ = exchange(signal, Some(&Action::default()));
    }
    // SAFETY: the kernel's arguments.
    unsafe { call(&action, signal, info, context) };
}

/// Whether the context is that of another signal that is just being put off: the kernel may start one handler
/// before the first instruction of the other.
fn is_nested(state: &State, instruction: usize) -> bool {
    let entry = on_signal as *const () as usize..ringer_deferring as *const () as usize;
    state.deferring.load(Ordering::Relaxed) > 1 || entry.contains(&instruction)
}

/// Puts a handler off.
unsafe extern "C" fn defer(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let errno = guest::errno();
    let state = guest::state();
    // No other handler comes between from here on.
    change_mask(How::Set, ENGINE_MASK);
    // SAFETY: the kernel's arguments; they are this frame's own. The kernel's part of the set is its first word.
    let (instruction, mask) = unsafe {
        let context = &mut *context.cast::<ucontext_t>();
        let instruction = context.uc_mcontext.gregs[libc::REG_RIP as usize] as usize;
        (instruction, &mut *(&raw mut context.uc_sigmask).cast::<SignalSet>())
    };
    // The outermost of them has interrupted the engine, and knows the mask.
    if !is_nested(state, instruction) && state.has_deferred.load(Ordering::Relaxed) == 0 {
        state.mask.store(*mask, Ordering::Relaxed);
        state.has_deferred.store(1, Ordering::Relaxed);
    }
    // The engine goes on with signals blocked, so that none comes twice.
    *mask = ENGINE_MASK;
    queue_again(signal, info);
    state.signals.fetch_or(set_of(signal), Ordering::Relaxed);
    state.deferring.fetch_sub(1, Ordering::Relaxed);
    guest::set_errno(errno);
}

/// Queues a signal for this thread, with all that was known of it.
fn queue_again(signal: c_int, info: *mut siginfo_t) {
    // SAFETY: the information is the kernel's own.
    if unsafe { signal::send_again(signal, info.cast()) }.is_ok() {
        return;
    }
    // What a user or the kernel sent may be queued again to a thread by the main thread only, but to the thread as a process by each.
    let thread = rustix::thread::gettid().as_raw_nonzero().get() as usize;
    // SAFETY: as above.
    unsafe {
        let arguments = [thread, signal as usize, info as usize, 0, 0, 0];
        let is_sent_to_thread = (*info).si_code == libc::SI_TKILL;
        if !is_sent_to_thread && raw_undecoded(nr::__NR_rt_sigqueueinfo as usize, arguments) == 0 {
            return;
        }
    }
    // Without room in the queue the number alone goes on, as with every signal that is sent by number.
    let _ = signal::raise(signal);
}

/// The program's mask, for a wait of the engine. `None`: it is the thread's, and no handler is put off.
pub fn wait_mask() -> Option<SignalSet> {
    if !had_one() {
        return None;
    }
    let current = change_mask(How::Block, 0);
    let state = guest::state();
    // One that is put off after this look has blocked the signals; the wait with this mask finds it.
    let has_deferred = state.has_deferred.load(Ordering::Relaxed) != 0;
    Some(if has_deferred { state.mask.load(Ordering::Relaxed) } else { current })
}

/// Lets the kernel deliver what was put off; then the mask is the program's.
#[cold]
pub fn deliver_deferred(state: &State, mask: SignalSet) {
    let signals = state.signals.swap(0, Ordering::Relaxed);
    state.has_deferred.store(0, Ordering::Relaxed);
    // What only the mask of a wait let through has its handler run before the call ends, too.
    if mask & signals != 0 {
        change_mask(How::Set, mask & !signals);
    }
    change_mask(How::Set, mask);
}
