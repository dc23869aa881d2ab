//! Rings of other kinds: CQEs of both sizes, the program's own memory, no descriptor, IOPOLL.

use ringer_abi::{EnterFlags, Params, RegisterOpcode, SetupFlags, Sqe, SqeFlags};
use ringer_sys::{UserAddress, native};

use crate::differential::errno::outcome_name;
use crate::differential::kinds::KINDS;
use crate::differential::memory::PAGE;
use crate::differential::{Case, Ring, Session, prep};

/// `IORING_REGISTER_USE_REGISTERED_RING`: the descriptor is an index of a registered ring.
const USE_REGISTERED_RING: u32 = 1 << 31;
/// `IORING_NOP_CQE32`: completes with a CQE of 32 bytes.
const BIG_CQE: u32 = 1 << 5;
const MIXED: SetupFlags = SetupFlags::CQE_MIXED;
const NO_MMAP: SetupFlags = SetupFlags::NO_MMAP;
const INDEX_ONLY: SetupFlags = NO_MMAP.union(SetupFlags::REGISTERED_FD_ONLY);
const GETEVENTS: EnterFlags = EnterFlags::GETEVENTS;

/// The cases of these rings.
pub fn cases() -> Vec<Case> {
    let mut cases = mixed();
    cases.extend(program_memory());
    cases.extend(index_only());
    cases
}

/// A NOP with a CQE of 32 bytes.
fn big(data: u64) -> Sqe {
    prep::nop().with_op_flags(BIG_CQE).with_user_data(data).with_off(data << 8).with_addr(data << 16)
}

fn small(data: u64) -> Sqe {
    prep::nop().with_user_data(data)
}

fn mixed_ring(session: &Session, entries: u32, cq_entries: u32) -> Ring {
    let flags = MIXED | SetupFlags::CQSIZE;
    let params = Params { flags: flags.bits(), cq_entries, ..Params::default() };
    session.try_ring(entries, params).expect("a ring")
}

/// Records the positions of the CQ.
fn positions(session: &Session, ring: &Ring, label: &str) {
    let cq = ring.params.cq_off;
    let words = [cq.head, cq.tail, cq.overflow].map(|offset| ring.read_word(offset));
    session.record(format!("{label}: head, tail, overflow"), format!("{words:?}"));
    session.record(format!("{label}: SQ flags"), ring.sq_flags());
}

