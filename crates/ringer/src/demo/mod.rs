//! `ringer demo`: an ordinary io_uring program fails where io_uring is blocked, and works under ringer, verified.

mod child;
mod client;
mod data;
mod event;
mod failure;
mod interrupt;
mod pattern;
mod report;
mod served;
mod steps;
mod work;

use std::process::ExitCode;

pub use self::client::{ClientArgs, client};
use self::failure::Stop;

/// Exit status after Ctrl-C, as shells have it.
const EXIT_INTERRUPTED: u8 = 130;

/// Arguments of `ringer demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Size of the file to copy, in MiB [default: 256, quick: 32]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    size: Option<u64>,

    /// Messages that each of the 16 connections echoes [default: 2000, quick: 200]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    messages: Option<u64>,

    /// Less data, the same checks
    #[arg(long)]
    quick: bool,

    /// Seconds that each step may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    limit: u64,

    /// No progress bar (there is none either where stderr is not a terminal)
    #[arg(long)]
    no_progress: bool,
}

impl DemoArgs {
    /// Bytes of the file to copy.
    fn bytes(&self) -> u64 {
        self.size.unwrap_or(if self.quick { 32 } else { 256 }) << 20
    }

    /// Messages of each connection.
    fn messages(&self) -> u64 {
        self.messages.unwrap_or(if self.quick { 200 } else { 2000 })
    }
}

/// Runs the demo. The exit status is zero if every check passed.
pub fn run(args: &DemoArgs) -> ExitCode {
    match steps::all(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Interrupted) => {
            eprintln!("demo: interrupted, temporary files removed");
            ExitCode::from(EXIT_INTERRUPTED)
        }
        Err(Stop::Failed { what, next }) => {
            eprintln!("demo: FAILED: {what}\n      next: {next}");
            ExitCode::FAILURE
        }
    }
}
