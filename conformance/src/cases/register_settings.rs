//! RESTRICTIONS, CLOCK, NAPI, QUERY and ZCRX_IFQ.

use ringer_abi::{EnterFlags, Opcode, RegisterOpcode, SetupFlags, Sqe, SqeFlags};

use crate::differential::memory::Memory;
use crate::differential::{Case, Ring, Session, prep};

const RESTRICTIONS: u32 = RegisterOpcode::Restrictions.number();
const ENABLE: u32 = RegisterOpcode::EnableRings.number();
const CLOCK: u32 = RegisterOpcode::Clock.number();
const NAPI: u32 = RegisterOpcode::Napi.number();
const UNREGISTER_NAPI: u32 = RegisterOpcode::UnregisterNapi.number();
const QUERY: u32 = RegisterOpcode::Query.number();
const ZCRX: u32 = RegisterOpcode::ZcrxIfq.number();
const FILES: u32 = RegisterOpcode::Files.number();
const PROBE: u32 = RegisterOpcode::Probe.number();

// `enum io_uring_register_restriction_op`.
const REGISTER_OP: u16 = 0;
const SQE_OP: u16 = 1;
const FLAGS_ALLOWED: u16 = 2;
const FLAGS_REQUIRED: u16 = 3;

/// The cases of these calls.
pub fn cases() -> Vec<Case> {
    let mut cases = restrictions();
    cases.extend(clock());
    cases.extend(napi());
    cases.extend(query());
    cases.extend(zcrx());
    cases
}

/// An array of `struct io_uring_restriction`.
fn rules(session: &Session, rules: &[(u16, u8)]) -> Memory {
    let memory = session.memory(16 * rules.len().max(1));
    for (index, (kind, value)) in rules.iter().enumerate() {
        memory.put(16 * index, *kind);
        memory.put(16 * index + 2, *value);
    }
    memory
}

fn disabled(session: &Session) -> Ring {
    session.ring_with(8, SetupFlags::R_DISABLED)
}

/// A ring with these rules in force.
fn restricted(session: &Session, list: &[(u16, u8)]) -> Ring {
    let ring = disabled(session);
    let memory = rules(session, list);
    session.outcome("restrict", ring.register(RESTRICTIONS, memory.addr(), list.len() as u32));
    session.outcome("enable", ring.register(ENABLE, 0, 0));
    ring
}

