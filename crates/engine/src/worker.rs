//! The worker pool: threads that may wait for a device.
//!
//! A worker has the credentials of the thread that started it, as Linux keeps credentials per thread. So what a thread hands over
//! is for workers that a thread of the same [identity](Identity) has started: a crew of their own. Most programs have one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ringer_ops::{Completion, DeviceWait};
use ringer_sys::Errno;
use ringer_sys::credentials::{Credentials, Identity};
use ringer_sys::interrupt::Work;
use ringer_sys::thread::Lock;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::inflight::RequestId;
use crate::ring::Ring;
use crate::system::System;
use crate::turn::{Place, Turn};
use crate::work_queue::{self, FilePart, FileTurn, Kind, Limits, WorkQueue};

/// An idle worker leaves after this time.
const IDLE: Duration = Duration::from_secs(2);
/// The most workers of the process. The kernel has `min(entries, 4 * processors)` for files and
/// as many as processes are allowed for the rest.
const MOST_WORKERS: usize = 128;

/// A request for a worker.
#[derive(Debug)]
pub(crate) struct Punt {
    pub(crate) request: RequestId,
    pub(crate) kind: Kind,
    /// Where it takes turns with others.
    pub(crate) part: Option<FilePart>,
    /// What it waits for, if nothing is against its being [kept](crate::kept).
    pub(crate) wait: Option<DeviceWait>,
    /// The thread that submitted it.
    pub(crate) submitter: u32,
}

#[derive(Debug)]
struct Job {
    ring: Arc<Ring>,
    request: RequestId,
    kind: Kind,
}

impl work_queue::Work for Job {
    fn kind(&self) -> Kind {
        self.kind
    }
}

/// Which identities there are among the threads that hand over.
#[derive(Debug, Default)]
struct KnownIdentities {
    first: Option<Identity>,
    are_several: bool,
}

/// The workers of one identity, and what they are to do.
#[derive(Debug)]
struct Crew {
    identity: Identity,
    queue: WorkQueue<Job>,
    threads: usize,
    idle: usize,
    /// Workers that are through with a request, and look for the next one in a moment.
    returning: usize,
    work: Arc<Condvar>,
}

