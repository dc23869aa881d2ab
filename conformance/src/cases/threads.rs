//! Requests of a thread that ends before they do.

use std::os::fd::RawFd;

use ringer_abi::{Opcode, SetupFlags, Sqe};

use crate::differential::{Case, Ring, Session, prep};

/// A request that waits, and what ends its wait.
struct Waiting {
    name: &'static str,
    opcode: Opcode,
    make: fn(&Session, (RawFd, RawFd)) -> Sqe,
    is_awaited: bool,
}

fn waiting() -> Vec<Waiting> {
    let waiting = |name, opcode, make| Waiting { name, opcode, make, is_awaited: true };
    vec![
        waiting("read", Opcode::Read, |session, (left, _)| prep::read(left, session.memory(8).addr(), 8, 0)),
        waiting("recv", Opcode::Recv, |session, (left, _)| prep::recv(left, session.memory(8).addr(), 8, 0)),
        waiting("poll", Opcode::PollAdd, |_, (left, _)| prep::poll(left, 1)),
        waiting("poll-multishot", Opcode::PollAdd, |_, (left, _)| prep::poll(left, 1).with_len(1)),
        waiting("epoll-wait", Opcode::EpollWait, |session, (left, _)| {
            use rustix::event::epoll;
            let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an instance");
            session.with_kept(left, |fd| {
                epoll::add(&epoll, fd, epoll::EventData::new_u64(7), epoll::EventFlags::IN)
                    .expect("a socket");
            });
            prep::op(Opcode::EpollWait, session.keep(epoll)).with_addr(session.memory(64).addr()).with_len(4)
        }),
        Waiting {
            is_awaited: false,
            ..waiting("timeout", Opcode::Timeout, |session, _| {
                prep::timeout(session.timespec(0, 60_000_000).addr(), 0, 0)
            })
        },
        waiting("timeout-with-count", Opcode::Timeout, |session, _| {
            prep::timeout(session.timespec(5, 0).addr(), 1, 0)
        }),
    ]
}

/// Has a thread submit, which ends then.
fn submit_by_thread(ring: &Ring) -> String {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| format!("{:?}", ring.submit()));
        thread.join().expect("it does not panic")
    })
}

fn play(session: &mut Session, waiting: &Waiting) {
    for setup in [SetupFlags::empty(), SetupFlags::COOP_TASKRUN, SetupFlags::SQPOLL] {
        session.fresh();
        let ring = session.ring_with(8, setup);
        let pair = session.pair();
        ring.push((waiting.make)(session, pair).with_user_data(1));
        session.record(format!("{setup:?}: submit"), submit_by_thread(&ring));
        session.cqes(format!("{setup:?}: pending"), &seen(&ring));
        if waiting.is_awaited {
            session.write_fd(pair.1, b"data");
        }
        session.cqes(format!("{setup:?}: then"), &seen(&ring));
        ring.push(prep::nop().with_user_data(3));
        session.outcome(format!("{setup:?}: nop"), ring.submit());
        session.cqes(format!("{setup:?}: end"), &seen(&ring));
        ring.push(prep::cancel(1, 0).with_user_data(4));
        session.outcome(format!("{setup:?}: cancel"), ring.submit());
        session.cqes(format!("{setup:?}: cancelled"), &seen(&ring));
    }
}

/// What comes within a while.
fn seen(ring: &Ring) -> Vec<ringer_abi::Cqe> {
    std::thread::sleep(std::time::Duration::from_millis(40));
    ring.collect_until(std::time::Duration::from_millis(1), |_| false)
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let case = |waiting: Waiting| {
        let name = format!("thread-that-ends/{}", waiting.name);
        Case::new(name, waiting.opcode, move |session| play(session, &waiting))
    };
    waiting().into_iter().map(case).collect()
}
