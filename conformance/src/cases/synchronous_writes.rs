//! Writes that end on the device: because the file is open so (`O_DSYNC`, `O_SYNC`), or because they ask for it (`RWF_DSYNC`, `RWF_SYNC`).
//! Workers make them. Where they overlap, the later one is the one that is seen.

use ringer_abi::{Opcode, SqeFlags};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};

use super::rw_fixed::register_buffers;
use super::writes_to_one_file::OPCODES;
use crate::differential::{Case, Ring, Session, prep};

const O_DSYNC: OFlags = OFlags::from_bits_retain(0o10000);
const O_SYNC: OFlags = OFlags::from_bits_retain(0o4_010_000);
const RWF_DSYNC: u32 = 0x2;
const RWF_SYNC: u32 = 0x4;
const RWF_NOWAIT: u32 = 0x8;
const RWF_APPEND: u32 = 0x10;
/// "At the file position and move it."
const POSITION: u64 = u64::MAX;

/// How a file is open, and what a write asks for.
const WAYS: [(&str, OFlags, u32); 8] = [
    ("O_DSYNC", O_DSYNC, 0),
    ("O_SYNC", O_SYNC, 0),
    ("RWF_DSYNC", OFlags::empty(), RWF_DSYNC),
    ("RWF_SYNC", OFlags::empty(), RWF_SYNC),
    ("O_DSYNC, RWF_APPEND", O_DSYNC, RWF_APPEND),
    ("O_DSYNC and O_APPEND", O_DSYNC.union(OFlags::APPEND), 0),
    ("O_APPEND, RWF_DSYNC", OFlags::APPEND, RWF_DSYNC),
    ("RWF_DSYNC and RWF_APPEND", OFlags::empty(), RWF_DSYNC | RWF_APPEND),
];

const WRITES: u64 = 24;
const BYTES: u32 = 6;

fn letters(session: &Session, ring: &Ring) -> u64 {
    let memory =
        session.memory_of(&(0..WRITES).flat_map(|i| [b'A' + i as u8; BYTES as usize]).collect::<Vec<_>>());
    register_buffers(session, ring, &[memory]);
    memory.addr()
}

/// Many writes in one submission, to offsets that are so far apart.
fn many(session: &Session, step: u64) {
    for (opcode, prepare) in OPCODES {
        for (way, flags, asks) in WAYS {
            let ring = session.ring(WRITES as u32);
            let file = session.file_with(b"what was there before", OFlags::RDWR | flags);
            let address = letters(session, &ring);
            let sqes: Vec<_> = (0..WRITES)
                .map(|i| {
                    let offset = if step == POSITION { POSITION } else { i * step };
                    let sqe = prepare(session, file, address + i * u64::from(BYTES), BYTES, offset);
                    sqe.with_op_flags(asks).with_user_data(i)
                })
                .collect();
            session.batch(format!("{opcode:?}, {way}"), &ring, &sqes);
            session.bytes(format!("{opcode:?}, {way}: content"), &session.content(file));
        }
    }
}

/// What follows in a chain finds it written.
fn in_a_chain(session: &Session) {
    let ring = session.ring(8);
    let memory = session.memory_of(b"some bytes and room for them");
    for (way, flags, asks) in WAYS {
        let file = session.file_with(b"", OFlags::RDWR | flags);
        let link = SqeFlags::IO_LINK;
        let write =
            |from: u64, offset| prep::write(file, memory.addr() + from, 5, offset).with_op_flags(asks);
        let sqes = [
            write(0, 0).with_flags(link).with_user_data(1),
            prep::op(Opcode::Fsync, file).with_flags(link).with_user_data(2),
            write(5, 5).with_flags(link).with_user_data(3),
            prep::read(file, memory.addr() + 14, 10, 0).with_user_data(4),
        ];
        session.batch_in_order(way, &ring, &sqes, 4);
        session.bytes(format!("{way}: read"), &memory.bytes()[14..24]);
    }
}

/// Writes that fail, at offsets and at the position.
fn refused(session: &Session) {
    let ring = session.ring(8);
    let (memory, edge) = (session.memory_of(b"bytes"), session.edge(4096));
    for (way, flags, asks) in WAYS {
        let read_only = session.file_with(b"content", OFlags::RDONLY | flags);
        let file = session.file_with(b"content", OFlags::RDWR | flags);
        let directory = session.keep(
            open(session.directory(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
                .expect("it is there"),
        );
        for offset in [0, 3, POSITION, 1 << 63] {
            let label = |what| format!("{way}, {offset:x}: {what}");
            let one = |what, fd, address, bytes, asks| {
                let sqe = prep::write(fd, address, bytes, offset).with_op_flags(asks);
                session.one_recorded(label(what), &ring, sqe.with_user_data(1));
            };
            one("read only", read_only, memory.addr(), 5, asks);
            one("a directory", directory, memory.addr(), 5, asks);
            one("closed", -1, memory.addr(), 5, asks);
            one("nothing", file, memory.addr(), 0, asks);
            one("no memory", file, session.bad_address(), 5, asks);
            one("half of it", file, edge.addr() + 4090, 10, asks);
            if offset != 1 << 63 {
                one("must not wait", file, memory.addr(), 5, asks | RWF_NOWAIT);
            }
            one("unknown", file, memory.addr(), 5, asks | 1 << 9);
        }
        session.bytes(format!("{way}: content"), &session.content(file));
    }
}

/// A stream is not written to a device: it is waited for as any.
fn streams(session: &Session) {
    let (memory, read) = (session.memory(1 << 16), session.memory(1 << 16));
    for (way, flags, asks) in WAYS {
        let (path, ring) = (session.new_path(), session.ring(8));
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a new name");
        let fifo = session
            .keep(open(&path, OFlags::RDWR | OFlags::NONBLOCK | flags, Mode::empty()).expect("both sides"));
        for offset in [0, POSITION] {
            let label = |what| format!("{way}, {offset:x}: {what}");
            let write = |bytes| prep::write(fifo, memory.addr(), bytes, offset).with_op_flags(asks);
            session.one_recorded(label("fills it"), &ring, write(1 << 16).with_user_data(1));
            ring.push(write(1).with_user_data(2));
            session.outcome(label("submit"), ring.submit());
            session.quiet(label("waits"), &ring);
            let read = prep::read(fifo, read.addr(), 1 << 16, POSITION);
            ring.push(read.with_user_data(3));
            session.outcome(label("submit the read"), ring.submit());
            session.cqes(label("both"), &ring.collect(2));
            session.one_recorded(label("the rest"), &ring, read.with_user_data(4));
        }
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("synchronous-writes/side-by-side", Opcode::Write, |session| many(session, BYTES.into())),
        Case::new("synchronous-writes/overlapping", Opcode::Write, |session| many(session, 2)),
        Case::new("synchronous-writes/to-one-place", Opcode::Write, |session| many(session, 0)),
        Case::new("synchronous-writes/at-the-position", Opcode::Write, |session| many(session, POSITION)),
        Case::new("synchronous-writes/in-a-chain", Opcode::Write, |session| in_a_chain(session)),
        Case::new("synchronous-writes/refused", Opcode::Write, |session| refused(session)),
        Case::new("synchronous-writes/streams", Opcode::Write, |session| streams(session)),
    ]
}
