//! EPOLL_CTL and EPOLL_WAIT: the program's own epoll instances.

use std::os::fd::RawFd;

use ringer_abi::Sqe;
use ringer_abi::poll::POLLIN;
use ringer_sys::{Errno, UserAddress, call, descriptor};

use crate::check::unused;
use crate::operation::{Issue, Op, Outcome, Prepare, Traits, Until};

const EPOLL_CTL_DEL: u32 = 2;

/// `struct epoll_event`, which is packed on x86-64.
type Event = [u32; if cfg!(target_arch = "x86_64") { 3 } else { 4 }];

/// `IORING_OP_EPOLL_CTL`. Source: `io_uring_prep_epoll_ctl.3`, `epoll_ctl.2`.
#[derive(Debug)]
pub struct EpollCtl {
    epoll: RawFd,
    operation: u32,
    fd: RawFd,
    event: Event,
}

impl Op for EpollCtl {
    /// The descriptors are looked up by the call itself; `IOSQE_FIXED_FILE` changes nothing.
    const TRAITS: Traits = Traits::NONE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.buf_index().into(), sqe.file_index().into()])?;
        let operation = sqe.len();
        let event = if operation == EPOLL_CTL_DEL {
            Event::default()
        } else {
            UserAddress::new(sqe.addr()).read()?
        };
        // The kernel keeps the low half of `off` only.
        Ok(Self { epoll: sqe.fd(), operation, fd: sqe.off() as RawFd, event })
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        // The engine's own descriptors do not exist for the program.
        let engine = &descriptor::reserved().engine;
        if engine.contains(&self.epoll) || engine.contains(&self.fd) {
            return Outcome::failed(Errno::BADF);
        }
        if let Err(errno) =
            context.resources.note_in_epoll(self.epoll, self.operation, self.fd, self.event[0])
        {
            return Outcome::failed(errno);
        }
        let event = UserAddress::of(&raw const self.event);
        Outcome::from_result(call::epoll_ctl(self.epoll, self.operation, self.fd, event))
    }
}

/// `IORING_OP_EPOLL_WAIT`. Source: `io_uring_prep_epoll_wait.3`, `epoll_wait.2`.
#[derive(Debug)]
pub struct EpollWait {
    events: UserAddress,
    most: u32,
}

impl Op for EpollWait {
    const TRAITS: Traits = Traits::FILE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.off(), sqe.op_flags().into(), sqe.buf_index().into(), sqe.file_index().into()])?;
        Ok(Self { events: UserAddress::new(sqe.addr()), most: sqe.len() })
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        context.resources.look_at_rings_in_epoll(context.fd);
        match call::epoll_pwait(context.fd, self.events, self.most, 0, UserAddress::new(0), 0) {
            Ok(0) => Outcome::WaitFor { events: POLLIN, until: Until::ReadyAgain },
            result => Outcome::from_result(result),
        }
    }
}
