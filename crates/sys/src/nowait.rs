//! Which files can be asked not to wait (`RWF_NOWAIT` of `preadv2.2`).
//!
//! The kernel knows that of each open file, and tells nobody but by a transfer. A transfer that refuses the flag says nothing either:
//! ext4 knows it and refuses it of buffered writes. So the kind of the file is looked at. What each kind answers is compared with the
//! kernel's io_uring by the cases `flags-of-every-file`.

use std::os::fd::RawFd;

use rustix::fs::FileType;

use crate::call::{borrowed, name_of, status};

/// Devices of memory: `null.4`, `random.4`.
const MEMORY_DEVICES: u32 = 1;

/// Whether the file knows `RWF_NOWAIT`. False for a descriptor that is not open.
pub fn can_be_asked_not_to_wait(fd: RawFd) -> bool {
    let Some(found) = status(fd) else { return false };
    match found.file_type {
        FileType::Socket | FileType::BlockDevice => true,
        // A pipe has no name in a file system; a FIFO has one, and waits.
        FileType::Fifo => is_named(fd, b"pipe:"),
        FileType::CharacterDevice => {
            const NULL: u32 = 3;
            const ZERO: u32 = 5;
            const RANDOM: u32 = 8;
            const URANDOM: u32 = 9;
            rustix::fs::major(found.is_of) == MEMORY_DEVICES
                && matches!(rustix::fs::minor(found.is_of), NULL | ZERO | RANDOM | URANDOM)
        }
        FileType::RegularFile => is_on_disk(fd),
        // Files without a name.
        FileType::Unknown => [&b"eventfd"[..], b"timerfd", b"signalfd", b"io_uring"]
            .iter()
            .any(|kind| is_named(fd, &[b"anon_inode:[", *kind].concat())),
        FileType::Directory | FileType::Symlink => false,
    }
}

/// Whether it is a file that is neither read nor written, by `proc_pid_fd.5`. Linux finds that out once it is ready.
pub fn is_only_waited_for(fd: RawFd) -> bool {
    [&b"anon_inode:[eventpoll]"[..], b"anon_inode:[pidfd]"].iter().any(|kind| is_named(fd, kind))
}

/// Whether it is read by a function of the kernel that knows nothing of vectors: io_uring calls it for each, and for none of nothing.
pub fn is_read_in_parts(fd: RawFd) -> bool {
    [&b"anon_inode:inotify"[..], b"anon_inode:[fanotify]"].iter().any(|kind| is_named(fd, kind))
}

fn is_named(fd: RawFd, start: &[u8]) -> bool {
    name_of(fd).is_some_and(|name| name.starts_with(start))
}

/// Whether its file system is one of those whose regular files know the flag. `statfs.2` has their numbers.
fn is_on_disk(fd: RawFd) -> bool {
    const BTRFS: u32 = 0x9123_683e;
    const EXT: u32 = 0xef53;
    const F2FS: u32 = 0xf2f5_2010;
    const XFS: u32 = 0x5846_5342;
    borrowed(fd)
        .and_then(|file| rustix::fs::fstatfs(file).ok())
        .is_some_and(|found| matches!(found.f_type as u32, BTRFS | EXT | F2FS | XFS))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_pipe_can_be_asked_and_an_epoll_instance_cannot() {
        let (read, _write) = rustix::pipe::pipe().expect("a pipe");
        assert!(can_be_asked_not_to_wait(read.as_raw_fd()));
        assert!(!is_only_waited_for(read.as_raw_fd()));
        let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).expect("one");
        assert!(!can_be_asked_not_to_wait(epoll.as_raw_fd()));
        assert!(is_only_waited_for(epoll.as_raw_fd()));
        assert!(!can_be_asked_not_to_wait(-1));
    }
}
