//! Requests that Linux gives to a worker: `IOSQE_ASYNC`, and whatever follows `IOSQE_IO_DRAIN`.

use ringer_abi::{Opcode, SetupFlags, Sqe, SqeFlags, uapi};

use super::buffer_ring_use::{Buffers, INCREMENTAL, MSG_WAITALL, MULTISHOT};
use super::rw::TEXT;
use super::rw_fixed::{read_fixed, register_buffers, write_fixed};
use crate::differential::{Case, Session, prep};

const MSG_DONTWAIT: u32 = 0x40;
const BUNDLE: u16 = uapi::IORING_RECVSEND_BUNDLE as u16;
const POLL_FIRST: u16 = uapi::IORING_RECVSEND_POLL_FIRST as u16;
/// `RWF_NOWAIT`.
const NOWAIT: u32 = 0x8;

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut cases = files();
    cases.extend(buffers());
    cases.extend(multishot());
    cases
}

fn files() -> Vec<Case> {
    vec![
        Case::new("on-a-worker/file-and-nowait", Opcode::WriteFixed, |session| {
            let (ring, buffer) = (session.ring(8), session.memory_of(b"registered"));
            register_buffers(session, &ring, &[buffer]);
            let (file, (read, write)) = (session.file(TEXT), session.pipe());
            let at = buffer.addr();
            for (label, sqe) in [
                ("read", prep::read(file, at, 4, 3)),
                ("write", prep::write(file, at, 4, 3)),
                ("read fixed", read_fixed(file, at, 4, 3, 0)),
                ("write fixed", write_fixed(file, at, 4, 3, 0)),
                ("empty pipe", prep::read(read, at, 4, u64::MAX)),
                ("write to a pipe", prep::write(write, at, 4, u64::MAX)),
            ] {
                let sqe = sqe.with_op_flags(NOWAIT).with_flags(SqeFlags::ASYNC);
                session.one_recorded(label, &ring, sqe);
            }
            session.bytes("content", &session.content(file));
        }),
        Case::new("read-fixed/closed-file", Opcode::ReadFixed, |session| {
            let ring = session.ring(8);
            let closed = session.closed_fd();
            for flags in [SqeFlags::empty(), SqeFlags::ASYNC] {
                for sqe in [read_fixed(closed, 0, 8, 0, 3), write_fixed(closed, 0, 8, 0, 3)] {
                    session.one_recorded(format!("no buffer, {flags:?}"), &ring, sqe.with_flags(flags));
                }
            }
        }),
        Case::new("splice/from-a-listener", Opcode::Splice, |session| {
            let ring = session.ring(8);
            let (_read, write) = session.pipe();
            for (label, input) in [("listener", session.listener().0), ("unconnected", session.tcp_socket())]
            {
                for flags in [SqeFlags::empty(), SqeFlags::ASYNC] {
                    let splice = prep::op(Opcode::Splice, write).with_off(u64::MAX).with_addr(u64::MAX);
                    let splice = splice.with_len(4).with_file_index(input as u32).with_flags(flags);
                    session.one_recorded(format!("{label}, {flags:?}"), &ring, splice);
                }
            }
        }),
    ]
}

/// Makes a file of one kind.
type Make = fn(&Session) -> i32;

/// Files that something cannot be had of.
const FAILING: [(&str, Make); 3] = [
    ("file", |session| session.file(TEXT)),
    ("closed file", |session| session.closed_fd()),
    ("write end", |session| session.pipe().1),
];

/// Uses a buffer in one request, and records which the next one has.
fn uses_buffer(session: &Session, label: &str, prepare: impl Fn(&Buffers) -> Sqe) {
    for kind in [0, INCREMENTAL] {
        for extra in [SqeFlags::ASYNC, SqeFlags::IO_DRAIN] {
            let label = format!("{label}, {kind}, {extra:?}");
            let ring = session.ring(8);
            let buffers = Buffers::new(session, &ring, 1, 4, 16, kind);
            let sqe = prepare(&buffers);
            session.one_recorded(&label, &ring, sqe.with_flags(sqe.flags() | extra));
            buffers.look(session, &ring, &label);
        }
    }
}

