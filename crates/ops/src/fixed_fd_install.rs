//! FIXED_FD_INSTALL: a registered file becomes an ordinary descriptor.

use ringer_abi::{Sqe, SqeFlags, uapi};
use ringer_sys::{Errno, call};

use crate::check::unused;
use crate::operation::{Issue, Op, Outcome, Prepare, Traits};

const F_DUPFD: u32 = 0;
const F_DUPFD_CLOEXEC: u32 = 1030;

/// `IORING_OP_FIXED_FD_INSTALL`. Source: `io_uring_prep_fixed_fd_install.3`.
#[derive(Debug)]
pub struct FixedFdInstall {
    command: u32,
}

impl Op for FixedFdInstall {
    const TRAITS: Traits = Traits::FILE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([
            sqe.off(),
            sqe.addr(),
            sqe.len().into(),
            sqe.buf_index().into(),
            sqe.file_index().into(),
            sqe.addr3(),
        ])?;
        if !sqe.flags().contains(SqeFlags::FIXED_FILE) {
            return Err(Errno::BADF);
        }
        // The descriptor would be that of the ring's owner whoever the personality is.
        if sqe.personality() != 0 {
            return Err(Errno::PERM);
        }
        let flags = sqe.op_flags();
        if flags & !uapi::IORING_FIXED_FD_NO_CLOEXEC != 0 {
            return Err(Errno::INVAL);
        }
        let keeps_over_exec = flags & uapi::IORING_FIXED_FD_NO_CLOEXEC != 0;
        Ok(Self { command: if keeps_over_exec { F_DUPFD } else { F_DUPFD_CLOEXEC } })
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        Outcome::from_result(call::fcntl(context.fd, self.command, 0))
    }
}
