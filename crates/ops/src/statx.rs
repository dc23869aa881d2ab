//! STATX: what is known of a file.

use std::os::fd::RawFd;

use ringer_abi::Sqe;
use ringer_sys::{Errno, UserAddress, call};

use crate::check::{no_fixed_file, unused, with_brief_patience};
use crate::operation::{Issue, Op, Outcome, Prepare, Sharing, Traits};
use crate::path::Path;

/// `IORING_OP_STATX`. Source: `io_uring_prep_statx.3`, `statx.2`.
///
/// The kernel always punts it. Here it is served inline: it is usually over in a microsecond or two.
#[derive(Debug)]
pub struct Statx {
    directory: RawFd,
    path: Path,
    flags: u32,
    mask: u32,
    buffer: UserAddress,
}

impl Op for Statx {
    const TRAITS: Traits = Traits::NONE;
    /// Linux gives each to a worker.
    const SHARING: Option<fn(&Self) -> Sharing> = Some(|_| Sharing::Yes);

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.buf_index().into(), sqe.file_index().into()])?;
        no_fixed_file(sqe)?;
        Ok(Self {
            directory: sqe.fd(),
            path: Path::with_flags(sqe.addr(), sqe.op_flags())?,
            flags: sqe.op_flags(),
            mask: sqe.len(),
            buffer: UserAddress::new(sqe.off()),
        })
    }

    fn capture(&mut self) -> Result<(), Errno> {
        self.path.capture()
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        with_brief_patience(context, || {
            call::statx(self.directory, self.path.address(), self.flags, self.mask, self.buffer)
        })
        .tolerated()
    }
}
