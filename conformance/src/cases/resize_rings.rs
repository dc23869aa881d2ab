//! RESIZE_RINGS.

use ringer_abi::{EnterFlags, Params, RegisterOpcode, SetupFlags, SqRingOffsets};

use crate::differential::memory::PAGE;
use crate::differential::{Case, Ring, Session, prep};

const RESIZE: u32 = RegisterOpcode::ResizeRings.number();
const DEFERRED: SetupFlags = SetupFlags::SINGLE_ISSUER.union(SetupFlags::DEFER_TASKRUN);
/// Without the index array, whose place the call does not tell.
const PLAIN: SetupFlags = DEFERRED.union(SetupFlags::NO_SQARRAY);

fn sizes(sq_entries: u32, cq_entries: u32, flags: SetupFlags) -> Params {
    Params { sq_entries, cq_entries, flags: flags.bits(), ..Params::default() }
}

/// Resizes and records what the call says. Returns the new parameters if it succeeds.
fn resize(session: &Session, ring: &Ring, label: &str, params: Params) -> Option<Params> {
    let place = session.memory(size_of::<Params>());
    place.put(0, params);
    let outcome = ring.register(RESIZE, place.addr(), 1);
    let after: Params = place.get(0);
    session.outcome(label, outcome);
    let told = format!("{} {} {:#x}", after.sq_entries, after.cq_entries, after.flags);
    session.record(format!("{label}: told"), told);
    // Where the index array is said to be: see `register-resize/place-of-the-index-array`.
    let (features, sq_off) = (after.features, SqRingOffsets { array: 0, ..after.sq_off });
    session.record(format!("{label}: offsets"), format!("{sq_off:?} {:?} {features}", after.cq_off));
    outcome.is_ok().then_some(after)
}

/// Resizes and goes on with the new queues.
fn resize_and_map(session: &Session, ring: &mut Ring, label: &str, params: Params) {
    if let Some(after) = resize(session, ring, label, params) {
        ring.resized(after).expect("the new queues can be mapped");
        words(session, ring, label);
    }
}

fn words(session: &Session, ring: &Ring, label: &str) {
    let (sq, cq) = (ring.params.sq_off, ring.params.cq_off);
    let words = |offsets: [u32; 6]| offsets.map(|offset| ring.read_word(offset));
    let sq = words([sq.head, sq.tail, sq.ring_mask, sq.ring_entries, sq.flags, sq.dropped]);
    let cq = words([cq.head, cq.tail, cq.ring_mask, cq.ring_entries, cq.flags, cq.overflow]);
    session.record(format!("{label}: words"), format!("{sq:?} {cq:?}"));
}

