//! Ring memory in mapped pages: production.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::{Memory, SharedWord};
use crate::shape::RingShape;
use ringer_abi::{CqRingOffsets, Cqe, CqeFlags, SqRingOffsets, Sqe};

/// Where the areas of a ring are mapped.
#[derive(Clone, Copy, Debug)]
pub struct Bases {
    /// Start of the submission ring.
    pub sq_ring: NonNull<u8>,
    /// Start of the completion ring: the same mapping on every kernel with `IORING_FEAT_SINGLE_MMAP`.
    pub cq_ring: NonNull<u8>,
    /// Start of the SQE array.
    pub sqes: NonNull<u8>,
}

/// A ring in mapped pages, as either side sees it.
///
/// Everything is reached through atomics, the slots word by word and `Relaxed`: the other side
/// is another program and may write at any time, which must stay a race between atomics.
#[derive(Debug)]
pub struct MappedMemory {
    shape: RingShape,
    words: [NonNull<AtomicU32>; SharedWord::COUNT],
    /// Dangling on a ring without the index array.
    array: NonNull<AtomicU32>,
    sqes: NonNull<AtomicU64>,
    cqes: NonNull<AtomicU64>,
}

// SAFETY: the pointers lead to atomics only, which any thread may use.
unsafe impl Send for MappedMemory {}
// SAFETY: as above; nothing else in here changes after construction.
unsafe impl Sync for MappedMemory {}

impl MappedMemory {
    /// A view of mapped rings.
    ///
    /// # Safety
    /// For as long as the value is used, the areas at `bases` are mapped readable and writable, page-aligned and
    /// as large as `shape` and the offsets say; the offsets of words and arrays are aligned to their types
    /// (4 bytes, CQEs 8). Nobody in this process looks at the areas except through atomics.
    pub unsafe fn new(shape: RingShape, bases: Bases, sq: &SqRingOffsets, cq: &CqRingOffsets) -> Self {
        let sq_word = |offset: u32| {
            // SAFETY: the caller promises that the offset lies in the area.
            unsafe { bases.sq_ring.add(offset as usize) }.cast::<AtomicU32>()
        };
        let cq_word = |offset: u32| {
            // SAFETY: as above.
            unsafe { bases.cq_ring.add(offset as usize) }.cast::<AtomicU32>()
        };
        Self {
            shape,
            // In the order of SharedWord.
            words: [
                sq_word(sq.head),
                sq_word(sq.tail),
                sq_word(sq.flags),
                sq_word(sq.dropped),
                cq_word(cq.head),
                cq_word(cq.tail),
                cq_word(cq.flags),
                cq_word(cq.overflow),
            ],
            array: if shape.no_sqarray { NonNull::dangling() } else { sq_word(sq.array) },
            sqes: bases.sqes.cast(),
            cqes: cq_word(cq.cqes).cast(),
        }
    }

    /// The first word of an SQE slot.
    #[inline]
    fn sqe(&self, slot: u32) -> NonNull<AtomicU64> {
        let slot = (slot & (self.shape.sq_entries - 1)) as usize;
        // SAFETY: the slot is reduced to the ring's size by our own copy of it, and the area holds that many.
        unsafe { self.sqes.add(slot * self.shape.sqe_words()) }
    }

    /// The first word of a CQE slot.
    #[inline]
    fn cqe(&self, position: u32) -> NonNull<AtomicU64> {
        let slot = (position & (self.shape.cq_entries - 1)) as usize;
        // SAFETY: as in `sqe`.
        unsafe { self.cqes.add(slot * self.shape.cqe_words()) }
    }

    /// Whether 16 more bytes belong to the CQE at a CQ position: on a mixed ring the slot behind, if it is not the last.
    #[inline]
    fn has_second_half(&self, position: u32, flags: u32) -> bool {
        let is_last = position & (self.shape.cq_entries - 1) == self.shape.cq_entries - 1;
        self.shape.cqe32 || self.shape.cqe_mixed && flags & CqeFlags::BIG.bits() != 0 && !is_last
    }

    /// The word of the index array at an SQ position, on a ring that has the array.
    #[inline]
    fn index(&self, position: u32) -> Option<&AtomicU32> {
        let slot = (position & (self.shape.sq_entries - 1)) as usize;
        // SAFETY: as in `sqe`; and the array is there when the shape does not say otherwise.
        (!self.shape.no_sqarray).then(|| unsafe { self.array.add(slot).as_ref() })
    }
}

