//! Runs the workloads: round after round, all contenders in each, nothing left behind.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::client::Sample;
use super::contender::Contender;
use super::data::Files;
use super::fio;
use super::process::{Interrupt, Process};
use super::report::{Report, Rounds, Row};
use super::workload::{FioJob, Work, Workload};

/// How long a server may take to end after its last connection.
const STOP: Duration = Duration::from_secs(5);

/// What a run needs to know.
pub struct Runner {
    /// Where the files are.
    pub files: Files,
    /// Rounds of each workload.
    pub rounds: usize,
    /// Milliseconds of each sample.
    pub milliseconds: u64,
    /// Why the kernel's io_uring takes no part, if so.
    pub kernel_missing: Option<String>,
    /// Set when the user asks for the end.
    pub interrupt: Interrupt,
}

impl Runner {
    /// Runs a workload.
    ///
    /// # Errors
    /// Only when the user asked for the end.
    pub fn run(&self, workload: &Workload) -> Result<Row, Interrupted> {
        if matches!(workload.work, Work::Fio(_)) && !fio::is_installed() {
            return Ok(Row::left_out(workload, "fio is not installed".into()));
        }
        if matches!(workload.work, Work::Direct { .. } | Work::Fio(FioJob::ReadDirect)) {
            if let Err(error) = self.files.open_direct() {
                return Ok(Row::left_out(workload, format!("no O_DIRECT on this file system ({error})")));
            }
        }
        let takes_part =
            |contender: &&Contender| **contender != Contender::Kernel || self.kernel_missing.is_none();
        let mut rounds: Rounds =
            workload.contenders.iter().filter(takes_part).map(|contender| (*contender, Vec::new())).collect();
        for round in 0..self.rounds {
            let count = rounds.len();
            for turn in 0..count {
                // Another one begins in each round.
                let (contender, results) = &mut rounds[(turn + round) % count];
                // What did not work will not: its time is better spent on the others.
                if results.iter().any(Result::is_err) {
                    continue;
                }
                results.push(self.sample(workload, *contender, round));
                if self.interrupt.is_set() {
                    return Err(Interrupted);
                }
            }
        }
        Ok(Row::new(workload, &rounds))
    }

    fn sample(&self, workload: &Workload, contender: Contender, round: usize) -> Result<Sample, String> {
        match workload.work {
            Work::Fio(job) => fio::sample(self, job, contender),
            Work::Start => self.start(contender),
            Work::Echo { connections, .. } => self.echo(workload, contender, round, connections),
            _ => {
                let mut command = self.client(workload, contender, round)?;
                parse(&Process::start(&mut command)?.finish(self.limit(), &self.interrupt)?)
            }
        }
    }

    /// How long a sample may take.
    pub fn limit(&self) -> Duration {
        Duration::from_millis(self.milliseconds * 10) + Duration::from_secs(20)
    }

    /// A server, which is measured, and the load, which tells the rate.
    fn echo(
        &self,
        workload: &Workload,
        contender: Contender,
        round: usize,
        connections: usize,
    ) -> Result<Sample, String> {
        let server = Process::start(&mut self.client(workload, contender, round)?)?;
        let Some(port) = server.line(self.limit()) else {
            return Err(server.finish(STOP, &self.interrupt).err().unwrap_or_else(|| "no port".into()));
        };
        let mut load = Command::new(program()?);
        load.args(["bench-load", &port, "--connections", &connections.to_string()]);
        load.args(["--milliseconds", &self.milliseconds.to_string()]);
        let load = Process::start(&mut load)?.finish(self.limit(), &self.interrupt);
        match (load, server.finish(STOP, &self.interrupt)) {
            (Ok(load), Ok(server)) => Ok(Sample { cpu: parse(&server)?.cpu, ..parse(&load)? }),
            (Ok(_), Err(why)) | (Err(why), Ok(_)) => Err(why),
            // One takes the other along.
            (Err(load), Err(server)) => Err(format!("{server}; {load}")),
        }
    }

    /// Starts a program that does nothing, again and again.
    fn start(&self, contender: Contender) -> Result<Sample, String> {
        let begin = Instant::now();
        let mut operations = 0;
        while begin.elapsed() < Duration::from_millis(self.milliseconds) {
            let mut command = match contender {
                Contender::Ringer => {
                    let mut command = Command::new(program()?);
                    command.args(["run", "--when", "always", "--", "true"]);
                    command
                }
                _ => Command::new("true"),
            };
            let status = command.status().map_err(|error| format!("`true` cannot be started: {error}"))?;
            if !status.success() {
                return Err(format!("`true` ended with {status}"));
            }
            operations += 1;
        }
        let wall = begin.elapsed().as_nanos() as f64 / operations as f64;
        Ok(Sample { operations, wall, cpu: None, latency: None })
    }

    /// The client, under Ringer if the contender is.
    fn client(&self, workload: &Workload, contender: Contender, round: usize) -> Result<Command, String> {
        let program = program()?;
        let mut command = Command::new(&program);
        if contender.is_intercepted() {
            command.args(["run", "--when", "always", "--"]).arg(&program);
        }
        command.args(["bench-client", workload.name, contender.name(), "--directory"]);
        command.arg(self.files.directory());
        for (option, value) in [
            ("--blocks", self.files.blocks),
            ("--milliseconds", self.milliseconds),
            // Different for all the runs that write to the same file.
            ("--seed", round as u64 * 100 + contender as u64 + 1),
        ] {
            command.arg(option).arg(value.to_string());
        }
        Ok(command)
    }
}

fn program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("cannot find this command's own path: {error}"))
}

fn parse(text: &str) -> Result<Sample, String> {
    serde_json::from_str(text).map_err(|error| format!("cannot read a sample: {error}"))
}

/// The user asked for the end.
#[derive(Debug)]
pub struct Interrupted;

/// Whether something went wrong that should work.
pub fn has_failed(report: &Report) -> bool {
    report.workloads.iter().flat_map(|row| &row.results).any(|outcome| outcome.failed.is_some())
}
