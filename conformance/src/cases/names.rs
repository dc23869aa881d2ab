//! The operations on names, for names of every kind.

use std::fmt::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use ringer_abi::{Opcode, RegisterOpcode, Sqe, SqeFlags};
use ringer_sys::call;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::differential::{Case, Session, prep};

/// Names in the directory of [`build`]. None of them leads out of it: the cases run as root, too, and unlink and rename what they name.
const NAMES: &[&str] = &[
    "file",
    "full",
    "empty",
    "to-file",
    "to-full",
    "to-nothing",
    "loop",
    "fifo",
    "socket",
    "file/",
    "full/",
    "to-file/",
    "to-full/",
    "missing",
    "missing/",
    "missing/inner",
    "file/inner",
    "full/inner",
    "to-full/inner",
    "full/../file",
    "fifo/",
    ".",
    "./",
    "",
    "full/.",
];

/// Makes a directory with files of many kinds.
fn build(session: &Session) -> std::path::PathBuf {
    const MADE: &str = "a fixture of the case";
    let directory = session.new_path();
    let at = |name: &str| directory.join(name);
    std::fs::create_dir(&directory).expect(MADE);
    std::fs::write(at("file"), b"content").expect(MADE);
    std::fs::create_dir(at("full")).expect(MADE);
    std::fs::write(at("full/inner"), b"inside").expect(MADE);
    std::fs::create_dir(at("empty")).expect(MADE);
    for (target, name) in
        [("file", "to-file"), ("full", "to-full"), ("nothing", "to-nothing"), ("loop", "loop")]
    {
        symlink(target, at(name)).expect(MADE);
    }
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, at("fifo"), FileType::Fifo, mode, 0).expect(MADE);
    mknodat(CWD, at("socket"), FileType::Socket, mode, 0).expect(MADE);
    directory
}

/// What is there, in one line.
fn describe(directory: &Path) -> String {
    let mut text = String::new();
    let mut names: Vec<_> =
        std::fs::read_dir(directory).map(|entries| entries.flatten().collect()).unwrap_or_default();
    names.sort_by_key(std::fs::DirEntry::file_name);
    for entry in names {
        let Ok(found) = entry.path().symlink_metadata() else { continue };
        let kind = found.file_type();
        let name = entry.file_name().to_string_lossy().into_owned();
        // Writing to a String does not fail.
        let _ = match kind {
            _ if kind.is_dir() => write!(text, "{name}/({}) ", describe(&entry.path())),
            _ if kind.is_symlink() => {
                let target = std::fs::read_link(entry.path()).unwrap_or_default();
                write!(text, "{name}->{} ", target.display())
            }
            _ if kind.is_fifo() => write!(text, "{name}| "),
            _ if kind.is_socket() => write!(text, "{name}= "),
            _ => write!(text, "{name}:{}:{:o}:{} ", found.len(), found.permissions().mode(), {
                use std::os::unix::fs::MetadataExt;
                found.nlink()
            }),
        };
    }
    text
}

/// What the descriptor is, which is closed then.
fn inspect(fd: i32) -> String {
    const F_GETFD: u32 = 1;
    const F_GETFL: u32 = 3;
    let flags = |command| call::fcntl(fd, command, 0).unwrap_or(usize::MAX);
    let text = format!("a descriptor, {:#x} {:#o}", flags(F_GETFD), flags(F_GETFL));
    // It was just made.
    let _ = call::close(fd);
    text
}

/// Submits the request, and cancels it if it waits. `yields`: its result is a descriptor.
fn outcome(session: &Session, sqe: Sqe, yields: bool) -> String {
    let ring = session.ring(8);
    let table = session.ints(&[-1, -1]);
    ring.register(RegisterOpcode::Files.number(), table.addr(), 2).expect("an empty table");
    ring.push(sqe.with_user_data(1));
    let submitted = ring.submit();
    let mut seen = ring.collect_until(Duration::from_millis(40), |seen| !seen.is_empty());
    let waits = seen.is_empty();
    if waits {
        ring.push(prep::cancel(1, 0).with_user_data(2));
        let _ = ring.submit();
        seen =
            ring.collect_until(Duration::from_millis(500), |seen| seen.iter().any(|cqe| cqe.user_data == 1));
        seen.retain(|cqe| cqe.user_data == 1);
    }
    let texts = seen.iter().map(|cqe| match cqe.res {
        fd @ 3.. if yields => inspect(fd),
        result => format!("{result}"),
    });
    format!(
        "{submitted:?}{} {}",
        if waits { ", waits" } else { "" },
        texts.collect::<Vec<String>>().join(", ")
    )
}

type MakeRequest = fn(&Session, i32, &str, u32) -> Sqe;

/// Whether an open of it waits until somebody opens the other end.
fn waits_for_partner(name: &str, flags: u32) -> bool {
    const NOT_SO: u32 = 0o2 | 0o200 | 0o4000 | 0o10_000_000;
    name == "fifo" && flags & NOT_SO == 0
}

