//! LINKAT: another name of a file.

use std::os::fd::RawFd;

use ringer_abi::Sqe;
use ringer_sys::{Errno, call};

use crate::check::{no_fixed_file, unused, with_brief_patience};
use crate::operation::{Issue, Op, Outcome, Prepare, Traits};
use crate::path::{AT_EMPTY_PATH, Path};

/// `IORING_OP_LINKAT`. Source: `io_uring_prep_linkat.3`, `linkat.2`.
#[derive(Debug)]
pub struct Link {
    from_directory: RawFd,
    from: Path,
    to_directory: RawFd,
    to: Path,
    flags: u32,
}

impl Op for Link {
    const TRAITS: Traits = Traits::NONE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.buf_index().into(), sqe.file_index().into()])?;
        no_fixed_file(sqe)?;
        let flags = sqe.op_flags();
        Ok(Self {
            from_directory: sqe.fd(),
            from: Path::with_flags(sqe.addr(), flags & AT_EMPTY_PATH)?,
            to_directory: sqe.len() as RawFd,
            to: Path::new(sqe.off())?,
            flags,
        })
    }

    fn capture(&mut self) -> Result<(), Errno> {
        self.from.capture()?;
        self.to.capture()
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        with_brief_patience(context, || {
            call::linkat(
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
