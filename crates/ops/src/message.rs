//! SENDMSG and RECVMSG: messages with an address, several buffers and control data.

use ringer_abi::{Sqe, SqeFlags, uapi};
use ringer_sys::{Errno, UserAddress};

use crate::message_transfer::{MessageHeader, Progress};
use crate::net::{INT_MAX, read_name, without_buffer};
use crate::operation::{Buffer, Completion, Issue, Op, Outcome, Prepare, Traits};
use crate::recv::Receiving;
use crate::segments::Segments;
use crate::send::Sending;

/// `IORING_OP_SENDMSG`. Source: `io_uring_prep_sendmsg.3`.
#[derive(Debug)]
pub struct Sendmsg {
    sending: Sending,
}

impl Sendmsg {
    /// Copies the program's header, vector and address. `known` are the `ioprio` flags of the opcode.
    ///
    /// # Errors
    /// `EINVAL`, `EFAULT`, `EMSGSIZE` for too many segments.
    pub(crate) fn prepare_sending(sqe: &Sqe, known: u32) -> Result<Sending, Errno> {
        let flags = u32::from(sqe.ioprio());
        if sqe.off() != 0 || sqe.file_index() != 0 || flags & !known != 0 {
            return Err(Errno::INVAL);
        }
        let header = MessageHeader::read(sqe.addr())?;
        header.check_name()?;
        let name = match (header.name, header.name_length) {
            (0, _) | (_, 0) => None,
            (address, length) => Some(read_name(address, length)?),
        };
        Ok(Sending {
            name,
            segments: Segments::read(header.segments, header.segment_count)?,
            control: header.control,
            control_length: header.control_length,
            progress: Progress::new(sqe.op_flags(), flags & uapi::IORING_RECVSEND_POLL_FIRST != 0),
        })
    }
}

impl Op for Sendmsg {
    const TRAITS: Traits = Traits { ioprio: true, ..Traits::FILE };

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        let known = uapi::IORING_RECVSEND_POLL_FIRST | uapi::IORING_SEND_VECTORIZED;
        if sqe.len() > INT_MAX {
            return Err(Errno::INVAL);
        }
        Ok(Self { sending: Self::prepare_sending(sqe, known)? })
    }

    fn refuse(&mut self, errno: Errno) -> Outcome {
        self.sending.progress.refuse(errno)
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        self.sending.attempt(context.fd)
    }
}

/// `IORING_OP_RECVMSG`. Source: `io_uring_prep_recvmsg.3`, `io_uring_prep_recvmsg_multishot.3`.
#[derive(Debug)]
pub struct Recvmsg {
    receiving: Receiving,
    segments: Segments,
    /// Where the program's header is, for the results.
    program_header: UserAddress,
    name: u64,
    name_length: u32,
    control: u64,
    control_length: u64,
    /// With provided buffers the most to put into one, 0 for no limit.
    limit: u64,
}

impl Op for Recvmsg {
    const TRAITS: Traits = Traits { ioprio: true, buffer_select: true, ..Traits::FILE };

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        let receiving = Receiving::prepare(sqe, 0)?;
        if sqe.len() > INT_MAX || sqe.file_index() != 0 {
            return Err(Errno::INVAL);
        }
        let header = MessageHeader::read(sqe.addr())?;
        header.check_name()?;
        let (segments, limit) = if sqe.flags().contains(SqeFlags::BUFFER_SELECT) {
            let limit = match header.segment_count {
                0 => 0,
                1 => UserAddress::new(header.segments).read::<[u64; 2]>()?[1],
                _ => return Err(Errno::INVAL),
            };
            (Segments::one(0, 0), limit)
        } else {
            (Segments::read(header.segments, header.segment_count)?, 0)
        };
        if receiving.multishot {
            prefix_length(header.name_length, header.control_length)?;
        }
        Ok(Self {
            receiving,
            segments,
            program_header: UserAddress::new(sqe.addr()),
            name: header.name,
            name_length: header.name_length,
            control: header.control,
            control_length: header.control_length,
            limit,
        })
    }

    fn refuse(&mut self, errno: Errno) -> Outcome {
        self.receiving.progress.refuse(errno)
    }

    fn waits_to_start(&self) -> Option<u32> {
        self.receiving.waits_to_start()
    }

    fn wait_to_start(&mut self) {
        self.receiving.progress.be_patient();
    }

    fn has_several_results(&self) -> bool {
        self.receiving.multishot
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        if let Some(wait) = self.receiving.first_wait(context, true) {
            return wait;
        }
        let buffer = match self.receiving.new_buffer(context, self.limit) {
            Ok(buffer) => buffer,
            Err(errno) => return Outcome::failed(errno),
        };
        if self.receiving.multishot {
            return match buffer {
                Some(buffer) => self.receive_into(context, buffer),
                None => Outcome::failed(Errno::NOBUFS),
            };
        }
        if let Some(buffer) = buffer {
            self.segments = Segments::one(buffer.address.get(), u64::from(buffer.length));
        }
        let mut header = MessageHeader {
            name: self.name,
            name_length: self.name_length,
            control: self.control,
            control_length: self.control_length,
            ..MessageHeader::default()
        }
        .with_segments(&self.segments);
        let received = header.receive(context.fd, self.receiving.progress.call_flags());
        let mut result = self.receiving.at_end(context.fd, received);
        if result.is_ok()
            && let Err(errno) = self.write_back(&header)
        {
            result = Err(errno);
        }
        // With control data a part is a whole message.
        let whole = self.receiving.progress.wants_all() && self.control_length == 0;
        self.receiving.judge(context, &mut self.segments, result, whole, header.flags)
    }
}

