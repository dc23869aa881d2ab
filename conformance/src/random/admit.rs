//! Leaves out the steps whose results the interface does not fix.
//!
//! Requests of one submission that are not linked may run in any order, so only one chain of a submission works on a
//! lane. What waits for an object gets the next thing that comes there, so nothing else reads from a lane while a
//! request may wait on it, until the program feeds the object. This runs after steps were masked, so that a shrunk
//! sequence keeps the rules, too.

use ringer_abi::{Opcode, SqeFlags};

use super::sequence::{Fault, LANES, Object, Pair, Request, Step};

/// The most requests of one submission: with their completions they fit the rings.
const MOST_PUSHED: usize = 10;

/// The steps that keep the rules, with their numbers, for a ring with so much room for completions, and perhaps an eventfd that
/// hears of them.
pub fn admit(
    mut steps: Vec<(usize, Step)>,
    room: Option<u32>,
    has_eventfd: bool,
    pairs: [Pair; LANES],
) -> Vec<(usize, Step)> {
    let mut rules = Rules { room, has_eventfd, pairs: pairs.map(Some), ..Rules::default() };
    steps.retain(|(_, step)| rules.admit(step));
    // Where the kernel says that something runs already, which is a failure, it may simply be cancelled here.
    for (_, step) in &mut steps {
        if let Step::Push(request) = step
            && request.opcode == Opcode::AsyncCancel
        {
            request.flags.remove(SqeFlags::CQE_SKIP_SUCCESS);
        }
    }
    // A link that leads nowhere has the kernel run the whole chain on a worker, which has ways of its own: no
    // LINK_TIMEOUT is armed there, EPOLL_WAIT does not wait.
    let mut next = None;
    for (_, step) in steps.iter_mut().rev() {
        let Step::Push(request) = step else {
            next = None;
            continue;
        };
        if next.replace(request.ring) != Some(request.ring) {
            request.flags.remove(SqeFlags::IO_LINK | SqeFlags::IO_HARDLINK);
        }
    }
    steps
}

#[derive(Clone, Debug, Default)]
struct Rules {
    /// How many completions of a submission fit into the CQ. Which ones depends on their order.
    room: Option<u32>,
    /// Whether an eventfd hears of completions.
    has_eventfd: bool,
    /// What the pairs of the lanes are.
    pairs: [Option<Pair>; LANES],
    /// The ring that was pushed to last.
    ring: usize,
    /// Requests since the last submission.
    pushed: usize,
    /// The number of the chain that the next request begins or continues.
    chain: usize,
    /// Whether the next request continues a chain.
    linked: bool,
    /// Whether this chain has a member that may wait.
    chain_waits: bool,
    /// Whether the kernel may give a member of this chain to a worker, and with it what follows.
    chain_works: bool,
    /// Whether a member of this chain connects, perhaps to where another request waits for that.
    chain_connects: bool,
    /// The chain of this submission that works on a lane.
    users: [Option<usize>; LANES],
    /// Whether a request may be waiting on a worker of the kernel.
    worker_waits: bool,
    /// The object of a lane that a request may be waiting on.
    waits: [Option<Wait>; LANES],
    /// Whether a request may wait for a ring.
    waits_for_ring: bool,
    /// Whether a request was drained.
    drains: bool,
    /// Whether a request may have been there for longer than its submission.
    lingers: bool,
    /// The operation of the last request.
    last: Option<Opcode>,
    /// Whether nothing may follow in this submission.
    closed: bool,
}

/// A request that may be waiting.
#[derive(Clone, Copy, Debug)]
struct Wait {
    object: Object,
    /// Whether it goes on waiting after the object was fed.
    stays: bool,
    /// Whether it waits in line for the file, and not in a call of a worker of the kernel.
    in_line: bool,
    /// Whether it names the registered file, which matters for the order, as docs/SUPPORT.md says.
    fixed: bool,
    /// The ring that it is on.
    ring: usize,
}

impl Rules {
    fn admit(&mut self, step: &Step) -> bool {
        match step {
            // What waits on a worker of the kernel may not be found, or waited for in vain.
            Step::Register(registration) if registration.cancels() && self.worker_waits => false,
            Step::Submit { .. } | Step::Register(_) | Step::Replace { .. } => {
                self.settle();
                true
            }
            Step::Feed { lane, object, .. } | Step::HangUp { lane, object } => {
                // What was pushed is submitted first, and nobody else has a say.
                self.settle();
                // Nobody hears that the other end of a connection without connections is gone.
                let is_told = !matches!(step, Step::HangUp { .. })
                    || !matches!(self.pairs[*lane], Some(Pair::Udp | Pair::Datagrams));
                if is_told && self.waits[*lane].is_some_and(|wait| wait.object == *object && !wait.stays) {
                    self.waits[*lane] = None;
                }
                true
            }
            Step::Push(request) if request.ring != self.ring => {
                // What was pushed to the other one is submitted first, if this one is pushed at all.
                let mut rules = self.clone();
                rules.settle();
                rules.ring = request.ring;
                let is_admitted = rules.admit_request(request);
                if is_admitted {
                    *self = rules;
                }
                is_admitted
            }
            Step::Push(request) => self.admit_request(request),
        }
    }

