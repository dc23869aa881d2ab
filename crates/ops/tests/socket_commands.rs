//! URING_CMD on sockets, attempted directly.

mod file_support;
mod net_support;

use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use file_support::{address, negated, sqe};
use net_support::{refusal, result, tcp_pair, unix_pair, wait_until_ready, write};
use ringer_abi::poll::POLLIN;
use ringer_abi::uapi::io_uring_socket_op as op;
use ringer_abi::{Opcode, SetupFlags, Sqe, SqeFlags};
use ringer_ops::{Operation, Prepare};
use ringer_sys::Errno;

const SOL_SOCKET: u64 = 1;
const SO_REUSEADDR: u64 = 2;
const SO_TYPE: u64 = 3;
const SOL_TCP: u64 = 6;
const TCP_NODELAY: u64 = 1;

fn command(fd: RawFd, command: op) -> Sqe {
    sqe(Opcode::UringCmd).with_fd(fd).with_off(command as u64)
}

fn option(fd: RawFd, set: bool, level: u64, name: u64, value: &mut [u32; 2]) -> Sqe {
    let what = if set { op::SOCKET_URING_OP_SETSOCKOPT } else { op::SOCKET_URING_OP_GETSOCKOPT };
    command(fd, what)
        .with_addr(level | name << 32)
        .with_addr3(address(&raw mut *value))
        .with_file_index(size_of::<u32>() as u32)
}

#[test]
fn queues_of_ip_sockets_tell_their_length() {
    let (here, there) = tcp_pair();
    write(&there, b"sixsix");
    wait_until_ready(here.as_raw_fd(), POLLIN);
    assert_eq!(result(&command(here.as_raw_fd(), op::SOCKET_URING_OP_SIOCINQ)), 6);
    assert_eq!(result(&command(here.as_raw_fd(), op::SOCKET_URING_OP_SIOCOUTQ)), 0);
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    assert_eq!(result(&command(datagrams.as_raw_fd(), op::SOCKET_URING_OP_SIOCINQ)), 0);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    assert_eq!(result(&command(listener.as_raw_fd(), op::SOCKET_URING_OP_SIOCINQ)), negated(Errno::INVAL));
    let (unix, _peer) = unix_pair();
    for queue in [op::SOCKET_URING_OP_SIOCINQ, op::SOCKET_URING_OP_SIOCOUTQ] {
        assert_eq!(result(&command(unix.as_raw_fd(), queue)), negated(Errno::OPNOTSUPP));
    }
}

#[test]
fn options_are_read_and_set() {
    let (here, _there) = tcp_pair();
    let fd = here.as_raw_fd();
    let mut value = [0_u32; 2];
    let get = option(fd, false, SOL_SOCKET, SO_TYPE, &mut value);
    assert_eq!(result(&get), 4);
    assert_eq!(value[0], 1, "a stream");
    assert_eq!(result(&get.with_file_index(2)), 2);
    assert_eq!(result(&get.with_file_index(8)), 4);
    assert_eq!(result(&get.with_file_index(u32::MAX)), negated(Errno::INVAL));
    assert_eq!(result(&get.with_addr3(8)), negated(Errno::FAULT));
    assert_eq!(result(&option(fd, false, SOL_SOCKET, 9999, &mut value)), negated(Errno::NOPROTOOPT));
    // Linux reads options of the socket itself only.
    assert_eq!(result(&option(fd, false, SOL_TCP, TCP_NODELAY, &mut value)), negated(Errno::OPNOTSUPP));
    let mut on = [1_u32, 0];
    assert_eq!(result(&option(fd, true, SOL_TCP, TCP_NODELAY, &mut on)), 0);
    assert!(here.nodelay().expect("a TCP socket"));
    let set = option(fd, true, SOL_SOCKET, SO_REUSEADDR, &mut on);
    assert_eq!(result(&set), 0);
    assert_eq!(result(&set.with_file_index(2)), negated(Errno::INVAL));
    assert_eq!(result(&set.with_addr3(8)), negated(Errno::FAULT));
}

#[test]
fn what_is_no_socket_or_no_command_is_not_supported() {
    let (here, _there) = tcp_pair();
    let fd = here.as_raw_fd();
    let [pipe, _write_end] = ringer_sys::call::pipe2(0).expect("a pipe");
    let mut value = [0_u32; 2];
    assert_eq!(result(&command(pipe.as_raw_fd(), op::SOCKET_URING_OP_SIOCINQ)), negated(Errno::OPNOTSUPP));
    let get = option(pipe.as_raw_fd(), false, SOL_SOCKET, SO_TYPE, &mut value);
    assert_eq!(result(&get), negated(Errno::OPNOTSUPP));
    let set = option(pipe.as_raw_fd(), true, SOL_SOCKET, SO_REUSEADDR, &mut value);
    assert_eq!(result(&set), negated(Errno::OPNOTSUPP));
    for unknown in [5, 6, 0xffff_ffff] {
        assert_eq!(result(&sqe(Opcode::UringCmd).with_fd(fd).with_off(unknown)), negated(Errno::OPNOTSUPP));
    }
    let timestamp = command(fd, op::SOCKET_URING_OP_TX_TIMESTAMP);
    assert_eq!(result(&timestamp), negated(Errno::INVAL), "only on rings with 32-byte CQEs");
}

#[test]
fn command_fields_are_refused_as_linux_refuses_them() {
    let good = sqe(Opcode::UringCmd);
    for bad in [
        good.with_off(1 << 32),
        good.with_op_flags(2),
        good.with_op_flags(1 << 31),
        good.with_flags(SqeFlags::BUFFER_SELECT),
    ] {
        assert_eq!(refusal(&bad), Some(Errno::INVAL), "{bad:?}");
    }
    let context = Prepare { setup: SetupFlags::empty(), limits_request: false };
    for ignored in [good.with_op_flags(1), good.with_len(1), good.with_buf_index(1), good.with_pad2(5)] {
        assert!(Operation::prepare(&ignored, &context).is_ok(), "{ignored:?}");
    }
}
