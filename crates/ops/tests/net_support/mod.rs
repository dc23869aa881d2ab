//! What the tests of network operations share: sockets, and a stand-in for the engine's reactor.
#![allow(dead_code, reason = "each test program uses its part")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use ringer_abi::{Opcode, Sqe};
use ringer_ops::{
    Attempt, Buffer, Completion, Issue, MORE_TO_READ, Operation, Outcome, Patience, has_more_to_read,
};
use ringer_sys::{Errno, call};

use crate::file_support::{LIMIT, OneBuffer, Registered, address, prepare, result_of, serve, sqe};

pub const MSG_PEEK: u32 = 0x2;
pub const MSG_CTRUNC: u32 = 0x8;
pub const MSG_TRUNC: u32 = 0x20;
pub const MSG_DONTWAIT: u32 = 0x40;
pub const MSG_WAITALL: u32 = 0x100;
pub const O_NONBLOCK: u32 = 0o4000;
pub const SOCK_CLOEXEC: u32 = 0o2_000_000;
pub const NONEMPTY: u32 = 1 << 2;

/// `struct msghdr` as a program writes it: name, its length, segments, their number, control data, their
/// length, flags.
pub type Header = [u64; 7];

/// A pair of connected Unix streams.
pub fn unix_pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().expect("a socket pair")
}

/// A pair of connected TCP sockets on the loopback interface: the connecting and the accepted end.
pub fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let here = listener.local_addr().expect("it is bound");
    let connecting = TcpStream::connect(here).expect("it listens");
    let (accepted, _) = listener.accept().expect("a connection waits");
    (connecting, accepted)
}

pub fn write(mut socket: impl Write, bytes: &[u8]) {
    socket.write_all(bytes).expect("room in an empty socket");
}

pub fn read(mut socket: impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    socket.read_exact(&mut bytes).expect("as many as were sent");
    bytes
}

/// One attempt; also whether it used up the buffer.
pub fn attempt_buffered(operation: &mut Operation, fd: RawFd, buffer: Option<Buffer>) -> (Outcome, bool) {
    let resources = Registered::default();
    let mut group = OneBuffer::new(buffer);
    let mut context = Issue::new(fd, Patience::None, &resources);
    if buffer.is_some() {
        context.provided = Some(&mut group);
    }
    let outcome = operation.issue(&mut context);
    (outcome, group.is_used)
}

/// Waits until the file reports one of these events, or an error or hang-up.
pub fn wait_until_ready(fd: RawFd, events: u32) {
    let start = Instant::now();
    while call::poll_now(fd, events as u16).expect("an open file") == 0 {
        assert!(start.elapsed() < LIMIT, "not ready in time");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Serves a request to its end, as the engine does: what is not ready is waited for, what is punted
/// gets unlimited patience.
pub fn finish(sqe: &Sqe) -> Completion {
    let mut operation = prepare(sqe).expect("a good request");
    finish_operation(&mut operation, sqe.fd(), &Registered::default())
}

pub fn finish_operation(operation: &mut Operation, fd: RawFd, resources: &Registered) -> Completion {
    let mut patience = Patience::None;
    loop {
        let mut context = Issue::new(fd, patience, resources);
        match operation.issue(&mut context) {
            Outcome::Done(completion) if context.asks_for_more => {
                let ready = call::poll_now(fd, MORE_TO_READ).expect("an open descriptor");
                return completion.with_flags(if has_more_to_read(fd, ready) { NONEMPTY } else { 0 });
            }
            Outcome::Done(completion) => return completion,
            Outcome::WaitFor { events, .. } => wait_until_ready(fd, events),
            Outcome::Punt | Outcome::Lend => patience = Patience::Unlimited,
            other => panic!("unexpected: {other:?}"),
        }
    }
}

/// Asserts that the operation waits for these events.
#[track_caller]
pub fn assert_waits(outcome: &Outcome, expected: u32) {
    match outcome {
        Outcome::WaitFor { events, .. } => assert_eq!(*events, expected),
        other => panic!("does not wait: {other:?}"),
    }
}

/// The completion of a request that has more than one.
#[track_caller]
pub fn more(outcome: Outcome) -> Completion {
    match outcome {
        Outcome::More(completion) | Outcome::Drained(completion) | Outcome::Notifies(completion) => {
            completion
        }
        other => panic!("not one of several: {other:?}"),
    }
}

/// A SEND or RECV on a socket.
pub fn transfer(opcode: Opcode, fd: RawFd, memory: &mut [u8], flags: u32) -> Sqe {
    sqe(opcode).with_fd(fd).with_addr(address(memory)).with_len(memory.len() as u32).with_op_flags(flags)
}

/// The result of a request that is refused at preparation, or served at once.
pub fn result(sqe: &Sqe) -> i32 {
    result_of(serve(sqe))
}

/// The errno of preparation.
pub fn refusal(sqe: &Sqe) -> Option<Errno> {
    prepare(sqe).err()
}
