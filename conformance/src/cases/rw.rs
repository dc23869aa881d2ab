//! READ and WRITE.

use ringer_abi::{Opcode, SqeFlags};
use ringer_sys::native;
use rustix::fs::OFlags;
use rustix::pipe::PipeFlags;

use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::{Case, prep};

/// 64 bytes that differ.
pub const TEXT: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/";

const READ: Exemplar = Exemplar::new(
    "read",
    Opcode::Read,
    FdRole::File,
    &[Field::Ioprio, Field::Off, Field::Addr, Field::Len, Field::OpFlags],
    &[Field::Addr],
    |session, _| {
        let (file, buffer) = (session.file(TEXT), session.memory(40));
        Good::new(prep::read(file, buffer.addr(), 32, 4)).observe(move |session| {
            session.bytes("buffer", &buffer.bytes());
            session.record("position", session.position(file));
        })
    },
);

const WRITE: Exemplar = Exemplar::new(
    "write",
    Opcode::Write,
    FdRole::File,
    &[Field::Ioprio, Field::Off, Field::Addr, Field::Len, Field::OpFlags],
    &[Field::Addr],
    |session, _| {
        let (file, buffer) = (session.file(TEXT), session.memory_of(b"new content"));
        Good::new(prep::write(file, buffer.addr(), 11, 4)).observe(move |session| {
            session.bytes("content", &session.content(file));
            session.record("position", session.position(file));
        })
    },
);

