//! PROVIDE_BUFFERS, REMOVE_BUFFERS, and the requests that take such buffers.

use ringer_abi::{Opcode, Sqe, SqeFlags};

use super::rw::TEXT;
use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::{Case, Ring, Session, prep};

const SELECT: SqeFlags = SqeFlags::BUFFER_SELECT;

/// PROVIDE_BUFFERS: `fd` holds how many, `len` the size of each, `off` the first id, `buf_index` the group.
fn provide(addr: u64, size: u32, count: i32, group: u16, first: u64) -> Sqe {
    prep::op(Opcode::ProvideBuffers, count)
        .with_addr(addr)
        .with_len(size)
        .with_off(first)
        .with_buf_index(group)
}

fn remove(count: i32, group: u16) -> Sqe {
    prep::op(Opcode::RemoveBuffers, count).with_buf_index(group)
}

/// READ_MULTISHOT of whatever comes.
fn read_multishot(fd: i32, group: u16) -> Sqe {
    prep::op(Opcode::ReadMultishot, fd).with_off(u64::MAX).with_buf_index(group).with_flags(SELECT)
}

/// Gives four buffers of 16 bytes to a group; returns where they are.
fn four(session: &Session, ring: &Ring, group: u16) -> crate::differential::memory::Memory {
    let memory = session.memory(64);
    session.one_recorded("provide", ring, provide(memory.addr(), 16, 4, group, 0).with_user_data(50));
    memory
}

const PROVIDE_BUFFERS: Exemplar = Exemplar::new(
    "provide-buffers",
    Opcode::ProvideBuffers,
    FdRole::Ignored,
    &[Field::Off, Field::Addr, Field::Len, Field::BufIndex],
    &[],
    |session, _| Good::new(provide(session.memory(64).addr(), 16, 4, 3, 0)),
);

const REMOVE_BUFFERS: Exemplar = Exemplar::new(
    "remove-buffers",
    Opcode::RemoveBuffers,
    FdRole::Ignored,
    &[Field::BufIndex],
    &[],
    |session, ring| {
        four(session, ring, 3);
        Good::new(remove(2, 3))
    },
);

