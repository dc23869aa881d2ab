//! A lock in shared memory, for the processes that serve one ring.
//!
//! Rings inherited over fork are used by parent and child, and each takes part in both queues. So the locks lie in the
//! ring's memory and wait by a process-shared futex. No allocation, no thread-local, no errno.
//!
//! Not recursive. A process that dies while it holds a lock leaves it locked: hold them over memory
//! operations only, with signals blocked.

use core::marker::PhantomData;

use crate::futex::Futex;
use crate::orderings::{Orderings, Production};
use crate::primitive::{Ordering::Relaxed, spin_loop};

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and somebody may sleep in the futex: the holder must wake when it leaves.
const CONTENDED: u32 = 2;

/// Looks at the word before sleeping: the locks are held for tens of nanoseconds.
const SPINS: u32 = if cfg!(loom) { 1 } else { 100 };

/// A lock that may lie in memory shared between processes. All zero bytes: free.
#[derive(Debug)]
#[cfg_attr(not(loom), repr(transparent))]
pub struct SharedLock<O = Production> {
    futex: Futex,
    orderings: PhantomData<fn() -> O>,
}

impl SharedLock {
    /// A free lock.
    pub fn new() -> Self {
        Self::default()
    }
}

impl<O> Default for SharedLock<O> {
    fn default() -> Self {
        Self { futex: Futex::new(FREE), orderings: PhantomData }
    }
}

impl<O: Orderings> SharedLock<O> {
    /// Waits for the lock and takes it.
    #[inline]
    pub fn lock(&self) -> SharedGuard<'_, O> {
        self.try_lock().unwrap_or_else(|| self.lock_contended())
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<SharedGuard<'_, O>> {
        // Partner: UNLOCK in SharedGuard::drop.
        let taken = self.futex.word.compare_exchange(FREE, HELD, O::LOCK, Relaxed).is_ok();
        taken.then(|| SharedGuard { lock: self })
    }

    #[cold]
    fn lock_contended(&self) -> SharedGuard<'_, O> {
        for _ in 0..SPINS {
            match self.futex.word.load(Relaxed) {
                FREE => {
                    if let Some(guard) = self.try_lock() {
                        return guard;
                    }
                }
                HELD => spin_loop(),
                // Others sleep already.
                _ => break,
            }
        }
        // From here on we may have slept and cannot know who else sleeps: take it as contended.
        // Partner: UNLOCK in SharedGuard::drop.
        while self.futex.word.swap(CONTENDED, O::LOCK) != FREE {
            self.futex.wait(CONTENDED);
        }
        SharedGuard { lock: self }
    }
}

/// The right to do what the lock guards; given back on drop.
#[derive(Debug)]
#[must_use]
pub struct SharedGuard<'a, O: Orderings = Production> {
    lock: &'a SharedLock<O>,
}

impl<O: Orderings> Drop for SharedGuard<'_, O> {
    #[inline]
    fn drop(&mut self) {
        // Partner: LOCK in try_lock and lock_contended.
        if self.lock.futex.word.swap(FREE, O::UNLOCK) == CONTENDED {
            self.lock.futex.wake_one();
        }
    }
}
