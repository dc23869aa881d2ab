//! Operations on pipes and on what can be waited for, attempted directly.

mod file_support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use file_support::{
    Directory, LIMIT, Registered, address, attempt, attempt_with, done, negated, on_a_worker, opened,
    prepare, result_of, serve, sqe,
};
use ringer_abi::poll::{POLLIN, POLLOUT};
use ringer_abi::{Opcode, Sqe, SqeFlags};
use ringer_ops::{Buffer, Operation, Outcome, Patience, Until};
use ringer_sys::{Errno, UserAddress, call};

const O_NONBLOCK: u32 = 0o4000;
const SPLICE_F_NONBLOCK: u32 = 2;
const FD_IN_FIXED: u32 = 1 << 31;
const F_SETFL: u32 = 4;
const F_SETPIPE_SZ: u32 = 1031;
const NO_OFFSET: u64 = u64::MAX;

/// A pipe: the read end and the write end.
fn pipe() -> (File, File) {
    let [read, write] = call::pipe2(0).expect("a pipe");
    (read.into(), write.into())
}

/// A pipe of one page, full.
fn full_pipe() -> (File, File) {
    let (read, mut write) = pipe();
    call::fcntl(write.as_raw_fd(), F_SETPIPE_SZ, 4096).expect("a smaller pipe");
    write.write_all(&[b'x'; 4096]).expect("as much as it holds");
    (read, write)
}

fn splice(input: &impl AsRawFd, output: &impl AsRawFd, bytes: u32) -> Sqe {
    sqe(Opcode::Splice)
        .with_fd(output.as_raw_fd())
        .with_file_index(input.as_raw_fd() as u32)
        .with_addr(NO_OFFSET)
        .with_off(NO_OFFSET)
        .with_len(bytes)
}

fn tee(input: &impl AsRawFd, output: &impl AsRawFd, bytes: u32) -> Sqe {
    splice(input, output, bytes).with_opcode(Opcode::Tee.number()).with_addr(0).with_off(0)
}

fn set_nonblocking(file: &impl AsRawFd) {
    call::fcntl(file.as_raw_fd(), F_SETFL, O_NONBLOCK as usize).expect("an open file");
}

fn events(outcome: Outcome) -> u32 {
    match outcome {
        Outcome::WaitFor { events, until: Until::Ready | Until::ReadyAgain } => events,
        other => panic!("not waiting: {other:?}"),
    }
}

fn is_same_file(left: RawFd, right: RawFd) -> bool {
    let name = |fd| std::fs::read_link(format!("/proc/self/fd/{fd}")).expect("an open file");
    name(left) == name(right)
}

#[test]
fn bytes_move_between_pipes() {
    let ((input, mut to_input), (mut from_output, output)) = (pipe(), pipe());
    to_input.write_all(b"hello world").expect("room in the pipe");
    let mut operation = prepare(&splice(&input, &output, 5)).expect("a good SQE");
    let completion = done(attempt(&mut operation, output.as_raw_fd(), Patience::None));
    assert_eq!((completion.result, completion.fails_link), (5, false));
    let mut read = [0; 5];
    from_output.read_exact(&mut read).expect("they are there");
    assert_eq!(&read, b"hello");
    // Less than wanted fails the link.
    let mut operation = prepare(&splice(&input, &output, 50)).expect("a good SQE");
    let completion = done(attempt(&mut operation, output.as_raw_fd(), Patience::None));
    assert_eq!((completion.result, completion.fails_link), (6, true));
    drop(to_input);
    assert_eq!(result_of(serve(&splice(&input, &output, 5))), 0);
}

#[test]
fn splice_waits_for_the_end_that_is_not_ready() {
    type Make = fn(&File, &File, u32) -> Sqe;
    let kinds: [(Make, bool); 2] = [(splice, false), (tee, true)];
    for (make, is_tee) in kinds {
        let ((input, mut to_input), (mut from_output, output)) = (pipe(), full_pipe());
        let mut operation = prepare(&make(&input, &output, 3)).expect("a good SQE");
        let fd = output.as_raw_fd();
        assert_eq!(events(attempt(&mut operation, fd, Patience::None)), POLLIN);
        let waits_for = operation.waits_for().expect("the input, not the output");
        assert!(is_same_file(waits_for, input.as_raw_fd()) && waits_for != input.as_raw_fd());
        // The request owns its input from now on: the program may close the number and use it again.
        drop(input);
        to_input.write_all(b"abc").expect("room in the pipe");
        assert_eq!(events(attempt(&mut operation, fd, Patience::None)), POLLOUT);
        assert_eq!(operation.waits_for(), None);
        from_output.read_exact(&mut [0; 4096]).expect("they are there");
        assert_eq!(done(attempt(&mut operation, fd, Patience::None)).result, 3);
        let mut moved = [0; 3];
        from_output.read_exact(&mut moved).expect("they are there");
        assert_eq!(&moved, b"abc");
        if is_tee {
            // Copied, not moved: the next attempt finds the same bytes.
            assert_eq!(done(attempt(&mut operation, fd, Patience::None)).result, 3);
        } else {
            assert_eq!(events(attempt(&mut operation, fd, Patience::None)), POLLIN);
        }
    }
}

