//! Checks and rules that many operations share.

use ringer_abi::{CqeFlags, SetupFlags, Sqe, SqeFlags};
use ringer_sys::{Errno, call};

use crate::operation::{Issue, Outcome, Patience};

/// Refuses fields that the operation does not use.
///
/// # Errors
/// `EINVAL` when one of them is set.
pub(crate) fn unused<const N: usize>(fields: [u64; N]) -> Result<(), Errno> {
    if fields == [0; N] { Ok(()) } else { Err(Errno::INVAL) }
}

/// Refuses `IOSQE_FIXED_FILE` where `fd` is a directory or a number, never a registered file.
///
/// # Errors
/// `EBADF`.
pub(crate) fn no_fixed_file(sqe: &Sqe) -> Result<(), Errno> {
    if sqe.flags().contains(SqeFlags::FIXED_FILE) { Err(Errno::BADF) } else { Ok(()) }
}

/// The flag that tells of a CQE of 32 bytes, on rings that have those of 16 as well.
///
/// # Errors
/// `EINVAL` on a ring without CQEs of 32 bytes.
pub(crate) fn big_cqe_flags(setup: SetupFlags) -> Result<u32, Errno> {
    if setup.contains(SetupFlags::CQE_MIXED) {
        Ok(CqeFlags::BIG.bits())
    } else if setup.contains(SetupFlags::CQE32) {
        Ok(0)
    } else {
        Err(Errno::INVAL)
    }
}

/// An error that is noticed once the file was looked up: a descriptor that is not open counts first.
pub(crate) fn of_open_file(fd: i32, errno: Errno) -> Errno {
    call::check_open(fd).err().unwrap_or(errno)
}

/// Makes a call that may look at a device, but usually does not: not without any patience.
pub(crate) fn with_brief_patience(
    context: &Issue<'_>,
    call: impl FnOnce() -> Result<usize, Errno>,
) -> Outcome {
    if context.patience == Patience::None { Outcome::Punt } else { Outcome::from_result(call()) }
}

/// Makes a call that waits for a device: only a worker does.
pub(crate) fn with_unlimited_patience(
    context: &Issue<'_>,
    call: impl FnOnce() -> Result<usize, Errno>,
) -> Outcome {
    if context.may_block() { Outcome::from_result(call()) } else { Outcome::Punt }
}
