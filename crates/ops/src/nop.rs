//! NOP: completes with 0, or with what its injection flags say.

use ringer_abi::{Sqe, uapi};
use ringer_sys::{Errno, call};

use crate::operation::{Issue, Op, Outcome, Prepare, Traits};

/// `IORING_OP_NOP`. Source: `io_uring_enter.2`, `io_uring_prep_nop.3`.
#[derive(Debug, Default)]
pub struct Nop {
    result: i32,
    file: Option<i32>,
    is_registered_file: bool,
    buffer: Option<u16>,
}

const KNOWN_FLAGS: u32 = uapi::IORING_NOP_INJECT_RESULT
    | uapi::IORING_NOP_FILE
    | uapi::IORING_NOP_FIXED_FILE
    | uapi::IORING_NOP_FIXED_BUFFER
    | uapi::IORING_NOP_TW;

impl Op for Nop {
    const TRAITS: Traits = Traits { iopoll: true, ..Traits::NONE };

    // Inlined, as moving the result would be most of the work.
    #[inline(always)]
    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        let flags = sqe.op_flags();
        if flags & !KNOWN_FLAGS != 0 {
            return Err(Errno::INVAL);
        }
        let result = if flags & uapi::IORING_NOP_INJECT_RESULT != 0 { sqe.len() as i32 } else { 0 };
        let has = |flag| flags & flag != 0;
        Ok(Self {
            result,
            file: has(uapi::IORING_NOP_FILE).then(|| sqe.fd()),
            is_registered_file: has(uapi::IORING_NOP_FIXED_FILE),
            buffer: has(uapi::IORING_NOP_FIXED_BUFFER).then(|| sqe.buf_index()),
        })
    }

    #[inline]
    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        if let Some(fd) = self.file
            && let Err(errno) = self.look_up(fd, context)
        {
            return Outcome::failed(errno);
        }
        if self.buffer.is_some_and(|index| !context.resources.has_registered_buffer(index)) {
            return Outcome::failed(Errno::FAULT);
        }
        Outcome::done(self.result)
    }
}

impl Nop {
    fn look_up(&self, fd: i32, context: &Issue<'_>) -> Result<(), Errno> {
        const F_GETFD: u32 = 1;
        if self.is_registered_file {
            let index = u32::try_from(fd).map_err(|_| Errno::BADF)?;
            context.resources.registered_file(index).map(drop)
        } else {
            call::fcntl(fd, F_GETFD, 0).map(drop)
        }
    }
}
