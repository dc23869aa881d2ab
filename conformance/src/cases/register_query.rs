//! QUERY, SEND_MSG_RING, ZCRX_IFQ, and every register opcode with bad arguments.

use ringer_abi::{EnterFlags, Opcode, RegisterOpcode, SetupFlags, Sqe, SqeFlags};

use crate::differential::memory::Memory;
use crate::differential::{Case, Session, prep};

const QUERY: u32 = RegisterOpcode::Query.number();
const SEND: u32 = RegisterOpcode::SendMsgRing.number();
const ZCRX: u32 = RegisterOpcode::ZcrxIfq.number();
const NO_RING: i32 = -1;

/// A `struct io_uring_query_hdr`.
fn question(session: &Session, next: u64, data: u64, kind: u32, size: u32) -> Memory {
    session.words(&[next, data, u64::from(kind) | u64::from(size) << 32, 0, 0])
}

fn written(session: &Session, label: &str, header: Memory, data: Memory) {
    session.record(
        format!("{label}: size and result"),
        format!("{} {}", header.get::<u32>(20), header.get::<i32>(24)),
    );
    let words: Vec<u32> = (0..data.len() / 4).map(|index| data.get::<u32>(4 * index)).collect();
    session.record(format!("{label}: data"), format!("{words:x?}"));
}

/// The cases of these calls.
pub fn cases() -> Vec<Case> {
    let mut cases = queries();
    cases.extend(messages());
    cases.extend(others());
    cases
}

fn queries() -> Vec<Case> {
    vec![Case::general("register-query/use", |session| {
        let ring = session.ring(4);
        for (label, fd) in [("no ring", NO_RING), ("a ring", ring.fd)] {
            for size in [0, 1, 4, 7, 16, 40, 47, 48, 49, 64, 120] {
                let data = session.memory(128);
                let header = question(session, 0, data.addr(), 0, size);
                let label = format!("{label}, {size} bytes");
                session.outcome(&label, session.register(fd, QUERY, header.addr(), 0));
                written(session, &label, header, data);
            }
        }
        for kind in [1, 2, 3, 100, u32::MAX] {
            let data = session.memory(64);
            data.fill(&[7; 64]);
            let header = question(session, 0, data.addr(), kind, 64);
            session.outcome(format!("kind {kind}"), session.register(NO_RING, QUERY, header.addr(), 0));
            written(session, &format!("kind {kind}"), header, data);
        }
        let data = session.memory(64);
        data.fill(&[9; 64]);
        let header = question(session, 0, data.addr(), 0, 64);
        session.outcome("with data", session.register(NO_RING, QUERY, header.addr(), 0));
        written(session, "with data", header, data);
        for (label, at) in [("result", 24), ("reserved", 28), ("reserved", 36)] {
            let data = session.memory(64);
            data.fill(&[9; 64]);
            let header = question(session, 0, data.addr(), 0, 64);
            header.put(at, 1_u32);
            session.outcome(label, session.register(NO_RING, QUERY, header.addr(), 0));
            written(session, label, header, data);
        }
        let bad = session.bad_address();
        let header = question(session, 0, bad, 0, 64);
        session.outcome("bad data", session.register(NO_RING, QUERY, header.addr(), 0));
        let header = question(session, 0, bad, 77, 64);
        session.outcome("unknown, bad data", session.register(NO_RING, QUERY, header.addr(), 0));
        let header = question(session, 0, 0, 0, 0);
        session.outcome("no data", session.register(NO_RING, QUERY, header.addr(), 0));
        written(session, "no data", header, session.memory(4));
        session.outcome("bad header", session.register(NO_RING, QUERY, bad, 0));
        session.outcome("null", session.register(NO_RING, QUERY, 0, 0));
        session.outcome("count", session.register(NO_RING, QUERY, header.addr(), 1));
        let (one, other) = (session.memory(64), session.memory(64));
        let second = question(session, 0, other.addr(), 0, 48);
        let first = question(session, second.addr(), one.addr(), 9, 48);
        session.outcome("two", session.register(NO_RING, QUERY, first.addr(), 0));
        written(session, "first", first, one);
        written(session, "second", second, other);
        let circle = question(session, 0, one.addr(), 9, 48);
        circle.put(0, circle.addr());
        session.outcome("itself again", session.register(NO_RING, QUERY, circle.addr(), 0));
    })]
}

