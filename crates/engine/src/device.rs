//! Transfers that wait for a device: Linux AIO, where no thread has to wait with them.
//!
//! They are handed over in one batch at the end of a turn. The kernel holds their file and their pages from then on, so that
//! nothing is duplicated. How their completions become known:
//!
//! - By a **signal**: an eventfd is reported to the ring's reactor like the readiness of any file.
//! - **Silently**, where the program's threads wait for them in `enter` time and again, as most programs do: a signal for each costs
//!   a part in twenty of a whole transfer. A thread then waits in the AIO context itself, which tells of the reactor's reports, too (a
//!   poll of the epoll instance is one more of its requests). Should the program stay away while silent ones are on their way, the background
//!   thread looks after them at intervals, and the next ones have signals again.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use arrayvec::ArrayVec;
use ringer_abi::poll::POLLIN;
use ringer_ops::{Completion, DeviceTransfer};
use ringer_sys::Errno;
use ringer_sys::aio::{Aio, BATCH, Completed, Transfer};
use ringer_sys::ready::Report;
use ringer_sys::thread::Lock;

use crate::Served;
use crate::inflight::{RequestId, Stage};
use crate::reactor::Kicks;
use crate::request::Request;
use crate::ring::Ring;
use crate::turn::{Place, Turn};

/// The most transfers of a ring that are on their way at a time; what is beyond goes to workers.
const MOST_TRANSFERS: u32 = 128;
/// Completions taken at once.
const COMPLETIONS: usize = 32;
/// So many waits in a row must have found completions before the next transfers are silent.
const WAITS_BEFORE: u32 = 8;
/// So often the background thread looks for silent completions.
pub(crate) const LOOKS: Duration = Duration::from_micros(200);
/// The longest wait without a poll of the reactor.
const UNPOLLED: Duration = Duration::from_millis(1);

/// What a silent transfer has in its token. No slot has a number as high.
const SILENT: u64 = 1 << 31;
/// The token of the poll of the reactor.
const REACTOR: u64 = u64::MAX;

/// Completions that a thread has waited for.
pub(crate) type Transfers = ArrayVec<Completed, COMPLETIONS>;

/// A ring's AIO context, made when first needed. `None`: it cannot be had here.
#[derive(Debug, Default)]
pub(crate) struct Device {
    aio: OnceLock<Option<Aio>>,
    /// Held by who takes completions, and by who begins to wait in the context.
    taking: Lock<()>,
    /// Silent transfers on their way.
    silent: AtomicU32,
    /// Waits in a row that found completions.
    waits: AtomicU32,
    /// Threads that wait in the context.
    sleepers: AtomicU32,
    /// The context polls the ring's reactor.
    polls: AtomicBool,
    /// The context cannot be waited in, or cannot poll.
    is_mute: AtomicBool,
}

impl Device {
    /// Whether there may be completions to take. Costs no system call.
    #[inline]
    pub(crate) fn has_completed(&self) -> bool {
        self.aio.get().and_then(Option::as_ref).is_some_and(Aio::has_completed)
    }

    /// Whether there are transfers on their way that complete without a signal.
    #[inline]
    pub(crate) fn is_silent(&self) -> bool {
        // SeqCst, with `begin_silent`.
        self.silent.load(Ordering::SeqCst) > 0
    }

    fn aio(&self, ring: &Ring) -> Option<&Aio> {
        self.aio
            .get_or_init(|| {
                let aio = Aio::new(MOST_TRANSFERS).ok()?;
                ring.reactor.watch_device(aio.eventfd()).ok()?;
                // Where the call is not to be had (before Linux 4.18, or refused by a filter), every transfer has a signal.
                let can_wait = aio.wait(&mut [Completed::default()], Some(Duration::ZERO), None).is_ok();
                self.is_mute.store(!can_wait, Ordering::Relaxed);
                Some(aio)
            })
            .as_ref()
    }

    /// A wait has found completions.
    pub(crate) fn was_waited_for(&self) {
        // Relaxed, here and in the next two: a count that is lost decides a little later.
        let waits = self.waits.load(Ordering::Relaxed);
        if waits < WAITS_BEFORE {
            self.waits.store(waits + 1, Ordering::Relaxed);
        }
    }

    /// The program stays away: the background thread has to look after the ring.
    pub(crate) fn was_left_alone(&self) {
        self.waits.store(0, Ordering::Relaxed);
    }