fn restrictions() -> Vec<Case> {
    vec![
        Case::general("register-restrictions/arguments-in-detail", |session| {
            let good = rules(session, &[(SQE_OP, 0)]);
            let ring = session.ring(8);
            session.outcome("enabled ring", ring.register(RESTRICTIONS, good.addr(), 1));
            session.outcome("enabled ring, no rules", ring.register(RESTRICTIONS, good.addr(), 0));
            for count in [0, 1, 2, 63, 64, 99, 100, 101, 102, 103, 104, 1000, u32::MAX] {
                let ring = disabled(session);
                let many = session.memory(16 * 1000);
                session.outcome(format!("count {count}"), ring.register(RESTRICTIONS, many.addr(), count));
                session.outcome(format!("count {count}, again"), ring.register(RESTRICTIONS, good.addr(), 1));
            }
            let ring = disabled(session);
            session.outcome("null", ring.register(RESTRICTIONS, 0, 1));
            session.outcome("null, none", ring.register(RESTRICTIONS, 0, 0));
            session.outcome("bad address", ring.register(RESTRICTIONS, session.bad_address(), 1));
            for kind in [4, 5, 255, u16::MAX] {
                let bad = rules(session, &[(SQE_OP, 0), (kind, 0)]);
                session.outcome(format!("kind {kind}"), ring.register(RESTRICTIONS, bad.addr(), 2));
            }
            for (kind, value) in [
                (REGISTER_OP, 36),
                (REGISTER_OP, 100),
                (REGISTER_OP, 255),
                (SQE_OP, 63),
                (SQE_OP, 64),
                (SQE_OP, 255),
            ] {
                let bad = rules(session, &[(kind, value)]);
                session.outcome(format!("{kind} {value}"), ring.register(RESTRICTIONS, bad.addr(), 1));
            }
            session.outcome("good after all that", ring.register(RESTRICTIONS, good.addr(), 1));
        }),
        Case::general("register-restrictions/reserved", |session| {
            for byte in 3..16 {
                let ring = disabled(session);
                let memory = rules(session, &[(SQE_OP, 0)]);
                memory.put(byte, 1_u8);
                session.outcome(format!("byte {byte}"), ring.register(RESTRICTIONS, memory.addr(), 1));
            }
        }),
        Case::general("register-restrictions/flag-values", |session| {
            for kind in [FLAGS_ALLOWED, FLAGS_REQUIRED] {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let ring = disabled(session);
                    let memory = rules(session, &[(kind, value)]);
                    let outcome = ring.register(RESTRICTIONS, memory.addr(), 1);
                    session.outcome(format!("{kind} {value:#x}"), outcome);
                }
            }
        }),
        Case::general("register-restrictions/opcodes", |session| {
            let ring = restricted(session, &[(SQE_OP, Opcode::Nop.number())]);
            session.one_recorded("allowed", &ring, prep::nop());
            let file = session.file(b"abc");
            let read = prep::read(file, session.memory(8).addr(), 3, 0).with_user_data(1);
            session.one_recorded("not allowed", &ring, read);
            session.one_recorded("unknown", &ring, Sqe::default().with_opcode(200).with_user_data(2));
            for bit in 0..8 {
                let flagged = prep::nop().with_flags(SqeFlags::from_bits_retain(1 << bit)).with_user_data(3);
                session.one_recorded(format!("flag bit {bit}"), &ring, flagged);
            }
            session.outcome("register: probe", ring.register(PROBE, session.memory(16).addr(), 0));
            session.outcome("register: files", ring.register(FILES, session.ints(&[-1]).addr(), 1));
            session.outcome("register: unknown", ring.register(100, 0, 0));
            session.outcome("register: enable", ring.register(ENABLE, 0, 0));
        }),
        Case::general("register-restrictions/in-a-batch", |session| {
            let ring = restricted(session, &[(SQE_OP, Opcode::Nop.number()), (FLAGS_ALLOWED, 0xff)]);
            let nop = |data: u64| prep::nop().with_user_data(data);
            let bad = prep::op(Opcode::Fsync, 0).with_user_data(9);
            ring.push_all(&[nop(1), bad, nop(2)]);
            session.outcome("stops at it", ring.submit());
            session.cqes_in_order("completions", &ring.collect(2));
            session.outcome("the rest", ring.submit());
            session.cqes_in_order("the rest", &ring.collect(1));
            let chain = [nop(3).with_flags(SqeFlags::IO_LINK), bad.with_flags(SqeFlags::IO_LINK), nop(4)];
            session.batch_in_order("in a chain", &ring, &chain, 3);
        }),
        Case::general("register-restrictions/flags-in-detail", |session| {
            let allowed = SqeFlags::ASYNC | SqeFlags::FIXED_FILE;
            let required = SqeFlags::CQE_SKIP_SUCCESS;
            for (label, list) in [
                ("allowed", vec![(SQE_OP, 0), (FLAGS_ALLOWED, allowed.bits())]),
                ("required", vec![(SQE_OP, 0), (FLAGS_REQUIRED, SqeFlags::ASYNC.bits())]),
                (
                    "both",
                    vec![
                        (SQE_OP, 0),
                        (FLAGS_ALLOWED, allowed.bits()),
                        (FLAGS_REQUIRED, SqeFlags::ASYNC.bits()),
                    ],
                ),
                ("required but not allowed", vec![(SQE_OP, 0), (FLAGS_REQUIRED, required.bits())]),
                ("allowed twice", vec![(SQE_OP, 0), (FLAGS_ALLOWED, 1), (FLAGS_ALLOWED, 16)]),
                ("flags only", vec![(FLAGS_ALLOWED, 16)]),
                ("nothing at all", vec![]),
            ] {
                let ring = disabled(session);
                let memory = rules(session, &list);
                let restrict = ring.register(RESTRICTIONS, memory.addr(), list.len() as u32);
                session.outcome(format!("{label}: restrict"), restrict);
                session.outcome(format!("{label}: enable"), ring.register(ENABLE, 0, 0));
                for flags in [0, 1, 2, 4, 8, 16, 17, 20] {
                    let sqe = prep::nop().with_flags(SqeFlags::from_bits_retain(flags)).with_user_data(3);
                    session.one_recorded(format!("{label}: flags {flags}"), &ring, sqe);
                }
                let files = ring.register(FILES, session.ints(&[-1]).addr(), 1);
                session.outcome(format!("{label}: register"), files);
            }
        }),
        Case::general("register-restrictions/register-calls", |session| {
            let list = [(REGISTER_OP, FILES as u8), (REGISTER_OP, PROBE as u8)];
            let ring = disabled(session);
            let memory = rules(session, &list);
            session.outcome("restrict", ring.register(RESTRICTIONS, memory.addr(), 2));
            // Nothing holds before the ring is enabled.
            session.outcome("eventfd before", {
                let place = session.ints(&[session.eventfd(0)]);
                ring.register(RegisterOpcode::Eventfd.number(), place.addr(), 1)
            });
            session.outcome("restrict again", ring.register(RESTRICTIONS, memory.addr(), 2));
            session.outcome("enable", ring.register(ENABLE, 0, 0));
            for opcode in 0..40 {
                session.outcome(format!("opcode {opcode}"), ring.register(opcode, 0, 0));
            }
            session.one_recorded("a NOP", &ring, prep::nop());
        }),
    ]
}

