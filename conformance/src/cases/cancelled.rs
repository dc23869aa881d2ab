//! Requests that wait, each in its own way, and every way to end them before their time.

use std::time::Duration;

use ringer_abi::{EnterFlags, Opcode, SetupFlags, Sqe, SqeFlags, uapi};

use super::buffer_ring_use::{Buffers, MULTISHOT};
use super::not_ready::without_signals;
use super::register_misc::{SYNC_CANCEL, sync_cancel_argument};
use crate::differential::memory::PAGE;
use crate::differential::{Case, Ring, Session, prep};

const ALL: u32 = uapi::IORING_ASYNC_CANCEL_ALL;
const FD: u32 = uapi::IORING_ASYNC_CANCEL_FD;
const ANY: u32 = uapi::IORING_ASYNC_CANCEL_ANY;
const OP: u32 = uapi::IORING_ASYNC_CANCEL_OP;
const FILE_POSITION: u64 = u64::MAX;
/// `user_data` of what ends the others.
const ENDING: u64 = 1000;

/// Makes requests that wait, the first of which is to be ended.
type MakeWaiting = fn(&Session, &Ring) -> Vec<Sqe>;

const KINDS: &[(&str, MakeWaiting)] = &[
    ("read", |session, _| vec![read(session)]),
    ("async-read", |session, _| vec![read(session).with_flags(SqeFlags::ASYNC)]),
    ("read-of-a-fifo", |session, _| {
        let buffer = session.memory(8);
        vec![prep::read(session.fifo(), buffer.addr(), 8, FILE_POSITION)]
    }),
    ("readv", |session, _| {
        let vectors = session.vectors(&[(session.memory(8).addr(), 8)]);
        vec![prep::readv(session.pipe().0, vectors.addr(), 1, FILE_POSITION)]
    }),
    ("read-multishot", |session, ring| {
        let buffers = Buffers::new(session, ring, 1, 2, 16, 0);
        vec![buffers.select(prep::op(Opcode::ReadMultishot, session.pipe().0).with_off(FILE_POSITION))]
    }),
    ("write", |session, _| {
        let write = session.pipe().1;
        session.with_kept(write, |fd| rustix::pipe::fcntl_setpipe_size(fd, PAGE)).expect("a pipe");
        vec![prep::write(write, session.memory(2 * PAGE).addr(), 2 * PAGE as u32, FILE_POSITION)]
    }),
    ("poll", |session, _| vec![prep::poll(session.pipe().0, 1)]),
    ("poll-multishot", |session, _| vec![prep::poll(session.pipe().0, 1).with_len(1)]),
    ("recv", |session, _| vec![prep::recv(session.pair().0, session.memory(8).addr(), 8, 0)]),
    ("recv-multishot", |session, ring| {
        let buffers = Buffers::new(session, ring, 1, 2, 16, 0);
        vec![buffers.select(prep::recv(session.pair().0, 0, 0, 0).with_ioprio(MULTISHOT))]
    }),
    ("accept", |session, _| vec![prep::accept(session.listener().0, 0)]),
    ("accept-multishot", |session, _| vec![prep::accept(session.listener().0, 0).with_ioprio(1)]),
    ("timeout", |session, _| vec![timeout(session, 0, 0)]),
    ("timeout-with-a-count", |session, _| vec![timeout(session, 50, 0)]),
    ("timeout-multishot", |session, _| vec![timeout(session, 3, uapi::IORING_TIMEOUT_MULTISHOT)]),
    ("linked-read", |session, _| {
        vec![
            read(session).with_flags(SqeFlags::IO_LINK),
            prep::nop().with_flags(SqeFlags::IO_LINK),
            prep::nop(),
        ]
    }),
    ("hard-linked-read", |session, _| vec![read(session).with_flags(SqeFlags::IO_HARDLINK), prep::nop()]),
    ("silent-read", |session, _| {
        vec![read(session).with_flags(SqeFlags::IO_LINK | SqeFlags::CQE_SKIP_SUCCESS), prep::nop()]
    }),
    ("limited-read", |session, _| {
        let time = session.timespec(100, 0);
        vec![read(session).with_flags(SqeFlags::IO_LINK), prep::link_timeout(time.addr(), 0)]
    }),
    ("limited-and-linked-read", |session, _| {
        let time = session.timespec(100, 0);
        vec![
            read(session).with_flags(SqeFlags::IO_LINK),
            prep::link_timeout(time.addr(), 0).with_flags(SqeFlags::IO_LINK),
            prep::nop(),
        ]
    }),
    ("drained-behind-a-read", |session, _| {
        vec![read(session), prep::nop().with_flags(SqeFlags::IO_DRAIN), prep::nop()]
    }),
    ("futex-wait", |session, _| {
        let word = session.words(&[0]);
        vec![prep::op(Opcode::FutexWait, 2).with_addr(word.addr()).with_addr3(u64::from(u32::MAX))]
    }),
    ("epoll-wait", |session, _| {
        let events = session.memory(64);
        vec![prep::op(Opcode::EpollWait, session.epoll()).with_addr(events.addr()).with_len(4)]
    }),
];