fn buffers() -> Vec<Case> {
    vec![
        Case::new("on-a-worker/buffers-of-what-fails", Opcode::Recvmsg, |session| {
            for (kind, make) in FAILING {
                let message = session.message((0, 0), (0, 0), (0, 0));
                let fd = make(session);
                uses_buffer(session, &format!("read of a {kind}"), |buffers| {
                    buffers.select(prep::read(fd, 0, 4, u64::MAX))
                });
                for ioprio in [0, BUNDLE] {
                    uses_buffer(session, &format!("recv of a {kind}, {ioprio}"), |buffers| {
                        buffers.recv(fd, 0, 0).with_ioprio(ioprio)
                    });
                    uses_buffer(session, &format!("send of a {kind}, {ioprio}"), |buffers| {
                        buffers.select(prep::send(fd, 0, 0, 0)).with_ioprio(ioprio)
                    });
                }
                uses_buffer(session, &format!("recvmsg of a {kind}"), |buffers| {
                    buffers.select(prep::op(Opcode::Recvmsg, fd).with_addr(message.addr()))
                });
                session.fresh();
            }
        }),
        Case::new("on-a-worker/held-back-and-fails", Opcode::Recv, |session| {
            for (kind, make) in FAILING {
                let (file, fd) = (session.file(TEXT), make(session));
                let ring = session.ring(8);
                let buffers = Buffers::new(session, &ring, 1, 4, 16, 0);
                for sqe in [prep::read(fd, 0, 4, u64::MAX), prep::recv(fd, 0, 4, 0)] {
                    // A worker carries this out, and goes on with what was held back.
                    ring.push(prep::read(file, 0, 0, 0).with_flags(SqeFlags::IO_DRAIN).with_user_data(1));
                    ring.push(buffers.select(sqe).with_user_data(2));
                    session.outcome(kind, ring.submit());
                    session.cqes(kind, &ring.collect(2));
                }
                session.fresh();
            }
        }),
        Case::new("on-a-worker/behind-a-refused-drain", Opcode::Read, |session| {
            // Refused: by an opcode, by a flag, by what is checked of all, by the operation, as the head and as a part of a chain.
            let refused = [
                ("unknown opcode", vec![prep::op(Opcode::Nop, -1).with_opcode(250)]),
                ("buffer select", vec![prep::nop().with_flags(SqeFlags::BUFFER_SELECT)]),
                ("ioprio", vec![prep::nop().with_ioprio(1)]),
                ("operation", vec![prep::nop().with_op_flags(1 << 30)]),
                ("head", vec![prep::nop().with_ioprio(1).with_flags(SqeFlags::IO_LINK), prep::nop()]),
                ("tail", vec![prep::nop().with_flags(SqeFlags::IO_LINK), prep::nop().with_ioprio(1)]),
                (
                    "unknown tail",
                    vec![prep::nop().with_flags(SqeFlags::IO_LINK), prep::nop().with_opcode(250)],
                ),
            ];
            for (label, chain) in refused {
                for drained in 0..chain.len() {
                    let (ring, socket) = (session.ring(8), session.tcp_socket());
                    let buffers = Buffers::new(session, &ring, 1, 8, 16, INCREMENTAL);
                    for (index, sqe) in chain.iter().enumerate() {
                        let drain = if index == drained { SqeFlags::IO_DRAIN } else { SqeFlags::empty() };
                        ring.push(sqe.with_flags(sqe.flags() | drain).with_user_data(index as u64));
                    }
                    session.outcome(format!("{label}, {drained}"), ring.submit());
                    session.cqes(format!("{label}, {drained}"), &ring.collect(chain.len()));
                    for number in 0..3 {
                        let read = buffers.select(prep::read(socket, 0, 4, 0));
                        session.one_recorded(format!("{label}, {drained}: read {number}"), &ring, read);
                    }
                }
                session.fresh();
            }
        }),
        Case::new("on-a-worker/behind-what-is-behind-a-drain", Opcode::Read, |session| {
            for first in [prep::nop(), prep::op(Opcode::FilesUpdate, -1).with_len(1)] {
                let (ring, socket) = (session.ring(8), session.tcp_socket());
                let buffers = Buffers::new(session, &ring, 1, 8, 16, INCREMENTAL);
                ring.push(first.with_flags(SqeFlags::IO_DRAIN).with_user_data(1));
                ring.push(prep::nop().with_user_data(2));
                session.outcome("submit", ring.submit());
                session.cqes("both", &ring.collect(2));
                for number in 0..3 {
                    let read = buffers.select(prep::read(socket, 0, 4, 0));
                    session.one_recorded(format!("read {number}"), &ring, read);
                }
                session.fresh();
            }
        }),
        Case::new("on-a-worker/sockets-that-are-shut-down", Opcode::Recv, |session| {
            use rustix::net::{Shutdown, SocketType, shutdown};
            let unix = [SocketType::STREAM, SocketType::DGRAM, SocketType::SEQPACKET];
            let mut pairs: Vec<_> = unix.map(|kind| (format!("{kind:?}"), session.pair_of(kind))).into();
            pairs.extend([("tcp".to_owned(), session.tcp_pair()), ("udp".to_owned(), session.udp_pair())]);
            let memory = session.memory(16);
            let message = session.message((0, 0), (0, 0), (0, 0));
            for (kind, (left, _right)) in pairs {
                session.with_kept(left, |fd| shutdown(fd, Shutdown::Read)).expect("it is connected");
                let recv = prep::recv(left, memory.addr(), 16, 0);
                let recvmsg = prep::op(Opcode::Recvmsg, left).with_addr(message.addr()).with_len(1);
                for sqe in [recv, recv.with_op_flags(MSG_WAITALL), recv.with_op_flags(MSG_DONTWAIT), recvmsg]
                {
                    for extra in [SqeFlags::empty(), SqeFlags::ASYNC] {
                        for first in [0, POLL_FIRST] {
                            let ring = session.ring(8);
                            ring.push(sqe.with_flags(extra).with_ioprio(first).with_user_data(1));
                            let name = Opcode::from_number(sqe.opcode());
                            let label =
                                format!("{kind}, {name:?}, {:#x}, {extra:?}, {first}", sqe.op_flags());
                            session.outcome(&label, ring.submit());
                            session.quiet(label, &ring);
                        }
                    }
                }
            }
        }),
        Case::new("on-a-worker/drained-recv", Opcode::Recv, |session| {
            let (left, right) = session.pair();
            uses_buffer(session, "nothing there", |buffers| buffers.recv(left, 0, MSG_DONTWAIT));
            session.write_fd(right, b"abcdefghijklmnopqrstuvwxyz");
            uses_buffer(session, "a part", |buffers| buffers.recv(left, 3, 0));
        }),
        Case::new("on-a-worker/behind-a-drain", Opcode::Recv, |session| {
            for kind in [0, INCREMENTAL] {
                let ring = session.ring(8);
                let (left, _right) = session.pair();
                let buffers = Buffers::new(session, &ring, 1, 4, 16, kind);
                let recv = buffers.recv(left, 0, MSG_DONTWAIT);
                ring.push(prep::nop().with_user_data(1).with_flags(SqeFlags::IO_DRAIN));
                ring.push(recv.with_user_data(2));
                ring.push(recv.with_user_data(3));
                session.outcome("submit", ring.submit());
                session.cqes("all", &ring.collect(3));
                session.one_recorded("later", &ring, recv);
            }
        }),
    ]
}

