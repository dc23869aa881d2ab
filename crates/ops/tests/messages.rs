//! SENDMSG and RECVMSG, attempted directly.

mod file_support;
mod net_support;

use std::net::UdpSocket;
use std::os::fd::{AsRawFd, RawFd};

use file_support::{Descriptor, address, attempt, done, negated, prepare, sqe};
use net_support::{
    Header, MSG_CTRUNC, MSG_DONTWAIT, MSG_TRUNC, MSG_WAITALL, assert_waits, attempt_buffered, finish, more,
    read, refusal, result, tcp_pair, unix_pair, write,
};
use ringer_abi::poll::POLLIN;
use ringer_abi::{Opcode, Sqe, SqeFlags, uapi};
use ringer_ops::{Buffer, Completion, Outcome, Patience};
use ringer_sys::{Errno, UserAddress, call};

const MULTISHOT: u16 = uapi::IORING_RECV_MULTISHOT as u16;
const SOL_IP: u32 = 0;
const IP_PKTINFO: u32 = 8;

/// A header of segments alone.
fn header(segments: &[[u64; 2]]) -> Header {
    [0, 0, address(segments), segments.len() as u64, 0, 0, 0]
}

fn message(opcode: Opcode, fd: RawFd, header: &mut Header) -> Sqe {
    sqe(opcode).with_fd(fd).with_addr(address(&raw mut *header)).with_len(1)
}

/// `struct sockaddr_in` of a bound socket on the loopback interface.
fn name_of(socket: &UdpSocket) -> [u8; 16] {
    let port = socket.local_addr().expect("it is bound").port().to_be_bytes();
    [2, 0, port[0], port[1], 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
}

fn udp() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").expect("a free port")
}

#[test]
fn a_vector_goes_over_and_the_programs_header_gets_the_results() {
    let (here, there) = unix_pair();
    let parts = (*b"abc", *b"defgh");
    let mut sent = header(&[[address(&parts.0), 3], [address(&parts.1), 5]]);
    assert_eq!(result(&message(Opcode::Sendmsg, here.as_raw_fd(), &mut sent)), 8);
    let mut target = ([0_u8; 2], [0_u8; 6]);
    let segments = [[address(&raw mut target.0), 2], [address(&raw mut target.1), 6]];
    let mut received = header(&segments);
    received[6] = 0xffff_ffff;
    assert_eq!(finish(&message(Opcode::Recvmsg, there.as_raw_fd(), &mut received)).result, 8);
    assert_eq!((&target.0, &target.1), (b"ab", b"cdefgh"));
    assert_eq!(received[5..], [0, 0], "no control data, no flags");
}

#[test]
fn the_programs_vector_may_be_reused_after_preparation() {
    let (here, there) = unix_pair();
    let mut part = *b"stable";
    let mut segments = [[address(&raw mut part), 6], [0, 0]];
    let mut sent = header(&segments);
    let mut operation = prepare(&message(Opcode::Sendmsg, here.as_raw_fd(), &mut sent)).expect("good");
    segments[0] = [8, 100];
    sent = [8; 7];
    assert_eq!((segments[0][0], sent[0]), (8, 8));
    assert_eq!(done(attempt(&mut operation, here.as_raw_fd(), Patience::None)).result, 6);
    assert_eq!(read(&there, 6), b"stable");
}

#[test]
fn all_of_a_message_is_waited_for_across_its_segments() {
    let (here, there) = tcp_pair();
    let fd = here.as_raw_fd();
    let mut target = ([0_u8; 3], [0_u8; 5]);
    let segments = [[address(&raw mut target.0), 3], [address(&raw mut target.1), 5]];
    let mut received = header(&segments);
    let recv = message(Opcode::Recvmsg, fd, &mut received).with_op_flags(MSG_WAITALL);
    let mut operation = prepare(&recv).expect("a good request");
    for part in [b"a" as &[u8], b"bcd", b"ef"] {
        write(&there, part);
        net_support::wait_until_ready(fd, POLLIN);
        assert_waits(&attempt(&mut operation, fd, Patience::None), POLLIN);
    }
    write(&there, b"gh");
    net_support::wait_until_ready(fd, POLLIN);
    let completion = done(attempt(&mut operation, fd, Patience::None));
    assert_eq!((completion.result, completion.fails_link), (8, false));
    assert_eq!((&target.0, &target.1), (b"abc", b"defgh"));
}

#[test]
fn names_go_both_ways() {
    let (here, there) = (udp(), udp());
    let mut part = *b"hello";
    let segments = [[address(&raw mut part), 5]];
    let mut name = name_of(&there);
    let mut sent = header(&segments);
    (sent[0], sent[1]) = (address(&raw mut name), 16);
    assert_eq!(result(&message(Opcode::Sendmsg, here.as_raw_fd(), &mut sent)), 5);
    let mut from = [0_u8; 32];
    let mut received = header(&segments);
    (received[0], received[1]) = (address(&raw mut from), 32);
    assert_eq!(finish(&message(Opcode::Recvmsg, there.as_raw_fd(), &mut received)).result, 5);
    assert_eq!(received[1] as u32, 16);
    assert_eq!(from[..16], name_of(&here));
}

