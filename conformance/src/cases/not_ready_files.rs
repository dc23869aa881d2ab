//! Files that are not ready to be read or written, and what can happen to them then.

use std::os::fd::RawFd;

use rustix::fs::inotify;
use rustix::net::SocketType;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use crate::differential::Session;

/// A file that is not ready, and what makes it so.
pub(super) struct Waiting {
    pub(super) fd: RawFd,
    /// The other end of it, if it has one.
    other: Option<RawFd>,
    end: Box<dyn Fn(&Session)>,
}

pub(super) type MakeWaiting = fn(&Session) -> Waiting;

fn fed_by(fd: RawFd, other: RawFd) -> Waiting {
    let end = move |session: &Session| session.write_fd(other, b"eight by");
    Waiting { fd, other: (fd != other).then_some(other), end: Box::new(end) }
}

/// Nothing can be read from these.
pub(super) const EMPTY: &[(&str, MakeWaiting)] = &[
    ("pipe", |session| {
        let (read, write) = session.pipe();
        fed_by(read, write)
    }),
    ("FIFO", |session| {
        let fifo = session.fifo();
        fed_by(fifo, fifo)
    }),
    ("stream", |session| {
        let (left, right) = session.pair();
        fed_by(left, right)
    }),
    ("datagrams", |session| {
        let (left, right) = session.pair_of(SocketType::DGRAM);
        fed_by(left, right)
    }),
    ("TCP", |session| {
        let (left, right) = session.tcp_pair();
        fed_by(left, right)
    }),
    ("eventfd", |session| {
        let eventfd = session.eventfd(0);
        let end = move |session: &Session| session.write_fd(eventfd, &1_u64.to_ne_bytes());
        Waiting { fd: eventfd, other: None, end: Box::new(end) }
    }),
    ("timerfd", |session| {
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC);
        let fd = session.keep(timer.expect("a timer"));
        let end = move |session: &Session| {
            const NEVER: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
            let soon = Itimerspec { it_interval: NEVER, it_value: Timespec { tv_sec: 0, tv_nsec: 1 } };
            let set = |fd: rustix::fd::BorrowedFd<'_>| {
                rustix::time::timerfd_settime(fd, TimerfdTimerFlags::empty(), &soon)
            };
            session.with_kept(fd, set).expect("a timer");
        };
        Waiting { fd, other: None, end: Box::new(end) }
    }),
    ("terminal", |session| {
        let (controller, terminal) = session.terminal();
        fed_by(terminal, controller)
    }),
    ("inotify", |session| {
        let fd = session.keep(inotify::init(inotify::CreateFlags::CLOEXEC).expect("an instance"));
        let path = session.file_path(b"watched");
        session
            .with_kept(fd, |fd| inotify::add_watch(fd, &path, inotify::WatchFlags::ATTRIB))
            .expect("a file to watch");
        let end = move |_: &Session| {
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::chmod(&path, mode).expect("it is still there");
        };
        Waiting { fd, other: None, end: Box::new(end) }
    }),
];

fn filled(session: &Session, fd: RawFd, other: RawFd) -> Waiting {
    const BLOCK: [u8; 4096] = [b'x'; 4096];
    session.with_kept(fd, |fd| {
        let fill = |bytes: &[u8]| while rustix::io::write(fd, bytes).is_ok() {};
        rustix::io::ioctl_fionbio(fd, true).expect("it can be asked not to wait");
        fill(&BLOCK);
        fill(&BLOCK[..1]);
        rustix::io::ioctl_fionbio(fd, false).expect("it could be asked before");
    });
    let end = move |session: &Session| {
        session.with_kept(other, |other| {
            let mut sink = [0; 1 << 16];
            rustix::io::ioctl_fionbio(other, true).expect("it can be asked not to wait");
            while rustix::io::read(other, &mut sink).is_ok_and(|read| read > 0) {}
        });
    };
    Waiting { fd, other: Some(other), end: Box::new(end) }
}

/// Nothing can be written to these.
pub(super) const FULL: &[(&str, MakeWaiting)] = &[
    ("pipe", |session| {
        let (read, write) = session.pipe();
        filled(session, write, read)
    }),
    ("stream", |session| {
        let (left, right) = session.pair();
        filled(session, left, right)
    }),
    ("datagrams", |session| {
        let (left, right) = session.pair_of(SocketType::DGRAM);
        filled(session, left, right)
    }),
    ("packets", |session| {
        let (left, right) = session.pair_of(SocketType::SEQPACKET);
        filled(session, left, right)
    }),
    ("eventfd", |session| {
        let eventfd = session.eventfd(1);
        session.write_fd(eventfd, &(u64::MAX - 2).to_ne_bytes());
        Waiting {
            fd: eventfd,
            other: None,
            end: Box::new(move |session| {
                session.read_fd(eventfd, 8);
            }),
        }
    }),
];

/// What happens to the files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Event {
    /// They become ready.
    Ready,
    /// The program closes its descriptors, and then they become ready.
    ClosedAndReady,
    /// The other end is closed.
    HungUp,
    /// The program shuts them down.
    ShutDown,
    /// The other end is shut down for writing.
    HalfClosed,
    /// The connection is reset.
    Reset,
}

impl Event {
    pub(super) fn happen(self, session: &Session, file: &Waiting) {
        let shut_down = |fd, how| session.with_kept(fd, |fd| rustix::net::shutdown(fd, how));
        match (self, file.other) {
            (Self::Ready, _) => (file.end)(session),
            (Self::ClosedAndReady, Some(_)) => {
                session.close_kept(file.fd);
                (file.end)(session);
            }
            (Self::HungUp, Some(other)) => session.close_kept(other),
            // Of what is no socket an error, and nothing happens.
            (Self::ShutDown, _) => drop(shut_down(file.fd, rustix::net::Shutdown::Both)),
            (Self::HalfClosed, Some(other)) => drop(shut_down(other, rustix::net::Shutdown::Write)),
            (Self::Reset, Some(other)) => {
                let at_once = Some(std::time::Duration::ZERO);
                let set = session.with_kept(other, |fd| rustix::net::sockopt::set_socket_linger(fd, at_once));
                if set.is_ok() {
                    session.close_kept(other);
                }
            }
            (Self::ClosedAndReady | Self::HungUp | Self::HalfClosed | Self::Reset, None) => {}
        }
    }
}
