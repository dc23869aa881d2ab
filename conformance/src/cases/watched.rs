//! What those who watch a file hear of operations on it (`inotify.7`).
//!
//! How often is not compared: Linux tells twice of a FALLOCATE, and once of each of some reads that are one call here. Nor is what it
//! tells of transfers that move nothing, as some do and others do not.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, RawFd};
use std::path::PathBuf;

use ringer_abi::{Opcode, RegisterOpcode, Sqe, SqeFlags};
use rustix::fs::OFlags;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::rw_fixed::{read_fixed, register_buffers, write_fixed};
use crate::differential::memory::Memory;
use crate::differential::{Case, Ring, Session, prep};

/// Bytes of the file, and what a device takes at once.
const BYTES: usize = 4096;
const O_DIRECT: OFlags = OFlags::from_bits_retain(0o40000);

/// A file in a directory that is watched.
struct Stage<'a> {
    session: &'a Session,
    directory: RawFd,
    path: PathBuf,
    memory: Memory,
    watcher: std::os::fd::OwnedFd,
}

impl<'a> Stage<'a> {
    fn new(session: &'a Session) -> Self {
        const MADE: &str = "a fixture of the case";
        let path = session.new_path();
        std::fs::create_dir(&path).expect(MADE);
        for name in ["file", "other"] {
            std::fs::write(path.join(name), vec![b'x'; BYTES]).expect(MADE);
        }
        let directory = session.keep(std::fs::File::open(&path).expect(MADE));
        let watcher = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).expect(MADE);
        Self { session, directory, path, memory: session.memory(4 * BYTES), watcher }
    }

    fn open(&self, flags: OFlags) -> RawFd {
        let file =
            rustix::fs::open(self.path.join("file"), flags | OFlags::CLOEXEC, rustix::fs::Mode::empty());
        self.session.keep(file.expect("it is there"))
    }

    /// An address that is aligned for devices.
    fn aligned(&self) -> u64 {
        self.memory.addr().next_multiple_of(BYTES as u64)
    }

    /// The request, and three for the parts of the file behind it.
    fn adjacent(&self, first: Sqe) -> Vec<Sqe> {
        let part = u64::from(first.len());
        (0..4).map(|number| first.with_addr(first.addr() + number * part).with_off(number * part)).collect()
    }

    fn name(&self, name: &str) -> u64 {
        self.session.path(name).addr()
    }

    /// From now on it is watched.
    fn watch(&self) {
        for path in [self.path.clone(), self.path.join("file")] {
            inotify::add_watch(&self.watcher, &path, WatchFlags::ALL_EVENTS).expect("there is room");
        }
    }

    /// What was heard since.
    fn heard(&self) -> BTreeSet<String> {
        let mut heard = BTreeSet::new();
        let mut room = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(self.watcher.as_fd(), &mut room);
        while let Ok(event) = reader.next() {
            let name = event.file_name().map(|name| name.to_string_lossy().into_owned());
            let of = if event.wd() == 1 { name.unwrap_or_default() } else { "self".into() };
            heard.insert(format!("{of} {:#x}", event.events().bits()));
        }
        heard
    }
}

