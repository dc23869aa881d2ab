//! CLONE_BUFFERS.

use ringer_abi::{RegisterOpcode, SetupFlags};

use crate::cases::rw_fixed::write_fixed;
use crate::differential::memory::Memory;
use crate::differential::{Case, Ring, Session};

const CLONE: u32 = RegisterOpcode::CloneBuffers.number();
const BUFFERS: u32 = RegisterOpcode::Buffers.number();
const BUFFERS2: u32 = RegisterOpcode::Buffers2.number();
const UNREGISTER: u32 = RegisterOpcode::UnregisterBuffers.number();
const RING_FDS: u32 = RegisterOpcode::RingFds.number();
/// `IORING_REGISTER_SRC_REGISTERED`: the source is the index of a registered ring.
const SOURCE_BY_INDEX: u32 = 1;
/// `IORING_REGISTER_DST_REPLACE`: buffers at the destination are replaced.
const REPLACE: u32 = 2;

/// `struct io_uring_clone_buffers`.
fn argument(session: &Session, fd: i32, flags: u32, parts: [u32; 3]) -> Memory {
    let memory = session.memory(32);
    let [source, destination, count] = parts;
    memory.put(0, [fd as u32, flags, source, destination]);
    memory.put(16, [count, 0, 0, 0]);
    memory
}

/// Registers buffers of 16 bytes, full of `a`, `b` and so on. A `.` is an empty slot.
fn register(session: &Session, ring: &Ring, contents: &[u8]) {
    let vectors: Vec<(u64, u64)> = contents
        .iter()
        .map(|byte| match byte {
            b'.' => (0, 0),
            byte => (session.memory_of(&[*byte; 16]).addr(), 16),
        })
        .collect();
    let vectors = session.vectors(&vectors);
    session.outcome("register", ring.register(BUFFERS, vectors.addr(), contents.len() as u32));
}

/// What stands in the slots: each buffer is written to a file where the kernel refuses other addresses.
fn contents(session: &Session, ring: &Ring, label: &str, source: &[Memory]) {
    let file = session.file(b"");
    let mut seen = String::new();
    for slot in 0..8 {
        let mut found = '.';
        for (index, memory) in source.iter().enumerate() {
            let sqe = write_fixed(file, memory.addr(), 16, 0, slot).with_user_data(1);
            if session.one(ring, sqe).is_some_and(|cqe| cqe.res == 16) {
                found = char::from(b'a' + index as u8);
            }
        }
        seen.push(found);
    }
    session.record(label, seen);
}

