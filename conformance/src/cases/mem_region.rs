//! MEM_REGION, and waits whose arguments lie in such a region.

use std::time::{Duration, Instant};

use ringer_abi::{EnterFlags, RegisterOpcode, SetupFlags};
use ringer_sys::native;

use crate::differential::memory::{Memory, PAGE};
use crate::differential::{Case, Ring, Session, prep};

const REGION: u32 = RegisterOpcode::MemRegion.number();
const ENABLE: u32 = RegisterOpcode::EnableRings.number();
/// `IORING_MEM_REGION_TYPE_USER`: the memory is the program's.
const USER: u32 = 1;
/// `IORING_MEM_REGION_REG_WAIT_ARG`: waits take their arguments from it.
const WAITS: u64 = 1;
/// `IORING_REG_WAIT_TS`: the time counts.
const HAS_TIME: u32 = 1;
/// Bytes of a `struct io_uring_reg_wait`.
const WAIT: usize = 64;

/// `struct io_uring_region_desc`.
struct Region {
    address: u64,
    size: u64,
    flags: u32,
    id: u32,
    offset: u64,
}

impl Region {
    fn of(memory: Memory) -> Self {
        Self { address: memory.addr(), size: memory.len() as u64, flags: USER, id: 0, offset: 0 }
    }

    fn place(&self, session: &Session) -> Memory {
        let flags = u64::from(self.flags) | u64::from(self.id) << 32;
        session.words(&[self.address, self.size, flags, self.offset, 0, 0, 0, 0])
    }
}

/// `struct io_uring_mem_region_reg`.
fn argument(session: &Session, region: u64, flags: u64) -> Memory {
    session.words(&[region, flags, 0, 0])
}

fn disabled(session: &Session) -> Ring {
    session.ring_with(8, SetupFlags::R_DISABLED)
}

/// An enabled ring with a page of waits.
fn with_waits(session: &Session, flags: SetupFlags) -> (Ring, Memory) {
    let ring = session.ring_with(8, flags | SetupFlags::R_DISABLED);
    let memory = session.memory(PAGE);
    let region = Region::of(memory).place(session);
    let call = argument(session, region.addr(), WAITS);
    session.outcome("region", ring.register(REGION, call.addr(), 1));
    session.outcome("enable", ring.register(ENABLE, 0, 0));
    (ring, memory)
}

/// Fills a `struct io_uring_reg_wait`.
fn put_wait(memory: Memory, at: usize, time: Option<Duration>, min_wait: u32) {
    let time_words = time.map_or([0, 0], |time| [time.as_secs(), time.subsec_nanos().into()]);
    memory.put(at, time_words);
    memory.put(at + 16, [min_wait, if time.is_some() { HAS_TIME } else { 0 }]);
    memory.put(at + 24, [0_u64; 5]);
}

/// Waits with the argument at an offset.
fn wait(ring: &Ring, wanted: u32, offset: u64, size: usize) -> Result<i32, ringer_sys::Errno> {
    let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG | EnterFlags::EXT_ARG_REG;
    ring.enter_with(0, wanted, flags.bits(), offset, size)
}

/// The cases of these calls.
pub fn cases() -> Vec<Case> {
    let mut cases = regions();
    cases.extend(waits());
    cases
}

