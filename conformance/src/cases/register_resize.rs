//! RESIZE_RINGS.

use ringer_abi::{EnterFlags, Params, RegisterOpcode, SetupFlags, Sqe};

use crate::differential::{Case, Ring, Session, prep};

const RESIZE: u32 = RegisterOpcode::ResizeRings.number();
const DEFERRED: SetupFlags = SetupFlags::DEFER_TASKRUN.union(SetupFlags::SINGLE_ISSUER);

/// Resizes a ring, and says what the call returned and wrote.
fn resize(session: &Session, ring: &mut Ring, sizes: (u32, u32), flags: SetupFlags, label: &str) -> bool {
    let params =
        Params { sq_entries: sizes.0, cq_entries: sizes.1, flags: flags.bits(), ..Params::default() };
    let place = session.memory(size_of::<Params>());
    place.put(0, params);
    let outcome = ring.register(RESIZE, place.addr(), 1);
    session.outcome(label, outcome);
    let after: Params = place.get(0);
    if outcome.is_ok() {
        let mut shown = after;
        // See the case about it.
        shown.sq_off.array = 0;
        session.record(format!("{label}: params"), format!("{shown:?}"));
        let mapped = ring.resized(after);
        session.outcome(format!("{label}: map"), mapped.map(|()| 0_i32));
    }
    outcome.is_ok()
}

fn words(session: &Session, ring: &Ring, label: &str) {
    let (sq, cq) = (ring.params.sq_off, ring.params.cq_off);
    let words = |offsets: [u32; 6]| offsets.map(|offset| ring.read_word(offset));
    let sq = words([sq.head, sq.tail, sq.ring_mask, sq.ring_entries, sq.flags, sq.dropped]);
    let cq = words([cq.head, cq.tail, cq.ring_mask, cq.ring_entries, cq.flags, cq.overflow]);
    session.record(label, format!("{sq:?} {cq:?}"));
}

fn nops(from: u64, count: u64) -> Vec<Sqe> {
    (from..from + count).map(|data| prep::nop().with_user_data(data)).collect()
}

