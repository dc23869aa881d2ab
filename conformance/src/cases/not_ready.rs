//! Requests on files of many kinds that are not ready yet, and what becomes of them when they are.

use std::os::fd::RawFd;

use ringer_abi::{Cqe, Opcode, SetupFlags, Sqe, SqeFlags};

use super::buffer_ring_use::{Buffers, INCREMENTAL, MULTISHOT};
use super::not_ready_files::{EMPTY, Event, FULL, MakeWaiting, Waiting};
use crate::differential::memory::Memory;
use crate::differential::{Case, Ring, Session, prep};

const EINTR: i32 = 4;
const ECANCELED: i32 = 125;
/// The same, which is not meant for programs.
const ERESTARTSYS: i32 = 512;
/// `RWF_NOWAIT`.
const NOWAIT: u32 = 0x8;

/// How a request is submitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Plain,
    Async,
    Fixed,
    AsyncFixed,
}

const WAYS: [Way; 4] = [Way::Plain, Way::Async, Way::Fixed, Way::AsyncFixed];

/// Makes the request for a file; `number` tells its memory.
pub(super) type MakeRequest = fn(&Session, RawFd, Memory, usize) -> Sqe;

/// Room for each file.
const ROOM: usize = 64;

/// Submits a request for each of `kinds`, in each way, makes all files ready, and cancels what is left.
fn play(session: &mut Session, requests: &Requests) {
    for way in WAYS {
        for nonblocking in [false, true] {
            play_once(session, requests, way, nonblocking, Event::Ready);
        }
        session.fresh();
    }
}

/// The same where other things happen to the files.
fn play_events(session: &mut Session, requests: &Requests) {
    let closing = [Event::HungUp, Event::Reset, Event::ShutDown];
    let others = [Event::ClosedAndReady, Event::HalfClosed];
    for event in closing.into_iter().filter(|_| requests.shows_closing).chain(others) {
        for way in [Way::Plain, Way::Async] {
            play_once(session, requests, way, false, event);
        }
        session.fresh();
    }
}

/// A ring, and files that are not ready, registered with it.
pub(super) struct Stage<'a> {
    session: &'a Session,
    pub(super) ring: Ring,
    pub(super) files: Vec<Waiting>,
    memory: Memory,
    groups: Vec<Buffers>,
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        session: &'a Session,
        setup: SetupFlags,
        kinds: &[(&str, MakeWaiting)],
        nonblocking: bool,
    ) -> Self {
        let ring = session.ring_with(32, setup);
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
        Self { session, ring, files, memory, groups }
    }

    /// The request for the file with this number.
    pub(super) fn sqe(&self, number: usize, make: MakeRequest, way: Way) -> Sqe {
        let fd = self.files[number].fd;
        let sqe = make(self.session, fd, self.memory, number).with_user_data(number as u64 + 1);
        let sqe = match way {
            Way::Fixed | Way::AsyncFixed if sqe.fd() == fd => {
                sqe.with_fd(number as i32).with_flags(sqe.flags() | SqeFlags::FIXED_FILE)
            }
            _ => sqe,
        };
        let is_async = matches!(way, Way::Async | Way::AsyncFixed);
        let more = if is_async { SqeFlags::ASYNC } else { SqeFlags::empty() };
        sqe.with_flags(sqe.flags() | more)
    }

    /// Cancels what is left, and records what became of everything.
    pub(super) fn end(&self, label: &str) {
        const ANY_AND_ALL: u32 = 5;
        const CANCEL: u64 = u64::MAX;
        let (session, ring) = (self.session, &self.ring);
        ring.push(prep::cancel(0, ANY_AND_ALL).with_user_data(CANCEL));
        session.outcome(format!("{label}: cancel"), ring.submit());
        // Where task work is deferred, each call may bring more of it.
        std::thread::sleep(std::time::Duration::from_millis(15));
        let mut seen = ring.collect_until(std::time::Duration::from_millis(15), |_| false);
        // How many there were is seen by what they say: that they were cancelled, or on a worker of the kernel that a signal came.
        seen.retain(|cqe| cqe.user_data != CANCEL);
        session.cqes(format!("{label}: end"), &without_signals(seen));
        session.bytes(format!("{label}: memory"), &self.memory.bytes());
        self.groups.iter().for_each(|group| group.look(session, ring, label));
    }
}

/// What was cancelled on a worker of the kernel says that a signal came.
pub(super) fn without_signals(mut seen: Vec<Cqe>) -> Vec<Cqe> {
    let signals = [-EINTR, -ERESTARTSYS];
    seen.iter_mut().filter(|cqe| signals.contains(&cqe.res)).for_each(|cqe| cqe.res = -ECANCELED);
    seen
}

