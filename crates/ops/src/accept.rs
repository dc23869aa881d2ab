//! ACCEPT: connections of a listening socket, as descriptors or registered files.

use std::os::fd::{IntoRawFd, RawFd};

use ringer_abi::poll::POLLIN;
use ringer_abi::{CqeFlags, Sqe, uapi};
use ringer_sys::{Errno, UserAddress, call};

use crate::message_transfer::wait_for;
use crate::net::{SOCK_CLOEXEC, SOCK_NONBLOCK, is_ip, is_listening};
use crate::operation::{Completion, FileSlot, Issue, Op, Outcome, Prepare, Traits, Until};
use crate::pollable::is_nonblocking;

/// `IORING_OP_ACCEPT`. Source: `io_uring_prep_accept.3`, `io_uring_prep_multishot_accept.3`.
///
/// `accept4.2` has no way to refuse instead of waiting but `O_NONBLOCK`, which belongs to everybody
/// who shares the socket and is not ours to change. So:
///
/// * a listener that is non-blocking is asked directly;
/// * a blocking one is polled first, and when it is ready the connection is taken by a worker:
///   between the poll and the call somebody else may take it (threads or processes that share a
///   listener are common), and then the call waits. A worker may be caught by that, the submitter
///   may not.
#[derive(Debug)]
pub struct Accept {
    address: UserAddress,
    address_size: UserAddress,
    flags: u32,
    slot: Option<FileSlot>,
    multishot: bool,
    /// `IORING_ACCEPT_DONTWAIT`.
    impatient: bool,
    before: Before,
    /// Whether it is an IP socket, once asked: those tell whether more connections wait.
    ip: Option<bool>,
}

/// What comes before the next attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Before {
    /// Nothing.
    Nothing,
    /// A wait: `IORING_ACCEPT_POLL_FIRST`, or no connection is left.
    Wait,
    /// The wait that was asked for.
    Waiting,
}

impl Op for Accept {
    const TRAITS: Traits = Traits { ioprio: true, ..Traits::FILE };

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        let how = u32::from(sqe.ioprio());
        let known =
            uapi::IORING_ACCEPT_MULTISHOT | uapi::IORING_ACCEPT_DONTWAIT | uapi::IORING_ACCEPT_POLL_FIRST;
        if sqe.len() != 0 || sqe.buf_index() != 0 || how & !known != 0 {
            return Err(Errno::INVAL);
        }
        let flags = sqe.op_flags();
        let slot = FileSlot::from_file_index(sqe.file_index());
        let multishot = how & uapi::IORING_ACCEPT_MULTISHOT != 0;
        if flags & !(SOCK_CLOEXEC | SOCK_NONBLOCK) != 0
            || (slot.is_some() && flags & SOCK_CLOEXEC != 0)
            || (multishot && matches!(slot, Some(FileSlot::Index(_))))
        {
            return Err(Errno::INVAL);
        }
        Ok(Self {
            address: UserAddress::new(sqe.addr()),
            address_size: UserAddress::new(sqe.off()),
            flags,
            slot,
            multishot,
            impatient: how & uapi::IORING_ACCEPT_DONTWAIT != 0,
            before: if how & uapi::IORING_ACCEPT_POLL_FIRST != 0 { Before::Wait } else { Before::Nothing },
            ip: None,
        })
    }

    fn waits_to_start(&self) -> Option<u32> {
        self.multishot.then_some(POLLIN)
    }

    fn wait_to_start(&mut self) {
        // On a worker one that waits has no say in whether it does.
        (self.impatient, self.before) = (false, Before::Nothing);
    }

    fn has_several_results(&self) -> bool {
        self.multishot
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        match std::mem::replace(&mut self.before, Before::Nothing) {
            Before::Wait => {
                self.before = Before::Waiting;
                return self.not_ready(Until::Ready);
            }
            // It came to a worker instead, as its file cannot be waited for.
            Before::Waiting if context.may_block() => return Outcome::failed(Errno::AGAIN),
            Before::Waiting | Before::Nothing => {}
        }
        match self.may_call(context) {
            Ok(true) => self.accept(context),
            Ok(false) => self.not_ready(Until::ReadyAgain),
            Err(outcome) => outcome,
        }
    }
}

impl Accept {
    /// Whether `accept4` can be called without a wait that this attempt is not allowed.
    fn may_call(&self, context: &mut Issue<'_>) -> Result<bool, Outcome> {
        if is_nonblocking(context.fd).map_err(Outcome::failed)? {
            return Ok(true);
        }
        match call::poll_now(context.fd, POLLIN as u16).map_err(Outcome::failed)? {
            1.. if context.may_block() => Ok(true),
            // What does not listen refuses at once.
            events => match is_listening(context.fd) {
                Ok(true) if events == 0 => Ok(false),
                Ok(true) => Err(Outcome::Lend),
                Ok(false) => Ok(true),
                Err(errno) => Err(Outcome::failed(errno)),
            },
        }
    }

    fn not_ready(&self, until: Until) -> Outcome {
        if self.impatient { Outcome::failed(Errno::AGAIN) } else { wait_for(POLLIN, until) }
    }

    fn accept(&mut self, context: &Issue<'_>) -> Outcome {
        // A file that is to be registered passes through a descriptor that no child may inherit.
        let for_slot = if self.slot.is_some() { SOCK_CLOEXEC } else { 0 };
        // A connection was there just now, so that not even a worker waits.
        let accepted = FileSlot::make(self.slot, || {
            call::accept4(context.fd, self.address, self.address_size, self.flags | for_slot)
        });
        let file = match accepted {
            Ok(file) => file,
            Err(Errno::AGAIN) => return self.not_ready(Until::ReadyAgain),
            Err(errno) => return Outcome::failed(errno),
        };
        let installed = match self.slot {
            None => Ok(file.into_raw_fd()),
            Some(slot) => context.resources.install_file(file, slot),
        };
        let more_wait = self.more_wait(context.fd);
        let flags = if more_wait == Some(true) { CqeFlags::SOCK_NONEMPTY.bits() } else { 0 };
        match installed {
            Ok(result) if self.multishot => {
                if more_wait == Some(false) && !self.impatient {
                    self.before = Before::Wait;
                }
                Outcome::More(Completion::new(result).with_flags(flags))
            }
            Ok(result) => Outcome::Done(Completion::new(result).with_flags(flags)),
            Err(errno) => Outcome::Done(Completion::error(errno).with_flags(flags)),
        }
    }

    /// Whether more connections wait, where Linux tells: on IP sockets.
    fn more_wait(&mut self, fd: RawFd) -> Option<bool> {
        let ip = *self.ip.get_or_insert_with(|| is_ip(fd));
        ip.then(|| call::poll_now(fd, POLLIN as u16).is_ok_and(|events| events != 0))
    }
}
