//! CLOCK, NAPI, MEM_REGION and waits with registered arguments.

use std::time::{Duration, Instant};

use ringer_abi::{EnterFlags, RegisterOpcode, SetupFlags};

use crate::differential::memory::Memory;
use crate::differential::{Case, Ring, Session, prep};

const CLOCK: u32 = RegisterOpcode::Clock.number();
const NAPI: u32 = RegisterOpcode::Napi.number();
const UNREGISTER_NAPI: u32 = RegisterOpcode::UnregisterNapi.number();
const REGION: u32 = RegisterOpcode::MemRegion.number();
const ENABLE: u32 = RegisterOpcode::EnableRings.number();

/// The cases of these calls.
pub fn cases() -> Vec<Case> {
    let mut cases = clocks();
    cases.extend(napi());
    cases.extend(regions());
    cases.extend(waits());
    cases
}

fn clocks() -> Vec<Case> {
    vec![Case::general("register-clock/use", |session| {
        let ring = session.ring(8);
        let set = |clock: i32| session.ints(&[clock, 0, 0, 0]);
        for clock in [-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 16] {
            session.outcome(format!("clock {clock}"), ring.register(CLOCK, set(clock).addr(), 0));
            let start = Instant::now();
            let argument = session.memory(64);
            argument.put(0, [0_u64, 0, argument.addr() + 32, 0]);
            argument.put(32, [0_u64, 20_000_000]);
            let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
            let outcome = ring.enter_with(0, 1, flags.bits(), argument.addr(), 24);
            session.outcome(format!("clock {clock}: wait"), outcome);
            let time = start.elapsed();
            let right = time >= Duration::from_millis(19) && time < Duration::from_secs(1);
            session.record(format!("clock {clock}: took its time"), right);
        }
        for (label, argument, count) in [
            ("count", set(1).addr(), 1),
            ("null", 0, 0),
            ("bad address", session.bad_address(), 0),
            ("reserved", session.ints(&[1, 0, 0, 1]).addr(), 0),
            ("off the edge", session.edge(8).addr(), 0),
        ] {
            session.outcome(label, ring.register(CLOCK, argument, count));
        }
    })]
}

/// A `struct io_uring_napi`.
fn napi_argument(session: &Session, time: u32, bytes: [u8; 4], parameter: u32, reserved: u32) -> Memory {
    session.ints(&[time as i32, i32::from_le_bytes(bytes), parameter as i32, reserved as i32])
}

fn napi() -> Vec<Case> {
    vec![Case::general("register-napi/use", |session| {
        let ring = session.ring(8);
        let call = |label: &str, opcode: u32, argument: Memory, count: u32| {
            session.outcome(label, ring.register(opcode, argument.addr(), count));
            let words: Vec<u32> = (0..4).map(|index| argument.get::<u32>(4 * index)).collect();
            session.record(format!("{label}: written"), format!("{words:x?}"));
        };
        call("unregister before", UNREGISTER_NAPI, napi_argument(session, 9, [9, 9, 9, 9], 9, 9), 1);
        let times = [(5, 0, 0), (7, 1, 0), (8, 2, 1), (u32::MAX, 255, 0), (1_000_000, 1, 1), (0, 0, 0)];
        for (time, prefer, tracking) in times {
            let argument = napi_argument(session, time, [prefer, 0, 0, 0], tracking, 0);
            call(&format!("{time} {prefer} {tracking}"), NAPI, argument, 1);
        }
        for tracking in [2, 3, 255, 256, u32::MAX] {
            call(&format!("tracking {tracking}"), NAPI, napi_argument(session, 3, [0; 4], tracking, 0), 1);
        }
        for static_tracking in [0, 1] {
            let label = format!("static {static_tracking}");
            call(&label, NAPI, napi_argument(session, 3, [0; 4], static_tracking, 0), 1);
            for operation in [1, 1, 2, 2, 3, 255] {
                for id in [0, 1, 8191, 1 << 30] {
                    let argument = napi_argument(session, 4, [0, operation, 0, 0], id, 0);
                    call(&format!("{label}: operation {operation} id {id}"), NAPI, argument, 1);
                }
            }
        }
        call("padding", NAPI, napi_argument(session, 3, [0, 0, 1, 0], 0, 0), 1);
        call("more padding", NAPI, napi_argument(session, 3, [0, 0, 0, 1], 0, 0), 1);
        call("reserved", NAPI, napi_argument(session, 3, [0; 4], 0, 1), 1);
        call("count 0", NAPI, napi_argument(session, 3, [0; 4], 0, 0), 0);
        call("count 2", NAPI, napi_argument(session, 3, [0; 4], 0, 0), 2);
        call("unregister", UNREGISTER_NAPI, napi_argument(session, 3, [0; 4], 0, 0), 1);
        call("unregister, count 0", UNREGISTER_NAPI, napi_argument(session, 3, [0; 4], 0, 0), 0);
        for opcode in [NAPI, UNREGISTER_NAPI] {
            session.outcome(format!("{opcode}: null"), ring.register(opcode, 0, 1));
            session
                .outcome(format!("{opcode}: bad address"), ring.register(opcode, session.bad_address(), 1));
        }
        let polled = session.ring_with(8, SetupFlags::IOPOLL);
        let good = napi_argument(session, 3, [0; 4], 0, 0);
        session.outcome("IOPOLL", polled.register(NAPI, good.addr(), 1));
        session.outcome("IOPOLL: unregister", polled.register(UNREGISTER_NAPI, good.addr(), 1));
        session.one_recorded("still served", &ring, prep::nop());
    })]
}

