//! The ring as the engine makes it: pages shared with every process that inherits them over fork.
//!
//! ```text
//! engine's mapping   [ control page | rings: words, CQEs, index array | SQEs ]
//! program's mappings                [ rings …                        ] [ SQEs ]
//! ```
//!
//! The program gets second mappings of the same pages, so it never sees the control page, and may
//! unmap or protect its own as it likes. Where the program brings the memory (`IORING_SETUP_NO_MMAP`) it is the
//! other way round: the engine makes a second mapping of the program's pages. That needs pages that can be
//! shared; private ones are replaced by such first.

use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{
    AtomicPtr,
    Ordering::{Acquire, Release},
};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use rustix::mm::MremapFlags;

use crate::memory::{Bases, Control, MappedMemory, Memory, ServingMemory, SharedWord};
use crate::orderings::{Orderings, Production};
use crate::primitive::{AtomicU32, Ordering::Relaxed};
use crate::program_mapping;
use crate::shape::RingShape;
use crate::sides::ServingRing;
use ringer_abi::{Cqe, Sqe};

/// The serving side of a ring in shared pages. Dropping it unmaps the engine's mapping only.
pub type SharedRing = ServingRing<SharedPages, Production>;

/// One area that a program maps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Area {
    /// The words of both rings, the CQEs and the index array: `IORING_OFF_SQ_RING` and `IORING_OFF_CQ_RING`.
    Rings,
    /// The SQEs: `IORING_OFF_SQES`.
    Sqes,
}

/// The engine's mapping of a ring.
#[derive(Debug)]
pub struct SharedPages {
    control: Pages,
    /// The present view: one of `views`.
    view: AtomicPtr<View>,
    /// Every view so far. A thread may look at the ring without a lock while its size is changed, so that the old pages stay.
    views: Mutex<Vec<Arc<View>>>,
}

/// The areas of a ring of one size.
#[derive(Debug)]
struct View {
    rings: Pages,
    sqes: Pages,
    memory: MappedMemory,
}

impl View {
    fn allocate(shape: RingShape) -> Result<Self, Errno> {
        let whole = Pages::allocate(shape.rings_bytes() + shape.sqes_bytes())?;
        let (rings, sqes) = whole.split(shape.rings_bytes());
        Ok(Self::over(shape, rings, sqes))
    }

    fn in_program(shape: RingShape, rings: u64, sqes: u64) -> Result<Self, Errno> {
        let rings = Pages::of_program(rings, shape.rings_bytes())?;
        let sqes = Pages::of_program(sqes, shape.sqes_bytes())?;
        rings.clear();
        sqes.clear();
        Ok(Self::over(shape, rings, sqes))
    }

    /// Rings and SQEs, all zero, become an empty ring.
    fn over(shape: RingShape, rings: Pages, sqes: Pages) -> Self {
        assert!(shape.sq_entries.is_power_of_two() && shape.cq_entries.is_power_of_two());
        let (sq, cq) = (shape.sq_offsets(), shape.cq_offsets());
        // For the program; we keep to the shape.
        for (offset, value) in [
            (sq.ring_mask, shape.sq_entries - 1),
            (sq.ring_entries, shape.sq_entries),
            (cq.ring_mask, shape.cq_entries - 1),
            (cq.ring_entries, shape.cq_entries),
        ] {
            // SAFETY: the offset lies in the pages, which are zero and belong to this ring alone.
            unsafe { rings.base.add(offset as usize).cast::<u32>().write(value) };
        }
        let bases = Bases { sq_ring: rings.base, cq_ring: rings.base, sqes: sqes.base };
        // SAFETY: the pages are as large as the shape says, and stay mapped as long as the view.
        let memory = unsafe { MappedMemory::new(shape, bases, &sq, &cq) };
        Self { rings, sqes, memory }
    }
}

/// Whole pages of a shared mapping that are the engine's own. Dropping them unmaps them.
#[derive(Debug)]
struct Pages {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: `base` leads to the control page or to ring memory, which are accessed as atomics only.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    fn allocate(length: usize) -> Result<Self, Errno> {
        Ok(Self { base: program_mapping::allocate(length)?, length })
    }

    /// Splits off what lies behind the first `length` bytes, which are whole pages inside.
    fn split(mut self, length: usize) -> (Self, Self) {
        assert!(length < self.length);
        // SAFETY: inside of the mapping.
        let rest = Self { base: unsafe { self.base.add(length) }, length: self.length - length };
        self.length = length;
        (self, rest)
    }

