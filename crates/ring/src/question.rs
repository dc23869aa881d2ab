//! A question that one process puts to the others that serve the same ring, one at a time.
//!
//! A request lives in the process that submitted it. A process that inherited the ring can only ask for what it wants
//! done with one.
//!
//! ```text
//! asker                              another process
//!   free -> written -> asked
//!                                      asked -> taken: it is mine, or asked again
//!                                      taken -> answered
//!   answered -> free
//! ```
//!
//! Either side may end at any time. The asker gives up after a while, and takes the question back.

use crate::memory::ServingMemory;
use crate::orderings::Orderings;
use crate::primitive::AtomicU32;
use crate::primitive::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sides::ServingRing;

/// What a question consists of. What it means is up to the processes.
pub type Words = [u32; 4];

const FREE: u32 = 0;
const WRITTEN: u32 = 1;
const ASKED: u32 = 2;
const TAKEN: u32 = 3;
const ANSWERED: u32 = 4;

/// The place of the question in memory that the processes share.
#[derive(Debug)]
pub(crate) struct Question {
    state: AtomicU32,
    /// Which question it is: no process takes one twice. Never 0.
    number: AtomicU32,
    words: [AtomicU32; 4],
    answer: AtomicU32,
}

impl Question {
    pub(crate) fn none() -> Self {
        Self {
            state: AtomicU32::new(FREE),
            number: AtomicU32::new(0),
            words: core::array::from_fn(|_| AtomicU32::new(0)),
            answer: AtomicU32::new(0),
        }
    }

    fn change(&self, from: u32, to: u32) -> bool {
        // Partner: itself, in the other process. What was written before one change is seen after the next.
        self.state.compare_exchange(from, to, AcqRel, Relaxed).is_ok()
    }
}

impl<M: ServingMemory, O: Orderings> ServingRing<M, O> {
    /// Puts a question to the other processes. Returns its number, or `None` while another one is put.
    pub fn ask(&self, words: &Words) -> Option<u32> {
        let question = &self.memory.control().question;
        if !question.change(FREE, WRITTEN) {
            return None;
        }
        for (word, value) in question.words.iter().zip(words) {
            word.store(*value, Relaxed);
        }
        // Only the asker changes it. The numbers wrap around beside 0.
        let number = question.number.load(Relaxed).wrapping_add(1).max(1);
        question.number.store(number, Relaxed);
        // Partner: the Acquire in `take_question`.
        question.state.store(ASKED, Release);
        Some(number)
    }

    /// Takes the question of another process, if there is one that is not `seen`. Returns it with its number. It is to be
    /// [answered](Self::answer), or [passed on](Self::pass_on).
    #[inline]
    pub fn take_question(&self, seen: u32) -> Option<(Words, u32)> {
        let question = &self.memory.control().question;
        // Partner: the Release in `ask`.
        if question.state.load(Acquire) != ASKED {
            return None;
        }
        if question.number.load(Relaxed) == seen || !question.change(ASKED, TAKEN) {
            return None;
        }
        let words = core::array::from_fn(|index| question.words[index].load(Relaxed));
        Some((words, question.number.load(Relaxed)))
    }

    /// The question is for another process.
    pub fn pass_on(&self) {
        // If it fails the asker has given up.
        self.memory.control().question.change(TAKEN, ASKED);
    }

    /// Answers the question that was taken.
    pub fn answer(&self, answer: i32) {
        let question = &self.memory.control().question;
        question.answer.store(answer.cast_unsigned(), Relaxed);
        // As above.
        question.change(TAKEN, ANSWERED);
    }

    /// Takes the answer, if it is there. The place is free then.
    pub fn take_answer(&self) -> Option<i32> {
        let question = &self.memory.control().question;
        // Partner: the change in `answer`.
        if question.state.load(Acquire) != ANSWERED {
            return None;
        }
        let answer = question.answer.load(Relaxed);
        // Partner: the change in the next `ask`.
        question.state.store(FREE, Release);
        Some(answer.cast_signed())
    }

    /// Takes a question back that nobody has taken. False if somebody has.
    pub fn withdraw_question(&self) -> bool {
        self.memory.control().question.change(ASKED, FREE)
    }

    /// Gives up a question that somebody has taken, and may never answer.
    pub fn abandon_question(&self) {
        let question = &self.memory.control().question;
        if !question.change(TAKEN, FREE) {
            question.change(ANSWERED, FREE);
        }
    }
}
