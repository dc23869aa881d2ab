//! Good SQEs by operation, with the fields where `io_uring_enter.2` says.

use std::os::fd::RawFd;

use ringer_abi::{Opcode, Sqe};

/// An SQE with an opcode and a descriptor.
pub fn op(opcode: Opcode, fd: RawFd) -> Sqe {
    Sqe::default().with_opcode(opcode.number()).with_fd(fd)
}

/// NOP.
pub fn nop() -> Sqe {
    op(Opcode::Nop, -1)
}

/// READ.
pub fn read(fd: RawFd, addr: u64, len: u32, off: u64) -> Sqe {
    op(Opcode::Read, fd).with_addr(addr).with_len(len).with_off(off)
}

/// WRITE.
pub fn write(fd: RawFd, addr: u64, len: u32, off: u64) -> Sqe {
    op(Opcode::Write, fd).with_addr(addr).with_len(len).with_off(off)
}

/// READV.
pub fn readv(fd: RawFd, vectors: u64, count: u32, off: u64) -> Sqe {
    op(Opcode::Readv, fd).with_addr(vectors).with_len(count).with_off(off)
}

/// WRITEV.
pub fn writev(fd: RawFd, vectors: u64, count: u32, off: u64) -> Sqe {
    op(Opcode::Writev, fd).with_addr(vectors).with_len(count).with_off(off)
}

/// POLL_ADD, one-shot.
pub fn poll(fd: RawFd, events: u32) -> Sqe {
    op(Opcode::PollAdd, fd).with_op_flags(events)
}

/// POLL_REMOVE.
pub fn poll_remove(target: u64) -> Sqe {
    op(Opcode::PollRemove, -1).with_addr(target)
}

/// TIMEOUT.
pub fn timeout(timespec: u64, count: u64, flags: u32) -> Sqe {
    op(Opcode::Timeout, -1).with_addr(timespec).with_len(1).with_off(count).with_op_flags(flags)
}

/// TIMEOUT_REMOVE.
pub fn timeout_remove(target: u64) -> Sqe {
    op(Opcode::TimeoutRemove, -1).with_addr(target)
}

/// LINK_TIMEOUT.
pub fn link_timeout(timespec: u64, flags: u32) -> Sqe {
    op(Opcode::LinkTimeout, -1).with_addr(timespec).with_len(1).with_op_flags(flags)
}

/// ASYNC_CANCEL.
pub fn cancel(target: u64, flags: u32) -> Sqe {
    op(Opcode::AsyncCancel, -1).with_addr(target).with_op_flags(flags)
}

/// SEND.
pub fn send(fd: RawFd, addr: u64, len: u32, flags: u32) -> Sqe {
    op(Opcode::Send, fd).with_addr(addr).with_len(len).with_op_flags(flags)
}

/// RECV.
pub fn recv(fd: RawFd, addr: u64, len: u32, flags: u32) -> Sqe {
    op(Opcode::Recv, fd).with_addr(addr).with_len(len).with_op_flags(flags)
}

/// ACCEPT without an address.
pub fn accept(fd: RawFd, flags: u32) -> Sqe {
    op(Opcode::Accept, fd).with_op_flags(flags)
}
