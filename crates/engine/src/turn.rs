//! A turn: one thread's go at a ring's requests, from attempt to completion.
//!
//! This is the execution ladder. An attempt on the submitting thread or on the reactor never waits. What
//! would wait for a peer is armed with the reactor; what would wait for a device goes to a worker.

mod publish;

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Arc, MutexGuard};

use arrayvec::ArrayVec;
use ringer_abi::poll::POLLIN;
use ringer_abi::{Cqe, SqeFlags};
use ringer_ops::{Attempt, Completion, Operation, Outcome, Until, is_polled_first, row};
use ringer_sys::Errno;
use ringer_sys::aio::{BATCH, Transfer};
use ringer_sys::credentials::{Credentials, Identity};
use ringer_sys::interrupt::Work;

use crate::Served;
use crate::arm::Again;
use crate::chain::BrokenChain;
use crate::kept;
use crate::more_to_read::Questions;
use crate::request::Request;
use crate::ring::Ring;
use crate::system::System;
use crate::worker::Punt;

/// Who has the turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// The submitter, within the submission of the requests it runs.
    Submitter,
    /// A thread that drives readiness and timers: a waiter in `enter`, or the background thread.
    Reactor,
    /// A worker.
    Worker,
}

/// A multishot request gives way to others after this many results in a row.
const MOST_IN_A_ROW: u32 = 32;

/// CQEs that a turn keeps to publish them together.
pub(crate) const UNPUBLISHED: usize = 32;

pub(crate) struct Turn<'a> {
    pub(crate) ring: &'a Arc<Ring>,
    pub(crate) place: Place,
    /// The number of the SQE that is taken, where the ring is observed.
    pub(crate) number: u64,
    /// See [`Ring::own_thread`].
    thread: Option<NonZeroU32>,
    /// What most turns do without.
    queues: Option<Box<Queues>>,
    /// What others can interrupt: a worker has it.
    pub(crate) work: Option<Work>,
    /// The credentials of this thread, when they are not the process's.
    pub(crate) personality: Option<Arc<Credentials>>,
    /// Requests for the device, handed over in one batch.
    pub(crate) transfers: ArrayVec<Transfer, BATCH>,
    /// The submission is through, and what was put off runs.
    is_task_work: bool,
    /// CQEs that are posted together: the completion lock is taken once for all.
    pub(crate) unpublished: ArrayVec<Cqe, UNPUBLISHED>,
    /// What some of them have still to tell.
    pub(crate) questions: Questions,
    /// Bits of a buffer were taken whose CQE is not posted yet: see [`BitsInOrder`](crate::provided::BitsInOrder).
    holds_bits: Option<MutexGuard<'a, ()>>,
    /// Each CQE goes to the CQ as it is posted.
    publishes_at_once: bool,
    /// Some of them are not the last of their requests: see [`publish_what_is_not_last`](Self::publish_what_is_not_last).
    has_more_to_come: bool,
    /// How many of them timeouts with a count look at.
    counted: u32,
    posted: bool,
    /// Threads that wait for CQEs, to be woken at the end of the turn.
    waiters: u32,
    /// An edge-triggered watch was set up: it reports the present state, too.
    pub(crate) armed_edge: bool,
    /// The latest report of a watch before the attempts of this turn.
    pub(crate) seen_reports: u64,
}

/// What a turn has still to do, besides the transfers of a batch.
#[derive(Default)]
struct Queues {
    /// Requests that became ready to start.
    ready: VecDeque<Box<Request>>,
    /// What goes on after the submission is through, as task work does in the kernel.
    later: VecDeque<Later>,
    /// Requests for workers.
    punts: Vec<Punt>,
}

impl<'a> Turn<'a> {
    // Inlined, as a turn is too large to be moved.
    #[inline(always)]
    pub(crate) fn new(ring: &'a Arc<Ring>, place: Place) -> Self {
        Self::by(ring, place, ring.own_thread())
    }

    /// The same for a thread that has asked for its number already.
    #[inline(always)]
    pub(crate) fn by(ring: &'a Arc<Ring>, place: Place, thread: Option<NonZeroU32>) -> Self {
        Self {
            ring,
            place,
            number: 0,
            thread,
            queues: None,
            work: None,
            personality: None,
            transfers: ArrayVec::new(),
            is_task_work: false,
            unpublished: ArrayVec::new(),
            questions: Questions::default(),
            holds_bits: None,
            publishes_at_once: place == Place::Worker,
            has_more_to_come: false,
            counted: 0,
            posted: false,
            waiters: 0,
            armed_edge: false,
            seen_reports: ring.reactor.latest_report(),
        }
    }

