//! A request: one SQE on its way to its CQE.

use std::os::fd::RawFd;
use std::sync::Arc;

use ringer_abi::{Opcode, Sqe, SqeFlags};
use ringer_ops::{Buffer, Operation};

use ringer_sys::credentials::Credentials;

use crate::Served;
use crate::buffers::RegisteredBuffer;
use crate::chaos::Fate;
use crate::files::RegisteredFile;
use crate::inflight::RequestId;
use crate::provided::TakenBuffer;
use crate::release::Duplicate;
use crate::ring::Ring;
use crate::watch::{PlaceInLine, WatchId};

/// One request, from its preparation to its final CQE.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) user_data: u64,
    pub(crate) opcode: u8,
    pub(crate) flags: SqeFlags,
    /// `fd` as the SQE has it: a descriptor or an index.
    pub(crate) fd: RawFd,
    /// `buf_index`, also `buf_group`.
    pub(crate) buffer_index: u16,
    /// `addr` and `len`, which a registered buffer must contain.
    pub(crate) range: (u64, u32),
    pub(crate) operation: Operation,
    pub(crate) held: Held,
    /// The rest of its chain.
    pub(crate) next: Option<Box<Request>>,
    /// The armed LINK_TIMEOUT that limits it.
    pub(crate) link_timeout: Option<RequestId>,
    /// Where it is kept while nothing runs it.
    pub(crate) slot: Option<RequestId>,
    /// What it has in the ring's epoll instance.
    pub(crate) watching: Option<Watching>,
    /// Its place among those that wait for its file.
    pub(crate) place: Option<PlaceInLine>,
    /// While a worker has it, the others in the line are not served: what was reported is for it.
    pub(crate) holds_line: bool,
    /// It waits for a file that its operation named, not for its own.
    pub(crate) waits_for_other: bool,
    /// Who it is done as (`IORING_REGISTER_PERSONALITY`), when that is not the process.
    pub(crate) personality: Option<Arc<Credentials>>,
    pub(crate) captured: bool,
    /// Its chain was submitted with `IOSQE_IO_DRAIN`: what came later waits for its end.
    pub(crate) drains: bool,
    /// Its SQE was refused while it was part of a chain: this is its result, and the chain's failure.
    pub(crate) early_result: Option<i32>,
    /// It was looked at: `IOSQE_ASYNC` says nothing any more.
    pub(crate) is_started: bool,
    /// A worker has it where Linux has none: what follows in its chain is not for that thread.
    pub(crate) is_lent: bool,
    /// It was cancelled, and tells so as the next thing it does.
    pub(crate) is_cancelled: bool,
    /// The number of the thread that submitted it.
    pub(crate) submitter: u32,
    pub(crate) served: Served,
    /// Among those of its ring, where that is observed. See [`Observed`](crate::observed::Observed).
    pub(crate) number: u64,
    /// What is going to happen to it, if that is special.
    pub(crate) fate: Option<Box<Fate>>,
}

/// What the engine looks at in an SQE whose operation is prepared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) opcode: u8,
    pub(crate) flags: SqeFlags,
    /// `fd` as the SQE has it: a descriptor or an index.
    pub(crate) fd: RawFd,
    /// `buf_index`, also `buf_group`.
    pub(crate) buffer_index: u16,
    /// `addr` and `len`, which a registered buffer must contain.
    pub(crate) range: (u64, u32),
}

impl Facts {
    pub(crate) fn of(sqe: &Sqe) -> Self {
        Self {
            opcode: sqe.opcode(),
            flags: sqe.flags(),
            fd: sqe.fd(),
            buffer_index: sqe.buf_index(),
            range: (sqe.addr(), sqe.len()),
        }
    }
}

