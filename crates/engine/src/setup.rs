//! `io_uring_setup`: parameters checked, a ring made.

use std::sync::Arc;

use ringer_abi::{Features, MAX_CQ_ENTRIES, MAX_SQ_ENTRIES, Params, SetupFlags};
use ringer_ring::{RingShape, SharedRing};
use ringer_sys::Errno;

use crate::buffers;
use crate::ring::Ring;

/// The features that are honoured in full, as every ring reports them.
pub const FEATURES: Features = Features::SINGLE_MMAP
    .union(Features::NODROP)
    .union(Features::SUBMIT_STABLE)
    .union(Features::RW_CUR_POS)
    .union(Features::CUR_PERSONALITY)
    .union(Features::FAST_POLL)
    .union(Features::POLL_32BITS)
    .union(Features::SQPOLL_NONFIXED)
    .union(Features::EXT_ARG)
    .union(Features::NATIVE_WORKERS)
    .union(Features::RSRC_TAGS)
    .union(Features::CQE_SKIP)
    .union(Features::LINKED_FILE)
    .union(Features::REG_REG_RING)
    .union(Features::RECVSEND_BUNDLE)
    .union(Features::MIN_TIMEOUT)
    .union(Features::RW_ATTR)
    .union(Features::NO_IOWAIT);

/// The setup flags that are honoured.
pub const SERVED: SetupFlags = SetupFlags::IOPOLL
    .union(SetupFlags::SQPOLL)
    .union(SetupFlags::SQ_AFF)
    .union(SetupFlags::CQSIZE)
    .union(SetupFlags::CLAMP)
    .union(SetupFlags::ATTACH_WQ)
    .union(SetupFlags::R_DISABLED)
    .union(SetupFlags::SUBMIT_ALL)
    .union(SetupFlags::COOP_TASKRUN)
    .union(SetupFlags::TASKRUN_FLAG)
    .union(SetupFlags::SQE128)
    .union(SetupFlags::CQE32)
    .union(SetupFlags::SINGLE_ISSUER)
    .union(SetupFlags::DEFER_TASKRUN)
    .union(SetupFlags::NO_MMAP)
    .union(SetupFlags::REGISTERED_FD_ONLY)
    .union(SetupFlags::NO_SQARRAY)
    .union(SetupFlags::HYBRID_IOPOLL)
    .union(SetupFlags::CQE_MIXED);

/// Checks the parameters and makes a ring; fills in what the call returns.
///
/// # Errors
/// `EINVAL` for unknown flags and bad combinations, `ENOMEM`, `EMFILE`.
pub(crate) fn make_ring(entries: u32, params: &mut Params) -> Result<Ring, Errno> {
    if params.resv != [0; 3] {
        return Err(Errno::INVAL);
    }
    let flags = check_flags(params.flags)?;
    let shape = shape(entries, params, flags)?;
    let shared = Arc::new(match memory_of_program(&shape, params, flags)? {
        Some((rings, sqes)) => SharedRing::allocate_in(shape, rings, sqes)?,
        None => SharedRing::allocate(shape)?,
    });
    params.features = FEATURES.bits();
    Ok(Ring::new(shared, flags))
}

/// The shape of a ring with these entries; fills in sizes and offsets.
///
/// # Errors
/// `EINVAL` for bad sizes.
pub(crate) fn shape(entries: u32, params: &mut Params, flags: SetupFlags) -> Result<RingShape, Errno> {
    let (sq_entries, cq_entries) = queue_sizes(entries, params.cq_entries, flags)?;
    // A CQE of 32 bytes must fit.
    if flags.contains(SetupFlags::CQE_MIXED) && cq_entries < 2 {
        return Err(Errno::OVERFLOW);
    }
    let shape = RingShape {
        sq_entries,
        cq_entries,
        sqe128: flags.contains(SetupFlags::SQE128),
        cqe32: flags.contains(SetupFlags::CQE32),
        cqe_mixed: flags.contains(SetupFlags::CQE_MIXED),
        no_sqarray: flags.contains(SetupFlags::NO_SQARRAY),
    };
    params.sq_entries = sq_entries;
    params.cq_entries = cq_entries;
    let brought = (params.sq_off.user_addr, params.cq_off.user_addr);
    params.sq_off = shape.sq_offsets();
    params.cq_off = shape.cq_offsets();
    if flags.contains(SetupFlags::NO_MMAP) {
        (params.sq_off.user_addr, params.cq_off.user_addr) = brought;
    }
    Ok(shape)
}

