//! ASYNC_CANCEL.

use ringer_abi::{Opcode, RegisterOpcode, SetupFlags, Sqe, SqeFlags, uapi};

use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::{Case, Ring, Session, prep};

const ALL: u32 = uapi::IORING_ASYNC_CANCEL_ALL;
const FD: u32 = uapi::IORING_ASYNC_CANCEL_FD;
const ANY: u32 = uapi::IORING_ASYNC_CANCEL_ANY;
const FD_FIXED: u32 = uapi::IORING_ASYNC_CANCEL_FD_FIXED;
const USERDATA: u32 = uapi::IORING_ASYNC_CANCEL_USERDATA;
const OP: u32 = uapi::IORING_ASYNC_CANCEL_OP;

const ASYNC_CANCEL: Exemplar = Exemplar::new(
    "async-cancel",
    Opcode::AsyncCancel,
    FdRole::Ignored,
    &[Field::Addr, Field::Len, Field::OpFlags],
    &[],
    |session, ring| {
        let (read, _write) = session.pipe();
        ring.push(prep::poll(read, 1).with_user_data(7));
        session.outcome("arm", ring.submit());
        Good::new(prep::cancel(7, 0))
    },
);

/// Starts a read of an empty pipe for each `user_data`, all of one pipe; returns its read end.
fn reads(session: &Session, ring: &Ring, datas: &[u64]) -> i32 {
    let (read, _write) = session.pipe();
    for data in datas {
        let buffer = session.memory(8);
        ring.push(prep::read(read, buffer.addr(), 8, 0).with_user_data(*data));
    }
    session.outcome("reads", ring.submit());
    read
}

/// Submits a cancellation and records its completion and that of the requests it ended.
fn cancel(session: &Session, ring: &Ring, label: &str, sqe: Sqe, ended: usize) {
    session.batch_of(label, ring, &[sqe.with_user_data(1000)], ended + 1);
    session.quiet(format!("{label}: more"), ring);
}

/// The cases of ASYNC_CANCEL.
pub fn cases() -> Vec<Case> {
    let mut cases = ASYNC_CANCEL.cases();
    cases.extend(by_key());
    cases.extend(by_kind());
    cases
}

