//! POLL_ADD and POLL_REMOVE.

use ringer_abi::poll::{POLLIN, POLLOUT, POLLPRI, POLLRDHUP};
use ringer_abi::{CqeFlags, Opcode, Sqe, SqeFlags, uapi};

use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::{Case, Ring, Session, prep};

const EPOLLET: u32 = 1 << 31;
const EPOLLONESHOT: u32 = 1 << 30;
const EPOLLEXCLUSIVE: u32 = 1 << 28;

const MULTI: u32 = uapi::IORING_POLL_ADD_MULTI;
const LEVEL: u32 = uapi::IORING_POLL_ADD_LEVEL;
const UPDATE_EVENTS: u32 = uapi::IORING_POLL_UPDATE_EVENTS;
const UPDATE_USER_DATA: u32 = uapi::IORING_POLL_UPDATE_USER_DATA;

const POLL_ADD: Exemplar = Exemplar::new(
    "poll-add",
    Opcode::PollAdd,
    FdRole::File,
    // `len` holds the flags of the poll.
    &[Field::Len, Field::OpFlags],
    &[],
    |session, _| {
        let (read, write) = session.pipe();
        session.write_fd(write, b"x");
        Good::new(prep::poll(read, POLLIN))
    },
);

const POLL_REMOVE: Exemplar = Exemplar::new(
    "poll-remove",
    Opcode::PollRemove,
    FdRole::Ignored,
    &[Field::Off, Field::Addr, Field::Len, Field::OpFlags],
    &[],
    |session, ring| {
        armed(session, ring, 7);
        Good::new(prep::poll_remove(7))
    },
);

/// Arms a poll on an empty pipe; returns the write end.
fn armed(session: &Session, ring: &Ring, user_data: u64) -> i32 {
    let (read, write) = session.pipe();
    ring.push(prep::poll(read, POLLIN).with_user_data(user_data));
    session.outcome("arm", ring.submit());
    write
}

fn update(target: u64, flags: u32) -> Sqe {
    prep::poll_remove(target).with_len(flags)
}

/// The cases of POLL_ADD and POLL_REMOVE.
pub fn cases() -> Vec<Case> {
    let mut cases = POLL_ADD.cases();
    cases.extend(POLL_REMOVE.cases());
    cases.extend(one_shot());
    cases.extend(multishot());
    cases.extend(removal());
    cases
}