/// An operation on the file.
struct Operation {
    name: &'static str,
    opcode: Opcode,
    make: fn(&Stage<'_>, &Ring) -> Vec<Sqe>,
}

/// Registers the file, and says so in a request for it.
fn registered(stage: &Stage<'_>, ring: &Ring, sqe: Sqe) -> Sqe {
    let table = stage.session.ints(&[sqe.fd()]);
    ring.register(RegisterOpcode::Files.number(), table.addr(), 1).expect("the file is good");
    sqe.with_fd(0).with_flags(SqeFlags::FIXED_FILE)
}

fn operations() -> Vec<Operation> {
    let operation = |name, opcode, make| Operation { name, opcode, make };
    vec![
        operation("read", Opcode::Read, |stage, _| {
            vec![prep::read(stage.open(OFlags::RDONLY), stage.memory.addr(), 100, 0)]
        }),
        operation("read-registered", Opcode::Read, |stage, ring| {
            vec![registered(stage, ring, prep::read(stage.open(OFlags::RDONLY), stage.memory.addr(), 100, 0))]
        }),
        operation("read-directly", Opcode::Read, |stage, _| {
            vec![prep::read(stage.open(OFlags::RDONLY | O_DIRECT), stage.aligned(), BYTES as u32, 0)]
        }),
        operation("read-adjacent", Opcode::Read, |stage, _| {
            stage.adjacent(prep::read(stage.open(OFlags::RDONLY), stage.memory.addr(), 100, 0))
        }),
        operation("readv", Opcode::Readv, |stage, _| {
            let vectors = stage.session.vectors(&[(stage.memory.addr(), 10), (stage.memory.addr() + 10, 10)]);
            vec![prep::readv(stage.open(OFlags::RDONLY), vectors.addr(), 2, 0)]
        }),
        operation("read-fixed", Opcode::ReadFixed, |stage, ring| {
            register_buffers(stage.session, ring, &[stage.memory]);
            vec![read_fixed(stage.open(OFlags::RDONLY), stage.memory.addr(), 100, 0, 0)]
        }),
        operation("write", Opcode::Write, |stage, _| {
            vec![prep::write(stage.open(OFlags::WRONLY), stage.memory.addr(), 100, 0)]
        }),
        operation("write-directly", Opcode::Write, |stage, _| {
            vec![prep::write(stage.open(OFlags::WRONLY | O_DIRECT), stage.aligned(), BYTES as u32, 0)]
        }),
        operation("write-adjacent", Opcode::Write, |stage, _| {
            stage.adjacent(prep::write(stage.open(OFlags::WRONLY), stage.memory.addr(), 100, 0))
        }),
        operation("write-fixed", Opcode::WriteFixed, |stage, ring| {
            register_buffers(stage.session, ring, &[stage.memory]);
            vec![write_fixed(stage.open(OFlags::WRONLY), stage.memory.addr(), 100, 0, 0)]
        }),
        operation("fsync", Opcode::Fsync, |stage, _| vec![prep::op(Opcode::Fsync, stage.open(OFlags::RDWR))]),
        operation("fallocate", Opcode::Fallocate, |stage, _| {
            vec![prep::op(Opcode::Fallocate, stage.open(OFlags::RDWR)).with_addr(3 * BYTES as u64)]
        }),
        operation("ftruncate", Opcode::Ftruncate, |stage, _| {
            vec![prep::op(Opcode::Ftruncate, stage.open(OFlags::RDWR)).with_off(7)]
        }),
        operation("openat", Opcode::Openat, |stage, _| {
            vec![prep::op(Opcode::Openat, stage.directory).with_addr(stage.name("file"))]
        }),
        operation("create", Opcode::Openat, |stage, _| {
            let sqe = prep::op(Opcode::Openat, stage.directory).with_addr(stage.name("new"));
            vec![sqe.with_op_flags(0o102).with_len(0o600)]
        }),
        operation("truncate-by-open", Opcode::Openat, |stage, _| {
            let sqe = prep::op(Opcode::Openat, stage.directory).with_addr(stage.name("file"));
            vec![sqe.with_op_flags(0o1001)]
        }),
        operation("open-into-a-slot", Opcode::Openat, |stage, ring| {
            let table = stage.session.ints(&[-1]);
            ring.register(RegisterOpcode::Files.number(), table.addr(), 1).expect("an empty table");
            let sqe = prep::op(Opcode::Openat, stage.directory).with_addr(stage.name("file"));
            vec![sqe.with_file_index(1)]
        }),
        operation("open-and-close-a-slot", Opcode::Close, |stage, ring| {
            let table = stage.session.ints(&[-1]);
            ring.register(RegisterOpcode::Files.number(), table.addr(), 1).expect("an empty table");
            let sqe = prep::op(Opcode::Openat, stage.directory).with_addr(stage.name("file"));
            let open = sqe.with_file_index(1).with_flags(SqeFlags::IO_LINK);
            vec![open, prep::op(Opcode::Close, 0).with_file_index(1)]
        }),
        operation("close", Opcode::Close, |stage, _| {
            let file = stage.open(OFlags::RDWR);
            stage.session.forget(file);
            vec![prep::op(Opcode::Close, file)]
        }),
        operation("statx", Opcode::Statx, |stage, _| {
            let sqe = prep::op(Opcode::Statx, stage.directory).with_addr(stage.name("file")).with_len(0x7ff);
            vec![sqe.with_off(stage.memory.addr())]
        }),
        operation("renameat", Opcode::Renameat, |stage, _| {
            let sqe = prep::op(Opcode::Renameat, stage.directory).with_addr(stage.name("file"));
            vec![sqe.with_len(stage.directory as u32).with_off(stage.name("new"))]
        }),
        operation("unlinkat", Opcode::Unlinkat, |stage, _| {
            vec![prep::op(Opcode::Unlinkat, stage.directory).with_addr(stage.name("file"))]
        }),
        operation("mkdirat", Opcode::Mkdirat, |stage, _| {
            vec![prep::op(Opcode::Mkdirat, stage.directory).with_addr(stage.name("new")).with_len(0o700)]
        }),
        operation("symlinkat", Opcode::Symlinkat, |stage, _| {
            vec![
                prep::op(Opcode::Symlinkat, stage.directory)
                    .with_addr(stage.name("file"))
                    .with_off(stage.name("new")),
            ]
        }),
        operation("linkat", Opcode::Linkat, |stage, _| {
            let sqe = prep::op(Opcode::Linkat, stage.directory).with_addr(stage.name("file"));
            vec![sqe.with_len(stage.directory as u32).with_off(stage.name("new"))]
        }),
        operation("fsetxattr", Opcode::Fsetxattr, |stage, _| {
            let (key, value) = (stage.session.memory_of(b"user.key\0"), stage.session.memory_of(b"value"));
            let sqe = prep::op(Opcode::Fsetxattr, stage.open(OFlags::RDWR)).with_addr(key.addr());
            vec![sqe.with_off(value.addr()).with_len(5)]
        }),
        operation("fgetxattr", Opcode::Fgetxattr, |stage, _| {
            let key = stage.session.memory_of(b"user.key\0");
            let sqe = prep::op(Opcode::Fgetxattr, stage.open(OFlags::RDWR)).with_addr(key.addr());
            vec![sqe.with_off(stage.memory.addr()).with_len(5)]
        }),
        operation("splice-from", Opcode::Splice, |stage, _| {
            let (_, write) = stage.session.pipe();
            let sqe = prep::op(Opcode::Splice, write).with_len(100).with_off(u64::MAX).with_addr(0);
            vec![sqe.with_file_index(stage.open(OFlags::RDONLY) as u32)]
        }),
        operation("splice-to", Opcode::Splice, |stage, _| {
            let (read, write) = stage.session.pipe();
            stage.session.write_fd(write, b"text");
            let sqe = prep::op(Opcode::Splice, stage.open(OFlags::WRONLY)).with_len(4).with_off(0);
            vec![sqe.with_addr(u64::MAX).with_file_index(read as u32)]
        }),
        operation("fadvise", Opcode::Fadvise, |stage, _| {
            vec![prep::op(Opcode::Fadvise, stage.open(OFlags::RDONLY)).with_len(100).with_op_flags(4)]
        }),
        operation("sync-file-range", Opcode::SyncFileRange, |stage, _| {
            vec![prep::op(Opcode::SyncFileRange, stage.open(OFlags::RDWR)).with_len(100)]
        }),
        operation("poll", Opcode::PollAdd, |stage, _| vec![prep::poll(stage.open(OFlags::RDWR), 1)]),
    ]
}

fn play(session: &mut Session, operation: &Operation) {
    for more in [SqeFlags::empty(), SqeFlags::ASYNC] {
        session.fresh();
        let stage = Stage::new(session);
        let ring = session.ring(8);
        let sqes = (operation.make)(&stage, &ring);
        let numbered = sqes.iter().zip(1..);
        let sqes: Vec<Sqe> =
            numbered.map(|(sqe, number)| sqe.with_flags(sqe.flags() | more).with_user_data(number)).collect();
        stage.watch();
        ring.push_all(&sqes);
        session.outcome(format!("{more:?}: submit"), ring.submit());
        let done = ring.collect(sqes.len());
        session.record(format!("{more:?}: heard"), format!("{:?}", stage.heard()));
        let is_descriptor = operation.opcode == Opcode::Openat && sqes[0].file_index() == 0;
        for cqe in done.iter().filter(|cqe| is_descriptor && cqe.res >= 0) {
            // It was just made.
            let _ = ringer_sys::call::close(cqe.res);
        }
        let results: Vec<i32> =
            done.iter().map(|cqe| if is_descriptor { cqe.res.min(0) } else { cqe.res }).collect();
        session.record(format!("{more:?}: results"), format!("{results:?}"));
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let case = |operation: Operation| {
        let name = format!("watched/{}", operation.name);
        Case::new(name, operation.opcode, move |session| play(session, &operation))
    };
    operations().into_iter().map(case).collect()
}