impl Recvmsg {
    /// Gives the program the results that `recvmsg.2` leaves in its header.
    fn write_back(&self, header: &MessageHeader) -> Result<(), Errno> {
        const NAME_LENGTH: u64 = std::mem::offset_of!(MessageHeader, name_length) as u64;
        const CONTROL_LENGTH: u64 = std::mem::offset_of!(MessageHeader, control_length) as u64;
        if self.name != 0 {
            self.program_header.add(NAME_LENGTH).write(header.name_length)?;
        }
        let mut results = [0_u8; 12];
        results[..8].copy_from_slice(&header.control_length.to_ne_bytes());
        results[8..].copy_from_slice(&header.flags.to_ne_bytes());
        self.program_header.add(CONTROL_LENGTH).write(results)
    }

    /// One message of a multishot receive: a `struct io_uring_recvmsg_out`, the name, the control data
    /// and the payload, each in the room that the program's header gives it.
    fn receive_into(&mut self, context: &mut Issue<'_>, buffer: Buffer) -> Outcome {
        let prefix = match prefix_length(self.name_length, self.control_length) {
            Ok(prefix) if prefix <= u64::from(buffer.length) => prefix,
            _ => return Outcome::failed(without_buffer(context.fd, Errno::FAULT)),
        };
        let room = u64::from(buffer.length) - prefix;
        let name = buffer.address.add(OUT_SIZE);
        let control = name.add(u64::from(self.name_length));
        self.segments = Segments::one(buffer.address.add(prefix).get(), room);
        let mut header = MessageHeader {
            name: if self.name_length == 0 { 0 } else { name.get() },
            name_length: self.name_length,
            control: control.get(),
            control_length: self.control_length,
            ..MessageHeader::default()
        }
        .with_segments(&self.segments);
        let flags = self.receiving.progress.call_flags();
        let received = header.receive(context.fd, flags);
        let bytes = match self.receiving.at_end(context.fd, received) {
            Ok(bytes) => bytes as u64,
            Err(errno) => {
                return self.receiving.judge(context, &mut self.segments, Err(errno), false, 0);
            }
        };
        let out = [header.name_length, header.control_length as u32, bytes as u32, header.flags];
        if let Err(errno) = buffer.address.write(out) {
            return Outcome::failed(errno);
        }
        let completion = Completion::new((prefix + bytes.min(room)) as i32);
        // The limit is that of the first message only.
        self.limit = 0;
        let used = prefix + bytes.min(room);
        self.receiving.finish(context, completion, bytes, room, used)
    }
}

/// The size of `struct io_uring_recvmsg_out`.
const OUT_SIZE: u64 = size_of::<uapi::io_uring_recvmsg_out>() as u64;

/// What stands before the payload in the buffer of a multishot receive.
///
/// # Errors
/// `EOVERFLOW` when it is more than an `int` holds.
fn prefix_length(name_length: u32, control_length: u64) -> Result<u64, Errno> {
    let length = (OUT_SIZE + u64::from(name_length)).saturating_add(control_length);
    if length > i32::MAX as u64 { Err(Errno::OVERFLOW) } else { Ok(length) }
}
