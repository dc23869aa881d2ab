//! SPLICE and TEE: data moves between a pipe and another file.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use ringer_abi::poll::{POLLIN, POLLOUT};
use ringer_abi::{Sqe, uapi};
use ringer_sys::call::FileKind;
use ringer_sys::{Errno, UserAddress, call, descriptor};

use crate::check::unused;
use crate::net::is_listening;
use crate::operation::{Completion, Issue, Op, Outcome, Patience, Prepare, Traits, Until};
use crate::pollable::is_nonblocking;

/// `SPLICE_F_MOVE`, `_NONBLOCK`, `_MORE`, `_GIFT` of `splice.2`.
const KNOWN_FLAGS: u32 = 0xf;
const SPLICE_F_NONBLOCK: u32 = 0x2;
const FD_IN_FIXED: u32 = uapi::SPLICE_F_FD_IN_FIXED;
const O_ACCMODE: u32 = 0o3;
const O_RDONLY: u32 = 0o0;
const O_WRONLY: u32 = 0o1;
/// "At the file position and move it."
const NO_OFFSET: u64 = u64::MAX;

/// `IORING_OP_SPLICE`. Source: `io_uring_prep_splice.3`, `splice.2`.
#[derive(Debug)]
pub struct Splice(Move);

/// `IORING_OP_TEE`. Source: `io_uring_prep_tee.3`, `tee.2`.
#[derive(Debug)]
pub struct Tee(Move);

impl Op for Splice {
    const TRAITS: Traits = Traits::FILE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        Move::prepare(sqe, Some([sqe.addr(), sqe.off()])).map(Self)
    }

    fn waits_for(&self) -> Option<RawFd> {
        self.0.waits_for()
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        self.0.issue(context)
    }
}

impl Op for Tee {
    const TRAITS: Traits = Traits::FILE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.addr(), sqe.off()])?;
        Move::prepare(sqe, None).map(Self)
    }

    fn waits_for(&self) -> Option<RawFd> {
        self.0.waits_for()
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        self.0.issue(context)
    }
}

/// What one end of the move is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Pipe,
    /// A regular file or a device with positions: always ready, but may wait for the device.
    File,
    /// A socket, a terminal: `SPLICE_F_NONBLOCK` does not keep it from waiting, its own `O_NONBLOCK` does.
    Stream,
}

impl End {
    fn of(fd: RawFd) -> Result<Self, Errno> {
        if call::is_pipe(fd) {
            return Ok(Self::Pipe);
        }
        Ok(match call::file_kind(fd)? {
            FileKind::Seekable => Self::File,
            FileKind::Stream => Self::Stream,
        })
    }
}

#[derive(Debug)]
struct Move {
    input: RawFd,
    /// The input of a request that outlives `enter`.
    owned_input: Option<OwnedFd>,
    /// Of SPLICE: where the input and the output start. The kernel moves them on. `None`: a TEE.
    offsets: Option<[u64; 2]>,
    bytes: u32,
    flags: u32,
    ends: Option<[End; 2]>,
    waits_for_input: bool,
}

impl Move {
    fn prepare(sqe: &Sqe, offsets: Option<[u64; 2]>) -> Result<Self, Errno> {
        let flags = sqe.op_flags();
        if flags & !(KNOWN_FLAGS | FD_IN_FIXED) != 0 {
            return Err(Errno::INVAL);
        }
        Ok(Self {
            input: sqe.splice_fd_in(),
            owned_input: None,
            offsets,
            bytes: sqe.len(),
            flags,
            ends: None,
            waits_for_input: false,
        })
    }

    fn waits_for(&self) -> Option<RawFd> {
        self.owned_input.as_ref().filter(|_| self.waits_for_input).map(AsRawFd::as_raw_fd)
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        self.waits_for_input = false;
        let outcome = self.input(context).and_then(|input| {
            let outcome = self.attempt(input, context)?;
            if !matches!(outcome, Outcome::Done(_)) && self.owned_input.is_none() {
                self.owned_input = Some(descriptor::duplicate_for_engine(input)?);
            }
            Ok(outcome)
        });
        outcome.unwrap_or_else(Outcome::failed)
    }

    /// The input's descriptor. It is looked up when the request is issued, as Linux does.
    fn input(&self, context: &Issue<'_>) -> Result<RawFd, Errno> {
        if let Some(owned) = &self.owned_input {
            return Ok(owned.as_raw_fd());
        }
        if self.flags & FD_IN_FIXED != 0 {
            return context.resources.registered_file(self.input as u32);
        }
        // Also finds a closed one when there is nothing to move.
        call::status_flags(self.input).map(|_| self.input)
    }

