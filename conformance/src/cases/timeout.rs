//! TIMEOUT and TIMEOUT_REMOVE.

use std::time::{Duration, Instant};

use ringer_abi::{Opcode, Sqe, SqeFlags, uapi};
use rustix::time::{ClockId, clock_gettime};

use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::{Case, Ring, Session, prep};

const ABS: u32 = uapi::IORING_TIMEOUT_ABS;
const UPDATE: u32 = uapi::IORING_TIMEOUT_UPDATE;
const BOOTTIME: u32 = uapi::IORING_TIMEOUT_BOOTTIME;
const REALTIME: u32 = uapi::IORING_TIMEOUT_REALTIME;
const LINK_UPDATE: u32 = uapi::IORING_LINK_TIMEOUT_UPDATE;
const ETIME_SUCCESS: u32 = uapi::IORING_TIMEOUT_ETIME_SUCCESS;
const MULTISHOT: u32 = uapi::IORING_TIMEOUT_MULTISHOT;

/// Long enough that it never expires within a case.
const FOREVER: i64 = 100;

const TIMEOUT: Exemplar = Exemplar::new(
    "timeout",
    Opcode::Timeout,
    FdRole::Ignored,
    &[Field::Off, Field::Addr, Field::Len, Field::OpFlags],
    &[Field::Addr],
    |session, _| {
        let moment = session.timespec(0, 1_000_000);
        Good::new(prep::timeout(moment.addr(), 0, 0))
    },
);

const TIMEOUT_REMOVE: Exemplar = Exemplar::new(
    "timeout-remove",
    Opcode::TimeoutRemove,
    FdRole::Ignored,
    // `off` holds the new time of an update; `op_flags` are looked at by cases of their own.
    &[Field::Off, Field::Addr, Field::OpFlags],
    &[],
    |session, ring| {
        armed(session, ring, 7);
        Good::new(prep::timeout_remove(7))
    },
);

fn armed(session: &Session, ring: &Ring, user_data: u64) {
    let forever = session.timespec(FOREVER, 0);
    ring.push(prep::timeout(forever.addr(), 0, 0).with_user_data(user_data));
    session.outcome("arm", ring.submit());
}

/// TIMEOUT_REMOVE as an update: the time stands in `off`.
fn update(target: u64, timespec: u64, flags: u32) -> Sqe {
    prep::timeout_remove(target).with_off(timespec).with_op_flags(UPDATE | flags)
}

/// The cases of TIMEOUT and TIMEOUT_REMOVE.
pub fn cases() -> Vec<Case> {
    let mut cases = TIMEOUT.cases();
    cases.extend(TIMEOUT_REMOVE.cases());
    cases.extend(expiry());
    cases.extend(counts());
    cases.extend(removal());
    cases
}

