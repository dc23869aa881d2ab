//! RECV: bytes from a socket, and what the receiving operations share.

use std::os::fd::RawFd;

use ringer_abi::{CqeFlags, Sqe, SqeFlags, uapi};
use ringer_sys::{Errno, UserAddress, call};

use crate::message_transfer::{MessageHeader, Progress, Step, wait_for};
use crate::net::{
    INT_MAX, MSG_CTRUNC, MSG_ERRQUEUE, MSG_PEEK, MSG_TRUNC, MSG_WAITALL, POLLERR, POLLIN, check_range,
    has_more_to_read, is_at_end_of_tcp, is_stream,
};
use crate::operation::{Buffer, Completion, Issue, Op, Outcome, Prepare, Traits};
use crate::segments::Segments;

/// The rules of one receiving request.
#[derive(Debug)]
pub(crate) struct Receiving {
    pub(crate) progress: Progress,
    /// Delivers every message by a CQE of its own.
    pub(crate) multishot: bool,
    /// A provided buffer was begun; it stays with the request until it is full.
    has_buffer: bool,
    /// Nothing is left to read; only a new report of the socket makes another attempt worthwhile.
    is_drained: bool,
    /// Whether the socket is a stream, once asked.
    stream: Option<bool>,
}

impl Receiving {
    /// Checks the flags of an SQE.
    ///
    /// # Errors
    /// `EINVAL` for unknown flags, and for a multishot receive without provided buffers or with
    /// `MSG_WAITALL`.
    pub(crate) fn prepare(sqe: &Sqe) -> Result<Self, Errno> {
        let flags = u32::from(sqe.ioprio());
        let known = uapi::IORING_RECVSEND_POLL_FIRST | uapi::IORING_RECV_MULTISHOT;
        if sqe.off() != 0 || sqe.file_index() != 0 || flags & !known != 0 {
            return Err(Errno::INVAL);
        }
        let multishot = flags & uapi::IORING_RECV_MULTISHOT != 0;
        let selects = sqe.flags().contains(SqeFlags::BUFFER_SELECT);
        if multishot && (!selects || sqe.op_flags() & MSG_WAITALL != 0) {
            return Err(Errno::INVAL);
        }
        let progress = Progress::new(sqe.op_flags(), flags & uapi::IORING_RECVSEND_POLL_FIRST != 0);
        Ok(Self { progress, multishot, has_buffer: false, is_drained: false, stream: None })
    }

    /// What has to be waited for before an attempt makes sense.
    pub(crate) fn first_wait(&mut self) -> Option<Outcome> {
        if std::mem::take(&mut self.is_drained) {
            return Some(self.wait());
        }
        self.progress.first_wait(self.events())
    }

    /// Whether the next attempt will look for a provided buffer.
    pub(crate) const fn wants_buffer(&self) -> bool {
        !self.has_buffer && !self.is_drained && !self.progress.polls_first()
    }

    /// The provided buffer of this attempt, shortened to `limit` bytes unless that is 0.
    /// `None` when a buffer is not wanted, or one is in use already.
    pub(crate) fn new_buffer(&self, context: &Issue<'_>, limit: u64) -> Option<Buffer> {
        let buffer = context.buffer.filter(|_| !self.has_buffer)?;
        let length = if limit == 0 { buffer.length } else { limit.min(u64::from(buffer.length)) as u32 };
        Some(Buffer { length, ..buffer })
    }

    /// Judges an attempt on `segments`. `whole`: less than all of it is a failure.
    pub(crate) fn judge(
        &mut self,
        context: &mut Issue<'_>,
        segments: &mut Segments,
        result: Result<usize, Errno>,
        whole: bool,
        message_flags: u32,
    ) -> Outcome {
        let asked = segments.length();
        let is_cut = message_flags & (MSG_TRUNC | MSG_CTRUNC) != 0;
        match self.progress.step(context.fd, result, asked, whole, is_cut) {
            Step::Part(bytes) => {
                segments.advance(bytes);
                self.has_buffer = context.buffer.is_some() || self.has_buffer;
                context.buffer_used = self.has_buffer;
                self.wait()
            }
            Step::NotReady => {
                context.buffer_used = self.has_buffer;
                self.wait()
            }
            Step::End(completion) => match result {
                Ok(bytes) => self.finish(context.fd, completion, bytes as u64, asked),
                Err(_) => Outcome::Done(completion),
            },
        }
    }

    /// The CQE for `bytes` received into `asked`; a multishot receive goes on after anything but the end.
    pub(crate) fn finish(&mut self, fd: RawFd, completion: Completion, bytes: u64, asked: u64) -> Outcome {
        let has_more = self.has_more(fd, bytes, asked);
        let flags = if has_more { CqeFlags::SOCK_NONEMPTY.bits() } else { 0 };
        let completion = completion.with_flags(flags);
        if !self.multishot || bytes == 0 {
            return Outcome::Done(completion);
        }
        let stream = *self.stream.get_or_insert_with(|| is_stream(fd));
        self.is_drained = stream && !has_more;
        Outcome::More(completion)
    }

    /// Whether `IORING_CQE_F_SOCK_NONEMPTY` holds after a receive. A stream that gave less than asked
    /// for has no more, so that the question costs nothing in the usual case.
    fn has_more(&self, fd: RawFd, bytes: u64, asked: u64) -> bool {
        if bytes == 0 && asked > 0 {
            is_at_end_of_tcp(fd)
        } else {
            (bytes >= asked || self.progress.flags() & MSG_PEEK != 0) && has_more_to_read(fd)
        }
    }

    fn events(&self) -> u32 {
        if self.progress.flags() & MSG_ERRQUEUE != 0 { POLLERR } else { POLLIN }
    }

    fn wait(&self) -> Outcome {
        wait_for(self.events())
    }
}

/// `IORING_OP_RECV`. Source: `io_uring_prep_recv.3`, `io_uring_prep_recv_multishot.3`.
#[derive(Debug)]
pub struct Recv {
    receiving: Receiving,
    segments: Segments,
    /// `len`: with provided buffers the most to put into one, 0 for no limit.
    limit: u32,
}

impl Op for Recv {
    const TRAITS: Traits = Traits { ioprio: true, buffer_select: true, ..Traits::FILE };

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        let receiving = Receiving::prepare(sqe)?;
        let segments = if sqe.flags().contains(SqeFlags::BUFFER_SELECT) {
            Segments::one(0, 0)
        } else {
            check_range(sqe.addr(), sqe.len(), INT_MAX)?;
            Segments::one(sqe.addr(), u64::from(sqe.len()))
        };
        Ok(Self { receiving, segments, limit: sqe.len() })
    }

    fn wants_buffer(&self) -> bool {
        self.receiving.wants_buffer()
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        if let Some(wait) = self.receiving.first_wait() {
            return wait;
        }
        if let Some(buffer) = self.receiving.new_buffer(context, u64::from(self.limit)) {
            self.segments = Segments::one(buffer.address.get(), u64::from(buffer.length));
        }
        let whole = self.receiving.progress.wants_all();
        let mut header = MessageHeader::default().with_segments(&self.segments);
        let flags = self.receiving.progress.call_flags();
        let result = if whole {
            // Only this call tells whether a datagram was cut.
            header.receive(context.fd, flags)
        } else {
            let [address, length] = self.segments.rest()[0];
            let null = UserAddress::new(0);
            call::recvfrom(context.fd, UserAddress::new(address), length as usize, flags, null, null)
        };
        self.receiving.judge(context, &mut self.segments, result, whole, header.flags)
    }
}
