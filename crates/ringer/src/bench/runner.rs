//! Runs the workloads: round after round, all contenders in each, nothing left behind.

use std::process::Command;
use std::time::Duration;

use super::client::Sample;
use super::contender::Contender;
use super::data::Files;
use super::process::{Interrupt, Process};
use super::report::{Report, Rounds, Row};
use super::workload::{Work, Workload};

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
        let limit = Duration::from_millis(self.milliseconds * 10) + Duration::from_secs(20);
        match workload.work {
            Work::Fio(_) | Work::Echo { .. } | Work::Wake(_) => Err("not yet".into()),
            _ => {
                let mut command = self.client(workload, contender, round)?;
                let text = Process::start(&mut command)?.finish(limit, &self.interrupt)?;
                serde_json::from_str(&text).map_err(|error| format!("cannot read a sample: {error}"))
            }
        }
    }

    /// The client, under Ringer if the contender is.
    fn client(&self, workload: &Workload, contender: Contender, round: usize) -> Result<Command, String> {
        let program = std::env::current_exe().map_err(|error| format!("/proc/self/exe: {error}"))?;
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

/// The user asked for the end.
#[derive(Debug)]
pub struct Interrupted;

/// Whether something went wrong that should work.
pub fn has_failed(report: &Report) -> bool {
    report.workloads.iter().flat_map(|row| &row.results).any(|outcome| outcome.failed.is_some())
}
