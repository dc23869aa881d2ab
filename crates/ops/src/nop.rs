//! NOP: completes with 0, or with what its injection flags say.

use ringer_abi::{SetupFlags, Sqe, uapi};
use ringer_sys::{Errno, call};

use crate::operation::{Issue, Op, Outcome, Prepare, Traits};

/// `IORING_OP_NOP`. Source: `io_uring_enter.2`, `io_uring_prep_nop.3`.
#[derive(Debug, Default)]
pub struct Nop {
    result: i32,
    file: Option<i32>,
    is_registered_file: bool,
    buffer: Option<u16>,
    /// The second half of the CQE (`IORING_NOP_CQE32`).
    extra: Option<[u64; 2]>,
    /// It is to be done after the submission (`IORING_NOP_TW`): the engine puts it off, and clears this.
    pub is_put_off: bool,
}

/// `IORING_NOP_CQE32`, Linux 6.18.
const CQE32: u32 = 1 << 5;

const KNOWN_FLAGS: u32 = uapi::IORING_NOP_INJECT_RESULT
    | uapi::IORING_NOP_FILE
    | uapi::IORING_NOP_FIXED_FILE
    | uapi::IORING_NOP_FIXED_BUFFER
    | uapi::IORING_NOP_TW
    | CQE32;

impl Op for Nop {
    const TRAITS: Traits = Traits { iopoll: true, ..Traits::NONE };

    // Inlined, as moving the result would be most of the work.
    #[inline(always)]
    fn prepare(sqe: &Sqe, context: &Prepare) -> Result<Self, Errno> {
        let flags = sqe.op_flags();
        if flags & !KNOWN_FLAGS != 0 {
            return Err(Errno::INVAL);
        }
        if flags & CQE32 != 0 && !context.setup.contains(SetupFlags::CQE32) {
            return Err(Errno::INVAL);
        }
        let result = if flags & uapi::IORING_NOP_INJECT_RESULT != 0 { sqe.len() as i32 } else { 0 };
        let has = |flag| flags & flag != 0;
        Ok(Self {
            result,
            file: has(uapi::IORING_NOP_FILE).then(|| sqe.fd()),
            is_registered_file: has(uapi::IORING_NOP_FIXED_FILE),
            buffer: has(uapi::IORING_NOP_FIXED_BUFFER).then(|| sqe.buf_index()),
            extra: has(CQE32).then(|| [sqe.off(), sqe.addr()]),
            is_put_off: has(uapi::IORING_NOP_TW),
        })
    }

    #[inline]
    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        if self.is_put_off {
            return Outcome::Engine;
        }
        if let Some(extra) = self.extra {
            context.extra = extra;
        }
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
