//! SOCKET, CONNECT, ACCEPT and SHUTDOWN.

use ringer_abi::{Opcode, RegisterOpcode, Sqe, SqeFlags, uapi};
use ringer_sys::call;

use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::fixtures::SOCKADDR_IN;
use crate::differential::{Case, Ring, Session, prep};

const AF_UNIX: i32 = 1;
const AF_INET: i32 = 2;
const SOCK_STREAM: u64 = 1;
const SOCK_NONBLOCK: u32 = 0o4000;
const SOCK_CLOEXEC: u32 = 0o2_000_000;
const ALLOC: u32 = uapi::IORING_FILE_INDEX_ALLOC as u32;

/// SOCKET: domain in `fd`, type in `off`, protocol in `len`.
fn socket(domain: i32, kind: u64, protocol: u32) -> Sqe {
    prep::op(Opcode::Socket, domain).with_off(kind).with_len(protocol)
}

/// CONNECT: the length of the address stands in `off`.
fn connect(fd: i32, address: u64, length: u64) -> Sqe {
    prep::op(Opcode::Connect, fd).with_addr(address).with_off(length)
}

/// ACCEPT: the address of the length stands in `off`.
fn accept_with_address(fd: i32, address: u64, length: u64) -> Sqe {
    prep::accept(fd, 0).with_addr(address).with_off(length)
}

fn shutdown(fd: i32, how: u32) -> Sqe {
    prep::op(Opcode::Shutdown, fd).with_len(how)
}

const SOCKET: Exemplar = Exemplar::new(
    "socket",
    Opcode::Socket,
    FdRole::Ignored,
    &[Field::Off, Field::Len, Field::FileIndex],
    &[],
    |_, _| Good::new(socket(AF_INET, SOCK_STREAM, 0)),
)
.yielding_fd();

const CONNECT: Exemplar = Exemplar::new(
    "connect",
    Opcode::Connect,
    FdRole::File,
    &[Field::Off, Field::Addr],
    &[Field::Addr],
    |session, _| {
        let (_listener, port) = session.listener();
        let (fd, address) = (session.tcp_socket(), session.sockaddr(port));
        Good::new(connect(fd, address.addr(), SOCKADDR_IN as u64)).observe(move |session| {
            let connected = session.with_kept(fd, |fd| rustix::net::getpeername(fd).is_ok());
            session.record("connected", connected);
        })
    },
);

const ACCEPT: Exemplar = Exemplar::new(
    "accept",
    Opcode::Accept,
    FdRole::File,
    &[Field::Ioprio, Field::Off, Field::Addr, Field::OpFlags, Field::FileIndex],
    &[Field::Addr],
    |session, _| {
        let (listener, port) = session.listener();
        session.client(port);
        let (address, length) = (session.memory(SOCKADDR_IN), session.ints(&[SOCKADDR_IN as i32]));
        Good::new(accept_with_address(listener, address.addr(), length.addr())).observe(move |session| {
            session.record("length", length.get::<i32>(0));
            session.record("family", address.get::<u16>(0));
        })
    },
)
.yielding_fd();

