//! LINK_TIMEOUT: a limit on the request before it in the chain.

use ringer_abi::{Opcode, SetupFlags, Sqe, SqeFlags, uapi};

use crate::differential::{Case, Ring, Session, prep};

const LINK: SqeFlags = SqeFlags::IO_LINK;
const ABS: u32 = uapi::IORING_TIMEOUT_ABS;
const UPDATE: u32 = uapi::IORING_TIMEOUT_UPDATE;
const LINK_UPDATE: u32 = uapi::IORING_LINK_TIMEOUT_UPDATE;

/// A linked timeout named 2, of so many milliseconds.
fn limit(session: &Session, milliseconds: i64) -> Sqe {
    let time = session.timespec(milliseconds / 1000, milliseconds % 1000 * 1_000_000);
    prep::link_timeout(time.addr(), 0).with_user_data(2)
}

/// A read of an empty pipe, named 1, linked to what follows; and the write end.
fn pending(session: &Session) -> (Sqe, i32) {
    let (read, write) = session.pipe();
    let buffer = session.memory(8);
    (prep::read(read, buffer.addr(), 4, 0).with_user_data(1).with_flags(LINK), write)
}

fn nop(user_data: u64) -> Sqe {
    prep::nop().with_user_data(user_data)
}

/// Submits a pending read with this as its linked timeout, and records what comes at once.
fn variant(session: &mut Session, label: &str, change: impl FnOnce(&Session, Sqe) -> Sqe) {
    session.fresh();
    let ring = session.ring(8);
    let (read, write) = pending(session);
    let limit = change(session, limit(session, 20));
    ring.push(read);
    ring.push(limit);
    session.outcome(format!("{label}: submit"), ring.submit());
    let left = ring.unsubmitted();
    session.record(format!("{label}: left"), left);
    let _ = ring.submit();
    session.cqes(label, &ring.collect_until(std::time::Duration::from_millis(500), |seen| seen.len() >= 2));
    session.close_kept(write);
}

/// The cases of LINK_TIMEOUT.
pub fn cases() -> Vec<Case> {
    let mut cases = shapes();
    cases.extend(races());
    cases.extend(fields());
    cases
}

