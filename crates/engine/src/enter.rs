//! `io_uring_enter`: submits, waits, or both.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ringer_abi::{EnterFlags, GetEventsArg, SetupFlags, uapi};
use ringer_sys::{Errno, UserAddress};

use crate::recent::Entered;
use crate::ring::Ring;
use crate::system::{Caller, System};
use crate::wait::{WaitLimit, WaitLimits};
use crate::{background, kept, submit, timer, wait};

/// The arguments of one call, the descriptor already looked up.
#[derive(Clone, Copy)]
pub(crate) struct Enter {
    pub(crate) to_submit: u32,
    pub(crate) min_complete: u32,
    pub(crate) flags: EnterFlags,
    pub(crate) argument: UserAddress,
    pub(crate) argument_size: usize,
}

/// The flags of `enter` that are honoured.
pub const SERVED: EnterFlags = EnterFlags::GETEVENTS
    .union(EnterFlags::SQ_WAKEUP)
    .union(EnterFlags::SQ_WAIT)
    .union(EnterFlags::EXT_ARG)
    .union(EnterFlags::REGISTERED_RING)
    .union(EnterFlags::ABS_TIMER)
    .union(EnterFlags::EXT_ARG_REG)
    .union(EnterFlags::NO_IOWAIT);

/// Carries the call out. Returns the number of SQEs consumed.
///
/// # Errors
/// `EBADFD` for a disabled ring, `EEXIST` for the wrong thread of a single-issuer ring, `EINVAL`, `EFAULT`
/// for a bad argument, `EINTR`, `ETIME`; errors of waiting only if nothing was submitted.
#[inline(always)]
pub(crate) fn enter(entered: &Entered, enter: Enter, caller: &Caller) -> Result<i32, Errno> {
    let ring = &entered.ring;
    if ring.disabled.load(Ordering::Relaxed) {
        return Err(Errno::BADFD);
    }
    let poll_thread = ring.poll_thread.get();
    if enter.to_submit == 0 || poll_thread.is_some() {
        // Else it is counted with the submission.
        System::global().counters().enters.fetch_add(1, Ordering::Relaxed);
    }
    let submitted = if let Some(thread) = poll_thread {
        if enter.flags.contains(EnterFlags::SQ_WAKEUP) {
            thread.wake();
        }
        if enter.flags.contains(EnterFlags::SQ_WAIT) {
            thread.wait_for_room(ring);
        }
        enter.to_submit
    } else if enter.to_submit > 0 {
        check_submitter(ring)?;
        let submitted = submit::submit(ring, enter.to_submit, entered.thread);
        if submitted != enter.to_submit {
            background::notice(ring);
            ring.show_readiness();
            ring.show_pending_work();
            return Ok(submitted as i32);
        }
        submitted
    } else {
        0
    };
    let waited = if enter.flags.contains(EnterFlags::GETEVENTS) {
        get_events(ring, enter, caller)
    } else {
        if enter.to_submit == 0 && !ring.defers_completions() {
            // A call without any wish still does what has become possible, as every system call does in the kernel.
            wait::catch_up(ring);
        }
        Ok(())
    };
    background::notice(ring);
    ring.show_readiness();
    ring.show_pending_work();
    match waited {
        Err(errno) if submitted == 0 => Err(errno),
        _ => Ok(submitted as i32),
    }
}

/// A single-issuer ring belongs to the first thread that submits.
fn check_submitter(ring: &Ring) -> Result<(), Errno> {
    if !ring.setup.contains(SetupFlags::SINGLE_ISSUER) {
        return Ok(());
    }
    let this = ringer_sys::thread::id();
    // Relaxed: the value is compared with this thread's own only.
    match ring.submitter.compare_exchange(0, this, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => Ok(()),
        Err(owner) if owner == this => Ok(()),
        Err(_) => Err(Errno::EXIST),
    }
}

