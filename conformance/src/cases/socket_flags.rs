//! The flags of sends and receives (`MSG_`) on every kind of socket.

use std::net::Ipv6Addr;
use std::os::fd::{OwnedFd, RawFd};

use ringer_abi::{Cqe, Opcode, Sqe, SqeFlags};
use rustix::net::SocketType;

use crate::differential::memory::Memory;
use crate::differential::{Case, Session, prep};

const BITS: usize = 32;
/// Room for each request.
const ROOM: usize = 64;
/// `MSG_OOB`: what comes of urgent data is told by cases of its own.
const URGENT: usize = 0;
/// `MSG_MORE`.
const HELD_BACK: usize = 15;
/// `MSG_ERRQUEUE`.
const ERRORS: u32 = 0x2000;
const SEND_ZC: u8 = Opcode::SendZc.number();
const SENDMSG_ZC: u8 = Opcode::SendmsgZc.number();

/// A socket, and the other end of it, if it has one.
type MakeSocket = fn(&Session) -> (RawFd, Option<RawFd>);

fn with_other((socket, other): (RawFd, RawFd)) -> (RawFd, Option<RawFd>) {
    (socket, Some(other))
}

const SOCKETS: &[(&str, MakeSocket)] = &[
    ("Unix stream", |session| with_other(session.pair())),
    ("Unix datagrams", |session| with_other(session.pair_of(SocketType::DGRAM))),
    ("Unix packets", |session| with_other(session.pair_of(SocketType::SEQPACKET))),
    ("TCP", |session| with_other(session.tcp_pair())),
    ("UDP", |session| with_other(session.udp_pair())),
    ("TCP over IPv6", |session| {
        let listener = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("loopback");
        let address = listener.local_addr().expect("it is bound");
        let client = std::net::TcpStream::connect(address).expect("it listens");
        client.set_nodelay(true).expect("a TCP socket");
        let (server, _) = listener.accept().expect("a connection");
        server.set_nodelay(true).expect("a TCP socket");
        (session.keep(OwnedFd::from(client)), Some(session.keep(OwnedFd::from(server))))
    }),
    ("TCP, unconnected", |session| (session.tcp_socket(), None)),
    ("TCP, listening", |session| (session.listener().0, None)),
    ("UDP, unconnected", |session| (session.udp().0, None)),
];

type MakeRequest = fn(&Session, Opcode, RawFd, &Memory, usize) -> Sqe;

fn place(memory: &Memory, bit: usize) -> u64 {
    memory.addr() + (bit * ROOM) as u64
}

/// Eight bytes, for the operations that are given them.
fn bytes(_: &Session, opcode: Opcode, fd: RawFd, memory: &Memory, bit: usize) -> Sqe {
    prep::op(opcode, fd).with_addr(place(memory, bit)).with_len(8)
}

/// The same, for those that are given a message.
fn message(session: &Session, opcode: Opcode, fd: RawFd, memory: &Memory, bit: usize) -> Sqe {
    let vectors = session.vectors(&[(place(memory, bit), 8)]);
    let message = session.message((0, 0), (vectors.addr(), 1), (0, 0));
    prep::op(opcode, fd).with_addr(message.addr()).with_len(1)
}

/// Submits the request with each flag, for a socket of its own that has `before` to be read.
fn play(session: &mut Session, opcode: Opcode, make: MakeRequest, before: &[u8], extra: SqeFlags) {
    for (label, make_socket) in SOCKETS {
        session.fresh();
        let ring = session.ring(64);
        let memory = session.memory(ROOM * BITS);
        memory.fill(&[b'-'; ROOM * BITS]);
        let mut others = Vec::new();
        for bit in 0..BITS {
            let (socket, other) = make_socket(session);
            if let (Some(other), false) = (other, before.is_empty()) {
                session.write_fd(other, before);
            }
            others.push(other);
            let sqe = make(session, opcode, socket, &memory, bit);
            // When the memory of what is held back is free again is up to TCP.
            let is_held_back = bit == HELD_BACK && [SEND_ZC, SENDMSG_ZC].contains(&sqe.opcode());
            let flags = if bit == URGENT || is_held_back { 0 } else { 1 << bit };
            ring.push(sqe.with_op_flags(flags).with_flags(extra).with_user_data(bit as u64 + 1));
        }
        session.outcome(format!("{label}: submit"), ring.submit());
        std::thread::sleep(std::time::Duration::from_millis(20));
        let seen = ring.collect_until(std::time::Duration::from_millis(5), |_| false);
        for bit in 0..BITS {
            let own = |cqe: &&Cqe| cqe.user_data == bit as u64 + 1;
            session
                .cqes(format!("{label}, bit {bit}"), &seen.iter().filter(own).copied().collect::<Vec<Cqe>>());
        }
        session.bytes(format!("{label}: memory"), &memory.bytes());
        for (bit, other) in others.into_iter().enumerate() {
            let Some(other) = other else { continue };
            let mut bytes = [0; ROOM];
            let read = session.with_kept(other, |fd| {
                rustix::io::ioctl_fionbio(fd, true).and_then(|()| rustix::io::read(fd, &mut bytes))
            });
            session.outcome(format!("{label}, bit {bit}: arrived"), read.map(|read| read as i64));
        }
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let case = |name: &str, opcode, make: MakeRequest, before: &'static [u8]| {
        [("", SqeFlags::empty()), ("-on-a-worker", SqeFlags::ASYNC)].map(|(place, extra)| {
            Case::new(format!("{name}/flags-of-every-socket{place}"), opcode, move |session| {
                play(session, opcode, make, before, extra);
            })
        })
    };
    let text = b"some text";
    let all: [[Case; 2]; 8] = [
        case("send", Opcode::Send, bytes, b""),
        case("sendmsg", Opcode::Sendmsg, message, b""),
        case("send-zc", Opcode::SendZc, bytes, b""),
        case("sendmsg-zc", Opcode::SendmsgZc, message, b""),
        case("recv", Opcode::Recv, bytes, text),
        case("recvmsg", Opcode::Recvmsg, message, text),
        case("recv-empty", Opcode::Recv, bytes, b""),
        case("recvmsg-empty", Opcode::Recvmsg, message, b""),
    ];
    let errors = Case::new("recv/errors-that-do-not-come", Opcode::Recv, |session| {
        for (label, make_socket) in SOCKETS {
            for extra in [SqeFlags::empty(), SqeFlags::ASYNC] {
                let ring = session.ring(8);
                let memory = session.memory(ROOM);
                let (socket, other) = make_socket(session);
                let sqe = prep::recv(socket, memory.addr(), 8, ERRORS);
                ring.push(sqe.with_flags(extra).with_user_data(1));
                session.outcome(format!("{label}, {extra:?}: submit"), ring.submit());
                session.quiet(format!("{label}, {extra:?}: nothing"), &ring);
                if let Some(other) = other {
                    session.write_fd(other, b"some text");
                    session.quiet(format!("{label}, {extra:?}: data"), &ring);
                }
            }
            session.fresh();
        }
    });
    all.into_iter().flatten().chain([errors]).collect()
}
