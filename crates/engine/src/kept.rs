//! Punts that are kept for the thread that waits.
//!
//! What waits for a device is for a worker. But mostly the thread that submitted it has nothing else to do than to wait for it, and waking another thread
//! takes as long as a fast device. So a ring keeps such a punt for a while: the thread that comes to wait in `enter` makes the call itself.
//!
//! - A read whose data was not cached: the attempt has had the device begin with it. However many there are, the thread makes one after the other,
//!   the oldest first, and finds most of them done.
//! - A write that ends on the device (`O_DSYNC`), if nothing else is pending: several are faster side by side.
//!
//! The thread cannot hear of anything else meanwhile. So nothing is kept where anything is armed, or a timer runs; nor where the program waits elsewhere than in
//! `enter`, or has not waited there so far. And nothing is kept for long: the background thread gives it to workers, if the thread does not come or
//! is held up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ringer_ops::{DeviceWait, Patience};
use ringer_sys::credentials::Identity;
use ringer_sys::thread::{self, Lock};

use crate::background;
use crate::inflight::{Inflight, RequestId};
use crate::latency::LatencyGuard;
use crate::reactor::Owner;
use crate::ring::Ring;
use crate::system::System;
use crate::turn::{Place, Turn};
use crate::worker::Punt;

/// So often in a row the program must have come to wait before punts are kept.
const WAITS_BEFORE: u32 = 8;
/// What is kept for longer is for workers.
const LONGEST: Duration = Duration::from_millis(1);
/// A wait that is over earlier than this is not begun with a call that may take longer.
const LEAST_WAIT: Duration = Duration::from_millis(4);

/// The punts that a ring keeps.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The oldest first. Locked before what is pending.
    queue: Lock<VecDeque<KeptPunt>>,
    /// Waits since the program last stayed away, up to [`WAITS_BEFORE`].
    waits: AtomicU32,
    /// Threads that just make one.
    makers: AtomicU32,
    /// Where they take long, nothing is kept for a while.
    latency: LatencyGuard,
}

#[derive(Debug)]
struct KeptPunt {
    punt: Punt,
    since: Instant,
}

impl Kept {
    /// Whether there is one for this thread to see to, before it sleeps.
    pub(crate) fn concerns_this_thread(&self) -> bool {
        let queue = self.queue.lock();
        queue.front().is_some_and(|KeptPunt { punt, .. }| punt.submitter == thread::id() || may_give_up(punt))
    }

    /// Whether there is any, or else what `body` says: nothing is added before that has been said.
    pub(crate) fn has_any_or(&self, body: impl FnOnce() -> bool) -> bool {
        let queue = self.queue.lock();
        !queue.is_empty() || body()
    }

    /// Whether a thread makes one just now: it drives nothing, and may be back soon.
    pub(crate) fn is_made(&self) -> bool {
        // Relaxed: who overlooks it takes the ring over a little earlier.
        self.makers.load(Ordering::Relaxed) > 0
    }

    /// A thread asks for completions in `enter`, and would wait for them.
    #[inline]
    pub(crate) fn was_asked(&self) {
        // Relaxed, here and below: a count that is lost decides a little later.
        let waits = self.waits.load(Ordering::Relaxed);
        if waits < WAITS_BEFORE {
            self.waits.store(waits + 1, Ordering::Relaxed);
        }
    }
}

/// Whether anybody may make it: to read from an open file is nobody's privilege. The credentials counted when it was opened.
fn is_for_anybody(punt: &Punt) -> bool {
    punt.wait == Some(DeviceWait::Begun)
}

/// Whether workers that this thread starts have the credentials that this is to be done with.
fn may_give_up(punt: &Punt) -> bool {
    is_for_anybody(punt) || System::global().workers().knows_only(&Identity::of_this_thread())
}

/// Hands over what a turn has punted: to workers, or it is kept.
pub(crate) fn hand_over(ring: &Arc<Ring>, punts: &mut Vec<Punt>) {
    let workers = System::global().workers();
    let are_for_anybody = punts.iter().all(is_for_anybody);
    let identity = if are_for_anybody { None } else { Some(Identity::of_this_thread()) };
    if identity.as_ref().is_none_or(|identity| workers.knows_only(identity)) {
        let mut queue = ring.kept.queue.lock();
        if may_keep(ring, &queue, punts) {
            let since = Instant::now();
            queue.extend(punts.drain(..).map(|punt| KeptPunt { punt, since }));
            drop(queue);
            return ring.reactor.has_work();
        }
        drop(queue);
        // What is kept of a thread with other credentials is not for workers that this one starts.
        give_up(ring, |kept| !are_for_anybody || is_for_anybody(&kept.punt));
    }
    let identity = identity.unwrap_or_else(Identity::of_this_thread);
    workers.submit(ring, &identity, punts.drain(..));
}

