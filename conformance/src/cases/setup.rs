//! `io_uring_setup`.

use ringer_abi::{Params, SetupFlags};
use ringer_sys::UserAddress;

use crate::differential::errno::outcome_name;
use crate::differential::{Case, Session};

/// Calls setup and says what it returned: the errno, or what stands in `params` then.
fn attempt(session: &Session, entries: u32, params: Params) -> String {
    let place = session.memory(size_of::<Params>());
    place.put(0, params);
    match session.backend().setup(entries, place.user()) {
        Ok(fd) => {
            let after: Params = place.get(0);
            let closed = outcome_name(session.backend().close(fd).map(|()| 0_i32));
            format!(
                "sq {} cq {} flags {:#x} idle {} close {closed}",
                after.sq_entries, after.cq_entries, after.flags, after.sq_thread_idle
            )
        }
        Err(errno) => {
            let untouched = place.get::<Params>(0) == params;
            format!("{}{}", outcome_name::<i32>(Err(errno)), if untouched { "" } else { ", params changed" })
        }
    }
}

fn flags(bits: u32) -> Params {
    Params { flags: bits, ..Params::default() }
}

/// Flags that are tried in pairs: those of issue 2, and the ones that only make sense beside another.
const PAIRED: [SetupFlags; 18] = [
    SetupFlags::IOPOLL,
    SetupFlags::SQPOLL,
    SetupFlags::SQ_AFF,
    SetupFlags::CQSIZE,
    SetupFlags::CLAMP,
    SetupFlags::ATTACH_WQ,
    SetupFlags::R_DISABLED,
    SetupFlags::SUBMIT_ALL,
    SetupFlags::COOP_TASKRUN,
    SetupFlags::TASKRUN_FLAG,
    SetupFlags::SQE128,
    SetupFlags::CQE32,
    SetupFlags::SINGLE_ISSUER,
    SetupFlags::DEFER_TASKRUN,
    SetupFlags::REGISTERED_FD_ONLY,
    SetupFlags::NO_SQARRAY,
    SetupFlags::HYBRID_IOPOLL,
    SetupFlags::CQE_MIXED,
];

/// The cases of setup.
pub fn cases() -> Vec<Case> {
    let mut cases = flag_cases();
    cases.extend(size_cases());
    cases.extend(other_cases());
    cases
}

fn flag_cases() -> Vec<Case> {
    let mut cases = vec![
        Case::general("setup/each-flag-bit", |session| {
            for bit in 0..32 {
                let outcome = attempt(session, 8, flags(1 << bit));
                session.record(format!("bit {bit}"), outcome);
            }
        })
        .expect(&[("bit 31", "-EINVAL")]),
        Case::general("setup/triples", |session| {
            let triples = [
                SetupFlags::DEFER_TASKRUN | SetupFlags::SINGLE_ISSUER | SetupFlags::TASKRUN_FLAG,
                SetupFlags::DEFER_TASKRUN | SetupFlags::SINGLE_ISSUER | SetupFlags::COOP_TASKRUN,
                SetupFlags::DEFER_TASKRUN | SetupFlags::SINGLE_ISSUER | SetupFlags::SQPOLL,
                SetupFlags::DEFER_TASKRUN | SetupFlags::SINGLE_ISSUER | SetupFlags::R_DISABLED,
                SetupFlags::SQPOLL | SetupFlags::SQ_AFF | SetupFlags::R_DISABLED,
                SetupFlags::IOPOLL | SetupFlags::HYBRID_IOPOLL | SetupFlags::SQPOLL,
                SetupFlags::IOPOLL | SetupFlags::DEFER_TASKRUN | SetupFlags::SINGLE_ISSUER,
                SetupFlags::CQSIZE | SetupFlags::CLAMP | SetupFlags::SUBMIT_ALL,
            ];
            for triple in triples {
                let params = Params { cq_entries: 32, ..flags(triple.bits()) };
                let outcome = attempt(session, 8, params);
                session.record(format!("{triple:?}"), outcome);
            }
        }),
    ];
    for (index, first) in PAIRED.into_iter().enumerate() {
        let (name, _) = first.iter_names().next().expect("one flag has one name");
        cases.push(Case::general(format!("setup/pairs-with-{name}"), move |session| {
            for second in PAIRED.into_iter().skip(index + 1) {
                let pair = first | second;
                let params = Params { cq_entries: 32, ..flags(pair.bits()) };
                let outcome = attempt(session, 8, params);
                session.record(format!("{pair:?}"), outcome);
            }
        }));
    }
    cases
}