const SHUTDOWN: Exemplar =
    Exemplar::new("shutdown", Opcode::Shutdown, FdRole::File, &[Field::Len], &[], |session, _| {
        let (left, right) = session.pair();
        Good::new(shutdown(left, 1)).observe(move |session| {
            session.with_kept(right, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
            let mut bytes = [0; 4];
            let read = session.with_kept(right, |fd| rustix::io::read(fd, &mut bytes));
            session.outcome("the peer reads", read.map(|read| read as i64));
        })
    });

/// Records a result that may be a descriptor, and closes it.
fn descriptor(session: &Session, ring: &Ring, label: &str, sqe: Sqe) {
    const F_GETFD: u32 = 1;
    const F_GETFL: u32 = 3;
    let Some(cqe) = session.one(ring, sqe) else {
        session.record(label, "no completion");
        return;
    };
    if cqe.res <= 2 {
        session.outcome(label, Ok(i64::from(cqe.res)));
        return;
    }
    let flags = |command| call::fcntl(cqe.res, command, 0).unwrap_or(usize::MAX);
    session.record(
        label,
        format!(
            "a descriptor, F_GETFD {}, F_GETFL {:o}, flags {:#x}",
            flags(F_GETFD),
            flags(F_GETFL),
            cqe.flags
        ),
    );
    session.outcome(format!("{label}: close"), call::close(cqe.res).map(|value| value as i64));
}

fn table(session: &Session, ring: &Ring, slots: usize) {
    let array = session.ints(&vec![-1; slots]);
    session.outcome("register", ring.register(RegisterOpcode::Files.number(), array.addr(), slots as u32));
}

/// The cases of the family.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> =
        [SOCKET, CONNECT, ACCEPT, SHUTDOWN].into_iter().flat_map(Exemplar::cases).collect();
    cases.extend(sockets());
    cases.extend(connecting());
    cases.extend(accepting());
    cases
}

fn sockets() -> Vec<Case> {
    vec![
        Case::new("socket/kinds", Opcode::Socket, |session| {
            let ring = session.ring(8);
            for domain in [0, AF_UNIX, AF_INET, 10, 16, 255, -1] {
                for kind in [0, 1, 2, 3, 5, 11, 1 << 32 | 1] {
                    let sqe = socket(domain, kind, 0);
                    descriptor(session, &ring, &format!("domain {domain} type {kind}"), sqe);
                }
            }
            for flags in [SOCK_NONBLOCK, SOCK_CLOEXEC, SOCK_NONBLOCK | SOCK_CLOEXEC, 0x10, 0x100] {
                let sqe = socket(AF_UNIX, SOCK_STREAM | u64::from(flags), 0);
                descriptor(session, &ring, &format!("type flags {flags:#x}"), sqe);
                let sqe = socket(AF_UNIX, SOCK_STREAM, 0).with_op_flags(flags);
                descriptor(session, &ring, &format!("op_flags {flags:#x}"), sqe);
            }
            for protocol in [6, 17, 1000, u32::MAX] {
                let sqe = socket(AF_INET, SOCK_STREAM, protocol);
                descriptor(session, &ring, &format!("protocol {protocol}"), sqe);
            }
        }),
        Case::new("socket/into-a-slot", Opcode::Socket, |session| {
            let ring = session.ring(8);
            let sqe = socket(AF_UNIX, SOCK_STREAM, 0);
            session.one_recorded("no table", &ring, sqe.with_file_index(1));
            table(session, &ring, 2);
            for index in [1, 2, 3, ALLOC, 0xffff_fffe] {
                session.one_recorded(format!("index {index}"), &ring, sqe.with_file_index(index));
            }
            let array = session.ints(&[-1]);
            let update = prep::op(Opcode::FilesUpdate, -1).with_addr(array.addr()).with_len(1).with_off(1);
            session.one_recorded("free slot 1", &ring, update);
            session.one_recorded("any", &ring, sqe.with_file_index(ALLOC));
            let cloexec = socket(AF_UNIX, SOCK_STREAM | u64::from(SOCK_CLOEXEC), 0);
            session.one_recorded("close-on-exec", &ring, cloexec.with_file_index(1));
        }),
        Case::new("shutdown/how", Opcode::Shutdown, |session| {
            let ring = session.ring(8);
            for how in [0, 1, 2, 3, u32::MAX] {
                let (left, _right) = session.pair();
                session.one_recorded(format!("how {how}"), &ring, shutdown(left, how));
                session.one_recorded(format!("how {how}, again"), &ring, shutdown(left, how));
            }
            session.one_recorded("unconnected", &ring, shutdown(session.tcp_socket(), 2));
            let (listener, _) = session.listener();
            ring.push(prep::accept(listener, 0).with_user_data(1));
            session.outcome("accept", ring.submit());
            session.one_recorded("a listener", &ring, shutdown(listener, 2).with_user_data(2));
        }),
        Case::new("shutdown/wakes-a-receiver", Opcode::Shutdown, |session| {
            let ring = session.ring(8);
            let (left, _right) = session.pair();
            let buffer = session.memory(8);
            ring.push(prep::recv(left, buffer.addr(), 8, 0).with_user_data(1));
            session.outcome("recv", ring.submit());
            session.batch_of("shutdown", &ring, &[shutdown(left, 0).with_user_data(2)], 2);
        }),
    ]
}