    fn settle(&mut self) {
        (self.pushed, self.linked, self.chain_waits, self.closed) = (0, false, false, false);
        self.chain += 1;
        self.users = [None; LANES];
    }

    fn admit_request(&mut self, request: &Request) -> bool {
        if self.closed || self.pushed >= MOST_PUSHED {
            return false;
        }
        // Linux tells who waits for a ring also of what is done and has no completion.
        if self.waits_for_ring && request.flags.contains(SqeFlags::CQE_SKIP_SUCCESS) {
            return false;
        }
        // A request that goes on ends when its completion does not fit.
        if self.room.is_some_and(|room| room > 0) && request.repeats() {
            return false;
        }
        // When the notification comes, and whether it still finds the CQ full, is up to TCP.
        let shows_when = self.room.is_some() || self.has_eventfd;
        if shows_when && is_zero_copy(request.opcode) && self.pairs[request.lane] == Some(Pair::Tcp) {
            return false;
        }
        if !self.linked {
            self.chain += 1;
            (self.chain_waits, self.chain_works, self.chain_connects) = (false, false, false);
        }
        // Who waits is served first there, as task work, and here who comes.
        if self.chain_connects && request.opcode == Opcode::Accept {
            return false;
        }
        // On a worker of the kernel, waiting and taking buffers have ways of their own, and no LINK_TIMEOUT is armed.
        if self.chain_works && is_different_on_a_worker(request) {
            return false;
        }
        let is_terminal = matches!(request.object, Object::Left | Object::Right)
            && self.pairs[request.lane] == Some(Pair::Terminal);
        // One that is written to while task work is due takes that for a signal; one cannot be asked not to wait, which
        // workers and incremental buffers show.
        let is_write = request.writes() || matches!(request.opcode, Opcode::Splice | Opcode::Tee);
        let shows_task_work = is_write && (self.pushed > 0 || self.drains);
        let shows_waits = request.flags.contains(SqeFlags::ASYNC) || request.opcode == Opcode::ReadMultishot;
        if is_terminal && (shows_task_work || shows_waits) {
            return false;
        }
        // When Linux looks again at the own ring, or on a worker at any, is its own affair.
        let looks_some_time =
            self.chain_works || request.flags.contains(SqeFlags::ASYNC) || request.object == Object::OwnRing;
        if request.looks_at_ring() && !request.polls_ring() && looks_some_time {
            return false;
        }
        // Reading and writing an epoll instance is a known difference of the cases.
        if request.object == Object::Epoll && !matches!(request.opcode, Opcode::EpollWait | Opcode::PollAdd) {
            return false;
        }
        // On a worker of the kernel, a cancellation that matches many finds itself.
        const WORKER: SqeFlags =
            SqeFlags::IO_LINK.union(SqeFlags::IO_HARDLINK).union(SqeFlags::ASYNC).union(SqeFlags::IO_DRAIN);
        if request.opcode == Opcode::AsyncCancel && (self.drains || request.flags.intersects(WORKER)) {
            return false;
        }
        // In the midst of a submission Linux says of a ring that it is ready when something is still to be done.
        // On a worker it looks some time.
        let looks_at_itself = request.looks_at_ring() && request.object == Object::OwnRing
            || request.polls_ring() && request.flags.contains(SqeFlags::ASYNC);
        let alone =
            looks_back(request.opcode) || counts(request) || request.may_allocate() || looks_at_itself;
        if alone && self.pushed > 0 {
            return false;
        }
        // A drained request holds back later ones for a while that the interface leaves open. What waits there, or what
        // counts as two requests as a zero-copy send does, holds back everything for good, the end's cancellation, too.
        let drains = request.flags.contains(SqeFlags::IO_DRAIN);
        let lingers = is_zero_copy(request.opcode)
            || matches!(request.opcode, Opcode::Timeout | Opcode::LinkTimeout | Opcode::FutexWait)
            || request.is_multishot()
            || request.polls_first()
            || request.polls_ring()
            || waits_on(request).is_some();
        if (drains && (self.lingers || lingers)) || (lingers && self.drains) {
            return false;
        }
        // Behind a drain, Linux has a multishot ACCEPT, or one that polls first, wait for what does not listen where no cancellation
        // finds it.
        let listens = request.opcode != Opcode::Accept || request.object == Object::Listener;
        if (drains || self.drains) && !listens && request.accepts() != 0 {
            return false;
        }
        // Both would expire at the same time.
        if request.opcode == Opcode::LinkTimeout && self.linked && self.last == Some(Opcode::Timeout) {
            return false;
        }
        if request.opcode == Opcode::LinkTimeout && !self.linked && !request.draws[0].is_multiple_of(8) {
            return false;
        }
        if request.polls_ring() {
            if self.chain_waits {
                return false;
            }
            self.chain_waits = true;
        } else if uses_lane(request) {
            let lane = request.lane;
            let own = self.users[lane] == Some(self.chain);
            let waiting = self.waits[lane].filter(|wait| self.chain_works || !may_join(request, wait));
            if !own && (waiting.is_some() || self.users[lane].is_some() || self.chain_waits) {
                return false;
            }
            if let Some(wait) = waits_on(request) {
                if self.chain_waits {
                    return false;
                }
                self.worker_waits |= self.chain_works || may_be_for_a_worker(request);
                // What comes may not be enough for all that wait.
                let stays = wait.stays || self.waits[lane].is_some();
                let in_line = wait.in_line && !self.chain_works;
                self.waits[lane] = Some(Wait { stays, in_line, ..wait });
                self.chain_waits = true;
            }
            self.users[lane] = Some(self.chain);
        }
        self.waits_for_ring |= request.looks_at_ring();
        self.drains |= drains;
        self.lingers |= lingers;
        self.last = Some(request.opcode);
        self.chain_works |= may_be_for_a_worker(request);
        self.chain_connects |= request.opcode == Opcode::Connect;
        self.pushed += 1;
        self.linked = request.flags.intersects(SqeFlags::IO_LINK | SqeFlags::IO_HARDLINK);
        // Behind a drained request that is refused, Linux holds back the rest of the submission for ever.
        self.closed = alone || drains && (request.fault.is_some() || request.fixed);
        true
    }
}

