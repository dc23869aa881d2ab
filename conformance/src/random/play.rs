//! Plays one sequence on a fresh ring.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use ringer_abi::{Cqe, CqeFlags, EnterFlags, Opcode, SetupFlags, Sqe, SqeFlags};

use super::lanes::Lanes;
use super::prepare::{MESSAGE, Preparation, makes_descriptor};
use super::registration::Registration;
use super::sequence::{LANES, Object, Pair, Request, Sequence, Step};
use super::side;
use crate::differential::record::cqe_text;
use crate::differential::{Ring, Session, prep};

/// `user_data` of the requests that end a sequence.
const END: u64 = 1 << 40;
const ENOENT: i32 = -2;
const EINTR: i32 = -4;
const ERESTARTSYS: i32 = -512;
const ECANCELED: i32 = -125;
const EALREADY: i32 = -114;
const CANCEL_ALL: u32 = 1;
/// Completions that a submission may have, one after another: a limit for what would never end.
const MOST_ROUNDS: usize = 100;
/// How long the end of a sequence waits for what it cancelled.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Plays `sequence` and records what it saw. `patience` is how long a submission may take to do what it can.
pub fn play(session: &Session, sequence: &Sequence, patience: Duration) {
    let rings: Vec<Ring> = sequence.setups.iter().map(|setup| side::ring(session, *setup)).collect();
    let lanes = Lanes::new(session, &rings, sequence.pairs);
    let descriptors: Vec<RawFd> = rings.iter().map(|ring| ring.fd).collect();
    let eventfd = sequence.has_eventfd.then(|| side::register_eventfd(session, &rings[0]));
    let stage = Stage {
        session,
        rings: &rings,
        descriptors: &descriptors,
        lanes: &lanes,
        pairs: sequence.pairs,
        eventfd,
        waits_elsewhere: sequence.waits_elsewhere,
        room: sequence.room,
        patience,
        current: Cell::new(0),
        pushed: RefCell::default(),
        requests: RefCell::default(),
        hung_up: Cell::new(false),
        waits_for_ring: Cell::new(false),
        batch: Cell::new(1),
    };
    for (number, step) in &sequence.steps {
        match step {
            Step::Push(request) => stage.push(*number, request),
            Step::Submit { wait } => stage.submit(*wait),
            Step::Feed { lane, object, bytes } => {
                stage.submit(false);
                stage.feed(*number, *lane, *object, *bytes);
            }
            Step::HangUp { lane, object } => {
                stage.submit(false);
                stage.hang_up(*lane, *object);
            }
            Step::Replace { lane, object } => {
                stage.submit(false);
                stage.replace(*lane, *object);
            }
            Step::Register(registration) => {
                stage.submit(false);
                stage.register(*number, registration);
            }
        }
    }
    stage.submit(false);
    stage.end();
    stage.record();
    // Before the rings are closed, by which the kernel closes their files some time later.
    lanes.record(session);
    drop(rings);
    lanes.close_spares();
}

/// A request that was pushed, and what came of it.
#[derive(Debug)]
struct Pushed {
    sqe: Sqe,
    /// The lane that it works on, if it works on any.
    lane: Option<usize>,
    /// Its completions, each with the submission after which it came.
    seen: Vec<(usize, Cqe)>,
    ended: bool,
    may_wait: bool,
}

/// A ring's number, and `user_data`.
type Name = (usize, u64);

struct Stage<'a> {
    session: &'a Session,
    rings: &'a [Ring],
    descriptors: &'a [RawFd],
    lanes: &'a Lanes,
    pairs: [Pair; LANES],
    /// What hears of completions of the first ring.
    eventfd: Option<RawFd>,
    waits_elsewhere: bool,
    room: Option<u32>,
    patience: Duration,
    /// The ring that was pushed to last.
    current: Cell<usize>,
    /// Not shown to that ring yet: a thread that polls takes all of a submission together.
    pushed: RefCell<Vec<Sqe>>,
    requests: RefCell<BTreeMap<Name, Pushed>>,
    /// An end of a pair may have been closed.
    hung_up: Cell<bool>,
    /// A request waits for a ring, perhaps.
    waits_for_ring: Cell<bool>,
    batch: Cell<usize>,
}

