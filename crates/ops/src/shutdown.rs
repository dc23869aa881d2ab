//! SHUTDOWN: the end of a connection's directions.

use ringer_abi::Sqe;
use ringer_sys::{Errno, call};

use crate::check::unused;
use crate::operation::{Issue, Op, Outcome, Prepare, Traits};

/// `IORING_OP_SHUTDOWN`. Source: `io_uring_prep_shutdown.3`.
#[derive(Debug)]
pub struct Shutdown {
    how: u32,
}

impl Op for Shutdown {
    const TRAITS: Traits = Traits::FILE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([
            sqe.off(),
            sqe.addr(),
            u64::from(sqe.op_flags()),
            u64::from(sqe.buf_index()),
            u64::from(sqe.file_index()),
        ])?;
        Ok(Self { how: sqe.len() })
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        // It waits for nobody, not even for data that lingers.
        Outcome::from_result(call::shutdown(context.fd, self.how)).tolerated_of(context.fd)
    }
}
