//! Plays random sequences on the kernel and on Ringer and compares: for the test `random`, and by hand.
#![forbid(unsafe_code)]

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use ringer_conformance::differential::backend;
use ringer_conformance::random::child::{self, Task};
use ringer_conformance::random::mask::Mask;
use ringer_conformance::random::run::{self, Plan};
use ringer_conformance::random::wish::Wish;

const DIFFERENCES: &str = include_str!("../../random-differences.toml");

/// Random sequences of requests, on the kernel and on Ringer.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Plays sequences on both and tells what differs; exit status 1 when something does.
    Run {
        /// The seed; printed, so that a run can be repeated.
        #[arg(long)]
        seed: Option<u64>,
        /// The index of the first sequence.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many sequences.
        #[arg(long, default_value_t = 10_000)]
        count: u64,
        #[command(flatten)]
        wish: Wish,
        /// Children of each backend at a time.
        #[arg(long, default_value_t = 3)]
        jobs: usize,
        /// Stops looking after so many differences.
        #[arg(long, default_value_t = 20)]
        most: usize,
        /// This `ringer` command runs the player as an unmodified program; without it, the engine is a library of the player.
        #[arg(long)]
        ringer: Option<PathBuf>,
    },
    /// Prints a sequence.
    Show {
        seed: u64,
        index: u64,
        #[arg(default_value = "all")]
        mask: Mask,
        #[command(flatten)]
        wish: Wish,
    },
    /// For the children of `run`: plays on one backend.
    Play {
        backend: String,
        directory: PathBuf,
        seed: u64,
        from: u64,
        count: u64,
        mask: Mask,
        /// Microseconds that a submission may take.
        patience: u64,
        #[command(flatten)]
        wish: Wish,
    },
}

fn main() -> ExitCode {
    match perform(Arguments::parse().command) {
        Ok(code) => code,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn perform(command: Command) -> Result<ExitCode, String> {
    match command {
        Command::Run { seed, from, count, wish, jobs, most, ringer } => {
            let seed = seed.unwrap_or_else(|| fastrand::u64(..));
            println!("seed {seed}");
            compare(&Plan { seed, from, count, wish, jobs, most, ringer })
        }
        Command::Show { seed, index, mask, wish } => {
            let directory = std::env::temp_dir().join(format!("ringer-random-show-{}", std::process::id()));
            print!("{}", run::text(seed, index, &wish, &mask, &directory));
            Ok(ExitCode::SUCCESS)
        }
        Command::Play { backend, directory, seed, from, count, mask, patience, wish } => {
            let Some(backend) = backend::by_name(&backend) else {
                return Err(format!("no backend {backend}: kernel, ringer or ringer-with-handlers"));
            };
            let patience = Duration::from_micros(patience);
            let task = Task { seed, from, count, mask, wish, patience };
            let out = std::io::BufWriter::new(stdout().lock());
            child::run(backend, Path::new(&directory), &task, out).map_err(|error| error.to_string())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn compare(plan: &Plan) -> Result<ExitCode, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let start = Instant::now();
    let tell = |text: &str| {
        let mut out = stdout().lock();
        // Somebody who closed the output does not want to know.
        let _ = writeln!(out, "{text}\n").and_then(|()| out.flush());
    };
    let report = run::run(&program, plan, DIFFERENCES, tell)?;
    for (reason, indices) in &report.known {
        let first: Vec<String> = indices.iter().take(4).map(u64::to_string).collect();
        println!("known {} times (index {}): {reason}", indices.len(), first.join(", "));
    }
    println!(
        "{} same, {} known differences, {} unsteady, {} skipped, {} differences; {:.0} s",
        report.same,
        report.known.values().map(Vec::len).sum::<usize>(),
        report.unsteady.len(),
        report.skipped,
        report.differences.len(),
        start.elapsed().as_secs_f64()
    );
    Ok(if report.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
