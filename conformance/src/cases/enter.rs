//! `io_uring_enter`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ringer_abi::{EnterFlags, GetEventsArg, SetupFlags, SqeFlags};
use ringer_sys::{UserAddress, native};
use rustix::process::Signal;

use crate::differential::memory::Memory;
use crate::differential::{Case, Session, prep};

const GETEVENTS: u32 = EnterFlags::GETEVENTS.bits();
const EXT_ARG: u32 = EnterFlags::EXT_ARG.bits();
const ARG: usize = size_of::<GetEventsArg>();
const NONE: EnterFlags = EnterFlags::empty();
const SIGUSR1: i32 = 10;
const SIGUSR1_BIT: u64 = 1 << (SIGUSR1 - 1);

/// The cases of enter.
pub fn cases() -> Vec<Case> {
    let mut cases = calls();
    cases.extend(submission());
    cases.extend(waiting());
    cases.extend(signals());
    cases
}

fn argument(session: &Session, argument: GetEventsArg) -> Memory {
    let memory = session.memory(ARG);
    memory.put(0, argument);
    memory
}

fn calls() -> Vec<Case> {
    vec![
        Case::general("enter/bad-fd", |session| {
            let enter = |fd| session.backend().enter(fd, 0, 0, 0, UserAddress::new(0), 0);
            for (label, fd) in [
                ("-1", -1),
                ("closed", session.closed_fd()),
                ("a file", session.file(b"")),
                ("an eventfd", session.eventfd(0)),
                ("O_PATH", session.file_with(b"", rustix::fs::OFlags::PATH)),
            ] {
                session.outcome(label, enter(fd));
            }
        })
        .expect(&[("-1", "-EBADF"), ("a file", "-EOPNOTSUPP")]),
        Case::general("enter/flag-bits", |session| {
            for bit in 0..32 {
                let ring = session.ring(4);
                ring.push(prep::nop());
                // With a completion to be had, no flag waits long.
                let outcome = ring.enter_with(1, 1, 1 << bit | (if bit == 0 { 0 } else { GETEVENTS }), 0, 0);
                session.outcome(format!("bit {bit}"), outcome);
                session.record(format!("bit {bit}: completions"), ring.ready());
            }
        }),
        Case::general("enter/registered-ring-not-registered", |session| {
            let backend = session.backend();
            let flags = EnterFlags::REGISTERED_RING.bits();
            for index in [0, 15, 16, -1] {
                let outcome = backend.enter(index, 0, 0, flags, UserAddress::new(0), 0);
                session.outcome(format!("index {index}"), outcome);
            }
        }),
        Case::general("enter/disabled-ring", |session| {
            let ring = session.ring_with(4, SetupFlags::R_DISABLED);
            ring.push(prep::nop());
            session.outcome("submit", ring.submit());
            session.outcome("wait", ring.enter(0, 0, EnterFlags::GETEVENTS));
            session.record("left in the queue", ring.unsubmitted());
            let enable = ringer_abi::RegisterOpcode::EnableRings.number();
            session.outcome("enable", ring.register(enable, 0, 0));
            session.outcome("enable again", ring.register(enable, 0, 0));
            session.outcome("submit", ring.submit());
            session.cqes("served", &ring.collect(1));
        }),
        Case::general("enter/other-thread-on-single-issuer", |session| {
            let ring = session.ring_with(4, SetupFlags::SINGLE_ISSUER);
            ring.push(prep::nop());
            let (backend, fd) = (session.backend(), ring.fd);
            let elsewhere = std::thread::scope(|scope| {
                let call = move || backend.enter(fd, 1, 0, 0, UserAddress::new(0), 0);
                scope.spawn(call).join().expect("no panic inside")
            });
            session.outcome("another thread", elsewhere);
            session.outcome("this thread", ring.submit());
        }),
    ]
}

