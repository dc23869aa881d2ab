//! The file to copy: made on the spot, and read back with ordinary calls to check the copy.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::failure::Stop;
use super::interrupt::Interrupt;
use super::pattern::Pattern;

/// Bytes handled between two looks at the interrupt flag.
const CHUNK: usize = 1 << 20;

/// A temporary directory with the file to copy. It goes away when this is dropped.
#[derive(Debug)]
pub struct Workspace {
    directory: tempfile::TempDir,
    /// Length of the file in bytes.
    pub length: u64,
    /// CRC-32 of the file.
    pub checksum: u32,
}

impl Workspace {
    /// Makes a file of `length` bytes and brings it to disk, so that its writeback does not disturb what follows.
    pub fn new(length: u64, interrupt: &Interrupt, mut progress: impl FnMut(u64, u64)) -> Result<Self, Stop> {
        let parent = std::env::temp_dir();
        let failed =
            |error: &io::Error| Stop::io(format!("make the test data in {}", parent.display()), error);
        room_for(length, &parent)?;
        let directory = tempfile::Builder::new()
            .prefix("ringer-demo-")
            .tempdir_in(&parent)
            .map_err(|error| failed(&error))?;
        let mut workspace = Self { directory, length, checksum: 0 };
        let mut file = File::create_new(workspace.source()).map_err(|error| failed(&error))?;
        let pattern = Pattern::new(length);
        let mut hasher = crc32fast::Hasher::new();
        let mut chunk = vec![0; CHUNK];
        let mut done = 0;
        while done < length {
            interrupt.check()?;
            let part = usize::try_from(length - done).unwrap_or(CHUNK).min(CHUNK);
            pattern.fill(done / 8, &mut chunk[..part]);
            hasher.update(&chunk[..part]);
            file.write_all(&chunk[..part]).map_err(|error| failed(&error))?;
            done += part as u64;
            progress(done, length);
        }
        file.sync_all().map_err(|error| failed(&error))?;
        workspace.checksum = hasher.finalize();
        Ok(workspace)
    }

    /// The file to copy.
    pub fn source(&self) -> PathBuf {
        self.directory.path().join("source")
    }

    /// A place for something else in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Removes the directory now, and says so when it does not work.
    pub fn remove(self) -> Result<(), Stop> {
        let path = self.directory.path().to_owned();
        self.directory.close().map_err(|error| Stop::io(format!("remove {}", path.display()), &error))
    }
}

/// Length and CRC-32 of a file, read with ordinary calls.
pub fn examine(path: &Path, interrupt: &Interrupt) -> Result<(u64, u32), Stop> {
    let failed = |error: &io::Error| Stop::io(format!("read {}", path.display()), error);
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    let mut hasher = crc32fast::Hasher::new();
    let mut chunk = vec![0; CHUNK];
    let mut length = 0;
    loop {
        interrupt.check()?;
        let count = match file.read(&mut chunk) {
            Ok(0) => return Ok((length, hasher.finalize())),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(&error)),
        };
        hasher.update(&chunk[..count]);
        length += count as u64;
    }
}

/// Refuses early when source and copy would not fit.
fn room_for(length: u64, directory: &Path) -> Result<(), Stop> {
    let statistics = rustix::fs::statvfs(directory)
        .map_err(|errno| Stop::io(format!("look at {}", directory.display()), &errno.into()))?;
    let free = statistics.f_bavail.saturating_mul(statistics.f_frsize);
    let needed = length.saturating_mul(2);
    if free >= needed {
        return Ok(());
    }
    let (needed, free, place) = (needed >> 20, free >> 20, directory.display());
    Err(Stop::failed(
        format!("the demo needs {needed} MiB in {place}, where {free} MiB are free"),
        "use a smaller --size, or set TMPDIR to a directory with more room",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_holds_what_it_says_and_goes_away() {
        let interrupt = Interrupt::never();
        let workspace = Workspace::new((3 << 20) + 5, &interrupt, |_, _| {}).expect("a temporary directory");
        let found = examine(&workspace.source(), &interrupt).expect("readable");
        assert_eq!(found, ((3 << 20) + 5, workspace.checksum));
        let place = workspace.path("");
        workspace.remove().expect("removable");
        assert!(!place.exists());
    }

    #[test]
    fn a_changed_file_has_another_checksum() {
        let interrupt = Interrupt::never();
        let workspace = Workspace::new(4096, &interrupt, |_, _| {}).expect("a temporary directory");
        let mut bytes = std::fs::read(workspace.source()).expect("readable");
        bytes[4000] ^= 1;
        let changed = workspace.path("changed");
        std::fs::write(&changed, bytes).expect("writable");
        let (length, checksum) = examine(&changed, &interrupt).expect("readable");
        assert_eq!(length, workspace.length);
        assert_ne!(checksum, workspace.checksum);
    }

    #[test]
    fn more_than_fits_is_refused_at_once() {
        let stop = Workspace::new(1 << 60, &Interrupt::never(), |_, _| {}).expect_err("too large");
        assert!(matches!(stop, Stop::Failed { what, .. } if what.contains("are free")));
    }
}
