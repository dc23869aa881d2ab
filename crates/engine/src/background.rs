//! The background thread: drives rings while no thread of the program does.
//!
//! An application may only look at its CQ, or wait on an eventfd or on epoll: nobody is in `enter` then.
//! A ring with something armed is *noticed* whenever a thread leaves it. The background thread gives the
//! program a moment to come back, for a hand-over costs more than the wait. After that it owns the ring:
//! its epoll instance holds the ring's, armed for one report at a time. A thread that comes back need not
//! tell: the next report finds it there, and the ring is given up.
//!
//! It also gives up what is parked and not used (see [`parking`]), and interrupts workers once more.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ringer_sys::Errno;
use ringer_sys::credentials::Identity;
use ringer_sys::ready::{Epoll, Kick, Report, Trigger};
use ringer_sys::thread::Lock;

use crate::reactor::{KICK, Owner};
use crate::ring::Ring;
use crate::system::System;
use crate::{device, kept, parking, wait};

/// How long a thread of the program may stay away before the background thread takes over: from the first of these, up to the
/// second when the program came back before that was over. To look so often takes 2 % of a CPU: a program that was
/// [`STEADY`] gets the third.
const GRACE: [Duration; 3] =
    [Duration::from_micros(100), Duration::from_micros(400), Duration::from_micros(1600)];
/// The program came back before each of so many looks.
const STEADY: u32 = 32;
/// A thread that waits inside the ring may leave soon. So often it is looked for, at growing distances, before it has to tell.
const LOOKS: u32 = 4;
/// With nothing to do, the thread ends after this time.
const IDLE: Duration = Duration::from_secs(2);

/// The background thread's state.
#[derive(Debug, Default)]
pub(crate) struct Background {
    shared: Lock<Shared>,
    parts: OnceLock<(Epoll, Kick)>,
}

#[derive(Debug, Default)]
struct Shared {
    noticed: Vec<Arc<Ring>>,
    /// Something was parked, or a worker interrupted.
    sweeps: bool,
    running: bool,
    /// The thread sleeps until a report, a timer or a kick.
    sleeping: bool,
}

/// Called by a thread that leaves a ring: makes sure that somebody drives what is armed there.
#[inline]
pub(crate) fn notice(ring: &Arc<Ring>) {
    // A program that always waits for what it asked for leaves nothing behind, and never meets the background thread.
    if ring.reactor.may_have_work() {
        notice_work(ring);
    }
}

// Not inlined: the way past it is short.
#[inline(never)]
fn notice_work(ring: &Arc<Ring>) {
    if !has_work(ring) {
        return;
    }
    let background = System::global().background();
    match ring.reactor.owner() {
        Owner::Noticed => ring.reactor.visit(),
        Owner::Background => {
            kept::is_not_waited_for(ring);
            if ring.reactor.take_timer_change() || ring.device.is_silent() {
                background.kick();
            }
        }
        Owner::Nobody => {
            if ring.reactor.claim_notice() {
                background.take_notice(ring);
            }
        }
    }
}

impl Background {
    fn take_notice(self: &Arc<Self>, ring: &Arc<Ring>) {
        self.tell(|shared| shared.noticed.push(Arc::clone(ring)));
    }

    /// Something is parked, or a worker to be interrupted: it is looked after until nothing is.
    pub(crate) fn sweep(self: &Arc<Self>) {
        self.tell(|shared| shared.sweeps = true);
    }

    /// Leaves a message for the thread, which is started if there is none.
    fn tell(self: &Arc<Self>, leave: impl FnOnce(&mut Shared)) {
        let start = {
            let mut shared = self.shared.lock();
            leave(&mut shared);
            if shared.sleeping {
                self.kick();
            }
            !std::mem::replace(&mut shared.running, true)
        };
        if start {
            let this = Arc::clone(self);
            let started = self.parts().is_ok()
                && ringer_sys::thread::spawn("ringer-reactor", move || {
                    ringer_sys::thread::ask_for_short_turns();
                    // It may have to start workers.
                    System::global().workers().knows_only(&Identity::of_this_thread());
                    // The parts were made just now.
                    if let Ok((epoll, kick)) = this.parts() {
                        Run::new(&this, epoll, kick).run();
                    }
                })
                .is_ok();
            if !started {
                // The ring is driven whenever the program enters it; the next one to leave tries again.
                let mut shared = self.shared.lock();
                shared.running = false;
                let noticed = std::mem::take(&mut shared.noticed);
                noticed.iter().for_each(|ring| ring.reactor.set_owner(Owner::Nobody));
                if std::mem::take(&mut shared.sweeps) {
                    System::global().parking().is_not_swept();
                }
                drop(shared);
                noticed.iter().for_each(kept::is_not_waited_for);
            }
        }
    }

