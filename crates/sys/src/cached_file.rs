//! Regular files whose data goes through the page cache, and how two descriptors of one are told to be.

use std::os::fd::RawFd;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};

use crate::call::borrowed;

/// Names a file in this system, whichever descriptor and name it was opened by. `inode.7`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileIdentity {
    /// The number of the file system.
    pub device: u64,
    /// The number of the file there.
    pub inode: u64,
}

impl FileIdentity {
    /// The file of a descriptor. `None` if it is not open, is no regular file, or is open for direct I/O (`O_DIRECT` of `open.2`).
    pub fn of_cached(fd: RawFd) -> Option<Self> {
        let file = borrowed(fd)?;
        let found = fstat(file).ok()?;
        let is_cached = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
            && !fcntl_getfl(file).ok()?.contains(OFlags::DIRECT);
        is_cached.then_some(Self { device: found.st_dev, inode: found.st_ino })
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use rustix::fs::Mode;

    use super::*;

    #[test]
    fn two_descriptors_of_a_file_are_told_to_be_and_what_is_not_cached_is_none() {
        let one = rustix::fs::memfd_create("one", rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
        let again = std::fs::File::open(format!("/proc/self/fd/{}", one.as_raw_fd())).expect("the same file");
        let other = rustix::fs::memfd_create("other", rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
        let of = |fd: &dyn AsRawFd| FileIdentity::of_cached(fd.as_raw_fd());
        assert!(of(&one).is_some());
        assert_eq!(of(&one), of(&again));
        assert_ne!(of(&one), of(&other));
        let (pipe, _) = rustix::pipe::pipe().expect("a pipe");
        assert_eq!((of(&pipe), FileIdentity::of_cached(-1)), (None, None));
        // Before Linux 6.6 this file system knows no direct I/O.
        let path = format!("/proc/self/fd/{}", one.as_raw_fd());
        if let Ok(direct) = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECT, Mode::empty()) {
            assert_eq!(of(&direct), None);
        }
        assert!(of(&again).is_some(), "another description of it");
    }
}
