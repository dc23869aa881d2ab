//! `IORING_REGISTER_CLOCK` and `IORING_REGISTER_NAPI`: how `enter` waits.

use std::collections::BTreeSet;

use ringer_abi::SetupFlags;
use ringer_ops::timeout::Clock;
use ringer_sys::{Errno, UserAddress};

use crate::ring::Ring;

/// `IORING_REGISTER_CLOCK`: the clock of the time limits of `enter`. Source: `io_uring_register_clock.3`.
///
/// # Errors
/// `EINVAL` for another clock than the monotonic and the boot-time one, or reserved words; `EFAULT`.
pub(crate) fn set_clock(ring: &Ring, argument: UserAddress, count: u32) -> Result<i32, Errno> {
    const CLOCK_MONOTONIC: u32 = 1;
    const CLOCK_BOOTTIME: u32 = 7;
    if argument.is_null() || count != 0 {
        return Err(Errno::INVAL);
    }
    let [clock, reserved @ ..] = argument.read::<[u32; 4]>()?;
    if reserved != [0; 3] {
        return Err(Errno::INVAL);
    }
    let clock = match clock {
        CLOCK_MONOTONIC => Clock::Monotonic,
        CLOCK_BOOTTIME => Clock::Boottime,
        _ => return Err(Errno::INVAL),
    };
    ring.registrations.lock().clock = clock;
    Ok(0)
}

/// How long to poll network devices before sleeping. Kept and told only: a process cannot poll them but by the
/// calls that it makes anyway, and `SO_BUSY_POLL` is for those.
#[derive(Clone, Debug)]
pub(crate) struct Napi {
    microseconds: u32,
    prefers: bool,
    tracking: u32,
    /// The instances that a program named (`IO_URING_NAPI_TRACKING_STATIC`).
    instances: BTreeSet<u32>,
}

/// Longer polling than this is not done.
const MOST_MICROSECONDS: u32 = 10_000;
const DYNAMIC: u32 = 0;
const STATIC: u32 = 1;
const INACTIVE: u32 = 255;

impl Default for Napi {
    fn default() -> Self {
        Self { microseconds: 0, prefers: false, tracking: INACTIVE, instances: BTreeSet::new() }
    }
}

impl Napi {
    /// `struct io_uring_napi`: the time, whether it is preferred, the way of tracking.
    fn words(&self, tracking: u32) -> [u32; 4] {
        [self.microseconds, self.prefers.into(), tracking, 0]
    }
}

/// `IORING_REGISTER_NAPI`. Writes what held before. Source: `io_uring_register_napi.3`.
///
/// # Errors
/// `EINVAL`, `EFAULT`.
pub(crate) fn set_napi(ring: &Ring, argument: UserAddress, count: u32) -> Result<i32, Errno> {
    const SET: u32 = 0;
    const ADD: u32 = 1;
    const REMOVE: u32 = 2;
    if argument.is_null() || count != 1 || ring.setup.contains(SetupFlags::IOPOLL) {
        return Err(Errno::INVAL);
    }
    let [microseconds, bytes, parameter, reserved] = argument.read::<[u32; 4]>()?;
    let [prefers, operation, padding @ ..] = bytes.to_le_bytes();
    if padding != [0; 2] || reserved != 0 {
        return Err(Errno::INVAL);
    }
    let mut registrations = ring.registrations.lock();
    let napi = &mut registrations.napi;
    argument.write(napi.words(napi.tracking))?;
    // Numbers up to the most processors that a kernel is built for are not those of NAPI instances; 256 on the one looked at.
    const SMALLEST_INSTANCE: u32 = 257;
    let may_name = napi.tracking == STATIC && parameter >= SMALLEST_INSTANCE;
    match u32::from(operation) {
        SET if parameter == DYNAMIC || parameter == STATIC => {
            let microseconds = microseconds.min(MOST_MICROSECONDS);
            let (prefers, instances) = (prefers != 0, BTreeSet::new());
            *napi = Napi { microseconds, prefers, tracking: parameter, instances };
            Ok(0)
        }
        ADD if may_name && napi.instances.insert(parameter) => Ok(0),
        ADD if may_name => Err(Errno::EXIST),
        REMOVE if may_name && napi.instances.remove(&parameter) => Ok(0),
        REMOVE if may_name => Err(Errno::NOENT),
        _ => Err(Errno::INVAL),
    }
}

/// `IORING_UNREGISTER_NAPI`. Writes what held before, where that is wanted.
///
/// # Errors
/// `EINVAL`, `EFAULT`.
pub(crate) fn unset_napi(ring: &Ring, argument: UserAddress, count: u32) -> Result<i32, Errno> {
    if count != 1 {
        return Err(Errno::INVAL);
    }
    let mut registrations = ring.registrations.lock();
    if !argument.is_null() {
        argument.write(registrations.napi.words(0))?;
    }
    registrations.napi = Napi::default();
    Ok(0)
}
