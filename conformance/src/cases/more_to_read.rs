//! `IORING_CQE_F_SOCK_NONEMPTY`: whether a socket has more to read than was received.

use std::os::fd::RawFd;
use std::time::Duration;

use ringer_abi::{Opcode, Sqe, SqeFlags};
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{Shutdown, SocketType, shutdown};

use crate::differential::{Case, Session, prep};

const MSG_OOB: u32 = 1;
const MSG_PEEK: u32 = 2;
const MSG_DONTWAIT: u32 = 0x40;
/// What every message holds.
const TEXT: &[u8] = b"sixteen letters.";
const LENGTH: u32 = TEXT.len() as u32;

type Pair = fn(&Session) -> (RawFd, RawFd);
/// Does something to a pair.
type Behind = fn(&Session, (RawFd, RawFd));
/// A receive from a socket, to an address or by a `struct msghdr`.
type Receive = fn(RawFd, u64, u64) -> Sqe;
/// A request for one of a pair, with memory.
type Other = fn(RawFd, RawFd, u64) -> Sqe;

/// Kinds of connected sockets.
const KINDS: [(&str, Pair); 4] = [
    ("tcp", |session| session.tcp_pair()),
    ("unix", |session| session.pair()),
    ("udp", |session| session.udp_pair()),
    ("unix-datagrams", |session| session.pair_of(SocketType::DGRAM)),
];

/// What is done to the other end behind a message of which nothing was received yet.
const BEHIND: [(&str, Behind); 6] = [
    ("nothing", |_, _| {}),
    ("a message", |session, (_, other)| session.write_fd(other, TEXT)),
    ("its end", |session, (_, other)| {
        session.with_kept(other, |fd| shutdown(fd, Shutdown::Write)).expect("it is connected");
    }),
    ("the own end", |session, (own, _)| {
        session.with_kept(own, |fd| shutdown(fd, Shutdown::Read)).expect("it is connected");
    }),
    ("the end of both", |session, (own, other)| {
        session.with_kept(own, |fd| shutdown(fd, Shutdown::Write)).expect("it is connected");
        session.with_kept(other, |fd| shutdown(fd, Shutdown::Write)).expect("it is connected");
    }),
    ("a reset", |session, (_, other)| {
        session.with_kept(other, |fd| set_socket_linger(fd, Some(Duration::ZERO))).expect("a socket");
        session.close_kept(other);
    }),
];

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = KINDS
        .into_iter()
        .flat_map(|(kind, pair)| BEHIND.map(|(name, behind)| (kind, pair, name, behind)))
        .map(|(kind, pair, name, behind)| {
            let name = format!("more-to-read/{kind}-{}", name.replace(' ', "-"));
            Case::new(name, Opcode::Recv, move |session| whole_messages(session, pair, behind))
        })
        .collect();
    cases.extend(of_urgent_data());
    cases.extend(in_one_submission());
    cases
}

/// Receives of a whole message, in each way, before what is behind it.
fn whole_messages(session: &Session, pair: Pair, behind: Behind) {
    let (ring, buffer) = (session.ring(8), session.memory(64).addr());
    let vectors = session.vectors(&[(buffer, LENGTH.into())]).addr();
    let message = session.message((0, 0), (vectors, 1), (0, 0)).addr();
    let ways: [(&str, Receive); 4] = [
        ("recv", |fd, buffer, _| prep::recv(fd, buffer, LENGTH, 0)),
        ("peek", |fd, buffer, _| prep::recv(fd, buffer, LENGTH, MSG_PEEK)),
        ("recv of nothing", |fd, buffer, _| prep::recv(fd, buffer, 0, 0)),
        ("recvmsg", |fd, _, message| prep::op(Opcode::Recvmsg, fd).with_addr(message).with_len(1)),
    ];
    for (name, way) in ways {
        for flags in [SqeFlags::empty(), SqeFlags::ASYNC] {
            let pair = pair(session);
            session.write_fd(pair.1, TEXT);
            behind(session, pair);
            // What is sent over loopback is there at once, but for the last steps of an end.
            std::thread::sleep(Duration::from_millis(1));
            let sqe = way(pair.0, buffer, message).with_flags(flags);
            session.one_recorded(format!("{name}, {flags:?}"), &ring, sqe);
            session.one_recorded("then", &ring, prep::recv(pair.0, buffer, LENGTH, MSG_DONTWAIT));
            session.one_recorded("and then", &ring, prep::recv(pair.0, buffer, LENGTH, MSG_DONTWAIT));
        }
    }
}

