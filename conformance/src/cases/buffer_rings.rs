//! Rings of provided buffers: registration, consumption, incremental consumption, rings of the kernel's.

use ringer_abi::{Opcode, RegisterOpcode, Sqe, SqeFlags, uapi};

use super::rw::TEXT;
use crate::differential::buffer_ring::{BufferRing, INCREMENTAL, MAPPED, buffer_registration, head, map};
use crate::differential::{Case, Ring, Session, prep};

const SELECT: SqeFlags = SqeFlags::BUFFER_SELECT;
const MULTISHOT: u16 = uapi::IORING_RECV_MULTISHOT as u16;

/// RECV into a buffer of a group.
fn recv(fd: i32, group: u16, len: u32) -> Sqe {
    prep::recv(fd, 0, len, 0).with_buf_index(group).with_flags(SELECT)
}

fn register(session: &Session, ring: &Ring, label: &str, words: &[u64]) {
    let registration = session.words(words);
    session.outcome(label, ring.register(RegisterOpcode::PbufRing as u32, registration.addr(), 1));
}

/// The cases of the family.
pub fn cases() -> Vec<Case> {
    let mut cases = registration();
    cases.extend(consumption());
    cases.extend(incremental());
    cases
}

fn registration() -> Vec<Case> {
    vec![
        Case::general("buffer-rings/registration", |session| {
            let ring = session.ring(8);
            let memory = session.memory(8192);
            let good = memory.addr();
            for entries in [0, 1, 2, 3, 8, 4096, 32767, 32768, 65536, 1 << 31] {
                for flags in [0, MAPPED, INCREMENTAL, MAPPED | INCREMENTAL] {
                    let address = if flags & MAPPED == 0 { good } else { 0 };
                    let word = entries | u64::from(flags) << 48;
                    // Two pages hold 512 entries.
                    if flags & MAPPED == 0 && entries > 512 && entries < 65536 && entries != 32767 {
                        continue;
                    }
                    register(
                        session,
                        &ring,
                        &format!("{entries} entries, flags {flags}"),
                        &[address, word, 0, 0, 0],
                    );
                    let registration = buffer_registration(session, 0, 0, 0, 0);
                    session.outcome(
                        "taken back",
                        ring.register(RegisterOpcode::UnregisterPbufRing as u32, registration.addr(), 1),
                    );
                }
            }
            for bit in 2..16_u64 {
                register(session, &ring, &format!("flag bit {bit}"), &[good, 8 | 1 << (48 + bit), 0, 0, 0]);
            }
            for (label, words) in [
                ("reserved 0", [good, 8, 1, 0, 0]),
                ("reserved 1", [good, 8, 0, 1, 0]),
                ("reserved 2", [good, 8, 0, 0, 1]),
                ("null", [0, 8, 0, 0, 0]),
                ("not aligned", [good + 64, 8, 0, 0, 0]),
                ("not aligned by 1", [good + 1, 8, 0, 0, 0]),
                ("bad address", [session.bad_address() & !4095, 8, 0, 0, 0]),
                ("kernel half", [0xffff_8000_0000_0000, 8, 0, 0, 0]),
                ("address with MMAP", [good, 8 | u64::from(MAPPED) << 48, 0, 0, 0]),
                ("odd address with MMAP", [good + 3, 8 | u64::from(MAPPED) << 48, 0, 0, 0]),
                ("group 65535", [good, 8 | 0xffff << 32, 0, 0, 0]),
                ("again", [good, 8 | 0xffff << 32, 0, 0, 0]),
                ("again with a bad size", [good, 7 | 0xffff << 32, 0, 0, 0]),
                ("again with a bad address", [0, 8 | 0xffff << 32, 0, 0, 0]),
            ] {
                register(session, &ring, label, &words);
            }
            let registration = buffer_registration(session, good, 8, 9, 0);
            for (label, argument, count) in [
                ("count 0", registration.addr(), 0),
                ("count 2", registration.addr(), 2),
                ("no argument", 0, 1),
                ("bad argument", session.bad_address(), 1),
            ] {
                for (call, opcode) in [
                    ("register", RegisterOpcode::PbufRing),
                    ("unregister", RegisterOpcode::UnregisterPbufRing),
                    ("status", RegisterOpcode::PbufStatus),
                ] {
                    session
                        .outcome(format!("{call}: {label}"), ring.register(opcode as u32, argument, count));
                }
            }
        }),
        Case::general("buffer-rings/unregistration", |session| {
            let ring = session.ring(8);
            let memory = session.memory(4096);
            let unregister = |label: &str, words: &[u64]| {
                let registration = session.words(words);
                let opcode = RegisterOpcode::UnregisterPbufRing as u32;
                session.outcome(label, ring.register(opcode, registration.addr(), 1));
            };
            unregister("unknown", &[0, 3 << 32, 0, 0, 0]);
            register(session, &ring, "register", &[memory.addr(), 8 | 3 << 32, 0, 0, 0]);
            for flags in [1_u64, 2, 4] {
                unregister(&format!("flags {flags}"), &[0, 3 << 32 | flags << 48, 0, 0, 0]);
            }
            unregister("reserved", &[0, 3 << 32, 0, 1, 0]);
            unregister("with an address and entries", &[8, 3 << 32 | 7, 0, 0, 0]);
            let classic = prep::op(Opcode::ProvideBuffers, 2).with_addr(memory.addr()).with_len(16);
            session.one_recorded("provide", &ring, classic.with_buf_index(4));
            unregister("a classic group", &[0, 4 << 32, 0, 0, 0]);
            register(session, &ring, "over a classic group", &[memory.addr(), 8 | 4 << 32, 0, 0, 0]);
            session.one_recorded("remove", &ring, prep::op(Opcode::RemoveBuffers, 2).with_buf_index(4));
            register(session, &ring, "over an empty classic group", &[memory.addr(), 8 | 4 << 32, 0, 0, 0]);
            session.one_recorded("provide to a ring", &ring, classic.with_buf_index(4));
            session.one_recorded(
                "remove from a ring",
                &ring,
                prep::op(Opcode::RemoveBuffers, 2).with_buf_index(4),
            );
        }),
        Case::general("buffer-rings/status", |session| {
            let ring = session.ring(8);
            session.record("unknown", head(session, &ring, 5));
            session.record("no group number", head(session, &ring, 65536));
            let memory = session.memory(4096);
            let classic = prep::op(Opcode::ProvideBuffers, 2).with_addr(memory.addr()).with_len(16);
            session.one_recorded("provide", &ring, classic.with_buf_index(4));
            session.record("classic", head(session, &ring, 4));
            let buffers = BufferRing::new(session, &ring, 5, 0);
            session.record("fresh", head(session, &ring, 5));
            buffers.fill(3, 16);
            session.one_recorded(
                "read",
                &ring,
                prep::read(session.file(TEXT), 0, 8, 0).with_buf_index(5).with_flags(SELECT),
            );
            session.record("one used", head(session, &ring, 5));
            for index in 2..10 {
                let mut words = [5, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                words[index] = 1;
                let status = session.ints(&words);
                session.outcome(
                    format!("reserved {index}"),
                    ring.register(RegisterOpcode::PbufStatus as u32, status.addr(), 1),
                );
            }
        }),
        Case::general("buffer-rings/mapped", |session| {
            let ring = session.ring(8);
            session.record("unknown group", map(session, &ring, 7, 4096).is_err());
            let buffers = BufferRing::new(session, &ring, 7, MAPPED);
            buffers.fill(2, 16);
            let (left, right) = session.pair();
            session.write_fd(right, b"hello");
            session.one_recorded("recv", &ring, recv(left, 7, 0));
            session.bytes("memory", &buffers.memory.bytes());
            buffers.record(session, &ring, "after", 2);
            for (label, length) in [("a page", 4096), ("8 bytes", 8), ("two pages", 8192)] {
                let mapped = map(session, &ring, 7, length);
                session.outcome(label, mapped.map(|_| 0));
                if let Ok(address) = mapped {
                    session.outcome("tail", address.add(14).read::<u16>().map(i64::from));
                }
            }
            BufferRing::new(session, &ring, 8, 0);
            session.outcome("a ring of the program's", map(session, &ring, 8, 4096).map(|_| 0));
            let registration = buffer_registration(session, 0, 0, 7, 0);
            let opcode = RegisterOpcode::UnregisterPbufRing as u32;
            session.outcome("unregister", ring.register(opcode, registration.addr(), 1));
            session.record("the mapping stays", buffers.entry(0));
            session.outcome("no new one", map(session, &ring, 7, 4096).map(|_| 0));
            let large = BufferRing::with_memory(session, &ring, 9, MAPPED, 1024, 4096);
            large.fill(1024, 4);
            large.record(session, &ring, "large", 2);
            session.record("last entry", large.entry(1023));
        }),
    ]
}

fn consumption() -> Vec<Case> {
    vec![
        Case::new("buffer-rings/recv", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let buffers = BufferRing::new(session, &ring, 1, 0);
            let (left, right) = session.pair();
            session.write_fd(right, b"data before buffers");
            session.one_recorded("empty", &ring, recv(left, 1, 0));
            session.one_recorded("no group", &ring, recv(left, 2, 0));
            buffers.fill(4, 8);
            for (label, len) in [("no limit", 0), ("limit 3", 3), ("limit beyond", 100)] {
                session.one_recorded(label, &ring, recv(left, 1, len));
                buffers.record(session, &ring, label, 4);
            }
            ring.push(recv(left, 1, 0).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.quiet("waits", &ring);
            buffers.record(session, &ring, "waits", 1);
            session.close_kept(right);
            session.cqes("the end", &ring.collect(1));
            buffers.record(session, &ring, "the end", 1);
        }),
        Case::new("buffer-rings/recv-cancelled", Opcode::Recv, |session| {
            let ring = session.ring(8);
            for flags in [0, INCREMENTAL] {
                let buffers = BufferRing::new(session, &ring, 1 + flags, flags);
                buffers.fill(2, 8);
                let (left, _right) = session.pair();
                ring.push(recv(left, 1 + flags, 0).with_user_data(1));
                session.outcome("submit", ring.submit());
                session.quiet("waits", &ring);
                session.batch("cancel", &ring, &[prep::cancel(1, 0).with_user_data(2)]);
                session.quiet("cancelled", &ring);
                buffers.record(session, &ring, "after", 1);
            }
        }),
        Case::new("buffer-rings/send", Opcode::Send, |session| {
            let ring = session.ring(8);
            for flags in [0, INCREMENTAL] {
                let buffers = BufferRing::new(session, &ring, 1 + flags, flags);
                let (left, right) = session.pair();
                let send = |len| prep::send(left, 0, len, 0).with_buf_index(1 + flags).with_flags(SELECT);
                session.one_recorded("empty", &ring, send(0));
                session.one_recorded("no group", &ring, send(0).with_buf_index(9));
                buffers.memory.fill(b"aaaaaaaabbbbbbbbccccccccddddddddeeeeeeee");
                buffers.fill(5, 8);
                for len in [0, 3, 100] {
                    session.one_recorded(format!("limit {len}"), &ring, send(len));
                    buffers.record(session, &ring, "after", 4);
                }
                session.bytes("received", &session.read_fd(right, 100));
                session.close_kept(right);
                session.one_recorded("peer gone", &ring, send(0));
                buffers.record(session, &ring, "peer gone", 4);
                session.one_recorded("not a socket", &ring, send(0).with_fd(session.file(TEXT)));
                buffers.record(session, &ring, "not a socket", 4);
            }
        }),
        Case::new("buffer-rings/read", Opcode::Read, |session| {
            let ring = session.ring(8);
            for flags in [0, INCREMENTAL] {
                let buffers = BufferRing::with_memory(session, &ring, 1 + flags, flags, 16, 256);
                buffers.fill(12, 8);
                let file = session.file(TEXT);
                let read =
                    |len, off| prep::read(file, 0, len, off).with_buf_index(1 + flags).with_flags(SELECT);
                for (label, sqe) in [
                    ("no limit", read(0, 0)),
                    ("limit 3", read(3, 0)),
                    ("limit 3 again", read(3, 0)),
                    ("limit 3, async", read(3, 0).with_flags(SELECT | SqeFlags::ASYNC)),
                    ("at the end", read(8, 1000)),
                    ("short", read(8, TEXT.len() as u64 - 2)),
                    ("unknown flags", read(8, 0).with_op_flags(0x8000_0000)),
                    ("a directory", read(8, 0).with_fd(session.directory_fd())),
                    ("a closed descriptor", read(8, 0).with_fd(session.closed_fd())),
                ] {
                    session.one_recorded(label, &ring, sqe);
                    buffers.record(session, &ring, label, 12);
                }
                session.bytes("memory", &buffers.memory.bytes());
            }
        }),
        Case::new("buffer-rings/read-direct", Opcode::Read, |session| {
            let ring = session.ring(8);
            for flags in [0, INCREMENTAL] {
                let buffers = BufferRing::with_memory(session, &ring, 1 + flags, flags, 8, 5 * 4096);
                buffers.fill(5, 4096);
                let flags_of_file = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::DIRECT;
                let file = session.file_with(&[b'x'; 6000], flags_of_file);
                let read =
                    |len, off| prep::read(file, 0, len, off).with_buf_index(1 + flags).with_flags(SELECT);
                for (label, sqe) in [
                    ("a page", read(4096, 0)),
                    ("a sector", read(512, 0)),
                    ("short", read(0, 4096)),
                    ("the end", read(0, 8192)),
                    ("async", read(512, 0).with_flags(SELECT | SqeFlags::ASYNC)),
                    ("not aligned", read(100, 0)),
                ] {
                    session.one_recorded(label, &ring, sqe);
                    buffers.record(session, &ring, label, 5);
                }
                session.bytes("memory", &buffers.memory.bytes());
            }
        }),
        Case::new("buffer-rings/readv", Opcode::Readv, |session| {
            let ring = session.ring(8);
            let buffers = BufferRing::new(session, &ring, 1, 0);
            buffers.fill(8, 16);
            let file = session.file(TEXT);
            let vectors = session.vectors(&[(8, 5), (0, 0)]);
            let readv =
                |count| prep::readv(file, vectors.addr(), count, 0).with_buf_index(1).with_flags(SELECT);
            for count in [0, 1, 2] {
                session.one_recorded(format!("{count} vectors"), &ring, readv(count));
                buffers.record(session, &ring, "after", 4);
            }
            session.one_recorded("an empty vector", &ring, readv(1).with_addr(vectors.addr() + 16));
            session.one_recorded("a bad vector", &ring, readv(1).with_addr(session.bad_address()));
            buffers.record(session, &ring, "after", 4);
            session.bytes("memory", &buffers.memory.bytes());
        }),
        Case::new("buffer-rings/read-pipe", Opcode::Read, |session| {
            let ring = session.ring(8);
            for flags in [0, INCREMENTAL] {
                let buffers = BufferRing::new(session, &ring, 1 + flags, flags);
                buffers.fill(4, 8);
                let (read_end, write_end) = session.pipe();
                let read =
                    |len| prep::read(read_end, 0, len, u64::MAX).with_buf_index(1 + flags).with_flags(SELECT);
                ring.push(read(0).with_user_data(1));
                session.outcome("submit", ring.submit());
                session.quiet("waits", &ring);
                buffers.record(session, &ring, "waits", 4);
                session.write_fd(write_end, b"one");
                session.cqes("then", &ring.collect(1));
                buffers.record(session, &ring, "then", 4);
                session.write_fd(write_end, b"a longer text");
                session.one_recorded("limit 4", &ring, read(4));
                buffers.record(session, &ring, "limit 4", 4);
                session.one_recorded("no limit", &ring, read(0));
                buffers.record(session, &ring, "no limit", 4);
                session.close_kept(write_end);
                session.one_recorded("rest", &ring, read(0));
                session.one_recorded("end", &ring, read(0));
                buffers.record(session, &ring, "end", 4);
                session.bytes("memory", &buffers.memory.bytes());
            }
        }),
        Case::new("buffer-rings/read-multishot", Opcode::ReadMultishot, |session| {
            let ring = session.ring(8);
            for flags in [0, INCREMENTAL] {
                let buffers = BufferRing::new(session, &ring, 1 + flags, flags);
                buffers.fill(3, 8);
                let (read_end, write_end) = session.pipe();
                let read = prep::op(Opcode::ReadMultishot, read_end).with_off(u64::MAX);
                ring.push(read.with_buf_index(1 + flags).with_flags(SELECT).with_user_data(1));
                session.outcome("submit", ring.submit());
                session.quiet("waits", &ring);
                for text in [&b"one"[..], b"two", b"a text of nineteen."] {
                    session.write_fd(write_end, text);
                    session.quiet("then", &ring);
                    buffers.record(session, &ring, "then", 3);
                }
                session.bytes("memory", &buffers.memory.bytes());
            }
        }),
        Case::new("buffer-rings/recv-multishot", Opcode::Recv, |session| {
            for (kind, label) in
                [(rustix::net::SocketType::STREAM, "stream"), (rustix::net::SocketType::DGRAM, "datagram")]
            {
                for (len, flags) in [(0, 0), (3, 0), (0, INCREMENTAL), (3, INCREMENTAL), (100, 0)] {
                    let ring = session.ring(8);
                    let buffers = BufferRing::new(session, &ring, 1, flags);
                    buffers.fill(3, 8);
                    let (left, right) = session.pair_of(kind);
                    ring.push(recv(left, 1, len).with_ioprio(MULTISHOT).with_user_data(1));
                    session.outcome(format!("{label}, {len}, {flags}: submit"), ring.submit());
                    session.quiet("waits", &ring);
                    for text in [&b"one"[..], b"two", b"a text of nineteen.", b"more"] {
                        session.write_fd(right, text);
                        session.quiet(format!("{} bytes", text.len()), &ring);
                        buffers.record(session, &ring, "then", 3);
                    }
                    session.bytes("memory", &buffers.memory.bytes());
                }
            }
        }),
        Case::new("buffer-rings/recv-multishot-end", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let buffers = BufferRing::new(session, &ring, 1, 0);
            buffers.fill(8, 8);
            let (left, right) = session.pair();
            ring.push(recv(left, 1, 0).with_ioprio(MULTISHOT).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.write_fd(right, b"data");
            session.cqes("data", &ring.collect(1));
            session.close_kept(right);
            session.cqes("end", &ring.collect(1));
            buffers.record(session, &ring, "end", 1);
        }),
        Case::new("buffer-rings/hostile", Opcode::Recv, |session| {
            let ring = session.ring(8);
            for (label, address, length) in [
                ("null", 0, 8),
                ("bad address", session.bad_address(), 8),
                ("kernel half", 0xffff_8000_0000_0000, 8),
                ("last byte", u64::MAX, 8),
                ("no length", session.memory(64).addr(), 0),
                ("longest", session.memory(64).addr(), u32::MAX),
            ] {
                for flags in [0, INCREMENTAL] {
                    session.record("case", format!("{label}, flags {flags}"));
                    let buffers = BufferRing::new(session, &ring, 1, flags);
                    for id in 0..8 {
                        buffers.add(address, length, id);
                    }
                    buffers.publish();
                    let ((left, right), file) = (session.pair(), session.file(TEXT));
                    session.write_fd(right, b"hello");
                    let read = prep::read(file, 0, 0, 0).with_buf_index(1).with_flags(SELECT);
                    session.one_recorded("recv", &ring, recv(left, 1, 0));
                    session.record("head", head(session, &ring, 1));
                    session.one_recorded("recv of 3", &ring, recv(left, 1, 3));
                    session.record("head", head(session, &ring, 1));
                    // Linux finds the null address only after it used the buffer up.
                    if address != 0 {
                        session.one_recorded("read", &ring, read);
                        session.record("head", head(session, &ring, 1));
                    }
                    if length != u32::MAX {
                        let send = prep::send(left, 0, 0, 0).with_buf_index(1).with_flags(SELECT);
                        session.one_recorded("send", &ring, send);
                        session.record("head", head(session, &ring, 1));
                    }
                    let registration = buffer_registration(session, 0, 0, 1, 0);
                    let opcode = RegisterOpcode::UnregisterPbufRing as u32;
                    session.outcome("unregister", ring.register(opcode, registration.addr(), 1));
                }
            }
        }),
        Case::new("buffer-rings/tail", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let buffers = BufferRing::new(session, &ring, 1, 0);
            buffers.fill(8, 8);
            let (left, right) = session.pair();
            for tail in [0, 1, 9, 2, 1, 0x8000, 0xffff] {
                buffers.set_tail(tail);
                session.write_fd(right, b"x");
                session.one_recorded(format!("tail {tail}"), &ring, recv(left, 1, 0));
                session.record("head", head(session, &ring, 1));
            }
        }),
    ]
}

fn incremental() -> Vec<Case> {
    vec![
        Case::new("buffer-rings/incremental-recv", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let buffers = BufferRing::new(session, &ring, 1, INCREMENTAL);
            buffers.fill(2, 16);
            let (left, right) = session.pair();
            for text in ["hello", "world", "and more", "than", "one buffer holds", "end"] {
                session.write_fd(right, text.as_bytes());
                session.one_recorded(text, &ring, recv(left, 1, 0));
                buffers.record(session, &ring, text, 2);
            }
            session.bytes("memory", &buffers.memory.bytes());
        }),
        Case::new("buffer-rings/incremental-limit", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let buffers = BufferRing::new(session, &ring, 1, INCREMENTAL);
            buffers.fill(3, 8);
            let (left, right) = session.pair();
            session.write_fd(right, b"a text that is longer than all the buffers");
            for len in [3, 3, 3, 8, 100, 1] {
                session.one_recorded(format!("limit {len}"), &ring, recv(left, 1, len));
                buffers.record(session, &ring, "after", 3);
            }
        }),
    ]
}
