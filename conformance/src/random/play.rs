//! Plays one sequence on a fresh ring.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ringer_abi::{Cqe, CqeFlags, EnterFlags, Opcode, Params, SetupFlags, SqRingFlags, Sqe, SqeFlags};

use super::lanes::Lanes;
use super::prepare::{MESSAGE, Preparation, makes_descriptor};
use super::registration::Registration;
use super::sequence::{Object, Request, Sequence, Step};
use crate::differential::errno::outcome_name;
use crate::differential::record::cqe_text;
use crate::differential::{Ring, Session, prep};

/// `user_data` of the requests that end a sequence.
const END: u64 = 1 << 40;
/// And of those that fill the CQ.
const FILLER: u64 = 1 << 50;
/// Entries of the SQ.
const ENTRIES: u32 = 16;
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
/// How often it is looked whether the thread that polls has taken what was pushed.
const POLL_STEP: Duration = Duration::from_micros(100);

/// Plays `sequence` and records what it saw. `patience` is how long a submission may take to do what it can.
pub fn play(session: &Session, sequence: &Sequence, patience: Duration) {
    // A thread that polls does so for a moment only: many sequences are played at a time.
    let sq_thread_idle = u32::from(sequence.setup.contains(SetupFlags::SQPOLL));
    let params = Params { flags: sequence.setup.bits(), sq_thread_idle, ..Params::default() };
    let ring = session.try_ring(ENTRIES, params).expect("a ring with good flags");
    let lanes = Lanes::new(session, &ring);
    let stage = Stage {
        session,
        ring: &ring,
        lanes: &lanes,
        room: sequence.room,
        patience,
        pushed: RefCell::default(),
        requests: RefCell::default(),
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
            Step::Register(registration) => {
                stage.submit(false);
                stage.register(*number, registration);
            }
        }
    }
    stage.submit(false);
    stage.end();
    stage.record();
    drop(ring);
    lanes.finish(session);
}

/// A request that was pushed, and what came of it.
#[derive(Debug)]
struct Pushed {
    sqe: Sqe,
    /// Its completions, each with the submission after which it came.
    seen: Vec<(usize, Cqe)>,
    ended: bool,
    may_wait: bool,
}

struct Stage<'a> {
    session: &'a Session,
    ring: &'a Ring,
    lanes: &'a Lanes,
    room: Option<u32>,
    patience: Duration,
    /// Not shown to the ring yet: a thread that polls takes all of a submission together.
    pushed: RefCell<Vec<Sqe>>,
    requests: RefCell<BTreeMap<u64, Pushed>>,
    batch: Cell<usize>,
}

