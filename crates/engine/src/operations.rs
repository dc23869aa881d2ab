//! Operations that the engine carries out on its own state.

use ringer_abi::SqeFlags;
use ringer_ops::poll::PollRemove;
use ringer_ops::{Completion, Operation};
use ringer_sys::Errno;

use crate::Served;
use crate::inflight::Stage;
use crate::message;
use crate::register::{ResourceUpdate, files};
use crate::request::{Request, Watching};
use crate::turn::Turn;

impl Turn<'_> {
    /// Carries out an operation that answered [`ringer_ops::Outcome::Engine`]. Returns the request that follows.
    pub(crate) fn run_engine_operation(&mut self, mut request: Box<Request>) -> Option<Box<Request>> {
        request.served = Served::Engine;
        let result = match &mut request.operation {
            Operation::Nop(nop) => {
                nop.is_put_off = false;
                self.put_off(request);
                return None;
            }
            Operation::Timeout(_) => return self.start_timeout(request),
            Operation::FutexWait(_) | Operation::FutexWaitv(_) => return self.start_futex_wait(request),
            Operation::TimeoutRemove(remove) => self.remove_timeout(remove).map(|()| 0),
            Operation::AsyncCancel(cancel) => {
                let target = cancel.target;
                self.cancel(&target, request.slot)
            }
            Operation::PollRemove(remove) => self.remove_poll(remove).map(|()| 0),
            Operation::FilesUpdate(update) => {
                let (descriptors, count, offset) = (update.descriptors, update.count, update.offset);
                if offset == ringer_ops::files_update::FilesUpdate::ALLOCATE {
                    files::allocate_slots(self.ring, descriptors, count)
                } else {
                    files::update_slots(
                        self.ring,
                        &ResourceUpdate { offset, count, data: descriptors, tags: None },
                    )
                }
            }
            Operation::Close(close) => files::close_slot(self.ring, close.file_index - 1).map(|()| 0),
            Operation::ProvideBuffers(provide) => self.ring.provided.lock().provide(provide).map(|()| 0),
            Operation::RemoveBuffers(remove) => self.ring.provided.lock().remove(remove),
            Operation::MsgRing(_) if request.flags.contains(SqeFlags::FIXED_FILE) => {
                message::refuse_registered(self.ring, request.fd)
            }
            // For this ring it comes before what was completed in the same submission, as in the kernel.
            Operation::MsgRing(message) => message::deliver(self.ring, request.fd, message),
            _ => Err(Errno::OPNOTSUPP),
        };
        let completion = match result {
            Ok(result) => Completion::new(result),
            Err(errno) => Completion::error(errno),
        };
        self.complete(request, completion)
    }

    /// Removes or changes an armed POLL_ADD.
    ///
    /// # Errors
    /// `ENOENT` when there is none, `EALREADY` when it reports just now.
    fn remove_poll(&mut self, remove: &PollRemove) -> Result<(), Errno> {
        let mut inflight = self.ring.inflight.lock();
        let mut running = false;
        let mut found = None;
        for id in inflight.with_user_data(remove.target) {
            match inflight.stage(id) {
                Some(Stage::Armed(request)) if matches!(request.operation, Operation::PollAdd(_)) => {
                    found = Some(id);
                    break;
                }
                Some(Stage::Running { .. }) => running = true,
                _ => {}
            }
        }
        let Some(id) = found else {
            return Err(if running { Errno::ALREADY } else { Errno::NOENT });
        };
        if remove.update_events.is_none() && remove.update_user_data.is_none() {
            drop(inflight);
            return self.cancel_one(id);
        }
        let Some(mut request) = inflight.take(id) else { return Err(Errno::ALREADY) };
        if let Some(user_data) = remove.update_user_data {
            request.user_data = user_data;
        }
        if let (Some(events), Operation::PollAdd(poll)) = (remove.update_events, &mut request.operation) {
            poll.update(events, remove.multishot || poll.multishot);
            // It is armed anew even for the same events: the present state is reported once more.
            if let Some(Watching::Own { interest: Some((_, edge)), .. }) = &mut request.watching {
                *edge = false;
            }
        }
        inflight.pass_on(id, &request);
        drop(inflight);
        // It looks at its file again with the new events.
        self.put_ready(request);
        Ok(())
    }
}
