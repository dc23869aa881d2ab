//! Runs liburing 2.3's own tests on the kernel, without io_uring, and under Ringer, and holds the
//! results against `conformance/liburing-2.3.toml`. See `conformance/README.md`.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use ringer_conformance::suite::Failure;
use ringer_conformance::suite::compare::{Finding, judge, summarize, take_over};
use ringer_conformance::suite::launch::launch;
use ringer_conformance::suite::outcome::{Outcome, Verdict};
use ringer_conformance::suite::run::{Mode, Runner, TestRun};
use ringer_conformance::suite::source::Source;
use ringer_conformance::suite::supervise::supervise;
use ringer_conformance::suite::table::{Row, Table};

/// Runs liburing 2.3's own tests and holds them against the table of expected results.
#[derive(Parser)]
#[command(name = "liburing-suite", version)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Fetches and builds the suite, if that was not done yet.
    Build(Paths),
    /// Measures the tests on the kernel and with io_uring refused, and rewrites these columns of the table.
    Baseline(Selection),
    /// Runs the tests under Ringer and compares them with the table; fails on a regression.
    Check {
        #[command(flatten)]
        selection: Selection,
        /// Runs on the kernel instead and compares with the table's native column.
        #[arg(long)]
        native: bool,
        /// Takes results that are better than expected over into the table.
        #[arg(long, conflicts_with = "native")]
        update: bool,
        /// Runs a test that got worse this many times more; it is reported as unsteady if it then passes.
        #[arg(long, default_value_t = 0)]
        retries: usize,
        /// The `ringer` command; by default the one beside this program.
        #[arg(long)]
        ringer: Option<PathBuf>,
    },
    /// One test with its limit, in a process of its own.
    #[command(hide = true)]
    Supervise {
        #[arg(long)]
        limit: u64,
        #[arg(long)]
        refuse_io_uring: bool,
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Becomes a test, after setting its limits.
    #[command(hide = true)]
    Launch {
        #[arg(long)]
        refuse_io_uring: bool,
        #[arg(last = true)]
        command: Vec<String>,
    },
}

#[derive(Args)]
struct Paths {
    /// Where the suite is kept, and where tests have their working directories and logs.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/liburing-2.3"))]
    cache: PathBuf,
    /// The table of expected results.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/liburing-2.3.toml"))]
    table: PathBuf,
}

#[derive(Args)]
struct Selection {
    #[command(flatten)]
    paths: Paths,
    /// Only tests with this in their name; may be given more than once.
    #[arg(long)]
    filter: Vec<String>,
    /// Runs every test this many times; the worst result counts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// How long one test may take, in seconds.
    #[arg(long, default_value_t = 60)]
    limit: u64,
    /// How many tests run at once. More than one disturbs tests that measure time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
}

fn main() -> ExitCode {
    match Arguments::parse().action {
        Action::Supervise { limit, refuse_io_uring, command } => {
            println!("{}", supervised(limit, refuse_io_uring, &command).to_line());
            ExitCode::SUCCESS
        }
        Action::Launch { refuse_io_uring, command } => {
            eprintln!("cannot start {}: {}", command.join(" "), launch(&command, refuse_io_uring));
            ExitCode::from(127)
        }
        Action::Build(paths) => exit(paths.source().map(|_| true)),
        Action::Baseline(selection) => exit(baseline(&selection)),
        Action::Check { selection, native: true, retries, .. } => exit(check_native(&selection, retries)),
        Action::Check { selection, update, retries, ringer, .. } => exit(
            ringer.map_or_else(own_ringer, Ok).and_then(|ringer| check(&selection, ringer, update, retries)),
        ),
    }
}

