//! The program whose requests are known: `programs/observed.c`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{compile, skip};

/// Cargo's place for what tests make.
const DIRECTORY: &str = env!("CARGO_TARGET_TMPDIR");

/// A directory of its own for each test, with the file that the program opens.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir_in(DIRECTORY).expect("a directory"))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// The program, compiled once. `None` where it cannot be.
pub fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| compile(Path::new(DIRECTORY), "observed", &[])).as_deref();
    if program.is_none() {
        skip("there is no C compiler, or no header of io_uring");
    }
    program
}

/// What the program gets behind the descriptor that it opened.
pub const GOTTEN: &str = "2: 4096\n3: 4096\n4: 0\n5: -125\n6: 1 more\n7: 0\n6: -125\n8: -62\n10: 0\n15: 0\n16: 0\n12: 77\n11: 0\n13: -9\n20: 0\n30: 0\n";