/// The cases of this call.
pub fn cases() -> Vec<Case> {
    vec![
        Case::general("register-clone-buffers/ranges-in-detail", |session| {
            let memories: Vec<Memory> = (0..4).map(|_| session.memory(16)).collect();
            let vectors: Vec<(u64, u64)> =
                [0, 1, 2, 3].map(|index| (memories[index as usize].addr(), 16)).to_vec();
            let source = session.ring(8);
            let vectors = session.vectors(&vectors);
            session.outcome("register", source.register(BUFFERS, vectors.addr(), 4));
            let ranges = [
                [0, 0, 0],
                [0, 0, 4],
                [0, 0, 2],
                [0, 2, 2],
                [2, 0, 2],
                [2, 1, 1],
                [1, 3, 3],
                [3, 0, 2],
                [4, 0, 1],
                [4, 0, 0],
                [0, 4, 4],
                [0, 5, 0],
                [2, 0, 0],
                [5, 0, 0],
                [0, 0, 5],
                [0, u32::MAX, 2],
                [u32::MAX, 0, 2],
                [0, 0, u32::MAX],
                [0, 16383, 1],
                [0, 16384, 1],
                [0, 16381, 4],
            ];
            for range in ranges {
                for flags in [0, REPLACE] {
                    let empty = session.ring(8);
                    let label = format!("{range:?} flags {flags} into none");
                    let call = argument(session, source.fd, flags, range);
                    session.outcome(&label, empty.register(CLONE, call.addr(), 1));
                    contents(session, &empty, &label, &memories);
                    let full = session.ring(8);
                    let label = format!("{range:?} flags {flags} into three");
                    let reversed: Vec<(u64, u64)> =
                        [3, 2, 1].map(|index: usize| (memories[index].addr(), 16)).to_vec();
                    let reversed = session.vectors(&reversed);
                    let _ = full.register(BUFFERS, reversed.addr(), 3);
                    session.outcome(&label, full.register(CLONE, call.addr(), 1));
                    contents(session, &full, &label, &memories);
                }
            }
        }),
        Case::general("register-clone-buffers/empty-slots", |session| {
            let source = session.ring(8);
            register(session, &source, b".a.b");
            for range in [[0, 0, 0], [0, 0, 1], [0, 0, 2], [2, 0, 1]] {
                let ring = session.ring(8);
                let call = argument(session, source.fd, 0, range);
                session.outcome(format!("{range:?}"), ring.register(CLONE, call.addr(), 1));
                session.outcome(format!("{range:?}: unregister"), ring.register(UNREGISTER, 0, 0));
            }
            let sparse = session.ring(8);
            // Eight empty slots.
            let slots = session.words(&[8 | 1 << 32, 0, 0, 0]);
            session.outcome("sparse", sparse.register(BUFFERS2, slots.addr(), 32));
            let ring = session.ring(8);
            let call = argument(session, sparse.fd, 0, [0, 0, 0]);
            session.outcome("from sparse", ring.register(CLONE, call.addr(), 1));
            for flags in [0, REPLACE] {
                let call = argument(session, source.fd, flags, [0, 0, 0]);
                session.outcome(format!("into sparse, {flags}"), sparse.register(CLONE, call.addr(), 1));
            }
        }),
        Case::general("register-clone-buffers/sources", |session| {
            let source = session.ring(8);
            let ring = session.ring(8);
            let clone = |label: &str, fd: i32, flags: u32| {
                let call = argument(session, fd, flags, [0, 0, 0]);
                session.outcome(label, ring.register(CLONE, call.addr(), 1));
            };
            clone("nothing registered", source.fd, 0);
            for range in [[0, 0, 1], [1, 0, 0], [0, 0, 20000], [0, u32::MAX, 1]] {
                let call = argument(session, source.fd, 0, range);
                session
                    .outcome(format!("nothing registered {range:?}"), ring.register(CLONE, call.addr(), 1));
            }
            register(session, &source, b"ab");
            clone("-1", -1, 0);
            clone("closed", session.closed_fd(), 0);
            clone("a file", session.file(b""), 0);
            clone("itself, nothing registered", ring.fd, 0);
            clone("the descriptor as an index", source.fd, SOURCE_BY_INDEX);
            clone("an empty index", 3, SOURCE_BY_INDEX);
            clone("beyond the table", 16, SOURCE_BY_INDEX);
            let update = session.words(&[u64::from(u32::MAX), source.fd as u64]);
            session.outcome("register the ring", ring.register(RING_FDS, update.addr(), 1));
            let index = update.get::<u32>(0) as i32;
            clone("by index", index, SOURCE_BY_INDEX);
            clone("again", source.fd, 0);
            clone("busy and closed", session.closed_fd(), 0);
            clone("again, replacing", source.fd, REPLACE);
            clone("from itself", ring.fd, 0);
            clone("from itself, replacing", ring.fd, REPLACE);
            let call = argument(session, ring.fd, REPLACE, [0, 1, 2]);
            session.outcome("from itself, moved", ring.register(CLONE, call.addr(), 1));
            session.outcome("unregister the source", source.register(UNREGISTER, 0, 0));
            session.outcome("unregister", ring.register(UNREGISTER, 0, 0));
            let disabled = session.ring_with(8, SetupFlags::R_DISABLED);
            register(session, &disabled, b"ab");
            clone("a disabled ring", disabled.fd, 0);
        }),
        Case::general("register-clone-buffers/arguments-in-detail", |session| {
            let source = session.ring(8);
            register(session, &source, b"ab");
            let ring = session.ring(8);
            let good = argument(session, source.fd, 0, [0, 0, 0]);
            for count in [0, 2, u32::MAX] {
                session.outcome(format!("count {count}"), ring.register(CLONE, good.addr(), count));
            }
            session.outcome("null", ring.register(CLONE, 0, 1));
            session.outcome("bad address", ring.register(CLONE, session.bad_address(), 1));
            for bit in 2..32 {
                let call = argument(session, source.fd, 1 << bit, [0, 0, 0]);
                session.outcome(format!("flags bit {bit}"), ring.register(CLONE, call.addr(), 1));
            }
            for word in 5..8 {
                let call = argument(session, source.fd, 0, [0, 0, 0]);
                call.put(4 * word, 1_u32);
                session.outcome(format!("reserved word {word}"), ring.register(CLONE, call.addr(), 1));
            }
        }),
        Case::general("register-clone-buffers/tags", |session| {
            // A clone has no tag. The tag comes when the last user of the source's own buffer is gone.
            let source = session.ring(8);
            let buffer = session.memory(16);
            let vectors = session.vectors(&[(buffer.addr(), 16)]);
            let tags = session.words(&[77]);
            let tagged = session.words(&[1, 0, vectors.addr(), tags.addr()]);
            session.outcome("register", source.register(BUFFERS2, tagged.addr(), 32));
            let ring = session.ring(8);
            let call = argument(session, source.fd, 0, [0, 0, 0]);
            session.outcome("clone", ring.register(CLONE, call.addr(), 1));
            session.outcome("unregister the clone", ring.register(UNREGISTER, 0, 0));
            session.quiet("no tag at the clone", &ring);
            session.quiet("no tag at the source", &source);
            session.outcome("unregister the source", source.register(UNREGISTER, 0, 0));
            session.cqes("the tag", &source.collect(1));
        }),
        Case::general("register-clone-buffers/outlives-the-source", |session| {
            let mut source = session.ring(8);
            let buffer = session.memory_of(b"0123456789abcdef");
            let vectors = session.vectors(&[(buffer.addr(), 16)]);
            session.outcome("register", source.register(BUFFERS, vectors.addr(), 1));
            let ring = session.ring(8);
            let call = argument(session, source.fd, 0, [0, 0, 0]);
            session.outcome("clone", ring.register(CLONE, call.addr(), 1));
            session.outcome("close", source.close().map(|()| 0_i32));
            let file = session.file(b"");
            let write = write_fixed(file, buffer.addr(), 16, 0, 0);
            session.one_recorded("write from the clone", &ring, write);
        }),
    ]
}
