//! Writes to one file that workers make: one after the other, in the order of the submission. Those that the program wants from workers
//! (`IOSQE_ASYNC`) are made side by side, and mostly in that order, too.

use ringer_abi::{Opcode, Sqe, SqeFlags};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::open_close::sparse_files;
use super::rw_fixed::{register_buffers, write_fixed};
use crate::differential::{Case, Session, prep};

/// Prepares a write of so many bytes at an address, to an offset.
type Prepare = fn(&Session, i32, u64, u32, u64) -> Sqe;

/// Ways to write that are the same but for the opcode.
pub(super) const OPCODES: [(Opcode, Prepare); 3] = [
    (Opcode::Write, |_, file, address, bytes, offset| prep::write(file, address, bytes, offset)),
    (Opcode::Writev, |session, file, address, bytes, offset| {
        let vector = session.vectors(&[(address, bytes.into())]);
        prep::op(Opcode::Writev, file).with_addr(vector.addr()).with_len(1).with_off(offset)
    }),
    (Opcode::WriteFixed, |_, file, address, bytes, offset| write_fixed(file, address, bytes, offset, 0)),
];

const WRITES: u64 = 48;
/// The first write is so long that what follows is there before it is done.
const VECTORS: usize = 256;
const PART: usize = 4096;

/// The first write, to the beginning.
fn long_write(session: &Session, file: i32) -> Sqe {
    let part = session.memory_of(&[b'-'; PART]);
    let vectors = session.vectors(&[(part.addr(), PART as u64); VECTORS]);
    prep::op(Opcode::Writev, file).with_addr(vectors.addr()).with_len(VECTORS as u32)
}

/// Plays with and without `IOSQE_ASYNC`. What is played makes rings of its own: while the size of files is limited, the engine leaves every write
/// to a worker, as Linux does on most file systems. No write reaches the limit.
fn on_workers(session: &Session, play: impl Fn(&str, SqeFlags)) {
    let before = getrlimit(Resource::Fsize);
    let limit = Rlimit { current: Some(1 << 30), maximum: before.maximum };
    setrlimit(Resource::Fsize, limit).expect("it was larger");
    for flags in [SqeFlags::empty(), SqeFlags::ASYNC] {
        play(&format!("{flags:?}"), flags);
    }
    session.outcome("limit", setrlimit(Resource::Fsize, before).map(|()| 0));
}

/// Two descriptors of one new file, each opened by itself.
fn opened_twice(session: &Session, flags: OFlags) -> [i32; 2] {
    let path = session.file_path(b"");
    [(); 2].map(|()| {
        let file = open(&path, OFlags::RDWR | OFlags::CLOEXEC | flags, Mode::empty());
        // The fixture has just made it.
        session.keep(file.expect("a file"))
    })
}

/// Appends many short pieces behind a long one.
fn appends(session: &Session, label: &str, flags: SqeFlags, prepare: Prepare) {
    let ring = session.ring(64);
    let files = opened_twice(session, OFlags::APPEND);
    let bytes = session.memory_of(&(0..WRITES).flat_map(|piece| [b'A' + piece as u8; 3]).collect::<Vec<_>>());
    register_buffers(session, &ring, &[bytes]);
    let mut sqes = vec![long_write(session, files[0])];
    for piece in 0..WRITES {
        let sqe = prepare(session, files[piece as usize % 2], bytes.addr() + 3 * piece, 3, 0);
        sqes.push(sqe.with_user_data(1 + piece));
    }
    let sqes: Vec<_> = sqes.iter().map(|sqe| sqe.with_flags(sqe.flags() | flags)).collect();
    session.batch(label, &ring, &sqes);
    let content = session.content(files[0]);
    session.record(format!("{label}: bytes"), content.len());
    let pieces: Vec<_> = content.iter().copied().filter(|byte| *byte != b'-').collect();
    let mut pieces: Vec<_> = pieces.chunks(3).collect();
    if flags.contains(SqeFlags::ASYNC) {
        pieces.sort();
    }
    session.bytes(format!("{label}: pieces"), &pieces.concat());
}