/// Plays the request with each of `variants` for each name.
fn play(session: &mut Session, make: MakeRequest, variants: &[u32], extra: SqeFlags, yields: bool) {
    for variant in variants {
        for name in NAMES.iter().filter(|name| !yields || !waits_for_partner(name, *variant)) {
            session.fresh();
            let directory = build(session);
            let opened = session.keep(std::fs::File::open(&directory).expect("it was just made"));
            let before = describe(&directory);
            let sqe = make(session, opened, name, *variant);
            let text = outcome(session, sqe.with_flags(extra), yields);
            let after = describe(&directory);
            let changed = if after == before { String::new() } else { format!("; {after}") };
            session.record(format!("{variant:#o} {name:?}"), format!("{text}{changed}"));
            let _ = std::fs::remove_dir_all(&directory);
        }
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    const O_RDWR: u32 = 0o2;
    const O_CREAT: u32 = 0o100;
    const O_EXCL: u32 = 0o200;
    const O_TRUNC: u32 = 0o1000;
    const O_APPEND: u32 = 0o2000;
    const O_NONBLOCK: u32 = 0o4000;
    const O_DIRECTORY: u32 = 0o200_000;
    const O_NOFOLLOW: u32 = 0o400_000;
    const O_PATH: u32 = 0o10_000_000;
    const O_TMPFILE: u32 = 0o20_200_000;
    let case = |name: &str, opcode, make: MakeRequest, variants: &'static [u32], yields| {
        [("", SqeFlags::empty()), ("-on-a-worker", SqeFlags::ASYNC)].map(|(place, extra)| {
            Case::new(format!("{name}/names-of-every-kind{place}"), opcode, move |session| {
                play(session, make, variants, extra, yields);
            })
        })
    };
    let all: [[Case; 2]; 9] = [
        case(
            "openat",
            Opcode::Openat,
            |session, directory, name, flags| {
                prep::op(Opcode::Openat, directory)
                    .with_addr(session.path(name).addr())
                    .with_op_flags(flags)
                    .with_len(0o640)
            },
            &[
                0,
                1,
                O_RDWR,
                O_RDWR | O_NONBLOCK,
                O_NONBLOCK,
                O_NONBLOCK | 1,
                O_RDWR | O_CREAT,
                O_CREAT | O_EXCL | 1,
                O_TRUNC | 1,
                O_APPEND | O_RDWR,
                O_DIRECTORY,
                O_NOFOLLOW,
                O_PATH,
                O_PATH | O_NOFOLLOW,
                O_TMPFILE | O_RDWR,
            ],
            true,
        ),
        case(
            "openat-into-a-slot",
            Opcode::Openat,
            |session, directory, name, flags| {
                let sqe = prep::op(Opcode::Openat, directory).with_addr(session.path(name).addr());
                sqe.with_op_flags(flags).with_len(0o640).with_file_index(1)
            },
            &[O_NONBLOCK, O_RDWR | O_CREAT, O_PATH],
            false,
        ),
        case(
            "openat2",
            Opcode::Openat2,
            |session, directory, name, resolve| {
                let how = session.words(&[u64::from(O_RDWR | O_NONBLOCK), 0, u64::from(resolve)]);
                let sqe = prep::op(Opcode::Openat2, directory).with_addr(session.path(name).addr());
                sqe.with_off(how.addr()).with_len(24)
            },
            &[0, 1, 2, 4, 8, 16, 32],
            true,
        ),
        case(
            "statx",
            Opcode::Statx,
            |session, directory, name, flags| {
                prep::op(Opcode::Statx, directory)
                    .with_addr(session.path(name).addr())
                    .with_len(0x7ff)
                    .with_off(session.memory(256).addr())
                    .with_op_flags(flags)
            },
            &[0, 0x100, 0x800, 0x1000, 0x2000, 0x4000, 0x6000],
            false,
        ),
        case(
            "unlinkat",
            Opcode::Unlinkat,
            |session, directory, name, flags| {
                prep::op(Opcode::Unlinkat, directory)
                    .with_addr(session.path(name).addr())
                    .with_op_flags(flags)
            },
            &[0, 0x200, 0x100],
            false,
        ),
        case(
            "mkdirat",
            Opcode::Mkdirat,
            |session, directory, name, mode| {
                prep::op(Opcode::Mkdirat, directory).with_addr(session.path(name).addr()).with_len(mode)
            },
            &[0o750],
            false,
        ),
        case(
            "symlinkat",
            Opcode::Symlinkat,
            |session, directory, name, _| {
                let target = session.path("file");
                prep::op(Opcode::Symlinkat, directory)
                    .with_addr(target.addr())
                    .with_off(session.path(name).addr())
            },
            &[0],
            false,
        ),
        case(
            "linkat",
            Opcode::Linkat,
            |session, directory, name, flags| {
                let new = session.path("new");
                prep::op(Opcode::Linkat, directory)
                    .with_addr(session.path(name).addr())
                    .with_len(directory as u32)
                    .with_off(new.addr())
                    .with_op_flags(flags)
            },
            &[0, 0x400, 0x1000, 0x100],
            false,
        ),
        case(
            "renameat",
            Opcode::Renameat,
            |session, directory, name, variant| {
                // The flags, and in the upper bits what the other name is.
                let other = session.path(["new", "file", "full", "empty", "to-full"][variant as usize >> 4]);
                let (old, new) = match variant & 8 {
                    0 => (session.path(name), other),
                    _ => (other, session.path(name)),
                };
                prep::op(Opcode::Renameat, directory)
                    .with_addr(old.addr())
                    .with_len(directory as u32)
                    .with_off(new.addr())
                    .with_op_flags(variant & 7)
            },
            &[0, 1, 2, 0x10, 0x12, 0x18, 0x19, 0x20, 0x28, 0x2a, 0x30, 0x38, 0x48],
            false,
        ),
    ];
    all.into_iter().flatten().collect()
}
