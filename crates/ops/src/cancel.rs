//! ASYNC_CANCEL: takes back what is pending.

use ringer_abi::{Sqe, SqeFlags, uapi};
use ringer_sys::Errno;

use crate::operation::{Issue, Op, Outcome, Prepare, Traits};

/// Which requests to cancel. Source: `io_uring_prep_cancel.3`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CancelMatch {
    /// `IORING_ASYNC_CANCEL_` flags.
    pub flags: u32,
    /// The `user_data`, when it counts.
    pub user_data: u64,
    /// The descriptor or registered file, when it counts.
    pub fd: i32,
    /// The opcode, when it counts.
    pub opcode: u8,
}

impl CancelMatch {
    /// Flags that ASYNC_CANCEL and the synchronous register call accept.
    pub const KNOWN_FLAGS: u32 = uapi::IORING_ASYNC_CANCEL_ALL
        | uapi::IORING_ASYNC_CANCEL_FD
        | uapi::IORING_ASYNC_CANCEL_ANY
        | uapi::IORING_ASYNC_CANCEL_FD_FIXED
        | uapi::IORING_ASYNC_CANCEL_USERDATA
        | uapi::IORING_ASYNC_CANCEL_OP;

    /// Whether every match is wanted and their number is the result.
    pub const fn wants_all(&self) -> bool {
        self.flags & (uapi::IORING_ASYNC_CANCEL_ALL | uapi::IORING_ASYNC_CANCEL_ANY) != 0
    }

    /// Whether the file counts.
    pub const fn by_file(&self) -> bool {
        self.flags & uapi::IORING_ASYNC_CANCEL_FD != 0
    }

    /// Whether any request matches.
    pub const fn matches_any(&self) -> bool {
        self.flags & uapi::IORING_ASYNC_CANCEL_ANY != 0
    }

    /// Whether `user_data` counts: when asked for, or when nothing else is.
    pub const fn by_user_data(&self) -> bool {
        let others = uapi::IORING_ASYNC_CANCEL_FD | uapi::IORING_ASYNC_CANCEL_OP;
        self.flags & uapi::IORING_ASYNC_CANCEL_USERDATA != 0 || self.flags & others == 0
    }

    /// Whether the opcode counts.
    pub const fn by_opcode(&self) -> bool {
        self.flags & uapi::IORING_ASYNC_CANCEL_OP != 0
    }
}

/// `IORING_OP_ASYNC_CANCEL`. Source: `io_uring_prep_cancel.3`.
#[derive(Debug)]
pub struct AsyncCancel {
    /// What to cancel.
    pub target: CancelMatch,
}

impl Op for AsyncCancel {
    const TRAITS: Traits = Traits::NONE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        if sqe.flags().contains(SqeFlags::BUFFER_SELECT) {
            return Err(Errno::INVAL);
        }
        if sqe.off() != 0 || sqe.file_index() != 0 {
            return Err(Errno::INVAL);
        }
        let flags = sqe.op_flags();
        if flags & !CancelMatch::KNOWN_FLAGS != 0 {
            return Err(Errno::INVAL);
        }
        let any = flags & uapi::IORING_ASYNC_CANCEL_ANY != 0;
        if any && flags & (uapi::IORING_ASYNC_CANCEL_FD | uapi::IORING_ASYNC_CANCEL_OP) != 0 {
            return Err(Errno::INVAL);
        }
        // With a fixed file in the SQE the descriptor to match is an index, too.
        let fixed =
            if sqe.flags().contains(SqeFlags::FIXED_FILE) { uapi::IORING_ASYNC_CANCEL_FD_FIXED } else { 0 };
        let by_opcode = flags & uapi::IORING_ASYNC_CANCEL_OP != 0;
        let target = CancelMatch {
            flags: flags | fixed,
            user_data: sqe.addr(),
            fd: sqe.fd(),
            opcode: if by_opcode { sqe.len() as u8 } else { 0 },
        };
        Ok(Self { target })
    }

    fn issue(&mut self, _context: &mut Issue<'_>) -> Outcome {
        Outcome::Engine
    }
}