fn mixed() -> Vec<Case> {
    vec![
        Case::general("mixed-cqes/both-sizes", |session| {
            let ring = mixed_ring(session, 8, 8);
            session.batch_in_order("three", &ring, &[small(1), big(2), big(3)], 3);
            positions(session, &ring, "three");
            session.batch_in_order("over the end", &ring, &[small(4), small(5), big(6), small(7)], 5);
            positions(session, &ring, "over the end");
        }),
        Case::general("mixed-cqes/overflow", |session| {
            for reaped in 0..8 {
                // Some that fit and some that do not, from every position. Only big ones after the first that does not: Linux 6.18
                // lets small ones overtake it, and writes them beyond the CQ's size.
                let ring = mixed_ring(session, 4, 4);
                for data in 0..reaped {
                    ring.push(small(100 + data));
                    let _ = ring.submit();
                    ring.reap_all();
                }
                ring.push_all(&[small(1), big(2), big(3)]);
                session.outcome(format!("{reaped}: submit"), ring.submit());
                ring.push_all(&[big(4), big(5)]);
                session.outcome(format!("{reaped}: submit more"), ring.submit());
                for round in 0..4 {
                    positions(session, &ring, &format!("{reaped}, round {round}"));
                    session.cqes_in_order(format!("{reaped}, round {round}"), &ring.reap_all());
                    session.outcome(format!("{reaped}: enter {round}"), ring.enter(0, 0, GETEVENTS));
                }
            }
        }),
        Case::general("mixed-cqes/one-slot-at-a-time", |session| {
            // The program frees one entry after the other.
            let ring = mixed_ring(session, 4, 4);
            for sqes in [&[small(1), small(2), small(3)][..], &[big(4), big(5)]] {
                ring.push_all(sqes);
                session.outcome("submit", ring.submit());
            }
            for round in 0..12 {
                positions(session, &ring, &format!("round {round}"));
                let one: Vec<_> = ring.reap().into_iter().collect();
                session.cqes_in_order(format!("round {round}"), &one);
                session.outcome(format!("enter {round}"), ring.enter(0, 0, GETEVENTS));
            }
        }),
        Case::general("mixed-cqes/smallest", |session| {
            for cq_entries in [1, 2, 3] {
                let flags = MIXED | SetupFlags::CQSIZE;
                let params = Params { flags: flags.bits(), cq_entries, ..Params::default() };
                match session.try_ring(1, params) {
                    Err(errno) => session.outcome::<i32>(format!("{cq_entries}"), Err(errno)),
                    Ok(ring) => {
                        session.batch_in_order(format!("{cq_entries}: big"), &ring, &[big(1)], 1);
                        session.batch_in_order(format!("{cq_entries}: small"), &ring, &[small(2)], 1);
                        session.batch_in_order(format!("{cq_entries}: filler"), &ring, &[big(3)], 2);
                        positions(session, &ring, &format!("{cq_entries}"));
                    }
                }
            }
        }),
        Case::general("mixed-cqes/waiting-counts-entries", |session| {
            let ring = mixed_ring(session, 8, 16);
            ring.push(big(1));
            session.outcome("wait for two", ring.enter(1, 2, GETEVENTS));
            session.cqes_in_order("completions", &ring.reap_all());
        }),
        Case::general("mixed-cqes/nop-cqe32", |session| {
            for flags in [SetupFlags::empty(), SetupFlags::CQE32, MIXED] {
                let ring = session.ring_with(8, flags);
                session.one_recorded(format!("{flags:?}: big"), &ring, big(1));
                let inject = big(2).with_op_flags(BIG_CQE | 1).with_len(77);
                session.one_recorded(format!("{flags:?}: injected result"), &ring, inject);
                let bad_file = big(3).with_op_flags(BIG_CQE | 2);
                session.one_recorded(format!("{flags:?}: bad file"), &ring, bad_file);
                let skipped = big(4).with_flags(SqeFlags::CQE_SKIP_SUCCESS);
                session.batch_of(format!("{flags:?}: skipped"), &ring, &[skipped, small(5)], 1);
                let chain = [inject.with_len(-5_i32 as u32).with_flags(SqeFlags::IO_LINK), small(6)];
                // With 32-byte CQEs only, the kernel posts a second half of some earlier request here.
                if flags != SetupFlags::CQE32 {
                    session.batch_in_order(format!("{flags:?}: broken chain"), &ring, &chain, 2);
                }
                let asynchronous = big(7).with_flags(SqeFlags::ASYNC);
                session.one_recorded(format!("{flags:?}: asynchronous"), &ring, asynchronous);
                let task_work = big(8).with_op_flags(BIG_CQE | 1 << 4);
                session.one_recorded(format!("{flags:?}: task work"), &ring, task_work);
            }
        }),
        Case::general("polled-completion/files", |session| {
            for (label, kind) in KINDS {
                let (ring, buffer) = (session.ring_with(8, SetupFlags::IOPOLL), session.memory(16));
                let fd = kind(session, &ring);
                session.one_recorded(format!("{label}: read"), &ring, prep::read(fd, buffer.addr(), 16, 0));
                session.one_recorded(format!("{label}: write"), &ring, prep::write(fd, buffer.addr(), 16, 0));
                session.fresh();
            }
        }),
        Case::general("mixed-cqes/deferred", |session| {
            let flags = MIXED | SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN;
            let ring = session.ring_with(8, flags);
            let asynchronous = big(1).with_flags(SqeFlags::ASYNC);
            session.batch("completions", &ring, &[asynchronous, small(2), big(3)]);
        }),
    ]
}

/// A ring in memory that starts here; 0: nowhere.
fn attempt(session: &Session, label: &str, rings: u64, sqes: u64) {
    let place = session.memory(size_of::<Params>());
    let mut params = Params { flags: NO_MMAP.bits(), ..Params::default() };
    params.cq_off.user_addr = rings;
    params.sq_off.user_addr = sqes;
    place.put(0, params);
    let backend = session.backend();
    match backend.setup(8, place.user()) {
        Err(errno) => session.outcome::<i32>(label, Err(errno)),
        Ok(fd) => {
            let after: Params = place.get(0);
            let same = after.cq_off.user_addr == rings && after.sq_off.user_addr == sqes;
            let map = backend.map(fd, PAGE, 0).map(|_| 0);
            let map_sqes = backend.map(fd, 512, ringer_abi::OFF_SQES).map(|_| 0);
            let closed = backend.close(fd).map(|()| 0);
            let outcomes = [map, map_sqes, closed].map(outcome_name::<i32>);
            session.record(label, format!("addresses kept {same}, map, map SQEs, close {outcomes:?}"));
        }
    }
}