fn regions() -> Vec<Case> {
    vec![
        Case::general("register-mem-region/arguments-in-detail", |session| {
            let memory = session.memory(PAGE);
            let region = Region::of(memory).place(session);
            let ring = disabled(session);
            let good = argument(session, region.addr(), 0);
            for count in [0, 2, u32::MAX] {
                session.outcome(format!("count {count}"), ring.register(REGION, good.addr(), count));
            }
            session.outcome("null", ring.register(REGION, 0, 1));
            session.outcome("bad address", ring.register(REGION, session.bad_address(), 1));
            for address in [0, session.bad_address()] {
                let call = argument(session, address, 0);
                session.outcome(format!("region {}", address == 0), ring.register(REGION, call.addr(), 1));
            }
            for bit in 1..64 {
                let call = argument(session, region.addr(), 1 << bit);
                session.outcome(format!("flags bit {bit}"), ring.register(REGION, call.addr(), 1));
            }
            for word in 2..4 {
                let call = argument(session, region.addr(), 0);
                call.put(8 * word, 1_u64);
                session.outcome(format!("reserved {word}"), ring.register(REGION, call.addr(), 1));
            }
            session.outcome("good", ring.register(REGION, good.addr(), 1));
            session.bytes("description", &region.bytes()[8..]);
            session.outcome("again", ring.register(REGION, good.addr(), 1));
        }),
        Case::general("register-mem-region/descriptions", |session| {
            let memory = session.memory(2 * PAGE);
            let page = PAGE as u64;
            let good = || Region::of(memory);
            let bad = session.bad_address() & !(page - 1);
            let regions = [
                ("good", good()),
                ("one page", Region { size: page, ..good() }),
                ("no size", Region { size: 0, ..good() }),
                ("half a page", Region { size: page / 2, ..good() }),
                ("huge", Region { size: 1 << 40, ..good() }),
                ("all", Region { size: u64::MAX - page + 1, ..good() }),
                ("not at a page", Region { address: memory.addr() + 64, ..good() }),
                ("not mapped", Region { address: bad, size: page, ..good() }),
                ("partly mapped", Region { address: bad - page, ..good() }),
                ("null", Region { address: 0, ..good() }),
                ("not the program's", Region { flags: 0, ..good() }),
                ("id", Region { id: 1, ..good() }),
                ("offset", Region { offset: page, ..good() }),
                ("offset 1", Region { offset: 1, ..good() }),
                ("flags bit 1", Region { flags: USER | 2, ..good() }),
                ("flags bit 31", Region { flags: USER | 1 << 31, ..good() }),
                ("the kernel's", Region { address: 0, flags: 0, ..good() }),
                ("the kernel's, no size", Region { address: 0, flags: 0, size: 0, ..good() }),
                ("the kernel's, half a page", Region { address: 0, flags: 0, size: page / 2, ..good() }),
                ("the kernel's, offset", Region { address: 0, flags: 0, offset: page, ..good() }),
            ];
            for (label, region) in regions {
                let ring = disabled(session);
                let place = region.place(session);
                let call = argument(session, place.addr(), WAITS);
                session.outcome(label, ring.register(REGION, call.addr(), 1));
                session.bytes(format!("{label}: description"), &place.bytes()[8..]);
            }
            for word in 4..8 {
                let ring = disabled(session);
                let place = good().place(session);
                place.put(8 * word, 1_u64);
                let call = argument(session, place.addr(), 0);
                session.outcome(format!("reserved {word}"), ring.register(REGION, call.addr(), 1));
            }
        }),
        Case::general("register-mem-region/enabled-rings", |session| {
            let memory = session.memory(PAGE);
            for flags in [0, WAITS] {
                let ring = session.ring(8);
                let region = Region::of(memory).place(session);
                let call = argument(session, region.addr(), flags);
                session.outcome(format!("flags {flags}"), ring.register(REGION, call.addr(), 1));
                session.outcome(format!("flags {flags}: again"), ring.register(REGION, call.addr(), 1));
                session.outcome(format!("flags {flags}: wait"), wait(&ring, 0, 0, WAIT));
            }
        }),
        Case::general("register-mem-region/kernel-memory", |session| {
            let ring = disabled(session);
            let region = Region { address: 0, size: 2 * PAGE as u64, flags: 0, id: 0, offset: 0 };
            let place = region.place(session);
            let call = argument(session, place.addr(), WAITS);
            session.outcome("map before", session.backend().map(ring.fd, PAGE, 0x2000_0000).map(|_| 0));
            session.outcome("region", ring.register(REGION, call.addr(), 1));
            let offset = place.get::<u64>(24);
            session.record("offset", format!("{offset:#x}"));
            session.outcome("enable", ring.register(ENABLE, 0, 0));
            for length in [PAGE, 2 * PAGE, 3 * PAGE] {
                let mapped = session.backend().map(ring.fd, length, offset);
                session.outcome(format!("map {length}"), mapped.map(|_| 0));
                if let Ok(address) = mapped {
                    session.record("zero at first", format!("{:?}", address.read::<[u64; 2]>()));
                    let words = [0_u64, 2_000_000, u64::from(HAS_TIME) << 32, 0, 0, 0, 0, 0];
                    address.add(128).write(words).expect("mapped just now");
                    session.outcome("wait", wait(&ring, 1, 128, WAIT));
                    address.add(128).write([0_u64; 8]).expect("mapped just now");
                    let zero = [0_u64; 2];
                    address.write(zero).expect("mapped just now");
                    let _ = native::unmap(address, length.min(2 * PAGE));
                }
            }
        }),
    ]
}

