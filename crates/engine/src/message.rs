//! MSG_RING: a CQE or a registered file for another ring.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringer_abi::{Cqe, Opcode, SetupFlags, Sqe, SqeFlags};
use ringer_ops::msg_ring::{Message, MsgRing};
use ringer_ops::{FileSlot, Op, Prepare};
use ringer_sys::{Errno, UserAddress};

use crate::Served;
use crate::release::Duplicate;
use crate::ring::Ring;
use crate::system::System;
use crate::turn::{Place, Turn};

/// Delivers a message. `fd` is the other ring's descriptor.
///
/// # Errors
/// `EBADF` when it is not open, `EBADFD` when it is no ring or is disabled, `EINVAL` for a file to the ring itself,
/// `EBADF` for an empty slot here, and those of the installation there.
pub(crate) fn deliver(from: &Arc<Ring>, fd: i32, message: &MsgRing) -> Result<i32, Errno> {
    let target = target(fd)?;
    match message.message? {
        Message::Data { result, cqe_flags } => {
            post(&target, message.user_data, result, cqe_flags)?;
            Ok(0)
        }
        Message::File { from: index, to } => {
            let result = send_file(from, index, &target, to)?;
            if !message.skip_cqe {
                post(&target, message.user_data, result, 0)?;
            }
            Ok(result)
        }
    }
}

/// `IORING_REGISTER_SEND_MSG_RING`: sends data without a ring of one's own. `argument` is an SQE.
///
/// # Errors
/// `EINVAL` for another SQE than one of MSG_RING with data, `EFAULT`, and those of [`deliver`].
pub(crate) fn send_without_ring(argument: UserAddress, count: u32) -> Result<i32, Errno> {
    if argument.is_null() || count != 1 {
        return Err(Errno::INVAL);
    }
    let sqe = Sqe::from_words(argument.read::<[u64; 8]>()?);
    if sqe.flags() != SqeFlags::empty() || sqe.opcode() != Opcode::MsgRing.number() {
        return Err(Errno::INVAL);
    }
    let message = MsgRing::prepare(&sqe, &Prepare { setup: SetupFlags::empty(), limits_request: false })?;
    if !MsgRing::is_data(&sqe) {
        return Err(Errno::INVAL);
    }
    let target = target(sqe.fd())?;
    match message.message? {
        Message::Data { result, cqe_flags } => {
            post(&target, message.user_data, result, cqe_flags).map(|()| 0)
        }
        Message::File { .. } => Err(Errno::INVAL),
    }
}

/// No registered file is a ring.
///
/// # Errors
/// `EBADF` for an empty slot, else `EBADFD`.
pub(crate) fn refuse_registered(from: &Ring, index: i32) -> Result<i32, Errno> {
    let file = u32::try_from(index).ok().and_then(|index| from.files.lock().get(index));
    Err(if file.is_some() { Errno::BADFD } else { Errno::BADF })
}

fn target(fd: i32) -> Result<Arc<Ring>, Errno> {
    if let Some(target) = System::global().ring_of(fd) {
        return Ok(target);
    }
    // Another kind of file, or none at all.
    ringer_sys::call::check_open(fd).and(Err(Errno::BADFD))
}

fn send_file(from: &Arc<Ring>, index: u32, target: &Arc<Ring>, to: Option<FileSlot>) -> Result<i32, Errno> {
    if Arc::ptr_eq(from, target) {
        return Err(Errno::INVAL);
    }
    refuse_disabled(target)?;
    let source = from.files.lock().get(index).ok_or(Errno::BADF)?;
    let Some(to) = to else {
        // No slot has the number of none.
        target.files.lock().len()?;
        return Err(Errno::INVAL);
    };
    target.install(Duplicate::of(source.fd())?, to)
}

/// Posts the CQE, which counts for the timeouts there.
fn post(target: &Arc<Ring>, user_data: u64, result: i32, flags: u32) -> Result<(), Errno> {
    refuse_disabled(target)?;
    let mut turn = Turn::new(target, Place::Reactor);
    let cqe = Cqe::new(user_data, result, flags);
    turn.trace_numbered(None, &cqe, Served::Engine, true);
    turn.post(cqe);
    turn.publish();
    turn.run_ready();
    turn.finish();
    Ok(())
}

fn refuse_disabled(target: &Ring) -> Result<(), Errno> {
    if target.disabled.load(Ordering::Relaxed) { Err(Errno::BADFD) } else { Ok(()) }
}