    fn attempt(&mut self, input: RawFd, context: &Issue<'_>) -> Result<Outcome, Errno> {
        let output = context.fd;
        if self.bytes == 0 {
            call::status_flags(output)?;
            return Ok(Outcome::done(0));
        }
        let ends = match self.ends {
            Some(ends) => ends,
            None => [End::of(input)?, End::of(output)?],
        };
        self.ends = Some(ends);
        let has_place = |(end, offset)| end == End::Pipe && offset != NO_OFFSET;
        if self.offsets.is_some_and(|offsets| ends.into_iter().zip(offsets).any(has_place)) {
            // `splice.2` refuses an offset of a pipe before it looks at how the files are open, the kernel's io_uring after.
            return Err(check_access([input, output]).err().unwrap_or(Errno::SPIPE));
        }
        let is_possible = match self.offsets {
            Some(offsets) => {
                let in_stream = |(end, offset)| end == End::Stream && offset != NO_OFFSET;
                ends.contains(&End::Pipe) && !ends.into_iter().zip(offsets).any(in_stream)
            }
            None => ends == [End::Pipe; 2],
        };
        if !is_possible {
            // Refused by the kernel at once, with the right errno.
            return self.call(input, context, SPLICE_F_NONBLOCK).map(|bytes| self.finish(bytes));
        }
        if ends.contains(&End::File) && context.patience == Patience::None {
            return Ok(Outcome::Punt);
        }
        let asks_not_to_wait = self.flags & SPLICE_F_NONBLOCK != 0;
        if may_wait_in_call(ends, [input, output])? {
            if !asks_not_to_wait && let Some(outcome) = self.not_ready(ends, [input, output])? {
                return Ok(outcome);
            }
            // Some of the data may still have to wait.
            if !context.may_block() {
                return Ok(Outcome::Punt);
            }
        }
        for _ in 0..3 {
            match self.call(input, context, SPLICE_F_NONBLOCK) {
                Err(Errno::AGAIN) if !asks_not_to_wait => {}
                result => return result.map(|bytes| self.finish(bytes)),
            }
            if let Some(outcome) = self.not_ready(ends, [input, output])? {
                return Ok(outcome);
            }
            // Both ends became ready in between.
        }
        if context.may_block() {
            self.call(input, context, 0).map(|bytes| self.finish(bytes))
        } else {
            Ok(Outcome::Punt)
        }
    }

    fn call(&mut self, input: RawFd, context: &Issue<'_>, extra_flags: u32) -> Result<usize, Errno> {
        let bytes = self.bytes as usize;
        let flags = self.flags & KNOWN_FLAGS | extra_flags;
        let mut move_on = || match &mut self.offsets {
            None => call::tee(input, context.fd, bytes, flags),
            Some([input_offset, output_offset]) => {
                call::splice(input, place(input_offset), context.fd, place(output_offset), bytes, flags)
            }
        };
        // The engine's workers have signals blocked.
        if context.may_block() { move_on() } else { call::without_write_signals(bytes, move_on) }
    }

    fn finish(&self, bytes: usize) -> Outcome {
        Outcome::Done(Completion::of_transfer(bytes as i32, self.bytes.into()))
    }

    /// What to do when an end is not ready; `None` when both are.
    fn not_ready(&mut self, ends: [End; 2], files: [RawFd; 2]) -> Result<Option<Outcome>, Errno> {
        let [input, output] = files;
        let for_input = call::poll_now(input, POLLIN as u16)? == 0;
        if !for_input && call::poll_now(output, POLLOUT as u16)? != 0 {
            return Ok(None);
        }
        // What is not allowed is not waited for.
        check_access(files)?;
        if for_input && ends[0] == End::Stream && is_listening(input).unwrap_or(false) {
            // However many connections come: it has nothing to read.
            return Err(Errno::NOTCONN);
        }
        // Nothing is spliced from or to an eventfd and its like, however long they are waited for.
        if ends.into_iter().zip(files).any(|(end, file)| end == End::Stream && call::is_anonymous(file)) {
            return Err(Errno::INVAL);
        }
        // Between two pipes the flag of either counts, else that of the file waited for.
        let both = ends == [End::Pipe; 2];
        let refuses =
            (for_input || both) && is_nonblocking(input)? || (!for_input || both) && is_nonblocking(output)?;
        if refuses {
            return Err(Errno::AGAIN);
        }
        self.waits_for_input = for_input;
        Ok(Some(Outcome::WaitFor { events: if for_input { POLLIN } else { POLLOUT }, until: Until::Ready }))
    }
}

/// Whether the input is open for reading and the output for writing.
fn check_access(files: [RawFd; 2]) -> Result<(), Errno> {
    let access = |fd| call::status_flags(fd).map(|flags| flags & O_ACCMODE);
    let [input, output] = files;
    if access(input)? == O_WRONLY || access(output)? == O_RDONLY { Err(Errno::BADF) } else { Ok(()) }
}

/// Whether a stream is involved that would not refuse to wait.
fn may_wait_in_call(ends: [End; 2], files: [RawFd; 2]) -> Result<bool, Errno> {
    for (end, file) in ends.into_iter().zip(files) {
        if end == End::Stream && !is_nonblocking(file)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The address of an offset, null for none.
fn place(offset: &mut u64) -> UserAddress {
    if *offset == NO_OFFSET { UserAddress::new(0) } else { UserAddress::of(std::ptr::from_mut(offset)) }
}
