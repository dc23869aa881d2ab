//! RECV: bytes from a socket, and what the receiving operations share.

use std::os::fd::RawFd;

use ringer_abi::poll::{POLLERR, POLLIN, POLLPRI, POLLRDNORM};
use ringer_abi::{CqeFlags, Sqe, SqeFlags, uapi};
use ringer_sys::{Errno, UserAddress, call};

use crate::message_transfer::{MessageHeader, Progress, Step, wait_for};
use crate::net::{
    INT_MAX, MSG_CTRUNC, MSG_ERRQUEUE, MSG_PEEK, MSG_TRUNC, MSG_WAITALL, ReadKind, check_range,
    is_at_end_of_tcp, is_shut_down, waiting_bytes, without_buffer,
};
use crate::operation::{Buffer, Completion, Issue, Op, Outcome, Prepare, Traits, Until};
use crate::segments::Segments;
use crate::selection::{MOST_OF_A_BUNDLE, Segment};

/// The rules of one receiving request.
#[derive(Debug)]
pub(crate) struct Receiving {
    pub(crate) progress: Progress,
    /// Delivers every message by a CQE of its own.
    pub(crate) multishot: bool,
    /// A provided buffer was begun; it stays with the request until it is full.
    has_buffer: bool,
    /// What the socket tells, once asked.
    kind: Option<ReadKind>,
    /// How many bytes a multishot receive may still deliver. `None`: no limit.
    left: Option<u32>,
    /// It has waited.
    has_waited: bool,
    /// It ends as a worker of the kernel would end it.
    is_over: bool,
    /// It polled first on a worker, to which it comes back in Linux.
    is_of_worker: bool,
    /// Its socket was ready then: Linux does not wait for it any more.
    waits_no_more: bool,
}

impl Receiving {
    /// Checks the flags of an SQE. `known` are those that the opcode has beside the common ones.
    ///
    /// # Errors
    /// `EINVAL` for unknown flags, and for a multishot receive without provided buffers or with
    /// `MSG_WAITALL`.
    pub(crate) fn prepare(sqe: &Sqe, known: u32) -> Result<Self, Errno> {
        let flags = u32::from(sqe.ioprio());
        let known = uapi::IORING_RECVSEND_POLL_FIRST | uapi::IORING_RECV_MULTISHOT | known;
        let multishot = flags & uapi::IORING_RECV_MULTISHOT != 0;
        // A limit for all of a multishot receive lies where other opcodes have a slot.
        let total = sqe.file_index();
        let is_limited = total != 0;
        if sqe.off() != 0 || flags & !known != 0 || (is_limited && !multishot) {
            return Err(Errno::INVAL);
        }
        let selects = sqe.flags().contains(SqeFlags::BUFFER_SELECT);
        if multishot && (!selects || sqe.op_flags() & MSG_WAITALL != 0) {
            return Err(Errno::INVAL);
        }
        Ok(Self {
            progress: Progress::new(sqe.op_flags(), flags & uapi::IORING_RECVSEND_POLL_FIRST != 0),
            multishot,
            has_buffer: false,
            kind: None,
            left: is_limited.then_some(total),
            has_waited: false,
            is_over: false,
            is_of_worker: false,
            waits_no_more: false,
        })
    }

    /// What a request with `IOSQE_ASYNC` waits for before it starts: see [`Op::waits_to_start`].
    pub(crate) fn waits_to_start(&self) -> Option<u32> {
        self.multishot.then(|| self.events())
    }

    /// What has to be waited for before an attempt makes sense. `checks_socket`: nothing else is waited for.
    pub(crate) fn first_wait(&mut self, context: &Issue<'_>, checks_socket: bool) -> Option<Outcome> {
        if context.may_block()
            && self.progress.polls_first()
            && !self.progress.is_impatient()
            && call::is_socket(context.fd)
        {
            self.is_of_worker = true;
            if is_ready(context.fd, self.events()) {
                self.waits_no_more = true;
                self.progress.be_patient();
            }
        }
        self.progress.first_wait(checks_socket.then_some(context.fd), self.events())
    }

    /// Whether the next attempt looks for a provided buffer.
    pub(crate) const fn wants_buffer(&self, context: &Issue<'_>) -> bool {
        context.provided.is_some() && !self.has_buffer
    }

