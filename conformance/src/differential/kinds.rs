//! One descriptor of every kind, each ready to be read from and written to where its kind allows it.

use std::os::fd::RawFd;

use rustix::fs::{MemfdFlags, Mode, OFlags, inotify, memfd_create, open};
use rustix::net::SocketType;
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use rustix::pty::ptsname;

use super::ring::Ring;
use super::session::Session;

/// Makes a descriptor of one kind, kept by the session.
pub type MakeKind = fn(&Session, &Ring) -> RawFd;

/// The kinds, by name.
pub const KINDS: &[(&str, MakeKind)] = &[
    ("regular file", |session, _| {
        session.file(b"a regular file with sixty-four bytes in it, more or less of them")
    }),
    ("read-only file", |session, _| session.file_with(b"read-only", OFlags::RDONLY)),
    ("write-only file", |session, _| session.file_with(b"write-only", OFlags::WRONLY)),
    ("O_PATH file", |session, _| session.file_with(b"path", OFlags::PATH)),
    ("directory", |session, _| session.directory_fd()),
    ("read end of a pipe", |session, _| {
        let (read, write) = session.pipe();
        session.write_fd(write, b"in the pipe");
        read
    }),
    ("write end of a pipe", |session, _| session.pipe().1),
    ("Unix stream socket", |session, _| {
        let (left, right) = session.pair();
        session.write_fd(right, b"in the stream");
        left
    }),
    ("Unix datagram socket", |session, _| {
        let (left, right) = session.pair_of(SocketType::DGRAM);
        session.write_fd(right, b"a datagram");
        left
    }),
    ("TCP socket, unconnected", |session, _| session.tcp_socket()),
    ("TCP listener", |session, _| {
        let (listener, port) = session.listener();
        session.client(port);
        listener
    }),
    ("eventfd", |session, _| session.eventfd(3)),
    ("timerfd", |session, _| session.expired_timerfd()),
    ("epoll", |session, _| session.epoll()),
    ("/dev/null", |session, _| {
        session.keep(open("/dev/null", OFlags::RDWR, Mode::empty()).expect("a device"))
    }),
    ("/dev/zero", |session, _| {
        session.keep(open("/dev/zero", OFlags::RDWR, Mode::empty()).expect("a device"))
    }),
    // For reading only: a write there is interrupted by whatever the kernel still does for an earlier ring.
    ("terminal", |session, _| {
        let (controller, _) = session.terminal();
        let name = session.with_kept(controller, |fd| ptsname(fd, Vec::new())).expect("it has a terminal");
        session.write_fd(controller, b"typed");
        session
            .keep(open(name.as_c_str(), OFlags::RDONLY | OFlags::NOCTTY, Mode::empty()).expect("a terminal"))
    }),
    ("FIFO", |session, _| {
        let fifo = session.fifo();
        session.write_fd(fifo, b"in the FIFO");
        fifo
    }),
    ("/dev/random", |session, _| {
        session.keep(open("/dev/random", OFlags::WRONLY, Mode::empty()).expect("a device"))
    }),
    ("memory file", |session, _| {
        let file = memfd_create("kind", MemfdFlags::CLOEXEC).expect("memory for a file");
        let fd = session.keep(file);
        session.write_fd(fd, b"a file in memory");
        fd
    }),
    ("inotify", |session, _| {
        session.keep(inotify::init(inotify::CreateFlags::CLOEXEC).expect("an inotify instance"))
    }),
    ("pidfd", |session, _| session.keep(pidfd_open(getpid(), PidfdFlags::empty()).expect("this process"))),
    ("the ring", |_, ring| ring.fd),
];
