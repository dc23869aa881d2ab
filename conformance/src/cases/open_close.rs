//! OPENAT, OPENAT2 and CLOSE.

use ringer_abi::{Opcode, RegisterOpcode, SetupFlags, Sqe, SqeFlags, uapi};
use ringer_sys::call;

use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::memory::Memory;
use crate::differential::{Case, Ring, Session, prep};

const AT_FDCWD: i32 = -100;
const O_WRONLY: u32 = 0o1;
const O_RDWR: u32 = 0o2;
const O_CREAT: u32 = 0o100;
const O_EXCL: u32 = 0o200;
const O_TRUNC: u32 = 0o1000;
const O_DIRECTORY: u32 = 0o200_000;
const O_CLOEXEC: u32 = 0o2_000_000;
const O_PATH: u32 = 0o10_000_000;
const O_TMPFILE: u32 = 0o20_200_000;

/// OPENAT: the mode stands in `len`.
fn openat(directory: i32, path: u64, flags: u32, mode: u32) -> Sqe {
    prep::op(Opcode::Openat, directory).with_addr(path).with_op_flags(flags).with_len(mode)
}

/// OPENAT2: `struct open_how` stands in `off`, its size in `len`.
fn openat2(directory: i32, path: u64, how: &Memory) -> Sqe {
    prep::op(Opcode::Openat2, directory).with_addr(path).with_off(how.addr()).with_len(how.len() as u32)
}

fn how(session: &Session, flags: u64, mode: u64, resolve: u64) -> Memory {
    session.words(&[flags, mode, resolve])
}

fn close(fd: i32) -> Sqe {
    prep::op(Opcode::Close, fd)
}

const OPENAT: Exemplar = Exemplar::new(
    "openat",
    Opcode::Openat,
    FdRole::Directory,
    &[Field::Addr, Field::Len, Field::OpFlags, Field::FileIndex],
    &[Field::Addr],
    |session, _| {
        let (directory, path) = (session.directory_fd(), session.new_path());
        std::fs::write(&path, b"here").expect("a fixture of the case");
        let name = session.path(path.file_name().expect("a name"));
        Good::new(openat(directory, name.addr(), O_RDWR | O_CLOEXEC, 0))
    },
);

const OPENAT2: Exemplar = Exemplar::new(
    "openat2",
    Opcode::Openat2,
    FdRole::Directory,
    &[Field::Off, Field::Addr, Field::Len, Field::FileIndex],
    &[Field::Off, Field::Addr],
    |session, _| {
        let (directory, path) = (session.directory_fd(), session.new_path());
        std::fs::write(&path, b"here").expect("a fixture of the case");
        let name = session.path(path.file_name().expect("a name"));
        Good::new(openat2(directory, name.addr(), &how(session, u64::from(O_RDWR | O_CLOEXEC), 0, 0)))
    },
);

const CLOSE: Exemplar =
    Exemplar::new("close", Opcode::Close, FdRole::Ignored, &[Field::FileIndex], &[], |session, _| {
        let file = session.file(b"to be closed");
        session.forget(file);
        Good::new(close(file)).observe(move |session| {
            // The number is free, or the request was refused and it is closed here.
            session.outcome("closed again", call::close(file).map(|value| value as i64));
        })
    });

fn numbered_close((fd, number): (i32, u64)) -> Sqe {
    close(fd).with_user_data(number)
}

/// Submits an open and records its result without the number; returns the descriptor, kept by nobody.
fn opened(session: &Session, ring: &Ring, label: &str, sqe: Sqe) -> Option<i32> {
    ring.push(sqe.with_user_data(1));
    session.outcome(format!("{label}: submit"), ring.submit());
    let result = ring.collect(1).first().map_or(-1, |cqe| cqe.res);
    if result >= 0 {
        session.record(label, "a descriptor");
        Some(result)
    } else {
        session.outcome(label, Ok(i64::from(result)));
        None
    }
}

/// What kind of descriptor came of it, then closes it.
fn inspect(session: &Session, label: &str, fd: Option<i32>) {
    const F_GETFD: u32 = 1;
    const F_GETFL: u32 = 3;
    let Some(fd) = fd else { return };
    let flags = |command| call::fcntl(fd, command, 0).map(|value| value as i64);
    session.outcome(format!("{label}: F_GETFD"), flags(F_GETFD));
    session.outcome(format!("{label}: F_GETFL"), flags(F_GETFL));
    session.outcome(format!("{label}: close"), call::close(fd).map(|value| value as i64));
}

