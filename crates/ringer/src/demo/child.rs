//! Runs one child process of the demo: limited in time, its events read as they come, nothing left behind.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::event::Event;
use super::failure::Stop;
use super::interrupt::Interrupt;

/// Between two looks at the interrupt flag and the clock.
const TICK: Duration = Duration::from_millis(20);
/// How long the output of a child that has ended may still take.
const DRAIN: Duration = Duration::from_secs(2);
/// Lines of stderr that are kept.
const KEPT: usize = 5;

/// How a child ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its result or error; the last line of either kind.
    pub event: Option<Event>,
    /// The last lines of its stderr.
    pub stderr: Vec<String>,
}

impl Outcome {
    /// What it says about its end, in one line.
    pub fn reason(&self) -> String {
        match &self.event {
            Some(Event::Refused { message, .. } | Event::Failed { message }) => message.clone(),
            _ if self.stderr.is_empty() => self.status.to_string(),
            _ => format!("{} ({})", self.stderr.join("; "), self.status),
        }
    }
}

enum Line {
    Out(String),
    Err(String),
}

/// Runs `command` to its end.
///
/// It gets a process group of its own, which is killed in any case: at `limit`, on an interrupt, and after its end.
///
/// # Errors
///
/// [`Stop::Interrupted`], or a failure where the child cannot be started or takes longer than `limit`.
pub fn run(
    command: &mut Command,
    limit: Duration,
    interrupt: &Interrupt,
    mut progress: impl FnMut(u64, u64),
) -> Result<Outcome, Stop> {
    interrupt.check()?;
    let deadline = Instant::now() + limit;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let child = command.spawn();
    let child = child.map_err(|error| Stop::io(format!("start {:?}", command.get_program()), &error))?;
    let mut group = Group { child, reaped: false };
    let lines = group.lines();

    let mut outcome = Outcome { status: ExitStatus::default(), event: None, stderr: Vec::new() };
    let mut open = true;
    while !group.ended()? {
        interrupt.check()?;
        if Instant::now() >= deadline {
            let seconds = limit.as_secs();
            return Err(Stop::failed(
                format!("a step did not end within {seconds} s and was killed"),
                "try `--quick`, or give it more time with `--limit SECONDS`",
            ));
        }
        if !open {
            thread::sleep(TICK / 10);
            continue;
        }
        match lines.recv_timeout(TICK) {
            Ok(line) => outcome.take(line, &mut progress),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => open = false,
        }
    }
    outcome.status = group.kill_and_reap().map_err(|error| Stop::io("wait for a child", &error))?;
    let drained = Instant::now() + DRAIN;
    while let Ok(line) = lines.recv_timeout(drained.saturating_duration_since(Instant::now())) {
        outcome.take(line, &mut progress);
    }
    Ok(outcome)
}

impl Outcome {
    fn take(&mut self, line: Line, progress: &mut impl FnMut(u64, u64)) {
        match line {
            Line::Out(line) => match Event::parse(&line) {
                Some(Event::Progress { done, total }) => progress(done, total),
                Some(event) => self.event = Some(event),
                None => {}
            },
            Line::Err(line) => {
                self.stderr.push(line);
                let surplus = self.stderr.len().saturating_sub(KEPT);
                self.stderr.drain(..surplus);
            }
        }
    }
}

/// A child and the process group that it leads. Dropping it ends both.
struct Group {
    child: Child,
    reaped: bool,
}

impl Group {
    fn lines(&mut self) -> Receiver<Line> {
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = self.child.stdout.take() {
            forward(stdout, sender.clone(), Line::Out);
        }
        if let Some(stderr) = self.child.stderr.take() {
            forward(stderr, sender, Line::Err);
        }
        lines
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Whether the child has ended. It stays a zombie, so that its group's number cannot be used again yet.
    fn ended(&self) -> Result<bool, Stop> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match rustix::process::waitid(WaitId::Pid(self.pid()), options) {
            Ok(status) => Ok(status.is_some()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(Stop::io("wait for a child", &errno.into())),
        }
    }

    fn kill_and_reap(&mut self) -> std::io::Result<ExitStatus> {
        // The child is not reaped yet: the group exists and is ours.
        rustix::process::kill_process_group(self.pid(), Signal::KILL)?;
        let status = self.child.wait()?;
        self.reaped = true;
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.reaped {
            // Nothing is left to tell: the reason for the early end is already on its way.
            let _ = self.kill_and_reap();
        }
    }
}

fn forward(stream: impl Read + Send + 'static, sender: Sender<Line>, kind: fn(String) -> Line) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { return };
            if sender.send(kind(String::from_utf8_lossy(&line).into_owned())).is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<Outcome, Stop> {
        run(Command::new("sh").args(["-c", script]), limit, &Interrupt::never(), |_, _| {})
    }

    #[test]
    fn events_errors_and_status_arrive() {
        let script = r#"echo '{"event":"failed","message":"no"}'; echo why >&2; exit 3"#;
        let outcome = shell(script, Duration::from_secs(20)).expect("sh runs");
        assert_eq!(outcome.status.code(), Some(3));
        assert_eq!(outcome.event, Some(Event::Failed { message: "no".into() }));
        assert_eq!(outcome.stderr, ["why"]);
        assert_eq!(outcome.reason(), "no");
    }

    #[test]
    fn a_child_that_takes_too_long_is_killed_with_its_own_children() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let script = format!("sleep 100 & echo $! > {}; wait", file.path().display());
        let start = Instant::now();
        let stop = shell(&script, Duration::from_millis(500)).expect_err("it takes too long");
        assert!(matches!(stop, Stop::Failed { what, .. } if what.contains("was killed")));
        assert!(start.elapsed() < Duration::from_secs(20));
        let pid = std::fs::read_to_string(file.path()).expect("the shell wrote it");
        let pid = Pid::from_raw(pid.trim().parse().expect("a number")).expect("not zero");
        let limit = Instant::now() + Duration::from_secs(5);
        while is_alive(pid) {
            assert!(Instant::now() < limit, "the background process is still there");
            thread::sleep(TICK);
        }
    }

    /// A killed process may stay a zombie for as long as its new parent likes.
    fn is_alive(pid: Pid) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        status.is_ok_and(|line| !line.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
    }

    #[test]
    fn a_background_process_that_holds_the_output_does_not_hold_the_demo() {
        let start = Instant::now();
        let outcome = shell("sleep 100 & exit 0", Duration::from_secs(20)).expect("sh runs");
        assert!(outcome.status.success());
        assert!(start.elapsed() < Duration::from_secs(15));
    }
}
