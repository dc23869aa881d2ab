//! URING_CMD: commands to a file, of which sockets have some that are system calls elsewhere.

use std::os::fd::RawFd;

use ringer_abi::poll::POLLERR;
use ringer_abi::uapi::io_uring_socket_op as op;
use ringer_abi::{SetupFlags, Sqe, SqeFlags, uapi};
use ringer_sys::{Errno, UserAddress, call};

use crate::check::{big_cqe_flags, of_open_file};
use crate::net::{SOL_SOCKET, check_is_ip};
use crate::operation::{Completion, Issue, Op, Outcome, Prepare, Traits, Until};
use crate::send_times;

/// Bytes that wait to be read. `tcp.7`, `udp.7`.
const SIOCINQ: u32 = 0x541b;
/// Bytes that wait to be sent. `tcp.7`.
const SIOCOUTQ: u32 = 0x5411;

/// `IORING_OP_URING_CMD`. Source: `io_uring_prep_cmd_sock.3`.
///
/// Only the commands of sockets are served, and those of `/dev/null`, which do nothing; other files (NVMe, ublk) give
/// `EOPNOTSUPP`, as files without commands do on Linux.
#[derive(Debug)]
pub struct SocketCommand {
    command: u32,
    level: u32,
    name: u32,
    value: UserAddress,
    value_size: u32,
    setup: SetupFlags,
}

impl Op for SocketCommand {
    // Unlike elsewhere, a provided buffer is refused by EINVAL.
    const TRAITS: Traits = Traits { buffer_select: true, iopoll: true, ..Traits::FILE };

    fn prepare(sqe: &Sqe, context: &Prepare) -> Result<Self, Errno> {
        let selects = sqe.flags().contains(SqeFlags::BUFFER_SELECT);
        if sqe.off_high() != 0 || sqe.op_flags() & !uapi::IORING_URING_CMD_FIXED != 0 || selects {
            return Err(Errno::INVAL);
        }
        Ok(Self {
            command: sqe.cmd_op(),
            level: sqe.addr_low(),
            name: sqe.addr_high(),
            value: UserAddress::new(sqe.addr3()),
            value_size: sqe.file_index(),
            setup: context.setup,
        })
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        const INPUT_QUEUE: u32 = op::SOCKET_URING_OP_SIOCINQ as u32;
        const OUTPUT_QUEUE: u32 = op::SOCKET_URING_OP_SIOCOUTQ as u32;
        const GET_OPTION: u32 = op::SOCKET_URING_OP_GETSOCKOPT as u32;
        const SET_OPTION: u32 = op::SOCKET_URING_OP_SETSOCKOPT as u32;
        const SEND_TIMESTAMP: u32 = op::SOCKET_URING_OP_TX_TIMESTAMP as u32;
        let fd = context.fd;
        if self.setup.contains(SetupFlags::IOPOLL) {
            // No file that is served has commands with polled completion.
            return Outcome::failed(of_open_file(fd, Errno::OPNOTSUPP));
        }
        if self.command == SEND_TIMESTAMP && call::is_socket(fd) {
            let told = big_cqe_flags(self.setup).and_then(|flags| tell_send_time(flags, context));
            return told.unwrap_or_else(Outcome::failed);
        }
        let result = match self.command {
            INPUT_QUEUE => queued(fd, SIOCINQ),
            OUTPUT_QUEUE => queued(fd, SIOCOUTQ),
            GET_OPTION if self.level == SOL_SOCKET => self.get_option(fd),
            SET_OPTION => call::setsockopt(fd, self.level, self.name, self.value, self.value_size),
            _ if call::is_socket(fd) => Err(Errno::OPNOTSUPP),
            _ => Err(Errno::NOTSOCK),
        };
        Outcome::from_result(result.or_else(|errno| match errno {
            Errno::NOTSOCK => of_other_file(fd),
            other => Err(other),
        }))
    }
}

impl SocketCommand {
    /// Reads an option. The result is its size.
    fn get_option(&self, fd: RawFd) -> Result<usize, Errno> {
        let mut size = self.value_size;
        call::getsockopt(fd, self.level, self.name, self.value, UserAddress::of(&raw mut size))?;
        Ok(size as usize)
    }
}

/// Tells when a sent packet left, in a CQE of 32 bytes, or waits until the socket knows of one.
fn tell_send_time(big_flags: u32, context: &mut Issue<'_>) -> Result<Outcome, Errno> {
    /// `IORING_TIMESTAMP_HW_SHIFT` and `IORING_TIMESTAMP_TYPE_SHIFT`.
    const BY_DEVICE: u32 = 16;
    const KIND: u32 = 17;
    let Some(told) = send_times::next(context.fd)? else {
        // Not for the state, as an error of the socket itself is one, too.
        return Ok(Outcome::WaitFor { events: POLLERR, until: Until::Change });
    };
    context.extra = told.time;
    let flags = big_flags | told.kind << KIND | u32::from(told.by_device) << BY_DEVICE;
    Ok(Outcome::More(Completion::new(told.key as i32).with_flags(flags)))
}

/// The null device takes any command. Other files have none.
fn of_other_file(fd: RawFd) -> Result<usize, Errno> {
    call::check_open(fd)?;
    if call::is_null_device(fd) { Ok(0) } else { Err(Errno::OPNOTSUPP) }
}

/// The bytes in one of the socket's queues. Linux asks IP sockets only.
fn queued(fd: RawFd, request: u32) -> Result<usize, Errno> {
    check_is_ip(fd)?;
    let mut bytes = 0_u32;
    call::ioctl(fd, request, UserAddress::of(&raw mut bytes))?;
    Ok(bytes as usize)
}
