//! PROBE, ENABLE_RINGS, RING_FDS, IOWQ_AFF, IOWQ_MAX_WORKERS and SYNC_CANCEL.

use ringer_abi::{EnterFlags, Opcode, RegisterOpcode, SetupFlags, SqeFlags, uapi};
use ringer_sys::UserAddress;

use crate::cases::ISSUE_2;
use crate::differential::memory::Memory;
use crate::differential::{Case, Ring, Session, prep};

const PROBE: u32 = RegisterOpcode::Probe.number();
const RING_FDS: u32 = RegisterOpcode::RingFds.number();
const UNREGISTER_RING_FDS: u32 = RegisterOpcode::UnregisterRingFds.number();
const AFFINITY: u32 = RegisterOpcode::IowqAff.number();
const UNREGISTER_AFFINITY: u32 = RegisterOpcode::UnregisterIowqAff.number();
const MAX_WORKERS: u32 = RegisterOpcode::IowqMaxWorkers.number();
pub(super) const SYNC_CANCEL: u32 = RegisterOpcode::SyncCancel.number();
/// `IORING_REGISTER_USE_REGISTERED_RING`: the descriptor is an index of a registered ring.
const USE_REGISTERED_RING: u32 = 1 << 31;

/// A `struct io_uring_probe` with room for so many opcodes.
fn probe_room(session: &Session, opcodes: usize) -> Memory {
    session.memory(16 + 8 * opcodes)
}

/// The cases of these calls.
pub fn cases() -> Vec<Case> {
    let mut cases = probe();
    cases.extend(enable());
    cases.extend(ring_fds());
    cases.extend(workers());
    cases.extend(sync_cancel());
    cases
}

fn probe() -> Vec<Case> {
    vec![
        Case::general("register-probe/supported", |session| {
            let ring = session.ring(4);
            let room = probe_room(session, 256);
            session.outcome("probe", ring.register(PROBE, room.addr(), 256));
            for opcode in ISSUE_2 {
                let at = 16 + 8 * usize::from(opcode.number());
                let flags = room.get::<u16>(at + 2);
                session.record(format!("{opcode:?}"), format!("op {} flags {flags}", room.get::<u8>(at)));
            }
            // What stands behind the last opcode is not written to, and says nothing is supported.
            session.record("opcode 200", format!("{:x?}", room.get::<[u8; 8]>(16 + 8 * 200)));
        }),
        Case::general("register-probe/header", |session| {
            let ring = session.ring(4);
            let room = probe_room(session, 256);
            session.outcome("probe", ring.register(PROBE, room.addr(), 256));
            session.record("last_op and ops_len", format!("{} {}", room.get::<u8>(0), room.get::<u8>(1)));
        }),
        Case::general("register-probe/arguments", |session| {
            let ring = session.ring(4);
            for count in [0, 1, 8, 256, 257, u32::MAX] {
                let room = probe_room(session, 300);
                session.outcome(format!("count {count}"), ring.register(PROBE, room.addr(), count));
                let first_unwritten = (0..256_usize).find(|index| room.get::<u64>(16 + 8 * index) == 0);
                // The first entry of a small room: NOP, which is opcode 0 with a flag.
                session.record(format!("count {count}: written"), first_unwritten.unwrap_or(256).min(8));
            }
            session.outcome("null", ring.register(PROBE, 0, 4));
            session.outcome("bad address", ring.register(PROBE, session.bad_address(), 4));
            for at in [0, 8, 15, 16, 20, 100] {
                let room = probe_room(session, 64);
                room.put(at, 1_u8);
                session.outcome(format!("nonzero byte {at}"), ring.register(PROBE, room.addr(), 64));
            }
            let edge = session.edge(32);
            session.outcome("runs off the edge", ring.register(PROBE, edge.addr(), 64));
        }),
    ]
}