    fn parts(&self) -> Result<&(Epoll, Kick), Errno> {
        if let Some(parts) = self.parts.get() {
            return Ok(parts);
        }
        let (epoll, kick) = (Epoll::new()?, Kick::new()?);
        epoll.add(kick.fd(), 0x1, Trigger::Level, KICK)?;
        Ok(self.parts.get_or_init(|| (epoll, kick)))
    }

    fn kick(&self) {
        if let Some((_, kick)) = self.parts.get() {
            kick.wake(1);
        }
    }
}

/// A ring that a thread of the program has left.
struct Noticed {
    ring: Arc<Ring>,
    since: Instant,
    grace: Duration,
    visits: u32,
    /// How often a thread was found inside, always the same one as far as can be seen.
    looks: u32,
    /// How often the program had come back, without an exception.
    returns: u32,
}

impl Noticed {
    fn new(ring: Arc<Ring>) -> Self {
        Self {
            since: Instant::now(),
            grace: GRACE[0],
            visits: ring.reactor.visits(),
            looks: 0,
            returns: 0,
            ring,
        }
    }

    fn time_left(&self) -> Duration {
        self.grace.saturating_sub(self.since.elapsed())
    }

    /// Whether its moment is over, without anybody having come back. A program that does gets a longer one.
    fn is_over(&mut self) -> bool {
        if self.time_left() > Duration::ZERO {
            return false;
        }
        kept::give_up_old(&self.ring);
        let visits = self.ring.reactor.visits();
        (self.looks, self.returns) =
            if visits == self.visits { (self.looks + 1, 0) } else { (0, self.returns.saturating_add(1)) };
        let is_inside = is_inside(&self.ring);
        if visits == self.visits && (!is_inside || self.looks > LOOKS) {
            return true;
        }
        let longest = if self.returns < STEADY { GRACE[1] } else { GRACE[2] };
        let grace = (2 * self.grace).min(longest);
        (self.since, self.grace, self.visits) = (Instant::now(), grace, visits);
        false
    }
}

/// A ring that the background thread drives.
struct Owned {
    ring: Arc<Ring>,
    /// A thread of the program submits since before the ring was taken over: what it waits for may take long, and is not waited for.
    insists: bool,
}

impl Owned {
    /// Whether a thread of the program is back.
    fn is_over(&self) -> bool {
        if self.insists { self.ring.reactor.drivers() > 0 } else { is_inside(&self.ring) }
    }
}

/// The thread.
struct Run<'a> {
    background: &'a Background,
    epoll: &'a Epoll,
    kick: &'a Kick,
    owned: HashMap<u64, Owned>,
    tokens: u64,
    /// When to look for parked watches that are not used, and for workers that have not ended what was cancelled.
    next_sweep: Option<Instant>,
}

impl<'a> Run<'a> {
    fn new(background: &'a Background, epoll: &'a Epoll, kick: &'a Kick) -> Self {
        Self { background, epoll, kick, owned: HashMap::new(), tokens: 0, next_sweep: None }
    }

