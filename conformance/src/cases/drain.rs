//! Drain: a request that starts only when everything before it has completed.

use ringer_abi::{SetupFlags, Sqe, SqeFlags};

use crate::differential::{Case, prep};

const DRAIN: SqeFlags = SqeFlags::IO_DRAIN;

fn nop(user_data: u64, flags: SqeFlags) -> Sqe {
    prep::nop().with_user_data(user_data).with_flags(flags)
}

/// The cases of drain.
pub fn cases() -> Vec<Case> {
    let none = SqeFlags::empty();
    vec![
        Case::general("drain/after-a-timeout", move |session| {
            let ring = session.ring(8);
            let time = session.timespec(0, 20_000_000);
            let sqes = [
                prep::timeout(time.addr(), 0, 0).with_user_data(1),
                nop(2, none),
                nop(3, DRAIN),
                nop(4, none),
            ];
            session.batch_in_order("order", &ring, &sqes, 4);
        }),
        Case::general("drain/after-a-read", move |session| {
            let (ring, buffer) = (session.ring(8), session.memory(8));
            let (read, write) = session.pipe();
            let sqes = [prep::read(read, buffer.addr(), 8, 0).with_user_data(1), nop(2, DRAIN), nop(3, none)];
            ring.push_all(&sqes);
            session.outcome("submit", ring.submit());
            session.quiet("held back", &ring);
            // What is submitted later waits as well.
            ring.push(nop(4, none));
            session.outcome("later", ring.submit());
            session.quiet("still held back", &ring);
            session.write_fd(write, b"x");
            session.cqes_in_order("released", &ring.collect(4));
            session.one_recorded("and over", &ring, nop(5, none));
        }),
        Case::general("drain/several", move |session| {
            let ring = session.ring(16);
            let time = session.timespec(0, 10_000_000);
            let timeout = |data| prep::timeout(time.addr(), 0, 0).with_user_data(data);
            let sqes = [timeout(1), nop(2, DRAIN), timeout(3), nop(4, DRAIN), nop(5, DRAIN), nop(6, none)];
            session.batch_in_order("order", &ring, &sqes, 6);
        }),
        Case::general("drain/link-head", move |session| {
            let ring = session.ring(16);
            let time = session.timespec(0, 10_000_000);
            let sqes = [
                prep::timeout(time.addr(), 0, 0).with_user_data(1),
                nop(2, DRAIN | SqeFlags::IO_LINK),
                nop(3, SqeFlags::IO_LINK),
                nop(4, none),
                nop(5, none),
            ];
            session.batch_in_order("order", &ring, &sqes, 5);
        }),
        Case::general("drain/inside-a-link", move |session| {
            // Drain in a chain holds the whole chain back.
            let ring = session.ring(16);
            let time = session.timespec(0, 10_000_000);
            let sqes = [
                prep::timeout(time.addr(), 0, 0).with_user_data(1),
                nop(2, SqeFlags::IO_LINK),
                nop(3, DRAIN),
                nop(4, none),
            ];
            session.batch_in_order("order", &ring, &sqes, 4);
        }),
        Case::general("drain/behind-a-drain-inside-a-link", move |session| {
            // The head may drain as well, or be refused.
            for head in [none, DRAIN] {
                for refused in [0, 1] {
                    for inside in [none, DRAIN] {
                        let (ring, buffer) =
                            (session.ring_with(16, SetupFlags::SUBMIT_ALL), session.memory(8));
                        let (read, write) = session.pipe();
                        let sqes = [
                            nop(1, head | SqeFlags::IO_LINK).with_ioprio(refused),
                            nop(2, inside),
                            prep::read(read, buffer.addr(), 8, 0).with_user_data(3),
                            nop(4, none),
                        ];
                        ring.push_all(&sqes);
                        session.outcome(format!("{head:?}, {refused}, {inside:?}"), ring.submit());
                        session.quiet("what waits", &ring);
                        session.write_fd(write, b"x");
                        session.quiet("the rest", &ring);
                    }
                }
            }
        }),
        Case::general("drain/skipped-completions", move |session| {
            let ring = session.ring(16);
            let sqes = [nop(1, SqeFlags::CQE_SKIP_SUCCESS), nop(2, DRAIN), nop(3, none)];
            session.batch_in_order("skip, drain", &ring, &sqes, 2);
            session.quiet("no more", &ring);
            session.one_recorded("both", &ring, nop(4, DRAIN | SqeFlags::CQE_SKIP_SUCCESS));
        }),
        Case::general("drain/multishot-poll-does-not-count", move |session| {
            // A request that never ends would hold the drain back for ever.
            let ring = session.ring(16);
            let (read, write) = session.pipe();
            let multi = ringer_abi::uapi::IORING_POLL_ADD_MULTI;
            ring.push(prep::poll(read, 1).with_len(multi).with_user_data(1));
            session.outcome("poll", ring.submit());
            session.write_fd(write, b"x");
            session.cqes("first", &ring.collect(1));
            ring.push(nop(2, DRAIN));
            session.outcome("drain", ring.submit());
            session.cqes(
                "drained",
                &ring.collect_until(std::time::Duration::from_millis(100), |seen| !seen.is_empty()),
            );
            ring.push(prep::poll_remove(1).with_user_data(3));
            session.outcome("remove", ring.submit());
            let seen = ring.collect_until(std::time::Duration::from_millis(300), |seen| seen.len() >= 3);
            session.cqes("in the end", &seen);
        }),
        Case::general("drain/failures", move |session| {
            let ring = session.ring(16);
            let sqes = [
                prep::read(-1, 0, 0, 0).with_user_data(1),
                prep::read(-1, 0, 0, 0).with_user_data(2).with_flags(DRAIN),
                nop(3, DRAIN),
            ];
            session.batch_in_order("order", &ring, &sqes, 3);
        }),
        Case::general("drain/async", move |session| {
            let ring = session.ring(16);
            let time = session.timespec(0, 10_000_000);
            let sqes = [
                prep::timeout(time.addr(), 0, 0).with_user_data(1),
                nop(2, DRAIN | SqeFlags::ASYNC),
                nop(3, DRAIN),
            ];
            session.batch_in_order("order", &ring, &sqes, 3);
        }),
        Case::general("drain/across-submissions", move |session| {
            let ring = session.ring(16);
            let time = session.timespec(0, 20_000_000);
            ring.push(prep::timeout(time.addr(), 0, 0).with_user_data(1));
            session.outcome("timeout", ring.submit());
            ring.push(nop(2, DRAIN));
            session.outcome("drain", ring.submit());
            ring.push(nop(3, none));
            session.outcome("nop", ring.submit());
            session.cqes_in_order("order", &ring.collect(3));
        }),
    ]
}
