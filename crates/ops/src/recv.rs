//! RECV: bytes from a socket, and what the receiving operations share.

use std::os::fd::RawFd;

use ringer_abi::{CqeFlags, Opcode, Sqe, SqeFlags, uapi};
use ringer_sys::{Errno, UserAddress, call};

use crate::message_transfer::{MessageHeader, Progress, Step, wait_for};
use crate::net::{
    INT_MAX, MSG_CTRUNC, MSG_ERRQUEUE, MSG_PEEK, MSG_TRUNC, MSG_WAITALL, POLLERR, POLLIN, check_range,
    has_more_to_read, is_at_end_of_tcp, is_stream,
};
use crate::operation::{Buffer, BufferDemand, Completion, Issue, Op, Outcome, Prepare, Traits};
use crate::segments::Segments;

/// The rules of one receiving request.
#[derive(Debug)]
pub(crate) struct Receiving {
    pub(crate) progress: Progress,
    /// Delivers every message by a CQE of its own.
    pub(crate) multishot: bool,
    /// Receives into several provided buffers at once.
    bundle: bool,
    /// The most bytes to put into a provided buffer or a bundle; 0 for no limit.
    pub(crate) limit: u64,
    /// How many bytes are left of those that a multishot receive may deliver in all. `None`: without a limit.
    total_left: Option<u32>,
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
        let is_message = sqe.opcode() == Opcode::Recvmsg.number();
        let known = uapi::IORING_RECVSEND_POLL_FIRST | uapi::IORING_RECV_MULTISHOT;
        let known = known | if is_message { 0 } else { uapi::IORING_RECVSEND_BUNDLE };
        let multishot = flags & uapi::IORING_RECV_MULTISHOT != 0;
        // `optlen` shares its place with `file_index`: the bytes of all results together.
        let total = sqe.file_index();
        if sqe.off() != 0 || flags & !known != 0 || total != 0 && (is_message || !multishot) {
            return Err(Errno::INVAL);
        }
        let selects = sqe.flags().contains(SqeFlags::BUFFER_SELECT);
        if multishot && (!selects || sqe.op_flags() & MSG_WAITALL != 0) {
            return Err(Errno::INVAL);
        }
        let progress = Progress::new(sqe.op_flags(), flags & uapi::IORING_RECVSEND_POLL_FIRST != 0);
        Ok(Self {
            progress,
            multishot,
            bundle: selects && flags & uapi::IORING_RECVSEND_BUNDLE != 0,
            limit: if is_message { 0 } else { u64::from(sqe.len()) },
            total_left: (total != 0).then_some(total),
            has_buffer: false,
            is_drained: false,
            stream: None,
        })
    }

    /// What has to be waited for before an attempt makes sense.
    pub(crate) fn first_wait(&mut self) -> Option<Outcome> {
        if std::mem::take(&mut self.is_drained) {
            return Some(self.wait());
        }
        self.progress.first_wait(self.events())
    }

    /// The provided buffers that the next attempt will look for.
    pub(crate) fn wants_buffers(&self) -> Option<BufferDemand> {
        if self.has_buffer || self.is_drained || self.progress.polls_first() {
            return None;
        }
        let limit = self.limit_now();
        // All of a bundle without a limit would be more than anybody sends.
        let bundle = self.bundle && (limit > 0 || !self.progress.wants_all());
        Some(BufferDemand { limit, bundle, at_once: false })
    }

    /// The most bytes to receive at once; 0 for no limit.
    fn limit_now(&self) -> u64 {
        match self.total_left {
            // Single buffers are not cut to it.
            Some(left) if self.bundle && self.limit == 0 => u64::from(left),
            Some(left) if self.bundle => self.limit.min(u64::from(left)),
            _ => self.limit,
        }
    }

    /// The provided buffer of this attempt. `None` when a buffer is not wanted, or one is in use already.
    pub(crate) fn new_buffer(&self, context: &Issue<'_>) -> Option<Buffer> {
        context.buffer.filter(|_| !self.has_buffer)
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
                Ok(bytes) => self.finish(context, completion, bytes as u64, asked),
                Err(_) => Outcome::Done(completion),
            },
        }
    }

    /// The CQE for `bytes` received into `asked`; a multishot receive goes on after anything but the end.
    pub(crate) fn finish(
        &mut self,
        context: &Issue<'_>,
        completion: Completion,
        bytes: u64,
        asked: u64,
    ) -> Outcome {
        let fd = context.fd;
        let has_more = self.has_more(fd, bytes, asked);
        let flags = if has_more { CqeFlags::SOCK_NONEMPTY.bits() } else { 0 };
        let completion = completion.with_flags(flags);
        let buffers_end = self.bundle && self.is_end_of_buffers(context, has_more && bytes >= asked);
        if !self.multishot || bytes == 0 || self.is_at_limit(completion.result) || buffers_end {
            return Outcome::Done(completion);
        }
        let stream = *self.stream.get_or_insert_with(|| is_stream(fd));
        self.is_drained = stream && !has_more;
        Outcome::More(completion)
    }

    /// Whether a multishot receive ends with a bundle that took the last buffers. Where the bytes were limited it does when it
    /// could have taken more, else when it was a single buffer, or there were more bytes than buffers.
    fn is_end_of_buffers(&self, context: &Issue<'_>, too_few: bool) -> bool {
        context.buffers_ran_out && (self.limit_now() > 0 || context.more_buffers.is_empty() || too_few)
    }

    /// Counts a result of a multishot receive. Whether it was the last that its limit allows.
    fn is_at_limit(&mut self, result: i32) -> bool {
        let Some(left) = &mut self.total_left else { return false };
        // A limit beyond an `int` is over at once, as in Linux.
        *left = if *left > INT_MAX { 0 } else { left.saturating_sub(result as u32) };
        *left == 0
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
}

impl Op for Recv {
    const TRAITS: Traits = Traits { ioprio: true, buffer_select: true, ..Traits::FILE };

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        let receiving = Receiving::prepare(sqe)?;
        let segments = if sqe.flags().contains(SqeFlags::BUFFER_SELECT) {
            check_range(0, sqe.len(), INT_MAX)?;
            Segments::one(0, 0)
        } else {
            check_range(sqe.addr(), sqe.len(), INT_MAX)?;
            Segments::one(sqe.addr(), u64::from(sqe.len()))
        };
        Ok(Self { receiving, segments })
    }

    fn wants_buffers(&self) -> Option<BufferDemand> {
        self.receiving.wants_buffers()
    }

    fn refuse(&mut self, errno: Errno) -> Outcome {
        self.receiving.progress.refused(errno)
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        if let Some(wait) = self.receiving.first_wait() {
            return wait;
        }
        if let Some(buffer) = self.receiving.new_buffer(context) {
            self.segments = Segments::of_buffers(buffer, context.more_buffers);
        }
        let whole = self.receiving.progress.wants_all();
        let mut header = MessageHeader::default().with_segments(&self.segments);
        let flags = self.receiving.progress.call_flags();
        let result = match self.segments.rest() {
            &[[address, length]] if !whole => {
                let null = UserAddress::new(0);
                call::recvfrom(context.fd, UserAddress::new(address), length as usize, flags, null, null)
            }
            // Only this call tells whether a datagram was cut.
            _ => header.receive(context.fd, flags),
        };
        self.receiving.judge(context, &mut self.segments, result, whole, header.flags)
    }
}
