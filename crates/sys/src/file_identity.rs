//! Which regular file a descriptor is of.

use std::os::fd::RawFd;

use rustix::fs::FileType;

use crate::call::borrowed;
use crate::file_status::FileStatus;

/// Names a file in this system, whichever descriptor and name it was opened by. `inode.7`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileIdentity {
    /// The number of the file system.
    pub device: u64,
    /// The number of the file there.
    pub inode: u64,
}

impl FileIdentity {
    /// The file of a descriptor. `None` if it is not open, or is no regular file.
    pub fn of_regular(fd: RawFd) -> Option<Self> {
        let FileStatus { file_type, device, inode, .. } = FileStatus::of(borrowed(fd)?).ok()?;
        (file_type == FileType::RegularFile).then_some(Self { device, inode })
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn two_descriptors_of_a_file_are_told_to_be_and_what_is_no_regular_file_is_none() {
        let one = rustix::fs::memfd_create("one", rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
        let again = std::fs::File::open(format!("/proc/self/fd/{}", one.as_raw_fd())).expect("the same file");
        let other = rustix::fs::memfd_create("other", rustix::fs::MemfdFlags::CLOEXEC).expect("a file");
        let of = |fd: &dyn AsRawFd| FileIdentity::of_regular(fd.as_raw_fd());
        assert!(of(&one).is_some());
        assert_eq!(of(&one), of(&again));
        assert_ne!(of(&one), of(&other));
        let (pipe, _) = rustix::pipe::pipe().expect("a pipe");
        assert_eq!((of(&pipe), FileIdentity::of_regular(-1)), (None, None));
    }
}