#[test]
fn splice_does_not_wait_when_told_so() {
    let ((input, _to_input), (_from_output, output)) = (pipe(), pipe());
    let asks = splice(&input, &output, 3).with_op_flags(SPLICE_F_NONBLOCK);
    assert_eq!(result_of(serve(&asks)), negated(Errno::AGAIN));
    set_nonblocking(&output);
    assert_eq!(result_of(serve(&splice(&input, &output, 3))), negated(Errno::AGAIN));
    assert_eq!(result_of(serve(&tee(&input, &output, 3))), negated(Errno::AGAIN));
}

#[test]
fn splice_reports_what_is_wrong() {
    let directory = Directory::new();
    let path = directory.file("there", b"content");
    let file = File::options().read(true).write(true).open(path).expect("just made");
    let ((input, mut to_input), (from_output, output)) = (pipe(), pipe());
    to_input.write_all(b"abc").expect("room in the pipe");
    let result = |sqe: Sqe| result_of(serve(&sqe));
    let closed = 9999_u32;
    assert_eq!(result(splice(&input, &output, 3).with_file_index(closed)), negated(Errno::BADF));
    assert_eq!(result(splice(&input, &output, 0).with_file_index(closed)), negated(Errno::BADF));
    assert_eq!(result(splice(&input, &output, 0)), 0);
    assert_eq!(result(splice(&file, &file, 3)), negated(Errno::INVAL));
    assert_eq!(result(tee(&input, &file, 3)), negated(Errno::INVAL));
    assert_eq!(result(splice(&input, &output, 3).with_addr(0)), negated(Errno::SPIPE));
    assert_eq!(result(splice(&input, &output, 3).with_off(0)), negated(Errno::SPIPE));
    assert_eq!(result(splice(&input, &output, 3).with_op_flags(16)), negated(Errno::INVAL));
    assert_eq!(prepare(&tee(&input, &output, 3).with_off(5)).err(), Some(Errno::INVAL));
    drop(from_output);
    assert_eq!(result(splice(&input, &output, 3)), negated(Errno::PIPE));
}

#[test]
fn splice_between_a_file_and_a_pipe_needs_some_patience() {
    let directory = Directory::new();
    let path = directory.file("there", b"0123456789");
    let file = File::options().read(true).write(true).open(&path).expect("just made");
    let (mut read, write) = pipe();
    let out_of_the_file = splice(&file, &write, 4).with_addr(3);
    let mut operation = prepare(&out_of_the_file).expect("a good SQE");
    assert!(matches!(attempt(&mut operation, write.as_raw_fd(), Patience::None), Outcome::Punt));
    assert_eq!(done(attempt(&mut operation, write.as_raw_fd(), Patience::Brief)).result, 4);
    let mut bytes = [0; 4];
    read.read_exact(&mut bytes).expect("they are there");
    assert_eq!(&bytes, b"3456");
    // And back, to another place.
    let into_the_file = splice(&read, &file, 4).with_off(8);
    let mut operation = prepare(&into_the_file).expect("a good SQE");
    assert_eq!(events(attempt(&mut operation, file.as_raw_fd(), Patience::Brief)), POLLIN);
    assert!(operation.waits_for().is_some());
    (&write).write_all(b"abcd").expect("room in the pipe");
    assert_eq!(done(attempt(&mut operation, file.as_raw_fd(), Patience::Unlimited)).result, 4);
    assert_eq!(std::fs::read(path).expect("readable"), b"01234567abcd");
}

#[test]
fn splice_with_a_socket_waits_by_poll_and_moves_on_a_worker() {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
    let (mut read, write) = pipe();
    let mut operation = prepare(&splice(&ours, &write, 8)).expect("a good SQE");
    let fd = write.as_raw_fd();
    for patience in [Patience::Brief, Patience::Unlimited] {
        assert_eq!(events(attempt(&mut operation, fd, patience)), POLLIN);
        assert!(operation.waits_for().is_some_and(|file| is_same_file(file, ours.as_raw_fd())));
    }
    theirs.write_all(b"answer").expect("room in the socket");
    assert!(matches!(attempt(&mut operation, fd, Patience::Brief), Outcome::Punt));
    assert_eq!(done(attempt(&mut operation, fd, Patience::Unlimited)).result, 6);
    let mut bytes = [0; 6];
    read.read_exact(&mut bytes).expect("they are there");
    assert_eq!(&bytes, b"answer");
    // A socket that refuses to wait is asked inline.
    ours.set_nonblocking(true).expect("an open socket");
    assert_eq!(result_of(serve(&splice(&ours, &write, 8))), negated(Errno::AGAIN));
    theirs.write_all(b"more").expect("room in the socket");
    assert_eq!(result_of(serve(&splice(&ours, &write, 8))), 4);
}