impl Crew {
    fn new(identity: Identity) -> Self {
        Self {
            identity,
            queue: WorkQueue::default(),
            threads: 0,
            idle: 0,
            returning: 0,
            work: Arc::default(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    crews: Vec<Crew>,
    known: KnownIdentities,
    /// Where workers run, and how often that was changed.
    affinity: Option<(CpuSet, u64)>,
}

impl State {
    fn crew(&mut self, identity: &Identity) -> &mut Crew {
        let index = self.crews.iter().position(|crew| crew.identity == *identity).unwrap_or_else(|| {
            self.crews.push(Crew::new(identity.clone()));
            self.crews.len() - 1
        });
        &mut self.crews[index]
    }

    /// A worker of this crew ends. With the last one it goes, too.
    fn dismiss(&mut self, identity: &Identity) {
        self.crew(identity).threads -= 1;
        self.crews.retain(|crew| crew.threads > 0 || crew.queue.ready([usize::MAX; 2]) > 0);
    }
}

/// The workers of this process, shared by its rings.
#[derive(Debug, Default)]
pub(crate) struct WorkerPool {
    state: Mutex<State>,
    /// Limits that a program set for bounded and unbounded work; 0 where it set none.
    limits: [AtomicU32; 2],
    /// Requests that were cancelled while a worker runs them.
    interrupted: Lock<Vec<(Weak<Ring>, RequestId)>>,
}

impl WorkerPool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The limits that hold now.
    fn limits(&self) -> Limits {
        // Relaxed: who submits behind the call that set them has heard of it by the same way.
        self.limits.each_ref().map(|limit| match limit.load(Ordering::Relaxed) {
            0 => usize::MAX,
            limit => limit as usize,
        })
    }

    /// Whether every thread that was asked for here so far has this identity.
    pub(crate) fn knows_only(&self, identity: &Identity) -> bool {
        let known = &mut self.lock().known;
        known.are_several |= known.first.get_or_insert_with(|| identity.clone()) != identity;
        !known.are_several
    }

    /// Hands over a batch of punted requests, for the thread that submitted them. One lock, and at most one wake-up per request.
    pub(crate) fn submit(
        self: &Arc<Self>,
        ring: &Arc<Ring>,
        identity: &Identity,
        punts: impl Iterator<Item = Punt>,
    ) {
        let mut state = self.lock();
        let limits = self.limits();
        let queue = &mut state.crew(identity).queue;
        let before = queue.ready(limits);
        for Punt { request, kind, part, .. } in punts {
            queue.push(Job { ring: Arc::clone(ring), request, kind }, part);
        }
        let count = queue.ready(limits) - before;
        self.summon(state, identity, count);
    }

    /// The same for others, from when there was [only one identity](Self::knows_only).
    pub(crate) fn submit_as_ever(self: &Arc<Self>, ring: &Arc<Ring>, punts: Vec<Punt>) {
        let first = self.lock().known.first.clone();
        self.submit(ring, &first.unwrap_or_else(Identity::of_this_thread), punts.into_iter());
    }

    /// Sees to it that workers come for so many jobs that have become ready. One that returns in a moment comes by itself: mostly it is the
    /// program's next request that it finds then, which it has woken the program for.
    fn summon(self: &Arc<Self>, mut state: MutexGuard<'_, State>, identity: &Identity, count: usize) {
        let crew = state.crew(identity);
        let left = crew.queue.ready(self.limits()).saturating_sub(crew.returning);
        let count = count.min(left);
        let wake = count.min(crew.idle);
        let room = MOST_WORKERS.saturating_sub(crew.threads);
        let start = left.saturating_sub(crew.idle).min(room).min(count);
        crew.threads += start;
        let work = Arc::clone(&crew.work);
        drop(state);
        for _ in 0..wake {
            work.notify_one();
        }
        for _ in 0..start {
            let (pool, work, of) = (Arc::clone(self), Arc::clone(&work), identity.clone());
            if ringer_sys::thread::spawn("ringer-worker", move || pool.run(&of, &work)).is_err() {
                self.run_without_threads(identity);
            }
        }
    }

    /// No thread can be made, and perhaps there is none: the queue must not be left lying.
    fn run_without_threads(self: &Arc<Self>, identity: &Identity) {
        loop {
            let mut state = self.lock();
            let crew = state.crew(identity);
            // The one that could not be made counts.
            let next = if crew.threads == 1 { crew.queue.pop(self.limits()) } else { None };
            let Some((job, turn)) = next else { return state.dismiss(identity) };
            drop(state);
            let mut shift = Shift::begin(self, identity, &job, turn);
            job.run(None, None, Some(&mut shift));
            shift.end(&mut self.lock());
        }
    }

    fn run(self: &Arc<Self>, identity: &Identity, work: &Condvar) {
        let mut affinity = 0;
        let mut state = self.lock();
        loop {
            if let Some((job, turn)) = state.crew(identity).queue.pop(self.limits()) {
                let wanted = state.affinity.filter(|(_, version)| *version != affinity);
                drop(state);
                if let Some((set, version)) = wanted {
                    affinity = version;
                    // The processors may have gone offline; running elsewhere still serves the request.
                    let _ = sched_setaffinity(None, &set);
                }
                let mut shift = Shift::begin(self, identity, &job, turn);
                job.run(None, Some(Work::begin()), Some(&mut shift));
                shift.end(&mut self.lock());
                // With it, perhaps, the ring ends, which closes files: nobody counts on this worker meanwhile.
                drop(job);
                state = self.lock();
                continue;
            }
            state.crew(identity).idle += 1;
            let (back, waited) = work.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = back;
            let crew = state.crew(identity);
            crew.idle -= 1;
            if waited.timed_out() && crew.queue.ready(self.limits()) == 0 {
                return state.dismiss(identity);
            }
        }
    }

    /// Takes a queued request out again; for cancellation.
    pub(crate) fn forget(self: &Arc<Self>, ring: &Arc<Ring>, request: RequestId) {
        let mut state = self.lock();
        let is_it = |job: &Job| job.request == request && Arc::ptr_eq(&job.ring, ring);
        let found = state.crews.iter_mut().find_map(|crew| {
            let ready = crew.queue.remove(is_it)?;
            (ready > 0).then(|| (crew.identity.clone(), ready))
        });
        if let Some((identity, ready)) = found {
            self.summon(state, &identity, ready);
        }
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

    /// Whether a program has set limits: only then it counts which kind a request is of.
    pub(crate) fn is_limited(&self) -> bool {
        self.limits() != [usize::MAX; 2]
    }

    /// Whether a program has said how many workers there are, or where they run.
    pub(crate) fn is_directed(&self) -> bool {
        self.is_limited() || self.lock().affinity.is_some()
    }

    /// Sets the limits for bounded and unbounded work, 0 leaves one as it is. Returns those before;
    /// `unset` is reported for one that was not set.
    pub(crate) fn limit(self: &Arc<Self>, wanted: [u32; 2], unset: [u32; 2]) -> [u32; 2] {
        let state = self.lock();
        let before = [0, 1].map(|kind| {
            // Relaxed: see `limits`.
            let before = match wanted[kind] {
                0 => self.limits[kind].load(Ordering::Relaxed),
                wanted => self.limits[kind].swap(wanted, Ordering::Relaxed),
            };
            if before == 0 { unset[kind] } else { before }
        });
        // There may be room for more.
        let limits = self.limits();
        let ready = state.crews.iter().map(|crew| (crew.identity.clone(), crew.queue.ready(limits)));
        let ready: Vec<_> = ready.filter(|(_, count)| *count > 0).collect();
        drop(state);
        for (identity, count) in ready {
            self.summon(self.lock(), &identity, count);
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

/// Runs a queued request with other credentials, on a thread of its own that ends with it: credentials belong to a
/// thread, and one that took on others may not be able to go back.
pub(crate) fn run_as(ring: &Arc<Ring>, request: RequestId, credentials: Arc<Credentials>) {
    // No limit counts it.
    let job = Job { ring: Arc::clone(ring), request, kind: Kind::Unbounded };
    let started = ringer_sys::thread::spawn("ringer-worker", move || match credentials.assume() {
        Ok(()) => job.run(Some(credentials), Some(Work::begin()), None),
        Err(errno) => job.refuse(errno),
    });
    if let Err(errno) = started {
        Job { ring: Arc::clone(ring), request, kind: Kind::Unbounded }.refuse(errno);
    }
}

/// One job of a worker, as its crew sees it.
struct Shift<'a> {
    pool: &'a Arc<WorkerPool>,
    identity: &'a Identity,
    /// What the job counts as while it runs.
    runs: Option<Kind>,
    /// The job's turn at its file.
    turn: Option<FileTurn>,
    /// The crew counts on this worker.
    returns: bool,
}

impl<'a> Shift<'a> {
    fn begin(pool: &'a Arc<WorkerPool>, identity: &'a Identity, job: &Job, turn: Option<FileTurn>) -> Self {
        Self { pool, identity, runs: Some(job.kind), turn, returns: false }
    }

    /// The job is done. This thread looks for the next one in a moment.
    fn returns(&mut self) {
        let mut state = self.pool.lock();
        state.crew(self.identity).returning += 1;
        self.returns = true;
        self.end_run(&mut state);
        // One of those that have become ready is for this thread.
        let ready = self.end_turn(&mut state).saturating_sub(1);
        self.pool.summon(state, self.identity, ready);
    }

    /// The job is done, but this thread goes on with something else.
    fn goes_on(&mut self) {
        let mut state = self.pool.lock();
        let left = usize::from(self.no_longer_returns(&mut state));
        let ready = self.end_turn(&mut state);
        self.pool.summon(state, self.identity, left + ready);
    }

    /// The thread is back.
    fn end(&mut self, state: &mut State) {
        self.no_longer_returns(state);
        self.end_run(state);
        self.end_turn(state);
    }

    fn end_run(&mut self, state: &mut State) {
        if let Some(kind) = self.runs.take() {
            state.crew(self.identity).queue.end(kind);
        }
    }

    fn no_longer_returns(&mut self, state: &mut State) -> bool {
        let did = std::mem::take(&mut self.returns);
        state.crew(self.identity).returning -= usize::from(did);
        did
    }

    fn end_turn(&mut self, state: &mut State) -> usize {
        self.turn.take().map_or(0, |turn| state.crew(self.identity).queue.end_turn(turn))
    }
}

impl Job {
    /// Ends the request with an error.
    fn refuse(self, errno: Errno) {
        let request = self.ring.inflight.lock().take(self.request);
        if let Some(request) = request {
            let mut turn = Turn::new(&self.ring, Place::Worker);
            let next = turn.complete(request, Completion::error(errno));
            turn.put_next(next);
            turn.run_ready();
            turn.finish();
        }
    }

    /// Runs the request, on a thread that has these credentials. `None`: those of the process. A thread of the program has no `work`. Who takes
    /// one job after the other has a `shift`.
    fn run(
        &self,
        credentials: Option<Arc<Credentials>>,
        work: Option<Work>,
        mut shift: Option<&mut Shift<'_>>,
    ) {
        let request = self.ring.inflight.lock().take_as(self.request, work.as_ref());
        let Some(mut request) = request else {
            // It was cancelled.
            return shift.map_or((), Shift::returns);
        };
        request.served = crate::Served::Worker;
        let mut turn = Turn::new(&self.ring, Place::Worker);
        turn.personality = credentials;
        turn.work = work;
        let next = turn.step(request);
        if let Some(shift) = shift.as_mut().filter(|_| next.is_none() && !turn.has_more()) {
            // Before the program hears of it, and submits the next one.
            shift.returns();
        }
        turn.publish();
        if let Some(shift) = shift.filter(|_| next.is_some() || turn.has_more()) {
            // With what has become ready by it, which may take any time.
            shift.goes_on();
        }
        turn.run_from(next);
        turn.finish();
        crate::background::notice(&self.ring);
    }
}
