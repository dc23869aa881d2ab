//! Runs one program with a limit, and ends everything that it started.
//!
//! The program leads a process group of its own. When it ends, or when its time is up, the group is
//! killed. This process is a subreaper, so what has left the group comes back as a child of ours and
//! is found by a marker in its environment. Nothing is ever killed by name.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

/// The variable in the environment of a program and of its children, with a value for each run.
const MARKER: &str = "RINGER_CONFORMANCE_RUN";

/// What a program may print before it is killed, in bytes.
const MOST_OUTPUT: u64 = 64 << 20;

/// How long children may go on after the program itself has ended.
const GRACE: Duration = Duration::from_millis(500);

/// How long a killed process may take to go.
const LAST_RITES: Duration = Duration::from_secs(10);

/// How often output size and leftover processes are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// A program that has ended, by itself or not.
#[derive(Debug)]
pub struct Finished {
    /// How it ended. A program that was killed for its time reports the signal.
    pub status: ExitStatus,
    /// All that it and its children wrote to standard output.
    pub stdout: Vec<u8>,
    /// All that it and its children wrote to standard error.
    pub stderr: Vec<u8>,
    /// Its time was up and it was killed.
    pub timed_out: bool,
    /// Processes that outlived the program and had to be killed, as `PID NAME`.
    pub leftovers: Vec<String>,
    /// From start to end.
    pub time: Duration,
}

impl Finished {
    /// Exit status 0, in time, and nothing left behind.
    pub fn is_clean(&self) -> bool {
        self.status.success() && !self.timed_out && self.leftovers.is_empty()
    }

    /// The last `count` lines of both outputs, standard output first, for a report.
    pub fn last_lines(&self, count: usize) -> String {
        let mut lines = Vec::new();
        for output in [&self.stdout, &self.stderr] {
            let text = String::from_utf8_lossy(output);
            let all: Vec<_> = text.lines().collect();
            lines.extend(all[all.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()));
        }
        lines.join("\n")
    }
}

/// Runs `command` for at most `limit`, with standard input closed off, and takes both outputs.
///
/// # Errors
/// Those of starting the program (`ErrorKind::NotFound` when there is none), and of waiting for it.
/// A program that prints without end, and a killed process that will not go, are errors as well.
pub fn run_limited(command: &mut Command, limit: Duration) -> io::Result<Finished> {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let marker =
        format!("{}.{}", rustix::process::getpid().as_raw_nonzero(), RUNS.fetch_add(1, Ordering::Relaxed));
    let stdout = Output::new()?;
    let stderr = Output::new()?;
    let start = Instant::now();
    let mut child = command
        .env(MARKER, &marker)
        .stdin(Stdio::null())
        .stdout(stdout.for_child()?)
        .stderr(stderr.for_child()?)
        .process_group(0)
        .spawn()?;
    let pid = Pid::from_child(&child);
    let (timed_out, flooded) = match watch(pid, start + limit, &[&stdout, &stderr]) {
        Ok(Watched::Ended) => (false, false),
        Ok(Watched::TimeIsUp) => (true, false),
        Ok(Watched::Flooded) => (false, true),
        Err(error) => {
            kill_group(pid);
            let _ = child.wait();
            return Err(error);
        }
    };
    let mut family = Family { group: pid, marker, orphans: HashSet::new() };
    if timed_out || flooded {
        kill_group(pid);
    }
    let status = child.wait()?;
    let time = start.elapsed();
    // What was killed together with the program for its time is no leftover of its own doing.
    let leftovers = if timed_out || flooded {
        family.end(Duration::ZERO)?;
        Vec::new()
    } else {
        family.end(GRACE)?
    };
    if flooded {
        return Err(io::Error::other(format!("the program printed more than {MOST_OUTPUT} bytes")));
    }
    Ok(Finished { status, stdout: stdout.take()?, stderr: stderr.take()?, timed_out, leftovers, time })
}

/// An output of the program: a file in memory, so that no reader can be held up by a leftover process.
struct Output(File);

impl Output {
    fn new() -> io::Result<Self> {
        Ok(Self(File::from(rustix::fs::memfd_create("output", MemfdFlags::CLOEXEC)?)))
    }

    fn for_child(&self) -> io::Result<OwnedFd> {
        self.0.as_fd().try_clone_to_owned()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn take(mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.rewind()?;
        self.0.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

enum Watched {
    Ended,
    TimeIsUp,
    Flooded,
}

/// Waits until the program has ended, without reaping it: its pid stays ours to kill.
fn watch(pid: Pid, deadline: Instant, outputs: &[&Output]) -> io::Result<Watched> {
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Watched::TimeIsUp);
        }
        let slice = Timespec::try_from(left.min(LOOK)).map_err(io::Error::other)?;
        match rustix::event::poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&slice)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(Watched::Ended),
            Err(error) => return Err(error.into()),
        }
        for output in outputs {
            if output.len()? > MOST_OUTPUT {
                return Ok(Watched::Flooded);
            }
        }
    }
}

/// The group may be gone already: that is what is wanted.
fn kill_group(group: Pid) {
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
}

