//! What an operation is to the engine: preparation, attempts, outcomes.

use std::ops::Range;
use std::os::fd::{OwnedFd, RawFd};

use ringer_abi::{SetupFlags, Sqe};
use ringer_sys::aio::{Direction, Memory};
use ringer_sys::call::{self, FileKind};
use ringer_sys::{Errno, UserAddress, descriptor};

use crate::ring_file::RingFile;
use crate::selection::BufferGroup;

/// One operation: what is left of an SQE once it has been checked.
///
/// The engine calls [`prepare`](Op::prepare) once at submission, then [`issue`](Op::issue) until it
/// finishes. A request that does not finish within `enter` is [captured](Op::capture) first, so
/// that the program may reuse what the SQE pointed to (`IORING_FEAT_SUBMIT_STABLE`).
pub trait Op: Sized + Send {
    /// What the engine must know before it prepares an SQE of this kind.
    const TRAITS: Traits;

    /// The result of an SQE that asks for nothing special (no flags of its opcode, no personality, no `ioprio`, no flags other than
    /// `IOSQE_FIXED_FILE`), if it is there without anything being done: no operation is made for it.
    const RESULT: Option<i32> = None;

    /// Whether others of its kind that were submitted with it may be made at the same time, by another thread: none has a result that depends
    /// on when another one is made. `None`: never.
    const SHARING: Option<fn(&Self) -> Sharing> = None;

    /// Checks the SQE and keeps what it needs of it.
    ///
    /// # Errors
    /// The errno of the request's CQE, as Linux gives it for a field the operation refuses.
    fn prepare(sqe: &Sqe, context: &Prepare) -> Result<Self, Errno>;

    /// Copies whatever the SQE points to and a later attempt will need: vectors, headers, paths,
    /// times. Buffers stay where they are. Called at most once.
    ///
    /// # Errors
    /// `EFAULT` for a bad address, `ENOMEM`; it becomes the request's result.
    fn capture(&mut self) -> Result<(), Errno> {
        Ok(())
    }

    /// The error of a preparation that failed after a second CQE was promised. It is refused like any other then, but says
    /// so itself.
    fn refused(&self) -> Option<Errno> {
        None
    }

    /// The `poll.2` events that a request which is to start on a worker (`IOSQE_ASYNC`) waits for instead, before its first
    /// attempt. `None`: it starts there. Multishot requests wait.
    fn waits_to_start(&self) -> Option<u32> {
        None
    }

    /// That wait begins: what else the request says of waits does not count any more.
    fn wait_to_start(&mut self) {}

    /// Whether the request goes on after a result: multishot.
    fn has_several_results(&self) -> bool {
        false
    }

    /// The file that the last [`Outcome::WaitFor`] is about, when it is not [`Issue::fd`]: a
    /// descriptor that the operation owns until its next attempt.
    fn waits_for(&self) -> Option<RawFd> {
        None
    }

    /// Ends the request with an error that is the engine's: no such file, a cancellation. After
    /// [`Outcome::Notifies`] the next [`issue`](Op::issue) ends it, for which it needs no file.
    fn refuse(&mut self, errno: Errno) -> Outcome {
        Outcome::failed(errno)
    }

    /// The transfer that a device can carry out without a thread waiting for it, when the last outcome was
    /// [`Outcome::Lend`] for that reason. The vectors that it names stay where they are for as long as the operation lives.
    fn device_transfer(&self) -> Option<DeviceTransfer> {
        None
    }

    /// What the device has to do, when the last outcome was [`Outcome::Lend`], or [`Outcome::Punt`] for a write, and the operation waits
    /// for nothing else.
    fn device_wait(&self) -> Option<DeviceWait> {
        None
    }

    /// Makes one attempt with the patience that `context` allows.
    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome;
}

/// With which others an operation may be made at the same time. See [`Op::SHARING`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sharing {
    /// With none.
    No,
    /// With any.
    Yes,
    /// With those that name another descriptor.
    OfOtherFiles(RawFd),
}

/// What the device has to do until an operation is done. See [`Op::device_wait`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeviceWait {
    /// A read, with which the attempt has had it begin.
    Begun,
    /// A write that ends on the device (`O_DSYNC`). Such writes wait side by side, if their parts of the file do not overlap.
    Write {
        /// The bytes of the file that it writes. `None`: they may be any.
        part: Option<Range<u64>>,
    },
}

/// A transfer to or from a device. See [`Op::device_transfer`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeviceTransfer {
    /// What it does.
    pub direction: Direction,
    /// The program's memory.
    pub memory: Memory,
    /// Where in the file.
    pub offset: i64,
    /// The `RWF_` flags.
    pub flags: u32,
    /// Bytes that were asked for: less fail a link.
    pub wanted: u64,
}

