//! EPOLL_CTL and EPOLL_WAIT.

use ringer_abi::{Opcode, Sqe, SqeFlags};

use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::{Case, Session, kinds, prep};

const EPOLLIN: u32 = 1;
const ADD: u32 = 1;
const DELETE: u32 = 2;
const MODIFY: u32 = 3;

/// EPOLL_CTL: the operation in `len`, the descriptor in `off`, the event in `addr`.
fn control(epoll: i32, operation: u32, fd: i32, event: u64) -> Sqe {
    prep::op(Opcode::EpollCtl, epoll).with_len(operation).with_off(fd as u32 as u64).with_addr(event)
}

/// A packed `struct epoll_event`.
fn event(session: &Session, events: u32, data: u64) -> u64 {
    let memory = session.memory(16);
    memory.put(0, events);
    memory.put(4, data);
    memory.addr()
}

/// EPOLL_WAIT: the events in `addr`, their number in `len`.
fn wait(epoll: i32, events: u64, count: u32) -> Sqe {
    prep::op(Opcode::EpollWait, epoll).with_addr(events).with_len(count)
}

/// Adds a pipe to an epoll instance; returns its write end.
fn watched_pipe(session: &Session, epoll: i32, data: u64) -> i32 {
    use rustix::event::epoll;
    let (read, write) = session.pipe();
    session
        .with_kept(epoll, |instance| {
            session.with_kept(read, |fd| {
                epoll::add(instance, fd, epoll::EventData::new_u64(data), epoll::EventFlags::IN)
            })
        })
        .expect("a fixture of the case");
    write
}

const EPOLL_CTL: Exemplar = Exemplar::new(
    "epoll-ctl",
    Opcode::EpollCtl,
    FdRole::File,
    &[Field::Off, Field::Addr, Field::Len],
    &[Field::Addr],
    |session, _| {
        let (epoll, (read, _)) = (session.epoll(), session.pipe());
        Good::new(control(epoll, ADD, read, event(session, EPOLLIN, 5)))
    },
);

const EPOLL_WAIT: Exemplar = Exemplar::new(
    "epoll-wait",
    Opcode::EpollWait,
    FdRole::File,
    &[Field::Addr, Field::Len],
    &[Field::Addr],
    |session, _| {
        let (epoll, events) = (session.epoll(), session.memory(48));
        let write = watched_pipe(session, epoll, 5);
        session.write_fd(write, b"x");
        Good::new(wait(epoll, events.addr(), 4)).observe(move |session| {
            session.record("event", format!("{:#x} {}", events.get::<u32>(0), events.get::<u64>(4)));
        })
    },
);

/// The cases of the family.
pub fn cases() -> Vec<Case> {
    let mut cases = EPOLL_CTL.cases();
    cases.extend(EPOLL_WAIT.cases());
    cases.extend([
        Case::new("epoll-ctl/operations", Opcode::EpollCtl, |session| {
            let ring = session.ring(8);
            let (epoll, (read, _)) = (session.epoll(), session.pipe());
            let event = event(session, EPOLLIN, 5);
            for (label, operation) in [
                ("modify without", MODIFY),
                ("delete without", DELETE),
                ("add", ADD),
                ("add twice", ADD),
                ("modify", MODIFY),
                ("delete", DELETE),
                ("zero", 0),
                ("four", 4),
                ("huge", u32::MAX),
            ] {
                session.one_recorded(label, &ring, control(epoll, operation, read, event));
            }
            session.one_recorded("delete without an event", &ring, control(epoll, DELETE, read, 0));
            session.one_recorded("itself", &ring, control(epoll, ADD, epoll, event));
            session.one_recorded("closed", &ring, control(epoll, ADD, session.closed_fd(), event));
        }),
        Case::new("epoll-ctl/kinds", Opcode::EpollCtl, |session| {
            let ring = session.ring(8);
            let epoll = session.epoll();
            let event = event(session, EPOLLIN, 5);
            for (label, kind) in kinds::KINDS.iter().filter(|(label, _)| *label != "the ring") {
                let fd = kind(session, &ring);
                session.one_recorded(*label, &ring, control(epoll, ADD, fd, event));
            }
        }),
        Case::new("epoll-wait/counts-and-waiting", Opcode::EpollWait, |session| {
            let ring = session.ring(8);
            let (epoll, events) = (session.epoll(), session.memory(256));
            for count in [0, u32::MAX, 1 << 30] {
                session.one_recorded(format!("count {count}"), &ring, wait(epoll, events.addr(), count));
            }
            let write = watched_pipe(session, epoll, 7);
            ring.push(wait(epoll, events.addr(), 4).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.quiet("nothing ready", &ring);
            let on_a_worker = wait(epoll, events.addr(), 4).with_flags(SqeFlags::ASYNC);
            ring.push(on_a_worker.with_user_data(2));
            session.outcome("submit for a worker", ring.submit());
            session.quiet("nothing ready, on a worker", &ring);
            session.write_fd(write, b"x");
            session.cqes("ready", &ring.collect(2));
            session.record("data", events.get::<u64>(4));
        }),
    ]);
    cases
}
