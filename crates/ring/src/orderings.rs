//! Every ordering of the protocol, in one table, each with its partner.
//!
//! The protocol is written over this table so that the model checker can run the same code with
//! one entry weakened, and must then find the fault (`tests/loom.rs`). Production uses
//! [`Production`], which leaves every entry as it stands here.
//!
//! Words that one side alone writes (its own head or tail, the masks) are read back by that side with
//! `Relaxed`, and so is everything inside a slot: the entries below order it.

use crate::head_publication::{HeadPublication, StoreRelease};
use crate::primitive::{Ordering, fence, fence_in_all_threads, fence_of_compiler};

/// The orderings of the protocol. The defaults are the right ones.
pub trait Orderings {
    /// The serving side gives SQ slots back. Partner: [`SQ_HEAD_LOAD`](Self::SQ_HEAD_LOAD).
    type SqHead: HeadPublication;

    /// The program looks for free SQ slots, before it writes into them. Partner: [`SqHead`](Self::SqHead).
    const SQ_HEAD_LOAD: Ordering = Ordering::Acquire;

    /// The program publishes SQEs it has written. Partner: [`SQ_TAIL_LOAD`](Self::SQ_TAIL_LOAD).
    const SQ_TAIL_STORE: Ordering = Ordering::Release;
    /// The serving side looks for new SQEs, before it reads them. Partner: [`SQ_TAIL_STORE`](Self::SQ_TAIL_STORE).
    const SQ_TAIL_LOAD: Ordering = Ordering::Acquire;

    /// The serving side publishes a CQE it has written. Partner: [`CQ_TAIL_LOAD`](Self::CQ_TAIL_LOAD).
    const CQ_TAIL_STORE: Ordering = Ordering::Release;
    /// The program looks for new CQEs, before it reads them. Partner: [`CQ_TAIL_STORE`](Self::CQ_TAIL_STORE).
    const CQ_TAIL_LOAD: Ordering = Ordering::Acquire;

    /// The program gives CQ slots back after it has read them. Partner: [`CQ_HEAD_LOAD`](Self::CQ_HEAD_LOAD).
    const CQ_HEAD_STORE: Ordering = Ordering::Release;
    /// The serving side looks for free CQ slots, before it writes into them.
    /// Partner: [`CQ_HEAD_STORE`](Self::CQ_HEAD_STORE).
    const CQ_HEAD_LOAD: Ordering = Ordering::Acquire;

    /// The poster shows other threads of the serving side the tail that it has published.
    /// Partner: [`CQ_COUNT_LOAD`](Self::CQ_COUNT_LOAD).
    const CQ_COUNT_STORE: Ordering = Ordering::Release;
    /// A thread that saw the poster's tail returns to the program, which must then see the CQEs too.
    /// Partner: [`CQ_COUNT_STORE`](Self::CQ_COUNT_STORE).
    const CQ_COUNT_LOAD: Ordering = Ordering::Acquire;

    /// A thread of the serving side takes a lock. Partner: [`UNLOCK`](Self::UNLOCK).
    const LOCK: Ordering = Ordering::Acquire;
    /// It gives the lock back: the next holder sees all that was done under it, and so does a waiter that announces itself
    /// later. Partners: [`LOCK`](Self::LOCK), [`ANNOUNCE`](Self::ANNOUNCE).
    const UNLOCK: Ordering = Ordering::Release;
    /// A waiter announces itself, before its last look at the CQ. Partner: [`UNLOCK`](Self::UNLOCK).
    const ANNOUNCE: Ordering = Ordering::Acquire;

    /// The polling thread: between showing NEED_WAKEUP and the last look at the SQ tail.
    /// Partner: [`submitter_fence`](Self::submitter_fence).
    #[inline]
    fn sleeper_fence() {
        fence(Ordering::SeqCst);
    }
    /// The program: between publishing the SQ tail and looking for NEED_WAKEUP.
    /// Partner: [`sleeper_fence`](Self::sleeper_fence).
    #[inline]
    fn submitter_fence() {
        fence(Ordering::SeqCst);
    }

    /// The tenant of a lock: between showing that it is inside and looking whether it still is the tenant.
    /// Partner: [`eviction_fence`](Self::eviction_fence), which makes a full fence of it.
    #[inline]
    fn tenant_fence() {
        fence_of_compiler();
    }
    /// Whoever ends a tenancy: between the notice and looking whether the tenant is inside.
    /// Partner: [`tenant_fence`](Self::tenant_fence).
    #[inline]
    fn eviction_fence() {
        fence_in_all_threads();
    }
}

/// The table as it stands.
#[derive(Debug)]
pub enum Production {}

impl Orderings for Production {
    type SqHead = StoreRelease;
}