pub(super) fn sparse_files(session: &Session, ring: &Ring, slots: usize) {
    let table = session.ints(&vec![-1; slots]);
    let outcome = ring.register(RegisterOpcode::Files.number(), table.addr(), slots as u32);
    session.outcome("register files", outcome);
}

/// The cases of OPENAT, OPENAT2 and CLOSE.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> =
        [OPENAT.yielding_fd(), OPENAT2.yielding_fd(), CLOSE].into_iter().flat_map(Exemplar::cases).collect();
    cases.extend(opening());
    cases.extend(into_slots());
    cases.extend(closing());
    cases
}

fn opening() -> Vec<Case> {
    vec![
        Case::new("openat/flags", Opcode::Openat, |session| {
            let ring = session.ring(8);
            let existing = session.path(session.file_path(b"content"));
            let directory = session.path(session.directory());
            let flags = [
                ("read only", 0),
                ("close-on-exec", O_CLOEXEC),
                ("write only", O_WRONLY),
                ("both", O_RDWR),
                ("access mode 3", 3),
                ("create existing", O_CREAT | O_RDWR),
                ("create exclusively", O_CREAT | O_EXCL | O_RDWR),
                ("as a directory", O_DIRECTORY),
                ("path only", O_PATH),
                ("unknown flag", 0x4000_0000),
                ("create a directory", O_CREAT | O_DIRECTORY),
                ("temporary file", O_TMPFILE | O_RDWR),
                ("temporary file read only", O_TMPFILE),
            ];
            for (label, flags) in flags {
                for (place, path) in [("file", &existing), ("directory", &directory)] {
                    let label = format!("{label}, {place}");
                    let fd = opened(session, &ring, &label, openat(AT_FDCWD, path.addr(), flags, 0o600));
                    inspect(session, &label, fd);
                }
            }
            let path = session.file_path(b"content");
            let name = session.path(&path);
            inspect(
                session,
                "truncate",
                opened(session, &ring, "truncate", openat(AT_FDCWD, name.addr(), O_TRUNC | O_RDWR, 0)),
            );
            session.record("length", std::fs::metadata(path).map_or(0, |meta| meta.len()));
        }),
        Case::new("openat/create", Opcode::Openat, |session| {
            use std::os::unix::fs::PermissionsExt;
            let ring = session.ring(8);
            for mode in [0, 0o600, 0o777, 0o4755, 0o100_600, u32::MAX] {
                let path = session.new_path();
                let name = session.path(&path);
                let label = format!("mode {mode:o}");
                inspect(
                    session,
                    &label,
                    opened(session, &ring, &label, openat(AT_FDCWD, name.addr(), O_CREAT | O_RDWR, mode)),
                );
                let mode = std::fs::metadata(&path).map_or(0, |meta| meta.permissions().mode());
                session.record(format!("{label}: permissions"), format!("{mode:o}"));
            }
        }),
        Case::new("openat/paths", Opcode::Openat, |session| {
            let ring = session.ring(8);
            let long = "a".repeat(256);
            let very_long = "a/".repeat(2500);
            let directory = session.directory_fd();
            for path in
                ["", ".", "..", "/", "missing", "missing/file", "/dev/null", "/dev/null/x", &long, &very_long]
            {
                let name = session.path(path);
                let label = format!("{:.20}", path);
                inspect(
                    session,
                    &label,
                    opened(session, &ring, &label, openat(directory, name.addr(), 0, 0)),
                );
            }
            let edge = session.edge(4);
            edge.fill(b"abcd");
            opened(session, &ring, "runs off the edge", openat(directory, edge.addr(), 0, 0));
            std::os::unix::fs::symlink("loop", session.directory().join("loop"))
                .expect("a fixture of the case");
            let name = session.path("loop");
            opened(session, &ring, "a loop", openat(directory, name.addr(), 0, 0));
        }),
        Case::new("openat2/how", Opcode::Openat2, |session| {
            let ring = session.ring(8);
            let (directory, path) = (session.directory_fd(), session.file_path(b"x"));
            let name = session.path(path.file_name().expect("a name"));
            let absolute = session.path(&path);
            let read_write = u64::from(O_RDWR);
            for (flags, mode, resolve) in [
                (0, 0, 0),
                (read_write | u64::from(O_CLOEXEC), 0, 0),
                (read_write, 0o600, 0),
                (read_write | u64::from(O_CREAT), 0o600, 0),
                (read_write | u64::from(O_CREAT), 0o100_600, 0),
                (1 << 40, 0, 0),
                (0x4000_0000, 0, 0),
                (u64::MAX, 0, 0),
                (0, 0, 1 << 7),
            ] {
                let label = format!("flags {flags:#x} mode {mode:o} resolve {resolve:#x}");
                let how = how(session, flags, mode, resolve);
                inspect(
                    session,
                    &label,
                    opened(session, &ring, &label, openat2(directory, name.addr(), &how)),
                );
            }
            for resolve in (0..7).map(|bit| 1 << bit) {
                for (place, path) in [("relative", &name), ("absolute", &absolute)] {
                    let label = format!("resolve {resolve:#x}, {place}");
                    let how = how(session, 0, 0, resolve);
                    inspect(
                        session,
                        &label,
                        opened(session, &ring, &label, openat2(directory, path.addr(), &how)),
                    );
                }
            }
        }),
        Case::new("openat2/sizes", Opcode::Openat2, |session| {
            let ring = session.ring(8);
            let name = session.path(session.file_path(b"x"));
            let zero = session.memory(5000);
            let tail = session.memory(64);
            tail.put(24, 1_u8);
            for (label, how) in [("zero", &zero), ("nonzero tail", &tail)] {
                for size in [0, 8, 16, 23, 24, 25, 32, 64, 4096, 4097, u32::MAX] {
                    let label = format!("{label}, size {size}");
                    let sqe = openat2(AT_FDCWD, name.addr(), how).with_len(size);
                    inspect(session, &label, opened(session, &ring, &label, sqe));
                }
            }
        }),
        Case::new("openat/path-is-read-at-submission", Opcode::Openat, |session| {
            let ring = session.ring(8);
            let name = session.path(session.file_path(b"x"));
            ring.push(openat(AT_FDCWD, name.addr(), 0, 0).with_user_data(1).with_flags(SqeFlags::ASYNC));
            session.outcome("submit", ring.submit());
            name.fill(&vec![b'?'; name.len()]);
            let result = ring.collect(1).first().map_or(-1, |cqe| cqe.res);
            session.record("opened", result >= 0);
            inspect(session, "opened", Some(result));
        }),
    ]
}