fn message(fd: i32, result: u32, user_data: u64) -> Sqe {
    prep::op(Opcode::MsgRing, fd).with_len(result).with_off(user_data)
}

fn messages() -> Vec<Case> {
    vec![
        Case::general("register-send-msg-ring/use", |session| {
            let kinds = [
                SetupFlags::empty(),
                SetupFlags::IOPOLL,
                SetupFlags::SQPOLL,
                SetupFlags::DEFER_TASKRUN | SetupFlags::SINGLE_ISSUER,
                SetupFlags::CQE32,
                SetupFlags::CQE_MIXED,
                SetupFlags::R_DISABLED,
            ];
            for kind in kinds {
                let ring = session.ring_with(4, kind);
                let send = |label: &str, sqe: Sqe| {
                    let place = session.words(sqe.words());
                    let outcome = session.register(NO_RING, SEND, place.addr(), 1);
                    session.outcome(format!("{kind:?}: {label}"), outcome);
                };
                send("data", message(ring.fd, 5, 77));
                send("flags", message(ring.fd, 6, 78).with_op_flags(2).with_file_index(0x10_0003));
                let seen = ring.collect_until(std::time::Duration::from_millis(500), |seen| seen.len() >= 2);
                session.cqes_in_order(format!("{kind:?}: arrived"), &seen);
                session.outcome(format!("{kind:?}: on the ring"), ring.register(SEND, 0, 1));
            }
        }),
        Case::general("register-send-msg-ring/arguments", |session| {
            let ring = session.ring(4);
            let send = |label: &str, sqe: Sqe| {
                let place = session.words(sqe.words());
                session.outcome(label, session.register(NO_RING, SEND, place.addr(), 1));
            };
            let good = message(ring.fd, 5, 77);
            send("flags of the SQE", good.with_flags(SqeFlags::ASYNC));
            send("another operation", good.with_opcode(Opcode::Nop.number()));
            send("a file", good.with_addr(1).with_file_index(1).with_len(0));
            send("an unknown command", good.with_addr(2));
            send("an unknown command for a file", message(session.file(b""), 5, 7).with_addr(2));
            send("unknown flag", good.with_op_flags(4));
            send("skip", good.with_op_flags(1));
            send("flags without pass", good.with_file_index(1));
            send("source", good.with_addr3(1));
            send("buf_index", good.with_buf_index(1));
            send("personality", good.with_personality(1));
            send("ioprio", good.with_ioprio(1));
            send("pad2", good.with_pad2(1));
            send("user_data", good.with_user_data(1));
            send("-1", message(-1, 5, 7));
            send("closed", message(session.closed_fd(), 5, 7));
            send("not a ring", message(session.file(b""), 5, 7));
            session.cqes("arrived", &ring.collect(3));
            let place = session.words(good.words());
            for count in [0, 2] {
                session
                    .outcome(format!("count {count}"), session.register(NO_RING, SEND, place.addr(), count));
            }
            session.outcome("null", session.register(NO_RING, SEND, 0, 1));
            session.outcome("bad address", session.register(NO_RING, SEND, session.bad_address(), 1));
            session.outcome("on a ring", ring.register(SEND, place.addr(), 1));
        }),
    ]
}