fn submission() -> Vec<Case> {
    vec![
        Case::general("enter/nothing", |session| {
            let ring = session.ring(4);
            session.outcome("nothing to do", ring.enter(0, 0, NONE));
            session.outcome("submit from an empty queue", ring.enter(3, 0, NONE));
            session.outcome("wait for nothing", ring.enter(0, 0, EnterFlags::GETEVENTS));
        }),
        Case::general("enter/counts", |session| {
            let ring = session.ring(4);
            for data in 0..4 {
                ring.push(prep::nop().with_user_data(data));
            }
            session.outcome("fewer than there are", ring.enter(3, 0, NONE));
            session.record("left", ring.unsubmitted());
            session.outcome("more than there are", ring.enter(100, 0, NONE));
            session.cqes_in_order("completions", &ring.collect(4));
            ring.push(prep::nop());
            session.outcome("the largest number", ring.enter(u32::MAX, 0, NONE));
        }),
        Case::general("enter/wait-without-getevents", |session| {
            let ring = session.ring(4);
            session.outcome("min_complete ignored", ring.enter(0, 5, NONE));
        }),
        Case::general("enter/stops-at-a-bad-sqe", |session| {
            for flags in [SetupFlags::empty(), SetupFlags::SUBMIT_ALL] {
                let ring = session.ring_with(8, flags);
                let sqes = [
                    prep::nop().with_user_data(1),
                    prep::nop().with_user_data(2).with_flags(SqeFlags::from_bits_retain(0x80)),
                    prep::nop().with_user_data(3),
                    // Fails when it runs, not when it is taken: no reason to stop.
                    prep::read(-1, 0, 0, 0).with_user_data(4),
                    prep::nop().with_user_data(5),
                ];
                ring.push_all(&sqes);
                session.outcome(format!("{flags:?}: first"), ring.submit());
                session.record(format!("{flags:?}: left"), ring.unsubmitted());
                session.outcome(format!("{flags:?}: second"), ring.submit());
                session.cqes_in_order(format!("{flags:?}: completions"), &ring.collect(5));
            }
        })
        .expect(&[("SetupFlags(0x0): first", "2"), ("SetupFlags(SUBMIT_ALL): first", "5")]),
        Case::general("enter/wait-after-a-bad-sqe", |session| {
            // Submission stopped early: the call does not wait for what was not submitted.
            let ring = session.ring(8);
            let bad = prep::nop().with_user_data(1).with_flags(SqeFlags::from_bits_retain(0x80));
            let forever = session.timespec(100, 0);
            for sqe in
                [bad, prep::timeout(forever.addr(), 0, 0).with_user_data(2), prep::nop().with_user_data(3)]
            {
                ring.push(sqe);
            }
            session.outcome("submit and wait", ring.enter(3, 2, EnterFlags::GETEVENTS));
            session.cqes("completions", &ring.reap_all());
        }),
        Case::general("enter/bad-index", |session| {
            for flags in [SetupFlags::empty(), SetupFlags::SUBMIT_ALL] {
                let ring = session.ring_with(4, flags);
                ring.write_sqe(0, prep::nop().with_user_data(1));
                ring.write_sqe(1, prep::nop().with_user_data(2));
                for index in [0, 4, u32::MAX, 1] {
                    ring.push_index(index);
                }
                session.outcome(format!("{flags:?}: submit"), ring.submit());
                let dropped = ring.read_word(ring.params.sq_off.dropped);
                session.record(format!("{flags:?}: dropped"), dropped);
                session.record(format!("{flags:?}: left"), ring.unsubmitted());
                session.outcome(format!("{flags:?}: the rest"), ring.submit());
                let dropped = ring.read_word(ring.params.sq_off.dropped);
                session.record(format!("{flags:?}: dropped"), dropped);
                session.outcome(format!("{flags:?}: the rest"), ring.submit());
                session.cqes_in_order(format!("{flags:?}: completions"), &ring.reap_all());
            }
        }),
        Case::general("enter/one-sqe-several-times", |session| {
            let ring = session.ring(4);
            ring.write_sqe(2, prep::nop().with_user_data(7));
            (0..3).for_each(|_| ring.push_index(2));
            session.outcome("submit", ring.submit());
            session.cqes("completions", &ring.reap_all());
        }),
        Case::general("enter/tail-out-of-range", |session| {
            // The application wrote nonsense: no more than the ring holds is taken.
            let ring = session.ring(4);
            for slot in 0..4 {
                ring.write_sqe(slot, prep::nop().with_user_data(u64::from(slot)));
                ring.write_word(ring.params.sq_off.array + 4 * slot, slot);
            }
            ring.write_word(ring.params.sq_off.tail, 1000);
            session.outcome("submit", ring.enter(1000, 0, NONE));
            session.record("completions", ring.reap_all().len());
        }),
        Case::general("enter/indices-wrap", |session| {
            let ring = session.ring(2);
            for round in 0..20 {
                ring.push(prep::nop().with_user_data(round));
                ring.push(prep::nop().with_user_data(round + 100));
                let _ = ring.submit();
                session.cqes_in_order(round, &ring.collect(2));
            }
        }),
        Case::general("enter/sq-is-free-after-submission", |session| {
            let ring = session.ring(2);
            let (read, write) = session.pipe();
            let buffer = session.memory(64);
            for round in 0..4 {
                for half in 0..2 {
                    let data = round * 2 + half;
                    ring.push(prep::read(read, buffer.addr() + data * 8, 1, 0).with_user_data(data));
                }
                session.outcome("submit", ring.submit());
                // The slots are the application's again.
                ring.write_sqe(0, prep::nop().with_user_data(999));
                ring.write_sqe(1, prep::nop().with_user_data(999));
            }
            session.write_fd(write, b"12345678");
            let mut seen = ring.collect(4);
            seen.extend(ring.collect(4));
            session.cqes("completions", &seen);
        }),
    ]
}