/// What holds for all SQEs of one opcode, before any of them is prepared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traits {
    /// `fd` names a file, or a registered one with `IOSQE_FIXED_FILE`; `EBADF` without.
    pub needs_file: bool,
    /// A non-zero `ioprio` is meaningful; `EINVAL` otherwise.
    pub ioprio: bool,
    /// Allowed on a ring made with `IORING_SETUP_IOPOLL`; `EINVAL` otherwise.
    pub iopoll: bool,
    /// `IOSQE_BUFFER_SELECT` is allowed; `EOPNOTSUPP` otherwise.
    pub buffer_select: bool,
    /// `buf_index` names a registered buffer that holds `addr..addr + len`; the engine resolves it.
    pub fixed_buffer: bool,
}

impl Traits {
    /// Nothing needed, nothing allowed.
    pub const NONE: Self =
        Self { needs_file: false, ioprio: false, iopoll: false, buffer_select: false, fixed_buffer: false };
    /// A file is needed.
    pub const FILE: Self = Self { needs_file: true, ..Self::NONE };
}

/// What preparation may look at besides the SQE.
#[derive(Clone, Copy, Debug)]
pub struct Prepare {
    /// The ring's setup flags.
    pub setup: SetupFlags,
    /// The SQE follows a request in its chain that a LINK_TIMEOUT can limit.
    pub limits_request: bool,
}

/// How long an attempt may take.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Patience {
    /// It must not wait for anything: no device, no peer.
    None,
    /// It may do work that is usually over in microseconds but may touch a device: a buffered write,
    /// a path lookup. The engine measures it and withdraws this when it was slow.
    Brief,
    /// It runs on a worker and may take as long as it takes.
    Unlimited,
}

/// A provided buffer, or the range of a registered one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Buffer {
    /// Where it starts.
    pub address: UserAddress,
    /// Its length in bytes.
    pub length: u32,
}

impl Buffer {
    /// Its first `limit` bytes; all of them when that is 0.
    #[must_use]
    pub fn cut(self, limit: u64) -> Self {
        if limit == 0 { self } else { Self { length: limit.min(self.length.into()) as u32, ..self } }
    }
}

pub(crate) const O_DIRECT: u32 = 0o40000;

/// What of a file and of how it is open (`open.2`) says who is to transfer from or to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenedFor {
    /// Its data bypasses the page cache (`O_DIRECT`).
    pub direct: bool,
    /// It has positions, and a write ends once its data is on the device (`O_DSYNC`, and `O_SYNC`, which includes it).
    pub synchronous: bool,
    /// Each write goes to its end (`O_APPEND`).
    pub append: bool,
}

impl OpenedFor {
    /// What the status flags of a file say.
    fn of(fd: RawFd, flags: u32) -> Self {
        const O_DSYNC: u32 = 0o10000;
        const O_APPEND: u32 = 0o2000;
        Self {
            direct: flags & O_DIRECT != 0,
            synchronous: flags & O_DSYNC != 0 && call::file_kind(fd) == Ok(FileKind::Seekable),
            append: flags & O_APPEND != 0,
        }
    }
}

/// One attempt's surroundings.
pub struct Issue<'a> {
    /// The file, for operations that need one. Open for as long as the attempt lasts.
    pub fd: RawFd,
    /// How long this attempt may take.
    pub patience: Patience,
    /// The open file's status flags (`F_GETFL`) where the engine knows them without a call: registered files.
    pub status_flags: Option<u32>,
    /// What is believed of the open file, or was found by this attempt. A wrong belief costs time and does no harm: the file is
    /// transferred from or to as it is.
    pub opened_for: Option<OpenedFor>,
    /// The kind of the open file where the engine knows it without a call, or as this attempt found it: it does not change while the file is
    /// open.
    pub kind: Option<FileKind>,
    /// The range of a registered buffer that the engine resolved.
    pub buffer: Option<Buffer>,
    /// The group of provided buffers to take from, if the SQE names one.
    pub provided: Option<&'a mut dyn BufferGroup>,
    /// The second half of the result's CQE, on a ring with 32-byte CQEs. Zero unless the operation sets it.
    pub extra: [u64; 2],
    /// Set by an operation that is done: its CQE has `IORING_CQE_F_SOCK_NONEMPTY` if the socket has more to read, which the engine finds out by
    /// [`has_more_to_read`](crate::has_more_to_read).
    pub asks_for_more: bool,
    /// The file, if it is a ring.
    pub ring: Option<&'a dyn RingFile>,
    /// The ring's registered files.
    pub resources: &'a dyn Resources,
}

