//! Cached reads as copies from a mapping of the file: no system call for each.
//!
//! Registered files are mapped, and those of which many reads are seen ([`parking`](crate::parking)). What is served so has the result that a
//! read has:
//! - **The end of the file**, and a change meanwhile: the file is looked at after the copies (`fstat.2`). They count when it is as it
//!   was before: its size and its times are. Shortly after a change its times say too little: then a run of reads is worth a look
//!   before it, too, and what did not lie inside the file both times is read by a call. A page that went away
//!   under a copy raises SIGBUS, and is read by a call.
//! - **Errors**, of the device or of the program's memory: the copy faults, and the call that is made instead tells which.
//! - **Direct I/O** refuses what is not aligned: it is asked for where something is not, since a program may switch it on later.
//! - **The time of the last access**: where a read would change it (`relatime`), a call is made.
//! - **Concurrent writes**: a copy may see a part of one, as a read of these file systems may. Others are left out.
//!
//! What is not the same: watchers of accesses (`IN_ACCESS` of `inotify.7`) hear nothing.
//!
//! What is not in memory must not be waited for. A copy cannot be told so: it is *believed* of a part of the file that it is in memory
//! when that was so not long ago (`mincore.2`). A belief that is wrong makes the submitter wait for the device, once: then all beliefs
//! of the file are given up.

use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ringer_abi::{Opcode, Sqe, SqeFlags};
use ringer_ops::Patience;
use ringer_sys::mapped_file::{self, FileState, MappedFile};
use ringer_sys::thread::Lock;
use ringer_sys::{UserAddress, user};

use crate::coalesce;
use crate::files::RegisteredFile;
use crate::latency;
use crate::system::System;
use crate::turn::Turn;

/// Reads, or runs of them, before a file is worth a mapping.
const READS_BEFORE: u32 = 64;
/// The shortest run that is worth a look more: at the file before it, or whether a descriptor is still of this file.
const SHORTEST_RUN: usize = 4;
/// So many reads alone go by before a look whether a file has settled.
const READS_BETWEEN_LOOKS: u32 = 16;
/// What is aligned to this is aligned for any device.
const ALIGNED: u64 = 4096;
/// Bytes of a file that are believed to be in memory together. A fault maps as many.
const PART: u64 = 1 << 16;
/// How long it is believed that a part is in memory.
const BELIEVED: Duration = Duration::from_secs(1);
/// A run of copies that takes longer has waited for something.
const SLOW: Duration = Duration::from_micros(200);

const READ: u8 = Opcode::Read.number();
const READ_FIXED: u8 = Opcode::ReadFixed.number();

/// Whether an SQE is a read that may be served so, as far as it tells itself.
#[inline]
pub(crate) fn may_be_in_run(sqe: &Sqe) -> bool {
    matches!(sqe.opcode(), READ | READ_FIXED) && coalesce::is_plain(sqe)
}

/// Whether an SQE may be in a run with the one before it.
#[inline]
pub(crate) fn belongs(before: &Sqe, sqe: &Sqe) -> bool {
    sqe.fd() == before.fd() && sqe.flags() == before.flags() && may_be_in_run(sqe)
}

/// What is kept of a file for such reads.
#[derive(Debug, Default)]
pub(crate) struct MappedReads {
    reads: AtomicU32,
    /// `None`: the file is not of the kind.
    view: OnceLock<Option<View>>,
}

impl MappedReads {
    /// Notes a read, or a run. Returns whether the file is mapped.
    fn note(&self, file: &RegisteredFile) -> bool {
        if let Some(view) = self.view.get() {
            return view.is_some();
        }
        // Relaxed: a count that is lost decides a little later.
        self.reads.fetch_add(1, Ordering::Relaxed) >= READS_BEFORE
            && self.view.get_or_init(|| MappedFile::new(file.fd()).ok().map(View::new)).is_some()
    }

    /// Whether the file will never be mapped.
    fn is_ruled_out(&self) -> bool {
        self.view.get().is_some_and(Option::is_none)
    }

    fn view(&self) -> Option<&View> {
        self.view.get().and_then(Option::as_ref)
    }
}

/// A mapping, and what is believed of it.
#[derive(Debug)]
struct View {
    file: MappedFile,
    /// For each part the generation of beliefs in which it was seen in memory.
    seen: Box<[AtomicU8]>,
    /// From 1 on.
    generation: AtomicU8,
    /// When the generation began, in nanoseconds since the engine's epoch.
    begun: AtomicU64,
    /// The file as it was last seen, if it had settled by then. Never waited for: a child may inherit it as it was held by
    /// another thread.
    settled: Lock<Option<FileState>>,
    /// Reads alone that found it not settled.
    unsettled_reads: AtomicU32,
}

impl View {
    fn new(file: MappedFile) -> Self {
        let parts = file.length().div_ceil(PART);
        Self {
            seen: (0..parts).map(|_| AtomicU8::new(0)).collect(),
            generation: AtomicU8::new(1),
            begun: AtomicU64::new(0),
            settled: Lock::default(),
            unsettled_reads: AtomicU32::new(0),
            file,
        }
    }

