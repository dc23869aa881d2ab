//! Registered files: the ring's own descriptors for files of the program.

use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock, Weak};

use ringer_ops::FileSlot;
use ringer_sys::call::FileKind;
use ringer_sys::thread::Lock;
use ringer_sys::{Errno, call, descriptor};

use crate::mapped_reads::MappedReads;
use crate::release::Duplicate;
use crate::ring::Ring;
use crate::system::System;
use crate::watch::{Watch, WatchId};

/// The most files one ring may register (`IORING_MAX_FIXED_FILES`).
pub(crate) const MOST_FILES: u32 = 1 << 20;

/// One registered file. Requests hold it too, so that it stays open until the last of them is done.
#[derive(Debug)]
pub(crate) struct RegisteredFile {
    fd: Arc<Duplicate>,
    /// The watches of it, in the rings where requests have waited for it.
    watches: Lock<Vec<(Weak<Ring>, WatchId)>>,
    status_flags: u32,
    /// Once an attempt has asked for it.
    kind: OnceLock<FileKind>,
    pub(crate) mapped: MappedReads,
    release: Release,
}

impl Drop for RegisteredFile {
    fn drop(&mut self) {
        for (ring, watch) in self.watches.get_mut().drain(..) {
            if let Some(ring) = ring.upgrade() {
                ring.end_watch(watch);
            }
        }
    }
}

impl RegisteredFile {
    /// Duplicates the program's descriptor.
    ///
    /// # Errors
    /// `EBADF` when it is not open or is a ring, `EMFILE`.
    pub(crate) fn duplicate(fd: RawFd, release: Release) -> Result<Self, (Errno, Release)> {
        // A ring in its own files would never be freed.
        if descriptor::reserved().engine.contains(&fd) || System::global().is_ring(fd) {
            return Err((Errno::BADF, release));
        }
        const O_PATH: u32 = 0o10000000;
        match Duplicate::of(fd).map(Self::open) {
            // A descriptor that is only a path counts as not open.
            Ok((_, flags)) if flags & O_PATH != 0 => Err((Errno::BADF, release)),
            Ok(opened) => Ok(Self::new(opened, release)),
            Err(errno) => Err((errno, release)),
        }
    }

    /// Takes over a file that the engine opened.
    pub(crate) fn adopt(fd: Duplicate, release: Release) -> Self {
        Self::new(Self::open(fd), release)
    }

    fn new((fd, status_flags): (Duplicate, u32), release: Release) -> Self {
        let (watches, mapped) = (Lock::default(), MappedReads::default());
        Self { fd: Arc::new(fd), watches, status_flags, kind: OnceLock::new(), mapped, release }
    }

    /// The watch of it in a ring, which a request has from now on.
    pub(crate) fn join_watch(&self, ring: &Arc<Ring>) -> WatchId {
        let mut watches = self.watches.lock();
        let of_ring = watches.iter().find(|(other, _)| std::ptr::eq(other.as_ptr(), Arc::as_ptr(ring)));
        if let Some((_, watch)) = of_ring
            && ring.inflight.lock().watches.join(*watch)
        {
            return *watch;
        }
        let (watch, _) = ring.inflight.lock().watches.insert(Watch::new(Arc::clone(&self.fd), None));
        watches.push((Arc::downgrade(ring), watch));
        watch
    }

    /// In a child after fork: the watches are the parent's.
    pub(crate) fn forget_watches(&self) {
        // Held by another thread at the time of the fork, they are not touched any more.
        if let Some(mut watches) = self.watches.try_lock() {
            watches.clear();
        }
    }

    /// In a child after fork, of a request that is the parent's: closes it if nobody else has it there. The parent tells of its end.
    pub(crate) fn abandon(this: Arc<Self>) {
        this.forget_watches();
        if let Some(mut file) = Arc::into_inner(this) {
            file.silence();
            let duplicate = Arc::clone(&file.fd);
            drop(file);
            Duplicate::abandon(duplicate);
        }
    }

    fn open(fd: Duplicate) -> (Duplicate, u32) {
        let status_flags = call::status_flags(fd.raw()).unwrap_or(0);
        (fd, status_flags)
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.fd.raw()
    }

    /// The status flags at registration. `O_DIRECT` and `O_NONBLOCK` rarely change afterwards, but can:
    /// only a hint for which attempt to make first.
    pub(crate) fn status_flags(&self) -> u32 {
        self.status_flags
    }

    /// What kind of file it is, as far as anybody has asked.
    pub(crate) fn kind(&self) -> Option<FileKind> {
        self.kind.get().copied()
    }

    /// Somebody has found out what kind of file it is.
    pub(crate) fn note_kind(&self, kind: FileKind) {
        // It stays the same, whoever was first.
        let _ = self.kind.set(kind);
    }

    /// Whether its end is told by a CQE.
    pub(crate) fn is_tagged(&self) -> bool {
        self.release.is_tagged()
    }