fn clock() -> Vec<Case> {
    vec![Case::general("register-clock/use-in-detail", |session| {
        let ring = session.ring(8);
        let of = |clock: u32| session.ints(&[clock as i32, 0, 0, 0]);
        for clock in (0..14).chain([u32::MAX]) {
            session.outcome(format!("clock {clock}"), ring.register(CLOCK, of(clock).addr(), 0));
        }
        for count in [1, 2, u32::MAX] {
            session.outcome(format!("count {count}"), ring.register(CLOCK, of(1).addr(), count));
        }
        session.outcome("null", ring.register(CLOCK, 0, 0));
        session.outcome("bad address", ring.register(CLOCK, session.bad_address(), 0));
        for word in 1..4 {
            let bad = of(1);
            bad.put(4 * word, 1_u32);
            session.outcome(format!("reserved word {word}"), ring.register(CLOCK, bad.addr(), 0));
        }
        for clock in [1, 7] {
            session.outcome(format!("clock {clock}"), ring.register(CLOCK, of(clock).addr(), 0));
            let now = {
                let id = if clock == 1 {
                    rustix::time::ClockId::Monotonic
                } else {
                    rustix::time::ClockId::Boottime
                };
                rustix::time::clock_gettime(id)
            };
            let timespec = session.timespec(now.tv_sec, now.tv_nsec + 1000);
            let argument = session.words(&[0, 0, timespec.addr()]);
            let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG | EnterFlags::ABS_TIMER;
            let waited = ring.enter_with(0, 1, flags.bits(), argument.addr(), 24);
            session.outcome(format!("clock {clock}: wait until now"), waited);
        }
    })]
}

/// `struct io_uring_napi`.
fn napi_argument(session: &Session, time: u32, prefer: u8, opcode: u8, parameter: u32) -> Memory {
    let memory = session.memory(16);
    memory.put(0, time);
    memory.put(4, prefer);
    memory.put(5, opcode);
    memory.put(8, parameter);
    memory
}