/// The cases of the family.
pub fn cases() -> Vec<Case> {
    let mut cases = PROVIDE_BUFFERS.cases();
    cases.extend(REMOVE_BUFFERS.cases());
    // Their scenes put a number where others have a descriptor.
    cases.retain(|case| !case.name.ends_with("/fixed-file"));
    cases.extend([
        Case::new("provide-buffers/arguments", Opcode::ProvideBuffers, |session| {
            let ring = session.ring(8);
            let memory = session.memory(4096);
            let odd = [
                ("none", provide(memory.addr(), 16, 0, 1, 0)),
                ("negative", provide(memory.addr(), 16, -1, 1, 0)),
                ("no size", provide(memory.addr(), 0, 4, 1, 0)),
                ("null", provide(0, 16, 4, 1, 0)),
                ("bad address", provide(session.bad_address(), 16, 4, 1, 0)),
                ("kernel half", provide(0xffff_8000_0000_0000, 16, 4, 1, 0)),
                ("product wraps", provide(memory.addr(), u32::MAX, i32::MAX, 1, 0)),
                ("65536", provide(memory.addr(), 1, 65536, 1, 0)),
                ("65537", provide(memory.addr(), 1, 65537, 1, 0)),
                ("first id 65535", provide(memory.addr(), 1, 1, 2, 65535)),
                ("first id 65535, two", provide(memory.addr(), 1, 2, 2, 65535)),
                ("first id 65536", provide(memory.addr(), 1, 1, 2, 65536)),
            ];
            for (label, sqe) in odd {
                session.one_recorded(label, &ring, sqe);
            }
        }),
        Case::new("remove-buffers/counts", Opcode::RemoveBuffers, |session| {
            let ring = session.ring(8);
            session.one_recorded("no group", &ring, remove(1, 9));
            four(session, &ring, 9);
            for count in [0, -1, 65537, 3, 3, 3] {
                session.one_recorded(format!("count {count}"), &ring, remove(count, 9));
            }
        }),
        Case::new("provide-buffers/read", Opcode::ProvideBuffers, |session| {
            let ring = session.ring(8);
            let (file, memory) = (session.file(TEXT), four(session, &ring, 1));
            let read =
                |len: u32, off: u64| prep::read(file, 0, len, off).with_buf_index(1).with_flags(SELECT);
            for (label, len, off) in
                [("short", 4, 0), ("full", 16, 10), ("longer than a buffer", 64, 0), ("at the end", 16, 64)]
            {
                session.one_recorded(label, &ring, read(len, off));
            }
            session.one_recorded("none left", &ring, read(4, 0));
            session.bytes("memory", &memory.bytes());
            session.one_recorded("another group", &ring, read(4, 0).with_buf_index(2));
            session.one_recorded("give one back", &ring, provide(memory.addr(), 16, 1, 1, 77));
            session.one_recorded("its id", &ring, read(4, 0));
            let failing = prep::read(-1, 0, 4, 0).with_buf_index(1).with_flags(SELECT);
            four(session, &ring, 1);
            session.one_recorded("a failure keeps the buffer", &ring, failing);
            session.one_recorded("left", &ring, remove(10, 1));
        }),
        Case::new("provide-buffers/recv-waits", Opcode::ProvideBuffers, |session| {
            let ring = session.ring(8);
            let (left, right) = session.pair();
            four(session, &ring, 1);
            ring.push(prep::recv(left, 0, 16, 0).with_buf_index(1).with_flags(SELECT).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.quiet("pending", &ring);
            session.write_fd(right, b"hello");
            session.cqes("done", &ring.collect(1));
            session.one_recorded("left", &ring, remove(10, 1));
        }),
        Case::new("read-multishot/pipe", Opcode::ReadMultishot, |session| {
            let ring = session.ring(8);
            let (read, write) = session.pipe();
            let memory = four(session, &ring, 1);
            ring.push(read_multishot(read, 1).with_user_data(1));
            session.outcome("submit", ring.submit());
            for text in [&b"one"[..], b"two", b"a text longer than one buffer is"] {
                session.write_fd(write, text);
                let count = text.len().div_ceil(16);
                session.cqes(format!("{} bytes", text.len()), &ring.collect(count));
            }
            session.quiet("no buffer left", &ring);
            session.write_fd(write, b"x");
            session.quiet("and data", &ring);
            session.bytes("memory", &memory.bytes());
        }),
        Case::new("read-multishot/on-a-worker", Opcode::ReadMultishot, |session| {
            const ASYNC: SqeFlags = SqeFlags::BUFFER_SELECT.union(SqeFlags::ASYNC);
            for (label, group) in [("buffers", 1), ("no buffers", 5)] {
                for (data, early) in [("early", true), ("late", false)] {
                    let ring = session.ring(8);
                    let ((read, write), (left, right)) = (session.pipe(), session.pair());
                    let receive = prep::op(Opcode::Recv, left).with_ioprio(2).with_buf_index(group);
                    for (kind, sqe, from) in
                        [("pipe", read_multishot(read, group), write), ("socket", receive, right)]
                    {
                        four(session, &ring, 1);
                        if early {
                            session.write_fd(from, b"early");
                        }
                        ring.push(sqe.with_user_data(1).with_flags(ASYNC));
                        session.outcome(format!("{label}, {data} {kind}: submit"), ring.submit());
                        session.quiet(format!("{label}, {data} {kind}: first"), &ring);
                        if !early {
                            session.write_fd(from, b"late");
                            session.quiet(format!("{label}, {data} {kind}: then"), &ring);
                        }
                        session.close_kept(from);
                        session.quiet(format!("{label}, {data} {kind}: end"), &ring);
                    }
                }
            }
        }),
        Case::new("read-multishot/arguments", Opcode::ReadMultishot, |session| {
            for (label, change) in [
                ("good", (|_, sqe| sqe) as fn(&Session, Sqe) -> Sqe),
                ("without BUFFER_SELECT", |_, sqe| sqe.with_flags(SqeFlags::empty())),
                ("addr", |_, sqe| sqe.with_addr(8)),
                ("len", |_, sqe| sqe.with_len(4)),
                ("offset 0", |_, sqe| sqe.with_off(0)),
                ("op_flags", |_, sqe| sqe.with_op_flags(1)),
                ("a regular file", |session, sqe| sqe.with_fd(session.file(TEXT))),
                ("closed", |session, sqe| sqe.with_fd(session.closed_fd())),
                ("no group", |_, sqe| sqe.with_buf_index(5)),
                ("personality", |_, sqe| sqe.with_personality(1)),
                ("ioprio", |_, sqe| sqe.with_ioprio(1)),
                ("real-time", |_, sqe| sqe.with_ioprio(0x2000)),
                ("best effort", |_, sqe| sqe.with_ioprio(0x4000)),
                ("unknown op_flags", |_, sqe| sqe.with_op_flags(0x800_0000)),
                ("unknown op_flags and no group", |_, sqe| sqe.with_op_flags(0x800_0000).with_buf_index(5)),
                ("flags of regular files", |_, sqe| sqe.with_op_flags(0x80)),
                ("unknown op_flags of a write end", |session, sqe| {
                    sqe.with_op_flags(0x800_0000).with_fd(session.pipe().1)
                }),
                ("of the file position", |_, sqe| sqe.with_off(u64::MAX)),
                ("skip", |_, sqe| sqe.with_flags(SELECT | SqeFlags::CQE_SKIP_SUCCESS)),
            ] {
                let ring = session.ring(8);
                let (read, write) = session.pipe();
                four(session, &ring, 1);
                session.write_fd(write, b"x");
                let sqe = change(session, read_multishot(read, 1).with_user_data(1));
                ring.push(sqe);
                session.outcome(format!("{label}: submit"), ring.submit());
                session.close_kept(write);
                session.quiet(label, &ring);
            }
        }),
    ]);
    cases
}
