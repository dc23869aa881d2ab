//! LISTEN: a socket's readiness for connections.

use ringer_abi::Sqe;
use ringer_sys::{Errno, call};

use crate::check::unused;
use crate::operation::{Issue, Op, Outcome, Prepare, Traits};

/// `IORING_OP_LISTEN`. Source: `io_uring_prep_listen.3`.
#[derive(Debug)]
pub struct Listen {
    backlog: u32,
}

impl Op for Listen {
    const TRAITS: Traits = Traits::FILE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([
            sqe.off(),
            sqe.addr(),
            u64::from(sqe.op_flags()),
            u64::from(sqe.buf_index()),
            u64::from(sqe.file_index()),
        ])?;
        Ok(Self { backlog: sqe.len() })
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        Outcome::from_result(call::listen(context.fd, self.backlog))
    }
}