    fn run(mut self) {
        let mut noticed: Vec<Noticed> = Vec::new();
        loop {
            let timeout = noticed.iter().map(Noticed::time_left).chain(self.time_left()).min();
            let sweep = self.next_sweep.map(|next| next.saturating_duration_since(Instant::now()));
            let timeout = timeout.into_iter().chain(sweep).min();
            let idle = noticed.is_empty() && self.owned.is_empty() && sweep.is_none();
            {
                let mut shared = self.background.shared.lock();
                shared.sleeping = shared.noticed.is_empty() && !shared.sweeps;
                if !shared.sleeping {
                    noticed.extend(shared.noticed.drain(..).map(Noticed::new));
                    self.note_sweep(&mut shared);
                    continue;
                }
            }
            let mut reports = [Report::default(); 64];
            let timeout = if idle { Some(IDLE) } else { timeout };
            // This thread blocks all signals, and its arguments are good: an error leaves nothing to do but go on.
            let count = self.epoll.wait(&mut reports, timeout, None).unwrap_or(0);
            {
                let mut shared = self.background.shared.lock();
                shared.sleeping = false;
                if idle && count == 0 && shared.noticed.is_empty() && !shared.sweeps {
                    shared.running = false;
                    return;
                }
                noticed.extend(shared.noticed.drain(..).map(Noticed::new));
                self.note_sweep(&mut shared);
            }
            for report in &reports[..count] {
                let token = report.token;
                if token == KICK {
                    self.kick.take();
                } else {
                    self.serve(token);
                }
            }
            self.serve_unreported();
            if self.next_sweep.is_some_and(|next| next <= Instant::now()) {
                let parked = System::global().parking().sweep();
                let interrupted = System::global().workers().interrupt_all();
                self.next_sweep = (parked || interrupted).then(|| Instant::now() + parking::IDLE);
            }
            for ring in noticed.extract_if(.., |noticed| noticed.is_over()) {
                self.decide(ring.ring);
            }
        }
    }

    fn note_sweep(&mut self, shared: &mut Shared) {
        if std::mem::take(&mut shared.sweeps) {
            self.next_sweep.get_or_insert_with(|| Instant::now() + parking::IDLE);
        }
    }

    /// How long until an owned ring must be looked after, whatever is reported.
    fn time_left(&self) -> Option<Duration> {
        let time_left = |Owned { ring, .. }: &Owned| {
            let transfers = ring.device.is_silent().then_some(device::LOOKS);
            ring.inflight.lock().timers.time_left().into_iter().chain(transfers).min()
        };
        self.owned.values().filter_map(time_left).min()
    }

    /// Looks after timers that are due, and transfers that complete without a signal.
    fn serve_unreported(&mut self) {
        let is_due = |Owned { ring, .. }: &Owned| {
            ring.inflight.lock().timers.time_left() == Some(Duration::ZERO)
                || ring.device.is_silent() && ring.device.has_completed()
        };
        let due: Vec<u64> =
            self.owned.iter().filter(|(_, owned)| is_due(owned)).map(|(token, _)| *token).collect();
        for token in due {
            self.serve(token);
        }
        let closed: Vec<u64> = self
            .owned
            .iter()
            .filter(|(_, owned)| owned.ring.inflight.lock().closed)
            .map(|(token, _)| *token)
            .collect();
        for token in closed {
            self.give_up(token);
        }
    }

    /// A noticed ring has had its moment.
    fn decide(&mut self, ring: Arc<Ring>) {
        if ring.reactor.drivers() == 0 {
            kept::is_not_waited_for(&ring);
        }
        if !has_work(&ring) || ring.reactor.drivers() > 0 {
            ring.reactor.set_owner(Owner::Nobody);
            // A thread may have left, or armed something, before it could see that the ring is nobody's.
            if (ring.reactor.drivers() > 0 || !has_work(&ring)) || !ring.reactor.claim_notice() {
                return;
            }
        }
        ring.device.was_left_alone();
        self.tokens += 1;
        let token = self.tokens;
        let armed = ring
            .reactor
            .prepare()
            .and_then(|()| ring.reactor.epoll().ok_or(Errno::BADF))
            .and_then(|epoll| self.epoll.add_instance(epoll, Trigger::Once, token));
        ring.reactor.take_timer_change();
        // Without a registration the ring is driven by its timers and whenever the program enters it.
        if armed.is_ok() || !ring.inflight.lock().timers.is_empty() {
            ring.reactor.set_owner(Owner::Background);
            let insists = is_inside(&ring);
            self.owned.insert(token, Owned { ring, insists });
            self.serve(token);
        } else {
            ring.reactor.set_owner(Owner::Nobody);
        }
    }

    /// Drives an owned ring, unless a thread of the program is back.
    fn serve(&mut self, token: u64) {
        let Some(owned) = self.owned.get(&token) else { return };
        if owned.is_over() {
            return self.give_up(token);
        }
        let ring = Arc::clone(&owned.ring);
        ring.reactor.serve(|| wait::drive_reported(&ring));
        if !has_work(&ring) {
            return self.give_up(token);
        }
        if let Some(epoll) = ring.reactor.epoll() {
            // Registered in `decide`; if that failed there is nothing to arm.
            let _ = self.epoll.rearm_instance(epoll, Trigger::Once, token);
        }
    }

