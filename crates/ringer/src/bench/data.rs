//! The files that the workloads use, and what must stand in them.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Bytes of a block: what every transfer moves.
pub const BLOCK: usize = 4096;
/// Words of a block.
pub const WORDS: usize = BLOCK / size_of::<u64>();
/// Files for `statx` and `openat`.
pub const SMALL_FILES: usize = 32;

/// The files, in a directory.
#[derive(Clone, Debug)]
pub struct Files {
    directory: PathBuf,
    /// Blocks of the large files.
    pub blocks: u64,
}

impl Files {
    /// The files of a directory that has them.
    pub fn in_directory(directory: &Path, blocks: u64) -> Self {
        Self { directory: directory.to_owned(), blocks }
    }

    /// Writes them, and brings them to the device, so that later measurements meet no write-back.
    pub fn create(directory: &Path, blocks: u64) -> std::io::Result<Self> {
        let files = Self::in_directory(directory, blocks);
        for path in [files.read(), files.write()] {
            let mut file = std::io::BufWriter::new(File::create_new(path)?);
            for block in 0..blocks {
                for word in 0..WORDS {
                    file.write_all(&content(block, word).to_ne_bytes())?;
                }
            }
            file.into_inner()?.sync_all()?;
        }
        for number in 0..SMALL_FILES {
            std::fs::write(files.small(number), vec![b'.'; small_size(number)])?;
        }
        Ok(files)
    }

    /// The file that is read.
    pub fn read(&self) -> PathBuf {
        self.directory.join("read")
    }

    /// Opens the file that is read, to read past the page cache.
    pub fn open_direct(&self) -> std::io::Result<File> {
        let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
        File::options().read(true).custom_flags(flags).open(self.read())
    }

    /// The file that is written.
    pub fn write(&self) -> PathBuf {
        self.directory.join("write")
    }

    /// One of the small files.
    pub fn small(&self, number: usize) -> PathBuf {
        self.directory.join(format!("small-{number}"))
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Bytes of a small file; each has another size.
pub fn small_size(number: usize) -> usize {
    100 + number
}

/// What stands in a word of a block of the file that is read.
pub fn content(block: u64, word: usize) -> u64 {
    mixed(block * WORDS as u64 + word as u64)
}

/// What a write leaves in the first and the last word of a block. The seed is another one for each run, so that a
/// write that did not happen is seen.
pub fn mark(block: u64, seed: u64) -> u64 {
    mixed(block ^ seed.rotate_left(32))
}

/// A number that looks random. The finalizer of SplitMix64.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Random numbers, quick rather than good. Xorshift64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers that depend on the seed.
    pub fn new(seed: u64) -> Self {
        Self(mixed(seed) | 1)
    }

    /// A number below `bound`.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The upper half is the better one.
        (self.0 >> 32) % bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_hold_what_is_expected_of_them() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let files = Files::create(directory.path(), 3).expect("room for a few blocks");
        let bytes = std::fs::read(files.read()).expect("it was just written");
        assert_eq!(bytes.len(), 3 * BLOCK);
        assert_eq!(bytes[2 * BLOCK - 8..2 * BLOCK], content(1, WORDS - 1).to_ne_bytes());
        assert_eq!(std::fs::metadata(files.small(7)).expect("there").len(), 107);
        assert!(Files::create(directory.path(), 3).is_err(), "it overwrites nothing");
    }

    #[test]
    fn random_numbers_stay_in_bounds_and_differ() {
        let mut random = Random::new(1);
        let numbers: Vec<u64> = (0..1000).map(|_| random.below(10)).collect();
        assert!((0..10).all(|number| numbers.contains(&number)));
    }
}
