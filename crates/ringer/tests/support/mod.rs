//! What the tests of the command share: running it with a limit, and C programs compiled for the occasion.
#![allow(dead_code, reason = "each test program uses a part")]

pub mod observed;

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// No test program takes longer than this, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A run of a program.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub out: String,
    /// What it wrote to stderr.
    pub err: String,
}

impl Outcome {
    /// The exit status as a shell has it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// Fails the test unless the program ended well.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        assert!(self.status.success(), "{self:#?}");
        self
    }
}

/// The command under test, with arguments.
pub fn ringer<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringer"));
    command.args(arguments);
    command
}

/// Starts a command in a process group of its own, with its output in pipes.
pub fn start(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command.spawn().expect("the command can be started")
}

/// Waits for a child of [`start`], kills its group at the limit and fails the test then.
#[track_caller]
pub fn finish(mut child: Child) -> Outcome {
    let (out, err) = (child.stdout.take().map(drain), child.stderr.take().map(drain));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            break status;
        }
        if start.elapsed() > LIMIT {
            let group = rustix::process::Pid::from_child(&child);
            // It has not been waited for, so that the group is still ours.
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).expect("our own group");
            let _ = child.wait();
            panic!("a test program ran into its limit");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |thread: Option<std::thread::JoinHandle<String>>| {
        thread.map(|thread| thread.join().expect("it only reads")).unwrap_or_default()
    };
    Outcome { status, out: text(out), err: text(err) }
}

fn drain(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Runs a command to its end.
#[track_caller]
pub fn run(command: &mut Command) -> Outcome {
    finish(start(command))
}

/// Says that a test does nothing here, and why.
pub fn skip(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// Compiles a C program of `programs/`, in a file that another test may replace by its equal. `None` without a C compiler, or
/// when it cannot do what the flags ask for.
pub fn compile(directory: &Path, source: &str, flags: &[&str]) -> Option<PathBuf> {
    let program = directory.join(format!("{source}{}", flags.concat()));
    let fresh = program.with_extension(std::process::id().to_string());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(format!("{source}.c"));
    let output =
        Command::new("cc").args(["-O1", "-pthread", "-o"]).arg(&fresh).arg(source).args(flags).output();
    let compiled = output.is_ok_and(|output| output.status.success());
    (compiled && std::fs::rename(&fresh, &program).is_ok()).then_some(program)
}

/// The program of `cases.c`, compiled once. `None` without a C compiler.
pub fn cases() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    PROGRAM.get_or_init(|| compile(directory, "cases", &[])).as_deref()
}
