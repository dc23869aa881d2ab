//! Transfers that wait for a device: Linux AIO, where no thread has to wait with them.
//!
//! They are handed over in one batch at the end of a turn. The kernel holds their file and their pages from then on, so that
//! nothing is duplicated. Their completions are reported to the ring's reactor like the readiness of any file.

use std::sync::{Arc, OnceLock};

use ringer_ops::{Completion, DeviceTransfer};
use ringer_sys::Errno;
use ringer_sys::aio::{Aio, Completed, Transfer};
use ringer_sys::thread::Lock;

use crate::Served;
use crate::inflight::{RequestId, Stage};
use crate::request::Request;
use crate::ring::Ring;
use crate::turn::{Place, Turn};

/// The most transfers of a ring that are on their way at a time; what is beyond goes to workers.
const MOST_TRANSFERS: u32 = 128;
/// Completions taken at once.
const COMPLETIONS: usize = 32;

/// A ring's AIO context, made when first needed. `None`: it cannot be had here.
#[derive(Debug, Default)]
pub(crate) struct Device {
    aio: OnceLock<Option<Aio>>,
    /// Held by who takes completions.
    taking: Lock<()>,
}

impl Device {
    /// Whether there may be completions to take. Costs no system call.
    #[inline]
    pub(crate) fn has_completed(&self) -> bool {
        self.aio.get().and_then(Option::as_ref).is_some_and(Aio::has_completed)
    }

    fn aio(&self, ring: &Ring) -> Option<&Aio> {
        self.aio
            .get_or_init(|| {
                let aio = Aio::new(MOST_TRANSFERS).ok()?;
                ring.reactor.watch_device(aio.eventfd()).ok()?;
                Some(aio)
            })
            .as_ref()
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
        let limit = crate::turn::take_limit(&mut request);
        let id = inflight.put(request, Stage::Device);
        if let Some(limit) = limit {
            self.arm_limit(&mut inflight, id, limit);
        }
        let DeviceTransfer { direction, memory, offset, flags, .. } = transfer;
        self.transfers.push(Transfer::new(direction, fd, memory, offset, flags, id.to_token()));
        None
    }

    /// Hands the queued transfers over. What the device does not take goes to workers.
    pub(crate) fn submit_transfers(&mut self) {
        let mut transfers = std::mem::take(&mut self.transfers);
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
                self.punt_transfer(RequestId::from_token(refused.token()));
                at += 1;
            }
        }
        self.ring.reactor.has_work();
    }

    /// A worker finds out what is wrong with it, or waits for the room that there was not.
    fn punt_transfer(&mut self, id: RequestId) {
        let request = self.ring.inflight.lock().take_transfer(id);
        if let Some(request) = request {
            let next = self.punt(*request);
            self.ready.extend(next.map(Box::new));
        }
    }

    /// Completes the transfers that are done.
    pub(crate) fn complete_transfers(&mut self) {
        let ring = Arc::clone(self.ring);
        let Some(aio) = ring.device.aio.get().and_then(Option::as_ref) else { return };
        loop {
            let mut completed = [Completed::default(); COMPLETIONS];
            let count = {
                let _taking = ring.device.taking.lock();
                // A context in use has no errors.
                aio.take(&mut completed).unwrap_or(0)
            };
            for one in &completed[..count] {
                let request = ring.inflight.lock().take_transfer(RequestId::from_token(one.token));
                if let Some(request) = request {
                    let completion = completion(&request, one.result);
                    let next = self.complete(*request, completion);
                    self.ready.extend(next.map(Box::new));
                    self.run_ready();
                }
            }
            if count < COMPLETIONS {
                return;
            }
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