/// A `struct io_uring_region_desc`.
fn description(session: &Session, address: u64, size: u64, flags: u32) -> Memory {
    session.words(&[address, size, flags.into(), 0, 0, 0, 0, 0])
}

fn register_region(session: &Session, ring: &Ring, label: &str, description: u64, flags: u64) {
    let argument = session.words(&[description, flags, 0, 0]);
    session.outcome(label, ring.register(REGION, argument.addr(), 1));
}

fn regions() -> Vec<Case> {
    vec![
        Case::general("register-mem-region/arguments", |session| {
            let memory = session.memory(2 * 4096).addr();
            let disabled = || session.ring_with(8, SetupFlags::R_DISABLED);
            let tries: Vec<(&str, [u64; 8])> = vec![
                ("good", [memory, 4096, 1, 0, 0, 0, 0, 0]),
                ("two pages", [memory, 8192, 1, 0, 0, 0, 0, 0]),
                ("allocated", [0, 4096, 0, 0, 0, 0, 0, 0]),
                ("allocated with an address", [memory, 4096, 0, 0, 0, 0, 0, 0]),
                ("no address", [0, 4096, 1, 0, 0, 0, 0, 0]),
                ("no size", [memory, 0, 1, 0, 0, 0, 0, 0]),
                ("half a page", [memory, 2048, 1, 0, 0, 0, 0, 0]),
                ("half a page allocated", [0, 2048, 0, 0, 0, 0, 0, 0]),
                ("misaligned", [memory + 64, 4096, 1, 0, 0, 0, 0, 0]),
                ("id", [memory, 4096, 1 | 1 << 32, 0, 0, 0, 0, 0]),
                ("offset", [memory, 4096, 1, 4096, 0, 0, 0, 0]),
                ("unknown flag", [memory, 4096, 3, 0, 0, 0, 0, 0]),
                ("reserved", [memory, 4096, 1, 0, 0, 0, 0, 1]),
                ("unreadable", [session.bad_address() & !4095, 4096, 1, 0, 0, 0, 0, 0]),
                ("not mapped", [1 << 46, 4096, 1, 0, 0, 0, 0, 0]),
                ("wraps", [u64::MAX - 4095, 8192, 1, 0, 0, 0, 0, 0]),
                ("huge", [memory, 1 << 62, 1, 0, 0, 0, 0, 0]),
                ("very large", [memory, 1 << 43, 1, 0, 0, 0, 0, 0]),
            ];
            for (label, words) in tries {
                for flags in [0, 1] {
                    let ring = disabled();
                    let description = session.words(&words);
                    let label = format!("{label}, flags {flags}");
                    register_region(session, &ring, &label, description.addr(), flags);
                    let after: Vec<u64> = (0..8).map(|index| description.get::<u64>(8 * index)).collect();
                    let told =
                        if after == words { "unchanged".to_owned() } else { format!("{:x}", after[3]) };
                    session.record(format!("{label}: description"), told);
                    register_region(session, &ring, &format!("{label}: again"), description.addr(), flags);
                }
            }
            let good = description(session, memory, 4096, 1);
            register_region(session, &disabled(), "unknown flag", good.addr(), 2);
            register_region(session, &disabled(), "null description", 0, 0);
            register_region(session, &disabled(), "bad description", session.bad_address(), 0);
            register_region(session, &session.ring(8), "enabled", good.addr(), 0);
            register_region(session, &session.ring(8), "enabled, for waits", good.addr(), 1);
            let ring = disabled();
            session.outcome("enable", ring.register(ENABLE, 0, 0));
            register_region(session, &ring, "enabled later, for waits", good.addr(), 1);
            let reserved = session.words(&[good.addr(), 0, 1, 0]);
            session.outcome("reserved", ring.register(REGION, reserved.addr(), 1));
            session.outcome("null", ring.register(REGION, 0, 1));
            session.outcome("bad address", ring.register(REGION, session.bad_address(), 1));
            for count in [0, 2] {
                let argument = session.words(&[good.addr(), 0, 0, 0]);
                session.outcome(format!("count {count}"), ring.register(REGION, argument.addr(), count));
            }
        }),
        Case::general("register-mem-region/mapping", |session| {
            const OFFSET: u64 = 0x2000_0000;
            let backend = session.backend();
            let ring = session.ring(8);
            let map = |label: &str, fd: i32, offset: u64, length: usize| {
                let mapped = backend.map(fd, length, offset);
                session.outcome(label, mapped.map(|_| 0_i32));
                mapped.ok()
            };
            map("without a region", ring.fd, OFFSET, 4096);
            let allocated = description(session, 0, 8192, 0);
            register_region(session, &ring, "allocated", allocated.addr(), 0);
            session.record("told", format!("{:x}", allocated.get::<u64>(24)));
            for (label, offset, length) in [
                ("whole", OFFSET, 8192),
                ("half", OFFSET, 4096),
                ("nothing", OFFSET, 0),
                ("behind the start", OFFSET + 4096, 4096),
            ] {
                map(label, ring.fd, offset, length);
            }
            let other = session.ring(8);
            let memory = session.memory(4096).addr();
            let brought = description(session, memory, 4096, 1);
            register_region(session, &other, "brought", brought.addr(), 0);
            map("brought", other.fd, OFFSET, 4096);
        }),
    ]
}

