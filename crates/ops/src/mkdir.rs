//! MKDIRAT: a new directory.

use std::os::fd::RawFd;

use ringer_abi::Sqe;
use ringer_sys::{Errno, call};

use crate::check::{no_fixed_file, unused, with_brief_patience};
use crate::operation::{Issue, Op, Outcome, Prepare, Traits};
use crate::path::Path;

/// `IORING_OP_MKDIRAT`. Source: `io_uring_prep_mkdirat.3`, `mkdirat.2`.
#[derive(Debug)]
pub struct Mkdir {
    directory: RawFd,
    path: Path,
    mode: u32,
}

impl Op for Mkdir {
    const TRAITS: Traits = Traits::NONE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.off(), sqe.op_flags().into(), sqe.buf_index().into(), sqe.file_index().into()])?;
        no_fixed_file(sqe)?;
        Ok(Self { directory: sqe.fd(), path: Path::new(sqe.addr())?, mode: sqe.len() })
    }

    fn capture(&mut self) -> Result<(), Errno> {
        self.path.capture()
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        with_brief_patience(context, || call::mkdirat(self.directory, self.path.address(), self.mode))
            .tolerated()
    }
}
