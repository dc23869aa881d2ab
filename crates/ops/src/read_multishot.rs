//! READ_MULTISHOT: reads of a stream into provided buffers, one after the other.

use std::os::fd::RawFd;

use ringer_abi::poll::POLLIN;
use ringer_abi::{Sqe, SqeFlags};
use ringer_sys::{Errno, UserAddress, call};

use crate::check::of_open_file;
use crate::operation::{Buffer, Completion, Issue, Op, Outcome, Prepare, Traits, Until};
use crate::pollable::{is_nonblocking, is_pollable};
use crate::ring_file::NoTransfer;
use crate::rw::{FILE_POSITION, KNOWN_RW_FLAGS, OF_REGULAR_FILES, RWF_HIPRI, RWF_NOWAIT};
use crate::selection::BufferGroup;
use crate::transfer_checks::{check_attributes, of_file_open_for};

/// `IORING_OP_READ_MULTISHOT`. Source: `io_uring_prep_read_multishot.3`.
///
/// Each result is one selected buffer. It ends at the end of the file (0), without buffers
/// (`ENOBUFS`, by the engine), by an error, or when it is cancelled. Of a file that
/// cannot be asked not to wait, `IOSQE_ASYNC` makes it a single read.
#[derive(Debug)]
pub struct ReadMultishot {
    offset: u64,
    flags: u32,
    /// It was found that the file can be waited for.
    pollable: bool,
    /// A worker was asked to read it.
    is_lent: bool,
    /// The buffer of its only result.
    kept: Option<Buffer>,
    /// What comes of it when the file is a ring.
    of_ring: NoTransfer,
}

impl Op for ReadMultishot {
    const TRAITS: Traits =
        Traits { needs_file: true, ioprio: false, iopoll: false, buffer_select: true, fixed_buffer: false };

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        if !sqe.flags().contains(SqeFlags::BUFFER_SELECT) {
            return Err(Errno::INVAL);
        }
        check_attributes(sqe)?;
        // The buffers are where they are, and as long as they are.
        if sqe.addr() != 0 || sqe.len() != 0 {
            return Err(Errno::INVAL);
        }
        Ok(Self {
            offset: sqe.off(),
            flags: sqe.op_flags(),
            pollable: false,
            is_lent: false,
            kept: None,
            of_ring: NoTransfer::default(),
        })
    }

    fn waits_to_start(&self) -> Option<u32> {
        Some(POLLIN)
    }

    fn has_several_results(&self) -> bool {
        true
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        self.attempt(context).unwrap_or_else(Outcome::failed)
    }
}

impl ReadMultishot {
    fn attempt(&mut self, context: &mut Issue<'_>) -> Result<Outcome, Errno> {
        if !self.pollable {
            if !is_pollable(context.fd)? {
                return Err(Errno::BADFD);
            }
            self.pollable = true;
        }
        let fd = context.fd;
        let buffer = match self.kept {
            Some(buffer) => buffer,
            None => group(context)?.select(0).map_err(|errno| of_open_file(fd, errno))?,
        };
        // What can be waited for is a stream.
        if self.flags & (!KNOWN_RW_FLAGS | OF_REGULAR_FILES) != 0 {
            return Err(of_file_open_for(context.fd, false, Errno::OPNOTSUPP));
        }
        if self.flags & RWF_HIPRI != 0 {
            return Err(of_file_open_for(context.fd, false, Errno::INVAL));
        }
        if let Some(ring) = context.ring {
            return Ok(self.of_ring.attempt(ring, POLLIN));
        }
        match self.read(context.fd, buffer, RWF_NOWAIT) {
            Err(Errno::SPIPE) => {
                // A stream has no positions: its offset is ignored.
                self.offset = FILE_POSITION;
                self.attempt(context)
            }
            Err(Errno::OPNOTSUPP) if self.flags & RWF_NOWAIT == 0 => {
                self.attempt_without_asking(context, buffer)
            }
            result => self.finish(context, result),
        }
    }

    /// The file cannot be asked to refuse instead of waiting.
    fn attempt_without_asking(&mut self, context: &mut Issue<'_>, buffer: Buffer) -> Result<Outcome, Errno> {
        if is_nonblocking(context.fd)? {
            // It refuses by itself.
            let result = self.read(context.fd, buffer, 0);
            return self.finish(context, result);
        }
        // It began on a worker, which in Linux has one result of such a file.
        if context.may_block() && !self.is_lent && self.kept.is_none() {
            group(context)?.take(buffer.length.into());
            self.kept = Some(buffer);
        }
        if call::poll_now(context.fd, POLLIN as u16)? == 0 {
            return Ok(wait(Until::ReadyAgain));
        }
        // Ready, but somebody else may be faster: only a worker may be caught by that.
        if !context.may_block() {
            self.is_lent = true;
            return Ok(Outcome::Lend);
        }
        // The group must not be held up by a call that waits after all.
        if self.kept.is_none() {
            group(context)?.take(buffer.length.into());
        }
        let result = self.read(context.fd, buffer, 0);
        self.judge(result)
    }

    fn read(&self, fd: RawFd, buffer: Buffer, extra_flags: u32) -> Result<usize, Errno> {
        let vector = [buffer.address.get(), u64::from(buffer.length)];
        call::preadv2(fd, UserAddress::of(&raw const vector), 1, self.offset, 0, self.flags | extra_flags)
    }

    fn finish(&mut self, context: &mut Issue<'_>, result: Result<usize, Errno>) -> Result<Outcome, Errno> {
        if let Ok(bytes @ 1..) = result {
            group(context)?.take(bytes as u64);
        }
        self.judge(result)
    }

    fn judge(&mut self, result: Result<usize, Errno>) -> Result<Outcome, Errno> {
        match result {
            Err(Errno::AGAIN) if self.flags & RWF_NOWAIT == 0 => Ok(wait(Until::ReadyAgain)),
            Err(errno) => Err(errno),
            Ok(0) => Ok(Outcome::done(0)),
            Ok(bytes) if self.kept.is_some() => Ok(Outcome::done(bytes as i32)),
            Ok(bytes) => {
                if self.offset != FILE_POSITION {
                    self.offset += bytes as u64;
                }
                // The file must report before the next buffer is taken.
                Ok(Outcome::Drained(Completion::new(bytes as i32)))
            }
        }
    }
}

/// The group of buffers: preparation makes sure that there is one.
fn group<'a>(context: &'a mut Issue<'_>) -> Result<&'a mut (dyn BufferGroup + 'a), Errno> {
    match &mut context.provided {
        Some(group) => Ok(&mut **group),
        None => Err(Errno::NOBUFS),
    }
}

fn wait(until: Until) -> Outcome {
    Outcome::WaitFor { events: POLLIN, until }
}