/// Serves a batch, with a request that waits.
fn serve(session: &Session, ring: &Ring, label: &str) {
    let (read, write) = session.pipe();
    let buffer = session.memory(8);
    ring.push_all(&[prep::read(read, buffer.addr(), 8, u64::MAX).with_user_data(1), small(2)]);
    session.outcome(format!("{label}: submit"), ring.submit());
    ring.push(prep::write(write, session.memory_of(b"abc").addr(), 3, u64::MAX).with_user_data(3));
    session.outcome(format!("{label}: submit more"), ring.submit());
    session.cqes(format!("{label}: completions"), &ring.collect(3));
    session.bytes(format!("{label}: read"), &buffer.bytes());
}

fn program_memory() -> Vec<Case> {
    vec![
        Case::general("no-mmap/addresses", |session| {
            let rings = session.memory(2 * PAGE).addr();
            let sqes = session.memory(2 * PAGE).addr();
            let page = PAGE as u64;
            attempt(session, "good", rings, sqes);
            attempt(session, "no rings", 0, sqes);
            attempt(session, "no SQEs", rings, 0);
            attempt(session, "neither", 0, 0);
            for offset in [1, 8, 64, 2048, page - 1] {
                attempt(session, &format!("rings off by {offset}"), rings + offset, sqes);
                attempt(session, &format!("SQEs off by {offset}"), rings, sqes + offset);
            }
            let bad = session.bad_address() & !(page - 1);
            attempt(session, "rings not mapped", bad, sqes);
            attempt(session, "SQEs not mapped", rings, bad);
            attempt(session, "both in the kernel", 1 << 63, 1 << 63);
            attempt(session, "at the end of all memory", u64::MAX - page + 1, sqes);
            let read_only = session.memory(PAGE);
            native::protect(read_only.user(), PAGE, 1).expect("a page of the arena");
            attempt(session, "rings cannot be written", read_only.addr(), sqes);
            attempt(session, "SQEs cannot be written", rings, read_only.addr());
        }),
        Case::general("no-mmap/addresses-without-the-flag", |session| {
            let mut params = Params::default();
            params.cq_off.user_addr = 1;
            params.sq_off.user_addr = session.bad_address();
            let ring = session.try_ring(8, params).expect("a ring");
            session.record("addresses", format!("{:?} {:?}", ring.params.sq_off, ring.params.cq_off));
        }),
        Case::general("no-mmap/use", |session| {
            let kinds = [
                SetupFlags::empty(),
                SetupFlags::SQE128,
                SetupFlags::CQE32,
                MIXED,
                SetupFlags::NO_SQARRAY,
                SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN,
                SetupFlags::SQPOLL,
            ];
            for kind in kinds {
                let ring = session.ring_with(8, NO_MMAP | kind);
                serve(session, &ring, &format!("{kind:?}"));
            }
        }),
        Case::general("no-mmap/contents-before", |session| {
            // The words are cleared.
            let (rings, sqes) = (session.memory(2 * PAGE), session.memory(2 * PAGE));
            rings.fill(&[0xab; PAGE]);
            sqes.fill(&[0xcd; PAGE]);
            let mut params = Params { flags: NO_MMAP.bits(), ..Params::default() };
            params.cq_off.user_addr = rings.addr();
            params.sq_off.user_addr = sqes.addr();
            let place = session.memory(size_of::<Params>());
            place.put(0, params);
            let fd = session.backend().setup(8, place.user()).expect("a ring");
            session.bytes("words", &rings.bytes()[..64]);
            let _ = session.backend().close(fd);
        }),
        Case::general("no-mmap/unmapped-before-close", |session| {
            let rings = native::map_anonymous(2 * PAGE).expect("two pages");
            let mut params = Params { flags: NO_MMAP.bits(), ..Params::default() };
            params.cq_off.user_addr = rings.get();
            params.sq_off.user_addr = rings.get() + PAGE as u64;
            let place = session.memory(size_of::<Params>());
            place.put(0, params);
            let fd = session.backend().setup(8, place.user()).expect("a ring");
            native::unmap(rings, 2 * PAGE).expect("mapped above");
            session.outcome("close", session.backend().close(fd).map(|()| 0_i32));
        }),
    ]
}

