//! POLL_ADD and POLL_REMOVE: readiness as a request.

use ringer_abi::{Sqe, SqeFlags, uapi};
use ringer_sys::Errno;

use crate::operation::{Completion, Issue, Op, Outcome, Prepare, Traits, Until};
use crate::ring_file::RingFile;

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
    /// The state of its ring at the beginning was reported.
    told_of_ring: bool,
    /// What its file reported since the last attempt.
    reported: u32,
    /// The completions of the rings that its file watches, when it began to wait. `None`: it watches nothing.
    completions: Option<u32>,
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
        let multishot = multishot && events & EPOLLONESHOT == 0;
        Ok(Self {
            events,
            multishot,
            wait_first: true,
            told_of_ring: false,
            reported: 0,
            completions: Some(0),
        })
    }

    fn has_several_results(&self) -> bool {
        self.multishot
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        let interest = (self.events & 0xffff) | ALWAYS;
        if let Some(ring) = context.ring {
            return self.issue_for_ring(ring, interest);
        }
        let completions = self.completions.and_then(|_| context.resources.look_at_rings_in_epoll(context.fd));
        if completions.is_none() {
            // It is not asked again.
            self.completions = None;
        }
        // An edge-triggered registration reports the present state first, so that nothing is lost
        // between looking and arming. After a report only the next one counts.
        if self.multishot && std::mem::take(&mut self.wait_first) {
            let until = if self.is_edge() { Until::Change } else { Until::Ready };
            self.completions = completions;
            return Outcome::WaitFor { events: interest, until };
        }
        let reported = std::mem::take(&mut self.reported) & interest;
        let found = match reported {
            0 => ready_events(context.fd, interest),
            // Though another request may have taken meanwhile what was there.
            _ => Ok(reported),
        };
        let ready = match found {
            Ok(ready) => ready & interest,
            Err(errno) => return Outcome::failed(errno),
        };
        if ready == 0 {
            let until = if self.multishot && self.is_edge() { Until::Change } else { Until::ReadyAgain };
            return Outcome::WaitFor { events: interest, until };
        }
        // As where its file is a ring, what a completion makes ready is the last thing to be told: to tell it is a completion, too.
        if !self.multishot || completions != self.completions {
            return Outcome::done(ready as i32);
        }
        self.wait_first = true;
        Outcome::More(Completion::new(ready as i32))
    }
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
    /// A ring tells of each CQE at the moment when it is posted. That ends also a poll that has several results: two rings that poll each
    /// other would go on for ever.
    fn issue_for_ring(&mut self, ring: &dyn RingFile, interest: u32) -> Outcome {
        let reported = std::mem::take(&mut self.reported) & interest;
        if reported != 0 {
            return Outcome::done(reported as i32);
        }
        if self.multishot && std::mem::take(&mut self.wait_first) {
            let until = if self.told_of_ring { Until::Change } else { Until::Ready };
            return Outcome::WaitFor { events: interest, until };
        }
        match ring.ready_events() & interest {
            0 => Outcome::WaitFor { events: interest, until: Until::ReadyAgain },
            ready if self.multishot => {
                (self.wait_first, self.told_of_ring) = (true, true);
                Outcome::More(Completion::new(ready as i32))
            }
            ready => Outcome::done(ready as i32),
        }
    }

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
        self.told_of_ring = false;
    }
}
