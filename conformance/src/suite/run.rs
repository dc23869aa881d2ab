//! Runs tests of the suite, each in its own working directory under its own supervisor.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::Failure;
use super::outcome::Outcome;
use super::source::Source;

/// What stands behind the io_uring calls of the tests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The kernel.
    Native,
    /// Nothing: the calls are refused with `EPERM`.
    Null,
    /// Ringer, by this command, with the kernel's io_uring refused.
    Ringer(PathBuf),
}

impl Mode {
    /// A word for file names and headings.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Null => "null",
            Self::Ringer(_) => "ringer",
        }
    }
}

/// How to run tests.
#[derive(Clone, Debug)]
pub struct Runner {
    /// The suite.
    pub source: Source,
    /// What serves io_uring.
    pub mode: Mode,
    /// How long one test may take.
    pub limit: Duration,
    /// How many tests run at once.
    pub jobs: usize,
    /// Where the tests' output goes, as `MODE/TEST.log`, and where they have their working directories.
    pub scratch: PathBuf,
}

/// The result of one run of one test.
#[derive(Clone, Debug)]
pub struct TestRun {
    /// The test's name.
    pub test: String,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took, with its supervisor.
    pub took: Duration,
    /// Where its output is.
    pub log: PathBuf,
}

impl Runner {
    /// Runs these tests, in order; tells each result to `report` as it comes.
    ///
    /// # Errors
    /// When the runner cannot make its files. A test that fails is a result, not an error.
    pub fn run(&self, tests: &[String], report: impl Fn(&TestRun) + Sync) -> Result<Vec<TestRun>, Failure> {
        let logs = self.scratch.join(self.mode.name());
        fs::create_dir_all(&logs).map_err(Failure::at(&logs))?;
        let queue = Mutex::new(tests.iter());
        let results = Mutex::new(Vec::new());
        let work = || -> Result<(), Failure> {
            loop {
                let Some(test) = queue.lock().expect("no holder panics").next() else { return Ok(()) };
                let run = self.run_one(test, &logs)?;
                let mut results = results.lock().expect("no holder panics");
                report(&run);
                results.push(run);
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.jobs.max(1)).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
        })?;
        Ok(results.into_inner().expect("no holder panics"))
    }

    fn run_one(&self, test: &str, logs: &Path) -> Result<TestRun, Failure> {
        let log = logs.join(format!("{test}.log"));
        let output = File::create(&log).map_err(Failure::at(&log))?;
        let directory = self.working_directory()?;
        let start = Instant::now();
        let outcome = self.supervised(test, directory.path(), &output);
        let took = start.elapsed();
        let outcome = outcome.unwrap_or_else(|error| Outcome::Broken(error.to_string()));
        // A failure to note the result in the log does not change it.
        let _ = writeln!(
            &output,
            "--- {test} on {}: {outcome} after {:.1} s",
            self.mode.name(),
            took.as_secs_f64()
        );
        directory.close().map_err(Failure::at(&self.scratch))?;
        Ok(TestRun { test: test.to_owned(), outcome, took, log })
    }

    /// A fresh directory with the suite's programs in it, as `test/runtests.sh` has them in its own:
    /// some tests start `./exec-target.t`.
    fn working_directory(&self) -> Result<tempfile::TempDir, Failure> {
        let directory = tempfile::Builder::new().prefix("work-").tempdir_in(&self.scratch);
        let directory = directory.map_err(Failure::at(&self.scratch))?;
        for test in self.source.tests()? {
            let link = directory.path().join(format!("{test}.t"));
            symlink(self.source.program(&test), &link).map_err(Failure::at(&link))?;
        }
        Ok(directory)
    }

    fn supervised(&self, test: &str, directory: &Path, output: &File) -> std::io::Result<Outcome> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["supervise", "--limit", &self.limit.as_secs().to_string()]);
        if self.mode == Mode::Null {
            command.arg("--refuse-io-uring");
        }
        command.arg("--");
        if let Mode::Ringer(ringer) = &self.mode {
            command.arg(ringer).args(["run", "--when", "always", "--block-kernel", "--"]);
        }
        command.arg(format!("./{test}.t")).current_dir(directory);
        // The test and its supervisor write to the log; the supervisor's standard output is its result.
        let ended =
            command.stdin(Stdio::null()).stderr(output.try_clone()?).stdout(Stdio::piped()).output()?;
        let line = String::from_utf8_lossy(&ended.stdout);
        Ok(Outcome::from_line(&line).unwrap_or_else(|| {
            Outcome::Broken(format!("supervisor ended with {} and said {line:?}", ended.status))
        }))
    }
}
