//! The end of chains that do not run to their end.

use ringer_abi::{Cqe, CqeFlags, SqeFlags};
use ringer_ops::{Attempt, Operation, Outcome};
use ringer_sys::Errno;

use crate::Served;
use crate::inflight::RequestId;
use crate::request::Request;
use crate::turn::{CANCELED, Turn, cqe_of};

/// What is left of a chain after a member failed.
pub(crate) struct BrokenChain {
    pub(crate) rest: Box<Request>,
    pub(crate) silently: bool,
    pub(crate) slot: Option<RequestId>,
    pub(crate) drains: bool,
}

impl Turn<'_> {
    /// Cancels what is left of a chain whose member failed.
    pub(crate) fn cancel_broken(&mut self, broken: BrokenChain) {
        self.cancel_chain(broken.rest, broken.silently);
        if broken.slot.is_some() || broken.drains {
            self.release(broken.slot, broken.drains);
        }
    }

    /// Posts `ECANCELED` for every request of a chain.
    pub(crate) fn cancel_chain(&mut self, head: Box<Request>, silently: bool) {
        let mut next = Some(head);
        while let Some(mut request) = next {
            next = request.next.take();
            self.post_cancelled(&mut request, silently, false);
        }
    }

    /// Posts the end of every request of a chain that has a refused member. Nothing is heard of what follows a head that
    /// skips its completion.
    pub(crate) fn refuse_chain(&mut self, mut head: Box<Request>) {
        let mut rest = head.next.take();
        self.post_cancelled(&mut head, false, true);
        // The head's LINK_TIMEOUT speaks for itself.
        if rest.as_ref().is_some_and(|next| matches!(next.operation, Operation::LinkTimeout(_)))
            && let Some(mut limit) = rest.take()
        {
            rest = limit.next.take();
            let silently = limit.flags.contains(SqeFlags::CQE_SKIP_SUCCESS);
            self.post_cancelled(&mut limit, silently, false);
        }
        if let Some(rest) = rest {
            self.cancel_chain(rest, head.flags.contains(SqeFlags::CQE_SKIP_SUCCESS));
        }
    }

    /// Posts the end of a request that never ran. A zero-copy send has its notification all the same, in Linux, where
    /// only the head of a refused chain says so beforehand.
    fn post_cancelled(&mut self, request: &mut Request, silently: bool, announces: bool) {
        self.count(request.opcode, Served::Engine);
        let notification = match request.operation.refuse(Errno::CANCELED) {
            Outcome::Notifies(_) => match request.operation.refuse(Errno::CANCELED) {
                Outcome::Done(notification) => Some(notification),
                _ => None,
            },
            _ => None,
        };
        let announces = announces && notification.is_some();
        let flags = if announces { CqeFlags::MORE.bits() } else { 0 };
        let cqe = Cqe::new(request.user_data, request.early_result.unwrap_or(CANCELED), flags);
        self.trace_numbered(Some(request.number), &cqe, Served::Engine, !silently);
        if !silently {
            self.post(cqe);
        }
        if let Some(notification) = notification {
            let cqe = cqe_of(request.user_data, &notification, [0; 2]);
            self.trace(request, &cqe, true);
            self.post(cqe);
        }
    }
}

/// Takes the LINK_TIMEOUT out of the chain, once the request it limits has started without finishing.
pub(crate) fn take_limit(request: &mut Request) -> Option<Box<Request>> {
    if !request.is_limited() {
        return None;
    }
    let mut limit = request.next.take()?;
    request.next = limit.next.take();
    Some(limit)
}
