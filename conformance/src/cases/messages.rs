//! SENDMSG and RECVMSG.

use ringer_abi::{Opcode, Sqe, SqeFlags};
use rustix::net::SocketType;

use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::memory::Memory;
use crate::differential::{Case, Session, prep};

const MSG_TRUNC: u32 = 0x20;
const MSG_WAITALL: u32 = 0x100;
const MSG_CMSG_CLOEXEC: u32 = 0x4000_0000;
const SOL_SOCKET: u32 = 1;
const SCM_RIGHTS: u32 = 1;

fn sendmsg(fd: i32, message: &Memory) -> Sqe {
    prep::op(Opcode::Sendmsg, fd).with_addr(message.addr()).with_len(1)
}

fn recvmsg(fd: i32, message: &Memory) -> Sqe {
    sendmsg(fd, message).with_opcode(Opcode::Recvmsg.number())
}

/// A message of these parts, without name and control data.
fn message(session: &Session, parts: &[(u64, u64)]) -> Memory {
    let vectors = session.vectors(parts);
    session.message((0, 0), (vectors.addr(), parts.len() as u64), (0, 0))
}

/// What the call wrote back: the lengths of name and control data, and the flags.
fn written_back(session: &Session, label: &str, message: &Memory) {
    let (name, control, flags) = (message.get::<u32>(8), message.get::<u64>(40), message.get::<u32>(48));
    session.record(format!("{label}: message"), format!("name {name} control {control} flags {flags:#x}"));
}

const USES: &[Field] = &[Field::Ioprio, Field::Addr, Field::Len, Field::OpFlags];

