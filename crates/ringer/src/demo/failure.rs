//! Why the demo ends early.

use std::fmt::Display;
use std::io;

/// The demo did not come to its good end.
#[derive(Debug)]
pub enum Stop {
    /// The user asked for it, or the session ended.
    Interrupted,
    /// A check failed, or the demo could not do its work.
    Failed {
        /// What failed, in one line.
        what: String,
        /// What to do next, in one line.
        next: String,
    },
}

impl Stop {
    /// A failure with advice.
    pub fn failed(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), next: next.into() }
    }

    /// A failure that looks like an error in Ringer.
    pub fn bug(what: impl Into<String>) -> Self {
        Self::failed(
            what,
            "this looks like a bug in ringer: please report it with the output of `ringer probe --json`",
        )
    }

    /// A failed system call of the demo itself.
    pub fn io(what: impl Display, error: &io::Error) -> Self {
        let next = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "free some space, set TMPDIR, or use --size"
            }
            io::ErrorKind::BrokenPipe => "keep the reader of the output open",
            _ => "check that TMPDIR is a writable directory, then try again",
        };
        Self::failed(format!("{what}: {error}"), next)
    }
}