/// The memory for rings and SQEs that the program brings, if it does.
///
/// # Errors
/// `EFAULT` and `EINVAL` for memory that is no good.
pub(crate) fn memory_of_program(
    shape: &RingShape,
    params: &Params,
    flags: SetupFlags,
) -> Result<Option<(u64, u64)>, Errno> {
    if !flags.contains(SetupFlags::NO_MMAP) {
        return Ok(None);
    }
    let (rings, sqes) = (params.cq_off.user_addr, params.sq_off.user_addr);
    check_memory(rings, shape.rings_bytes())?;
    check_memory(sqes, shape.sqes_bytes())?;
    Ok(Some((rings, sqes)))
}

/// Checks memory that the program brings: whole pages that can be written to.
fn check_memory(address: u64, bytes: usize) -> Result<(), Errno> {
    if address == 0 {
        return Err(Errno::FAULT);
    }
    if !address.is_multiple_of(rustix::param::page_size() as u64) {
        return Err(Errno::INVAL);
    }
    buffers::fault_in(address, bytes as u64)
}

fn check_flags(bits: u32) -> Result<SetupFlags, Errno> {
    let flags = SetupFlags::from_bits(bits).ok_or(Errno::INVAL)?;
    if !SERVED.contains(flags) {
        return Err(Errno::INVAL);
    }
    let has = |flag| flags.contains(flag);
    if has(SetupFlags::SQ_AFF) && !has(SetupFlags::SQPOLL) {
        return Err(Errno::INVAL);
    }
    // The polling thread runs its own task work.
    if has(SetupFlags::SQPOLL)
        && flags.intersects(SetupFlags::COOP_TASKRUN | SetupFlags::TASKRUN_FLAG | SetupFlags::DEFER_TASKRUN)
    {
        return Err(Errno::INVAL);
    }
    if has(SetupFlags::TASKRUN_FLAG)
        && !flags.intersects(SetupFlags::COOP_TASKRUN | SetupFlags::DEFER_TASKRUN)
    {
        return Err(Errno::INVAL);
    }
    // Without a descriptor there is nothing to map.
    if has(SetupFlags::REGISTERED_FD_ONLY) && !has(SetupFlags::NO_MMAP) {
        return Err(Errno::INVAL);
    }
    if has(SetupFlags::HYBRID_IOPOLL) && !has(SetupFlags::IOPOLL) {
        return Err(Errno::INVAL);
    }
    if has(SetupFlags::CQE32) && has(SetupFlags::CQE_MIXED) {
        return Err(Errno::INVAL);
    }
    if has(SetupFlags::DEFER_TASKRUN) && !has(SetupFlags::SINGLE_ISSUER) {
        return Err(Errno::INVAL);
    }
    Ok(flags)
}

fn queue_sizes(entries: u32, cq_entries: u32, flags: SetupFlags) -> Result<(u32, u32), Errno> {
    let clamp = flags.contains(SetupFlags::CLAMP);
    let bounded = |entries: u32, most: u32| match entries {
        0 => Err(Errno::INVAL),
        entries if entries <= most => Ok(entries.next_power_of_two()),
        _ if clamp => Ok(most),
        _ => Err(Errno::INVAL),
    };
    let sq_entries = bounded(entries, MAX_SQ_ENTRIES)?;
    let cq_entries = if flags.contains(SetupFlags::CQSIZE) {
        let cq_entries = bounded(cq_entries, MAX_CQ_ENTRIES)?;
        if cq_entries < sq_entries {
            return Err(Errno::INVAL);
        }
        cq_entries
    } else {
        2 * sq_entries
    };
    Ok((sq_entries, cq_entries))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_bounded_and_clamped() {
        let none = SetupFlags::empty();
        assert_eq!(queue_sizes(5, 0, none), Ok((8, 16)));
        assert_eq!(queue_sizes(0, 0, none), Err(Errno::INVAL));
        assert_eq!(queue_sizes(MAX_SQ_ENTRIES + 1, 0, none), Err(Errno::INVAL));
        assert_eq!(queue_sizes(u32::MAX, 0, SetupFlags::CLAMP), Ok((MAX_SQ_ENTRIES, MAX_CQ_ENTRIES)));
        assert_eq!(queue_sizes(8, 4, SetupFlags::CQSIZE), Err(Errno::INVAL));
        assert_eq!(queue_sizes(8, 9, SetupFlags::CQSIZE), Ok((8, 16)));
    }

    #[test]
    fn bad_combinations_are_refused() {
        for flags in [SetupFlags::SQ_AFF, SetupFlags::DEFER_TASKRUN, SetupFlags::TASKRUN_FLAG] {
            assert_eq!(check_flags(flags.bits()), Err(Errno::INVAL), "{flags:?}");
        }
        assert_eq!(check_flags(1 << 31), Err(Errno::INVAL));
        let deferred = SetupFlags::DEFER_TASKRUN | SetupFlags::SINGLE_ISSUER | SetupFlags::TASKRUN_FLAG;
        assert_eq!(check_flags(deferred.bits()), Ok(deferred));
    }
}
