//! Whether the failure of an operation ends its link. Some operations report an error as an ordinary result: what is
//! linked to them runs all the same, and `CQE_SKIP_SUCCESS` hides the error.

use ringer_abi::{Opcode, Sqe, SqeFlags};

use crate::differential::{Case, Session, prep};

/// A request that is taken, and fails when it runs.
type Failing = fn(&Session) -> Sqe;

const FAILING: &[(&str, Opcode, Failing)] = &[
    ("fsync", Opcode::Fsync, |session| on_pipe(session, Opcode::Fsync)),
    ("sync-file-range", Opcode::SyncFileRange, |session| on_pipe(session, Opcode::SyncFileRange)),
    ("fallocate", Opcode::Fallocate, |session| on_pipe(session, Opcode::Fallocate).with_addr(8)),
    ("ftruncate", Opcode::Ftruncate, |session| on_pipe(session, Opcode::Ftruncate).with_off(8)),
    ("fadvise", Opcode::Fadvise, |session| on_pipe(session, Opcode::Fadvise)),
    ("madvise", Opcode::Madvise, |session| {
        prep::op(Opcode::Madvise, -1).with_addr(session.memory(4096).addr() + 1).with_len(1).with_op_flags(4)
    }),
    ("statx", Opcode::Statx, |session| {
        missing(session, Opcode::Statx).with_len(0x7ff).with_off(session.memory(256).addr())
    }),
    ("openat", Opcode::Openat, |session| missing(session, Opcode::Openat)),
    ("openat2", Opcode::Openat2, |session| {
        missing(session, Opcode::Openat2).with_off(session.words(&[0, 0, 0]).addr()).with_len(24)
    }),
    ("close", Opcode::Close, |session| prep::op(Opcode::Close, session.closed_fd())),
    ("close-slot", Opcode::Close, |_| prep::op(Opcode::Close, 0).with_file_index(9)),
    ("unlinkat", Opcode::Unlinkat, |session| missing(session, Opcode::Unlinkat)),
    ("mkdirat", Opcode::Mkdirat, |session| {
        prep::op(Opcode::Mkdirat, AT_FDCWD)
            .with_addr(session.path(session.directory()).addr())
            .with_len(0o700)
    }),
    ("renameat", Opcode::Renameat, |session| two_missing(session, Opcode::Renameat)),
    ("linkat", Opcode::Linkat, |session| two_missing(session, Opcode::Linkat)),
    ("symlinkat", Opcode::Symlinkat, |session| {
        let name = session.path(session.directory());
        prep::op(Opcode::Symlinkat, AT_FDCWD).with_addr(name.addr()).with_off(name.addr())
    }),
    ("setxattr", Opcode::Setxattr, |session| attribute(session, Opcode::Setxattr)),
    ("fsetxattr", Opcode::Fsetxattr, |session| attribute(session, Opcode::Fsetxattr)),
    ("getxattr", Opcode::Getxattr, |session| attribute(session, Opcode::Getxattr)),
    ("fgetxattr", Opcode::Fgetxattr, |session| attribute(session, Opcode::Fgetxattr)),
    ("shutdown", Opcode::Shutdown, |session| prep::op(Opcode::Shutdown, session.tcp_socket()).with_len(2)),
    ("bind", Opcode::Bind, |session| {
        prep::op(Opcode::Bind, session.file(b"")).with_addr(session.sockaddr(0).addr()).with_off(16)
    }),
    ("shutdown-no-socket", Opcode::Shutdown, |session| on_pipe(session, Opcode::Shutdown)),
    ("listen", Opcode::Listen, |session| on_pipe(session, Opcode::Listen)),
    ("socket-without-slot", Opcode::Socket, |_| {
        prep::op(Opcode::Socket, 1).with_off(1).with_file_index(1000)
    }),
    ("socket", Opcode::Socket, |_| prep::op(Opcode::Socket, 77)),
    ("connect", Opcode::Connect, |session| {
        on_pipe(session, Opcode::Connect).with_addr(session.sockaddr(9).addr()).with_off(16)
    }),
    ("accept", Opcode::Accept, |session| on_pipe(session, Opcode::Accept)),
    ("send", Opcode::Send, |session| on_pipe(session, Opcode::Send)),
    ("recv", Opcode::Recv, |session| on_pipe(session, Opcode::Recv)),
    ("epoll-ctl", Opcode::EpollCtl, |session| {
        prep::op(Opcode::EpollCtl, session.epoll()).with_len(2).with_off(session.pipe().0 as u64)
    }),
    ("epoll-wait", Opcode::EpollWait, |session| {
        on_pipe(session, Opcode::EpollWait).with_addr(session.memory(64).addr()).with_len(1)
    }),
    ("files-update", Opcode::FilesUpdate, |session| {
        prep::op(Opcode::FilesUpdate, -1).with_addr(session.ints(&[0]).addr()).with_len(1)
    }),
    ("remove-buffers", Opcode::RemoveBuffers, |_| prep::op(Opcode::RemoveBuffers, 1).with_buf_index(9)),
    ("splice", Opcode::Splice, |session| {
        prep::op(Opcode::Splice, session.file(b"")).with_len(4).with_file_index(session.file(b"") as u32)
    }),
    ("splice-at-end", Opcode::Splice, |session| {
        prep::op(Opcode::Splice, session.pipe().1)
            .with_off(u64::MAX)
            .with_len(4)
            .with_file_index(session.file(b"") as u32)
    }),
    ("tee", Opcode::Tee, |session| {
        prep::op(Opcode::Tee, session.file(b"")).with_len(4).with_file_index(session.file(b"") as u32)
    }),
    ("poll-remove", Opcode::PollRemove, |_| prep::poll_remove(99)),
    ("timeout-remove", Opcode::TimeoutRemove, |_| prep::timeout_remove(99)),
    ("async-cancel", Opcode::AsyncCancel, |_| prep::cancel(99, 0)),
    ("pipe", Opcode::Pipe, |session| prep::op(Opcode::Pipe, -1).with_addr(session.bad_address())),
    ("msg-ring", Opcode::MsgRing, |session| on_pipe(session, Opcode::MsgRing)),
    ("nop-injected", Opcode::Nop, |_| prep::nop().with_op_flags(1).with_len(-5_i32 as u32)),
    ("waitid", Opcode::Waitid, |_| prep::op(Opcode::Waitid, 1 << 30).with_len(1).with_file_index(4)),
    ("socket-command", Opcode::UringCmd, |session| {
        prep::op(Opcode::UringCmd, session.tcp_socket()).with_off(77)
    }),
    ("socket-command-closed", Opcode::UringCmd, |session| on_closed(session, Opcode::UringCmd).with_off(77)),
    ("fsync-closed", Opcode::Fsync, |session| on_closed(session, Opcode::Fsync)),
    ("sync-file-range-closed", Opcode::SyncFileRange, |session| on_closed(session, Opcode::SyncFileRange)),
    ("fallocate-closed", Opcode::Fallocate, |session| on_closed(session, Opcode::Fallocate).with_addr(8)),
    ("fallocate-of-directory", Opcode::Fallocate, |session| {
        prep::op(Opcode::Fallocate, session.directory_fd()).with_addr(8)
    }),
    ("ftruncate-closed", Opcode::Ftruncate, |session| on_closed(session, Opcode::Ftruncate).with_off(8)),
    ("ftruncate-of-directory", Opcode::Ftruncate, |session| {
        prep::op(Opcode::Ftruncate, session.directory_fd()).with_off(8)
    }),
    ("fadvise-closed", Opcode::Fadvise, |session| on_closed(session, Opcode::Fadvise)),
    ("fsetxattr-closed", Opcode::Fsetxattr, |session| {
        attribute(session, Opcode::Fsetxattr).with_fd(session.closed_fd())
    }),
    ("fgetxattr-closed", Opcode::Fgetxattr, |session| {
        attribute(session, Opcode::Fgetxattr).with_fd(session.closed_fd())
    }),
    ("shutdown-closed", Opcode::Shutdown, |session| on_closed(session, Opcode::Shutdown)),
    ("unlinkat-in-closed", Opcode::Unlinkat, |session| {
        missing(session, Opcode::Unlinkat).with_fd(session.closed_fd())
    }),
    ("statx-in-closed", Opcode::Statx, |session| {
        missing(session, Opcode::Statx).with_fd(session.closed_fd()).with_off(session.memory(256).addr())
    }),
    ("poll-add-closed", Opcode::PollAdd, |session| prep::poll(session.closed_fd(), 1)),
];