fn by_key() -> Vec<Case> {
    vec![
        Case::new("async-cancel/after-a-part", Opcode::AsyncCancel, |session| {
            const MSG_WAITALL: u32 = 0x100;
            let large = session.memory(200 * 1024);
            let (one, buffer) = (session.vectors(&[(large.addr(), 200 * 1024)]), session.memory(64));
            let into = session.vectors(&[(buffer.addr(), 16)]);
            let (sent, received) = (
                session.message((0, 0), (one.addr(), 1), (0, 0)),
                session.message((0, 0), (into.addr(), 1), (0, 0)),
            );
            let (_pipe, write) = session.pipe();
            for (label, sqe) in [
                ("recv", prep::recv(-1, buffer.addr(), 16, MSG_WAITALL)),
                (
                    "recvmsg",
                    prep::op(Opcode::Recvmsg, -1).with_addr(received.addr()).with_op_flags(MSG_WAITALL),
                ),
                ("sendmsg", prep::op(Opcode::Sendmsg, -1).with_addr(sent.addr()).with_op_flags(MSG_WAITALL)),
                ("write", prep::write(write, large.addr(), 200 * 1024, 0)),
                ("writev", prep::writev(write, one.addr(), 1, 0)),
            ] {
                let ring = session.ring(8);
                let (left, right) = session.pair();
                session
                    .with_kept(left, |fd| rustix::net::sockopt::set_socket_send_buffer_size(fd, 8192))
                    .expect("a socket");
                let sqe = if sqe.fd() < 0 { sqe.with_fd(left) } else { sqe };
                session.write_fd(right, b"ab");
                ring.push_all(&[
                    sqe.with_user_data(1).with_flags(SqeFlags::IO_LINK),
                    prep::nop().with_user_data(2),
                ]);
                session.outcome(format!("{label}: submit"), ring.submit());
                session.quiet(format!("{label}: before"), &ring);
                session.batch_of(label, &ring, &[prep::cancel(1, 0).with_user_data(3)], 3);
            }
        }),
        Case::new("async-cancel/by-user-data", Opcode::AsyncCancel, |session| {
            let ring = session.ring(8);
            cancel(session, &ring, "none", prep::cancel(9, 0), 0);
            reads(session, &ring, &[1, 2]);
            cancel(session, &ring, "another", prep::cancel(3, 0), 0);
            cancel(session, &ring, "this", prep::cancel(1, 0), 1);
            cancel(session, &ring, "gone", prep::cancel(1, 0), 0);
            cancel(session, &ring, "explicit", prep::cancel(2, USERDATA), 1);
        })
        .expect(&[("none", "[1000: -ENOENT]"), ("this", "[1: -ECANCELED, 1000: 0]")]),
        Case::new("async-cancel/all-with-one-user-data", Opcode::AsyncCancel, |session| {
            let ring = session.ring(16);
            reads(session, &ring, &[5, 5, 5, 6]);
            cancel(session, &ring, "all of 5", prep::cancel(5, ALL), 3);
            cancel(session, &ring, "all of 5 again", prep::cancel(5, ALL), 0);
            cancel(session, &ring, "all of 6", prep::cancel(6, ALL), 1);
        }),
        Case::new("async-cancel/by-fd", Opcode::AsyncCancel, |session| {
            let ring = session.ring(16);
            let first = reads(session, &ring, &[1, 2]);
            let second = reads(session, &ring, &[3]);
            let by = |fd: i32, flags: u32| prep::cancel(0, flags).with_fd(fd);
            let one = ring_after(session, &ring, by(first, FD));
            session.record("one of two", one);
            cancel(session, &ring, "all of the second", by(second, FD | ALL), 1);
            cancel(session, &ring, "the second again", by(second, FD | ALL), 0);
            cancel(session, &ring, "bad fd", by(-1, FD), 0);
            cancel(session, &ring, "closed fd", by(session.closed_fd(), FD | ALL), 0);
            cancel(session, &ring, "not used by anybody", by(session.eventfd(0), FD | ALL), 0);
            cancel(session, &ring, "left of the first", by(first, FD | ALL), 1);
        }),
        Case::new("async-cancel/by-fixed-fd", Opcode::AsyncCancel, |session| {
            let ring = session.ring(16);
            let (read, _write) = session.pipe();
            let table = session.ints(&[-1, read]);
            session.outcome("register", ring.register(RegisterOpcode::Files.number(), table.addr(), 2));
            let buffer = session.memory(8);
            let sqe = prep::read(1, buffer.addr(), 8, 0).with_flags(SqeFlags::FIXED_FILE).with_user_data(1);
            for round in 0..2 {
                ring.push(sqe.with_user_data(round));
            }
            session.outcome("reads", ring.submit());
            let by = |fd: i32, flags: u32| prep::cancel(0, flags).with_fd(fd);
            cancel(session, &ring, "empty slot", by(0, FD | FD_FIXED), 0);
            cancel(session, &ring, "past the end", by(9, FD | FD_FIXED), 0);
            cancel(session, &ring, "only the modifier", by(1, FD_FIXED), 0);
            cancel(session, &ring, "the slot", by(1, FD | FD_FIXED | ALL), 2);
            ring.push(sqe.with_user_data(5));
            session.outcome("read", ring.submit());
            cancel(session, &ring, "by its ordinary fd", by(read, FD), 1);
        }),
        Case::new("async-cancel/any", Opcode::AsyncCancel, |session| {
            let ring = session.ring(16);
            cancel(session, &ring, "nothing there", prep::cancel(0, ANY), 0);
            reads(session, &ring, &[1]);
            cancel(session, &ring, "one", prep::cancel(0, ANY), 1);
            reads(session, &ring, &[1, 2]);
            let forever = session.timespec(100, 0);
            ring.push(prep::timeout(forever.addr(), 0, 0).with_user_data(3));
            let (read, _write) = session.pipe();
            ring.push(prep::poll(read, 1).with_user_data(4));
            session.outcome("more", ring.submit());
            cancel(session, &ring, "all", prep::cancel(0, ANY | ALL), 4);
            cancel(session, &ring, "all again", prep::cancel(0, ANY | ALL), 0);
        }),
        Case::new("async-cancel/by-opcode", Opcode::AsyncCancel, |session| {
            let ring = session.ring(16);
            let read = reads(session, &ring, &[1]);
            ring.push(prep::poll(read, 1).with_user_data(2));
            session.outcome("poll", ring.submit());
            let by = |opcode: Opcode, flags: u32| {
                prep::cancel(0, OP | flags).with_len(opcode.number().into()).with_fd(read)
            };
            cancel(session, &ring, "accept", by(Opcode::Accept, 0), 0);
            cancel(session, &ring, "poll", by(Opcode::PollAdd, 0), 1);
            cancel(session, &ring, "read, by fd", by(Opcode::Read, FD), 1);
        }),
        Case::new("async-cancel/flag-combinations", Opcode::AsyncCancel, |session| {
            for flags in 0..64 {
                let ring = session.ring(8);
                let read = reads(session, &ring, &[7]);
                let sqe = prep::cancel(7, flags).with_fd(read).with_len(Opcode::Read.number().into());
                session.one_recorded(format!("flags {flags:#x}"), &ring, sqe.with_user_data(1000));
                session.close_kept(read);
            }
        }),
    ]
}