fn size_cases() -> Vec<Case> {
    vec![
        Case::general("setup/entries", |session| {
            for entries in [0, 1, 2, 3, 5, 8, 100, 4095, 32767, 32768, 32769, 1 << 31, u32::MAX] {
                for (label, bits) in [("", 0), (" clamped", SetupFlags::CLAMP.bits())] {
                    let outcome = attempt(session, entries, flags(bits));
                    session.record(format!("{entries}{label}"), outcome);
                }
            }
        })
        .expect(&[
            ("0", "-EINVAL"),
            ("3", "sq 4 cq 8 flags 0x0 idle 0 close 0"),
            ("32769", "-EINVAL"),
        ]),
        Case::general("setup/cq-entries", |session| {
            for cq_entries in [0, 1, 4, 7, 8, 9, 17, 65535, 65536, 65537, 1 << 31, u32::MAX] {
                for (label, extra) in [("", 0), (" clamped", SetupFlags::CLAMP.bits())] {
                    let params = Params { cq_entries, ..flags(SetupFlags::CQSIZE.bits() | extra) };
                    let outcome = attempt(session, 5, params);
                    session.record(format!("{cq_entries}{label}"), outcome);
                }
            }
            let outcome = attempt(session, 8, Params { cq_entries: 77, ..Params::default() });
            session.record("ignored without CQSIZE", outcome);
        }),
        Case::general("setup/sizes-of-special-rings", |session| {
            for special in [SetupFlags::SQE128, SetupFlags::CQE32, SetupFlags::SQE128 | SetupFlags::CQE32] {
                for entries in [1, 3, 32768] {
                    let outcome = attempt(session, entries, flags(special.bits()));
                    session.record(format!("{special:?}, {entries}"), outcome);
                }
            }
        }),
    ]
}

