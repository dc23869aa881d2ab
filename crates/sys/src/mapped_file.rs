//! A file of the program, mapped to be read.

use std::ops::Range;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::fs::{FileType, OFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect, munlock, munmap};
use rustix::param::page_size;
use rustix::process::{Resource, getrlimit};

use crate::UserAddress;
use crate::user::{copy_between, has_fault_handler};

/// The magic numbers of `statfs.2` of file systems where a read does not exclude a write: ext2 to ext4, btrfs, f2fs. On others (XFS) a read
/// sees all of a concurrent write or nothing, which a copy does not.
const READS_DO_NOT_EXCLUDE_WRITES: [u64; 3] = [0xef53, 0x9123_683e, 0xf2f5_2010];

/// The largest file that is mapped, in bytes.
const LARGEST: u64 = 1 << 36;

/// Room for the file to grow, in bytes. What lies beyond the end of the file is mapped, and not looked at.
const GROWTH: u64 = 1 << 26;

/// A change of a file less than this before it was looked at may have left the same times as one a moment later: the clock of a file
/// system ticks. In nanoseconds.
const TICKS: i64 = 50_000_000;

/// A time in nanoseconds since 1970.
fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// What a file is like at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileState {
    /// Its size in bytes.
    pub size: u64,
    modified: i64,
    changed: i64,
    /// A read would have to change the time of the last access (`relatime` of `mount.8`).
    pub notes_access: bool,
    /// Any change from this moment on shows in the state.
    pub is_settled: bool,
}

impl FileState {
    /// Looks at an open file. `None`: it cannot be looked at.
    #[expect(clippy::disallowed_methods, reason = "it is about the times")]
    pub fn of(fd: RawFd) -> Option<Self> {
        const DAY: i64 = 24 * 60 * 60 * 1_000_000_000;
        let stat = rustix::fs::fstat(borrow(fd)?).ok()?;
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        let now = nanoseconds(now.tv_sec, now.tv_nsec);
        let accessed = nanoseconds(stat.st_atime as i64, stat.st_atime_nsec as i64);
        let modified = nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64);
        let changed = nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64);
        let latest = modified.max(changed);
        Some(Self {
            size: u64::try_from(stat.st_size).ok()?,
            modified,
            changed,
            notes_access: latest >= accessed || now.saturating_sub(accessed) >= DAY,
            is_settled: now.saturating_sub(changed) > TICKS,
        })
    }

    /// Whether nothing was written to the file, and nothing cut off, since a settled state.
    pub fn is_unchanged_since(&self, settled: &Self) -> bool {
        (self.size, self.modified, self.changed) == (settled.size, settled.modified, settled.changed)
    }
}

/// Whether an open file is open for direct I/O now.
pub fn is_direct(fd: RawFd) -> bool {
    borrow(fd)
        .and_then(|file| rustix::fs::fcntl_getfl(file).ok())
        .is_none_or(|flags| flags.contains(OFlags::DIRECT))
}

fn borrow(fd: RawFd) -> Option<BorrowedFd<'static>> {
    // SAFETY: the descriptor is only asked about in the function that borrows it; a closed one gives EBADF.
    (fd >= 0).then(|| unsafe { BorrowedFd::borrow_raw(fd) })
}

/// The mapping. It keeps the file open, as a descriptor does, and goes with this value.
#[derive(Debug)]
pub struct MappedFile {
    address: usize,
    length: usize,
}