fn napi() -> Vec<Case> {
    vec![
        Case::general("register-napi/settings", |session| {
            let ring = session.ring(8);
            let set = |label: &str, time: u32, prefer: u8, opcode: u8, parameter: u32| {
                let argument = napi_argument(session, time, prefer, opcode, parameter);
                session.outcome(label, ring.register(NAPI, argument.addr(), 1));
                session.bytes(format!("{label}: before"), &argument.bytes());
            };
            set("dynamic", 50, 1, 0, 0);
            set("again", 70, 0, 0, 0);
            set("static", 80, 1, 0, 1);
            set("huge time", u32::MAX, 2, 0, 0);
            for strategy in [2, 3, 255, 256] {
                set(&format!("strategy {strategy}"), 1, 0, 0, strategy);
            }
            for opcode in [1, 2, 3, 4, 255] {
                set(&format!("opcode {opcode}"), 5, 1, opcode, 12345);
            }
            set("add while static", 1, 0, 0, 1);
            for opcode in [1, 2] {
                for id in [0, 1, 255, 12345] {
                    set(&format!("static: opcode {opcode}, id {id}"), 0, 0, opcode, id);
                }
            }
            for (round, opcode) in [1, 1, 2, 2, 1].into_iter().enumerate() {
                set(&format!("one queue, {round}"), 0, 0, opcode, 20_000);
            }
            set("static again", 1, 0, 0, 1);
            set("the queue is forgotten", 1, 0, 2, 20_000);
            let argument = napi_argument(session, 9, 1, 0, 0);
            session.outcome("unregister", ring.register(UNREGISTER_NAPI, argument.addr(), 1));
            session.bytes("unregister: before", &argument.bytes());
            session.outcome("unregister twice", ring.register(UNREGISTER_NAPI, argument.addr(), 1));
            session.bytes("unregister twice: before", &argument.bytes());
            session.outcome("unregister without", ring.register(UNREGISTER_NAPI, 0, 1));
        }),
        Case::general("register-napi/arguments", |session| {
            let ring = session.ring(8);
            let good = napi_argument(session, 50, 1, 0, 0);
            for call in [NAPI, UNREGISTER_NAPI] {
                for count in [0, 2, u32::MAX] {
                    session
                        .outcome(format!("{call}: count {count}"), ring.register(call, good.addr(), count));
                }
                session.outcome(format!("{call}: null"), ring.register(call, 0, 1));
                let bad = session.bad_address();
                session.outcome(format!("{call}: bad address"), ring.register(call, bad, 1));
                for byte in [6, 7, 12, 15] {
                    let memory = napi_argument(session, 50, 1, 0, 0);
                    memory.put(byte, 1_u8);
                    let outcome = ring.register(call, memory.addr(), 1);
                    session.outcome(format!("{call}: byte {byte}"), outcome);
                }
            }
            let polled = session.ring_with(8, SetupFlags::IOPOLL);
            session.outcome("IOPOLL ring", polled.register(NAPI, good.addr(), 1));
            session.outcome("IOPOLL ring: unregister", polled.register(UNREGISTER_NAPI, good.addr(), 1));
        }),
    ]
}

/// `struct io_uring_query_hdr`.
fn query_header(session: &Session, next: u64, data: u64, kind: u32, size: u32) -> Memory {
    session.words(&[next, data, u64::from(kind) | u64::from(size) << 32, 0, 0])
}

