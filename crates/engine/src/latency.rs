//! The latency guard: how much patience an attempt on the submitting thread gets.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringer_ops::Patience;
use rustix::time::{ClockId, clock_gettime};

/// An attempt that took longer than this was slow.
const SLOW: Duration = Duration::from_millis(2);
/// What a slow attempt counts; one that was not counts one the other way.
const WEIGHT: u32 = 16;
/// Brief attempts are withdrawn for [`PAUSE`] when the count reaches this. One slow attempt among many is a thread that lost
/// its processor for a while; a device that is behind makes most of them slow.
const LIMIT: u32 = 3 * WEIGHT - 8;
/// How long brief attempts stay withdrawn.
const PAUSE: Duration = Duration::from_millis(100);
/// So many attempts are timed exactly after one that may have been slow.
const TIMED: u32 = 64;

/// Watches how long brief attempts really take.
///
/// What the kernel punts (buffered writes on ext4, path lookups) is usually over in microseconds, far
/// less than handing it to a thread costs. When the device is behind, it is not: then it is handed over.
#[derive(Debug, Default)]
pub(crate) struct LatencyGuard {
    /// Brief attempts are withdrawn until then, in nanoseconds since [`epoch`].
    withdrawn_until: AtomicU64,
    slowness: AtomicU32,
    /// Attempts that are still to be timed exactly.
    timed: AtomicU32,
}

/// When a brief attempt began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    tick: (i64, i64),
    /// `None`: it is not timed exactly.
    exactly: Option<Instant>,
}

/// The time of the last tick of the kernel's clock, which costs next to nothing. There is one every 1 to 10 ms.
fn tick() -> (i64, i64) {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    (time.tv_sec, time.tv_nsec)
}

fn epoch() -> Instant {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

/// Nanoseconds since the first question.
pub(crate) fn since_epoch() -> u64 {
    epoch().elapsed().as_nanos() as u64
}

impl LatencyGuard {
    /// The patience for an attempt that waits for nobody but may be brief.
    #[inline]
    pub(crate) fn patience(&self) -> Patience {
        // Relaxed: a late look only costs one more inline attempt.
        let until = self.withdrawn_until.load(Ordering::Relaxed);
        if until == 0 { Patience::Brief } else { self.patience_until(until) }
    }

    #[cold]
    fn patience_until(&self, until: u64) -> Patience {
        if since_epoch() < until {
            return Patience::None;
        }
        self.withdrawn_until.store(0, Ordering::Relaxed);
        Patience::Brief
    }

    /// Makes a brief attempt, and takes note of how long it took.
    #[inline]
    pub(crate) fn time<R>(&self, attempt: impl FnOnce() -> R) -> R {
        let started = self.begin();
        let result = attempt();
        self.end(started);
        result
    }

    /// A brief attempt begins. To look at the clock costs a fiftieth of many: so they are timed only after one in which it ticked.
    #[inline]
    pub(crate) fn begin(&self) -> Started {
        // Relaxed, here and below: a count that is lost times another one.
        let exactly = if self.timed.load(Ordering::Relaxed) > 0 { Some(Instant::now()) } else { None };
        Started { tick: tick(), exactly }
    }

    /// A brief attempt that began then is over.
    #[inline]
    pub(crate) fn end(&self, started: Started) {
        match started.exactly {
            None if tick() == started.tick => {}
            None => self.timed.store(TIMED, Ordering::Relaxed),
            Some(exactly) => self.end_timed(exactly),
        }
    }

    #[cold]
    fn end_timed(&self, started: Instant) {
        self.record(started);
        let left = self.timed.load(Ordering::Relaxed);
        self.timed.store(left.saturating_sub(1), Ordering::Relaxed);
    }

    /// Takes note of how long a brief attempt took.
    pub(crate) fn record(&self, started: Instant) {
        self.note(started.elapsed());
    }

    /// The same, of a time that is known.
    pub(crate) fn note(&self, time: Duration) {
        // Relaxed, and not in one step: a count that is lost decides a little later.
        let slowness = self.slowness.load(Ordering::Relaxed);
        if time <= SLOW {
            if slowness > 0 {
                self.slowness.store(slowness - 1, Ordering::Relaxed);
            }
            return;
        }
        if slowness + WEIGHT < LIMIT {
            self.slowness.store(slowness + WEIGHT, Ordering::Relaxed);
            return;
        }
        self.slowness.store(0, Ordering::Relaxed);
        let until = (epoch().elapsed() + PAUSE).as_nanos() as u64;
        self.withdrawn_until.store(until, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_attempt_is_forgiven_and_several_are_not() {
        let guard = LatencyGuard::default();
        for _ in 0..100 {
            guard.note(2 * SLOW);
            for _ in 0..WEIGHT {
                guard.note(SLOW / 2);
            }
            assert_eq!(guard.patience(), Patience::Brief);
        }
        for slow in [Patience::Brief, Patience::Brief, Patience::None] {
            guard.note(2 * SLOW);
            assert_eq!(guard.patience(), slow);
        }
    }

    #[test]
    fn one_that_takes_long_has_the_next_ones_timed() {
        let guard = LatencyGuard::default();
        // Longer than between two ticks of any kernel.
        let slow = || guard.time(|| std::thread::sleep(Duration::from_millis(11)));
        slow();
        assert_eq!(guard.timed.load(Ordering::Relaxed), TIMED);
        for patience in [Patience::Brief, Patience::Brief, Patience::None] {
            slow();
            assert_eq!(guard.patience(), patience);
        }
    }

    #[test]
    fn brief_ones_are_timed_for_a_while_only() {
        let guard = LatencyGuard::default();
        guard.time(|| std::thread::sleep(Duration::from_millis(11)));
        for left in (0..TIMED).rev() {
            guard.time(|| ());
            assert_eq!(guard.timed.load(Ordering::Relaxed), left);
        }
        assert!(guard.begin().exactly.is_none());
    }
}
