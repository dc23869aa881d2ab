//! CLONE_BUFFERS.

use ringer_abi::{RegisterOpcode, SetupFlags};

use crate::differential::{Case, Ring, Session, prep};

const CLONE: u32 = RegisterOpcode::CloneBuffers.number();
const BUFFERS: u32 = RegisterOpcode::Buffers.number();
const BUFFERS2: u32 = RegisterOpcode::Buffers2.number();
const UNREGISTER: u32 = RegisterOpcode::UnregisterBuffers.number();
const BY_INDEX: u32 = 1;
const REPLACE: u32 = 2;

fn clone(
    session: &Session,
    to: &Ring,
    from: i32,
    flags: u32,
    [source, target, count]: [u32; 3],
    label: &str,
) {
    let words = [from as u32, flags, source, target, count, 0, 0, 0].map(|word| word as i32);
    session.outcome(label, to.register(CLONE, session.ints(&words).addr(), 1));
}

/// Registers buffers of a page each; those that are named are empty.
fn register(session: &Session, ring: &Ring, count: usize, empty: &[usize]) -> u64 {
    let memory = session.memory(4096 * count);
    let vectors: Vec<(u64, u64)> = (0..count)
        .map(|index| {
            let address = memory.addr() + 4096 * index as u64;
            if empty.contains(&index) { (0, 0) } else { (address, 4096) }
        })
        .collect();
    let outcome = ring.register(BUFFERS, session.vectors(&vectors).addr(), count as u32);
    assert_eq!(outcome, Ok(0), "the buffers are good");
    memory.addr()
}

/// Says which of the first slots of a ring hold which page of `memory`.
fn look(session: &Session, ring: &Ring, memory: u64, slots: u16, label: &str) {
    let file = session.file(b"x");
    let mut found = Vec::new();
    for slot in 0..slots {
        let page = (0..8_u64).find(|page| {
            let sqe = prep::op(ringer_abi::Opcode::ReadFixed, file)
                .with_addr(memory + 4096 * page)
                .with_len(1)
                .with_buf_index(slot);
            session.one(ring, sqe.with_user_data(1)).is_some_and(|cqe| cqe.res == 1)
        });
        found.push(page.map_or("-".to_owned(), |page| page.to_string()));
    }
    session.record(label, found.join(" "));
}

