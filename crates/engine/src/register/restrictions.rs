//! `IORING_REGISTER_RESTRICTIONS`: what a ring will serve once it is enabled.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use ringer_abi::{Opcode, RegisterOpcode, SetupFlags, Sqe, uapi};
use ringer_sys::{Errno, UserAddress};

use crate::ring::Ring;

/// The restrictions of one ring.
#[derive(Debug, Default)]
pub(crate) struct RestrictionState {
    registered: OnceLock<Restrictions>,
    /// The ring was enabled since.
    in_force: AtomicBool,
}

#[derive(Debug, Default)]
struct Restrictions {
    /// Register calls that are allowed, one bit each.
    calls: u64,
    /// Opcodes that are allowed, one bit each.
    operations: u64,
    allowed_flags: u8,
    required_flags: u8,
}

impl RestrictionState {
    /// The ring is enabled: what was registered holds from now on.
    pub(crate) fn enforce(&self) {
        if self.registered.get().is_some() {
            self.in_force.store(true, Ordering::Relaxed);
        }
    }

    fn in_force(&self) -> Option<&Restrictions> {
        // Relaxed: whoever uses a ring was told that it is enabled.
        if self.in_force.load(Ordering::Relaxed) { self.registered.get() } else { None }
    }

    /// Whether there are any.
    pub(crate) fn any(&self) -> bool {
        self.in_force().is_some()
    }

    /// Whether an SQE may be served; its opcode is a known one.
    pub(crate) fn allow(&self, sqe: &Sqe) -> bool {
        self.in_force().is_none_or(|restrictions| {
            let (flags, required) = (sqe.flags().bits(), restrictions.required_flags);
            restrictions.operations >> sqe.opcode() & 1 != 0
                && flags & required == required
                && flags & !(restrictions.allowed_flags | required) == 0
        })
    }

    /// Whether a register call may be made.
    pub(crate) fn allow_call(&self, opcode: RegisterOpcode) -> bool {
        self.in_force().is_none_or(|restrictions| restrictions.calls >> opcode.number() & 1 != 0)
    }
}

/// Source: `io_uring_register_restrictions.3`.
///
/// # Errors
/// `EBADFD` when the ring was not made disabled or is enabled, `EBUSY` the second time, `EINVAL`, `EFAULT`.
pub(crate) fn register(ring: &Ring, argument: UserAddress, count: u32) -> Result<i32, Errno> {
    const KINDS: usize = 4;
    let most = KINDS + RegisterOpcode::ALL.len() + Opcode::ALL.len();
    if !ring.setup.contains(SetupFlags::R_DISABLED) || !ring.disabled.load(Ordering::Relaxed) {
        return Err(Errno::BADFD);
    }
    let state = &ring.restrictions;
    if state.registered.get().is_some() {
        return Err(Errno::BUSY);
    }
    if argument.is_null() || count as usize > most {
        return Err(Errno::INVAL);
    }
    let entries = argument.read_vec::<[u32; 4]>(count as usize)?;
    let mut restrictions = Restrictions::default();
    for [entry, ..] in entries {
        restrictions.add(entry as u16, (entry >> 16) as u8)?;
    }
    state.registered.set(restrictions).map(|()| 0).map_err(|_| Errno::BUSY)
}

impl Restrictions {
    fn add(&mut self, kind: u16, value: u8) -> Result<(), Errno> {
        use uapi::io_uring_register_restriction_op as kinds;
        const CALL: u16 = kinds::IORING_RESTRICTION_REGISTER_OP as u16;
        const OPERATION: u16 = kinds::IORING_RESTRICTION_SQE_OP as u16;
        const ALLOWED: u16 = kinds::IORING_RESTRICTION_SQE_FLAGS_ALLOWED as u16;
        const REQUIRED: u16 = kinds::IORING_RESTRICTION_SQE_FLAGS_REQUIRED as u16;
        match kind {
            CALL if RegisterOpcode::from_number(value.into()).is_some() => self.calls |= 1 << value,
            OPERATION if Opcode::from_number(value).is_some() => self.operations |= 1 << value,
            ALLOWED => self.allowed_flags = value,
            REQUIRED => self.required_flags = value,
            _ => return Err(Errno::INVAL),
        }
        Ok(())
    }
}