fn read(session: &Session) -> Sqe {
    prep::read(session.pipe().0, session.memory(8).addr(), 8, FILE_POSITION)
}

fn timeout(session: &Session, count: u64, flags: u32) -> Sqe {
    prep::timeout(session.timespec(100, 0).addr(), count, flags)
}

/// A way to end the request that has this SQE.
type End = fn(&Session, &Ring, Sqe) -> Result<i32, ringer_sys::Errno>;

const ENDS: &[(&str, End)] = &[
    ("by user_data", |_, ring, _| cancel(ring, prep::cancel(1, 0))),
    ("all by user_data", |_, ring, _| cancel(ring, prep::cancel(1, ALL))),
    ("by fd", |_, ring, of| cancel(ring, prep::cancel(0, FD).with_fd(of.fd()))),
    ("all by fd", |_, ring, of| cancel(ring, prep::cancel(0, FD | ALL).with_fd(of.fd()))),
    ("by opcode", |_, ring, of| cancel(ring, prep::cancel(0, OP).with_len(of.opcode().into()))),
    ("all by opcode", |_, ring, of| cancel(ring, prep::cancel(0, OP | ALL).with_len(of.opcode().into()))),
    ("any", |_, ring, _| cancel(ring, prep::cancel(0, ANY))),
    ("all", |_, ring, _| cancel(ring, prep::cancel(0, ANY | ALL))),
    ("the second by user_data", |_, ring, _| cancel(ring, prep::cancel(2, 0))),
    ("at once by user_data", |session, ring, _| at_once(session, ring, (1, 0, 0), 0)),
    ("at once all by user_data", |session, ring, _| at_once(session, ring, (1, 0, ALL), 0)),
    ("at once by fd", |session, ring, of| at_once(session, ring, (0, of.fd(), FD), 0)),
    ("at once by opcode", |session, ring, of| at_once(session, ring, (0, 0, OP | ALL), of.opcode())),
    ("at once all", |session, ring, _| at_once(session, ring, (0, 0, ANY | ALL), 0)),
    ("at once the second", |session, ring, _| at_once(session, ring, (2, 0, 0), 0)),
    ("poll-remove", |_, ring, _| cancel(ring, prep::poll_remove(1))),
    ("poll-update", |_, ring, _| {
        let update = uapi::IORING_POLL_UPDATE_EVENTS | uapi::IORING_POLL_UPDATE_USER_DATA;
        cancel(ring, prep::poll_remove(1).with_len(update).with_off(5).with_op_flags(4))
    }),
    ("timeout-remove", |_, ring, _| cancel(ring, prep::timeout_remove(1))),
    ("timeout-update", |session, ring, _| {
        let time = session.timespec(200, 0);
        let update = uapi::IORING_TIMEOUT_UPDATE;
        cancel(ring, prep::timeout_remove(1).with_off(time.addr()).with_op_flags(update))
    }),
    ("link-timeout-update", |session, ring, _| {
        let time = session.timespec(0, 1_000_000);
        let update = uapi::IORING_LINK_TIMEOUT_UPDATE;
        cancel(ring, prep::timeout_remove(2).with_off(time.addr()).with_op_flags(update))
    }),
];

fn cancel(ring: &Ring, sqe: Sqe) -> Result<i32, ringer_sys::Errno> {
    ring.push(sqe.with_user_data(ENDING));
    ring.submit()
}

/// `IORING_REGISTER_SYNC_CANCEL`.
fn at_once(
    session: &Session,
    ring: &Ring,
    (addr, fd, flags): (u64, i32, u32),
    opcode: u8,
) -> Result<i32, ringer_sys::Errno> {
    let argument = sync_cancel_argument(session, addr, fd, flags);
    argument.put(32, opcode);
    ring.register(SYNC_CANCEL, argument.addr(), 1)
}

fn play(session: &mut Session, make: MakeWaiting) {
    for setup in [SetupFlags::empty(), SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN] {
        for (name, end) in ENDS {
            let label = format!("{setup:?}, {name}");
            let ring = session.ring_with(16, setup);
            let sqes = make(session, &ring);
            for (number, sqe) in sqes.iter().enumerate() {
                ring.push(sqe.with_user_data(number as u64 + 1));
            }
            session.outcome(format!("{label}: submit"), ring.submit());
            // A worker takes its time to begin.
            std::thread::sleep(Duration::from_millis(10));
            let _ = ring.enter(0, 0, EnterFlags::GETEVENTS);
            session.cqes(format!("{label}: before"), &ring.reap_all());
            session.outcome(format!("{label}: end"), end(session, &ring, sqes[0]));
            let seen = ring.collect_until(Duration::from_millis(8), |_| false);
            session.cqes(format!("{label}: then"), &without_signals(seen));
            session.outcome(format!("{label}: the rest"), cancel(&ring, prep::cancel(0, ANY | ALL)));
            let seen = ring.collect_until(Duration::from_millis(8), |_| false);
            session.cqes(format!("{label}: at last"), &without_signals(seen));
        }
        session.fresh();
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let case = |(name, make): &(&'static str, MakeWaiting)| {
        let make = *make;
        Case::general(format!("cancelled/{name}"), move |session| play(session, make))
    };
    KINDS.iter().map(case).collect()
}
