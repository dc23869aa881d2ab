//! Rings as the files of requests: polled, read from, watched, by another ring and by themselves.

use ringer_abi::poll::{POLLIN, POLLOUT};
use ringer_abi::{Opcode, SetupFlags, SqeFlags, uapi};

use super::buffer_ring_use::Buffers;
use crate::differential::{Case, Ring, Session, prep};

const MULTI: u32 = uapi::IORING_POLL_ADD_MULTI;

/// The kinds of rings that are polled: what is posted to them comes in different ways.
const KINDS: [SetupFlags; 3] = [
    SetupFlags::empty(),
    SetupFlags::COOP_TASKRUN,
    SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN),
];

/// Has a CQE posted to the ring, and reaps it at once.
fn post_and_reap(session: &Session, ring: &Ring) {
    ring.push(prep::nop().with_user_data(50));
    session.outcome("post", ring.submit());
    session.cqes("posted", &ring.collect(1));
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("poll-add/of-a-ring", Opcode::PollAdd, |session| {
            for kind in KINDS {
                let (ring, target) = (session.ring(8), session.ring_with(8, kind));
                for events in [POLLIN, POLLOUT, POLLIN | POLLOUT, 0x40, 0x140] {
                    for flags in [SqeFlags::empty(), SqeFlags::ASYNC] {
                        let label = format!("{kind:?}, {events:#x}, {flags:?}");
                        ring.push(prep::poll(target.fd, events).with_flags(flags).with_user_data(1));
                        session.outcome(&label, ring.submit());
                        session.quiet(format!("{label}: at first"), &ring);
                        // Reaped before the poll is looked at: it hears of it all the same.
                        post_and_reap(session, &target);
                        session.quiet(format!("{label}: posted"), &ring);
                        session.one_recorded("cancel", &ring, prep::cancel(1, 0).with_user_data(2));
                    }
                }
                target.push(prep::nop());
                session.outcome("post", target.submit());
                session.one_recorded("it holds one", &ring, prep::poll(target.fd, POLLIN | POLLOUT));
            }
        }),
        Case::new("poll-add/of-a-ring-multishot", Opcode::PollAdd, |session| {
            // One that defers task work tells twice that it has room, when it is polled for the first time.
            for (kind, all) in KINDS.into_iter().zip([&[1, 4, 5][..], &[1, 4, 5], &[1]]) {
                for events in all {
                    let (ring, target) = (session.ring(8), session.ring_with(8, kind));
                    ring.push(prep::poll(target.fd, *events).with_len(MULTI).with_user_data(1));
                    session.outcome(format!("{kind:?}, {events}"), ring.submit());
                    session.quiet("at first", &ring);
                    post_and_reap(session, &target);
                    session.quiet("ends it", &ring);
                    post_and_reap(session, &target);
                    session.quiet("it is over", &ring);
                    session.one_recorded("cancel", &ring, prep::cancel(1, 0).with_user_data(2));
                }
            }
        }),
        Case::new("poll-add/of-itself", Opcode::PollAdd, |session| {
            for events in [POLLIN, POLLOUT, POLLIN | POLLOUT] {
                for len in [0, MULTI] {
                    let ring = session.ring(8);
                    ring.push(prep::poll(ring.fd, events).with_len(len).with_user_data(1));
                    session.outcome(format!("{events}, {len}"), ring.submit());
                    session.quiet("at first", &ring);
                    ring.push(prep::nop().with_user_data(50));
                    session.outcome("post", ring.submit());
                    session.quiet("posted", &ring);
                    session.one_recorded("cancel", &ring, prep::cancel(1, 0).with_user_data(2));
                    session.quiet("the end", &ring);
                }
            }
        }),
        Case::new("poll-add/of-each-other", Opcode::PollAdd, |session| {
            let (one, other) = (session.ring(8), session.ring(8));
            one.push(prep::poll(other.fd, POLLIN).with_len(MULTI).with_user_data(1));
            session.outcome("one", one.submit());
            other.push(prep::poll(one.fd, POLLIN).with_len(MULTI).with_user_data(1));
            session.outcome("other", other.submit());
            session.quiet("nothing yet", &one);
            one.push(prep::nop().with_user_data(50));
            session.outcome("post", one.submit());
            session.quiet("the other", &other);
            session.quiet("one", &one);
        }),
        Case::new("poll-remove/update-of-a-ring", Opcode::PollRemove, |session| {
            let (ring, target) = (session.ring(8), session.ring(8));
            ring.push(prep::poll(target.fd, POLLOUT).with_len(MULTI).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.quiet("room", &ring);
            let update = prep::poll_remove(1).with_len(uapi::IORING_POLL_UPDATE_EVENTS | MULTI);
            session.one_recorded("update", &ring, update.with_op_flags(POLLIN).with_user_data(2));
            session.quiet("nothing yet", &ring);
            post_and_reap(session, &target);
            session.quiet("posted", &ring);
        }),
        Case::new("read/of-a-ring", Opcode::Read, |session| {
            let (ring, target) = (session.ring(8), session.ring(8));
            let memory = session.memory(64).addr();
            let vectors = session.vectors(&[(memory, 8)]).addr();
            let buffers = Buffers::new(session, &ring, 3, 4, 16, 0);
            for (label, sqe) in [
                ("read", prep::read(target.fd, memory, 8, u64::MAX)),
                ("read at 0", prep::read(target.fd, memory, 8, 0)),
                ("of nothing", prep::read(target.fd, memory, 0, 0)),
                ("vectors", prep::op(Opcode::Readv, target.fd).with_addr(vectors).with_len(1)),
                ("a buffer", buffers.select(prep::read(target.fd, 0, 16, 0))),
                ("multishot", buffers.select(prep::op(Opcode::ReadMultishot, target.fd))),
                ("no buffer", prep::read(target.fd, 0, 16, 0).with_flags(SqeFlags::BUFFER_SELECT)),
            ] {
                ring.push(sqe.with_user_data(1));
                session.outcome(label, ring.submit());
                session.quiet(format!("{label}: waits"), &ring);
                post_and_reap(session, &target);
                session.quiet(format!("{label}: refused"), &ring);
                session.one_recorded("cancel", &ring, prep::cancel(1, 0).with_user_data(2));
            }
        }),
        Case::new("write/to-a-ring", Opcode::Write, |session| {
            let (ring, target) = (session.ring(8), session.ring(8));
            let memory = session.words(&[1]).addr();
            for offset in [0, u64::MAX] {
                session.one_recorded("another", &ring, prep::write(target.fd, memory, 8, offset));
                session.one_recorded("itself", &ring, prep::write(ring.fd, memory, 8, offset));
            }
            session.one_recorded("it is as it was", &ring, prep::poll(target.fd, POLLOUT));
            ring.push(prep::poll(target.fd, POLLIN).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.quiet("nothing there", &ring);
        }),
        Case::new("msg-ring/registered-file", Opcode::MsgRing, |session| {
            let ring = session.ring(8);
            let (read, _write) = session.pipe();
            let files = session.ints(&[read, -1]);
            session.outcome(
                "register",
                ring.register(ringer_abi::RegisterOpcode::Files.number(), files.addr(), 2),
            );
            for index in [0, 1, 2, -1] {
                let sqe = prep::op(Opcode::MsgRing, index).with_flags(SqeFlags::FIXED_FILE);
                session.one_recorded(format!("slot {index}"), &ring, sqe);
            }
        }),
        Case::new("epoll-ctl/of-a-ring", Opcode::EpollCtl, |session| {
            let (ring, target) = (session.ring(8), session.ring(8));
            let epoll = session.epoll();
            let event = session.memory(16);
            event.put(0, POLLIN);
            event.put(4, 77_u64);
            let control = |operation| {
                prep::op(Opcode::EpollCtl, epoll)
                    .with_len(operation)
                    .with_off(target.fd as u64)
                    .with_addr(event.addr())
            };
            let events = session.memory(64);
            let wait = prep::op(Opcode::EpollWait, epoll).with_addr(events.addr()).with_len(4);
            session.one_recorded("add", &ring, control(1));
            ring.push(wait.with_user_data(1));
            session.outcome("wait", ring.submit());
            session.quiet("nothing there", &ring);
            target.push(prep::nop());
            session.outcome("post", target.submit());
            session.cqes("told", &ring.collect(1));
            session.record("which", events.get::<u64>(4));
            session.cqes("reaped", &target.collect(1));
            session.one_recorded("delete", &ring, control(2));
            session.one_recorded("delete again", &ring, control(2));
        }),
        Case::new("poll-add/of-an-epoll-instance-with-a-ring", Opcode::PollAdd, |session| {
            for interest in [POLLIN, POLLOUT, POLLIN | POLLOUT] {
                for (is_own, is_nested) in [(false, false), (true, false), (true, true)] {
                    for len in [0, MULTI] {
                        let (ring, other) = (session.ring(8), session.ring(8));
                        let watched = if is_own { &ring } else { &other };
                        let (inner, outer, (read, write)) =
                            (session.epoll(), session.epoll(), session.pipe());
                        let event = session.memory(16);
                        for (epoll, fd, interest) in
                            [(inner, watched.fd, interest), (inner, read, POLLIN), (outer, inner, POLLIN)]
                        {
                            event.put(0, interest);
                            let add = prep::op(Opcode::EpollCtl, epoll).with_len(1).with_off(fd as u64);
                            session.one_recorded("add", &ring, add.with_addr(event.addr()));
                        }
                        let polled = if is_nested { outer } else { inner };
                        ring.push(prep::poll(polled, POLLIN).with_len(len).with_user_data(1));
                        session.outcome(format!("{interest}, {is_own}, {is_nested}, {len}"), ring.submit());
                        session.quiet("at first", &ring);
                        session.write_fd(write, b"one");
                        session.quiet("the pipe", &ring);
                        other.push(prep::nop().with_user_data(50));
                        session.outcome("post", other.submit());
                        session.quiet("posted", &ring);
                        session.write_fd(write, b"two");
                        session.quiet("the pipe again", &ring);
                        session.one_recorded("cancel", &ring, prep::cancel(1, 0).with_user_data(2));
                        session.quiet("the end", &ring);
                    }
                }
            }
        }),
        Case::new("buffer-selection/of-a-device", Opcode::Read, |session| {
            for (name, size) in [("/dev/null", 16), ("/dev/zero", 16), ("/dev/full", 8)] {
                for setup in [SetupFlags::empty(), SetupFlags::IOPOLL] {
                    let ring = session.ring_with(8, setup);
                    let file = session.keep(std::fs::File::open(name).expect("it is always there"));
                    let buffers = Buffers::new(session, &ring, 3, 4, 16, 0);
                    let sqe = buffers.select(prep::read(file, 0, size, 0));
                    session.one_recorded(format!("{name}, {setup:?}"), &ring, sqe);
                    session.one_recorded("on a worker", &ring, sqe.with_flags(sqe.flags() | SqeFlags::ASYNC));
                    session.one_recorded(
                        "multishot",
                        &ring,
                        buffers.select(prep::op(Opcode::ReadMultishot, file)),
                    );
                    buffers.look(session, &ring, "then");
                }
            }
        }),
    ]
}