    /// Whether the next transfer is silent; it counts as on its way then.
    fn begin_silent(&self, ring: &Ring) -> bool {
        if !self.may_be_silent(ring) {
            return false;
        }
        // SeqCst, with `is_silent` and `Reactor::join`: a thread that waits already, and could do so where it does not hear of a silent
        // transfer, is seen here; one that comes now sees the transfer.
        self.silent.fetch_add(1, Ordering::SeqCst);
        let is_alone = ring.reactor.drivers() == 0;
        if !is_alone {
            self.silent.fetch_sub(1, Ordering::SeqCst);
        }
        is_alone
    }

    /// Whether transfers may be silent. Not where the program waits elsewhere.
    fn may_be_silent(&self, ring: &Ring) -> bool {
        self.waits.load(Ordering::Relaxed) >= WAITS_BEFORE
            && !self.is_mute.load(Ordering::Relaxed)
            && ring.is_waited_for_in_enter_only()
            && self.poll_reactor(ring)
    }

    /// Makes sure that the context polls the ring's reactor. Returns whether it does.
    fn poll_reactor(&self, ring: &Ring) -> bool {
        // SeqCst, here and wherever `polls` and `sleepers` are used: one who is about to sleep and one who has taken the poll must
        // not overlook each other.
        if self.polls.swap(true, Ordering::SeqCst) {
            return true;
        }
        let polled = match (self.aio(ring), ring.reactor.epoll()) {
            (Some(aio), Some(epoll)) => aio.submit(&mut [Transfer::poll(epoll.as_raw_fd(), POLLIN, REACTOR)]),
            _ => Err(Errno::BADF),
        };
        if let Err(errno) = polled {
            self.polls.store(false, Ordering::SeqCst);
            if errno != Errno::AGAIN {
                self.is_mute.store(true, Ordering::Relaxed);
            }
        }
        polled.is_ok()
    }

    /// Waits in the context.
    ///
    /// # Errors
    /// `EINTR` when a signal handler ran.
    fn wait(
        &self,
        timeout: Option<Duration>,
        mask: Option<u64>,
        transfers: &mut Transfers,
    ) -> Result<(), Errno> {
        let Some(aio) = self.aio.get().and_then(Option::as_ref) else { return Ok(()) };
        {
            // Who takes completions without a call must not do so beside a call.
            let _taking = self.taking.lock();
            self.sleepers.fetch_add(1, Ordering::SeqCst);
        }
        let limit = (!self.polls.load(Ordering::SeqCst)).then_some(UNPOLLED);
        let timeout = timeout.into_iter().chain(limit).min();
        let mut completed = [Completed::default(); COMPLETIONS];
        let count = aio.wait(&mut completed, timeout, mask);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        transfers.extend(completed[..count?].iter().copied());
        Ok(())
    }

    /// The request of a transfer that is no longer on its way.
    fn id_of(&self, token: u64) -> RequestId {
        if token & SILENT != 0 {
            self.silent.fetch_sub(1, Ordering::SeqCst);
        }
        RequestId::from_token(token & !SILENT)
    }

    /// Takes what has completed, as much as there is room for.
    fn take(&self, completed: &mut [Completed]) -> usize {
        let Some(aio) = self.aio.get().and_then(Option::as_ref) else { return 0 };
        let _taking = self.taking.lock();
        let taken = if self.sleepers.load(Ordering::SeqCst) > 0 {
            aio.take_beside_waiters(completed)
        } else {
            aio.take(completed)
        };
        // A context in use has no errors.
        taken.unwrap_or(0)
    }
}

impl Ring {
    /// Waits for reports, or for transfers that complete silently.
    ///
    /// # Errors
    /// `EINTR` when a signal handler ran; those of making the reactor's instance.
    pub(crate) fn sleep(
        &self,
        (reports, transfers): (&mut [Report], &mut Transfers),
        timeout: Option<Duration>,
        mask: Option<u64>,
        kicks: &mut Kicks<'_>,
    ) -> Result<usize, Errno> {
        if !self.device.is_silent() {
            return self.reactor.wait(reports, timeout, mask, kicks);
        }
        if !self.device.polls.load(Ordering::SeqCst) {
            // The poll has told of reports. It is made anew when they are taken, or would tell of them again.
            let reported = self.reactor.wait(reports, Some(Duration::ZERO), None, kicks)?;
            self.device.poll_reactor(self);
            if reported > 0 {
                return Ok(reported);
            }
        }
        self.device.wait(timeout, mask, transfers).map(|()| 0)
    }
}

