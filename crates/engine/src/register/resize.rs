//! `IORING_REGISTER_RESIZE_RINGS`: other sizes for the queues of a ring in use.

use ringer_abi::{Params, SetupFlags, SqRingFlags};
use ringer_ring::RingShape;
use ringer_sys::{Errno, UserAddress};

use crate::ring::Ring;
use crate::setup;

/// Source: `io_uring_resize_rings.3`. The program maps the ring again afterwards.
///
/// # Errors
/// `EINVAL` without `IORING_SETUP_DEFER_TASKRUN` or for bad sizes, `EOVERFLOW` when what is in the queues does not fit,
/// `EFAULT`, `ENOMEM`.
pub(crate) fn resize(ring: &Ring, argument: UserAddress, count: u32) -> Result<i32, Errno> {
    if argument.is_null() || count != 1 || !ring.defers_completions() {
        return Err(Errno::INVAL);
    }
    let mut params = argument.read::<Params>()?;
    let wanted = SetupFlags::from_bits(params.flags).ok_or(Errno::INVAL)?;
    if !(SetupFlags::CQSIZE | SetupFlags::CLAMP).contains(wanted) {
        return Err(Errno::INVAL);
    }
    let kept = SetupFlags::NO_SQARRAY
        | SetupFlags::SQE128
        | SetupFlags::CQE32
        | SetupFlags::NO_MMAP
        | SetupFlags::CQE_MIXED;
    let flags = wanted | ring.setup & kept;
    params.flags = flags.bits();
    let shape: RingShape = setup::shape(params.sq_entries, &mut params, flags)?;
    let place = setup::memory_of_program(&shape, &params, flags)?;
    argument.write(params)?;
    // In the order that others take them: submission, then completion.
    let _submission = ring.shared.lock_submissions();
    let _completion = ring.shared.lock_completions();
    ring.shared.resize(shape, place)?;
    // A change just now may have been shown in the old ring only: the program is to look.
    ring.shared.sq_set_flags(SqRingFlags::NEED_WAKEUP | SqRingFlags::TASKRUN);
    Ok(0)
}