/// Reads `N` words from `first` on.
///
/// # Safety
/// They lie in a slot of mapped ring memory.
#[inline]
unsafe fn load_words<const N: usize>(first: NonNull<AtomicU64>) -> [u64; N] {
    // SAFETY: the caller's promise; atomic loads may race with anything.
    core::array::from_fn(|word| unsafe { first.add(word).as_ref() }.load(Relaxed))
}

/// Writes `N` words from `first` on.
///
/// # Safety
/// They lie in a slot of mapped ring memory.
#[inline]
unsafe fn store_words<const N: usize>(first: NonNull<AtomicU64>, values: &[u64; N]) {
    for (word, value) in values.iter().enumerate() {
        // SAFETY: the caller's promise; atomic stores may race with anything.
        unsafe { first.add(word).as_ref() }.store(*value, Relaxed);
    }
}

impl MappedMemory {
    /// The second half of an SQE slot; zero on a ring with 64-byte entries.
    pub(crate) fn load_second_half(&self, slot: u32) -> [u64; 8] {
        if !self.shape.sqe128 {
            return [0; 8];
        }
        // SAFETY: the second half of a slot of 16 words.
        unsafe { load_words(self.sqe(slot).add(8)) }
    }
}

impl Memory for MappedMemory {
    #[inline]
    fn shape(&self) -> &RingShape {
        &self.shape
    }

    #[inline]
    fn word(&self, word: SharedWord) -> &AtomicU32 {
        // SAFETY: the pointer was made from an offset inside the mapped area, aligned, see `new`.
        unsafe { self.words[word as usize].as_ref() }
    }

    #[inline]
    fn load_index(&self, position: u32) -> u32 {
        match self.index(position) {
            Some(index) => index.load(Relaxed),
            None => position & (self.shape.sq_entries - 1),
        }
    }

    #[inline]
    fn store_index(&self, position: u32, value: u32) {
        if let Some(index) = self.index(position) {
            index.store(value, Relaxed);
        }
    }

    #[inline]
    fn load_sqe(&self, slot: u32) -> Sqe {
        // SAFETY: the first half of a slot.
        Sqe::from_words(unsafe { load_words(self.sqe(slot)) })
    }

    #[inline]
    fn prefetch_sqe(&self, slot: u32) {
        let first = self.sqe(slot).as_ptr();
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a hint, which reads nothing.
        unsafe {
            core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(first.cast());
        }
    }

    #[inline]
    fn store_sqe(&self, slot: u32, sqe: &Sqe, second_half: &[u64; 8]) {
        let first = self.sqe(slot);
        // SAFETY: the first half of a slot.
        unsafe { store_words(first, sqe.words()) };
        if self.shape.sqe128 {
            // SAFETY: the second half of a slot of 16 words.
            unsafe { store_words(first.add(8), second_half) };
        }
    }

    #[inline]
    fn load_cqe(&self, position: u32) -> Cqe {
        let first = self.cqe(position);
        // SAFETY: a slot has at least two words.
        let [user_data, result] = unsafe { load_words(first) };
        let [res, flags] = halves(result);
        let extra = if self.has_second_half(position, flags) {
            // SAFETY: the second half of a slot of four words, or the slot behind, which is there.
            unsafe { load_words(first.add(2)) }
        } else {
            [0; 2]
        };
        Cqe { user_data, res: res as i32, flags, extra }
    }

    #[inline]
    fn store_cqe(&self, position: u32, cqe: &Cqe) {
        let first = self.cqe(position);
        // SAFETY: a slot has at least two words.
        unsafe { store_words(first, &[cqe.user_data, joined([cqe.res as u32, cqe.flags])]) };
        if self.has_second_half(position, cqe.flags) {
            // SAFETY: the second half of a slot of four words, or the slot behind, which is there.
            unsafe { store_words(first.add(2), &cqe.extra) };
        }
    }
}

/// Two 32-bit fields that follow each other in memory, from the 64-bit word that holds them.
#[inline]
fn halves(word: u64) -> [u32; 2] {
    if cfg!(target_endian = "little") {
        [word as u32, (word >> 32) as u32]
    } else {
        [(word >> 32) as u32, word as u32]
    }
}

/// The inverse of [`halves`].
#[inline]
fn joined([first, second]: [u32; 2]) -> u64 {
    if cfg!(target_endian = "little") {
        u64::from(first) | u64::from(second) << 32
    } else {
        u64::from(second) | u64::from(first) << 32
    }
}