fn shapes() -> Vec<Case> {
    vec![
        Case::new("link-timeout/expires", Opcode::LinkTimeout, |session| {
            let ring = session.ring(8);
            let (read, _write) = pending(session);
            session.batch("two", &ring, &[read, limit(session, 10)]);
            let (read, _write) = pending(session);
            let chain = [read, limit(session, 10).with_flags(LINK), nop(3)];
            session.batch("with a tail", &ring, &chain);
        })
        .expect(&[("two", "[1: -ECANCELED, 2: -ETIME]")]),
        Case::new("link-timeout/in-time", Opcode::LinkTimeout, |session| {
            let ring = session.ring(8);
            session.batch("done at once", &ring, &[nop(1).with_flags(LINK), limit(session, 5000)]);
            let chain = [nop(1).with_flags(LINK), limit(session, 5000).with_flags(LINK), nop(3)];
            session.batch("done at once, with a tail", &ring, &chain);
            let (read, write) = pending(session);
            ring.push(read);
            ring.push(limit(session, 5000));
            session.outcome("submit", ring.submit());
            session.quiet("pending", &ring);
            session.write_fd(write, b"data");
            session.cqes("done later", &ring.collect(2));
        }),
        Case::new("link-timeout/target-fails", Opcode::LinkTimeout, |session| {
            let ring = session.ring(8);
            let failing = prep::read(-1, 0, 0, 0).with_user_data(1).with_flags(LINK);
            session.batch("fails", &ring, &[failing, limit(session, 5000)]);
            let chain = [failing, limit(session, 5000).with_flags(LINK), nop(3)];
            session.batch("fails, with a tail", &ring, &chain);
        }),
        Case::new("link-timeout/order", Opcode::LinkTimeout, |session| {
            const LINK: SqeFlags = SqeFlags::IO_LINK;
            for setup in [SetupFlags::empty(), SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN] {
                let long = limit(session, 60_000);
                let ring = session.ring_with(8, setup);
                let sqes = [nop(1).with_flags(LINK), long.with_user_data(2).with_flags(LINK), nop(3), nop(4)];
                session.batch_in_order(format!("{setup:?} done at once"), &ring, &sqes, 4);
                for (label, limit) in [("long", long), ("short", limit(session, 20))] {
                    let (poll, write) = pending(session);
                    let sqes = [
                        poll.with_user_data(1).with_flags(LINK),
                        limit.with_user_data(2).with_flags(LINK),
                        nop(3),
                        nop(4),
                    ];
                    ring.push_all(&sqes);
                    session.outcome(format!("{setup:?} {label}: submit"), ring.submit());
                    session.cqes_in_order(format!("{setup:?} {label}: at once"), &ring.collect(1));
                    if label == "long" {
                        session.write_fd(write, b"x");
                    }
                    session.cqes_in_order(format!("{setup:?} {label}"), &ring.collect(3));
                }
            }
        }),
        Case::new("link-timeout/alone", Opcode::LinkTimeout, |session| {
            let ring = session.ring(8);
            session.one_recorded("alone", &ring, limit(session, 10));
            session.one_recorded("alone, linking", &ring, limit(session, 10).with_flags(LINK));
            session.batch("after an unlinked one", &ring, &[nop(1), limit(session, 10)]);
            let chain = [limit(session, 10).with_flags(LINK), nop(3)];
            session.batch("as a head", &ring, &chain);
        }),
        Case::new("link-timeout/twice", Opcode::LinkTimeout, |session| {
            let ring = session.ring(8);
            let second = limit(session, 10).with_user_data(3);
            let (read, _write) = pending(session);
            ring.push(read);
            ring.push(limit(session, 20).with_flags(LINK));
            ring.push(second);
            session.outcome("submit", ring.submit());
            let _ = ring.submit();
            session.cqes(
                "two limits",
                &ring.collect_until(std::time::Duration::from_millis(500), |seen| seen.len() >= 3),
            );
        }),
        Case::new("link-timeout/each-member-its-own", Opcode::LinkTimeout, |session| {
            let ring = session.ring(8);
            let (read, _write) = session.pipe();
            let buffer = session.memory(8);
            let chain = [
                nop(1).with_flags(LINK),
                limit(session, 5000).with_flags(LINK),
                prep::read(read, buffer.addr(), 8, 0).with_user_data(3).with_flags(LINK),
                limit(session, 10).with_user_data(4).with_flags(LINK),
                nop(5),
            ];
            session.batch("chain", &ring, &chain);
        }),
        Case::new("link-timeout/hard-links", Opcode::LinkTimeout, |session| {
            let ring = session.ring(8);
            let hard = SqeFlags::IO_HARDLINK;
            let (read, _write) = pending(session);
            let chain = [read.with_flags(hard), limit(session, 10).with_flags(hard), nop(3)];
            session.batch("expires", &ring, &chain);
            let chain = [nop(1).with_flags(hard), limit(session, 5000).with_flags(hard), nop(3)];
            session.batch("in time", &ring, &chain);
        }),
        Case::new("link-timeout/kinds-of-targets", Opcode::LinkTimeout, |session| {
            let ring = session.ring(8);
            let (read, _write) = session.pipe();
            let (left, _right) = session.pair();
            let (listener, _) = session.listener();
            let (buffer, forever) = (session.memory(8), session.timespec(100, 0));
            let targets = [
                ("poll", prep::poll(read, 1)),
                ("recv", prep::recv(left, buffer.addr(), 8, 0)),
                ("accept", prep::accept(listener, 0)),
                ("timeout", prep::timeout(forever.addr(), 0, 0)),
                ("async recv", prep::recv(left, buffer.addr(), 8, 0).with_flags(SqeFlags::ASYNC)),
            ];
            for (label, target) in targets {
                let head = target.with_user_data(1).with_flags(target.flags() | LINK);
                session.batch_of(label, &ring, &[head, limit(session, 10)], 2);
            }
        }),
    ]
}

