//! Several requests that wait at a time: whose turn it is first.

use std::time::Duration;

use ringer_abi::poll::POLLIN;
use ringer_abi::{EnterFlags, Opcode, SetupFlags, Sqe, uapi};

use super::buffer_ring_use::Buffers;
use crate::differential::{Case, Ring, Session, prep};

const ACCEPT_MULTISHOT: u16 = uapi::IORING_ACCEPT_MULTISHOT as u16;
const RECV_MULTISHOT: u16 = uapi::IORING_RECV_MULTISHOT as u16;
const DEFERRED: SetupFlags = SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN);

/// Records completions in the order in which they come.
fn in_order(session: &Session, label: &str, ring: &Ring) {
    std::thread::sleep(Duration::from_millis(5));
    let _ = ring.enter(0, 0, EnterFlags::GETEVENTS);
    let mut seen = ring.collect_until(Duration::from_millis(5), |_| false);
    session.close_brought(&mut seen, |cqe| cqe.user_data >= 100);
    session.cqes_in_order(label, &seen);
}

/// Submits each by a call of its own: the first is there for longest.
fn submit(session: &Session, ring: &Ring, sqes: &[Sqe]) {
    for (number, sqe) in (1..).zip(sqes) {
        let base = if sqe.opcode() == Opcode::Accept.number() { 100 } else { 0 };
        ring.push(sqe.with_user_data(base + number));
        session.outcome(format!("submit {number}"), ring.submit());
    }
}

/// Every way to make a ring whose completions come as task work.
fn on_rings(session: &mut Session, play: impl Fn(&Session, &Ring)) {
    for setup in [SetupFlags::empty(), SetupFlags::COOP_TASKRUN, DEFERRED] {
        session.record("ring", format!("{setup:?}"));
        play(session, &session.ring_with(16, setup));
        session.fresh();
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("waiting-order/reads-of-one-file", Opcode::Read, |session| {
            on_rings(session, |session, ring| {
                let (read, write) = session.pipe();
                let room = session.memory(64);
                let sqes: Vec<Sqe> =
                    (0..4).map(|index| prep::read(read, room.addr() + index * 8, 4, u64::MAX)).collect();
                submit(session, ring, &sqes);
                session.write_fd(write, b"abcdef");
                in_order(session, "enough for two", ring);
                session.bytes("room", &room.bytes());
                submit(session, ring, &[prep::read(read, room.addr() + 32, 4, u64::MAX).with_user_data(9)]);
                session.write_fd(write, b"gh");
                in_order(session, "enough for one", ring);
                session.write_fd(write, b"ijklmnop");
                in_order(session, "enough for all", ring);
                session.bytes("room", &room.bytes());
            });
        }),
        Case::new("waiting-order/files", Opcode::Recv, |session| {
            on_rings(session, |session, ring| {
                let room = session.memory(64);
                let pairs: Vec<(i32, i32)> = (0..4).map(|_| session.pair()).collect();
                let sqes: Vec<Sqe> =
                    pairs.iter().map(|(left, _)| prep::recv(*left, room.addr(), 4, 0)).collect();
                submit(session, ring, &sqes);
                for index in [2, 0, 3, 1] {
                    session.write_fd(pairs[index].1, b"text");
                }
                in_order(session, "all", ring);
            });
        }),
        Case::new("waiting-order/polls-and-reads", Opcode::PollAdd, |session| {
            for polls in
                [[true, false, false], [false, true, false], [false, false, true], [true, false, true]]
            {
                on_rings(session, |session, ring| {
                    let (left, right) = session.pair();
                    let room = session.memory(64);
                    let sqes = polls.map(|polls| match polls {
                        true => prep::op(Opcode::PollAdd, left).with_op_flags(POLLIN),
                        false => prep::recv(left, room.addr(), 8, 0),
                    });
                    submit(session, ring, &sqes);
                    session.write_fd(right, b"text");
                    in_order(session, &format!("{polls:?}"), ring);
                    session.write_fd(right, b"more text");
                    in_order(session, &format!("{polls:?}, more"), ring);
                });
            }
        }),
        Case::new("waiting-order/accepts", Opcode::Accept, |session| {
            for several in [[false, false, false], [true, false, false], [false, true, false]] {
                on_rings(session, |session, ring| {
                    let (listener, port) = session.listener();
                    let sqes = several.map(|several| {
                        prep::accept(listener, 0).with_ioprio(if several { ACCEPT_MULTISHOT } else { 0 })
                    });
                    submit(session, ring, &sqes);
                    for number in 0..3 {
                        session.client(port);
                        in_order(session, &format!("{several:?}, {number}"), ring);
                    }
                });
            }
        }),
        Case::new("waiting-order/multishot", Opcode::Recv, |session| {
            for several in
                [[true, false, false], [false, true, false], [true, true, false], [true, true, true]]
            {
                on_rings(session, |session, ring| {
                    let (left, right) = session.pair();
                    let room = session.memory(64);
                    let buffers = Buffers::new(session, ring, 1, 16, 4, 0);
                    let sqes = several.map(|several| match several {
                        true => buffers.recv(left, 0, 0).with_ioprio(RECV_MULTISHOT),
                        false => prep::recv(left, room.addr(), 4, 0),
                    });
                    submit(session, ring, &sqes);
                    for text in [&b"one"[..], b"two", b"three", b"four"] {
                        session.write_fd(right, text);
                        in_order(session, &format!("{several:?}, {}", text.len()), ring);
                    }
                });
            }
        }),
    ]
}