fn waiting() -> Vec<Case> {
    vec![
        Case::general("enter/waits-for-enough", |session| {
            let ring = session.ring(8);
            let times = [10, 110, 210].map(|milliseconds| session.timespec(0, milliseconds * 1_000_000));
            for (data, time) in times.iter().enumerate() {
                ring.push(prep::timeout(time.addr(), 0, 0).with_user_data(data as u64));
            }
            session.outcome("submit and wait for two", ring.enter(3, 2, EnterFlags::GETEVENTS));
            session.record("at least two", ring.ready() >= 2);
            session.outcome("wait for two that are there", ring.enter(0, 2, EnterFlags::GETEVENTS));
            session.outcome("wait for the third", ring.enter(0, 3, EnterFlags::GETEVENTS));
            session.cqes("all", &ring.reap_all());
        }),
        Case::general("enter/more-than-the-cq-holds", |session| {
            // min_complete is bounded by the size of the CQ.
            let ring = session.ring(1);
            ring.push(prep::nop());
            session.outcome("first", ring.submit());
            ring.push(prep::nop());
            session.outcome("second", ring.enter(1, 1000, EnterFlags::GETEVENTS));
            session.record("ready", ring.ready());
        }),
        Case::general("enter/timeout", |session| {
            let ring = session.ring(4);
            let time = session.timespec(0, 20_000_000);
            let arg = argument(session, GetEventsArg { ts: time.addr(), ..GetEventsArg::default() });
            let start = Instant::now();
            session.outcome("nothing comes", ring.enter_with(0, 1, GETEVENTS | EXT_ARG, arg.addr(), ARG));
            session.record("waited", start.elapsed() >= Duration::from_millis(20));
            session.outcome("nothing is wanted", ring.enter_with(0, 0, GETEVENTS | EXT_ARG, arg.addr(), ARG));
            ring.push(prep::nop());
            session.outcome("something comes", ring.enter_with(1, 1, GETEVENTS | EXT_ARG, arg.addr(), ARG));
            session.outcome("one of two", ring.enter_with(0, 2, GETEVENTS | EXT_ARG, arg.addr(), ARG));
            let (read, _write) = session.pipe();
            ring.push(prep::poll(read, 1).with_user_data(1));
            session.outcome(
                "submitted, then nothing",
                ring.enter_with(1, 2, GETEVENTS | EXT_ARG, arg.addr(), ARG),
            );
            for (label, time) in [
                ("zero", session.timespec(0, 0)),
                ("negative", session.timespec(-1, 0)),
                ("negative ns", session.timespec(0, -1)),
            ] {
                let arg = argument(session, GetEventsArg { ts: time.addr(), ..GetEventsArg::default() });
                session.outcome(label, ring.enter_with(0, 2, GETEVENTS | EXT_ARG, arg.addr(), ARG));
            }
        })
        .expect(&[("nothing comes", "-ETIME"), ("waited", "true")]),
        Case::general("enter/absolute-timeout", |session| {
            let ring = session.ring(4);
            let flags = GETEVENTS | EXT_ARG | EnterFlags::ABS_TIMER.bits();
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let soon = session.timespec(now.tv_sec + 1, now.tv_nsec);
            let past = session.timespec(now.tv_sec - 1, now.tv_nsec);
            let arg = |time: &Memory| {
                argument(session, GetEventsArg { ts: time.addr(), ..GetEventsArg::default() })
            };
            session.outcome("past", ring.enter_with(0, 1, flags, arg(&past).addr(), ARG));
            let start = Instant::now();
            session.outcome("soon", ring.enter_with(0, 1, flags, arg(&soon).addr(), ARG));
            session.record("waited", start.elapsed() > Duration::from_millis(500));
        }),
        Case::general("enter/argument", |session| {
            let ring = session.ring(4);
            let flags = GETEVENTS | EXT_ARG;
            let arg = argument(session, GetEventsArg::default());
            for size in [0, 8, 16, ARG - 1, ARG, ARG + 1, ARG + 8, 4096] {
                session.outcome(format!("size {size}"), ring.enter_with(0, 0, flags, arg.addr(), size));
            }
            session.outcome("null", ring.enter_with(0, 0, flags, 0, ARG));
            session.outcome("bad address", ring.enter_with(0, 0, flags, session.bad_address(), ARG));
            let time = session.bad_address();
            let bad_time = argument(session, GetEventsArg { ts: time, ..GetEventsArg::default() });
            session.outcome("bad time", ring.enter_with(0, 1, flags, bad_time.addr(), ARG));
            session.outcome("bad time, not waiting", ring.enter_with(0, 0, flags, bad_time.addr(), ARG));
            session.outcome(
                "without GETEVENTS, bad",
                ring.enter_with(0, 0, EXT_ARG, session.bad_address(), ARG),
            );
            ring.push(prep::nop());
            session.outcome(
                "bad argument, with a request",
                ring.enter_with(1, 1, flags, session.bad_address(), ARG),
            );
            session.record("completions", ring.ready());
        }),
        Case::general("enter/min-wait", |session| {
            // MIN_TIMEOUT: after this time one completion is enough.
            let ring = session.ring(4);
            let (soon, long) = (session.timespec(0, 5_000_000), session.timespec(5, 0));
            ring.push(prep::timeout(soon.addr(), 0, 0).with_user_data(1));
            let arg = argument(
                session,
                GetEventsArg { ts: long.addr(), min_wait_usec: 30_000, ..GetEventsArg::default() },
            );
            let start = Instant::now();
            session.outcome(
                "two wanted, one comes",
                ring.enter_with(1, 2, GETEVENTS | EXT_ARG, arg.addr(), ARG),
            );
            session.record("not the long wait", start.elapsed() < Duration::from_secs(3));
            session.cqes("completions", &ring.reap_all());
        }),
        Case::general("enter/sigmask-argument", |session| {
            let ring = session.ring(4);
            let mask = session.words(&[0]);
            for size in [0, 4, 8, 16] {
                session.outcome(format!("size {size}"), ring.enter_with(0, 0, GETEVENTS, mask.addr(), size));
                ring.push(prep::nop());
                session.outcome(
                    format!("size {size}, waiting"),
                    ring.enter_with(1, 1, GETEVENTS, mask.addr(), size),
                );
                ring.reap_all();
            }
            ring.push(prep::nop());
            session.outcome("bad address", ring.enter_with(1, 1, GETEVENTS, session.bad_address(), 8));
            for size in [0, 4, 8] {
                let arg = GetEventsArg { sigmask: mask.addr(), sigmask_sz: size, ..GetEventsArg::default() };
                let arg = argument(session, arg);
                ring.push(prep::nop());
                session.outcome(
                    format!("extended, size {size}"),
                    ring.enter_with(1, 1, GETEVENTS | EXT_ARG, arg.addr(), ARG),
                );
                ring.reap_all();
            }
        }),
    ]
}