fn may_keep(ring: &Ring, queue: &VecDeque<KeptPunt>, punts: &[Punt]) -> bool {
    let this = thread::id();
    ring.kept.waits.load(Ordering::Relaxed) >= WAITS_BEFORE
        && ring.kept.latency.patience() != Patience::None
        && ring.is_waited_for_in_enter_only()
        && !ring.readiness.is_shared()
        // Looked at under the lock of the queue: a thread that announces itself later finds what is kept.
        && ring.shared.waiters() == 0
        && ring.reactor.owner() != Owner::Background
        && punts.iter().all(|punt| punt.submitter == this)
        && is_all_to_hear_of(&ring.inflight.lock(), queue.front().map(|kept| &kept.punt).into_iter().chain(punts))
}

/// Whether the thread that makes these, with others of which these are the oldest or the latest, misses nothing that others tell of, and none is
/// better made beside the others: a write is kept without any.
fn is_all_to_hear_of<'a>(inflight: &Inflight, punts: impl IntoIterator<Item = &'a Punt>) -> bool {
    let is_alone = inflight.len() == 1;
    let is_quiet = inflight.armed == 0 && inflight.timers.is_empty();
    is_quiet
        && punts.into_iter().all(|punt| match punt.wait {
            Some(DeviceWait::Begun) => true,
            Some(DeviceWait::Write { .. }) => is_alone,
            None => false,
        })
}

/// For a thread that waits, for `left` at the most: makes the oldest of those that are kept, if it may; workers get them otherwise. Returns whether
/// it made one.
pub(crate) fn make_oldest(ring: &Arc<Ring>, left: Option<Duration>) -> bool {
    let oldest = {
        let mut queue = ring.kept.queue.lock();
        let Some(KeptPunt { punt, .. }) = queue.front() else { return false };
        let is_own = punt.submitter == thread::id();
        if !is_own && !may_give_up(punt) {
            return false;
        }
        let is_in_time = left.is_none_or(|left| left >= LEAST_WAIT && punt.wait == Some(DeviceWait::Begun));
        let may_make = is_own
            && is_in_time
            && ring.kept.latency.patience() != Patience::None
            && is_all_to_hear_of(&ring.inflight.lock(), [punt]);
        if may_make { queue.pop_front() } else { None }
    };
    let Some(KeptPunt { punt, .. }) = oldest else {
        give_up(ring, |_| true);
        return false;
    };
    // Relaxed: see `is_made`.
    ring.kept.makers.fetch_add(1, Ordering::Relaxed);
    // Nobody drives the ring meanwhile. It takes as long as the device does.
    ring.reactor.leave();
    background::notice(ring);
    let started = Instant::now();
    make(ring, punt.request);
    ring.kept.latency.record(started);
    ring.reactor.join();
    ring.kept.makers.fetch_sub(1, Ordering::Relaxed);
    true
}

/// Runs the request as a worker would.
fn make(ring: &Arc<Ring>, request: RequestId) {
    let Some(mut request) = ring.inflight.lock().take(request) else {
        // It was cancelled.
        return;
    };
    request.served = crate::Served::Worker;
    let mut turn = Turn::new(ring, Place::Worker);
    let next = turn.step(request);
    turn.publish();
    // What follows may wait for anything, and this thread must not.
    turn.place = Place::Reactor;
    turn.run_from(next);
    turn.finish();
}

/// The program looks for completions without waiting for them: nothing is kept until it waits again.
#[inline]
pub(crate) fn is_not_waited_for(ring: &Arc<Ring>) {
    // Without a wait before there is nothing: who sets this to 0 gives up what is there, and nothing is kept behind that.
    if ring.kept.waits.load(Ordering::Relaxed) > 0 {
        ring.kept.waits.store(0, Ordering::Relaxed);
        give_up(ring, |_| true);
    }
}

/// For the background thread: what is kept for too long is for workers.
pub(crate) fn give_up_old(ring: &Arc<Ring>) {
    give_up(ring, |kept| kept.since.elapsed() > LONGEST);
}

