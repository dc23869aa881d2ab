//! An ordinary io_uring program, built on the `io-uring` crate. It runs in a process of its own and knows nothing of
//! Ringer: what serves its rings is decided around it.

mod connector;
mod copy;
mod echo;
mod responder;

use std::io::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::event::Event;
use ringer_client::slots::Refused;

pub use self::copy::BLOCK;

/// Exit status where the ring could not be made.
pub const EXIT_REFUSED: u8 = 3;

/// Arguments of `ringer demo-client`.
#[derive(Debug, clap::Args)]
pub struct ClientArgs {
    #[command(subcommand)]
    work: Work,
}

#[derive(Debug, clap::Subcommand)]
enum Work {
    /// Copy a file: READ and WRITE of 128 KiB blocks, 32 in flight, FSYNC at the end.
    Copy {
        /// File to read.
        source: PathBuf,
        /// File to write; it must not exist.
        target: PathBuf,
        /// Seconds after which every wait ends.
        #[arg(long, default_value_t = 60)]
        limit: u64,
    },
    /// Echo messages over loopback TCP: ACCEPT, CONNECT, RECV, SEND.
    Echo {
        /// Connections at the same time.
        #[arg(long, default_value_t = 16)]
        connections: u16,
        /// Messages of each connection.
        #[arg(long, default_value_t = 2000)]
        messages: u64,
        /// Seed of the content.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Seconds after which every wait ends.
        #[arg(long, default_value_t = 60)]
        limit: u64,
    },
}

/// Does the work, reports it as JSON lines on stdout, and says in one line on stderr what went wrong.
pub fn client(args: &ClientArgs) -> ExitCode {
    let outcome = match &args.work {
        Work::Copy { source, target, limit } => copy::copy(source, target, Duration::from_secs(*limit)),
        Work::Echo { connections, messages, seed, limit } => {
            echo::echo(usize::from(*connections), *messages, *seed, Duration::from_secs(*limit))
        }
    };
    let (event, status) = match outcome {
        Ok(event) => (event, ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("demo-client: {error}");
            let status = if matches!(error, ClientError::Refused(_)) { EXIT_REFUSED } else { 1 };
            (error.event(), ExitCode::from(status))
        }
    };
    match event.print() {
        Ok(()) => status,
        Err(error) => {
            eprintln!("demo-client: cannot report the result: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why the client gave up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The ring could not be made.
    #[error("io_uring_setup: {0}")]
    Refused(Error),
    /// A system call or a request failed, or a check of the content.
    #[error("{what}{error}")]
    Failed {
        /// What was being done, with a colon and a space after it; may be empty.
        what: String,
        /// How it failed.
        error: Error,
    },
}

impl ClientError {
    /// The same error, with the place it comes from.
    fn of(self, place: &str) -> Self {
        match self {
            Self::Refused(error) => Self::Refused(error),
            Self::Failed { what, error } => Self::Failed { what: format!("{place}: {what}"), error },
        }
    }

    fn event(&self) -> Event {
        let message = self.to_string();
        match self {
            Self::Refused(error) => match error.raw_os_error() {
                Some(errno) => Event::Refused { errno, message },
                None => Event::Failed { message },
            },
            Self::Failed { .. } => Event::Failed { message },
        }
    }
}

impl From<Refused> for ClientError {
    fn from(Refused(error): Refused) -> Self {
        Self::Refused(error)
    }
}

impl From<Error> for ClientError {
    fn from(error: Error) -> Self {
        Self::Failed { what: String::new(), error }
    }
}

/// Says what failed, for `map_err`.
fn at(what: impl FnOnce() -> String) -> impl FnOnce(Error) -> ClientError {
    move |error| ClientError::Failed { what: what() + ": ", error }
}
