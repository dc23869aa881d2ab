//! The reserved descriptor range: where ring descriptors and the engine's own descriptors live.
//!
//! A high range keeps the engine out of the program's way: the program gets the low numbers it
//! would get natively, its loops over `0..sysconf(_SC_OPEN_MAX)` rarely reach us, and the
//! seccomp filter tells ring descriptors from others by two comparisons.

use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{MutexGuard, OnceLock};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::thread::Lock;

/// The two halves of the reserved range. Decided once per process, on first use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReservedRange {
    /// Descriptors that the program holds: rings.
    pub rings: Range<RawFd>,
    /// Descriptors of the engine: duplicates of files, epoll instances, eventfds.
    pub engine: Range<RawFd>,
}

impl ReservedRange {
    /// Both halves together.
    pub fn all(&self) -> Range<RawFd> {
        self.rings.start..self.engine.end
    }
}

/// Where the range starts when the hard limit leaves room above the soft one.
const HIGH_BASE: u64 = 1 << 15;
const RINGS_AT_MOST: u64 = 1 << 14;
const ENGINE_AT_MOST: u64 = 1 << 17;

/// The reserved range of this process.
///
/// It lies above the soft limit on open files where the hard limit allows it (a descriptor above
/// the limit stays valid, only new numbers are bounded by it), else in the upper part of the limit. Where that is scarce, the
/// engine has a third of all numbers and the rings the half below: the program's own files may lie among the rings then.
pub fn reserved() -> &'static ReservedRange {
    static RANGE: OnceLock<ReservedRange> = OnceLock::new();
    RANGE.get_or_init(|| {
        let limit = getrlimit(Resource::Nofile);
        let soft = limit.current.unwrap_or(1 << 20);
        let hard = limit.maximum.unwrap_or(1 << 20);
        choose(soft, hard)
    })
}

fn choose(soft: u64, hard: u64) -> ReservedRange {
    let above = if hard > HIGH_BASE * 2 && soft <= HIGH_BASE {
        Some(HIGH_BASE)
    } else {
        (hard >= soft * 2).then_some(soft)
    };
    let (start, rings, engine) = match above {
        Some(start) => {
            let room = hard - start;
            let rings = (room / 3).min(RINGS_AT_MOST);
            (start, rings, (room - rings).min(ENGINE_AT_MOST))
        }
        None => {
            let rings = (soft / 2 + soft / 64).min(RINGS_AT_MOST);
            let engine = (soft / 3).min(ENGINE_AT_MOST);
            ((soft - rings - engine).min(soft / 2), rings, engine)
        }
    };
    let (start, middle, end) = (start as RawFd, (start + rings) as RawFd, (start + rings + engine) as RawFd);
    ReservedRange { rings: start..middle, engine: middle..end }
}

/// Moves a descriptor to the lowest free number of the ring half, close-on-exec.
///
/// # Errors
/// `EMFILE` when the half is full.
pub fn into_ring_range(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    grow_table(&fd);
    duplicate_within(fd.as_raw_fd(), &reserved().rings)
}

/// Lets the kernel's table of descriptors grow as far as rings will need it, where that was not done. For a process that has one
/// thread still: it takes some ten microseconds there.
pub fn prepare() {
    // Without a descriptor to try it with, the first ring will.
    if let Ok(any) = eventfd(0, EventfdFlags::CLOEXEC) {
        grow_table(&any);
    }
}

fn grow_table(any: &OwnedFd) {
    // Relaxed: a table that two threads let grow has grown once.
    if !TABLE_HAS_GROWN.swap(true, Ordering::Relaxed) {
        // If there is no room there, whoever needs it will be told so.
        drop(duplicate_for_engine(any.as_raw_fd()));
    }
}

/// Whether the kernel's table of descriptors reaches into the engine half. In a process with several threads each growth takes
/// ten milliseconds and more (the kernel waits for all who look at the old table), so that it is to grow once.
static TABLE_HAS_GROWN: AtomicBool = AtomicBool::new(false);

/// To be called in the child after `fork`: its table is as small as its open descriptors allow.
pub fn after_fork_in_child() {
    TABLE_HAS_GROWN.store(false, Ordering::Relaxed);
}

/// Another descriptor of a ring, for the program to hold.
///
/// # Errors
/// `EBADF` when `fd` is not open, `EMFILE` when the half is full.
pub fn duplicate_ring(fd: RawFd) -> Result<OwnedFd, Errno> {
    duplicate_within(fd, &reserved().rings)
}

/// Makes a descriptor of the engine, in the engine half, close-on-exec. `make` does not wait, and may be called again.
///
/// # Errors
/// Those of `make`, `EMFILE` when the half is full.
pub fn of_engine(make: impl Fn() -> Result<OwnedFd, Errno>) -> Result<OwnedFd, Errno> {
    duplicate_within(make_for_engine(make)?.as_raw_fd(), &reserved().engine)
}

/// Duplicates a descriptor of the program into the engine half: a request that outlives `enter`
/// owns its file by such a duplicate.
///
/// # Errors
/// `EBADF` when `fd` is not open, `EMFILE` when the half is full.
pub fn duplicate_for_engine(fd: RawFd) -> Result<OwnedFd, Errno> {
    duplicate_within(fd, &reserved().engine)
}

