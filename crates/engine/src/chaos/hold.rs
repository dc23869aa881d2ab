//! What becomes of requests that a fault strikes.

use std::time::Duration;

use ringer_ops::Completion;
use ringer_ops::timeout::Clock;
use ringer_sys::Errno;

use crate::inflight::Stage;
use crate::request::Request;
use crate::timer;
use crate::turn::Turn;

impl Turn<'_> {
    /// Holds a request back that is to begin later. It is pending: others can cancel it, and drains wait for it. Returns what is to be run
    /// next.
    #[cold]
    pub(crate) fn hold(&mut self, mut request: Box<Request>, delay: Duration) -> Option<Box<Request>> {
        let resolved = self.resolve_request(&mut request);
        if let Err(errno) = resolved.and_then(|()| self.detach(&mut request)) {
            return self.refuse(request, errno);
        }
        let mut inflight = self.ring.inflight.lock();
        if inflight.closed {
            drop(inflight);
            return self.complete(request, Completion::error(Errno::CANCELED));
        }
        let id = inflight.slot_of(&mut request);
        let clock = Clock::Monotonic;
        let key = inflight.timers.insert(clock, timer::now(clock).saturating_add(delay), id);
        inflight.put(request, |request| Stage::Held { request, key });
        drop(inflight);
        self.timer_was_queued();
        None
    }
}
