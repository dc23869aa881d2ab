//! FALLOCATE: space of a file.

use ringer_abi::Sqe;
use ringer_sys::{Errno, call};

use crate::check::{unused, with_unlimited_patience};
use crate::operation::{Issue, Op, Outcome, Prepare, Traits};

/// `IORING_OP_FALLOCATE`. Source: `io_uring_prep_fallocate.3`, `fallocate.2`.
#[derive(Debug)]
pub struct Fallocate {
    mode: u32,
    offset: u64,
    bytes: u64,
}

impl Op for Fallocate {
    const TRAITS: Traits = Traits::FILE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.buf_index().into(), sqe.op_flags().into(), sqe.file_index().into()])?;
        Ok(Self { mode: sqe.len(), offset: sqe.off(), bytes: sqe.addr() })
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        with_unlimited_patience(context, || call::fallocate(context.fd, self.mode, self.offset, self.bytes))
            .tolerated_of(context.fd)
    }
}
