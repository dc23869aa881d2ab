//! Waiting for futexes: a thread for each wait, as a wake must find its waiter and count it.
//!
//! A wake of several words at once tells one thread about one of them only, so that waits cannot share a thread without
//! losing some. The thread waits for the words of its request, for a word by which it is stopped, and for one that
//! shows that it waits: the submission goes on once it does, so that a wake right after it finds the waiter.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringer_ops::timeout::Clock;
use ringer_ops::{Completion, Operation};
use ringer_sys::Errno;
use ringer_sys::futex::{self, ANY, FutexWord, MOST_WORDS};

use crate::Served;
use crate::chain::take_limit;
use crate::inflight::{RequestId, Stage};
use crate::request::Request;
use crate::ring::Ring;
use crate::system::System;
use crate::timer;
use crate::turn::{Place, Turn};

/// An idle thread leaves after this time.
const IDLE: Duration = Duration::from_secs(2);
/// How often a thread that cannot be woken looks whether it is to stop.
const STEP: Duration = Duration::from_millis(10);
/// How often the words are looked at that nobody waits for.
const SHORT_STEP: Duration = Duration::from_millis(1);
/// How long a thread is waited for that cannot be seen to wait.
const STARTING: Duration = Duration::from_millis(20);

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// The word at this place was woken.
    Woken(usize),
    /// The wait did not begin.
    Failed(Errno),
    /// It was asked to stop, and was not woken.
    Stopped,
}

#[derive(Debug, Default)]
struct State {
    /// The submission went on: the thread itself completes the request.
    is_started: bool,
    end: Option<End>,
}

/// The wait of one request.
#[derive(Debug)]
pub(crate) struct FutexSleep {
    words: Box<[FutexWord]>,
    mask: u32,
    /// Not 0: the thread is to stop. It waits for this word, too.
    stop: AtomicU32,
    /// Always 0. The last word that the thread waits for.
    waits: AtomicU32,
    /// The thread, once it is about to wait in steps.
    thread: AtomicU32,
    state: Mutex<State>,
    changed: Condvar,
}

