//! Ring memory on the heap, with slots that loom watches: for model checking.
//!
//! A slot is a cell here, not atomics: when the protocol fails to order an access with another
//! one of the same slot, loom stops with "causality violation".

use std::sync::Arc;

use loom::cell::UnsafeCell;

use super::{Control, Memory, ServingMemory, SharedWord};
use crate::primitive::AtomicU32;
use crate::shape::RingShape;
use ringer_abi::{Cqe, Sqe};

/// A handle to ring memory on the heap, for either side.
#[derive(Clone, Debug)]
pub struct HeapMemory {
    contents: Arc<Contents>,
}

#[derive(Debug)]
struct Contents {
    shape: RingShape,
    words: [AtomicU32; SharedWord::COUNT],
    array: Vec<Slot<u32>>,
    sqes: Vec<Slot<(Sqe, [u64; 8])>>,
    cqes: Vec<Slot<Cqe>>,
    control: Control,
}

#[derive(Debug)]
struct Slot<T>(UnsafeCell<T>);

// SAFETY: loom ends the execution before a second access happens that is not ordered with the first.
unsafe impl<T: Send> Sync for Slot<T> {}

impl<T: Copy + Default> Slot<T> {
    fn several(count: u32) -> Vec<Self> {
        (0..count).map(|_| Self(UnsafeCell::new(T::default()))).collect()
    }

    fn load(&self) -> T {
        // SAFETY: the pointer is valid inside the closure, and loom has checked the access.
        self.0.with(|value| unsafe { *value })
    }

    fn store(&self, new: T) {
        // SAFETY: as in `load`.
        self.0.with_mut(|value| unsafe { *value = new });
    }
}

impl HeapMemory {
    /// Empty rings whose positions start at these values.
    pub fn new(shape: RingShape, sq_start: u32, cq_start: u32) -> Self {
        let mut start = [0; SharedWord::COUNT];
        for (word, value) in [
            (SharedWord::SqHead, sq_start),
            (SharedWord::SqTail, sq_start),
            (SharedWord::CqHead, cq_start),
            (SharedWord::CqTail, cq_start),
        ] {
            start[word as usize] = value;
        }
        Self {
            contents: Arc::new(Contents {
                shape,
                words: start.map(AtomicU32::new),
                array: Slot::several(shape.sq_entries),
                sqes: Slot::several(shape.sq_entries),
                cqes: Slot::several(shape.cq_entries),
                control: Control::starting_at(sq_start, cq_start),
            }),
        }
    }

    fn sq_slot(&self, position: u32) -> usize {
        (position & (self.contents.shape.sq_entries - 1)) as usize
    }

    fn cq_slot(&self, position: u32) -> usize {
        (position & (self.contents.shape.cq_entries - 1)) as usize
    }
}

impl ServingMemory for HeapMemory {
    type Present = Self;

    fn present(&self) -> &Self {
        self
    }

    fn control(&self) -> &Control {
        &self.contents.control
    }
}

impl Memory for HeapMemory {
    fn shape(&self) -> &RingShape {
        &self.contents.shape
    }

    fn word(&self, word: SharedWord) -> &AtomicU32 {
        &self.contents.words[word as usize]
    }

    fn load_index(&self, position: u32) -> u32 {
        self.contents.array[self.sq_slot(position)].load()
    }

    fn store_index(&self, position: u32, index: u32) {
        self.contents.array[self.sq_slot(position)].store(index);
    }

    fn load_sqe(&self, slot: u32) -> Sqe {
        self.contents.sqes[self.sq_slot(slot)].load().0
    }

    fn store_sqe(&self, slot: u32, sqe: &Sqe, second_half: &[u64; 8]) {
        self.contents.sqes[self.sq_slot(slot)].store((*sqe, *second_half));
    }

    fn load_cqe(&self, position: u32) -> Cqe {
        self.contents.cqes[self.cq_slot(position)].load()
    }

    fn store_cqe(&self, position: u32, cqe: &Cqe) {
        self.contents.cqes[self.cq_slot(position)].store(*cqe);
    }
}