/// The race between completion and limit, fixed by design: each side wins by a wide margin.
fn races() -> Vec<Case> {
    vec![
        Case::new("link-timeout/canceled-target", Opcode::LinkTimeout, |session| {
            let ring = session.ring(8);
            let (read, _write) = pending(session);
            ring.push(read);
            ring.push(limit(session, 5000));
            session.outcome("submit", ring.submit());
            session.batch_of("cancel the target", &ring, &[prep::cancel(1, 0).with_user_data(9)], 3);
        }),
        Case::new("link-timeout/canceled-or-removed-itself", Opcode::LinkTimeout, |session| {
            for (label, sqe) in [("cancel", prep::cancel(2, 0)), ("remove", prep::timeout_remove(2))] {
                let ring = session.ring(8);
                let (read, write) = pending(session);
                ring.push(read);
                ring.push(limit(session, 5000));
                session.outcome(format!("{label}: submit"), ring.submit());
                ring.push(sqe.with_user_data(9));
                session.outcome(format!("{label}: submit"), ring.submit());
                session.quiet(label, &ring);
                session.write_fd(write, b"data");
                session.quiet(format!("{label}: then data"), &ring);
            }
        }),
        Case::new("link-timeout/updated", Opcode::LinkTimeout, |session| {
            let update = |session: &Session, milliseconds: i64, flags: u32| {
                let time = session.timespec(0, milliseconds * 1_000_000);
                prep::timeout_remove(2).with_off(time.addr()).with_op_flags(flags).with_user_data(9)
            };
            let start = |session: &Session, ring: &Ring| {
                let (read, _write) = pending(session);
                ring.push(read);
                ring.push(limit(session, 5000));
                session.outcome("submit", ring.submit());
            };
            let ring = session.ring(8);
            start(session, &ring);
            session.one_recorded("as a plain timeout", &ring, update(session, 10, UPDATE));
            let ring = session.ring(8);
            start(session, &ring);
            session.batch_of("as a linked one", &ring, &[update(session, 10, UPDATE | LINK_UPDATE)], 3);
            session.one_recorded("when it is gone", &ring, update(session, 10, UPDATE | LINK_UPDATE));
            let ring = session.ring(8);
            start(session, &ring);
            let sqe = update(session, 1, UPDATE | LINK_UPDATE | ABS);
            session.batch_of("to an absolute time in the past", &ring, &[sqe], 3);
        }),
        Case::new("link-timeout/behind-a-waiting-head", Opcode::LinkTimeout, |session| {
            // The limit starts with its target, not with the chain.
            let ring = session.ring(8);
            let (first, write) = pending(session);
            let (second, _write) = pending(session);
            let chain = [first, second.with_user_data(5), limit(session, 30)];
            ring.push_all(&chain);
            session.outcome("submit", ring.submit());
            std::thread::sleep(std::time::Duration::from_millis(60));
            session.quiet("the head waits", &ring);
            session.write_fd(write, b"data");
            session.cqes("then", &ring.collect(3));
        }),
        Case::new("link-timeout/same-batch-ready-target", Opcode::LinkTimeout, |session| {
            let ring = session.ring(8);
            let (read, write) = pending(session);
            session.write_fd(write, b"data");
            session.batch("ready", &ring, &[read, limit(session, 0)]);
        }),
    ]
}

fn fields() -> Vec<Case> {
    vec![
        Case::new("link-timeout/fields", Opcode::LinkTimeout, |session| {
            variant(session, "good", |_, sqe| sqe);
            variant(session, "null time", |_, sqe| sqe.with_addr(0));
            variant(session, "bad time", |session, sqe| sqe.with_addr(session.bad_address()));
            variant(session, "negative time", |session, sqe| sqe.with_addr(session.timespec(-1, 0).addr()));
            for len in [0, 2] {
                variant(session, &format!("len {len}"), |_, sqe| sqe.with_len(len));
            }
            variant(session, "off", |_, sqe| sqe.with_off(1));
            variant(session, "upper half of off", |_, sqe| sqe.with_off(1 << 63));
            variant(session, "ioprio", |_, sqe| sqe.with_ioprio(1));
            variant(session, "buf_index", |_, sqe| sqe.with_buf_index(1));
            variant(session, "file_index", |_, sqe| sqe.with_file_index(1));
            variant(session, "personality", |_, sqe| sqe.with_personality(1));
            variant(session, "addr3", |_, sqe| sqe.with_addr3(1));
            variant(session, "pad2", |_, sqe| sqe.with_pad2(1));
            variant(session, "fd", |_, sqe| sqe.with_fd(0));
        }),
        Case::new("link-timeout/alone-and-bad", Opcode::LinkTimeout, |session| {
            let ring = session.ring(8);
            let good = limit(session, 1000);
            session.one_recorded("good", &ring, good);
            session.one_recorded("bad time", &ring, good.with_addr(session.bad_address()));
            session.one_recorded("null time", &ring, good.with_addr(0));
            session.one_recorded("off", &ring, good.with_off(1).with_addr(0));
        }),
        Case::new("link-timeout/op-flag-bits", Opcode::LinkTimeout, |session| {
            for bit in 0..32 {
                variant(session, &format!("bit {bit}"), |_, sqe| sqe.with_op_flags(1 << bit));
            }
        }),
        Case::new("link-timeout/sqe-flags", Opcode::LinkTimeout, |session| {
            for flags in [
                SqeFlags::FIXED_FILE,
                SqeFlags::IO_DRAIN,
                SqeFlags::ASYNC,
                SqeFlags::BUFFER_SELECT,
                SqeFlags::CQE_SKIP_SUCCESS,
                SqeFlags::from_bits_retain(0x80),
            ] {
                variant(session, &format!("{flags:?}"), |_, sqe| sqe.with_flags(flags));
            }
        }),
    ]
}
