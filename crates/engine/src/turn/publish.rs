//! What a turn posts: CQEs that are put into the CQ together, and when they must not wait for others.

use std::sync::atomic::Ordering;

use ringer_abi::{Cqe, CqeFlags};
use ringer_ops::{Completion, Operation};

use super::{Place, Turn, cqe_of};
use crate::request::Request;

impl Turn<'_> {
    pub(crate) fn has_room_for_completion(&self) -> bool {
        self.ring.has_room_for_completion(self.unpublished.len(), self.thread)
    }

    /// Posts one of several results.
    pub(crate) fn post_more(&mut self, request: &Request, completion: &Completion) {
        let more = completion.with_flags(CqeFlags::MORE.bits());
        let cqe = cqe_of(request.user_data, &more, request.held.extra);
        self.trace(request, &cqe, true);
        self.has_more_to_come = true;
        match request.operation {
            Operation::Timeout(_) => self.post_expiry(cqe),
            _ => self.post(cqe),
        }
    }

    /// To be called before others can find a request again: another thread may cancel it and post its end, which comes behind what it
    /// has had so far.
    #[inline]
    pub(crate) fn publish_what_is_not_last(&mut self) {
        if self.has_more_to_come {
            self.publish();
        }
    }

    /// Posts that a timeout expired, which other timeouts do not count.
    pub(super) fn post_expiry(&mut self, cqe: Cqe) {
        self.ring.completions.count_timeout();
        self.post_uncounted(cqe);
    }

    /// Posts a CQE in this turn.
    #[inline]
    pub(crate) fn post(&mut self, cqe: Cqe) {
        self.counted = self.counted.wrapping_add(1);
        self.post_uncounted(cqe);
    }

    /// Posts a CQE that timeouts with a count do not count: that of another timeout.
    #[inline]
    pub(crate) fn post_uncounted(&mut self, cqe: Cqe) {
        self.unpublished.push(cqe);
        if self.unpublished.is_full() || self.publishes_at_once {
            self.publish_at_once();
        }
    }

    /// Posts a CQE in this turn behind the CQ, as if that was full.
    #[cold]
    pub(super) fn post_overflowing(&mut self, cqe: Cqe) {
        // What is still to be asked may be about this one.
        self.unpublished.push(cqe);
        self.settle();
        let cqe = self.unpublished.pop().unwrap_or(cqe);
        self.publish();
        let posted = self.ring.post_behind(&cqe, self.thread);
        self.waiters = self.waiters.max(posted.waiters);
        self.posted = true;
        // Relaxed: as in `publish_some`.
        if self.ring.completions.is_counted.load(Ordering::Relaxed) {
            self.expire_counts(posted.so_far);
        }
    }

    #[cold]
    fn publish_at_once(&mut self) {
        if self.publishes_at_once && self.unpublished.last().is_some_and(names_buffer) {
            // A worker, which holds nothing, took the rest of a buffer whose other bits may not be posted yet.
            self.hold_bits();
        }
        let is_heard_at_once = self.place == Place::Submitter && !self.is_task_work;
        if self.holds_bits.is_some() && is_heard_at_once && self.ring.defers_completions() {
            // Among what waits for the submitter may be bits that another thread took before. Linux takes them only when asked for.
            self.ring.run_deferred();
        }
        self.publish();
        self.let_go_of_bits();
    }

    /// Bits of a buffer are about to be taken. Others go on with it once that is posted.
    pub(crate) fn hold_bits(&mut self) {
        if self.holds_bits.is_none() {
            self.holds_bits = self.ring.bits_in_order.hold();
            self.publishes_at_once |= self.holds_bits.is_some();
        }
    }

    /// None were taken, or it is posted.
    pub(crate) fn let_go_of_bits(&mut self) {
        self.holds_bits = None;
        // What a worker does next may take its time.
        self.publishes_at_once = self.place == Place::Worker;
    }

    /// Puts the CQEs of this turn so far into the CQ.
    #[inline]
    pub(crate) fn publish(&mut self) {
        while !self.unpublished.is_empty() || self.counted != 0 {
            self.publish_some();
        }
    }

    // Not inlined where there is nothing to publish.
    #[inline(never)]
    fn publish_some(&mut self) {
        if !self.questions.is_empty() {
            self.settle();
        }
        let counted = std::mem::take(&mut self.counted);
        self.has_more_to_come = false;
        let asynchronous = self.is_task_work || self.place != Place::Submitter;
        let posted = self.ring.post(&self.unpublished, counted, asynchronous, self.thread);
        if !self.unpublished.is_empty() {
            self.waiters = self.waiters.max(posted.waiters);
            self.unpublished.clear();
            self.posted = true;
        }
        // Relaxed: set under the inflight lock by the submission that came before these completions, or a race.
        if self.ring.completions.is_counted.load(Ordering::Relaxed) {
            self.expire_counts(posted.so_far);
        }
    }
}

/// Whether it tells of a provided buffer.
fn names_buffer(cqe: &Cqe) -> bool {
    cqe.flags & CqeFlags::BUFFER.bits() != 0
}
