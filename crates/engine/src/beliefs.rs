//! What is believed of the program's files, so that it need not be asked before every transfer.
//!
//! A descriptor number may come to mean another file at any time without our notice. So a belief may only decide *how* a
//! request is tried first, never what it does; and it is asked anew after a while.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers share a slot with others that are this far away.
const SLOTS: usize = 64;
/// How often a belief is used before it is asked anew.
const USES: u64 = 64;

/// The answers to one question about files, as far as they were seen.
#[derive(Debug)]
pub(crate) struct Beliefs {
    /// The number plus one, the uses that are left, and the answer.
    slots: [AtomicU64; SLOTS],
}

impl Default for Beliefs {
    fn default() -> Self {
        Self { slots: [const { AtomicU64::new(0) }; SLOTS] }
    }
}

const ANSWER: u64 = 1;
const ONE_USE: u64 = 2;
const USES_MASK: u64 = 0xffff;

fn number(fd: RawFd) -> u64 {
    (fd as u32 as u64 + 1) << 16
}

impl Beliefs {
    fn slot(&self, fd: RawFd) -> &AtomicU64 {
        &self.slots[fd as usize % SLOTS]
    }

    /// The answer that is believed of the file. `None`: it must be asked.
    #[inline]
    pub(crate) fn recall(&self, fd: RawFd) -> Option<bool> {
        // Relaxed, here and below: a use that is counted twice or not at all does no harm.
        let slot = self.slot(fd);
        let belief = slot.load(Ordering::Relaxed);
        if belief & !USES_MASK != number(fd) || belief & USES_MASK < ONE_USE {
            return None;
        }
        slot.store(belief - ONE_USE, Ordering::Relaxed);
        Some(belief & ANSWER != 0)
    }

    /// Notes an answer.
    pub(crate) fn note(&self, fd: RawFd, answer: bool) {
        let belief = number(fd) | (USES * ONE_USE) | u64::from(answer);
        self.slot(fd).store(belief, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_belief_is_for_one_number_and_wears_off() {
        let beliefs = Beliefs::default();
        assert_eq!(beliefs.recall(0), None);
        beliefs.note(0, true);
        assert_eq!(beliefs.recall(SLOTS as RawFd), None, "another number in the same slot");
        for _ in 0..USES {
            assert_eq!(beliefs.recall(0), Some(true));
        }
        assert_eq!(beliefs.recall(0), None);
        beliefs.note(64, false);
        assert_eq!((beliefs.recall(64), beliefs.recall(0)), (Some(false), None));
    }
}
