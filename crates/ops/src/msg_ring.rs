//! MSG_RING: a message or a registered file for another ring.

use ringer_abi::{Sqe, uapi};
use ringer_sys::Errno;

use crate::check::unused;
use crate::operation::{FileSlot, Issue, Op, Outcome, Prepare, Traits};

/// What is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Message {
    /// `IORING_MSG_DATA`: a CQE with this result. Its flags are passed on with `IORING_MSG_RING_FLAGS_PASS`.
    Data {
        /// The CQE's `res`.
        result: i32,
        /// The CQE's `flags`.
        cqe_flags: u32,
    },
    /// `IORING_MSG_SEND_FD`: a registered file of this ring goes into the other's table. The result of
    /// both CQEs is that of the installation: 0, or the allocated slot.
    File {
        /// The slot here.
        from: u32,
        /// The slot there. `None` is refused, once there is known to be a file.
        to: Option<FileSlot>,
    },
}

/// `IORING_OP_MSG_RING`, carried out by the engine. Source: `io_uring_prep_msg_ring.3`,
/// `io_uring_prep_msg_ring_fd.3`.
///
/// The engine's errors: `EBADFD` when `fd` is not a ring or is disabled, `EINVAL` for a file to the
/// ring itself, `EBADF` for an empty slot here.
#[derive(Debug)]
pub struct MsgRing {
    /// The CQE's `user_data`.
    pub user_data: u64,
    /// What is sent. `EINVAL`, not before it is known that `fd` is a ring, if `addr` names no command
    /// or a field is set that the command does not use.
    pub message: Result<Message, Errno>,
    /// `IORING_MSG_RING_CQE_SKIP`: with a file, no CQE is posted there.
    pub skip_cqe: bool,
}

impl Op for MsgRing {
    const TRAITS: Traits = Traits { iopoll: true, ..Traits::FILE };

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.buf_index().into(), sqe.personality().into()])?;
        let flags = sqe.op_flags();
        if flags & !(uapi::IORING_MSG_RING_CQE_SKIP | uapi::IORING_MSG_RING_FLAGS_PASS) != 0 {
            return Err(Errno::INVAL);
        }
        let skip_cqe = flags & uapi::IORING_MSG_RING_CQE_SKIP != 0;
        Ok(Self { user_data: sqe.off(), message: message(sqe, flags), skip_cqe })
    }

    fn issue(&mut self, _context: &mut Issue<'_>) -> Outcome {
        Outcome::Engine
    }
}

/// `IORING_MSG_DATA` and `IORING_MSG_SEND_FD`. Only the lower half of `addr` is looked at.
const DATA: u32 = 0;
const SEND_FD: u32 = 1;

impl MsgRing {
    /// Whether the SQE's command is `IORING_MSG_DATA`.
    pub fn is_data(sqe: &Sqe) -> bool {
        sqe.addr_low() == DATA
    }
}

fn message(sqe: &Sqe, flags: u32) -> Result<Message, Errno> {
    let source = sqe.addr3() as u32;
    let passes_flags = flags & uapi::IORING_MSG_RING_FLAGS_PASS != 0;
    match sqe.addr_low() {
        DATA if source != 0 || flags & uapi::IORING_MSG_RING_CQE_SKIP != 0 => Err(Errno::INVAL),
        DATA if !passes_flags && sqe.file_index() != 0 => Err(Errno::INVAL),
        DATA => Ok(Message::Data { result: sqe.len() as i32, cqe_flags: sqe.file_index() }),
        SEND_FD if sqe.len() == 0 => {
            Ok(Message::File { from: source, to: FileSlot::from_file_index(sqe.file_index()) })
        }
        _ => Err(Errno::INVAL),
    }
}
