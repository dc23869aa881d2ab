//! Runs the program in a child, for a summary afterwards, as if it had this process's place.

use std::path::Path;
use std::process::{Child, Command, ExitStatus};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin};

use crate::failure::Failure;
use crate::program;

/// Runs the command to its end and returns its exit status; 128 and the number of the signal that ended it.
///
/// What others send to this process goes on to the child. What the terminal sends, the child gets itself.
pub fn run(command: &mut Command, path: &Path) -> Result<u8, Failure> {
    const FORWARDED: [i32; 7] = [SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];
    let mut signals =
        SignalsInfo::<WithOrigin>::new(FORWARDED).map_err(Failure::system("cannot watch for signals"))?;
    let mut child = command.spawn().map_err(|error| program::not_executed(path, error))?;
    loop {
        if let Some(status) = child.try_wait().map_err(Failure::system("cannot wait for the program"))? {
            return Ok(code(status));
        }
        for origin in signals.wait() {
            forward(&child, &origin);
        }
    }
}

fn forward(child: &Child, origin: &Origin) {
    if origin.signal != SIGCHLD && matches!(origin.cause, Cause::Sent(_)) {
        if let Some(signal) = Signal::from_named_raw(origin.signal) {
            // The child may have ended just now; it is not reaped, so that the number is still its own.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    // A status has eight bits, a signal seven.
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