#[test]
fn the_input_may_be_a_registered_file() {
    let ((input, mut to_input), (_from_output, output)) = (pipe(), pipe());
    to_input.write_all(b"abc").expect("room in the pipe");
    let registered = Registered::with_slots(2);
    registered.slots.borrow_mut()[1] = Some(OwnedFd::from(input));
    let result = |index| {
        let submitted = splice(&output, &output, 3).with_file_index(index).with_op_flags(FD_IN_FIXED);
        let mut operation = prepare(&submitted).expect("a good SQE");
        done(attempt_with(&mut operation, output.as_raw_fd(), Patience::None, &registered, None)).result
    };
    assert_eq!(result(0), negated(Errno::BADF));
    assert_eq!(result(1), 3);
}

#[test]
fn a_pipe_is_made() {
    let mut numbers = [-1_i32; 2];
    let numbers = UserAddress::of(&raw mut numbers);
    let make = sqe(Opcode::Pipe).with_addr(numbers.get());
    assert_eq!(result_of(serve(&make)), 0);
    let [read, write] = numbers.read::<[i32; 2]>().expect("a local").map(opened);
    let byte = 7_u8;
    assert_eq!(call::write(write.0, UserAddress::of(&raw const byte), 1), Ok(1));
    assert_eq!(call::poll_now(read.0, POLLIN as u16), Ok(POLLIN as u16));
    assert_eq!(result_of(serve(&make.with_addr(8))), negated(Errno::FAULT));
    assert_eq!(result_of(serve(&make.with_op_flags(1))), negated(Errno::INVAL));
    assert_eq!(result_of(serve(&make.with_fd(-1))), negated(Errno::INVAL));
}

#[test]
fn a_pipe_is_made_of_registered_files_or_not_at_all() {
    let mut numbers = [-1_i32; 2];
    let numbers = UserAddress::of(&raw mut numbers);
    let registered = Registered::with_slots(5);
    let make = |file_index, numbers: UserAddress| {
        let submitted = sqe(Opcode::Pipe).with_addr(numbers.get()).with_file_index(file_index);
        let mut operation = prepare(&submitted).expect("a good SQE");
        done(attempt_with(&mut operation, 0, Patience::None, &registered, None)).result
    };
    assert_eq!(make(1, numbers), 0);
    assert_eq!(numbers.read(), Ok([0, 1]));
    assert_eq!(make(u32::MAX, numbers), 0);
    assert_eq!(numbers.read(), Ok([2, 3]));
    // Only one slot is left: the first end is taken back.
    assert_eq!(make(u32::MAX, numbers), negated(Errno::NFILE));
    assert_eq!(make(5, numbers), negated(Errno::INVAL));
    assert_eq!(registered.is_filled(), [true, true, true, true, false]);
    registered.slots.borrow_mut()[3] = None;
    assert_eq!(make(4, UserAddress::new(8)), negated(Errno::FAULT));
    assert_eq!(registered.is_filled(), [true, true, true, false, false]);
}

#[test]
fn epoll_instances_are_changed_and_waited_for() {
    const ADD: u32 = 1;
    const DEL: u32 = 2;
    let epoll =
        rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).expect("an instance");
    let (read, mut write) = pipe();
    // Packed: events, then the data in two halves.
    let event = [POLLIN, 42, 0, 0];
    let control = sqe(Opcode::EpollCtl)
        .with_fd(epoll.as_raw_fd())
        .with_off(read.as_raw_fd() as u64)
        .with_addr(address(&raw const event));
    assert_eq!(result_of(serve(&control.with_len(ADD))), 0);
    assert_eq!(result_of(serve(&control.with_len(ADD))), negated(Errno::EXIST));

    let mut events_out = [0_u32; 8];
    let events_out = UserAddress::of(&raw mut events_out);
    let wait = sqe(Opcode::EpollWait).with_fd(epoll.as_raw_fd()).with_addr(events_out.get()).with_len(2);
    let mut operation = prepare(&wait).expect("a good SQE");
    assert_eq!(events(attempt(&mut operation, epoll.as_raw_fd(), Patience::None)), POLLIN);
    write.write_all(b"x").expect("room in the pipe");
    assert_eq!(done(attempt(&mut operation, epoll.as_raw_fd(), Patience::None)).result, 1);
    assert_eq!(events_out.read(), Ok([POLLIN, 42]));
    assert_eq!(result_of(serve(&wait.with_len(0))), negated(Errno::INVAL));
    assert_eq!(result_of(serve(&wait.with_fd(read.as_raw_fd()))), negated(Errno::INVAL));
    assert_eq!(result_of(serve(&wait.with_addr(8))), negated(Errno::FAULT));

    // DEL looks at no event.
    assert_eq!(result_of(serve(&control.with_len(DEL).with_addr(8))), 0);
    assert_eq!(result_of(serve(&control.with_len(DEL).with_addr(8))), negated(Errno::NOENT));
}