fn one_shot() -> Vec<Case> {
    vec![
        Case::new("poll-add/file-that-cannot-wait", Opcode::PollAdd, |session| {
            const MULTISHOT: u32 = 1;
            let ring = session.ring(8);
            for (label, events) in [("in", 1), ("in and out", 5), ("priority", 2), ("none", 0)] {
                for (kind, fd) in [("file", session.file(b"text")), ("directory", session.directory_fd())] {
                    for flags in [0, MULTISHOT] {
                        let sqe = prep::poll(fd, events).with_len(flags);
                        session.one_recorded(format!("{label} of a {kind}, flags {flags}"), &ring, sqe);
                    }
                }
            }
        }),
        Case::new("poll-add/events", Opcode::PollAdd, |session| {
            let all =
                [0, POLLIN, POLLPRI, POLLOUT, POLLIN | POLLOUT, POLLRDHUP | POLLIN, 0xffff, 0x40 | POLLIN];
            for (label, kind) in crate::differential::kinds::KINDS {
                for events in all {
                    let ring = session.ring(4);
                    let fd = kind(session, &ring);
                    ring.push(prep::poll(fd, events).with_user_data(1));
                    let _ = ring.submit();
                    // Readiness that is there is reported within the call.
                    session.cqes(format!("{label}: {events:#x}"), &ring.reap_all());
                }
                session.fresh();
            }
        }),
        Case::new("poll-add/end-of-one-half", Opcode::PollAdd, |session| {
            let all = [0, POLLIN, POLLPRI, POLLOUT, POLLIN | POLLOUT, POLLRDHUP];
            for shut in [rustix::net::Shutdown::Read, rustix::net::Shutdown::Write] {
                for events in all {
                    let ring = session.ring(4);
                    let (left, right) = session.pair();
                    session.with_kept(left, |fd| rustix::net::shutdown(fd, shut).expect("it is connected"));
                    for (label, fd) in [("here", left), ("at the peer", right)] {
                        ring.push(prep::poll(fd, events).with_user_data(1));
                        let _ = ring.submit();
                        session.cqes(format!("{shut:?} {label}: {events:#x}"), &ring.reap_all());
                    }
                }
                session.fresh();
            }
        }),
        Case::new("poll-add/becomes-ready", Opcode::PollAdd, |session| {
            let ring = session.ring(8);
            for flags in [SqeFlags::empty(), SqeFlags::ASYNC] {
                let (read, write) = session.pipe();
                ring.push(prep::poll(read, POLLIN).with_user_data(1).with_flags(flags));
                session.outcome("submit", ring.submit());
                session.quiet("before", &ring);
                session.write_fd(write, b"x");
                session.cqes("after", &ring.collect(1));
                session.write_fd(write, b"y");
                session.quiet("one-shot", &ring);
            }
        }),
        Case::new("poll-add/hang-up", Opcode::PollAdd, |session| {
            let ring = session.ring(8);
            let (read, write) = session.pipe();
            ring.push(prep::poll(read, 0).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.close_kept(write);
            session.cqes("writer gone", &ring.collect(1));
            let (read, write) = session.pipe();
            session.close_kept(read);
            session.one_recorded("reader gone", &ring, prep::poll(write, POLLOUT));
            let (left, right) = session.pair();
            ring.push(prep::poll(left, POLLIN | POLLRDHUP).with_user_data(2));
            session.outcome("submit", ring.submit());
            session.close_kept(right);
            session.cqes("peer gone", &ring.collect(1));
        }),
        Case::new("poll-add/outlives-its-descriptor", Opcode::PollAdd, |session| {
            let ring = session.ring(8);
            let (read, write) = session.pipe();
            ring.push(prep::poll(read, POLLIN).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.close_kept(read);
            session.file(b"takes the number");
            session.quiet("closed", &ring);
            session.write_fd(write, b"x");
            session.cqes("written", &ring.collect(1));
        }),
        Case::new("poll-add/many-on-one-file", Opcode::PollAdd, |session| {
            let ring = session.ring(8);
            let (read, write) = session.pipe();
            let sqes: Vec<Sqe> = (0..5).map(|data| prep::poll(read, POLLIN).with_user_data(data)).collect();
            ring.push_all(&sqes);
            session.outcome("submit", ring.submit());
            session.write_fd(write, b"x");
            session.cqes("all of them", &ring.collect(5));
        }),
        Case::new("poll-add/flags", Opcode::PollAdd, |session| {
            for bit in 0..32 {
                let ring = session.ring(4);
                let (read, write) = session.pipe();
                session.write_fd(write, b"x");
                ring.push(prep::poll(read, POLLIN).with_len(1 << bit).with_user_data(1));
                session.outcome(format!("len bit {bit}: submit"), ring.submit());
                session.cqes(format!("len bit {bit}"), &ring.reap_all());
            }
            for events in [EPOLLET, EPOLLONESHOT, EPOLLEXCLUSIVE] {
                let ring = session.ring(4);
                let (read, write) = session.pipe();
                session.write_fd(write, b"x");
                ring.push(prep::poll(read, POLLIN | events).with_user_data(1));
                session.outcome(format!("{events:#x}: submit"), ring.submit());
                session.cqes(format!("{events:#x}"), &ring.reap_all());
            }
        }),
    ]
}

/// Writes, waits for the completion, writes again: what a multishot poll reports each time.
fn shots(session: &Session, ring: &Ring, write: i32, label: &str) {
    for round in 0..3 {
        session.write_fd(write, b"x");
        session.cqes(format!("{label}: write {round}"), &ring.collect(1));
    }
}

fn multishot() -> Vec<Case> {
    vec![
        Case::new("poll-add/multishot", Opcode::PollAdd, |session| {
            let ring = session.ring(8);
            let (read, write) = session.pipe();
            ring.push(prep::poll(read, POLLIN).with_len(MULTI).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.quiet("before", &ring);
            shots(session, &ring, write, "unread");
            session.read_fd(read, 64);
            session.quiet("read out", &ring);
            shots(session, &ring, write, "after reading");
            session.one_recorded("remove", &ring, prep::poll_remove(1).with_user_data(2));
            session.quiet("nothing more", &ring);
        }),
        Case::new("poll-add/multishot-ready-at-once", Opcode::PollAdd, |session| {
            let ring = session.ring(8);
            let (read, write) = session.pipe();
            session.write_fd(write, b"x");
            ring.push(prep::poll(read, POLLIN).with_len(MULTI).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.cqes("at once", &ring.collect(1));
            session.quiet("once", &ring);
            shots(session, &ring, write, "more");
        }),
        Case::new("poll-add/multishot-of-one-shot", Opcode::PollAdd, |session| {
            let ring = session.ring(8);
            let (read, write) = session.pipe();
            ring.push(prep::poll(read, POLLIN | EPOLLONESHOT).with_len(MULTI).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.write_fd(write, b"x");
            session.quiet("once", &ring);
            session.write_fd(write, b"x");
            session.quiet("and no more", &ring);
        }),
        Case::new("poll-add/multishot-hang-up", Opcode::PollAdd, |session| {
            let ring = session.ring(8);
            let (read, write) = session.pipe();
            ring.push(prep::poll(read, POLLIN).with_len(MULTI).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.close_kept(write);
            session.cqes("writer gone", &ring.collect(1));
            session.quiet("then", &ring);
        }),
        Case::new("poll-add/multishot-level", Opcode::PollAdd, |session| {
            for (label, len) in [("level", LEVEL), ("multishot level", MULTI | LEVEL)] {
                let ring = session.ring(8);
                let (read, write) = session.pipe();
                ring.push(prep::poll(read, POLLIN).with_len(len).with_user_data(1));
                session.outcome(format!("{label}: submit"), ring.submit());
                session.write_fd(write, b"x");
                let first = ring.collect(1);
                session.record(label, format!("{:?}", first.first().map(|cqe| (cqe.res, cqe.flags))));
            }
        }),
        Case::new("poll-add/multishot-many-files", Opcode::PollAdd, |session| {
            let ring = session.ring(8);
            let pipes: Vec<(i32, i32)> = (0..4).map(|_| session.pipe()).collect();
            for (data, (read, _)) in pipes.iter().enumerate() {
                ring.push(prep::poll(*read, POLLIN).with_len(MULTI).with_user_data(data as u64));
            }
            session.outcome("submit", ring.submit());
            for round in 0..2 {
                for (data, (_, write)) in pipes.iter().enumerate() {
                    session.write_fd(*write, b"x");
                    session.cqes(format!("round {round}, file {data}"), &ring.collect(1));
                }
            }
        }),
        Case::new("poll-add/multishot-ended-by-cancel", Opcode::PollAdd, |session| {
            let ring = session.ring(8);
            let (read, _write) = session.pipe();
            ring.push(prep::poll(read, POLLIN).with_len(MULTI).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.batch_of("cancel", &ring, &[prep::cancel(1, 0).with_user_data(2)], 2);
        }),
    ]
}

fn removal() -> Vec<Case> {
    vec![
        Case::new("poll-remove/targets", Opcode::PollRemove, |session| {
            let ring = session.ring(8);
            session.one_recorded("none", &ring, prep::poll_remove(9));
            armed(session, &ring, 7);
            session.one_recorded("another", &ring, prep::poll_remove(8).with_user_data(1));
            session.batch_of("this", &ring, &[prep::poll_remove(7).with_user_data(2)], 2);
            session.one_recorded("gone", &ring, prep::poll_remove(7).with_user_data(3));
            let write = armed(session, &ring, 10);
            armed(session, &ring, 10);
            session.batch_of("one of two", &ring, &[prep::poll_remove(10).with_user_data(4)], 2);
            session.write_fd(write, b"x");
            session.record(
                "left",
                ring.collect_until(std::time::Duration::from_millis(50), |_| false).len() < 2,
            );
        }),
        Case::new("poll-remove/not-a-poll", Opcode::PollRemove, |session| {
            let ring = session.ring(8);
            let (read, _write) = session.pipe();
            let buffer = session.memory(8);
            ring.push(prep::read(read, buffer.addr(), 8, 0).with_user_data(7));
            session.outcome("submit", ring.submit());
            session.one_recorded("a read", &ring, prep::poll_remove(7).with_user_data(1));
            let forever = session.timespec(100, 0);
            ring.push(prep::timeout(forever.addr(), 0, 0).with_user_data(8));
            session.outcome("submit", ring.submit());
            session.one_recorded("a timeout", &ring, prep::poll_remove(8).with_user_data(2));
        }),
        Case::new("poll-remove/flags", Opcode::PollRemove, |session| {
            for bit in 0..32 {
                let ring = session.ring(8);
                armed(session, &ring, 7);
                let sqe = update(7, 1 << bit).with_user_data(1);
                session.one_recorded(format!("len bit {bit}"), &ring, sqe);
            }
            for off in [0, 9] {
                for events in [0, POLLOUT] {
                    let ring = session.ring(8);
                    armed(session, &ring, 7);
                    let sqe = prep::poll_remove(7).with_off(off).with_op_flags(events).with_user_data(1);
                    session.one_recorded(format!("off {off} events {events}"), &ring, sqe);
                }
            }
        }),
        Case::new("poll-remove/update-events", Opcode::PollRemove, |session| {
            let ring = session.ring(8);
            let (left, _right) = session.pair();
            ring.push(prep::poll(left, POLLIN).with_user_data(7));
            session.outcome("submit", ring.submit());
            session.quiet("not readable", &ring);
            let sqe = update(7, UPDATE_EVENTS).with_op_flags(POLLOUT).with_user_data(1);
            session.batch_of("to writable", &ring, &[sqe], 2);
            session.one_recorded("gone", &ring, sqe);
        }),
        Case::new("poll-remove/update-user-data", Opcode::PollRemove, |session| {
            let ring = session.ring(8);
            let write = armed(session, &ring, 7);
            let sqe = update(7, UPDATE_USER_DATA).with_off(70).with_user_data(1);
            session.one_recorded("rename", &ring, sqe);
            session.one_recorded("the old name", &ring, sqe.with_user_data(2));
            session.write_fd(write, b"x");
            session.cqes("fires", &ring.collect(1));
        }),
        Case::new("poll-remove/update-multishot", Opcode::PollRemove, |session| {
            let ring = session.ring(8);
            let (read, write) = session.pipe();
            ring.push(prep::poll(read, POLLIN).with_len(MULTI).with_user_data(7));
            session.outcome("submit", ring.submit());
            let both = UPDATE_EVENTS | UPDATE_USER_DATA | MULTI;
            let sqe = update(7, both).with_off(70).with_op_flags(POLLIN | POLLRDHUP).with_user_data(1);
            session.one_recorded("update", &ring, sqe);
            shots(session, &ring, write, "renamed");
            let sqe = update(70, UPDATE_EVENTS).with_op_flags(POLLPRI).with_user_data(2);
            session.one_recorded("to one-shot, other events", &ring, sqe);
            session.write_fd(write, b"x");
            session.quiet("not for this", &ring);
            session.close_kept(write);
            let last = ring.collect(1);
            session.cqes("hang-up", &last);
            let more = CqeFlags::MORE.bits();
            session.record("ended", last.iter().all(|cqe| cqe.flags & more == 0));
        }),
        Case::new("poll-remove/update-to-the-same-events", Opcode::PollRemove, |session| {
            for flags in [UPDATE_EVENTS, UPDATE_EVENTS | MULTI] {
                for events in [POLLIN, POLLOUT, POLLIN | POLLOUT] {
                    let ring = session.ring(8);
                    let (left, right) = session.pair();
                    ring.push(prep::poll(left, POLLIN | POLLOUT).with_len(MULTI).with_user_data(7));
                    session.outcome("submit", ring.submit());
                    session.quiet("writable", &ring);
                    ring.push(update(7, flags).with_op_flags(events).with_user_data(1));
                    session.outcome(format!("{flags}, {events}: submit"), ring.submit());
                    session.quiet(format!("{flags}, {events}: update"), &ring);
                    session.write_fd(right, b"x");
                    // Of both, a report names more than in Linux: a known difference.
                    if events != POLLIN | POLLOUT {
                        session.quiet(format!("{flags}, {events}: written"), &ring);
                    }
                }
            }
        }),
        Case::new("poll-remove/same-batch", Opcode::PollRemove, |session| {
            let ring = session.ring(8);
            let (read, _write) = session.pipe();
            let sqes = [
                prep::poll(read, POLLIN).with_user_data(1),
                prep::poll_remove(1).with_user_data(2),
                prep::poll_remove(1).with_user_data(3),
            ];
            session.batch("add, remove, remove", &ring, &sqes);
        }),
    ]
}
