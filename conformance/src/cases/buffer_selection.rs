//! Buffer selection of requests that wait, go on after a part, fail or are cancelled, with groups of both kinds.

use ringer_abi::{Opcode, Sqe, SqeFlags, uapi};
use rustix::net::SocketType;

use crate::differential::buffer_ring::{BufferRing, INCREMENTAL};
use crate::differential::{Case, Ring, Session, prep};

const SELECT: SqeFlags = SqeFlags::BUFFER_SELECT;
const MULTISHOT: u16 = uapi::IORING_RECV_MULTISHOT as u16;
const POLL_FIRST: u16 = uapi::IORING_RECVSEND_POLL_FIRST as u16;
const BUNDLE: u16 = uapi::IORING_RECVSEND_BUNDLE as u16;
const MSG_WAITALL: u32 = 0x100;
const MSG_TRUNC: u32 = 0x20;
const MSG_DONTWAIT: u32 = 0x40;

/// A group with eight buffers of 8 bytes: a ring, an incremental one, or a classic group.
enum Group {
    Ring(BufferRing),
    Classic,
}

impl Group {
    fn each(session: &mut Session, play: impl Fn(&Session, &Ring, &Group)) {
        for (label, kind) in [("ring", Some(0)), ("incremental", Some(INCREMENTAL)), ("classic", None)] {
            let ring = session.ring(16);
            session.record("kind", label);
            let group = match kind {
                Some(flags) => {
                    let buffers = BufferRing::new(session, &ring, 1, flags);
                    buffers.memory.fill(b"aaaaaaaabbbbbbbbccccccccddddddddeeeeeeeeffffffffgggggggghhhhhhhh");
                    buffers.fill(8, 8);
                    Group::Ring(buffers)
                }
                None => {
                    let memory = session.memory(64);
                    let provide = prep::op(Opcode::ProvideBuffers, 8).with_addr(memory.addr()).with_len(8);
                    session.one_recorded("provide", &ring, provide.with_buf_index(1).with_user_data(9));
                    Group::Classic
                }
            };
            play(session, &ring, &group);
        }
    }

    /// Records what is left.
    fn left(&self, session: &Session, ring: &Ring) {
        match self {
            Self::Ring(buffers) => buffers.record(session, ring, "left", 8),
            Self::Classic => {
                let remove = prep::op(Opcode::RemoveBuffers, 100).with_buf_index(1).with_user_data(9);
                session.one_recorded("left", ring, remove);
            }
        }
    }
}

fn selecting(sqe: Sqe) -> Sqe {
    sqe.with_buf_index(1).with_flags(SELECT).with_user_data(1)
}

/// Submits one request and records all that completes, in order.
fn play(session: &Session, ring: &Ring, label: &str, sqe: Sqe) {
    ring.push(sqe);
    session.outcome(format!("{label}: submit"), ring.submit());
    session.quiet(label, ring);
}

