//! SYMLINKAT: a name that stands for a path.

use std::os::fd::RawFd;

use ringer_abi::Sqe;
use ringer_sys::{Errno, call};

use crate::check::{no_fixed_file, unused, with_brief_patience};
use crate::operation::{Issue, Op, Outcome, Prepare, Traits};
use crate::path::Path;

/// `IORING_OP_SYMLINKAT`. Source: `io_uring_prep_symlinkat.3`, `symlinkat.2`.
#[derive(Debug)]
pub struct Symlink {
    target: Path,
    directory: RawFd,
    path: Path,
}

impl Op for Symlink {
    const TRAITS: Traits = Traits::NONE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.len().into(), sqe.op_flags().into(), sqe.buf_index().into(), sqe.file_index().into()])?;
        no_fixed_file(sqe)?;
        Ok(Self { target: Path::new(sqe.addr())?, directory: sqe.fd(), path: Path::new(sqe.off())? })
    }

    fn capture(&mut self) -> Result<(), Errno> {
        self.target.capture()?;
        self.path.capture()
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        with_brief_patience(context, || {
            call::symlinkat(self.target.address(), self.directory, self.path.address())
        })
        .tolerated()
    }
}
