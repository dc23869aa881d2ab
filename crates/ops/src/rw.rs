//! READ, WRITE, READV and WRITEV: one transfer, attempted without waiting first.

use std::ops::Range;

use ringer_abi::poll::{POLLIN, POLLOUT};
use ringer_abi::{Opcode, SetupFlags, Sqe, SqeFlags};
use ringer_sys::aio::{self, Direction};
use ringer_sys::call::FileKind;
use ringer_sys::nowait::{can_be_asked_not_to_wait, is_only_waited_for, is_read_in_parts};
use ringer_sys::{Errno, UserAddress, call};

use crate::check::of_open_file;
use crate::net::{O_NONBLOCK, is_shut_down};
use crate::operation::{
    BAD_DESCRIPTOR, Completion, DeviceTransfer, DeviceWait, Issue, O_DIRECT, Op, OpenedFor, Outcome,
    Patience, Prepare, Traits, Until,
};
use crate::pollable::{is_nonblocking, is_pollable, is_polled_first};
use crate::ring_file::NoTransfer;
use crate::selection::BufferGroup;
use crate::transfer_checks::{check_attributes, check_priority, of_file_open_for};
use crate::transfer_memory::{Memory, Vector, without_first};

/// `RWF_NOWAIT` of `preadv2.2`.
pub const RWF_NOWAIT: u32 = 0x8;
/// `RWF_DSYNC` and `RWF_SYNC`: the write ends once its data is on the device.
const RWF_SYNCHRONOUS: u32 = 0x6;
/// `RWF_APPEND`: to the end of the file, whatever the offset is.
const RWF_APPEND: u32 = 0x10;
/// As much of a read as Linux begins with at once, unless the device is set up otherwise (`read_ahead_kb`).
const READ_AHEAD: u64 = 128 << 10;
/// `RWF_HIPRI`: polled completion, which a stream does not have.
pub(crate) const RWF_HIPRI: u32 = 0x1;
/// The flags that every file knows: `RWF_HIPRI` to `RWF_APPEND`.
const OLD_RW_FLAGS: u32 = 0x1f;
/// `RWF_ATOMIC` and `RWF_DONTCACHE`: a stream knows neither.
pub(crate) const OF_REGULAR_FILES: u32 = 0xc0;
/// `RWF_APPEND`, `RWF_DSYNC` and so on that a request may ask for: what Linux 6.18 knows.
pub(crate) const KNOWN_RW_FLAGS: u32 = 0x1ff;
/// "At the file position and move it."
pub(crate) const FILE_POSITION: u64 = u64::MAX;
/// Linux transfers at most this many bytes at once.
const MOST_BYTES: u64 = 0x7fff_f000;

/// Whether requests of this opcode write to a file.
pub fn is_write(opcode: u8) -> bool {
    matches!(
        Opcode::from_number(opcode),
        Some(Opcode::Write | Opcode::Writev | Opcode::WriteFixed | Opcode::WritevFixed)
    )
}

/// A read or write of one of the six kinds. Source: `io_uring_prep_read.3`, `io_uring_prep_readv2.3`.
#[derive(Debug)]
pub struct Transfer {
    pub(crate) memory: Memory,
    offset: u64,
    flags: u32,
    is_write: bool,
    kind: Option<FileKind>,
    done: u64,
    /// On a ring made with `IORING_SETUP_IOPOLL`.
    iopoll: bool,
    /// The file is open for direct I/O: nothing but its device is waited for.
    is_direct: bool,
    /// A write that ends on the device, and the part of the file that it writes, if that is known.
    synchronous: Option<Option<Range<u64>>>,
    /// It has a provided buffer of its own.
    has_buffer: bool,
    /// It has waited for its file.
    has_waited: bool,
    /// It ends as a worker of the kernel would end it.
    is_over: bool,
    /// What comes of it when the file is a ring.
    of_ring: NoTransfer,
}

impl Op for Transfer {
    const TRAITS: Traits =
        Traits { needs_file: true, ioprio: true, iopoll: true, buffer_select: true, fixed_buffer: false };

