//! WAITID: the end of a child, or another change of its state.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use ringer_abi::Sqe;
use ringer_abi::poll::POLLIN;
use ringer_sys::{Errno, UserAddress, call, descriptor};

use crate::check::unused;
use crate::operation::{Issue, Op, Outcome, Prepare, Traits, Until};

const P_PID: u32 = 1;
const P_PIDFD: u32 = 3;
const WNOHANG: u32 = 1;
const WSTOPPED: u32 = 2;
const WCONTINUED: u32 = 8;
/// `__WNOTHREAD`: only children of the calling thread.
const WNOTHREAD: u32 = 0x2000_0000;

/// `siginfo_t`: 128 bytes.
type Info = [u32; 32];
/// Where `si_pid` is in it; 0 when no child was found.
const PID_AT: usize = 4;

/// `IORING_OP_WAITID`. Source: `io_uring_prep_waitid.3`, `waitid.2`.
///
/// The end of one child is waited for by its pidfd. A worker waits for one of several, and for a stop.
#[derive(Debug)]
pub struct Waitid {
    kind: u32,
    id: i32,
    info: UserAddress,
    options: u32,
    /// What tells of the child's end; also the program's pidfd of a request that outlives `enter`.
    pidfd: Option<OwnedFd>,
    waits: bool,
}

impl Op for Waitid {
    const TRAITS: Traits = Traits::NONE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.addr(), sqe.op_flags().into(), sqe.buf_index().into(), sqe.addr3()])?;
        Ok(Self {
            kind: sqe.len(),
            id: sqe.fd(),
            info: UserAddress::new(sqe.off()),
            options: sqe.file_index(),
            pidfd: None,
            waits: false,
        })
    }

    fn waits_for(&self) -> Option<RawFd> {
        self.pidfd.as_ref().filter(|_| self.waits).map(AsRawFd::as_raw_fd)
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        self.attempt(context.may_block()).unwrap_or_else(Outcome::failed)
    }
}

impl Waitid {
    fn attempt(&mut self, may_block: bool) -> Result<Outcome, Errno> {
        let id = match &self.pidfd {
            Some(pidfd) if self.kind == P_PIDFD => pidfd.as_raw_fd(),
            _ => self.id,
        };
        let mut info: Info = [0; 32];
        let asks_not_to_wait = self.options & WNOHANG != 0;
        let extra_options = if may_block { 0 } else { WNOHANG };
        let place = UserAddress::of(&raw mut info);
        let found = call::waitid(self.kind, id, place, self.options | extra_options, UserAddress::new(0));
        match found {
            Ok(_) => {}
            // Linux writes all the same, and a bad address counts more.
            Err(Errno::CHILD) => return self.tell(&[0; 32]).and(Err(Errno::CHILD)),
            // No signal comes to a worker but one that cancels.
            Err(Errno::INTR) => return Err(Errno::CANCELED),
            Err(errno) => return Err(errno),
        }
        if info[PID_AT] != 0 || may_block || asks_not_to_wait {
            return self.tell(&info).map(|()| Outcome::done(0));
        }
        self.wait()
    }

    /// The child lives on.
    fn wait(&mut self) -> Result<Outcome, Errno> {
        // A pidfd that was ready although nothing can be collected yet would be ready again at once.
        let waited_already = std::mem::replace(&mut self.waits, false);
        if self.kind == P_PIDFD && self.pidfd.is_none() {
            self.pidfd = Some(descriptor::duplicate_for_engine(self.id)?);
        }
        if matches!(self.kind, P_PID | P_PIDFD) {
            // It is one of the submitter's, or it would not have been found. Which thread looks again does not matter.
            self.options &= !WNOTHREAD;
        }
        let only_its_end = self.options & (WSTOPPED | WCONTINUED) == 0;
        if waited_already || !only_its_end || !matches!(self.kind, P_PID | P_PIDFD) {
            return Ok(Outcome::Punt);
        }
        if self.pidfd.is_none() {
            // Without pidfds, as before Linux 5.3, or without room for one, a worker waits.
            self.pidfd = open_pidfd(self.id);
        }
        self.waits = self.pidfd.is_some();
        Ok(if self.waits { Outcome::WaitFor { events: POLLIN, until: Until::Ready } } else { Outcome::Punt })
    }

    /// Writes what `waitid.2` writes: signal, errno and code, then, behind a gap, process, user and status.
    fn tell(&self, info: &Info) -> Result<(), Errno> {
        if self.info.is_null() {
            return Ok(());
        }
        self.info.write([info[0], info[1], info[2]])?;
        self.info.add(4 * PID_AT as u64).write([info[4], info[5], info[6]])
    }
}

fn open_pidfd(id: i32) -> Option<OwnedFd> {
    let process = rustix::process::Pid::from_raw(id)?;
    let flags = rustix::process::PidfdFlags::empty();
    descriptor::of_engine(|| rustix::process::pidfd_open(process, flags)).ok()
}
