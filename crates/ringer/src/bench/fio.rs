//! fio's own rates, where fio is installed.

use std::ffi::OsStr;
use std::fs::File;
use std::process::Command;

use serde::Deserialize;

use super::client::Sample;
use super::contender::Contender;
use super::process::Process;
use super::runner::Runner;
use super::workload::FioJob;

/// Whether there is a fio.
pub fn is_installed() -> bool {
    crate::program::find(OsStr::new("fio")).is_ok()
}

/// Runs a job with the engine that the contender stands for.
pub fn sample(runner: &Runner, job: FioJob, contender: Contender) -> Result<Sample, String> {
    let engine = match contender {
        Contender::Plain => "psync",
        Contender::PosixAio => "posixaio",
        Contender::LinuxAio => "libaio",
        _ => "io_uring",
    };
    let (file, direction, direct) = match job {
        FioJob::ReadCached => (runner.files.read(), "randread", "0"),
        FioJob::WriteBuffered => (runner.files.write(), "randwrite", "0"),
        FioJob::ReadDirect => (runner.files.read(), "randread", "1"),
    };
    // Cached reads find all of it in the page cache.
    if job == FioJob::ReadCached {
        File::open(&file)
            .and_then(|mut file| std::io::copy(&mut file, &mut std::io::sink()))
            .map_err(|error| format!("cannot read the file: {error}"))?;
    }
    let mut command = if contender.is_intercepted() {
        let program = std::env::current_exe()
            .map_err(|error| format!("cannot find this command's own path: {error}"))?;
        let mut command = Command::new(program);
        command.args(["run", "--when", "always", "--", "fio"]);
        command
    } else {
        Command::new("fio")
    };
    command.args(["--name=bench", "--bs=4k", "--iodepth=32", "--invalidate=0", "--fallocate=none"]);
    command.args(["--norandommap", "--randrepeat=0", "--time_based", "--output-format=json"]);
    command.arg(format!("--runtime={}ms", runner.milliseconds));
    command.arg(format!("--ioengine={engine}")).arg(format!("--rw={direction}"));
    command.arg(format!("--direct={direct}")).arg(format!("--filename={}", file.display()));
    command.current_dir(runner.files.directory());
    let text = Process::start(&mut command)?.finish(runner.limit(), &runner.interrupt)?;
    if job == FioJob::WriteBuffered {
        // The next measurement begins without write-back.
        File::open(&file)
            .and_then(|file| file.sync_data())
            .map_err(|error| format!("cannot sync the file: {error}"))?;
    }
    parse(&text)
}

#[derive(Deserialize)]
struct Output {
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Job {
    error: i32,
    read: Transfers,
    write: Transfers,
}

#[derive(Deserialize)]
struct Transfers {
    iops: f64,
    total_ios: u64,
}

/// The sample in fio's JSON, which may have messages before it.
fn parse(text: &str) -> Result<Sample, String> {
    let json = text.find('{').map_or("", |start| &text[start..]);
    let output: Output =
        serde_json::from_str(json).map_err(|error| format!("cannot read fio's output: {error}"))?;
    let job = output.jobs.first().ok_or("fio ran no job")?;
    if job.error != 0 {
        return Err(format!("fio's job failed with errno {}", job.error));
    }
    let transfers = if job.read.total_ios > 0 { &job.read } else { &job.write };
    if transfers.total_ios == 0 || transfers.iops <= 0.0 {
        return Err("fio transferred nothing".into());
    }
    Ok(Sample { operations: transfers.total_ios, wall: 1e9 / transfers.iops, cpu: None, latency: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_from_fios_output() {
        let job = r#"{"error": 0, "read": {"iops": 0.0, "total_ios": 0}, "write": {"iops": 500000.0, "total_ios": 9}}"#;
        let sample = parse(&format!("note: something\n{{\"jobs\": [{job}]}}")).expect("as fio writes it");
        assert_eq!((sample.operations, sample.wall), (9, 2000.0));
        assert!(parse("fio: no such engine").is_err());
    }
}
