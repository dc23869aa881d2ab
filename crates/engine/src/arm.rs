//! Requests that do not finish at once: they are made independent of the program, and armed or handed over.

use std::os::fd::AsRawFd;

use ringer_abi::SqeFlags;
use ringer_ops::{Completion, Operation};
use ringer_sys::{Errno, descriptor};

use crate::Served;
use crate::inflight::Stage;
use crate::request::{FileRef, Request, Watch};
use crate::system::System;
use crate::turn::{Place, Turn, take_limit};
use crate::{release, worker};

impl Turn<'_> {
    /// Makes the request independent of the call that submitted it: it owns its file and what its SQE points to.
    pub(crate) fn detach(&self, request: &mut Request) -> Result<(), Errno> {
        if !request.captured {
            request.operation.capture()?;
            request.captured = true;
        }
        if let FileRef::Program(fd) = request.held.file {
            let closes = System::global().parking().closes(fd);
            request.held.file = FileRef::Owned { fd: descriptor::duplicate_for_engine(fd)?, closes };
        }
        Ok(())
    }

    /// Arms the request with the reactor.
    pub(crate) fn arm(&mut self, mut request: Request, events: u32, edge: bool) -> Result<(), Again> {
        self.take_parked(&mut request);
        if let Err(errno) = self.detach(&mut request) {
            return Err(Again::Next(self.complete(request, Completion::error(errno)).map(Box::new)));
        }
        if let Some(other) = request.operation.waits_for() {
            // Another file than last time, perhaps: the watch is made anew.
            self.unwatch(&mut request);
            request.waits_for_other = true;
            let duplicate = descriptor::duplicate_for_engine(other);
            return self.arm_on(request, duplicate.map(Some), events, edge);
        }
        if std::mem::take(&mut request.waits_for_other) {
            self.unwatch(&mut request);
        }
        // Several requests may wait for one registered file: each watches a duplicate of its own.
        let duplicate = match (&request.watch, &request.held.file) {
            (None, FileRef::Registered(file)) => descriptor::duplicate_for_engine(file.fd()).map(Some),
            _ => Ok(None),
        };
        self.arm_on(request, duplicate, events, edge)
    }

    /// Takes the request's descriptor out of the reactor.
    fn unwatch(&self, request: &mut Request) {
        if let Some(fd) = request.watched_fd().filter(|_| request.watch.is_some()) {
            self.ring.reactor.remove(fd);
        }
        request.watch = None;
    }

    /// Gives a request on a descriptor of the program the watch that an earlier one left, if there is one.
    fn take_parked(&self, request: &mut Request) {
        let FileRef::Program(fd) = request.held.file else { return };
        let parking = System::global().parking();
        let closes = parking.closes(fd);
        if let Some(duplicate) = parking.take(self.ring, fd) {
            self.ring.reactor.adopt();
            request.held.file = FileRef::Owned { fd: duplicate, closes };
            request.watch = Some(Watch { fd: None, events: 0, edge: false, has_reported: true });
        }
    }

    /// The request is done: its watch is left for the next request on the same descriptor, if it is silent now.
    pub(crate) fn park(&self, request: &mut Request) {
        if request.watch.is_none() {
            if let FileRef::Owned { .. } = &request.held.file
                && let FileRef::Owned { fd, .. } = std::mem::take(&mut request.held.file)
            {
                release::close(fd);
            }
            return;
        }
        let silent = request.watch.as_ref().is_some_and(|watch| watch.has_reported && !watch.edge);
        if !silent || request.waits_for_other || request.flags.contains(SqeFlags::FIXED_FILE) {
            return self.unwatch(request);
        }
        if let FileRef::Owned { fd: duplicate, closes } = std::mem::take(&mut request.held.file) {
            request.watch = None;
            let left = System::global().parking().park(self.ring, request.fd, closes, duplicate);
            match left {
                None => self.ring.reactor.release(),
                Some(duplicate) => self.ring.reactor.remove(&duplicate),
            }
        }
    }

    /// Arms the request on a duplicate, or on its own descriptor.
    fn arm_on(
        &mut self,
        mut request: Request,
        duplicate: Result<Option<std::os::fd::OwnedFd>, Errno>,
        events: u32,
        edge: bool,
    ) -> Result<(), Again> {
        let duplicate = match duplicate {
            Ok(duplicate) => duplicate,
            Err(errno) => {
                return Err(Again::Next(self.complete(request, Completion::error(errno)).map(Box::new)));
            }
        };
        let known = request.watch.is_some();
        let mut inflight = self.ring.inflight.lock();
        let refused = inflight.closed || request.slot.is_some_and(|slot| inflight.is_cancelled(slot));
        if refused {
            drop(inflight);
            return Err(Again::Next(self.complete_cancelled(request).map(Box::new)));
        }
        if let Some(Stage::Running { reported, .. }) = request.slot.and_then(|slot| inflight.stage(slot))
            && std::mem::take(reported)
        {
            return Err(Again::Run(Box::new(request)));
        }
        let slot = match request.slot {
            Some(slot) => slot,
            None => *request.slot.insert(inflight.reserve(&request)),
        };
        let fresh = match request.watch.take() {
            Some(mut watch) => {
                let same = watch.edge && edge && watch.events == events;
                watch.has_reported &= same;
                (watch.events, watch.edge) = (events, edge);
                request.watch = Some(watch);
                !same
            }
            None => {
                request.watch = Some(Watch { fd: duplicate, events, edge, has_reported: false });
                true
            }
        };
        if fresh {
            self.armed_edge |= edge;
            let result = match request.watched_fd() {
                Some(fd) if known => self.ring.reactor.rearm(fd, events, edge, slot.to_token()),
                Some(fd) => self.ring.reactor.add(fd, events, edge, slot.to_token()),
                None => Err(Errno::BADF),
            };
            if let Err(errno) = result {
                drop(inflight);
                let always_ready = match (&request.operation, request.watched_fd()) {
                    (Operation::PollAdd(poll), Some(fd)) => Some(poll.without_waiting(fd.as_raw_fd())),
                    _ => None,
                };
                if !known {
                    request.watch = None;
                }
                return Err(Again::Next(match (errno, always_ready) {
                    // A file that cannot be waited for is for a worker; a poll has nothing to do there.
                    (Errno::PERM, Some(completion)) => self.complete(request, completion).map(Box::new),
                    (Errno::PERM, None) if request.operation.waits_to_start().is_some() => {
                        self.complete(request, Completion::error(Errno::BADFD)).map(Box::new)
                    }
                    (Errno::PERM, None) if self.place != Place::Worker => self.punt(request).map(Box::new),
                    (errno, _) => self.complete(request, Completion::error(errno)).map(Box::new),
                }));
            }
        }
        request.served = Served::Poll;
        self.ring.reactor.has_work();
        let limit = take_limit(&mut request);
        inflight.put(Box::new(request), Stage::Armed);
        if let Some(limit) = limit {
            self.arm_limit(&mut inflight, slot, limit);
        }
        Ok(())
    }

    /// Queues the request for a worker.
    pub(crate) fn punt(&mut self, mut request: Request) -> Option<Request> {
        if let Err(errno) = self.detach(&mut request) {
            return self.refuse(request, errno);
        }
        let mut inflight = self.ring.inflight.lock();
        if inflight.closed || request.slot.is_some_and(|slot| inflight.is_cancelled(slot)) {
            drop(inflight);
            return self.complete_cancelled(request);
        }
        let limit = take_limit(&mut request);
        let personality = request.personality.clone();
        let slot = inflight.put(Box::new(request), Stage::Queued);
        if let Some(limit) = limit {
            self.arm_limit(&mut inflight, slot, limit);
        }
        match personality {
            None => self.punts.push(slot),
            Some(credentials) => {
                drop(inflight);
                worker::run_as(self.ring, slot, credentials);
            }
        }
        None
    }
}

/// What is to be done when arming did not put the request away.
pub(crate) enum Again {
    /// Run it once more: its file reported meanwhile.
    Run(Box<Request>),
    /// It is finished or handed over; this one follows.
    Next(Option<Box<Request>>),
}
