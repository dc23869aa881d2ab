//! Leaves out the steps whose results the interface does not fix.
//!
//! Requests of one submission that are not linked may run in any order, so only one chain of a submission works on a
//! lane. What waits for an object gets the next thing that comes there, so nothing else reads from a lane while a
//! request may wait on it, until the program feeds the object. This runs after steps were masked, so that a shrunk
//! sequence keeps the rules, too.

use ringer_abi::{Opcode, SqeFlags};

use super::sequence::{LANES, Object, Request, Step};

/// The most requests of one submission: with their completions they fit the rings.
const MOST_PUSHED: usize = 10;

/// The steps that keep the rules, with their numbers.
pub fn admit(steps: Vec<(usize, Step)>) -> Vec<(usize, Step)> {
    let mut rules = Rules::default();
    steps.into_iter().filter(|(_, step)| rules.admit(step)).collect()
}

#[derive(Debug, Default)]
struct Rules {
    /// Requests since the last submission.
    pushed: usize,
    /// The number of the chain that the next request begins or continues.
    chain: usize,
    /// Whether the next request continues a chain.
    linked: bool,
    /// Whether this chain has a member that may wait.
    chain_waits: bool,
    /// The chain of this submission that works on a lane.
    users: [Option<usize>; LANES],
    /// The object of a lane that a request may be waiting on.
    waits: [Option<Wait>; LANES],
    /// Whether a request may be waiting on nothing but time.
    timed: bool,
    /// Whether a request of this submission is drained, or sends without a copy.
    drains: bool,
    sends_zero_copy: bool,
    /// Whether nothing may follow in this submission.
    closed: bool,
}

/// A request that may be waiting.
#[derive(Clone, Copy, Debug)]
struct Wait {
    object: Object,
    /// Whether it goes on waiting after the object was fed.
    stays: bool,
}

impl Rules {
    fn admit(&mut self, step: &Step) -> bool {
        match step {
            Step::Submit { .. } => {
                self.settle();
                true
            }
            Step::Feed { lane, object, .. } => {
                // What was pushed is submitted first, and nobody else has a say.
                self.settle();
                if self.waits[*lane].is_some_and(|wait| wait.object == *object && !wait.stays) {
                    self.waits[*lane] = None;
                }
                true
            }
            Step::Push(request) => self.admit_request(request),
        }
    }

    fn settle(&mut self) {
        (self.pushed, self.linked, self.chain_waits, self.closed) = (0, false, false, false);
        (self.drains, self.sends_zero_copy) = (false, false);
        self.chain += 1;
        self.users = [None; LANES];
    }

    fn admit_request(&mut self, request: &Request) -> bool {
        if self.closed || self.pushed >= MOST_PUSHED {
            return false;
        }
        if !self.linked {
            self.chain += 1;
            self.chain_waits = false;
        }
        let waiting = self.waits.iter().any(Option::is_some) || self.timed;
        let alone = looks_back(request.opcode);
        if alone && self.pushed > 0 {
            return false;
        }
        if request.flags.contains(SqeFlags::IO_DRAIN) && waiting {
            return false;
        }
        // The kernel counts the notification of a zero-copy send as a request that a drained one waits for, though it
        // belongs to a later request of its own chain: neither ever completes.
        let drains = request.flags.contains(SqeFlags::IO_DRAIN);
        if (drains && self.sends_zero_copy) || (request.opcode == Opcode::SendZc && (drains || self.drains)) {
            return false;
        }
        if request.opcode == Opcode::LinkTimeout && !self.linked && !request.draws[0].is_multiple_of(8) {
            return false;
        }
        if uses_lane(request.opcode) {
            let lane = request.lane;
            let own = self.users[lane] == Some(self.chain);
            if !own && (self.waits[lane].is_some() || self.users[lane].is_some() || self.chain_waits) {
                return false;
            }
            if let Some(wait) = waits_on(request) {
                if self.chain_waits {
                    return false;
                }
                self.waits[lane] = Some(wait);
                self.chain_waits = true;
            }
            self.users[lane] = Some(self.chain);
        }
        if request.opcode == Opcode::Timeout {
            self.timed = true;
        }
        self.drains |= drains;
        self.sends_zero_copy |= request.opcode == Opcode::SendZc;
        self.pushed += 1;
        self.linked = request.flags.intersects(SqeFlags::IO_LINK | SqeFlags::IO_HARDLINK);
        self.closed = alone;
        true
    }
}

/// Whether a request works on the objects of its lane.
fn uses_lane(opcode: Opcode) -> bool {
    !matches!(
        opcode,
        Opcode::Nop
            | Opcode::Timeout
            | Opcode::TimeoutRemove
            | Opcode::LinkTimeout
            | Opcode::AsyncCancel
            | Opcode::PollRemove
            | Opcode::Socket
            | Opcode::MsgRing
            | Opcode::Madvise
    )
}

/// Whether a request names earlier ones: alone in its submission, it finds them waiting or done.
pub fn looks_back(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::AsyncCancel | Opcode::PollRemove | Opcode::TimeoutRemove)
}

/// What a request may wait on.
fn waits_on(request: &Request) -> Option<Wait> {
    let reads = matches!(
        request.opcode,
        Opcode::Read
            | Opcode::Readv
            | Opcode::ReadFixed
            | Opcode::ReadvFixed
            | Opcode::ReadMultishot
            | Opcode::Recv
            | Opcode::Recvmsg
            | Opcode::Splice
            | Opcode::Tee
            | Opcode::EpollWait
    );
    let polls = request.opcode == Opcode::PollAdd && request.object != Object::File;
    let stays = request.opcode == Opcode::ReadMultishot || polls;
    (polls || reads && request.object.can_wait()).then_some(Wait { object: request.object, stays })
}