    /// Runs a request, and everything that becomes ready by it.
    pub(crate) fn run(&mut self, first: Box<Request>) {
        self.run_from(Some(first));
    }

    pub(crate) fn run_from(&mut self, mut next: Option<Box<Request>>) {
        loop {
            let Some(request) = next.take().or_else(|| self.take_ready()) else { return };
            next = self.step(request);
            if self.place == Place::Submitter
                && let Some(next) = next.take()
            {
                self.put_later(Later::Run(next));
            }
        }
    }

    fn queues(&mut self) -> &mut Queues {
        self.queues.get_or_insert_default()
    }

    /// A request is ready to start, in this turn.
    pub(crate) fn put_ready(&mut self, request: Box<Request>) {
        self.queues().ready.push_back(request);
    }

    /// The same for what follows in a chain, if anything does.
    pub(crate) fn put_next(&mut self, next: Option<Box<Request>>) {
        if let Some(next) = next {
            self.put_ready(next);
        }
    }

    fn take_ready(&mut self) -> Option<Box<Request>> {
        self.queues.as_mut()?.ready.pop_front()
    }

    fn put_later(&mut self, later: Later) {
        self.queues().later.push_back(later);
    }

    /// A worker gets the request at the end of the turn.
    pub(crate) fn put_punt(&mut self, punt: Punt) {
        self.queues().punts.push(punt);
    }

    /// Runs what became ready without a first request.
    pub(crate) fn run_ready(&mut self) {
        if let Some(request) = self.take_ready() {
            self.run(request);
        }
    }

    /// Ends the turn: hands over what was punted, tells who waits.
    pub(crate) fn finish(&mut self) {
        self.publish();
        if self.queues.is_some() || !self.transfers.is_empty() {
            self.hand_over();
        }
        if self.holds_bits.is_some() {
            // Nobody was to hear of it.
            self.let_go_of_bits();
        }
        if std::mem::take(&mut self.posted) {
            self.ring.completions.eventfd.signal(self.ring, self.place == Place::Worker);
            self.ring.announce_completions(std::mem::take(&mut self.waiters));
        }
    }

    fn hand_over(&mut self) {
        loop {
            self.run_later();
            self.run_ready();
            // What is posted may be what a TIMEOUT with a count waited for, and with it what follows in a chain.
            self.publish();
            if self.has_more() {
                continue;
            }
            if self.transfers.is_empty() {
                break;
            }
            self.submit_transfers();
        }
        if let Some(queues) = &mut self.queues
            && !queues.punts.is_empty()
        {
            if self.place == Place::Worker {
                let identity = Identity::of_this_thread();
                System::global().workers().submit(self.ring, &identity, queues.punts.drain(..));
            } else {
                kept::hand_over(self.ring, &mut queues.punts);
            }
        }
    }

    /// Whether there are requests to be run.
    pub(crate) fn has_more(&self) -> bool {
        self.queues.as_ref().is_some_and(|queues| !queues.ready.is_empty() || !queues.later.is_empty())
    }

    /// Runs a request once the submission is through.
    pub(crate) fn put_off(&mut self, request: Box<Request>) {
        if self.place == Place::Submitter {
            self.give_way(request);
        } else {
            let request = self.with_slot(request);
            self.put_ready(request);
        }
    }

    /// The CQEs that a TIMEOUT waited for have come.
    pub(crate) fn expire_later(&mut self, timeout: Box<Request>) {
        match self.place {
            Place::Submitter => self.put_later(Later::Expire(timeout)),
            Place::Worker | Place::Reactor => self.expire_by_count(timeout),
        }
    }

    fn expire_by_count(&mut self, timeout: Box<Request>) {
        let next = self.complete(timeout, Completion::new(0));
        self.put_next(next);
    }

    /// Goes on with a request when all others have had their turn.
    fn give_way(&mut self, request: Box<Request>) {
        let request = self.with_slot(request);
        self.put_later(Later::Run(request));
    }

    /// Pending until it goes on: a drain waits for it.
    fn with_slot(&self, mut request: Box<Request>) -> Box<Request> {
        if request.slot.is_none() {
            request.slot = Some(self.ring.inflight.lock().reserve(&request));
        }
        request
    }

    /// Goes on with what was put off: the kernel's task work. Where the submitter asks for completions, it has to ask for
    /// these.
    fn run_later(&mut self) {
        while let Some(later) = self.queues.as_mut().and_then(|queues| queues.later.pop_front()) {
            self.is_task_work = true;
            match later {
                Later::Cancel(broken) => self.cancel_broken(broken),
                Later::Run(request) => self.run(request),
                Later::Expire(timeout) => self.expire_by_count(timeout),
                Later::Limit(limit, errno) => self.finish_limit(&limit, -errno.raw_os_error()),
            }
            self.run_ready();
            self.publish();
        }
    }

