//! The two pieces of work, started in a child process, and what must be true of their results.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::child::{self, Outcome};
use super::data::{self, Workspace};
use super::event::Event;
use super::failure::Stop;
use super::interrupt::Interrupt;
use super::pattern;
use super::report::Report;

/// Connections of the echo.
pub const CONNECTIONS: u64 = 16;
/// Seed of the content of the echo.
const SEED: u64 = 1;
/// What the child gets beyond its own limit, to report itself that it was reached.
const GRACE: Duration = Duration::from_secs(5);

/// What all steps share.
#[derive(Debug)]
pub struct Work<'a> {
    /// This program.
    pub program: PathBuf,
    /// Where the files are.
    pub workspace: Workspace,
    /// Messages of each connection.
    pub messages: u64,
    /// Time that each child may take.
    pub limit: Duration,
    /// Whether the user wants to end it.
    pub interrupt: &'a Interrupt,
    /// Where results are shown.
    pub report: &'a Report,
}

/// A copy that was compared with its source.
#[derive(Debug)]
pub struct Copied {
    /// Length of the file.
    pub bytes: u64,
    /// Time of the copy with its fsync.
    pub seconds: f64,
    /// Time of the fsync.
    pub fsync_seconds: f64,
    /// CRC-32 of source and copy.
    pub checksum: u32,
}

/// An echo that was compared with its seed.
#[derive(Debug)]
pub struct Echoed {
    /// Messages of all connections.
    pub messages: u64,
    /// Bytes each way.
    pub bytes: u64,
    /// Time for all of them.
    pub seconds: f64,
    /// Checksum of what either side received.
    pub checksum: u32,
}

impl Work<'_> {
    /// Runs the copy in a child, started by this program with `prefix` as its first arguments.
    pub fn start_copy(&self, prefix: &[OsString], name: &str, title: &'static str) -> Result<Outcome, Stop> {
        let (source, target) = (self.workspace.source(), self.target(name));
        self.start(prefix, &["copy".as_ref(), source.as_ref(), target.as_ref()], title)
    }

    /// Runs the echo in a child, as [`Self::start_copy`].
    pub fn start_echo(&self, prefix: &[OsString], title: &'static str) -> Result<Outcome, Stop> {
        let [connections, messages, seed] =
            [CONNECTIONS, self.messages, SEED].map(|number| number.to_string());
        let arguments = ["echo", "--connections", &connections, "--messages", &messages, "--seed", &seed];
        self.start(prefix, &arguments.map(OsStr::new), title)
    }

    fn start(&self, prefix: &[OsString], work: &[&OsStr], title: &'static str) -> Result<Outcome, Stop> {
        let mut command = Command::new(&self.program);
        if !prefix.is_empty() {
            command.args(prefix).arg(&self.program);
        }
        command.arg("demo-client").args(work).arg("--limit").arg(self.limit.as_secs().to_string());
        child::run(&mut command, self.limit + GRACE, self.interrupt, self.report.work(title))
    }

    fn target(&self, name: &str) -> PathBuf {
        self.workspace.path(&format!("copy-{name}"))
    }

    /// Compares a copy with its source, by ordinary reads in this process, and removes it.
    pub fn check_copy(&self, outcome: &Outcome, name: &str) -> Result<Copied, Stop> {
        let &Some(Event::Copy { bytes, seconds, fsync_seconds, checksum }) = finished(outcome, "copy")?
        else {
            return Err(Stop::bug(format!("the copy ended without a result: {}", outcome.reason())));
        };
        let target = self.target(name);
        self.compare("what the client read", (bytes, checksum))?;
        self.compare("the copy", data::examine(&target, self.interrupt)?)?;
        std::fs::remove_file(&target).map_err(|error| Stop::io("remove the copy", &error))?;
        Ok(Copied { bytes, seconds, fsync_seconds, checksum })
    }

    /// Reads the source again: it must be as it was made, or equal checksums would prove nothing.
    pub fn check_source(&self) -> Result<(), Stop> {
        self.compare("the same file, read again,", data::examine(&self.workspace.source(), self.interrupt)?)
    }

    fn compare(&self, who: &str, (length, checksum): (u64, u32)) -> Result<(), Stop> {
        let Workspace { length: expected, checksum: right, .. } = self.workspace;
        if (length, checksum) == (expected, right) {
            return Ok(());
        }
        Err(Stop::bug(format!(
            "checksums differ: the source was made with {expected} bytes and crc32 {right:08x}, \
             {who} has {length} and {checksum:08x}"
        )))
    }

    /// Compares both sides of an echo with what the seed says.
    pub fn check_echo(&self, outcome: &Outcome) -> Result<Echoed, Stop> {
        let &Some(Event::Echo { connections, messages, bytes, seconds, client_checksum, server_checksum }) =
            finished(outcome, "echo")?
        else {
            return Err(Stop::bug(format!("the echo ended without a result: {}", outcome.reason())));
        };
        if (connections, messages) != (CONNECTIONS, CONNECTIONS * self.messages) {
            return Err(Stop::bug(format!("the echo made {messages} messages on {connections} connections")));
        }
        let expected = pattern::expected_echo(SEED, CONNECTIONS, self.messages);
        for (side, checksum) in [("client", client_checksum), ("server", server_checksum)] {
            if (bytes, checksum) != expected {
                return Err(Stop::bug(format!(
                    "checksums differ: the {side} side received {bytes} bytes with checksum {checksum:08x}, \
                     the seed gives {} and {:08x}",
                    expected.0, expected.1
                )));
            }
        }
        Ok(Echoed { messages, bytes, seconds, checksum: client_checksum })
    }
}

/// The result of a child that succeeded.
fn finished<'o>(outcome: &'o Outcome, what: &str) -> Result<&'o Option<Event>, Stop> {
    if outcome.status.success() {
        return Ok(&outcome.event);
    }
    let what = format!("the {what} failed: {}", outcome.reason());
    match outcome.event {
        Some(Event::Refused { .. }) => {
            Err(Stop::failed(what, "run `ringer probe` to see why no ring could be made"))
        }
        _ => Err(Stop::failed(
            what,
            "run `ringer probe` to see what this system allows, and try `ringer demo --quick`",
        )),
    }
}
