//! What stays of the program's files when a request is done: watches, and files that are read from often.
//!
//! A request that waits for a file has a [`watch`](crate::watch) of it. To make one for each wait and to undo it costs more than the
//! transfer that is waited for. So a watch is *parked*: its ring keeps it for the next request on the same descriptor.
//!
//! A file that is read from often is kept as if it were registered, to be mapped (see [`mapped_reads`](crate::mapped_reads)).
//!
//! What is parked keeps the program's file open, so that it must go when the program closes its descriptor. That is
//! known only where somebody tells ([`Parking::closing`]), as the preload library does: nothing is parked elsewhere. A close that
//! nobody told of is found before the next use, as the kernel is asked whether both are one file. What is not used for
//! [`IDLE`] is given up by the background thread: a waiter that looked after it would need a timer for each wait.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ringer_sys::same_file::same_file_by_query;
use ringer_sys::thread::Lock;

use crate::files::{RegisteredFile, Release};
use crate::ring::Ring;
use crate::system::System;
use crate::watch::Watch;

/// A watch that stays parked for longer than this, up to twice as long, is given up.
pub(crate) const IDLE: Duration = Duration::from_millis(20);

/// A file is kept after so many reads, or runs of them.
const READS_BEFORE: u32 = 8;
/// The most files that are kept.
const MOST_FILES: usize = 64;

/// Descriptor numbers share a count of closes with others that are this far away.
const NUMBERS: usize = 256;

/// How often descriptors of one number were closed. Equal counts at two times: not closed between them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Closes(u32);

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
    /// The rings that keep a watch.
    watches: HashMap<RawFd, Vec<Weak<Ring>>>,
    files: HashMap<RawFd, KeptFile>,
    /// Reads of descriptors, each in the place of its number.
    reads: HashMap<usize, (RawFd, u32)>,
    /// How often the background thread looked for what is not used.
    sweeps: u32,
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
    /// The background thread will look, or look again, for what is not used.
    is_swept: AtomicBool,
    parked: Lock<Parked>,
}

impl Default for Parking {
    fn default() -> Self {
        Self {
            enabled: AtomicBool::new(false),
            count: AtomicUsize::new(0),
            closes: [const { AtomicU32::new(0) }; NUMBERS],
            is_swept: AtomicBool::new(false),
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
        // SeqCst: see `park`.
        Closes(self.closes[fd as usize % NUMBERS].load(Ordering::SeqCst))
    }

    /// The program is about to close this descriptor, or to put another file there. Returns whether [`forget`](Self::forget) must
    /// be called for it.
    #[inline]
    pub(crate) fn closing(&self, fd: RawFd) -> bool {
        if !self.enabled.load(Ordering::Relaxed) || fd < 0 {
            return false;
        }
        // SeqCst, both: see `park`.
        self.closes[fd as usize % NUMBERS].fetch_add(1, Ordering::SeqCst);
        self.count.load(Ordering::SeqCst) > 0
    }

    /// [`closing`](Self::closing) for a range of numbers.
    pub(crate) fn closing_range(&self, first: u32, last: u32) -> bool {
        if first > last || !self.enabled.load(Ordering::Relaxed) {
            return false;
        }
        for number in first..=last.min(first.saturating_add(NUMBERS as u32 - 1)) {
            self.closes[number as usize % NUMBERS].fetch_add(1, Ordering::SeqCst);
        }
        self.count.load(Ordering::SeqCst) > 0
    }

    /// Gives up what is parked for a descriptor.
    pub(crate) fn forget(&self, fd: RawFd) {
        let (rings, file) = {
            let mut parked = self.parked.lock();
            let rings = parked.watches.remove(&fd).unwrap_or_default();
            let file = parked.files.remove(&fd);
            self.count.fetch_sub(rings.len() + usize::from(file.is_some()), Ordering::Relaxed);
            (rings, file)
        };
        for ring in rings.iter().filter_map(Weak::upgrade) {
            ring.unlink_watch(fd);
        }
        drop(file);
    }

    /// Gives up what is parked for a range of descriptors, both ends included.
    pub(crate) fn forget_range(&self, first: u32, last: u32) {
        let is_meant = |fd: RawFd| (first..=last).contains(&(fd as u32));
        let (rings, files) = {
            let mut parked = self.parked.lock();
            let meant: Vec<RawFd> = parked.watches.keys().copied().filter(|fd| is_meant(*fd)).collect();
            let rings: Vec<_> = meant.iter().filter_map(|fd| parked.watches.remove(fd)).flatten().collect();
            self.count.fetch_sub(rings.len(), Ordering::Relaxed);
            (rings, self.take_files(&mut parked, |fd, _| is_meant(fd)))
        };
        for ring in distinct(&rings) {
            ring.unlink_watches(is_meant);
        }
        drop(files);
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
            // Whoever leaves something idle from now on may be overlooked, and asks for another one.
            self.is_swept.store(false, Ordering::SeqCst);
            let rings = distinct(parked.watches.values().flatten());
            // Under the lock, so that who parks a watch meanwhile is not overlooked.
            let watches: Vec<_> = rings.into_iter().map(|ring| (ring.sweep_watches(), ring)).collect();
            let has_idle = watches.iter().any(|((_, has_idle), _)| *has_idle);
            let before: usize = parked.watches.values().map(Vec::len).sum();
            for ((gone, _), ring) in &watches {
                for number in gone.iter().filter_map(Watch::number) {
                    if let Some(rings) = parked.watches.get_mut(&number) {
                        rings.retain(|one| !std::ptr::eq(one.as_ptr(), Arc::as_ptr(ring)));
                    }
                }
            }
            parked.watches.retain(|_, rings| {
                rings.retain(|ring| ring.strong_count() > 0);
                !rings.is_empty()
            });
            let after: usize = parked.watches.values().map(Vec::len).sum();
            self.count.fetch_sub(before - after, Ordering::Relaxed);
            let latest = parked.sweeps;
            let files = self.take_files(&mut parked, |_, kept| kept.sweep != latest);
            parked.sweeps = latest.wrapping_add(1);
            let again = has_idle || !parked.files.is_empty();
            if again {
                self.is_swept.store(true, Ordering::SeqCst);
            }
            (watches, files, again)
        };
        for ((watches, _), ring) in watches {
            ring.end_watches(watches);
        }
        drop(files);
        again
    }

