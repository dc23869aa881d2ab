//! Where the measurements were made.

use std::path::Path;

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
