//! Runs one command to its end, or ends it at its limit, and leaves no descendant behind.
//!
//! The supervisor is a process of its own, because it becomes the reaper of everything the command
//! starts: a daemon that left its session and lost its parent still ends up as our child.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group, pidfd_open,
    set_child_subreaper, set_parent_process_death_signal, wait, waitpid,
};

use super::outcome::Outcome;
use crate::suite::processes;

/// How long a child may take to go by itself after the command has ended.
const GRACE: Duration = Duration::from_secs(2);
/// How long killed processes may take to go.
const KILLED_ARE_GONE: Duration = Duration::from_secs(10);

/// Runs `command` with `limit`, and then ends whatever it left behind.
///
/// For a process with no other children: it reaps all of them.
pub fn supervise(mut command: Command, limit: Duration) -> Outcome {
    match run(&mut command, limit) {
        Ok(outcome) => outcome,
        Err(error) => Outcome::Broken(error.to_string()),
    }
}

fn run(command: &mut Command, limit: Duration) -> io::Result<Outcome> {
    // A supervisor whose runner was killed goes too, and takes the test with it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    set_child_subreaper(Some(getpid()))?;
    let child = command.stdin(Stdio::null()).spawn()?;
    let pid = Pid::from_child(&child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let outcome = if ended_within(&pidfd, limit)? {
        let status = waitpid(Some(pid), WaitOptions::empty())?.ok_or(Errno::CHILD)?.1;
        of_status(status)
    } else {
        eprintln!("--- limit of {} s reached, these were running:", limit.as_secs());
        eprint!("{}", processes::describe(&processes::descendants()?));
        // The command is not reaped yet, so that the number is still its own; it may have no group.
        let _ = kill_process_group(pid, Signal::KILL);
        Outcome::TimedOut
    };
    let grace = if outcome == Outcome::TimedOut { Duration::ZERO } else { GRACE };
    let left = end_what_is_left(grace)?;
    if outcome == Outcome::TimedOut || left.is_empty() {
        Ok(outcome)
    } else {
        Ok(Outcome::LeftBehind(left.join(", ")))
    }
}

fn of_status(status: WaitStatus) -> Outcome {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(status), _) => Outcome::of_exit_status(status),
        (None, Some(signal)) => Outcome::Killed(signal),
        (None, None) => Outcome::Broken(format!("wait status {:#x}", status.as_raw())),
    }
}

fn ended_within(pidfd: &OwnedFd, limit: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reaps all children, and kills those that do not go within `grace` by themselves. Returns the
/// names of those that had to be killed.
fn end_what_is_left(grace: Duration) -> io::Result<Vec<String>> {
    let start = Instant::now();
    let mut killed = Vec::new();
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => continue,
            Err(Errno::CHILD) => return Ok(killed),
            Ok(None) => {}
            Err(error) => return Err(error.into()),
        }
        let waited = start.elapsed();
        if waited > grace + KILLED_ARE_GONE {
            return Err(io::Error::other(format!("killed, but still there: {}", killed.join(", "))));
        }
        if waited >= grace {
            // Children of a killed process become ours, so that repeating this ends with none.
            for process in processes::children()? {
                if !process.is_zombie() {
                    // It may have gone by itself meanwhile; only we reap it, so that the number is still its own.
                    let _ = kill_process(process.pid, Signal::KILL);
                    let name = format!("{}[{}]", process.name, process.pid.as_raw_nonzero());
                    if !killed.contains(&name) {
                        killed.push(name);
                    }
                }
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
