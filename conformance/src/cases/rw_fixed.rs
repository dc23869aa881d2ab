//! READ_FIXED and WRITE_FIXED.

use ringer_abi::{Opcode, RegisterOpcode, Sqe};

use super::rw::TEXT;
use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::memory::Memory;
use crate::differential::{Case, Ring, Session, prep};

const USES: &[Field] = &[Field::Ioprio, Field::Off, Field::Addr, Field::Len, Field::OpFlags, Field::BufIndex];

/// READ_FIXED.
pub fn read_fixed(fd: i32, addr: u64, len: u32, off: u64, index: u16) -> Sqe {
    prep::op(Opcode::ReadFixed, fd).with_addr(addr).with_len(len).with_off(off).with_buf_index(index)
}

/// WRITE_FIXED.
pub fn write_fixed(fd: i32, addr: u64, len: u32, off: u64, index: u16) -> Sqe {
    read_fixed(fd, addr, len, off, index).with_opcode(Opcode::WriteFixed.number())
}

/// Registers blocks as buffers.
pub fn register_buffers(session: &Session, ring: &Ring, blocks: &[Memory]) {
    let parts: Vec<(u64, u64)> = blocks.iter().map(|block| (block.addr(), block.len() as u64)).collect();
    let vectors = session.vectors(&parts);
    let outcome = ring.register(RegisterOpcode::Buffers.number(), vectors.addr(), blocks.len() as u32);
    session.outcome("register buffers", outcome);
}

const READ_FIXED: Exemplar =
    Exemplar::new("read-fixed", Opcode::ReadFixed, FdRole::File, USES, &[Field::Addr], |session, ring| {
        let (file, unused, buffer) = (session.file(TEXT), session.memory(64), session.memory(40));
        register_buffers(session, ring, &[unused, buffer]);
        Good::new(read_fixed(file, buffer.addr() + 4, 30, 2, 1)).observe(move |session| {
            session.bytes("buffer", &buffer.bytes());
            session.record("position", session.position(file));
        })
    });

const WRITE_FIXED: Exemplar =
    Exemplar::new("write-fixed", Opcode::WriteFixed, FdRole::File, USES, &[Field::Addr], |session, ring| {
        let (file, buffer) = (session.file(TEXT), session.memory_of(b"registered"));
        register_buffers(session, ring, &[buffer]);
        Good::new(write_fixed(file, buffer.addr() + 2, 6, 10, 0)).observe(move |session| {
            session.bytes("content", &session.content(file));
            session.record("position", session.position(file));
        })
    });

type Fixed = fn(i32, u64, u32, u64, u16) -> Sqe;

/// Ranges inside and outside of a registered buffer.
fn ranges(session: &mut Session, prepare: Fixed) {
    let ring = session.ring(8);
    let (file, buffer) = (session.file(TEXT), session.memory(4096));
    session.one_recorded("nothing registered", &ring, prepare(file, buffer.addr(), 8, 0, 0));
    register_buffers(session, &ring, &[buffer]);
    let start = buffer.addr();
    let ranges = [
        ("all", start, 4096),
        ("middle", start + 100, 64),
        ("empty at the start", start, 0),
        ("empty at the end", start + 4096, 0),
        ("empty past the end", start + 4097, 0),
        ("one byte too long", start, 4097),
        ("ends one byte late", start + 4090, 7),
        ("before the start", start - 1, 1),
        ("starts before the start", start - 1, 2),
        ("past the end", start + 4096, 1),
        ("wraps", u64::MAX - 3, 8),
        ("null", 0, 8),
    ];
    for (label, addr, len) in ranges {
        session.one_recorded(label, &ring, prepare(file, addr, len, 0, 0));
    }
    for index in [1, 2, 0x8000, 0xffff] {
        session.one_recorded(format!("index {index}"), &ring, prepare(file, start, 8, 0, index));
    }
    for off in [60, 64, 1 << 63, u64::MAX] {
        session.one_recorded(format!("at {off:#x}"), &ring, prepare(file, start, 8, off, 0));
    }
    session.record("position", session.position(file));
    let outcome = ring.register(RegisterOpcode::UnregisterBuffers.number(), 0, 0);
    session.outcome("unregister", outcome);
    session.one_recorded("unregistered", &ring, prepare(file, start, 8, 0, 0));
}

/// The cases of READ_FIXED and WRITE_FIXED.
pub fn cases() -> Vec<Case> {
    let mut cases = READ_FIXED.cases();
    cases.extend(WRITE_FIXED.cases());
    cases.extend([
        Case::new("read-fixed/ranges", Opcode::ReadFixed, |session| ranges(session, read_fixed)),
        Case::new("write-fixed/ranges", Opcode::WriteFixed, |session| ranges(session, write_fixed)),
        Case::new("read-fixed/pipe", Opcode::ReadFixed, |session| {
            let (ring, buffer) = (session.ring(8), session.memory(64));
            register_buffers(session, &ring, &[buffer]);
            let (read, write) = session.pipe();
            ring.push(read_fixed(read, buffer.addr(), 64, 0, 0).with_user_data(1));
            session.outcome("submit", ring.submit());
            // The request keeps the buffer.
            let outcome = ring.register(RegisterOpcode::UnregisterBuffers.number(), 0, 0);
            session.outcome("unregister", outcome);
            session.write_fd(write, b"late");
            session.cqes("completion", &ring.collect(1));
            session.bytes("buffer", &buffer.bytes());
        }),
    ]);
    cases
}
