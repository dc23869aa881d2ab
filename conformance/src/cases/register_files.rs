//! FILES, UNREGISTER_FILES, FILES_UPDATE, FILES2, FILES_UPDATE2 and FILE_ALLOC_RANGE.

use ringer_abi::{RegisterOpcode, SqeFlags, uapi};

use crate::differential::errno::result_name;
use crate::differential::memory::Memory;
use crate::differential::{Case, Ring, Session, prep};

const FILES: u32 = RegisterOpcode::Files.number();
const UNREGISTER: u32 = RegisterOpcode::UnregisterFiles.number();
const UPDATE: u32 = RegisterOpcode::FilesUpdate.number();
const FILES2: u32 = RegisterOpcode::Files2.number();
const UPDATE2: u32 = RegisterOpcode::FilesUpdate2.number();
const ALLOC_RANGE: u32 = RegisterOpcode::FileAllocRange.number();
const SPARSE: u32 = uapi::IORING_RSRC_REGISTER_SPARSE;
const SKIP: i32 = uapi::IORING_REGISTER_FILES_SKIP;

/// `struct io_uring_rsrc_register` is this long.
pub(super) const RSRC_REGISTER: u32 = 32;
/// `struct io_uring_rsrc_update2` is this long.
pub(super) const RSRC_UPDATE2: u32 = 32;

/// A `struct io_uring_rsrc_register`.
pub(super) fn rsrc_register(session: &Session, count: u32, flags: u32, data: u64, tags: u64) -> Memory {
    session.words(&[u64::from(count) | u64::from(flags) << 32, 0, data, tags])
}

/// A `struct io_uring_rsrc_update2`.
pub(super) fn rsrc_update2(session: &Session, offset: u32, data: u64, tags: u64, count: u32) -> Memory {
    session.words(&[u64::from(offset), data, tags, u64::from(count)])
}

/// A `struct io_uring_rsrc_update`, as FILES_UPDATE takes it.
fn rsrc_update(session: &Session, offset: u32, data: u64) -> Memory {
    session.words(&[u64::from(offset), data])
}

/// What each slot holds, by reading a byte of it.
pub(super) fn slots(session: &Session, ring: &Ring, label: &str, count: i32) {
    let buffer = session.memory(64);
    let seen: Vec<String> = (0..count)
        .map(|slot| {
            let fixed = prep::read(slot, buffer.addr(), 1, 0).with_flags(SqeFlags::FIXED_FILE);
            match session.one(ring, fixed.with_user_data(7777)) {
                Some(cqe) if cqe.res >= 0 => char::from(buffer.get::<u8>(0)).to_string(),
                Some(cqe) => result_name(cqe.res.into()),
                None => "none".to_owned(),
            }
        })
        .collect();
    session.record(format!("{label}: slots"), seen.join(" "));
}

/// Registers files that hold one letter each: `a`, `b`, `c`…; `-` stands for an empty slot.
fn table(session: &Session, ring: &Ring, letters: &str) {
    let fds: Vec<i32> =
        letters.bytes().map(|letter| if letter == b'-' { -1 } else { session.file(&[letter]) }).collect();
    let array = session.ints(&fds);
    session.outcome("register", ring.register(FILES, array.addr(), fds.len() as u32));
}

/// The cases of registered files.
pub fn cases() -> Vec<Case> {
    let mut cases = plain();
    cases.extend(updates());
    cases.extend(tagged());
    cases.extend(ranges());
    cases
}

