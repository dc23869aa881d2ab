//! Limits and affinity of the worker pool.

use ringer_sys::{Errno, UserAddress};
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::system::System;

/// `IORING_REGISTER_IOWQ_MAX_WORKERS`: the limits for bounded and unbounded work; 0 only asks. Our
/// workers are one pool: the larger limit holds.
///
/// # Errors
/// `EINVAL`, `EFAULT`.
pub(crate) fn set_limits(argument: UserAddress, count: u32) -> Result<i32, Errno> {
    if argument.is_null() || count != 2 {
        return Err(Errno::INVAL);
    }
    let wanted = argument.read::<[u32; 2]>()?;
    if wanted.iter().any(|most| *most > i32::MAX as u32) {
        return Err(Errno::INVAL);
    }
    argument.write(System::global().workers().limit(wanted))?;
    Ok(0)
}

/// `IORING_REGISTER_IOWQ_AFF`: the processors that workers run on.
///
/// # Errors
/// `EINVAL` without a mask, `EFAULT`.
pub(crate) fn set_affinity(argument: UserAddress, count: u32) -> Result<i32, Errno> {
    if argument.is_null() || count == 0 {
        return Err(Errno::INVAL);
    }
    let mut mask = vec![0_u8; (count as usize).min(CpuSet::MAX_CPU / 8)];
    argument.read_into(&mut mask)?;
    let mut set = CpuSet::new();
    for processor in 0..mask.len() * 8 {
        if mask[processor / 8] >> (processor % 8) & 1 != 0 {
            set.set(processor);
        }
    }
    System::global().workers().set_affinity(set);
    Ok(0)
}

/// `IORING_UNREGISTER_IOWQ_AFF`: workers run where the process may.
pub(crate) fn reset_affinity() -> i32 {
    if let Ok(set) = sched_getaffinity(None) {
        System::global().workers().set_affinity(set);
    }
    0
}
