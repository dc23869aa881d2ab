//! What the tests share: a program that has mapped a ring, and may misbehave.
#![allow(dead_code, reason = "each test file uses its part")]

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use linux_raw_sys::general::{MAP_SHARED, PROT_READ, PROT_WRITE};
use ringer_abi::{Params, SetupFlags};
use ringer_ring::{Area, Bases, MappedClientRing, RingShape, SharedRing, Taken};

/// A small ring with no extras.
pub const SMALL: RingShape = RingShape {
    sq_entries: 4,
    cq_entries: 8,
    sqe128: false,
    cqe32: false,
    cqe_mixed: false,
    no_sqarray: false,
};

/// What setup would report for this shape.
pub fn params(shape: RingShape) -> Params {
    let mut flags = SetupFlags::empty();
    flags.set(SetupFlags::SQE128, shape.sqe128);
    flags.set(SetupFlags::CQE32, shape.cqe32);
    flags.set(SetupFlags::NO_SQARRAY, shape.no_sqarray);
    Params {
        sq_entries: shape.sq_entries,
        cq_entries: shape.cq_entries,
        flags: flags.bits(),
        sq_off: shape.sq_offsets(),
        cq_off: shape.cq_offsets(),
        ..Params::default()
    }
}

/// Takes one entry and gives its slot back.
pub fn take(ring: &SharedRing) -> Option<Taken> {
    let mut batch = ring.sq_batch(1);
    let taken = batch.take();
    batch.publish();
    taken
}

/// A mapping that goes when the value goes.
pub struct Mapped {
    pub address: usize,
    length: usize,
}

impl Mapped {
    pub fn of(ring: &SharedRing, area: Area) -> Self {
        let length = match area {
            Area::Rings => ring.shape().rings_bytes(),
            Area::Sqes => ring.shape().sqes_bytes(),
        };
        let address =
            ring.map(area, 0, length, PROT_READ | PROT_WRITE, MAP_SHARED).expect("a second mapping");
        Self { address, length }
    }

    pub fn base(&self) -> NonNull<u8> {
        NonNull::new(self.address as *mut u8).expect("a mapping is not at zero")
    }

    /// The word at this offset, which the program may write as it likes.
    pub fn word(&self, offset: u32) -> &AtomicU32 {
        assert!((offset as usize) < self.length && offset.is_multiple_of(4));
        // SAFETY: inside the mapping, aligned, and everybody uses atomics here.
        unsafe { &*((self.address + offset as usize) as *const AtomicU32) }
    }

    pub fn bytes<const N: usize>(&self, offset: usize) -> [u8; N] {
        std::array::from_fn(|byte| {
            let offset = offset + byte;
            let word = self.word((offset & !3) as u32).load(Relaxed);
            word.to_ne_bytes()[offset & 3]
        })
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped in `of`; the client that uses it goes before it.
        unsafe { rustix::mm::munmap(self.address as *mut c_void, self.length) }.expect("unmapped once");
    }
}

/// A program with both areas mapped.
pub struct Program {
    pub client: MappedClientRing,
    pub rings: Mapped,
    pub sqes: Mapped,
}

impl Program {
    pub fn of(ring: &SharedRing) -> Self {
        let (rings, sqes) = (Mapped::of(ring, Area::Rings), Mapped::of(ring, Area::Sqes));
        let bases = Bases { sq_ring: rings.base(), cq_ring: rings.base(), sqes: sqes.base() };
        // SAFETY: both areas are mapped as the shape says, and go after the client.
        let client = unsafe { MappedClientRing::from_mapped(bases, &params(*ring.shape())) };
        Self { client, rings, sqes }
    }
}

/// A ring of this shape and a program that uses it.
pub fn pair(shape: RingShape) -> (SharedRing, Program) {
    let ring = SharedRing::allocate(shape).expect("memory for a ring");
    let program = Program::of(&ring);
    (ring, program)
}
