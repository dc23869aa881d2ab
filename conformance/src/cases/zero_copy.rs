//! SEND_ZC and SENDMSG_ZC: each has a result and a notification.

use std::time::Duration;

use ringer_abi::{Opcode, Sqe, SqeFlags, uapi};

use crate::differential::{Case, Ring, Session, prep};

const OPCODES: [(Opcode, &str); 2] = [(Opcode::SendZc, "send-zc"), (Opcode::SendmsgZc, "sendmsg-zc")];

/// A good request on this socket.
fn good(session: &Session, opcode: Opcode, fd: i32) -> Sqe {
    let text = session.memory_of(b"hello there");
    if opcode == Opcode::SendZc {
        return prep::op(opcode, fd).with_addr(text.addr()).with_len(11);
    }
    let vectors = session.vectors(&[(text.addr(), 6), (text.addr() + 6, 5)]);
    let message = session.message((0, 0), (vectors.addr(), 2), (0, 0));
    prep::op(opcode, fd).with_addr(message.addr()).with_len(1)
}

/// Submits one request and records all of its CQEs.
fn both(session: &mut Session, label: impl Into<String>, ring: &Ring, sqe: Sqe) {
    let label = label.into();
    ring.push(sqe.with_user_data(1));
    session.outcome(format!("{label}: submit"), ring.submit());
    // Two at most; one that is refused early has one.
    let seen = ring.collect_until(Duration::from_millis(150), |seen| seen.len() >= 2);
    session.cqes(label, &seen);
}

fn case(
    opcode: Opcode,
    name: &str,
    aspect: &str,
    run: impl Fn(Opcode, &mut Session) + Send + Sync + 'static,
) -> Case {
    Case::new(format!("{name}/{aspect}"), opcode, move |session| run(opcode, session))
}