/// Everything that one run has started.
struct Family {
    group: Pid,
    marker: String,
    /// Orphans met so far. The environment of a dead one can no longer be read.
    orphans: HashSet<Pid>,
}

impl Family {
    /// Waits `grace` for what is left to end by itself, then kills it. Returns what had to be killed.
    fn end(&mut self, grace: Duration) -> io::Result<Vec<String>> {
        let gentle = Instant::now() + grace;
        while !self.members()?.is_empty() && Instant::now() < gentle {
            std::thread::sleep(LOOK / 10);
        }
        let mut killed = Vec::new();
        let deadline = Instant::now() + LAST_RITES;
        loop {
            let members = self.members()?;
            if members.is_empty() {
                return Ok(killed);
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("killed but not gone: {members:?}")));
            }
            for (pid, name) in members {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
                let line = format!("{} {name}", pid.as_raw_nonzero());
                if !killed.contains(&line) {
                    killed.push(line);
                }
            }
            std::thread::sleep(LOOK / 10);
        }
    }

    /// Living members: of the process group, and orphans that carry the marker. Reaps the dead ones.
    fn members(&mut self) -> io::Result<Vec<(Pid, String)>> {
        while let Ok(Some(_)) = rustix::process::waitpgid(self.group, WaitOptions::NOHANG) {}
        let own = rustix::process::getpid();
        let mut members = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Some(pid) = Pid::from_raw(pid) else { continue };
            // A process may go while it is looked at.
            let Some(process) = Process::read(pid) else { continue };
            let in_group = process.group == self.group.as_raw_nonzero().get();
            let is_orphan = process.parent == own.as_raw_nonzero().get();
            if is_orphan && self.is_marked(pid) {
                self.orphans.insert(pid);
            }
            if process.is_dead {
                // Of the group, it has died since the look for such.
                if is_orphan && (self.orphans.remove(&pid) || in_group) {
                    let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
                }
            } else if in_group || (is_orphan && self.orphans.contains(&pid)) {
                members.push((pid, process.name));
            }
        }
        Ok(members)
    }

    fn is_marked(&self, pid: Pid) -> bool {
        let wanted = format!("{MARKER}={}", self.marker);
        std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).is_ok_and(|environment| {
            environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
        })
    }
}

/// The start of `/proc/PID/stat`.
struct Process {
    name: String,
    is_dead: bool,
    parent: i32,
    group: i32,
}

impl Process {
    fn read(pid: Pid) -> Option<Self> {
        let line = std::fs::read(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        let line = String::from_utf8_lossy(&line);
        // The name stands in parentheses and may hold any character.
        let (head, tail) = line.rsplit_once(')')?;
        let mut fields = tail.split_ascii_whitespace();
        Some(Self {
            name: head.split_once('(')?.1.to_owned(),
            is_dead: matches!(fields.next()?, "Z" | "X"),
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Finished {
        run_limited(Command::new("sh").args(["-c", script]), limit).expect("sh can be started")
    }

    #[test]
    fn takes_status_and_outputs() {
        let finished = shell("echo out; echo err >&2; exit 3", Duration::from_secs(10));
        assert_eq!(finished.status.code(), Some(3));
        assert_eq!(finished.stdout, b"out\n");
        assert_eq!(finished.stderr, b"err\n");
        assert!(!finished.timed_out && finished.leftovers.is_empty() && !finished.is_clean());
        assert_eq!(finished.last_lines(5), "out\nerr");
    }

    #[test]
    fn a_program_past_its_limit_is_killed_with_its_children() {
        let finished = shell("sleep 1000 & echo $!; sleep 1000", Duration::from_millis(300));
        assert!(finished.timed_out && !finished.status.success());
        assert!(finished.time < Duration::from_secs(5), "{:?}", finished.time);
        let child = String::from_utf8(finished.stdout).expect("a number");
        assert!(!std::path::Path::new(&format!("/proc/{}", child.trim())).exists());
    }

    #[test]
    fn a_child_that_outlives_its_program_is_reported() {
        let finished = shell("sleep 1000 &", Duration::from_secs(10));
        assert!(finished.status.success() && !finished.is_clean());
        assert_eq!(finished.leftovers.len(), 1, "{:?}", finished.leftovers);
        assert!(finished.leftovers[0].ends_with(" sleep"), "{:?}", finished.leftovers);
    }

    #[test]
    fn a_child_that_left_the_group_is_found() {
        let finished = shell("setsid sleep 1000 & sleep 0.2", Duration::from_secs(10));
        assert_eq!(finished.leftovers.len(), 1, "{:?}", finished.leftovers);
    }

    #[test]
    fn a_child_that_ends_soon_is_no_leftover() {
        let finished = shell("sleep 0.1 &", Duration::from_secs(10));
        assert!(finished.is_clean(), "{:?}", finished.leftovers);
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let error = run_limited(&mut Command::new("/nonexistent/program"), Duration::from_secs(1));
        assert_eq!(error.expect_err("there is none").kind(), io::ErrorKind::NotFound);
    }
}