/// What is known of the file, or else what the call says, which is known from then on.
fn known<T: Copy>(place: &mut Option<T>, ask: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    match *place {
        Some(known) => Ok(known),
        None => ask().inspect(|found| *place = Some(*found)),
    }
}

impl<'a> Issue<'a> {
    /// An attempt without buffers.
    #[inline]
    pub fn new(fd: RawFd, patience: Patience, resources: &'a dyn Resources) -> Self {
        Self {
            fd,
            patience,
            status_flags: None,
            opened_for: None,
            kind: None,
            buffer: None,
            provided: None,
            extra: [0; 2],
            asks_for_more: false,
            ring: None,
            resources,
        }
    }

    /// The open file's status flags, asked for if not known.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn status_flags(&mut self) -> Result<u32, Errno> {
        known(&mut self.status_flags, || call::status_flags(self.fd))
    }

    /// What the file is open for, asked for if there is no belief.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn opened_for(&mut self) -> Result<OpenedFor, Errno> {
        match self.opened_for {
            Some(known) => Ok(known),
            None => {
                let found = OpenedFor::of(self.fd, self.status_flags()?);
                self.opened_for = Some(found);
                Ok(found)
            }
        }
    }

    /// The kind of the open file, asked for if not known.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn kind(&mut self) -> Result<FileKind, Errno> {
        known(&mut self.kind, || call::file_kind(self.fd))
    }

    /// Whether the attempt may wait without a limit.
    pub fn may_block(&self) -> bool {
        self.patience == Patience::Unlimited
    }
}

/// A slot of the registered files, as `file_index` names it: the number plus one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileSlot {
    /// This slot; whatever is in it is replaced.
    Index(u32),
    /// Any free slot of the allocation range; its number becomes the result.
    Allocate,
}

impl FileSlot {
    /// Decodes `file_index`. `None`: an ordinary descriptor is wanted.
    pub const fn from_file_index(file_index: u32) -> Option<Self> {
        match file_index {
            0 => None,
            u32::MAX => Some(Self::Allocate),
            index => Some(Self::Index(index - 1)),
        }
    }

    /// Makes a descriptor that is to be registered in this slot, for which the program needs no free number. `make` does not
    /// wait then. `None`: for the program itself.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn make<T>(slot: Option<Self>, make: impl Fn() -> Result<T, Errno>) -> Result<T, Errno> {
        if slot.is_some() { descriptor::make_for_engine(make) } else { make() }
    }
}

/// What operations ask of the ring's registered resources.
pub trait Resources {
    /// Puts a file into a slot of the registered files. Returns the CQE's result: 0 for a named slot,
    /// the slot's number for an allocated one.
    ///
    /// # Errors
    /// `ENXIO` without registered files, `EINVAL` for a slot beyond them, `ENFILE` when none is free.
    fn install_file(&self, file: OwnedFd, slot: FileSlot) -> Result<i32, Errno>;

    /// A descriptor for the registered file in this slot, for the length of the attempt.
    ///
    /// # Errors
    /// `EBADF` when there is none.
    fn registered_file(&self, index: u32) -> Result<RawFd, Errno>;

    /// Whether a descriptor is of a ring that the engine serves.
    fn is_ring(&self, _fd: RawFd) -> bool {
        false
    }

    /// `epoll_ctl.2` is about to be called with this operation and these events for a descriptor that may be a ring's: from now on its
    /// readiness is true whenever the program waits for that epoll instance.
    ///
    /// # Errors
    /// `ENOMEM` when that cannot be.
    fn note_in_epoll(&self, _epoll: RawFd, _operation: u32, _fd: RawFd, _events: u32) -> Result<(), Errno> {
        Ok(())
    }

    /// A request is about to look at this file. If it is an epoll instance, the rings in it that make it ready by their completions show
    /// truly whether they have some. Returns how many they have had. `None`: it is no such file.
    fn look_at_rings_in_epoll(&self, _file: RawFd) -> Option<u32> {
        Some(0)
    }

    /// Takes a file out of its slot again, when a later step of the same request failed.
    fn remove_file(&self, _index: u32) {}

    /// Whether there is a registered buffer of this index.
    fn has_registered_buffer(&self, _index: u16) -> bool {
        false
    }

    /// Checks that a range lies in a registered buffer.
    ///
    /// # Errors
    /// `EFAULT` when it does not, or when there is no such buffer.
    fn check_registered_range(&self, _index: u16, _address: UserAddress, _length: u64) -> Result<(), Errno> {
        Err(Errno::FAULT)
    }
}