/// Fills a socket's send buffer, and leaves it blocking.
fn stuff(session: &Session, fd: i32) {
    session.with_kept(fd, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
    while session.with_kept(fd, |fd| rustix::io::write(fd, &[0; 4096])).is_ok() {}
    session.with_kept(fd, |fd| rustix::io::ioctl_fionbio(fd, false)).expect("a socket");
}

/// Takes everything out of a socket.
fn drain(session: &Session, fd: i32) {
    session.with_kept(fd, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
    while session.with_kept(fd, |fd| rustix::io::read(fd, &mut [0_u8; 65536][..])).is_ok_and(|read| read > 0)
    {
    }
}

/// The cases of the family.
pub fn cases() -> Vec<Case> {
    let mut cases = waiting();
    cases.extend(messages());
    cases
}

fn waiting() -> Vec<Case> {
    vec![
        Case::new("buffer-select/send-waits", Opcode::Send, |session| {
            Group::each(session, |session, ring, group| {
                let (left, right) = session.pair();
                stuff(session, left);
                play(session, ring, "submitted", selecting(prep::send(left, 0, 0, 0)));
                drain(session, right);
                session.quiet("drained", ring);
                group.left(session, ring);
            });
        }),
        Case::new("buffer-select/send-cancelled", Opcode::Send, |session| {
            Group::each(session, |session, ring, group| {
                let (left, _right) = session.pair();
                stuff(session, left);
                play(session, ring, "submitted", selecting(prep::send(left, 0, 3, 0)));
                play(session, ring, "cancel", prep::cancel(1, 0).with_user_data(2));
                group.left(session, ring);
            });
        }),
        Case::new("buffer-select/send-dontwait", Opcode::Send, |session| {
            Group::each(session, |session, ring, group| {
                let (left, _right) = session.pair();
                stuff(session, left);
                for ioprio in [0, BUNDLE, POLL_FIRST] {
                    let sqe = selecting(prep::send(left, 0, 0, MSG_DONTWAIT)).with_ioprio(ioprio);
                    play(session, ring, &format!("ioprio {ioprio}"), sqe);
                }
                group.left(session, ring);
            });
        }),
        Case::new("buffer-select/send-not-ready", Opcode::Send, |session| {
            Group::each(session, |session, ring, group| {
                let send = |fd| selecting(prep::send(fd, 0, 0, 0));
                play(session, ring, "unconnected", send(session.tcp_socket()));
                play(session, ring, "a file", send(session.file(b"text")));
                play(session, ring, "closed", send(session.closed_fd()));
                group.left(session, ring);
            });
        }),
        Case::new("buffer-select/recv-failures", Opcode::Recv, |session| {
            Group::each(session, |session, ring, group| {
                let recv = |fd| selecting(prep::recv(fd, 0, 0, 0));
                play(session, ring, "unconnected", recv(session.tcp_socket()));
                play(session, ring, "a file", recv(session.file(b"text")));
                play(session, ring, "closed", recv(session.closed_fd()));
                play(session, ring, "dontwait", recv(session.pair().0).with_op_flags(MSG_DONTWAIT));
                play(session, ring, "unknown flags", recv(session.pair().0).with_op_flags(1 << 30));
                group.left(session, ring);
            });
        }),
        Case::new("buffer-select/poll-first", Opcode::Recv, |session| {
            Group::each(session, |session, ring, group| {
                for ioprio in [POLL_FIRST, POLL_FIRST | MULTISHOT] {
                    let (left, right) = session.pair();
                    play(
                        session,
                        ring,
                        "submitted",
                        selecting(prep::recv(left, 0, 0, 0)).with_ioprio(ioprio),
                    );
                    session.write_fd(right, b"first");
                    session.quiet("then", ring);
                    session.close_kept(right);
                    session.quiet("end", ring);
                }
                group.left(session, ring);
            });
        }),
        Case::new("buffer-select/recv-waitall", Opcode::Recv, |session| {
            for flags in [None, Some(0)] {
                let ring = session.ring(16);
                let memory = session.memory(64);
                let buffers = flags.map(|flags| BufferRing::new(session, &ring, 1, flags));
                match &buffers {
                    Some(buffers) => buffers.fill(4, 8),
                    None => {
                        let provide =
                            prep::op(Opcode::ProvideBuffers, 4).with_addr(memory.addr()).with_len(8);
                        session.one_recorded("provide", &ring, provide.with_buf_index(1).with_user_data(9));
                    }
                }
                let (left, right) = session.pair();
                play(session, &ring, "submitted", selecting(prep::recv(left, 0, 0, MSG_WAITALL)));
                session.write_fd(right, b"first");
                session.quiet("a part", &ring);
                session.write_fd(right, b"second");
                session.quiet("all", &ring);
                play(session, &ring, "the rest", selecting(prep::recv(left, 0, 0, MSG_WAITALL)));
                session.close_kept(right);
                session.quiet("end", &ring);
                let (left, right) = session.pair();
                session.write_fd(right, b"part");
                play(session, &ring, "once more", selecting(prep::recv(left, 0, 0, MSG_WAITALL)));
                play(session, &ring, "cancel", prep::cancel(1, 0).with_user_data(2));
                play(session, &ring, "empty", selecting(prep::recv(session.pair().0, 0, 0, MSG_WAITALL)));
                play(session, &ring, "cancel", prep::cancel(1, 0).with_user_data(2));
                if let Some(buffers) = buffers {
                    buffers.record(session, &ring, "left", 4);
                    session.bytes("memory", &buffers.memory.bytes());
                } else {
                    session.bytes("memory", &memory.bytes());
                }
            }
        }),
        Case::new("buffer-select/recv-trunc", Opcode::Recv, |session| {
            Group::each(session, |session, ring, group| {
                // The kernel counts bytes that were cut off as used, and loses a buffer.
                if matches!(group, Group::Ring(buffers) if buffers.is_incremental()) {
                    return;
                }
                let (left, right) = session.pair_of(SocketType::DGRAM);
                for flags in [0, MSG_TRUNC, 2, 2 | MSG_TRUNC] {
                    session.write_fd(right, b"a datagram");
                    play(session, ring, &format!("flags {flags}"), selecting(prep::recv(left, 0, 6, flags)));
                    drain(session, left);
                }
                group.left(session, ring);
            });
        }),
        Case::new("buffer-select/read-pipe-failures", Opcode::Read, |session| {
            Group::each(session, |session, ring, group| {
                let (read_end, write_end) = session.pipe();
                session.write_fd(write_end, b"text");
                let read = |fd, len| selecting(prep::read(fd, 0, len, u64::MAX));
                play(session, ring, "the wrong end", read(write_end, 0));
                play(session, ring, "unknown flags", read(read_end, 0).with_op_flags(1 << 30));
                play(session, ring, "three", read(read_end, 3));
                play(session, ring, "async", read(read_end, 0).with_flags(SELECT | SqeFlags::ASYNC));
                play(session, ring, "waits", read(read_end, 2));
                play(session, ring, "cancel", prep::cancel(1, 0).with_user_data(2));
                session.close_kept(write_end);
                play(session, ring, "end", read(read_end, 2));
                group.left(session, ring);
            });
        }),
        Case::new("buffer-select/several-wait", Opcode::Recv, |session| {
            Group::each(session, |session, ring, group| {
                let pairs = [session.pair(), session.pair(), session.pair()];
                for (index, (left, _)) in pairs.iter().enumerate() {
                    ring.push(selecting(prep::recv(*left, 0, 0, 0)).with_user_data(index as u64));
                }
                session.outcome("submit", ring.submit());
                session.quiet("wait", ring);
                for (index, (_, right)) in pairs.iter().enumerate().rev() {
                    session.write_fd(*right, b"data");
                    session.quiet(format!("to {index}"), ring);
                }
                group.left(session, ring);
            });
        }),
        Case::new("buffer-select/refill", Opcode::Recv, |session| {
            // A ring whose buffers go round many times.
            for flags in [0, INCREMENTAL] {
                let ring = session.ring(16);
                let buffers = BufferRing::with_memory(session, &ring, 1, flags, 4, 64);
                let (left, right) = session.pair();
                play(session, &ring, "empty", selecting(prep::recv(left, 0, 0, 0)).with_ioprio(MULTISHOT));
                buffers.fill(4, 8);
                ring.push(selecting(prep::recv(left, 0, 0, 0)).with_ioprio(MULTISHOT));
                session.outcome("submit", ring.submit());
                for round in 0..40_u16 {
                    session.write_fd(right, b"12345678");
                    let seen = ring.collect(1);
                    session.cqes(format!("round {round}"), &seen);
                    buffers.add(buffers.memory.addr() + u64::from(round % 4) * 8, 8, 100 + round);
                    buffers.publish();
                }
                buffers.record(session, &ring, "end", 4);
            }
        }),
        Case::new("buffer-select/linked", Opcode::Recv, |session| {
            Group::each(session, |session, ring, group| {
                let (left, right) = session.pair();
                session.write_fd(right, b"0123456789");
                let linked = SELECT | SqeFlags::IO_LINK;
                let first = selecting(prep::recv(left, 0, 4, 0)).with_flags(linked);
                let second = selecting(prep::send(left, 0, 2, 0)).with_user_data(2);
                session.batch_in_order("a chain", ring, &[first, second], 2);
                let failing = selecting(prep::recv(-1, 0, 4, 0)).with_flags(linked);
                session.batch_in_order("a broken chain", ring, &[failing, second], 2);
                let hidden =
                    selecting(prep::recv(left, 0, 4, 0)).with_flags(SELECT | SqeFlags::CQE_SKIP_SUCCESS);
                play(session, ring, "hidden", hidden);
                group.left(session, ring);
            });
        }),
    ]
}

fn messages() -> Vec<Case> {
    vec![
        Case::new("buffer-select/recvmsg", Opcode::Recvmsg, |session| {
            Group::each(session, |session, ring, group| {
                let (left, right) = session.pair();
                session.write_fd(right, b"a text for several messages");
                let recvmsg = |vectors: u64, count: u64| {
                    let message = session.message((0, 0), (vectors, count), (0, 0));
                    selecting(prep::op(Opcode::Recvmsg, left).with_addr(message.addr()).with_len(1))
                };
                let vector = |length| session.vectors(&[(0, length)]).addr();
                play(session, ring, "no vector", recvmsg(0, 0));
                play(session, ring, "3", recvmsg(vector(3), 1));
                play(session, ring, "0", recvmsg(vector(0), 1));
                play(session, ring, "100", recvmsg(vector(100), 1));
                play(session, ring, "negative", recvmsg(vector(u64::MAX), 1));
                play(session, ring, "large", recvmsg(vector(1 << 40), 1));
                play(session, ring, "two vectors", recvmsg(vector(3), 2));
                play(session, ring, "bad vector", recvmsg(session.bad_address(), 1));
                play(session, ring, "optlen", recvmsg(vector(3), 1).with_file_index(1));
                group.left(session, ring);
            });
        }),
        Case::new("buffer-select/recvmsg-multishot", Opcode::Recvmsg, |session| {
            for flags in [0, INCREMENTAL] {
                for limit in [0, 24, 40] {
                    let ring = session.ring(16);
                    let buffers = BufferRing::with_memory(session, &ring, 1, flags, 8, 512);
                    buffers.fill(4, 48);
                    let (left, right) = session.pair_of(SocketType::DGRAM);
                    let vectors = session.vectors(&[(0, limit)]);
                    let message = session.message((0, 0), (vectors.addr(), 1), (0, 0));
                    let sqe =
                        selecting(prep::op(Opcode::Recvmsg, left).with_addr(message.addr()).with_len(1));
                    play(session, &ring, &format!("flags {flags}, {limit}"), sqe.with_ioprio(MULTISHOT));
                    for text in
                        [&b"short"[..], b"a text of twenty-nine letters", b"more", b"and more", b"end"]
                    {
                        session.write_fd(right, text);
                        session.quiet(format!("{} bytes", text.len()), &ring);
                        buffers.record(session, &ring, "then", 4);
                    }
                    session.bytes("memory", &buffers.memory.bytes());
                }
            }
        }),
        Case::new("buffer-select/recvmsg-multishot-small", Opcode::Recvmsg, |session| {
            Group::each(session, |session, ring, group| {
                // Not even the header of a result fits.
                let (left, right) = session.pair_of(SocketType::DGRAM);
                session.write_fd(right, b"text");
                let message = session.message((0, 0), (0, 0), (0, 0));
                let sqe = selecting(prep::op(Opcode::Recvmsg, left).with_addr(message.addr()).with_len(1));
                play(session, ring, "submitted", sqe.with_ioprio(MULTISHOT));
                // What is no socket counts first.
                let (read, _) = session.pipe();
                play(session, ring, "a pipe", sqe.with_fd(read).with_ioprio(MULTISHOT));
                group.left(session, ring);
            });
        }),
    ]
}
