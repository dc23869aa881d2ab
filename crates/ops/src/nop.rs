//! NOP: completes with 0, or with what its injection flags say.

use ringer_abi::{Sqe, uapi};
use ringer_sys::Errno;

use crate::operation::{Issue, Op, Outcome, Prepare, Traits};

/// `IORING_OP_NOP`. Source: `io_uring_enter.2`, `io_uring_prep_nop.3`.
#[derive(Debug, Default)]
pub struct Nop {
    result: i32,
}

const KNOWN_FLAGS: u32 = uapi::IORING_NOP_INJECT_RESULT
    | uapi::IORING_NOP_FILE
    | uapi::IORING_NOP_FIXED_FILE
    | uapi::IORING_NOP_FIXED_BUFFER
    | uapi::IORING_NOP_TW;

impl Op for Nop {
    const TRAITS: Traits = Traits { iopoll: true, ..Traits::NONE };

    #[inline]
    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        let flags = sqe.op_flags();
        if flags & !KNOWN_FLAGS != 0 {
            return Err(Errno::INVAL);
        }
        let result = if flags & uapi::IORING_NOP_INJECT_RESULT != 0 { sqe.len() as i32 } else { 0 };
        Ok(Self { result })
    }

    #[inline]
    fn issue(&mut self, _context: &mut Issue<'_>) -> Outcome {
        Outcome::done(self.result)
    }
}
