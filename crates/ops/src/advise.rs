//! FADVISE and MADVISE: hints about files and memory.

use ringer_abi::Sqe;
use ringer_sys::{Errno, UserAddress, call};

use crate::check::{unused, with_brief_patience};
use crate::operation::{Issue, Op, Outcome, Prepare, Traits};

/// `POSIX_FADV_NORMAL`, `_RANDOM` and `_SEQUENTIAL`: they only set a flag of the open file.
const LAST_IMMEDIATE_ADVICE: u32 = 2;

/// `IORING_OP_FADVISE`. Source: `io_uring_prep_fadvise.3`, `posix_fadvise.2`.
#[derive(Debug)]
pub struct Fadvise {
    offset: u64,
    bytes: u64,
    advice: u32,
}

impl Op for Fadvise {
    const TRAITS: Traits = Traits::FILE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.buf_index().into(), sqe.file_index().into()])?;
        // A length beyond 32 bits is in `addr`.
        let bytes = if sqe.addr() == 0 { sqe.len().into() } else { sqe.addr() };
        Ok(Self { offset: sqe.off(), bytes, advice: sqe.op_flags() })
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        let advise = || call::fadvise(context.fd, self.offset, self.bytes, self.advice);
        if self.advice <= LAST_IMMEDIATE_ADVICE {
            return Outcome::from_result(advise());
        }
        with_brief_patience(context, advise)
    }
}

/// `IORING_OP_MADVISE`. Source: `io_uring_prep_madvise.3`, `madvise.2`.
#[derive(Debug)]
pub struct Madvise {
    address: UserAddress,
    bytes: u64,
    advice: u32,
}

impl Op for Madvise {
    const TRAITS: Traits = Traits::NONE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.buf_index().into(), sqe.file_index().into()])?;
        // A length beyond 32 bits is in `off`.
        let bytes = if sqe.off() == 0 { sqe.len().into() } else { sqe.off() };
        Ok(Self { address: UserAddress::new(sqe.addr()), bytes, advice: sqe.op_flags() })
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        with_brief_patience(context, || call::madvise(self.address, self.bytes, self.advice)).tolerated()
    }
}