const AT_FDCWD: i32 = -100;

fn on_pipe(session: &Session, opcode: Opcode) -> Sqe {
    prep::op(opcode, session.pipe().0)
}

fn on_closed(session: &Session, opcode: Opcode) -> Sqe {
    prep::op(opcode, session.closed_fd())
}

fn missing(session: &Session, opcode: Opcode) -> Sqe {
    prep::op(opcode, AT_FDCWD).with_addr(session.path("nowhere").addr())
}

fn two_missing(session: &Session, opcode: Opcode) -> Sqe {
    missing(session, opcode).with_len(AT_FDCWD as u32).with_off(session.path("elsewhere").addr())
}

/// An attribute in a name space that does not exist.
fn attribute(session: &Session, opcode: Opcode) -> Sqe {
    let (name, value) = (session.memory_of(b"bad.name\0"), session.memory(16));
    let path = session.path(session.file_path(b""));
    let sqe = prep::op(opcode, session.file(b"")).with_addr(name.addr()).with_off(value.addr()).with_len(4);
    match opcode {
        Opcode::Setxattr | Opcode::Getxattr => sqe.with_fd(AT_FDCWD).with_addr3(path.addr()),
        _ => sqe,
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, opcode, failing) in FAILING {
        cases.push(Case::new(format!("link-failures/{name}"), *opcode, move |session| {
            for (label, flags) in [("plain", SqeFlags::empty()), ("on a worker", SqeFlags::ASYNC)] {
                let ring = session.ring(8);
                let first = failing(session).with_user_data(1).with_flags(SqeFlags::IO_LINK | flags);
                session.batch_in_order(label, &ring, &[first, prep::nop().with_user_data(2)], 2);
            }
        }));
        cases.push(Case::new(format!("link-failures/{name}-skipped"), *opcode, move |session| {
            let ring = session.ring(8);
            let first = failing(session).with_user_data(1).with_flags(SqeFlags::CQE_SKIP_SUCCESS);
            session.outcome("submit", {
                ring.push(first);
                ring.submit()
            });
            session.quiet("seen", &ring);
        }));
    }
    cases.push(Case::general("link-failures/refused-after-skip", |session| {
        const SKIP: SqeFlags = SqeFlags::CQE_SKIP_SUCCESS;
        const LINK: SqeFlags = SqeFlags::IO_LINK;
        let nop = |name: u64, flags| prep::nop().with_user_data(name).with_flags(flags);
        let time = session.timespec(1000, 0);
        let refused = |name: u64, flags| nop(name, flags).with_pad2(1).with_opcode(200);
        for (label, sqes) in [
            ("the second", [nop(1, LINK | SKIP), refused(2, LINK), nop(3, SqeFlags::empty())]),
            ("the first", [refused(1, LINK | SKIP), nop(2, LINK), nop(3, SqeFlags::empty())]),
            ("the last", [nop(1, LINK), nop(2, LINK | SKIP), refused(3, SqeFlags::empty())]),
            (
                "before a timeout",
                [
                    refused(1, LINK | SKIP),
                    prep::link_timeout(time.addr(), 0).with_user_data(2).with_flags(LINK),
                    nop(3, SqeFlags::empty()),
                ],
            ),
            (
                "before a skipping timeout",
                [
                    refused(1, LINK),
                    prep::link_timeout(time.addr(), 0).with_user_data(2).with_flags(LINK | SKIP),
                    nop(3, SqeFlags::empty()),
                ],
            ),
            (
                "behind a timeout",
                [
                    nop(1, LINK),
                    prep::link_timeout(time.addr(), 0).with_user_data(2).with_flags(LINK | SKIP),
                    refused(3, SqeFlags::empty()),
                ],
            ),
            ("the last after a skipping head", [nop(1, LINK | SKIP), nop(2, LINK), refused(3, SKIP)]),
        ] {
            let ring = session.ring(8);
            ring.push_all(&sqes);
            session.outcome(format!("{label}: submit"), ring.submit());
            session.quiet(label, &ring);
        }
    }));
    cases
}