#[test]
fn descriptors_travel_in_control_data() {
    const SOL_SOCKET: u64 = 1;
    const SCM_RIGHTS: u64 = 1;
    let (here, there) = unix_pair();
    let (passed, other_end) = unix_pair();
    let mut part = *b"!";
    let segments = [[address(&raw mut part), 1]];
    let control = [20_u64, SOL_SOCKET | SCM_RIGHTS << 32, passed.as_raw_fd() as u64];
    let mut sent = header(&segments);
    (sent[4], sent[5]) = (address(&raw const control), 24);
    assert_eq!(result(&message(Opcode::Sendmsg, here.as_raw_fd(), &mut sent)), 1);
    let mut control = [0_u64; 3];
    let mut received = header(&segments);
    (received[4], received[5]) = (address(&raw mut control), 24);
    assert_eq!(finish(&message(Opcode::Recvmsg, there.as_raw_fd(), &mut received)).result, 1);
    assert_eq!(received[5], 24);
    let arrived = Descriptor(control[2] as RawFd);
    assert_ne!(arrived.0, passed.as_raw_fd());
    let mut memory = *b"through";
    let send = net_support::transfer(Opcode::Send, arrived.0, &mut memory, 0);
    assert_eq!(result(&send), 7);
    assert_eq!(read(&other_end, 7), b"through");
}

/// Receives one datagram of ten bytes into a buffer of 64 by a multishot request. Returns the result,
/// the four words before the name, and the rest of the buffer.
fn receive_in_parts(name_length: u64, control_length: u64, flags: u32) -> (i32, [u32; 4], Vec<u8>) {
    let (here, there) = (udp(), udp());
    let on = 1_u32;
    call::setsockopt(there.as_raw_fd(), SOL_IP, IP_PKTINFO, UserAddress::of(&raw const on), 4)
        .expect("a flag");
    here.send_to(b"ABCDEFGHIJ", there.local_addr().expect("it is bound")).expect("room");
    let mut received: Header = [0, name_length, 0, 0, 0, control_length, 0];
    let recv = message(Opcode::Recvmsg, there.as_raw_fd(), &mut received)
        .with_flags(SqeFlags::BUFFER_SELECT)
        .with_ioprio(MULTISHOT)
        .with_op_flags(flags);
    let mut operation = prepare(&recv).expect("a good request");
    let mut provided = [0xee_u8; 64];
    let buffer = Buffer { address: UserAddress::of(&raw mut provided), length: 64 };
    let (outcome, _) = attempt_buffered(&mut operation, there.as_raw_fd(), Some(buffer));
    let completion = more(outcome);
    let (words, rest) = provided.split_at(16);
    let words: Vec<u32> =
        words.chunks(4).map(|word| u32::from_ne_bytes(word.try_into().expect("four bytes"))).collect();
    (completion.result, words.try_into().expect("four words"), rest.to_vec())
}

#[test]
fn a_multishot_receive_lays_its_parts_out_in_the_buffer() {
    // The expected values were taken from Linux 6.18.
    let (result, words, rest) = receive_in_parts(0, 0, 0);
    assert_eq!((result, words, &rest[..10]), (26, [0, 0, 10, MSG_CTRUNC], b"ABCDEFGHIJ" as &[u8]));

    let (result, words, rest) = receive_in_parts(16, 0, 0);
    assert_eq!((result, words), (42, [16, 0, 10, MSG_CTRUNC]));
    assert_eq!(
        (&rest[..2], &rest[4..8], &rest[16..26]),
        (&[2, 0][..], &[127, 0, 0, 1][..], &b"ABCDEFGHIJ"[..])
    );

    let (result, words, rest) = receive_in_parts(8, 0, 0);
    assert_eq!((result, words), (34, [16, 0, 10, MSG_CTRUNC]), "the whole length of a name that was cut");
    assert_eq!(&rest[8..18], b"ABCDEFGHIJ");

    let (result, words, rest) = receive_in_parts(16, 28, 0);
    assert_eq!((result, words, &rest[44..]), (64, [16, 28, 4, MSG_TRUNC], b"ABCD" as &[u8]));
    assert_eq!(rest[16], 28, "the length of the first control message");

    let (result, words, _) = receive_in_parts(40, 0, MSG_TRUNC);
    assert_eq!((result, words), (64, [16, 0, 10, MSG_CTRUNC | MSG_TRUNC]));
}

