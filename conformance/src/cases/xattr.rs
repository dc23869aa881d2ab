//! FSETXATTR, SETXATTR, FGETXATTR and GETXATTR.
//!
//! Where the file system has no user attributes, both backends say so.

use ringer_abi::{Opcode, Sqe};

use super::rw::TEXT;
use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::{Case, Session, prep};

/// The name in `addr`, the value in `off`, its size in `len`.
fn attribute(opcode: Opcode, fd: i32, name: u64, value: u64, size: u32) -> Sqe {
    prep::op(opcode, fd).with_addr(name).with_off(value).with_len(size)
}

fn name(session: &Session) -> u64 {
    session.path("user.color").addr()
}

/// A file that has the attribute already, if attributes are possible here.
fn attributed(session: &Session) -> (i32, std::path::PathBuf) {
    let path = session.file_path(TEXT);
    let file = rustix::fs::open(&path, rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty()).expect("a file");
    let _ = rustix::fs::fsetxattr(&file, "user.color", b"green", rustix::fs::XattrFlags::empty());
    (session.keep(file), path)
}

const FILE: &[Field] = &[Field::Off, Field::Addr, Field::Len, Field::OpFlags];
const PATH: &[Field] = &[Field::Off, Field::Addr, Field::Len, Field::OpFlags, Field::Addr3];

const FSETXATTR: Exemplar = Exemplar::new(
    "fsetxattr",
    Opcode::Fsetxattr,
    FdRole::File,
    FILE,
    &[Field::Off, Field::Addr],
    |session, _| {
        let (file, value) = (session.file(TEXT), session.memory_of(b"blue"));
        Good::new(attribute(Opcode::Fsetxattr, file, name(session), value.addr(), 4)).observe(
            move |session| {
                let mut bytes = [0; 16];
                let size =
                    session.with_kept(file, |fd| rustix::fs::fgetxattr(fd, "user.color", &mut bytes[..]));
                session.bytes("value", &bytes[..size.unwrap_or(0)]);
            },
        )
    },
);

const SETXATTR: Exemplar = Exemplar::new(
    "setxattr",
    Opcode::Setxattr,
    FdRole::Ignored,
    PATH,
    &[Field::Off, Field::Addr, Field::Addr3],
    |session, _| {
        let (path, value) = (session.path(session.file_path(TEXT)), session.memory_of(b"blue"));
        Good::new(attribute(Opcode::Setxattr, -1, name(session), value.addr(), 4).with_addr3(path.addr()))
    },
);

const FGETXATTR: Exemplar = Exemplar::new(
    "fgetxattr",
    Opcode::Fgetxattr,
    FdRole::File,
    FILE,
    &[Field::Off, Field::Addr],
    |session, _| {
        let ((file, _), value) = (attributed(session), session.memory(16));
        Good::new(attribute(Opcode::Fgetxattr, file, name(session), value.addr(), 16))
            .observe(move |session| session.bytes("value", &value.bytes()))
    },
);

const GETXATTR: Exemplar = Exemplar::new(
    "getxattr",
    Opcode::Getxattr,
    FdRole::Ignored,
    PATH,
    &[Field::Off, Field::Addr, Field::Addr3],
    |session, _| {
        let ((_, path), value) = (attributed(session), session.memory(16));
        let path = session.path(path);
        Good::new(attribute(Opcode::Getxattr, -1, name(session), value.addr(), 16).with_addr3(path.addr()))
            .observe(move |session| session.bytes("value", &value.bytes()))
    },
);

/// The cases of the family.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> =
        [FSETXATTR, SETXATTR, FGETXATTR, GETXATTR].into_iter().flat_map(Exemplar::cases).collect();
    cases.extend([
        Case::new("fgetxattr/sizes-and-names", Opcode::Fgetxattr, |session| {
            let ring = session.ring(8);
            let ((file, _), value) = (attributed(session), session.memory(64));
            for size in [0, 1, 5, 64, 65536, 65537, u32::MAX] {
                let sqe = attribute(Opcode::Fgetxattr, file, name(session), value.addr(), size);
                session.one_recorded(format!("size {size}"), &ring, sqe);
            }
            for name in ["", "color", "user.", "user.missing", "nonsense.color", &"u".repeat(300)] {
                let sqe = attribute(Opcode::Fgetxattr, file, session.path(name).addr(), value.addr(), 64);
                session.one_recorded(format!("name {name:.12}"), &ring, sqe);
            }
        }),
        Case::new("fsetxattr/flags-and-sizes", Opcode::Fsetxattr, |session| {
            let ring = session.ring(8);
            let value = session.memory_of(b"blue");
            for flags in [0, 1, 2, 3, 4] {
                for exists in [false, true] {
                    let file = if exists { attributed(session).0 } else { session.file(TEXT) };
                    let sqe = attribute(Opcode::Fsetxattr, file, name(session), value.addr(), 4);
                    session.one_recorded(
                        format!("flags {flags}, exists {exists}"),
                        &ring,
                        sqe.with_op_flags(flags),
                    );
                }
            }
            for size in [0, 65537, u32::MAX] {
                let sqe = attribute(Opcode::Fsetxattr, session.file(TEXT), name(session), value.addr(), size);
                session.one_recorded(format!("size {size}"), &ring, sqe);
            }
        }),
    ]);
    cases
}
