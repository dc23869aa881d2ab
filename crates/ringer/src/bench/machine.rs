//! Where the measurements were made.

use std::path::Path;
use std::time::Instant;

use super::report::Machine;

impl Machine {
    /// This machine; the files are in `directory`.
    pub fn here(directory: &Path) -> Self {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        Self {
            kernel: release.trim().to_owned(),
            processor: model.unwrap_or("unknown").to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            file_system: file_system(directory),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// The file system's name, where it is a common one. Source of the numbers: `statfs.2`.
fn file_system(directory: &Path) -> String {
    let Ok(status) = rustix::fs::statfs(directory) else { return "unknown".into() };
    match status.f_type as u32 {
        0xef53 => "ext4".into(),
        0x5846_5342 => "xfs".into(),
        0x9123_683e => "btrfs".into(),
        0x0102_1994 => "tmpfs".into(),
        0x794c_7630 => "overlayfs".into(),
        number => format!("{number:#x}"),
    }
}

/// What the CPUs did since a moment, to tell how much others disturbed.
pub struct Usage {
    since: Instant,
    ticks: Option<Ticks>,
}

/// In the unit of `/proc`, of which there are a hundred in a second on every Linux of today.
#[derive(Clone, Copy)]
struct Ticks {
    /// Of all processes.
    all: u64,
    /// Of this process and its children that have ended.
    own: u64,
}

const TICKS_PER_SECOND: f64 = 100.0;

impl Usage {
    /// From now on.
    pub fn start() -> Self {
        Self { since: Instant::now(), ticks: Ticks::now() }
    }

    /// Percent of the CPUs that others used.
    pub fn of_others(&self, cpus: usize) -> Option<f64> {
        let (before, now) = (self.ticks?, Ticks::now()?);
        let busy = now.all.saturating_sub(before.all).saturating_sub(now.own.saturating_sub(before.own));
        let all = self.since.elapsed().as_secs_f64() * TICKS_PER_SECOND * cpus as f64;
        (all > 0.0).then(|| busy as f64 / all * 100.0)
    }
}

impl Ticks {
    /// Source: `proc_stat.5`, `proc_pid_stat.5`.
    fn now() -> Option<Self> {
        let all = std::fs::read_to_string("/proc/stat").ok()?;
        let fields: Vec<u64> =
            all.lines().next()?.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
        // Without idle and iowait, which are the fourth and the fifth; guests are counted in the first two.
        let busy = fields.get(..3)?.iter().chain(fields.get(5..8)?).sum();
        let own = std::fs::read_to_string("/proc/self/stat").ok()?;
        // utime, stime, cutime, cstime: the twelfth and following after the name, which ends with the last bracket.
        let fields = own.rsplit(')').next()?.split_whitespace().skip(11).take(4);
        Some(Self { all: busy, own: fields.map_while(|field| field.parse::<u64>().ok()).sum() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_a_part_of_the_cpus() {
        let usage = Usage::start();
        std::thread::sleep(std::time::Duration::from_millis(50));
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let others = usage.of_others(cpus).expect("proc is mounted");
        // A tick is much of so short a time.
        assert!((0.0..200.0).contains(&others), "{others}");
    }
}