    /// A second mapping of pages that the program gave to be its ring.
    fn of_program(address: u64, length: usize) -> Result<Self, Errno> {
        let theirs = NonNull::new(address as usize as *mut u8).ok_or(Errno::INVAL)?;
        // SAFETY: the program gave these pages to be its ring.
        let second = || unsafe { program_mapping::second(theirs, length) };
        let base = match second() {
            Err(Errno::INVAL) => {
                // Private memory has no second mapping: it gives way to pages that have.
                let pages = Self::allocate(length)?;
                let (ours, theirs) = (pages.base.as_ptr().cast::<c_void>(), theirs.as_ptr().cast::<c_void>());
                // SAFETY: what stood in the program's range is of no use any more.
                unsafe { rustix::mm::mremap_fixed(ours, 0, length, MremapFlags::MAYMOVE, theirs) }?;
                second()?
            }
            base => base?,
        };
        Ok(Self { base, length })
    }

    fn clear(&self) {
        // SAFETY: writable memory of our own mapping; only the program might look at it, and has no ring yet.
        unsafe { self.base.write_bytes(0, self.length) };
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: our own mapping; every reference into it borrows from the ring that owns it.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast::<c_void>(), self.length) };
        debug_assert!(unmapped.is_ok(), "whole pages of our own can be unmapped");
    }
}

impl SharedPages {
    /// Maps the pages of an empty ring whose positions start at these values.
    ///
    /// # Errors
    /// `ENOMEM`, as `mmap.2`.
    pub fn allocate(shape: RingShape, sq_start: u32, cq_start: u32) -> Result<Self, Errno> {
        Self::over(View::allocate(shape)?, sq_start, cq_start)
    }

    /// A ring in memory of the program, which starts with pages for the rings and pages for the SQEs at these addresses.
    ///
    /// # Errors
    /// `ENOMEM`, `EINVAL` for memory that cannot be shared: as `mremap.2`.
    pub fn adopt(shape: RingShape, rings: u64, sqes: u64) -> Result<Self, Errno> {
        Self::over(View::in_program(shape, rings, sqes)?, 0, 0)
    }

    fn over(view: View, sq_start: u32, cq_start: u32) -> Result<Self, Errno> {
        let control = Pages::allocate(rustix::param::page_size())?;
        // SAFETY: a page of our own that nobody else knows yet.
        unsafe {
            control.base.cast::<Control>().write(Control::starting_at(sq_start, cq_start));
        }
        for (word, start) in [
            (SharedWord::SqHead, sq_start),
            (SharedWord::SqTail, sq_start),
            (SharedWord::CqHead, cq_start),
            (SharedWord::CqTail, cq_start),
        ] {
            view.memory.word(word).store(start, Relaxed);
        }
        let view = Arc::new(view);
        Ok(Self {
            control,
            view: AtomicPtr::new(Arc::as_ptr(&view).cast_mut()),
            views: Mutex::new(vec![view]),
        })
    }

    #[inline]
    fn view(&self) -> &View {
        // Acquire, with the Release in `replace`. SAFETY: the pointer leads to one of `views`, none of which goes
        // before `self` does, and which nobody changes.
        unsafe { &*self.view.load(Acquire) }
    }

    fn replace(&self, view: View) {
        let view = Arc::new(view);
        let pointer = Arc::as_ptr(&view).cast_mut();
        self.views.lock().unwrap_or_else(PoisonError::into_inner).push(view);
        // Release, with the Acquire in `view`.
        self.view.store(pointer, Release);
    }

    /// Start and bytes of an area in the engine's mapping.
    fn area(&self, area: Area) -> (NonNull<u8>, usize) {
        let view = self.view();
        let pages = match area {
            Area::Rings => &view.rings,
            Area::Sqes => &view.sqes,
        };
        (pages.base, pages.length)
    }
}

impl ServingMemory for SharedPages {
    type Present = MappedMemory;

    #[inline]
    fn present(&self) -> &MappedMemory {
        &self.view().memory
    }

    #[inline]
    fn control(&self) -> &Control {
        // SAFETY: written by `over`, mapped until drop; shared access, all of it through atomics.
        unsafe { self.control.base.cast::<Control>().as_ref() }
    }
}

impl Memory for SharedPages {
    #[inline]
    fn shape(&self) -> &RingShape {
        self.view().memory.shape()
    }

    #[inline]
    fn word(&self, word: SharedWord) -> &AtomicU32 {
        self.view().memory.word(word)
    }

    #[inline]
    fn load_index(&self, position: u32) -> u32 {
        self.view().memory.load_index(position)
    }

    #[inline]
    fn store_index(&self, position: u32, index: u32) {
        self.view().memory.store_index(position, index);
    }

    #[inline]
    fn load_sqe(&self, slot: u32) -> Sqe {
        self.view().memory.load_sqe(slot)
    }

    #[inline]
    fn store_sqe(&self, slot: u32, sqe: &Sqe, second_half: &[u64; 8]) {
        self.view().memory.store_sqe(slot, sqe, second_half);
    }

    #[inline]
    fn load_cqe(&self, position: u32) -> Cqe {
        self.view().memory.load_cqe(position)
    }

    #[inline]
    fn store_cqe(&self, position: u32, cqe: &Cqe) {
        self.view().memory.store_cqe(position, cqe);
    }
}

