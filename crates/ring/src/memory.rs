//! The memory that the protocol runs over.
//!
//! Production maps pages ([`MappedMemory`]). A model checker's atomics cannot live in such pages,
//! so under loom the same protocol runs over the heap, with slots that notice every data race.

#[cfg(loom)]
mod heap;
#[cfg(not(loom))]
mod mapped;

#[cfg(loom)]
pub use heap::HeapMemory;
#[cfg(not(loom))]
pub use mapped::{Bases, MappedMemory};

use crate::bequest::Bequests;
use crate::lock::SharedLock;
use crate::primitive::AtomicU32;
use crate::question::Question;
use crate::shape::RingShape;
use ringer_abi::{Cqe, Sqe};

/// A word that both sides see. Source: `io_uring_setup.2`, `struct io_sqring_offsets` and `io_cqring_offsets`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum SharedWord {
    /// Next SQ position to be taken. Written by the serving side.
    SqHead = 0,
    /// Next SQ position to be filled. Written by the program.
    SqTail,
    /// `IORING_SQ_` flags. Written by the serving side.
    SqFlags,
    /// Entries with an index beyond the SQE array. Written by the serving side.
    SqDropped,
    /// Next CQ position to be read. Written by the program.
    CqHead,
    /// Next CQ position to be filled. Written by the serving side.
    CqTail,
    /// `IORING_CQ_` flags. Written by the program.
    CqFlags,
    /// Completions that found no memory at all. Written by the serving side.
    CqOverflow,
}

impl SharedWord {
    /// How many there are.
    pub const COUNT: usize = 8;
    /// Every one.
    pub const ALL: [Self; Self::COUNT] = [
        Self::SqHead,
        Self::SqTail,
        Self::SqFlags,
        Self::SqDropped,
        Self::CqHead,
        Self::CqTail,
        Self::CqFlags,
        Self::CqOverflow,
    ];
}

/// What both sides share.
///
/// Positions and slots count freely and are reduced to the ring's size by the implementation, with its
/// own copy of the size: no value that stands in shared memory can lead outside.
///
/// A slot may be read and written at the same time by a program that breaks the protocol. The
/// result is then some mixture of bytes, never undefined behaviour.
pub trait Memory {
    /// The shape, from a copy that the other side cannot change.
    fn shape(&self) -> &RingShape;
    /// One of the shared words.
    fn word(&self, word: SharedWord) -> &AtomicU32;
    /// Reads the index array at an SQ position. The position itself on a ring without the array.
    fn load_index(&self, position: u32) -> u32;
    /// Writes the index array at an SQ position. Nothing on a ring without the array.
    fn store_index(&self, position: u32, index: u32);
    /// One snapshot of an SQE slot, without the second half of a 128-byte one.
    fn load_sqe(&self, slot: u32) -> Sqe;
    /// Says that an SQE slot is going to be read soon.
    fn prefetch_sqe(&self, _slot: u32) {}
    /// Fills an SQE slot.
    fn store_sqe(&self, slot: u32, sqe: &Sqe, second_half: &[u64; 8]);
    /// One snapshot of the CQE slot at a CQ position.
    fn load_cqe(&self, position: u32) -> Cqe;
    /// Fills the CQE slot at a CQ position.
    fn store_cqe(&self, position: u32, cqe: &Cqe);
}

/// Memory of the serving side: it also has words that the program does not see.
pub trait ServingMemory: Memory {
    /// The ring as it is between two changes of its size.
    type Present: Memory + core::fmt::Debug;
    /// The ring as it is now. It stays so while the caller holds one of the ring's locks.
    fn present(&self) -> &Self::Present;
    /// The private words.
    fn control(&self) -> &Control;
}

/// Words of the serving side alone, shared by every process that serves the ring.
///
/// They are its only truth about its own positions: the program may overwrite what it sees.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Control {
    /// Guards the serving side of the submission queue.
    pub(crate) submission_lock: SharedLock,
    /// Next SQ position to be taken. Changed by the holder of the submission lock.
    pub(crate) sq_head: AtomicU32,
    /// The submitting side and the completing side are often different threads: a cache line for each.
    _own_line: [u32; 12],
    /// Guards the serving side of the completion queue, and counts those who wait for CQEs.
    pub(crate) completion_lock: SharedLock,
    /// Next CQ position to be filled. Changed by the holder of the completion lock.
    pub(crate) cq_tail: AtomicU32,
    /// How often waiters were woken.
    pub(crate) wakeups: AtomicU32,
    /// Somebody waits for the ring's descriptor: 1 or 0.
    pub(crate) watched: AtomicU32,
    /// What processes have left to the others.
    pub(crate) bequests: Bequests,
    /// What one process asks the others.
    pub(crate) question: Question,
}

impl Control {
    /// Private words for rings whose positions start at these values.
    pub fn starting_at(sq: u32, cq: u32) -> Self {
        Self {
            submission_lock: SharedLock::to_let(),
            sq_head: AtomicU32::new(sq),
            _own_line: [0; 12],
            completion_lock: SharedLock::to_let(),
            cq_tail: AtomicU32::new(cq),
            wakeups: AtomicU32::new(0),
            watched: AtomicU32::new(0),
            bequests: Bequests::none(),
            question: Question::none(),
        }
    }
}
