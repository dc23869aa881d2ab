//! MSG_RING: a CQE or a registered file for another ring.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringer_abi::Cqe;
use ringer_ops::Resources;
use ringer_ops::msg_ring::{Message, MsgRing};
use ringer_sys::{Errno, descriptor};

use crate::ring::Ring;
use crate::system::System;

/// Delivers a message. `fd` is the other ring's descriptor.
///
/// # Errors
/// `EBADF` when it is not open, `EBADFD` when it is no ring or is disabled, `EINVAL` for a file to the ring itself, `ENXIO` without registered
/// files here, `EBADF` for an empty slot, and those of the installation there.
pub(crate) fn deliver(from: &Arc<Ring>, fd: i32, message: &MsgRing) -> Result<i32, Errno> {
    const F_GETFD: u32 = 1;
    let Some(target) = System::global().ring_of(fd) else {
        // Another kind of file, or none at all.
        ringer_sys::call::fcntl(fd, F_GETFD, 0)?;
        return Err(Errno::BADFD);
    };
    let content = message.message?;
    if target.disabled.load(Ordering::Relaxed) {
        return Err(Errno::BADFD);
    }
    let (result, flags) = match content {
        Message::Data { result, cqe_flags } => (result, cqe_flags),
        Message::File { from: index, to } => {
            if Arc::ptr_eq(from, &target) {
                return Err(Errno::INVAL);
            }
            let source = {
                let files = from.files.lock();
                files.len()?;
                files.get(index).ok_or(Errno::BADF)?
            };
            (target.install_file(descriptor::duplicate_for_engine(source.fd())?, to)?, 0)
        }
    };
    if !(message.skip_cqe && matches!(content, Message::File { .. })) {
        let foreign = !Arc::ptr_eq(from, &target);
        let waiters = target.post(&[Cqe::new(message.user_data, result, flags)], foreign);
        target.completions.eventfd.signal(&target, foreign);
        target.announce_completions(waiters);
    }
    Ok(match content {
        Message::Data { .. } => 0,
        Message::File { .. } => result,
    })
}
