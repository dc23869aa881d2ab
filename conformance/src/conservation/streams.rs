//! More that is asked of pipes, sockets and what tells of them.

use ringer_abi::poll::POLLIN;
use ringer_abi::{Opcode, Sqe, uapi};

use super::requests::{Draw, MSG_NOSIGNAL, MakeRequest};
use crate::differential::prep;

/// `SOCKET_URING_OP_SIOCINQ`.
const INPUT_QUEUE: u64 = 0;
/// `P_ALL`, `WEXITED` and `WNOWAIT` of `waitid.2`.
const ALL_CHILDREN: u32 = 0;
const ENDED: u32 = 0x4;
const LEAVE: u32 = 0x0100_0000;
/// `FUTEX2_SIZE_U32`.
const WORD: u32 = 2;
/// `EPOLL_CTL_ADD`, `EPOLL_CTL_DEL` and `EPOLL_CTL_MOD` of `epoll_ctl.2`.
const CHANGES: [u32; 3] = [1, 2, 3];

impl Draw<'_> {
    /// A `struct msghdr` of one vector.
    fn message(&self) -> u64 {
        let place = self.memory.add(128);
        place.write([0_u64, 0, self.vectors(), 1, 0, 0, 0]).expect("memory of this test");
        place.get()
    }

    /// Moves what is there, from a pipe. A splice from a socket to a pipe that another one has emptied before it would wait in the call, in Linux,
    /// too, and keep everybody from the pipe.
    fn splice(&mut self, opcode: Opcode) -> Sqe {
        let (from, to) = (self.files.pipe(self.rng), self.writable());
        let anywhere = u64::MAX;
        prep::op(opcode, to).with_off(anywhere).with_addr(anywhere).with_len(8).with_file_index(from as u32)
    }
}

/// Requests that end by themselves once their files are fed, or emptied.
pub(super) const SINGLE: &[MakeRequest] = &[
    |draw| draw.splice(Opcode::Splice),
    |draw| draw.splice(Opcode::Tee).with_off(0).with_addr(0),
    |draw| prep::op(Opcode::Sendmsg, draw.writable()).with_addr(draw.message()).with_op_flags(MSG_NOSIGNAL),
    |draw| prep::op(Opcode::Recvmsg, draw.readable()).with_addr(draw.message()),
    |draw| {
        let event = draw.memory.add(192);
        event.write([POLLIN, 0, 0]).expect("memory of this test");
        let change = *draw.rng.choice(&CHANGES).expect("there are some");
        let control = prep::op(Opcode::EpollCtl, draw.files.epoll()).with_len(change);
        control.with_off(draw.readable() as u64).with_addr(event.get())
    },
    |draw| prep::op(Opcode::UringCmd, draw.readable()).with_off(INPUT_QUEUE),
    |draw| {
        let update = prep::timeout_remove(draw.other()).with_op_flags(uapi::IORING_TIMEOUT_UPDATE);
        update.with_off(draw.time())
    },
    |draw| prep::poll_remove(draw.other()).with_len(uapi::IORING_POLL_UPDATE_EVENTS).with_op_flags(POLLIN),
];

/// Requests that only end when they are cancelled, or woken by another one.
pub(super) const ENDLESS: &[MakeRequest] = &[
    |draw| prep::op(Opcode::EpollWait, draw.files.epoll()).with_addr(draw.memory.add(192).get()).with_len(2),
    |_| prep::op(Opcode::Waitid, 0).with_len(ALL_CHILDREN).with_file_index(ENDED | LEAVE),
    |draw| {
        let place = draw.memory.add(192);
        let flags = u64::from(WORD);
        let words = [0, draw.word(), flags, 0, draw.word(), flags];
        place.write(words).expect("memory of this test");
        prep::op(Opcode::FutexWaitv, 0).with_addr(place.get()).with_len(2)
    },
];
