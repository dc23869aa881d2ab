//! Timers of a ring: what expires when, on which clock.

use std::collections::BTreeMap;
use std::time::Duration;

use ringer_ops::timeout::{Clock, Expiry};
use rustix::time::{ClockId, clock_gettime};

use crate::inflight::RequestId;

/// A timer's place in the queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TimerKey {
    pub(crate) clock: Clock,
    pub(crate) deadline: Duration,
    sequence: u64,
}

/// Timers by clock and deadline.
#[derive(Debug, Default)]
pub(crate) struct TimerQueue {
    queue: BTreeMap<TimerKey, RequestId>,
    sequence: u64,
}

/// The settable clock may be moved while we sleep: look again at least this often.
const REALTIME_LOOK: Duration = Duration::from_millis(500);

/// The time on a clock.
pub(crate) fn now(clock: Clock) -> Duration {
    let id = match clock {
        Clock::Monotonic => ClockId::Monotonic,
        Clock::Boottime => ClockId::Boottime,
        Clock::Realtime => ClockId::Realtime,
    };
    let time = clock_gettime(id);
    Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec as u32)
}

/// The point of time on its clock at which an expiry is due.
pub(crate) fn deadline(expiry: &Expiry) -> Duration {
    if expiry.absolute { expiry.time } else { now(expiry.clock).saturating_add(expiry.time) }
}

impl TimerQueue {
    /// Queues a timer.
    pub(crate) fn insert(&mut self, clock: Clock, deadline: Duration, id: RequestId) -> TimerKey {
        self.sequence += 1;
        let key = TimerKey { clock, deadline, sequence: self.sequence };
        self.queue.insert(key, id);
        key
    }

    /// Takes a timer out.
    pub(crate) fn remove(&mut self, key: TimerKey) {
        self.queue.remove(&key);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn first(&self, clock: Clock) -> Option<(TimerKey, RequestId)> {
        let lowest = TimerKey { clock, deadline: Duration::ZERO, sequence: 0 };
        let (key, id) = self.queue.range(lowest..).next()?;
        (key.clock == clock).then_some((*key, *id))
    }

    /// The next timer that is due, if one is.
    pub(crate) fn next_due(&self) -> Option<RequestId> {
        CLOCKS.iter().find_map(|clock| {
            let (key, id) = self.first(*clock)?;
            (key.deadline <= now(*clock)).then_some(id)
        })
    }

    /// How long until one is due. `None`: there is none.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        CLOCKS
            .iter()
            .filter_map(|clock| {
                let (key, _) = self.first(*clock)?;
                let left = key.deadline.saturating_sub(now(*clock));
                Some(if *clock == Clock::Realtime { left.min(REALTIME_LOOK) } else { left })
            })
            .min()
    }
}

const CLOCKS: [Clock; 3] = [Clock::Monotonic, Clock::Boottime, Clock::Realtime];
