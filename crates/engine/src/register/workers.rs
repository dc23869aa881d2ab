//! Limits and affinity of the worker pool.

use ringer_sys::{Errno, UserAddress};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CpuSet, sched_getaffinity};

use crate::ring::Ring;
use crate::system::System;

/// `IORING_REGISTER_IOWQ_MAX_WORKERS`: the limits for bounded and unbounded work; 0 only asks. They hold for all rings of the process, as far as
/// their requests have the same credentials. Bounded is what is done with a regular file or a block device; Linux counts what is done with names, too.
///
/// # Errors
/// `EINVAL`, `EFAULT`.
pub(crate) fn set_limits(ring: &Ring, argument: UserAddress, count: u32) -> Result<i32, Errno> {
    if argument.is_null() || count != 2 {
        return Err(Errno::INVAL);
    }
    let wanted = argument.read::<[u32; 2]>()?;
    if wanted.iter().any(|most| *most > i32::MAX as u32) {
        return Err(Errno::INVAL);
    }
    argument.write(System::global().workers().limit(wanted, default_limits(ring)))?;
    Ok(0)
}

/// What the kernel reports as long as nothing was set: as many bounded workers as the ring has entries, at
/// most four per processor; as many unbounded ones as the user may have processes.
fn default_limits(ring: &Ring) -> [u32; 2] {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let processes = getrlimit(Resource::Nproc).current.unwrap_or(u64::MAX);
    [ring.shared.shape().sq_entries.min(4 * processors), u32::try_from(processes).unwrap_or(u32::MAX)]
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
