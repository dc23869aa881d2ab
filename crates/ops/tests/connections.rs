//! ACCEPT, CONNECT, SOCKET, BIND, LISTEN and SHUTDOWN, attempted directly.

mod file_support;
mod net_support;

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use file_support::{
    Directory, Registered, address, attempt, attempt_with, done, negated, opened, prepare, result_of, serve,
    sqe,
};
use net_support::{
    NONEMPTY, O_NONBLOCK, SOCK_CLOEXEC, assert_waits, finish, finish_operation, more, refusal, result,
    tcp_pair, unix_pair, wait_until_ready,
};
use ringer_abi::poll::{POLLIN, POLLOUT};
use ringer_abi::{Opcode, Sqe, uapi};
use ringer_ops::{Outcome, Patience};
use ringer_sys::{Errno, call};

const MULTISHOT: u16 = uapi::IORING_ACCEPT_MULTISHOT as u16;
const DONTWAIT: u16 = uapi::IORING_ACCEPT_DONTWAIT as u16;
const POLL_FIRST: u16 = uapi::IORING_ACCEPT_POLL_FIRST as u16;
const ALLOCATE: u32 = u32::MAX;
const F_GETFL: u32 = 3;
const AF_INET: i32 = 2;
const SOCK_STREAM: u64 = 1;

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")
}

fn connect_to(listener: &TcpListener) -> TcpStream {
    TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens")
}

fn accept(listener: &impl AsRawFd) -> Sqe {
    sqe(Opcode::Accept).with_fd(listener.as_raw_fd())
}

