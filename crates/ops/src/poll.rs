//! POLL_ADD and POLL_REMOVE: readiness as a request.

use ringer_abi::{Sqe, SqeFlags, uapi};
use ringer_sys::Errno;

use crate::operation::{Completion, Issue, Op, Outcome, Prepare, Traits, Until};

/// Events that are reported whether asked for or not: an error, a hang-up, and one of the peer's half.
const ALWAYS: u32 = 0x08 | 0x10 | 0x2000;
/// `EPOLLEXCLUSIVE`, the highest bit POLL_ADD accepts besides `EPOLLONESHOT` and `EPOLLET`.
const EPOLLEXCLUSIVE: u32 = 1 << 28;
const EPOLLONESHOT: u32 = 1 << 30;
const EPOLLET: u32 = 1 << 31;

/// Decodes `poll32_events` as `io_uring_prep_poll_add.3` describes it.
fn decode_events(sqe: &Sqe, flags: u32) -> u32 {
    let mut events = sqe.op_flags();
    if flags & uapi::IORING_POLL_ADD_MULTI == 0 {
        events |= EPOLLONESHOT;
    }
    if flags & uapi::IORING_POLL_ADD_LEVEL == 0 {
        events |= EPOLLET;
    }
    (events & 0xffff) | (events & (EPOLLEXCLUSIVE | EPOLLONESHOT | EPOLLET))
}

/// `IORING_OP_POLL_ADD`. Source: `io_uring_prep_poll_add.3`.
#[derive(Debug)]
pub struct PollAdd {
    /// `poll.2` events in the low 16 bits, `EPOLL` modifiers in the high ones.
    pub events: u32,
    /// Reports more than once. Source: `io_uring_prep_poll_multishot.3`.
    pub multishot: bool,
    wait_first: bool,
    /// What its file reported since the last attempt.
    reported: u32,
}

impl PollAdd {
    /// Whether only changes count. Multishot polls are edge-triggered unless `IORING_POLL_ADD_LEVEL`.
    pub const fn is_edge(&self) -> bool {
        self.events & EPOLLET != 0
    }
}

impl Op for PollAdd {
    const TRAITS: Traits = Traits::FILE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        let flags = sqe.len();
        if sqe.buf_index() != 0 || sqe.off() != 0 || sqe.addr() != 0 {
            return Err(Errno::INVAL);
        }
        // Linux 6.18 refuses `IORING_POLL_ADD_LEVEL` with the unknown ones.
        if flags & !uapi::IORING_POLL_ADD_MULTI != 0 {
            return Err(Errno::INVAL);
        }
        let multishot = flags & uapi::IORING_POLL_ADD_MULTI != 0;
        if multishot && sqe.flags().contains(SqeFlags::CQE_SKIP_SUCCESS) {
            return Err(Errno::INVAL);
        }
        let events = decode_events(sqe, flags);
        // Whoever asks for one report by `EPOLLONESHOT` gets one.
        Ok(Self { events, multishot: multishot && events & EPOLLONESHOT == 0, wait_first: true, reported: 0 })
    }

    fn has_several_results(&self) -> bool {
        self.multishot
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        let interest = (self.events & 0xffff) | ALWAYS;
        let is_ring = match is_ring(context) {
            Ok(is_ring) => is_ring,
            Err(errno) => return Outcome::failed(errno),
        };
        // An edge-triggered registration reports the present state first, so that nothing is lost
        // between looking and arming. After a report only the next one counts.
        if self.multishot && std::mem::take(&mut self.wait_first) {
            let until = if self.is_edge() { Until::Change } else { Until::Ready };
            return Outcome::WaitFor { events: interest, until };
        }
        let reported = std::mem::take(&mut self.reported) & interest;
        let found = match reported {
            // Though another request may have taken meanwhile what was there.
            1.. if !is_ring => Ok(reported),
            _ => ready_events(context.fd, interest),
        };
        let ready = match found {
            Ok(ready) if is_ring => (ready | also_of_a_ring(ready)) & interest,
            Ok(ready) => ready & interest,
            Err(errno) => return Outcome::failed(errno),
        };
        if ready == 0 {
            let until = if self.multishot && self.is_edge() { Until::Change } else { Until::ReadyAgain };
            return Outcome::WaitFor { events: interest, until };
        }
        if !self.multishot {
            return Outcome::done(ready as i32);
        }
        self.wait_first = true;
        Outcome::More(Completion::new(ready as i32))
    }
}

