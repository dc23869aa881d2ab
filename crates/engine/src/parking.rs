//! What stays of the program's files when a request is done: watches, and files that are read from often.
//!
//! A request that waits for a file owns a duplicate of it, registered with its ring's epoll instance. To make both for each wait
//! and to undo them costs more than the transfer that is waited for. So they are *parked* for the next request
//! on the same descriptor. Their registration is one that has reported once and is silent since.
//!
//! A file that is read from often is kept as if it were registered, to be mapped (see [`mapped_reads`](crate::mapped_reads)).
//!
//! A parked duplicate keeps the program's file open, so that it must go when the program closes its descriptor. That is
//! known only where somebody tells ([`Parking::closing`]), as the preload library does: nothing is parked elsewhere. A close that
//! nobody told of is found before the next use, as the kernel is asked whether both are one file. What is not used for
//! [`IDLE`] is given up by the background thread: a waiter that looked after it would need a timer for each wait.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ringer_sys::thread::Lock;

use crate::cancel::same_file;
use crate::files::{RegisteredFile, Release};
use crate::ring::Ring;
use crate::system::System;

/// A watch that stays parked for longer than this, up to twice as long, is given up.
pub(crate) const IDLE: Duration = Duration::from_millis(20);

/// A file is kept after so many reads, or runs of them.
const READS_BEFORE: u32 = 8;
/// The most files that are kept.
const MOST_FILES: usize = 64;

/// Descriptor numbers share a count of closes with others that are this far away.
const NUMBERS: usize = 256;

/// How often descriptors of one number were closed. Equal counts at two times: not closed between them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Closes(u32);

#[derive(Debug)]
struct Watch {
    ring: Weak<Ring>,
    duplicate: OwnedFd,
    /// The sweep that it was parked after.
    sweep: u32,
}

/// A file that is read from often, as if it were registered.
#[derive(Debug)]
struct KeptFile {
    file: Arc<RegisteredFile>,
    /// The sweep that it was last used after.
    sweep: u32,
}

/// What is parked, by the descriptor of the program.
#[derive(Debug, Default)]
struct Parked {
    watches: HashMap<RawFd, Vec<Watch>>,
    files: HashMap<RawFd, KeptFile>,
    /// Reads of descriptors, each in the place of its number.
    reads: HashMap<usize, (RawFd, u32)>,
    /// How often the background thread looked for what is not used.
    sweeps: u32,
    /// It will look again.
    is_swept: bool,
}

impl Parked {
    /// Notes a read, or a run. Returns whether there were enough of this descriptor.
    fn is_read_often(&mut self, fd: RawFd) -> bool {
        let reads = self.reads.entry(fd as usize % NUMBERS).or_default();
        let count = if reads.0 == fd { reads.1 + 1 } else { 1 };
        *reads = (fd, count);
        count >= READS_BEFORE
    }
}

/// What is parked in the process.
#[derive(Debug)]
pub(crate) struct Parking {
    /// Whether closes are told.
    enabled: AtomicBool,
    count: AtomicUsize,
    closes: [AtomicU32; NUMBERS],
    parked: Lock<Parked>,
}

impl Default for Parking {
    fn default() -> Self {
        Self {
            enabled: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            closes: [const { AtomicU32::new(0) }; NUMBERS],
            parked: Lock::default(),
        }
    }
}

impl Parking {
    /// From now on somebody tells of closes.
    pub(crate) fn enable(&self) {
        // Relaxed: set by the library's constructor, before any ring.
        self.enabled.store(true, Ordering::Relaxed);
    }

    /// How often this number was closed so far.
    pub(crate) fn closes(&self, fd: RawFd) -> Closes {
        // Relaxed: a close beside this is the program's race.
        Closes(self.closes[fd as usize % NUMBERS].load(Ordering::Relaxed))
    }

    /// The program is about to close this descriptor, or to put another file there. Returns whether [`forget`](Self::forget) must
    /// be called for it.
    #[inline]
    pub(crate) fn closing(&self, fd: RawFd) -> bool {
        if !self.enabled.load(Ordering::Relaxed) || fd < 0 {
            return false;
        }
        self.closes[fd as usize % NUMBERS].fetch_add(1, Ordering::Relaxed);
        self.count.load(Ordering::Relaxed) > 0
    }