/// What a chain does behind its write waits for what another one does behind its own: in a call, which ends when a FIFO is opened from the other
/// side, too.
fn chains(session: &Session, label: &str, flags: SqeFlags) {
    let ring = session.ring(8);
    sparse_files(session, &ring, 2);
    let files = opened_twice(session, OFlags::empty());
    let fifo = session.new_path();
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a new name");
    let (memory, path) = (session.memory_of(b"some bytes to write"), session.path(&fifo));
    let open = |access: OFlags, slot| {
        let open = prep::op(Opcode::Openat, -1).with_addr(path.addr()).with_op_flags(access.bits());
        open.with_file_index(slot).with_flags(SqeFlags::ASYNC)
    };
    let sqes = [
        prep::write(files[0], memory.addr(), 4, 0).with_user_data(1).with_flags(flags),
        prep::write(files[0], memory.addr(), 5, 4).with_flags(SqeFlags::IO_LINK | flags).with_user_data(2),
        open(OFlags::RDONLY, 1).with_user_data(3),
        prep::write(files[1], memory.addr() + 5, 6, 9)
            .with_flags(SqeFlags::IO_LINK | flags)
            .with_user_data(4),
        open(OFlags::WRONLY, 2).with_user_data(5),
    ];
    session.batch(label, &ring, &sqes);
    session.bytes(format!("{label}: content"), &session.content(files[0]));
}

/// What a write held back waits, and another ring writes to the file.
fn held_back(session: &Session, label: &str, flags: SqeFlags) {
    let (ring, other) = (session.ring(8), session.ring(8));
    let [file, again] = opened_twice(session, OFlags::empty());
    let (memory, (read, write)) = (session.memory_of(b"some bytes to write"), session.pipe());
    ring.push(prep::write(file, memory.addr(), 4, 0).with_flags(flags).with_user_data(1));
    let drained = SqeFlags::IO_DRAIN | flags;
    ring.push(prep::read(read, memory.addr(), 3, u64::MAX).with_flags(drained).with_user_data(2));
    session.outcome(format!("{label}: submit"), ring.submit());
    session.cqes(format!("{label}: the first"), &ring.collect(1));
    let sqe = prep::write(again, memory.addr(), 4, 4).with_flags(flags);
    session.one_recorded(format!("{label}: another write"), &other, sqe);
    session.write_fd(write, b"now");
    session.cqes(format!("{label}: the read"), &ring.collect(1));
    session.bytes(format!("{label}: content"), &session.content(file));
}

/// One of many is cancelled. Whether it has begun by then is a matter of time; that what is told of it is true is not.
fn cancelled(session: &Session, label: &str, flags: SqeFlags) {
    let ring = session.ring(64);
    let [file, again] = opened_twice(session, OFlags::APPEND);
    let pieces = session.memory_of(b"abcdefgh");
    ring.push(long_write(session, file).with_flags(flags));
    for piece in 0..8 {
        let sqe = prep::write(again, pieces.addr() + piece, 1, 0).with_user_data(1 + piece);
        ring.push(sqe.with_flags(flags));
    }
    ring.push(prep::op(Opcode::AsyncCancel, -1).with_addr(5).with_user_data(20));
    session.outcome(format!("{label}: submit"), ring.submit());
    let cqes = ring.collect(10);
    let of = |user_data| cqes.iter().find(|cqe| cqe.user_data == user_data).map(|cqe| cqe.res);
    let content = session.content(file);
    session.record(format!("{label}: as told"), (of(5) == Some(1)) == content.contains(&b'e'));
    let others: Vec<_> = cqes.iter().filter(|cqe| ![5, 20].contains(&cqe.user_data)).copied().collect();
    session.cqes(format!("{label}: others"), &others);
    let mut without: Vec<_> = content.into_iter().filter(|byte| !b"-e".contains(byte)).collect();
    without.sort();
    session.bytes(format!("{label}: content"), &without);
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("writes-to-one-file/append", Opcode::Write, |session| {
            on_workers(session, |label, flags| {
                for (opcode, prepare) in OPCODES {
                    appends(session, &format!("{opcode:?}, {label}"), flags, prepare);
                }
            });
        }),
        Case::new("writes-to-one-file/what-follows-in-a-chain-may-wait", Opcode::Write, |session| {
            on_workers(session, |label, flags| chains(session, label, flags));
        }),
        Case::new("writes-to-one-file/what-was-held-back-may-wait", Opcode::Write, |session| {
            on_workers(session, |label, flags| held_back(session, label, flags));
        }),
        Case::new("writes-to-one-file/cancelled-while-it-waits", Opcode::Write, |session| {
            on_workers(session, |label, flags| cancelled(session, label, flags));
        }),
    ]
}
