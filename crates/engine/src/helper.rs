//! The helper: a thread that makes a part of what another one submits.
//!
//! To open a file, to close it, to look at its status takes a microsecond, and nearly all of it is the kernel's. Two threads on two CPUs need little
//! more than half of the time. But to wake a thread takes longer than to make some of these. So a run of them is shared only where such runs come one
//! close behind the other, with a helper that looks out for the next one for a moment before it sleeps.
//!
//! - The submitter depends on nobody. The helper takes an SQE of a run that is offered when it comes to that, and the submitter waits for nothing
//!   but what the helper has taken.
//! - It helps the thread that has started it, and that one only while it has the credentials that it had then. So it has the same root, working
//!   directory and descriptors.
//! - Whether two threads are faster is the machine's affair, and the moment's: see [`pace`](crate::pace).

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ringer_sys::credentials::Identity;
use ringer_sys::thread::{self, Lock};

use crate::pace::Pace;
use crate::shared_run::SharedRun;
use crate::system::System;

/// So long it looks out for the next run.
const LOOKOUT: Duration = Duration::from_micros(50);
/// It leaves when it has slept for this time: what its thread denies itself meanwhile, it has not.
const IDLE: Duration = Duration::from_millis(100);
/// So often the submitter looks for the end of what the helper has taken, before it sleeps: about as long as a few of them take.
const LOOKS: u32 = 2000;

/// The helper of this process, and whom it helps.
#[derive(Debug, Default)]
pub(crate) struct Helper {
    /// Of the thread that has it for a run.
    pace: Lock<Pace>,
    desk: Lock<Desk>,
    /// There is an offer for the helper, which sleeps.
    called: Condvar,
    /// The helper is through with a run whose submitter sleeps.
    ended: Condvar,
    /// Offers so far, for the helper that looks out.
    offers: AtomicU32,
    has_several_processors: OnceLock<bool>,
}

#[derive(Debug, Default)]
struct Desk {
    /// The thread that it helps, by number, and who that was. `None`: there is no helper.
    helps: Option<(u32, Identity)>,
    is_asleep: bool,
    offer: Option<Arc<SharedRun>>,
    is_waited_for: bool,
}