    /// Looks for a provided buffer for this attempt, cut to `limit` bytes unless that is 0.
    /// `None` when a buffer is not wanted, or one is in use already.
    ///
    /// # Errors
    /// `ENOBUFS`.
    pub(crate) fn new_buffer(&self, context: &mut Issue<'_>, limit: u64) -> Result<Option<Buffer>, Errno> {
        match &mut context.provided {
            Some(group) if !self.has_buffer => match group.select(limit) {
                Ok(buffer) => Ok(Some(buffer)),
                Err(errno) => Err(without_buffer(context.fd, errno)),
            },
            _ => Ok(None),
        }
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
        // On a worker of the kernel, a buffer of a ring is the request's from the beginning, whatever comes of the attempt.
        if (self.is_on_worker(context) || self.is_over)
            && !self.has_buffer
            && !is_no_socket(result)
            && let Some(group) = context.provided.as_mut().filter(|group| group.is_ring())
        {
            group.take(asked);
            self.has_buffer = true;
        }
        let is_cut = message_flags & (MSG_TRUNC | MSG_CTRUNC) != 0;
        match self.progress.step(context.fd, result, asked, whole, is_cut) {
            // Of a stream, the worker's call waits for all.
            Step::Part(_) | Step::NotReady if self.waits_no_more && !self.kind(context.fd).is_stream => {
                self.progress.refuse(Errno::AGAIN)
            }
            Step::Part(bytes) => {
                segments.advance(bytes);
                self.begin_buffer(context, bytes);
                self.wait(Until::Ready)
            }
            Step::NotReady => self.wait(Until::ReadyAgain),
            Step::End(completion) => match result {
                Ok(bytes) => self.finish(context, completion, bytes as u64, asked, bytes as u64),
                Err(_) => Outcome::Done(completion),
            },
        }
    }

    /// Whether this attempt is one of a worker, in Linux.
    fn is_on_worker(&self, context: &Issue<'_>) -> bool {
        context.may_block() || self.is_of_worker
    }

    /// The provided buffer of this attempt, if there is one, stays with the request.
    fn begin_buffer(&mut self, context: &mut Issue<'_>, bytes: u64) {
        if let Some(group) = &mut context.provided
            && !std::mem::replace(&mut self.has_buffer, true)
        {
            group.begin(bytes);
        }
    }

    /// The CQE for `bytes` received into `asked`, for which `used` of a provided buffer were needed. A multishot receive
    /// goes on after anything but the end.
    pub(crate) fn finish(
        &mut self,
        context: &mut Issue<'_>,
        completion: Completion,
        bytes: u64,
        asked: u64,
        used: u64,
    ) -> Outcome {
        if let Some(group) = &mut context.provided
            && completion.result > 0
            && !self.has_buffer
        {
            group.take(used);
        }
        // Whether a multishot receive waits depends on the answer.
        let has_more = if !self.multishot && self.asks_for_more(bytes, asked) {
            context.asks_for_more = true;
            false
        } else {
            self.more_to_read(context.fd, bytes, asked) > 0
        };
        self.deliver(context.fd, completion, bytes, has_more, false)
    }

    /// Gives a result out. `is_last`: there are no more buffers.
    fn deliver(
        &mut self,
        fd: RawFd,
        completion: Completion,
        bytes: u64,
        has_more: bool,
        is_last: bool,
    ) -> Outcome {
        let flags = if has_more { CqeFlags::SOCK_NONEMPTY.bits() } else { 0 };
        let completion = completion.with_flags(flags);
        if !self.multishot || bytes == 0 || is_last {
            return Outcome::Done(completion);
        }
        if let Some(left) = &mut self.left {
            // The numbers are signed ones to Linux: an absurd limit ends the receive at once.
            *left = left.wrapping_sub((completion.result).min(*left as i32) as u32);
            if *left == 0 {
                return Outcome::Done(completion);
            }
        }
        let may_wait_for_more = !self.progress.is_impatient() && !self.looks_for_errors();
        if !has_more && may_wait_for_more && self.kind(fd).is_stream {
            Outcome::Drained(completion)
        } else {
            Outcome::More(completion)
        }
    }

    fn kind(&mut self, fd: RawFd) -> ReadKind {
        *self.kind.get_or_insert_with(|| ReadKind::of(fd))
    }

    /// Whether there may be more to read after a receive. A stream that gave less than asked for has no more.
    const fn asks_for_more(&self, bytes: u64, asked: u64) -> bool {
        bytes >= asked || self.progress.flags() & MSG_PEEK != 0
    }

    /// How many bytes are left to read after a receive, for `IORING_CQE_F_SOCK_NONEMPTY`.
    fn more_to_read(&mut self, fd: RawFd, bytes: u64, asked: u64) -> u32 {
        // Which kind it is matters only if there is something.
        let waiting = if self.asks_for_more(bytes, asked) { waiting_bytes(fd) } else { 0 };
        if waiting > 0 && self.kind(fd).tells {
            waiting
        } else {
            u32::from(bytes == 0 && is_at_end_of_tcp(fd))
        }
    }

    fn events(&self) -> u32 {
        if self.looks_for_errors() { POLLERR | POLLRDNORM | POLLPRI } else { POLLIN }
    }

