//! Chains that begin with a request on a file that is not ready: its LINK_TIMEOUT expires, or its file becomes ready, or it is
//! cancelled.

use std::time::Duration;

use ringer_abi::{Opcode, SetupFlags, SqeFlags};

use super::not_ready::{Requests, Stage, Way, requests, without_signals};
use super::not_ready_files::Event;
use crate::differential::{Case, Session, prep};

/// What ends the wait of the first request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Ready,
    Timeout,
    Cancelled,
    CancelledByFile,
}

/// What `user_data` of the LINK_TIMEOUT, of what follows, and of a cancellation have more than that of the request.
const LIMIT: u64 = 100;
const NEXT: u64 = 200;
const CANCEL: u64 = 300;
/// How long a chain may take to come to its end, if it does.
const LIMIT_OF_ALL: Duration = Duration::from_millis(200);

fn play(session: &Session, requests: &Requests, setup: SetupFlags, way: Way, link: SqeFlags, end: End) {
    let stage = Stage::new(session, setup, requests.kinds, false);
    let time = match end {
        // Long enough for a worker to begin on a busy machine.
        End::Timeout => session.timespec(0, 25_000_000),
        _ => session.timespec(1000, 0),
    };
    let ring = &stage.ring;
    for number in 0..stage.files.len() {
        let sqe = stage.sqe(number, requests.make, way);
        let limit = prep::op(Opcode::LinkTimeout, -1).with_addr(time.addr()).with_len(1);
        ring.push(sqe.with_flags(sqe.flags() | SqeFlags::IO_LINK));
        ring.push(limit.with_flags(link).with_user_data(sqe.user_data() + LIMIT));
        ring.push(prep::nop().with_user_data(sqe.user_data() + NEXT));
    }
    let label = format!("{setup:?}, {way:?}, {link:?}, {end:?}");
    session.outcome(format!("{label}: submit"), ring.submit());
    // Where task work is deferred, each call may bring more of it; and a busy machine is late.
    std::thread::sleep(Duration::from_millis(10));
    let mut seen = ring.collect_until(Duration::from_millis(15), |_| false);
    // What begins on a worker, or runs out of time, is told with the rest: when is the machine's affair.
    if way == Way::Plain && end != End::Timeout {
        session.cqes(format!("{label}: at first"), &seen);
    }
    for (number, file) in stage.files.iter().enumerate() {
        let name = number as u64 + 1;
        let cancel = match end {
            End::Ready => {
                Event::Ready.happen(session, file);
                continue;
            }
            End::Timeout => continue,
            End::Cancelled => prep::cancel(name, 0),
            End::CancelledByFile => prep::cancel(0, BY_FILE).with_fd(file.fd),
        };
        ring.push(cancel.with_user_data(name + CANCEL));
    }
    session.outcome(format!("{label}: go on"), ring.submit());
    let cancellations = if matches!(end, End::Cancelled | End::CancelledByFile) { 1 } else { 0 };
    let expected = stage.files.len() * (3 + cancellations) - seen.len();
    seen.extend(ring.collect_until(LIMIT_OF_ALL, |more| more.len() >= expected));
    // It may have begun on a worker of the kernel.
    for cqe in seen.iter_mut().filter(|cqe| cqe.user_data > CANCEL) {
        cqe.res = cqe.res.max(0);
    }
    session.cqes(format!("{label}: then"), &without_signals(seen));
    stage.end(&label);
}

/// `IORING_ASYNC_CANCEL_FD`.
const BY_FILE: u32 = 2;

/// The cases.
pub fn cases() -> Vec<Case> {
    let case = |requests: Requests| {
        Case::new(format!("not-ready/{}-in-a-chain", requests.name), requests.opcode, move |session| {
            let deferred = SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN;
            for setup in [SetupFlags::empty(), deferred] {
                for (way, link) in [
                    (Way::Plain, SqeFlags::IO_LINK),
                    (Way::Plain, SqeFlags::IO_HARDLINK),
                    (Way::Async, SqeFlags::IO_LINK),
                    (Way::Fixed, SqeFlags::empty()),
                ] {
                    for end in [End::Ready, End::Timeout, End::Cancelled, End::CancelledByFile] {
                        // What is done at once has its completion, and its LINK_TIMEOUT the end of its time, when the ring is asked.
                        // That of a multishot request on a worker is not armed in Linux, as docs/SUPPORT.md says.
                        let is_of_worker = way == Way::Async && requests.name.ends_with("multishot");
                        if end == End::Timeout && (setup == deferred || is_of_worker) {
                            continue;
                        }
                        play(session, &requests, setup, way, link, end);
                    }
                    session.fresh();
                }
            }
        })
    };
    // Linux gives a SPLICE to a worker and does not arm its LINK_TIMEOUT, as docs/SUPPORT.md says.
    requests().into_iter().filter(|requests| requests.opcode != Opcode::Splice).map(case).collect()
}