fn enable() -> Vec<Case> {
    vec![Case::general("register-enable-rings/arguments", |session| {
        const ENABLE: u32 = RegisterOpcode::EnableRings.number();
        let ring = session.ring(4);
        session.outcome("not disabled", ring.register(ENABLE, 0, 0));
        let ring = session.ring_with(4, SetupFlags::R_DISABLED);
        session.outcome("with an argument", ring.register(ENABLE, session.memory(8).addr(), 0));
        session.outcome("with a count", ring.register(ENABLE, 0, 1));
        let files = session.ints(&[-1]);
        session.outcome("files before", ring.register(RegisterOpcode::Files.number(), files.addr(), 1));
        session.outcome("enable", ring.register(ENABLE, 0, 0));
        session.outcome("twice", ring.register(ENABLE, 0, 0));
        for flags in [
            SetupFlags::SQPOLL,
            SetupFlags::SINGLE_ISSUER,
            SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN,
        ] {
            let ring = session.ring_with(4, SetupFlags::R_DISABLED | flags);
            session.outcome(format!("{flags:?}"), ring.register(ENABLE, 0, 0));
            session.one_recorded(format!("{flags:?}: serves"), &ring, prep::nop());
        }
    })]
}

/// Registers a ring descriptor; `u32::MAX` asks for any index. Returns the index.
fn register_ring(session: &Session, ring: &Ring, fd: i32, index: u32, label: &str) -> u32 {
    let update = session.words(&[u64::from(index), fd as u64 & 0xffff_ffff]);
    session.outcome(label, ring.register(RING_FDS, update.addr(), 1));
    update.get::<u32>(0)
}

fn unregister_ring(session: &Session, ring: &Ring, index: u32, label: &str) {
    let update = session.words(&[u64::from(index), 0]);
    session.outcome(label, ring.register(UNREGISTER_RING_FDS, update.addr(), 1));
}

fn ring_fds() -> Vec<Case> {
    vec![
        Case::general("register-ring-fds/use", |session| {
            let ring = session.ring(4);
            let index = register_ring(session, &ring, ring.fd, u32::MAX, "register");
            session.record("index", index);
            let backend = session.backend();
            ring.push(prep::nop().with_user_data(5));
            let flags = (EnterFlags::REGISTERED_RING | EnterFlags::GETEVENTS).bits();
            let outcome = backend.enter(index as i32, 1, 1, flags, UserAddress::new(0), 0);
            session.outcome("enter by index", outcome);
            session.cqes("served", &ring.reap_all());
            let outcome = backend.enter(ring.fd, 0, 0, flags, UserAddress::new(0), 0);
            session.outcome("the descriptor as an index", outcome);
            let probe = probe_room(session, 4);
            let outcome = session.register(index as i32, PROBE | USE_REGISTERED_RING, probe.addr(), 4);
            session.outcome("register by index", outcome);
            let outcome = session.register(9, PROBE | USE_REGISTERED_RING, probe.addr(), 4);
            session.outcome("register by an empty index", outcome);
            unregister_ring(session, &ring, index, "unregister");
            let outcome = backend.enter(index as i32, 0, 0, flags, UserAddress::new(0), 0);
            session.outcome("enter after that", outcome);
        }),
        Case::general("register-ring-fds/arguments", |session| {
            let ring = session.ring(4);
            for count in [0, 17, u32::MAX] {
                let update = session.words(&[u64::from(u32::MAX), ring.fd as u64]);
                session.outcome(format!("count {count}"), ring.register(RING_FDS, update.addr(), count));
            }
            session.outcome("null", ring.register(RING_FDS, 0, 1));
            let reserved = session.words(&[u64::from(u32::MAX) | 1 << 32, ring.fd as u64]);
            session.outcome("reserved", ring.register(RING_FDS, reserved.addr(), 1));
            for (label, fd) in [("-1", -1), ("closed", session.closed_fd()), ("a file", session.file(b""))] {
                register_ring(session, &ring, fd, u32::MAX, label);
            }
            for index in [16, 17, 1000] {
                register_ring(session, &ring, ring.fd, index, &format!("index {index}"));
            }
            register_ring(session, &ring, ring.fd, 3, "index 3");
            register_ring(session, &ring, ring.fd, 3, "index 3 again");
            let any = register_ring(session, &ring, ring.fd, u32::MAX, "any");
            session.record("any is", any);
            for index in [3, 3, any, 15, 16, u32::MAX] {
                unregister_ring(session, &ring, index, &format!("unregister {index}"));
            }
            let data = session.words(&[0, 1]);
            session.outcome("unregister with data", ring.register(UNREGISTER_RING_FDS, data.addr(), 1));
            session.outcome("unregister none", ring.register(UNREGISTER_RING_FDS, data.addr(), 0));
        }),
        Case::general("register-ring-fds/full", |session| {
            let ring = session.ring(4);
            let indices: Vec<u32> = (0..17)
                .map(|round| register_ring(session, &ring, ring.fd, u32::MAX, &format!("round {round}")))
                .collect();
            session.record("indices", format!("{:?}", &indices[..16]));
            for index in 0..16 {
                unregister_ring(session, &ring, index, &format!("unregister {index}"));
            }
        }),
        Case::general("register-ring-fds/belong-to-a-thread", |session| {
            let ring = session.ring(4);
            let index = register_ring(session, &ring, ring.fd, u32::MAX, "register");
            let backend = session.backend();
            let flags = EnterFlags::REGISTERED_RING.bits();
            let elsewhere = std::thread::scope(|scope| {
                let call = move || backend.enter(index as i32, 0, 0, flags, UserAddress::new(0), 0);
                scope.spawn(call).join().expect("no panic inside")
            });
            session.outcome("another thread", elsewhere);
            unregister_ring(session, &ring, index, "unregister");
        }),
    ]
}

