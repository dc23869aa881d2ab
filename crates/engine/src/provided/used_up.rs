//! The order in which a program hears of buffers that are used up bit by bit (`IOU_PBUF_RING_INC`).
//!
//! The CQE that ends such a buffer gives it back to the program. It must not come before the CQEs of the bits that were taken earlier, maybe by
//! another thread: what is in them would be overwritten. Linux takes and posts under one lock. So whoever takes bits keeps others from it until
//! its CQE is posted.

use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};

use ringer_sys::thread::Lock;

use super::ProvidedBuffers;

/// Who may take bits of a ring's buffers.
#[derive(Debug, Default)]
pub(crate) struct BitsInOrder {
    /// The ring has, or had, such buffers.
    is_needed: AtomicBool,
    lock: Lock<()>,
}

impl BitsInOrder {
    /// For a ring that has these.
    pub(crate) fn of(provided: &ProvidedBuffers) -> Self {
        Self { is_needed: AtomicBool::new(provided.has_incremental()), lock: Lock::default() }
    }

    /// The ring is about to have such buffers.
    pub(crate) fn need(&self) {
        // Relaxed: who takes of a group finds it under the lock of the groups, which the caller holds.
        self.is_needed.store(true, Ordering::Relaxed);
    }

    /// From now on nobody else takes bits. `None`: there are none to take.
    #[inline]
    pub(crate) fn hold(&self) -> Option<MutexGuard<'_, ()>> {
        self.is_needed.load(Ordering::Relaxed).then(|| self.lock.lock())
    }
}
