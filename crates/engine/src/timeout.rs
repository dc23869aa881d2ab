//! TIMEOUT and TIMEOUT_REMOVE on the engine's timers.

use std::sync::atomic::Ordering;

use ringer_ops::timeout::{Expiry, TimeoutRemove};
use ringer_ops::{Completion, Operation};
use ringer_sys::Errno;

use crate::Served;
use crate::inflight::{RequestId, Stage};
use crate::request::Request;
use crate::timer;
use crate::turn::{Place, Turn};

impl Turn<'_> {
    /// Starts a TIMEOUT.
    pub(crate) fn start_timeout(&mut self, mut request: Box<Request>) -> Option<Box<Request>> {
        let Operation::Timeout(timeout) = &request.operation else { return None };
        let (expiry, count) = (timeout.expiry, if timeout.multishot { 0 } else { timeout.count });
        request.served = Served::Engine;
        self.publish_what_is_not_last();
        if count != 0 && self.place == Place::Reactor {
            // What came before it in its chain does not count.
            self.publish();
        }
        let mut inflight = self.ring.inflight.lock();
        if inflight.closed {
            drop(inflight);
            return self.complete(request, Completion::error(Errno::CANCELED));
        }
        let id = inflight.slot_of(&mut request);
        request.captured = true;
        let limit = crate::chain::take_limit(&mut request);
        let key = inflight.timers.insert(expiry.clock, timer::deadline(&expiry), id);
        if count != 0 {
            // Relaxed: the lock orders it before any completion that could be counted.
            self.ring.completions.is_counted.store(true, Ordering::Relaxed);
            let posted = self.ring.posted();
            let is_earlier = |(target, _): &(u32, RequestId)| target.wrapping_sub(posted) <= count;
            let place = inflight.counted.partition_point(is_earlier);
            inflight.counted.insert(place, (posted.wrapping_add(count), id));
            inflight.counted_from = posted;
        }
        inflight.put(request, |request| Stage::Timer { request, key: Some(key), limits: None });
        if let Some(limit) = limit {
            self.arm_limit(&mut inflight, id, limit);
        }
        drop(inflight);
        self.timer_was_queued();
        None
    }

    /// Whoever sleeps until the next timer must look again.
    pub(crate) fn timer_was_queued(&self) {
        self.ring.reactor.timer_queued();
        let waiters = self.ring.shared.waiters();
        if waiters > 0 {
            self.ring.reactor.wake(&self.ring.shared, waiters);
        }
    }

    /// Fires every timer that is due.
    pub(crate) fn expire_timers(&mut self) {
        loop {
            let due = {
                let mut inflight = self.ring.inflight.lock();
                let Some(id) = inflight.timers.next_due() else { return };
                let (limits, is_held) = match inflight.stage(id) {
                    Some(Stage::Timer { limits, .. }) => (*limits, false),
                    stage => (None, matches!(stage, Some(Stage::Held { .. }))),
                };
                inflight.counted.retain(|(_, counted)| *counted != id);
                inflight.take(id).map(|request| (id, request, limits, is_held))
            };
            let Some((id, request, limits, is_held)) = due else { continue };
            match limits {
                None if is_held => self.run_from(Some(request)),
                Some(target) => {
                    self.fire_limit(&request, target);
                    self.release(Some(id), false);
                    self.run_ready();
                }
                None => self.fire_timeout(request),
            }
        }
    }

    fn fire_timeout(&mut self, mut request: Box<Request>) {
        let Operation::Timeout(timeout) = &mut request.operation else { return };
        let success = timeout.success_on_expiry;
        let again = timeout.multishot && timeout.count != 1;
        if again && timeout.count > 1 {
            timeout.count -= 1;
        }
        let expired = Completion::error(Errno::TIME);
        let next = if again && self.has_room_for_completion() {
            self.post_more(&request, &expired);
            self.start_timeout(request)
        } else {
            self.complete(request, Completion { fails_link: !success, ..expired })
        };
        self.put_next(next);
        self.run_ready();
    }

    /// Completes the timeouts that waited for `posted` CQEs.
    ///
    /// Both numbers are taken from where the last look left off, as in Linux: a timeout that ends without a CQE turns the
    /// count back by one, which then is more than any timeout waits for.
    #[inline(never)]
    pub(crate) fn expire_counts(&mut self, posted: u32) {
        loop {
            let request = {
                let mut inflight = self.ring.inflight.lock();
                let from = inflight.counted_from;
                let due = inflight
                    .counted
                    .first()
                    .is_some_and(|(target, _)| posted.wrapping_sub(from) >= target.wrapping_sub(from));
                if !due {
                    inflight.counted_from = posted;
                    // Relaxed: see `start_timeout`.
                    self.ring.completions.is_counted.store(!inflight.counted.is_empty(), Ordering::Relaxed);
                    return;
                }
                let (_, id) = inflight.counted.remove(0);
                inflight.take(id)
            };
            if let Some(request) = request {
                self.expire_later(request);
            }
        }
    }

    /// Carries out a TIMEOUT_REMOVE.
    ///
    /// # Errors
    /// `ENOENT` when there is no such timeout, `EALREADY` when it expires just now.
    pub(crate) fn remove_timeout(&mut self, remove: &TimeoutRemove) -> Result<(), Errno> {
        let mut inflight = self.ring.inflight.lock();
        let mut running = false;
        let mut found = None;
        for id in inflight.with_user_data(remove.target) {
            match inflight.stage(id) {
                Some(Stage::Timer { limits, .. }) if limits.is_some() == remove.link_timeout => {
                    found = Some(id);
                    break;
                }
                Some(Stage::Running { .. }) => running = true,
                _ => {}
            }
        }
        let Some(id) = found else {
            return Err(if running { Errno::ALREADY } else { Errno::NOENT });
        };
        match remove.update {
            Some(expiry) => {
                self.move_timer(&mut inflight, id, expiry);
                drop(inflight);
                self.timer_was_queued();
                Ok(())
            }
            None => {
                drop(inflight);
                self.cancel_one(id)
            }
        }
    }

    fn move_timer(&self, inflight: &mut crate::inflight::Inflight, id: RequestId, expiry: Expiry) {
        let Some(Stage::Timer { key, .. }) = inflight.stage(id) else { return };
        let old = key.take();
        if let Some(old) = old {
            inflight.timers.remove(old);
        }
        // An updated timeout is a pure one: it no longer counts CQEs.
        inflight.counted.retain(|(_, counted)| *counted != id);
        let new = inflight.timers.insert(expiry.clock, timer::deadline(&expiry), id);
        if let Some(Stage::Timer { key, request, .. }) = inflight.stage(id) {
            *key = Some(new);
            if let Operation::Timeout(timeout) = &mut request.operation {
                timeout.expiry = expiry;
                timeout.count = 0;
            }
        }
    }
}