    /// Its tag will not be posted.
    pub(crate) fn silence(&mut self) {
        self.release.silence();
    }
}

/// Posts a registered resource's tag when the last user of the resource is gone.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) tag: u64,
    pub(crate) ring: Weak<Ring>,
}

impl Release {
    /// Nothing to be told.
    pub(crate) const fn silent() -> Self {
        Self { tag: 0, ring: Weak::new() }
    }

    /// Whether there is something to be told.
    pub(crate) fn is_tagged(&self) -> bool {
        self.tag != 0
    }

    /// Nothing to be told after all.
    pub(crate) fn silence(&mut self) {
        self.tag = 0;
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        if self.tag != 0
            && let Some(ring) = self.ring.upgrade()
        {
            ring.post_tag(self.tag);
        }
    }
}

/// The ring's table of registered files.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileTable {
    slots: Option<Vec<Option<Arc<RegisteredFile>>>>,
    /// Where slots are allocated from.
    range: (u32, u32),
    hint: u32,
}

impl FileTable {
    /// # Errors
    /// `EBUSY` when files are registered already.
    pub(crate) fn register(&mut self, slots: Vec<Option<Arc<RegisteredFile>>>) -> Result<(), Errno> {
        if self.slots.is_some() {
            return Err(Errno::BUSY);
        }
        self.range = (0, slots.len() as u32);
        self.hint = 0;
        self.slots = Some(slots);
        Ok(())
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.slots.is_some()
    }

    /// Takes all files out, to be dropped once no lock is held.
    ///
    /// # Errors
    /// `ENXIO` when no files are registered.
    pub(crate) fn unregister(&mut self) -> Result<Vec<Option<Arc<RegisteredFile>>>, Errno> {
        self.slots.take().ok_or(Errno::NXIO)
    }

    /// How many slots there are.
    ///
    /// # Errors
    /// `ENXIO` when no files are registered.
    pub(crate) fn len(&self) -> Result<u32, Errno> {
        self.slots.as_ref().map(|slots| slots.len() as u32).ok_or(Errno::NXIO)
    }

    /// All registered files.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<RegisteredFile>> {
        self.slots.iter().flatten().flatten()
    }

    pub(crate) fn get(&self, index: u32) -> Option<Arc<RegisteredFile>> {
        self.slots.as_ref()?.get(index as usize)?.clone()
    }

    /// Puts a file into a slot, or empties it. Returns what was there, to be dropped once no lock is held.
    ///
    /// # Errors
    /// `ENXIO` without registered files, `EINVAL` beyond them.
    pub(crate) fn set(
        &mut self,
        index: u32,
        file: Option<Arc<RegisteredFile>>,
    ) -> Result<Option<Arc<RegisteredFile>>, Errno> {
        let slots = self.slots.as_mut().ok_or(Errno::NXIO)?;
        let slot = slots.get_mut(index as usize).ok_or(Errno::INVAL)?;
        // The next search starts behind a slot that was filled, and at one that was emptied.
        match (slot.is_some(), file.is_some()) {
            (false, true) => self.hint = index + 1,
            (true, false) => self.hint = index,
            _ => {}
        }
        Ok(std::mem::replace(slot, file))
    }

    /// Restricts allocation to `start..start + count`. Source: `io_uring_register_file_alloc_range.3`.
    ///
    /// # Errors
    /// `EINVAL` when the range leaves the table, `ENXIO` without one.
    pub(crate) fn set_range(&mut self, start: u32, count: u32) -> Result<(), Errno> {
        let end = start.checked_add(count).ok_or(Errno::OVERFLOW)?;
        if end > self.slots.as_ref().map_or(0, |slots| slots.len() as u32) {
            return Err(Errno::INVAL);
        }
        self.range = (start, end);
        self.hint = start;
        Ok(())
    }

    /// Finds the slot that a file is to go into.
    ///
    /// # Errors
    /// `ENXIO` without registered files, `EINVAL` beyond them, `ENFILE` when none is free.
    pub(crate) fn choose(&mut self, slot: FileSlot) -> Result<u32, Errno> {
        // Without a table there is no free slot, either.
        let missing = if slot == FileSlot::Allocate { Errno::NFILE } else { Errno::NXIO };
        let slots = self.slots.as_ref().ok_or(missing)?;
        match slot {
            FileSlot::Index(index) if (index as usize) < slots.len() => Ok(index),
            FileSlot::Index(_) => Err(Errno::INVAL),
            FileSlot::Allocate => {
                let (start, end) = self.range;
                let hint = self.hint.clamp(start, end);
                let free = (hint..end).chain(start..hint).find(|index| slots[*index as usize].is_none());
                let index = free.ok_or(Errno::NFILE)?;
                self.hint = index + 1;
                Ok(index)
            }
        }
    }
}