    /// Whether a range of the file, whose size is `size`, is in memory as far as is known.
    fn is_cached(&self, range: &Range<u64>, size: u64) -> bool {
        // Relaxed, here and below: a belief may be wrong at any time.
        let generation = self.generation.load(Ordering::Relaxed);
        (range.start / PART..=(range.end - 1) / PART).all(|part| {
            let Some(seen) = self.seen.get(part as usize) else { return false };
            if seen.load(Ordering::Relaxed) == generation {
                return true;
            }
            let is_resident = self.file.is_resident(part * PART..((part + 1) * PART).min(size));
            if is_resident {
                seen.store(generation, Ordering::Relaxed);
            }
            is_resident
        })
    }

    /// Takes note of when a run of copies began, in nanoseconds since the engine's epoch, and that it ends now.
    fn record(&self, started: u64) {
        let now = latency::since_epoch();
        let age = now.saturating_sub(self.begun.load(Ordering::Relaxed));
        if age > BELIEVED.as_nanos() as u64 || now.saturating_sub(started) > SLOW.as_nanos() as u64 {
            self.begun.store(now, Ordering::Relaxed);
            self.forget();
        }
    }

    /// Looks at the file, and keeps what was seen.
    fn look(&self, file: &RegisteredFile) -> Option<FileState> {
        let state = FileState::of(file.fd());
        if let Some(mut settled) = self.settled.try_lock() {
            *settled = state.filter(|state| state.is_settled);
        }
        state
    }

    /// What the file is like before `reads` reads. `None`: it is not worth to know.
    fn before(&self, file: &RegisteredFile, reads: usize) -> Option<FileState> {
        let settled = self.settled.try_lock().and_then(|settled| *settled);
        settled.or_else(|| {
            let waits = reads < SHORTEST_RUN
                && !self.unsettled_reads.fetch_add(1, Ordering::Relaxed).is_multiple_of(READS_BETWEEN_LOOKS);
            if waits { None } else { self.look(file) }
        })
    }

    /// Begins a new generation.
    fn forget(&self) {
        let next = self.generation.load(Ordering::Relaxed).wrapping_add(1);
        if next == 0 {
            self.seen.iter().for_each(|seen| seen.store(0, Ordering::Relaxed));
        }
        self.generation.store(next.max(1), Ordering::Relaxed);
    }
}

impl Turn<'_> {
    /// The file of a read, if it is mapped. `others_follow`: the read is not the last one of its submission.
    pub(crate) fn mapped_file(&self, first: &Sqe, others_follow: bool) -> Option<Arc<RegisteredFile>> {
        if !may_be_in_run(first) || !user::has_fault_handler() {
            return None;
        }
        let fd = first.fd();
        if first.flags().contains(SqeFlags::FIXED_FILE) {
            let file = self.ring.files.lock().get(u32::try_from(fd).ok()?)?;
            return file.mapped.note(&file).then_some(file);
        }
        if !others_follow || self.ring.unmapped_files.recall(fd) == Some(true) {
            return None;
        }
        if !self.ring.plain_for(fd).reads {
            self.ring.unmapped_files.note(fd, true);
            return None;
        }
        let parking = System::global().parking();
        let file = parking.file(fd)?;
        if file.mapped.is_ruled_out() {
            self.ring.unmapped_files.note(fd, true);
        }
        file.mapped.note(&file).then_some(file)
    }

    /// Copies what reads of one file ask for. Returns a bit for each that is done.
    pub(crate) fn read_from_mapping(&self, file: &RegisteredFile, run: &[Sqe]) -> u32 {
        let (Some(view), Some(first)) = (file.mapped.view(), run.first()) else { return 0 };
        if !first.flags().contains(SqeFlags::FIXED_FILE)
            && (run.len() < SHORTEST_RUN || !System::global().parking().is_still(first.fd(), file))
        {
            // To ask whether it is still this file costs more than the mapping saves.
            return 0;
        }
        let before = view.before(file, run.len()).filter(|before| !before.notes_access);
        let Some(before) = before.filter(|_| self.patience() == Patience::Brief) else { return 0 };
        let range = |sqe: &Sqe| sqe.off()..sqe.off().saturating_add(sqe.len().into());
        let is_aligned = |sqe: &Sqe| (sqe.off() | u64::from(sqe.len()) | sqe.addr()).is_multiple_of(ALIGNED);
        if !run.iter().all(is_aligned) && mapped_file::is_direct(file.fd()) {
            return 0;
        }
        let started = latency::since_epoch();
        let mut done = 0;
        for (index, sqe) in run.iter().enumerate() {
            let part = range(sqe);
            let is_done = !part.is_empty()
                && part.end <= before.size
                && self.has_buffer(sqe)
                && view.is_cached(&part, before.size)
                && view.file.copy(part.start, UserAddress::new(sqe.addr()), sqe.len() as usize).is_ok();
            done |= u32::from(is_done) << index;
        }
        view.record(started);
        let Some(after) = view.look(file).filter(|after| !after.notes_access) else { return 0 };
        if before.is_settled {
            return if after.is_unchanged_since(&before) { done } else { 0 };
        }
        let is_inside = |(index, sqe): (usize, &Sqe)| u32::from(range(sqe).end <= after.size) << index;
        done & run.iter().enumerate().map(is_inside).sum::<u32>()
    }

    /// Whether the registered buffer of a read, where it names one, holds what is to be read.
    fn has_buffer(&self, sqe: &Sqe) -> bool {
        sqe.opcode() == READ || {
            let buffer = self.ring.buffers.lock().get(sqe.buf_index());
            buffer.is_some_and(|buffer| buffer.contains(sqe.addr(), sqe.len().into()).is_ok())
        }
    }
}