fn into_slots() -> Vec<Case> {
    const ALLOC: u32 = uapi::IORING_FILE_INDEX_ALLOC as u32;
    let open = |session: &Session| {
        let name = session.path(session.file_path(b"in a slot"));
        openat(AT_FDCWD, name.addr(), 0, 0)
    };
    let read = |session: &Session, ring: &Ring, slot: i32| {
        let buffer = session.memory(16);
        let sqe = prep::read(slot, buffer.addr(), 16, 0).with_flags(SqeFlags::FIXED_FILE);
        session.one_recorded(format!("read slot {slot}"), ring, sqe);
    };
    vec![
        Case::new("openat/into-a-slot", Opcode::Openat, move |session| {
            let ring = session.ring(8);
            session.one_recorded("no table", &ring, open(session).with_file_index(1));
            sparse_files(session, &ring, 3);
            for index in [1, 3, 4, 0x7fff_ffff, 0xffff_fffe] {
                session.one_recorded(format!("index {index}"), &ring, open(session).with_file_index(index));
            }
            read(session, &ring, 0);
            read(session, &ring, 1);
            read(session, &ring, 2);
            session.one_recorded("replace", &ring, open(session).with_file_index(1));
            read(session, &ring, 0);
            let sqe = open(session).with_file_index(2).with_op_flags(O_CLOEXEC);
            session.one_recorded("close-on-exec", &ring, sqe);
        }),
        Case::new("openat/into-any-slot", Opcode::Openat, move |session| {
            let ring = session.ring(8);
            session.one_recorded("no table", &ring, open(session).with_file_index(ALLOC));
            sparse_files(session, &ring, 3);
            for round in 0..4 {
                session.one_recorded(round, &ring, open(session).with_file_index(ALLOC));
            }
            session.one_recorded("close slot 1", &ring, close(0).with_file_index(2));
            session.one_recorded("again", &ring, open(session).with_file_index(ALLOC));
        }),
        Case::new("openat2/into-a-slot", Opcode::Openat2, move |session| {
            let ring = session.ring(8);
            sparse_files(session, &ring, 3);
            let name = session.path(session.file_path(b"in a slot"));
            let sqe = openat2(AT_FDCWD, name.addr(), &how(session, 0, 0, 0));
            for index in [1, 3, 4, ALLOC] {
                session.one_recorded(format!("index {index}"), &ring, sqe.with_file_index(index));
            }
            read(session, &ring, 1);
            let sqe = openat2(AT_FDCWD, name.addr(), &how(session, u64::from(O_CLOEXEC), 0, 0));
            session.one_recorded("close-on-exec", &ring, sqe.with_file_index(1));
        }),
        Case::new("openat/slot-then-read-linked", Opcode::Openat, move |session| {
            // LINKED_FILE: the slot is looked at when the read starts.
            let ring = session.ring(8);
            sparse_files(session, &ring, 2);
            let buffer = session.memory(16);
            let fixed = prep::read(0, buffer.addr(), 16, 0).with_user_data(2);
            let sqes = [
                open(session).with_file_index(1).with_user_data(1).with_flags(SqeFlags::IO_LINK),
                fixed.with_flags(SqeFlags::FIXED_FILE | SqeFlags::IO_LINK),
                close(0).with_file_index(1).with_user_data(3),
            ];
            session.batch_in_order("open, read, close", &ring, &sqes, 3);
            session.bytes("read", &buffer.bytes());
        }),
    ]
}

