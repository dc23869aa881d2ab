//! The polling thread of `IORING_SETUP_SQPOLL`: submits without any call, sleeps when idle.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use ringer_abi::{Params, SetupFlags, SqRingFlags};
use ringer_sys::Errno;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::ring::Ring;
use crate::{background, submit, wait};

/// `sq_thread_idle` when the program gives none.
const DEFAULT_IDLE: Duration = Duration::from_secs(1);
/// How often the thread looks whether its ring still exists while it sleeps.
const LOOK: Duration = Duration::from_millis(500);

/// One ring's polling thread.
#[derive(Debug)]
pub(crate) struct PollThread {
    idle: Duration,
    state: Mutex<State>,
    wake: Condvar,
    room: Condvar,
    /// Threads that wait for room: to tell nobody is a system call all the same.
    waiting_for_room: AtomicU32,
    stop: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    woken: bool,
}

impl PollThread {
    /// Starts the thread of a ring.
    ///
    /// # Errors
    /// `EINVAL` for a processor that does not exist, `EAGAIN` without threads.
    pub(crate) fn start(ring: &Arc<Ring>, params: &Params) -> Result<(), Errno> {
        let idle = match params.sq_thread_idle {
            0 => DEFAULT_IDLE,
            milliseconds => Duration::from_millis(u64::from(milliseconds)),
        };
        let processor = ring.setup.contains(SetupFlags::SQ_AFF).then_some(params.sq_thread_cpu as usize);
        if let Some(processor) = processor {
            let known = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            if processor >= known.max(1) {
                return Err(Errno::INVAL);
            }
        }
        let thread = Arc::new(Self {
            idle,
            state: Mutex::default(),
            wake: Condvar::new(),
            room: Condvar::new(),
            waiting_for_room: AtomicU32::new(0),
            stop: AtomicBool::new(false),
        });
        let weak = Arc::downgrade(ring);
        let body = Arc::clone(&thread);
        ringer_sys::thread::spawn("iou-sqp", move || {
            if let Some(processor) = processor {
                let mut set = CpuSet::new();
                set.set(processor);
                // The processor may have gone offline; running elsewhere still serves the ring.
                let _ = sched_setaffinity(None, &set);
            }
            body.run(&weak);
        })?;
        // The ring is new: nobody else has set it.
        let _ = ring.poll_thread.set(thread);
        Ok(())
    }

    /// `IORING_ENTER_SQ_WAKEUP`.
    pub(crate) fn wake(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).woken = true;
        self.wake.notify_one();
    }

    /// Ends the thread; its ring is closed.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake();
    }

    /// `IORING_ENTER_SQ_WAIT`: waits until the SQ has room.
    pub(crate) fn wait_for_room(&self, ring: &Ring) {
        const SLICE: Duration = Duration::from_millis(1);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Relaxed: a thread that is overlooked waits for a slice.
        self.waiting_for_room.fetch_add(1, Ordering::Relaxed);
        while ring.shared.sq_is_full() && !self.stop.load(Ordering::Relaxed) {
            (state, _) = self.room.wait_timeout(state, SLICE).unwrap_or_else(PoisonError::into_inner);
        }
        self.waiting_for_room.fetch_sub(1, Ordering::Relaxed);
    }

    fn run(&self, weak: &Weak<Ring>) {
        let mut last_work = Instant::now();
        while !self.stop.load(Ordering::Relaxed) {
            let Some(ring) = weak.upgrade() else { return };
            if self.work(&ring) {
                last_work = Instant::now();
                continue;
            }
            if last_work.elapsed() < self.idle {
                if !comes_soon(|| !ring.shared.sq_is_empty()) {
                    // The other side may need this processor to have something for us.
                    std::thread::yield_now();
                }
                continue;
            }
            if ring.shared.sq_announce_sleep() {
                background::notice(&ring);
                drop(ring);
                self.sleep(weak);
                if let Some(ring) = weak.upgrade() {
                    ring.shared.sq_clear_flags(SqRingFlags::NEED_WAKEUP);
                }
            }
            last_work = Instant::now();
        }
    }

    /// One round: submits what is there, drives what is armed. False if there was nothing to submit.
    fn work(&self, ring: &Arc<Ring>) -> bool {
        if ring.disabled.load(Ordering::Relaxed) {
            return false;
        }
        ring.flush_backlog();
        let submitted =
            if ring.shared.sq_is_empty() { 0 } else { submit::submit(ring, u32::MAX, ring.own_thread()) };
        if submitted > 0 && self.waiting_for_room.load(Ordering::Relaxed) > 0 {
            self.room.notify_all();
        }
        if ring.reactor.may_have_work() {
            ring.reactor.join();
            wait::drive(ring);
            ring.reactor.leave();
            background::notice(ring);
        }
        submitted > 0
    }

    fn sleep(&self, weak: &Weak<Ring>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.woken && !self.stop.load(Ordering::Relaxed) {
            // The ring's owner stops the thread; a ring that went another way is noticed here.
            if weak.strong_count() == 0 {
                return;
            }
            (state, _) = self.wake.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner);
        }
        state.woken = false;
    }
}

/// Whether something comes within a moment: less than a system call takes to come back.
fn comes_soon(has_come: impl Fn() -> bool) -> bool {
    const LOOKS: u32 = 16;
    (0..LOOKS).any(|_| {
        std::hint::spin_loop();
        has_come()
    })
}