/// Gives the oldest ones of this kind to workers.
fn give_up(ring: &Arc<Ring>, is_meant: impl Fn(&KeptPunt) -> bool) {
    let punts: Vec<Punt> = {
        let mut queue = ring.kept.queue.lock();
        let count = queue.iter().take_while(|kept| is_meant(kept)).count();
        queue.drain(..count).map(|kept| kept.punt).collect()
    };
    let workers = System::global().workers();
    if punts.is_empty() {
        return;
    }
    if punts.iter().all(is_for_anybody) {
        workers.submit(ring, &Identity::of_this_thread(), punts.into_iter());
    } else {
        workers.submit_as_ever(ring, punts);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::os::fd::{AsRawFd, RawFd};

    use ringer_abi::poll::POLLIN;
    use ringer_abi::{Opcode, Params, Sqe, uapi};
    use ringer_ops::cancel::CancelMatch;
    use ringer_ops::timeout::Clock;
    use ringer_ops::{Prepare, row};
    use ringer_sys::UserAddress;
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;
    use crate::timer;
    use crate::wait::{self, WaitLimit, WaitLimits};

    const CONTENT: &[u8] = b"content";
    const LIMIT: Duration = Duration::from_secs(5);

    /// A ring whose program has waited in `enter` so far, and a file.
    struct Rig {
        fd: RawFd,
        ring: Arc<Ring>,
        file: File,
        read: [u8; 16],
    }

    impl Rig {
        fn new() -> Self {
            let mut params = Params::default();
            let fd = System::global().setup(32, UserAddress::of(&raw mut params)).expect("a ring");
            let ring = System::global().ring_of(fd).expect("it was just made");
            ring.kept.waits.store(WAITS_BEFORE, Ordering::Relaxed);
            let mut file = File::from(memfd_create("file", MemfdFlags::CLOEXEC).expect("a file"));
            file.write_all(CONTENT).expect("there is room");
            Self { fd, ring, file, read: [0; 16] }
        }

        fn turn(&self) -> Turn<'_> {
            Turn::new(&self.ring, Place::Submitter)
        }

        /// Submits a read as if its data had not been cached.
        fn lend(&mut self) {
            let sqe = Sqe::default()
                .with_opcode(Opcode::Read.number())
                .with_fd(self.file.as_raw_fd())
                .with_addr(self.read.as_mut_ptr() as u64)
                .with_len(self.read.len() as u32);
            let mut turn = self.turn();
            assert!(turn.lend(&sqe));
            turn.finish();
        }

        fn start(&self, sqe: &Sqe) {
            let context = Prepare { setup: self.ring.setup, limits_request: false };
            let mut turn = self.turn();
            let row = row(sqe.opcode()).expect("it has a row");
            turn.start(sqe, &context, row).expect("it is good");
            turn.finish();
        }

        fn kept(&self) -> usize {
            self.ring.kept.queue.lock().len()
        }

        fn wait(&self, wanted: u32) {
            wait_for(&self.ring, wanted);
            assert!(self.ring.shared.cq_ready() >= wanted);
        }

        /// Waits without entering the ring.
        fn look_for(&self, wanted: u32) {
            let end = Instant::now() + LIMIT;
            while self.ring.shared.cq_ready() < wanted && Instant::now() < end {
                std::thread::sleep(Duration::from_micros(100));
            }
            assert_eq!(self.ring.shared.cq_ready(), wanted);
        }
    }

    /// Waits as in `enter`.
    fn wait_for(ring: &Arc<Ring>, wanted: u32) {
        let last = WaitLimit { clock: Clock::Monotonic, deadline: timer::now(Clock::Monotonic) + LIMIT };
        // What is there in the end counts.
        let _ = wait::wait(ring, wanted, &WaitLimits { last: Some(last), batch: None }, None);
    }

    impl Drop for Rig {
        fn drop(&mut self) {
            System::global().close(self.fd).expect("it is open");
        }
    }

    #[test]
    fn the_thread_that_waits_makes_what_is_kept() {
        let mut rig = Rig::new();
        rig.lend();
        rig.lend();
        assert_eq!((rig.kept(), rig.ring.shared.cq_ready()), (2, 0));
        rig.ring.reactor.join();
        assert!(make_oldest(&rig.ring, None));
        assert_eq!((rig.kept(), rig.ring.shared.cq_ready()), (1, 1));
        assert!(make_oldest(&rig.ring, Some(LEAST_WAIT)));
        assert!(!make_oldest(&rig.ring, None));
        rig.ring.reactor.leave();
        assert_eq!((rig.kept(), rig.ring.shared.cq_ready()), (0, 2));
        assert_eq!(&rig.read[..CONTENT.len()], CONTENT);
    }

    #[test]
    fn a_wait_finds_what_is_kept() {
        let mut rig = Rig::new();
        rig.lend();
        rig.wait(1);
        assert_eq!((rig.kept(), rig.ring.shared.cq_ready()), (0, 1));
    }

    /// It looks at other things now and then.
    #[test]
    fn a_wait_makes_as_many_as_it_waits_for() {
        let mut rig = Rig::new();
        for _ in 0..40 {
            rig.lend();
        }
        rig.wait(5);
        assert!((5..40).contains(&rig.ring.shared.cq_ready()));
        rig.wait(40);
        assert_eq!((rig.kept(), rig.ring.shared.cq_ready()), (0, 40));
    }

    #[test]
    fn nothing_is_kept_before_the_program_has_waited() {
        let mut rig = Rig::new();
        is_not_waited_for(&rig.ring);
        for _ in 1..WAITS_BEFORE {
            rig.ring.kept.was_asked();
        }
        rig.lend();
        assert_eq!(rig.kept(), 0);
        rig.look_for(1);
        rig.ring.kept.was_asked();
        rig.lend();
        assert_eq!(rig.kept(), 1);
    }

    #[test]
    fn what_is_kept_does_not_need_a_thread_that_waits() {
        let mut rig = Rig::new();
        rig.lend();
        background::notice(&rig.ring);
        rig.look_for(1);
        // The program has stayed away.
        rig.lend();
        assert_eq!(rig.kept(), 0);
        rig.look_for(2);
    }

    /// A program that comes again and again, and always finds enough to return with.
    #[test]
    fn what_is_kept_for_long_is_for_workers() {
        let mut rig = Rig::new();
        rig.lend();
        let end = Instant::now() + LIMIT;
        while rig.ring.shared.cq_ready() == 0 && Instant::now() < end {
            background::notice(&rig.ring);
        }
        assert_eq!((rig.kept(), rig.ring.shared.cq_ready()), (0, 1));
    }

    #[test]
    fn another_thread_that_waits_has_workers_come() {
        let mut rig = Rig::new();
        rig.lend();
        std::thread::scope(|scope| {
            scope.spawn(|| rig.wait(1));
        });
        assert_eq!((rig.kept(), rig.ring.shared.cq_ready()), (0, 1));
    }

    #[test]
    fn nothing_is_kept_from_a_thread_that_sleeps_already() {
        let mut rig = Rig::new();
        let ring = Arc::clone(&rig.ring);
        std::thread::scope(|scope| {
            scope.spawn(|| wait_for(&ring, 1));
            let end = Instant::now() + LIMIT;
            while ring.shared.waiters() == 0 && Instant::now() < end {
                std::thread::yield_now();
            }
            rig.lend();
            assert_eq!(rig.kept(), 0);
        });
        assert_eq!(rig.ring.shared.cq_ready(), 1);
    }

    #[test]
    fn a_thread_that_must_hear_of_other_files_makes_nothing() {
        let mut rig = Rig::new();
        let (read, mut write) = std::io::pipe().expect("a pipe");
        rig.lend();
        let poll = Sqe::default().with_opcode(Opcode::PollAdd.number()).with_fd(read.as_raw_fd());
        rig.start(&poll.with_op_flags(POLLIN));
        assert!(!make_oldest(&rig.ring, None));
        rig.look_for(1);
        rig.lend();
        assert_eq!(rig.kept(), 0);
        rig.look_for(2);
        write.write_all(b"x").expect("there is room");
        rig.wait(3);
    }

    #[test]
    fn a_wait_that_is_nearly_over_makes_nothing() {
        let mut rig = Rig::new();
        rig.lend();
        assert!(!make_oldest(&rig.ring, Some(LEAST_WAIT / 2)));
        rig.look_for(1);
    }

    #[test]
    fn a_synchronous_write_is_kept_alone() {
        const RWF_DSYNC: u32 = 2;
        let rig = Rig::new();
        let write = |offset| {
            let sqe = Sqe::default().with_opcode(Opcode::Write.number()).with_fd(rig.file.as_raw_fd());
            let sqe = sqe.with_addr(CONTENT.as_ptr() as u64).with_len(CONTENT.len() as u32);
            rig.start(&sqe.with_off(offset).with_op_flags(RWF_DSYNC));
        };
        write(0);
        assert_eq!((rig.kept(), rig.ring.shared.cq_ready()), (1, 0));
        // Side by side they are faster.
        write(100);
        assert_eq!(rig.kept(), 0);
        rig.look_for(2);
        write(200);
        assert!(!make_oldest(&rig.ring, Some(LEAST_WAIT)), "it may take longer than any limit");
        rig.look_for(3);
        write(300);
        rig.wait(4);
    }

    #[test]
    fn what_is_kept_can_be_cancelled() {
        let mut rig = Rig::new();
        rig.lend();
        let any = CancelMatch { flags: uapi::IORING_ASYNC_CANCEL_ANY, user_data: 0, fd: -1, opcode: 0 };
        let mut turn = rig.turn();
        assert_eq!(turn.cancel(&any, None), Ok(1));
        turn.finish();
        drop(turn);
        rig.wait(1);
        rig.lend();
        rig.wait(2);
        assert_eq!((rig.kept(), rig.ring.shared.cq_ready()), (0, 2));
    }
}
