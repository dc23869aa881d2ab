//! One of the rings that a sequence is played on: how it is submitted to, and how its CQ is filled.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use ringer_abi::{EnterFlags, Params, RegisterOpcode, SetupFlags, SqRingFlags};

use crate::differential::errno::outcome_name;
use crate::differential::{Ring, Session, prep};

/// Entries of the SQ.
const ENTRIES: u32 = 16;
/// `user_data` of the requests that fill the CQ.
pub const FILLER: u64 = 1 << 50;
/// How long a polling thread is waited for.
const LIMIT: Duration = Duration::from_secs(2);
/// How often it is looked whether the thread that polls has taken what was pushed.
const POLL_STEP: Duration = Duration::from_micros(100);

/// Makes the ring.
pub fn ring(session: &Session, setup: SetupFlags) -> Ring {
    // A thread that polls does so for a moment only: many sequences are played at a time.
    let sq_thread_idle = u32::from(setup.contains(SetupFlags::SQPOLL));
    let params = Params { flags: setup.bits(), sq_thread_idle, ..Params::default() };
    session.try_ring(ENTRIES, params).expect("a ring with good flags")
}

/// Whether the ring was set up with this flag.
pub fn has(ring: &Ring, flag: SetupFlags) -> bool {
    ring.params.flags & flag.bits() != 0
}

/// Whether another thread may wait for the ring, and need not wait for this one to do its task work.
pub fn may_wait_elsewhere(ring: &Ring) -> bool {
    !has(ring, SetupFlags::SINGLE_ISSUER) && !has(ring, SetupFlags::COOP_TASKRUN)
}

/// Registers an eventfd that hears of all completions.
pub fn register_eventfd(session: &Session, ring: &Ring) -> RawFd {
    let eventfd = session.eventfd(0);
    let argument = session.ints(&[eventfd]);
    ring.register(RegisterOpcode::Eventfd.number(), argument.addr(), 1).expect("there is none yet");
    eventfd
}

/// Has what was pushed taken, and perhaps waits for a completion. What the calls returned.
pub fn submit(ring: &Ring, waits: bool) -> Vec<String> {
    if has(ring, SetupFlags::SQPOLL) { hand_over(ring, waits) } else { enter(ring, waits) }
}

/// Has the kernel take what was pushed, as often as it says that it did not take all.
fn enter(ring: &Ring, waits: bool) -> Vec<String> {
    let mut rounds = Vec::new();
    while ring.unsubmitted() > 0 && rounds.len() < 12 {
        let outcome = match waits {
            true => ring.enter(ring.unsubmitted(), 1, EnterFlags::GETEVENTS),
            false => ring.submit(),
        };
        rounds.push(outcome_name(outcome));
    }
    rounds
}

/// Waits until the thread that polls has taken what was pushed.
fn hand_over(ring: &Ring, waits: bool) -> Vec<String> {
    let outcome = ring.submit();
    let end = Instant::now() + LIMIT;
    while ring.unsubmitted() > 0 && Instant::now() < end {
        std::thread::sleep(POLL_STEP);
    }
    let waited = waits.then(|| ring.enter(0, 1, EnterFlags::GETEVENTS));
    [Some(outcome), waited].into_iter().flatten().map(outcome_name).collect()
}

/// Fills the CQ until no more than `room` completions fit.
pub fn fill(ring: &Ring, room: u32, patience: Duration) {
    loop {
        let missing = (ring.params.cq_entries - ring.ready()).saturating_sub(room).min(ENTRIES);
        if missing == 0 {
            return;
        }
        let before = ring.ready();
        ring.push_all(&vec![prep::nop().with_user_data(FILLER); missing as usize]);
        submit(ring, false);
        let end = Instant::now() + patience;
        while ring.ready() < before + missing {
            if Instant::now() > end {
                // A drained request holds them back.
                return;
            }
            run_task_work(ring);
            std::thread::sleep(POLL_STEP);
        }
    }
}

/// Work that is due is done by a call.
pub fn run_task_work(ring: &Ring) {
    if has(ring, SetupFlags::DEFER_TASKRUN) {
        let _ = ring.enter(0, 0, EnterFlags::GETEVENTS);
    }
}

/// Whether completions wait behind a CQ that is full.
pub fn is_overflown(ring: &Ring) -> bool {
    SqRingFlags::from_bits_retain(ring.sq_flags()).contains(SqRingFlags::CQ_OVERFLOW)
}