/// The cases of this call.
pub fn cases() -> Vec<Case> {
    vec![
        Case::general("register-clone-buffers/ranges", |session| {
            let tries = [
                [0, 0, 0],
                [0, 0, 1],
                [0, 0, 4],
                [0, 0, 5],
                [1, 0, 0],
                [0, 1, 0],
                [1, 0, 3],
                [1, 0, 4],
                [2, 5, 2],
                [0, 16380, 4],
                [0, 16381, 4],
                [0, u32::MAX, 1],
                [u32::MAX, 0, 1],
                [4, 0, 1],
            ];
            for parts in tries {
                for present in [0, 2, 6] {
                    for flags in [0, REPLACE] {
                        session.fresh();
                        let (source, target) = (session.ring(4), session.ring(4));
                        let memory = register(session, &source, 4, &[1]);
                        let own = if present > 0 { register(session, &target, present, &[]) } else { 0 };
                        let label = format!("{parts:?} over {present}, flags {flags}");
                        clone(session, &target, source.fd, flags, parts, &label);
                        if parts[1] < 100 {
                            look(session, &target, memory, 8, &format!("{label}: cloned"));
                            look(session, &target, own, 8, &format!("{label}: own"));
                        }
                        session.outcome(format!("{label}: unregister"), target.register(UNREGISTER, 0, 0));
                    }
                }
            }
        }),
        Case::general("register-clone-buffers/arguments", |session| {
            let (source, target) = (session.ring(4), session.ring(4));
            let none = [0, 0, 0];
            clone(session, &target, source.fd, 0, none, "nothing to clone");
            clone(session, &target, source.fd, REPLACE, none, "nothing to clone, replace");
            let memory = register(session, &source, 2, &[]);
            clone(session, &target, -1, 0, none, "-1");
            clone(session, &target, session.closed_fd(), 0, none, "closed");
            clone(session, &target, session.file(b""), 0, none, "a file");
            clone(session, &target, source.fd, 4, none, "unknown flag");
            clone(session, &target, 0, BY_INDEX, none, "no registered ring");
            clone(session, &target, 99, BY_INDEX, none, "beyond the table");
            for at in 5..8 {
                let mut words = [0; 8];
                words[0] = source.fd;
                words[at] = 1;
                let argument = session.ints(&words);
                session.outcome(format!("padding {at}"), target.register(CLONE, argument.addr(), 1));
            }
            let good = session.ints(&[source.fd, 0, 0, 0, 0, 0, 0, 0]);
            session.outcome("null", target.register(CLONE, 0, 1));
            session.outcome("bad address", target.register(CLONE, session.bad_address(), 1));
            session.outcome("count 0", target.register(CLONE, good.addr(), 0));
            session.outcome("count 2", target.register(CLONE, good.addr(), 2));
            let update = session.words(&[u64::from(u32::MAX), source.fd as u64]);
            let register_ring = RegisterOpcode::RingFds.number();
            session.outcome("register the ring", target.register(register_ring, update.addr(), 1));
            let index = update.get::<i32>(0);
            clone(session, &target, index, BY_INDEX, none, "by index");
            look(session, &target, memory, 4, "by index: cloned");
            clone(session, &target, source.fd, 0, none, "once more");
            clone(session, &target, source.fd, 4, none, "once more, unknown flag");
            // The source may go.
            session.outcome("source unregisters", source.register(UNREGISTER, 0, 0));
            look(session, &target, memory, 4, "afterwards");
        }),
        Case::general("register-clone-buffers/to-itself", |session| {
            for parts in [[0, 0, 0], [0, 1, 2], [1, 0, 2], [0, 4, 1], [0, 2, 3]] {
                let ring = session.ring(4);
                let memory = register(session, &ring, 3, &[]);
                clone(session, &ring, ring.fd, 0, parts, &format!("{parts:?}"));
                clone(session, &ring, ring.fd, REPLACE, parts, &format!("{parts:?} replace"));
                look(session, &ring, memory, 7, &format!("{parts:?}: afterwards"));
            }
        }),
        Case::general("register-clone-buffers/tags-and-owners", |session| {
            let (source, target) = (session.ring(4), session.ring(4));
            let memory = session.memory(4096);
            let vectors = session.vectors(&[(memory.addr(), 4096)]);
            let tags = session.words(&[55]);
            let argument = session.words(&[1, 0, vectors.addr(), tags.addr()]);
            session.outcome("register", source.register(BUFFERS2, argument.addr(), 32));
            clone(session, &target, source.fd, 0, [0, 0, 0], "clone");
            session.outcome("target unregisters", target.register(UNREGISTER, 0, 0));
            session.quiet("no tag in the target", &target);
            session.quiet("none in the source", &source);
            clone(session, &source, source.fd, REPLACE, [0, 0, 0], "over itself");
            session.cqes("the tag", &source.collect_until(std::time::Duration::from_millis(50), |_| false));
            let backend = session.backend();
            let theirs = std::thread::scope(|scope| {
                let make = || unmapped_ring(SetupFlags::SINGLE_ISSUER, backend);
                scope.spawn(make).join().expect("no panic inside")
            });
            clone(session, &target, theirs, 0, [0, 0, 0], "of another thread");
            let _ = backend.close(theirs);
        }),
    ]
}

/// Makes a ring in any thread, without mapping it.
fn unmapped_ring(flags: SetupFlags, backend: &'static dyn crate::differential::backend::Backend) -> i32 {
    let mut params = ringer_abi::Params { flags: flags.bits(), ..ringer_abi::Params::default() };
    backend.setup(4, ringer_sys::UserAddress::of(&raw mut params)).expect("a ring")
}