fn workers() -> Vec<Case> {
    vec![
        Case::general("register-iowq-max-workers/use", |session| {
            let ring = session.ring(4);
            let ask = |label: &str, bounded: i32, unbounded: i32| {
                let values = session.ints(&[bounded, unbounded]);
                session.outcome(label, ring.register(MAX_WORKERS, values.addr(), 2));
                let before = format!("{} {}", values.get::<i32>(0), values.get::<i32>(4));
                // The defaults depend on the machine, its limits and what the thread did before.
                if label != "set both" {
                    session.record(format!("{label}: before"), before);
                }
            };
            let values = session.ints(&[0, 0]);
            session.outcome("ask", ring.register(MAX_WORKERS, values.addr(), 2));
            ask("set both", 3, 5);
            ask("set one", 0, 7);
            ask("set the other", 2, 0);
            ask("ask again", 0, 0);
            for count in [0, 1, 3] {
                session.outcome(format!("count {count}"), ring.register(MAX_WORKERS, values.addr(), count));
            }
            session.outcome("null", ring.register(MAX_WORKERS, 0, 2));
            ask("huge", -1, 0);
            ask("after that", 0, 0);
            ring.push(prep::nop().with_flags(SqeFlags::ASYNC).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.cqes("still served", &ring.collect(1));
        }),
        Case::general("register-iowq-aff/use", |session| {
            let ring = session.ring(4);
            session.outcome("unregister without", ring.register(UNREGISTER_AFFINITY, 0, 0));
            let mask = session.words(&[1]);
            for size in [0, 1, 8, 4096] {
                session.outcome(format!("size {size}"), ring.register(AFFINITY, mask.addr(), size));
            }
            session.outcome("null", ring.register(AFFINITY, 0, 8));
            session.outcome("null, no size", ring.register(AFFINITY, 0, 0));
            session.outcome("bad address", ring.register(AFFINITY, session.bad_address(), 8));
            let nobody = session.words(&[0]);
            session.outcome("no processor", ring.register(AFFINITY, nobody.addr(), 8));
            session.outcome("again", ring.register(AFFINITY, mask.addr(), 8));
            session
                .outcome("unregister with an argument", ring.register(UNREGISTER_AFFINITY, mask.addr(), 0));
            session.outcome("unregister with a count", ring.register(UNREGISTER_AFFINITY, 0, 1));
            session.outcome("unregister", ring.register(UNREGISTER_AFFINITY, 0, 0));
            ring.push(prep::nop().with_flags(SqeFlags::ASYNC).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.cqes("still served", &ring.collect(1));
        }),
    ]
}

/// A `struct io_uring_sync_cancel_reg` without limit on its time.
pub(super) fn sync_cancel_argument(session: &Session, addr: u64, fd: i32, flags: u32) -> Memory {
    let second = u64::from(fd as u32) | u64::from(flags) << 32;
    session.words(&[addr, second, u64::MAX, u64::MAX, 0, 0, 0, 0])
}

fn sync_cancel() -> Vec<Case> {
    const ALL: u32 = uapi::IORING_ASYNC_CANCEL_ALL;
    const FD: u32 = uapi::IORING_ASYNC_CANCEL_FD;
    const ANY: u32 = uapi::IORING_ASYNC_CANCEL_ANY;
    const OP: u32 = uapi::IORING_ASYNC_CANCEL_OP;
    let reads = |session: &Session, ring: &Ring, datas: &[u64]| {
        let (read, _write) = session.pipe();
        for data in datas {
            let buffer = session.memory(8);
            ring.push(prep::read(read, buffer.addr(), 8, 0).with_user_data(*data));
        }
        session.outcome("reads", ring.submit());
        read
    };
    vec![
        Case::general("register-sync-cancel/use", move |session| {
            let ring = session.ring(16);
            let cancel = |label: &str, addr: u64, fd: i32, flags: u32| {
                let argument = sync_cancel_argument(session, addr, fd, flags);
                session.outcome(label, ring.register(SYNC_CANCEL, argument.addr(), 1));
                std::thread::sleep(std::time::Duration::from_millis(5));
                let _ = ring.enter(0, 0, EnterFlags::GETEVENTS);
                session.cqes(format!("{label}: completions"), &ring.reap_all());
            };
            cancel("none", 1, 0, 0);
            let read = reads(session, &ring, &[1, 2, 3, 3]);
            cancel("one", 1, 0, 0);
            cancel("one again", 1, 0, 0);
            cancel("all of a name", 3, 0, ALL);
            cancel("by fd", 0, read, FD | ALL);
            cancel("by fd again", 0, read, FD | ALL);
            reads(session, &ring, &[4, 5]);
            cancel("any", 0, 0, ANY | ALL);
            cancel("any again", 0, 0, ANY | ALL);
            cancel("bad fd", 0, -1, FD);
            cancel("closed fd", 0, session.closed_fd(), FD);
        }),
        Case::general("register-sync-cancel/arguments", move |session| {
            let ring = session.ring(16);
            let good = sync_cancel_argument(session, 1, 0, 0);
            for count in [0, 2, u32::MAX] {
                session.outcome(format!("count {count}"), ring.register(SYNC_CANCEL, good.addr(), count));
            }
            session.outcome("null", ring.register(SYNC_CANCEL, 0, 1));
            session.outcome("bad address", ring.register(SYNC_CANCEL, session.bad_address(), 1));
            for bit in 0..32 {
                let argument = sync_cancel_argument(session, 1, 0, 1 << bit);
                session.outcome(format!("flags bit {bit}"), ring.register(SYNC_CANCEL, argument.addr(), 1));
            }
            for byte in 33..64 {
                let argument = sync_cancel_argument(session, 1, 0, 0);
                argument.put(byte, 1_u8);
                let outcome = ring.register(SYNC_CANCEL, argument.addr(), 1);
                session.outcome(format!("reserved byte {byte}"), outcome);
            }
            let by_opcode = sync_cancel_argument(session, 1, 0, OP);
            by_opcode.put(32, Opcode::Read.number());
            session.outcome("by opcode", ring.register(SYNC_CANCEL, by_opcode.addr(), 1));
            let limited = session.words(&[1, 0, 0, 1_000_000, 0, 0, 0, 0]);
            session.outcome("with a limit", ring.register(SYNC_CANCEL, limited.addr(), 1));
        }),
    ]
}