impl MappedFile {
    /// Maps a file, if to copy from the mapping is to read the file: a regular file that is open for reading and not for direct I/O, on
    /// a file system whose reads do not exclude writes, and that does not note every access. Not where faults cannot be recovered
    /// from, and not where the address space is limited.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where it is not; those of `mmap.2`.
    #[expect(clippy::disallowed_methods, reason = "once, and it is about the size")]
    pub fn new(fd: RawFd) -> Result<Self, Errno> {
        let file = borrow(fd).ok_or(Errno::BADF)?;
        let stat = rustix::fs::fstat(file)?;
        let flags = rustix::fs::fcntl_getfl(file)?;
        let is_read = matches!(flags & OFlags::ACCMODE, OFlags::RDONLY | OFlags::RDWR);
        let system = rustix::fs::fstatfs(file)?.f_type as u64;
        let mount = rustix::fs::fstatvfs(file)?.f_flag;
        let size = stat.st_size as u64;
        let is_suitable = has_fault_handler()
            && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && is_read
            && !flags.intersects(OFlags::DIRECT | OFlags::PATH)
            && READS_DO_NOT_EXCLUDE_WRITES.contains(&system)
            && mount.intersects(
                StatVfsMountFlags::RELATIME | StatVfsMountFlags::NOATIME | StatVfsMountFlags::RDONLY,
            )
            && size <= LARGEST
            && getrlimit(Resource::As).current.is_none();
        if !is_suitable {
            return Err(Errno::OPNOTSUPP);
        }
        let length = (size + GROWTH).next_multiple_of(page_size() as u64) as usize;
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let address = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::empty(),
                MapFlags::SHARED | MapFlags::NORESERVE,
                file,
                0,
            )
        }?;
        let mapped = Self { address: address as usize, length };
        // SAFETY: the mapping is ours. A program may have asked to lock all that is mapped (`mlockall.2`): while nothing can be accessed
        // nothing was read for that, and nothing is.
        unsafe {
            munlock(address, length)?;
            mprotect(address, length, MprotectFlags::READ)?;
        }
        Ok(mapped)
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.length as u64
    }

    /// Whether all pages of a range are in memory now. `mincore.2`.
    pub fn is_resident(&self, range: Range<u64>) -> bool {
        const PAGES: usize = 64;
        let page = page_size() as u64;
        let start = range.start / page * page;
        let count = (range.end.saturating_sub(start)).div_ceil(page) as usize;
        if range.end > self.length as u64 || count > PAGES {
            return false;
        }
        let mut pages = [0_u8; PAGES];
        let arguments =
            [self.address + start as usize, count * page as usize, pages.as_mut_ptr() as usize, 0, 0, 0];
        // SAFETY: the kernel writes one byte for each page; there is room for all.
        let result = unsafe { crate::call::raw(linux_raw_sys::general::__NR_mincore, arguments) };
        result.is_ok() && pages[..count].iter().all(|page| page & 1 != 0)
    }

    /// Copies bytes of the file to the program's memory. Waits for the device where they are not in memory.
    ///
    /// # Errors
    /// `EFAULT` when any byte of the memory cannot be written, lies beyond the end of the file or cannot be read from the
    /// device. Some of the bytes may have been copied.
    pub fn copy(&self, offset: u64, to: UserAddress, bytes: usize) -> Result<(), Errno> {
        if offset.checked_add(bytes as u64).is_none_or(|end| end > self.length as u64) {
            return Err(Errno::FAULT);
        }
        copy_between(self.address as u64 + offset, to.get(), bytes)
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing refers to it any more.
        let _ = unsafe { munmap(self.address as *mut _, self.length) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn nothing_is_mapped_where_faults_are_not_recovered_from() {
        let file = std::fs::File::open(std::env::current_exe().expect("a program")).expect("it can be read");
        assert_eq!(MappedFile::new(file.as_raw_fd()).err(), Some(Errno::OPNOTSUPP));
        assert_eq!(MappedFile::new(-1).err(), Some(Errno::BADF));
    }

    #[test]
    fn a_change_shows_in_the_state_of_a_file_that_had_settled() {
        let path = std::env::temp_dir().join(format!("ringer-state-{}", std::process::id()));
        let file = std::fs::File::create_new(&path).expect("a new file");
        std::fs::remove_file(&path).expect("it is there");
        let fd = file.as_raw_fd();
        let new = FileState::of(fd).expect("an open file");
        assert!(!new.is_settled && new.notes_access);
        std::thread::sleep(std::time::Duration::from_nanos(2 * TICKS as u64));
        let settled = FileState::of(fd).expect("an open file");
        assert!(settled.is_settled && settled.is_unchanged_since(&new));
        file.set_len(100).expect("it can grow");
        file.set_len(0).expect("it can shrink");
        assert!(!FileState::of(fd).expect("an open file").is_unchanged_since(&settled));
        assert_eq!(FileState::of(-1), None);
        assert!(is_direct(-1) && !is_direct(fd));
    }
}
