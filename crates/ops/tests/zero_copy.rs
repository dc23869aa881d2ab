//! SEND_ZC and SENDMSG_ZC, attempted directly: two CQEs, whatever happens.

mod file_support;
mod net_support;

use std::os::fd::{AsRawFd, RawFd};

use file_support::{Registered, address, attempt, attempt_with, done, negated, prepare, sqe};
use net_support::{
    Header, MSG_DONTWAIT, assert_waits, more, read, refusal, tcp_pair, unix_pair, wait_until_ready,
};
use ringer_abi::poll::POLLOUT;
use ringer_abi::{Opcode, Sqe, SqeFlags, uapi};
use ringer_ops::{Attempt, Completion, Outcome, Patience};
use ringer_sys::Errno;

const NOTIF: u32 = uapi::IORING_CQE_F_NOTIF;
const COPIED: i32 = uapi::IORING_NOTIF_USAGE_ZC_COPIED as i32;
const REPORT_USAGE: u16 = uapi::IORING_SEND_ZC_REPORT_USAGE as u16;
const FIXED_BUFFER: u16 = uapi::IORING_RECVSEND_FIXED_BUF as u16;
const VECTORIZED: u16 = uapi::IORING_SEND_VECTORIZED as u16;
const BUNDLE: u16 = uapi::IORING_RECVSEND_BUNDLE as u16;

fn send(fd: RawFd, memory: &[u8]) -> Sqe {
    sqe(Opcode::SendZc).with_fd(fd).with_addr(address(memory)).with_len(memory.len() as u32)
}

/// Serves a request that needs no wait: its result and its notification.
fn both(sqe: &Sqe, registered: &Registered) -> (Completion, Completion) {
    let mut operation = prepare(sqe).expect("what is wrong is told by the first CQE");
    let first = more(attempt_with(&mut operation, sqe.fd(), Patience::None, registered, None));
    let notification = done(attempt_with(&mut operation, sqe.fd(), Patience::None, registered, None));
    assert_eq!(notification.flags, NOTIF);
    (first, notification)
}

fn results(sqe: &Sqe) -> (i32, i32) {
    let (first, notification) = both(sqe, &Registered::default());
    (first.result, notification.result)
}

#[test]
fn a_send_has_a_result_and_a_notification() {
    let (here, there) = tcp_pair();
    let memory = *b"zero copies";
    let good = send(here.as_raw_fd(), &memory);
    let (first, notification) = both(&good, &Registered::default());
    assert_eq!((first.result, first.flags, notification.result), (11, 0, 0));
    assert!(!notification.fails_link);
    assert_eq!(read(&there, 11), memory);
    assert_eq!(results(&good.with_ioprio(REPORT_USAGE)), (11, COPIED));
    let segments = [[address(&memory), 4], [address(&memory), 7]];
    let mut header: Header = [0, 0, address(&segments), 2, 0, 0, 0];
    let message =
        sqe(Opcode::SendmsgZc).with_fd(here.as_raw_fd()).with_addr(address(&raw mut header)).with_len(1);
    assert_eq!(results(&message), (11, 0));
    assert_eq!(results(&message.with_ioprio(REPORT_USAGE)), (11, COPIED));
    let vector = good.with_ioprio(VECTORIZED).with_addr(address(&segments)).with_len(2);
    assert_eq!(results(&vector), (11, 0));
}