/// A wait's registered argument.
struct Wait {
    time: Option<[i64; 2]>,
    batch: u32,
    flags: u32,
    mask: (u64, u32),
}

impl Wait {
    fn put(&self, memory: Memory, offset: usize) {
        let [seconds, nanoseconds] = self.time.unwrap_or([77, 88]);
        let flags = self.flags | u32::from(self.time.is_some());
        memory.put(offset, [seconds, nanoseconds]);
        memory.put(offset + 16, [self.batch, flags]);
        memory.put(offset + 24, self.mask.0);
        memory.put(offset + 32, [self.mask.1, 0, 0, 0]);
        memory.put(offset + 48, [0_u64, 0]);
    }
}

fn waits() -> Vec<Case> {
    const SIZE: usize = 64;
    let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG | EnterFlags::EXT_ARG_REG;
    let enter = move |ring: &Ring, wanted: u32, offset: u64, size: usize| {
        ring.enter_with(0, wanted, flags.bits(), offset, size)
    };
    vec![
        Case::general("enter-registered-wait/use", move |session| {
            for (kind, setup) in [
                ("plain", SetupFlags::empty()),
                ("deferred", SetupFlags::DEFER_TASKRUN | SetupFlags::SINGLE_ISSUER),
            ] {
                let ring = session.ring_with(8, SetupFlags::R_DISABLED | setup);
                let memory = session.memory(4096);
                let brought = description(session, memory.addr(), 4096, 1);
                register_region(session, &ring, &format!("{kind}: register"), brought.addr(), 1);
                session.outcome(format!("{kind}: enable"), ring.register(ENABLE, 0, 0));
                let put = |offset: usize, wait: Wait| wait.put(memory, offset);
                put(0, Wait { time: Some([0, 20_000_000]), batch: 0, flags: 0, mask: (0, 0) });
                put(64, Wait { time: Some([0, 1]), batch: 0, flags: 2, mask: (0, 0) });
                put(128, Wait { time: Some([0, 1]), batch: 0, flags: 0, mask: (memory.addr(), 4) });
                put(192, Wait { time: Some([0, 1]), batch: 0, flags: 0, mask: (session.bad_address(), 8) });
                put(256, Wait { time: Some([0, 90_000_000]), batch: 1000, flags: 0, mask: (0, 0) });
                put(320, Wait { time: None, batch: 0, flags: 0, mask: (0, 0) });
                put(3960, Wait { time: Some([0, 1]), batch: 0, flags: 0, mask: (0, 0) });
                put(4032, Wait { time: Some([0, 1]), batch: 0, flags: 0, mask: (0, 0) });
                let start = Instant::now();
                session.outcome(format!("{kind}: times out"), enter(&ring, 1, 0, SIZE));
                let waited = start.elapsed() >= Duration::from_millis(20);
                session.record(format!("{kind}: waited"), waited);
                for (label, offset, size) in [
                    ("unknown flag", 64, SIZE),
                    ("mask size", 128, SIZE),
                    ("bad mask", 192, SIZE),
                    ("the last one", 4032, SIZE),
                    ("across the end", 4040, SIZE),
                    ("behind the end", 4096, SIZE),
                    ("misaligned", 4, SIZE),
                    ("at any word", 3960, SIZE),
                    ("huge", u64::MAX - 63, SIZE),
                    ("wrong size", 0, 24),
                    ("no size", 0, 0),
                ] {
                    session.outcome(format!("{kind}: {label}"), enter(&ring, 1, offset, size));
                }
                ring.push(prep::nop().with_user_data(1));
                session.outcome(format!("{kind}: submit"), ring.submit());
                session.outcome(format!("{kind}: no limit, one is there"), enter(&ring, 1, 320, SIZE));
                session.outcome(format!("{kind}: a part is enough"), enter(&ring, 2, 256, SIZE));
                session.outcome(format!("{kind}: bad, but one is there"), enter(&ring, 1, 64, SIZE));
                session.cqes(format!("{kind}: completion"), &ring.reap_all());
                let without = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG_REG;
                let outcome = ring.enter_with(0, 0, without.bits(), 0, SIZE);
                session.outcome(format!("{kind}: without EXT_ARG"), outcome);
            }
        }),
        Case::general("enter-registered-wait/without-region", move |session| {
            let ring = session.ring(8);
            session.outcome("none", enter(&ring, 1, 0, SIZE));
            session.outcome("none, nothing wanted", enter(&ring, 0, 0, SIZE));
            let memory = session.memory(4096).addr();
            let brought = description(session, memory, 4096, 1);
            register_region(session, &ring, "not for waits", brought.addr(), 0);
            session.outcome("not for waits: enter", enter(&ring, 1, 0, SIZE));
        }),
        Case::general("enter-registered-wait/allocated", move |session| {
            let ring = session.ring_with(8, SetupFlags::R_DISABLED);
            let allocated = description(session, 0, 4096, 0);
            register_region(session, &ring, "register", allocated.addr(), 1);
            session.outcome("enable", ring.register(ENABLE, 0, 0));
            let mapped = session.backend().map(ring.fd, 4096, allocated.get::<u64>(24));
            session.outcome("map", mapped.map(|_| 0_i32));
            let Ok(place) = mapped else { return };
            place.write([0_i64, 5_000_000]).expect("mapped just now");
            place.add(16).write([0_u32, 1]).expect("mapped just now");
            session.outcome("times out", enter(&ring, 1, 0, SIZE));
        }),
    ]
}
