//! SEND and RECV, attempted directly.

mod file_support;
mod net_support;

use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

use file_support::{LIMIT, address, attempt, done, negated, on_a_worker, prepare, sqe};
use net_support::{
    MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL, NONEMPTY, assert_waits, attempt_buffered, finish, more, read,
    refusal, result, tcp_pair, transfer, unix_pair, wait_until_ready, write,
};
use ringer_abi::poll::{POLLIN, POLLOUT};
use ringer_abi::{Opcode, SqeFlags, uapi};
use ringer_ops::{Buffer, Patience};
use ringer_sys::{Errno, UserAddress};

const POLL_FIRST: u16 = uapi::IORING_RECVSEND_POLL_FIRST as u16;
const MULTISHOT: u16 = uapi::IORING_RECV_MULTISHOT as u16;

#[test]
fn bytes_go_over_and_a_short_receive_is_no_failure() {
    let (here, there) = unix_pair();
    let mut memory = *b"hello";
    assert_eq!(result(&transfer(Opcode::Send, here.as_raw_fd(), &mut memory, 0)), 5);
    let mut target = [0; 8];
    let completion = finish(&transfer(Opcode::Recv, there.as_raw_fd(), &mut target, 0));
    assert_eq!((completion.result, completion.flags, completion.fails_link), (5, 0, false));
    assert_eq!(&target[..5], b"hello");
}

