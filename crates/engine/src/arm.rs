//! Requests that do not finish at once: they are made independent of the program, and armed or handed over.

use std::sync::Arc;

use ringer_abi::SqeFlags;
use ringer_ops::rw::is_write;
use ringer_ops::{Completion, DeviceWait, Operation, Until, row};
use ringer_sys::Errno;
use ringer_sys::call::{self, FileKind};
use ringer_sys::file_identity::FileIdentity;
use ringer_sys::ready::Trigger;

use crate::Served;
use crate::chain::take_limit;
use crate::inflight::{Inflight, RequestId, Stage};
use crate::release::Duplicate;
use crate::request::{FileRef, Request, Watching};
use crate::system::System;
use crate::turn::{Place, Turn};
use crate::work_queue::{FilePart, Kind};
use crate::worker::{self, Punt};

impl Turn<'_> {
    /// Makes the request independent of the call that submitted it: it owns its file and what its SQE points to.
    pub(crate) fn detach(&self, request: &mut Request) -> Result<(), Errno> {
        self.capture(request)?;
        if let FileRef::Program(fd) = request.held.file {
            request.held.file = FileRef::Owned(Arc::new(Duplicate::of(fd)?));
        }
        Ok(())
    }

    /// Makes the request independent of what its SQE points to.
    pub(crate) fn capture(&self, request: &mut Request) -> Result<(), Errno> {
        if !request.captured {
            request.operation.capture()?;
            request.captured = true;
        }
        Ok(())
    }

    /// Arms the request with the reactor.
    pub(crate) fn arm(&mut self, mut request: Box<Request>, events: u32, until: Until) -> Result<(), Again> {
        let edge = until == Until::Change;
        let other = request.operation.waits_for();
        if other.is_none() && request.held.ring.is_some() {
            return self.arm_for_ring(request, events, until);
        }
        if !edge && other.is_none() && Self::may_share_watch(&request) {
            return self.arm_shared(request, events, until);
        }
        let is_of_program = matches!(request.held.file, FileRef::Program(_));
        if let Err(errno) = self.detach(&mut request) {
            return Err(self.refuse_to_arm(request, errno));
        }
        self.leave_watch(&mut request);
        if other.is_some() || request.waits_for_other {
            // Another file than last time, perhaps: the registration is made anew.
            self.unwatch(&mut request);
        }
        request.waits_for_other = other.is_some();
        if request.watching.is_none() {
            let duplicate = match (&request.held.file, other) {
                (FileRef::Owned(duplicate), None) if is_of_program => Ok(Arc::clone(duplicate)),
                // The one that it had may be registered by a shared watch.
                (file, _) => Duplicate::of(other.unwrap_or(file.raw())).map(Arc::new),
            };
            match duplicate {
                Ok(file) => request.watching = Some(Watching::Own { file, interest: None }),
                Err(errno) => return Err(self.refuse_to_arm(request, errno)),
            }
        }
        self.arm_alone(request, events, edge)
    }

    /// The request cannot be armed: it ends with this error.
    pub(crate) fn refuse_to_arm(&mut self, request: Box<Request>, errno: Errno) -> Again {
        // A file that cannot be waited for is for a worker; a poll has nothing to do there.
        let completion = if errno != Errno::PERM {
            Completion::error(errno)
        } else if let Operation::PollAdd(poll) = &request.operation {
            poll.without_waiting(request.held.file.raw())
        } else if request.operation.waits_to_start().is_some() {
            Completion::error(Errno::BADFD)
        } else if self.place != Place::Worker && !matches!(request.operation, Operation::Recv(_)) {
            return Again::Next(self.punt(request));
        } else {
            // Its attempt found it not ready, and nobody will tell when it is. A RECV waits for other files than sockets before its first
            // attempt only, if it is asked to.
            Completion::error(Errno::AGAIN)
        };
        Again::Next(self.complete(request, completion))
    }

    /// Takes the request's own descriptor out of the reactor.
    pub(crate) fn unwatch(&self, request: &mut Request) {
        if let Some(Watching::Own { file, interest }) = &request.watching {
            if interest.is_some()
                && let Some(fd) = file.owned()
            {
                self.ring.reactor.remove(fd);
                self.ring.reactor.release();
            }
            request.watching = None;
        }
    }

    /// The request is done: it lets go of its watch and of its file.
    pub(crate) fn let_go(&self, request: &mut Request) {
        self.leave_watch(request);
        self.unwatch(request);
        if let FileRef::Owned(_) = request.held.file {
            request.held.file = FileRef::None;
            request.held.ring = None;
        }
    }

    /// Arms the request by a registration of its own.
    pub(crate) fn arm_alone(&mut self, request: Box<Request>, events: u32, edge: bool) -> Result<(), Again> {
        self.put_armed(request, |turn, _, request, slot| match &mut request.watching {
            // One that is edge-triggered goes on as it is.
            Some(Watching::Own { interest, .. }) if edge && *interest == Some((events, true)) => Ok(()),
            Some(Watching::Own { file, interest }) => {
                turn.armed_edge |= edge;
                let reactor = &turn.ring.reactor;
                let trigger = if edge { Trigger::Edge } else { Trigger::Once };
                let result = match (file.owned(), &interest) {
                    (Some(fd), Some(_)) => reactor.rearm(fd, events, trigger, slot.to_token()),
                    (Some(fd), None) => {
                        reactor.add(fd, events, trigger, slot.to_token()).inspect(|()| reactor.adopt())
                    }
                    (None, _) => Err(Errno::BADF),
                };
                result.inspect(|()| *interest = Some((events, edge)))
            }
            // It has one: see `arm`.
            _ => Err(Errno::BADF),
        })
    }

    /// Puts a request away that waits for its file, once `register` has seen to it that its file reports.
    pub(crate) fn put_armed(
        &mut self,
        mut request: Box<Request>,
        register: impl FnOnce(&mut Self, &mut Inflight, &mut Request, RequestId) -> Result<(), Errno>,
    ) -> Result<(), Again> {
        self.publish_what_is_not_last();
        let ring = self.ring;
        let mut inflight = ring.inflight.lock();
        if inflight.closed || request.slot.is_some_and(|slot| inflight.is_cancelled(slot)) {
            drop(inflight);
            return Err(Again::Next(self.complete_cancelled(request)));
        }
        if let Some(Stage::Running { reported, .. }) = request.slot.and_then(|slot| inflight.stage(slot))
            && std::mem::take(reported)
        {
            return Err(Again::Run(request));
        }
        let slot = match request.slot {
            Some(slot) => slot,
            None => *request.slot.insert(inflight.reserve(&request)),
        };
        if let Err(errno) = register(self, &mut inflight, &mut request, slot) {
            drop(inflight);
            return Err(self.refuse_to_arm(request, errno));
        }
        request.served = Served::Poll;
        ring.reactor.has_work();
        let limit = take_limit(&mut request);
        inflight.put(request, Stage::Armed);
        if let Some(limit) = limit {
            self.arm_limit(&mut inflight, slot, limit);
        }
        Ok(())
    }

    /// Queues the request for a worker.
    pub(crate) fn punt(&mut self, mut request: Box<Request>) -> Option<Box<Request>> {
        if let Err(errno) = self.detach(&mut request) {
            return self.refuse(request, errno);
        }
        self.publish_what_is_not_last();
        let part = part_written(&request);
        let kind = kind_of(&request);
        let wait = self.wait_to_keep(&request);
        let submitter = request.submitter;
        let mut inflight = self.ring.inflight.lock();
        if inflight.closed || request.slot.is_some_and(|slot| inflight.is_cancelled(slot)) {
            drop(inflight);
            return self.complete_cancelled(request);
        }
        let limit = take_limit(&mut request);
        let personality = request.personality.clone();
        Self::hold_line(&mut request, &mut inflight);
        let slot = inflight.put(request, Stage::Queued);
        if let Some(limit) = limit {
            self.arm_limit(&mut inflight, slot, limit);
        }
        match personality {
            None => self.put_punt(Punt { request: slot, kind, part, wait, submitter }),
            Some(credentials) => {
                drop(inflight);
                worker::run_as(self.ring, slot, credentials);
            }
        }
        None
    }

    /// What a punted request waits for, if it may be [kept](crate::kept).
    fn wait_to_keep(&self, request: &Request) -> Option<DeviceWait> {
        const NOT_KEPT: SqeFlags = SqeFlags::ASYNC.union(SqeFlags::BUFFER_SELECT);
        let wait =
            request.operation.device_wait().filter(|wait| *wait != DeviceWait::Begun || request.is_lent)?;
        let raises_signals = self.ring.limits_sizes && matches!(wait, DeviceWait::Write { .. });
        (!request.flags.intersects(NOT_KEPT) && !raises_signals).then_some(wait)
    }
}

/// What a punted request counts as, if the program has set limits.
fn kind_of(request: &Request) -> Kind {
    let is_limited = System::global().workers().is_limited();
    let ends_by_itself = is_limited
        && row(request.opcode).is_some_and(|row| row.traits.needs_file)
        && call::file_kind(request.held.file.raw()) == Ok(FileKind::Seekable);
    if ends_by_itself { Kind::Bounded } else { Kind::Unbounded }
}

/// Where a punted request takes turns with others: see [`work_queue`](crate::work_queue).
fn part_written(request: &Request) -> Option<FilePart> {
    // What waits for the device alone is lent.
    if !is_write(request.opcode) || request.is_lent || request.flags.contains(SqeFlags::ASYNC) {
        return None;
    }
    let file = FileIdentity::of_regular(request.held.file.raw())?;
    let part = match request.operation.device_wait() {
        Some(DeviceWait::Write { part }) => part,
        _ => None,
    };
    Some(FilePart { file, part })
}

/// What is to be done when arming did not put the request away.
pub(crate) enum Again {
    /// Run it once more: its file reported meanwhile.
    Run(Box<Request>),
    /// It is finished or handed over; this one follows.
    Next(Option<Box<Request>>),
}
