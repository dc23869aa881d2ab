//! SEND: bytes to a socket, and what all sending operations share.

use std::os::fd::RawFd;

use ringer_abi::poll::POLLOUT;
use ringer_abi::{Sqe, SqeFlags, uapi};
use ringer_sys::{Errno, UserAddress, call};

use crate::message_transfer::{MessageHeader, Progress, Step, wait_for};
use crate::net::{Address, INT_MAX, MSG_NOSIGNAL, check_range, read_address, without_buffer};
use crate::operation::{BAD_DESCRIPTOR, Completion, Issue, Op, Outcome, Prepare, Traits, Until};
use crate::segments::Segments;
use crate::selection::MOST_OF_A_BUNDLE;

const NO_SOCKET: i32 = -Errno::NOTSOCK.raw_os_error();

/// Bytes on their way to a socket.
///
/// `SIGPIPE` is never raised: the kernel adds `MSG_NOSIGNAL` to all sends of a ring, and so does this.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) name: Option<Address>,
    pub(crate) segments: Segments,
    /// The control data stay with the program; the kernel, too, reads them when it sends.
    pub(crate) control: u64,
    pub(crate) control_length: u64,
    pub(crate) progress: Progress,
}

impl Sending {
    /// Makes one attempt that does not wait.
    pub(crate) fn attempt(&mut self, fd: RawFd) -> Outcome {
        if let Some(wait) = self.progress.first_wait(Some(fd), POLLOUT) {
            return wait;
        }
        let remaining = self.segments.length();
        let result = self.call(fd, self.progress.call_flags() | MSG_NOSIGNAL);
        match self.progress.step(fd, result, remaining, self.progress.wants_all(), false) {
            Step::Part(bytes) => {
                self.segments.advance(bytes);
                wait_for(POLLOUT, Until::Ready)
            }
            Step::NotReady => wait_for(POLLOUT, Until::ReadyAgain),
            Step::End(completion) => Outcome::Done(completion),
        }
    }

    fn call(&self, fd: RawFd, flags: u32) -> Result<usize, Errno> {
        let (name, name_length) = match &self.name {
            Some(name) => (UserAddress::of(name.as_ptr()), name.len()),
            None => (UserAddress::new(0), 0),
        };
        match self.segments.rest() {
            &[[address, length]] if self.control_length == 0 => {
                call::sendto(fd, UserAddress::new(address), length as usize, flags, name, name_length)
            }
            _ => {
                let header = MessageHeader {
                    name: name.get(),
                    name_length: name_length as u32,
                    control: self.control,
                    control_length: self.control_length,
                    ..MessageHeader::default()
                }
                .with_segments(&self.segments);
                call::sendmsg(fd, UserAddress::of(&raw const header), flags)
            }
        }
    }
}

/// `IORING_OP_SEND`, also to an address. Source: `io_uring_prep_send.3`, `io_uring_prep_send_set_addr.3`.
#[derive(Debug)]
pub struct Send {
    sending: Sending,
    /// A provided buffer was taken; it stays with the request until the end.
    has_buffer: bool,
    /// `len`: the most to send of provided buffers, 0 for no limit.
    limit: u32,
    /// `IORING_RECVSEND_BUNDLE`: sends provided buffers as long as there are any, several at once.
    bundle: bool,
    /// The bundle that is being sent is the last one.
    is_last: bool,
    /// It is a bundle that was to start on a worker: Linux waits until the socket takes more, and then cancels it.
    is_futile: bool,
}