/// Which report of a file ends a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// Any, also that it is ready already: nobody has looked.
    Ready,
    /// The same, of a file that was read empty, over and over: each report is followed by an attempt, which takes what there is.
    Refilled,
    /// Any since this attempt, which found it not ready.
    ReadyAgain,
    /// One of a change. That it is ready already does not count.
    Change,
}

/// What became of one attempt. Small enough to be returned in registers.
#[derive(Debug)]
pub enum Outcome {
    /// The request is finished.
    Done(Completion),
    /// A multishot request has one result and goes on: post it with `F_MORE`, then issue again. It ends with this result
    /// when the CQ is full.
    More(Completion),
    /// The same, but issue again once its file reports that there is something to read (`POLLIN`): it was read empty, or Linux looks no earlier.
    Drained(Completion),
    /// The result of a request that has a notification besides: post it with `F_MORE`, then issue again for that.
    Notifies(Completion),
    /// Issue again once the file reports one of these `poll.2` events.
    WaitFor {
        /// `POLLIN`, `POLLOUT`, ….
        events: u32,
        /// Which report counts.
        until: Until,
    },
    /// The attempt needs more patience than it was given.
    Punt,
    /// The same, but Linux needs no worker for it: its submitter waits where it must, or the device tells it. What follows in the chain
    /// is not for a worker either.
    Lend,
    /// The operation acts on the engine's own state; the engine carries it out.
    Engine,
}

impl Outcome {
    /// Finished with a system call's result; an error fails the link.
    pub fn from_result(result: Result<usize, Errno>) -> Self {
        Self::Done(Completion::from_result(result))
    }

    /// Finished with a result; an error fails the link.
    pub fn done(result: i32) -> Self {
        Self::Done(Completion::new(result))
    }

    /// Finished with an error.
    pub fn failed(errno: Errno) -> Self {
        Self::Done(Completion::error(errno))
    }

    /// With an error that is a result like any other: it does not fail the link, and `CQE_SKIP_SUCCESS` hides it. So it
    /// is with operations on files and names. A name that cannot be read fails the link all the same, and so does what is
    /// no socket.
    #[must_use]
    pub fn tolerated(self) -> Self {
        match self {
            Self::Done(completion) => {
                let failing =
                    [Errno::FAULT, Errno::NAMETOOLONG, Errno::NOTSOCK].map(|errno| -errno.raw_os_error());
                Self::Done(Completion { fails_link: failing.contains(&completion.result), ..completion })
            }
            outcome => outcome,
        }
    }

    /// The same for an operation on a file: a descriptor that is not open fails the link.
    #[must_use]
    pub fn tolerated_of(self, fd: RawFd) -> Self {
        match self {
            Self::Done(Completion { result: BAD_DESCRIPTOR, .. })
                if ringer_sys::call::file_kind(fd).is_err() =>
            {
                self
            }
            outcome => outcome.tolerated(),
        }
    }
}

/// `EBADF` as a result.
pub(crate) const BAD_DESCRIPTOR: i32 = -Errno::BADF.raw_os_error();

/// The content of a CQE but for `user_data`.
///
/// In this order: `result` and `flags` beside each other are written one by one and read together, for which Intel's processors
/// wait until both writes have left the store buffer. That was a sixth of the time of a NOP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Completion {
    /// The result, or a negated errno.
    pub result: i32,
    /// The rest of a soft link is cancelled. An error, or less than was asked for.
    pub fails_link: bool,
    /// `IORING_CQE_F_` bits.
    pub flags: u32,
}

impl Completion {
    /// A result; a negative one fails the link.
    pub const fn new(result: i32) -> Self {
        Self { result, flags: 0, fails_link: result < 0 }
    }

    /// An error.
    pub const fn error(errno: Errno) -> Self {
        Self::new(-errno.raw_os_error())
    }

    /// A system call's result.
    pub fn from_result(result: Result<usize, Errno>) -> Self {
        match result {
            Ok(value) => Self::new(value as i32),
            Err(errno) => Self::error(errno),
        }
    }

    /// A transfer's result: less than `wanted` bytes fail the link.
    #[must_use]
    pub fn of_transfer(result: i32, wanted: u64) -> Self {
        Self { fails_link: i64::from(result) != wanted as i64, ..Self::new(result) }
    }

    /// With CQE flags.
    #[must_use]
    pub const fn with_flags(mut self, flags: u32) -> Self {
        self.flags |= flags;
        self
    }
}

/// How requests of an opcode may be served; for the documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Way {
    Inline,
    Poll,
    Worker,
    Aio,
    Engine,
}
