//! Cancellation: by `user_data`, file, opcode; one, all or any.

use std::os::fd::RawFd;
use std::sync::Arc;

use ringer_abi::{Opcode, uapi};
use ringer_ops::Completion;
use ringer_ops::cancel::CancelMatch;
use ringer_sys::{Errno, call};

use crate::inflight::{RequestId, Stage};
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
        for id in candidates {
            if Some(id) == except || !self.matches(id, wanted, &file) {
                continue;
            }
            let is_waitid = self.ring.inflight.lock().describe(id).1 == Opcode::Waitid.number();
            let result = self.cancel_one(id);
            if !wanted.wants_all() {
                // Linux says how many for a WAITID, though there is only one.
                return result.map(|()| i32::from(is_waitid));
            }
            // One that runs counts, too: it was found. One that finished meanwhile does not.
            if result != Err(Errno::NOENT) {
                cancelled += 1;
            }
        }
        if wanted.wants_all() { Ok(cancelled) } else { Err(Errno::NOENT) }
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

    /// Cancels one pending request.
    ///
    /// # Errors
    /// `ENOENT` when it is not pending any more, `EALREADY` when a thread runs it.
    pub(crate) fn cancel_one(&mut self, id: RequestId) -> Result<(), Errno> {
        let request = {
            let mut inflight = self.ring.inflight.lock();
            match inflight.stage(id) {
                None | Some(Stage::Device(_)) => return Err(Errno::NOENT),
                Some(Stage::Running { cancelled, .. }) => {
                    *cancelled = true;
                    return Err(Errno::ALREADY);
                }
                Some(Stage::Queued(_)) => System::global().workers().forget(self.ring, id),
                Some(_) => {}
            }
            inflight.counted.retain(|(_, counted)| *counted != id);
            inflight.take(id)
        };
        let Some(request) = request else { return Err(Errno::NOENT) };
        let next = self.complete(*request, Completion::error(Errno::CANCELED));
        self.ready.extend(next.map(Box::new));
        Ok(())
    }
}

/// Cancels everything of a ring that is closed. Nothing becomes pending afterwards.
pub(crate) fn cancel_all(ring: &Arc<Ring>) {
    let (pending, drained) = {
        let mut inflight = ring.inflight.lock();
        inflight.closed = true;
        (inflight.all(), std::mem::take(&mut inflight.drained))
    };
    let mut turn = Turn::new(ring, crate::turn::Place::Reactor);
    for id in pending {
        // Those that run finish by themselves and find the ring closed.
        let _ = turn.cancel_one(id);
    }
    for chain in drained {
        turn.cancel_chain(chain.head, true);
    }
    turn.run_ready();
    turn.finish();
}

/// Whether two descriptors name the same open file. `None` where the kernel cannot say (before Linux 6.10).
pub(crate) fn same_file(one: RawFd, other: RawFd) -> Option<bool> {
    const F_DUPFD_QUERY: u32 = 1027;
    call::fcntl(one, F_DUPFD_QUERY, other as usize).ok().map(|same| same == 1)
}
