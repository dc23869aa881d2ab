//! The latency guard: how much patience an attempt on the submitting thread gets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringer_ops::Patience;

/// Brief attempts are withdrawn for [`PAUSE`] after one that took longer than this.
const SLOW: Duration = Duration::from_millis(2);
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
}

fn epoch() -> Instant {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
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
        if (epoch().elapsed().as_nanos() as u64) < until {
            return Patience::None;
        }
        self.withdrawn_until.store(0, Ordering::Relaxed);
        Patience::Brief
    }

    /// Takes note of how long a brief attempt took.
    pub(crate) fn record(&self, started: Instant) {
        if started.elapsed() > SLOW {
            let until = (epoch().elapsed() + PAUSE).as_nanos() as u64;
            self.withdrawn_until.store(until, Ordering::Relaxed);
        }
    }
}