const SENDMSG: Exemplar =
    Exemplar::new("sendmsg", Opcode::Sendmsg, FdRole::File, USES, &[Field::Addr], |session, _| {
        let ((left, right), text) = (session.pair(), session.memory_of(b"hello there"));
        let message = message(session, &[(text.addr(), 6), (text.addr() + 6, 5)]);
        Good::new(sendmsg(left, &message)).observe(move |session| {
            session.with_kept(right, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
            let mut bytes = [0; 32];
            let read = session.with_kept(right, |fd| rustix::io::read(fd, &mut bytes)).unwrap_or(0);
            session.bytes("received", &bytes[..read]);
        })
    });

const RECVMSG: Exemplar =
    Exemplar::new("recvmsg", Opcode::Recvmsg, FdRole::File, USES, &[Field::Addr], |session, _| {
        let ((left, right), buffer) = (session.pair(), session.memory(32));
        session.write_fd(right, b"hello there");
        let message = message(session, &[(buffer.addr(), 6), (buffer.addr() + 16, 5)]);
        Good::new(recvmsg(left, &message)).observe(move |session| {
            session.bytes("buffer", &buffer.bytes());
            written_back(session, "recvmsg", &message);
        })
    });

/// Odd messages, for both directions: name, vectors, control data.
fn odd_messages(session: &mut Session, prepare: fn(i32, &Memory) -> Sqe) {
    let ring = session.ring(8);
    let buffer = session.memory(64);
    let one = session.vectors(&[(buffer.addr(), 4)]);
    let (here, bad) = (one.addr(), session.bad_address());
    let many = session.vectors(&vec![(buffer.addr(), 1); 1025]);
    let null_base = session.vectors(&[(0, 4)]);
    let bad_base = session.vectors(&[(bad, 4)]);
    let negative = session.vectors(&[(buffer.addr(), 1 << 63)]);
    let messages = [
        ("good", (0, 0), (here, 1), (0, 0)),
        ("no vectors", (0, 0), (0, 0), (0, 0)),
        ("no vectors, bad array", (0, 0), (bad, 0), (0, 0)),
        ("null array", (0, 0), (0, 1), (0, 0)),
        ("bad array", (0, 0), (bad, 1), (0, 0)),
        ("1024 vectors", (0, 0), (many.addr(), 1024), (0, 0)),
        ("1025 vectors", (0, 0), (many.addr(), 1025), (0, 0)),
        ("2^63 vectors", (0, 0), (here, 1 << 63), (0, 0)),
        ("null base", (0, 0), (null_base.addr(), 1), (0, 0)),
        ("bad base", (0, 0), (bad_base.addr(), 1), (0, 0)),
        ("negative length", (0, 0), (negative.addr(), 1), (0, 0)),
        ("null name", (0, 16), (here, 1), (0, 0)),
        ("bad name", (bad, 16), (here, 1), (0, 0)),
        ("negative name length", (buffer.addr(), u32::MAX), (here, 1), (0, 0)),
        ("huge name length", (buffer.addr(), 4096), (here, 1), (0, 0)),
        ("null control", (0, 0), (here, 1), (0, 24)),
        ("bad control", (0, 0), (here, 1), (bad, 24)),
        ("short control", (0, 0), (here, 1), (buffer.addr(), 4)),
        ("huge control", (0, 0), (here, 1), (buffer.addr(), 1 << 40)),
    ];
    for (label, name, vectors, control) in messages {
        for kind in [SocketType::STREAM, SocketType::DGRAM] {
            let (left, right) = session.pair_of(kind);
            session.write_fd(right, b"hello");
            let message = session.message(name, vectors, control);
            let label =
                format!("{label}, {}", if kind == SocketType::STREAM { "stream" } else { "datagram" });
            let sqe = prepare(left, &message);
            session.one_recorded(&label, &ring, sqe);
            written_back(session, &label, &message);
            session.close_kept(left);
            session.close_kept(right);
        }
    }
    let edge = session.edge(40);
    let (left, right) = session.pair();
    session.write_fd(right, b"hello");
    session.one_recorded("the message runs off the edge", &ring, prepare(left, &edge));
}

/// Control data that passes one descriptor.
fn rights(session: &Session, fd: i32) -> Memory {
    let control = session.memory(24);
    control.put(0, 20_u64);
    control.put(8, SOL_SOCKET);
    control.put(12, SCM_RIGHTS);
    control.put(16, fd);
    control
}

/// The cases of SENDMSG and RECVMSG.
pub fn cases() -> Vec<Case> {
    let mut cases = SENDMSG.cases();
    cases.extend(RECVMSG.cases());
    cases.extend([
        Case::new("sendmsg/length", Opcode::Sendmsg, |session| {
            let ring = session.ring(8);
            let (left, right) = session.pair();
            session.write_fd(right, b"for the receiver, for the receiver");
            let (text, buffer) = (session.memory_of(b"text"), session.memory(4));
            for (label, memory, operation) in
                [("send", text, sendmsg as fn(i32, &Memory) -> Sqe), ("receive", buffer, recvmsg)]
            {
                let vectors = session.vectors(&[(memory.addr(), 4)]);
                let message = session.message((0, 0), (vectors.addr(), 1), (0, 0));
                for len in [0, 1, 2, (1 << 31) - 1, 1 << 31, u32::MAX] {
                    let sqe = operation(left, &message).with_len(len);
                    session.one_recorded(format!("{label} {len:#x}"), &ring, sqe);
                }
            }
        }),
        Case::new("sendmsg/odd-messages", Opcode::Sendmsg, |session| odd_messages(session, sendmsg)),
        Case::new("recvmsg/odd-messages", Opcode::Recvmsg, |session| odd_messages(session, recvmsg)),
        Case::new("sendmsg/to-an-address", Opcode::Sendmsg, |session| {
            let (ring, text) = (session.ring(8), session.memory_of(b"hello"));
            let ((sender, _), (receiver, port)) = (session.udp(), session.udp());
            let (address, vectors) = (session.sockaddr(port), session.vectors(&[(text.addr(), 5)]));
            for length in [16, 15, 0] {
                let message = session.message((address.addr(), length), (vectors.addr(), 1), (0, 0));
                session.one_recorded(format!("address of {length}"), &ring, sendmsg(sender, &message));
            }
            session.with_kept(receiver, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
            session.bytes("received", &session.read_fd(receiver, 16));
        }),
        Case::new("recvmsg/name", Opcode::Recvmsg, |session| {
            let (ring, buffer) = (session.ring(8), session.memory(16));
            let ((sender, _), (receiver, port)) = (session.udp(), session.udp());
            let to = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port);
            let vectors = session.vectors(&[(buffer.addr(), 16)]);
            for room in [0, 4, 16, 100] {
                session
                    .with_kept(sender, |fd| {
                        rustix::net::sendto(fd, b"hi", rustix::net::SendFlags::empty(), &to)
                    })
                    .expect("a datagram");
                let name = session.memory(128);
                let message = session.message((name.addr(), room), (vectors.addr(), 1), (0, 0));
                let label = format!("room for {room}");
                session.one_recorded(&label, &ring, recvmsg(receiver, &message));
                written_back(session, &label, &message);
                session.record(format!("{label}: family"), name.get::<u16>(0));
            }
        }),
        Case::new("recvmsg/truncated", Opcode::Recvmsg, |session| {
            let (ring, buffer) = (session.ring(8), session.memory(16));
            let (left, right) = session.pair_of(SocketType::DGRAM);
            for flags in [0, MSG_TRUNC] {
                session.write_fd(right, b"a long datagram");
                let message = message(session, &[(buffer.addr(), 4)]);
                let label = format!("flags {flags:#x}");
                session.one_recorded(&label, &ring, recvmsg(left, &message).with_op_flags(flags));
                written_back(session, &label, &message);
            }
        }),
        Case::new("recvmsg/waits", Opcode::Recvmsg, |session| {
            let ring = session.ring(8);
            for flags in [SqeFlags::empty(), SqeFlags::ASYNC] {
                let ((left, right), buffer) = (session.pair(), session.memory(16));
                let message = message(session, &[(buffer.addr(), 16)]);
                ring.push(recvmsg(left, &message).with_user_data(1).with_flags(flags));
                session.outcome("submit", ring.submit());
                session.quiet("nothing", &ring);
                session.write_fd(right, b"late");
                session.cqes("then", &ring.collect(1));
                session.bytes("buffer", &buffer.bytes());
            }
        }),
        Case::new("recvmsg/of-nothing-at-the-end", Opcode::Recvmsg, |session| {
            let ring = session.ring(8);
            let (left, right) = session.tcp_pair();
            let empty = session.message((0, 0), (0, 0), (0, 0));
            session.write_fd(right, b"data");
            session.one_recorded("before data", &ring, recvmsg(left, &empty));
            session.read_fd(left, 4);
            ring.push(recvmsg(left, &empty).with_user_data(7));
            session.outcome("submit", ring.submit());
            session.quiet("nothing there", &ring);
            session.close_kept(right);
            session.cqes("the end", &ring.collect(1));
        }),
        Case::new("recvmsg/waitall", Opcode::Recvmsg, |session| {
            let ring = session.ring(8);
            let ((left, right), buffer) = (session.tcp_pair(), session.memory(16));
            let message = message(session, &[(buffer.addr(), 3), (buffer.addr() + 8, 7)]);
            ring.push(recvmsg(left, &message).with_op_flags(MSG_WAITALL).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.write_fd(right, b"first");
            session.quiet("a part", &ring);
            session.write_fd(right, b"second");
            session.cqes("all", &ring.collect(1));
            session.bytes("buffer", &buffer.bytes());
        }),
        Case::new("sendmsg/descriptor", Opcode::Sendmsg, |session| {
            let (ring, text) = (session.ring(8), session.memory_of(b"x"));
            let vectors = session.vectors(&[(text.addr(), 1)]);
            for flags in [0, MSG_CMSG_CLOEXEC] {
                let (left, right) = session.pair();
                let control = rights(session, session.file(b"passed on"));
                let message = session.message((0, 0), (vectors.addr(), 1), (control.addr(), 20));
                session.one_recorded("send", &ring, sendmsg(left, &message));
                let room = session.memory(64);
                let message = session.message((0, 0), (vectors.addr(), 1), (room.addr(), 64));
                session.one_recorded("receive", &ring, recvmsg(right, &message).with_op_flags(flags));
                written_back(session, "receive", &message);
                let passed = room.get::<i32>(16);
                let got = ringer_sys::call::fcntl(passed, 1, 0).map(|value| value as i64);
                session.outcome("close-on-exec", got);
                session.outcome("close", ringer_sys::call::close(passed).map(|value| value as i64));
            }
            let (left, _right) = session.pair();
            let control = rights(session, session.closed_fd());
            let message = session.message((0, 0), (vectors.addr(), 1), (control.addr(), 20));
            session.one_recorded("a closed one", &ring, sendmsg(left, &message));
        }),
        Case::new("sendmsg/peer-gone", Opcode::Sendmsg, |session| {
            let (ring, text) = (session.ring(8), session.memory_of(b"hello"));
            let (left, right) = session.pair();
            session.close_kept(right);
            session.one_recorded("send", &ring, sendmsg(left, &message(session, &[(text.addr(), 5)])));
        }),
    ]);
    cases
}
