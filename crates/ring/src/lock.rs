//! A lock in shared memory, for the processes that serve one ring.
//!
//! Rings inherited over fork are used by parent and child, and each takes part in both queues. So the locks lie in the
//! ring's memory and wait by a process-shared futex. No allocation, no thread-local, no errno.
//!
//! Not recursive. A process that dies while it holds a lock leaves it locked: hold them over memory
//! operations only, with signals blocked.

use core::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::futex;

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and somebody may sleep in the futex: the holder must wake when it leaves.
const CONTENDED: u32 = 2;

/// Looks at the word before sleeping: the locks are held for tens of nanoseconds.
const SPINS: u32 = 100;

/// A lock that may lie in memory shared between processes. All zero bytes: free.
#[derive(Debug)]
#[repr(transparent)]
pub struct SharedLock {
    word: AtomicU32,
}

impl SharedLock {
    /// A free lock.
    pub const fn new() -> Self {
        Self { word: AtomicU32::new(FREE) }
    }

    /// Waits for the lock and takes it.
    #[inline]
    pub fn lock(&self) -> SharedGuard<'_> {
        if let Some(guard) = self.try_lock() {
            return guard;
        }
        self.lock_contended();
        SharedGuard { lock: self }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<SharedGuard<'_>> {
        // Acquire: everything the last holder did is visible. Partner: the Release in SharedGuard::drop.
        self.word
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
            .then_some(SharedGuard { lock: self })
    }

    #[cold]
    fn lock_contended(&self) {
        for _ in 0..SPINS {
            match self.word.load(Ordering::Relaxed) {
                // Acquire: as in try_lock.
                FREE if self
                    .word
                    .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok() =>
                {
                    return;
                }
                CONTENDED => break,
                _ => core::hint::spin_loop(),
            }
        }
        // From here on we may have slept and cannot know who else sleeps: take it as contended.
        // Acquire: as in try_lock.
        while self.word.swap(CONTENDED, Ordering::Acquire) != FREE {
            // An error means that the word has changed or a signal came: look again in both cases.
            let _ = futex::wait(&self.word, futex::Flags::empty(), CONTENDED, None);
        }
    }
}

impl Default for SharedLock {
    fn default() -> Self {
        Self::new()
    }
}

/// The right to do what the lock guards; given back on drop.
#[derive(Debug)]
#[must_use]
pub struct SharedGuard<'a> {
    lock: &'a SharedLock,
}

impl Drop for SharedGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release: everything done under the lock. Partner: the Acquire in try_lock and lock_contended.
        if self.lock.word.swap(FREE, Ordering::Release) == CONTENDED {
            wake_one(&self.lock.word);
        }
    }
}

#[cold]
fn wake_one(word: &AtomicU32) {
    // It can only fail for a bad address.
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}