impl Stage<'_> {
    fn push(&self, number: usize, request: &Request) {
        if request.ring != self.current.get() {
            self.submit(false);
            self.current.set(request.ring);
        }
        let preparation =
            Preparation { session: self.session, lanes: self.lanes, rings: self.descriptors, number };
        let sqe = preparation.sqe(request);
        self.pushed.borrow_mut().push(sqe);
        // Linked, drained and skipped ones depend on others, or tell nobody.
        self.waits_for_ring.set(self.waits_for_ring.get() || request.looks_at_ring());
        let may_wait = request.object.can_wait()
            || sqe.flags().intersects(SqeFlags::CQE_SKIP_SUCCESS)
            || matches!(
                request.opcode,
                Opcode::Timeout | Opcode::LinkTimeout | Opcode::PollAdd | Opcode::Accept | Opcode::Connect
            );
        let pushed = Pushed { sqe, lane: Some(request.lane), seen: Vec::new(), ended: false, may_wait };
        self.requests.borrow_mut().insert((request.ring, sqe.user_data()), pushed);
    }

    /// Submits what was pushed, and lets it do what it can.
    fn submit(&self, wait: bool) {
        let pushed = self.pushed.take();
        if pushed.is_empty() {
            return;
        }
        self.fill();
        let ring = &self.rings[self.current.get()];
        ring.push_all(&pushed);
        let rounds = side::submit(ring, wait && self.certain());
        self.session.record(format!("submission {}", self.batch.get()), rounds.join(", "));
        self.end_step();
    }

    /// Fills the CQs until no more than `room` completions fit.
    fn fill(&self) {
        if let Some(room) = self.room {
            self.rings.iter().for_each(|ring| side::fill(ring, room, self.patience));
        }
    }

    /// Whether something that was pushed to the current ring completes without help.
    fn certain(&self) -> bool {
        let requests = self.requests.borrow();
        let mut open =
            requests.iter().filter(|((ring, _), pushed)| *ring == self.current.get() && !pushed.ended);
        open.all(|(_, pushed)| !pushed.may_wait)
    }

    /// Lets what the step began do what it can. What completes later belongs to the next one.
    fn end_step(&self) {
        self.settle();
        self.record_signal();
        self.batch.set(self.batch.get() + 1);
    }

    /// Records whether the eventfd was signalled.
    fn record_signal(&self) {
        let Some(eventfd) = self.eventfd else { return };
        let is_signalled = self.session.eventfd_count(eventfd) > 0;
        // Where task work is deferred, Linux tells of all of it, also of what posts nothing.
        let may_be_in_vain = side::has(&self.rings[0], SetupFlags::DEFER_TASKRUN);
        let batch = self.batch.get();
        let has_come = |pushed: &Pushed| pushed.seen.iter().any(|(seen, _)| *seen == batch);
        let is_due =
            || self.requests.borrow().iter().any(|((ring, _), pushed)| *ring == 0 && has_come(pushed));
        if !may_be_in_vain || is_due() {
            self.session.record(format!("signal {batch}"), is_signalled);
        }
    }

    /// Reaps until everything has completed, or nothing has for as long as patience lasts.
    fn settle(&self) {
        if self.room.is_some() && self.batch.get() != usize::MAX {
            self.overflow();
        }
        for _ in 0..MOST_ROUNDS {
            self.reap();
            let open: BTreeSet<usize> = self
                .requests
                .borrow()
                .iter()
                .filter(|(_, pushed)| !pushed.ended)
                .map(|((ring, _), _)| *ring)
                .collect();
            if open.is_empty() {
                // A notification may follow what did not announce one, also behind a CQ that was full.
                for ring in self.rings {
                    let _ = ring.enter(0, 0, EnterFlags::GETEVENTS);
                }
                self.reap();
                return;
            }
            let came = open.into_iter().any(|number| {
                let ring = &self.rings[number];
                let patience = self.patience;
                let wait = move || ring.collect_until(patience, |seen| !seen.is_empty());
                let seen = if self.waits_elsewhere && side::may_wait_elsewhere(ring) {
                    std::thread::scope(|scope| scope.spawn(wait).join().expect("it only waits"))
                } else {
                    wait()
                };
                seen.iter().for_each(|cqe| self.note(number, *cqe));
                !seen.is_empty()
            });
            if !came {
                return;
            }
        }
    }

    /// Gives what was submitted time to complete before anything is reaped.
    fn overflow(&self) {
        // What follows what a worker of the kernel did in a chain is for a later call.
        const CALLS: u32 = 8;
        self.run_task_work();
        for _ in 0..CALLS {
            std::thread::sleep(self.patience / CALLS);
            self.run_task_work();
        }
        for (number, ring) in self.rings.iter().enumerate() {
            let label = format!("overflow of ring {number} {}", self.batch.get());
            self.session.record(label, side::is_overflown(ring));
        }
    }

    fn run_task_work(&self) {
        // A write to an eventfd asks it so often whether it is ready before it goes to a worker.
        const ATTEMPTS: usize = 130;
        for _ in 0..ATTEMPTS {
            self.rings.iter().for_each(side::run_task_work);
        }
    }

    fn reap(&self) {
        // What one does may complete what the other waits for.
        for _ in self.rings {
            self.rings.iter().for_each(side::run_task_work);
        }
        for (number, ring) in self.rings.iter().enumerate() {
            ring.reap_all().into_iter().for_each(|cqe| self.note(number, cqe));
            if side::is_overflown(ring) {
                // What waits behind the CQ comes by a call.
                let _ = ring.enter(0, 0, EnterFlags::GETEVENTS);
                ring.reap_all().into_iter().for_each(|cqe| self.note(number, cqe));
            }
        }
    }

    fn note(&self, ring: usize, cqe: Cqe) {
        if cqe.user_data == side::FILLER {
            return;
        }
        let mut requests = self.requests.borrow_mut();
        let pushed = requests.entry((ring, cqe.user_data)).or_insert_with(|| Pushed {
            sqe: prep::nop(),
            lane: None,
            seen: Vec::new(),
            ended: false,
            may_wait: true,
        });
        pushed.ended |= cqe.flags & CqeFlags::MORE.bits() == 0;
        pushed.seen.push((self.batch.get(), cqe));
    }

    fn feed(&self, number: usize, lane: usize, object: Object, bytes: usize) {
        self.fill();
        let lane = &self.lanes.0[lane];
        if object == Object::Listener {
            lane.connect(self.session);
            self.session.record(format!("feed {number}"), "connected");
        } else {
            let text: Vec<u8> = (0..bytes).map(|index| b'0' + ((index + number) % 10) as u8).collect();
            let text = if object == Object::Event { &1u64.to_ne_bytes()[..] } else { &text[..] };
            let target = lane.descriptor(object.other_end());
            let written = self.session.with_kept(target, |fd| rustix::io::write(fd, text));
            self.session.outcome(format!("feed {number}"), written.map(|written| written as i64));
        }
        self.end_step();
    }

    fn hang_up(&self, lane: usize, object: Object) {
        self.fill();
        self.lanes.0[lane].close(lane, object.other_end(), self.session, self.rings);
        self.hung_up.set(true);
        self.end_step();
    }

    fn replace(&self, lane: usize, object: Object) {
        self.fill();
        self.lanes.0[lane].replace(object, self.session);
        self.hung_up.set(true);
        self.end_step();
    }

    fn register(&self, number: usize, registration: &Registration) {
        self.fill();
        let (label, outcome) = registration.perform(number, self.session, self.lanes, self.rings);
        self.session.record(label, outcome);
        self.end_step();
    }

    /// Cancels what is left, until everything has its last completion.
    fn end(&self) {
        const ANY_AND_ALL: u32 = 5;
        let end = Instant::now() + END_LIMIT;
        self.batch.set(usize::MAX);
        // One by one, so that what follows a hard link has its turn before it is cancelled.
        let open: Vec<Name> = self
            .requests
            .borrow()
            .iter()
            .filter(|(_, pushed)| !pushed.ended)
            .map(|(name, _)| *name)
            .collect();
        for (number, name) in open.into_iter().filter(|(_, name)| *name < MESSAGE) {
            let (ended, goes_on) = {
                let requests = self.requests.borrow();
                // The end of a wait for a futex is no failure.
                let goes_on = |pushed: &Pushed| {
                    pushed.sqe.flags().contains(SqeFlags::IO_HARDLINK)
                        || pushed.sqe.opcode() == Opcode::FutexWait.number()
                };
                requests.get(&(number, name)).map_or((true, false), |pushed| (pushed.ended, goes_on(pushed)))
            };
            if ended {
                continue;
            }
            let ring = &self.rings[number];
            ring.push(prep::cancel(name, 0).with_user_data(END + name));
            let _ = ring.submit();
            let seen = ring.collect_until(self.patience, |seen| {
                let found = seen.iter().find(|cqe| cqe.user_data == END + name);
                found.is_some_and(|cqe| !matches!(cqe.res, 0 | EALREADY))
                    || seen.iter().any(|cqe| cqe.user_data == name)
            });
            seen.into_iter().for_each(|cqe| self.note(number, cqe));
            // What was cancelled may have been waited for by its CQE.
            if goes_on || self.waits_for_ring.get() {
                self.settle();
            }
        }
        let mut quiet = 0;
        for round in MESSAGE.. {
            let open = self.requests.borrow().iter().any(|((_, name), pushed)| *name < END && !pushed.ended);
            if !open || Instant::now() > end || quiet > 3 {
                break;
            }
            quiet += 1;
            for (number, ring) in self.rings.iter().enumerate() {
                ring.push(prep::cancel(0, ANY_AND_ALL).with_user_data(END + round));
                let _ = ring.submit();
                let seen = ring.collect_until(self.patience, |seen| seen.len() > 1);
                if seen.iter().any(|cqe| cqe.user_data < END) {
                    quiet = 0;
                }
                seen.into_iter().for_each(|cqe| self.note(number, cqe));
            }
        }
        self.settle();
    }

    /// Records the completions by request.
    fn record(&self) {
        for ((ring, name), pushed) in self.requests.borrow().iter().filter(|((_, name), _)| *name < END) {
            let completion = |(batch, cqe): &(usize, Cqe)| self.completion(*ring, *batch, cqe, pushed);
            let texts: Vec<String> = pushed.seen.iter().map(completion).collect();
            if *name >= MESSAGE {
                // Nobody waits for a message, so that it may be seen late.
                let messages: Vec<String> = pushed.seen.iter().map(|(_, cqe)| cqe_text(cqe)).collect();
                self.session.record(format!("message {name} to ring {ring}"), messages.join(", "));
                continue;
            }
            let label = match Opcode::from_number(pushed.sqe.opcode()) {
                Some(opcode) => format!("{name} {opcode:?}"),
                None => name.to_string(),
            };
            self.session
                .record(label, if texts.is_empty() { "nothing".to_owned() } else { texts.join(", ") });
        }
    }

    fn completion(&self, ring: usize, batch: usize, cqe: &Cqe, pushed: &Pushed) -> String {
        let when = match batch {
            // When memory that was sent is free again is up to TCP.
            _ if cqe.flags & CqeFlags::NOTIF.bits() != 0 => "some time".to_owned(),
            usize::MAX => "end".to_owned(),
            batch => batch.to_string(),
        };
        if cqe.res >= 0 && makes_descriptor(&pushed.sqe) {
            // The number is the process's own affair.
            let _ = ringer_sys::native::close(cqe.res);
            return format!("{when}: descriptor{}", &cqe_text(&Cqe { res: 0, ..*cqe })[1..]);
        }
        // A request that was cancelled while a worker of the kernel waited in it says that a signal came, and SPLICE
        // and TEE say it by a number that is not meant for programs.
        let mut cqe = *cqe;
        if matches!(cqe.res, EINTR | ERESTARTSYS) {
            cqe.res = ECANCELED;
        }
        // Where the end of a TCP stream follows what was received, and where it was reset: differences that cases show.
        if self.hung_up.get() && pushed.lane.is_some_and(|lane| self.pairs[lane] == Pair::Tcp) {
            cqe.flags &= !CqeFlags::SOCK_NONEMPTY.bits();
        }
        // And whoever cancelled it is told that it had begun, which says no more, or on a ring with a thread that polls that
        // there was nothing; of many that were cancelled those on workers are not all counted. What was cancelled says so itself.
        if pushed.sqe.opcode() == Opcode::AsyncCancel.number() {
            let all = pushed.sqe.op_flags() & CANCEL_ALL != 0;
            let is_told_nothing = cqe.res == ENOENT && side::has(&self.rings[ring], SetupFlags::SQPOLL);
            if cqe.res == EALREADY || is_told_nothing || (all && cqe.res > 0) {
                cqe.res = 0;
            }
        }
        format!("{when}: {}", cqe_text(&cqe))
    }
}