impl Turn<'_> {
    /// Queues a request for the device. Gives it back when it cannot be served so.
    pub(crate) fn start_transfer(&mut self, mut request: Box<Request>) -> Option<Box<Request>> {
        let Some(transfer) = request.operation.device_transfer() else { return Some(request) };
        if self.place == Place::Worker || self.ring.device.aio(self.ring).is_none() {
            return Some(request);
        }
        let mut inflight = self.ring.inflight.lock();
        if inflight.closed || request.slot.is_some_and(|slot| inflight.is_cancelled(slot)) {
            return Some(request);
        }
        let fd = request.held.file.raw();
        request.served = Served::Aio;
        let limit = crate::chain::take_limit(&mut request);
        let id = inflight.put(request, Stage::Device);
        if let Some(limit) = limit {
            self.arm_limit(&mut inflight, id, limit);
        }
        let DeviceTransfer { direction, memory, offset, flags, .. } = transfer;
        let device = &self.ring.device;
        let is_silent = device.begin_silent(self.ring);
        drop(inflight);
        if self.transfers.is_full() {
            self.submit_transfers();
        }
        self.transfers.push(if is_silent {
            Transfer::new(direction, fd, memory, offset, flags, id.to_token() | SILENT)
        } else {
            Transfer::new(direction, fd, memory, offset, flags, id.to_token()).signalling()
        });
        None
    }

    /// Hands the queued transfers over. What the device does not take goes to workers.
    pub(crate) fn submit_transfers(&mut self) {
        // Only those that are there are moved.
        let mut transfers: ArrayVec<Transfer, BATCH> = self.transfers.drain(..).collect();
        let mut at = 0;
        while at < transfers.len() {
            let started = std::time::Instant::now();
            let taken = match self.ring.device.aio(self.ring) {
                Some(aio) => aio.submit(&mut transfers[at..]).unwrap_or(0),
                None => 0,
            };
            self.ring.latency.record(started);
            at += taken;
            if let Some(refused) = transfers.get(at) {
                let id = self.ring.device.id_of(refused.token());
                self.punt_transfer(id);
                at += 1;
            }
        }
        self.ring.reactor.has_work();
    }

    /// A worker finds out what is wrong with it, or waits for the room that there was not.
    fn punt_transfer(&mut self, id: RequestId) {
        let request = self.ring.inflight.lock().take_transfer(id);
        if let Some(request) = request {
            let next = self.punt(request);
            self.put_next(next);
        }
    }

    /// Completes the transfers that are done.
    pub(crate) fn complete_transfers(&mut self) {
        loop {
            let mut completed = [Completed::default(); COMPLETIONS];
            let count = self.ring.device.take(&mut completed);
            self.finish_transfers(&completed[..count]);
            if count < COMPLETIONS {
                return;
            }
        }
    }

    /// Completes transfers of which somebody was told.
    pub(crate) fn finish_transfers(&mut self, completed: &[Completed]) {
        for one in completed {
            if one.token == REACTOR {
                self.reactor_has_reports();
                continue;
            }
            let id = self.ring.device.id_of(one.token);
            let request = self.ring.inflight.lock().take_transfer(id);
            if let Some(request) = request {
                let completion = completion(&request, one.result);
                let next = self.complete(request, completion);
                self.put_next(next);
                self.run_ready();
            }
        }
    }

    /// The poll of the reactor has told of reports, once. Whoever goes to sleep next takes them.
    fn reactor_has_reports(&self) {
        let device = &self.ring.device;
        device.polls.store(false, Ordering::SeqCst);
        if device.sleepers.load(Ordering::SeqCst) > 0 {
            // They may be for one who sleeps already.
            device.poll_reactor(self.ring);
        }
    }
}

fn completion(request: &Request, result: i64) -> Completion {
    if result < 0 {
        // The kernel's errnos fit.
        return Completion::error(Errno::from_raw_os_error(-result as i32));
    }
    let wanted = request.operation.device_transfer().map_or(0, |transfer| transfer.wanted);
    Completion::of_transfer(result as i32, wanted)
}
