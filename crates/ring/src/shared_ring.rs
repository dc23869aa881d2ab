//! The ring as the engine makes it: pages shared with every process that inherits them over fork.
//!
//! ```text
//! engine's mapping   [ control page | rings: words, CQEs, index array | SQEs ]
//! program's mappings                [ rings …                        ] [ SQEs ]
//! ```
//!
//! The program gets second mappings of the same pages, so it never sees the control page, and may
//! unmap or protect its own as it likes.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

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
    base: NonNull<u8>,
    length: usize,
    memory: MappedMemory,
}

// SAFETY: `base` leads to the control page, which holds atomics only.
unsafe impl Send for SharedPages {}
// SAFETY: as above.
unsafe impl Sync for SharedPages {}

impl SharedPages {
    /// Maps the pages of an empty ring whose positions start at these values.
    ///
    /// # Errors
    /// `ENOMEM`, as `mmap.2`.
    pub fn allocate(shape: RingShape, sq_start: u32, cq_start: u32) -> Result<Self, Errno> {
        assert!(shape.sq_entries.is_power_of_two() && shape.cq_entries.is_power_of_two());
        let page = rustix::param::page_size();
        let length = page + shape.rings_bytes() + shape.sqes_bytes();
        // SAFETY: a new mapping at an address of the kernel's choice disturbs nobody.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
            )
        }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?;
        // SAFETY: all of these lie in the new mapping, which is zero and which nobody else knows yet.
        let memory = unsafe {
            let rings = base.add(page);
            let sqes = rings.add(shape.rings_bytes());
            base.cast::<Control>().write(Control::starting_at(sq_start, cq_start));
            let (sq, cq) = (shape.sq_offsets(), shape.cq_offsets());
            // For the program; we keep to the shape.
            for (offset, value) in [
                (sq.ring_mask, shape.sq_entries - 1),
                (sq.ring_entries, shape.sq_entries),
                (cq.ring_mask, shape.cq_entries - 1),
                (cq.ring_entries, shape.cq_entries),
            ] {
                rings.add(offset as usize).cast::<u32>().write(value);
            }
            MappedMemory::new(shape, Bases { sq_ring: rings, cq_ring: rings, sqes }, &sq, &cq)
        };
        for word in [SharedWord::SqHead, SharedWord::SqTail] {
            memory.word(word).store(sq_start, Relaxed);
        }
        for word in [SharedWord::CqHead, SharedWord::CqTail] {
            memory.word(word).store(cq_start, Relaxed);
        }
        Ok(Self { base, length, memory })
    }

    /// Start and bytes of an area in the engine's mapping.
    fn area(&self, area: Area) -> (NonNull<u8>, usize) {
        let shape = self.memory.shape();
        let rings = rustix::param::page_size();
        let (offset, bytes) = match area {
            Area::Rings => (rings, shape.rings_bytes()),
            Area::Sqes => (rings + shape.rings_bytes(), shape.sqes_bytes()),
        };
        // SAFETY: `allocate` mapped control page, rings and SQEs in this order.
        (unsafe { self.base.add(offset) }, bytes)
    }
}

impl Drop for SharedPages {
    fn drop(&mut self) {
        // SAFETY: our own mapping; every reference into it borrows from `self`.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast::<c_void>(), self.length) };
        debug_assert!(unmapped.is_ok(), "a whole mapping of our own can be unmapped");
    }
}

impl ServingMemory for SharedPages {
    #[inline]
    fn control(&self) -> &Control {
        // SAFETY: written by `allocate`, mapped until drop; shared access, all of it through atomics.
        unsafe { self.base.cast::<Control>().as_ref() }
    }
}

impl Memory for SharedPages {
    #[inline]
    fn shape(&self) -> &RingShape {
        self.memory.shape()
    }

    #[inline]
    fn word(&self, word: SharedWord) -> &AtomicU32 {
        self.memory.word(word)
    }

    #[inline]
    fn load_index(&self, position: u32) -> u32 {
        self.memory.load_index(position)
    }

    #[inline]
    fn store_index(&self, position: u32, index: u32) {
        self.memory.store_index(position, index);
    }

    #[inline]
    fn load_sqe(&self, slot: u32) -> Sqe {
        self.memory.load_sqe(slot)
    }

    #[inline]
    fn store_sqe(&self, slot: u32, sqe: &Sqe, second_half: &[u64; 8]) {
        self.memory.store_sqe(slot, sqe, second_half);
    }

    #[inline]
    fn load_cqe(&self, position: u32) -> Cqe {
        self.memory.load_cqe(position)
    }

    #[inline]
    fn store_cqe(&self, position: u32, cqe: &Cqe) {
        self.memory.store_cqe(position, cqe);
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