fn exit(result: Result<bool, Failure>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("liburing-suite: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Runs a command through `launch` in a child of this process.
fn supervised(limit: u64, refuse_io_uring: bool, arguments: &[String]) -> Outcome {
    let own = match std::env::current_exe() {
        Ok(own) => own,
        Err(error) => return Outcome::Broken(error.to_string()),
    };
    let mut command = Command::new(own);
    command.arg("launch");
    if refuse_io_uring {
        command.arg("--refuse-io-uring");
    }
    // Standard output is for the result.
    command.arg("--").args(arguments).stdout(std::io::stderr());
    supervise(command, Duration::from_secs(limit))
}

/// The `ringer` command that the same build made.
fn own_ringer() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(Failure::at(Path::new("own path")))?;
    let ringer = own.with_file_name("ringer");
    if ringer.exists() {
        return Ok(ringer);
    }
    let hint = "run `cargo build --release` first, or name it by --ringer";
    Err(Failure::new(format!("{} is missing: {hint}", ringer.display())))
}

impl Paths {
    fn source(&self) -> Result<Source, Failure> {
        Source::ensure(&self.cache()?)
    }

    /// Where the suite is kept; made if it is not there.
    fn cache(&self) -> Result<PathBuf, Failure> {
        std::fs::create_dir_all(&self.cache).map_err(Failure::at(&self.cache))?;
        self.cache.canonicalize().map_err(Failure::at(&self.cache))
    }

    /// Beside the suite, so that tests are on the same file system; elsewhere if that is not ours to write.
    fn scratch(&self) -> Result<PathBuf, Failure> {
        let preferred = self.cache()?.join("runs");
        if std::fs::create_dir_all(&preferred).is_ok() && tempfile::tempfile_in(&preferred).is_ok() {
            return Ok(preferred);
        }
        let user = rustix::process::getuid().as_raw();
        let other = std::env::temp_dir().join(format!("ringer-liburing-suite-{user}"));
        std::fs::create_dir_all(&other).map_err(Failure::at(&other))?;
        Ok(other)
    }
}

impl Selection {
    fn chosen(&self, source: &Source) -> Result<Vec<String>, Failure> {
        let mut tests = source.tests()?;
        if !self.filter.is_empty() {
            tests.retain(|test| self.filter.iter().any(|part| test.contains(part)));
        }
        if tests.is_empty() {
            return Err(Failure::new(format!("no test has {} in its name", self.filter.join(" or "))));
        }
        Ok(tests)
    }

    /// Runs the chosen tests in this mode; the worst outcome of each.
    fn run(&self, mode: Mode) -> Result<BTreeMap<String, Outcome>, Failure> {
        let source = self.paths.source()?;
        let tests = self.chosen(&source)?;
        self.run_these(mode, source, &tests)
    }

    fn run_these(
        &self,
        mode: Mode,
        source: Source,
        tests: &[String],
    ) -> Result<BTreeMap<String, Outcome>, Failure> {
        let scratch = self.paths.scratch()?;
        let limit = Duration::from_secs(self.limit);
        let runner = Runner { source, mode, limit, jobs: self.jobs, scratch };
        let mut worst = BTreeMap::<String, Outcome>::new();
        for _ in 0..self.runs {
            for run in runner.run(tests, print)? {
                let known = worst.entry(run.test).or_insert(Outcome::Pass);
                if severity(&run.outcome) > severity(known) {
                    *known = run.outcome;
                }
            }
        }
        Ok(worst)
    }
}

fn severity(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Pass => 0,
        Outcome::Skip => 1,
        Outcome::Failed(_) => 2,
        Outcome::Killed(_) => 3,
        Outcome::TimedOut => 4,
        Outcome::LeftBehind(_) => 5,
        Outcome::Broken(_) => 6,
    }
}

fn print(run: &TestRun) {
    println!("{:40} {:>6.1} s  {}", run.test, run.took.as_secs_f64(), run.outcome);
}