    /// The file of a descriptor that is read from often, kept as if it were registered. Whether the descriptor is still of that
    /// file must be [asked](Self::is_still). `None`: none is kept, or not yet.
    #[inline]
    pub(crate) fn file(&self, fd: RawFd) -> Option<Arc<RegisteredFile>> {
        if self.enabled.load(Ordering::Relaxed) && fd >= 0 { self.kept_file(fd) } else { None }
    }

    fn kept_file(&self, fd: RawFd) -> Option<Arc<RegisteredFile>> {
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
        let is_same = same_file_by_query(file.fd(), fd) == Some(true);
        if !is_same {
            self.forget(fd);
        }
        is_same
    }

    fn keep(&self, fd: RawFd) -> Option<Arc<RegisteredFile>> {
        let closes = self.closes(fd);
        let file = Arc::new(RegisteredFile::duplicate(fd, Release::silent()).ok()?);
        // Where nobody can say whether it is still the same file it is of no use. It is asked again after as many reads.
        if same_file_by_query(file.fd(), fd) != Some(true) {
            self.parked.lock().reads.remove(&(fd as usize % NUMBERS));
            return None;
        }
        {
            let mut parked = self.parked.lock();
            let sweep = parked.sweeps;
            if self.closes(fd) != closes || parked.files.contains_key(&fd) {
                return None;
            }
            parked.files.insert(fd, KeptFile { file: Arc::clone(&file), sweep });
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        self.note_idle();
        Some(file)
    }

    /// Something is kept that nobody uses just now: it is to be given up in a while.
    pub(crate) fn note_idle(&self) {
        // SeqCst, with `sweep`: either it finds what is idle, or this finds that it does not look again.
        if !self.is_swept.load(Ordering::SeqCst) && !self.is_swept.swap(true, Ordering::SeqCst) {
            System::global().background().sweep();
        }
    }

    /// There is no thread to sweep: the next one to leave something idle asks for it again.
    pub(crate) fn is_not_swept(&self) {
        self.is_swept.store(false, Ordering::SeqCst);
    }

    /// The ring has a watch of descriptor `fd`, to be kept from now on. False if the descriptor was closed meanwhile, or nobody tells of
    /// that: it must not be kept then.
    pub(crate) fn park(&self, ring: &Arc<Ring>, fd: RawFd, closes: Closes) -> bool {
        if !self.enabled.load(Ordering::Relaxed) {
            return false;
        }
        {
            let mut parked = self.parked.lock();
            // Whoever closes it from now on finds the ring here.
            let rings = parked.watches.entry(fd).or_default();
            if !rings.iter().any(|one| std::ptr::eq(one.as_ptr(), Arc::as_ptr(ring))) {
                rings.push(Arc::downgrade(ring));
                // SeqCst, as in `closing` and `closes`: whoever closes the descriptor sees this, or is seen below to have done so.
                self.count.fetch_add(1, Ordering::SeqCst);
            }
        }
        self.closes(fd) == closes
    }

    /// In a child after fork: what is parked is the parent's.
    pub(crate) fn after_fork_in_child(&self) {
        // Held by another thread at the time of the fork, it stays held, and nothing is parked here any more.
        match self.parked.try_lock() {
            Some(mut parked) => *parked = Parked::default(),
            None => self.enabled.store(false, Ordering::Relaxed),
        }
        self.count.store(0, Ordering::Relaxed);
        self.is_not_swept();
    }
}

/// The rings that are still there, each once.
fn distinct<'a>(rings: impl IntoIterator<Item = &'a Weak<Ring>>) -> Vec<Arc<Ring>> {
    // There are few rings, each with many descriptors.
    let mut found: Vec<Arc<Ring>> = Vec::new();
    for ring in rings {
        if !found.iter().any(|one| std::ptr::eq(Arc::as_ptr(one), ring.as_ptr())) {
            found.extend(ring.upgrade());
        }
    }
    found
}
