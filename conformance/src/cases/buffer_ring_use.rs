//! Rings of provided buffers: registration, mapping, status, incremental consumption, and who takes buffers.

use ringer_abi::{Opcode, RegisterOpcode, Sqe, SqeFlags, uapi};
use ringer_sys::{UserAddress, native};

use super::buffer_ring_shots;
use super::rw::TEXT;
use crate::differential::memory::Memory;
use crate::differential::{Case, Ring, Session, prep};

const SELECT: SqeFlags = SqeFlags::BUFFER_SELECT;
const MMAP: u16 = 1;
pub(super) const INCREMENTAL: u16 = 2;
pub(super) const MULTISHOT: u16 = uapi::IORING_RECV_MULTISHOT as u16;
pub(super) const MSG_WAITALL: u32 = 0x100;

/// A ring of buffers of this case, with its group.
pub(super) struct Buffers {
    pub(super) group: u16,
    entries: u16,
    ring: UserAddress,
    pub(super) memory: Memory,
    size: u32,
}

/// `struct io_uring_buf_reg`.
fn registration(session: &Session, address: u64, entries: u32, group: u16, flags: u16) -> Memory {
    let second = u64::from(entries) | u64::from(group) << 32 | u64::from(flags) << 48;
    session.words(&[address, second, 0, 0, 0])
}

fn register(ring: &Ring, argument: Memory, count: u32) -> Result<i32, ringer_sys::Errno> {
    ring.register(RegisterOpcode::PbufRing.number(), argument.addr(), count)
}

pub(super) fn unregister(session: &Session, ring: &Ring, group: u16) -> Result<i32, ringer_sys::Errno> {
    let argument = registration(session, 0, 0, group, 0);
    ring.register(RegisterOpcode::UnregisterPbufRing.number(), argument.addr(), 1)
}

impl Buffers {
    /// Registers a ring of `entries`, with as many buffers of `size` bytes in it.
    pub(super) fn new(
        session: &Session,
        ring: &Ring,
        group: u16,
        entries: u16,
        size: u32,
        flags: u16,
    ) -> Self {
        let place = session.memory(4096);
        let argument = registration(session, place.addr(), u32::from(entries), group, flags);
        session.outcome("register", register(ring, argument, 1));
        let buffers = Self {
            group,
            entries,
            ring: place.user(),
            memory: session.memory(entries as usize * size as usize),
            size,
        };
        for index in 0..entries {
            buffers.set(index, u64::from(index) * u64::from(size), size, 100 + index);
        }
        buffers.set_tail(entries);
        buffers
    }

    /// Writes an entry; `offset` is into the buffers' memory.
    pub(super) fn set(&self, index: u16, offset: u64, length: u32, id: u16) {
        let place = self.ring.add(16 * u64::from(index));
        place.write([self.memory.addr() + offset]).expect("mapped");
        place.add(8).write(length).expect("mapped");
        place.add(12).write(id).expect("mapped");
    }

    pub(super) fn set_tail(&self, tail: u16) {
        self.ring.add(14).write(tail).expect("mapped");
    }

    /// Records what stands in the ring, and how far it was consumed.
    pub(super) fn look(&self, session: &Session, ring: &Ring, label: &str) {
        let mut text = String::new();
        for index in 0..self.entries {
            let place = self.ring.add(16 * u64::from(index));
            let start: u64 = place.read().expect("mapped");
            let length: u32 = place.add(8).read().expect("mapped");
            text += &format!("{:#x}+{length} ", start.wrapping_sub(self.memory.addr()));
        }
        session.record(format!("{label}: entries"), text);
        session.record(format!("{label}: head"), head(session, ring, self.group));
        session.bytes(format!("{label}: bytes"), &self.memory.bytes());
    }

    pub(super) fn reset(&self, tail: u16) {
        for index in 0..self.entries {
            self.set(index, u64::from(index) * u64::from(self.size), self.size, 100 + index);
        }
        self.set_tail(tail);
    }

    pub(super) fn select(&self, sqe: Sqe) -> Sqe {
        sqe.with_buf_index(self.group).with_flags(sqe.flags() | SELECT)
    }