/// Cancels one of several candidates, of which it is not fixed which one: the results alone.
fn ring_after(_session: &Session, ring: &Ring, sqe: Sqe) -> String {
    ring.push(sqe.with_user_data(1000));
    let _ = ring.submit();
    let mut results: Vec<i32> = ring.collect(2).iter().map(|cqe| cqe.res).collect();
    results.sort_unstable();
    format!("{results:?}")
}

fn by_kind() -> Vec<Case> {
    vec![
        Case::new("async-cancel/every-kind-of-request", Opcode::AsyncCancel, |session| {
            let ring = session.ring(16);
            let (read, _write) = session.pipe();
            let (left, _right) = session.pair();
            let (listener, _) = session.listener();
            let buffer = session.memory(64);
            let forever = session.timespec(100, 0);
            let vectors = session.vectors(&[(buffer.addr(), 8)]);
            let message = session.message((0, 0), (vectors.addr(), 1), (0, 0));
            let kinds = [
                ("read", prep::read(read, buffer.addr(), 8, 0)),
                ("readv", prep::readv(read, vectors.addr(), 1, 0)),
                ("poll", prep::poll(read, 1)),
                ("multishot poll", prep::poll(read, 1).with_len(uapi::IORING_POLL_ADD_MULTI)),
                ("timeout", prep::timeout(forever.addr(), 0, 0)),
                ("timeout with a count", prep::timeout(forever.addr(), 50, 0)),
                ("recv", prep::recv(left, buffer.addr(), 8, 0)),
                ("recvmsg", prep::op(Opcode::Recvmsg, left).with_addr(message.addr()).with_len(1)),
                ("accept", prep::accept(listener, 0)),
                ("async recv", prep::recv(left, buffer.addr(), 8, 0).with_flags(SqeFlags::ASYNC)),
            ];
            for (label, sqe) in kinds {
                ring.push(sqe.with_user_data(1));
                session.outcome(format!("{label}: submit"), ring.submit());
                session.quiet(format!("{label}: pending"), &ring);
                session.batch_of(label, &ring, &[prep::cancel(1, 0).with_user_data(2)], 2);
            }
        }),
        Case::new("async-cancel/worker", Opcode::AsyncCancel, |session| {
            // A blocking read of a pipe that runs in a worker is interrupted.
            let ring = session.ring(8);
            let (read, _write) = session.pipe();
            let buffer = session.memory(8);
            ring.push(prep::read(read, buffer.addr(), 8, 0).with_user_data(1).with_flags(SqeFlags::ASYNC));
            session.outcome("submit", ring.submit());
            session.quiet("pending", &ring);
            ring.push(prep::cancel(1, 0).with_user_data(2));
            session.outcome("cancel", ring.submit());
            let seen = ring.collect(2);
            let result = |data| seen.iter().find(|cqe| cqe.user_data == data).map(|cqe| cqe.res);
            // Success, or EALREADY while the worker is being interrupted.
            session.record("found", matches!(result(2), Some(0 | -114)));
            session.record("ended", matches!(result(1), Some(-125 | -4)));
        }),
        Case::new("async-cancel/link-head", Opcode::AsyncCancel, |session| {
            let ring = session.ring(8);
            let (read, _write) = session.pipe();
            let buffer = session.memory(8);
            let head = prep::read(read, buffer.addr(), 8, 0).with_user_data(1);
            ring.push(head.with_flags(SqeFlags::IO_LINK));
            ring.push(prep::nop().with_user_data(2).with_flags(SqeFlags::IO_LINK));
            ring.push(prep::nop().with_user_data(3));
            session.outcome("chain", ring.submit());
            session.one_recorded("a waiting member", &ring, prep::cancel(2, 0).with_user_data(4));
            session.batch_of("the head", &ring, &[prep::cancel(1, 0).with_user_data(5)], 4);
        }),
        Case::new("async-cancel/itself", Opcode::AsyncCancel, |session| {
            let ring = session.ring(8);
            session.one_recorded("by user data", &ring, prep::cancel(5, 0).with_user_data(5));
            session.one_recorded("any", &ring, prep::cancel(0, ANY | ALL).with_user_data(5));
        }),
        Case::new("async-cancel/same-batch", Opcode::AsyncCancel, |session| {
            let ring = session.ring(8);
            let (read, _write) = session.pipe();
            let buffer = session.memory(8);
            let sqes = [
                prep::read(read, buffer.addr(), 8, 0).with_user_data(1),
                prep::cancel(1, 0).with_user_data(2),
                prep::cancel(1, 0).with_user_data(3),
            ];
            session.batch("read, cancel, cancel", &ring, &sqes);
        }),
        Case::new("async-cancel/drained-request", Opcode::AsyncCancel, |session| {
            let ring = session.ring(8);
            let (read, write) = session.pipe();
            let buffer = session.memory(8);
            ring.push(prep::read(read, buffer.addr(), 8, 0).with_user_data(1));
            ring.push(prep::nop().with_user_data(2).with_flags(SqeFlags::IO_DRAIN));
            session.outcome("submit", ring.submit());
            // A cancellation behind the drain waits itself.
            ring.push(prep::cancel(1, 0).with_user_data(3));
            session.outcome("cancel", ring.submit());
            session.quiet("held back", &ring);
            session.write_fd(write, b"x");
            session.cqes("released", &ring.collect(3));
        }),
        Case::new("async-cancel/order", Opcode::AsyncCancel, |session| {
            for setup in [SetupFlags::empty(), SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN] {
                for (label, target) in targets(session) {
                    let ring = session.ring_with(8, setup);
                    ring.push_all(&[target.with_user_data(1), target.with_user_data(2)]);
                    session.outcome(format!("{setup:?} {label}: arm"), ring.submit());
                    // A worker takes its time to begin.
                    std::thread::sleep(std::time::Duration::from_millis(20));
                    let sqes = [
                        prep::nop().with_user_data(10),
                        prep::cancel(1, 0).with_user_data(11),
                        prep::cancel(2, 0).with_user_data(12),
                        prep::nop().with_user_data(13),
                    ];
                    session.batch_in_order(format!("{setup:?} {label}"), &ring, &sqes, 6);
                }
            }
        }),
    ]
}

/// Requests that wait in different ways.
fn targets(session: &Session) -> Vec<(&'static str, Sqe)> {
    let (read, _write) = session.pipe();
    let (buffer, forever) = (session.memory(8), session.timespec(100, 0));
    let word = session.words(&[0]);
    vec![
        ("poll", prep::poll(read, 1)),
        ("multishot poll", prep::poll(read, 1).with_len(1)),
        ("read", prep::read(read, buffer.addr(), 8, 0)),
        ("read on a worker", prep::read(read, buffer.addr(), 8, 0).with_flags(SqeFlags::ASYNC)),
        ("timeout", prep::timeout(forever.addr(), 0, 0)),
        ("futex", prep::op(Opcode::FutexWait, 2).with_addr(word.addr()).with_addr3(u64::from(u32::MAX))),
    ]
}
