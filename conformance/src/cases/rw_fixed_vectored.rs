//! READV_FIXED and WRITEV_FIXED.

use ringer_abi::{Opcode, Sqe, SqeFlags};

use super::rw::TEXT;
use super::rw_fixed::register_buffers;
use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::{Case, Session, prep};

const USES: &[Field] = &[Field::Ioprio, Field::Off, Field::Addr, Field::Len, Field::OpFlags, Field::BufIndex];

fn vectored(opcode: Opcode, fd: i32, vectors: u64, count: u32, off: u64, index: u16) -> Sqe {
    prep::op(opcode, fd).with_addr(vectors).with_len(count).with_off(off).with_buf_index(index)
}

const READV_FIXED: Exemplar =
    Exemplar::new("readv-fixed", Opcode::ReadvFixed, FdRole::File, USES, &[Field::Addr], |session, ring| {
        let (file, buffer) = (session.file(TEXT), session.memory(64));
        register_buffers(session, ring, &[buffer]);
        let vectors = session.vectors(&[(buffer.addr() + 8, 4), (buffer.addr() + 40, 10)]);
        Good::new(vectored(Opcode::ReadvFixed, file, vectors.addr(), 2, 3, 0))
            .observe(move |session| session.bytes("buffer", &buffer.bytes()))
    });

const WRITEV_FIXED: Exemplar = Exemplar::new(
    "writev-fixed",
    Opcode::WritevFixed,
    FdRole::File,
    USES,
    &[Field::Addr],
    |session, ring| {
        let (file, buffer) = (session.file(TEXT), session.memory_of(b"one two three"));
        register_buffers(session, ring, &[buffer]);
        let vectors = session.vectors(&[(buffer.addr() + 4, 4), (buffer.addr(), 4)]);
        Good::new(vectored(Opcode::WritevFixed, file, vectors.addr(), 2, 8, 0))
            .observe(move |session| session.bytes("content", &session.content(file)))
    },
);

/// Vectors inside and outside of the registered buffer.
fn ranges(session: &mut Session, opcode: Opcode) {
    let ring = session.ring(8);
    let (file, buffer) = (session.file(TEXT), session.memory(4096));
    let here = buffer.addr();
    let arrays: [(&str, Vec<(u64, u64)>); 8] = [
        ("inside", vec![(here, 8), (here + 4000, 96)]),
        ("second outside", vec![(here, 8), (here + 4090, 7)]),
        ("first outside", vec![(here - 1, 1), (here, 8)]),
        ("empty outside", vec![(here + 9000, 0), (here, 8)]),
        ("all empty", vec![(here, 0)]),
        ("null base", vec![(0, 8)]),
        ("negative length", vec![(here, 1 << 63)]),
        ("overlapping", vec![(here, 8), (here + 4, 8)]),
    ];
    let one = session.vectors(&arrays[0].1);
    session.one_recorded("nothing registered", &ring, vectored(opcode, file, one.addr(), 2, 0, 0));
    register_buffers(session, &ring, &[buffer]);
    for (label, array) in &arrays {
        let vectors = session.vectors(array);
        session.one_recorded(*label, &ring, vectored(opcode, file, vectors.addr(), array.len() as u32, 0, 0));
    }
    for count in [0, 1025, u32::MAX] {
        session.one_recorded(
            format!("count {count}"),
            &ring,
            vectored(opcode, file, one.addr(), count, 0, 0),
        );
    }
    session.one_recorded("index 1", &ring, vectored(opcode, file, one.addr(), 2, 0, 1));
    for flags in [SqeFlags::empty(), SqeFlags::ASYNC] {
        let closed = vectored(opcode, session.closed_fd(), one.addr(), 2, 0, 1).with_flags(flags);
        session.one_recorded(format!("closed file, index 1, {flags:?}"), &ring, closed);
    }
}

/// The cases of READV_FIXED and WRITEV_FIXED.
pub fn cases() -> Vec<Case> {
    let mut cases = READV_FIXED.cases();
    cases.extend(WRITEV_FIXED.cases());
    cases.extend([
        Case::new("readv-fixed/ranges", Opcode::ReadvFixed, |session| ranges(session, Opcode::ReadvFixed)),
        Case::new("writev-fixed/ranges", Opcode::WritevFixed, |session| ranges(session, Opcode::WritevFixed)),
    ]);
    cases
}
