//! What a process leaves to the others that serve the same ring when it ends, for whoever looks at the ring next.

use crate::memory::ServingMemory;
use crate::orderings::Orderings;
use crate::primitive::AtomicU32;
use crate::primitive::Ordering::Relaxed;
use crate::sides::ServingRing;

/// What one bequest consists of. What it means is up to the processes.
pub type Bequest = [u32; 5];

/// The most that can be left at a time.
const MOST: usize = 64;

/// The bequests of a ring. Everything is `Relaxed`: they are changed under the completion lock.
#[derive(Debug)]
pub(crate) struct Bequests {
    count: AtomicU32,
    words: [[AtomicU32; 5]; MOST],
}

impl Bequests {
    pub(crate) fn none() -> Self {
        let zero = |_| core::array::from_fn(|_| AtomicU32::new(0));
        Self { count: AtomicU32::new(0), words: core::array::from_fn(zero) }
    }
}

impl<M: ServingMemory, O: Orderings> ServingRing<M, O> {
    /// Leaves something behind. False if there is no room.
    pub fn bequeath(&self, bequest: &Bequest) -> bool {
        let bequests = &self.memory.control().bequests;
        let _guard = self.lock_completions();
        let count = bequests.count.load(Relaxed);
        let Some(words) = bequests.words.get(count as usize) else { return false };
        for (word, value) in words.iter().zip(bequest) {
            word.store(*value, Relaxed);
        }
        bequests.count.store(count + 1, Relaxed);
        true
    }

    /// Whether something was left. What is left just now is for the next look.
    #[inline]
    pub fn has_bequests(&self) -> bool {
        self.memory.control().bequests.count.load(Relaxed) > 0
    }

    /// Takes what was left last, if anything is there.
    #[inline]
    pub fn inherit(&self) -> Option<Bequest> {
        if !self.has_bequests() {
            return None;
        }
        let bequests = &self.memory.control().bequests;
        let _guard = self.lock_completions();
        let last = bequests.count.load(Relaxed).checked_sub(1)?;
        let words = bequests.words.get(last as usize)?;
        bequests.count.store(last, Relaxed);
        Some(core::array::from_fn(|index| words[index].load(Relaxed)))
    }
}
