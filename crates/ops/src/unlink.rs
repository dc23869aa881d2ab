//! UNLINKAT: a name goes, and perhaps its file.

use std::os::fd::RawFd;

use ringer_abi::Sqe;
use ringer_sys::{Errno, call};

use crate::check::{no_fixed_file, unused, with_brief_patience};
use crate::operation::{Issue, Op, Outcome, Prepare, Traits};
use crate::path::Path;

const AT_REMOVEDIR: u32 = 0x200;

/// `IORING_OP_UNLINKAT`. Source: `io_uring_prep_unlinkat.3`, `unlinkat.2`.
#[derive(Debug)]
pub struct Unlink {
    directory: RawFd,
    path: Path,
    flags: u32,
}

impl Op for Unlink {
    const TRAITS: Traits = Traits::NONE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.off(), sqe.len().into(), sqe.buf_index().into(), sqe.file_index().into()])?;
        no_fixed_file(sqe)?;
        let flags = sqe.op_flags();
        if flags & !AT_REMOVEDIR != 0 {
            return Err(Errno::INVAL);
        }
        Ok(Self { directory: sqe.fd(), path: Path::new(sqe.addr())?, flags })
    }

    fn capture(&mut self) -> Result<(), Errno> {
        self.path.capture()
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        with_brief_patience(context, || call::unlinkat(self.directory, self.path.address(), self.flags))
            .tolerated()
    }
}
