//! The shared-memory protocol of io_uring, both sides.
//!
//! One protocol, written once: [`ServingRing`] is the side the kernel plays, [`ClientRing`] the program's.
//! Both are generic over the [`Memory`] they run in and the [`Orderings`] they use. Production runs
//! over mapped pages with the orderings as they should be ([`SharedRing`], [`MappedClientRing`]); the model checker
//! runs the same code over the heap, also with orderings that are wrong on purpose. The argument is told in
//! `docs/MEMORY_ORDERING.md`.
//!
//! | file | what |
//! |---|---|
//! | `sq.rs`, `cq.rs` | the two queues, both sides |
//! | `wakeup.rs`, `waiters.rs` | the two handshakes: with the polling thread, and with threads that wait |
//! | `question.rs`, `bequest.rs` | what a process asks the others that serve the same ring, and what it leaves to them |
//! | `orderings.rs`, `head_publication.rs` | every ordering with its partner |
//! | `memory.rs` | what the protocol needs of memory; below it the pages and the model's heap |
//! | `shape.rs` | sizes and offsets |
//! | `shared_ring.rs`, `program_mapping.rs`, `lock.rs` | the engine's ring: its pages, the program's mappings, its locks |
//! | `program_pages.rs` | other pages that the engine allocates and the program maps |
//! | `client_ring.rs` | the program's ring over mappings of any io_uring |

mod bequest;
#[cfg(not(loom))]
mod client_ring;
mod cq;
mod futex;
mod head_publication;
mod lock;
mod memory;
mod orderings;
mod primitive;
#[cfg(not(loom))]
mod program_mapping;
#[cfg(not(loom))]
mod program_pages;
mod question;
mod shape;
#[cfg(not(loom))]
mod shared_ring;
mod sides;
mod sq;
mod tenancy;
mod waiters;
mod wakeup;

pub use bequest::Bequest;
#[cfg(not(loom))]
pub use client_ring::MappedClientRing;
pub use cq::{CqBatch, CqFull};
#[cfg(loom)]
pub use head_publication::{BarrierAfterStore, NoBarrier};
pub use head_publication::{FullBarrier, HeadPublication, StoreRelease};
pub use lock::{SharedGuard, SharedLock};
#[cfg(loom)]
pub use memory::HeapMemory;
#[cfg(not(loom))]
pub use memory::{Bases, MappedMemory};
pub use memory::{Control, Memory, ServingMemory, SharedWord};
pub use orderings::{Orderings, Production};
#[cfg(not(loom))]
pub use primitive::prepare_tenancies;
#[cfg(not(loom))]
pub use program_pages::ProgramPages;
pub use shape::RingShape;
#[cfg(not(loom))]
pub use shared_ring::{Area, SharedPages, SharedRegion, SharedRing};
pub use sides::{ClientRing, ServingRing};
pub use sq::{SqBatch, SqFull, Taken};