fn query() -> Vec<Case> {
    vec![
        Case::general("register-query/opcodes", |session| {
            let ring = session.ring(8);
            for (label, fd) in [("a ring", ring.fd), ("no ring", -1)] {
                for size in [0, 4, 8, 16, 40, 47, 48, 49, 56, 64, 4096, 4097] {
                    let data = session.memory(4200);
                    data.fill(&[0xee; 80]);
                    let header = query_header(session, 0, data.addr(), 0, size);
                    let outcome = session.register(fd, QUERY, header.addr(), 0);
                    session.outcome(format!("{label}, size {size}"), outcome);
                    session.bytes(format!("{label}, size {size}: header"), &header.bytes()[16..]);
                    session.bytes(format!("{label}, size {size}: data"), &data.bytes()[..80]);
                }
            }
        }),
        Case::general("register-query/arguments", |session| {
            let ring = session.ring(8);
            let data = session.memory(64);
            let good = query_header(session, 0, data.addr(), 0, 48);
            for count in [1, 2, u32::MAX] {
                session.outcome(format!("count {count}"), ring.register(QUERY, good.addr(), count));
            }
            session.outcome("null", ring.register(QUERY, 0, 0));
            session.outcome("bad address", ring.register(QUERY, session.bad_address(), 0));
            for kind in [1, 2, 3, 100, u32::MAX] {
                let header = query_header(session, 0, data.addr(), kind, 48);
                session.outcome(format!("kind {kind}"), ring.register(QUERY, header.addr(), 0));
                session.bytes(format!("kind {kind}: header"), &header.bytes()[16..]);
            }
            for byte in [24, 28, 32, 39] {
                let header = query_header(session, 0, data.addr(), 0, 48);
                header.put(byte, 1_u8);
                session.outcome(format!("byte {byte}"), ring.register(QUERY, header.addr(), 0));
                session.bytes(format!("byte {byte}: header"), &header.bytes()[16..]);
            }
            for (label, address) in [("null data", 0), ("bad data", session.bad_address())] {
                let header = query_header(session, 0, address, 0, 48);
                session.outcome(label, ring.register(QUERY, header.addr(), 0));
                session.bytes(format!("{label}: header"), &header.bytes()[16..]);
            }
        }),
        Case::general("register-query/chain", |session| {
            let ring = session.ring(8);
            let data = session.memory(64);
            let last = query_header(session, 0, data.addr(), 0, 48);
            let unknown = query_header(session, last.addr(), data.addr(), 77, 48);
            let first = query_header(session, unknown.addr(), data.addr(), 0, 48);
            session.outcome("three", ring.register(QUERY, first.addr(), 0));
            for header in [first, unknown, last] {
                session.bytes("header", &header.bytes()[16..]);
            }
            let broken = query_header(session, session.bad_address(), data.addr(), 0, 48);
            session.outcome("to nowhere", ring.register(QUERY, broken.addr(), 0));
            session.bytes("to nowhere: header", &broken.bytes()[16..]);
            let circle = query_header(session, 0, data.addr(), 0, 48);
            circle.put(0, circle.addr());
            session.outcome("a circle", ring.register(QUERY, circle.addr(), 0));
        }),
    ]
}

fn zcrx() -> Vec<Case> {
    vec![Case::general("register-zcrx-ifq/refused-in-detail", |session| {
        let both = SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN;
        for flags in [
            SetupFlags::empty(),
            SetupFlags::CQE32,
            both,
            both | SetupFlags::CQE32,
            both | SetupFlags::CQE_MIXED,
        ] {
            let ring = session.ring_with(8, flags);
            let (area, region) = (session.memory(64), session.memory(64));
            let memory = session.memory(8192);
            region.put(0, [memory.addr(), 8192, 1_u64]);
            area.put(0, [memory.addr(), 8192_u64]);
            let good = session.memory(96);
            // Interface, queue, entries of the refill queue, flags; then the areas.
            good.put(0, [1_u32, 0, 64, 0]);
            good.put(16, [area.addr(), region.addr()]);
            session.outcome(format!("{flags:?}: plausible"), ring.register(ZCRX, good.addr(), 1));
            session.outcome(format!("{flags:?}: count 0"), ring.register(ZCRX, good.addr(), 0));
            session.outcome(format!("{flags:?}: count 2"), ring.register(ZCRX, good.addr(), 2));
            session.outcome(format!("{flags:?}: null"), ring.register(ZCRX, 0, 1));
            let bad = session.bad_address();
            session.outcome(format!("{flags:?}: bad address"), ring.register(ZCRX, bad, 1));
            let zeros = session.memory(96);
            session.outcome(format!("{flags:?}: zeros"), ring.register(ZCRX, zeros.addr(), 1));
            good.put(0, [u32::MAX, 0, 64, 0]);
            session.outcome(format!("{flags:?}: no such interface"), ring.register(ZCRX, good.addr(), 1));
            good.put(0, [1_u32, 0, 64, 1]);
            session.outcome(format!("{flags:?}: flags"), ring.register(ZCRX, good.addr(), 1));
        }
    })]
}