    /// [`closing`](Self::closing) for a range of numbers.
    pub(crate) fn closing_range(&self, first: u32, last: u32) -> bool {
        if first > last || !self.enabled.load(Ordering::Relaxed) {
            return false;
        }
        for number in first..=last.min(first.saturating_add(NUMBERS as u32 - 1)) {
            self.closes[number as usize % NUMBERS].fetch_add(1, Ordering::Relaxed);
        }
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Gives up what is parked for a descriptor.
    pub(crate) fn forget(&self, fd: RawFd) {
        let (watches, file) = {
            let mut parked = self.parked.lock();
            let watches = parked.watches.remove(&fd).unwrap_or_default();
            let file = parked.files.remove(&fd);
            self.count.fetch_sub(watches.len() + usize::from(file.is_some()), Ordering::Relaxed);
            (watches, file)
        };
        watches.into_iter().for_each(Watch::end);
        drop(file);
    }

    /// Gives up what is parked for a range of descriptors, both ends included.
    pub(crate) fn forget_range(&self, first: u32, last: u32) {
        let is_meant = |fd: RawFd| (first..=last).contains(&(fd as u32));
        let (watches, files) = {
            let mut parked = self.parked.lock();
            let watches = self.take_watches(&mut parked, |fd, _| is_meant(fd));
            (watches, self.take_files(&mut parked, |fd, _| is_meant(fd)))
        };
        watches.into_iter().for_each(Watch::end);
        drop(files);
    }

    fn take_watches(&self, parked: &mut Parked, is_meant: impl Fn(RawFd, &Watch) -> bool) -> Vec<Watch> {
        let mut gone = Vec::new();
        parked.watches.retain(|fd, watches| {
            gone.extend(watches.extract_if(.., |watch| is_meant(*fd, watch)));
            !watches.is_empty()
        });
        self.count.fetch_sub(gone.len(), Ordering::Relaxed);
        gone
    }

    fn take_files(
        &self,
        parked: &mut Parked,
        is_meant: impl Fn(RawFd, &KeptFile) -> bool,
    ) -> Vec<(RawFd, KeptFile)> {
        let meant: Vec<RawFd> =
            parked.files.iter().filter(|(fd, kept)| is_meant(**fd, kept)).map(|(fd, _)| *fd).collect();
        let gone: Vec<_> = meant.into_iter().filter_map(|fd| parked.files.remove_entry(&fd)).collect();
        self.count.fetch_sub(gone.len(), Ordering::Relaxed);
        gone
    }

    /// Gives up what was not used since the last sweep. Returns whether there must be another one, after [`IDLE`].
    pub(crate) fn sweep(&self) -> bool {
        let (watches, files, again) = {
            let mut parked = self.parked.lock();
            let latest = parked.sweeps;
            let watches = self.take_watches(&mut parked, |_, watch| watch.sweep != latest);
            let files = self.take_files(&mut parked, |_, kept| kept.sweep != latest);
            parked.sweeps = latest.wrapping_add(1);
            parked.is_swept = !parked.watches.is_empty() || !parked.files.is_empty();
            (watches, files, parked.is_swept)
        };
        watches.into_iter().for_each(Watch::end);
        drop(files);
        again
    }

    /// The file of a descriptor that is read from often, kept as if it were registered. Whether the descriptor is still of that
    /// file must be [asked](Self::is_still). `None`: none is kept, or not yet.
    pub(crate) fn file(&self, fd: RawFd) -> Option<Arc<RegisteredFile>> {
        if !self.enabled.load(Ordering::Relaxed) || fd < 0 {
            return None;
        }
        {
            let mut parked = self.parked.lock();
            let latest = parked.sweeps;
            if let Some(kept) = parked.files.get_mut(&fd) {
                kept.sweep = latest;
                return Some(Arc::clone(&kept.file));
            }
            if !parked.is_read_often(fd) || parked.files.len() >= MOST_FILES {
                return None;
            }
        }
        self.keep(fd)
    }

    /// Whether a descriptor is of a kept file. If not, the file is given up.
    pub(crate) fn is_still(&self, fd: RawFd, file: &RegisteredFile) -> bool {
        let is_same = same_file(file.fd(), fd) == Some(true);
        if !is_same {
            self.forget(fd);
        }
        is_same
    }

    fn keep(&self, fd: RawFd) -> Option<Arc<RegisteredFile>> {
        let closes = self.closes(fd);
        let file = Arc::new(RegisteredFile::duplicate(fd, Release::silent()).ok()?);
        // Where nobody can say whether it is still the same file it is of no use. It is asked again after as many reads.
        if same_file(file.fd(), fd) != Some(true) {
            self.parked.lock().reads.remove(&(fd as usize % NUMBERS));
            return None;
        }
        let is_swept = {
            let mut parked = self.parked.lock();
            let sweep = parked.sweeps;
            if self.closes(fd) != closes || parked.files.contains_key(&fd) {
                return None;
            }
            parked.files.insert(fd, KeptFile { file: Arc::clone(&file), sweep });
            self.count.fetch_add(1, Ordering::Relaxed);
            std::mem::replace(&mut parked.is_swept, true)
        };
        if !is_swept {
            System::global().background().sweep_parking();
        }
        Some(file)
    }

    /// There is no thread to sweep: the next one to park something asks for it again.
    pub(crate) fn is_not_swept(&self) {
        self.parked.lock().is_swept = false;
    }

    /// Parks a request's duplicate of descriptor `fd`, unless that was closed meanwhile. Gives it back then.
    pub(crate) fn park(
        &self,
        ring: &Arc<Ring>,
        fd: RawFd,
        closes: Closes,
        duplicate: OwnedFd,
    ) -> Option<OwnedFd> {
        if !self.enabled.load(Ordering::Relaxed) || self.closes(fd) != closes {
            return Some(duplicate);
        }
        let is_swept = {
            let mut parked = self.parked.lock();
            let sweep = parked.sweeps;
            let watches = parked.watches.entry(fd).or_default();
            if watches.iter().any(|watch| watch.is_of(ring)) {
                return Some(duplicate);
            }
            watches.push(Watch { ring: Arc::downgrade(ring), duplicate, sweep });
            std::mem::replace(&mut parked.is_swept, true)
        };
        self.count.fetch_add(1, Ordering::Relaxed);
        ring.reactor.parked.fetch_add(1, Ordering::Relaxed);
        if !is_swept {
            System::global().background().sweep_parking();
        }
        None
    }

    /// Takes a parked duplicate for a request on descriptor `fd`, if that is still the same file.
    pub(crate) fn take(&self, ring: &Arc<Ring>, fd: RawFd) -> Option<OwnedFd> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let watch = {
            let mut parked = self.parked.lock();
            let watches = parked.watches.get_mut(&fd)?;
            let position = watches.iter().position(|watch| watch.is_of(ring))?;
            self.count.fetch_sub(1, Ordering::Relaxed);
            watches.swap_remove(position)
        };
        if same_file(watch.duplicate.as_raw_fd(), fd) == Some(true) {
            ring.reactor.parked.fetch_sub(1, Ordering::Relaxed);
            return Some(watch.duplicate);
        }
        watch.end();
        None
    }

