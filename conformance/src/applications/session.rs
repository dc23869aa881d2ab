//! Where a check runs its programs, on which side, and what they served.

use std::cell::{Cell, RefCell};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::applications::summary::{Opcode, Summary};
use crate::process::{Finished, run_limited};

/// How many of a failed program's last lines are shown.
const SHOWN_LINES: usize = 15;

/// The limit of one program, unless its check says otherwise.
const LIMIT: Duration = Duration::from_secs(120);

/// Who serves the rings.
#[derive(Clone, Debug)]
pub enum Side {
    /// The kernel.
    Native,
    /// Ringer: the path of the command.
    Ringer(PathBuf),
}

/// Why a check did not pass.
#[derive(Debug)]
pub enum Failure {
    /// It cannot run on this machine.
    Skipped(String),
    /// It does not hold. The reason, and the program's last lines.
    Failed(String),
}

impl Failure {
    pub(super) fn because(reason: impl Into<String>) -> Self {
        Self::Failed(reason.into())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// One check's directory and side.
#[derive(Debug)]
pub struct Session {
    side: Side,
    directory: PathBuf,
    programs: Cell<u32>,
    requests: Cell<u64>,
    commands: RefCell<Vec<String>>,
}

impl Session {
    /// A session in an empty directory.
    pub fn new(side: Side, directory: PathBuf) -> Self {
        Self {
            side,
            directory,
            programs: Cell::new(0),
            requests: Cell::new(0),
            commands: RefCell::new(Vec::new()),
        }
    }

    /// Requests that Ringer served in this session so far. `None` on the kernel, which does not count.
    pub fn requests(&self) -> Option<u64> {
        match self.side {
            Side::Native => None,
            Side::Ringer(_) => Some(self.requests.get()),
        }
    }

    /// The commands run so far, as one would type them in the session's directory.
    pub fn commands(&self) -> Vec<String> {
        self.commands.borrow().clone()
    }

    /// A path in the session's directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A program to run on this session's side.
    pub(super) fn program(&self, name: impl AsRef<OsStr>) -> Result<Program<'_>, Failure> {
        Program::new(self, name.as_ref(), false)
    }

    /// A program that only prepares or compares, and runs natively on either side.
    pub(super) fn helper(&self, name: impl AsRef<OsStr>) -> Result<Program<'_>, Failure> {
        Program::new(self, name.as_ref(), true)
    }
}

/// The path of an installed program. Looks where administrators' programs are, too.
pub(super) fn installed(name: &str) -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| Failure::Skipped(format!("{name} is not installed")))
}

/// A program and its arguments, about to be run.
pub(super) struct Program<'a> {
    session: &'a Session,
    is_helper: bool,
    path: PathBuf,
    arguments: Vec<OsString>,
    limit: Duration,
}

impl<'a> Program<'a> {
    fn new(session: &'a Session, name: &OsStr, is_helper: bool) -> Result<Self, Failure> {
        let path = match name.to_str() {
            Some(plain) if !plain.contains('/') => installed(plain)?,
            _ => PathBuf::from(name),
        };
        Ok(Self { session, is_helper, path, arguments: Vec::new(), limit: LIMIT })
    }

    pub(super) fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(super) fn args<T: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Runs it to its end, whatever that is, as long as it comes in time and leaves nothing behind.
    pub(super) fn run(self) -> Result<Ran<'a>, Failure> {
        let number = self.session.programs.get();
        self.session.programs.set(number + 1);
        let summary_file = self.session.path(&format!("summary-{number}.json"));
        let mut command = match &self.session.side {
            Side::Ringer(ringer) if !self.is_helper => {
                let mut command = Command::new(ringer);
                command.args(["run", "--when", "always", "--block-kernel", "--summary-json"]);
                command.arg(&summary_file).arg("--").arg(&self.path);
                command
            }
            _ => Command::new(&self.path),
        };
        command.args(&self.arguments).current_dir(&self.session.directory).env("LC_ALL", "C.UTF-8");
        let line = line_of(&command);
        self.session.commands.borrow_mut().push(line.clone());
        let finished = run_limited(&mut command, self.limit)
            .map_err(|error| Failure::because(format!("{}: {error}", self.path.display())))?;
        let mut ran = Ran { session: self.session, line, finished, summary: None };
        if ran.finished.timed_out {
            return Err(ran.failure(&format!("not done after {} s, killed", self.limit.as_secs())));
        }
        if !ran.finished.leftovers.is_empty() {
            let left = ran.finished.leftovers.join(", ");
            return Err(ran.failure(&format!("left processes behind: {left}")));
        }
        if matches!(self.session.side, Side::Ringer(_)) && !self.is_helper {
            let summary = Summary::read(&summary_file).map_err(|reason| ran.failure(&reason))?;
            self.session.requests.set(self.session.requests.get() + summary.requests());
            ran.summary = Some(summary);
        }
        Ok(ran)
    }

    /// Runs it and asks for exit status 0.
    pub(super) fn succeed(self) -> Result<Ran<'a>, Failure> {
        let ran = self.run()?;
        if ran.finished.status.success() {
            return Ok(ran);
        }
        Err(ran.failure(&ran.finished.status.to_string()))
    }
}

/// A program that has run.
pub(super) struct Ran<'a> {
    session: &'a Session,
    line: String,
    finished: Finished,
    summary: Option<Summary>,
}

impl Ran<'_> {
    /// Whether its exit status was 0.
    pub(super) fn succeeded(&self) -> bool {
        self.finished.status.success()
    }

    pub(super) fn stdout(&self) -> &[u8] {
        &self.finished.stdout
    }

    /// Both outputs as text.
    pub(super) fn output(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.finished.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&self.finished.stderr));
        text
    }

    /// A failure with the command and its last lines.
    pub(super) fn failure(&self, reason: &str) -> Failure {
        Failure::because(format!(
            "{reason}\nin {}$ {}\n{}",
            self.session.directory.display(),
            self.line,
            self.finished.last_lines(SHOWN_LINES)
        ))
    }

    /// Under Ringer: the ring served at least this many requests of these opcodes together.
    pub(super) fn served(&self, at_least: u64, opcodes: &[Opcode]) -> Result<(), Failure> {
        let Some(summary) = &self.summary else { return Ok(()) };
        let count = summary.of(opcodes);
        if count >= at_least {
            return Ok(());
        }
        Err(self.failure(&format!("the ring served {count} of {opcodes:?}, at least {at_least} expected")))
    }
}

/// The command as one would type it.
fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| {
        let word = word.to_string_lossy();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=,:+%".contains(&byte);
        if !word.is_empty() && word.bytes().all(is_plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Compares two files byte by byte.
pub(super) fn same_bytes(left: &Path, right: &Path) -> Result<(), Failure> {
    let (a, b) = (std::fs::read(left)?, std::fs::read(right)?);
    if a.len() != b.len() {
        return Err(Failure::because(format!(
            "{} has {} bytes, {} has {}",
            left.display(),
            a.len(),
            right.display(),
            b.len()
        )));
    }
    match a.iter().zip(&b).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(at) => Err(Failure::because(format!(
            "{} and {} differ from byte {at} on",
            left.display(),
            right.display()
        ))),
    }
}
