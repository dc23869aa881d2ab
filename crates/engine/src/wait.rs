//! Waiting: the thread that waits in `enter` is the reactor while it does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringer_abi::SetupFlags;
use ringer_ops::Operation;
use ringer_ops::timeout::Clock;
use ringer_sys::Errno;
use ringer_sys::ready::Report;

use crate::device::Transfers;
use crate::inflight::{RequestId, Stage};
use crate::kept;
use crate::observed::Observed;
use crate::reactor::{DEVICE, KICK, Kicks};
use crate::ring::Ring;
use crate::timer;
use crate::turn::{Place, Turn};
use crate::watch::{Reported, WatchId};

/// Reports taken from the kernel at once.
const REPORTS: usize = 64;

/// So many of those that are kept are made before the next look whether a signal came.
const MOST_IN_A_ROW: u32 = 16;

/// How long a wait may last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct WaitLimit {
    pub(crate) clock: Clock,
    pub(crate) deadline: Duration,
}

impl WaitLimit {
    fn left(&self) -> Duration {
        self.deadline.saturating_sub(timer::now(self.clock))
    }
}

/// The limits of one wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct WaitLimits {
    /// The end of the wait.
    pub(crate) last: Option<WaitLimit>,
    /// From then on one CQE is enough (`min_wait_usec`).
    pub(crate) batch: Option<WaitLimit>,
}

/// Waits until the CQ holds `wanted` CQEs, at least one, driving readiness and timers meanwhile. A TIMEOUT that expires
/// ends the wait, too: that is what it is for.
///
/// # Errors
/// `EINTR` when a signal handler ran, `ETIME` when the limit is reached; neither if the CQ is not empty.
// Not inlined, as what follows: a call that finds all it wants has a short way.
#[inline(never)]
pub(crate) fn wait(
    ring: &Arc<Ring>,
    wanted: u32,
    limits: &WaitLimits,
    mask: Option<u64>,
) -> Result<(), Errno> {
    if ring.observed.as_ref().is_some_and(Observed::interrupts) {
        return Err(Errno::INTR);
    }
    let target = ring.shared.cq_head().wrapping_add(wanted);
    ring.reactor.join();
    let result = wait_joined(ring, target, limits, mask);
    ring.reactor.leave();
    match result {
        Err(_) if ring.shared.cq_ready() > 0 => Ok(()),
        other => other,
    }
}

fn wait_joined(ring: &Arc<Ring>, target: u32, limits: &WaitLimits, mask: Option<u64>) -> Result<(), Errno> {
    let timeouts = ring.completions.timeouts();
    let mut batch = limits.batch;
    let is_enough = |batch: Option<WaitLimit>| {
        let ready = ring.shared.cq_ready();
        let all = ring.shared.cq_tail().wrapping_sub(target) as i32 >= 0 && ready > 0;
        // After the time for a batch, any CQE ends the wait.
        let some = limits.batch.is_some() && batch.is_none() && ready > 0;
        all || some || ring.completions.timeouts() != timeouts
    };
    let mut looked = false;
    let mut kicks = Kicks::of_waiter(ring);
    // Of those that are kept, since the last look at anything else.
    let mut made = 0;
    loop {
        ring.run_deferred();
        ring.flush_backlog();
        if batch.is_some_and(|batch| batch.left() == Duration::ZERO) {
            batch = None;
        }
        if is_enough(batch) {
            return Ok(());
        }
        let left = limits.last.map(|limit| limit.left());
        if looked && batch.is_none() && left == Some(Duration::ZERO) {
            return Err(Errno::TIME);
        }
        let left = batch.map(|batch| batch.left()).or(left);
        if made < MOST_IN_A_ROW && kept::make_oldest(ring, left) {
            made += 1;
            continue;
        }
        ring.reactor.prepare()?;
        ring.shared.announce_waiter(ring.own_thread());
        // After the announcement: a timer that is queued later finds a waiter to wake.
        let timers = ring.inflight.lock().timers.time_left();
        let timeout = left.into_iter().chain(timers).min();
        looked = true;
        let known = ring.reactor.latest_report();
        let mut reports = [Report::default(); REPORTS];
        let mut transfers = Transfers::new();
        // Likewise: what another process leaves later finds a waiter to wake.
        let is_heir =
            ring.readiness.is_shared() && ring.shared.has_bequests() && !ring.inflight.lock().is_leaving;
        let has_kept = ring.kept.concerns_this_thread();
        let timeout = if has_kept { Some(Duration::ZERO) } else { timeout };
        let waited = if is_enough(batch)
            || is_heir
            || ring.deferred_count() > 0
            || ring.has_backlog()
            || ring.device.has_completed()
            || has_kept && made < MOST_IN_A_ROW
        {
            Ok(0)
        } else {
            ring.sleep((&mut reports, &mut transfers), timeout, mask, &mut kicks)
        };
        ring.shared.retire_waiter();
        made = 0;
        let waited = waited?;
        if !transfers.is_empty() || ring.device.has_completed() {
            ring.device.was_waited_for();
        }
        dispatch(ring, (known, &reports[..waited]), &transfers);
    }
}

