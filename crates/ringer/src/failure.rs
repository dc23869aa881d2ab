//! Why the command itself gives up: one line that says what to do next, and an exit status.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use ringer_sys::Errno;

/// A failure of `ringer run`. Exit statuses are those of `env.1`.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no such program.
    #[error("{}: no such program; check the name and PATH", .0.display())]
    Missing(OsString),
    /// The file is there, but cannot be executed.
    #[error("{}: cannot be executed: {reason}", path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The program can be executed, but a preloaded library cannot reach it.
    #[error("{}: cannot be served: {reason}", path.display())]
    NotServable {
        /// The program, or the interpreter of the script.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// The preload library is not where it should be.
    #[error("libringer_preload.so is not in {}; build it with `cargo build --release`, or set RINGER_LIBRARY to its path", .0.join(" or "))]
    NoLibrary(Vec<String>),
    /// The path of the preload library cannot be written in `LD_PRELOAD`.
    #[error("{}: the path of the library has a space or a colon in it, which LD_PRELOAD cannot hold; move it", .0.display())]
    UnspeakableLibrary(PathBuf),
    /// No filter that traps.
    #[error(
        "this kernel or container has no seccomp filters that trap ({0}), which `ringer run` needs; `ringer probe` shows what is there"
    )]
    NoTraps(Errno),
    /// Another architecture.
    #[error("ringer serves programs on x86_64 only; this is {}", std::env::consts::ARCH)]
    Architecture,
    /// The outer filter of `--block-kernel`.
    #[error("--block-kernel cannot install its filter: {0}; leave the option out")]
    Block(#[from] seccompiler::Error),
    /// A plan of faults that is none.
    #[error("{}: {reason}; `ringer chaos --print-plan` shows how one is written", path.display())]
    Plan {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Something else that should work.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What it gave.
        error: io::Error,
    },
}

impl Failure {
    /// For `map_err`.
    pub fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::System { what, error: error.into() }
    }

    /// 127 for a missing program, 126 for one that cannot be run, 125 for what is our own.
    pub fn status(&self) -> u8 {
        match self {
            Self::Missing(_) => 127,
            Self::NotExecutable { .. } | Self::NotServable { .. } => 126,
            _ => 125,
        }
    }

    /// Prints the line.
    pub fn report(&self) -> ExitCode {
        eprintln!("ringer: {self}");
        ExitCode::from(self.status())
    }
}