impl Stage<'_> {
    fn push(&self, number: usize, request: &Request) {
        let preparation =
            Preparation { session: self.session, lanes: self.lanes, ring: self.ring.fd, number };
        let sqe = preparation.sqe(request);
        self.pushed.borrow_mut().push(sqe);
        // Linked, drained and skipped ones depend on others, or tell nobody.
        let may_wait = request.object.can_wait()
            || sqe.flags().intersects(SqeFlags::CQE_SKIP_SUCCESS)
            || matches!(
                request.opcode,
                Opcode::Timeout | Opcode::LinkTimeout | Opcode::PollAdd | Opcode::Accept | Opcode::Connect
            );
        let pushed = Pushed { sqe, seen: Vec::new(), ended: false, may_wait };
        self.requests.borrow_mut().insert(sqe.user_data(), pushed);
    }

    /// Submits what was pushed, and lets it do what it can.
    fn submit(&self, wait: bool) {
        let pushed = self.pushed.take();
        if pushed.is_empty() {
            return;
        }
        self.fill();
        self.ring.push_all(&pushed);
        let waits = wait && self.certain();
        let rounds = if self.has(SetupFlags::SQPOLL) { self.hand_over(waits) } else { self.enter(waits) };
        self.session.record(format!("submission {}", self.batch.get()), rounds.join(", "));
        self.end_step();
    }

    /// Fills the CQ until no more than `room` completions fit.
    fn fill(&self) {
        let Some(room) = self.room else { return };
        loop {
            let missing = (self.ring.params.cq_entries - self.ring.ready()).saturating_sub(room).min(ENTRIES);
            if missing == 0 {
                return;
            }
            let before = self.ring.ready();
            self.ring.push_all(&vec![prep::nop().with_user_data(FILLER); missing as usize]);
            if self.has(SetupFlags::SQPOLL) {
                self.hand_over(false)
            } else {
                self.enter(false)
            };
            let end = Instant::now() + self.patience;
            while self.ring.ready() < before + missing {
                if Instant::now() > end {
                    // A drained request holds them back.
                    return;
                }
                self.run_task_work();
                std::thread::sleep(POLL_STEP);
            }
        }
    }

    /// Has the kernel take what was pushed, as often as it says that it did not take all.
    fn enter(&self, waits: bool) -> Vec<String> {
        let mut rounds = Vec::new();
        while self.ring.unsubmitted() > 0 && rounds.len() < 12 {
            let outcome = match waits {
                true => self.ring.enter(self.ring.unsubmitted(), 1, EnterFlags::GETEVENTS),
                false => self.ring.submit(),
            };
            rounds.push(outcome_name(outcome));
        }
        rounds
    }

    /// Waits until the thread that polls has taken what was pushed.
    fn hand_over(&self, waits: bool) -> Vec<String> {
        let outcome = self.ring.submit();
        let end = Instant::now() + END_LIMIT;
        while self.ring.unsubmitted() > 0 && Instant::now() < end {
            std::thread::sleep(POLL_STEP);
        }
        let waited = waits.then(|| self.ring.enter(0, 1, EnterFlags::GETEVENTS));
        [Some(outcome), waited].into_iter().flatten().map(outcome_name).collect()
    }

    fn has(&self, flag: SetupFlags) -> bool {
        self.ring.params.flags & flag.bits() != 0
    }

    /// Whether something that was pushed completes without help.
    fn certain(&self) -> bool {
        self.requests.borrow().values().filter(|pushed| !pushed.ended).all(|pushed| !pushed.may_wait)
    }

    /// Lets what the step began do what it can. What completes later belongs to the next one.
    fn end_step(&self) {
        self.settle();
        self.batch.set(self.batch.get() + 1);
    }

    /// Reaps until everything has completed, or nothing has for as long as patience lasts.
    fn settle(&self) {
        if self.room.is_some() && self.batch.get() != usize::MAX {
            self.overflow();
        }
        for _ in 0..MOST_ROUNDS {
            self.reap();
            let open = self.requests.borrow().values().filter(|pushed| !pushed.ended).count();
            if open == 0 {
                // A notification may follow what did not announce one, also behind a CQ that was full.
                let _ = self.ring.enter(0, 0, EnterFlags::GETEVENTS);
                self.reap();
                return;
            }
            let seen = self.ring.collect_until(self.patience, |seen| !seen.is_empty());
            if seen.is_empty() {
                return;
            }
            seen.into_iter().for_each(|cqe| self.note(cqe));
        }
    }

    /// Gives what was submitted time to complete before anything is reaped.
    fn overflow(&self) {
        // What follows what a worker of the kernel did in a chain is for a later call.
        const CALLS: u32 = 8;
        for _ in 0..CALLS {
            std::thread::sleep(self.patience / CALLS);
            // A write to an eventfd asks it so often whether it is ready before it goes to a worker.
            const ATTEMPTS: usize = 130;
            for _ in 0..ATTEMPTS {
                self.run_task_work();
            }
        }
        let shown = SqRingFlags::from_bits_retain(self.ring.sq_flags()).contains(SqRingFlags::CQ_OVERFLOW);
        self.session.record(format!("overflow {}", self.batch.get()), shown);
    }

    /// Work that is due is done by a call.
    fn run_task_work(&self) {
        if self.has(SetupFlags::DEFER_TASKRUN) {
            let _ = self.ring.enter(0, 0, EnterFlags::GETEVENTS);
        }
    }

    fn reap(&self) {
        self.run_task_work();
        self.ring.reap_all().into_iter().for_each(|cqe| self.note(cqe));
    }

    fn note(&self, cqe: Cqe) {
        if cqe.user_data == FILLER {
            return;
        }
        let mut requests = self.requests.borrow_mut();
        let pushed = requests.entry(cqe.user_data).or_insert_with(|| Pushed {
            sqe: prep::nop(),
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
        self.lanes.0[lane].close(lane, object.other_end(), self.session, self.ring);
        self.end_step();
    }

    fn register(&self, number: usize, registration: &Registration) {
        self.fill();
        let (label, outcome) = registration.perform(number, self.session, self.lanes, self.ring);
        self.session.record(label, outcome);
        self.end_step();
    }

    /// Cancels what is left, until everything has its last completion.
    fn end(&self) {
        const ANY_AND_ALL: u32 = 5;
        let end = Instant::now() + END_LIMIT;
        self.batch.set(usize::MAX);
        // One by one, so that what follows a hard link has its turn before it is cancelled.
        let open: Vec<u64> = self
            .requests
            .borrow()
            .iter()
            .filter(|(_, pushed)| !pushed.ended)
            .map(|(name, _)| *name)
            .collect();
        for name in open.into_iter().filter(|name| *name < MESSAGE) {
            let (ended, goes_on) = {
                let requests = self.requests.borrow();
                // The end of a wait for a futex is no failure.
                let goes_on = |pushed: &Pushed| {
                    pushed.sqe.flags().contains(SqeFlags::IO_HARDLINK)
                        || pushed.sqe.opcode() == Opcode::FutexWait.number()
                };
                requests.get(&name).map_or((true, false), |pushed| (pushed.ended, goes_on(pushed)))
            };
            if ended {
                continue;
            }
            self.ring.push(prep::cancel(name, 0).with_user_data(END + name));
            let _ = self.ring.submit();
            let seen = self.ring.collect_until(self.patience, |seen| {
                let found = seen.iter().find(|cqe| cqe.user_data == END + name);
                found.is_some_and(|cqe| !matches!(cqe.res, 0 | EALREADY))
                    || seen.iter().any(|cqe| cqe.user_data == name)
            });
            seen.into_iter().for_each(|cqe| self.note(cqe));
            if goes_on {
                self.settle();
            }
        }
        let mut quiet = 0;
        for round in MESSAGE.. {
            let open = self.requests.borrow().iter().any(|(name, pushed)| *name < END && !pushed.ended);
            if !open || Instant::now() > end || quiet > 3 {
                break;
            }
            self.ring.push(prep::cancel(0, ANY_AND_ALL).with_user_data(END + round));
            let _ = self.ring.submit();
            let seen = self.ring.collect_until(self.patience, |seen| seen.len() > 1);
            let news = seen.iter().any(|cqe| cqe.user_data < END);
            quiet = if news { 0 } else { quiet + 1 };
            seen.into_iter().for_each(|cqe| self.note(cqe));
        }
        self.settle();
    }

    /// Records the completions by request.
    fn record(&self) {
        for (name, pushed) in self.requests.borrow().iter().filter(|(name, _)| **name < END) {
            let texts: Vec<String> =
                pushed.seen.iter().map(|(batch, cqe)| self.completion(*batch, cqe, pushed)).collect();
            if *name >= MESSAGE {
                // Nobody waits for a message, so that it may be seen late.
                let messages: Vec<String> = pushed.seen.iter().map(|(_, cqe)| cqe_text(cqe)).collect();
                self.session.record(format!("message {name}"), messages.join(", "));
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

    fn completion(&self, batch: usize, cqe: &Cqe, pushed: &Pushed) -> String {
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
        // And whoever cancelled it is told that it had begun, which says no more, or on a ring with a thread that polls that
        // there was nothing; of many that were cancelled those on workers are not all counted. What was cancelled says so itself.
        if pushed.sqe.opcode() == Opcode::AsyncCancel.number() {
            let all = pushed.sqe.op_flags() & CANCEL_ALL != 0;
            let is_told_nothing = cqe.res == ENOENT && self.has(SetupFlags::SQPOLL);
            if cqe.res == EALREADY || is_told_nothing || (all && cqe.res > 0) {
                cqe.res = 0;
            }
        }
        format!("{when}: {}", cqe_text(&cqe))
    }
}