    fn prepare(sqe: &Sqe, context: &Prepare) -> Result<Self, Errno> {
        let opcode = Opcode::from_number(sqe.opcode());
        let is_write = is_write(sqe.opcode());
        let vectored =
            matches!(opcode, Some(Opcode::Readv | Opcode::Writev | Opcode::ReadvFixed | Opcode::WritevFixed));
        check_priority(sqe.ioprio())?;
        check_attributes(sqe)?;
        let selects = sqe.flags().contains(SqeFlags::BUFFER_SELECT);
        let memory = if vectored {
            if selects && sqe.len() != 1 {
                return Err(Errno::INVAL);
            }
            Memory::read_vectors(sqe.addr(), sqe.len())?
        } else {
            Memory::Range([sqe.addr(), u64::from(sqe.len())])
        };
        let iopoll = context.setup.contains(SetupFlags::IOPOLL);
        Ok(Self {
            memory,
            offset: sqe.off(),
            flags: sqe.op_flags(),
            is_write,
            kind: None,
            done: 0,
            iopoll,
            is_direct: false,
            synchronous: None,
            has_buffer: false,
            has_waited: false,
            is_over: false,
            of_ring: NoTransfer::default(),
        })
    }

    fn device_transfer(&self) -> Option<DeviceTransfer> {
        let offset = i64::try_from(self.offset).ok()?;
        let memory = match &self.memory {
            Memory::Range([address, length]) => aio::Memory::Range(UserAddress::new(*address), *length),
            Memory::Vectors(vectors) => {
                aio::Memory::Vectors(UserAddress::of(vectors.as_ptr()), vectors.len())
            }
        };
        let wanted = self.memory.wanted();
        let direction = if self.is_write { Direction::Write } else { Direction::Read };
        let transfer = DeviceTransfer { direction, memory, offset, flags: self.flags, wanted };
        (self.is_direct && self.done == 0).then_some(transfer)
    }

    fn device_wait(&self) -> Option<DeviceWait> {
        let left = self.memory.wanted() - self.done;
        match &self.synchronous {
            Some(part) => Some(DeviceWait::Write { part: part.clone() }),
            None if self.is_write || self.is_direct || self.kind == Some(FileKind::Stream) => None,
            None => (left <= READ_AHEAD).then_some(DeviceWait::Begun),
        }
    }

    fn refuse(&mut self, errno: Errno) -> Outcome {
        self.refused(errno)
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        if let Some(buffer) = context.buffer {
            self.memory = Memory::Range([buffer.address.get(), u64::from(buffer.length)]);
        }
        match context.provided.take().filter(|_| !self.has_buffer) {
            None => self.attempt_until_settled(context),
            Some(group) => {
                // Without a buffer it is the buffer's length that counts.
                let limit = self.memory.wanted();
                let buffer = match group.select(limit) {
                    Ok(buffer) => buffer,
                    Err(errno) => return Outcome::failed(of_open_file(context.fd, errno)),
                };
                self.memory = Memory::Range([buffer.address.get(), u64::from(buffer.length)]);
                if context.may_block() && call::check_open(context.fd).is_ok() {
                    self.take(group, u64::from(buffer.length));
                }
                let outcome = self.attempt_until_settled(context);
                if !self.has_buffer && self.is_over && group.is_ring() {
                    // Linux has a worker find that out, which uses it up.
                    self.take(group, u64::from(buffer.length));
                } else if !self.has_buffer {
                    self.settle(context.fd, group, u64::from(buffer.length), &outcome);
                }
                if !self.has_buffer {
                    // It looks for a buffer again.
                    self.memory = Memory::Range([0, limit]);
                }
                outcome
            }
        }
    }
}

/// What one system call led to.
enum Step {
    Again,
    Finish(Outcome),
}

impl Transfer {
    /// What was moved before counts as the result.
    pub(crate) fn refused(&self, errno: Errno) -> Outcome {
        match self.done {
            0 => Outcome::failed(errno),
            done => Outcome::Done(Completion { fails_link: true, ..Completion::new(done as i32) }),
        }
    }

    fn attempt_until_settled(&mut self, context: &mut Issue<'_>) -> Outcome {
        if self.flags & !KNOWN_RW_FLAGS != 0 {
            return Outcome::failed(of_file_open_for(context.fd, self.is_write, Errno::OPNOTSUPP));
        }
        if let Err(errno) = self.check_polled(context) {
            return Outcome::failed(errno);
        }
        if let Some(ring) = context.ring {
            return self.of_ring.attempt(ring, self.events());
        }
        loop {
            if let Step::Finish(outcome) = self.attempt(context) {
                return outcome;
            }
        }
    }

