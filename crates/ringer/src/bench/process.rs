//! A child process with a time limit, which leaves nothing behind.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

/// Between two looks at the child and the flag.
const TICK: Duration = Duration::from_millis(2);

/// Set when the user asked for the end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Set by SIGINT, SIGTERM and SIGHUP from now on; a second one ends the process at once.
    pub fn install() -> std::io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP]
        {
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&flag))?;
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Self(flag))
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        // Relaxed: the flag alone matters.
        self.0.load(Ordering::Relaxed)
    }
}

/// A child in a process group of its own, which is killed when this is dropped.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    err: Option<JoinHandle<String>>,
    reaped: bool,
}

impl Process {
    /// Starts a command.
    pub fn start(command: &mut Command) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?;
        let (sender, lines) = mpsc::channel();
        if let Some(out) = child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let err = child.stderr.take().map(|mut err| {
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                // What can be read is better than nothing.
                let _ = err.read_to_end(&mut bytes);
                String::from_utf8_lossy(&bytes).trim_end().to_owned()
            })
        });
        Ok(Self { child, lines, err, reaped: false })
    }

    /// The next line that it prints; `None` where none comes within the limit.
    pub fn line(&self, limit: Duration) -> Option<String> {
        self.lines.recv_timeout(limit).ok()
    }

    /// Waits for its end and returns the rest of what it printed.
    pub fn finish(mut self, limit: Duration, interrupt: &Interrupt) -> Result<String, String> {
        let end = Instant::now() + limit;
        while !self.has_ended()? {
            if interrupt.is_set() {
                return Err("interrupted".into());
            }
            if Instant::now() > end {
                return Err(format!("did not end within {} s and was killed", limit.as_secs()));
            }
            std::thread::sleep(TICK);
        }
        let status = self.kill_and_reap().map_err(|error| format!("cannot wait for a child: {error}"))?;
        // Its group is gone, so that nobody holds the other end.
        let text = self.lines.iter().map(|line| line + "\n").collect();
        if status.success() {
            return Ok(text);
        }
        let err = self.err.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        Err(err.lines().last().map_or_else(|| status.to_string(), str::to_owned))
    }

    /// Whether it has ended. It stays a zombie, so that its group's number cannot be used again yet.
    fn has_ended(&self) -> Result<bool, String> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(Pid::from_child(&self.child)), options) {
            Ok(status) => Ok(status.is_some()),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(format!("cannot wait for a child: {error}")),
        }
    }

    fn kill_and_reap(&mut self) -> std::io::Result<std::process::ExitStatus> {
        // The child is not reaped yet: the group exists and is ours.
        kill_process_group(Pid::from_child(&self.child), Signal::KILL)?;
        let status = self.child.wait()?;
        self.reaped = true;
        Ok(status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            // The reason for the early end is already on its way.
            let _ = self.kill_and_reap();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<String, String> {
        Process::start(Command::new("sh").args(["-c", script]))?.finish(limit, &Interrupt::default())
    }

    #[test]
    fn output_errors_and_limits() {
        let long = Duration::from_secs(20);
        assert_eq!(shell("echo yes", long), Ok("yes\n".into()));
        assert_eq!(shell("echo first >&2; echo no >&2; exit 3", long), Err("no".into()));
        assert_eq!(shell("exit 3", long), Err("exit status: 3".into()));
        let start = Instant::now();
        assert!(shell("sleep 100", Duration::from_millis(200)).is_err_and(|why| why.contains("was killed")));
        assert!(start.elapsed() < long);
    }
}
