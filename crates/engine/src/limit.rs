//! LINK_TIMEOUT: a limit on the request before it in the chain.

use ringer_abi::{Cqe, Opcode};
use ringer_ops::Operation;
use ringer_ops::timeout::Expiry;
use ringer_sys::Errno;

use crate::Served;
use crate::cancel::count_of_one;
use crate::inflight::{Inflight, RequestId, Stage};
use crate::request::Request;
use crate::timer;
use crate::turn::{Place, Turn};

impl Turn<'_> {
    /// Arms the limit of a request that has just become pending in `target`.
    pub(crate) fn arm_limit(&mut self, inflight: &mut Inflight, target: RequestId, mut limit: Box<Request>) {
        let Operation::LinkTimeout(operation) = &limit.operation else { return };
        let expiry = operation.expiry;
        limit.served = Served::Engine;
        let id = inflight.reserve(&limit);
        limit.slot = Some(id);
        let key = inflight.timers.insert(expiry.clock, timer::deadline(&expiry), id);
        inflight.put(limit, |request| Stage::Timer { request, key: Some(key), limits: Some(target) });
        if let Some(request) = inflight.request(target) {
            request.link_timeout = Some(id);
        }
        self.timer_was_queued();
    }

    /// The limited request is finished: its limit is cancelled.
    pub(crate) fn drop_limit(&mut self, id: RequestId) {
        let limit = {
            let mut inflight = self.ring.inflight.lock();
            let limit = inflight.take(id);
            if limit.is_some() {
                inflight.release(id);
            }
            limit
        };
        // `None`: it is expiring just now, and tells so itself.
        if let Some(limit) = limit {
            self.finish_limit(&limit, -Errno::CANCELED.raw_os_error());
        }
    }

    /// The limit has expired: the request is cancelled, if it can be.
    pub(crate) fn fire_limit(&mut self, limit: &Request, target: RequestId) {
        let opcode = Opcode::from_number(self.ring.inflight.lock().describe(target).1);
        let result = match (self.cancel_one(target), count_of_one(opcode)) {
            (Ok(()), 0) => -Errno::TIME.raw_os_error(),
            (Ok(()), count) => count,
            (Err(errno), _) => -errno.raw_os_error(),
        };
        self.finish_limit(limit, result);
    }

    /// The limited request was done before its limit was armed. In the kernel one without any time still expires in
    /// between, and finds nothing to cancel.
    pub(crate) fn end_of_unarmed_limit(&self, limit: &Request) -> Errno {
        match &limit.operation {
            Operation::LinkTimeout(operation)
                if self.place == Place::Submitter && is_due(&operation.expiry) =>
            {
                Errno::NOENT
            }
            _ => Errno::CANCELED,
        }
    }

    /// Posts the end of a limit.
    pub(crate) fn finish_limit(&mut self, limit: &Request, result: i32) {
        self.count(limit.opcode, Served::Engine);
        // Neither expiry nor cancellation is a failure of the limit itself.
        let is_heard_of = !limit.flags.contains(ringer_abi::SqeFlags::CQE_SKIP_SUCCESS);
        let cqe = Cqe::new(limit.user_data, result, 0);
        self.trace_numbered(Some(limit.number), &cqe, Served::Engine, is_heard_of);
        if is_heard_of {
            self.post(cqe);
        }
    }
}

fn is_due(expiry: &Expiry) -> bool {
    if expiry.absolute { timer::now(expiry.clock) >= expiry.time } else { expiry.time.is_zero() }
}