fn play_once(session: &Session, requests: &Requests, way: Way, nonblocking: bool, event: Event) {
    let stage = Stage::new(session, SetupFlags::empty(), requests.kinds, nonblocking);
    let sqes: Vec<Sqe> = (0..stage.files.len()).map(|number| stage.sqe(number, requests.make, way)).collect();
    stage.ring.push_all(&sqes);
    let label = format!("{event:?}, {way:?}, {nonblocking}");
    session.outcome(format!("{label}: submit"), stage.ring.submit());
    if requests.opcode == Opcode::Splice {
        // A worker of the kernel looks up the file. On a busy machine it may take its time to begin.
        std::thread::sleep(std::time::Duration::from_millis(150));
    }
    session.quiet(format!("{label}: not ready"), &stage.ring);
    stage.files.iter().for_each(|file| event.happen(session, file));
    session.quiet(format!("{label}: then"), &stage.ring);
    stage.end(&label);
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for requests in requests() {
        let Requests { name, opcode, .. } = requests;
        cases.push(Case::new(format!("not-ready/{name}"), opcode, move |session| play(session, &requests)));
        cases.push(Case::new(format!("not-ready/{name}-and-more"), opcode, move |session| {
            play_events(session, &requests);
        }));
    }
    cases
}

/// A request for each of some files.
#[derive(Clone, Copy)]
pub(super) struct Requests {
    pub(super) name: &'static str,
    pub(super) opcode: Opcode,
    pub(super) kinds: &'static [(&'static str, MakeWaiting)],
    pub(super) make: MakeRequest,
    /// Whether it does not matter when it looks at a file that is just being closed or shut down, which takes several steps.
    shows_closing: bool,
}

pub(super) fn requests() -> Vec<Requests> {
    let empty = |name, opcode, make| Requests { name, opcode, kinds: EMPTY, make, shows_closing: true };
    let full = |name, opcode, make| Requests { name, opcode, kinds: FULL, make, shows_closing: true };
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
        // And of a terminal its end names a buffer, as a worker reads it.
        Requests {
            kinds: &EMPTY[..EMPTY.len() - 2],
            ..empty("read-multishot", Opcode::ReadMultishot, |_, fd, _, number| {
                select(prep::op(Opcode::ReadMultishot, fd).with_off(u64::MAX), number)
            })
        },
        empty("recv", Opcode::Recv, |_, fd, memory, number| prep::recv(fd, place(memory, number), 32, 0)),
        empty("recv-multishot", Opcode::Recv, |_, fd, _, number| {
            select(prep::recv(fd, 0, 0, 0), number).with_ioprio(MULTISHOT)
        }),
        empty("recvmsg", Opcode::Recvmsg, |session, fd, memory, number| {
            let vectors = session.vectors(&[(place(memory, number), 32)]);
            let message = session.message((0, 0), (vectors.addr(), 1), (0, 0));
            prep::op(Opcode::Recvmsg, fd).with_addr(message.addr()).with_len(1)
        }),
        Requests {
            shows_closing: false,
            ..empty("poll", Opcode::PollAdd, |_, fd, _, _| prep::op(Opcode::PollAdd, fd).with_op_flags(1))
        },
        Requests {
            shows_closing: false,
            ..empty("poll-multishot", Opcode::PollAdd, |_, fd, _, _| {
                prep::op(Opcode::PollAdd, fd).with_op_flags(1).with_len(1)
            })
        },
        // A terminal that is hung up cannot be spliced from; who is in the midst of it gets another error.
        Requests {
            kinds: &EMPTY[..EMPTY.len() - 2],
            ..empty("splice", Opcode::Splice, |session, fd, _, _| {
                let (read, write) = session.pipe();
                // It stays open, or there would be nobody to splice for.
                let _ = read;
                prep::op(Opcode::Splice, write)
                    .with_off(u64::MAX)
                    .with_addr(u64::MAX)
                    .with_len(32)
                    .with_file_index(fd as u32)
            })
        },
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
        full("sendmsg", Opcode::Sendmsg, |session, fd, memory, number| {
            let vectors = session.vectors(&[(place(memory, number), 8)]);
            let message = session.message((0, 0), (vectors.addr(), 1), (0, 0));
            prep::op(Opcode::Sendmsg, fd).with_addr(message.addr()).with_len(1)
        }),
        full("send-select", Opcode::Send, |_, fd, _, number| select(prep::send(fd, 0, 0, 0), number)),
        Requests {
            shows_closing: false,
            ..full("poll-out", Opcode::PollAdd, |_, fd, _, _| prep::op(Opcode::PollAdd, fd).with_op_flags(4))
        },
    ]
}

fn place(memory: Memory, number: usize) -> u64 {
    memory.addr() + (number * ROOM) as u64
}

fn select(sqe: Sqe, number: usize) -> Sqe {
    sqe.with_buf_index(number as u16).with_flags(SqeFlags::BUFFER_SELECT)
}