    /// Gives up what a ring has parked.
    pub(crate) fn forget_ring(&self, ring: &Arc<Ring>) {
        if ring.reactor.parked.load(Ordering::Relaxed) == 0 {
            return;
        }
        let gone = self.take_watches(&mut self.parked.lock(), |_, watch| watch.is_of(ring));
        gone.into_iter().for_each(Watch::end);
    }

    /// In a child after fork: the registrations are the parent's. Only the duplicates are given up.
    pub(crate) fn after_fork_in_child(&self) {
        // Held by another thread at the time of the fork, it stays held, and nothing is parked here any more.
        match self.parked.try_lock() {
            Some(mut parked) => *parked = Parked::default(),
            None => self.enabled.store(false, Ordering::Relaxed),
        }
        self.count.store(0, Ordering::Relaxed);
    }
}

impl Watch {
    fn is_of(&self, ring: &Arc<Ring>) -> bool {
        std::ptr::eq(self.ring.as_ptr(), Arc::as_ptr(ring))
    }

    /// Takes it out of its ring's instance: a duplicate elsewhere would keep the registration alive.
    fn end(self) {
        if let Some(ring) = self.ring.upgrade() {
            ring.reactor.parked.fetch_sub(1, Ordering::Relaxed);
            ring.reactor.forget(&self.duplicate);
        }
    }
}
