//! Runs real programs under Ringer with the kernel's io_uring blocked, and lets them verify themselves.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use ringer_conformance::applications::{Failure, Session, Side, checks};

/// Runs fio, qemu-img, qemu-io and plocate under `ringer run --when always --block-kernel`.
///
/// A program that is not installed is skipped and counted. Exit status 1 when a check fails.
#[derive(Parser)]
#[command(name = "applications")]
struct Options {
    /// Run on the kernel's io_uring instead
    #[arg(long)]
    native: bool,
    /// Print the names of the checks
    #[arg(long)]
    list: bool,
    /// Keep the directories of failed checks
    #[arg(long)]
    keep: bool,
    /// Only checks whose name contains this; may be given several times
    #[arg(long = "filter", value_name = "TEXT")]
    filters: Vec<String>,
    /// Work below this directory instead of the temporary directory
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The command [default: target/release/ringer of this build]
    #[arg(long, value_name = "FILE")]
    ringer: Option<PathBuf>,
}

/// The command of this build: this program is `target/PROFILE/applications`.
fn built_ringer() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let path = own
        .parent()
        .and_then(|profile| profile.parent())
        .map(|target| target.join("release/ringer"))
        .ok_or("this program does not lie in a target directory, use --ringer FILE")?;
    if !path.is_file() {
        return Err(format!("{} is missing, run `cargo build --release` first", path.display()));
    }
    Ok(path)
}

fn side(options: &Options) -> Result<Side, String> {
    if options.native {
        return Ok(Side::Native);
    }
    let ringer = match &options.ringer {
        Some(path) => path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?,
        None => built_ringer()?,
    };
    Ok(Side::Ringer(ringer))
}

/// Runs the checks that were asked for. Whether none failed.
fn run(options: &Options) -> Result<bool, String> {
    let asked_for = |name: &str| {
        options.filters.is_empty() || options.filters.iter().any(|filter| name.contains(filter.as_str()))
    };
    let checks: Vec<_> = checks().into_iter().filter(|check| asked_for(&check.name)).collect();
    if checks.is_empty() {
        return Err("no check has such a name, see --list".to_owned());
    }
    if options.list {
        for check in checks {
            println!("{}", check.name);
        }
        return Ok(true);
    }
    let side = side(options)?;
    let place = options.directory.clone().unwrap_or_else(std::env::temp_dir);
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for check in checks {
        let mut directory = tempfile::Builder::new()
            .prefix("ringer-applications-")
            .tempdir_in(&place)
            .map_err(|error| format!("{}: {error}", place.display()))?;
        let session = Session::new(side.clone(), directory.path().to_owned());
        let start = Instant::now();
        let result = check.run(&session);
        let seconds = start.elapsed().as_secs_f64();
        let served = session.requests().map_or(String::new(), |requests| format!("{requests:>8} requests"));
        let line = |verdict: &str| {
            format!("{verdict:<7} {:<42} {seconds:>6.1} s {served}", check.name).trim_end().to_owned()
        };
        match result {
            Ok(()) => {
                passed += 1;
                println!("{}", line("passed"));
            }
            Err(Failure::Skipped(reason)) => {
                skipped += 1;
                println!("{}: {reason}", line("skipped"));
            }
            Err(Failure::Failed(reason)) => {
                failed += 1;
                println!("{}", line("FAILED"));
                for line in reason.lines() {
                    println!("        {line}");
                }
                for command in session.commands() {
                    println!("        ran: {command}");
                }
                if options.keep {
                    directory.disable_cleanup(true);
                }
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("applications: {error}");
            ExitCode::from(2)
        }
    }
}
