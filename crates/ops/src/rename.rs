//! RENAMEAT: a file's new name.

use std::os::fd::RawFd;

use ringer_abi::Sqe;
use ringer_sys::{Errno, call};

use crate::check::{no_fixed_file, unused, with_brief_patience};
use crate::operation::{Issue, Op, Outcome, Prepare, Traits};
use crate::path::Path;

/// `IORING_OP_RENAMEAT`. Source: `io_uring_prep_renameat.3`, `renameat2.2`.
#[derive(Debug)]
pub struct Rename {
    from_directory: RawFd,
    from: Path,
    to_directory: RawFd,
    to: Path,
    flags: u32,
}

impl Op for Rename {
    const TRAITS: Traits = Traits::NONE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.buf_index().into(), sqe.file_index().into()])?;
        no_fixed_file(sqe)?;
        Ok(Self {
            from_directory: sqe.fd(),
            from: Path::new(sqe.addr())?,
            to_directory: sqe.len() as RawFd,
            to: Path::new(sqe.off())?,
            flags: sqe.op_flags(),
        })
    }

    fn capture(&mut self) -> Result<(), Errno> {
        self.from.capture()?;
        self.to.capture()
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        with_brief_patience(context, || {
            call::renameat2(
                self.from_directory,
                self.from.address(),
                self.to_directory,
                self.to.address(),
                self.flags,
            )
        })
        .tolerated()
    }
}