impl Send {
    /// Prepares the sending of an SQE's bytes, `most` at once. `known` are the `ioprio` flags of the opcode.
    ///
    /// # Errors
    /// `EINVAL`, `EFAULT`.
    pub(crate) fn prepare_sending(sqe: &Sqe, known: u32, most: u32) -> Result<Sending, Errno> {
        let flags = u32::from(sqe.ioprio());
        if sqe.addr_len_pad() != 0 || flags & !known != 0 {
            return Err(Errno::INVAL);
        }
        let name = match (sqe.off(), sqe.addr_len()) {
            (0, _) => None,
            (address, length) => Some(read_address(address, u32::from(length))?),
        };
        let segments = if sqe.flags().contains(SqeFlags::BUFFER_SELECT) {
            check_range(0, sqe.len(), most)?;
            Segments::one(0, 0)
        } else if flags & uapi::IORING_SEND_VECTORIZED != 0 {
            Segments::read(sqe.addr(), u64::from(sqe.len())).map_err(|errno| match errno {
                Errno::MSGSIZE => Errno::INVAL,
                other => other,
            })?
        } else {
            check_range(sqe.addr(), sqe.len(), most)?;
            Segments::one(sqe.addr(), u64::from(sqe.len()))
        };
        let progress = Progress::new(sqe.op_flags(), flags & uapi::IORING_RECVSEND_POLL_FIRST != 0);
        Ok(Sending { name, segments, control: 0, control_length: 0, progress })
    }
}

impl Op for Send {
    const TRAITS: Traits = Traits { ioprio: true, buffer_select: true, ..Traits::FILE };

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        let known =
            uapi::IORING_RECVSEND_POLL_FIRST | uapi::IORING_SEND_VECTORIZED | uapi::IORING_RECVSEND_BUNDLE;
        let bundle = u32::from(sqe.ioprio()) & uapi::IORING_RECVSEND_BUNDLE != 0;
        let mut sending = Self::prepare_sending(sqe, known, INT_MAX)?;
        if bundle {
            sending.progress.want_all();
        }
        Ok(Self { sending, has_buffer: false, limit: sqe.len(), bundle, is_last: false, is_futile: false })
    }

    fn refuse(&mut self, errno: Errno) -> Outcome {
        self.sending.progress.refuse(errno)
    }

    fn waits_to_start(&self) -> Option<u32> {
        self.bundle.then_some(POLLOUT)
    }

    fn wait_to_start(&mut self) {
        self.is_futile = true;
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        if self.is_futile {
            return Outcome::failed(Errno::CANCELED);
        }
        if let Some(wait) = self.sending.progress.first_wait(Some(context.fd), POLLOUT) {
            return wait;
        }
        let outcome = match &mut context.provided {
            Some(group) if !self.has_buffer => {
                // Of a classic group the whole buffer is sent.
                let limit = match self.limit {
                    _ if !group.is_ring() => 0,
                    0 => INT_MAX,
                    limit => limit.min(INT_MAX),
                };
                let most = if self.bundle { MOST_OF_A_BUNDLE } else { 1 };
                let bundle = match group.select_bundle(limit, most) {
                    Ok(bundle) => bundle,
                    Err(errno) => return Outcome::failed(without_buffer(context.fd, errno)),
                };
                self.is_last = bundle.is_last;
                self.sending.segments = Segments::of(bundle.segments);
                let length = bundle.length();
                let outcome = self.sending.attempt(context.fd);
                // Linux takes the buffers whatever becomes of the send, once it has a socket.
                if !matches!(outcome, Outcome::Done(Completion { result: BAD_DESCRIPTOR | NO_SOCKET, .. })) {
                    group.take(length);
                    self.has_buffer = true;
                }
                outcome
            }
            _ => self.sending.attempt(context.fd),
        };
        match outcome {
            Outcome::Done(completion) if self.bundle && completion.result > 0 && !self.is_last => {
                // Without a group there is nothing left, which is sent.
                self.has_buffer = false;
                self.sending.segments = Segments::one(0, 0);
                self.limit = 0;
                self.sending.progress.start_over();
                Outcome::More(completion)
            }
            outcome => {
                // What had to wait is the end of a bundled send.
                self.is_last |= matches!(outcome, Outcome::WaitFor { .. });
                outcome
            }
        }
    }
}
