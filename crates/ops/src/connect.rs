//! CONNECT: a socket's connection to an address.

use std::os::fd::RawFd;

use ringer_abi::Sqe;
use ringer_abi::poll::{POLLERR, POLLHUP, POLLOUT};
use ringer_sys::{Errno, UserAddress, call};

use crate::check::unused;
use crate::message_transfer::wait_for;
use crate::net::{Address, read_address, set_nonblocking, take_error};
use crate::operation::{Issue, Op, Outcome, Prepare, Traits, Until};
use crate::pollable::is_nonblocking;

/// `IORING_OP_CONNECT`. Source: `io_uring_prep_connect.3`.
///
/// `connect.2` waits on a blocking socket, so `O_NONBLOCK` is set for the length of the call (by
/// `FIONBIO`, which changes that one flag and nothing else) and the end of the handshake is waited
/// for by poll. A socket that is not connected yet has hardly another user who could notice; should
/// there be one, a call of his on this very socket may fail with `EAGAIN` in that microsecond. It
/// costs two short calls where a worker would cost a hand-off, and a connection on the same host is
/// complete when the call returns.
///
/// A Unix listener whose queue is full cannot be polled for room: there a worker waits in the call.
#[derive(Debug)]
pub struct Connect {
    address: Address,
    /// The handshake has begun.
    in_progress: bool,
    /// `ECONNABORTED` may be left over from an earlier connection, once.
    was_aborted: bool,
}

impl Op for Connect {
    const TRAITS: Traits = Traits::FILE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([
            u64::from(sqe.len()),
            u64::from(sqe.buf_index()),
            u64::from(sqe.op_flags()),
            u64::from(sqe.file_index()),
        ])?;
        // The length is an `int` of the call; the upper half of the field is not looked at.
        let address = read_address(sqe.addr(), sqe.off() as u32)?;
        Ok(Self { address, in_progress: false, was_aborted: false })
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        let fd = context.fd;
        if self.in_progress {
            if let Some(outcome) = self.settle(fd) {
                return outcome;
            }
        }
        let is_nonblocking = match is_nonblocking(fd) {
            Ok(is_nonblocking) => is_nonblocking,
            Err(errno) => return Outcome::failed(errno),
        };
        let mut result = self.connect_without_waiting(fd, is_nonblocking);
        if result == Err(Errno::CONNABORTED) && !std::mem::replace(&mut self.was_aborted, true) {
            result = self.connect_without_waiting(fd, is_nonblocking);
        }
        match result {
            Err(Errno::INPROGRESS) => {
                self.in_progress = true;
                // To a socket of this host the handshake is over already.
                self.settle(fd).unwrap_or_else(|| wait_for(POLLOUT, Until::Ready))
            }
            Err(Errno::ALREADY) if self.in_progress => wait_for(POLLOUT, Until::Ready),
            Err(Errno::ISCONN | Errno::BADFD) if self.in_progress => Self::end(fd),
            Err(Errno::AGAIN) if !is_nonblocking && !context.may_block() => Outcome::Punt,
            Err(Errno::AGAIN) if !is_nonblocking => Outcome::from_result(self.call(fd)),
            other => Outcome::from_result(other),
        }
    }
}

impl Connect {
    fn call(&self, fd: RawFd) -> Result<usize, Errno> {
        call::connect(fd, UserAddress::of(self.address.as_ptr()), self.address.len())
    }

    /// What became of the handshake; `None`: closed without an error to tell of it, to be tried again.
    fn settle(&self, fd: RawFd) -> Option<Outcome> {
        match call::poll_now(fd, POLLOUT as u16).map(u32::from) {
            Ok(0) => Some(wait_for(POLLOUT, Until::Ready)),
            Ok(events) if events & POLLERR != 0 => Some(Self::end(fd)),
            // The socket counts as connected, for later calls, once a call was told so.
            Ok(events) if events & POLLHUP == 0 => Some(match self.call(fd) {
                Ok(_) | Err(Errno::ISCONN) => Outcome::done(0),
                Err(Errno::INPROGRESS | Errno::ALREADY) => wait_for(POLLOUT, Until::Ready),
                Err(errno) => Outcome::failed(errno),
            }),
            Ok(_) => None,
            Err(errno) => Some(Outcome::failed(errno)),
        }
    }

    fn connect_without_waiting(&self, fd: RawFd, is_nonblocking: bool) -> Result<usize, Errno> {
        if is_nonblocking {
            return self.call(fd);
        }
        set_nonblocking(fd, true)?;
        let result = self.call(fd);
        // The flag was set by the same call just now, so that it can be cleared.
        let _ = set_nonblocking(fd, false);
        result
    }

    /// The end of a handshake: what the socket has to say of it.
    fn end(fd: RawFd) -> Outcome {
        Outcome::from_result(take_error(fd).map(|()| 0))
    }
}