fn others() -> Vec<Case> {
    vec![
        Case::general("register/no-ring", |session| {
            for opcode in 0..40 {
                let argument = session.memory(512);
                if opcode == QUERY || opcode == SEND {
                    continue;
                }
                session.outcome(format!("{opcode}"), session.register(NO_RING, opcode, argument.addr(), 1));
                let by_index = opcode | 1 << 31;
                let outcome = session.register(NO_RING, by_index, argument.addr(), 1);
                session.outcome(format!("{opcode} by index"), outcome);
            }
        }),
        Case::general("register/every-opcode-badly", |session| {
            for opcode in 0..40 {
                for (label, count) in [("none", 0), ("one", 1), ("many", u32::MAX)] {
                    let ring = session.ring(4);
                    let null = ring.register(opcode, 0, count);
                    session.outcome(format!("{opcode}: null, {label}"), null);
                    let ring = session.ring(4);
                    let bad = ring.register(opcode, session.bad_address(), count);
                    session.outcome(format!("{opcode}: bad, {label}"), bad);
                }
            }
        }),
        Case::general("register/by-index", |session| {
            let ring = session.ring(4);
            let update = session.words(&[u64::from(u32::MAX), ring.fd as u64]);
            session.outcome("register", ring.register(RegisterOpcode::RingFds.number(), update.addr(), 1));
            let index = update.get::<i32>(0);
            for opcode in 0..40 {
                let zero = session.memory(512);
                let outcome = session.register(index, opcode | 1 << 31, zero.addr(), 1);
                session.outcome(format!("{opcode}"), outcome);
            }
            session.one_recorded("still served", &ring, prep::nop());
        }),
        Case::general("register/closed-but-registered", |session| {
            let mut ring = session.ring(4);
            let update = session.words(&[u64::from(u32::MAX), ring.fd as u64]);
            session.outcome("register", ring.register(RegisterOpcode::RingFds.number(), update.addr(), 1));
            let index = update.get::<i32>(0);
            session.outcome("close", ring.close().map(|()| 0_i32));
            ring.push(prep::nop().with_user_data(5));
            let flags = (EnterFlags::REGISTERED_RING | EnterFlags::GETEVENTS).bits();
            let null = ringer_sys::UserAddress::new(0);
            session.outcome("enter", session.backend().enter(index, 1, 1, flags, null, 0));
            session.cqes("served", &ring.reap_all());
            let place = session.words(&[index as u64, 0]);
            let opcode = RegisterOpcode::UnregisterRingFds.number() | 1 << 31;
            session.outcome("unregister", session.register(index, opcode, place.addr(), 1));
            session.outcome("enter after that", session.backend().enter(index, 0, 0, flags, null, 0));
        }),
        Case::general("register-zcrx-ifq/refused", |session| {
            const DEFERRED: SetupFlags = SetupFlags::DEFER_TASKRUN.union(SetupFlags::SINGLE_ISSUER);
            let area = session.words(&[0; 8]);
            let region = session.words(&[0, 4096, 0, 0, 0, 0, 0, 0]);
            for kind in [
                SetupFlags::empty(),
                SetupFlags::CQE32,
                DEFERRED,
                DEFERRED | SetupFlags::CQE32,
                DEFERRED | SetupFlags::CQE_MIXED,
            ] {
                let ring = session.ring_with(4, kind);
                let words = [u64::from(u32::MAX - 1), 8, area.addr(), region.addr(), 0, 0, 0, 0, 0, 0, 0, 0];
                let argument = session.words(&words);
                session.outcome(format!("{kind:?}"), ring.register(ZCRX, argument.addr(), 1));
                session.outcome(format!("{kind:?}: null"), ring.register(ZCRX, 0, 1));
                session.outcome(format!("{kind:?}: bad"), ring.register(ZCRX, session.bad_address(), 1));
                session.outcome(format!("{kind:?}: count"), ring.register(ZCRX, argument.addr(), 2));
                for (label, at, value) in [
                    ("no entries", 1, 0),
                    ("too many entries", 1, 40000),
                    ("no queue", 0, 1 | u64::from(u32::MAX) << 32),
                    ("null area", 2, 0),
                    ("bad area", 2, session.bad_address()),
                    ("null region", 3, 0),
                    ("bad region", 3, session.bad_address()),
                    ("id", 8, 1),
                    ("reserved", 11, 1),
                    ("loopback", 0, 1),
                ] {
                    let argument = session.words(&words);
                    argument.put(8 * at, value);
                    session.outcome(format!("{kind:?}: {label}"), ring.register(ZCRX, argument.addr(), 1));
                }
            }
        }),
    ]
}
