//! Whether two descriptors name the same open file.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use linux_raw_sys::general as nr;
use rustix::io::Errno;

use crate::call::{fcntl, raw};

/// Asks the kernel, in whichever way it can be asked. `None` where it cannot: before Linux 6.10, where `kcmp.2` is not allowed.
pub fn same_file(one: RawFd, other: RawFd) -> Option<bool> {
    same_file_by_query(one, other).or_else(|| same_file_by_comparison(one, other))
}

/// Asks in the way that takes no longer than any short system call: by `F_DUPFD_QUERY` of `fcntl.2`. `None` before Linux 6.10.
pub fn same_file_by_query(one: RawFd, other: RawFd) -> Option<bool> {
    const F_DUPFD_QUERY: u32 = 1027;
    static IS_MISSING: AtomicBool = AtomicBool::new(false);
    // Relaxed: whoever does not see it yet finds out again.
    if IS_MISSING.load(Ordering::Relaxed) {
        return None;
    }
    match fcntl(one, F_DUPFD_QUERY, other as usize) {
        Ok(same) => Some(same == 1),
        Err(Errno::INVAL) => {
            IS_MISSING.store(true, Ordering::Relaxed);
            None
        }
        Err(_) => Some(false),
    }
}

/// Asks by `kcmp.2`, which takes about a microsecond.
fn same_file_by_comparison(one: RawFd, other: RawFd) -> Option<bool> {
    const KCMP_FILE: usize = 0;
    let process = rustix::process::getpid().as_raw_nonzero().get() as usize;
    // SAFETY: numbers only; nothing is changed.
    match unsafe { raw(nr::__NR_kcmp, [process, process, KCMP_FILE, one as usize, other as usize, 0]) } {
        Ok(order) => Some(order == 0),
        Err(Errno::BADF) => Some(false),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_duplicate_is_the_same_file_and_another_one_is_not() {
        let (read, write) = rustix::pipe::pipe().expect("a pipe");
        let duplicate = read.try_clone().expect("a duplicate");
        for way in [same_file, same_file_by_query, same_file_by_comparison] {
            let answers =
                [duplicate.as_raw_fd(), write.as_raw_fd(), -1].map(|other| way(read.as_raw_fd(), other));
            // A kernel that cannot be asked says so of all.
            assert!([[None; 3], [Some(true), Some(false), Some(false)]].contains(&answers), "{answers:?}");
        }
    }
}
