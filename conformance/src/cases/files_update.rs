//! FILES_UPDATE.

use ringer_abi::{Opcode, RegisterOpcode, Sqe, SqeFlags};

use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::{Case, Ring, Session, prep};

/// FILES_UPDATE: the array in `addr`, its length in `len`, the first slot in `off`.
fn files_update(array: u64, count: u32, first: u64) -> Sqe {
    prep::op(Opcode::FilesUpdate, -1).with_addr(array).with_len(count).with_off(first)
}

fn table(session: &Session, ring: &Ring, slots: &[i32]) {
    let array = session.ints(slots);
    let outcome = ring.register(RegisterOpcode::Files.number(), array.addr(), slots.len() as u32);
    session.outcome("register", outcome);
}

/// What each slot holds, by reading it.
fn slots(session: &Session, ring: &Ring, label: &str, count: i32) {
    let buffer = session.memory(64);
    for slot in 0..count {
        let fixed = prep::read(slot, buffer.addr(), 8, 0).with_flags(SqeFlags::FIXED_FILE);
        let result = session.one(ring, fixed.with_user_data(77)).map_or(-1, |cqe| cqe.res);
        let text = if result >= 0 {
            String::from_utf8_lossy(&buffer.bytes()[..result as usize]).into_owned()
        } else {
            crate::differential::errno::result_name(result.into())
        };
        session.record(format!("{label}: slot {slot}"), text);
    }
}

const FILES_UPDATE: Exemplar = Exemplar::new(
    "files-update",
    Opcode::FilesUpdate,
    FdRole::Ignored,
    &[Field::Off, Field::Addr, Field::Len],
    &[Field::Addr],
    |session, ring| {
        table(session, ring, &[-1, session.file(b"old"), -1]);
        let array = session.ints(&[session.file(b"new"), session.file(b"newer")]);
        Good::new(files_update(array.addr(), 2, 1)).observe(move |session| {
            session.record("array kept", array.get::<i32>(0) >= 0 && array.get::<i32>(4) >= 0);
        })
    },
);

/// The cases of FILES_UPDATE.
pub fn cases() -> Vec<Case> {
    let mut cases = FILES_UPDATE.cases();
    // These kinds of cases register files themselves, which this scene has done already.
    cases.retain(|case| case.name != "files-update/fixed-file");
    cases.extend([
        Case::new("files-update/ranges", Opcode::FilesUpdate, |session| {
            let ring = session.ring(8);
            let array = session.ints(&[session.file(b"a"), session.file(b"b")]);
            session.one_recorded("no table", &ring, files_update(array.addr(), 1, 0));
            table(session, &ring, &[-1, -1, -1]);
            for (count, first) in [
                (0, 0),
                (1, 0),
                (2, 1),
                (2, 2),
                (1, 3),
                (2, u64::from(u32::MAX)),
                (1, u64::MAX),
                (u32::MAX, 0),
            ] {
                let label = format!("{count} from {first}");
                session.one_recorded(&label, &ring, files_update(array.addr(), count, first));
                slots(session, &ring, &label, 3);
            }
            session.one_recorded("null array", &ring, files_update(0, 1, 0));
            session.one_recorded("null array, none", &ring, files_update(0, 0, 0));
        }),
        Case::new("files-update/values", Opcode::FilesUpdate, |session| {
            let ring = session.ring(8);
            table(session, &ring, &[session.file(b"one"), session.file(b"two"), session.file(b"three")]);
            let closed = session.closed_fd();
            for (label, values) in [
                ("remove", [-1, -2, -2]),
                ("remove empty", [-1, -2, -2]),
                ("closed first", [closed, -1, -1]),
                ("closed second", [-2, closed, -1]),
                ("other negative", [-3, -2, -2]),
                ("the ring", [ring.fd, -2, -2]),
            ] {
                let array = session.ints(&values);
                session.one_recorded(label, &ring, files_update(array.addr(), 3, 0));
                slots(session, &ring, label, 3);
            }
        }),
        Case::new("files-update/any-slot", Opcode::FilesUpdate, |session| {
            let ring = session.ring(8);
            table(session, &ring, &[-1, session.file(b"taken"), -1]);
            let alloc = u64::from(u32::MAX);
            let array = session.ints(&[session.file(b"x"), session.file(b"y"), session.file(b"z")]);
            session.one_recorded("two of two", &ring, files_update(array.addr(), 2, alloc));
            session.record("slots", format!("{} {}", array.get::<i32>(0), array.get::<i32>(4)));
            slots(session, &ring, "two of two", 3);
            let last = session.ints(&[session.file(b"x")]);
            session.one_recorded("full", &ring, files_update(last.addr(), 1, alloc));
        }),
        Case::new("files-update/edge", Opcode::FilesUpdate, |session| {
            let ring = session.ring(8);
            table(session, &ring, &[-1, -1, -1]);
            let edge = session.edge(4);
            edge.put(0, session.file(b"x"));
            session.one_recorded("the array runs off the edge", &ring, files_update(edge.addr(), 2, 0));
            slots(session, &ring, "after", 3);
        }),
        Case::new("files-update/while-in-use", Opcode::FilesUpdate, |session| {
            let ring = session.ring(8);
            let (read, write) = session.pipe();
            table(session, &ring, &[read]);
            let buffer = session.memory(8);
            let sqe = prep::read(0, buffer.addr(), 8, 0).with_flags(SqeFlags::FIXED_FILE).with_user_data(1);
            ring.push(sqe);
            session.outcome("read", ring.submit());
            let array = session.ints(&[-1]);
            session.one_recorded("remove", &ring, files_update(array.addr(), 1, 0).with_user_data(2));
            session.close_kept(read);
            session.write_fd(write, b"still");
            session.cqes("the read", &ring.collect(1));
            session.bytes("buffer", &buffer.bytes());
        }),
    ]);
    cases
}
