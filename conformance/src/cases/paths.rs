//! RENAMEAT, UNLINKAT, MKDIRAT, SYMLINKAT, LINKAT and FTRUNCATE.

use ringer_abi::{Opcode, Sqe};

use super::rw::TEXT;
use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::{Case, Session, prep};

const AT_FDCWD: i32 = -100;
const AT_REMOVEDIR: u32 = 0x200;

/// RENAMEAT and LINKAT: the new directory in `len`, the new path in `off`.
fn two_paths(opcode: Opcode, from: (i32, u64), to: (i32, u64), flags: u32) -> Sqe {
    prep::op(opcode, from.0).with_addr(from.1).with_len(to.0 as u32).with_off(to.1).with_op_flags(flags)
}

fn unlinkat(directory: i32, path: u64, flags: u32) -> Sqe {
    prep::op(Opcode::Unlinkat, directory).with_addr(path).with_op_flags(flags)
}

fn mkdirat(directory: i32, path: u64, mode: u32) -> Sqe {
    prep::op(Opcode::Mkdirat, directory).with_addr(path).with_len(mode)
}

fn symlinkat(target: u64, directory: i32, path: u64) -> Sqe {
    prep::op(Opcode::Symlinkat, directory).with_addr(target).with_off(path)
}

fn ftruncate(fd: i32, length: u64) -> Sqe {
    prep::op(Opcode::Ftruncate, fd).with_off(length)
}

/// The name of a new file with content in the case's directory, and its path.
fn file_name(session: &Session) -> (u64, std::path::PathBuf) {
    let path = session.file_path(TEXT);
    (session.path(path.file_name().expect("a name")).addr(), path)
}

/// A name in the case's directory that is free, and its path.
fn free_name(session: &Session) -> (u64, std::path::PathBuf) {
    let path = session.new_path();
    (session.path(path.file_name().expect("a name")).addr(), path)
}

const TWO_PATHS: &[Field] = &[Field::Off, Field::Addr, Field::Len, Field::OpFlags];
const BOTH: &[Field] = &[Field::Off, Field::Addr];

const RENAMEAT: Exemplar =
    Exemplar::new("renameat", Opcode::Renameat, FdRole::Directory, TWO_PATHS, BOTH, |session, _| {
        let directory = session.directory_fd();
        let ((from, old), (to, new)) = (file_name(session), free_name(session));
        Good::new(two_paths(Opcode::Renameat, (directory, from), (directory, to), 0)).observe(
            move |session| {
                session.record("old and new", format!("{} {}", old.exists(), new.exists()));
            },
        )
    });

const UNLINKAT: Exemplar = Exemplar::new(
    "unlinkat",
    Opcode::Unlinkat,
    FdRole::Directory,
    &[Field::Addr, Field::OpFlags],
    &[Field::Addr],
    |session, _| {
        let (directory, (name, path)) = (session.directory_fd(), file_name(session));
        Good::new(unlinkat(directory, name, 0))
            .observe(move |session| session.record("still there", path.exists()))
    },
);

const MKDIRAT: Exemplar = Exemplar::new(
    "mkdirat",
    Opcode::Mkdirat,
    FdRole::Directory,
    &[Field::Addr, Field::Len],
    &[Field::Addr],
    |session, _| {
        let (directory, (name, path)) = (session.directory_fd(), free_name(session));
        Good::new(mkdirat(directory, name, 0o700))
            .observe(move |session| session.record("a directory", path.is_dir()))
    },
);

const SYMLINKAT: Exemplar = Exemplar::new(
    "symlinkat",
    Opcode::Symlinkat,
    FdRole::Directory,
    &[Field::Off, Field::Addr],
    BOTH,
    |session, _| {
        let (directory, (name, path)) = (session.directory_fd(), free_name(session));
        let target = session.path("somewhere");
        Good::new(symlinkat(target.addr(), directory, name)).observe(move |session| {
            session.record("points to", format!("{:?}", std::fs::read_link(path).ok()));
        })
    },
);

const LINKAT: Exemplar =
    Exemplar::new("linkat", Opcode::Linkat, FdRole::Directory, TWO_PATHS, BOTH, |session, _| {
        let directory = session.directory_fd();
        let ((from, _), (to, new)) = (file_name(session), free_name(session));
        Good::new(two_paths(Opcode::Linkat, (directory, from), (directory, to), 0))
            .observe(move |session| session.record("the link", new.exists()))
    });

