//! Which sockets have more to read than was received (`IORING_CQE_F_SOCK_NONEMPTY`).
//!
//! Linux knows it as a receive ends. Here it takes a system call, and one for each receive is a good part of what the receive itself takes. So a turn asks
//! for all its receives at once, before it publishes their CQEs or does anything else that may change the answer.

use arrayvec::ArrayVec;
use ringer_abi::{Cqe, CqeFlags, Opcode};
use ringer_ops::{MORE_TO_READ, has_more_to_read};
use ringer_sys::Errno;
use ringer_sys::call::{self, PollFd};

use crate::request::{FileRef, Held};
use crate::turn::{Turn, UNPUBLISHED};

const POLLIN: u16 = ringer_abi::poll::POLLIN as u16;

/// What is still to be asked in a turn.
#[derive(Debug, Default)]
pub(crate) struct Questions(ArrayVec<Question, UNPUBLISHED>);

#[derive(Debug)]
struct Question {
    /// Which of the unpublished CQEs the answer is for.
    index: usize,
    file: FileRef,
}

impl Questions {
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the answers stay the same whatever this operation does: another socket receives.
    fn are_left_alone_by(&self, opcode: u8, file: &FileRef) -> bool {
        const RECV: u8 = Opcode::Recv.number();
        const RECVMSG: u8 = Opcode::Recvmsg.number();
        matches!(opcode, RECV | RECVMSG) && self.0.iter().all(|question| question.file.raw() != file.raw())
    }

    /// Asks, and puts the answers into the CQEs.
    fn settle(&mut self, unpublished: &mut [Cqe]) {
        let mut polled: ArrayVec<PollFd, UNPUBLISHED> =
            self.0.iter().map(|question| PollFd::new(question.file.raw(), MORE_TO_READ)).collect();
        loop {
            match call::poll_all_now(&mut polled) {
                Ok(()) => break,
                // A signal, which is delivered when the engine is done.
                Err(Errno::INTR) => {}
                // More than the process may have open, or no memory: each is looked at.
                Err(_) => {
                    polled.iter_mut().for_each(|polled| polled.revents = POLLIN);
                    break;
                }
            }
        }
        for (question, polled) in self.0.drain(..).zip(polled) {
            if has_more_to_read(polled.fd, polled.revents) {
                unpublished[question.index].flags |= CqeFlags::SOCK_NONEMPTY.bits();
            }
        }
    }
}

impl Turn<'_> {
    /// The next CQE that is posted is that of an attempt which holds this. If it is of a receive, the question is asked later.
    #[inline]
    pub(crate) fn ask_for_more(&mut self, held: &mut Held) {
        if std::mem::take(&mut held.asks_for_more) {
            self.put_question(held);
        }
    }

    fn put_question(&mut self, held: &mut Held) {
        // Its CQE comes before what tells that its file is gone.
        let is_tagged = held.is_tagged();
        let file = if is_tagged { FileRef::Program(held.file.raw()) } else { std::mem::take(&mut held.file) };
        self.questions.0.push(Question { index: self.unpublished.len(), file });
    }

    /// To be called before an operation that may change the answers.
    #[inline]
    pub(crate) fn settle_before(&mut self, opcode: u8, file: &FileRef) {
        if !self.questions.is_empty() && !self.questions.are_left_alone_by(opcode, file) {
            self.settle();
        }
    }

    /// Asks what is still to be asked.
    #[cold]
    pub(crate) fn settle(&mut self) {
        self.questions.settle(&mut self.unpublished);
    }
}
