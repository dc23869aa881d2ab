//! Waiting by a [`watch`](crate::watch) that a ring's requests share: joined, waited for, left.

use std::os::fd::RawFd;
use std::sync::Arc;

use ringer_abi::Opcode;
use ringer_ops::Until;
use ringer_sys::Errno;
use ringer_sys::same_file::same_file;

use crate::arm::Again;
use crate::inflight::Inflight;
use crate::release::Duplicate;
use crate::request::{FileRef, Request, Watching};
use crate::ring::Ring;
use crate::system::System;
use crate::turn::Turn;
use crate::watch::{Change, Left, Reported, Watch, WatchId};

impl Turn<'_> {
    /// Whether the request waits, or can wait, by a shared watch. Others have a file of their own already.
    pub(crate) fn may_share_watch(request: &Request) -> bool {
        match &request.watching {
            Some(watching) => matches!(watching, Watching::Shared(_)),
            None => matches!(request.held.file, FileRef::Program(_) | FileRef::Registered(_)),
        }
    }

    /// Arms the request by the watch of its file.
    pub(crate) fn arm_shared(
        &mut self,
        mut request: Box<Request>,
        events: u32,
        until: Until,
    ) -> Result<(), Again> {
        if let Err(errno) = self.join_watch(&mut request) {
            return Err(self.refuse_to_arm(request, errno));
        }
        self.release_line(&mut request);
        let Some(Watching::Shared(id)) = request.watching else {
            // It has just joined one, or had one before.
            return Err(self.refuse_to_arm(request, Errno::BADF));
        };
        let seen = self.seen_reports;
        self.put_armed(request, |turn, inflight, request, slot| {
            let watch = inflight.watches.get(id).ok_or(Errno::BADF)?;
            if let Some(change) = watch.change_for(events, until, seen) {
                turn.ring.change_watch(watch, id, change)?;
            }
            if until == Until::Refilled {
                watch.note_refill(turn.ring.reactor.count_report());
            }
            let place = request.place_in_line(|| inflight.watches.next_in_line());
            inflight.wait_for(slot, id, events, place);
            Ok(())
        })
    }

    /// Gives a request the watch of its file, unless it has it.
    ///
    /// # Errors
    /// Those of capturing what the SQE points to, and of duplicating the descriptor.
    fn join_watch(&self, request: &mut Request) -> Result<(), Errno> {
        self.capture(request)?;
        if request.watching.is_some() {
            return Ok(());
        }
        let watch = match &request.held.file {
            FileRef::Registered(file) => file.join_watch(self.ring),
            FileRef::Program(fd) => {
                let (watch, file) = self.join_watch_of(*fd)?;
                request.held.file = FileRef::Owned(file);
                watch
            }
            FileRef::Owned(_) | FileRef::None => return Err(Errno::BADF),
        };
        self.ring.reactor.adopt();
        request.watching = Some(Watching::Shared(watch));
        Ok(())
    }

    /// The watch of a descriptor of the program, which a request has from now on, and its duplicate.
    ///
    /// # Errors
    /// Those of duplicating the descriptor.
    fn join_watch_of(&self, fd: RawFd) -> Result<(WatchId, Arc<Duplicate>), Errno> {
        let parking = System::global().parking();
        let closes = parking.closes(fd);
        let found = self.ring.inflight.lock().watches.find(fd, closes);
        let joined = found.filter(|(id, file)| {
            same_file(file.raw(), fd) == Some(true) && self.ring.inflight.lock().watches.join(*id)
        });
        if let Some(joined) = joined {
            return Ok(joined);
        }
        let file = Arc::new(Duplicate::of(fd)?);
        let watch = Watch::new(Arc::clone(&file), Some((fd, closes)));
        let (id, replaced) = self.ring.inflight.lock().watches.insert(watch);
        self.ring.end_watches(replaced);
        if parking.park(self.ring, fd, closes) {
            self.ring.inflight.lock().watches.keep(id);
        }
        Ok((id, file))
    }

    /// The request goes to a worker: an ACCEPT holds those that wait for the same listener.
    pub(crate) fn hold_line(request: &mut Request, inflight: &mut Inflight) {
        if let Some(Watching::Shared(id)) = request.watching
            && request.opcode == Opcode::Accept.number()
            && let Some(watch) = inflight.watches.get(id)
        {
            watch.hold();
            request.holds_line = true;
        }
    }

    /// The request is back from the worker: the kernel looks once more at the listener for those that wait.
    fn release_line(&self, request: &mut Request) {
        let Some(Watching::Shared(id)) = request.watching.as_ref().filter(|_| request.holds_line) else {
            return;
        };
        request.holds_line = false;
        let mut inflight = self.ring.inflight.lock();
        if let Some(watch) = inflight.watches.get(*id)
            && let Some(interest) = watch.let_go()
        {
            // It is registered: there is nothing that could fail.
            let _ = self.ring.change_watch(watch, *id, Change::Renew(interest));
        }
    }

    /// The request needs its shared watch no more.
    pub(crate) fn leave_watch(&self, request: &mut Request) {
        self.release_line(request);
        if let Some(Watching::Shared(watch)) = request.watching {
            request.watching = None;
            self.ring.reactor.release();
            let left = self.ring.inflight.lock().watches.leave(watch);
            match left {
                Left::InUse => {}
                Left::Idle => System::global().parking().note_idle(),
                Left::Over(watch) => self.ring.end_watches([watch]),
            }
        }
    }
}