    fn take(&mut self, group: &mut dyn BufferGroup, bytes: u64) {
        group.take(bytes);
        self.has_buffer = true;
    }

    /// What becomes of the provided buffer, as in Linux: of a file that cannot be waited for, all that was asked
    /// for counts as used, whatever came of it. A buffer of a classic group stays with the request.
    fn settle(&mut self, fd: i32, group: &mut dyn BufferGroup, asked: u64, outcome: &Outcome) {
        let is_never_waited_for = |kind: Option<FileKind>| match kind.map_or_else(|| call::file_kind(fd), Ok)
        {
            Ok(FileKind::Seekable) => true,
            Ok(FileKind::Stream) => {
                call::is_character_device(fd) && is_pollable(fd).is_ok_and(|pollable| !pollable)
            }
            Err(_) => false,
        };
        match outcome {
            // A short result has made sure of the kind.
            Outcome::Done(Completion { result: bytes @ 0.., .. }) => {
                let bytes = u64::from(bytes.unsigned_abs());
                let used = if bytes < asked && is_never_waited_for(self.kind) { asked } else { bytes };
                self.take(group, used);
            }
            // Of a descriptor that is not open no buffer is looked for.
            Outcome::Done(Completion { result: BAD_DESCRIPTOR, .. }) if call::file_kind(fd).is_err() => {}
            _ if !group.is_ring() || is_never_waited_for(self.kind) => self.take(group, asked),
            _ => {}
        }
    }

    fn attempt(&mut self, context: &mut Issue<'_>) -> Step {
        // A device is waited for by a worker, or by whatever the engine has for direct I/O.
        if context.patience != Patience::Unlimited && self.may_be_direct() {
            match context.opened_for() {
                Ok(OpenedFor { direct: true, .. }) => {
                    self.is_direct = true;
                    return Step::Finish(Outcome::Lend);
                }
                Ok(_) => {}
                Err(errno) => return Step::Finish(Outcome::failed(errno)),
            }
        }
        if context.patience == Patience::Unlimited && self.kind.is_none() {
            match context.kind() {
                Ok(kind) => self.kind = Some(kind),
                Err(errno) => return Step::Finish(Outcome::failed(errno)),
            }
        }
        if self.offset == FILE_POSITION && self.kind.is_none() && self.memory.wanted() == 0 {
            self.kind = context.kind().ok();
        }
        let wait_allowed = match self.kind {
            Some(FileKind::Stream) => false,
            Some(FileKind::Seekable) => {
                context.patience == Patience::Unlimited
                    || (self.is_write && context.patience == Patience::Brief)
            }
            // A write at an offset can only be accepted by a seekable file: others refuse it at once (ESPIPE).
            None => self.is_write && self.offset != FILE_POSITION && context.patience == Patience::Brief,
        };
        if wait_allowed && self.is_for_a_worker(context) {
            return Step::Finish(Outcome::Punt);
        }
        let extra_flags = if wait_allowed { 0 } else { RWF_NOWAIT };
        match self.call(context.fd, extra_flags) {
            Ok(bytes) => self.transferred(bytes as u64, context),
            Err(Errno::SPIPE) if self.offset != FILE_POSITION => {
                // A stream has no positions: its offset is ignored, but by a socket.
                if self.offset != 0 && call::is_socket(context.fd) {
                    return Step::Finish(Outcome::failed(Errno::SPIPE));
                }
                self.offset = FILE_POSITION;
                self.kind = Some(FileKind::Stream);
                Step::Again
            }
            // A worker of the kernel waits for a file whatever the flag says.
            Err(errno)
                if context.patience == Patience::Unlimited
                    && self.kind == Some(FileKind::Seekable)
                    && self.flags & RWF_NOWAIT != 0
                    && (errno == Errno::AGAIN || self.is_write && errno == Errno::OPNOTSUPP)
                    && can_be_asked_not_to_wait(context.fd) =>
            {
                self.flags &= !RWF_NOWAIT;
                Step::Again
            }
            Err(Errno::AGAIN) if !wait_allowed => self.would_block(context),
            Err(Errno::OPNOTSUPP) if extra_flags != 0 && self.flags & RWF_NOWAIT == 0 => {
                self.cannot_ask(context)
            }
            Err(Errno::OPNOTSUPP) if self.flags & RWF_NOWAIT != 0 && self.flags & !OLD_RW_FLAGS == 0 => {
                // It is the file that does not know the flag, or this transfer of it. Of the latter the kernel's io_uring says that
                // it would wait, but for a stream that never does.
                let knows = can_be_asked_not_to_wait(context.fd);
                if knows
                    && self.is_stream(context.fd)
                    && context.status_flags().is_ok_and(|flags| flags & O_NONBLOCK != 0)
                {
                    return self.cannot_ask(context);
                }
                let errno = if knows { Errno::AGAIN } else { Errno::OPNOTSUPP };
                Step::Finish(self.finish(context.fd, Err(errno)))
            }
            Err(Errno::OPNOTSUPP) if self.may_ignore_flags() => {
                self.flags = 0;
                Step::Again
            }
            // The calls look at the offset before they look at the file, the kernel's io_uring after.
            Err(Errno::INVAL) if self.offset > i64::MAX as u64 && self.offset != FILE_POSITION => {
                let errno = of_file_open_for(context.fd, self.is_write, Errno::INVAL);
                Step::Finish(self.finish(context.fd, Err(errno)))
            }
            Err(Errno::INVAL) if self.flags & OF_REGULAR_FILES != 0 && self.is_stream(context.fd) => {
                Step::Finish(self.finish(context.fd, Err(Errno::OPNOTSUPP)))
            }
            // Neither read nor written, but Linux finds that out only once it is ready.
            Err(Errno::INVAL) if is_only_waited_for(context.fd) => {
                let errno = match call::poll_now(context.fd, self.events() as u16) {
                    _ if self.flags & RWF_NOWAIT != 0 => Errno::OPNOTSUPP,
                    Ok(0) => return Step::Finish(self.wait()),
                    _ => Errno::INVAL,
                };
                Step::Finish(self.finish(context.fd, Err(errno)))
            }
            Err(errno) => Step::Finish(self.finish(context.fd, Err(errno))),
        }
    }

