//! FTRUNCATE: a file's new size.

use ringer_abi::Sqe;
use ringer_sys::{Errno, call};

use crate::check::{unused, with_brief_patience};
use crate::operation::{Issue, Op, Outcome, Prepare, Traits};

/// `IORING_OP_FTRUNCATE`. Source: `io_uring_prep_ftruncate.3`, `ftruncate.2`.
#[derive(Debug)]
pub struct Ftruncate {
    size: u64,
}

impl Op for Ftruncate {
    const TRAITS: Traits = Traits::FILE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([
            sqe.addr(),
            sqe.len().into(),
            sqe.op_flags().into(),
            sqe.buf_index().into(),
            sqe.file_index().into(),
            sqe.addr3(),
        ])?;
        Ok(Self { size: sqe.off() })
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        let truncate = || call::ftruncate(context.fd, self.size);
        with_brief_patience(context, || {
            // Beyond the limit on file sizes the call raises SIGXFSZ.
            if context.may_block() { truncate() } else { call::without_write_signals(0, truncate) }
        })
        .tolerated_of(context.fd)
    }
}