fn plain() -> Vec<Case> {
    vec![
        Case::general("register-files/arguments", |session| {
            let ring = session.ring(4);
            let array = session.ints(&[session.file(b"a"), -1, session.file(b"b")]);
            session.outcome("unregister without", ring.register(UNREGISTER, 0, 0));
            for count in [0, 1 << 20, (1 << 20) + 1, u32::MAX] {
                session.outcome(format!("count {count}"), ring.register(FILES, array.addr(), count));
                let _ = ring.register(UNREGISTER, 0, 0);
            }
            session.outcome("null", ring.register(FILES, 0, 1));
            session.outcome("bad address", ring.register(FILES, session.bad_address(), 1));
            let edge = session.edge(4);
            edge.put(0, session.file(b"x"));
            session.outcome("runs off the edge", ring.register(FILES, edge.addr(), 2));
            session.outcome("after the failures", ring.register(UNREGISTER, 0, 0));
            session.outcome("good", ring.register(FILES, array.addr(), 3));
            slots(session, &ring, "good", 4);
            session.outcome("twice", ring.register(FILES, array.addr(), 3));
            session.outcome("unregister with an argument", ring.register(UNREGISTER, array.addr(), 0));
            session.outcome("unregister with a count", ring.register(UNREGISTER, 0, 1));
            session.outcome("unregister", ring.register(UNREGISTER, 0, 0));
            slots(session, &ring, "unregistered", 1);
            session.outcome("good again", ring.register(FILES, array.addr(), 1));
        })
        .expect(&[("unregister without", "-ENXIO"), ("count 0", "-EINVAL"), ("twice", "-EBUSY")]),
        Case::general("register-files/values", |session| {
            let values = [
                ("closed", session.closed_fd()),
                ("-2", SKIP),
                ("-3", -3),
                ("huge", i32::MAX),
                ("O_PATH", session.file_with(b"p", rustix::fs::OFlags::PATH)),
                ("directory", session.directory_fd()),
                ("epoll", session.epoll()),
                ("socket", session.pair().0),
            ];
            for (label, value) in values {
                let ring = session.ring(4);
                let array = session.ints(&[session.file(b"a"), value]);
                session.outcome(label, ring.register(FILES, array.addr(), 2));
                slots(session, &ring, label, 2);
            }
            let ring = session.ring(4);
            let array = session.ints(&[ring.fd]);
            session.outcome("the ring itself", ring.register(FILES, array.addr(), 1));
            let other = session.ring(4);
            let array = session.ints(&[other.fd]);
            session.outcome("another ring", ring.register(FILES, array.addr(), 1));
        }),
        Case::general("register-files/outlive-their-descriptors", |session| {
            let ring = session.ring(4);
            let file = session.file(b"a");
            let array = session.ints(&[file]);
            session.outcome("register", ring.register(FILES, array.addr(), 1));
            session.close_kept(file);
            session.file(b"b");
            slots(session, &ring, "closed", 1);
        }),
        Case::general("register-files/released-with-the-table", |session| {
            let ring = session.ring(4);
            let (read, write) = session.pipe();
            let array = session.ints(&[write]);
            session.outcome("register", ring.register(FILES, array.addr(), 1));
            session.close_kept(write);
            session.with_kept(read, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a pipe");
            let look = |label: &str| {
                let mut byte = [0];
                let read = session.with_kept(read, |fd| rustix::io::read(fd, &mut byte));
                session.outcome(label, read.map(|read| read as i64));
            };
            look("the table holds it");
            session.outcome("unregister", ring.register(UNREGISTER, 0, 0));
            look("released");
        }),
        Case::general("register-files/bad-calls", |session| {
            let ring = session.ring(4);
            for opcode in [36, 37, 100, 1 << 30, 1 << 31, u32::MAX] {
                session.outcome(format!("opcode {opcode}"), ring.register(opcode, 0, 0));
            }
            let array = session.ints(&[-1]);
            for (label, fd) in [
                ("-1", -1),
                ("closed", session.closed_fd()),
                ("a file", session.file(b"")),
                ("an eventfd", session.eventfd(0)),
            ] {
                session.outcome(label, session.register(fd, FILES, array.addr(), 1));
                session.outcome(format!("{label}, unknown opcode"), session.register(fd, 100, 0, 0));
            }
        }),
    ]
}

fn updates() -> Vec<Case> {
    vec![
        Case::general("register-files/update", |session| {
            let ring = session.ring(4);
            let fds = session.ints(&[session.file(b"x"), session.file(b"y")]);
            let update = |offset: u32| rsrc_update(session, offset, fds.addr());
            session.outcome("no table", ring.register(UPDATE, update(0).addr(), 1));
            table(session, &ring, "abc-");
            for (offset, count) in [
                (0, 1),
                (1, 2),
                (3, 1),
                (3, 2),
                (4, 1),
                (4, 0),
                (0, 0),
                (u32::MAX, 1),
                (u32::MAX, 2),
                (0, u32::MAX),
            ] {
                let label = format!("{count} from {offset}");
                session.outcome(&label, ring.register(UPDATE, update(offset).addr(), count));
                slots(session, &ring, &label, 4);
            }
            session.outcome("null", ring.register(UPDATE, 0, 1));
            session.outcome("bad address", ring.register(UPDATE, session.bad_address(), 1));
            session.outcome("null array", ring.register(UPDATE, rsrc_update(session, 0, 0).addr(), 1));
            let reserved = session.words(&[1 << 32, fds.addr()]);
            session.outcome("reserved", ring.register(UPDATE, reserved.addr(), 1));
        }),
        Case::general("register-files/update-values", |session| {
            let closed = session.closed_fd();
            let values: [(&str, Vec<i32>); 8] = [
                ("remove", vec![-1, -1]),
                ("skip", vec![SKIP, -1]),
                ("skip all", vec![SKIP, SKIP, SKIP]),
                ("-3", vec![-3, -1]),
                ("closed first", vec![closed, -1]),
                ("closed second", vec![-1, closed, -1]),
                ("remove an empty one", vec![SKIP, SKIP, SKIP, -1]),
                ("the ring", vec![i32::MIN]),
            ];
            for (label, mut values) in values {
                let ring = session.ring(4);
                table(session, &ring, "abc-");
                for value in &mut values {
                    if *value == i32::MIN {
                        *value = ring.fd;
                    }
                }
                let fds = session.ints(&values);
                let update = rsrc_update(session, 0, fds.addr());
                session.outcome(label, ring.register(UPDATE, update.addr(), values.len() as u32));
                slots(session, &ring, label, 4);
            }
        }),
        Case::general("register-files/update-while-in-use", |session| {
            let ring = session.ring(4);
            let (read, write) = session.pipe();
            let array = session.ints(&[read]);
            session.outcome("register", ring.register(FILES, array.addr(), 1));
            let buffer = session.memory(8);
            ring.push(prep::read(0, buffer.addr(), 8, 0).with_flags(SqeFlags::FIXED_FILE).with_user_data(1));
            session.outcome("read", ring.submit());
            let gone = session.ints(&[-1]);
            let update = rsrc_update(session, 0, gone.addr());
            session.outcome("remove", ring.register(UPDATE, update.addr(), 1));
            session.outcome("unregister", ring.register(UNREGISTER, 0, 0));
            session.close_kept(read);
            session.write_fd(write, b"still");
            session.cqes("the read", &ring.collect(1));
        }),
    ]
}

fn tagged() -> Vec<Case> {
    vec![
        Case::general("register-files/files2-arguments", |session| {
            let ring = session.ring(4);
            let (fds, tags) = (session.ints(&[session.file(b"a"), -1]), session.words(&[1, 0]));
            let good = rsrc_register(session, 2, 0, fds.addr(), tags.addr());
            for size in [0, 16, 31, 33, 40] {
                session.outcome(format!("size {size}"), ring.register(FILES2, good.addr(), size));
            }
            let reserved = session.words(&[2, 1, fds.addr(), 0]);
            let odd = [
                ("null", 0),
                ("bad address", session.bad_address()),
                ("none", rsrc_register(session, 0, 0, fds.addr(), 0).addr()),
                ("unknown flag", rsrc_register(session, 2, 2, fds.addr(), 0).addr()),
                ("reserved", reserved.addr()),
                ("null array", rsrc_register(session, 2, 0, 0, 0).addr()),
                ("bad tags", rsrc_register(session, 2, 0, fds.addr(), session.bad_address()).addr()),
                (
                    "tag on an empty slot",
                    rsrc_register(session, 2, 0, fds.addr(), session.words(&[1, 2]).addr()).addr(),
                ),
                ("sparse with an array", rsrc_register(session, 2, SPARSE, fds.addr(), 0).addr()),
                ("sparse with tags", rsrc_register(session, 2, SPARSE, 0, tags.addr()).addr()),
                ("too many", rsrc_register(session, (1 << 20) + 1, SPARSE, 0, 0).addr()),
            ];
            for (label, argument) in odd {
                session.outcome(label, ring.register(FILES2, argument, RSRC_REGISTER));
                session.outcome(format!("{label}: unregister"), ring.register(UNREGISTER, 0, 0));
            }
            session.outcome("good", ring.register(FILES2, good.addr(), RSRC_REGISTER));
            session.outcome("twice", ring.register(FILES2, good.addr(), RSRC_REGISTER));
            session.outcome("plain on top", ring.register(FILES, fds.addr(), 2));
            slots(session, &ring, "good", 3);
        }),
        Case::general("register-files/sparse", |session| {
            let ring = session.ring(4);
            let sparse = rsrc_register(session, 4, SPARSE, 0, 0);
            session.outcome("register", ring.register(FILES2, sparse.addr(), RSRC_REGISTER));
            slots(session, &ring, "sparse", 5);
            let fds = session.ints(&[session.file(b"a"), session.file(b"b")]);
            let update = rsrc_update(session, 2, fds.addr());
            session.outcome("update", ring.register(UPDATE, update.addr(), 2));
            slots(session, &ring, "updated", 5);
        }),
        Case::general("register-files/tags", |session| {
            let ring = session.ring(8);
            let fds = session.ints(&[session.file(b"a"), session.file(b"b"), session.file(b"c")]);
            let tags = session.words(&[71, 0, 73]);
            let register = rsrc_register(session, 3, 0, fds.addr(), tags.addr());
            session.outcome("register", ring.register(FILES2, register.addr(), RSRC_REGISTER));
            session.quiet("nothing yet", &ring);
            let update = |offset, fds: &[i32], tags: &[u64]| {
                let (data, tags) = (session.ints(fds), session.words(tags));
                rsrc_update2(session, offset, data.addr(), tags.addr(), fds.len() as u32)
            };
            let replace = update(0, &[session.file(b"x")], &[81]);
            session.outcome("replace 0", ring.register(UPDATE2, replace.addr(), RSRC_UPDATE2));
            session.cqes("its tag", &ring.collect(1));
            let untagged = update(1, &[-1], &[0]);
            session.outcome("remove 1", ring.register(UPDATE2, untagged.addr(), RSRC_UPDATE2));
            session.quiet("it had none", &ring);
            let tag_on_nothing = update(1, &[-1], &[5]);
            session.outcome("a tag on nothing", ring.register(UPDATE2, tag_on_nothing.addr(), RSRC_UPDATE2));
            session.outcome("unregister", ring.register(UNREGISTER, 0, 0));
            session.cqes("the others", &ring.collect(2));
            session.quiet("no more", &ring);
        }),
        Case::general("register-files/tag-waits-for-the-last-request", |session| {
            let ring = session.ring(8);
            let (read, write) = session.pipe();
            let (fds, tags) = (session.ints(&[read]), session.words(&[71]));
            let register = rsrc_register(session, 1, 0, fds.addr(), tags.addr());
            session.outcome("register", ring.register(FILES2, register.addr(), RSRC_REGISTER));
            let buffer = session.memory(8);
            ring.push(prep::read(0, buffer.addr(), 8, 0).with_flags(SqeFlags::FIXED_FILE).with_user_data(1));
            session.outcome("read", ring.submit());
            session.outcome("unregister", ring.register(UNREGISTER, 0, 0));
            session.quiet("in use", &ring);
            session.write_fd(write, b"x");
            session.cqes("both", &ring.collect(2));
        }),
        Case::general("register-files/update2-arguments", |session| {
            let ring = session.ring(8);
            let fds = session.ints(&[session.file(b"x"), session.file(b"y")]);
            let good = rsrc_update2(session, 0, fds.addr(), 0, 2);
            session.outcome("no table", ring.register(UPDATE2, good.addr(), RSRC_UPDATE2));
            table(session, &ring, "abc");
            for size in [0, 16, 31, 33] {
                session.outcome(format!("size {size}"), ring.register(UPDATE2, good.addr(), size));
            }
            let reserved = session.words(&[1 << 32, fds.addr(), 0, 1]);
            let reserved2 = session.words(&[0, fds.addr(), 0, 1 | 1 << 32]);
            let odd = [
                ("null", 0),
                ("none", rsrc_update2(session, 0, fds.addr(), 0, 0).addr()),
                ("past the end", rsrc_update2(session, 2, fds.addr(), 0, 2).addr()),
                ("wraps", rsrc_update2(session, u32::MAX, fds.addr(), 0, 2).addr()),
                ("null array", rsrc_update2(session, 0, 0, 0, 1).addr()),
                ("bad tags", rsrc_update2(session, 0, fds.addr(), session.bad_address(), 1).addr()),
                ("reserved", reserved.addr()),
                ("reserved 2", reserved2.addr()),
                ("good", good.addr()),
            ];
            for (label, argument) in odd {
                session.outcome(label, ring.register(UPDATE2, argument, RSRC_UPDATE2));
            }
            slots(session, &ring, "in the end", 3);
        }),
    ]
}

fn ranges() -> Vec<Case> {
    vec![Case::general("register-files/alloc-range", |session| {
        let ring = session.ring(8);
        let range = |offset: u32, length: u32, reserved: u64| {
            session.words(&[u64::from(offset) | u64::from(length) << 32, reserved])
        };
        session.outcome("no table", ring.register(ALLOC_RANGE, range(0, 1, 0).addr(), 0));
        table(session, &ring, "------");
        session.outcome("with a count", ring.register(ALLOC_RANGE, range(0, 1, 0).addr(), 1));
        session.outcome("null", ring.register(ALLOC_RANGE, 0, 0));
        session.outcome("reserved", ring.register(ALLOC_RANGE, range(0, 1, 1).addr(), 0));
        session.outcome("past the end", ring.register(ALLOC_RANGE, range(4, 3, 0).addr(), 0));
        session.outcome("wraps", ring.register(ALLOC_RANGE, range(u32::MAX, 2, 0).addr(), 0));
        session.outcome("good", ring.register(ALLOC_RANGE, range(2, 2, 0).addr(), 0));
        let any = uapi::IORING_FILE_INDEX_ALLOC as u32;
        let socket = prep::op(ringer_abi::Opcode::Socket, 1).with_off(1).with_file_index(any);
        for round in 0..3 {
            session.one_recorded(format!("socket {round}"), &ring, socket);
        }
        session.outcome("empty", ring.register(ALLOC_RANGE, range(0, 0, 0).addr(), 0));
        session.one_recorded("socket in an empty range", &ring, socket);
    })]
}