const FTRUNCATE: Exemplar =
    Exemplar::new("ftruncate", Opcode::Ftruncate, FdRole::File, &[Field::Off], &[], |session, _| {
        let file = session.file(TEXT);
        Good::new(ftruncate(file, 10))
            .observe(move |session| session.bytes("content", &session.content(file)))
    });

/// The cases of the family.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [RENAMEAT, UNLINKAT, MKDIRAT, SYMLINKAT, LINKAT, FTRUNCATE]
        .into_iter()
        .flat_map(Exemplar::cases)
        .collect();
    cases.extend([
        Case::new("renameat/flags", Opcode::Renameat, |session| {
            let ring = session.ring(8);
            let directory = session.directory_fd();
            for flags in [0, 1, 2, 4, 3, 8, 1 << 31] {
                for existing in [false, true] {
                    let (from, old) = file_name(session);
                    let (to, new) = if existing { file_name(session) } else { free_name(session) };
                    let label = format!("flags {flags:#x}, target exists {existing}");
                    // WHITEOUT needs a privilege and a file system that knows it.
                    let sqe = two_paths(Opcode::Renameat, (directory, from), (directory, to), flags);
                    session.one_recorded(&label, &ring, sqe);
                    session.record(format!("{label}: after"), format!("{} {}", old.exists(), new.exists()));
                }
            }
        }),
        Case::new("renameat/directories", Opcode::Renameat, |session| {
            let ring = session.ring(8);
            let directory = session.directory_fd();
            let (from, _) = file_name(session);
            let (to, _) = free_name(session);
            for (label, fd) in [("closed", session.closed_fd()), ("-1", -1), ("a file", session.file(b""))] {
                let sqe = two_paths(Opcode::Renameat, (directory, from), (fd, to), 0);
                session.one_recorded(format!("new directory {label}"), &ring, sqe);
            }
        }),
        Case::new("unlinkat/kinds", Opcode::Unlinkat, |session| {
            let ring = session.ring(8);
            let directory = session.directory_fd();
            let (file, _) = file_name(session);
            let (sub, path) = free_name(session);
            std::fs::create_dir(path).expect("a fixture of the case");
            session.one_recorded("file as directory", &ring, unlinkat(directory, file, AT_REMOVEDIR));
            session.one_recorded("directory as file", &ring, unlinkat(directory, sub, 0));
            session.one_recorded("directory", &ring, unlinkat(directory, sub, AT_REMOVEDIR));
            session.one_recorded("missing", &ring, unlinkat(directory, sub, 0));
            session.one_recorded("empty path", &ring, unlinkat(directory, session.path("").addr(), 0));
            session.one_recorded("dot", &ring, unlinkat(directory, session.path(".").addr(), AT_REMOVEDIR));
        }),
        Case::new("mkdirat/kinds", Opcode::Mkdirat, |session| {
            use std::os::unix::fs::PermissionsExt;
            let ring = session.ring(8);
            let directory = session.directory_fd();
            for mode in [0, 0o777, 0o1777, u32::MAX] {
                let (name, path) = free_name(session);
                session.one_recorded(format!("mode {mode:o}"), &ring, mkdirat(directory, name, mode));
                let mode = std::fs::metadata(&path).map_or(0, |meta| meta.permissions().mode());
                session.record("permissions", format!("{mode:o}"));
            }
            let (name, _) = file_name(session);
            session.one_recorded("exists", &ring, mkdirat(directory, name, 0o700));
            session.one_recorded(
                "no parent",
                &ring,
                mkdirat(AT_FDCWD, session.path("/missing/x").addr(), 0o700),
            );
        }),
        Case::new("linkat/flags", Opcode::Linkat, |session| {
            let ring = session.ring(8);
            let directory = session.directory_fd();
            let (link, path) = free_name(session);
            std::os::unix::fs::symlink("missing", path).expect("a fixture of the case");
            for flags in [0, 0x400, 0x1000, 0x100, 1] {
                let (to, _) = free_name(session);
                let sqe = two_paths(Opcode::Linkat, (directory, link), (directory, to), flags);
                session.one_recorded(format!("flags {flags:#x}"), &ring, sqe);
            }
        }),
        Case::new("ftruncate/lengths", Opcode::Ftruncate, |session| {
            let ring = session.ring(8);
            for length in [0, 64, 100, i64::MAX as u64, 1 << 63, u64::MAX] {
                let file = session.file(TEXT);
                session.one_recorded(format!("length {length:#x}"), &ring, ftruncate(file, length));
            }
        }),
    ]);
    cases
}
