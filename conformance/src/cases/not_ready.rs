//! Requests on files of many kinds that are not ready yet, and what becomes of them when they are.

use std::os::fd::RawFd;

use ringer_abi::{Opcode, Sqe, SqeFlags};
use rustix::fs::inotify;
use rustix::net::SocketType;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

use super::buffer_ring_use::{Buffers, INCREMENTAL, MULTISHOT};
use crate::differential::memory::Memory;
use crate::differential::{Case, Session, prep};

/// `RWF_NOWAIT`.
const NOWAIT: u32 = 0x8;

/// A file that is not ready, and what makes it so.
struct Waiting {
    fd: RawFd,
    end: Box<dyn Fn(&Session)>,
}

type MakeWaiting = fn(&Session) -> Waiting;

fn fed_by(fd: RawFd, other: RawFd) -> Waiting {
    Waiting { fd, end: Box::new(move |session| session.write_fd(other, b"eight by")) }
}

/// Nothing can be read from these.
const EMPTY: &[(&str, MakeWaiting)] = &[
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
    ("terminal", |session| {
        let (controller, terminal) = session.terminal();
        fed_by(terminal, controller)
    }),
    ("eventfd", |session| {
        let eventfd = session.eventfd(0);
        Waiting { fd: eventfd, end: Box::new(move |session| session.write_fd(eventfd, &1_u64.to_ne_bytes())) }
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
        Waiting { fd, end: Box::new(end) }
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
        Waiting { fd, end: Box::new(end) }
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
    Waiting { fd, end: Box::new(end) }
}

/// Nothing can be written to these.
const FULL: &[(&str, MakeWaiting)] = &[
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
            end: Box::new(move |session| {
                session.read_fd(eventfd, 8);
            }),
        }
    }),
];

/// How a request is submitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Plain,
    Async,
    Fixed,
    AsyncFixed,
}

const WAYS: [Way; 4] = [Way::Plain, Way::Async, Way::Fixed, Way::AsyncFixed];

/// Makes the request for a file; `number` tells its memory.
type MakeRequest = fn(&Session, RawFd, Memory, usize) -> Sqe;

/// Room for each file.
const ROOM: usize = 64;

