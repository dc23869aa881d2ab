//! `ringer bench`: the kernel, Ringer and the alternatives side by side, in one run.
//!
//! | file | what |
//! |---|---|
//! | `workload.rs`, `contender.rs` | what is done, by whom, and the bars |
//! | `client` | the program that is measured: one run, one workload, one contender |
//! | `data.rs` | the files that it uses |
//! | `runner.rs`, `process.rs` | runs it, round after round |
//! | `statistics.rs`, `report.rs` | makes sense of the samples |
//! | `table.rs`, `plots.rs`, `docs.rs` | shows them |
//! | `fio.rs` | fio's own rates |
//! | `scale.rs` | very many of something |

mod client;
mod contender;
mod data;
mod docs;
mod fio;
mod machine;
mod plots;
mod process;
mod report;
mod runner;
mod scale;
mod statistics;
mod table;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

pub use self::client::{ClientArgs, LoadArgs, client, load};
use self::data::{BLOCK, Files};
use self::machine::Usage;
use self::process::Interrupt;
use self::report::{Machine, Report};
use self::runner::Runner;
pub use self::scale::{ScaleArgs, client as scale_client};
use self::workload::Workload;

/// Exit status after Ctrl-C, as shells have it.
const EXIT_INTERRUPTED: u8 = 130;

/// Arguments of `ringer bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Shorter samples of smaller files, 3 rounds; the same checks
    #[arg(long)]
    quick: bool,

    /// Only this workload, or this group of workloads (`nop`, `read`, …); may be given again
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Rounds of each workload; the median is told [default: 5, quick: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,

    /// Milliseconds of each sample [default: 300, quick: 60]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    milliseconds: Option<u64>,

    /// Where the files are made, and removed afterwards: the file system that is measured
    #[arg(long, value_name = "DIR", default_value = ".")]
    directory: PathBuf,

    /// Write everything that was measured to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write plots (SVG) to this directory
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,

    /// Refresh the tables of `performance.md` in this directory, and the plots beside it
    #[arg(long, value_name = "DIR")]
    write_docs: Option<PathBuf>,

    /// Instead, measure very many rings, polls, timeouts and unreaped completions; with --quick a hundredth of them
    #[arg(long, conflicts_with_all = ["only", "rounds", "milliseconds", "json", "plots", "write_docs", "list"])]
    scale: bool,

    /// Print the workloads and the contenders of each
    #[arg(long)]
    list: bool,
}

/// Runs the benchmark. The exit status is zero if everything that ran gave the right results, whatever the bars say.
pub fn run(args: &BenchArgs) -> ExitCode {
    match bench(args) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn bench(args: &BenchArgs) -> Result<ExitCode, String> {
    let workloads = args.workloads()?;
    if args.list {
        for workload in workloads {
            let contenders: Vec<_> = workload.contenders.iter().map(|contender| contender.name()).collect();
            println!("{:<20} {} ({})", workload.name, workload.what, contenders.join(", "));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let interrupt = Interrupt::install().map_err(|error| format!("cannot watch for signals: {error}"))?;
    if args.scale {
        let kernel_missing = ringer_sys::probe::kernel_io_uring().is_err();
        return scale::run(args.quick, kernel_missing, &interrupt).map(|()| ExitCode::SUCCESS);
    }
    // Before the files are made: the longest wait is better not for nothing.
    crate::library::find().map_err(|failure| failure.to_string())?;
    let directory = tempfile::Builder::new().prefix(".ringer-bench-").tempdir_in(&args.directory);
    let directory = directory.map_err(|error| {
        format!("cannot make files in {}: {error}; see --directory", args.directory.display())
    })?;
    let path = directory.path().canonicalize().map_err(|error| format!("cannot find the files: {error}"))?;
    let bytes: usize = if args.quick { 8 << 20 } else { 64 << 20 };
    let files = Files::create(&path, (bytes / BLOCK) as u64)
        .map_err(|error| format!("cannot write the files: {error}; see --directory"))?;
    let runner = Runner {
        files,
        rounds: args.rounds.map_or(if args.quick { 3 } else { 5 }, usize::from),
        milliseconds: args.milliseconds.unwrap_or(if args.quick { 60 } else { 300 }),
        kernel_missing: ringer_sys::probe::kernel_io_uring().err().map(|errno| errno.to_string()),
        interrupt,
    };
    let mut report = Report {
        machine: Machine::here(&path),
        rounds: runner.rounds,
        milliseconds: runner.milliseconds,
        kernel_missing: runner.kernel_missing.clone(),
        others: None,
        workloads: Vec::new(),
    };
    if cfg!(debug_assertions) {
        println!("this is a debug build, whose figures mean little: use `cargo run --release -- bench`\n");
    }
    let usage = Usage::start();
    if let Some(why) = &report.kernel_missing {
        println!("kernel: left out, it refuses io_uring here ({why}); there are no ratios then\n");
    }
    for workload in &workloads {
        let Ok(row) = runner.run(workload) else {
            eprintln!("bench: interrupted, files removed");
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        };
        println!("{}", table::row(&row));
        report.workloads.push(row);
    }
    report.others = usage.of_others(report.machine.cpus);
    print!("{}", table::bars(&report));
    directory.close().map_err(|error| format!("cannot remove the files: {error}"))?;
    args.write(&report)?;
    Ok(if runner::has_failed(&report) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

impl BenchArgs {
    /// The workloads that are meant, in the order of the table.
    fn workloads(&self) -> Result<Vec<Workload>, String> {
        let mut all = workload::all();
        for word in &self.only {
            if !all.iter().any(|workload| workload.is_meant(word)) {
                return Err(format!("there is no workload {word}; `ringer bench --list` names them"));
            }
        }
        if !self.only.is_empty() {
            all.retain(|workload| self.only.iter().any(|word| workload.is_meant(word)));
        }
        Ok(all)
    }

    fn write(&self, report: &Report) -> Result<(), String> {
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(report).expect("string keys and finite numbers") + "\n";
            std::fs::write(path, text)
                .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        if let Some(directory) = &self.plots {
            plots::write(report, directory)?;
        }
        if let Some(directory) = &self.write_docs {
            docs::write(report, directory)?;
        }
        Ok(())
    }
}