/// Whether the file is a ring. Its readiness is that of its CQ only while somebody waits for it.
fn is_ring(context: &Issue<'_>) -> Result<bool, Errno> {
    // Other files lie there, too.
    let may_be = ringer_sys::descriptor::reserved().rings.contains(&context.fd);
    if may_be { context.resources.watch_ring(context.fd) } else { Ok(false) }
}

/// What a ring reports besides the eventfd that its descriptor is here.
fn also_of_a_ring(ready: u32) -> u32 {
    const POLLOUT: u32 = 0x4;
    const POLLWRNORM: u32 = 0x100;
    if ready & POLLOUT != 0 { POLLWRNORM } else { 0 }
}

/// The file's readiness now, without waiting.
///
/// # Errors
/// `EBADF`; `ENOMEM` from the kernel.
pub fn ready_events(fd: std::os::fd::RawFd, events: u32) -> Result<u32, Errno> {
    ringer_sys::call::poll_now(fd, events as u16).map(u32::from)
}

/// `IORING_OP_POLL_REMOVE`, also poll updates. Source: `io_uring_prep_poll_update.3`.
#[derive(Debug)]
pub struct PollRemove {
    /// The `user_data` of the poll request.
    pub target: u64,
    /// New events, when they are to change.
    pub update_events: Option<u32>,
    /// New `user_data`, when it is to change.
    pub update_user_data: Option<u64>,
    /// With an update of events: the poll becomes or stays multishot.
    pub multishot: bool,
}

impl Op for PollRemove {
    const TRAITS: Traits = Traits::NONE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        let known = uapi::IORING_POLL_UPDATE_EVENTS
            | uapi::IORING_POLL_UPDATE_USER_DATA
            | uapi::IORING_POLL_ADD_MULTI;
        let flags = sqe.len();
        if sqe.buf_index() != 0 || sqe.file_index() != 0 || flags & !known != 0 {
            return Err(Errno::INVAL);
        }
        // A poll that is only removed cannot become multishot.
        if flags == uapi::IORING_POLL_ADD_MULTI {
            return Err(Errno::INVAL);
        }
        let with_events = flags & uapi::IORING_POLL_UPDATE_EVENTS != 0;
        let with_user_data = flags & uapi::IORING_POLL_UPDATE_USER_DATA != 0;
        if !with_user_data && sqe.off() != 0 {
            return Err(Errno::INVAL);
        }
        if !with_events && sqe.op_flags() != 0 {
            return Err(Errno::INVAL);
        }
        Ok(Self {
            target: sqe.addr(),
            update_events: with_events.then(|| decode_events(sqe, flags)),
            update_user_data: with_user_data.then(|| sqe.off()),
            multishot: flags & uapi::IORING_POLL_ADD_MULTI != 0,
        })
    }

    fn issue(&mut self, _context: &mut Issue<'_>) -> Outcome {
        Outcome::Engine
    }
}

impl PollAdd {
    /// What it says of a file that cannot be waited for: what is ready now, for the last time.
    pub fn without_waiting(&self, fd: std::os::fd::RawFd) -> Completion {
        let interest = (self.events & 0xffff) | ALWAYS;
        match ready_events(fd, interest).map(|ready| ready & interest) {
            Ok(0) => Completion::error(Errno::INVAL),
            Ok(ready) => Completion::new(ready as i32),
            Err(errno) => Completion::error(errno),
        }
    }

    /// Its file is ready for these events.
    pub fn note_report(&mut self, events: u32) {
        self.reported = events;
    }

    /// Changes an armed poll, as POLL_REMOVE asks.
    pub fn update(&mut self, events: u32, multishot: bool) {
        self.events = events;
        self.multishot = multishot;
        self.wait_first = self.is_edge();
    }
}
