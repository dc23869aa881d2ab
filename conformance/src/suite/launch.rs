//! Prepares this process as a test wants it, then becomes the test.
//!
//! It runs as a hidden subcommand in a process of its own, so that nothing has to happen between
//! fork and exec of a process with threads.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// The numbers of `io_uring_setup`, `io_uring_enter` and `io_uring_register`, alike on all architectures.
const IO_URING_CALLS: [i64; 3] = [425, 426, 427];

/// No test needs a larger file (bytes).
const LARGEST_FILE: u64 = 8 << 30;
/// No test needs a larger address space (bytes).
const LARGEST_ADDRESS_SPACE: u64 = 64 << 30;

/// Becomes `command`: own session, no core dumps, limits on files and memory, and without io_uring
/// where `refuse_io_uring` says so. Returns only when that failed.
pub fn launch(command: &[String], refuse_io_uring: bool) -> io::Error {
    match prepare(refuse_io_uring) {
        Ok(()) => {
            let Some((program, arguments)) = command.split_first() else {
                return io::Error::other("no program given");
            };
            Command::new(program).args(arguments).exec()
        }
        Err(error) => error,
    }
}

fn prepare(refuse_io_uring: bool) -> io::Result<()> {
    rustix::process::setsid()?;
    // The test must not outlive a supervisor that was killed. Its children do not inherit this.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    lower(Resource::Core, 0)?;
    lower(Resource::Fsize, LARGEST_FILE)?;
    lower(Resource::As, LARGEST_ADDRESS_SPACE)?;
    if refuse_io_uring {
        refuse_the_calls().map_err(io::Error::other)?;
    }
    Ok(())
}

/// Lowers a limit to `value`, never raises it.
fn lower(resource: Resource, value: u64) -> io::Result<()> {
    let now = getrlimit(resource);
    let at_most = |limit: Option<u64>| Some(limit.map_or(value, |limit| limit.min(value)));
    Ok(setrlimit(resource, Rlimit { current: at_most(now.current), maximum: at_most(now.maximum) })?)
}

/// Installs a filter that answers the io_uring calls with `EPERM`, as Docker's does.
fn refuse_the_calls() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let rules: BTreeMap<_, _> = IO_URING_CALLS.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(rustix::io::Errno::PERM.raw_os_error() as u32);
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let program: BpfProgram =
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture)?.try_into()?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}