/// The cases of SEND_ZC, SENDMSG_ZC and RECV_ZC.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (opcode, name) in OPCODES {
        cases.push(case(opcode, name, "good", |opcode, session| {
            let ring = session.ring(8);
            let (left, right) = session.tcp_pair();
            let sqe = good(session, opcode, left);
            for (label, flags) in [("plain", SqeFlags::empty()), ("async", SqeFlags::ASYNC)] {
                both(session, label, &ring, sqe.with_flags(flags));
                session.bytes(format!("{label}: received"), &session.read_fd(right, 16));
            }
        }));
        cases.push(case(opcode, name, "refused-without-a-file", |opcode, session| {
            let closed = session.closed_fd();
            for (label, fd, flags) in [
                ("closed", closed, SqeFlags::empty()),
                ("not registered", 3, SqeFlags::FIXED_FILE),
                ("async", closed, SqeFlags::ASYNC),
                ("not registered, async", 3, SqeFlags::FIXED_FILE | SqeFlags::ASYNC),
            ] {
                // What comes behind a refused one that drains waits for ever in Linux.
                let ring = session.ring(8);
                let sqe = good(session, opcode, fd).with_flags(flags);
                both(session, label, &ring, sqe);
                both(session, format!("{label}, bad flags"), &ring, sqe.with_ioprio(1 << 14));
                both(session, format!("{label}, bad length"), &ring, sqe.with_file_index(u32::MAX));
                both(
                    session,
                    format!("{label}, bad flags, drained"),
                    &ring,
                    sqe.with_ioprio(1 << 14).with_flags(flags | SqeFlags::IO_DRAIN),
                );
            }
        }));
        cases.push(case(opcode, name, "full-queue", |opcode, session| {
            // The result waits for room, and the notification behind it.
            let ring = session.ring(2);
            let (tcp, _peer) = session.tcp_pair();
            let (unix, _other) = session.pair();
            for (label, fd) in [("sent", tcp), ("refused", unix)] {
                for _ in 0..ring.params.cq_entries {
                    ring.push(prep::nop());
                    session.outcome(format!("{label}: fill"), ring.submit());
                }
                ring.push(good(session, opcode, fd).with_user_data(1));
                session.outcome(format!("{label}: submit"), ring.submit());
                std::thread::sleep(Duration::from_millis(20));
                ring.reap_all();
                let seen = ring.collect_until(Duration::from_millis(150), |seen| seen.len() >= 2);
                session.cqes(label, &seen);
            }
        }));
        cases.push(case(opcode, name, "files", |opcode, session| {
            let ring = session.ring(8);
            let (pair, _peer) = session.pair();
            let (read, write) = session.pipe();
            let unconnected = session.tcp_socket();
            for (label, fd) in [
                ("negative", -1),
                ("not open", 19_999),
                ("Unix socket", pair),
                ("pipe, read end", read),
                ("pipe, write end", write),
                ("unconnected", unconnected),
            ] {
                let sqe = good(session, opcode, fd);
                both(session, label, &ring, sqe);
            }
        }));
        cases.push(case(opcode, name, "registered-buffer-and-files", |opcode, session| {
            const FIXED: u16 = uapi::IORING_RECVSEND_FIXED_BUF as u16;
            for (label, kind) in crate::differential::kinds::KINDS {
                let ring = session.ring(8);
                let fd = kind(session, &ring);
                let sqe = good(session, opcode, fd).with_ioprio(FIXED);
                both(session, *label, &ring, sqe);
                session.fresh();
            }
            let ring = session.ring(8);
            let sqe = good(session, opcode, session.closed_fd()).with_ioprio(FIXED);
            both(session, "closed", &ring, sqe);
        }));
        cases.push(case(opcode, name, "bad-pointers", |opcode, session| {
            let ring = session.ring(8);
            let (left, _right) = session.tcp_pair();
            let sqe = good(session, opcode, left);
            both(session, "bad address", &ring, sqe.with_addr(session.bad_address()));
            both(session, "null", &ring, sqe.with_addr(0));
        }));
        cases.push(case(opcode, name, "fields", |opcode, session| {
            let (left, _right) = session.tcp_pair();
            let sqe = good(session, opcode, left);
            for (label, sqe) in [
                ("addr3", sqe.with_addr3(1)),
                ("pad2", sqe.with_pad2(1)),
                ("skip success", sqe.with_flags(SqeFlags::CQE_SKIP_SUCCESS)),
                ("buffer select", sqe.with_flags(SqeFlags::BUFFER_SELECT)),
                ("unknown flag", sqe.with_flags(SqeFlags::from_bits_retain(0x80))),
                ("personality", sqe.with_personality(7)),
                ("poll first", sqe.with_ioprio(uapi::IORING_RECVSEND_POLL_FIRST as u16)),
                ("report usage", sqe.with_ioprio(uapi::IORING_SEND_ZC_REPORT_USAGE as u16)),
                ("multishot", sqe.with_ioprio(uapi::IORING_RECV_MULTISHOT as u16)),
                ("unknown ioprio", sqe.with_ioprio(1 << 15)),
            ] {
                let ring = session.ring(8);
                both(session, label, &ring, sqe);
            }
        }));
        cases.push(case(opcode, name, "linked", |opcode, session| {
            let ring = session.ring(8);
            let (left, _right) = session.tcp_pair();
            let sqe = good(session, opcode, left).with_flags(SqeFlags::IO_LINK).with_user_data(1);
            ring.push_all(&[sqe, prep::nop().with_user_data(2)]);
            session.outcome("submit", ring.submit());
            let mut seen = ring.collect(3);
            // The notification and what follows in the chain come in no fixed order.
            seen.sort_by_key(|cqe| (cqe.user_data, cqe.flags));
            session.cqes("all", &seen);
        }));
        cases.push(case(opcode, name, "not-open", |opcode, session| {
            let ring = session.ring(8);
            for flags in [
                SqeFlags::empty(),
                SqeFlags::ASYNC,
                SqeFlags::FIXED_FILE,
                SqeFlags::FIXED_FILE | SqeFlags::ASYNC,
            ] {
                let sqe = good(session, opcode, session.closed_fd()).with_flags(flags);
                both(session, format!("{flags:?}"), &ring, sqe);
            }
        }));
        cases.push(case(opcode, name, "never-sent", |opcode, session| {
            const LINK: SqeFlags = SqeFlags::IO_LINK;
            const SKIP: SqeFlags = SqeFlags::CQE_SKIP_SUCCESS;
            let (left, _right) = session.tcp_pair();
            let send = good(session, opcode, left);
            let reports = send.with_ioprio(uapi::IORING_SEND_ZC_REPORT_USAGE as u16);
            let fails = prep::nop().with_op_flags(1).with_len(-5_i32 as u32).with_user_data(1);
            let refused = prep::nop().with_opcode(200);
            let nop = prep::nop().with_user_data(3);
            for (label, sqes) in [
                ("behind a failure", [fails.with_flags(LINK), send.with_user_data(2).with_flags(LINK), nop]),
                ("with a report", [fails.with_flags(LINK), reports.with_user_data(2).with_flags(LINK), nop]),
                ("silently", [fails.with_flags(LINK | SKIP), send.with_user_data(2).with_flags(LINK), nop]),
                (
                    "before a refusal",
                    [send.with_user_data(2).with_flags(LINK), refused.with_user_data(1), nop],
                ),
                ("refused", [send.with_addr(1).with_ioprio(1 << 9).with_user_data(2), nop, nop]),
                (
                    "refused in a chain",
                    [
                        nop.with_flags(LINK),
                        send.with_addr(1).with_ioprio(1 << 9).with_user_data(2).with_flags(LINK),
                        prep::nop().with_user_data(1),
                    ],
                ),
                (
                    "amid a refusal",
                    [
                        nop.with_flags(LINK),
                        send.with_user_data(2).with_flags(LINK),
                        refused.with_user_data(1),
                    ],
                ),
            ] {
                let ring = session.ring(8);
                ring.push_all(&sqes);
                session.outcome(format!("{label}: submit"), ring.submit());
                let _ = ring.submit();
                let mut seen = ring.collect_until(Duration::from_millis(50), |_| false);
                seen.sort_by_key(|cqe| (cqe.user_data, cqe.flags));
                session.cqes(label, &seen);
            }
        }));
        cases.push(case(opcode, name, "peer-gone", |opcode, session| {
            let ring = session.ring(8);
            let (left, right) = session.tcp_pair();
            session.close_kept(right);
            let sqe = good(session, opcode, left);
            both(session, "first", &ring, sqe);
            std::thread::sleep(Duration::from_millis(20));
            both(session, "second", &ring, sqe);
        }));
    }
    cases.push(case(Opcode::RecvZc, "recv-zc", "without-a-queue", |opcode, session| {
        let ring = session.ring(8);
        let (left, _right) = session.tcp_pair();
        let receive = prep::op(opcode, left);
        for (label, sqe) in [
            ("plain", receive),
            ("multishot", receive.with_ioprio(uapi::IORING_RECV_MULTISHOT as u16)),
            ("async", receive.with_flags(SqeFlags::ASYNC)),
            ("buffer select", receive.with_flags(SqeFlags::BUFFER_SELECT)),
            ("not open", prep::op(opcode, 19_999)),
            ("with address", receive.with_addr(8)),
            ("some queue", receive.with_file_index(1)),
        ] {
            both(session, label, &ring, sqe);
        }
    }));
    cases
}
