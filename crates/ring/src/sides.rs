//! The two sides of a ring. Their methods stand with the part of the protocol they belong to:
//! `sq.rs`, `cq.rs`, `wakeup.rs` and `waiters.rs`, each with both partners in one file.

use core::marker::PhantomData;

use crate::memory::{Memory, ServingMemory, SharedWord};
use crate::orderings::{Orderings, Production};
use crate::primitive::Ordering::Relaxed;
use crate::shape::RingShape;

/// The side that the kernel plays: takes SQEs, posts CQEs.
///
/// It trusts nothing that it reads from shared memory: it keeps its own positions and sizes, and
/// bounds what follows from the program's.
#[derive(Debug)]
pub struct ServingRing<M, O = Production> {
    pub(crate) memory: M,
    orderings: PhantomData<fn() -> O>,
}

impl<M: ServingMemory, O: Orderings> ServingRing<M, O> {
    /// Serves the ring in this memory.
    pub fn over(memory: M) -> Self {
        Self { memory, orderings: PhantomData }
    }

    /// The ring's shape.
    #[inline]
    pub fn shape(&self) -> &RingShape {
        self.memory.shape()
    }
}

/// The side that the program plays: fills SQEs, reaps CQEs.
///
/// It works against any io_uring, the kernel's included. One thread at a time, hence `&mut self`.
#[derive(Debug)]
pub struct ClientRing<M, O = Production> {
    pub(crate) memory: M,
    /// Next SQ position to be filled: ahead of the shared tail by what is not yet published.
    pub(crate) sq_tail: u32,
    /// Next CQ position to be read.
    pub(crate) cq_head: u32,
    orderings: PhantomData<fn() -> O>,
}

impl<M: Memory, O: Orderings> ClientRing<M, O> {
    /// Uses the ring in this memory, from where its words stand.
    pub fn over(memory: M) -> Self {
        let sq_tail = memory.word(SharedWord::SqTail).load(Relaxed);
        let cq_head = memory.word(SharedWord::CqHead).load(Relaxed);
        Self { memory, sq_tail, cq_head, orderings: PhantomData }
    }

    /// The ring's shape.
    #[inline]
    pub fn shape(&self) -> &RingShape {
        self.memory.shape()
    }
}