/// Submits a request for each of `kinds`, makes all files ready, and cancels what is left.
fn play(session: &mut Session, kinds: &[(&str, MakeWaiting)], request: MakeRequest) {
    for way in WAYS {
        for nonblocking in [false, true] {
            let ring = session.ring(32);
            let files: Vec<Waiting> = kinds.iter().map(|(_, make)| make(session)).collect();
            let descriptors: Vec<RawFd> = files.iter().map(|file| file.fd).collect();
            for fd in &descriptors {
                session.with_kept(*fd, |fd| rustix::io::ioctl_fionbio(fd, nonblocking)).expect("any file");
            }
            let table = session.ints(&descriptors);
            let register = ringer_abi::RegisterOpcode::Files.number();
            ring.register(register, table.addr(), descriptors.len() as u32).expect("the files are good");
            let memory = session.memory(ROOM * descriptors.len());
            memory.fill(&vec![b'-'; ROOM * descriptors.len()]);
            // Two buffers for each.
            let groups: Vec<Buffers> = (0..descriptors.len() as u16)
                .map(|group| {
                    // The others cannot be asked not to wait, as docs/SUPPORT.md says.
                    let is_cut = ["stream", "TCP", "timerfd"].contains(&kinds[group as usize].0);
                    let kind = if is_cut { INCREMENTAL } else { 0 };
                    Buffers::new(session, &ring, group, 2, 16, kind)
                })
                .collect();
            for (number, fd) in descriptors.iter().enumerate() {
                let sqe = request(session, *fd, memory, number).with_user_data(number as u64 + 1);
                let sqe = match way {
                    Way::Fixed | Way::AsyncFixed if sqe.fd() == *fd => {
                        sqe.with_fd(number as i32).with_flags(sqe.flags() | SqeFlags::FIXED_FILE)
                    }
                    _ => sqe,
                };
                let is_async = matches!(way, Way::Async | Way::AsyncFixed);
                let more = if is_async { SqeFlags::ASYNC } else { SqeFlags::empty() };
                ring.push(sqe.with_flags(sqe.flags() | more));
            }
            let label = format!("{way:?}, {nonblocking}");
            session.outcome(format!("{label}: submit"), ring.submit());
            session.quiet(format!("{label}: not ready"), &ring);
            files.iter().for_each(|file| (file.end)(session));
            session.quiet(format!("{label}: ready"), &ring);
            ring.push(prep::cancel(0, 5).with_user_data(100));
            session.outcome(format!("{label}: cancel"), ring.submit());
            std::thread::sleep(std::time::Duration::from_millis(20));
            let mut seen = ring.collect_until(std::time::Duration::from_millis(1), |_| false);
            // How many there were is seen by what they say.
            seen.retain(|cqe| cqe.user_data != 100);
            session.cqes(format!("{label}: end"), &seen);
            session.bytes(format!("{label}: memory"), &memory.bytes());
            groups.iter().for_each(|group| group.look(session, &ring, &label));
        }
        session.fresh();
    }
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let empty = |name, opcode, request: MakeRequest| {
        Case::new(format!("not-ready/{name}"), opcode, move |session| play(session, EMPTY, request))
    };
    let full = |name, opcode, request: MakeRequest| {
        Case::new(format!("not-ready/{name}"), opcode, move |session| play(session, FULL, request))
    };
    vec![
        empty("read", Opcode::Read, |_, fd, memory, number| {
            prep::read(fd, place(memory, number), 32, u64::MAX)
        }),
        empty("read-nothing", Opcode::Read, |_, fd, memory, number| {
            prep::read(fd, place(memory, number), 0, u64::MAX)
        }),
        empty("read-nowait", Opcode::Read, |_, fd, memory, number| {
            prep::read(fd, place(memory, number), 32, u64::MAX).with_op_flags(NOWAIT)
        }),
        empty("read-select", Opcode::Read, |_, fd, _, number| select(prep::read(fd, 0, 0, u64::MAX), number)),
        empty("readv", Opcode::Readv, |session, fd, memory, number| {
            let at = place(memory, number);
            let vectors = session.vectors(&[(at, 4), (at + 8, 24)]);
            prep::readv(fd, vectors.addr(), 2, u64::MAX)
        }),
        // Of an inotify instance Linux never gives a result, unless it is open with `O_NONBLOCK`.
        Case::new("not-ready/read-multishot", Opcode::ReadMultishot, |session| {
            play(session, &EMPTY[..EMPTY.len() - 1], |_, fd, _, number| {
                select(prep::op(Opcode::ReadMultishot, fd).with_off(u64::MAX), number)
            });
        }),
        empty("recv", Opcode::Recv, |_, fd, memory, number| prep::recv(fd, place(memory, number), 32, 0)),
        empty("recv-multishot", Opcode::Recv, |_, fd, _, number| {
            select(prep::recv(fd, 0, 0, 0), number).with_ioprio(MULTISHOT)
        }),
        empty("recvmsg", Opcode::Recvmsg, |session, fd, memory, number| {
            let vectors = session.vectors(&[(place(memory, number), 32)]);
            let message = session.message((0, 0), (vectors.addr(), 1), (0, 0));
            prep::op(Opcode::Recvmsg, fd).with_addr(message.addr()).with_len(1)
        }),
        empty("poll", Opcode::PollAdd, |_, fd, _, _| prep::op(Opcode::PollAdd, fd).with_op_flags(1)),
        empty("poll-multishot", Opcode::PollAdd, |_, fd, _, _| {
            prep::op(Opcode::PollAdd, fd).with_op_flags(1).with_len(1)
        }),
        full("write", Opcode::Write, |_, fd, memory, number| {
            prep::write(fd, place(memory, number), 8, u64::MAX)
        }),
        full("write-nowait", Opcode::Write, |_, fd, memory, number| {
            prep::write(fd, place(memory, number), 8, u64::MAX).with_op_flags(NOWAIT)
        }),
        full("writev", Opcode::Writev, |session, fd, memory, number| {
            let at = place(memory, number);
            let vectors = session.vectors(&[(at, 4), (at + 4, 4)]);
            prep::op(Opcode::Writev, fd).with_addr(vectors.addr()).with_len(2).with_off(u64::MAX)
        }),
        full("send", Opcode::Send, |_, fd, memory, number| prep::send(fd, place(memory, number), 8, 0)),
        full("send-dontwait", Opcode::Send, |_, fd, memory, number| {
            prep::send(fd, place(memory, number), 8, 0x40)
        }),
        full("poll-out", Opcode::PollAdd, |_, fd, _, _| prep::op(Opcode::PollAdd, fd).with_op_flags(4)),
    ]
}

fn place(memory: Memory, number: usize) -> u64 {
    memory.addr() + (number * ROOM) as u64
}

fn select(sqe: Sqe, number: usize) -> Sqe {
    sqe.with_buf_index(number as u16).with_flags(SqeFlags::BUFFER_SELECT)
}
