//! A lock in shared memory, for the processes that serve one ring, that also counts who waits for what it guards.
//!
//! Rings inherited over fork are used by parent and child, and each takes part in both queues. So the locks lie in the
//! ring's memory and wait by a process-shared futex. No allocation, no thread-local, no errno.
//!
//! Not recursive. A process that dies while it holds a lock leaves it locked: hold them over memory
//! operations only, while no handler of the program can run.
//!
//! The word holds the lock's state and, above it, the number of announced waiters: threads that wait for the guarded
//! thing to change, not for the lock. Whoever releases the lock learns of them by the very operation that releases it.

use core::marker::PhantomData;
use core::num::NonZeroU32;

use crate::futex::Futex;
use crate::orderings::{Orderings, Production};
use crate::primitive::{Ordering::Relaxed, spin_loop};
use crate::tenancy::Tenancy;

/// Somebody has the lock.
const HELD: u32 = 1;
/// Somebody may sleep in the futex: the holder must wake when it leaves.
const CONTENDED: u32 = 2;
/// One announced waiter.
const WAITER: u32 = 4;

/// Looks at the word before sleeping: the locks are held for tens of nanoseconds.
const SPINS: u32 = if cfg!(loom) { 1 } else { 100 };

/// A lock that may lie in memory shared between processes. All zero bytes: free.
#[derive(Debug)]
#[cfg_attr(not(loom), repr(C))]
pub struct SharedLock {
    futex: Futex,
    tenancy: Tenancy,
}

impl Default for SharedLock {
    fn default() -> Self {
        Self { futex: Futex::new(0), tenancy: Tenancy::none() }
    }
}

impl SharedLock {
    /// A free lock.
    pub fn new() -> Self {
        Self::default()
    }

    /// A free lock, for which a thread that has it to itself [pays little](Self::lock_by).
    pub fn to_let() -> Self {
        Self { tenancy: Tenancy::to_let(), ..Self::default() }
    }

