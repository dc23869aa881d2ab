//! A run: many sequences on both backends, what differs judged, shrunk and told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::child::Task;
use super::describe::describe;
use super::generate::sequence;
use super::known::{self, Known};
use super::mask::Mask;
use super::process::Players;
use super::shrink::shrink;
use super::wish::Wish;
use crate::differential::Session;
use crate::differential::backend::{FAST, KERNEL, Kernel};
use crate::differential::compare::side_by_side;
use crate::differential::player::Played;
use crate::differential::runner::kernel_works;

/// How many sequences a child plays.
const CHUNK: u64 = 50;
/// How long a submission may take at first, and when it is looked at again.
const BRIEF: Duration = Duration::from_millis(3);
const PATIENT: Duration = Duration::from_millis(15);
/// Kernel runs that must agree before a difference counts.
const ORACLES: usize = 3;
/// Drawn steps of a sequence are fewer.
const MOST_STEPS: usize = 28;
/// How many sequences are judged at a time, at first.
const JUDGES: usize = 8;
/// A difference that does not come again in as many plays was the machine's.
const AGAIN: usize = 3;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// The first index.
    pub from: u64,
    /// How many sequences.
    pub count: u64,
    /// What is drawn.
    pub wish: Wish,
    /// Children of each backend at a time.
    pub jobs: usize,
    /// After so many differences no more are looked for.
    pub most: usize,
    /// The `ringer` command, to have the sequences played by an unmodified program.
    pub ringer: Option<PathBuf>,
}

/// What came of a run.
#[derive(Debug, Default)]
pub struct Report {
    /// Sequences with the same record.
    pub same: u64,
    /// Sequences that differ in what is known, by the reason.
    pub known: BTreeMap<String, Vec<u64>>,
    /// Sequences that the kernel does not answer alike every time, or that differed once only.
    pub unsteady: Vec<u64>,
    /// Sequences not played, as the kernel refuses io_uring here or enough differences were found.
    pub skipped: u64,
    /// One text per difference.
    pub differences: Vec<String>,
}

/// Runs `plan` with children of `program`. `tell` gets each difference when it is found.
///
/// # Errors
/// A message when children cannot be started or the list of known differences cannot be read.
pub fn run(program: &Path, plan: &Plan, list: &str, tell: impl Fn(&str) + Sync) -> Result<Report, String> {
    let known = known::parse(list)?;
    if !kernel_works() {
        return Ok(Report { skipped: plan.count, ..Report::default() });
    }
    let directory = std::env::temp_dir().join(format!("ringer-random-{}", std::process::id()));
    std::fs::create_dir_all(&directory).map_err(|error| format!("a directory for the run: {error}"))?;
    let run = Run {
        players: Players {
            program: program.to_owned(),
            directory: directory.clone(),
            ringer: plan.ringer.clone(),
        },
        plan,
        known,
        report: Mutex::default(),
        suspects: Mutex::default(),
        next: AtomicU64::new(0),
    };
    let outcome = std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..plan.jobs.max(1))
            .map(|job| {
                scope.spawn({
                    let run = &run;
                    move || run.work(job)
                })
            })
            .collect();
        jobs.into_iter().try_for_each(|job| job.join().expect("a job does not panic"))
    });
    let outcome = outcome.and_then(|()| run.judge_all(&tell));
    // Nothing can be done about a directory that cannot be removed.
    let _ = std::fs::remove_dir_all(&directory);
    outcome.map_err(|error| error.to_string())?;
    let mut report = run.report.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    report.unsteady.sort_unstable();
    Ok(report)
}

struct Run<'a> {
    players: Players,
    plan: &'a Plan,
    known: Vec<Known>,
    report: Mutex<Report>,
    /// Sequences that differed when they were first played.
    suspects: Mutex<Vec<u64>>,
    next: AtomicU64,
}