/// The cases of this call.
pub fn cases() -> Vec<Case> {
    const SIZED: SetupFlags = SetupFlags::CQSIZE;
    const CLAMPED: SetupFlags = SetupFlags::CLAMP;
    const NONE: SetupFlags = SetupFlags::empty();
    vec![
        Case::general("register-resize/sizes", |session| {
            let tries = [
                ((4, 0), NONE),
                ((64, 0), NONE),
                ((5, 0), NONE),
                ((0, 0), NONE),
                ((1, 0), NONE),
                ((32769, 0), NONE),
                ((40000, 0), CLAMPED),
                ((16, 64), SIZED),
                ((16, 20), SIZED),
                ((16, 8), SIZED),
                ((16, 0), SIZED),
                ((16, 70000), SIZED),
                ((16, 70000), SIZED | CLAMPED),
                ((16, 64), NONE),
                ((16, 0), SetupFlags::SQPOLL),
                ((16, 0), SetupFlags::CQE32),
                ((16, 0), DEFERRED),
                ((16, 0), SetupFlags::from_bits_retain(1 << 31)),
            ];
            for (sizes, flags) in tries {
                let mut ring = session.ring_with(8, DEFERRED);
                let label = format!("{sizes:?} {flags:?}");
                if resize(session, &mut ring, sizes, flags, &label) {
                    words(session, &ring, &format!("{label}: words"));
                    for round in 0..3 {
                        let sqe = prep::nop().with_user_data(round);
                        session.one_recorded(format!("{label}: served {round}"), &ring, sqe);
                    }
                }
            }
        }),
        Case::general("register-resize/ring-kinds", |session| {
            for kind in [
                NONE,
                SetupFlags::SINGLE_ISSUER,
                SetupFlags::SQPOLL,
                SetupFlags::IOPOLL,
                DEFERRED | SetupFlags::IOPOLL,
                DEFERRED | SetupFlags::TASKRUN_FLAG,
                DEFERRED | SetupFlags::NO_SQARRAY,
                DEFERRED | SetupFlags::SQE128,
                DEFERRED | SetupFlags::CQE32,
                DEFERRED | SetupFlags::SQE128 | SetupFlags::CQE32 | SetupFlags::NO_SQARRAY,
                DEFERRED | SetupFlags::CQE_MIXED,
                DEFERRED | SetupFlags::R_DISABLED,
            ] {
                let mut ring = session.ring_with(8, kind);
                if resize(session, &mut ring, (32, 0), NONE, &format!("{kind:?}"))
                    && !kind.contains(SetupFlags::R_DISABLED)
                {
                    for round in 0..40 {
                        let sqe = prep::nop().with_user_data(round);
                        if session.one(&ring, sqe).is_none() {
                            session.record(format!("{kind:?}: round {round}"), "lost");
                        }
                    }
                    // Linux asks for a call until there is task work to run.
                    if !kind.contains(SetupFlags::TASKRUN_FLAG) {
                        words(session, &ring, &format!("{kind:?}: words"));
                    }
                }
            }
            let ring = session.ring_with(8, DEFERRED);
            session.outcome("null", ring.register(RESIZE, 0, 1));
            session.outcome("bad address", ring.register(RESIZE, session.bad_address(), 1));
            let place = session.memory(size_of::<Params>());
            place.put(0, Params { sq_entries: 8, ..Params::default() });
            session.outcome("count 0", ring.register(RESIZE, place.addr(), 0));
            session.outcome("count 2", ring.register(RESIZE, place.addr(), 2));
            for (label, params) in [
                ("resv", Params { sq_entries: 8, resv: [1, 0, 0], ..Params::default() }),
                ("features", Params { sq_entries: 8, features: 1, ..Params::default() }),
                (
                    "thread",
                    Params { sq_entries: 8, sq_thread_cpu: 1, sq_thread_idle: 1, ..Params::default() },
                ),
                ("wq", Params { sq_entries: 8, wq_fd: 1, ..Params::default() }),
            ] {
                place.put(0, params);
                session.outcome(label, ring.register(RESIZE, place.addr(), 1));
            }
        }),
        Case::general("register-resize/completions-wait", |session| {
            for (sizes, flags) in
                [((8, 0), NONE), ((64, 0), NONE), ((4, 4), SIZED), ((4, 8), SIZED), ((2, 2), SIZED)]
            {
                // Positions that are not 0, so that the places differ.
                let mut ring = session.ring_with(8, DEFERRED);
                for round in 0..11 {
                    session.one(&ring, prep::nop().with_user_data(round));
                }
                ring.push_all(&nops(100, 5));
                session.outcome(format!("{sizes:?}: submit"), ring.submit());
                words(session, &ring, &format!("{sizes:?}: before"));
                resize(session, &mut ring, sizes, flags, &format!("{sizes:?}"));
                words(session, &ring, &format!("{sizes:?}: after"));
                session.cqes_in_order(format!("{sizes:?}: completions"), &ring.reap_all());
                session.one_recorded(format!("{sizes:?}: served"), &ring, prep::nop().with_user_data(9));
            }
        }),
        Case::general("register-resize/submissions-wait", |session| {
            for kind in [DEFERRED, DEFERRED | SetupFlags::NO_SQARRAY] {
                for sizes in [(8, 0), (64, 0), (4, 0), (2, 0)] {
                    let mut ring = session.ring_with(8, kind);
                    for round in 0..11 {
                        session.one(&ring, prep::nop().with_user_data(round));
                    }
                    ring.push_all(&nops(200, 3));
                    let label = format!("{kind:?} {sizes:?}");
                    let done = resize(session, &mut ring, sizes, NONE, &label);
                    words(session, &ring, &format!("{label}: after"));
                    if done && !kind.contains(SetupFlags::NO_SQARRAY) {
                        // The index array is the program's to fill again.
                        for slot in 0..ring.params.sq_entries {
                            ring.write_word(ring.params.sq_off.array + 4 * slot, slot);
                        }
                    }
                    session.outcome(format!("{label}: enter"), ring.enter(3, 3, EnterFlags::GETEVENTS));
                    session.cqes_in_order(format!("{label}: completions"), &ring.reap_all());
                }
            }
        }),
        Case::general("register-resize/overflow-and-pending", |session| {
            let mut ring = session.ring_with(4, DEFERRED);
            let (read, write) = session.pipe();
            let buffer = session.memory(8);
            ring.push(prep::read(read, buffer.addr(), 4, 0).with_user_data(1));
            session.outcome("read", ring.submit());
            for round in 0..3 {
                ring.push_all(&nops(100 + 10 * round, 4));
                session.outcome(format!("{round}: submit"), ring.submit());
            }
            words(session, &ring, "before");
            resize(session, &mut ring, (4, 32), SIZED, "larger");
            words(session, &ring, "after");
            session.outcome("flush", ring.enter(0, 0, EnterFlags::GETEVENTS));
            session.cqes_in_order("completions", &ring.reap_all());
            session.write_fd(write, b"data");
            session.cqes("the read", &ring.collect(1));
        }),
        Case::general("register-resize/place-of-the-index-array", |session| {
            let ring = session.ring_with(8, DEFERRED);
            let place = session.memory(size_of::<Params>());
            place.put(0, Params { sq_entries: 16, ..Params::default() });
            session.outcome("resize", ring.register(RESIZE, place.addr(), 1));
            session.record("told", place.get::<Params>(0).sq_off.array);
        }),
        Case::general("register-resize/memory-of-the-program", |session| {
            let memory = session.memory(8 * 4096);
            let mut params = Params { flags: (DEFERRED | SetupFlags::NO_MMAP).bits(), ..Params::default() };
            params.cq_off.user_addr = memory.addr();
            params.sq_off.user_addr = memory.addr() + 4096;
            let ring = session.try_ring(8, params).expect("a ring");
            session.one_recorded("before", &ring, prep::nop());
            let place = session.memory(size_of::<Params>());
            for (label, rings, sqes) in [
                ("none", 0, 0),
                ("misaligned", memory.addr() + 8, memory.addr()),
                ("good", memory.addr() + 4 * 4096, memory.addr() + 6 * 4096),
            ] {
                let mut params = Params { sq_entries: 16, ..Params::default() };
                params.cq_off.user_addr = rings;
                params.sq_off.user_addr = sqes;
                place.put(0, params);
                session.outcome(label, ring.register(RESIZE, place.addr(), 1));
            }
        }),
    ]
}