    /// Whether the transfer waits for the device by its nature: a write that ends once its data is there. Of most devices that is too short for
    /// the latency guard, and far longer than handing it over takes.
    fn is_for_a_worker(&mut self, context: &mut Issue<'_>) -> bool {
        if !self.is_write || self.flags & RWF_NOWAIT != 0 || context.may_block() {
            return false;
        }
        // One that is not open is refused by the call.
        let Ok(file) = context.opened_for() else { return false };
        let is_asked_for = self.flags & RWF_SYNCHRONOUS != 0 && !self.is_stream(context.fd);
        if !file.synchronous && !is_asked_for {
            return false;
        }
        self.kind = Some(FileKind::Seekable);
        let is_told = self.offset != FILE_POSITION && self.flags & RWF_APPEND == 0 && !file.append;
        let [start, end] = [self.done, self.memory.wanted()].map(|bytes| self.offset.saturating_add(bytes));
        self.synchronous = Some(is_told.then_some(start..end));
        true
    }

    /// Polled completion is for direct I/O; everything else is refused on such a ring.
    fn check_polled(&self, context: &mut Issue<'_>) -> Result<(), Errno> {
        if !self.iopoll {
            return match self.flags & RWF_HIPRI {
                0 => Ok(()),
                _ => Err(of_file_open_for(context.fd, self.is_write, Errno::INVAL)),
            };
        }
        match context.status_flags()? & O_DIRECT {
            0 => Err(of_file_open_for(context.fd, self.is_write, Errno::OPNOTSUPP)),
            _ => Ok(()),
        }
    }

    /// Whether the file could be open for direct I/O: such transfers are aligned to 512 bytes.
    fn may_be_direct(&self) -> bool {
        match &self.memory {
            Memory::Range([address, length]) => (address | length) & 0x1ff == 0 && self.is_aligned_offset(),
            Memory::Vectors(_) => self.is_aligned_offset(),
        }
    }

    fn is_aligned_offset(&self) -> bool {
        self.offset == FILE_POSITION || self.offset & 0x1ff == 0
    }

