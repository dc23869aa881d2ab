//! URING_CMD on sockets.

use ringer_abi::uapi::io_uring_socket_op as op;
use ringer_abi::{Opcode, SetupFlags, Sqe, SqeFlags};

use crate::differential::kinds::KINDS;
use crate::differential::{Case, Session, prep};

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
const TIMESTAMP: u32 = op::SOCKET_URING_OP_TX_TIMESTAMP as u32;

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
        Case::new("uring-cmd/files", Opcode::UringCmd, |session| {
            for (label, kind) in KINDS {
                let ring = session.ring(8);
                let fd = kind(session, &ring);
                for number in [INPUT, GET, SET, TIMESTAMP, 77] {
                    // The time of a TCP socket is waited for.
                    if number != TIMESTAMP || !label.starts_with("TCP") {
                        session.one_recorded(format!("{label}: {number}"), &ring, command(fd, number));
                    }
                }
                session.fresh();
            }
            let ring = session.ring_with(8, SetupFlags::IOPOLL);
            let null = session.keep(std::fs::File::open("/dev/null").expect("a device"));
            session.one_recorded("/dev/null on an IOPOLL ring", &ring, command(null, 77));
            session.one_recorded("not open, on an IOPOLL ring", &ring, command(session.closed_fd(), 0));
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
        Case::new("uring-cmd/each-number", Opcode::UringCmd, |session| {
            for setup in [SetupFlags::empty(), SetupFlags::CQE32, SetupFlags::IOPOLL] {
                let ring = session.ring_with(8, setup);
                for (kind, socket) in [
                    ("TCP", session.tcp_socket()),
                    ("UDP", session.udp().0),
                    ("Unix", session.pair().0),
                    ("file", session.file(b"x")),
                    ("eventfd", session.eventfd(0)),
                    ("ring", session.ring(1).fd),
                ] {
                    let numbers = (0..10).filter(|number| *number != TIMESTAMP || kind == "file");
                    for number in numbers {
                        let label = format!("{number} of {kind}, {:#x}", setup.bits());
                        session.one_recorded(label, &ring, command(socket, number));
                    }
                }
                if !setup.contains(SetupFlags::CQE32) {
                    session.one_recorded("timestamps", &ring, command(session.udp().0, TIMESTAMP));
                }
            }
        }),
        Case::new("uring-cmd/flags", Opcode::UringCmd, |session| {
            let ring = session.ring(8);
            let input = command(session.udp().0, INPUT);
            for bits in [1, 2, 3, 4, 8] {
                session.one_recorded(format!("{bits}"), &ring, input.with_op_flags(bits));
                // A multishot command with buffers never ends, whatever came of it.
                if bits != 2 {
                    let selecting = input.with_op_flags(bits).with_flags(SqeFlags::BUFFER_SELECT);
                    session.one_recorded(format!("{bits} with buffers"), &ring, selecting);
                }
                session.one_recorded(
                    format!("{bits} with an index"),
                    &ring,
                    input.with_op_flags(bits).with_buf_index(3),
                );
            }
        }),
        Case::new("uring-cmd/timestamps", Opcode::UringCmd, |session| {
            timestamps(session, SetupFlags::CQE32);
        }),
        Case::new("uring-cmd/timestamps-on-a-mixed-ring", Opcode::UringCmd, |session| {
            timestamps(session, SetupFlags::CQE_MIXED);
        }),
    ]
}

/// Sends datagrams, and asks when they left.
fn timestamps(session: &Session, setup: SetupFlags) {
    const SO_TIMESTAMPING: u32 = 37;
    let ring = session.ring_with(16, setup);
    let (sender, _) = session.udp();
    let (_receiver, port) = session.udp();
    let to = std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port);
    let send = || {
        let sent = session.with_kept(sender, |fd| {
            rustix::net::sendto(fd, b"datagram", rustix::net::SendFlags::empty(), &to)
        });
        session.record("sent", sent.is_ok());
    };
    // Software times of transmission with numbers, without the data.
    let wanted = session.ints(&[1 << 1 | 1 << 4 | 1 << 7 | 1 << 8 | 1 << 11]);
    session.one_recorded(
        "ask for times",
        &ring,
        option(sender, SET, SOL_SOCKET, SO_TIMESTAMPING, wanted.addr(), 4),
    );
    send();
    ring.push(command(sender, TIMESTAMP).with_user_data(1));
    session.outcome("submit", ring.submit());
    let look = |label: &str, count: usize| {
        let mut seen = ring.collect(count);
        // The time itself is not the same twice.
        for cqe in &mut seen {
            cqe.extra = cqe.extra.map(|half| u64::from(half > 0));
        }
        session.cqes_in_order(label, &seen);
    };
    look("of the first datagram", 2);
    send();
    send();
    look("of two more", 4);
    session.quiet("no more", &ring);
    session.batch_of("cancelled", &ring, &[prep::cancel(1, 0).with_user_data(2)], 2);
    ring.push(command(sender, TIMESTAMP).with_user_data(3));
    session.outcome("submit", ring.submit());
    let unix = command(session.pair().0, TIMESTAMP).with_user_data(4);
    ring.push(unix);
    session.outcome("on a Unix socket", ring.submit());
    session.quiet("nothing to tell", &ring);
}
