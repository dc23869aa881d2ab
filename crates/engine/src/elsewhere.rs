//! Requests of other processes that serve the same ring, as after `fork`.
//!
//! A process that inherited the ring can cancel requests of the others. It asks whoever looks at the ring next in the other process:
//! a thread that waits there, or its background thread.
//!
//! What is pending ends with its process, but for plain TIMEOUTs: in Linux those belong to the ring. Whoever looks at the ring next goes on
//! with them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ringer_abi::{Opcode, Sqe, SqeFlags};
use ringer_ops::Operation;
use ringer_ops::cancel::CancelMatch;
use ringer_ops::timeout::{Clock, Expiry, Timeout};
use ringer_ring::Bequest;
use ringer_sys::Errno;

use crate::inflight::Stage;
use crate::request::Request;
use crate::ring::Ring;
use crate::timer::TimerKey;
use crate::turn::Turn;

/// How long the question may stay with nobody taking it: then nobody has such a request, or nobody drives the ring there.
const PATIENCE: Duration = Duration::from_millis(20);
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(1);
/// Between two looks for the answer.
const LOOK: Duration = Duration::from_micros(50);

/// Asks the other processes of the ring to cancel what matches. Files have other numbers there, and cannot be asked for.
///
/// # Errors
/// `ENOENT` when nobody has such a request, `EALREADY` when it runs and cannot be stopped.
pub(crate) fn cancel(ring: &Arc<Ring>, wanted: &CancelMatch) -> Result<i32, Errno> {
    if !ring.is_inherited || wanted.by_file() {
        return Err(Errno::NOENT);
    }
    let [low, high] = [wanted.user_data as u32, (wanted.user_data >> 32) as u32];
    let number = ring.shared.ask(&[wanted.flags, low, high, wanted.opcode.into()]).ok_or(Errno::NOENT)?;
    // Relaxed: whoever misses it asks itself, and has nothing to say.
    ring.seen_question.store(number, Ordering::Relaxed);
    ring.reactor.wake(&ring.shared, 1);
    let asked = Instant::now();
    loop {
        if let Some(answer) = ring.shared.take_answer() {
            return if answer < 0 { Err(Errno::from_raw_os_error(-answer)) } else { Ok(answer) };
        }
        if asked.elapsed() > PATIENCE && ring.shared.withdraw_question() {
            return Err(Errno::NOENT);
        }
        if asked.elapsed() > LIMIT {
            ring.shared.abandon_question();
            return Err(Errno::NOENT);
        }
        std::thread::sleep(LOOK);
    }
}

/// This process ends: leaves its TIMEOUTs that stand alone to the others.
pub(crate) fn bequeath_timeouts(ring: &Arc<Ring>) {
    let mut inflight = ring.inflight.lock();
    inflight.is_leaving = true;
    let mut is_left = false;
    for id in inflight.all() {
        let Some(Stage::Timer { request, key: Some(key), limits: None }) = inflight.stage(id) else {
            continue;
        };
        let (Some(bequest), true) = (bequest_of(request, key), request.next.is_none() && !request.drains)
        else {
            continue;
        };
        if ring.shared.bequeath(&bequest) {
            is_left = true;
            // Nothing is told of it here.
            drop(inflight.take(id));
            inflight.release(id);
        }
    }
    drop(inflight);
    let waiters = ring.shared.waiters();
    if is_left && waiters > 0 {
        ring.reactor.wake(&ring.shared, waiters);
    }
}

/// `ETIME` is a success to it.
const IS_SUCCESS: u32 = 1 << 8;
/// It posts no CQE of a success.
const SKIPS: u32 = 1 << 9;

fn bequest_of(request: &Request, key: &TimerKey) -> Option<Bequest> {
    let Operation::Timeout(timeout) = &request.operation else { return None };
    let nanoseconds = u64::try_from(key.deadline.as_nanos()).ok()?;
    if timeout.multishot || timeout.count != 0 {
        return None;
    }
    let mut kind = key.clock as u32;
    if timeout.success_on_expiry {
        kind |= IS_SUCCESS;
    }
    if request.flags.contains(SqeFlags::CQE_SKIP_SUCCESS) {
        kind |= SKIPS;
    }
    let halves = |number: u64| [number as u32, (number >> 32) as u32];
    let ([low, high], [early, late]) = (halves(request.user_data), halves(nanoseconds));
    Some([low, high, early, late, kind])
}

fn request_of([low, high, early, late, kind]: Bequest) -> Request {
    let joined = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
    let clock = match kind & 0xff {
        kind if kind == Clock::Boottime as u32 => Clock::Boottime,
        kind if kind == Clock::Realtime as u32 => Clock::Realtime,
        _ => Clock::Monotonic,
    };
    let expiry = Expiry { clock, time: Duration::from_nanos(joined(early, late)), absolute: true };
    let success_on_expiry = kind & IS_SUCCESS != 0;
    let timeout = Timeout { expiry, count: 0, multishot: false, success_on_expiry };
    let mut flags = SqeFlags::empty();
    flags.set(SqeFlags::CQE_SKIP_SUCCESS, kind & SKIPS != 0);
    let sqe = Sqe::default()
        .with_opcode(Opcode::Timeout.number())
        .with_flags(flags)
        .with_user_data(joined(low, high));
    Request::new(&sqe, Operation::Timeout(timeout))
}

impl Turn<'_> {
    /// Goes on with what processes that ended have left.
    pub(crate) fn inherit_timeouts(&mut self) {
        while let Some(bequest) = self.next_bequest() {
            self.run(Box::new(request_of(bequest)));
        }
    }

    fn next_bequest(&self) -> Option<Bequest> {
        // Under the lock: a process that ends would cancel what it took back.
        let inflight = self.ring.inflight.lock();
        if inflight.is_leaving { None } else { self.ring.shared.inherit() }
    }

    /// Does what another process has asked for, if this one can.
    pub(crate) fn answer_question(&mut self) {
        let ring = self.ring;
        let Some(([flags, low, high, opcode], number)) =
            ring.shared.take_question(ring.seen_question.load(Ordering::Relaxed))
        else {
            return;
        };
        ring.seen_question.store(number, Ordering::Relaxed);
        let user_data = u64::from(high) << 32 | u64::from(low);
        let wanted = CancelMatch { flags, user_data, fd: -1, opcode: opcode as u8 };
        match self.cancel(&wanted, None) {
            Ok(0) if wanted.wants_all() => ring.shared.pass_on(),
            Ok(count) => ring.shared.answer(count),
            Err(Errno::NOENT) => ring.shared.pass_on(),
            Err(errno) => ring.shared.answer(-errno.raw_os_error()),
        }
    }
}