/// Set by SIGUSR1, whose handler stays installed.
fn signal_flag() -> Arc<AtomicBool> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    let flag = FLAG.get_or_init(|| {
        let flag = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGUSR1, Arc::clone(&flag)).expect("SIGUSR1 can be handled");
        flag
    });
    // Relaxed, here and where it is read: set on the same thread by the handler.
    flag.store(false, Ordering::Relaxed);
    Arc::clone(flag)
}

/// Sends SIGUSR1 to this process after a moment. The main thread gets it, as the sender blocks it.
fn signal_soon() -> std::thread::JoinHandle<()> {
    std::thread::spawn(|| {
        native::set_signal_mask(SIGUSR1_BIT).expect("a valid mask");
        std::thread::sleep(Duration::from_millis(30));
        send_signal();
    })
}

fn send_signal() {
    rustix::process::kill_process(rustix::process::getpid(), Signal::USR1).expect("this process");
}

fn signals() -> Vec<Case> {
    vec![
        Case::general("enter/interrupted", |session| {
            let ring = session.ring(4);
            let flag = signal_flag();
            let sender = signal_soon();
            session.outcome("wait", ring.enter(0, 1, EnterFlags::GETEVENTS));
            session.record("handled", flag.load(Ordering::Relaxed));
            sender.join().expect("no panic inside");
            let flag = signal_flag();
            let sender = signal_soon();
            let (read, _write) = session.pipe();
            ring.push(prep::poll(read, 1).with_user_data(1));
            session.outcome("submit and wait", ring.enter(1, 1, EnterFlags::GETEVENTS));
            session.record("handled", flag.load(Ordering::Relaxed));
            sender.join().expect("no panic inside");
            ring.push(prep::nop().with_user_data(2));
            session.outcome("goes on", ring.enter(1, 1, EnterFlags::GETEVENTS));
            session.cqes("completions", &ring.reap_all());
        })
        .expect(&[("wait", "-EINTR"), ("submit and wait", "1")]),
        Case::general("enter/mask-lets-a-pending-signal-in", |session| {
            let ring = session.ring(4);
            let flag = signal_flag();
            let before = native::set_signal_mask(SIGUSR1_BIT).expect("a valid mask");
            send_signal();
            session.record("blocked", !flag.load(Ordering::Relaxed));
            let nobody = session.words(&[0]);
            session.outcome("wait", ring.enter_with(0, 1, GETEVENTS, nobody.addr(), 8));
            session.record("handled", flag.load(Ordering::Relaxed));
            flag.store(false, Ordering::Relaxed);
            let time = session.timespec(5, 0);
            let arg = argument(
                session,
                GetEventsArg {
                    sigmask: nobody.addr(),
                    sigmask_sz: 8,
                    ts: time.addr(),
                    ..GetEventsArg::default()
                },
            );
            send_signal();
            session.outcome("wait, extended", ring.enter_with(0, 1, GETEVENTS | EXT_ARG, arg.addr(), ARG));
            session.record("handled", flag.load(Ordering::Relaxed));
            let after = native::set_signal_mask(before).expect("a valid mask");
            session.record("the mask is as before", after & SIGUSR1_BIT != 0);
        }),
        Case::general("enter/mask-keeps-a-signal-out", |session| {
            let ring = session.ring(4);
            let flag = signal_flag();
            let mask = session.words(&[SIGUSR1_BIT]);
            let time = session.timespec(0, 80_000_000);
            ring.push(prep::timeout(time.addr(), 0, 0).with_user_data(1));
            let sender = signal_soon();
            session.outcome("wait", ring.enter_with(1, 1, GETEVENTS, mask.addr(), 8));
            session.cqes("not interrupted", &ring.reap_all());
            // It was sent by then, and is handled on the way out of the next call.
            sender.join().expect("no panic inside");
            session.record("handled afterwards", flag.load(Ordering::Relaxed));
        }),
        Case::general("enter/pending-signal-and-a-completion", |session| {
            // What is there already is returned, signal or not.
            let ring = session.ring(4);
            let flag = signal_flag();
            let before = native::set_signal_mask(SIGUSR1_BIT).expect("a valid mask");
            send_signal();
            let nobody = session.words(&[0]);
            ring.push(prep::nop());
            session.outcome("submit and wait", ring.enter_with(1, 1, GETEVENTS, nobody.addr(), 8));
            session.outcome("wait", ring.enter_with(0, 1, GETEVENTS, nobody.addr(), 8));
            native::set_signal_mask(before).expect("a valid mask");
            session.record("handled in the end", flag.load(Ordering::Relaxed));
        }),
    ]
}
