//! Cancellation: by `user_data`, file, opcode; one, all or any.

use std::os::fd::RawFd;
use std::sync::Arc;

use ringer_abi::{Opcode, uapi};
use ringer_ops::cancel::CancelMatch;
use ringer_ops::{Attempt, Completion, Outcome};
use ringer_sys::same_file::same_file;
use ringer_sys::{Errno, call};

use crate::elsewhere;
use crate::inflight::{RequestId, Stage};
use crate::request::Request;
use crate::ring::Ring;
use crate::system::System;
use crate::turn::Turn;

/// A file that requests are compared with.
enum Wanted {
    Any,
    Number(RawFd),
    Registered(Arc<crate::files::RegisteredFile>),
}

impl Turn<'_> {
    /// Cancels what matches, but for the request `except`. Returns the number cancelled if all were wanted, else 0.
    ///
    /// # Errors
    /// `ENOENT` when nothing matches, `EALREADY` when it runs and cannot be stopped, `EBADF` for a bad descriptor to compare with.
    pub(crate) fn cancel(&mut self, wanted: &CancelMatch, except: Option<RequestId>) -> Result<i32, Errno> {
        let file = self.wanted_file(wanted)?;
        let candidates = {
            let inflight = self.ring.inflight.lock();
            let by_user_data = wanted.by_user_data() && !wanted.matches_any();
            if by_user_data { inflight.with_user_data(wanted.user_data) } else { inflight.all() }
        };
        let mut cancelled = 0;
        // Linux looks for these at one go: all that match count as one.
        let (mut waitids, mut futexes) = (false, false);
        for id in candidates {
            if Some(id) == except || !self.matches(id, wanted, &file) {
                continue;
            }
            let opcode = Opcode::from_number(self.ring.inflight.lock().describe(id).1);
            let result = self.cancel_one(id);
            if !wanted.wants_all() {
                return result.map(|()| count_of_one(opcode));
            }
            // One that runs counts, too: it was found. One that finished meanwhile does not.
            if result == Err(Errno::NOENT) {
                continue;
            }
            let is_known = match opcode {
                Some(Opcode::Waitid) => std::mem::replace(&mut waitids, true),
                Some(Opcode::FutexWait | Opcode::FutexWaitv) => std::mem::replace(&mut futexes, true),
                _ => false,
            };
            cancelled += i32::from(!is_known);
        }
        match elsewhere::cancel(self.ring, wanted) {
            Ok(more) => Ok(cancelled + more),
            Err(Errno::NOENT) if wanted.wants_all() => Ok(cancelled),
            Err(errno) => Err(errno),
        }
    }

    fn wanted_file(&self, wanted: &CancelMatch) -> Result<Wanted, Errno> {
        if !wanted.by_file() {
            return Ok(Wanted::Any);
        }
        if wanted.flags & uapi::IORING_ASYNC_CANCEL_FD_FIXED != 0 {
            let index = u32::try_from(wanted.fd).map_err(|_| Errno::BADF)?;
            return self.ring.files.lock().get(index).map(Wanted::Registered).ok_or(Errno::BADF);
        }
        const F_GETFD: u32 = 1;
        call::fcntl(wanted.fd, F_GETFD, 0)?;
        Ok(Wanted::Number(wanted.fd))
    }

    fn matches(&self, id: RequestId, wanted: &CancelMatch, file: &Wanted) -> bool {
        let mut inflight = self.ring.inflight.lock();
        if inflight.stage(id).is_none() {
            return false;
        }
        let (user_data, opcode, (fd, fixed)) = inflight.describe(id);
        // A limit belongs to its request and goes with it.
        if opcode == Opcode::LinkTimeout.number() {
            return false;
        }
        if wanted.matches_any() {
            return true;
        }
        if wanted.by_user_data() && user_data != wanted.user_data {
            return false;
        }
        if wanted.by_opcode() && opcode != wanted.opcode {
            return false;
        }
        let owned = inflight.request(id).map(|request| request.held.file.raw());
        match file {
            Wanted::Any => true,
            Wanted::Number(number) => match owned {
                Some(-1) => false,
                Some(own) => same_file(own, *number).unwrap_or(!fixed && fd == *number),
                None => !fixed && fd == *number,
            },
            Wanted::Registered(registered) => match owned {
                Some(-1) => false,
                Some(own) => {
                    own == registered.fd() || same_file(own, registered.fd()).unwrap_or(fixed && fd >= 0)
                }
                None => fixed,
            },
        }
    }

    /// Cancels one pending request. What it tells of that comes after the completion of the request that is being run.
    ///
    /// # Errors
    /// `ENOENT` when it is not pending any more, `EALREADY` when a thread runs it.
    pub(crate) fn cancel_one(&mut self, id: RequestId) -> Result<(), Errno> {
        let asleep = match self.ring.inflight.lock().stage(id) {
            Some(Stage::Asleep { sleep, .. }) => Some(Arc::clone(sleep)),
            _ => None,
        };
        if asleep.is_some_and(|sleep| !sleep.stop()) {
            return Err(Errno::NOENT);
        }
        let request = {
            let mut inflight = self.ring.inflight.lock();
            match inflight.stage(id) {
                None | Some(Stage::Device(_) | Stage::Cancelled { waited_for_file: false }) => {
                    return Err(Errno::NOENT);
                }
                Some(Stage::Cancelled { waited_for_file: true }) => return Ok(()),
                Some(Stage::Running { cancelled, work, .. }) => {
                    *cancelled = true;
                    let is_work = work.is_some();
                    let is_waitid = inflight.describe(id).1 == Opcode::Waitid.number();
                    drop(inflight);
                    if is_work {
                        System::global().workers().interrupt(self.ring, id);
                    }
                    // It will have its end from its worker. In Linux WAITID never has one.
                    return if is_work && is_waitid { Ok(()) } else { Err(Errno::ALREADY) };
                }
                Some(Stage::Queued(_)) => System::global().workers().forget(self.ring, id),
                Some(_) => {}
            }
            inflight.counted.retain(|(_, counted)| *counted != id);
            inflight.take_to_cancel(id)
        };
        let Some(mut request) = request else { return Err(Errno::NOENT) };
        // Whoever cancels is heard first, as in the kernel, where the end of the other is task work.
        request.is_cancelled = true;
        self.put_off(request);
        Ok(())
    }

    /// Finishes a request that is cancelled, with what it says of that. Returns the one that follows in its chain.
    pub(crate) fn complete_cancelled(&mut self, mut request: Box<Request>) -> Option<Box<Request>> {
        let mut outcome = request.operation.refuse(Errno::CANCELED);
        if let Outcome::Notifies(mut completion) = outcome {
            completion.flags |= request.held.taken.take_flags();
            self.post_more(&request, &completion);
            outcome = request.operation.refuse(Errno::CANCELED);
        }
        let completion = match outcome {
            Outcome::Done(completion) => completion,
            _ => Completion::error(Errno::CANCELED),
        };
        self.complete(request, completion)
    }
}

/// The result of cancelling one request. Of some operations Linux says how many it cancelled, though there is only one.
pub(crate) fn count_of_one(opcode: Option<Opcode>) -> i32 {
    i32::from(matches!(opcode, Some(Opcode::Waitid | Opcode::FutexWait | Opcode::FutexWaitv)))
}

/// Cancels everything of a ring that is closed. Nothing becomes pending afterwards.
pub(crate) fn cancel_all(ring: &Arc<Ring>) {
    ring.inflight.lock().closed = true;
    cancel_pending(ring);
}

/// Cancels everything of this process that is pending on a ring.
pub(crate) fn cancel_pending(ring: &Arc<Ring>) {
    let (pending, drained) = {
        let mut inflight = ring.inflight.lock();
        (inflight.all(), std::mem::take(&mut inflight.drained))
    };
    let mut turn = Turn::new(ring, crate::turn::Place::Reactor);
    for id in pending {
        // Those that run finish by themselves.
        let _ = turn.cancel_one(id);
    }
    for chain in drained {
        turn.cancel_chain(chain.head, true);
    }
    turn.run_ready();
    turn.finish();
}
