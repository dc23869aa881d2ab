//! How the serving side gives SQ slots back: the four variants of the 2019 thread.
//!
//! The new head tells the program that it may write new entries into the slots below it. So every
//! load from the index array and from the SQEs must be finished before the head is visible.
//! `docs/MEMORY_ORDERING.md` tells the story; `tests/loom.rs` runs the four against each other.

use crate::primitive::{AtomicU32, Ordering, fence};

/// Stores a new head of the submission ring.
pub trait HeadPublication {
    /// Makes `value` visible in `head`.
    fn publish(head: &AtomicU32, value: u32);
}

/// **Exactly enough, and what production uses**: no earlier load or store may sink below the store.
#[derive(Debug)]
pub enum StoreRelease {}

impl HeadPublication for StoreRelease {
    #[inline]
    fn publish(head: &AtomicU32, value: u32) {
        // Partner: Orderings::SQ_HEAD_LOAD, the program looking for free slots.
        head.store(value, Ordering::Release);
    }
}

/// More than enough: also orders the store with later loads, which nobody needs here.
/// Kept for the model and for the benchmark that shows its price.
#[derive(Debug)]
pub enum FullBarrier {}

impl HeadPublication for FullBarrier {
    #[inline]
    fn publish(head: &AtomicU32, value: u32) {
        // Partner: Orderings::SQ_HEAD_LOAD.
        fence(Ordering::SeqCst);
        head.store(value, Ordering::Relaxed);
    }
}

/// Wrong: the store may become visible before the loads above it are done.
#[cfg(loom)]
#[derive(Debug)]
pub enum NoBarrier {}

#[cfg(loom)]
impl HeadPublication for NoBarrier {
    fn publish(head: &AtomicU32, value: u32) {
        head.store(value, Ordering::Relaxed);
    }
}

/// Wrong: what was first posted. The barrier orders the store with what follows, not with the loads before it.
#[cfg(loom)]
#[derive(Debug)]
pub enum BarrierAfterStore {}

#[cfg(loom)]
impl HeadPublication for BarrierAfterStore {
    fn publish(head: &AtomicU32, value: u32) {
        head.store(value, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}