/// What a request holds on to, from its first attempt until it is done.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) file: FileRef,
    /// The ring that the file is, if it is one.
    pub(crate) ring: Option<Arc<Ring>>,
    /// The registered buffer it uses, so that it stays registered until the request is done.
    pub(crate) buffer: Option<(Arc<RegisteredBuffer>, Buffer)>,
    /// The provided buffer that its next CQE names.
    pub(crate) taken: TakenBuffer,
    /// The second half of a 32-byte CQE, as the last attempt left it.
    pub(crate) extra: [u64; 2],
    /// The last attempt received something, and its CQE is to tell whether there is more.
    pub(crate) asks_for_more: bool,
}

impl Held {
    /// Whether its end is told by a CQE of its own: that of a registered resource's tag.
    pub(crate) fn is_tagged(&self) -> bool {
        matches!(&self.file, FileRef::Registered(file) if file.is_tagged())
            || self.buffer.as_ref().is_some_and(|(buffer, _)| buffer.release.is_tagged())
    }
}

/// The file of a request.
#[derive(Debug, Default)]
pub(crate) enum FileRef {
    /// Not looked up yet, or not needed.
    #[default]
    None,
    /// The program's descriptor; only while the program waits in the call that submitted it.
    Program(RawFd),
    /// A duplicate of the program's descriptor: the request outlives the call.
    Owned(Arc<Duplicate>),
    /// A registered file.
    Registered(Arc<RegisteredFile>),
}

impl FileRef {
    pub(crate) fn raw(&self) -> RawFd {
        match self {
            Self::None => -1,
            Self::Program(fd) => *fd,
            Self::Owned(duplicate) => duplicate.raw(),
            Self::Registered(file) => file.fd(),
        }
    }
}

/// How a request hears of its file's readiness.
#[derive(Debug)]
pub(crate) enum Watching {
    /// By the watch that all requests of the ring on this file share.
    Shared(WatchId),
    /// By a registration and a duplicate of its own: for changes, or of a file that the program has no descriptor of.
    Own {
        file: Arc<Duplicate>,
        /// What the registration asks for, and whether for changes only. `None`: there is none.
        interest: Option<(u32, bool)>,
    },
}

impl Request {
    pub(crate) fn new(sqe: &Sqe, operation: Operation) -> Self {
        Self {
            user_data: sqe.user_data(),
            opcode: sqe.opcode(),
            flags: sqe.flags(),
            fd: sqe.fd(),
            buffer_index: sqe.buf_index(),
            range: (sqe.addr(), sqe.len()),
            operation,
            held: Held::default(),
            next: None,
            link_timeout: None,
            slot: None,
            watching: None,
            place: None,
            holds_line: false,
            waits_for_other: false,
            personality: None,
            captured: false,
            drains: false,
            early_result: None,
            is_started: false,
            is_lent: false,
            is_cancelled: false,
            submitter: ringer_sys::thread::id(),
            served: Served::Inline,
            number: 0,
            fate: None,
        }
    }

    pub(crate) fn facts(&self) -> Facts {
        Facts {
            opcode: self.opcode,
            flags: self.flags,
            fd: self.fd,
            buffer_index: self.buffer_index,
            range: self.range,
        }
    }

    /// A request whose SQE was refused: it only carries its result.
    pub(crate) fn refused(sqe: &Sqe) -> Self {
        Self::new(sqe, Operation::refused())
    }

    /// Its place among those that wait for its file. One that has several results keeps it, others join the line anew.
    pub(crate) fn place_in_line(&mut self, next_number: impl FnOnce() -> i64) -> PlaceInLine {
        match self.place.filter(|_| self.operation.has_several_results()) {
            Some(place) => place,
            None => {
                *self.place.insert(PlaceInLine::new(next_number(), self.opcode == Opcode::Accept.number()))
            }
        }
    }

    /// Whether the SQE starts or continues a chain.
    pub(crate) fn is_linked(&self) -> bool {
        self.flags.intersects(SqeFlags::IO_LINK | SqeFlags::IO_HARDLINK)
    }

    /// Whether a LINK_TIMEOUT follows it.
    pub(crate) fn is_limited(&self) -> bool {
        self.next.as_ref().is_some_and(|next| matches!(next.operation, Operation::LinkTimeout(_)))
    }
}
