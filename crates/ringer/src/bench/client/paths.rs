//! The small files, and what `statx` must say of them.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use ringer_sys::UserAddress;

use super::super::data::{Files, SMALL_FILES, small_size};
use super::buffers::Buffers;
use super::error::ClientError;

/// Word of `struct statx` that holds `stx_size`. Source: `statx.2`.
const SIZE_WORD: usize = 5;
/// `STATX_BASIC_STATS`: what `stat` tells.
pub const BASIC: u32 = 0x7ff;

/// The small files.
pub struct Paths {
    paths: Vec<PathBuf>,
    terminated: Vec<CString>,
    /// A `struct statx` for each.
    results: Buffers,
}

impl Paths {
    /// Those of the directory.
    pub fn new(files: &Files) -> Result<Self, ClientError> {
        let paths: Vec<_> = (0..SMALL_FILES).map(|number| files.small(number)).collect();
        let terminated = paths.iter().map(|path| CString::new(path.as_os_str().as_bytes())).collect();
        let terminated =
            Result::ok(terminated).ok_or_else(|| ClientError::wrong("a path with a zero byte"))?;
        Ok(Self { paths, terminated, results: Buffers::new(SMALL_FILES) })
    }

    /// A file's path.
    pub fn path(&self, file: usize) -> &PathBuf {
        &self.paths[file]
    }

    /// A file's path in memory, with its zero byte.
    #[inline]
    pub fn address(&self, file: usize) -> UserAddress {
        UserAddress::of(self.terminated[file].as_ptr())
    }

    /// Where the `struct statx` of a file goes.
    #[inline]
    pub fn result(&self, file: usize) -> UserAddress {
        self.results.address(file)
    }

    /// Checks the size in the `struct statx`, and forgets it.
    #[inline]
    pub fn check(&self, file: usize) -> Result<(), ClientError> {
        let size = self.results.get(file, SIZE_WORD);
        self.results.set(file, SIZE_WORD, 0);
        Self::check_size(file, size)
    }

    /// Checks a size.
    #[inline]
    pub fn check_size(file: usize, size: u64) -> Result<(), ClientError> {
        ClientError::expect("the size of a file", size as i64, small_size(file) as i64)
    }
}
