//! READs and WRITEs of adjacent parts of one file in one submission: each has the result that it would have alone.

use ringer_abi::{Opcode, RegisterOpcode, Sqe, SqeFlags};
use ringer_sys::call;
use rustix::fs::OFlags;

use super::rw::TEXT;
use crate::differential::memory::Memory;
use crate::differential::{Case, Session, prep};

/// Five requests on parts of eight bytes, one behind the other.
fn parts(opcode: Opcode, fd: i32, memory: &Memory, start: u64) -> Vec<Sqe> {
    (0..5)
        .map(|part| {
            let sqe = prep::op(opcode, fd).with_addr(memory.addr() + 8 * part).with_len(8);
            sqe.with_off(start.wrapping_add(8 * part)).with_user_data(part)
        })
        .collect()
}

/// Reads and writes five parts of a file, some of which were changed.
fn play(session: &Session, label: &str, file: i32, start: u64, change: impl Fn(&mut Vec<Sqe>)) {
    for opcode in [Opcode::Read, Opcode::Write] {
        let ring = session.ring(8);
        let memory = session.memory_of(b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH");
        let mut sqes = parts(opcode, file, &memory, start);
        change(&mut sqes);
        // Twice: what kind of file it is may be known by then.
        for round in 0..2 {
            session.batch(format!("{label}, {opcode:?}, {round}"), &ring, &sqes);
        }
        session.bytes(format!("{label}, {opcode:?}: memory"), &memory.bytes());
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    vec![
        Case::general("adjacent/places", |session| {
            for start in [0, 20, 40, 60, 64, 100, i64::MAX as u64 - 20, u64::MAX - 20, u64::MAX] {
                let file = session.file(TEXT);
                play(session, &format!("at {start:#x}"), file, start, |_| ());
                session.bytes("content", &session.content(file)[..64.min(session.content(file).len())]);
                session.record("position", session.position(file));
            }
        }),
        Case::general("adjacent/files", |session| {
            for (label, kind) in crate::differential::kinds::KINDS {
                let scene = session.ring(4);
                let file = kind(session, &scene);
                // A stream has no places.
                if call::file_kind(file) == Ok(call::FileKind::Seekable) {
                    play(session, label, file, 0, |_| ());
                }
                session.fresh();
            }
            for flags in
                [OFlags::RDWR | OFlags::APPEND, OFlags::RDWR | OFlags::SYNC, OFlags::RDWR | OFlags::DIRECT]
            {
                let file = session.file_with(TEXT, flags);
                play(session, &format!("{flags:?}"), file, 0, |_| ());
                // A direct read of it would have to be of whole blocks.
                if !flags.contains(OFlags::DIRECT) {
                    session.bytes("content", &session.content(file));
                }
            }
        }),
        Case::general("adjacent/bad-memory", |session| {
            let bad = session.bad_address();
            for index in 0..5 {
                let file = session.file(TEXT);
                play(session, &format!("bad {index}"), file, 0, |sqes| {
                    sqes[index] = sqes[index].with_addr(bad)
                });
                session.bytes("content", &session.content(file));
                let edge = session.edge(5);
                play(session, &format!("edge {index}"), file, 0, |sqes| {
                    sqes[index] = sqes[index].with_addr(edge.addr());
                });
                session.bytes("content", &session.content(file));
            }
        }),
        Case::general("adjacent/one-that-differs", |session| {
            type Change = fn(Sqe) -> Sqe;
            let changes: [(&str, Change); 8] = [
                ("another place", |sqe| sqe.with_off(sqe.off() + 1)),
                ("no bytes", |sqe| sqe.with_len(0)),
                ("fewer bytes", |sqe| sqe.with_len(3)),
                ("closed", |sqe| sqe.with_fd(-1)),
                ("another opcode", |sqe| sqe.with_opcode(Opcode::Nop.number())),
                ("linked", |sqe| sqe.with_flags(SqeFlags::IO_LINK)),
                ("silent", |sqe| sqe.with_flags(SqeFlags::CQE_SKIP_SUCCESS)),
                ("bad priority", |sqe| sqe.with_ioprio(7)),
            ];
            for (label, change) in changes {
                for index in 0..5 {
                    let file = session.file(TEXT);
                    for opcode in [Opcode::Read, Opcode::Write] {
                        let ring = session.ring(8);
                        let memory = session.memory_of(b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH");
                        let mut sqes = parts(opcode, file, &memory, 0);
                        sqes[index] = change(sqes[index]);
                        ring.push_all(&sqes);
                        session.outcome(format!("{label} {index}, {opcode:?}"), ring.submit());
                        session.quiet(format!("{label} {index}, {opcode:?}"), &ring);
                        session.bytes("memory", &memory.bytes());
                    }
                    session.bytes("content", &session.content(file));
                }
            }
        }),
        Case::general("adjacent/no-bytes-of-what-is-not-open-for-it", |session| {
            for flags in [OFlags::RDONLY, OFlags::WRONLY] {
                let file = session.file_with(TEXT, flags);
                play(session, &format!("{flags:?}"), file, 0, |sqes| {
                    // The second goes on where the first, of no bytes, ends.
                    sqes[0] = sqes[0].with_len(0).with_off(8);
                });
            }
        }),
        Case::general("adjacent/same-memory", |session| {
            let (ring, file, memory) = (session.ring(8), session.file(TEXT), session.memory(8));
            let mut sqes = parts(Opcode::Read, file, &memory, 8);
            sqes.iter_mut().for_each(|sqe| *sqe = sqe.with_addr(memory.addr()));
            session.batch("all into one place", &ring, &sqes);
            session.bytes("the last", &memory.bytes());
        }),
        Case::general("adjacent/registered-file", |session| {
            let (ring, file) = (session.ring(8), session.file(TEXT));
            let files = session.ints(&[file]);
            session.outcome("register", ring.register(RegisterOpcode::Files.number(), files.addr(), 1));
            for opcode in [Opcode::Write, Opcode::Read] {
                let memory = session.memory_of(b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGH");
                let mut sqes = parts(opcode, 0, &memory, 30);
                sqes.iter_mut().for_each(|sqe| *sqe = sqe.with_flags(SqeFlags::FIXED_FILE));
                session.batch(format!("{opcode:?}"), &ring, &sqes);
                session.bytes("memory", &memory.bytes());
            }
            session.bytes("content", &session.content(file));
        }),
    ]
}