/// Memory that belongs to a ring but is no part of its queues: the program maps it as it maps the ring.
#[derive(Debug)]
pub struct SharedRegion {
    pages: Pages,
}

impl SharedRegion {
    /// Zeroed memory of so many bytes, which are whole pages.
    ///
    /// # Errors
    /// `ENOMEM`, as `mmap.2`.
    pub fn allocate(bytes: usize) -> Result<Self, Errno> {
        Pages::allocate(bytes).map(|pages| Self { pages })
    }

    /// Where the engine's mapping starts. The program may write there at any time.
    pub fn address(&self) -> u64 {
        self.pages.base.as_ptr() as u64
    }

    /// Maps it for the program, as [`ServingRing::map`] does.
    ///
    /// # Errors
    /// As [`ServingRing::map`].
    pub fn map(&self, address: u64, length: usize, protection: u32, flags: u32) -> Result<usize, Errno> {
        let (start, bytes) = (self.pages.base, self.pages.length);
        // SAFETY: whole pages of our own shared mapping.
        unsafe { program_mapping::duplicate(start, bytes, true, address, length, protection, flags) }
    }
}

impl SharedRing {
    /// An empty ring.
    ///
    /// # Errors
    /// `ENOMEM`, as `mmap.2`.
    ///
    /// # Panics
    /// When the shape's entries are no powers of two.
    pub fn allocate(shape: RingShape) -> Result<Self, Errno> {
        Self::allocate_at(shape, 0, 0)
    }

    /// An empty ring in memory of the program (`IORING_SETUP_NO_MMAP`). The two addresses are those of whole pages that the
    /// program may write to; the engine keeps a mapping of its own.
    ///
    /// # Errors
    /// `ENOMEM`, `EINVAL` for memory that cannot be shared: as `mremap.2`.
    pub fn allocate_in(shape: RingShape, rings: u64, sqes: u64) -> Result<Self, Errno> {
        SharedPages::adopt(shape, rings, sqes).map(Self::over)
    }

    /// Changes the size of the queues. What is in them stays, positions too; the index array is the program's to fill again.
    /// The caller holds the submission lock and the completion lock. `place` is the program's memory, if it brings it.
    ///
    /// # Errors
    /// `EOVERFLOW` when the entries do not fit, `ENOMEM`, and those of [`allocate_in`](Self::allocate_in).
    pub fn resize(&self, shape: RingShape, place: Option<(u64, u64)>) -> Result<(), Errno> {
        let new = match place {
            Some((rings, sqes)) => View::in_program(shape, rings, sqes)?,
            None => View::allocate(shape)?,
        };
        let old = &self.memory.view().memory;
        let first = self.sq_cached_head();
        let tail = old.word(SharedWord::SqTail).load(Relaxed);
        if tail.wrapping_sub(first) > shape.sq_entries {
            return Err(Errno::OVERFLOW);
        }
        for position in (0..tail.wrapping_sub(first)).map(|index| first.wrapping_add(index)) {
            new.memory.store_sqe(position, &old.load_sqe(position), &old.load_second_half(position));
        }
        let first = old.word(SharedWord::CqHead).load(Relaxed);
        let tail = self.cq_tail();
        if tail.wrapping_sub(first) > shape.cq_entries {
            return Err(Errno::OVERFLOW);
        }
        for position in (0..tail.wrapping_sub(first)).map(|index| first.wrapping_add(index)) {
            new.memory.store_cqe(position, &old.load_cqe(position));
        }
        for word in SharedWord::ALL {
            new.memory.word(word).store(old.word(word).load(Relaxed), Relaxed);
        }
        self.memory.replace(new);
        Ok(())
    }

    /// An empty ring whose positions do not start at zero, for tests of the wrap-around.
    ///
    /// # Errors
    /// As [`allocate`](Self::allocate).
    pub fn allocate_at(shape: RingShape, sq_start: u32, cq_start: u32) -> Result<Self, Errno> {
        SharedPages::allocate(shape, sq_start, cq_start).map(Self::over)
    }
}

impl<O: Orderings> ServingRing<SharedPages, O> {
    /// Maps an area for the program, as `mmap.2` of a ring descriptor does. Returns the address.
    ///
    /// The program owns the mapping: it stays when the ring is dropped.
    ///
    /// # Errors
    /// As the kernel's io_uring: `EINVAL` for a length of zero or beyond the area and for a mapping that
    /// is not shared; otherwise those of `mmap.2`.
    pub fn map(
        &self,
        area: Area,
        address: u64,
        length: usize,
        protection: u32,
        flags: u32,
    ) -> Result<usize, Errno> {
        let (start, bytes) = self.memory.area(area);
        // SAFETY: the area is part of our own shared mapping.
        unsafe {
            let whole = area == Area::Sqes;
            program_mapping::duplicate(start, bytes, whole, address, length, protection, flags)
        }
    }
}
