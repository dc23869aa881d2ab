//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{bench, demo};

/// io_uring in user space: runs unmodified io_uring programs where the kernel refuses io_uring.
#[derive(Debug, Parser)]
#[command(name = "ringer", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a program with io_uring
    ///
    /// The program's exit status is passed through; 128 and the signal's number where a signal ended it and a
    /// summary was asked for. 127: no such program. 126: it cannot be executed, or not be served. 125: anything else.
    Run(RunArgs),
    /// Run a program and show every SQE and CQE, decoded, with latency
    ///
    /// The program is served by ringer in any case. `>` is a submission, `<` a completion; `#` is the request's number in its ring. Times are
    /// in seconds since the first event. Exit statuses are those of `run --summary`.
    Trace(TraceArgs),
    /// Run a program with faults on purpose: short transfers, errors, late completions, a CQ that is full
    ///
    /// What strikes is said afterwards, with the command that does the same again. Without a plan, only what every program must cope with. The
    /// program is served by ringer in any case. Exit statuses are those of `run --summary`.
    Chaos(ChaosArgs),
    /// Say whether io_uring is usable here, why not, and who would serve it
    Probe(ProbeArgs),
    /// Run a bundled io_uring program blocked as Docker does, then under ringer, and verify what it did
    Demo(demo::DemoArgs),
    /// The program that `demo` runs
    #[command(hide = true)]
    DemoClient(demo::ClientArgs),
    /// Measure the kernel, ringer and the alternatives side by side in one run
    Bench(bench::BenchArgs),
    /// The program that `bench` measures
    #[command(hide = true)]
    BenchClient(bench::ClientArgs),
    /// The program that `bench --scale` measures
    #[command(hide = true)]
    BenchScale(bench::ScaleArgs),
    /// The load of the servers that `bench` measures
    #[command(hide = true)]
    BenchLoad(bench::LoadArgs),
    /// Print the manual page
    #[command(hide = true)]
    Man,
    /// Print completions for a shell
    #[command(hide = true)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// When Ringer serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum When {
    /// Only where the kernel's io_uring does not work; elsewhere the program is just executed
    Auto,
    /// In any case
    Always,
    /// Never: the program is executed as it is
    #[value(hide = true)]
    Never,
}

/// Arguments of `ringer run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// When ringer serves io_uring, instead of the kernel
    #[arg(long, value_enum, default_value_t = When::Auto)]
    pub when: When,

    /// Block the kernel's io_uring with EPERM, as Docker's default profile does
    #[arg(long)]
    pub block_kernel: bool,

    /// Afterwards, print to stderr what was served and how
    #[arg(long)]
    pub summary: bool,

    /// Afterwards, write what was served and how to this file
    #[arg(long, value_name = "FILE")]
    pub summary_json: Option<PathBuf>,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

/// Arguments of `ringer trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Write JSON, an object for each event, one per line; times are in nanoseconds
    #[arg(long)]
    pub json: bool,

    /// Write to this file, not to stderr
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Write a timeline for Perfetto (ui.perfetto.dev) to this file, besides
    #[arg(long, value_name = "FILE")]
    pub perfetto: Option<PathBuf>,

    /// Afterwards, print latencies by opcode to stderr
    #[arg(long)]
    pub summary: bool,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

/// Arguments of `ringer chaos`.
#[derive(Debug, Args)]
pub struct ChaosArgs {
    /// The plan: a TOML file with rules
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,

    /// The same seed, the same faults; comes before that of the plan
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,

    /// Write every SQE, CQE and fault to this file, as `ringer trace` does; `!` is a fault
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,

    /// Write that as JSON
    #[arg(long, requires = "trace")]
    pub json: bool,

    /// Print the plan that is built in
    #[arg(long)]
    pub print_plan: bool,

    /// The program and its arguments
    #[arg(required_unless_present = "print_plan", trailing_var_arg = true, value_name = "PROGRAM")]
    pub program: Vec<OsString>,
}

/// Arguments of `ringer probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
