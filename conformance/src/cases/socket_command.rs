//! URING_CMD on sockets.

use ringer_abi::uapi::io_uring_socket_op as op;
use ringer_abi::{Opcode, Sqe, SqeFlags};

use crate::differential::{Case, prep};

const SOL_SOCKET: u32 = 1;
const SO_TYPE: u32 = 3;
const SO_RCVBUF: u32 = 8;

/// A command; its number lies in the lower half of `off`.
fn command(fd: i32, number: u32) -> Sqe {
    prep::op(Opcode::UringCmd, fd).with_off(u64::from(number))
}

/// A command about an option.
fn option(fd: i32, number: u32, level: u32, name: u32, value: u64, size: u32) -> Sqe {
    command(fd, number)
        .with_addr(u64::from(level) | u64::from(name) << 32)
        .with_addr3(value)
        .with_file_index(size)
}

const INPUT: u32 = op::SOCKET_URING_OP_SIOCINQ as u32;
const OUTPUT: u32 = op::SOCKET_URING_OP_SIOCOUTQ as u32;
const GET: u32 = op::SOCKET_URING_OP_GETSOCKOPT as u32;
const SET: u32 = op::SOCKET_URING_OP_SETSOCKOPT as u32;

/// The cases of URING_CMD.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("uring-cmd/queues", Opcode::UringCmd, |session| {
            let ring = session.ring(8);
            let (left, right) = session.tcp_pair();
            session.write_fd(right, b"ten bytes.");
            session.one_recorded("input", &ring, command(left, INPUT));
            session.one_recorded("output", &ring, command(left, OUTPUT));
            session.one_recorded("async", &ring, command(left, INPUT).with_flags(SqeFlags::ASYNC));
            let (unix, _peer) = session.pair();
            session.one_recorded("Unix socket", &ring, command(unix, INPUT));
        }),
        Case::new("uring-cmd/options", Opcode::UringCmd, |session| {
            let ring = session.ring(8);
            let socket = session.tcp_socket();
            let value = session.ints(&[0, 0]);
            session.one_recorded("get", &ring, option(socket, GET, SOL_SOCKET, SO_TYPE, value.addr(), 4));
            session.bytes("value", &value.bytes());
            for size in [0, 1, 8] {
                let sqe = option(socket, GET, SOL_SOCKET, SO_TYPE, value.addr(), size);
                session.one_recorded(format!("get, {size} bytes"), &ring, sqe);
            }
            session.one_recorded("get, other level", &ring, option(socket, GET, 6, 1, value.addr(), 4));
            let bad = session.bad_address();
            session.one_recorded("get, bad", &ring, option(socket, GET, SOL_SOCKET, SO_TYPE, bad, 4));
            let wanted = session.ints(&[65536]);
            let set = option(socket, SET, SOL_SOCKET, SO_RCVBUF, wanted.addr(), 4);
            session.one_recorded("set", &ring, set);
            session.one_recorded("set, short", &ring, set.with_file_index(2));
            session.one_recorded("set, bad", &ring, set.with_addr3(bad));
            session.one_recorded("set, unknown", &ring, set.with_addr(u64::from(SOL_SOCKET) | 999 << 32));
        }),
        Case::new("uring-cmd/refused", Opcode::UringCmd, |session| {
            let ring = session.ring(8);
            let socket = session.tcp_socket();
            session.one_recorded("unknown command", &ring, command(socket, 999));
            session.one_recorded("negative descriptor", &ring, command(-1, INPUT));
            session.one_recorded("not open", &ring, command(19_999, INPUT));
            let (read, _write) = session.pipe();
            session.one_recorded("pipe", &ring, command(read, INPUT));
            let select = command(socket, INPUT).with_flags(SqeFlags::BUFFER_SELECT);
            session.one_recorded("buffer select", &ring, select);
            session.one_recorded(
                "upper half of off",
                &ring,
                prep::op(Opcode::UringCmd, socket).with_off(1 << 40),
            );
            session.one_recorded("unknown flag", &ring, command(socket, INPUT).with_op_flags(1 << 20));
            session.one_recorded("ioprio", &ring, command(socket, INPUT).with_ioprio(1));
        }),
    ]
}