fn multishot() -> Vec<Case> {
    vec![
        Case::new("multishot/behind-what-a-worker-does", Opcode::Recv, |session| {
            let asynchronous = [SqeFlags::empty(), SqeFlags::ASYNC];
            for (kind, make) in FAILING {
                for (head, extra) in
                    asynchronous.into_iter().flat_map(|head| asynchronous.map(|extra| (head, extra)))
                {
                    for last in [SqeFlags::empty(), SqeFlags::IO_DRAIN] {
                        let label = format!("{kind}, {head:?}, {extra:?}, {last:?}");
                        let ring = session.ring(8);
                        let fd = make(session);
                        let buffers = Buffers::new(session, &ring, 1, 8, 16, 0);
                        let recv = buffers.recv(fd, 0, 0).with_ioprio(MULTISHOT);
                        ring.push(prep::nop().with_flags(SqeFlags::IO_LINK | head).with_user_data(1));
                        ring.push(
                            recv.with_flags(recv.flags() | SqeFlags::IO_LINK | extra).with_user_data(2),
                        );
                        ring.push(prep::nop().with_flags(last).with_user_data(3));
                        session.outcome(format!("{label}: submit"), ring.submit());
                        session.quiet(label, &ring);
                        session.fresh();
                    }
                }
            }
        }),
        Case::new("multishot/cancelled-on-a-worker", Opcode::ReadMultishot, |session| {
            for setup in [SetupFlags::empty(), SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN] {
                for extra in [SqeFlags::empty(), SqeFlags::ASYNC] {
                    let ring = session.ring_with(8, setup);
                    let (read, write) = session.pipe();
                    let buffers = Buffers::new(session, &ring, 1, 8, 16, 0);
                    for (end, fd) in [("read", read), ("write", write)] {
                        let label = format!("{setup:?}, {extra:?}, {end} end");
                        let sqe = buffers.select(prep::op(Opcode::ReadMultishot, fd).with_off(u64::MAX));
                        ring.push(sqe.with_flags(sqe.flags() | extra).with_user_data(1));
                        session.outcome(format!("{label}: submit"), ring.submit());
                        session.quiet(format!("{label}: waits"), &ring);
                        ring.push(prep::cancel(1, 0).with_user_data(2));
                        session.outcome(format!("{label}: cancel"), ring.submit());
                        session.quiet(format!("{label}: end"), &ring);
                    }
                    session.fresh();
                }
            }
        }),
        Case::new("multishot/right-behind-a-refused-drain", Opcode::ReadMultishot, |session| {
            let deferring = SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN;
            for setup in [SetupFlags::empty(), deferring].map(|setup| setup | SetupFlags::SUBMIT_ALL) {
                for is_read in [true, false] {
                    let ring = session.ring_with(8, setup);
                    let (read, write) = session.pipe();
                    let buffers = Buffers::new(session, &ring, 1, 8, 16, 0);
                    let fd = if is_read { read } else { write };
                    let label = format!("{setup:?}, {is_read}");
                    let sqe = buffers.select(prep::op(Opcode::ReadMultishot, fd).with_off(u64::MAX));
                    ring.push(prep::nop().with_ioprio(1).with_flags(SqeFlags::IO_DRAIN).with_user_data(3));
                    ring.push(sqe.with_user_data(1));
                    session.outcome(format!("{label}: submit"), ring.submit());
                    session.quiet(format!("{label}: waits"), &ring);
                    ring.push(prep::cancel(1, 0).with_user_data(2));
                    session.outcome(format!("{label}: cancel"), ring.submit());
                    session.quiet(format!("{label}: end"), &ring);
                    ring.push(prep::nop().with_user_data(4));
                    session.outcome(format!("{label}: nop"), ring.submit());
                    session.quiet(format!("{label}: nop"), &ring);
                    session.fresh();
                }
            }
        }),
        Case::new("multishot/that-never-ends", Opcode::Recv, |session| {
            const MSG_PEEK: u32 = 2;
            for kind in [0, INCREMENTAL] {
                for entries in [4, 16] {
                    // What is only looked at is there for ever: the CQ ends it.
                    let ring = session.ring(entries);
                    let (left, right) = session.pair();
                    let buffers = Buffers::new(session, &ring, 1, 256, 16, kind);
                    session.write_fd(right, b"ab");
                    let recv = buffers.recv(left, 0, MSG_PEEK).with_ioprio(MULTISHOT);
                    ring.push(recv.with_user_data(1));
                    ring.push(prep::nop().with_user_data(2));
                    session.outcome(format!("{kind}, {entries}: submit"), ring.submit());
                    session.quiet(format!("{kind}, {entries}"), &ring);
                    session.fresh();
                }
            }
        }),
        Case::new("on-a-worker/multishot-that-does-not-wait", Opcode::Recv, |session| {
            for kind in [0, INCREMENTAL] {
                for ioprio in [MULTISHOT, MULTISHOT | BUNDLE] {
                    for before in [0, 3, 16, 20] {
                        let label = format!("{kind}, {ioprio}, {before} before");
                        let ring = session.ring(16);
                        let (left, right) = session.pair();
                        let buffers = Buffers::new(session, &ring, 1, 8, 16, kind);
                        session.write_fd(right, &TEXT[..before]);
                        let recv = buffers.recv(left, 0, MSG_DONTWAIT).with_ioprio(ioprio);
                        ring.push(recv.with_flags(recv.flags() | SqeFlags::ASYNC).with_user_data(1));
                        session.outcome(format!("{label}: submit"), ring.submit());
                        session.quiet(format!("{label}: then"), &ring);
                        session.write_fd(right, b"more");
                        session.quiet(format!("{label}: more"), &ring);
                        ring.push(prep::cancel(1, 0).with_user_data(2));
                        session.outcome(format!("{label}: cancel"), ring.submit());
                        session.quiet(format!("{label}: end"), &ring);
                    }
                    session.fresh();
                }
            }
        }),
        Case::new("on-a-worker/polls-first", Opcode::Recv, |session| {
            for kind in [0, INCREMENTAL] {
                for (ioprio, flags) in [
                    (POLL_FIRST, 0),
                    (POLL_FIRST, MSG_WAITALL),
                    (POLL_FIRST, MSG_DONTWAIT),
                    (POLL_FIRST | BUNDLE, 0),
                    (POLL_FIRST | BUNDLE, MSG_WAITALL),
                ] {
                    // `None`: nothing is there when it is submitted.
                    for before in [None, Some(0), Some(3), Some(16), Some(20)] {
                        let label = format!("{kind}, {ioprio}, {flags}, {before:?} before");
                        let ring = session.ring(16);
                        let (left, right) = session.pair_of(rustix::net::SocketType::SEQPACKET);
                        let buffers = Buffers::new(session, &ring, 1, 8, 16, kind);
                        let send = |bytes: usize| {
                            let none = rustix::net::SendFlags::empty();
                            session
                                .with_kept(right, |fd| rustix::net::send(fd, &TEXT[..bytes], none))
                                .expect("room");
                        };
                        before.into_iter().for_each(send);
                        let recv = buffers.recv(left, 0, flags).with_ioprio(ioprio);
                        ring.push(recv.with_flags(recv.flags() | SqeFlags::ASYNC).with_user_data(1));
                        session.outcome(format!("{label}: submit"), ring.submit());
                        session.quiet(format!("{label}: then"), &ring);
                        send(5);
                        session.quiet(format!("{label}: more"), &ring);
                        buffers.look(session, &ring, &label);
                    }
                    session.fresh();
                }
            }
        }),
        Case::new("on-a-worker/polls-first-without-buffers", Opcode::Recv, |session| {
            for kind in ["Unix", "TCP", "UDP"] {
                for flags in [0, MSG_WAITALL] {
                    for before in [0, 3, 15, 20] {
                        for opcode in [Opcode::Recv, Opcode::Recvmsg] {
                            let label = format!("{opcode:?} {kind}, {flags}, {before} before");
                            let ring = session.ring(8);
                            let (left, right) = match kind {
                                "Unix" => session.pair(),
                                "TCP" => session.tcp_pair(),
                                _ => session.udp_pair(),
                            };
                            let room = session.memory(15);
                            let recv = match opcode {
                                Opcode::Recv => prep::recv(left, room.addr(), 15, flags),
                                _ => {
                                    let vectors = session.vectors(&[(room.addr(), 15)]);
                                    let message = session.message((0, 0), (vectors.addr(), 1), (0, 0));
                                    prep::op(opcode, left).with_addr(message.addr()).with_op_flags(flags)
                                }
                            };
                            if before > 0 {
                                session.write_fd(right, &TEXT[..before]);
                            }
                            let recv = recv.with_ioprio(POLL_FIRST).with_user_data(1);
                            ring.push(recv.with_flags(SqeFlags::ASYNC));
                            session.outcome(format!("{label}: submit"), ring.submit());
                            session.quiet(format!("{label}: then"), &ring);
                            session.write_fd(right, &TEXT[..5]);
                            session.quiet(format!("{label}: more"), &ring);
                            session.write_fd(right, &TEXT[..7]);
                            session.quiet(format!("{label}: and more"), &ring);
                        }
                    }
                    session.fresh();
                }
            }
        }),
        Case::new("on-a-worker/send-bundle", Opcode::Send, |session| {
            let bytes = session.memory_of(b"four and more");
            for selects in [false, true] {
                // A ring, which is no socket either, answers as an eventfd does, which its descriptor is here.
                let kinds =
                    crate::differential::kinds::KINDS.iter().filter(|(label, _)| *label != "the ring");
                for (label, kind) in kinds {
                    let ring = session.ring(8);
                    let buffers = Buffers::new(session, &ring, 1, 4, 16, 0);
                    let fd = kind(session, &ring);
                    let send = prep::send(fd, bytes.addr(), 4, 0).with_ioprio(BUNDLE);
                    let send = if selects { buffers.select(send.with_addr(0)) } else { send };
                    let send = send.with_flags(send.flags() | SqeFlags::ASYNC).with_user_data(1);
                    ring.push(send);
                    session.outcome(format!("{label}, {selects}: submit"), ring.submit());
                    session.quiet(format!("{label}, {selects}"), &ring);
                    buffers.look(session, &ring, label);
                    session.fresh();
                }
            }
            for selects in [false, true] {
                let ring = session.ring(8);
                let buffers = Buffers::new(session, &ring, 1, 4, 16, 0);
                let (left, right) = session.pair();
                session.with_kept(left, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
                let full = [0; 4096];
                while session.with_kept(left, |fd| rustix::io::write(fd, &full)).is_ok() {}
                let send = prep::send(left, bytes.addr(), 4, 0).with_ioprio(BUNDLE);
                let send = if selects { buffers.select(send.with_addr(0)) } else { send };
                ring.push(send.with_flags(send.flags() | SqeFlags::ASYNC).with_user_data(1));
                session.outcome(format!("full, {selects}: submit"), ring.submit());
                session.quiet(format!("full, {selects}: waits"), &ring);
                session.with_kept(right, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
                let mut sink = [0; 65536];
                while session.with_kept(right, |fd| rustix::io::read(fd, &mut sink)).is_ok() {}
                session.quiet(format!("full, {selects}: room"), &ring);
                buffers.look(session, &ring, "then");
            }
        }),
    ]
}