fn connecting() -> Vec<Case> {
    vec![
        Case::new("connect/lengths", Opcode::Connect, |session| {
            let ring = session.ring(8);
            let (_listener, port) = session.listener();
            for length in [0, 1, 2, 8, 15, 16, 17, 128, 129, 1 << 20, u64::MAX, 1 << 31] {
                let address = session.memory(256);
                address.fill(&session.sockaddr(port).bytes());
                let sqe = connect(session.tcp_socket(), address.addr(), length);
                session.one_recorded(format!("length {length}"), &ring, sqe);
            }
            let edge = session.edge(8);
            session.one_recorded("runs off the edge", &ring, connect(session.tcp_socket(), edge.addr(), 16));
        }),
        Case::new("connect/targets", Opcode::Connect, |session| {
            let ring = session.ring(8);
            let (listener, port) = session.listener();
            let (socket, address) = (session.tcp_socket(), session.sockaddr(port));
            session.one_recorded("first", &ring, connect(socket, address.addr(), 16));
            session.one_recorded("connected already", &ring, connect(socket, address.addr(), 16));
            session.close_kept(listener);
            let socket = session.tcp_socket();
            session.one_recorded("nobody there", &ring, connect(socket, address.addr(), 16));
            session.one_recorded("again", &ring, connect(socket, address.addr(), 16));
            let family = session.memory(16);
            family.put(0, 99_u16);
            session.one_recorded("unknown family", &ring, connect(session.tcp_socket(), family.addr(), 16));
            let unix = session.memory(110);
            unix.put(0, AF_UNIX as u16);
            unix.put(2, *b"/missing/socket\0");
            session.one_recorded("another family", &ring, connect(session.tcp_socket(), unix.addr(), 110));
            let (udp, _) = session.udp();
            let (_other, port) = session.udp();
            session.one_recorded("datagrams", &ring, connect(udp, session.sockaddr(port).addr(), 16));
        }),
        Case::new("connect/async-and-nonblocking", Opcode::Connect, |session| {
            let ring = session.ring(8);
            let (_listener, port) = session.listener();
            let address = session.sockaddr(port);
            let sqe = connect(session.tcp_socket(), address.addr(), 16).with_flags(SqeFlags::ASYNC);
            session.one_recorded("async", &ring, sqe);
            let socket = session.tcp_socket();
            session.with_kept(socket, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
            session.one_recorded("non-blocking", &ring, connect(socket, address.addr(), 16));
        }),
        Case::new("connect/then-send-linked", Opcode::Connect, |session| {
            let ring = session.ring(8);
            let (listener, port) = session.listener();
            let (socket, address, text) =
                (session.tcp_socket(), session.sockaddr(port), session.memory_of(b"hello"));
            let sqes = [
                connect(socket, address.addr(), 16).with_user_data(1).with_flags(SqeFlags::IO_LINK),
                prep::send(socket, text.addr(), 5, 0).with_user_data(2).with_flags(SqeFlags::IO_LINK),
                shutdown(socket, 1).with_user_data(3),
            ];
            session.batch_in_order("connect, send, shutdown", &ring, &sqes, 3);
            let accepted = session.with_kept(listener, |fd| rustix::net::accept(fd)).expect("a connection");
            let accepted = session.keep(accepted);
            session.bytes("received", &session.read_fd(accepted, 64));
        }),
    ]
}

fn accepting() -> Vec<Case> {
    vec![
        Case::new("accept/waits", Opcode::Accept, |session| {
            let ring = session.ring(8);
            let (listener, port) = session.listener();
            for flags in [SqeFlags::empty(), SqeFlags::ASYNC] {
                ring.push(prep::accept(listener, 0).with_user_data(1).with_flags(flags));
                session.outcome("submit", ring.submit());
                session.quiet("nobody", &ring);
                session.client(port);
                let seen = ring.collect(1);
                session.record("accepted", seen.first().is_some_and(|cqe| cqe.res > 2));
                let _ = call::close(seen.first().map_or(-1, |cqe| cqe.res));
            }
        }),
        Case::new("accept/nonblocking-listener", Opcode::Accept, |session| {
            let ring = session.ring(8);
            let (listener, port) = session.listener();
            session.with_kept(listener, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
            session.one_recorded("nobody", &ring, prep::accept(listener, 0));
            session.client(port);
            descriptor(session, &ring, "somebody", prep::accept(listener, 0));
        }),
        Case::new("accept/flags", Opcode::Accept, |session| {
            let ring = session.ring(8);
            let (listener, port) = session.listener();
            for flags in [0, SOCK_NONBLOCK, SOCK_CLOEXEC, SOCK_NONBLOCK | SOCK_CLOEXEC] {
                session.client(port);
                descriptor(session, &ring, &format!("flags {flags:#x}"), prep::accept(listener, flags));
            }
        }),
        Case::new("accept/addresses", Opcode::Accept, |session| {
            let ring = session.ring(8);
            let (listener, port) = session.listener();
            for given in [0, 1, 8, 16, 100, -1] {
                session.client(port);
                let (address, length) = (session.memory(128), session.ints(&[given]));
                let sqe = accept_with_address(listener, address.addr(), length.addr());
                descriptor(session, &ring, &format!("length {given}"), sqe);
                session.record(format!("length {given}: after"), length.get::<i32>(0));
                let written = address.bytes().iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                session.record(format!("length {given}: written"), written.min(8));
            }
            session.client(port);
            let length = session.ints(&[16]);
            descriptor(
                session,
                &ring,
                "length without address",
                accept_with_address(listener, 0, length.addr()),
            );
            session.client(port);
            let address = session.memory(16);
            descriptor(
                session,
                &ring,
                "address without length",
                accept_with_address(listener, address.addr(), 0),
            );
            session.client(port);
            let bad = accept_with_address(listener, address.addr(), session.bad_address());
            descriptor(session, &ring, "bad length", bad);
        }),
        Case::new("accept/into-a-slot", Opcode::Accept, |session| {
            let ring = session.ring(8);
            let (listener, port) = session.listener();
            session.client(port);
            session.one_recorded("no table", &ring, prep::accept(listener, 0).with_file_index(1));
            table(session, &ring, 3);
            for index in [1, 4, 5, ALLOC, ALLOC, ALLOC] {
                session.client(port);
                session.one_recorded(
                    format!("index {index}"),
                    &ring,
                    prep::accept(listener, 0).with_file_index(index),
                );
            }
            let sqe = prep::accept(listener, SOCK_CLOEXEC).with_file_index(1);
            session.one_recorded("close-on-exec", &ring, sqe);
        }),
        Case::new("accept/multishot", Opcode::Accept, |session| {
            let ring = session.ring(16);
            let (listener, port) = session.listener();
            let multishot = uapi::IORING_ACCEPT_MULTISHOT as u16;
            ring.push(prep::accept(listener, 0).with_ioprio(multishot).with_user_data(1));
            session.outcome("submit", ring.submit());
            for round in 0..3 {
                session.client(port);
                let seen = ring.collect(1);
                let text: Vec<(bool, u32)> = seen.iter().map(|cqe| (cqe.res > 2, cqe.flags)).collect();
                session.record(format!("round {round}"), format!("{text:?}"));
                for cqe in &seen {
                    let _ = call::close(cqe.res);
                }
            }
            session.batch_of("cancel", &ring, &[prep::cancel(1, 0).with_user_data(2)], 2);
            let slot = prep::accept(listener, 0).with_ioprio(multishot).with_file_index(1);
            session.one_recorded("into one slot", &ring, slot.with_user_data(3));
        }),
    ]
}