/// The cases of this call.
pub fn cases() -> Vec<Case> {
    vec![
        Case::general("register-resize-rings/kinds-of-rings", |session| {
            let kinds = [
                SetupFlags::empty(),
                SetupFlags::SINGLE_ISSUER,
                SetupFlags::SQPOLL,
                DEFERRED,
                DEFERRED | SetupFlags::R_DISABLED,
                DEFERRED | SetupFlags::SQE128,
                DEFERRED | SetupFlags::CQE32,
                DEFERRED | SetupFlags::CQE_MIXED,
                DEFERRED | SetupFlags::TASKRUN_FLAG,
                PLAIN,
            ];
            for kind in kinds {
                let ring = session.ring_with(8, kind);
                resize(session, &ring, &format!("{kind:?}"), sizes(16, 0, SetupFlags::empty()));
            }
        }),
        Case::general("register-resize-rings/arguments", |session| {
            let ring = session.ring_with(8, PLAIN);
            let good = session.memory(size_of::<Params>());
            good.put(0, sizes(8, 0, SetupFlags::empty()));
            for count in [0, 2, u32::MAX] {
                session.outcome(format!("count {count}"), ring.register(RESIZE, good.addr(), count));
            }
            session.outcome("null", ring.register(RESIZE, 0, 1));
            session.outcome("bad address", ring.register(RESIZE, session.bad_address(), 1));
            for bit in 0..32 {
                let params = Params { flags: 1 << bit, ..sizes(8, 16, SetupFlags::empty()) };
                resize(session, &ring, &format!("flags bit {bit}"), params);
            }
            for entries in [0, 1, 3, 5, 32768, 32769, u32::MAX] {
                for flags in [SetupFlags::empty(), SetupFlags::CLAMP] {
                    resize(session, &ring, &format!("{entries} {flags:?}"), sizes(entries, 0, flags));
                }
            }
            for entries in [0, 4, 7, 8, 9, 65536, 65537] {
                for flags in [SetupFlags::CQSIZE, SetupFlags::CQSIZE | SetupFlags::CLAMP] {
                    resize(session, &ring, &format!("CQ {entries} {flags:?}"), sizes(8, entries, flags));
                }
            }
            let ignored = Params {
                sq_thread_cpu: 9,
                sq_thread_idle: 9,
                wq_fd: 99,
                resv: [1; 3],
                ..sizes(8, 0, SetupFlags::empty())
            };
            resize(session, &ring, "ignored fields", ignored);
        }),
        Case::general("register-resize-rings/pending-entries", |session| {
            for (sq_entries, cq_entries) in [(1, 1), (2, 2), (4, 4), (4, 8), (8, 8), (16, 16), (64, 128)] {
                let mut ring = session.ring_with(8, PLAIN);
                for data in 0..6 {
                    ring.push(prep::nop().with_user_data(data));
                }
                session.outcome("submit", ring.submit());
                for _ in 0..3 {
                    ring.reap();
                }
                for data in 10..13 {
                    ring.push(prep::nop().with_user_data(data));
                }
                let label = format!("{sq_entries} {cq_entries}");
                let params = sizes(sq_entries, cq_entries, SetupFlags::CQSIZE);
                resize_and_map(session, &mut ring, &label, params);
                session.cqes_in_order(format!("{label}: pending"), &ring.reap_all());
                session.outcome(format!("{label}: submit"), ring.submit());
                session.cqes_in_order(format!("{label}: completions"), &ring.reap_all());
                words(session, &ring, &format!("{label}: at the end"));
            }
        }),
        Case::general("register-resize-rings/overflow-pending", |session| {
            let flags = PLAIN | SetupFlags::CQSIZE;
            let params = Params { flags: flags.bits(), cq_entries: 2, ..Params::default() };
            let mut ring = session.try_ring(2, params).expect("a ring");
            for round in 0..2 {
                ring.push_all(&[1, 2].map(|data| prep::nop().with_user_data(10 * round + data)));
                session.outcome("submit", ring.submit());
            }
            let params = sizes(2, 8, SetupFlags::CQSIZE);
            resize_and_map(session, &mut ring, "larger", params);
            session.outcome("enter", ring.enter(0, 0, EnterFlags::GETEVENTS));
            session.cqes_in_order("completions", &ring.reap_all());
        }),
        Case::general("register-resize-rings/requests-that-wait", |session| {
            let mut ring = session.ring_with(8, PLAIN);
            let (read, write) = session.pipe();
            let buffer = session.memory(8);
            ring.push(prep::read(read, buffer.addr(), 8, u64::MAX).with_user_data(1));
            session.outcome("submit", ring.submit());
            resize_and_map(session, &mut ring, "larger", sizes(32, 0, SetupFlags::empty()));
            let text = session.memory_of(b"abc");
            ring.push(prep::write(write, text.addr(), 3, u64::MAX).with_user_data(2));
            session.outcome("submit", ring.submit());
            session.cqes("completions", &ring.collect(2));
            session.bytes("read", &buffer.bytes());
            resize_and_map(session, &mut ring, "smaller", sizes(2, 0, SetupFlags::empty()));
            for data in 3..9 {
                session.one_recorded(format!("{data}"), &ring, prep::nop().with_user_data(data));
            }
        }),
        Case::general("register-resize-rings/program-memory", |session| {
            let mut ring = session.ring_with(8, PLAIN | SetupFlags::NO_MMAP);
            ring.push(prep::nop().with_user_data(1));
            resize(session, &ring, "no addresses", sizes(4, 0, SetupFlags::empty()));
            let mut params = sizes(4, 0, SetupFlags::empty());
            // The same in both runs only as far as they are kept.
            params.cq_off.user_addr = session.memory(2 * PAGE).addr();
            params.sq_off.user_addr = session.memory(2 * PAGE).addr();
            let place = session.memory(size_of::<Params>());
            place.put(0, params);
            session.outcome("resize", ring.register(RESIZE, place.addr(), 1));
            let after: Params = place.get(0);
            session.record("addresses kept", after.sq_off.user_addr == params.sq_off.user_addr);
            ring.resized(after).expect("nothing to map");
            words(session, &ring, "after");
            session.outcome("submit", ring.submit());
            session.cqes("completions", &ring.collect(1));
        }),
    ]
}
