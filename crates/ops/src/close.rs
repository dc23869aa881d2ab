//! CLOSE: of a descriptor or of a slot of the registered files.

use std::os::fd::RawFd;

use ringer_abi::Sqe;
use ringer_sys::{Errno, call, descriptor};

use crate::check::{no_fixed_file, unused, with_brief_patience};
use crate::operation::{Issue, Op, Outcome, Prepare, Sharing, Traits};

/// `IORING_OP_CLOSE`. Source: `io_uring_prep_close.3`.
#[derive(Debug)]
pub struct Close {
    /// The descriptor, unless a slot is named.
    pub fd: RawFd,
    /// The slot of the registered files to clear, plus one; 0 for none. It is cleared by the engine:
    /// `ENXIO` without registered files, `EINVAL` beyond them, `EBADF` when the slot is empty.
    pub file_index: u32,
}

impl Op for Close {
    const TRAITS: Traits = Traits::NONE;
    /// Of two that name the same descriptor the first one closes it.
    const SHARING: Option<fn(&Self) -> Sharing> = Some(|close| match close.file_index {
        0 => Sharing::OfOtherFiles(close.fd),
        _ => Sharing::No,
    });

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.off(), sqe.addr(), sqe.len().into(), sqe.op_flags().into(), sqe.buf_index().into()])?;
        no_fixed_file(sqe)?;
        let close = Self { fd: sqe.fd(), file_index: sqe.file_index() };
        if close.file_index != 0 && close.fd != 0 {
            return Err(Errno::INVAL);
        }
        Ok(close)
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        if self.file_index != 0 {
            return Outcome::Engine;
        }
        // A ring cannot be closed through a ring, and the engine's own descriptors do not exist for the program.
        let reserved = descriptor::reserved();
        let is_ring = reserved.rings.contains(&self.fd) && context.resources.is_ring(self.fd);
        if is_ring || reserved.engine.contains(&self.fd) {
            return Outcome::failed(Errno::BADF);
        }
        with_brief_patience(context, || call::close(self.fd))
    }
}
