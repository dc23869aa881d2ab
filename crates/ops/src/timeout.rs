//! TIMEOUT, TIMEOUT_REMOVE and LINK_TIMEOUT: time as a request.

use std::time::Duration;

use ringer_abi::{Sqe, SqeFlags, uapi};
use ringer_sys::{Errno, UserAddress};

use crate::operation::{Issue, Op, Outcome, Prepare, Traits};

/// The clock a timeout runs on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Clock {
    /// `CLOCK_MONOTONIC`, the default.
    #[default]
    Monotonic,
    /// `CLOCK_BOOTTIME` (`IORING_TIMEOUT_BOOTTIME`).
    Boottime,
    /// `CLOCK_REALTIME` (`IORING_TIMEOUT_REALTIME`).
    Realtime,
}

/// When a timeout expires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Expiry {
    /// The clock.
    pub clock: Clock,
    /// The interval, or the point of time if `absolute`.
    pub time: Duration,
    /// `IORING_TIMEOUT_ABS`.
    pub absolute: bool,
}

const CLOCK_FLAGS: u32 = uapi::IORING_TIMEOUT_CLOCK_MASK;

fn read_expiry(address: u64, flags: u32) -> Result<Expiry, Errno> {
    let [seconds, nanoseconds] = UserAddress::new(address).read::<[i64; 2]>()?;
    if seconds < 0 || nanoseconds < 0 {
        return Err(Errno::INVAL);
    }
    let clock = match flags & CLOCK_FLAGS {
        uapi::IORING_TIMEOUT_BOOTTIME => Clock::Boottime,
        uapi::IORING_TIMEOUT_REALTIME => Clock::Realtime,
        _ => Clock::Monotonic,
    };
    let time = Duration::from_secs(seconds as u64).saturating_add(Duration::from_nanos(nanoseconds as u64));
    Ok(Expiry { clock, time, absolute: flags & uapi::IORING_TIMEOUT_ABS != 0 })
}

/// `IORING_OP_TIMEOUT`. Source: `io_uring_prep_timeout.3`.
#[derive(Debug)]
pub struct Timeout {
    /// When it expires.
    pub expiry: Expiry,
    /// Completes with 0 once this many other CQEs were posted; 0 for a pure timeout.
    /// For a multishot timeout: how often it fires, 0 for ever.
    pub count: u32,
    /// Fires again and again.
    pub multishot: bool,
    /// Expiry does not fail the link.
    pub success_on_expiry: bool,
}

impl Op for Timeout {
    const TRAITS: Traits = Traits::NONE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        let flags = sqe.op_flags();
        let known = uapi::IORING_TIMEOUT_ABS
            | CLOCK_FLAGS
            | uapi::IORING_TIMEOUT_ETIME_SUCCESS
            | uapi::IORING_TIMEOUT_MULTISHOT;
        if sqe.addr3() != 0 || sqe.pad2() != 0 {
            return Err(Errno::INVAL);
        }
        if sqe.buf_index() != 0 || sqe.len() != 1 || sqe.file_index() != 0 || flags & !known != 0 {
            return Err(Errno::INVAL);
        }
        let multishot = flags & uapi::IORING_TIMEOUT_MULTISHOT != 0;
        if (multishot && flags & uapi::IORING_TIMEOUT_ABS != 0) || (flags & CLOCK_FLAGS).count_ones() > 1 {
            return Err(Errno::INVAL);
        }
        Ok(Self {
            expiry: read_expiry(sqe.addr(), flags)?,
            count: sqe.off() as u32,
            multishot,
            success_on_expiry: flags & uapi::IORING_TIMEOUT_ETIME_SUCCESS != 0,
        })
    }

    fn issue(&mut self, _context: &mut Issue<'_>) -> Outcome {
        Outcome::Engine
    }
}

/// `IORING_OP_LINK_TIMEOUT`: limits the request it is linked to. Source: `io_uring_prep_link_timeout.3`.
#[derive(Debug)]
pub struct LinkTimeout {
    /// When it expires, counted from the start of the linked request.
    pub expiry: Expiry,
}

impl Op for LinkTimeout {
    const TRAITS: Traits = Traits::NONE;

    fn prepare(sqe: &Sqe, context: &Prepare) -> Result<Self, Errno> {
        let flags = sqe.op_flags();
        // Linux accepts the multishot flag here, too; there is nothing to repeat.
        let known = uapi::IORING_TIMEOUT_ABS
            | CLOCK_FLAGS
            | uapi::IORING_TIMEOUT_ETIME_SUCCESS
            | uapi::IORING_TIMEOUT_MULTISHOT;
        if sqe.addr3() != 0 || sqe.pad2() != 0 {
            return Err(Errno::INVAL);
        }
        if sqe.buf_index() != 0
            || sqe.len() != 1
            || sqe.file_index() != 0
            // Linux looks at the lower half.
            || sqe.off() as u32 != 0
            || flags & !known != 0
        {
            return Err(Errno::INVAL);
        }
        if (flags & CLOCK_FLAGS).count_ones() > 1 {
            return Err(Errno::INVAL);
        }
        let expiry = read_expiry(sqe.addr(), flags)?;
        if context.limits_request { Ok(Self { expiry }) } else { Err(Errno::INVAL) }
    }

    fn issue(&mut self, _context: &mut Issue<'_>) -> Outcome {
        // Never reached: preparation makes sure that there is a request to limit.
        Outcome::failed(Errno::INVAL)
    }
}

/// `IORING_OP_TIMEOUT_REMOVE`, also updates. Source: `io_uring_prep_timeout_update.3`.
#[derive(Debug)]
pub struct TimeoutRemove {
    /// The `user_data` of the timeout.
    pub target: u64,
    /// The new expiry, when it is to change instead of go.
    pub update: Option<Expiry>,
    /// The target is a LINK_TIMEOUT.
    pub link_timeout: bool,
}

impl Op for TimeoutRemove {
    const TRAITS: Traits = Traits::NONE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        if sqe.flags().intersects(SqeFlags::FIXED_FILE | SqeFlags::BUFFER_SELECT) {
            return Err(Errno::INVAL);
        }
        if sqe.addr3() != 0 || sqe.pad2() != 0 {
            return Err(Errno::INVAL);
        }
        if sqe.buf_index() != 0 || sqe.len() != 0 || sqe.file_index() != 0 {
            return Err(Errno::INVAL);
        }
        let flags = sqe.op_flags();
        let update_mask = uapi::IORING_TIMEOUT_UPDATE_MASK;
        let (update, link_timeout) = if flags & update_mask != 0 {
            // The clock stays the timeout's own.
            if flags & !(update_mask | uapi::IORING_TIMEOUT_ABS) != 0 {
                return Err(Errno::INVAL);
            }
            let expiry = read_expiry(sqe.off(), flags)?;
            let is_update = flags & uapi::IORING_TIMEOUT_UPDATE != 0;
            // `IORING_LINK_TIMEOUT_UPDATE` alone removes, and an ordinary timeout at that.
            let link_timeout = is_update && flags & uapi::IORING_LINK_TIMEOUT_UPDATE != 0;
            (is_update.then_some(expiry), link_timeout)
        } else if flags != 0 {
            return Err(Errno::INVAL);
        } else {
            (None, false)
        };
        Ok(Self { target: sqe.addr(), update, link_timeout })
    }

    fn issue(&mut self, _context: &mut Issue<'_>) -> Outcome {
        Outcome::Engine
    }
}