#[test]
fn a_multishot_receive_ends_with_an_empty_message_or_too_small_a_buffer() {
    let (here, there) = unix_pair();
    let mut received: Header = [0; 7];
    let recv = message(Opcode::Recvmsg, here.as_raw_fd(), &mut received)
        .with_flags(SqeFlags::BUFFER_SELECT)
        .with_ioprio(MULTISHOT);
    let mut provided = [0_u8; 64];
    let mut buffer = Buffer { address: UserAddress::of(&raw mut provided), length: 15 };
    write(&there, b"abcd");
    let mut operation = prepare(&recv).expect("a good request");
    let (outcome, used) = attempt_buffered(&mut operation, here.as_raw_fd(), Some(buffer));
    assert_eq!((done(outcome).result, used), (negated(Errno::FAULT), false));
    buffer.length = 64;
    let mut operation = prepare(&recv).expect("a good request");
    let (outcome, _) = attempt_buffered(&mut operation, here.as_raw_fd(), Some(buffer));
    assert!(matches!(outcome, Outcome::Drained(Completion { result: 20, .. })), "{outcome:?}");
    drop(there);
    assert_eq!(done(attempt_buffered(&mut operation, here.as_raw_fd(), Some(buffer)).0).result, 16);
}

#[test]
fn bad_headers_are_refused_at_preparation() {
    let mut byte = *b"x";
    let good_segments = [[address(&raw mut byte), 1]];
    for opcode in [Opcode::Sendmsg, Opcode::Recvmsg] {
        let refused = |mut header: Header| refusal(&message(opcode, 0, &mut header));
        let good = header(&good_segments);
        let with = |index: usize, value: u64| {
            let mut changed = good;
            changed[index] = value;
            changed
        };
        assert_eq!(refused(good), None);
        assert_eq!(refusal(&sqe(opcode).with_addr(8)), Some(Errno::FAULT));
        assert_eq!(refused(with(2, 8)), Some(Errno::FAULT));
        assert_eq!(refused(with(3, 1025)), Some(Errno::MSGSIZE));
        assert_eq!(refused(header(&[[8, u64::MAX]])), Some(Errno::INVAL));
        assert_eq!(refused(header(&[[0xffff_8000_0000_0000, 1]])), Some(Errno::FAULT));
        let mut negative = with(1, 0xffff_ffff);
        assert_eq!(refused(negative), None, "the length of no name");
        negative[0] = address(&raw mut byte);
        assert_eq!(refused(negative), Some(Errno::INVAL));
        let mut copy = good;
        let message = message(opcode, 0, &mut copy);
        for bit in [1, 2, 3, 4, 6, 15] {
            assert_eq!(refusal(&message.with_ioprio(1 << bit)), Some(Errno::INVAL), "{opcode:?} bit {bit}");
        }
        assert_eq!(refusal(&message.with_off(1)), Some(Errno::INVAL));
        assert_eq!(refusal(&message.with_file_index(1)), Some(Errno::INVAL));
        for ignored in
            [message.with_len(77), message.with_addr3(1), message.with_pad2(1), message.with_buf_index(1)]
        {
            assert_eq!(refusal(&ignored), None);
        }
    }
    let mut named: Header = [8, 16, address(&good_segments), 1, 0, 0, 0];
    assert_eq!(refusal(&message(Opcode::Sendmsg, 0, &mut named)), Some(Errno::FAULT));
    let two = [[0, 1], [0, 1]];
    let selecting =
        |header: &mut Header| message(Opcode::Recvmsg, 0, header).with_flags(SqeFlags::BUFFER_SELECT);
    assert_eq!(refusal(&selecting(&mut header(&two))), Some(Errno::INVAL));
    let mut long: Header = [0, 0xffff_ffff, 0, 0, 0, 0, 0];
    assert_eq!(refusal(&selecting(&mut long).with_ioprio(MULTISHOT)), Some(Errno::OVERFLOW));
    long = [0, 0, 0, 0, 0, 0x7fff_ffff, 0];
    assert_eq!(refusal(&selecting(&mut long).with_ioprio(MULTISHOT)), Some(Errno::OVERFLOW));
}

#[test]
fn results_that_cannot_be_written_are_a_fault() {
    const PROT_READ: u32 = 1;
    let (here, there) = unix_pair();
    let memory = ringer_sys::native::map_anonymous(4096).expect("a page");
    let mut target = [0_u8; 4];
    let segments = [[address(&raw mut target), 4]];
    memory.write(header(&segments)).expect("a page of ours");
    ringer_sys::native::protect(memory, 4096, PROT_READ).expect("a page of ours");
    write(&there, b"abcd");
    let recv = sqe(Opcode::Recvmsg).with_fd(here.as_raw_fd()).with_addr(memory.get());
    assert_eq!(finish(&recv).result, negated(Errno::FAULT));
    assert_eq!(result(&recv.with_op_flags(MSG_DONTWAIT)), negated(Errno::AGAIN), "the bytes are gone");
    ringer_sys::native::unmap(memory, 4096).expect("a page of ours");
}
