//! The SIGSYS handler: a trapped call of the program becomes a call of the engine.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

use libc::ucontext_t;
use ringer_engine::{System, WaitMask};
use ringer_sys::Errno;
use ringer_sys::call::marked;
use ringer_sys::seccomp::interception::TRAP_NUMBER;
use ringer_sys::signal::{self, Action, How, SA_NODEFER, SA_SIGINFO, SIGSYS, SignalSet, change_mask};

use crate::dispatch::{concerns_us, is_io_uring, serve};
use crate::guest::{self, ENGINE_MASK, FAULTS};
use crate::mask::{self, NEVER_BLOCKED};
use crate::{disposition, process, sites, start};

/// The front of `siginfo_t` in a SIGSYS. Source: `sigaction.2`.
#[repr(C)]
pub struct SysInfo {
    _signal: c_int,
    errno: c_int,
    code: c_int,
    _address: u64,
    number: c_int,
    _architecture: u32,
}

/// `si_code` of a seccomp trap.
const SYS_SECCOMP: c_int = 1;

/// Set while [`inherited`] tries whether calls trap.
static TRYING: AtomicBool = AtomicBool::new(false);
static TRAPPED: AtomicBool = AtomicBool::new(false);

/// Installs the handler, and takes what must not be blocked out of the mask that the program was started with.
///
/// # Errors
/// Those of `rt_sigaction.2`.
pub fn install() -> Result<Action, Errno> {
    // Not deferred: a call of the engine itself that an inherited filter traps is answered inside the handler.
    let action = Action::new(handle as *const () as usize, SA_SIGINFO | SA_NODEFER, ENGINE_MASK);
    // SAFETY: `handle` keeps to what a handler may do at any instruction: it takes no lock that the program could hold.
    let before = unsafe { signal::set_action(SIGSYS, &action) }?;
    mask::begin(change_mask(How::Unblock, NEVER_BLOCKED));
    Ok(before)
}

/// Whether a filter of a program before `exec` traps our calls already.
pub fn inherited() -> bool {
    TRYING.store(true, Ordering::Relaxed);
    // Bad arguments: where nothing traps, the kernel refuses them without making anything.
    let _ = ringer_sys::native::io_uring_setup(0, ringer_sys::UserAddress::new(0));
    TRYING.store(false, Ordering::Relaxed);
    TRAPPED.load(Ordering::Relaxed)
}

unsafe extern "C" fn handle(_signal: c_int, info: *mut SysInfo, context: *mut c_void) {
    let before = guest::errno();
    // SAFETY: the kernel passes both to a handler with SA_SIGINFO; they are this frame's own.
    let (info, context) = unsafe { (&*info, &mut *context.cast::<ucontext_t>()) };
    let number = info.number.cast_unsigned();
    let is_ours = info.code == SYS_SECCOMP && (is_io_uring(number) || info.errno == c_int::from(TRAP_NUMBER));
    if is_ours {
        let result = answer(number, context);
        context.uc_mcontext.gregs[libc::REG_RAX as usize] = result as i64;
    } else {
        // SAFETY: the arguments of this handler.
        unsafe { disposition::deliver_trap(std::ptr::from_ref(info).cast_mut().cast(), context) };
    }
    guest::set_errno(before);
}

/// The result of the trapped call, as the kernel would leave it in the register.
fn answer(number: u32, context: &ucontext_t) -> isize {
    let registers = &context.uc_mcontext.gregs;
    let register = |name: c_int| registers[name as usize] as usize;
    let arguments = [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_R10, libc::REG_R8, libc::REG_R9]
        .map(register);
    let address = register(libc::REG_RIP);
    if TRYING.load(Ordering::Relaxed) {
        TRAPPED.store(true, Ordering::Relaxed);
        return -(libc::EPERM as isize);
    }
    // Our own call, or one that a filter with other bounds trapped: the kernel's business.
    if start::is_our_code(address) || !concerns_us(number, &arguments) {
        // SAFETY: the call as it was about to be made.
        return unsafe { marked(number, arguments) } as isize;
    }
    // SAFETY: the kernel's part of the set is its first word.
    let mask = unsafe { (&raw const context.uc_sigmask).cast::<SignalSet>().read() };
    if mask & FAULTS != 0 {
        change_mask(How::Unblock, FAULTS);
    }
    process::notice_fork();
    System::global().counters().traps.fetch_add(1, Ordering::Relaxed);
    if number == linux_raw_sys::general::__NR_io_uring_enter {
        sites::look_at(address);
    }
    // SAFETY: a call of the program.
    match guest::enter_in_handler(mask, || unsafe { serve(number, &arguments, WaitMask::These(mask)) }) {
        Ok(result) => result as isize,
        Err(error) => -(error.raw_os_error() as isize),
    }
}
