//! `ringer run`.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use ringer_sys::seccomp;
use rustix::io::Errno;

use crate::cli::{RunArgs, When};
use crate::failure::Failure;
use crate::summary::{ServedBy, Shared, Summary};
use crate::{block, child, library, probe, program};

/// Runs the program. Returns only with a summary; else this process becomes the program.
pub fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let (name, arguments) = args.program.split_first().expect("the command line asks for at least one");
    let path = program::find(name)?;
    if args.block_kernel {
        block::block()?;
    }
    let served_by = match args.when {
        When::Always => ServedBy::Ringer,
        When::Never => ServedBy::Kernel,
        When::Auto if probe::kernel_io_uring().is_ok() => ServedBy::Kernel,
        When::Auto => ServedBy::Ringer,
    };
    let mut command = Command::new(&path);
    command.arg0(name).args(arguments);
    if served_by == ServedBy::Ringer {
        serve(&path, &mut command)?;
    }
    if !args.summary && args.summary_json.is_none() {
        return Err(program::not_executed(&path, command.exec()));
    }

    let shared = Shared::new()?;
    if served_by == ServedBy::Ringer {
        command.env("RINGER_COUNTERS", shared.path());
    }
    let status = child::run(&mut command, &path)?;
    let summary = Summary::new(served_by, &shared.read()?, status);
    if let Some(file) = &args.summary_json {
        summary.write(file)?;
    }
    if args.summary {
        summary.print();
    }
    Ok(ExitCode::from(status))
}

/// Has the command preload the library.
pub fn serve(path: &Path, command: &mut Command) -> Result<(), Failure> {
    if !cfg!(target_arch = "x86_64") {
        return Err(Failure::Architecture);
    }
    match seccomp::trap_available() {
        // A kernel that does not know the question has had the action for longer.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(Failure::NoTraps(error)),
    }
    let library = library::find()?;
    program::check(path)?;
    command.env("LD_PRELOAD", library::preload(&library));
    Ok(())
}