    /// One step of one request. Returns the request that follows in its chain, to be run next.
    pub(crate) fn step(&mut self, mut request: Box<Request>) -> Option<Box<Request>> {
        if let Some(result) = request.early_result {
            return match request.operation.refusal() {
                // It says so itself, and before anybody looks for its file.
                Some(errno) => self.refuse(request, errno),
                None => self.complete(request, Completion::new(result)),
            };
        }
        // For a ring that is closed nothing begins any more: nobody would interrupt a worker, and what follows a hard link is not done.
        let begins = match self.place {
            Place::Submitter => false,
            Place::Reactor => !request.is_started,
            Place::Worker => true,
        };
        let comes_too_late = begins && self.ring.inflight.lock().closed;
        if request.is_cancelled || comes_too_late {
            return self.complete_cancelled(request);
        }
        if let Some(fate) = request.fate.as_deref_mut() {
            if let Some(delay) = fate.delay.take() {
                return self.hold(request, delay);
            }
            if let Some(errno) = fate.error.take() {
                return self.refuse(request, errno);
            }
        }
        // On a worker it is where it should be, unless it waits before it starts, as some do there whatever their flags say.
        let is_for_worker = !request.is_started
            && !is_engine_operation(&request)
            && match self.place {
                Place::Worker => request.operation.waits_to_start().is_some(),
                Place::Submitter | Place::Reactor => request.flags.contains(SqeFlags::ASYNC),
            };
        // A worker of the kernel can neither look a registered file up before the submission is over, nor do what the engine does
        // for a request that drains: what follows in the submission finds it pending.
        let is_late = is_for_worker && request.flags.contains(SqeFlags::FIXED_FILE)
            || !request.is_started && request.drains && is_engine_operation(&request);
        if is_late && self.place == Place::Submitter && !self.is_task_work {
            self.put_off(request);
            return None;
        }
        request.is_started = true;
        if is_for_worker || !self.may_run_as(&request) {
            return match self.resolve_request(&mut request) {
                Ok(()) => match start_of_async(&mut request) {
                    Some(events) => self.go_on(request, Outcome::WaitFor { events, until: Until::Ready }),
                    None => self.punt(request),
                },
                Err(errno) => self.refuse(request, errno),
            };
        }
        let outcome = self.attempt_request(&mut request);
        self.go_on(request, outcome)
    }

    /// Ends a request that cannot be attempted. Returns the one that follows in its chain.
    pub(crate) fn refuse(&mut self, mut request: Box<Request>, errno: Errno) -> Option<Box<Request>> {
        let outcome = request.operation.refuse(errno);
        self.go_on(request, outcome)
    }

    /// What follows from an attempt. Returns the request that follows in its chain, to be run next.
    pub(crate) fn go_on(&mut self, mut request: Box<Request>, mut outcome: Outcome) -> Option<Box<Request>> {
        let mut in_a_row = 0;
        loop {
            outcome = match outcome {
                Outcome::Done(completion) => return self.complete(request, completion),
                // A result that does not fit into the CQ is the last one of its request.
                Outcome::More(completion) | Outcome::Drained(completion)
                    if !self.has_room_for_completion() =>
                {
                    return self.complete(request, completion);
                }
                Outcome::Drained(completion) => {
                    self.post_more(&request, &completion);
                    Outcome::WaitFor { events: POLLIN, until: Until::Refilled }
                }
                Outcome::More(completion) | Outcome::Notifies(completion) => {
                    self.post_more(&request, &completion);
                    in_a_row += 1;
                    if in_a_row >= MOST_IN_A_ROW && self.place != Place::Worker {
                        self.give_way(request);
                        return None;
                    }
                    self.attempt_request(&mut request)
                }
                Outcome::WaitFor { events, until } => match self.arm(request, events, until) {
                    Ok(()) => return None,
                    Err(Again::Run(back)) => {
                        request = back;
                        self.attempt_request(&mut request)
                    }
                    Err(Again::Next(next)) => return next,
                },
                Outcome::Punt | Outcome::Lend => {
                    request.is_lent = matches!(outcome, Outcome::Lend);
                    let left = self.start_transfer(request);
                    return left.and_then(|left| self.punt(left));
                }
                Outcome::Engine => return self.run_engine_operation(request),
            };
        }
    }

    /// Whether this thread has the credentials that the request is to be done with.
    fn may_run_as(&self, request: &Request) -> bool {
        match (&self.personality, &request.personality) {
            (None, None) => true,
            (Some(own), Some(wanted)) if Arc::ptr_eq(own, wanted) => true,
            _ => is_engine_operation(request),
        }
    }

