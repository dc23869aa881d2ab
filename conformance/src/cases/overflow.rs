//! A completion queue that is full: nothing is lost (`IORING_FEAT_NODROP`), and the order stays.

use ringer_abi::{EnterFlags, SetupFlags, SqRingFlags};

use crate::differential::record::cqes_text;
use crate::differential::{Case, Ring, Session, prep};

/// Submits NOPs named from `first` on, one call each half of the SQ.
fn nops(session: &Session, ring: &Ring, first: u64, count: u64) {
    for data in first..first + count {
        ring.push(prep::nop().with_user_data(data));
        if data % 2 == 1 || data == first + count - 1 {
            session.outcome(format!("submit to {data}"), ring.submit());
        }
    }
}

fn look(session: &Session, ring: &Ring, label: &str) {
    let shown = SqRingFlags::from_bits_retain(ring.sq_flags()).contains(SqRingFlags::CQ_OVERFLOW);
    let lost = ring.read_word(ring.params.cq_off.overflow);
    session.record(label, format!("ready {} overflow shown {shown} lost {lost}", ring.ready()));
}

/// The cases of overflow.
pub fn cases() -> Vec<Case> {
    vec![
        Case::general("overflow/backlog", |session| {
            let ring = session.ring(2);
            nops(session, &ring, 0, 10);
            look(session, &ring, "full");
            session.record("first", cqes_text(&ring.reap_all()));
            look(session, &ring, "reaped without a call");
            session.outcome("fetch", ring.enter(0, 0, EnterFlags::GETEVENTS));
            look(session, &ring, "fetched");
            session.record("second", cqes_text(&ring.reap_all()));
            session.outcome("fetch", ring.enter(0, 0, EnterFlags::GETEVENTS));
            session.record("third", cqes_text(&ring.reap_all()));
            look(session, &ring, "empty");
        }),
        Case::general("overflow/waiting-fetches", |session| {
            let ring = session.ring(2);
            nops(session, &ring, 0, 10);
            let mut seen = Vec::new();
            while seen.len() < 10 {
                session.outcome("wait", ring.enter(0, 1, EnterFlags::GETEVENTS));
                seen.extend(ring.reap_all());
            }
            session.record("all", cqes_text(&seen));
            look(session, &ring, "empty");
        }),
        Case::general("overflow/submission-without-getevents", |session| {
            // Submission goes on while there is a backlog.
            let ring = session.ring(2);
            nops(session, &ring, 0, 8);
            look(session, &ring, "before");
            ring.reap();
            nops(session, &ring, 8, 2);
            look(session, &ring, "after");
            let mut seen = ring.reap_all();
            while seen.len() < 9 && ring.enter(0, 0, EnterFlags::GETEVENTS).is_ok() {
                let more = ring.reap_all();
                if more.is_empty() {
                    break;
                }
                seen.extend(more);
            }
            session.record("in order", cqes_text(&seen));
        }),
        Case::general("overflow/of-transfers-alone", |session| {
            let ring = session.ring(2);
            let (file, memory) = (session.file(b"what is read"), session.memory(16));
            nops(session, &ring, 0, 4);
            for (data, sqe) in [
                (10, prep::read(file, memory.addr(), 4, 5)),
                (12, prep::read(file, memory.addr(), 16, 5)),
                (13, prep::read(file, memory.addr(), 4, 100)),
                (14, prep::read(file, 0, 4, 0)),
                // Linux has a worker do it: it comes last.
                (15, prep::write(file, memory.addr(), 4, 0)),
            ] {
                ring.push(sqe.with_user_data(data));
                session.outcome(format!("submit {data}"), ring.submit());
                look(session, &ring, "behind");
            }
            let mut seen = Vec::new();
            while seen.len() < 9 {
                session.outcome("wait", ring.enter(0, 1, EnterFlags::GETEVENTS));
                seen.extend(ring.reap_all());
            }
            session.record("all", cqes_text(&seen));
            session.record("read", memory.get::<u64>(0));
            session.one_recorded("written", &ring, prep::read(file, memory.addr(), 16, 0).with_user_data(20));
            session.record("it is", memory.get::<u64>(0));
        }),
        Case::general("overflow/exactly-full", |session| {
            let ring = session.ring(2);
            nops(session, &ring, 0, 4);
            look(session, &ring, "full");
            session.outcome("fetch", ring.enter(0, 0, EnterFlags::GETEVENTS));
            look(session, &ring, "no backlog");
        }),
        Case::general("overflow/late-completions", |session| {
            let ring = session.ring(4);
            let time = session.timespec(0, 5_000_000);
            for round in 0..3_u64 {
                for data in 0..4 {
                    ring.push(prep::timeout(time.addr(), 0, 0).with_user_data(round * 4 + data));
                }
                session.outcome(format!("round {round}"), ring.submit());
            }
            std::thread::sleep(std::time::Duration::from_millis(60));
            session.outcome("wait for all that fit", ring.enter(0, 8, EnterFlags::GETEVENTS));
            let mut seen = ring.reap_all();
            session.outcome("wait for the rest", ring.enter(0, 4, EnterFlags::GETEVENTS));
            seen.extend(ring.reap_all());
            session.cqes("all", &seen);
        }),
        Case::general("overflow/chain", |session| {
            let ring = session.ring(4);
            let link = ringer_abi::SqeFlags::IO_LINK;
            for round in 0..4_u64 {
                for data in 0..4 {
                    let flags = if data < 3 { link } else { ringer_abi::SqeFlags::empty() };
                    ring.push(prep::nop().with_user_data(round * 4 + data).with_flags(flags));
                }
                session.outcome(format!("round {round}"), ring.submit());
            }
            look(session, &ring, "full");
            let mut seen = ring.reap_all();
            for _ in 0..4 {
                let _ = ring.enter(0, 0, EnterFlags::GETEVENTS);
                seen.extend(ring.reap_all());
            }
            session.record("in order", cqes_text(&seen));
        }),
        Case::general("overflow/multishot", |session| {
            // A multishot request ends when its completion does not fit.
            let ring = session.ring(1);
            let (read, write) = session.pipe();
            let multi = ringer_abi::uapi::IORING_POLL_ADD_MULTI;
            ring.push(prep::poll(read, 1).with_len(multi).with_user_data(100));
            session.outcome("poll", ring.submit());
            nops(session, &ring, 0, 1);
            nops(session, &ring, 1, 1);
            look(session, &ring, "full");
            session.write_fd(write, b"x");
            let _ = ring.enter(0, 0, EnterFlags::empty());
            let mut seen = ring.reap_all();
            for _ in 0..3 {
                let _ = ring.enter(0, 0, EnterFlags::GETEVENTS);
                seen.extend(ring.reap_all());
            }
            session.cqes("all", &seen);
            session.write_fd(write, b"x");
            session.quiet("then", &ring);
        }),
        Case::general("overflow/special-rings", |session| {
            for flags in [
                SetupFlags::CQE32,
                SetupFlags::DEFER_TASKRUN | SetupFlags::SINGLE_ISSUER,
                SetupFlags::COOP_TASKRUN,
                SetupFlags::NO_SQARRAY,
            ] {
                let ring = session.ring_with(2, flags);
                nops(session, &ring, 0, 7);
                look(session, &ring, &format!("{flags:?}: full"));
                let mut seen = ring.reap_all();
                for _ in 0..3 {
                    let _ = ring.enter(0, 0, EnterFlags::GETEVENTS);
                    seen.extend(ring.reap_all());
                }
                session.record(format!("{flags:?}"), cqes_text(&seen));
                look(session, &ring, &format!("{flags:?}: empty"));
            }
        }),
        Case::general("overflow/a-count-met-by-what-fills", |session| {
            // The end of a timeout is task work: with DEFER_TASKRUN it comes when it is asked for, which is too late here.
            for flags in [SetupFlags::empty(), SetupFlags::DEFER_TASKRUN | SetupFlags::SINGLE_ISSUER] {
                let ring = session.ring_with(2, flags);
                let late = session.timespec(1000, 0);
                ring.push(prep::timeout(late.addr(), 2, 0).with_user_data(100));
                session.outcome(format!("{flags:?}: timeout"), ring.submit());
                nops(session, &ring, 0, 4);
                look(session, &ring, &format!("{flags:?}: submitted"));
                session.outcome("fetch", ring.enter(0, 0, EnterFlags::GETEVENTS));
                look(session, &ring, &format!("{flags:?}: fetched"));
                let mut seen = ring.reap_all();
                session.outcome("fetch", ring.enter(0, 0, EnterFlags::GETEVENTS));
                seen.extend(ring.reap_all());
                session.record(format!("{flags:?}"), cqes_text(&seen));
            }
        }),
        Case::general("overflow/close-with-a-backlog", |session| {
            let mut ring = session.ring(2);
            nops(session, &ring, 0, 20);
            session.outcome("close", ring.close().map(|()| 0_i32));
        }),
    ]
}