    const fn looks_for_errors(&self) -> bool {
        self.progress.flags() & MSG_ERRQUEUE != 0
    }

    fn wait(&mut self, until: Until) -> Outcome {
        self.has_waited = true;
        wait_for(self.events(), until)
    }

    /// The result of an attempt, which is 0 where waiting any longer would be in vain. Linux has a worker find that out; a multishot
    /// receive has none, and waits.
    pub(crate) fn at_end(&mut self, fd: RawFd, result: Result<usize, Errno>) -> Result<usize, Errno> {
        if result == Err(Errno::AGAIN)
            && self.looks_for_errors()
            && !self.multishot
            && is_ready(fd, POLLRDNORM | POLLPRI)
        {
            // Data are no error, but Linux takes them for what was waited for, and then has a worker call, which does not wait.
            self.progress.be_impatient();
        }
        let is_asked_for_good = self.has_waited || self.waits_no_more;
        self.is_over =
            !self.multishot && result == Err(Errno::AGAIN) && is_asked_for_good && is_shut_down(fd);
        if self.is_over { Ok(0) } else { result }
    }
}

/// `IORING_OP_RECV`. Source: `io_uring_prep_recv.3`, `io_uring_prep_recv_multishot.3`.
#[derive(Debug)]
pub struct Recv {
    receiving: Receiving,
    segments: Segments,
    /// `len`: with provided buffers the most to put into one, 0 for no limit.
    limit: u32,
    /// `IORING_RECVSEND_BUNDLE`: one result may fill several provided buffers.
    bundle: bool,
    /// The bundle that a part went into can be the start of no larger one.
    is_final: bool,
    /// How many bytes were left to read after the last result.
    waiting: u32,
}

impl Op for Recv {
    const TRAITS: Traits = Traits { ioprio: true, buffer_select: true, ..Traits::FILE };

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        let receiving = Receiving::prepare(sqe, uapi::IORING_RECVSEND_BUNDLE)?;
        let segments = if sqe.flags().contains(SqeFlags::BUFFER_SELECT) {
            check_range(0, sqe.len(), INT_MAX)?;
            Segments::one(0, 0)
        } else {
            check_range(sqe.addr(), sqe.len(), INT_MAX)?;
            Segments::one(sqe.addr(), u64::from(sqe.len()))
        };
        let bundle = u32::from(sqe.ioprio()) & uapi::IORING_RECVSEND_BUNDLE != 0;
        Ok(Self { receiving, segments, limit: sqe.len(), bundle, is_final: false, waiting: 0 })
    }

    fn refuse(&mut self, errno: Errno) -> Outcome {
        self.receiving.progress.refuse(errno)
    }

    fn waits_to_start(&self) -> Option<u32> {
        self.receiving.waits_to_start()
    }

    fn wait_to_start(&mut self) {
        // `MSG_DONTWAIT` says that it must not be waited for. That is done here.
        self.receiving.progress.be_patient();
    }

    fn has_several_results(&self) -> bool {
        self.receiving.multishot
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        if let Some(wait) = self.receiving.first_wait(context, false) {
            return wait;
        }
        if self.bundle && self.receiving.wants_buffer(context) {
            let limit = self.first_limit();
            return self.receive_bundle(context, 0, limit);
        }
        match self.receiving.new_buffer(context, u64::from(self.limit)) {
            Ok(None) => {}
            Ok(Some(buffer)) => {
                self.segments = Segments::one(buffer.address.get(), u64::from(buffer.length));
            }
            Err(errno) => return Outcome::failed(errno),
        }
        let whole = self.receiving.progress.wants_all();
        let (result, flags) =
            receive(context.fd, self.segments.rest(), self.receiving.progress.call_flags(), whole);
        let result = self.receiving.at_end(context.fd, result);
        match self.receiving.judge(context, &mut self.segments, result, whole, flags) {
            // A bundle that filled up in parts is appended to as one that filled up at once.
            Outcome::Done(Completion { result: done @ 1.., fails_link: false, .. })
                if self.bundle && self.receiving.has_buffer && !self.is_final =>
            {
                let waiting = waiting_bytes(context.fd);
                (self.receiving.has_buffer, context.asks_for_more) = (false, false);
                self.receive_bundle(context, done.unsigned_abs().into(), waiting)
            }
            outcome => outcome,
        }
    }
}

impl Recv {
    fn first_limit(&mut self) -> u32 {
        let waiting = std::mem::take(&mut self.waiting);
        if self.limit == 0 && waiting > 1 { waiting } else { self.limit }
    }