/// The cases of READ and WRITE.
pub fn cases() -> Vec<Case> {
    let mut cases = READ.cases();
    cases.extend(WRITE.cases());
    cases.extend([
        Case::new("read/offsets", Opcode::Read, |session| {
            let (ring, file, buffer) = (session.ring(8), session.file(TEXT), session.memory(64));
            for off in [0, 60, 64, 65, 1 << 40, i64::MAX as u64, 1 << 63, u64::MAX - 1] {
                session.one_recorded(format!("at {off:#x}"), &ring, prep::read(file, buffer.addr(), 16, off));
            }
            for label in ["current position", "again", "and again"] {
                session.one_recorded(label, &ring, prep::read(file, buffer.addr(), 30, u64::MAX));
                session.record(format!("{label}: position"), session.position(file));
            }
            session.bytes("buffer", &buffer.bytes());
        })
        .expect(&[
            ("at 0x0", "submit 1, cqe 16"),
            ("at 0x3c", "submit 1, cqe 4"),
            ("at 0x40", "submit 1, cqe 0"),
        ]),
        Case::new("read/lengths", Opcode::Read, |session| {
            let (ring, file, buffer) = (session.ring(8), session.file(TEXT), session.memory(64));
            for len in [0, 1, 63, 64] {
                session.one_recorded(format!("len {len}"), &ring, prep::read(file, buffer.addr(), len, 0));
            }
            let edge = session.edge(16);
            for len in [16, 17, 64, u32::MAX] {
                session.one_recorded(format!("edge, {len}"), &ring, prep::read(file, edge.addr(), len, 0));
            }
            session.bytes("edge", &edge.bytes());
            for (label, addr) in
                [("zero bytes at null", 0), ("zero bytes at a bad address", session.bad_address())]
            {
                session.one_recorded(label, &ring, prep::read(file, addr, 0, 0));
            }
        }),
        Case::new("read/position-after-a-fault", Opcode::Read, |session| {
            let edge = session.edge(16);
            for opcode in [Opcode::Read, Opcode::Write] {
                let (ring, file) = (session.ring(8), session.file(TEXT));
                for len in [8, 17, 40] {
                    let sqe = prep::op(opcode, file).with_addr(edge.addr()).with_len(len).with_off(u64::MAX);
                    session.one_recorded(format!("{opcode:?} {len}"), &ring, sqe);
                    session.record(format!("{opcode:?} {len}: position"), session.position(file));
                }
            }
        }),
        Case::new("read/nothing-of-each-kind", Opcode::Read, |session| {
            let buffer = session.memory(8);
            for opcode in [Opcode::Read, Opcode::Write] {
                // A ring answers nothing to that.
                let kinds =
                    crate::differential::kinds::KINDS.iter().filter(|(label, _)| *label != "the ring");
                for (label, kind) in kinds {
                    for offset in [0, u64::MAX] {
                        session.fresh();
                        let ring = session.ring(8);
                        let fd = kind(session, &ring);
                        let sqe = prep::op(opcode, fd).with_addr(buffer.addr()).with_off(offset);
                        ring.push(sqe.with_user_data(1));
                        session.outcome("submit", ring.submit());
                        session.cqes(format!("{opcode:?} {label} at {offset:#x}"), &ring.collect(1));
                    }
                }
            }
        }),
        Case::new("read/nothing-of-a-device", Opcode::Read, |session| {
            let block = session.memory(16);
            let vectors = session.vectors(&[(block.addr(), 0), (block.addr(), 0)]);
            for device in ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/random"] {
                let fd = session.keep(std::fs::File::open(device).expect("every Linux has it"));
                let ring = session.ring(8);
                for offset in [0, u64::MAX] {
                    session.one_recorded(device, &ring, prep::read(fd, block.addr(), 0, offset));
                    session.one_recorded(device, &ring, prep::readv(fd, vectors.addr(), 2, offset));
                }
            }
            for offset in [0, u64::MAX] {
                for (index, flags) in [(0, SqeFlags::empty()), (1, SqeFlags::empty()), (0, SqeFlags::ASYNC)] {
                    let label = format!("{offset:#x}, {index}, {flags:?}");
                    let ring = session.ring(8);
                    let (left, right) = session.terminal();
                    let read = match index {
                        0 => prep::read(right, block.addr(), 0, offset),
                        _ => prep::readv(right, vectors.addr(), 2, offset),
                    };
                    ring.push(read.with_flags(flags).with_user_data(1));
                    session.outcome(format!("{label}: submit"), ring.submit());
                    session.quiet(format!("{label}: nothing there"), &ring);
                    session.write_fd(left, b"abc\n");
                    session.quiet(format!("{label}: a line"), &ring);
                    session.one_recorded(format!("{label}: there"), &ring, read.with_flags(flags));
                    session.one_recorded(
                        format!("{label}: all"),
                        &ring,
                        prep::read(right, block.addr(), 16, 0),
                    );
                }
            }
        }),
        Case::new("read/flags-of-regular-files", Opcode::Read, |session| {
            const RWF_ATOMIC: u32 = 0x40;
            const RWF_DONTCACHE: u32 = 0x80;
            let ring = session.ring(8);
            let (buffer, (read, write), (left, _right)) = (session.memory(8), session.pipe(), session.pair());
            const RWF_SYNC: u32 = 0x4;
            const RWF_APPEND: u32 = 0x10;
            const RWF_NOSIGNAL: u32 = 0x100;
            for flags in [RWF_SYNC, RWF_APPEND, RWF_NOSIGNAL] {
                let sqe = prep::write(session.eventfd(0), buffer.addr(), 8, u64::MAX).with_op_flags(flags);
                session.one_recorded(format!("to an eventfd, {flags:#x}"), &ring, sqe);
                let sqe = prep::write(write, buffer.addr(), 8, u64::MAX).with_op_flags(flags);
                session.one_recorded(format!("to a pipe, {flags:#x}"), &ring, sqe);
            }
            for flags in [RWF_ATOMIC, RWF_DONTCACHE] {
                for (label, fd) in [("pipe", read), ("socket", left), ("eventfd", session.eventfd(0))] {
                    let sqe = prep::read(fd, buffer.addr(), 8, u64::MAX).with_op_flags(flags);
                    session.one_recorded(format!("{label}, {flags:#x}"), &ring, sqe);
                }
                let sqe = prep::write(write, buffer.addr(), 8, u64::MAX).with_op_flags(flags);
                session.one_recorded(format!("write, {flags:#x}"), &ring, sqe);
            }
        }),
        Case::new("read/pipes", Opcode::Read, |session| {
            let buffer = session.memory(64);
            for (label, flags) in [("blocking", PipeFlags::CLOEXEC), ("non-blocking", PipeFlags::NONBLOCK)] {
                let ring = session.ring(8);
                let (read, write) = session.pipe_with(flags);
                session.write_fd(write, b"hello");
                session.one_recorded(format!("{label}, data"), &ring, prep::read(read, buffer.addr(), 64, 0));
                session.write_fd(write, b"more");
                session.one_recorded(
                    format!("{label}, offset 5"),
                    &ring,
                    prep::read(read, buffer.addr(), 64, 5),
                );
                session.write_fd(write, b"more");
                session.one_recorded(
                    format!("{label}, offset -1"),
                    &ring,
                    prep::read(read, buffer.addr(), 2, u64::MAX),
                );
                session.read_fd(read, 2);
                let pending = prep::read(read, buffer.addr(), 64, 0).with_user_data(9);
                ring.push(pending);
                session.outcome(format!("{label}, empty: submit"), ring.submit());
                session.quiet(format!("{label}, empty"), &ring);
                if flags == PipeFlags::CLOEXEC {
                    session.write_fd(write, b"late");
                    session.cqes(format!("{label}, then written"), &ring.collect(1));
                }
                session.close_kept(write);
                session.one_recorded(
                    format!("{label}, writer gone"),
                    &ring,
                    prep::read(read, buffer.addr(), 64, 0),
                );
            }
            session.bytes("buffer", &buffer.bytes());
        }),
        Case::new("read/pipe-async", Opcode::Read, |session| {
            let (ring, buffer) = (session.ring(8), session.memory(16));
            let (read, write) = session.pipe();
            ring.push(prep::read(read, buffer.addr(), 16, 0).with_user_data(1).with_flags(SqeFlags::ASYNC));
            session.outcome("submit", ring.submit());
            session.quiet("before", &ring);
            session.write_fd(write, b"late");
            session.cqes("after", &ring.collect(1));
            session.bytes("buffer", &buffer.bytes());
        }),
        Case::new("read/pipe-outlives-its-descriptor", Opcode::Read, |session| {
            let (ring, buffer) = (session.ring(8), session.memory(16));
            let (read, write) = session.pipe();
            ring.push(prep::read(read, buffer.addr(), 16, 0).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.close_kept(read);
            // Another file takes the number.
            session.file(b"not the pipe");
            session.write_fd(write, b"the pipe");
            session.cqes("after", &ring.collect(1));
            session.bytes("buffer", &buffer.bytes());
        }),
        Case::new("read/eventfd", Opcode::Read, |session| {
            let (ring, buffer) = (session.ring(8), session.memory(8));
            let counter = session.eventfd(5);
            session.one_recorded("ready", &ring, prep::read(counter, buffer.addr(), 8, 0));
            session.record("value", buffer.get::<u64>(0));
            session.one_recorded("short", &ring, prep::read(counter, buffer.addr(), 7, 0));
            ring.push(prep::read(counter, buffer.addr(), 8, 0).with_user_data(1));
            session.outcome("not ready: submit", ring.submit());
            session.quiet("not ready", &ring);
        }),
        Case::new("read/file-in-order", Opcode::Read, |session| {
            let (ring, file, buffer) = (session.ring(8), session.file(TEXT), session.memory(64));
            let sqes: Vec<_> = (0..8)
                .map(|part| {
                    prep::read(file, buffer.addr() + part * 8, 8, (7 - part) * 8).with_user_data(part)
                })
                .collect();
            session.batch("eight parts", &ring, &sqes);
            session.bytes("buffer", &buffer.bytes());
        }),
        Case::new("write/offsets", Opcode::Write, |session| {
            let (ring, buffer) = (session.ring(8), session.memory_of(b"wxyz"));
            for off in [0, 62, 64, 70, 1 << 63, u64::MAX - 1, i64::MAX as u64] {
                let file = session.file(TEXT);
                session.one_recorded(format!("at {off:#x}"), &ring, prep::write(file, buffer.addr(), 4, off));
                session.bytes(format!("at {off:#x}: content"), &session.content(file));
            }
            let file = session.file(TEXT);
            for label in ["current position", "again"] {
                session.one_recorded(label, &ring, prep::write(file, buffer.addr(), 4, u64::MAX));
                session.record(format!("{label}: position"), session.position(file));
            }
            session.bytes("content", &session.content(file));
            let file = session.file_with(TEXT, OFlags::RDWR | OFlags::APPEND);
            session.one_recorded("append, at 0", &ring, prep::write(file, buffer.addr(), 4, 0));
            session.one_recorded("append, no offset", &ring, prep::write(file, buffer.addr(), 4, u64::MAX));
            session.bytes("appended", &session.content(file));
            session.record("position", session.position(file));
        }),
        Case::new("write/lengths", Opcode::Write, |session| {
            let (ring, file) = (session.ring(8), session.file(b""));
            let edge = session.edge(16);
            edge.fill(b"sixteen bytes...");
            for len in [0, 1, 16, 17, u32::MAX] {
                session.one_recorded(format!("edge, {len}"), &ring, prep::write(file, edge.addr(), len, 0));
            }
            session.bytes("content", &session.content(file));
        }),
        Case::new("write/pipes", Opcode::Write, |session| {
            let (ring, buffer) = (session.ring(8), session.memory(65536 + 4096));
            let (read, write) = session.pipe();
            session.one_recorded("offset 0", &ring, prep::write(write, buffer.addr(), 5, 0));
            session.one_recorded("offset 7", &ring, prep::write(write, buffer.addr(), 5, 7));
            session.one_recorded("offset -1", &ring, prep::write(write, buffer.addr(), 5, u64::MAX));
            session.read_fd(read, 64);
            session.one_recorded("all it holds", &ring, prep::write(write, buffer.addr(), 65536, 0));
            ring.push(prep::write(write, buffer.addr(), 10, 0).with_user_data(1));
            session.outcome("full: submit", ring.submit());
            session.quiet("full", &ring);
            session.record("drained", session.read_fd(read, 65536).len());
            session.cqes("then drained", &ring.collect(1));
            session.record("left", session.read_fd(read, 65536).len());
            session.close_kept(read);
            session.one_recorded("reader gone", &ring, prep::write(write, buffer.addr(), 5, 0));
            let (_read, write) = session.pipe_with(PipeFlags::NONBLOCK);
            session.one_recorded(
                "non-blocking, part",
                &ring,
                prep::write(write, buffer.addr(), 65536 + 4096, 0),
            );
            session.one_recorded("non-blocking, full", &ring, prep::write(write, buffer.addr(), 5, 0));
        }),
        Case::new("write/eventfd", Opcode::Write, |session| {
            let (ring, value) = (session.ring(8), session.words(&[4, u64::MAX]));
            let counter = session.eventfd(0);
            session.one_recorded("four", &ring, prep::write(counter, value.addr(), 8, 0));
            session.one_recorded("too large", &ring, prep::write(counter, value.addr() + 8, 8, 0));
            session.one_recorded("short", &ring, prep::write(counter, value.addr(), 4, 0));
            session.record("count", session.eventfd_count(counter));
        }),
        Case::new("write/beyond-the-limit-of-sizes", Opcode::Write, |session| {
            use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
            let before = getrlimit(Resource::Fsize);
            let limit = Rlimit { current: Some(4096), maximum: before.maximum };
            let text = session.memory(8192);
            for (label, off, len, flags) in [
                ("beyond", 4096, 4096, SqeFlags::empty()),
                ("across", 0, 8192, SqeFlags::empty()),
                ("within", 0, 4096, SqeFlags::empty()),
                ("beyond, on a worker", 4096, 4096, SqeFlags::ASYNC),
            ] {
                let file = session.file(b"");
                setrlimit(Resource::Fsize, limit).expect("it was larger");
                let ring = session.ring(8);
                ring.push(prep::write(file, text.addr(), len, off).with_flags(flags));
                // What is raised there goes with the thread.
                let (results, signals) = std::thread::scope(|scope| {
                    let thread = scope.spawn(|| {
                        native::set_signal_mask(u64::MAX).expect("any mask is good");
                        ring.submit().expect("it is submitted");
                        let results: Vec<i32> = ring.collect(1).iter().map(|cqe| cqe.res).collect();
                        (results, std::fs::read_to_string("/proc/thread-self/status"))
                    });
                    thread.join().expect("it does not panic")
                });
                setrlimit(Resource::Fsize, before).expect("it was so");
                session.record(format!("{label}: results"), format!("{results:?}"));
                let signals = signals.expect("it can be read");
                let raised = signals.lines().find(|line| line.starts_with("SigPnd"));
                session.record(format!("{label}: raised"), format!("{raised:?}"));
            }
        }),
        Case::new("write/linked-in-order", Opcode::Write, |session| {
            let (ring, file) = (session.ring(8), session.file(b""));
            let buffer = session.memory_of(TEXT);
            let link = SqeFlags::IO_LINK;
            let sqes = [
                prep::write(file, buffer.addr(), 4, u64::MAX).with_user_data(1).with_flags(link),
                prep::write(file, buffer.addr() + 10, 4, u64::MAX).with_user_data(2).with_flags(link),
                prep::write(file, buffer.addr() + 20, 4, u64::MAX).with_user_data(3),
            ];
            session.batch_in_order("three writes", &ring, &sqes, 3);
            session.bytes("content", &session.content(file));
        }),
    ]);
    cases
}