    pub(super) fn recv(&self, fd: i32, len: u32, flags: u32) -> Sqe {
        self.select(prep::recv(fd, 0, len, flags))
    }
}

/// What PBUF_STATUS says of a group.
pub(super) fn head(session: &Session, ring: &Ring, group: u16) -> String {
    let argument = session.words(&[u64::from(group), 0, 0, 0, 0]);
    match ring.register(RegisterOpcode::PbufStatus.number(), argument.addr(), 1) {
        Ok(result) => format!("{result}, {}", argument.get::<u32>(4)),
        error => crate::differential::errno::outcome_name(error),
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut cases = registering();
    cases.extend(consuming());
    cases.extend(buffer_ring_shots::cases());
    cases
}

fn registering() -> Vec<Case> {
    vec![
        Case::general("buffer-ring-use/register", |session| {
            let ring = session.ring(8);
            let place = session.memory(4096);
            let call = |label: &str, address: u64, entries: u32, group: u16, flags: u16| {
                let argument = registration(session, address, entries, group, flags);
                session.outcome(label, register(&ring, argument, 1));
                session.outcome(format!("{label}: and away"), unregister(session, &ring, group));
            };
            for entries in [0, 1, 2, 3, 64, 256] {
                call(&format!("{entries} entries"), place.addr(), entries, 1, 0);
            }
            for entries in [32768, 65535, 65536, 1 << 31] {
                call(&format!("{entries} entries"), session.memory(4096).addr(), entries, 1, MMAP);
            }
            call("null", 0, 8, 1, 0);
            call("null, mapped", 0, 8, 1, MMAP);
            call("an address, mapped", place.addr(), 8, 1, MMAP);
            call("unaligned", place.addr() + 16, 8, 1, 0);
            call("unaligned, mapped", 16, 8, 1, MMAP);
            call("bad address", session.bad_address() & !0xfff, 8, 1, 0);
            call("kernel half", 0xffff_8000_0000_0000, 8, 1, 0);
            for flags in 0..6 {
                call(&format!("flags {flags}"), place.addr(), 8, 1, flags);
            }
            call("flag 15", place.addr(), 8, 1, 1 << 15);
            call("group 65535", place.addr(), 8, 65535, 0);
            for count in [0, 2, u32::MAX] {
                let argument = registration(session, place.addr(), 8, 1, 0);
                session.outcome(format!("count {count}"), register(&ring, argument, count));
            }
            session.outcome("no argument", ring.register(RegisterOpcode::PbufRing.number(), 0, 1));
            session.outcome(
                "bad argument",
                ring.register(RegisterOpcode::PbufRing.number(), session.bad_address(), 1),
            );
            for word in 2..5 {
                let argument = registration(session, place.addr(), 8, 1, 0);
                argument.put(word * 8, 1_u64);
                session.outcome(format!("reserved word {word}"), register(&ring, argument, 1));
            }
        }),
        Case::general("buffer-ring-use/groups", |session| {
            let ring = session.ring(8);
            let place = session.memory(4096);
            let again = |label: &str, group: u16| {
                let argument = registration(session, place.addr(), 8, group, 0);
                session.outcome(label, register(&ring, argument, 1));
            };
            session.outcome("unknown", unregister(session, &ring, 1));
            session.record("status: unknown", head(session, &ring, 1));
            again("new", 1);
            again("twice", 1);
            let memory = session.memory(64);
            let provide = prep::op(Opcode::ProvideBuffers, 4).with_addr(memory.addr()).with_len(16);
            session.one_recorded("provide to a ring", &ring, provide.with_buf_index(1));
            let remove = prep::op(Opcode::RemoveBuffers, 4);
            session.one_recorded("remove from a ring", &ring, remove.with_buf_index(1));
            session.one_recorded("provide", &ring, provide.with_buf_index(2));
            again("a classic group with buffers", 2);
            session.outcome("unregister a classic group", unregister(session, &ring, 2));
            session.record("status: classic", head(session, &ring, 2));
            session.one_recorded("remove all", &ring, remove.with_buf_index(2));
            again("a classic group without", 2);
            session.record("status: new", head(session, &ring, 2));
            session.outcome("unregister", unregister(session, &ring, 2));
            session.one_recorded("provide again", &ring, provide.with_buf_index(2));
            for word in 0..5 {
                let argument = session.words(&[3 << 32, 0, 0, 0, 0]);
                argument.put(word * 8, argument.get::<u64>(word * 8) | 1 << 48);
                let result = ring.register(RegisterOpcode::UnregisterPbufRing.number(), argument.addr(), 1);
                session.outcome(format!("unregister with word {word}"), result);
            }
            for word in 0..10 {
                let argument = session.memory(40);
                argument.put(word * 4, 1_u32);
                let result = ring.register(RegisterOpcode::PbufStatus.number(), argument.addr(), 1);
                session.outcome(format!("status with word {word}"), result);
            }
            for (label, group) in [("70000", 70000), ("65537", 65537)] {
                let argument = session.words(&[group, 0, 0, 0, 0]);
                let result = ring.register(RegisterOpcode::PbufStatus.number(), argument.addr(), 1);
                session.outcome(format!("status of group {label}"), result);
            }
            for count in [0, 2] {
                let argument = session.memory(40);
                for op in [RegisterOpcode::PbufStatus, RegisterOpcode::UnregisterPbufRing] {
                    let result = ring.register(op.number(), argument.addr(), count);
                    session.outcome(format!("{op:?}, count {count}"), result);
                }
            }
            let bad = session.bad_address();
            for op in [RegisterOpcode::PbufStatus, RegisterOpcode::UnregisterPbufRing] {
                session.outcome(format!("{op:?}, bad address"), ring.register(op.number(), bad, 1));
                session.outcome(format!("{op:?}, null"), ring.register(op.number(), 0, 1));
            }
        }),
        Case::general("buffer-ring-use/mapped", |session| {
            for group in [0_u16, 1, 5, 2047] {
                let ring = session.ring(8);
                let argument = registration(session, 0, 8, group, MMAP);
                session.outcome(format!("group {group}"), register(&ring, argument, 1));
                let offset = uapi::IORING_OFF_PBUF_RING as u64 | u64::from(group) << 16;
                let map = |length, offset| session.backend().map(ring.fd, length, offset);
                let mapped = map(4096, offset).expect("as it was registered");
                let buffer = session.memory(16);
                mapped.write([buffer.addr(), 16 | 7 << 32]).expect("mapped");
                mapped.add(14).write(1_u16).expect("mapped");
                let sqe = prep::read(session.file(TEXT), 0, 16, 0).with_buf_index(group).with_flags(SELECT);
                session.one_recorded("read", &ring, sqe);
                session.bytes("buffer", &buffer.bytes());
                session.outcome("part of a page", map(16, offset).map(|_| 0));
                session.outcome("no bytes", map(0, offset).map(|_| 0));
                session.outcome("two pages", map(8192, offset).map(|_| 0));
                session.outcome("another group", map(4096, offset ^ 1 << 17).map(|_| 0));
                session.outcome("unregister", unregister(session, &ring, group));
                session.outcome("once more", map(4096, offset).map(|_| 0));
                mapped.add(14).write(2_u16).expect("still mapped");
                session.one_recorded("read without", &ring, sqe);
                native::unmap(mapped, 4096).expect("mapped above");
            }
            let ring = session.ring(8);
            let place = session.memory(4096);
            session.outcome("own memory", register(&ring, registration(session, place.addr(), 8, 1, 0), 1));
            let offset = uapi::IORING_OFF_PBUF_RING as u64 | 1 << 16;
            session.outcome("map it", session.backend().map(ring.fd, 4096, offset).map(|_| 0));
            session.outcome("large", register(&ring, registration(session, 0, 1024, 2, MMAP), 1));
            let offset = uapi::IORING_OFF_PBUF_RING as u64 | 2 << 16;
            for pages in [1, 4, 5] {
                let result = session.backend().map(ring.fd, 4096 * pages, offset).map(|_| 0);
                session.outcome(format!("{pages} pages"), result);
            }
        }),
    ]
}

fn consuming() -> Vec<Case> {
    vec![
        Case::new("buffer-ring-use/read", Opcode::Read, |session| {
            for flags in [0, INCREMENTAL] {
                let ring = session.ring(8);
                let (file, buffers) = (session.file(TEXT), Buffers::new(session, &ring, 3, 8, 16, flags));
                let read = |len, off| buffers.select(prep::read(file, 0, len, off));
                for (label, len, off) in [
                    ("short", 4, 0),
                    ("full", 16, 10),
                    ("longer", 64, 0),
                    ("at the end", 16, 64),
                    ("0", 0, 0),
                ] {
                    session.one_recorded(label, &ring, read(len, off));
                    session.record(label, head(session, &ring, 3));
                }
                let vectors = session.vectors(&[(0, 8)]);
                let readv = |count| buffers.select(prep::readv(file, vectors.addr(), count, 0));
                for count in [1, 0, 2] {
                    session.one_recorded(format!("readv of {count}"), &ring, readv(count));
                    session.record("head", head(session, &ring, 3));
                }
                let write_only = session.file_with(TEXT, rustix::fs::OFlags::WRONLY);
                session.one_recorded("write-only", &ring, buffers.select(prep::read(write_only, 0, 4, 0)));
                session.record("write-only", head(session, &ring, 3));
                let directory = session.directory_fd();
                session.one_recorded("directory", &ring, buffers.select(prep::read(directory, 0, 4, 0)));
                session.record("directory", head(session, &ring, 3));
                let closed = buffers.select(prep::read(session.closed_fd(), 0, 4, 0));
                session.one_recorded("closed", &ring, closed);
                let (_read, write) = session.pipe();
                buffers.set_tail(12);
                session.one_recorded("closed", &ring, closed);
                session.one_recorded("writing end", &ring, buffers.select(prep::read(write, 0, 4, 0)));
                buffers.look(session, &ring, "then");
            }
        }),
        Case::new("buffer-ring-use/read-pipe", Opcode::Read, |session| {
            for flags in [0, INCREMENTAL] {
                let ring = session.ring(8);
                let (read, write) = session.pipe();
                let buffers = Buffers::new(session, &ring, 3, 4, 16, flags);
                ring.push(buffers.select(prep::read(read, 0, 0, 0)).with_user_data(1));
                session.outcome("submit", ring.submit());
                session.quiet("waits", &ring);
                session.record("head", head(session, &ring, 3));
                session.write_fd(write, b"hello");
                session.cqes("done", &ring.collect(1));
                session.record("head", head(session, &ring, 3));
                session.write_fd(write, b"a longer text than that");
                session.one_recorded("limited", &ring, buffers.select(prep::read(read, 0, 7, 0)));
                session.one_recorded("the rest", &ring, buffers.select(prep::read(read, 0, 0, 0)));
                session.close_kept(write);
                session.one_recorded("the rest", &ring, buffers.select(prep::read(read, 0, 0, 0)));
                session.one_recorded("end", &ring, buffers.select(prep::read(read, 0, 0, 0)));
                buffers.look(session, &ring, "then");
            }
        }),
        Case::new("buffer-ring-use/read-classic-errors", Opcode::Read, |session| {
            let ring = session.ring(8);
            let memory = session.memory(64);
            let provide = prep::op(Opcode::ProvideBuffers, 4).with_addr(memory.addr()).with_len(16);
            session.one_recorded("provide", &ring, provide.with_buf_index(2));
            let select = |sqe: Sqe| sqe.with_buf_index(2).with_flags(SELECT);
            let write_only = session.file_with(TEXT, rustix::fs::OFlags::WRONLY);
            session.one_recorded("write-only", &ring, select(prep::read(write_only, 0, 4, 0)));
            let directory = session.directory_fd();
            session.one_recorded("directory", &ring, select(prep::read(directory, 0, 4, 0)));
            let (_read, write) = session.pipe();
            session.one_recorded("writing end", &ring, select(prep::read(write, 0, 4, 0)));
            session.one_recorded("closed", &ring, select(prep::read(session.closed_fd(), 0, 4, 0)));
            let (read, write) = session.pipe();
            ring.push(select(prep::read(read, 0, 4, 0)).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.quiet("waits", &ring);
            session.one_recorded("left", &ring, prep::op(Opcode::RemoveBuffers, 9).with_buf_index(2));
            session.batch("cancel", &ring, &[prep::cancel(1, 0).with_user_data(3)]);
            session.quiet("cancelled", &ring);
            session.one_recorded("provide", &ring, provide.with_buf_index(2));
            ring.push(select(prep::read(read, 0, 4, 0)).with_user_data(2));
            session.outcome("submit", ring.submit());
            session.quiet("waits", &ring);
            session.write_fd(write, b"text");
            session.cqes("done", &ring.collect(1));
            session.bytes("memory", &memory.bytes());
        }),
        Case::new("buffer-ring-use/recv", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let (left, right) = session.pair();
            let buffers = Buffers::new(session, &ring, 3, 8, 16, 0);
            for (label, len) in [("no limit", 0), ("a limit", 5), ("a larger limit", 40), ("exact", 16)] {
                session.write_fd(right, b"twenty-one bytes long");
                session.one_recorded(label, &ring, buffers.recv(left, len, 0));
                session.record(label, head(session, &ring, 3));
            }
            ring.push(buffers.recv(left, 0, 0x40).with_user_data(7));
            ring.push(buffers.recv(left, 0, MSG_WAITALL).with_user_data(8));
            session.outcome("submit", ring.submit());
            session.quiet("some", &ring);
            session.record("some", head(session, &ring, 3));
            session.write_fd(right, b"twenty-one bytes long");
            session.quiet("more", &ring);
            session.close_kept(right);
            session.one_recorded("end", &ring, buffers.recv(left, 0, 0));
            session.one_recorded("end", &ring, buffers.recv(left, 0, 0));
            session.one_recorded("no such group", &ring, buffers.recv(left, 0, 0).with_buf_index(9));
            for (label, fd) in [("closed", session.closed_fd()), ("no socket", session.file(TEXT))] {
                session.one_recorded(label, &ring, buffers.recv(fd, 0, 0));
                session.one_recorded(label, &ring, buffers.recv(fd, 0, 0).with_buf_index(9));
            }
            buffers.look(session, &ring, "then");
        }),
        Case::new("buffer-ring-use/waitall-in-parts", Opcode::Recv, |session| {
            for flags in [0, INCREMENTAL] {
                let ring = session.ring(8);
                let (left, right) = session.tcp_pair();
                let buffers = Buffers::new(session, &ring, 3, 4, 16, flags);
                ring.push(buffers.recv(left, 0, MSG_WAITALL).with_user_data(1));
                session.outcome("submit", ring.submit());
                session.write_fd(right, b"12345");
                session.quiet("a part", &ring);
                session.record("a part", head(session, &ring, 3));
                session.write_fd(right, b"6789012345678");
                session.cqes("all", &ring.collect(1));
                buffers.look(session, &ring, "all");
                ring.push(buffers.recv(left, 0, MSG_WAITALL).with_user_data(2));
                session.outcome("submit", ring.submit());
                session.quiet("two bytes", &ring);
                session.batch("cancel", &ring, &[prep::cancel(2, 0).with_user_data(3)]);
                session.quiet("cancelled", &ring);
                buffers.look(session, &ring, "cancelled");
                ring.push(buffers.recv(left, 0, MSG_WAITALL).with_user_data(4));
                session.outcome("submit", ring.submit());
                session.write_fd(right, b"last");
                session.quiet("a part", &ring);
                session.close_kept(right);
                session.quiet("the end", &ring);
                buffers.look(session, &ring, "end");
            }
        }),
        Case::new("buffer-ring-use/send", Opcode::Send, |session| {
            for flags in [0, INCREMENTAL] {
                let ring = session.ring(8);
                let (left, right) = session.pair();
                let buffers = Buffers::new(session, &ring, 3, 8, 16, flags);
                buffers.memory.fill(b"0123456789abcdefghijklmnopqrstuvwxyz");
                for len in [0, 5, 40, 16] {
                    let send = buffers.select(prep::send(left, 0, len, 0));
                    session.one_recorded(format!("len {len}"), &ring, send);
                    session.record("head", head(session, &ring, 3));
                    session.bytes("received", &session.read_fd(right, 64));
                }
                let send = buffers.select(prep::send(left, 0, 0, 0));
                session.one_recorded("no such group", &ring, send.with_buf_index(9));
                session.one_recorded("address", &ring, send.with_addr(8));
                session.bytes("received", &session.read_fd(right, 64));
                session.close_kept(right);
                session.one_recorded("peer gone", &ring, send);
                session.one_recorded("closed", &ring, send.with_fd(session.closed_fd()));
                session.one_recorded("no socket", &ring, send.with_fd(session.file(TEXT)));
                buffers.look(session, &ring, "then");
                buffers.set_tail(3);
                session.one_recorded("nonsense", &ring, send);
            }
        }),
        Case::new("buffer-ring-use/send-classic", Opcode::Send, |session| {
            let ring = session.ring(8);
            let (left, right) = session.pair();
            let memory = session.memory_of(&[b'x'; 64]);
            let provide = prep::op(Opcode::ProvideBuffers, 4).with_addr(memory.addr()).with_len(16);
            session.one_recorded("provide", &ring, provide.with_buf_index(2));
            let send = |len| prep::send(left, 0, len, 0).with_buf_index(2).with_flags(SELECT);
            for len in [0, 5, 40] {
                session.one_recorded(format!("len {len}"), &ring, send(len));
                session.record("received", session.read_fd(right, 64).len());
            }
            session.close_kept(right);
            session.one_recorded("peer gone", &ring, send(0));
            session.one_recorded("empty", &ring, send(0));
            session.one_recorded("left", &ring, prep::op(Opcode::RemoveBuffers, 9).with_buf_index(2));
        }),
        Case::new("buffer-ring-use/send-waits", Opcode::Send, |session| {
            for flags in [0, INCREMENTAL] {
                let ring = session.ring(8);
                let (left, _right) = session.pair();
                let buffers = Buffers::new(session, &ring, 3, 8, 16, flags);
                session.with_kept(left, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
                while session.with_kept(left, |fd| rustix::io::write(fd, &[0; 4096])).is_ok() {}
                session.with_kept(left, |fd| rustix::io::ioctl_fionbio(fd, false)).expect("a socket");
                ring.push(buffers.select(prep::send(left, 0, 0, 0)).with_user_data(1));
                ring.push(buffers.select(prep::send(left, 0, 0, 0x40)).with_user_data(2));
                session.outcome("submit", ring.submit());
                session.quiet("waits", &ring);
                session.record("waits", head(session, &ring, 3));
                session.batch("cancel", &ring, &[prep::cancel(1, 0).with_user_data(3)]);
                session.quiet("cancelled", &ring);
                buffers.look(session, &ring, "cancelled");
            }
        }),
        Case::new("buffer-ring-use/hostile", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let (left, right) = session.pair();
            let buffers = Buffers::new(session, &ring, 3, 4, 16, 0);
            session.write_fd(right, b"some text that is long enough for all of these");
            buffers.set(0, 0, 0, 1);
            buffers.set(1, 0xffff_8000_0000_0000, 16, 2);
            buffers.set(2, session.bad_address() - buffers.memory.addr(), 16, 3);
            buffers.set(3, 0, u32::MAX, 4);
            buffers.set_tail(u16::MAX);
            for round in 0..3 {
                session.one_recorded(format!("round {round}"), &ring, buffers.recv(left, 4, 0));
                session.record("head", head(session, &ring, 3));
            }
            buffers.reset(4);
            session.one_recorded("sane again", &ring, buffers.recv(left, 4, 0));
            buffers.look(session, &ring, "then");
        }),
        Case::new("buffer-ring-use/links", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let (left, right) = session.pair();
            let buffers = Buffers::new(session, &ring, 3, 4, 16, 0);
            session.write_fd(right, b"hello");
            let link = SELECT | SqeFlags::IO_LINK;
            let recv = |flags: SqeFlags, user: u64| {
                buffers.recv(left, 16, 0x40).with_flags(flags).with_user_data(user)
            };
            session.batch_in_order(
                "a chain",
                &ring,
                &[recv(link, 1), recv(link, 2), prep::nop().with_user_data(3)],
                3,
            );
            session.write_fd(right, b"hello");
            let waitall = buffers.recv(left, 16, MSG_WAITALL | 0x40).with_flags(link).with_user_data(1);
            session.batch_in_order("short", &ring, &[waitall, prep::nop().with_user_data(3)], 2);
            buffers.look(session, &ring, "then");
        }),
    ]
}