impl Helper {
    /// The pace of runs so far, for the thread that has one. `None`: another thread has one just now.
    pub(crate) fn pace(&self) -> Option<MutexGuard<'_, Pace>> {
        self.pace.try_lock()
    }

    /// Makes a run, with the helper if it comes. Returns whether it did. For the thread that has the [pace](Self::pace).
    pub(crate) fn make(self: &Arc<Self>, run: &Arc<SharedRun>) -> bool {
        let is_offered = self.offer(run);
        let made = run.make_from_front();
        if is_offered {
            self.wait_for_end(run, made, LOOKS);
        }
        !run.is_made_by_submitter(made)
    }

    /// Whether there is a CPU for it. A container that may use the time of one CPU would only use it up sooner.
    fn may_help(&self) -> bool {
        // Asked here and not earlier: files are looked at for it, which is not for a program that has no use for a helper.
        let has_several =
            || std::thread::available_parallelism().is_ok_and(|processors| processors.get() > 1);
        *self.has_several_processors.get_or_init(has_several)
    }

    /// Offers a run to the helper of this thread, which is called or started if need be. Returns false if there is none, or it is another one's.
    fn offer(self: &Arc<Self>, run: &Arc<SharedRun>) -> bool {
        // What says how many workers there are, and where, says that there are no others.
        if !self.may_help() || System::global().workers().is_directed() {
            return false;
        }
        let this = (thread::id(), Identity::of_this_thread());
        let mut desk = self.desk.lock();
        let starts = match &desk.helps {
            Some(helps) if *helps != this => return false,
            Some(_) => false,
            None => true,
        };
        desk.offer = Some(Arc::clone(run));
        // Relaxed: the offer is looked for under the lock.
        self.offers.fetch_add(1, Ordering::Relaxed);
        if !starts {
            let is_asleep = desk.is_asleep;
            drop(desk);
            if is_asleep {
                self.called.notify_one();
            }
            return true;
        }
        desk.helps = Some(this);
        drop(desk);
        let helper = Arc::clone(self);
        let is_started = thread::spawn("ringer-helper", move || helper.run()).is_ok();
        if !is_started {
            let mut desk = self.desk.lock();
            (desk.helps, desk.offer) = (None, None);
        }
        is_started
    }

    /// The submitter has made so many, and there is nothing left to take. It looks so often before it sleeps.
    fn wait_for_end(&self, run: &SharedRun, made: usize, looks: u32) {
        for _ in 0..looks {
            if run.is_made(made) {
                break;
            }
            std::hint::spin_loop();
        }
        let mut desk = self.desk.lock();
        // It did not come to it.
        desk.offer = None;
        while !run.is_made(made) {
            desk.is_waited_for = true;
            desk = self.ended.wait(desk).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn run(&self) {
        let mut desk = self.desk.lock();
        loop {
            if std::mem::take(&mut desk.is_waited_for) {
                self.ended.notify_one();
            }
            // Relaxed: under the lock, no other offer is made.
            let seen = self.offers.load(Ordering::Relaxed);
            if let Some(run) = desk.offer.take() {
                drop(desk);
                run.make_from_back();
                drop(run);
                desk = self.desk.lock();
                continue;
            }
            drop(desk);
            let has_come = self.look_out(seen);
            desk = self.desk.lock();
            // It may have been taken back since: then there are more to come.
            if has_come || desk.offer.is_some() {
                continue;
            }
            desk.is_asleep = true;
            let (back, waited) = self.called.wait_timeout(desk, IDLE).unwrap_or_else(PoisonError::into_inner);
            desk = back;
            desk.is_asleep = false;
            if waited.timed_out() && desk.offer.is_none() {
                desk.helps = None;
                return;
            }
        }
    }

    /// Looks for an offer for a while. Returns whether one has come.
    fn look_out(&self, seen: u32) -> bool {
        const LOOKS: u32 = 64;
        let since = Instant::now();
        while since.elapsed() < LOOKOUT {
            for _ in 0..LOOKS {
                // Relaxed: the offer is looked for under the lock.
                if self.offers.load(Ordering::Relaxed) != seen {
                    return true;
                }
                std::hint::spin_loop();
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::RawFd;

    use ringer_abi::{Opcode, Params, Sqe};
    use ringer_ops::row;
    use ringer_sys::UserAddress;

    use super::*;
    use crate::ring::Ring;
    use crate::shared_run::Sqes;

    const LIMIT: Duration = Duration::from_secs(20);
    const COUNT: usize = 32;
    const CURRENT_DIRECTORY: RawFd = -100;
    const READ_ONLY_CLOSE_ON_EXEC: u32 = 0o2_000_000;

    struct Rig {
        fd: RawFd,
        ring: Arc<Ring>,
        helper: Arc<Helper>,
    }

    impl Rig {
        fn new() -> Self {
            let mut params = Params::default();
            let fd = System::global().setup(32, UserAddress::of(&raw mut params)).expect("a ring");
            // Wherever this runs.
            let helper = Helper { has_several_processors: OnceLock::from(true), ..Helper::default() };
            let ring = System::global().ring_of(fd).expect("it was just made");
            Self { fd, ring, helper: Arc::new(helper) }
        }

        fn run(&self, opcode: Opcode, sqes: impl Iterator<Item = Sqe>) -> Arc<SharedRun> {
            let sqes: Sqes = sqes.map(|sqe| sqe.with_opcode(opcode.number())).collect();
            Arc::new(SharedRun::new(&self.ring, row(opcode.number()).expect("it has a row"), sqes))
        }

        fn opens(&self, path: &'static std::ffi::CStr, count: usize) -> Arc<SharedRun> {
            let sqe = Sqe::default().with_fd(CURRENT_DIRECTORY).with_addr(path.as_ptr() as u64);
            self.run(Opcode::Openat, std::iter::repeat_n(sqe.with_op_flags(READ_ONLY_CLOSE_ON_EXEC), count))
        }

        fn closes(&self, files: &[RawFd]) -> Arc<SharedRun> {
            self.run(Opcode::Close, files.iter().map(|file| Sqe::default().with_fd(*file)))
        }
    }

    impl Drop for Rig {
        fn drop(&mut self) {
            System::global().close(self.fd).expect("it is open");
        }
    }

    fn results(run: &SharedRun) -> Vec<RawFd> {
        run.results().map(|(_, result)| result.expect("each is made")).collect()
    }

    /// Each is made once: all files are others, and each can be closed.
    fn check(opens: &SharedRun, closes: impl FnOnce(&[RawFd]) -> Arc<SharedRun>) {
        let files = results(opens);
        let mut sorted = files.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert!(sorted.len() == COUNT && sorted[0] >= 0, "{files:?}");
        assert_eq!(results(&closes(&files)), [0; COUNT]);
    }

    #[test]
    fn the_helper_comes_and_each_is_made_once() {
        let rig = Rig::new();
        let (end, mut shared) = (Instant::now() + LIMIT, 0);
        while shared < 1000 {
            let opens = rig.opens(c"/dev/null", COUNT);
            shared += u32::from(rig.helper.make(&opens));
            check(&opens, |files| {
                let closes = rig.closes(files);
                shared += u32::from(rig.helper.make(&closes));
                closes
            });
            assert!(Instant::now() < end, "the helper came to {shared} runs");
        }
    }

    #[test]
    fn the_submitter_sleeps_until_the_helper_is_through() {
        let rig = Rig::new();
        let (end, mut shared) = (Instant::now() + LIMIT, 0);
        while shared < 1000 {
            let opens = rig.opens(c"/dev/null", COUNT);
            assert!(rig.helper.offer(&opens));
            let made = opens.make_from_front();
            rig.helper.wait_for_end(&opens, made, 0);
            shared += u32::from(!opens.is_made_by_submitter(made));
            check(&opens, |files| {
                let closes = rig.closes(files);
                rig.helper.make(&closes);
                closes
            });
            assert!(Instant::now() < end, "the helper came to {shared} runs");
        }
    }

    #[test]
    fn another_thread_has_no_helper_while_there_is_one() {
        let rig = Rig::new();
        assert!(rig.helper.offer(&rig.opens(c"/", 0)));
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(!rig.helper.offer(&rig.opens(c"/", 0))));
        });
    }

    #[test]
    fn what_an_attempt_does_not_finish_is_left() {
        let rig = Rig::new();
        let opens = rig.opens(c"/dev/null", COUNT);
        // Attempts have taken too long.
        while rig.ring.latency.patience() == ringer_ops::Patience::Brief {
            rig.ring.latency.note(Duration::from_secs(1));
        }
        rig.helper.make(&opens);
        assert_eq!(opens.results().filter(|(_, result)| result.is_none()).count(), COUNT);
        // The name has gone since it was looked at.
        let rig = Rig::new();
        let opens = rig.run(Opcode::Openat, std::iter::repeat_n(Sqe::default(), COUNT));
        rig.helper.make(&opens);
        assert_eq!(opens.results().filter(|(_, result)| result.is_none()).count(), COUNT);
    }
}
