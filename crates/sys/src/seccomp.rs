//! Seccomp filters: what the kernel offers, and how one is installed.
//!
//! The filter of the preload library is in [`interception`].

pub mod interception;

use linux_raw_sys::general as nr;
use rustix::io::Errno;

use crate::call::raw;

/// What a filter says of a call. Source: `seccomp.2`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The call is made.
    Allow,
    /// The call is not made; the thread gets a SIGSYS with this number in `si_errno`.
    Trap(u16),
    /// The call is not made and fails with this errno; zero is success without effect.
    Fail(u16),
}

impl Verdict {
    /// The filter's return value.
    const fn word(self) -> u32 {
        match self {
            Self::Allow => 0x7fff_0000,
            Self::Trap(number) => TRAP | number as u32,
            Self::Fail(number) => 0x0005_0000 | number as u32,
        }
    }
}

const TRAP: u32 = 0x0003_0000;

/// One instruction of classic BPF, `struct sock_filter`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    operand: u32,
}

impl Instruction {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;

    const fn load(offset: u32) -> Self {
        Self { code: Self::LOAD, if_true: 0, if_false: 0, operand: offset }
    }

    const fn jump_if_equal(operand: u32, if_true: u8, if_false: u8) -> Self {
        Self { code: Self::JUMP_IF_EQUAL, if_true, if_false, operand }
    }

    const fn jump_if_at_least(operand: u32, if_true: u8, if_false: u8) -> Self {
        Self { code: Self::JUMP_IF_AT_LEAST, if_true, if_false, operand }
    }

    const fn answer(verdict: Verdict) -> Self {
        Self { code: Self::RETURN, if_true: 0, if_false: 0, operand: verdict.word() }
    }
}

/// Whether this kernel has filters that trap. `seccomp.2`, `SECCOMP_GET_ACTION_AVAIL`.
///
/// # Errors
/// `ENOSYS` without the call, `EOPNOTSUPP` without the action, and what an outer filter says.
pub fn trap_available() -> Result<(), Errno> {
    const GET_ACTION_AVAIL: usize = 2;
    let action = TRAP;
    let arguments = [GET_ACTION_AVAIL, 0, (&raw const action) as usize, 0, 0, 0];
    // SAFETY: the kernel reads one word, which is live.
    unsafe { raw(nr::__NR_seccomp, arguments) }.map(drop)
}

/// Sets `no_new_privs` and installs a filter on the calling thread and all it will start. `seccomp.2`.
///
/// # Safety
/// A filter that traps needs a SIGSYS handler that answers for the calls it traps; otherwise the process dies.
///
/// # Errors
/// `EINVAL` where the kernel has no filters, and those of the call.
pub unsafe fn install(filter: &[Instruction]) -> Result<(), Errno> {
    #[repr(C)]
    struct Program {
        length: u16,
        instructions: *const Instruction,
    }
    const SET_MODE_FILTER: usize = 1;
    let length = u16::try_from(filter.len()).map_err(|_| Errno::INVAL)?;
    let program = Program { length, instructions: filter.as_ptr() };
    rustix::thread::set_no_new_privs(true)?;
    let arguments = [SET_MODE_FILTER, 0, (&raw const program) as usize, 0, 0, 0];
    // SAFETY: the program is live for the call, which copies it. What it does is the caller's promise.
    unsafe { raw(nr::__NR_seccomp, arguments) }.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_for_traps() {
        // Where an outer filter refuses the call itself the errno is another one.
        assert!(matches!(trap_available(), Ok(()) | Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM)));
    }
}
