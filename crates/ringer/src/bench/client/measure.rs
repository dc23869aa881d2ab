//! One sample: how long an operation takes, in elapsed time and in CPU time, and how that varies.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::error::ClientError;

/// What one run of the client measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Operations that were measured.
    pub operations: u64,
    /// Elapsed nanoseconds per operation.
    pub wall: f64,
    /// CPU nanoseconds per operation, of all threads of the process; `None` where nobody can tell.
    pub cpu: Option<f64>,
    /// Of single operations, where only one is in flight.
    pub latency: Option<Latency>,
}

/// Percentiles, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long.
    pub duration: Duration,
    /// Whether a step is one operation whose latency is to be told.
    pub latency: bool,
}

/// Between two looks at the clock, about.
const CHUNK: Duration = Duration::from_micros(500);

/// Measures a step that returns how many operations it did. A fifth of the time before goes by as warm-up.
pub fn measure(
    plan: Plan,
    mut step: impl FnMut() -> Result<u64, ClientError>,
) -> Result<Sample, ClientError> {
    let warm_up = plan.duration / 5;
    let start = Instant::now();
    let mut steps = 0_u64;
    while start.elapsed() < warm_up {
        step()?;
        steps += 1;
    }
    let chunk = (steps as f64 * CHUNK.as_secs_f64() / start.elapsed().as_secs_f64()).max(1.0) as u64;

    let cpu = cpu_time();
    let start = Instant::now();
    let mut operations = 0;
    while start.elapsed() < plan.duration {
        for _ in 0..chunk {
            operations += step()?;
        }
    }
    let wall = start.elapsed();
    let cpu = cpu_time() - cpu;

    let latency = if plan.latency { Some(latencies(plan.duration / 4, step)?) } else { None };
    Ok(Sample {
        operations,
        wall: wall.as_nanos() as f64 / operations as f64,
        cpu: Some(cpu.as_nanos() as f64 / operations as f64),
        latency,
    })
}

fn latencies(
    duration: Duration,
    mut step: impl FnMut() -> Result<u64, ClientError>,
) -> Result<Latency, ClientError> {
    let mut times = Times::new();
    let end = Instant::now() + duration;
    loop {
        let before = Instant::now();
        step()?;
        let after = Instant::now();
        times.add(after - before);
        if after >= end {
            return Ok(times.latency());
        }
    }
}

/// Times of single operations.
pub struct Times(Histogram<u64>);

impl Times {
    /// None so far.
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds in order, 3 digits"))
    }

    /// One more.
    pub fn add(&mut self, time: Duration) {
        self.0.saturating_record(time.as_nanos() as u64);
    }

    /// The percentiles.
    pub fn latency(&self) -> Latency {
        let at = |quantile| self.0.value_at_quantile(quantile);
        Latency { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: self.0.max() }
    }
}

/// CPU time of this process so far, of all its threads.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_tells_time_per_operation() {
        let plan = Plan { duration: Duration::from_millis(40), latency: true };
        let step = || {
            std::thread::sleep(Duration::from_millis(1));
            Ok(2)
        };
        let sample = measure(plan, step).expect("it never fails");
        assert!(sample.wall >= 500_000.0, "{sample:?}");
        let latency = sample.latency.expect("it was asked for");
        assert!(latency.p50 >= 999_000 && latency.p50 <= latency.max, "{latency:?}");
        assert!(sample.cpu.is_some_and(|cpu| cpu < sample.wall));
    }
}