fn other_cases() -> Vec<Case> {
    vec![
        Case::general("setup/bad-params", |session| {
            let null = session.backend().setup(8, UserAddress::new(0));
            session.outcome("null", null);
            let bad = session.backend().setup(8, UserAddress::new(session.bad_address()));
            session.outcome("bad address", bad);
            let half = session.edge(size_of::<Params>() - 8);
            session.outcome("runs off the edge", session.backend().setup(8, half.user()));
            for index in 0..3 {
                let mut params = Params::default();
                params.resv[index] = 1;
                let outcome = attempt(session, 8, params);
                session.record(format!("resv {index}"), outcome);
            }
            let garbage = Params {
                sq_entries: 7,
                cq_entries: 9,
                sq_thread_cpu: 99,
                sq_thread_idle: 5,
                features: u32::MAX,
                wq_fd: 77,
                ..Params::default()
            };
            let outcome = attempt(session, 8, garbage);
            session.record("ignored fields", outcome);
        }),
        Case::general("setup/offsets", |session| {
            let rings = [
                (1, SetupFlags::empty()),
                (8, SetupFlags::empty()),
                (100, SetupFlags::empty()),
                (8, SetupFlags::SQE128),
                (8, SetupFlags::CQE32),
                (8, SetupFlags::NO_SQARRAY),
                (8, SetupFlags::SQPOLL),
            ];
            for (entries, flags) in rings {
                let ring = session.ring_with(entries, flags);
                session.record(format!("{entries} {flags:?}: sq"), format!("{:?}", ring.params.sq_off));
                session.record(format!("{entries} {flags:?}: cq"), format!("{:?}", ring.params.cq_off));
            }
        }),
        Case::general("setup/ring-words", |session| {
            let rings = [(1, SetupFlags::empty()), (5, SetupFlags::empty()), (8, SetupFlags::NO_SQARRAY)];
            for (entries, flags) in rings {
                let ring = session.ring_with(entries, flags);
                let (sq, cq) = (ring.params.sq_off, ring.params.cq_off);
                let words = |offsets: [u32; 6]| offsets.map(|offset| ring.read_word(offset));
                let sq = words([sq.head, sq.tail, sq.ring_mask, sq.ring_entries, sq.flags, sq.dropped]);
                let cq = words([cq.head, cq.tail, cq.ring_mask, cq.ring_entries, cq.flags, cq.overflow]);
                session.record(format!("{entries} {flags:?}: sq"), format!("{sq:?}"));
                session.record(format!("{entries} {flags:?}: cq"), format!("{cq:?}"));
            }
        }),
        Case::general("setup/features", |session| {
            let ring = session.ring(1);
            session.record("features", format!("{:#x}", ring.params.features));
        }),
        Case::general("setup/attach-wq", |session| {
            let ring = session.ring(8);
            let attach = |wq_fd: i32| Params { wq_fd: wq_fd as u32, ..flags(SetupFlags::ATTACH_WQ.bits()) };
            for (label, wq_fd) in [
                ("a ring", ring.fd),
                ("a closed fd", session.closed_fd()),
                ("-1", -1),
                ("not a ring", session.eventfd(0)),
            ] {
                let outcome = attempt(session, 8, attach(wq_fd));
                session.record(label, outcome);
            }
            let polled = session.ring_with(8, SetupFlags::SQPOLL);
            let both = SetupFlags::SQPOLL | SetupFlags::ATTACH_WQ;
            let params = Params { wq_fd: polled.fd as u32, ..flags(both.bits()) };
            let outcome = attempt(session, 8, params);
            session.record("SQPOLL to SQPOLL", outcome);
            let params = Params { wq_fd: ring.fd as u32, ..flags(both.bits()) };
            let outcome = attempt(session, 8, params);
            session.record("SQPOLL to plain", outcome);
        }),
        Case::general("setup/sq-thread", |session| {
            for (cpu, idle) in [(0, 0), (0, 7), (4095, 0), (u32::MAX, 0)] {
                let both = SetupFlags::SQPOLL | SetupFlags::SQ_AFF;
                let params = Params { sq_thread_cpu: cpu, sq_thread_idle: idle, ..flags(both.bits()) };
                let outcome = attempt(session, 8, params);
                session.record(format!("cpu {cpu} idle {idle}"), outcome);
            }
            let params = Params { sq_thread_idle: 1234, ..flags(SetupFlags::SQPOLL.bits()) };
            let outcome = attempt(session, 8, params);
            session.record("no affinity", outcome);
        }),
        Case::general("setup/mapping", |session| {
            let ring = session.ring(8);
            let backend = session.backend();
            let params = ring.params;
            let whole = params.cq_off.cqes as usize
                + params.cq_entries as usize * 16
                + params.sq_entries as usize * 4;
            let attempts = [
                ("the rings", 0, whole),
                ("a page of the rings", 0, 4096),
                ("the CQ ring", ringer_abi::OFF_CQ_RING, whole),
                ("the SQEs", ringer_abi::OFF_SQES, 512),
                ("too much of the SQEs", ringer_abi::OFF_SQES, 3 * 4096),
                ("far too much of the rings", 0, 1 << 20),
                ("no length", 0, 0),
                ("unaligned offset", 8, 4096),
                ("unknown offset", 0x1800_0000, 4096),
                ("a page on", 4096, 4096),
                ("a page into the SQEs", ringer_abi::OFF_SQES + 4096, 4096),
                ("buffer rings", ringer_abi::OFF_PBUF_RING, 4096),
            ];
            for (label, offset, length) in attempts {
                let mapped = backend.map(ring.fd, length, offset);
                session.outcome(label, mapped.map(|_| 0_i32));
                if let Ok(address) = mapped {
                    let _ = ringer_sys::native::unmap(address, length);
                }
            }
        }),
        Case::general("setup/no-mmap-addresses", |session| {
            let memory = session.memory(4 * 4096);
            let good = (memory.addr(), memory.addr() + 2 * 4096);
            let bad = session.bad_address() & !4095;
            let pairs = [
                ("good", good),
                ("exchanged", (good.1, good.0)),
                ("null rings", (0, good.1)),
                ("null SQEs", (good.0, 0)),
                ("both null", (0, 0)),
                ("misaligned rings", (good.0 + 8, good.1)),
                ("misaligned SQEs", (good.0, good.1 + 64)),
                ("unreadable rings", (bad, good.1)),
                ("unreadable SQEs", (good.0, bad)),
                ("not mapped", (1 << 46, good.1)),
                ("of the kernel", (1 << 63, good.1)),
            ];
            let kinds = [
                SetupFlags::NO_MMAP,
                SetupFlags::NO_MMAP | SetupFlags::REGISTERED_FD_ONLY,
                SetupFlags::NO_MMAP | SetupFlags::SQPOLL,
                SetupFlags::NO_MMAP | SetupFlags::NO_SQARRAY | SetupFlags::CQE_MIXED,
                SetupFlags::REGISTERED_FD_ONLY,
            ];
            for kind in kinds {
                for (label, (rings, sqes)) in pairs {
                    let mut params = flags(kind.bits());
                    (params.cq_off.user_addr, params.sq_off.user_addr) = (rings, sqes);
                    match session.try_ring(8, params) {
                        Ok(ring) => {
                            let (sq, cq) = (ring.params.sq_off, ring.params.cq_off);
                            let kept = (cq.user_addr, sq.user_addr) == (rings, sqes);
                            session.record(format!("{kind:?}, {label}"), format!("made, kept {kept}"));
                        }
                        Err(errno) => session.outcome::<i32>(format!("{kind:?}, {label}"), Err(errno)),
                    }
                }
            }
            let mut params = flags(0);
            (params.cq_off.user_addr, params.sq_off.user_addr) = good;
            let ring = session.try_ring(8, params).expect("the addresses are ignored");
            session.record("without the flag", format!("{:?} {:?}", ring.params.sq_off, ring.params.cq_off));
        }),
        Case::general("setup/no-mmap-use", |session| {
            for kind in [
                SetupFlags::empty(),
                SetupFlags::REGISTERED_FD_ONLY,
                SetupFlags::SQE128 | SetupFlags::CQE32,
                SetupFlags::SQPOLL,
                SetupFlags::R_DISABLED,
                SetupFlags::DEFER_TASKRUN | SetupFlags::SINGLE_ISSUER | SetupFlags::NO_SQARRAY,
            ] {
                let memory = session.memory(4 * 4096);
                memory.fill(&[0xaa; 4 * 4096]);
                let mut params = flags((kind | SetupFlags::NO_MMAP).bits());
                params.cq_off.user_addr = memory.addr();
                params.sq_off.user_addr = memory.addr() + 2 * 4096;
                let mut ring = match session.try_ring(8, params) {
                    Ok(ring) => ring,
                    Err(errno) => {
                        session.outcome::<i32>(format!("{kind:?}"), Err(errno));
                        continue;
                    }
                };
                let (sq, cq) = (ring.params.sq_off, ring.params.cq_off);
                let words =
                    [sq.head, sq.tail, sq.ring_mask, sq.ring_entries, sq.dropped, cq.flags, cq.overflow];
                session.record(
                    format!("{kind:?}: words"),
                    format!("{:?}", words.map(|word| ring.read_word(word))),
                );
                if kind.contains(SetupFlags::R_DISABLED) {
                    let enable = ringer_abi::RegisterOpcode::EnableRings.number();
                    session.outcome("enable", ring.register(enable, 0, 0));
                }
                for round in 0..20 {
                    let sqe = crate::differential::prep::nop().with_user_data(round);
                    session.one_recorded(format!("{kind:?}: round {round}"), &ring, sqe);
                }
                if !kind.contains(SetupFlags::REGISTERED_FD_ONLY) {
                    let mapped = session.backend().map(ring.fd, 4096, 0).map(|_| 0_i32);
                    session.outcome(format!("{kind:?}: map"), mapped);
                }
                session.outcome(format!("{kind:?}: close"), ring.close().map(|()| 0_i32));
                session.outcome(
                    format!("{kind:?}: after that"),
                    ring.enter(0, 0, ringer_abi::EnterFlags::empty()),
                );
            }
        }),
        Case::general("setup/mixed-sizes", |session| {
            for (entries, cq_entries) in [(1, 1), (1, 2), (1, 4), (8, 8)] {
                let both = SetupFlags::CQE_MIXED | SetupFlags::CQSIZE;
                let outcome = attempt(session, entries, Params { cq_entries, ..flags(both.bits()) });
                session.record(format!("{entries} {cq_entries}"), outcome);
            }
        }),
        Case::general("setup/close", |session| {
            let mut ring = session.ring(8);
            session.outcome("close", ring.close().map(|()| 0_i32));
            session.outcome("enter", ring.enter(0, 0, ringer_abi::EnterFlags::empty()));
            session.outcome("close again", ring.close().map(|()| 0_i32));
        }),
    ]
}