    /// Fills provided buffers one after the other. As Linux does it: without a limit it tries one; when that is full and
    /// more is there, as many as that needs are added to the same result.
    /// `done` bytes of this result are there already, and `limit` are looked for; 0: no limit.
    fn receive_bundle(&mut self, context: &mut Issue<'_>, mut done: u64, limit: u32) -> Outcome {
        let (fd, is_on_worker) = (context.fd, self.receiving.is_on_worker(context));
        let Some(group) = &mut context.provided else { return Outcome::failed(Errno::NOBUFS) };
        let whole = self.receiving.progress.wants_all();
        let call_flags = self.receiving.progress.call_flags();
        // As in `judge`: on a worker, all of it.
        let is_taken = is_on_worker && group.is_ring();
        let mut limit = smaller_limit(limit, self.receiving.left);
        loop {
            let bundle = match group.select_bundle(limit, MOST_OF_A_BUNDLE) {
                Ok(bundle) => bundle,
                // Of a group that is no ring and empty; on a worker, Linux says it as of any other.
                Err(Errno::NOENT) if done == 0 && is_on_worker => {
                    return Outcome::failed(without_buffer(fd, Errno::NOBUFS));
                }
                Err(errno) if done == 0 => return Outcome::failed(without_buffer(fd, errno)),
                Err(_) => {
                    let completion = Completion { fails_link: true, ..Completion::new(done as i32) };
                    return self.receiving.deliver(fd, completion, done, false, true);
                }
            };
            let (asked, is_cut, is_last) = (bundle.length(), bundle.is_cut, bundle.is_last);
            let (result, message_flags) = receive(fd, bundle.segments, call_flags, whole);
            let result = self.receiving.at_end(fd, result);
            let bytes = match result {
                Ok(bytes) if whole && (bytes as u64) < asked && done == 0 => {
                    self.segments = Segments::of(bundle.segments);
                    self.is_final = is_cut || is_last;
                    return self.receiving.judge(context, &mut self.segments, result, whole, message_flags);
                }
                Ok(bytes) => bytes as u64,
                Err(Errno::AGAIN) if done == 0 && !self.receiving.progress.is_impatient() => {
                    if is_taken {
                        (self.segments, self.is_final) = (Segments::of(bundle.segments), true);
                        self.receiving.has_buffer = true;
                        group.take(asked);
                    }
                    return self.receiving.wait(Until::ReadyAgain);
                }
                Err(errno) if done == 0 => {
                    if is_taken && !is_no_socket(result) {
                        group.take(asked);
                    }
                    return Outcome::failed(errno);
                }
                Err(_) => 0,
            };
            if is_taken || bytes > 0 {
                group.take(if is_taken { asked } else { bytes });
            }
            done += bytes;
            let waiting = self.receiving.more_to_read(fd, bytes, asked);
            let is_full = bytes > 0 && bytes == asked && !is_cut && !is_last;
            let is_capped = self.receiving.multishot && self.limit != 0 && done >= u64::from(self.limit)
                || self.receiving.left.is_some_and(|left| done >= u64::from(left));
            let is_first = done == bytes;
            if is_full && waiting > 1 && is_first && !is_capped {
                limit = smaller_limit(waiting, self.receiving.left);
                continue;
            }
            self.waiting = waiting;
            let is_cut = message_flags & (MSG_TRUNC | MSG_CTRUNC) != 0;
            let is_short = whole && (bytes < asked || is_cut) || bytes == 0 && done > 0;
            let completion = Completion { fails_link: is_short, ..Completion::new(done as i32) };
            return self.receiving.deliver(fd, completion, done, waiting > 0, is_last || bytes == 0);
        }
    }
}

/// Whether one of these `poll.2` events is there now.
fn is_ready(fd: RawFd, events: u32) -> bool {
    call::poll_now(fd, events as u16).is_ok_and(|ready| ready != 0)
}

/// Whether it failed before a buffer would have been looked for.
fn is_no_socket(result: Result<usize, Errno>) -> bool {
    matches!(result, Err(Errno::NOTSOCK | Errno::BADF))
}

/// The smaller of two limits, where 0 is none.
fn smaller_limit(limit: u32, other: Option<u32>) -> u32 {
    match (limit, other) {
        (_, None) => limit,
        (0, Some(other)) => other,
        (_, Some(other)) => limit.min(other),
    }
}

/// Receives. Only with `tells_flags` are the flags of the message looked for.
fn receive(fd: RawFd, segments: &[Segment], flags: u32, tells_flags: bool) -> (Result<usize, Errno>, u32) {
    match segments {
        &[[address, length]] if !tells_flags => {
            let null = UserAddress::new(0);
            let length = length as usize;
            (call::recvfrom(fd, UserAddress::new(address), length, flags, null, null), 0)
        }
        _ => {
            let mut header = MessageHeader {
                segments: segments.as_ptr() as u64,
                segment_count: segments.len() as u64,
                ..MessageHeader::default()
            };
            let result = header.receive(fd, flags);
            (result, header.flags)
        }
    }
}