#[inline(always)]
fn get_events(ring: &Arc<Ring>, enter: Enter, caller: &Caller) -> Result<(), Errno> {
    // What is wrong with it counts whether there is to be a wait or not.
    let extended =
        if enter.flags.contains(EnterFlags::EXT_ARG) { Some(read_extended(ring, enter)?) } else { None };
    if ring.defers_completions() {
        check_submitter(ring)?;
    }
    let wanted = enter.min_complete.min(ring.shared.shape().cq_entries);
    ring.run_deferred();
    ring.flush_backlog();
    if wanted > 0 {
        ring.kept.was_asked();
    } else if enter.to_submit == 0 {
        kept::is_not_waited_for(ring);
    }
    if ring.shared.cq_ready() >= wanted {
        // What became ready meanwhile is done all the same, as task work is in the kernel.
        if wait::catch_up(ring) {
            ring.run_deferred();
            ring.flush_backlog();
        }
        // Like the kernel, which looks at the signal mask only when it is to wait.
        return Ok(());
    }
    let argument = extended.unwrap_or_else(|| WaitArgument::plain(enter));
    let mask = read_mask(argument.mask, argument.mask_size)?;
    wait::wait(ring, wanted, &argument.limits, mask.or_else(|| caller.wait_mask.find()))
}

/// What the fifth and sixth arguments say, in either form. The signal mask is not read yet.
struct WaitArgument {
    limits: WaitLimits,
    mask: UserAddress,
    mask_size: u64,
}

impl WaitArgument {
    /// The form without `EXT_ARG`: a signal mask.
    fn plain(enter: Enter) -> Self {
        let (mask, mask_size) = (enter.argument, enter.argument_size as u64);
        Self { limits: WaitLimits::default(), mask, mask_size }
    }
}

// Not inlined: the way without it is short.
#[inline(never)]
fn read_extended(ring: &Ring, enter: Enter) -> Result<WaitArgument, Errno> {
    let clock = ring.registrations.lock().clock;
    let now = timer::now(clock);
    let (argument, time) = if enter.flags.contains(EnterFlags::EXT_ARG_REG) {
        read_registered(ring, enter)?
    } else {
        if enter.argument_size != size_of::<GetEventsArg>() {
            return Err(Errno::INVAL);
        }
        let argument = enter.argument.read::<GetEventsArg>()?;
        let time = match UserAddress::new(argument.ts) {
            none if none.is_null() => None,
            address => Some(address.read::<[i64; 2]>()?),
        };
        (argument, time)
    };
    let last = match time {
        None => None,
        Some([seconds, nanoseconds]) => {
            let time = Duration::from_secs(seconds.max(0) as u64)
                .saturating_add(Duration::from_nanos(nanoseconds.max(0) as u64));
            let is_absolute = enter.flags.contains(EnterFlags::ABS_TIMER);
            let deadline = if is_absolute { time } else { now.saturating_add(time) };
            Some(WaitLimit { clock, deadline })
        }
    };
    // Until then all that is wanted is waited for, after it anything will do.
    let batch = (argument.min_wait_usec != 0).then(|| {
        let time = Duration::from_micros(u64::from(argument.min_wait_usec));
        WaitLimit { clock, deadline: now.saturating_add(time) }
    });
    Ok(WaitArgument {
        limits: WaitLimits { last, batch },
        mask: UserAddress::new(argument.sigmask),
        mask_size: u64::from(argument.sigmask_sz),
    })
}

/// The argument as it stands in the registered region (`struct io_uring_reg_wait`), at the offset that the call gives.
fn read_registered(ring: &Ring, enter: Enter) -> Result<(GetEventsArg, Option<[i64; 2]>), Errno> {
    const HAS_TIME: u32 = uapi::IORING_REG_WAIT_TS as u32;
    if enter.argument_size != size_of::<uapi::io_uring_reg_wait>() {
        return Err(Errno::INVAL);
    }
    let region = ring.region.get().ok_or(Errno::FAULT)?;
    let [seconds, nanoseconds, batch_and_flags, sigmask, sigmask_sz, ..] =
        region.wait_argument(enter.argument.get())?;
    let (min_wait_usec, flags) = (batch_and_flags as u32, (batch_and_flags >> 32) as u32);
    if flags & !HAS_TIME != 0 {
        return Err(Errno::INVAL);
    }
    let time = (flags & HAS_TIME != 0).then_some([seconds as i64, nanoseconds as i64]);
    Ok((GetEventsArg { sigmask, sigmask_sz: sigmask_sz as u32, min_wait_usec, ts: 0 }, time))
}

/// A signal set of the program; 8 bytes on every Linux that has io_uring.
fn read_mask(address: UserAddress, size: u64) -> Result<Option<u64>, Errno> {
    if address.is_null() {
        return Ok(None);
    }
    if size != 8 {
        return Err(Errno::INVAL);
    }
    address.read::<u64>().map(Some)
}