#[test]
fn an_error_has_a_notification_too_and_fails_the_link_at_the_end() {
    let (here, _there) = tcp_pair();
    let memory = [0; 8];
    let good = send(here.as_raw_fd(), &memory);
    let (first, notification) = both(&good.with_addr(8), &Registered::default());
    assert_eq!((first.result, notification.result), (negated(Errno::FAULT), 0));
    assert!(notification.fails_link);
    // The pairs were taken from Linux 6.18.
    assert_eq!(results(&good.with_addr(8).with_ioprio(REPORT_USAGE)), (negated(Errno::FAULT), 0));
    let kernel = good.with_addr(0xffff_8000_0000_0000).with_ioprio(REPORT_USAGE);
    assert_eq!(results(&kernel), (negated(Errno::FAULT), COPIED));
    let long_name = good.with_off(address(&memory)).with_file_index(200);
    assert_eq!(results(&long_name), (negated(Errno::INVAL), 0));
    assert_eq!(results(&good.with_ioprio(BUNDLE)), (negated(Errno::INVAL), 0));
    assert_eq!(results(&good.with_ioprio(1 << 6)), (negated(Errno::INVAL), 0));
    assert_eq!(results(&good.with_file_index(1 << 16)), (negated(Errno::INVAL), 0));
    assert_eq!(
        results(&good.with_opcode(Opcode::SendmsgZc.number()).with_addr(8)),
        (negated(Errno::FAULT), 0)
    );
    let (unix, _peer) = unix_pair();
    assert_eq!(results(&good.with_fd(unix.as_raw_fd())), (negated(Errno::OPNOTSUPP), 0));
    let [pipe, _write_end] = ringer_sys::call::pipe2(0).expect("a pipe");
    assert_eq!(results(&good.with_fd(pipe.as_raw_fd())), (negated(Errno::NOTSOCK), 0));
}

#[test]
fn some_fields_are_refused_without_a_notification() {
    for opcode in [Opcode::SendZc, Opcode::SendmsgZc] {
        let good = sqe(opcode);
        for bad in [good.with_addr3(1), good.with_pad2(1), good.with_flags(SqeFlags::CQE_SKIP_SUCCESS)] {
            assert_eq!(refusal(&bad), Some(Errno::INVAL));
        }
    }
}

#[test]
fn a_registered_buffer_must_hold_the_bytes() {
    let (here, _there) = tcp_pair();
    let memory = [0; 64];
    let registered = Registered { buffer: Some((address(&memory), 32)), ..Registered::default() };
    let good = send(here.as_raw_fd(), &memory[..8]).with_ioprio(FIXED_BUFFER);
    let first = |sqe: &Sqe| both(sqe, &registered).0.result;
    assert_eq!(first(&good), 8);
    assert_eq!(first(&good.with_addr(address(&memory) + 30)), negated(Errno::FAULT));
    assert_eq!(first(&good.with_buf_index(1)), negated(Errno::FAULT));
    let segments = [[address(&memory), 4], [address(&memory) + 8, 4]];
    let mut header: Header = [0, 0, address(&segments), 2, 0, 0, 0];
    let message =
        good.with_opcode(Opcode::SendmsgZc.number()).with_addr(address(&raw mut header)).with_len(1);
    assert_eq!(first(&message), 8);
    assert_eq!(first(&message.with_buf_index(1)), negated(Errno::FAULT));
}

#[test]
fn room_is_waited_for_and_a_cancelled_send_still_notifies() {
    let (here, there) = tcp_pair();
    here.set_nonblocking(true).expect("a socket");
    let fd = here.as_raw_fd();
    let mut sent = 0;
    // Twice: the peer takes in what was on its way.
    for _ in 0..2 {
        while let Ok(bytes) = std::io::Write::write(&mut &here, &[0; 1 << 16]) {
            sent += bytes;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let memory = *b"at last";
    let good = send(fd, &memory);
    let mut patient = prepare(&good).expect("a good request");
    let mut cancelled = prepare(&good).expect("a good request");
    assert_eq!(results(&good.with_op_flags(MSG_DONTWAIT)).0, negated(Errno::AGAIN));
    assert_waits(&attempt(&mut patient, fd, Patience::None), POLLOUT);
    assert_waits(&attempt(&mut cancelled, fd, Patience::None), POLLOUT);
    let first = more(cancelled.refuse(Errno::CANCELED));
    assert_eq!(first.result, negated(Errno::CANCELED));
    let notification = done(attempt(&mut cancelled, -1, Patience::None));
    assert_eq!((notification.result, notification.flags, notification.fails_link), (0, NOTIF, true));
    read(&there, sent);
    let first = loop {
        match attempt(&mut patient, fd, Patience::None) {
            Outcome::WaitFor { events, .. } => wait_until_ready(fd, events),
            other => break more(other),
        }
    };
    assert_eq!(first.result, 7);
    // A cancellation that comes between the two CQEs changes neither.
    let notification = done(patient.refuse(Errno::CANCELED));
    assert_eq!((notification.result, notification.flags, notification.fails_link), (0, NOTIF, false));
}
