//! Has sequences played in child processes. A child that crashes or hangs is restarted after the sequence it was at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::child::Task;
use crate::differential::backend::KERNEL;
use crate::differential::player::{Ending, Played, under_ringer};
use crate::differential::process::Process;
use crate::differential::record::Record;

/// The longest that one sequence may take.
const LIMIT: Duration = Duration::from_secs(15);

/// Starts children.
#[derive(Clone, Debug)]
pub struct Players {
    /// The `random` program.
    pub program: PathBuf,
    /// For files.
    pub directory: PathBuf,
    /// The `ringer` command, when Ringer's player is to be an unmodified program, and not the engine as a library.
    pub ringer: Option<PathBuf>,
}

impl Players {
    /// Plays every sequence of `task` on `backend`, by index.
    ///
    /// # Errors
    /// Those of starting the program.
    pub fn play(&self, backend: &str, task: &Task, lane: &str) -> std::io::Result<BTreeMap<u64, Played>> {
        let directory = self.directory.join(format!("{backend}-{lane}"));
        let mut played = BTreeMap::new();
        let end = task.from + task.count;
        let mut rest = task.clone();
        while rest.from < end {
            rest.count = end - rest.from;
            let before = played.len();
            let ending = play_until_trouble(&self.command(backend, &directory, &rest), &mut played)?;
            if let Some(ending) = ending
                && played.len() == before
                && !played.contains_key(&rest.from)
            {
                // The program could not even begin.
                played.insert(rest.from, Played { record: Record::default(), ending });
            }
            rest.from = played.keys().next_back().map_or(rest.from, |last| last + 1);
        }
        Ok(played)
    }

    fn command(&self, backend: &str, directory: &Path, task: &Task) -> impl Fn() -> Command {
        let wish = task.wish.arguments();
        let numbers = [task.seed, task.from, task.count].map(|number| number.to_string());
        let (mask, patience) = (task.mask.to_string(), task.patience.as_micros().to_string());
        let (program, directory) = (self.program.clone(), directory.to_owned());
        let ringer = self.ringer.clone().filter(|_| backend != KERNEL);
        let backend = if ringer.is_some() { KERNEL } else { backend }.to_owned();
        move || {
            let mut command = match &ringer {
                Some(ringer) => under_ringer(ringer, &program),
                None => Command::new(&program),
            };
            command
                .args(["play", &backend])
                .arg(&directory)
                .args(&numbers)
                .args([&mask, &patience])
                .args(&wish);
            command
        }
    }
}

/// Plays in one process until all is done, or something went wrong, which is returned.
fn play_until_trouble(
    command: &impl Fn() -> Command,
    played: &mut BTreeMap<u64, Played>,
) -> std::io::Result<Option<Ending>> {
    let mut process = Process::start(&mut command(), String::new())?;
    let mut current: Option<(u64, Played)> = None;
    loop {
        let line = match process.line(LIMIT) {
            Ok(line) => line,
            Err(trouble) => {
                let ending = match trouble {
                    RecvTimeoutError::Timeout => Ending::Hung,
                    RecvTimeoutError::Disconnected => Ending::Died(process.status()?),
                };
                if let Some((index, mut sequence)) = current {
                    sequence.ending = ending.clone();
                    played.insert(index, sequence);
                }
                return Ok(Some(ending));
            }
        };
        let mut fields = line.split('\t');
        match (fields.next(), fields.next(), &mut current) {
            (Some("begin"), Some(index), _) => {
                let played = Played { record: Record::default(), ending: Ending::Finished };
                current = index.parse().ok().map(|index| (index, played));
            }
            (Some("see"), Some(label), Some((_, sequence))) => {
                sequence.record.add(label, fields.next().unwrap_or_default());
            }
            (Some("panic"), Some(message), Some((_, sequence))) => {
                sequence.ending = Ending::Panicked(message.to_owned());
            }
            (Some("end"), Some(_), current) => {
                if let Some((index, sequence)) = current.take() {
                    played.insert(index, sequence);
                }
            }
            // What an engine under test printed is not ours to judge here.
            _ => {}
        }
    }
}