fn baseline(selection: &Selection) -> Result<bool, Failure> {
    let mut table = Table::load(&selection.paths.table)?;
    println!("== native");
    let native = selection.run(Mode::Native)?;
    println!("== with io_uring refused");
    let null = selection.run(Mode::Null)?;
    for (test, outcome) in &native {
        let (native, null) = (outcome.verdict(), null[test].verdict());
        let row = table.tests.entry(test.clone()).or_insert_with(|| Row::measured(native, null));
        row.remeasure(native, null);
    }
    table.store(&selection.paths.table)?;
    let sum = |verdict| native.values().filter(|outcome| outcome.verdict() == verdict).count();
    let counting = native.keys().filter(|test| table.tests[*test].counts).count();
    println!("{counting} tests pass natively and not in the null run");
    println!("{} passed, {} failed, {} skipped", sum(Verdict::Pass), sum(Verdict::Fail), sum(Verdict::Skip));
    Ok(true)
}

fn check(selection: &Selection, ringer: PathBuf, update: bool, retries: usize) -> Result<bool, Failure> {
    let ringer = ringer.canonicalize().map_err(Failure::at(&ringer))?;
    let mut table = Table::load(&selection.paths.table)?;
    let expected = |table: &Table, test: &str| table.tests.get(test).map(|row| row.ringer);
    let results = checked(selection, Mode::Ringer(ringer), retries, |test| expected(&table, test))?;
    let better: Vec<_> = results
        .iter()
        .filter(|(test, outcome)| judge(expected(&table, test), outcome) == Finding::Better)
        .collect();
    if !better.is_empty() {
        println!("\nBetter than the table says; update it (--update does):");
        better.iter().for_each(|(test, outcome)| println!("  {test}: {outcome}"));
    }
    let sum = summarize(&table, &results);
    if update {
        let changed = take_over(&mut table, &results);
        table.store(&selection.paths.table)?;
        println!("{} rows of the table updated", changed.len());
    }
    println!(
        "\n{} of {} tests that pass natively and not in the null run pass under ringer",
        sum.score, sum.counting
    );
    println!("{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped);
    Ok(sum.failed == 0)
}

fn check_native(selection: &Selection, retries: usize) -> Result<bool, Failure> {
    let mut table = Table::load(&selection.paths.table)?;
    for row in table.tests.values_mut() {
        row.ringer = row.native;
    }
    let expected = |test: &str| table.tests.get(test).map(|row| row.ringer);
    let results = checked(selection, Mode::Native, retries, expected)?;
    let sum = summarize(&table, &results);
    println!("{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped);
    Ok(sum.failed == 0)
}

/// Runs the chosen tests, regressions again up to `retries` times, and lists what stays one.
fn checked(
    selection: &Selection,
    mode: Mode,
    retries: usize,
    expected: impl Fn(&str) -> Option<Verdict>,
) -> Result<BTreeMap<String, Outcome>, Failure> {
    let start = Instant::now();
    let logs = selection.paths.scratch()?.join(mode.name());
    let mut results = selection.run(mode.clone())?;
    let regressions = |results: &BTreeMap<String, Outcome>| -> Vec<String> {
        let worse =
            results.iter().filter(|(test, outcome)| judge(expected(test), outcome) == Finding::Regression);
        worse.map(|(test, _)| test.clone()).collect()
    };
    for _ in 0..retries {
        let again = regressions(&results);
        if again.is_empty() {
            break;
        }
        println!("\n== once more: {}", again.join(" "));
        for (test, outcome) in selection.run_these(mode.clone(), selection.paths.source()?, &again)? {
            if judge(expected(&test), &outcome) != Finding::Regression {
                println!("  UNSTEADY: {test} was {} at first", results[&test]);
            }
            results.insert(test, outcome);
        }
    }
    println!("\n{} tests in {:.0} s", results.len(), start.elapsed().as_secs_f64());
    for test in regressions(&results) {
        let was = expected(&test).map_or("not in the table".into(), |verdict| format!("expected {verdict}"));
        println!("REGRESSION {test}: {was}, got {}", results[&test]);
        show_log(&logs.join(format!("{test}.log")));
    }
    Ok(results)
}

fn show_log(log: &Path) {
    const LINES: usize = 12;
    println!("  {}:", log.display());
    let text = String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default()).into_owned();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].iter().for_each(|line| println!("  | {line}"));
}