/// `struct sockaddr_in` on the loopback interface.
fn name(port: u16) -> [u8; 16] {
    let port = port.to_be_bytes();
    [2, 0, port[0], port[1], 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// `struct sockaddr_un` of a path, with its length.
fn unix_name(path: &std::path::Path) -> (Vec<u8>, u64) {
    let mut name = vec![1, 0];
    name.extend_from_slice(path.as_os_str().as_encoded_bytes());
    name.push(0);
    let length = name.len() as u64;
    (name, length)
}

fn connect(fd: RawFd, name: &[u8]) -> Sqe {
    sqe(Opcode::Connect).with_fd(fd).with_addr(address(name)).with_off(name.len() as u64)
}

fn is_nonblocking(fd: RawFd) -> bool {
    call::fcntl(fd, F_GETFL, 0).expect("an open file") as u32 & O_NONBLOCK != 0
}

#[test]
fn a_blocking_listener_is_polled_and_its_connections_are_taken_by_a_worker() {
    let listener = listener();
    let fd = listener.as_raw_fd();
    let mut operation = prepare(&accept(&listener)).expect("a good request");
    assert_waits(&attempt(&mut operation, fd, Patience::None), POLLIN);
    let client = connect_to(&listener);
    wait_until_ready(fd, POLLIN);
    assert!(matches!(attempt(&mut operation, fd, Patience::Brief), Outcome::Lend));
    let completion = done(attempt(&mut operation, fd, Patience::Unlimited));
    let accepted = opened(completion.result);
    assert_eq!(completion.flags, 0);
    assert!(!is_nonblocking(fd) && !is_nonblocking(accepted.0));
    // With nothing there even a worker does not wait in the call.
    let mut operation = prepare(&accept(&listener)).expect("a good request");
    assert_waits(&attempt(&mut operation, fd, Patience::Unlimited), POLLIN);
    drop(client);
}

#[test]
fn a_nonblocking_listener_is_asked_directly_and_still_waited_for() {
    let listener = listener();
    listener.set_nonblocking(true).expect("a socket");
    let fd = listener.as_raw_fd();
    let mut operation = prepare(&accept(&listener)).expect("a good request");
    assert_waits(&attempt(&mut operation, fd, Patience::None), POLLIN);
    let clients = (connect_to(&listener), connect_to(&listener));
    let completion = done(attempt(&mut operation, fd, Patience::None));
    let first = opened(completion.result);
    assert_eq!(completion.flags, NONEMPTY, "the second one waits");
    let (mut from, mut size) = ([0_u8; 32], 32_u32);
    let named = accept(&listener).with_addr(address(&raw mut from)).with_off(address(&raw mut size));
    let completion = finish(&named.with_op_flags(O_NONBLOCK | SOCK_CLOEXEC));
    let second = opened(completion.result);
    assert_eq!((completion.flags, size), (0, 16));
    assert_eq!(from[..16], name(clients.1.local_addr().expect("it is bound").port()));
    assert!(is_nonblocking(second.0) && !is_nonblocking(first.0));
}

#[test]
fn an_impatient_accept_does_not_wait() {
    let listener = listener();
    let impatient = accept(&listener).with_ioprio(DONTWAIT);
    assert_eq!(result(&impatient), negated(Errno::AGAIN));
    listener.set_nonblocking(true).expect("a socket");
    assert_eq!(result(&impatient), negated(Errno::AGAIN));
    let _client = connect_to(&listener);
    assert_eq!(result(&impatient.with_ioprio(DONTWAIT | POLL_FIRST)), negated(Errno::AGAIN));
    opened(result(&impatient));
    let mut patient = prepare(&accept(&listener).with_ioprio(POLL_FIRST)).expect("a good request");
    let _client = connect_to(&listener);
    assert_waits(&attempt(&mut patient, listener.as_raw_fd(), Patience::None), POLLIN);
    opened(done(attempt(&mut patient, listener.as_raw_fd(), Patience::None)).result);
}

#[test]
fn a_multishot_accept_takes_all_there_are_and_waits_for_more() {
    let listener = listener();
    listener.set_nonblocking(true).expect("a socket");
    let fd = listener.as_raw_fd();
    let _clients = (connect_to(&listener), connect_to(&listener));
    let mut operation = prepare(&accept(&listener).with_ioprio(MULTISHOT)).expect("a good request");
    let first = more(attempt(&mut operation, fd, Patience::None));
    let _first = opened(first.result);
    let second = more(attempt(&mut operation, fd, Patience::None));
    let _second = opened(second.result);
    assert_eq!((first.flags, second.flags), (NONEMPTY, 0));
    assert_waits(&attempt(&mut operation, fd, Patience::None), POLLIN);
    let _third_client = connect_to(&listener);
    let _third = opened(more(attempt(&mut operation, fd, Patience::None)).result);
    call::shutdown(fd, 2).expect("a listener");
    let end = done(finish_outcome(&mut operation, fd));
    assert_eq!((end.result, end.fails_link), (negated(Errno::INVAL), true));
}

/// Attempts until something else than waiting comes of it.
fn finish_outcome(operation: &mut ringer_ops::Operation, fd: RawFd) -> Outcome {
    loop {
        match attempt(operation, fd, Patience::None) {
            Outcome::WaitFor { events, .. } => wait_until_ready(fd, events),
            other => return other,
        }
    }
}

#[test]
fn connections_become_registered_files() {
    let listener = listener();
    listener.set_nonblocking(true).expect("a socket");
    let fd = listener.as_raw_fd();
    let files = Registered::with_slots(3);
    let accept_to = |slot: u32| {
        let mut operation = prepare(&accept(&listener).with_file_index(slot)).expect("a good request");
        done(attempt_with(&mut operation, fd, Patience::None, &files, None)).result
    };
    let mut clients: Vec<TcpStream> = (0..5).map(|_| connect_to(&listener)).collect();
    assert_eq!(accept_to(2), 0, "a slot that was named");
    assert_eq!((accept_to(ALLOCATE), accept_to(ALLOCATE)), (0, 2));
    assert_eq!(accept_to(ALLOCATE), negated(Errno::NFILE));
    assert_eq!(accept_to(9), negated(Errno::INVAL));
    assert_eq!(files.is_filled(), [true; 3]);
    // What could not be registered is closed.
    assert_eq!(clients[4].read(&mut [0]).expect("an orderly end"), 0);
}

#[test]
fn what_does_not_listen_is_refused_at_once() {
    let (connected, _peer) = tcp_pair();
    assert_eq!(finish(&accept(&connected)).result, negated(Errno::INVAL));
    let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    assert_eq!(finish(&accept(&datagrams)).result, negated(Errno::OPNOTSUPP));
    let [pipe, _write_end] = call::pipe2(0).expect("a pipe");
    assert_eq!(finish(&accept(&pipe)).result, negated(Errno::NOTSOCK));
}

#[test]
fn accept_fields_are_refused_as_linux_refuses_them() {
    let good = sqe(Opcode::Accept);
    for bad in [
        good.with_len(1),
        good.with_buf_index(1),
        good.with_ioprio(8),
        good.with_op_flags(1),
        good.with_op_flags(SOCK_CLOEXEC).with_file_index(1),
        good.with_op_flags(SOCK_CLOEXEC).with_file_index(ALLOCATE),
        good.with_ioprio(MULTISHOT).with_file_index(1),
    ] {
        assert_eq!(refusal(&bad), Some(Errno::INVAL), "{bad:?}");
    }
    for allowed in
        [good.with_addr3(1), good.with_pad2(1), good.with_ioprio(MULTISHOT).with_file_index(ALLOCATE)]
    {
        assert_eq!(refusal(&allowed), None);
    }
    let listener = listener();
    let _client = connect_to(&listener);
    wait_until_ready(listener.as_raw_fd(), POLLIN);
    assert_eq!(finish(&accept(&listener).with_addr(8)).result, negated(Errno::FAULT));
}

#[test]
fn a_connection_on_this_host_is_made_at_once_and_the_socket_stays_blocking() {
    let listener = listener();
    let here = name(listener.local_addr().expect("it is bound").port());
    let socket = opened(result(&sqe(Opcode::Socket).with_fd(AF_INET).with_off(SOCK_STREAM)));
    assert_eq!(result(&connect(socket.0, &here)), 0);
    assert!(!is_nonblocking(socket.0));
    assert_eq!(finish(&connect(socket.0, &here)).result, negated(Errno::ISCONN));
    let socket =
        opened(result(&sqe(Opcode::Socket).with_fd(AF_INET).with_off(SOCK_STREAM | u64::from(O_NONBLOCK))));
    assert_eq!(finish(&connect(socket.0, &here)).result, 0);
    assert!(is_nonblocking(socket.0));
    let free = name(self::listener().local_addr().expect("it is bound").port());
    let socket = opened(result(&sqe(Opcode::Socket).with_fd(AF_INET).with_off(SOCK_STREAM)));
    let refused = finish(&connect(socket.0, &free));
    assert_eq!((refused.result, refused.fails_link), (negated(Errno::CONNREFUSED), true));
    assert_eq!(finish(&connect(socket.0, &here)).result, 0, "the socket is as good as new");
}

#[test]
fn a_handshake_that_takes_time_is_waited_for() {
    let listener = opened(result(&sqe(Opcode::Socket).with_fd(AF_INET).with_off(SOCK_STREAM)));
    let bind = sqe(Opcode::Bind).with_fd(listener.0).with_addr(address(&name(0))).with_off(16);
    assert_eq!(result(&bind), 0);
    assert_eq!(result(&sqe(Opcode::Listen).with_fd(listener.0)), 0);
    let (mut here, mut size) = ([0_u8; 16], 16_u32);
    call::getsockname(
        listener.0,
        ringer_sys::UserAddress::of(&raw mut here),
        ringer_sys::UserAddress::of(&raw mut size),
    )
    .expect("a bound socket");
    // The queue holds one; the handshakes of the others are not answered until it is taken.
    let socket = || opened(result(&sqe(Opcode::Socket).with_fd(AF_INET).with_off(SOCK_STREAM)));
    let waiting: Vec<_> = (0..3)
        .map(|_| {
            let socket = socket();
            let mut operation = prepare(&connect(socket.0, &here)).expect("a good request");
            let outcome = attempt(&mut operation, socket.0, Patience::None);
            assert!(!is_nonblocking(socket.0));
            (socket, operation, outcome)
        })
        .collect();
    let (socket, mut operation, outcome) = waiting.into_iter().last().expect("there are three");
    assert_waits(&outcome, POLLOUT);
    assert_waits(&attempt(&mut operation, socket.0, Patience::Unlimited), POLLOUT);
    let accept = sqe(Opcode::Accept).with_fd(listener.0);
    let first = opened(finish(&accept).result);
    let second = opened(finish(&accept).result);
    assert_eq!(finish_operation(&mut operation, socket.0, &Registered::default()).result, 0);
    drop((first, second));
}

#[test]
fn a_full_unix_listener_is_for_a_worker() {
    let directory = Directory::new();
    let path = directory.path("socket");
    let listener = UnixListener::bind(&path).expect("a fresh name");
    assert_eq!(result(&sqe(Opcode::Listen).with_fd(listener.as_raw_fd())), 0);
    let _first = UnixStream::connect(&path).expect("the queue holds one");
    let (there, length) = unix_name(&path);
    const AF_UNIX: i32 = 1;
    let socket = opened(result(&sqe(Opcode::Socket).with_fd(AF_UNIX).with_off(SOCK_STREAM)));
    let request = connect(socket.0, &there).with_off(length);
    let mut operation = prepare(&request).expect("a good request");
    assert!(matches!(attempt(&mut operation, socket.0, Patience::Brief), Outcome::Punt));
    let fd = socket.0;
    let worker =
        file_support::on_a_worker(move || result_of(Ok(attempt(&mut operation, fd, Patience::Unlimited))));
    listener.accept().expect("the first one");
    assert_eq!(worker.recv_timeout(file_support::LIMIT), Ok(0));
    // A non-blocking socket gets the errno instead.
    let socket =
        opened(result(&sqe(Opcode::Socket).with_fd(AF_UNIX).with_off(SOCK_STREAM | u64::from(O_NONBLOCK))));
    assert_eq!(finish(&request.with_fd(socket.0)).result, negated(Errno::AGAIN));
}

#[test]
fn sockets_are_made_as_asked() {
    let good = sqe(Opcode::Socket).with_fd(AF_INET).with_off(SOCK_STREAM);
    for bad in [
        good.with_addr(1),
        good.with_op_flags(1),
        good.with_buf_index(1),
        good.with_off(SOCK_STREAM | 0x10),
        good.with_off(SOCK_STREAM | u64::from(SOCK_CLOEXEC)).with_file_index(1),
    ] {
        assert_eq!(refusal(&bad), Some(Errno::INVAL), "{bad:?}");
    }
    assert_eq!(result(&good.with_fd(-1)), negated(Errno::AFNOSUPPORT));
    assert_eq!(result(&good.with_len(0x101)), negated(Errno::PROTONOSUPPORT));
    let files = Registered::with_slots(2);
    let mut operation = prepare(&good.with_file_index(ALLOCATE)).expect("a good request");
    assert_eq!(done(attempt_with(&mut operation, AF_INET, Patience::None, &files, None)).result, 0);
    assert_eq!(done(attempt_with(&mut operation, AF_INET, Patience::None, &files, None)).result, 1);
    assert_eq!(result(&good.with_file_index(1)), negated(Errno::NXIO), "no registered files");
}

#[test]
fn addresses_are_copied_at_preparation() {
    for opcode in [Opcode::Connect, Opcode::Bind] {
        let some = name(9);
        let good = sqe(opcode).with_addr(address(&some)).with_off(16);
        assert_eq!(refusal(&good), None);
        assert_eq!(refusal(&good.with_addr(8)), Some(Errno::FAULT));
        for bad in [
            good.with_off(129),
            good.with_off(u64::MAX),
            good.with_len(1),
            good.with_buf_index(1),
            good.with_op_flags(1),
            good.with_file_index(1),
        ] {
            assert_eq!(refusal(&bad), Some(Errno::INVAL), "{bad:?}");
        }
        assert_eq!(refusal(&good.with_addr3(1).with_pad2(1)), None);
    }
}

#[test]
fn shutdown_ends_a_direction() {
    const WRITING: u32 = 1;
    let (here, mut there) = unix_pair();
    let good = sqe(Opcode::Shutdown).with_fd(here.as_raw_fd()).with_len(WRITING);
    assert!(matches!(serve(&good), Ok(Outcome::Done(completion)) if completion.result == 0));
    assert_eq!(there.read(&mut [0]).expect("an orderly end"), 0);
    assert_eq!(result(&good.with_len(0x101)), negated(Errno::INVAL));
    for bad in [
        good.with_off(1),
        good.with_addr(1),
        good.with_op_flags(1),
        good.with_buf_index(1),
        good.with_file_index(1),
    ] {
        assert_eq!(refusal(&bad), Some(Errno::INVAL));
        assert_eq!(refusal(&bad.with_opcode(Opcode::Listen.number())), Some(Errno::INVAL));
    }
}