    fn give_up(&mut self, token: u64) {
        let Some(Owned { ring, .. }) = self.owned.remove(&token) else { return };
        if let Some(epoll) = ring.reactor.epoll() {
            self.epoll.remove_instance(epoll);
        }
        ring.reactor.set_owner(Owner::Nobody);
        // As in `decide`.
        if ring.reactor.drivers() == 0 && has_work(&ring) && ring.reactor.claim_notice() {
            self.background.shared.lock().noticed.push(ring);
        }
    }
}

/// Whether a thread of the program is at work there. One that submits may be at it for longer than the others stay away; one of
/// another process, which may wait for what this one does, does not count.
fn is_inside(ring: &Ring) -> bool {
    ring.reactor.drivers() > 0
        || ring.kept.is_made()
        || !ring.readiness.is_shared() && ring.shared.is_submitting()
}

/// Whether something is armed. If not, that is noted, so that nobody asks until something is.
fn has_work(ring: &Ring) -> bool {
    ring.kept.has_any_or(|| {
        let inflight = ring.inflight.lock();
        let work = !inflight.closed && (inflight.armed > 0 || !inflight.timers.is_empty());
        if !work {
            // Under the locks: whoever keeps or arms something sets it again afterwards.
            ring.reactor.no_work();
        }
        work
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use ringer_abi::poll::POLLIN;
    use ringer_abi::{Opcode, Params, Sqe};
    use ringer_ops::{Prepare, row};
    use ringer_sys::UserAddress;

    use super::*;
    use crate::turn::{Place, Turn};

    /// Nanoseconds that the thread has run so far. `None` where that cannot be seen, or there is no such thread.
    fn time_run() -> Option<u64> {
        std::fs::read_dir("/proc/self/task").ok()?.flatten().find_map(|task| {
            let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
            let times = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            if name.trim() == "ringer-reactor" { times.split(' ').next()?.parse().ok() } else { None }
        })
    }

    /// A submission may take long: a write waits for the device, say. What waits for a file must not wait for that.
    #[test]
    fn a_ring_whose_submitter_does_not_come_back_is_served() {
        let (read, mut write) = std::io::pipe().expect("a pipe");
        let mut params = Params::default();
        let fd = System::global().setup(4, UserAddress::of(&raw mut params)).expect("a ring");
        let ring = System::global().ring_of(fd).expect("it was just made");
        let submission = ring.shared.lock_submissions();
        let opcode = Opcode::PollAdd.number();
        let sqe = Sqe::default().with_opcode(opcode).with_fd(read.as_raw_fd()).with_op_flags(POLLIN);
        let mut turn = Turn::new(&ring, Place::Submitter);
        let context = Prepare { setup: ring.setup, limits_request: false };
        turn.start(&sqe, &context, row(opcode).expect("it has a row")).expect("it is good");
        turn.finish();
        notice(&ring);
        std::thread::sleep(Duration::from_millis(20));
        std::io::Write::write_all(&mut write, b"x").expect("there is room");
        let limit = Instant::now() + Duration::from_secs(5);
        while ring.shared.cq_ready() == 0 && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(ring.shared.cq_ready(), 1);
        drop(submission);
        System::global().close(fd).expect("it is open");
    }

    /// A kick is left over when a waiter was satisfied before it took it.
    #[test]
    fn a_kick_that_nobody_took_does_not_keep_the_thread_busy() {
        let mut params = Params::default();
        let fd = System::global().setup(4, UserAddress::of(&raw mut params)).expect("a ring");
        let ring = System::global().ring_of(fd).expect("it was just made");
        ring.reactor.prepare().expect("an epoll instance");
        ring.reactor.wake(&ring.shared, 1);
        // As if something were on its way to a device.
        ring.inflight.lock().armed += 1;
        ring.reactor.has_work();
        notice(&ring);
        std::thread::sleep(Duration::from_millis(50));
        let before = time_run();
        std::thread::sleep(Duration::from_millis(200));
        let after = time_run();
        ring.inflight.lock().armed -= 1;
        System::global().close(fd).expect("it is open");
        if let (Some(before), Some(after)) = (before, after) {
            assert!(after - before < 50_000_000, "{} ns of 200 ms", after - before);
        } else {
            eprintln!("SKIPPED: the run time of threads cannot be seen");
        }
    }
}
