//! STATX.

use ringer_abi::{Opcode, Sqe};

use super::rw::TEXT;
use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::memory::Memory;
use crate::differential::{Case, Session, prep};

const AT_FDCWD: i32 = -100;
const AT_EMPTY_PATH: u32 = 0x1000;
const BASIC: u32 = 0x7ff;
const STATX_SIZE: usize = 256;

/// STATX: the mask stands in `len`, the buffer in `off`.
fn statx(directory: i32, path: u64, flags: u32, mask: u32, buffer: &Memory) -> Sqe {
    prep::op(Opcode::Statx, directory)
        .with_addr(path)
        .with_op_flags(flags)
        .with_len(mask)
        .with_off(buffer.addr())
}

/// The fields that do not depend on time and place: mask without what file systems add, mode, size.
fn observe(session: &Session, label: &str, buffer: &Memory) {
    let (mask, mode, size) = (buffer.get::<u32>(0) & BASIC, buffer.get::<u16>(28), buffer.get::<u64>(40));
    session.record(label, format!("mask {mask:#x} mode {mode:o} size {size}"));
}

const STATX: Exemplar = Exemplar::new(
    "statx",
    Opcode::Statx,
    FdRole::Directory,
    &[Field::Off, Field::Addr, Field::Len, Field::OpFlags],
    &[Field::Off, Field::Addr],
    |session, _| {
        let (directory, path) = (session.directory_fd(), session.file_path(TEXT));
        let name = session.path(path.file_name().expect("a name"));
        let buffer = session.memory(STATX_SIZE);
        Good::new(statx(directory, name.addr(), 0, BASIC, &buffer))
            .observe(move |session| observe(session, "statx", &buffer))
    },
);

/// The cases of STATX.
pub fn cases() -> Vec<Case> {
    let mut cases = STATX.cases();
    cases.extend([
        Case::new("statx/masks", Opcode::Statx, |session| {
            let (ring, buffer) = (session.ring(8), session.memory(STATX_SIZE));
            let name = session.path(session.file_path(TEXT));
            for mask in (0..32).map(|bit| 1_u32 << bit).chain([0, 0xfff, 0x7fff_ffff, u32::MAX]) {
                let label = format!("mask {mask:#x}");
                session.one_recorded(&label, &ring, statx(AT_FDCWD, name.addr(), 0, mask, &buffer));
            }
        }),
        Case::new("statx/empty-path", Opcode::Statx, |session| {
            let (ring, buffer) = (session.ring(8), session.memory(STATX_SIZE));
            let (file, empty) = (session.file(TEXT), session.path(""));
            let path_only = session.file_with(TEXT, rustix::fs::OFlags::PATH);
            let (read, _write) = session.pipe();
            for (label, fd) in [("file", file), ("O_PATH", path_only), ("pipe", read), ("closed", -1)] {
                session.one_recorded(
                    format!("{label}, not allowed"),
                    &ring,
                    statx(fd, empty.addr(), 0, BASIC, &buffer),
                );
                let sqe = statx(fd, empty.addr(), AT_EMPTY_PATH, BASIC, &buffer);
                if session
                    .one_recorded(format!("{label}, allowed"), &ring, sqe)
                    .is_some_and(|cqe| cqe.res == 0)
                {
                    observe(session, label, &buffer);
                }
                let sqe = statx(fd, 0, AT_EMPTY_PATH, BASIC, &buffer);
                session.one_recorded(format!("{label}, null path"), &ring, sqe);
            }
        }),
        Case::new("statx/paths", Opcode::Statx, |session| {
            let (ring, buffer) = (session.ring(8), session.memory(STATX_SIZE));
            let directory = session.directory_fd();
            std::os::unix::fs::symlink("nowhere", session.directory().join("link"))
                .expect("a fixture of the case");
            let long = "a".repeat(300);
            for path in [".", "missing", "link", "link/x", "/dev/null", &long] {
                for flags in [0, 0x100] {
                    let label = format!("{path:.10} flags {flags:#x}");
                    let name = session.path(path);
                    session.one_recorded(label, &ring, statx(directory, name.addr(), flags, BASIC, &buffer));
                }
            }
            let name = session.path("link");
            session.one_recorded(
                "the link itself",
                &ring,
                statx(directory, name.addr(), 0x100, BASIC, &buffer),
            );
            observe(session, "the link", &buffer);
        }),
        Case::new("statx/buffer-edge", Opcode::Statx, |session| {
            let ring = session.ring(8);
            let name = session.path("/dev/null");
            for bytes in [STATX_SIZE, STATX_SIZE - 8, 8] {
                let edge = session.edge(bytes);
                session.one_recorded(bytes, &ring, statx(AT_FDCWD, name.addr(), 0, BASIC, &edge));
            }
        }),
    ]);
    cases
}