impl FutexSleep {
    fn new(words: Box<[FutexWord]>, mask: u32) -> Self {
        Self {
            words,
            mask,
            stop: AtomicU32::new(0),
            waits: AtomicU32::new(0),
            thread: AtomicU32::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the thread waits. Returns how the wait ended, if it did already.
    fn wait_for_start(&self) -> Option<End> {
        let limit = timer::now(Clock::Monotonic) + STARTING;
        loop {
            // Asked before the state: a wait that ends meanwhile has begun.
            let is_asleep = self.is_asleep(limit);
            let mut state = self.lock();
            if is_asleep || state.end.is_some() {
                state.is_started = true;
                self.changed.notify_all();
                return state.end;
            }
            drop(state);
            std::thread::yield_now();
        }
    }

    fn is_asleep(&self, limit: Duration) -> bool {
        // Relaxed: a hint which of the two ways to ask.
        match self.thread.load(Ordering::Relaxed) {
            0 => futex::has_waiter(&FutexWord::own(&self.waits, 0)),
            thread => self.is_seen_to_sleep(thread) || timer::now(Clock::Monotonic) >= limit,
        }
    }

    /// A thread that is to wait for several words counts as sleeping before the kernel has it wait for the last of them. Where the
    /// kernel waits for one word only, this is never seen.
    fn is_seen_to_sleep(&self, thread: u32) -> bool {
        is_sleeping(thread) && (self.words.len() == 1 || self.words.last().is_some_and(futex::has_waiter))
    }

    /// Ends the wait. Returns false if it ended otherwise, which its thread tells.
    pub(crate) fn stop(&self) -> bool {
        let mut state = self.lock();
        while !state.is_started {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.end.is_some() {
            return false;
        }
        // Relaxed: the thread finds it changed, or waits for the word and is woken.
        self.stop.store(1, Ordering::Relaxed);
        futex::wake_own(&self.stop);
        while state.end.is_none() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.end == Some(End::Stopped)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) != 0
    }

    /// Waits. On the wait's own thread.
    fn sleep(&self) -> End {
        if self.mask == ANY && self.words.len() + 2 <= MOST_WORDS {
            match self.sleep_at_once() {
                End::Failed(Errno::NOSYS) => {}
                end => return end,
            }
        }
        // Relaxed: see `is_asleep`.
        self.thread.store(rustix::thread::gettid().as_raw_nonzero().get() as u32, Ordering::Relaxed);
        self.sleep_in_steps()
    }

    fn sleep_at_once(&self) -> End {
        // Of several words that were woken the last one counts, so that a wake is never lost to the word to stop.
        let mut words = Vec::with_capacity(self.words.len() + 2);
        words.push(FutexWord::own(&self.stop, 0));
        words.extend_from_slice(&self.words);
        words.push(FutexWord::own(&self.waits, 0));
        loop {
            match futex::wait_for_several(&words, None) {
                Ok(0) => return End::Stopped,
                Ok(place) => return End::Woken(place - 1),
                Err(_) if self.is_stopped() => return End::Stopped,
                Err(Errno::INTR) => {}
                Err(errno) => return End::Failed(errno),
            }
        }
    }

    /// Waits for a while again and again: with a mask, for too many words for the two of the engine, and where the kernel
    /// waits for one word only. Between two steps a word is watched by its value.
    fn sleep_in_steps(&self) -> End {
        let mut has_waited = false;
        let mut is_one = self.words.len() == 1;
        loop {
            let step = if self.words.len() > 1 && is_one { SHORT_STEP } else { STEP };
            let deadline = timer::now(Clock::Monotonic) + step;
            let result = if is_one {
                futex::wait_for_one(&self.words[0], self.mask, deadline).map(|()| 0)
            } else {
                futex::wait_for_several(&self.words, Some(deadline))
            };
            match result {
                Ok(place) => return End::Woken(place),
                Err(Errno::NOSYS) if !is_one => is_one = true,
                Err(Errno::TIMEDOUT | Errno::INTR) => has_waited = true,
                Err(Errno::AGAIN) if has_waited => {}
                Err(errno) => return End::Failed(errno),
            }
            if has_waited && let Some(place) = self.words.iter().position(has_changed) {
                return End::Woken(place);
            }
            if self.is_stopped() {
                return End::Stopped;
            }
        }
    }
}

fn has_changed(word: &FutexWord) -> bool {
    word.address.read::<u32>().is_ok_and(|value| u64::from(value) != word.value)
}

/// Whether a thread of this process is seen to sleep.
fn is_sleeping(thread: u32) -> bool {
    let Ok(line) = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")) else { return false };
    // Behind the name, which may hold anything, in parentheses.
    line.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
}

#[derive(Debug)]
struct Job {
    ring: Arc<Ring>,
    request: RequestId,
    sleep: Arc<FutexSleep>,
}

impl Job {
    fn run(self) {
        let end = self.sleep.sleep();
        let completes = {
            let mut state = self.sleep.lock();
            state.end = Some(end);
            self.sleep.changed.notify_all();
            state.is_started && end != End::Stopped
        };
        if !completes {
            return;
        }
        let request = self.ring.inflight.lock().take(self.request);
        if let Some(request) = request {
            // Task work in the kernel, which has no worker for such a wait: what follows in the chain is not on one either.
            let mut turn = Turn::new(&self.ring, Place::Reactor);
            let next = turn.complete(request, completion_of(end));
            turn.put_next(next);
            turn.run_ready();
            turn.finish();
            crate::background::notice(&self.ring);
        }
    }
}

fn completion_of(end: End) -> Completion {
    match end {
        End::Woken(place) => Completion::new(place as i32),
        End::Failed(errno) => Completion::error(errno),
        End::Stopped => Completion::error(Errno::CANCELED),
    }
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    idle: usize,
}

/// The threads that wait, for all rings of this process.
#[derive(Debug, Default)]
pub(crate) struct FutexThreads {
    queue: Mutex<Queue>,
    work: Condvar,
}

impl FutexThreads {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a wait to a thread.
    ///
    /// # Errors
    /// `ENOMEM` when there is none and none can be made.
    fn submit(self: &Arc<Self>, job: Job) -> Result<(), Errno> {
        let sleep = Arc::clone(&job.sleep);
        {
            let mut queue = self.lock();
            queue.jobs.push_back(job);
            if queue.jobs.len() <= queue.idle {
                self.work.notify_one();
                return Ok(());
            }
        }
        let threads = Arc::clone(self);
        if ringer_sys::thread::spawn("ringer-futex", move || threads.run()).is_ok() {
            return Ok(());
        }
        let mut queue = self.lock();
        let before = queue.jobs.len();
        queue.jobs.retain(|job| !Arc::ptr_eq(&job.sleep, &sleep));
        // A thread that became idle may have taken it.
        if queue.jobs.len() < before { Err(Errno::NOMEM) } else { Ok(()) }
    }

    fn run(&self) {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job.run();
                queue = self.lock();
                continue;
            }
            queue.idle += 1;
            let (back, waited) = self.work.wait_timeout(queue, IDLE).unwrap_or_else(PoisonError::into_inner);
            queue = back;
            queue.idle -= 1;
            if waited.timed_out() && queue.jobs.is_empty() {
                return;
            }
        }
    }
}

impl Turn<'_> {
    /// Starts the wait of a FUTEX_WAIT or FUTEX_WAITV. Returns the request that follows, if it ended at once.
    pub(crate) fn start_futex_wait(&mut self, mut request: Box<Request>) -> Option<Box<Request>> {
        let (words, mask) = match &mut request.operation {
            Operation::FutexWait(wait) => (Box::from([wait.word]), wait.mask),
            Operation::FutexWaitv(wait) => (std::mem::take(&mut wait.words), ANY),
            _ => return self.complete(request, Completion::error(Errno::INVAL)),
        };
        let sleep = Arc::new(FutexSleep::new(words, mask));
        let id = {
            let mut inflight = self.ring.inflight.lock();
            if inflight.closed || request.slot.is_some_and(|slot| inflight.is_cancelled(slot)) {
                drop(inflight);
                return self.complete(request, Completion::error(Errno::CANCELED));
            }
            request.served = Served::Worker;
            let limit = take_limit(&mut request);
            let asleep = Arc::clone(&sleep);
            let id = inflight.put(request, |request| Stage::Asleep { request, sleep: asleep });
            if let Some(limit) = limit {
                self.arm_limit(&mut inflight, id, limit);
            }
            id
        };
        let job = Job { ring: Arc::clone(self.ring), request: id, sleep: Arc::clone(&sleep) };
        let end = match System::global().futexes().submit(job) {
            Ok(()) => sleep.wait_for_start()?,
            Err(errno) => {
                let mut state = sleep.lock();
                *state = State { is_started: true, end: Some(End::Failed(errno)) };
                sleep.changed.notify_all();
                End::Failed(errno)
            }
        };
        let request = self.ring.inflight.lock().take(id)?;
        self.complete(request, completion_of(end))
    }
}