fn index_only() -> Vec<Case> {
    vec![
        Case::general("registered-fd-only/use", |session| {
            for kind in [SetupFlags::empty(), SetupFlags::SQPOLL, SetupFlags::R_DISABLED] {
                let mut ring = session.ring_with(8, INDEX_ONLY | kind);
                session.record(format!("{kind:?}: index"), ring.fd);
                if kind.contains(SetupFlags::R_DISABLED) {
                    let enable = RegisterOpcode::EnableRings.number();
                    session.outcome(format!("{kind:?}: enable"), ring.register(enable, 0, 0));
                }
                serve(session, &ring, &format!("{kind:?}"));
                let backend = session.backend();
                session.outcome(
                    format!("{kind:?}: as a descriptor"),
                    backend.enter(session.closed_fd(), 0, 0, 0, UserAddress::new(0), 0),
                );
                session.outcome(format!("{kind:?}: close"), ring.close().map(|()| 0_i32));
                session.outcome(format!("{kind:?}: afterwards"), ring.enter(0, 0, GETEVENTS));
            }
        }),
        Case::general("registered-fd-only/full", |session| {
            let rings: Vec<_> = (0..17)
                .map(|round| {
                    let params = Params { flags: INDEX_ONLY.bits(), ..Params::default() };
                    let ring = session.try_ring(8, params);
                    let outcome = ring.as_ref().map(|ring| ring.fd).map_err(|errno| *errno);
                    session.outcome(format!("round {round}"), outcome);
                    ring
                })
                .collect();
            session.record("made", rings.iter().filter(|ring| ring.is_ok()).count());
        }),
        Case::general("registered-fd-only/closing-cancels", |session| {
            let mut ring = session.ring_with(8, INDEX_ONLY);
            let (read, write) = session.pipe();
            ring.push(prep::read(read, session.memory(8).addr(), 8, u64::MAX));
            session.outcome("submit", ring.submit());
            session.outcome("close", ring.close().map(|()| 0_i32));
            std::thread::sleep(std::time::Duration::from_millis(20));
            session.with_kept(write, |write| {
                let written = rustix::io::write(write, b"abc");
                session.record("write", format!("{written:?}"));
            });
            session.with_kept(read, |read| {
                let count = rustix::io::ioctl_fionread(read);
                session.record("left in the pipe", format!("{count:?}"));
            });
        }),
        Case::general("register-ring-fds/keep-a-ring-open", |session| {
            // A ring lives as long as it is registered, whatever becomes of its descriptor.
            let mut ring = session.ring(8);
            let update = session.words(&[u64::from(u32::MAX), ring.fd as u64]);
            let opcode = RegisterOpcode::RingFds.number();
            session.outcome("register", ring.register(opcode, update.addr(), 1));
            let index = update.get::<u32>(0) as i32;
            let (read, write) = session.pipe();
            let buffer = session.memory(8);
            ring.push(prep::read(read, buffer.addr(), 8, u64::MAX).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.outcome("close", ring.close().map(|()| 0_i32));
            let _ = session.with_kept(write, |write| rustix::io::write(write, b"abc"));
            ring.push(small(2));
            let flags = EnterFlags::REGISTERED_RING | GETEVENTS;
            let enter = session.backend().enter(index, 1, 2, flags.bits(), UserAddress::new(0), 0);
            session.outcome("enter by index", enter);
            session.cqes("completions", &ring.reap_all());
            let update = session.words(&[index as u64, 0]);
            let opcode = RegisterOpcode::UnregisterRingFds.number() | USE_REGISTERED_RING;
            session.outcome("unregister by itself", session.register(index, opcode, update.addr(), 1));
            let enter = session.backend().enter(index, 0, 0, flags.bits(), UserAddress::new(0), 0);
            session.outcome("enter after that", enter);
        }),
    ]
}
