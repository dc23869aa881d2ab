//! `IOSQE_IO_DRAIN`: a chain that starts when everything before it is done, and holds back what follows.

use std::sync::atomic::Ordering;

use crate::inflight::{Drained, Inflight, RequestId};
use crate::request::Request;
use crate::turn::Turn;

use ringer_abi::SqeFlags;

impl Turn<'_> {
    /// Starts a chain, or queues it where draining demands it. Returns the head if it can start now.
    pub(crate) fn start_or_drain(&mut self, mut head: Box<Request>, drain: bool) -> Option<Box<Request>> {
        let mut inflight = self.ring.inflight.lock();
        if std::mem::take(&mut inflight.drain_next) {
            head.flags |= SqeFlags::IO_DRAIN;
        }
        let drain = drain || head.flags.contains(SqeFlags::IO_DRAIN);
        give_to_worker(&mut head, inflight.drain_was_last);
        head.drains = drain;
        if inflight.holds_back(drain) {
            drop(inflight);
            self.capture_chain(&mut head);
            inflight = self.ring.inflight.lock();
        }
        // Once more: what it waits for may be done by now, and then nobody would start it.
        let must_wait = inflight.holds_back(drain);
        inflight.drain_was_last = drain || must_wait;
        let started = if must_wait {
            inflight.drained.push_back(Drained { head, drain });
            None
        } else {
            inflight.draining = drain;
            Some(head)
        };
        self.note_drains(&inflight);
        started
    }

    /// A request that was refused drains nothing, but what follows starts as if it had. `is_head`: no chain before it goes on.
    pub(crate) fn note_refused(&mut self, drain: bool, is_head: bool) {
        if drain || self.ring.drains.load(Ordering::Relaxed) {
            let mut inflight = self.ring.inflight.lock();
            inflight.drain_was_last |= drain || is_head && std::mem::take(&mut inflight.drain_next);
            self.note_drains(&inflight);
        }
    }

    /// A chain drained in its middle: what follows it drains, too.
    pub(crate) fn drain_next(&mut self) {
        let mut inflight = self.ring.inflight.lock();
        inflight.drain_next = true;
        self.note_drains(&inflight);
    }

    /// A request that does not start now must own what its SQE points to.
    pub(crate) fn capture_chain(&self, head: &mut Request) {
        let mut next = Some(head);
        while let Some(request) = next {
            if !request.captured {
                if let Err(errno) = request.operation.capture() {
                    request.early_result.get_or_insert(-errno.raw_os_error());
                }
                request.captured = true;
            }
            next = request.next.as_deref_mut();
        }
    }

    /// A request is finished, its slot is free; what waited for it may start.
    pub(crate) fn release(&mut self, slot: Option<RequestId>, drains: bool) {
        let mut inflight = self.ring.inflight.lock();
        if let Some(slot) = slot {
            inflight.release(slot);
        }
        if drains {
            inflight.draining = false;
        }
        if !inflight.drained.is_empty() {
            self.start_drained(&mut inflight);
        } else if drains {
            self.note_drains(&inflight);
        }
    }

    /// Tells submissions whether they must look at the drain queue.
    fn note_drains(&self, inflight: &Inflight) {
        // Relaxed: set by the submission that brings the drain, under the submission lock. Cleared by whoever ends it; a
        // submission that does not see that yet looks at the queue, and finds it empty.
        let drains = inflight.draining
            || !inflight.drained.is_empty()
            || inflight.drain_was_last
            || inflight.drain_next;
        self.ring.drains.store(drains, Ordering::Relaxed);
    }

    fn start_drained(&mut self, inflight: &mut Inflight) {
        while let Some(front) = inflight.drained.front() {
            if inflight.draining || (front.drain && inflight.len() > 0) {
                break;
            }
            let Some(Drained { mut head, drain }) = inflight.drained.pop_front() else { break };
            inflight.draining = drain;
            // It counts as pending from now on, so that the next one waits for it.
            head.slot = Some(inflight.reserve(&head));
            self.put_ready(head);
        }
        self.note_drains(inflight);
    }
}

/// What drains goes to a worker in Linux, as does everything up to the first chain that found nothing to wait for: they run
/// as if they had `IOSQE_ASYNC`. `all`: the whole chain; else its head, and what follows the drain in it.
fn give_to_worker(head: &mut Request, all: bool) {
    if !all && !wants_drain(head) {
        return;
    }
    head.flags |= SqeFlags::ASYNC;
    let mut given = all || head.flags.contains(SqeFlags::IO_DRAIN);
    let mut next = head.next.as_deref_mut();
    while let Some(request) = next {
        given |= request.flags.contains(SqeFlags::IO_DRAIN);
        if given {
            request.flags |= SqeFlags::ASYNC;
        }
        next = request.next.as_deref_mut();
    }
}

/// Whether any request of a chain has the flag: it then holds for the whole chain.
pub(crate) fn wants_drain(head: &Request) -> bool {
    let mut next = Some(head);
    while let Some(request) = next {
        if request.flags.contains(SqeFlags::IO_DRAIN) {
            return true;
        }
        next = request.next.as_deref();
    }
    false
}