/// Whether it matters where a request runs.
fn is_different_on_a_worker(request: &Request) -> bool {
    // `ioprio` may say `IORING_RECVSEND_POLL_FIRST`, a flag `RWF_NOWAIT`, a length more than a stream takes at once.
    request.select
        || request.polls_first()
        || request.accepts() != 0
        || request.opcode == Opcode::Recvmsg && request.vectors() == 0
        || request.opcode == Opcode::Recv && request.goes_on_waiting()
        || matches!(request.opcode, Opcode::LinkTimeout | Opcode::EpollWait)
        || matches!(request.fault, Some(Fault::Ioprio(_) | Fault::OpFlag(_) | Fault::Len(_)))
}

fn is_zero_copy(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::SendZc | Opcode::SendmsgZc)
}

/// Whether the kernel may give a request to a worker.
fn may_be_for_a_worker(request: &Request) -> bool {
    let on_the_spot = match request.opcode {
        Opcode::Nop
        | Opcode::PollAdd
        | Opcode::PollRemove
        | Opcode::Timeout
        | Opcode::TimeoutRemove
        | Opcode::LinkTimeout
        | Opcode::Send
        | Opcode::Sendmsg
        | Opcode::Recv
        | Opcode::Recvmsg
        | Opcode::ReadMultishot
        | Opcode::ProvideBuffers
        | Opcode::RemoveBuffers
        | Opcode::Socket
        | Opcode::MsgRing
        | Opcode::FutexWait
        | Opcode::FutexWake
        | Opcode::Accept
        | Opcode::Connect => true,
        Opcode::Read | Opcode::Readv | Opcode::Write | Opcode::Writev => {
            !matches!(request.object, Object::File | Object::Spare | Object::Directory | Object::Event)
        }
        _ => false,
    };
    request.flags.contains(SqeFlags::ASYNC) || !on_the_spot
}

/// Whether a request works on the objects of its lane.
fn uses_lane(request: &Request) -> bool {
    let sends_message = request.opcode == Opcode::MsgRing && !request.sends_file();
    !sends_message
        && !matches!(
            request.opcode,
            Opcode::Nop
                | Opcode::Timeout
                | Opcode::TimeoutRemove
                | Opcode::LinkTimeout
                | Opcode::AsyncCancel
                | Opcode::PollRemove
                | Opcode::Socket
                | Opcode::Madvise
                | Opcode::FutexWait
                | Opcode::FutexWake
                | Opcode::Waitid
        )
}

/// Whether a request names earlier ones: alone in its submission, it finds them waiting or done.
pub fn looks_back(opcode: Opcode) -> bool {
    matches!(opcode, Opcode::AsyncCancel | Opcode::PollRemove | Opcode::TimeoutRemove | Opcode::FutexWake)
}

/// Whether a request may count the completions of others.
fn counts(request: &Request) -> bool {
    request.opcode == Opcode::Timeout && request.draws[1].is_multiple_of(4)
}

/// Whether a request may be made where another one waits: one that waits for the same, or that brings what is waited for.
fn may_join(request: &Request, waiting: &Wait) -> bool {
    let waits_too = waits_on(request).is_some_and(|wait| {
        wait.in_line && (wait.object, wait.fixed, wait.ring) == (waiting.object, waiting.fixed, waiting.ring)
    });
    waiting.in_line && waits_too || request.opcode == Opcode::Connect && waiting.object == Object::Listener
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
    let accepts = request.opcode == Opcode::Accept && request.object == Object::Listener;
    let stays = request.goes_on_waiting() || polls;
    let in_line = !request.flags.contains(SqeFlags::ASYNC)
        && !matches!(request.opcode, Opcode::Splice | Opcode::Tee | Opcode::EpollWait);
    (polls || accepts || reads && request.object.can_wait()).then_some(Wait {
        object: request.object,
        stays,
        in_line,
        fixed: request.fixed,
        ring: request.ring,
    })
}