impl Ring {
    /// # Errors
    /// Those of epoll.
    fn change_watch(&self, watch: &mut Watch, id: WatchId, change: Change) -> Result<(), Errno> {
        let fd = watch.file.owned().ok_or(Errno::BADF)?;
        let (Change::Add(interest) | Change::Renew(interest)) = change;
        let (events, trigger) = (interest.asked_for(), interest.trigger);
        match change {
            Change::Add(_) => self.reactor.add(fd, events, trigger, id.to_token())?,
            Change::Renew(_) => self.reactor.rearm(fd, events, trigger, id.to_token())?,
        }
        watch.set_interest(interest);
        Ok(())
    }

    /// A watch has reported. Adds the requests that wait for that to `requests`.
    pub(crate) fn note_report(&self, id: WatchId, events: u32, requests: &mut Vec<Reported>) {
        let mut inflight = self.inflight.lock();
        let narrowed = inflight.watches.report(id, events, self.reactor.count_report(), requests);
        if let Some((file, interest)) = narrowed
            && let Some(fd) = file.owned()
        {
            // It is registered: there is nothing that could fail. If it did, it would report more than is wanted.
            let _ = self.reactor.rearm(fd, interest.asked_for(), interest.trigger, id.to_token());
        }
    }

    /// Gives up the watch of a descriptor, if no request has it. Requests that come find none.
    pub(crate) fn unlink_watch(&self, fd: RawFd) {
        let watch = self.inflight.lock().watches.unlink(fd);
        self.end_watches(watch);
    }

    /// [`unlink_watch`](Self::unlink_watch) for all descriptors that are meant.
    pub(crate) fn unlink_watches(&self, is_meant: impl Fn(RawFd) -> bool) {
        let watches = self.inflight.lock().watches.unlink_all(is_meant);
        self.end_watches(watches);
    }

    /// Takes out the watches that were not used since the last sweep, to be [ended](Self::end_watches). Tells, too, whether others are
    /// idle.
    pub(crate) fn sweep_watches(&self) -> (Vec<Watch>, bool) {
        self.inflight.lock().watches.sweep()
    }

    /// The registered file of a watch is gone.
    pub(crate) fn end_watch(&self, id: WatchId) {
        let watch = self.inflight.lock().watches.remove(id);
        self.end_watches(watch);
    }

    /// Takes watches out of the epoll instance: a duplicate elsewhere would keep the registration alive.
    pub(crate) fn end_watches(&self, watches: impl IntoIterator<Item = Watch>) {
        for watch in watches {
            if let Some(fd) = watch.file.owned() {
                self.reactor.remove(fd);
            }
        }
    }
}
