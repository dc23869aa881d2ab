//! Why the runner itself could not go on, in one line where possible.

use std::io;
use std::path::Path;

/// Why the runner itself could not go on. Not for a test that fails.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    /// With a text that says what to do next.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// An error on a file, for `map_err`.
    pub fn at(path: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self(format!("{}: {error}", path.display()))
    }
}
