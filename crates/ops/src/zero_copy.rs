//! SEND_ZC and SENDMSG_ZC: sends with a second CQE that says when the memory may be reused.
//!
//! The bytes are copied when they are sent, so that the notification follows at once.

use ringer_abi::{CqeFlags, Opcode, Sqe, SqeFlags, uapi};
use ringer_sys::{Errno, UserAddress};

use crate::check::of_open_file;
use crate::message::Sendmsg;
use crate::net::check_is_ip;
use crate::operation::{Completion, Issue, Op, Outcome, Prepare, Resources, Traits};
use crate::send::{Send, Sending};

/// `IORING_NOTIF_USAGE_ZC_COPIED`, in the notification's result.
const COPIED: i32 = uapi::IORING_NOTIF_USAGE_ZC_COPIED as i32;

/// `IORING_OP_SEND_ZC` and `IORING_OP_SENDMSG_ZC`. Source: `io_uring_prep_send_zc.3`,
/// `io_uring_prep_sendmsg_zc.3`.
///
/// Whatever becomes of the send, also for most errors of preparation, there are two CQEs: the result with
/// `IORING_CQE_F_MORE` and the notification with `IORING_CQE_F_NOTIF`. As on Linux, only IP sockets can
/// do it: `EOPNOTSUPP` on others.
#[derive(Debug)]
pub struct ZeroCopySend {
    state: State,
    /// `IORING_SEND_ZC_REPORT_USAGE`: the notification says that the bytes were copied.
    reports_usage: bool,
    /// The registered buffer that holds the bytes, checked by the first attempt.
    registered: Option<u16>,
    /// It sends a message: its memory is looked at before its socket.
    is_message: bool,
    is_checked: bool,
}

#[derive(Debug)]
enum State {
    /// Preparation failed, after the notification was promised.
    Refused(Errno),
    Sending(Sending),
    /// The result is out; the notification is left.
    Notifying(Completion),
}

impl Op for ZeroCopySend {
    const TRAITS: Traits = Traits { ioprio: true, ..Traits::FILE };

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        if sqe.addr3() != 0 || sqe.pad2() != 0 || sqe.flags().contains(SqeFlags::CQE_SKIP_SUCCESS) {
            return Err(Errno::INVAL);
        }
        let flags = u32::from(sqe.ioprio());
        let is_registered = flags & uapi::IORING_RECVSEND_FIXED_BUF != 0;
        Ok(Self {
            state: prepare_sending(sqe, flags).map_or_else(State::Refused, State::Sending),
            reports_usage: flags & uapi::IORING_SEND_ZC_REPORT_USAGE != 0,
            registered: is_registered.then(|| sqe.buf_index()),
            is_message: sqe.opcode() == Opcode::SendmsgZc.number(),
            is_checked: false,
        })
    }

    fn refused(&self) -> Option<Errno> {
        match self.state {
            State::Refused(errno) => Some(errno),
            _ => None,
        }
    }

    fn refuse(&mut self, errno: Errno) -> Outcome {
        match self.state {
            State::Notifying(completion) => Outcome::Done(completion),
            _ => self.end(Completion::error(errno), true),
        }
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        let sending = match &mut self.state {
            State::Notifying(completion) => return Outcome::Done(*completion),
            State::Refused(errno) => {
                let errno = *errno;
                return self.refuse(errno);
            }
            State::Sending(sending) => sending,
        };
        if !self.is_checked {
            let fd = context.fd;
            let memory = check_memory(sending, self.registered, context.resources);
            let checked = match memory {
                Err(errno) if self.is_message => Err(of_open_file(fd, errno)),
                memory => check_is_ip(fd).and(memory),
            };
            if let Err(errno) = checked {
                return self.refuse(errno);
            }
            self.is_checked = true;
        }
        match sending.attempt(context.fd) {
            Outcome::Done(completion) => {
                // Linux has begun to send without a copy when it meets a bad address.
                let is_copied = completion.result != -Errno::FAULT.raw_os_error();
                self.end(completion, is_copied)
            }
            other => other,
        }
    }
}

impl ZeroCopySend {
    /// Gives the result out and gets the notification ready.
    fn end(&mut self, completion: Completion, is_copied: bool) -> Outcome {
        let usage = if self.reports_usage && is_copied { COPIED } else { 0 };
        self.state = State::Notifying(Completion {
            fails_link: completion.fails_link,
            ..Completion::new(usage).with_flags(CqeFlags::NOTIF.bits())
        });
        Outcome::Notifies(completion)
    }
}

fn prepare_sending(sqe: &Sqe, flags: u32) -> Result<Sending, Errno> {
    const REGISTERED_VECTOR: u32 = uapi::IORING_RECVSEND_FIXED_BUF | uapi::IORING_SEND_VECTORIZED;
    let known = uapi::IORING_RECVSEND_POLL_FIRST | uapi::IORING_SEND_ZC_REPORT_USAGE | REGISTERED_VECTOR;
    if sqe.opcode() == Opcode::SendmsgZc.number() {
        return Sendmsg::prepare_sending(sqe, known);
    }
    if flags & REGISTERED_VECTOR == REGISTERED_VECTOR {
        return Err(Errno::INVAL);
    }
    Send::prepare_sending(sqe, known, u32::MAX)
}

/// Whether all of it lies in the registered buffer, if there is one.
fn check_memory(sending: &Sending, buffer: Option<u16>, resources: &dyn Resources) -> Result<(), Errno> {
    let Some(index) = buffer else { return Ok(()) };
    sending.segments.rest().iter().try_for_each(|[address, length]| {
        resources.check_registered_range(index, UserAddress::new(*address), *length)
    })
}
