//! READV and WRITEV.

use ringer_abi::{Opcode, Sqe, SqeFlags};

use super::rw::TEXT;
use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::{Case, Session, prep};

const USES: &[Field] = &[Field::Ioprio, Field::Off, Field::Addr, Field::Len, Field::OpFlags];

const READV: Exemplar =
    Exemplar::new("readv", Opcode::Readv, FdRole::File, USES, &[Field::Addr], |session, _| {
        let (file, buffer) = (session.file(TEXT), session.memory(40));
        let vectors =
            session.vectors(&[(buffer.addr(), 3), (buffer.addr() + 8, 0), (buffer.addr() + 16, 20)]);
        Good::new(prep::readv(file, vectors.addr(), 3, 4)).observe(move |session| {
            session.bytes("buffer", &buffer.bytes());
            session.record("position", session.position(file));
        })
    });

const WRITEV: Exemplar =
    Exemplar::new("writev", Opcode::Writev, FdRole::File, USES, &[Field::Addr], |session, _| {
        let (file, buffer) = (session.file(TEXT), session.memory_of(b"one two three"));
        let vectors = session.vectors(&[(buffer.addr() + 4, 4), (buffer.addr(), 4)]);
        Good::new(prep::writev(file, vectors.addr(), 2, 8)).observe(move |session| {
            session.bytes("content", &session.content(file));
            session.record("position", session.position(file));
        })
    });

/// Every odd array of iovecs, for both directions.
fn odd_vectors(session: &mut Session, prepare: fn(i32, u64, u32, u64) -> Sqe) {
    let ring = session.ring(8);
    let buffer = session.memory(64);
    let bad = session.bad_address();
    let (here, next) = (buffer.addr(), buffer.addr() + 32);
    let arrays: [(&str, Vec<(u64, u64)>); 9] = [
        ("first bad", vec![(bad, 8), (here, 8)]),
        ("second bad", vec![(here, 8), (bad, 8)]),
        ("second null", vec![(here, 8), (0, 8)]),
        ("bad but empty", vec![(here, 8), (bad, 0), (next, 8)]),
        ("kernel half", vec![(0xffff_8000_0000_0000, 8)]),
        ("all empty", vec![(here, 0), (next, 0)]),
        ("negative length", vec![(here, 1 << 63)]),
        ("negative second length", vec![(here, 8), (next, u64::MAX)]),
        ("sum too large", vec![(here, 0x7fff_0000), (next, 0x7fff_0000)]),
    ];
    for flags in [SqeFlags::empty(), SqeFlags::ASYNC] {
        for (label, array) in &arrays {
            let (file, vectors) = (session.file(TEXT), session.vectors(array));
            let sqe = prepare(file, vectors.addr(), array.len() as u32, 0).with_flags(flags);
            // What the kernel moves before a huge vector runs off the end is the mapping's business.
            if *label == "sum too large" {
                ring.push(sqe);
                session.outcome(format!("{label}: submit"), ring.submit());
                session.record(*label, ring.collect(1).first().map_or(0, |cqe| cqe.res.signum()));
            } else {
                session.one_recorded(format!("{label} {flags:?}"), &ring, sqe);
            }
        }
    }
    let file = session.file(TEXT);
    let one = session.vectors(&[(here, 4)]);
    for count in [0, 1025, 65536, u32::MAX] {
        session.one_recorded(format!("count {count}"), &ring, prepare(file, one.addr(), count, 0));
    }
    let many: Vec<(u64, u64)> = vec![(here, 1); 1024];
    let many = session.vectors(&many);
    for count in [8, 9, 64, 1024] {
        session.one_recorded(format!("count {count}"), &ring, prepare(file, many.addr(), count, 0));
    }
    let edge = session.edge(16);
    edge.put(0, here);
    edge.put(8, 4_u64);
    session.one_recorded("array ends at the edge", &ring, prepare(file, edge.addr(), 1, 0));
    session.one_recorded("array runs off the edge", &ring, prepare(file, edge.addr(), 2, 0));
    session.one_recorded("array at null, count 0", &ring, prepare(file, 0, 0, 0));
    session.one_recorded("array at null, count 1", &ring, prepare(file, 0, 1, 0));
}

/// The cases of READV and WRITEV.
pub fn cases() -> Vec<Case> {
    let mut cases = READV.cases();
    cases.extend(WRITEV.cases());
    cases.extend([
        Case::new("readv/odd-vectors", Opcode::Readv, |session| odd_vectors(session, prep::readv)),
        Case::new("writev/odd-vectors", Opcode::Writev, |session| odd_vectors(session, prep::writev)),
        Case::new("readv/offsets", Opcode::Readv, |session| {
            let (ring, file, buffer) = (session.ring(8), session.file(TEXT), session.memory(16));
            let vectors = session.vectors(&[(buffer.addr(), 8), (buffer.addr() + 8, 8)]);
            for off in [0, 56, 64, 1 << 63, u64::MAX] {
                session.one_recorded(
                    format!("at {off:#x}"),
                    &ring,
                    prep::readv(file, vectors.addr(), 2, off),
                );
                session.record(format!("at {off:#x}: position"), session.position(file));
            }
            session.bytes("buffer", &buffer.bytes());
        }),
        Case::new("readv/stable-after-submit", Opcode::Readv, |session| {
            // SUBMIT_STABLE: the array of iovecs may go once the SQE was taken.
            let (ring, buffer) = (session.ring(8), session.memory(32));
            let (read, write) = session.pipe();
            let vectors = session.vectors(&[(buffer.addr(), 4), (buffer.addr() + 16, 8)]);
            ring.push(prep::readv(read, vectors.addr(), 2, 0).with_user_data(1));
            session.outcome("submit", ring.submit());
            vectors.fill(&[0xff; 32]);
            session.write_fd(write, b"still there");
            session.cqes("completion", &ring.collect(1));
            session.bytes("buffer", &buffer.bytes());
        }),
        Case::new("writev/pipe", Opcode::Writev, |session| {
            let (ring, buffer) = (session.ring(8), session.memory_of(b"abcdef"));
            let (read, write) = session.pipe();
            let vectors = session.vectors(&[(buffer.addr() + 3, 3), (buffer.addr(), 3)]);
            session.one_recorded("two parts", &ring, prep::writev(write, vectors.addr(), 2, 0));
            session.bytes("read", &session.read_fd(read, 64));
        }),
    ]);
    cases
}
