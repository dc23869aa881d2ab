//! What is believed of the program's files, so that it need not be asked before every transfer.
//!
//! A descriptor number may come to mean another file at any time without our notice. So a belief may only decide *how* a
//! request is tried first, never what it does; and it is asked anew after a while.

use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use ringer_ops::OpenedFor;
use ringer_sys::call::PlainFor;

/// Numbers share a slot with others that are this far away.
const SLOTS: usize = 64;
/// How often a belief is used before it is asked anew.
const USES: u64 = 64;

/// What is answered to a question about a file.
pub(crate) trait Answer: Copy {
    /// The answer within [`ANSWER`].
    fn to_bits(self) -> u64;
    /// The answer that has these bits.
    fn from_bits(bits: u64) -> Self;
}

impl Answer for bool {
    fn to_bits(self) -> u64 {
        u64::from(self)
    }

    fn from_bits(bits: u64) -> Self {
        bits != 0
    }
}

impl Answer for OpenedFor {
    fn to_bits(self) -> u64 {
        u64::from(self.direct) | u64::from(self.synchronous) << 1 | u64::from(self.append) << 2
    }

    fn from_bits(bits: u64) -> Self {
        Self { direct: bits & 1 != 0, synchronous: bits & 2 != 0, append: bits & 4 != 0 }
    }
}

impl Answer for PlainFor {
    fn to_bits(self) -> u64 {
        u64::from(self.reads) | u64::from(self.writes) << 1
    }

    fn from_bits(bits: u64) -> Self {
        Self { reads: bits & 1 != 0, writes: bits & 2 != 0 }
    }
}

/// The answers to one question about files, as far as they were seen.
#[derive(Debug)]
pub(crate) struct Beliefs<A = bool> {
    /// The number plus one, the uses that are left, and the answer.
    slots: [AtomicU64; SLOTS],
    answers: PhantomData<A>,
}

impl<A> Default for Beliefs<A> {
    fn default() -> Self {
        Self { slots: [const { AtomicU64::new(0) }; SLOTS], answers: PhantomData }
    }
}

const ANSWER: u64 = 7;
const ONE_USE: u64 = 8;
const USES_MASK: u64 = 0xffff;

fn number(fd: RawFd) -> u64 {
    (fd as u32 as u64 + 1) << 16
}

impl<A: Answer> Beliefs<A> {
    fn slot(&self, fd: RawFd) -> &AtomicU64 {
        &self.slots[fd as usize % SLOTS]
    }

    /// The answer that is believed of the file. `None`: it must be asked.
    #[inline]
    pub(crate) fn recall(&self, fd: RawFd) -> Option<A> {
        // Relaxed, here and below: a use that is counted twice or not at all does no harm.
        let slot = self.slot(fd);
        let belief = slot.load(Ordering::Relaxed);
        if belief & !USES_MASK != number(fd) || belief & USES_MASK < ONE_USE {
            return None;
        }
        slot.store(belief - ONE_USE, Ordering::Relaxed);
        Some(A::from_bits(belief & ANSWER))
    }

    /// Notes an answer.
    pub(crate) fn note(&self, fd: RawFd, answer: A) {
        let belief = number(fd) | (USES * ONE_USE) | answer.to_bits();
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

    #[test]
    fn what_a_file_is_open_for_comes_back_as_it_was() {
        let beliefs = Beliefs::default();
        for bits in 0..=ANSWER {
            let [direct, synchronous, append] = [1, 2, 4].map(|bit| bits & bit != 0);
            let answer = OpenedFor { direct, synchronous, append };
            beliefs.note(3, answer);
            assert_eq!(beliefs.recall(3), Some(answer));
        }
    }
}