fn closing() -> Vec<Case> {
    vec![
        Case::new("close/descriptors", Opcode::Close, |session| {
            let ring = session.ring(8);
            for fd in [-1, i32::MIN, i32::MAX, session.closed_fd()] {
                let label = if fd > 0 && fd < i32::MAX { "closed".to_owned() } else { fd.to_string() };
                session.one_recorded(label, &ring, close(fd));
            }
            let (read, write) = session.pipe();
            session.forget(write);
            session.one_recorded("write end", &ring, close(write));
            session.one_recorded("twice", &ring, close(write));
            session.bytes("the reader sees the end", &session.read_fd(read, 8));
            session.one_recorded("the ring itself", &ring, close(ring.fd));
            session.one_recorded("and it still works", &ring, prep::nop());
        }),
        Case::new("close/many-at-once", Opcode::Close, |session| {
            for flags in [SetupFlags::empty(), SetupFlags::SUBMIT_ALL] {
                for many in [3, 12] {
                    let ring = session.ring_with(16, flags);
                    let files = || -> Vec<Sqe> {
                        let files = (0..many).map(|_| session.file(b"to be closed"));
                        files.inspect(|file| session.forget(*file)).zip(0..).map(numbered_close).collect()
                    };
                    let mut sqes = files();
                    session.batch_in_order(format!("{flags:?}, {many}"), &ring, &sqes, sqes.len());
                    sqes = files();
                    sqes.push(numbered_close((sqes[1].fd(), 100)));
                    session.batch_in_order(format!("{flags:?}, {many}, one twice"), &ring, &sqes, sqes.len());
                    sqes = files();
                    sqes.insert(2, numbered_close((5, 100)).with_file_index(1));
                    let ends = flags.is_empty();
                    let completions = if ends { 3 } else { sqes.len() };
                    session.batch_in_order(
                        format!("{flags:?}, {many}, one refused"),
                        &ring,
                        &sqes,
                        completions,
                    );
                    if ends {
                        session.outcome("the others: submit", ring.submit());
                        session.cqes_in_order("the others", &ring.collect(many - 2));
                    }
                }
            }
        }),
        Case::new("close/while-in-use", Opcode::Close, |session| {
            let ring = session.ring(8);
            let (read, write) = session.pipe();
            let buffer = session.memory(8);
            ring.push(prep::read(read, buffer.addr(), 8, 0).with_user_data(1));
            session.outcome("read", ring.submit());
            session.forget(read);
            session.one_recorded("close", &ring, close(read).with_user_data(2));
            session.write_fd(write, b"x");
            session.cqes("the read", &ring.collect(1));
        }),
        Case::new("close/slots", Opcode::Close, |session| {
            let ring = session.ring(8);
            session.one_recorded("no table", &ring, close(0).with_file_index(1));
            let table = session.ints(&[session.file(b"one"), -1]);
            session.outcome("register", ring.register(RegisterOpcode::Files.number(), table.addr(), 2));
            for index in [2, 3, 0x7fff_ffff, u32::MAX] {
                session.one_recorded(format!("index {index}"), &ring, close(0).with_file_index(index));
            }
            session.one_recorded("with a descriptor", &ring, close(5).with_file_index(1));
            session.one_recorded("slot 0", &ring, close(0).with_file_index(1));
            session.one_recorded("slot 0 again", &ring, close(0).with_file_index(1));
            let sqe = close(0).with_file_index(1).with_flags(SqeFlags::FIXED_FILE);
            session.one_recorded("with FIXED_FILE", &ring, sqe);
        }),
    ]
}