/// Drives readiness and timers once, without waiting.
#[inline(never)]
pub(crate) fn drive(ring: &Arc<Ring>) {
    if ring.reactor.has_watches() {
        drive_reported(ring);
    } else {
        dispatch(ring, (0, &[]), &Transfers::new());
    }
}

/// Drives for a thread that asks for what has become possible: also what the background thread is just at is done then, as it would be
/// in the kernel, where nobody else does it. Returns whether there may have been anything.
#[inline]
pub(crate) fn catch_up(ring: &Arc<Ring>) -> bool {
    /// It never waits for a file; this is for one that does not get a processor.
    const LIMIT: Duration = Duration::from_millis(5);
    let may_have_work = ring.reactor.may_have_work();
    if may_have_work {
        drive(ring);
    }
    let is_served = ring.reactor.is_served();
    if is_served {
        let end = Instant::now() + LIMIT;
        while ring.reactor.is_served() && Instant::now() < end {
            std::thread::yield_now();
        }
    }
    may_have_work || is_served
}

/// Drives a ring whose epoll instance was reported: also a kick that nobody took is.
pub(crate) fn drive_reported(ring: &Arc<Ring>) {
    let known = ring.reactor.latest_report();
    let mut reports = [Report::default(); REPORTS];
    let mut kicks = Kicks::of_visitor(ring);
    // No signal can end a wait that does not wait; other errors leave nothing to dispatch.
    let count = ring.reactor.wait(&mut reports, Some(Duration::ZERO), None, &mut kicks).unwrap_or(0);
    dispatch(ring, (known, &reports[..count]), &Transfers::new());
}

/// Runs the requests whose files reported, completes transfers, and runs the timers that are due. `known` was the latest report when the reports
/// were asked for.
fn dispatch(ring: &Arc<Ring>, (known, reports): (u64, &[Report]), transfers: &Transfers) {
    let mut reported = Vec::new();
    for report in reports {
        let token = report.token;
        match WatchId::from_token(token) {
            _ if matches!(token, KICK | DEVICE) => {}
            Some(watch) => ring.note_report(watch, report.events, &mut reported),
            None => {
                let request = RequestId::from_token(token);
                reported.push(Reported::alone(request, report.events));
            }
        }
    }
    let mut turn = Turn::new(ring, Place::Reactor);
    let mut submitters = Submitters::of(ring);
    for reported in reported {
        let id = reported.request;
        let request = {
            let mut inflight = ring.inflight.lock();
            let must_wait = inflight.is_held_back(id) || inflight.is_outdated(&reported, known);
            match inflight.stage(id) {
                Some(Stage::Armed(_)) if must_wait => None,
                Some(Stage::Armed(_)) => inflight.take(id),
                Some(Stage::Running { reported: is_reported, .. }) => {
                    // What it finds or leaves is reported again.
                    *is_reported |= !reported.comes_again;
                    None
                }
                _ => None,
            }
        };
        if let Some(mut request) = request {
            if let Operation::PollAdd(poll) = &mut request.operation {
                poll.note_report(reported.events);
            }
            if submitters.has(request.submitter) {
                turn.run(request);
            } else {
                let next = turn.complete_cancelled(request);
                turn.run_from(next);
            }
        }
    }
    turn.finish_transfers(transfers);
    if ring.device.has_completed() {
        turn.complete_transfers();
    }
    if ring.readiness.is_shared() {
        turn.inherit_timeouts();
        turn.answer_question();
    }
    turn.expire_timers();
    turn.run_ready();
    turn.finish();
}

/// Which threads that submitted requests are still there: what waits for a file is cancelled when that is ready, if its thread has
/// ended. The thread that polls a ring ends with the ring.
struct Submitters {
    is_polled: bool,
    /// The latest that was asked for.
    latest: u32,
    is_alive: bool,
}

impl Submitters {
    fn of(ring: &Ring) -> Self {
        let is_polled = ring.setup.contains(SetupFlags::SQPOLL);
        Self { is_polled, latest: ringer_sys::thread::id(), is_alive: true }
    }

    fn has(&mut self, submitter: u32) -> bool {
        if self.is_polled {
            return true;
        }
        if submitter != self.latest {
            (self.latest, self.is_alive) = (submitter, ringer_sys::thread::is_alive(submitter));
        }
        self.is_alive
    }
}
