//! Why the client gave up.

use ringer_client::ring::RingError;
use ringer_sys::Errno;

/// Why the client gave up.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A system call, or a request.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What it gave.
        error: Errno,
    },
    /// The standard library's word for it.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What it gave.
        error: std::io::Error,
    },
    /// The ring.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A result that cannot be, or content that differs.
    #[error("wrong result: {0}")]
    Wrong(String),
}

impl ClientError {
    /// A result that cannot be.
    pub fn wrong(what: impl Into<String>) -> Self {
        Self::Wrong(what.into())
    }

    /// Fails unless a result is the expected one.
    #[inline]
    pub fn expect(what: &'static str, result: i64, expected: i64) -> Result<(), Self> {
        if result == expected { Ok(()) } else { Err(Self::unexpected(what, result, expected)) }
    }

    #[cold]
    fn unexpected(what: &'static str, result: i64, expected: i64) -> Self {
        match i32::try_from(-result) {
            Ok(errno @ 1..4096) => Self::System { what, error: Errno::from_raw_os_error(errno) },
            _ => Self::Wrong(format!("{what} gave {result}, not {expected}")),
        }
    }
}

/// For `map_err`.
pub fn of(what: &'static str) -> impl FnOnce(Errno) -> ClientError {
    move |error| ClientError::System { what, error }
}

/// For `map_err`.
pub fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> ClientError {
    move |error| ClientError::Io { what, error }
}