    /// Waits for the lock and takes it.
    #[inline]
    pub fn lock(&self) -> SharedGuard<'_> {
        self.lock_as()
    }

    /// [`lock`](Self::lock) by the thread with this number (`gettid.2`). The first to do so becomes the tenant. `None`: a thread
    /// whose number another process could have, too.
    #[inline]
    pub fn lock_by(&self, thread: Option<NonZeroU32>) -> SharedGuard<'_> {
        self.lock_by_as(thread)
    }

    /// [`lock_by`](Self::lock_by), with a table of orderings.
    #[inline]
    pub fn lock_by_as<O: Orderings>(&self, thread: Option<NonZeroU32>) -> SharedGuard<'_, O> {
        if self.tenancy.enter::<O>(thread) {
            SharedGuard { lock: self, is_tenant: true, orderings: PhantomData }
        } else {
            self.lock_as()
        }
    }

    /// [`lock`](Self::lock), with a table of orderings.
    #[inline]
    pub fn lock_as<O: Orderings>(&self) -> SharedGuard<'_, O> {
        self.tenancy.end::<O>();
        self.try_lock_as().unwrap_or_else(|| self.lock_contended())
    }

    /// Takes the lock, which has no tenant, if it is free.
    #[inline]
    fn try_lock_as<O: Orderings>(&self) -> Option<SharedGuard<'_, O>> {
        let mut word = self.futex.word.load(Relaxed);
        while word & HELD == 0 {
            match self.exchange::<O>(word, HELD) {
                Ok(guard) => return Some(guard),
                Err(now) => word = now,
            }
        }
        None
    }

    /// Takes a free lock and sets bits. Gives back the word when that has changed.
    #[inline]
    fn exchange<O: Orderings>(&self, word: u32, bits: u32) -> Result<SharedGuard<'_, O>, u32> {
        // Partner: UNLOCK in SharedGuard::unlock.
        self.futex.word.compare_exchange(word, word | bits, O::LOCK, Relaxed).map(|_| SharedGuard {
            lock: self,
            is_tenant: false,
            orderings: PhantomData,
        })
    }

    #[cold]
    fn lock_contended<O: Orderings>(&self) -> SharedGuard<'_, O> {
        for _ in 0..SPINS {
            match self.futex.word.load(Relaxed) & (HELD | CONTENDED) {
                HELD => spin_loop(),
                // Others sleep already.
                CONTENDED.. => break,
                _ => {
                    if let Some(guard) = self.try_lock_as() {
                        return guard;
                    }
                }
            }
        }
        loop {
            let word = self.futex.word.load(Relaxed);
            if word & HELD == 0 {
                // From here on we may have slept and cannot know who else sleeps: take it as contended.
                if let Ok(guard) = self.exchange(word, HELD | CONTENDED) {
                    return guard;
                }
                continue;
            }
            let contended = word | CONTENDED;
            let is_marked = word == contended
                || self.futex.word.compare_exchange(word, contended, Relaxed, Relaxed).is_ok();
            if is_marked {
                self.futex.wait(contended);
            }
        }
    }

    /// Announces a waiter, before its last look at what it waits for. Whoever releases the lock later is told; what was done
    /// under the lock by those who released it before is seen by that look. Either way nothing is missed. `thread` as in
    /// [`lock_by`](Self::lock_by).
    #[inline]
    pub fn announce<O: Orderings>(&self, thread: Option<NonZeroU32>) {
        if !self.tenancy.is_of(thread) {
            // A tenant does not look at the word in one step with its release.
            self.tenancy.end::<O>();
        }
        // Partner: UNLOCK in SharedGuard::release. Both are read-modify-writes of one word, so that one comes first.
        self.futex.word.fetch_add(WAITER, O::ANNOUNCE);
    }

    /// Takes an announcement back.
    #[inline]
    pub fn retire(&self) {
        self.futex.word.fetch_sub(WAITER, Relaxed);
    }

    /// Wakes one who sleeps for the lock. It marks the lock as contended again, for those who sleep on.
    #[cold]
    fn wake(&self) {
        self.futex.word.fetch_and(!CONTENDED, Relaxed);
        self.futex.wake_one();
    }

    /// Whether somebody has it just now: a hint.
    #[inline]
    pub fn is_held(&self) -> bool {
        self.tenancy.is_inside() || self.futex.word.load(Relaxed) & HELD != 0
    }

    /// How many waiters are announced. For who has ordered itself with them by other means.
    #[inline]
    pub fn announced(&self) -> u32 {
        self.futex.word.load(Relaxed) / WAITER
    }
}

/// The right to do what the lock guards; given back on drop.
#[derive(Debug)]
#[must_use]
pub struct SharedGuard<'a, O: Orderings = Production> {
    lock: &'a SharedLock,
    /// The lock's tenant has it, without touching the word.
    is_tenant: bool,
    orderings: PhantomData<fn() -> O>,
}

impl<O: Orderings> SharedGuard<'_, O> {
    /// Gives the lock back. Returns how many waiters are announced, who must be woken if there is something for them.
    #[inline(always)]
    pub fn release(self) -> u32 {
        let waiters = self.unlock();
        core::mem::forget(self);
        waiters
    }

    #[inline]
    fn unlock(&self) -> u32 {
        if self.is_tenant {
            // Nobody else can be announced: who is ends the tenancy first.
            let waiters = self.lock.announced();
            self.lock.tenancy.leave::<O>();
            return waiters;
        }
        // Partners: LOCK in exchange, ANNOUNCE in announce.
        let word = self.lock.futex.word.fetch_sub(HELD, O::UNLOCK);
        if word & CONTENDED != 0 {
            self.lock.wake();
        }
        word / WAITER
    }
}

impl<O: Orderings> Drop for SharedGuard<'_, O> {
    #[inline]
    fn drop(&mut self) {
        self.unlock();
    }
}