impl Run<'_> {
    fn report(&self) -> std::sync::MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn suspects(&self) -> std::sync::MutexGuard<'_, Vec<u64>> {
        self.suspects.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes chunks until there are none left.
    fn work(&self, job: usize) -> std::io::Result<()> {
        loop {
            // Relaxed: a counter that orders nothing.
            let from = self.next.fetch_add(CHUNK, Ordering::Relaxed);
            if from >= self.plan.count {
                return Ok(());
            }
            let count = CHUNK.min(self.plan.count - from);
            self.chunk(self.plan.from + from, count, job)?;
        }
    }

    fn chunk(&self, from: u64, count: u64, job: usize) -> std::io::Result<()> {
        let task = self.task(from, count, Mask::all(), BRIEF);
        let lane = job.to_string();
        let (kernel, ringer) = std::thread::scope(|scope| {
            let kernel = scope.spawn(|| self.players.play(KERNEL, &task, &lane));
            let ringer = self.players.play(FAST, &task, &lane);
            (kernel.join().expect("a player does not panic"), ringer)
        });
        let (kernel, ringer) = (kernel?, ringer?);
        for index in from..from + count {
            if kernel.get(&index) == ringer.get(&index) {
                self.report().same += 1;
                continue;
            }
            let known = match (kernel.get(&index), ringer.get(&index)) {
                (Some(kernel), Some(ringer)) => known::explanation(&self.known, kernel, ringer),
                _ => None,
            };
            match known {
                Some(known) => self.count_known(known, index),
                None => self.suspects().push(index),
            }
        }
        Ok(())
    }

    /// Judges what differed: a few at a time, and what still differs once more, one after the other. While several run, what
    /// only takes longer looks like a difference.
    fn judge_all(&self, tell: &(impl Fn(&str) + Sync)) -> std::io::Result<()> {
        let suspects = std::mem::take(&mut *self.suspects());
        let next = AtomicU64::new(0);
        let work = &|lane: &str| -> std::io::Result<()> {
            // Relaxed: a counter that orders nothing.
            while let Some(index) = suspects.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                match self.judge(*index, lane)? {
                    Verdict::Unsteady => self.report().unsteady.push(*index),
                    Verdict::Known(known) => self.count_known(known, *index),
                    Verdict::Differs => self.suspects().push(*index),
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let judges: Vec<_> =
                (0..JUDGES).map(|judge| scope.spawn(move || work(&format!("judge{judge}")))).collect();
            judges.into_iter().try_for_each(|judge| judge.join().expect("a judge does not panic"))
        })?;
        let mut left = std::mem::take(&mut *self.suspects());
        left.sort_unstable();
        left.into_iter().try_for_each(|index| self.judge_alone(index, tell))
    }

    fn judge_alone(&self, index: u64, tell: &impl Fn(&str)) -> std::io::Result<()> {
        let lane = "judge";
        if self.report().differences.len() >= self.plan.most {
            self.report().skipped += 1;
            return Ok(());
        }
        match self.judge(index, lane)? {
            Verdict::Unsteady => self.report().unsteady.push(index),
            Verdict::Known(known) => self.count_known(known, index),
            Verdict::Differs => {
                let text = self.explain(index, lane)?;
                tell(&text);
                self.report().differences.push(text);
            }
        }
        Ok(())
    }

    fn task(&self, from: u64, count: u64, mask: Mask, patience: Duration) -> Task {
        Task { seed: self.plan.seed, from, count, mask, wish: self.plan.wish.clone(), patience }
    }

    /// Plays one sequence alone.
    fn alone(&self, backend: &str, index: u64, mask: &Mask, lane: &str) -> std::io::Result<Option<Played>> {
        let task = self.task(index, 1, mask.clone(), PATIENT);
        Ok(self.players.play(backend, &task, lane)?.remove(&index))
    }

    fn count_known(&self, known: &Known, index: u64) {
        self.report().known.entry(known.reason.clone()).or_default().push(index);
    }

    /// Whether a difference is one.
    fn judge(&self, index: u64, lane: &str) -> std::io::Result<Verdict<'_>> {
        self.judge_masked(index, &Mask::all(), lane)
    }

    fn judge_masked(&self, index: u64, mask: &Mask, lane: &str) -> std::io::Result<Verdict<'_>> {
        let Some(kernel) = self.alone(KERNEL, index, mask, lane)? else { return Ok(Verdict::Unsteady) };
        for _ in 0..AGAIN {
            match self.alone(FAST, index, mask, lane)? {
                Some(ringer) if ringer == kernel => return Ok(Verdict::Unsteady),
                Some(ringer) => {
                    if let Some(known) = known::explanation(&self.known, &kernel, &ringer) {
                        return Ok(Verdict::Known(known));
                    }
                }
                None => {}
            }
        }
        for _ in 1..ORACLES {
            if self.alone(KERNEL, index, mask, lane)?.as_ref() != Some(&kernel) {
                return Ok(Verdict::Unsteady);
            }
        }
        Ok(Verdict::Differs)
    }

    /// Shrinks a difference and tells it.
    fn explain(&self, index: u64, lane: &str) -> std::io::Result<String> {
        let mask =
            shrink(MOST_STEPS, |mask| matches!(self.judge_masked(index, mask, lane), Ok(Verdict::Differs)));
        let kernel = self.alone(KERNEL, index, &mask, lane)?;
        let ringer = self.alone(FAST, index, &mask, lane)?;
        let table = match (&kernel, &ringer) {
            (Some(kernel), Some(ringer)) => side_by_side(kernel, ringer, ["kernel", "ringer"]),
            _ => "  it was not played again".to_owned(),
        };
        let steps = text(
            self.plan.seed,
            index,
            &self.plan.wish,
            &mask,
            &self.players.directory.join(format!("text-{lane}")),
        );
        Ok(format!("seed {} index {index} without {mask}\n{steps}{table}", self.plan.seed))
    }
}

enum Verdict<'a> {
    Unsteady,
    Known(&'a Known),
    Differs,
}

/// A sequence in readable form. Its objects are made below `directory`, which is removed.
pub fn text(seed: u64, index: u64, wish: &Wish, mask: &Mask, directory: &PathBuf) -> String {
    if let Err(error) = std::fs::create_dir_all(directory) {
        return format!("  {}: {error}\n", directory.display());
    }
    let session = Session::new(&Kernel, directory.clone());
    let text = describe(&session, &sequence(seed, index, wish, mask));
    // Nothing can be done about a directory that cannot be removed.
    let _ = std::fs::remove_dir_all(directory);
    text
}
