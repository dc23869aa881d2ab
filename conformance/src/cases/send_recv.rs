//! SEND and RECV.

use ringer_abi::{Opcode, SqeFlags, uapi};
use rustix::net::SocketType;

use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::{Case, prep};

const MSG_PEEK: u32 = 2;
const MSG_TRUNC: u32 = 0x20;
const MSG_DONTWAIT: u32 = 0x40;
const MSG_WAITALL: u32 = 0x100;
const MSG_NOSIGNAL: u32 = 0x4000;
const POLL_FIRST: u16 = uapi::IORING_RECVSEND_POLL_FIRST as u16;

const SEND: Exemplar = Exemplar::new(
    "send",
    Opcode::Send,
    FdRole::File,
    &[Field::Ioprio, Field::Addr, Field::Len, Field::OpFlags],
    &[Field::Addr],
    |session, _| {
        let ((left, right), text) = (session.pair(), session.memory_of(b"hello there"));
        Good::new(prep::send(left, text.addr(), 11, 0)).observe(move |session| {
            session.with_kept(right, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
            let mut bytes = [0; 32];
            let read = session.with_kept(right, |fd| rustix::io::read(fd, &mut bytes)).unwrap_or(0);
            session.bytes("received", &bytes[..read]);
        })
    },
);

const RECV: Exemplar = Exemplar::new(
    "recv",
    Opcode::Recv,
    FdRole::File,
    &[Field::Ioprio, Field::Addr, Field::Len, Field::OpFlags],
    &[Field::Addr],
    |session, _| {
        let ((left, right), buffer) = (session.pair(), session.memory(16));
        session.write_fd(right, b"hello there");
        Good::new(prep::recv(left, buffer.addr(), 11, 0))
            .observe(move |session| session.bytes("buffer", &buffer.bytes()))
    },
);

/// The cases of SEND and RECV.
pub fn cases() -> Vec<Case> {
    let mut cases = SEND.cases();
    cases.extend(RECV.cases());
    cases.extend(sending());
    cases.extend(receiving());
    cases
}

fn sending() -> Vec<Case> {
    vec![
        Case::new("send/lengths", Opcode::Send, |session| {
            let ring = session.ring(8);
            let edge = session.edge(16);
            for (kind, label) in [(SocketType::STREAM, "stream"), (SocketType::DGRAM, "datagram")] {
                for len in [0, 1, 16, 17] {
                    let (left, _right) = session.pair_of(kind);
                    session.one_recorded(
                        format!("{label}, {len}"),
                        &ring,
                        prep::send(left, edge.addr(), len, 0),
                    );
                    session.one_recorded(format!("{label}, null, {len}"), &ring, prep::send(left, 0, len, 0));
                }
            }
            let (left, _right) = session.pair_of(SocketType::DGRAM);
            let large = session.memory(300 * 1024);
            session.one_recorded(
                "too large a datagram",
                &ring,
                prep::send(left, large.addr(), 300 * 1024, 0),
            );
        }),
        Case::new("send/peer-gone", Opcode::Send, |session| {
            // No SIGPIPE either: it would end this process.
            let (ring, text) = (session.ring(8), session.memory_of(b"hello"));
            for flags in [0, MSG_NOSIGNAL] {
                let (left, right) = session.pair();
                session.close_kept(right);
                session.one_recorded(
                    format!("flags {flags:#x}"),
                    &ring,
                    prep::send(left, text.addr(), 5, flags),
                );
            }
            session.one_recorded("unconnected", &ring, prep::send(session.tcp_socket(), text.addr(), 5, 0));
        }),
        Case::new("send/full-socket", Opcode::Send, |session| {
            let ring = session.ring(8);
            let (left, right) = session.pair();
            let large = session.memory(128 * 1024);
            session.with_kept(left, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
            // Filled by hand, so that both backends find it equally full.
            while session.with_kept(left, |fd| rustix::io::write(fd, &[0; 4096])).is_ok() {}
            session.one_recorded("non-blocking", &ring, prep::send(left, large.addr(), 4096, 0));
            session.with_kept(left, |fd| rustix::io::ioctl_fionbio(fd, false)).expect("a socket");
            session.one_recorded("MSG_DONTWAIT", &ring, prep::send(left, large.addr(), 4096, MSG_DONTWAIT));
            ring.push(prep::send(left, large.addr(), 4096, 0).with_user_data(1));
            session.outcome("blocking: submit", ring.submit());
            session.quiet("blocking", &ring);
            session.with_kept(right, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
            while session
                .with_kept(right, |fd| rustix::io::read(fd, &mut [0_u8; 65536][..]))
                .is_ok_and(|read| read > 0)
            {}
            session.cqes("then drained", &ring.collect(1));
        }),
        Case::new("send/waitall-on-a-stream", Opcode::Send, |session| {
            // More than the socket holds: WAITALL goes on after a partial send.
            let ring = session.ring(8);
            let (left, right) = session.tcp_pair();
            let large = session.memory(384 * 1024);
            ring.push(prep::send(left, large.addr(), 384 * 1024, MSG_WAITALL).with_user_data(1));
            session.outcome("submit", ring.submit());
            let mut received = 0;
            while received < 384 * 1024 {
                received += session.read_fd(right, 65536).len();
            }
            session.cqes("completion", &ring.collect(1));
        }),
        Case::new("send/to-an-address", Opcode::Send, |session| {
            let (ring, text) = (session.ring(8), session.memory_of(b"hello"));
            let ((sender, _), (receiver, port)) = (session.udp(), session.udp());
            let address = session.sockaddr(port);
            let sqe = prep::send(sender, text.addr(), 5, 0);
            session.one_recorded("no address", &ring, sqe);
            for length in [16, 15, 0, 200] {
                let sqe = sqe.with_off(address.addr()).with_file_index(length);
                session.one_recorded(format!("address of {length}"), &ring, sqe);
            }
            let sqe = sqe.with_off(session.bad_address()).with_file_index(16);
            session.one_recorded("bad address", &ring, sqe);
            session.with_kept(receiver, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
            session.bytes("received", &session.read_fd(receiver, 16));
        }),
        Case::new("send/poll-first", Opcode::Send, |session| {
            let (ring, text) = (session.ring(8), session.memory_of(b"hello"));
            let (left, _right) = session.pair();
            let sqe = prep::send(left, text.addr(), 5, 0).with_ioprio(POLL_FIRST);
            session.one_recorded("writable", &ring, sqe);
        }),
    ]
}

fn receiving() -> Vec<Case> {
    vec![
        Case::new("recv/waits", Opcode::Recv, |session| {
            let ring = session.ring(8);
            for (label, flags) in [("plain", SqeFlags::empty()), ("async", SqeFlags::ASYNC)] {
                for (kind, ioprio) in [("", 0), (", poll first", POLL_FIRST)] {
                    let ((left, right), buffer) = (session.pair(), session.memory(8));
                    let sqe = prep::recv(left, buffer.addr(), 8, 0).with_user_data(1);
                    ring.push(sqe.with_flags(flags).with_ioprio(ioprio));
                    session.outcome(format!("{label}{kind}: submit"), ring.submit());
                    session.quiet(format!("{label}{kind}: nothing"), &ring);
                    session.write_fd(right, b"late");
                    session.cqes(format!("{label}{kind}: then"), &ring.collect(1));
                    session.bytes("buffer", &buffer.bytes());
                }
            }
        }),
        Case::new("recv/does-not-wait", Opcode::Recv, |session| {
            let (ring, buffer) = (session.ring(8), session.memory(8));
            let (left, _right) = session.pair();
            session.one_recorded("MSG_DONTWAIT", &ring, prep::recv(left, buffer.addr(), 8, MSG_DONTWAIT));
            session.with_kept(left, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
            session.one_recorded("non-blocking", &ring, prep::recv(left, buffer.addr(), 8, 0));
        }),
        Case::new("recv/lengths", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let edge = session.edge(4);
            for (kind, label) in [(SocketType::STREAM, "stream"), (SocketType::DGRAM, "datagram")] {
                for len in [0, 1, 4, 5, 100, u32::MAX] {
                    let (left, right) = session.pair_of(kind);
                    session.write_fd(right, b"hello");
                    session.one_recorded(
                        format!("{label}, {len}"),
                        &ring,
                        prep::recv(left, edge.addr(), len, 0),
                    );
                }
                let (left, right) = session.pair_of(kind);
                session.write_fd(right, b"hello");
                session.one_recorded(format!("{label}, null, 0"), &ring, prep::recv(left, 0, 0, 0));
                session.one_recorded(format!("{label}, null, 8"), &ring, prep::recv(left, 0, 8, 0));
            }
        }),
        Case::new("recv/flags", Opcode::Recv, |session| {
            let (ring, buffer) = (session.ring(8), session.memory(16));
            let (left, right) = session.pair_of(SocketType::DGRAM);
            session.write_fd(right, b"a datagram");
            session.one_recorded("peek", &ring, prep::recv(left, buffer.addr(), 16, MSG_PEEK));
            session.one_recorded(
                "peek, truncated",
                &ring,
                prep::recv(left, buffer.addr(), 4, MSG_PEEK | MSG_TRUNC),
            );
            session.one_recorded("short", &ring, prep::recv(left, buffer.addr(), 4, 0));
            session.write_fd(right, b"");
            session.one_recorded("an empty datagram", &ring, prep::recv(left, buffer.addr(), 4, 0));
        }),
        Case::new("recv/waitall", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let ((left, right), buffer) = (session.tcp_pair(), session.memory(16));
            ring.push(prep::recv(left, buffer.addr(), 10, MSG_WAITALL).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.write_fd(right, b"first");
            session.quiet("a part", &ring);
            session.write_fd(right, b"second");
            session.cqes("all", &ring.collect(1));
            session.bytes("buffer", &buffer.bytes());
            ring.push(prep::recv(left, buffer.addr(), 10, MSG_WAITALL).with_user_data(2));
            session.outcome("submit", ring.submit());
            session.quiet("a byte", &ring);
            session.close_kept(right);
            session.cqes("the end", &ring.collect(1));
        }),
        Case::new("recv/end", Opcode::Recv, |session| {
            let (ring, buffer) = (session.ring(8), session.memory(16));
            let (left, right) = session.tcp_pair();
            session.write_fd(right, b"last");
            session.close_kept(right);
            session.one_recorded("data", &ring, prep::recv(left, buffer.addr(), 16, 0));
            session.one_recorded("end", &ring, prep::recv(left, buffer.addr(), 16, 0));
            session.one_recorded(
                "unconnected",
                &ring,
                prep::recv(session.tcp_socket(), buffer.addr(), 16, 0),
            );
        }),
        Case::new("recv/after-a-reset", Opcode::Recv, |session| {
            let (ring, buffer) = (session.ring(8), session.memory(16));
            let (left, right) = session.tcp_pair();
            session.write_fd(left, b"not read");
            session.close_kept(right);
            session.one_recorded("reset", &ring, prep::recv(left, buffer.addr(), 16, 0));
            session.one_recorded("after it", &ring, prep::recv(left, buffer.addr(), 16, 0));
        }),
        Case::new("recv/poll-first-of-no-socket", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let buffer = session.memory(16).addr();
            let vectors = session.vectors(&[(buffer, 16)]).addr();
            let message = session.message((0, 0), (vectors, 1), (0, 0)).addr();
            let (pipe, _write) = session.pipe();
            session.write_fd(_write, b"x");
            for (name, file) in [
                ("file", session.file(b"text")),
                ("directory", session.directory_fd()),
                ("pipe", pipe),
                ("not open", session.closed_fd()),
            ] {
                let of_message = |opcode| prep::op(opcode, file).with_addr(message).with_len(1);
                for sqe in [
                    prep::recv(file, buffer, 16, 0),
                    prep::send(file, buffer, 16, 0),
                    of_message(Opcode::Recvmsg),
                    of_message(Opcode::Sendmsg),
                    of_message(Opcode::SendmsgZc),
                    prep::op(Opcode::SendZc, file).with_addr(buffer).with_len(16),
                ] {
                    for flags in [SqeFlags::empty(), SqeFlags::ASYNC] {
                        let label = format!("{name}, {}, {flags:?}", sqe.opcode());
                        session.one_recorded(&label, &ring, sqe.with_ioprio(1).with_flags(flags));
                    }
                }
                session.one_recorded("accept", &ring, prep::op(Opcode::Accept, file).with_ioprio(4));
            }
        }),
        Case::new("recv/datagrams-shut-down", Opcode::Recv, |session| {
            use rustix::net::{Shutdown, SocketType, shutdown};
            let ring = session.ring(8);
            let buffer = session.memory(16).addr();
            let vectors = session.vectors(&[(buffer, 16)]).addr();
            let message = session.message((0, 0), (vectors, 1), (0, 0)).addr();
            let receivers = |socket| {
                [
                    prep::recv(socket, buffer, 16, 0),
                    prep::op(Opcode::Recvmsg, socket).with_addr(message).with_len(1),
                    prep::read(socket, buffer, 16, 0),
                    prep::op(Opcode::Readv, socket).with_addr(vectors).with_len(1),
                ]
            };
            for kind in 0..2 {
                for index in 0..4 {
                    let (left, right) =
                        if kind == 0 { session.udp_pair() } else { session.pair_of(SocketType::DGRAM) };
                    let sqe = receivers(left)[index];
                    ring.push(sqe.with_user_data(1));
                    session.outcome(format!("{kind}, {index}: waits"), ring.submit());
                    session.quiet("for a datagram", &ring);
                    session.with_kept(left, |fd| shutdown(fd, Shutdown::Read)).expect("it is connected");
                    session.cqes("shut down", &ring.collect(1));
                    session.one_recorded("again", &ring, sqe);
                    session.one_recorded("once more", &ring, sqe);
                    session.one_recorded("without waiting", &ring, prep::recv(left, buffer, 16, 0x40));
                    // What comes all the same is received, where it may come.
                    session.one_recorded("sent", &ring, prep::send(right, buffer, 4, 0x4000));
                    session.one_recorded("received", &ring, sqe);
                }
            }
        }),
        Case::new("recv/before-urgent-data", Opcode::Recv, |session| {
            const MSG_OOB: u32 = 1;
            let (ring, buffer) = (session.ring(8), session.memory_of(b"urgent at last!!"));
            let (left, right) = session.pair();
            session.one_recorded("send", &ring, prep::send(right, buffer.addr(), 16, MSG_OOB));
            session.one_recorded("up to it", &ring, prep::recv(left, buffer.addr(), 16, 0));
        }),
        Case::new("recv/more-in-the-socket", Opcode::Recv, |session| {
            let (ring, buffer) = (session.ring(8), session.memory(16));
            let (left, right) = session.tcp_pair();
            session.write_fd(right, b"ten bytes.");
            session.one_recorded("a part", &ring, prep::recv(left, buffer.addr(), 4, 0));
            session.one_recorded("the rest", &ring, prep::recv(left, buffer.addr(), 16, 0));
        }),
        Case::new("recv/several-on-one-socket", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let ((left, right), buffer) = (session.pair(), session.memory(64));
            for data in 0..3 {
                ring.push(prep::recv(left, buffer.addr() + 16 * data, 4, 0).with_user_data(data));
            }
            session.outcome("submit", ring.submit());
            session.write_fd(right, b"onlyfour more");
            let seen = ring.collect(3);
            let total: i32 = seen.iter().map(|cqe| cqe.res).sum();
            session.record("completions and bytes", format!("{} {total}", seen.len()));
        }),
    ]
}