    /// Counts a finished request.
    #[inline]
    pub(crate) fn count(&self, opcode: u8, served: Served) {
        if self.place == Place::Submitter {
            self.ring.count_submitted(opcode, served, 1);
        } else {
            System::global().counters().count(opcode, served, 1);
        }
    }

    /// Finishes a request. Returns the one that follows in its chain.
    pub(crate) fn complete(
        &mut self,
        mut request: Box<Request>,
        completion: Completion,
    ) -> Option<Box<Request>> {
        // A request that was cancelled may have taken a buffer.
        let completion = completion.with_flags(request.held.taken.take_flags());
        let skip = request.flags.contains(SqeFlags::CQE_SKIP_SUCCESS);
        let is_heard_of = is_heard_of(request.flags, &completion);
        if is_heard_of {
            self.ask_for_more(&mut request.held);
        }
        self.let_go(&mut request);
        self.count(request.opcode, request.served);
        if request.is_lent && self.place == Place::Worker {
            // What follows waits for its file, and not in this thread, where nobody could cancel it.
            self.place = Place::Reactor;
        }
        // A timeout that is cancelled counts as any request does.
        let expires = matches!(request.operation, Operation::Timeout(_)) && completion.result != CANCELED;
        let cqe = cqe_of(request.user_data, &completion, request.held.extra);
        self.trace(&request, &cqe, is_heard_of);
        if is_heard_of {
            if request.fate.as_deref().is_some_and(|fate| fate.overflows) {
                self.post_overflowing(cqe);
            } else if expires {
                self.post_expiry(cqe);
            } else {
                self.post(cqe);
            }
        } else if expires {
            // In Linux the count is that of all CQEs, less one for every timeout that expired.
            self.ring.completions.count_timeout();
            self.counted = self.counted.wrapping_sub(1);
        }
        if request.held.is_tagged() {
            self.publish();
        }
        if let Some(limit) = request.link_timeout.take() {
            self.drop_limit(limit);
        }
        let mut next = request.next.take();
        // A LINK_TIMEOUT that was not armed yet limits nothing any more.
        if next.as_ref().is_some_and(|next| matches!(next.operation, Operation::LinkTimeout(_)))
            && let Some(mut limit) = next.take()
        {
            next = limit.next.take();
            let errno = self.end_of_unarmed_limit(&limit);
            if self.place == Place::Submitter {
                self.put_later(Later::Limit(limit, errno));
            } else {
                self.finish_limit(&limit, -errno.raw_os_error());
            }
        }
        let slot = request.slot.take();
        let drains = request.drains;
        if let Some(mut following) = next {
            if completion.fails_link && !request.flags.contains(SqeFlags::IO_HARDLINK) {
                let broken = BrokenChain { rest: following, silently: skip, slot, drains };
                if self.place == Place::Submitter {
                    // What follows in the submission comes first, as in the kernel.
                    self.put_later(Later::Cancel(broken));
                } else {
                    self.cancel_broken(broken);
                }
                return None;
            } else {
                following.drains = drains;
                following.slot = slot;
                if let Some(slot) = slot {
                    self.ring.inflight.lock().pass_on(slot, &following);
                }
                return Some(following);
            }
        }
        if slot.is_some() || drains {
            self.release(slot, drains);
        }
        None
    }
}

pub(crate) const CANCELED: i32 = -Errno::CANCELED.raw_os_error();

/// Whether a request with these flags has a CQE.
#[inline]
pub(crate) fn is_heard_of(flags: SqeFlags, completion: &Completion) -> bool {
    !flags.contains(SqeFlags::CQE_SKIP_SUCCESS) || completion.fails_link
}

pub(crate) fn cqe_of(user_data: u64, completion: &Completion, extra: [u64; 2]) -> Cqe {
    Cqe { user_data, res: completion.result, flags: completion.flags, extra }
}

/// What is task work in the kernel.
enum Later {
    Run(Box<Request>),
    /// A TIMEOUT whose CQEs have come.
    Expire(Box<Request>),
    /// A LINK_TIMEOUT whose request was done before it was armed.
    Limit(Box<Request>, Errno),
    Cancel(BrokenChain),
}

/// See [`ringer_ops::Op::waits_to_start`]. Files that cannot be asked not to wait are for a worker in any case.
fn start_of_async(request: &mut Request) -> Option<u32> {
    let events = request.operation.waits_to_start()?;
    if is_polled_first(request.held.file.raw()) {
        return None;
    }
    request.operation.wait_to_start();
    Some(events)
}

/// Operations that the engine carries out itself, and that no worker could.
fn is_engine_operation(request: &Request) -> bool {
    row(request.opcode).is_some_and(|row| row.ways == [ringer_ops::Way::Engine])
}