fn waits() -> Vec<Case> {
    vec![
        Case::general("registered-waits/arguments", |session| {
            let (ring, memory) = with_waits(session, SetupFlags::empty());
            let soon = Duration::from_millis(2);
            for at in [0, 64, PAGE - WAIT, PAGE - WAIT + 8] {
                if at + WAIT <= PAGE {
                    put_wait(memory, at, Some(soon), 0);
                }
                session.outcome(format!("offset {at}"), wait(&ring, 1, at as u64, WAIT));
            }
            for offset in [1, 4, 8, 32, 60] {
                put_wait(memory, 0, Some(soon), 0);
                memory.put(64, [0_u64; 8]);
                // Whatever stands there says nothing of a time: it would wait long.
                ring.push(prep::nop());
                let _ = ring.submit();
                session.outcome(format!("offset {offset}"), wait(&ring, 1, offset, WAIT));
                ring.reap_all();
            }
            for offset in [PAGE as u64, 1 << 32, u64::MAX, u64::MAX - 63, 1 << 63] {
                session.outcome(format!("offset {offset:#x}"), wait(&ring, 1, offset, WAIT));
            }
            for size in [0, 8, 24, 63, 65, 128] {
                session.outcome(format!("size {size}"), wait(&ring, 1, 0, size));
            }
            for bit in 1..32 {
                put_wait(memory, 0, Some(soon), 0);
                memory.put(20, HAS_TIME | 1 << bit);
                session.outcome(format!("flags bit {bit}"), wait(&ring, 1, 0, WAIT));
            }
            for byte in [36, 40, 44, 48, 56] {
                put_wait(memory, 0, Some(soon), 0);
                memory.put(byte, 1_u8);
                session.outcome(format!("reserved byte {byte}"), wait(&ring, 1, 0, WAIT));
            }
            let only_registered = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG_REG;
            put_wait(memory, 0, Some(soon), 0);
            ring.push(prep::nop());
            let _ = ring.submit();
            let outcome = ring.enter_with(0, 1, only_registered.bits(), 0, WAIT);
            session.outcome("without EXT_ARG", outcome);
        }),
        Case::general("registered-waits/no-region", |session| {
            for flags in [None, Some(0)] {
                let ring = disabled(session);
                if let Some(flags) = flags {
                    let region = Region::of(session.memory(PAGE)).place(session);
                    let call = argument(session, region.addr(), flags);
                    session.outcome("region", ring.register(REGION, call.addr(), 1));
                }
                session.outcome("enable", ring.register(ENABLE, 0, 0));
                session.outcome("wait", wait(&ring, 1, 0, WAIT));
                session.outcome("bad size", wait(&ring, 1, 0, 8));
            }
        }),
        Case::general("registered-waits/times", |session| {
            for kind in [SetupFlags::empty(), SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN] {
                let (ring, memory) = with_waits(session, kind);
                put_wait(memory, 0, Some(Duration::from_millis(30)), 0);
                let started = Instant::now();
                session.outcome("time out", wait(&ring, 1, 0, WAIT));
                session.record("waited", started.elapsed() >= Duration::from_millis(29));
                put_wait(memory, 0, Some(Duration::ZERO), 0);
                session.outcome("no time", wait(&ring, 1, 0, WAIT));
                put_wait(memory, 0, Some(Duration::from_secs(20)), 20_000);
                ring.push(prep::nop().with_user_data(1));
                session.outcome("submit", ring.submit());
                let started = Instant::now();
                session.outcome("least time for two", wait(&ring, 2, 0, WAIT));
                session.record("in time", started.elapsed() < Duration::from_secs(5));
                session.cqes("completions", &ring.reap_all());
                memory.put(0, [u64::MAX, u64::MAX]);
                memory.put(16, [0, HAS_TIME]);
                session.outcome("bad time", wait(&ring, 1, 0, WAIT));
                memory.put(0, [0_u64, 2_000_000_000]);
                ring.push(prep::nop().with_user_data(2));
                session.outcome("submit", ring.submit());
                session.outcome("too many nanoseconds", wait(&ring, 1, 0, WAIT));
                ring.reap_all();
            }
        }),
        Case::general("registered-waits/absolute", |session| {
            let (ring, memory) = with_waits(session, SetupFlags::empty());
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            put_wait(memory, 0, Some(Duration::new(now.tv_sec as u64, now.tv_nsec as u32)), 0);
            let flags =
                EnterFlags::GETEVENTS | EnterFlags::EXT_ARG | EnterFlags::EXT_ARG_REG | EnterFlags::ABS_TIMER;
            session.outcome("until now", ring.enter_with(0, 1, flags.bits(), 0, WAIT));
        }),
        Case::general("registered-waits/signal-mask", |session| {
            let (ring, memory) = with_waits(session, SetupFlags::empty());
            let mask = session.words(&[!0]);
            for size in [0_u32, 4, 8, 9, 16] {
                put_wait(memory, 0, Some(Duration::from_millis(2)), 0);
                memory.put(24, mask.addr());
                memory.put(32, size);
                session.outcome(format!("size {size}"), wait(&ring, 1, 0, WAIT));
            }
            put_wait(memory, 0, Some(Duration::from_millis(2)), 0);
            memory.put(24, session.bad_address());
            memory.put(32, 8_u32);
            session.outcome("bad address", wait(&ring, 1, 0, WAIT));
        }),
    ]
}
