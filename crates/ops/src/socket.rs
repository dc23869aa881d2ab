//! SOCKET: a new socket, as a descriptor or a registered file.

use std::os::fd::IntoRawFd;

use ringer_abi::Sqe;
use ringer_sys::{Errno, call};

use crate::check::unused;
use crate::net::{SOCK_CLOEXEC, SOCK_NONBLOCK};
use crate::operation::{Completion, FileSlot, Issue, Op, Outcome, Prepare, Traits};

/// The bits of the type argument that are the type itself, without flags.
const SOCK_TYPE_MASK: u32 = 0xf;

/// `IORING_OP_SOCKET`. Source: `io_uring_prep_socket.3`.
#[derive(Debug)]
pub struct Socket {
    domain: i32,
    kind: u32,
    protocol: u32,
    slot: Option<FileSlot>,
}

impl Op for Socket {
    const TRAITS: Traits = Traits::NONE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.addr(), u64::from(sqe.op_flags()), u64::from(sqe.buf_index())])?;
        // The type is an `int` of the call; the upper half of the field is not looked at.
        let kind = sqe.off() as u32;
        let slot = FileSlot::from_file_index(sqe.file_index());
        let flags = kind & !SOCK_TYPE_MASK;
        if flags & !(SOCK_CLOEXEC | SOCK_NONBLOCK) != 0 || (slot.is_some() && flags & SOCK_CLOEXEC != 0) {
            return Err(Errno::INVAL);
        }
        Ok(Self { domain: sqe.fd(), kind, protocol: sqe.len(), slot })
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        // A file that is to be registered passes through a descriptor that no child may inherit.
        let for_slot = if self.slot.is_some() { SOCK_CLOEXEC } else { 0 };
        let made =
            FileSlot::make(self.slot, || call::socket(self.domain, self.kind | for_slot, self.protocol));
        let file = match made {
            Ok(file) => file,
            Err(errno) => return Outcome::failed(errno),
        };
        let installed = match self.slot {
            None => Ok(file.into_raw_fd()),
            Some(slot) => context.resources.install_file(file, slot),
        };
        // In Linux, a socket for which there is no slot is no failure of the request: its chain goes on.
        let refused = |errno| Completion { fails_link: false, ..Completion::error(errno) };
        Outcome::Done(installed.map_or_else(refused, Completion::new))
    }
}
