//! The worker pool: threads that may wait for a device.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ringer_ops::Completion;
use ringer_sys::Errno;
use ringer_sys::credentials::Credentials;
use ringer_sys::interrupt::Work;
use ringer_sys::thread::Lock;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::inflight::RequestId;
use crate::ring::Ring;
use crate::system::System;
use crate::turn::{Place, Turn};

/// An idle worker leaves after this time.
const IDLE: Duration = Duration::from_secs(2);
/// The most workers of the process. The kernel has `min(entries, 4 * processors)` for files and
/// as many as processes are allowed for the rest.
const MOST_WORKERS: usize = 128;

#[derive(Debug)]
struct Job {
    ring: Arc<Ring>,
    request: RequestId,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// Limits that a program set for bounded and unbounded work; 0 where it set none.
    limits: [u32; 2],
    /// Where workers run, and how often that was changed.
    affinity: Option<(CpuSet, u64)>,
}

/// The workers of this process, shared by its rings.
#[derive(Debug, Default)]
pub(crate) struct WorkerPool {
    state: Mutex<State>,
    work: Condvar,
    /// Requests that were cancelled while a worker runs them.
    interrupted: Lock<Vec<(Weak<Ring>, RequestId)>>,
}

impl WorkerPool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over a batch of punted requests. One lock, and at most one wake-up per request.
    pub(crate) fn submit(
        self: &Arc<Self>,
        ring: &Arc<Ring>,
        requests: impl ExactSizeIterator<Item = RequestId>,
    ) {
        let count = requests.len();
        let (wake, start) = {
            let mut state = self.lock();
            state.queue.extend(requests.map(|request| Job { ring: Arc::clone(ring), request }));
            let wake = count.min(state.idle);
            let room = most_workers(state.limits).saturating_sub(state.threads);
            let start = state.queue.len().saturating_sub(state.idle).min(room).min(count);
            state.threads += start;
            (wake, start)
        };
        for _ in 0..wake {
            self.work.notify_one();
        }
        for _ in 0..start {
            let pool = Arc::clone(self);
            if ringer_sys::thread::spawn("ringer-worker", move || pool.run()).is_err() {
                self.lock().threads -= 1;
                self.run_without_threads();
            }
        }
    }

    /// No thread can be made, and perhaps there is none: the queue must not be left lying.
    fn run_without_threads(&self) {
        while self.lock().threads == 0 {
            let Some(job) = self.lock().queue.pop_front() else { return };
            job.run(None, None);
        }
    }

    fn run(&self) {
        let mut affinity = 0;
        let mut state = self.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                let wanted = state.affinity.filter(|(_, version)| *version != affinity);
                drop(state);
                if let Some((set, version)) = wanted {
                    affinity = version;
                    // The processors may have gone offline; running elsewhere still serves the request.
                    let _ = sched_setaffinity(None, &set);
                }
                job.run(None, Some(Work::begin()));
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let (back, waited) = self.work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = back;
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }

    /// Takes a queued request out again; for cancellation.
    pub(crate) fn forget(&self, ring: &Arc<Ring>, request: RequestId) {
        self.lock().queue.retain(|job| job.request != request || !Arc::ptr_eq(&job.ring, ring));
    }

    /// Interrupts a request that was cancelled while a worker runs it: now, and again until it ends.
    pub(crate) fn interrupt(&self, ring: &Arc<Ring>, request: RequestId) {
        {
            let mut interrupted = self.interrupted.lock();
            // It may be cancelled again and again.
            if !interrupted
                .iter()
                .any(|(of, one)| *one == request && std::ptr::eq(of.as_ptr(), Arc::as_ptr(ring)))
            {
                interrupted.push((Arc::downgrade(ring), request));
            }
        }
        if self.interrupt_all() {
            System::global().background().sweep();
        }
    }

    /// Interrupts what was cancelled, as a worker may not have waited yet when it was interrupted before. Returns whether something was
    /// left, to be interrupted again in a while.
    pub(crate) fn interrupt_all(&self) -> bool {
        let mut interrupted = self.interrupted.lock();
        interrupted.retain(|(ring, request)| {
            let Some(ring) = ring.upgrade() else { return false };
            // Under the lock: the worker cannot have begun anything else.
            let mut inflight = ring.inflight.lock();
            inflight.cancelled_work(*request).map(Work::interrupt).is_some()
        });
        !interrupted.is_empty()
    }

    /// Sets the limits for bounded and unbounded work, 0 leaves one as it is. Returns those before;
    /// `unset` is reported for one that was not set.
    pub(crate) fn limit(&self, wanted: [u32; 2], unset: [u32; 2]) -> [u32; 2] {
        let mut state = self.lock();
        let mut before = state.limits;
        for (limit, unset) in before.iter_mut().zip(unset) {
            if *limit == 0 {
                *limit = unset;
            }
        }
        for (limit, wanted) in state.limits.iter_mut().zip(wanted) {
            if wanted != 0 {
                *limit = wanted;
            }
        }
        before
    }

    /// Says where workers run from their next request on.
    pub(crate) fn set_affinity(&self, set: CpuSet) {
        let mut state = self.lock();
        let version = state.affinity.as_ref().map_or(0, |(_, version)| *version);
        state.affinity = Some((set, version + 1));
    }
}

/// Workers are one pool: the larger limit holds for it.
fn most_workers(limits: [u32; 2]) -> usize {
    let limit = |limit: u32| if limit == 0 { MOST_WORKERS } else { limit as usize };
    limit(limits[0]).max(limit(limits[1])).min(MOST_WORKERS)
}

/// Runs a queued request with other credentials, on a thread of its own that ends with it: credentials belong to a
/// thread, and one that took on others may not be able to go back.
pub(crate) fn run_as(ring: &Arc<Ring>, request: RequestId, credentials: Arc<Credentials>) {
    let job = Job { ring: Arc::clone(ring), request };
    let started = ringer_sys::thread::spawn("ringer-worker", move || match credentials.assume() {
        Ok(()) => job.run(Some(credentials), Some(Work::begin())),
        Err(errno) => job.refuse(errno),
    });
    if let Err(errno) = started {
        Job { ring: Arc::clone(ring), request }.refuse(errno);
    }
}

impl Job {
    /// Ends the request with an error.
    fn refuse(self, errno: Errno) {
        let request = self.ring.inflight.lock().take(self.request);
        if let Some(request) = request {
            let mut turn = Turn::new(&self.ring, Place::Worker);
            let next = turn.complete(*request, Completion::error(errno));
            turn.put_next(next);
            turn.run_ready();
            turn.finish();
        }
    }

    /// Runs the request, on a thread that has these credentials. `None`: those of the process. A thread of the program has no `work`.
    fn run(self, credentials: Option<Arc<Credentials>>, work: Option<Work>) {
        let request = self.ring.inflight.lock().take_as(self.request, work.as_ref());
        if let Some(mut request) = request {
            request.served = crate::Served::Worker;
            let mut turn = Turn::new(&self.ring, Place::Worker);
            turn.personality = credentials;
            turn.work = work;
            turn.run(*request);
            turn.finish();
            crate::background::notice(&self.ring);
        }
    }
}