fn of_urgent_data() -> Vec<Case> {
    vec![Case::new("more-to-read/tcp-urgent", Opcode::Recv, |session| {
        let (ring, buffer) = (session.ring(8), session.memory_of(TEXT).addr());
        for more in [0, 3] {
            let (left, right) = session.tcp_pair();
            session.write_fd(right, TEXT);
            session.one_recorded("urgent", &ring, prep::send(right, buffer, 1, MSG_OOB));
            session.one_recorded("behind it", &ring, prep::send(right, buffer, more, 0));
            session.one_recorded("up to it", &ring, prep::recv(left, buffer, LENGTH, 0));
            session.one_recorded("over it", &ring, prep::recv(left, buffer, 3, MSG_DONTWAIT));
        }
    })]
}

/// The answers are those of the moment of each receive, whatever else the same submission does.
fn in_one_submission() -> Vec<Case> {
    vec![
        Case::new("more-to-read/of-many", Opcode::Recv, |session| {
            // More than the CQEs that are published together.
            let (ring, buffer) = (session.ring(64), session.memory(64).addr());
            for kind in [0, 1] {
                let sqes: Vec<Sqe> = (0..50)
                    .map(|index| {
                        let (left, right) = KINDS[kind].1(session);
                        session.write_fd(right, TEXT);
                        let length = if index % 3 == 0 { LENGTH - 1 } else { LENGTH };
                        let flags =
                            if index % 5 == 0 { SqeFlags::CQE_SKIP_SUCCESS } else { SqeFlags::empty() };
                        prep::recv(left, buffer, length, 0).with_flags(flags).with_user_data(index)
                    })
                    .collect();
                session.batch_of("all", &ring, &sqes, 40);
            }
        }),
        Case::new("more-to-read/before-the-next-receive", Opcode::Recv, |session| {
            let (ring, buffer) = (session.ring(8), session.memory(64).addr());
            for (kind, pair) in KINDS {
                let (left, right) = pair(session);
                session.write_fd(right, TEXT);
                session.write_fd(right, TEXT);
                let receive = prep::recv(left, buffer, LENGTH, 0);
                session.batch_in_order(
                    kind,
                    &ring,
                    &[receive.with_user_data(1), receive.with_user_data(2)],
                    2,
                );
            }
        }),
        Case::new("more-to-read/before-other-requests", Opcode::Recv, |session| {
            let (ring, buffer) = (session.ring(8), session.memory(64).addr());
            let others: [(&str, Other); 6] = [
                ("send", |_, right, buffer| prep::send(right, buffer, 4, 0)),
                ("write", |_, right, buffer| prep::write(right, buffer, 4, 0)),
                ("shutdown", |_, right, _| prep::op(Opcode::Shutdown, right).with_len(1)),
                ("read", |left, _, buffer| prep::read(left, buffer, 4, 0)),
                ("close", |left, _, _| prep::op(Opcode::Close, left)),
                ("nop", |_, _, _| prep::nop()),
            ];
            for (kind, pair) in KINDS {
                for (name, other) in others {
                    for more in 0..2 {
                        let (left, right) = pair(session);
                        (0..=more).for_each(|_| session.write_fd(right, TEXT));
                        if name == "read" && more == 0 {
                            continue;
                        }
                        let receive = prep::recv(left, buffer, LENGTH, 0).with_user_data(1);
                        let other = other(left, right, buffer).with_user_data(2);
                        session.batch_in_order(
                            format!("{kind}, {name}, {more} more"),
                            &ring,
                            &[receive, other],
                            2,
                        );
                        if name == "close" {
                            session.forget(left);
                        }
                    }
                }
            }
        }),
        Case::new("more-to-read/of-those-that-waited", Opcode::Recv, |session| {
            let (ring, buffer) = (session.ring(8), session.memory(64).addr());
            for (kind, pair) in KINDS {
                let pairs = [pair(session), pair(session), pair(session)];
                for (index, (left, _)) in pairs.into_iter().enumerate() {
                    let receive = prep::recv(left, buffer, LENGTH, 0).with_user_data(index as u64);
                    ring.push(receive);
                }
                session.outcome(format!("{kind}: submit"), ring.submit());
                for (index, (_, right)) in pairs.into_iter().enumerate() {
                    // The second one has more. One call each: a stream would be read between the writes.
                    let messages = if index == 1 && matches!(kind, "tcp" | "unix") { 2 } else { 1 };
                    session.write_fd(right, &TEXT.repeat(messages));
                }
                session.cqes(format!("{kind}: ready"), &ring.collect(3));
            }
        }),
    ]
}
