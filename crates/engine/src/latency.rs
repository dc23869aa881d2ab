//! The latency guard: how much patience an attempt on the submitting thread gets.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringer_ops::Patience;

/// An attempt that took longer than this was slow.
const SLOW: Duration = Duration::from_millis(2);
/// What a slow attempt counts; one that was not counts one the other way.
const WEIGHT: u32 = 16;
/// Brief attempts are withdrawn for [`PAUSE`] when the count reaches this. One slow attempt among many is a thread that lost
/// its processor for a while; a device that is behind makes most of them slow.
const LIMIT: u32 = 3 * WEIGHT - 8;
/// How long brief attempts stay withdrawn.
const PAUSE: Duration = Duration::from_millis(100);

/// Watches how long brief attempts really take.
///
/// What the kernel punts (buffered writes on ext4, path lookups) is usually over in microseconds, far
/// less than handing it to a thread costs. When the device is behind, it is not: then it is handed over.
#[derive(Debug, Default)]
pub(crate) struct LatencyGuard {
    /// Brief attempts are withdrawn until then, in nanoseconds since [`epoch`].
    withdrawn_until: AtomicU64,
    slowness: AtomicU32,
}

fn epoch() -> Instant {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

/// Nanoseconds since the first question.
pub(crate) fn since_epoch() -> u64 {
    epoch().elapsed().as_nanos() as u64
}

/// When a brief attempt begins: when the `last` one of the same turn ended, which saves a look at the clock.
pub(crate) fn begin(last: &mut Option<Instant>) -> Instant {
    last.take().unwrap_or_else(Instant::now)
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

    /// Makes a brief attempt, and takes note of how long it took. `last`: see [`begin`].
    #[inline]
    pub(crate) fn time<R>(&self, last: &mut Option<Instant>, attempt: impl FnOnce() -> R) -> R {
        let started = begin(last);
        let result = attempt();
        self.end(started, last);
        result
    }

    /// A brief attempt that began then is over. `last`: see [`begin`].
    pub(crate) fn end(&self, started: Instant, last: &mut Option<Instant>) {
        let now = Instant::now();
        self.note(now.duration_since(started));
        *last = Some(now);
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
}
