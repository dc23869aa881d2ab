//! FSYNC and SYNC_FILE_RANGE: written data reaches the device. Both wait for it, so that a worker makes the call.

use ringer_abi::{Sqe, uapi};
use ringer_sys::{Errno, call};

use crate::check::{unused, with_unlimited_patience};
use crate::operation::{Issue, Op, Outcome, Prepare, Traits};

/// `IORING_OP_FSYNC`. Source: `io_uring_prep_fsync.3`.
///
/// A range in `off` and `len` is accepted; the whole file is synchronised, which includes it.
#[derive(Debug)]
pub struct Fsync {
    data_only: bool,
}

impl Op for Fsync {
    const TRAITS: Traits = Traits::FILE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.addr(), sqe.buf_index().into(), sqe.file_index().into()])?;
        let flags = sqe.op_flags();
        if flags & !uapi::IORING_FSYNC_DATASYNC != 0 {
            return Err(Errno::INVAL);
        }
        if sqe.off() > i64::MAX as u64 {
            return Err(Errno::INVAL);
        }
        Ok(Self { data_only: flags & uapi::IORING_FSYNC_DATASYNC != 0 })
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        with_unlimited_patience(context, || {
            if self.data_only { call::fdatasync(context.fd) } else { call::fsync(context.fd) }
        })
        .tolerated_of(context.fd)
    }
}

/// `IORING_OP_SYNC_FILE_RANGE`. Source: `io_uring_prep_sync_file_range.3`, `sync_file_range.2`.
#[derive(Debug)]
pub struct SyncFileRange {
    offset: u64,
    bytes: u32,
    flags: u32,
}

impl Op for SyncFileRange {
    const TRAITS: Traits = Traits::FILE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.addr(), sqe.buf_index().into(), sqe.file_index().into()])?;
        Ok(Self { offset: sqe.off(), bytes: sqe.len(), flags: sqe.op_flags() })
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        with_unlimited_patience(context, || {
            call::sync_file_range(context.fd, self.offset, self.bytes.into(), self.flags)
        })
        .tolerated_of(context.fd)
    }
}