fn expiry() -> Vec<Case> {
    vec![
        Case::new("timeout/relative", Opcode::Timeout, |session| {
            let ring = session.ring(8);
            for milliseconds in [0, 1, 30] {
                let moment = session.timespec(0, milliseconds * 1_000_000);
                let start = Instant::now();
                session.one_recorded(milliseconds, &ring, prep::timeout(moment.addr(), 0, 0));
                let waited = start.elapsed();
                session.record("not early", waited >= Duration::from_millis(milliseconds as u64));
                session.record("not very late", waited < Duration::from_secs(2));
            }
        })
        .expect(&[("30", "submit 1, cqe -ETIME"), ("not early", "true")]),
        Case::new("timeout/clocks", Opcode::Timeout, |session| {
            let ring = session.ring(8);
            let clocks =
                [(0, ClockId::Monotonic), (BOOTTIME, ClockId::Boottime), (REALTIME, ClockId::Realtime)];
            for (flag, clock) in clocks {
                let moment = session.timespec(0, 5_000_000);
                session.one_recorded(
                    format!("clock {flag}, relative"),
                    &ring,
                    prep::timeout(moment.addr(), 0, flag),
                );
                let now = clock_gettime(clock);
                let past = session.timespec(now.tv_sec - 1, 0);
                let sqe = prep::timeout(past.addr(), 0, flag | ABS);
                session.one_recorded(format!("clock {flag}, absolute, past"), &ring, sqe);
                let start = Instant::now();
                let nanoseconds = now.tv_nsec + 20_000_000;
                let soon =
                    session.timespec(now.tv_sec + nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
                let sqe = prep::timeout(soon.addr(), 0, flag | ABS);
                session.one_recorded(format!("clock {flag}, absolute, soon"), &ring, sqe);
                session.record("waited", start.elapsed() > Duration::from_millis(10));
            }
            let moment = session.timespec(0, 1);
            let both = prep::timeout(moment.addr(), 0, BOOTTIME | REALTIME);
            session.one_recorded("two clocks", &ring, both);
        }),
        Case::new("timeout/odd-times", Opcode::Timeout, |session| {
            for (seconds, nanoseconds) in
                [(-1, 0), (0, -1), (0, 999_999_999), (i64::MIN, 0), (-1, -1), (0, 1_000_000_000)]
            {
                for flags in [0, ABS] {
                    let ring = session.ring(8);
                    let time = session.timespec(seconds, nanoseconds);
                    let label = format!("{seconds} s {nanoseconds} ns, flags {flags}");
                    session.one_recorded(label, &ring, prep::timeout(time.addr(), 0, flags));
                }
            }
            // These are legal and far away: only that they are taken is looked at.
            for (seconds, nanoseconds) in [(i64::MAX, 0), (1 << 40, 0), (0, i64::MAX), (i64::MAX, i64::MAX)] {
                let ring = session.ring(8);
                let time = session.timespec(seconds, nanoseconds);
                ring.push(prep::timeout(time.addr(), 0, 0).with_user_data(1));
                session.outcome(format!("{seconds} s {nanoseconds} ns: submit"), ring.submit());
                session.cqes("pending", &ring.reap_all());
            }
        }),
        Case::new("timeout/lengths", Opcode::Timeout, |session| {
            let ring = session.ring(8);
            let moment = session.timespec(0, 1);
            for len in [0, 2, u32::MAX] {
                let sqe = prep::timeout(moment.addr(), 0, 0).with_len(len);
                session.one_recorded(format!("len {len}"), &ring, sqe);
            }
        }),
        Case::new("timeout/time-is-read-at-submission", Opcode::Timeout, |session| {
            let ring = session.ring(8);
            let moment = session.timespec(0, 10_000_000);
            ring.push(prep::timeout(moment.addr(), 0, 0).with_user_data(1));
            session.outcome("submit", ring.submit());
            moment.put(0, [FOREVER as u64, 0]);
            session.cqes("expires", &ring.collect(1));
        }),
        Case::new("timeout/order-of-expiry", Opcode::Timeout, |session| {
            let ring = session.ring(8);
            for (data, milliseconds) in [(1, 90), (2, 10), (3, 50)] {
                let moment = session.timespec(0, milliseconds * 1_000_000);
                ring.push(prep::timeout(moment.addr(), 0, 0).with_user_data(data));
            }
            session.outcome("submit", ring.submit());
            session.cqes_in_order("expire", &ring.collect(3));
        }),
        Case::new("timeout/etime-success", Opcode::Timeout, |session| {
            let ring = session.ring(8);
            let moment = session.timespec(0, 1_000_000);
            for flags in [0, ETIME_SUCCESS] {
                let sqes = [
                    prep::timeout(moment.addr(), 0, flags).with_user_data(1).with_flags(SqeFlags::IO_LINK),
                    prep::nop().with_user_data(2),
                ];
                session.batch_in_order(format!("flags {flags}"), &ring, &sqes, 2);
            }
            let skip = SqeFlags::CQE_SKIP_SUCCESS;
            let sqe = prep::timeout(moment.addr(), 0, ETIME_SUCCESS).with_user_data(1).with_flags(skip);
            ring.push(sqe);
            session.outcome("skipped: submit", ring.submit());
            session.cqes("skipped", &ring.collect_until(Duration::from_millis(100), |_| false));
        }),
        Case::new("timeout/multishot", Opcode::Timeout, |session| {
            let ring = session.ring(8);
            let moment = session.timespec(0, 5_000_000);
            let sqe = |count| prep::timeout(moment.addr(), count, MULTISHOT).with_user_data(1);
            session.batch_of("three times", &ring, &[sqe(3)], 3);
            session.quiet("and no more", &ring);
            session.batch_of("once", &ring, &[sqe(1)], 1);
            ring.push(sqe(0));
            session.outcome("without end: submit", ring.submit());
            session.cqes("without end", &ring.collect(4)[..4]);
            ring.push(prep::timeout_remove(1).with_user_data(2));
            session.outcome("remove: submit", ring.submit());
            let seen = ring.collect_until(Duration::from_secs(5), |seen| {
                seen.iter().any(|cqe| cqe.user_data == 1 && cqe.res == -125)
                    && seen.iter().any(|cqe| cqe.user_data == 2)
            });
            let last: Vec<_> = seen.into_iter().filter(|cqe| cqe.user_data == 2 || cqe.res == -125).collect();
            session.cqes("removed", &last);
            let sqe = prep::timeout(moment.addr(), 2, MULTISHOT | ABS).with_user_data(3);
            session.one_recorded("absolute", &ring, sqe);
        }),
    ]
}

fn counts() -> Vec<Case> {
    vec![
        Case::new("timeout/count", Opcode::Timeout, |session| {
            for count in [1, 2, 3] {
                let ring = session.ring(8);
                let forever = session.timespec(FOREVER, 0);
                ring.push(prep::timeout(forever.addr(), count, 0).with_user_data(9));
                session.outcome("arm", ring.submit());
                for data in 0..3 {
                    ring.push(prep::nop().with_user_data(data));
                    let _ = ring.submit();
                    session.cqes_in_order(format!("count {count}, nop {data}"), &ring.collect(1));
                }
                session.cqes_in_order(format!("count {count}, left"), &ring.reap_all());
            }
        }),
        Case::new("timeout/count-counts-from-its-place", Opcode::Timeout, |session| {
            let ring = session.ring(8);
            let forever = session.timespec(FOREVER, 0);
            let sqes = [
                prep::nop().with_user_data(1),
                prep::timeout(forever.addr(), 2, 0).with_user_data(9),
                prep::nop().with_user_data(2),
                prep::nop().with_user_data(3),
                prep::nop().with_user_data(4),
            ];
            session.batch("one batch", &ring, &sqes);
        }),
        Case::new("timeout/count-of-two-timeouts", Opcode::Timeout, |session| {
            let ring = session.ring(8);
            let forever = session.timespec(FOREVER, 0);
            let sqes = [
                prep::timeout(forever.addr(), 3, 0).with_user_data(8),
                prep::timeout(forever.addr(), 1, 0).with_user_data(9),
                prep::nop().with_user_data(1),
                prep::nop().with_user_data(2),
            ];
            session.batch_of("one batch", &ring, &sqes, 4);
        }),
        Case::new("timeout/count-of-one-that-is-cancelled", Opcode::Timeout, |session| {
            let ring = session.ring(8);
            let forever = session.timespec(FOREVER, 0);
            ring.push(prep::timeout(forever.addr(), 3, 0).with_user_data(8));
            ring.push(prep::timeout(forever.addr(), 0, 0).with_user_data(9));
            session.outcome("arm", ring.submit());
            session.batch_of("cancel", &ring, &[prep::cancel(9, 0).with_user_data(1)], 2);
            session.batch_of("nop", &ring, &[prep::nop().with_user_data(2)], 2);
        }),
        Case::new("timeout/count-of-one-that-repeats", Opcode::Timeout, |session| {
            let ring = session.ring(8);
            let (forever, moment) = (session.timespec(FOREVER, 0), session.timespec(0, 1_000_000));
            ring.push(prep::timeout(forever.addr(), 2, 0).with_user_data(8));
            ring.push(prep::timeout(moment.addr(), 3, MULTISHOT).with_user_data(9));
            session.outcome("arm", ring.submit());
            session.cqes_in_order("expiries", &ring.collect(3));
            session.batch_of("nop", &ring, &[prep::nop().with_user_data(1)], 1);
            session.batch_of("another", &ring, &[prep::nop().with_user_data(2)], 2);
        }),
        Case::new("timeout/count-while-another-ends-silently", Opcode::Timeout, |session| {
            for (label, count) in [("before", 3), ("none", 0), ("after", 3)] {
                let ring = session.ring(8);
                let (forever, moment) = (session.timespec(FOREVER, 0), session.timespec(0, 1_000_000));
                if label == "before" {
                    ring.push(prep::timeout(forever.addr(), count, 0).with_user_data(8));
                }
                let silent = prep::timeout(moment.addr(), 1, ETIME_SUCCESS).with_user_data(9);
                ring.push(silent.with_flags(SqeFlags::CQE_SKIP_SUCCESS));
                session.outcome(format!("{label}: arm"), ring.submit());
                session.quiet(format!("{label}: expired"), &ring);
                if label == "after" {
                    ring.push(prep::timeout(forever.addr(), count, 0).with_user_data(8));
                }
                for data in 1..5 {
                    ring.push(prep::nop().with_user_data(data));
                    let _ = ring.submit();
                    session.quiet(format!("{label}: nop {data}"), &ring);
                }
            }
        }),
        Case::new("timeout/count-of-a-link-timeout", Opcode::Timeout, |session| {
            let ring = session.ring(8);
            let (forever, moment) = (session.timespec(FOREVER, 0), session.timespec(0, 1_000_000));
            let (read, _write) = session.pipe();
            ring.push(prep::timeout(forever.addr(), 3, 0).with_user_data(8));
            ring.push(prep::poll(read, 1).with_user_data(1).with_flags(SqeFlags::IO_LINK));
            ring.push(prep::link_timeout(moment.addr(), 0).with_user_data(2));
            session.outcome("arm", ring.submit());
            session.cqes_in_order("the limit", &ring.collect(2));
            session.batch_of("nop", &ring, &[prep::nop().with_user_data(3)], 2);
        }),
        Case::new("timeout/count-with-more-in-its-chain", Opcode::Timeout, |session| {
            // What is counted comes in another way each time: by the submitter, by readiness, from a worker, by cancellation.
            for (label, flags) in [("ready", SqeFlags::empty()), ("worker", SqeFlags::ASYNC)] {
                for (way, cancels) in [("fed", false), ("cancelled", true)] {
                    let label = format!("{label}, {way}");
                    let ring = session.ring(8);
                    let (forever, buffer) = (session.timespec(100, 0), session.memory(8));
                    let (read, write) = session.pipe();
                    ring.push_all(&[
                        prep::timeout(forever.addr(), 1, 0).with_user_data(1).with_flags(SqeFlags::IO_LINK),
                        prep::nop().with_user_data(2).with_flags(SqeFlags::IO_LINK),
                        prep::timeout(forever.addr(), 1, 0).with_user_data(3).with_flags(SqeFlags::IO_LINK),
                        prep::nop().with_user_data(4),
                        prep::read(read, buffer.addr(), 8, 0).with_user_data(5).with_flags(flags),
                    ]);
                    session.outcome(format!("{label}: submit"), ring.submit());
                    session.quiet(format!("{label}: before"), &ring);
                    if cancels {
                        ring.push(prep::cancel(5, 0).with_user_data(6));
                        session.outcome(format!("{label}: cancel"), ring.submit());
                    } else {
                        session.write_fd(write, b"x");
                    }
                    session.quiet(format!("{label}: then"), &ring);
                    session.batch_of(format!("{label}: nop"), &ring, &[prep::nop().with_user_data(7)], 3);
                    session.quiet(format!("{label}: at last"), &ring);
                }
            }
        }),
        Case::new("timeout/count-that-expires", Opcode::Timeout, |session| {
            let ring = session.ring(8);
            let moment = session.timespec(0, 10_000_000);
            ring.push(prep::timeout(moment.addr(), 2, 0).with_user_data(9));
            ring.push(prep::nop().with_user_data(1));
            session.outcome("submit", ring.submit());
            session.cqes_in_order("the nop, then the time", &ring.collect(2));
        }),
    ]
}

fn removal() -> Vec<Case> {
    vec![
        Case::new("timeout-remove/targets", Opcode::TimeoutRemove, |session| {
            let ring = session.ring(8);
            session.one_recorded("none", &ring, prep::timeout_remove(9));
            armed(session, &ring, 7);
            session.one_recorded("another", &ring, prep::timeout_remove(8).with_user_data(1));
            session.batch_of("this", &ring, &[prep::timeout_remove(7).with_user_data(2)], 2);
            session.one_recorded("gone", &ring, prep::timeout_remove(7).with_user_data(3));
            let (read, _write) = session.pipe();
            ring.push(prep::poll(read, 1).with_user_data(10));
            session.outcome("poll", ring.submit());
            session.one_recorded("a poll", &ring, prep::timeout_remove(10).with_user_data(4));
            armed(session, &ring, 11);
            session.batch_of("by cancel", &ring, &[prep::cancel(11, 0).with_user_data(5)], 2);
        }),
        Case::new("timeout-remove/flags", Opcode::TimeoutRemove, |session| {
            let time = session.timespec(FOREVER, 0);
            for bit in 0..32 {
                let ring = session.ring(8);
                armed(session, &ring, 7);
                let sqe = prep::timeout_remove(7).with_off(time.addr()).with_op_flags(1 << bit);
                session.one_recorded(format!("bit {bit}"), &ring, sqe.with_user_data(1));
                let ring = session.ring(8);
                armed(session, &ring, 7);
                let sqe = update(7, time.addr(), 1 << bit);
                session.one_recorded(format!("update and bit {bit}"), &ring, sqe.with_user_data(1));
            }
        }),
        Case::new("timeout-remove/update", Opcode::TimeoutRemove, |session| {
            let ring = session.ring(8);
            armed(session, &ring, 7);
            let soon = session.timespec(0, 5_000_000);
            session.batch_of("sooner", &ring, &[update(7, soon.addr(), 0).with_user_data(1)], 2);
            session.one_recorded("gone", &ring, update(7, soon.addr(), 0).with_user_data(2));
            armed(session, &ring, 7);
            let past = session.timespec(1, 0);
            session.batch_of("absolute", &ring, &[update(7, past.addr(), ABS).with_user_data(3)], 2);
            let now = clock_gettime(ClockId::Realtime);
            let now = session.timespec(now.tv_sec, now.tv_nsec);
            armed(session, &ring, 7);
            let sqe = update(7, now.addr(), ABS | REALTIME).with_user_data(4);
            session.batch_of("absolute, another clock", &ring, &[sqe], 2);
        }),
        Case::new("timeout-remove/update-odd", Opcode::TimeoutRemove, |session| {
            let soon = session.timespec(0, 1_000_000);
            let odd: [(&str, Sqe); 7] = [
                ("null time", update(7, 0, 0)),
                ("bad time", update(7, session.bad_address(), 0)),
                ("negative time", update(7, session.timespec(-1, 0).addr(), 0)),
                ("two clocks", update(7, soon.addr(), BOOTTIME | REALTIME)),
                ("link update of a plain timeout", update(7, soon.addr(), LINK_UPDATE)),
                (
                    "only link update",
                    prep::timeout_remove(7).with_off(soon.addr()).with_op_flags(LINK_UPDATE),
                ),
                ("remove with a time", prep::timeout_remove(7).with_off(soon.addr())),
            ];
            for (label, sqe) in odd {
                let ring = session.ring(8);
                armed(session, &ring, 7);
                session.one_recorded(label, &ring, sqe.with_user_data(1));
            }
        }),
        Case::new("timeout-remove/same-batch", Opcode::TimeoutRemove, |session| {
            let ring = session.ring(8);
            let forever = session.timespec(FOREVER, 0);
            let sqes = [
                prep::timeout(forever.addr(), 0, 0).with_user_data(1),
                prep::timeout_remove(1).with_user_data(2),
                prep::timeout_remove(1).with_user_data(3),
            ];
            session.batch("arm, remove, remove", &ring, &sqes);
        }),
    ]
}
