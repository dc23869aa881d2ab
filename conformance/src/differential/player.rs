//! Has cases played in child processes, with a limit for each. Never hangs and leaves nobody behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use super::backend::{KERNEL, UNMODIFIED};
use super::process::Process;
use super::record::Record;

/// How the play of a case ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It came to its end.
    Finished,
    /// It panicked, with this message.
    Panicked(String),
    /// It did not end within the limit.
    Hung,
    /// Its process died, with this status.
    Died(String),
    /// The budget was used up before its turn.
    NotPlayed,
}

/// What one play of a case saw, and how it ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Played {
    /// The observations.
    pub record: Record,
    /// The end.
    pub ending: Ending,
}

/// Runs `program` unmodified, by the `ringer` command, where the kernel's io_uring is refused.
pub fn under_ringer(ringer: &Path, program: &Path) -> Command {
    let mut command = Command::new(ringer);
    command.args(["run", "--when", "always", "--block-kernel", "--"]).arg(program);
    command
}

/// The longest that one case may take.
const CASE_LIMIT: Duration = Duration::from_secs(20);

/// Plays cases on one backend by starting `program` as often as needed.
#[derive(Debug)]
pub struct Player {
    /// The `differential` program.
    pub program: PathBuf,
    /// The name of a backend, or [`UNMODIFIED`].
    pub backend: &'static str,
    /// The `ringer` command, for [`UNMODIFIED`].
    pub ringer: Option<PathBuf>,
    /// For the cases' files.
    pub directory: PathBuf,
    /// When to stop playing.
    pub end: Instant,
}

impl Player {
    /// Plays these cases.
    ///
    /// # Errors
    /// Those of starting the program.
    pub fn play(&self, names: &[String]) -> std::io::Result<BTreeMap<String, Played>> {
        let mut played = BTreeMap::new();
        let mut rest = names;
        while !rest.is_empty() && Instant::now() < self.end {
            let before = played.len();
            self.play_until_trouble(rest, &mut played)?;
            if played.len() == before {
                // The program could not even begin the first case.
                let died = Ending::Died("before its first case".to_owned());
                played.insert(rest[0].clone(), Played { record: Record::default(), ending: died });
            }
            rest = &names[names.iter().take_while(|name| played.contains_key(*name)).count()..];
        }
        for name in rest {
            played.insert(name.clone(), Played { record: Record::default(), ending: Ending::NotPlayed });
        }
        Ok(played)
    }

    fn command(&self) -> Command {
        let (mut command, backend) = match &self.ringer {
            Some(ringer) if self.backend == UNMODIFIED => (under_ringer(ringer, &self.program), KERNEL),
            _ => (Command::new(&self.program), self.backend),
        };
        command.args(["play", backend]).arg(&self.directory);
        command
    }

    /// Plays cases in one process until all are done, one hangs or the process dies.
    fn play_until_trouble(
        &self,
        names: &[String],
        played: &mut BTreeMap<String, Played>,
    ) -> std::io::Result<()> {
        let mut process = Process::start(&mut self.command(), names.join("\n") + "\n")?;
        let mut current: Option<(String, Played)> = None;
        loop {
            let line = match process.line(CASE_LIMIT) {
                Ok(line) => line,
                Err(trouble) => {
                    let ending = match trouble {
                        RecvTimeoutError::Timeout => Ending::Hung,
                        RecvTimeoutError::Disconnected => Ending::Died(process.status()?),
                    };
                    if let Some((name, mut case)) = current {
                        case.ending = ending;
                        played.insert(name, case);
                    }
                    return Ok(());
                }
            };
            let mut fields = line.split('\t');
            let (kind, first, second) = (fields.next(), fields.next(), fields.next());
            match (kind, first, &mut current) {
                (Some("begin"), Some(name), _) => {
                    let case = Played { record: Record::default(), ending: Ending::Finished };
                    current = Some((name.to_owned(), case));
                }
                (Some("see"), Some(label), Some((_, case))) => {
                    case.record.add(label, second.unwrap_or_default());
                }
                (Some("panic"), Some(message), Some((_, case))) => {
                    case.ending = Ending::Panicked(message.to_owned());
                }
                (Some("end"), Some(_), current) => {
                    if let Some((name, case)) = current.take() {
                        played.insert(name, case);
                    }
                }
                // What an engine under test printed is not ours to judge here.
                _ => {}
            }
            if Instant::now() > self.end {
                return Ok(());
            }
        }
    }
}