#[test]
fn a_stream_with_more_to_read_says_so() {
    let (tcp, tcp_peer) = tcp_pair();
    let (unix, unix_peer) = unix_pair();
    let to_tcp = |bytes: &[u8]| write(&tcp_peer, bytes);
    let to_unix = |bytes: &[u8]| write(&unix_peer, bytes);
    type Sender<'a> = &'a dyn Fn(&[u8]);
    let streams: [(_, Sender<'_>); 2] = [(tcp.as_raw_fd(), &to_tcp), (unix.as_raw_fd(), &to_unix)];
    for (fd, send) in streams {
        send(b"abcdefghijkl");
        let mut target = [0; 8];
        let recv = transfer(Opcode::Recv, fd, &mut target, 0);
        let first = finish(&recv);
        assert_eq!((first.result, first.flags), (8, NONEMPTY));
        let peek = finish(&recv.with_op_flags(MSG_PEEK));
        assert_eq!((peek.result, peek.flags), (4, NONEMPTY));
        let last = finish(&recv);
        assert_eq!((last.result, last.flags), (4, 0));
    }
    // A datagram socket does not tell.
    let (here, there) = UnixDatagram::pair().expect("a socket pair");
    there.send(b"abcd").expect("room");
    there.send(b"abcd").expect("room");
    let mut target = [0; 4];
    assert_eq!(finish(&transfer(Opcode::Recv, here.as_raw_fd(), &mut target, 0)).flags, 0);
}

#[test]
fn the_end_of_a_tcp_stream_counts_as_something_to_read() {
    let (tcp, tcp_peer) = tcp_pair();
    drop(tcp_peer);
    let mut target = [0; 8];
    let recv = transfer(Opcode::Recv, tcp.as_raw_fd(), &mut target, 0);
    let end = finish(&recv);
    assert_eq!((end.result, end.flags, end.fails_link), (0, NONEMPTY, false));
    let (unix, unix_peer) = unix_pair();
    drop(unix_peer);
    let end = finish(&recv.with_fd(unix.as_raw_fd()));
    assert_eq!((end.result, end.flags), (0, 0));
}

#[test]
fn what_is_not_there_is_waited_for_unless_the_program_says_no() {
    let (here, there) = unix_pair();
    let fd = here.as_raw_fd();
    let mut target = [0; 8];
    let recv = transfer(Opcode::Recv, fd, &mut target, 0);
    for nonblocking in [false, true] {
        here.set_nonblocking(nonblocking).expect("a socket");
        let mut operation = prepare(&recv).expect("a good request");
        assert_waits(&attempt(&mut operation, fd, Patience::None), POLLIN);
        write(&there, b"late");
        assert_eq!(done(attempt(&mut operation, fd, Patience::None)).result, 4);
        assert_eq!(result(&recv.with_op_flags(MSG_DONTWAIT)), negated(Errno::AGAIN));
    }
    here.set_nonblocking(true).expect("a socket");
    while std::io::Write::write(&mut &here, &[0; 4096]).is_ok() {}
    let send = transfer(Opcode::Send, fd, &mut target, 0);
    let mut operation = prepare(&send).expect("a good request");
    assert_waits(&attempt(&mut operation, fd, Patience::None), POLLOUT);
    assert_eq!(result(&send.with_op_flags(MSG_DONTWAIT)), negated(Errno::AGAIN));
}

#[test]
fn a_receive_of_all_goes_on_until_all_is_there() {
    let (here, there) = unix_pair();
    let fd = here.as_raw_fd();
    let mut target = [0; 8];
    let recv = transfer(Opcode::Recv, fd, &mut target, MSG_WAITALL);
    let mut operation = prepare(&recv).expect("a good request");
    write(&there, b"abcd");
    assert_waits(&attempt(&mut operation, fd, Patience::None), POLLIN);
    write(&there, b"efgh");
    let completion = done(attempt(&mut operation, fd, Patience::None));
    assert_eq!((completion.result, completion.fails_link), (8, false));
    assert_eq!(&target, b"abcdefgh");

    write(&there, b"abcd");
    let impatient = finish(&recv.with_op_flags(MSG_WAITALL | MSG_DONTWAIT));
    assert_eq!((impatient.result, impatient.fails_link), (4, true));

    let mut operation = prepare(&recv).expect("a good request");
    write(&there, b"abcd");
    assert_waits(&attempt(&mut operation, fd, Patience::None), POLLIN);
    drop(there);
    let completion = done(attempt(&mut operation, fd, Patience::None));
    assert_eq!((completion.result, completion.fails_link), (4, true));
    let completion = finish(&recv);
    assert_eq!((completion.result, completion.fails_link), (0, true));
}

#[test]
fn a_datagram_is_never_more_than_one_part() {
    let (here, there) = UnixDatagram::pair().expect("a socket pair");
    let mut target = [0; 8];
    let recv = transfer(Opcode::Recv, here.as_raw_fd(), &mut target, MSG_WAITALL);
    there.send(b"abcd").expect("room");
    let short = finish(&recv);
    assert_eq!((short.result, short.fails_link), (4, true));
    there.send(b"abcdefghijkl").expect("room");
    let cut = finish(&recv);
    assert_eq!((cut.result, cut.fails_link), (8, true));
    there.send(b"abcdefghijkl").expect("room");
    let cut = finish(&recv.with_op_flags(0));
    assert_eq!((cut.result, cut.fails_link), (8, false));
}

#[test]
fn a_send_of_all_goes_on_while_the_peer_reads() {
    const SIZE: usize = 1 << 20;
    let (here, there) = unix_pair();
    let reader = on_a_worker(move || read(&there, SIZE).iter().map(|byte| u64::from(*byte)).sum::<u64>());
    let mut memory: Vec<u8> = (0..SIZE).map(|index| index as u8).collect();
    let expected: u64 = memory.iter().map(|byte| u64::from(*byte)).sum();
    let completion = finish(&transfer(Opcode::Send, here.as_raw_fd(), &mut memory, MSG_WAITALL));
    assert_eq!((completion.result, completion.fails_link), (SIZE as i32, false));
    assert_eq!(reader.recv_timeout(LIMIT), Ok(expected));
}

#[test]
fn a_send_without_a_peer_fails_without_a_signal() {
    const SIGPIPE: u64 = 13;
    let (here, there) = unix_pair();
    drop(there);
    // A blocked signal is kept even if it is ignored, as the Rust runtime does with this one.
    let before = ringer_sys::native::set_signal_mask(1 << (SIGPIPE - 1)).expect("a valid mask");
    let mut memory = *b"lost";
    let completion = finish(&transfer(Opcode::Send, here.as_raw_fd(), &mut memory, 0));
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("a mounted /proc");
    ringer_sys::native::set_signal_mask(before).expect("the mask from before");
    assert_eq!((completion.result, completion.fails_link), (negated(Errno::PIPE), true));
    let pending = status.lines().find(|line| line.starts_with("SigPnd:")).expect("part of every status");
    assert!(pending.ends_with("0000000000000000"), "{pending}");
}

#[test]
fn polling_first_means_an_attempt_only_after_a_report() {
    let (here, there) = unix_pair();
    let fd = here.as_raw_fd();
    write(&there, b"abcd");
    let mut target = [0; 8];
    let recv = transfer(Opcode::Recv, fd, &mut target, 0).with_ioprio(POLL_FIRST);
    let mut operation = prepare(&recv).expect("a good request");
    assert_waits(&attempt(&mut operation, fd, Patience::None), POLLIN);
    assert_eq!(done(attempt(&mut operation, fd, Patience::None)).result, 4);
    assert_eq!(result(&recv.with_op_flags(MSG_DONTWAIT)), negated(Errno::AGAIN));
    let mut operation = prepare(&recv.with_opcode(Opcode::Send.number())).expect("a good request");
    assert_waits(&attempt(&mut operation, fd, Patience::None), POLLOUT);
}

#[test]
fn a_provided_buffer_is_filled_up_to_the_limit_and_kept_after_a_part() {
    let (here, there) = unix_pair();
    let fd = here.as_raw_fd();
    let mut provided = [0_u8; 16];
    let buffer = Buffer { address: UserAddress::of(&raw mut provided), length: 16 };
    let recv = sqe(Opcode::Recv).with_fd(fd).with_flags(SqeFlags::BUFFER_SELECT);
    let mut operation = prepare(&recv.with_len(3)).expect("a good request");
    let (outcome, used) = attempt_buffered(&mut operation, fd, Some(buffer));
    assert_waits(&outcome, POLLIN);
    assert!(!used);
    write(&there, b"abcd");
    let (outcome, _) = attempt_buffered(&mut operation, fd, Some(buffer));
    assert_eq!(done(outcome).result, 3);

    let mut operation = prepare(&recv.with_op_flags(MSG_WAITALL)).expect("a good request");
    let (outcome, used) = attempt_buffered(&mut operation, fd, Some(buffer));
    assert_waits(&outcome, POLLIN);
    assert!(used, "one byte is in it");
    write(&there, &[b'x'; 15]);
    // Whatever the engine passes now: the transfer goes on in the buffer it began with.
    let other = Buffer { address: UserAddress::new(8), length: 16 };
    let (outcome, _) = attempt_buffered(&mut operation, fd, Some(other));
    assert_eq!(done(outcome).result, 16);
    assert_eq!(&provided, b"dxxxxxxxxxxxxxxx");
}

#[test]
fn a_send_takes_its_provided_buffer_whatever_comes_of_it() {
    let (here, there) = unix_pair();
    let provided = *b"0123456789";
    let buffer = Buffer { address: UserAddress::of(&raw const provided), length: 10 };
    let send = sqe(Opcode::Send).with_fd(here.as_raw_fd()).with_flags(SqeFlags::BUFFER_SELECT).with_len(4);
    let mut operation = prepare(&send).expect("a good request");
    let (outcome, used) = attempt_buffered(&mut operation, here.as_raw_fd(), Some(buffer));
    assert_eq!((done(outcome).result, used), (4, true));
    assert_eq!(read(&there, 4), provided[..4]);
    drop(there);
    let mut operation = prepare(&send).expect("a good request");
    let (outcome, used) = attempt_buffered(&mut operation, here.as_raw_fd(), Some(buffer));
    assert_eq!((done(outcome).result, used), (negated(Errno::PIPE), true));
}

#[test]
fn a_multishot_receive_goes_on_until_the_end() {
    let (here, there) = unix_pair();
    let fd = here.as_raw_fd();
    let mut provided = [0_u8; 8];
    let buffer = Some(Buffer { address: UserAddress::of(&raw mut provided), length: 8 });
    let recv = sqe(Opcode::Recv).with_fd(fd).with_flags(SqeFlags::BUFFER_SELECT).with_ioprio(MULTISHOT);
    let mut operation = prepare(&recv).expect("a good request");
    assert_waits(&attempt_buffered(&mut operation, fd, buffer).0, POLLIN);
    write(&there, b"abcdefghijkl");
    let first = more(attempt_buffered(&mut operation, fd, buffer).0);
    assert_eq!((first.result, first.flags), (8, NONEMPTY));
    let second = more(attempt_buffered(&mut operation, fd, buffer).0);
    assert_eq!((second.result, second.flags), (4, 0));
    // It is known to be empty, so that no buffer is needed before the next report.
    assert_waits(&attempt_buffered(&mut operation, fd, None).0, POLLIN);
    drop(there);
    wait_until_ready(fd, POLLIN);
    let (outcome, used) = attempt_buffered(&mut operation, fd, buffer);
    assert_eq!((done(outcome).result, used), (0, false));
    let mut impatient = prepare(&recv.with_op_flags(MSG_DONTWAIT)).expect("a good request");
    let (idle, _peer) = unix_pair();
    let (outcome, _) = attempt_buffered(&mut impatient, idle.as_raw_fd(), buffer);
    assert_eq!(done(outcome).result, negated(Errno::AGAIN));
}

#[test]
fn a_datagram_goes_to_the_address_given() {
    let here = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let there = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let port = there.local_addr().expect("it is bound").port().to_be_bytes();
    let name = [2_u8, 0, port[0], port[1], 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut memory = *b"to you";
    let send = transfer(Opcode::Send, here.as_raw_fd(), &mut memory, 0).with_off(address(&name));
    assert_eq!(result(&send.with_file_index(16)), 6);
    let mut target = [0; 8];
    assert_eq!(finish(&transfer(Opcode::Recv, there.as_raw_fd(), &mut target, 0)).result, 6);
    // An address of no length is a bad one.
    assert_eq!(result(&send), negated(Errno::INVAL));
    assert_eq!(result(&send.with_off(0)), negated(Errno::DESTADDRREQ));
    assert_eq!(refusal(&send.with_file_index(200)), Some(Errno::INVAL));
    assert_eq!(refusal(&send.with_off(8).with_file_index(16)), Some(Errno::FAULT));
}

#[test]
fn a_vector_is_sent_in_one_request() {
    let (here, there) = unix_pair();
    let parts = (*b"abc", *b"defg");
    let vector = [[address(&parts.0), 3], [address(&parts.1), 4]];
    let send = sqe(Opcode::Send)
        .with_fd(here.as_raw_fd())
        .with_addr(address(&vector))
        .with_len(2)
        .with_ioprio(uapi::IORING_SEND_VECTORIZED as u16);
    assert_eq!(result(&send), 7);
    assert_eq!(read(&there, 7), b"abcdefg");
    assert_eq!(result(&send.with_len(0)), 0);
    assert_eq!(refusal(&send.with_len(1025)), Some(Errno::INVAL));
    assert_eq!(refusal(&send.with_addr(8)), Some(Errno::FAULT));
}

#[test]
fn fields_are_refused_as_linux_refuses_them() {
    let mut memory = [0; 4];
    for opcode in [Opcode::Send, Opcode::Recv] {
        let good = transfer(opcode, 0, &mut memory, 0);
        for bit in [1, 2, 3, 6, 7, 8, 15] {
            assert_eq!(
                refusal(&good.with_ioprio(1 << bit)),
                Some(Errno::INVAL),
                "{opcode:?} ioprio bit {bit}"
            );
        }
        assert_eq!(refusal(&good.with_file_index(1 << 16)), Some(Errno::INVAL));
        assert_eq!(refusal(&good.with_len(1 << 31)), Some(Errno::INVAL));
        assert_eq!(refusal(&good.with_addr(0xffff_8000_0000_0000)), Some(Errno::FAULT));
        for ignored in
            [good.with_addr3(1), good.with_pad2(1), good.with_buf_index(1), good.with_op_flags(1 << 31)]
        {
            assert_eq!(refusal(&ignored), None);
        }
    }
    let recv = transfer(Opcode::Recv, 0, &mut memory, 0);
    assert_eq!(refusal(&recv.with_off(1)), Some(Errno::INVAL));
    assert_eq!(refusal(&recv.with_file_index(1)), Some(Errno::INVAL));
    let multishot = recv.with_ioprio(MULTISHOT);
    assert_eq!(refusal(&multishot), Some(Errno::INVAL), "no provided buffers");
    let multishot = multishot.with_flags(SqeFlags::BUFFER_SELECT);
    assert_eq!(refusal(&multishot), None);
    assert_eq!(refusal(&multishot.with_op_flags(MSG_WAITALL)), Some(Errno::INVAL));
    let (here, _there) = unix_pair();
    let bad = transfer(Opcode::Send, here.as_raw_fd(), &mut memory, 0).with_addr(8);
    assert_eq!(result(&bad), negated(Errno::FAULT));
    let [pipe, _write_end] = ringer_sys::call::pipe2(0).expect("a pipe");
    assert_eq!(result(&recv.with_fd(pipe.as_raw_fd())), negated(Errno::NOTSOCK));
}