    fn call(&self, fd: i32, extra_flags: u32) -> Result<usize, Errno> {
        if self.kind == Some(FileKind::Stream) && self.memory.wanted() == 0 {
            // Some have something to say of that (an eventfd refuses it, a datagram socket sends an empty datagram), but
            // `preadv2.2` and `pwritev2.2` do not ask them.
            let nowhere = UserAddress::of(self);
            match self.is_write {
                // Some are waited for whatever is wanted of them.
                false if extra_flags & RWF_NOWAIT != 0 && is_polled_first(fd) => {
                    return Err(Errno::OPNOTSUPP);
                }
                false if is_read_in_parts(fd) => return Ok(0),
                false => return call::read(fd, nowhere, 0),
                true if call::is_socket(fd) => return call::write(fd, nowhere, 0),
                true => {}
            }
        }
        let offset =
            if self.offset == FILE_POSITION { FILE_POSITION } else { self.offset.wrapping_add(self.done) };
        let flags = self.flags | extra_flags;
        match &self.memory {
            Memory::Range([address, length]) => {
                let rest = [address.wrapping_add(self.done), length - self.done];
                self.call_with(fd, &[rest], offset, flags)
            }
            Memory::Vectors(vectors) if self.done == 0 => self.call_with(fd, vectors, offset, flags),
            Memory::Vectors(vectors) => self.call_with(fd, &without_first(vectors, self.done), offset, flags),
        }
    }

    fn call_with(&self, fd: i32, vectors: &[Vector], offset: u64, flags: u32) -> Result<usize, Errno> {
        // One range and nothing special: the calls that have no vector to read.
        if let ([[address, length]], 0) = (vectors, flags)
            && offset != FILE_POSITION
        {
            let (address, length) = (UserAddress::new(*address), *length as usize);
            return if self.is_write {
                call::pwrite(fd, address, length, offset)
            } else {
                call::pread(fd, address, length, offset)
            };
        }
        let address = UserAddress::of(vectors.as_ptr());
        if self.is_write {
            call::pwritev2(fd, address, vectors.len(), offset, 0, flags)
        } else {
            call::preadv2(fd, address, vectors.len(), offset, 0, flags)
        }
    }

    /// Some bytes went over. A seekable file is asked again until it has no more: what was not
    /// cached the first time may be short of what is there.
    fn transferred(&mut self, bytes: u64, context: &Issue<'_>) -> Step {
        self.done += bytes;
        if bytes == 0 || self.done >= self.memory.wanted().min(MOST_BYTES) {
            return Step::Finish(self.finish(context.fd, Ok(())));
        }
        let kind = match self.kind {
            Some(kind) => kind,
            None => call::file_kind(context.fd).unwrap_or(FileKind::Stream),
        };
        self.kind = Some(kind);
        match kind {
            FileKind::Seekable => Step::Again,
            FileKind::Stream => Step::Finish(self.finish(context.fd, Ok(()))),
        }
    }

    fn would_block(&mut self, context: &mut Issue<'_>) -> Step {
        if self.flags & RWF_NOWAIT != 0 {
            return Step::Finish(self.finish(context.fd, Err(Errno::AGAIN)));
        }
        if self.kind.is_none() && self.offset != FILE_POSITION {
            // It has positions, so that it is hardly a stream.
            self.kind = context.kind().ok();
        }
        match self.kind {
            Some(FileKind::Seekable) if self.is_write => Step::Finish(Outcome::Punt),
            Some(FileKind::Seekable) => Step::Finish(Outcome::Lend),
            Some(FileKind::Stream) | None
                if !self.is_write && self.has_waited && is_shut_down(context.fd) =>
            {
                self.is_over = true;
                Step::Finish(self.finish(context.fd, Ok(())))
            }
            // Also when the file is open with `O_NONBLOCK`, as long as it can be polled. Whether it can need not be asked:
            // what cannot be waited for is for a worker.
            Some(FileKind::Stream) | None => Step::Finish(self.wait()),
        }
    }