fn read_multishot(fd: RawFd) -> Operation {
    let submitted = sqe(Opcode::ReadMultishot).with_fd(fd).with_flags(SqeFlags::BUFFER_SELECT);
    prepare(&submitted).expect("a good SQE")
}

#[test]
fn a_multishot_read_goes_on_until_the_end() {
    let (read, mut write) = pipe();
    let fd = read.as_raw_fd();
    let mut memory = [0_u8; 4];
    let address = UserAddress::of(&raw mut memory);
    let buffer = Some(Buffer { address, length: 4 });
    let registered = Registered::default();
    let mut operation = read_multishot(fd);
    let mut next = |patience| attempt_with(&mut operation, fd, patience, &registered, buffer);
    // O_NONBLOCK makes no difference.
    set_nonblocking(&read);
    assert_eq!(events(next(Patience::None)), POLLIN);
    write.write_all(b"012345").expect("room in the pipe");
    for expected in [4, 2] {
        match next(Patience::None) {
            // The next buffer is taken once the pipe reports again.
            Outcome::Drained(completion) => assert_eq!(completion.result, expected),
            other => panic!("not a result: {other:?}"),
        }
    }
    assert_eq!(address.read(), Ok(*b"4523"));
    drop(write);
    assert_eq!(done(next(Patience::None)).result, 0);
}

#[test]
fn a_multishot_read_needs_a_file_that_can_be_waited_for() {
    let directory = Directory::new();
    let file = File::open(directory.file("there", b"content")).expect("just made");
    let zero = File::open("/dev/zero").expect("a device that every Linux has");
    for file in [&file, &zero] {
        let outcome = attempt(&mut read_multishot(file.as_raw_fd()), file.as_raw_fd(), Patience::None);
        assert_eq!(done(outcome).result, negated(Errno::BADFD));
    }
    let (read, write) = pipe();
    let without_buffers = attempt(&mut read_multishot(read.as_raw_fd()), read.as_raw_fd(), Patience::None);
    assert_eq!(done(without_buffers).result, negated(Errno::NOBUFS));
    let mut memory = [0_u8; 4];
    let buffer = Some(Buffer { address: UserAddress::of(&raw mut memory), length: 4 });
    let fd = write.as_raw_fd();
    let result = attempt_with(&mut read_multishot(fd), fd, Patience::None, &Registered::default(), buffer);
    assert_eq!(done(result).result, negated(Errno::BADF));
    let unselected = sqe(Opcode::ReadMultishot).with_fd(read.as_raw_fd());
    assert_eq!(prepare(&unselected).err(), Some(Errno::INVAL));
}

#[test]
fn a_worker_that_finds_both_ends_ready_again_and_again_ends() {
    // Two workers move from one pipe: each byte goes over once, and neither stays behind.
    let ((input, mut to_input), (_from_output, output)) = (pipe(), pipe());
    // Each byte takes a page of the pipe that nobody reads.
    rustix::pipe::fcntl_setpipe_size(&output, 128 * 4096).expect("room for all");
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let [input, output] =
                [&input, &output].map(|file| file.try_clone().expect("room for a descriptor"));
            on_a_worker(move || {
                let mut operation = prepare(&splice(&input, &output, 1)).expect("a good SQE");
                let mut moved = 0;
                while moved < 100 {
                    match attempt(&mut operation, output.as_raw_fd(), Patience::Unlimited) {
                        Outcome::Done(completion) if completion.result == 1 => moved += 1,
                        Outcome::Done(_) => break,
                        _ => std::thread::yield_now(),
                    }
                }
                moved
            })
        })
        .collect();
    for _ in 0..120 {
        to_input.write_all(b"x").expect("room in the pipe");
    }
    drop(to_input);
    let moved: i32 = workers.iter().map(|worker| worker.recv_timeout(LIMIT).expect("the input ended")).sum();
    assert_eq!(moved, 120);
}