/// Makes descriptors that will be moved to the engine half, also where the program has used up its own numbers. `make` does not
/// wait: the limit is a higher one meanwhile.
///
/// # Errors
/// Those of `make`.
pub fn make_for_engine<T>(make: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
    match make() {
        Err(Errno::MFILE) => with_raised_limit(reserved().engine.end, make),
        other => other,
    }
}

/// Whether a descriptor is an eventfd.
///
/// # Errors
/// `EBADF` when it is not open.
pub fn is_eventfd(fd: RawFd) -> Result<bool, Errno> {
    const F_GETFD: u32 = 1;
    crate::call::fcntl(fd, F_GETFD, 0)?;
    // Without /proc it is taken for one; writing to it will tell.
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}"));
    Ok(link.map_or(true, |link| link.as_os_str() == "anon_inode:[eventfd]"))
}

fn duplicate_within(fd: RawFd, range: &Range<RawFd>) -> Result<OwnedFd, Errno> {
    let duplicate = match duplicate_from(fd, range.start) {
        // `EINVAL`: the range starts above the soft limit.
        Err(Errno::INVAL) => with_raised_limit(range.end, || duplicate_from(fd, range.start))?,
        // `EMFILE`: the numbers below the soft limit are used up, others may not be.
        Err(Errno::MFILE) => with_raised_limit(range.end, || duplicate_from(fd, range.start))?,
        other => other?,
    };
    if duplicate.as_raw_fd() >= range.end { Err(Errno::MFILE) } else { Ok(duplicate) }
}

fn duplicate_from(fd: RawFd, lowest: RawFd) -> Result<OwnedFd, Errno> {
    const F_DUPFD_CLOEXEC: usize = 1030;
    let new = crate::call::fcntl(fd, F_DUPFD_CLOEXEC as u32, lowest as usize)?;
    // SAFETY: fcntl(F_DUPFD_CLOEXEC) has just made this descriptor; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(new as RawFd) })
}

/// Runs `action` with the soft limit on open files raised to `at_least`, then puts it back.
///
/// Other threads may see the higher limit for the moment this takes.
fn with_raised_limit<T>(at_least: RawFd, action: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    let _alone = take_limit();
    let before = getrlimit(Resource::Nofile);
    let wanted = at_least as u64;
    if before.current.is_none_or(|soft| soft >= wanted) {
        return action();
    }
    let raised =
        Rlimit { current: before.maximum.map_or(Some(wanted), |hard| Some(wanted.min(hard))), ..before };
    setrlimit(Resource::Nofile, raised)?;
    let result = action();
    // The limit was read from this process, so that it can be set again; a failure would leave it higher, which harms nobody.
    let _ = setrlimit(Resource::Nofile, before);
    result
}

/// The right to change the limit: two threads at a time would take each other's limit for the program's, and put that back.
fn take_limit() -> Option<MutexGuard<'static, ()>> {
    /// Some milliseconds. The child of a fork may find it taken by a thread that it does not have.
    const MOST_LOOKS: usize = 10_000;
    static TAKEN: Lock<()> = Lock::new(());
    (0..MOST_LOOKS).find_map(|_| {
        let taken = TAKEN.try_lock();
        if taken.is_none() {
            std::thread::yield_now();
        }
        taken
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_lies_above_an_ordinary_soft_limit() {
        let range = choose(1024, 524_288);
        assert_eq!(range.rings.start, 32768);
        assert!(range.engine.end <= 524_288);
    }

    #[test]
    fn the_range_stays_inside_equal_limits() {
        for limit in [256, 1024, 20_000, 1 << 20] {
            let range = choose(limit, limit);
            assert!(range.rings.start as u64 >= limit / 7 && range.engine.end as u64 <= limit, "{range:?}");
            assert!(range.rings.len() >= 40 && range.engine.len() >= 40, "{range:?}");
            assert!(range.rings.len() as u64 > (limit / 2).min(10_000), "{range:?}");
        }
    }

    #[test]
    fn a_duplicate_lands_in_the_engine_half() {
        let (read, _write) = rustix::pipe::pipe().expect("a pipe");
        let duplicate = duplicate_for_engine(read.as_raw_fd()).expect("room in the range");
        assert!(reserved().engine.contains(&duplicate.as_raw_fd()));
        assert_eq!(duplicate_for_engine(-1).err(), Some(Errno::BADF));
    }

    #[test]
    fn the_limit_stays_what_the_program_made_of_it() {
        let before = getrlimit(Resource::Nofile);
        let (read, _write) = rustix::pipe::pipe().expect("a pipe");
        let low = (reserved().rings.start as u64).min(256);
        setrlimit(Resource::Nofile, Rlimit { current: Some(low), ..before })
            .expect("a lower limit is allowed");
        std::thread::scope(|scope| {
            for half in [duplicate_for_engine, duplicate_ring, duplicate_for_engine, duplicate_ring] {
                let fd = read.as_raw_fd();
                scope.spawn(move || {
                    for _ in 0..2000 {
                        half(fd).expect("room in the range");
                    }
                });
            }
        });
        let after = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, before).expect("the limit it had");
        assert_eq!(after.current, Some(low));
    }
}