    /// The file cannot be asked to refuse instead of waiting.
    fn cannot_ask(&mut self, context: &mut Issue<'_>) -> Step {
        let kind = match self.kind.map_or_else(|| call::file_kind(context.fd), Ok) {
            Ok(kind) => kind,
            Err(errno) => return Step::Finish(self.finish(context.fd, Err(errno))),
        };
        let known = self.kind.replace(kind).is_some();
        match kind {
            // It was not the question that it refused, but what else was asked for.
            FileKind::Stream if self.flags & OF_REGULAR_FILES != 0 => {
                Step::Finish(self.finish(context.fd, Err(Errno::OPNOTSUPP)))
            }
            // Now that the kind is known, the next attempt waits where it may.
            FileKind::Seekable if context.patience == Patience::Unlimited && !known => Step::Again,
            FileKind::Seekable if self.is_for_a_worker(context) || context.patience == Patience::None => {
                Step::Finish(Outcome::Punt)
            }
            FileKind::Seekable => self.plain_call(context),
            // It refuses by itself.
            FileKind::Stream if is_nonblocking(context.fd) == Ok(true) => self.plain_call(context),
            FileKind::Stream => {
                match call::poll_now(context.fd, self.events() as u16) {
                    Ok(0) if self.flags & RWF_NOWAIT != 0 => {
                        Step::Finish(self.finish(context.fd, Err(Errno::AGAIN)))
                    }
                    Ok(0) => Step::Finish(self.wait()),
                    // Ready, but somebody else may be faster: only a worker may be caught by that.
                    Ok(_) if context.patience != Patience::Unlimited => Step::Finish(Outcome::Lend),
                    Ok(_) => self.plain_call(context),
                    Err(errno) => Step::Finish(self.finish(context.fd, Err(errno))),
                }
            }
        }
    }

    fn plain_call(&mut self, context: &Issue<'_>) -> Step {
        let is_stream = self.kind == Some(FileKind::Stream);
        let may_wait = self.flags & RWF_NOWAIT == 0;
        if is_stream {
            // Its flags are for regular files: the kernel ignores them where `pwritev2.2` refuses them.
            self.flags = 0;
        }
        match self.call(context.fd, 0) {
            Ok(bytes) => self.transferred(bytes as u64, context),
            Err(Errno::AGAIN) if is_stream && may_wait => Step::Finish(self.wait()),
            Err(Errno::OPNOTSUPP) if self.may_ignore_flags() => {
                self.flags = 0;
                Step::Again
            }
            Err(errno) => Step::Finish(self.finish(context.fd, Err(errno))),
        }
    }

    /// Whether a file that knows no flags at all, as a directory, is asked without them: the kernel's io_uring does so.
    fn may_ignore_flags(&self) -> bool {
        self.flags != 0 && self.flags & (RWF_NOWAIT | OF_REGULAR_FILES) == 0
    }

    fn is_stream(&self, fd: i32) -> bool {
        self.kind.map_or_else(|| call::file_kind(fd), Ok) == Ok(FileKind::Stream)
    }

    fn wait(&mut self) -> Outcome {
        self.has_waited = true;
        Outcome::WaitFor { events: self.events(), until: Until::ReadyAgain }
    }

    /// The `poll.2` events that say that the file is ready.
    fn events(&self) -> u32 {
        if self.is_write { POLLOUT } else { POLLIN }
    }

    /// The end of the transfer. An error after some bytes went over is not reported: the bytes are. But in Linux they
    /// do not move the file position then.
    fn finish(&self, fd: i32, last: Result<(), Errno>) -> Outcome {
        match last {
            Err(errno) if self.done == 0 => return Outcome::failed(errno),
            Err(_) if self.offset == FILE_POSITION && self.kind == Some(FileKind::Seekable) => {
                // Bytes were moved from here, so that there is a position to go back to.
                let _ = call::move_position(fd, -(self.done as i64));
            }
            _ => {}
        }
        Outcome::Done(Completion::of_transfer(self.done as i32, self.memory.wanted()))
    }
}

/// WRITE and WRITEV: there are no provided buffers to write from.
#[derive(Debug)]
pub struct Write(Transfer);

impl Op for Write {
    const TRAITS: Traits = Traits { buffer_select: false, ..Transfer::TRAITS };

    fn prepare(sqe: &Sqe, context: &Prepare) -> Result<Self, Errno> {
        Transfer::prepare(sqe, context).map(Self)
    }

    fn device_transfer(&self) -> Option<DeviceTransfer> {
        self.0.device_transfer()
    }

    fn device_wait(&self) -> Option<DeviceWait> {
        self.0.device_wait()
    }

    fn refuse(&mut self, errno: Errno) -> Outcome {
        self.0.refused(errno)
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        self.0.issue(context)
    }
}
