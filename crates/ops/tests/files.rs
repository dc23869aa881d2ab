//! Operations on files and paths, attempted directly.

mod file_support;

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};

use file_support::{
    CWD, Descriptor, Directory, LIMIT, Registered, address, attempt, attempt_with, done, negated,
    on_a_worker, opened, prepare, result_of, serve, sqe,
};
use ringer_abi::{Opcode, Sqe, SqeFlags};
use ringer_ops::{Operation, Outcome, Patience};
use ringer_sys::{Errno, UserAddress, call, descriptor};

const O_WRONLY: u32 = 0o1;
const O_RDWR: u32 = 0o2;
const O_CREAT: u32 = 0o100;
const O_EXCL: u32 = 0o200;
const O_TRUNC: u32 = 0o1000;
const O_NONBLOCK: u32 = 0o4000;
const O_CLOEXEC: u32 = 0o2_000_000;
const O_PATH: u32 = 0o10_000_000;
const F_GETFD: u32 = 1;
const F_GETFL: u32 = 3;

fn open_at(path: &CString, flags: u32) -> Sqe {
    sqe(Opcode::Openat).with_fd(CWD).with_addr(address(path.as_ptr())).with_op_flags(flags).with_len(0o640)
}

fn open_how(path: &CString, how: &[u64]) -> Sqe {
    sqe(Opcode::Openat2)
        .with_fd(CWD)
        .with_addr(address(path.as_ptr()))
        .with_off(address(how.as_ptr()))
        .with_len(size_of_val(how) as u32)
}

fn status_flags(fd: &Descriptor) -> u32 {
    call::fcntl(fd.0, F_GETFL, 0).expect("an open file") as u32
}

fn fifo(directory: &Directory) -> CString {
    let path = directory.path("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        path.as_path(),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .expect("a FIFO in a fresh directory");
    assert!(std::fs::metadata(&path).expect("just made").file_type().is_fifo());
    directory.c_path("fifo")
}

#[test]
fn an_inline_open_leaves_no_trace_of_how_it_was_made() {
    let directory = Directory::new();
    directory.file("there", b"content");
    let path = directory.c_path("there");
    for patience in [Patience::None, Patience::Brief, Patience::Unlimited] {
        for asked in [0, O_NONBLOCK] {
            let mut operation = prepare(&open_at(&path, O_RDWR | asked | O_CLOEXEC)).expect("a good SQE");
            let file = opened(done(attempt(&mut operation, CWD, patience)).result);
            assert_eq!(status_flags(&file) & (O_NONBLOCK | 3), O_RDWR | asked, "{patience:?}");
            assert_eq!(call::fcntl(file.0, F_GETFD, 0), Ok(1));
        }
    }
    let path_only = opened(result_of(serve(&open_at(&path, O_PATH))));
    assert_eq!(status_flags(&path_only), O_PATH);
}

#[test]
fn open_reports_what_is_wrong() {
    let directory = Directory::new();
    let missing = directory.c_path("missing");
    let empty = CString::default();
    assert_eq!(result_of(serve(&open_at(&missing, 0))), negated(Errno::NOENT));
    assert_eq!(result_of(serve(&open_at(&empty, 0))), negated(Errno::NOENT));
    assert_eq!(result_of(serve(&sqe(Opcode::Openat).with_fd(CWD).with_addr(8))), negated(Errno::FAULT));
    let relative = CString::new("x").expect("no NUL");
    assert_eq!(result_of(serve(&open_at(&relative, 0).with_fd(9999))), negated(Errno::BADF));
    // Flags and modes that openat ignores.
    directory.file("there", b"");
    let there = directory.c_path("there");
    opened(result_of(serve(&open_at(&there, 1 << 30).with_len(u32::MAX))));
}

#[test]
fn openat2_checks_the_structure_and_its_size() {
    let directory = Directory::new();
    directory.file("there", b"");
    let path = directory.c_path("there");
    let result = |how: &[u64]| result_of(serve(&open_how(&path, how)));
    opened(result(&[0, 0, 0]));
    opened(result(&[0, 0, 0, 0]));
    opened(result(&[0; 700]));
    assert_eq!(result(&[0, 0]), negated(Errno::INVAL));
    assert_eq!(result(&[0, 0, 0, 1]), negated(Errno::TOOBIG));
    let mut long = [0; 700];
    long[699] = 1;
    assert_eq!(result(&long), negated(Errno::TOOBIG));
    assert_eq!(result(&[1 << 30, 0, 0]), negated(Errno::INVAL));
    assert_eq!(result(&[0, 0o600, 0]), negated(Errno::INVAL));
    assert_eq!(result(&[0, 0, 1 << 20]), negated(Errno::INVAL));
    assert_eq!(result_of(serve(&open_how(&path, &[0; 3]).with_off(8))), negated(Errno::FAULT));
}

#[test]
fn an_open_that_makes_a_file_needs_patience() {
    let directory = Directory::new();
    let path = directory.c_path("new");
    let mut operation = prepare(&open_at(&path, O_RDWR | O_CREAT | O_EXCL)).expect("a good SQE");
    assert!(matches!(attempt(&mut operation, CWD, Patience::None), Outcome::Punt));
    opened(done(attempt(&mut operation, CWD, Patience::Brief)).result);
    let made = std::fs::metadata(directory.path("new")).expect("it was made");
    assert_eq!(made.permissions().mode() & 0o600, 0o600);
    assert_eq!(done(attempt(&mut operation, CWD, Patience::Brief)).result, negated(Errno::EXIST));
}

#[test]
fn opening_a_fifo_never_waits_inline() {
    let directory = Directory::new();
    let path = fifo(&directory);
    // As Linux does it: opened without waiting, O_NONBLOCK cleared.
    let reader = opened(result_of(serve(&open_at(&path, 0))));
    assert_eq!(status_flags(&reader) & O_NONBLOCK, 0);
    drop(reader);
    assert_eq!(result_of(serve(&open_at(&path, O_WRONLY))), negated(Errno::NXIO));
    // These Linux leaves to a worker, which waits for the other end.
    for flags in [O_CREAT, O_TRUNC, O_WRONLY | O_CREAT, O_WRONLY | O_TRUNC] {
        let outcome = serve(&open_at(&path, flags)).expect("a good SQE");
        assert!(matches!(outcome, Outcome::Punt), "{flags:o}: {outcome:?}");
    }
    let flags = O_WRONLY | O_CREAT | O_NONBLOCK;
    assert_eq!(result_of(serve(&open_at(&path, flags))), negated(Errno::NXIO));
}

#[test]
fn a_worker_waits_for_the_other_end_of_a_fifo() {
    let directory = Directory::new();
    let path = fifo(&directory);
    let mut operation = prepare(&open_at(&path, O_WRONLY | O_CREAT)).expect("a good SQE");
    operation.capture().expect("a good path");
    let worker = on_a_worker(move || done(attempt(&mut operation, CWD, Patience::Unlimited)).result);
    let reader = File::options()
        .read(true)
        .custom_flags(O_NONBLOCK as i32)
        .open(directory.path("fifo"))
        .expect("a reader does not wait");
    let writer = opened(worker.recv_timeout(LIMIT).expect("the writer has its reader"));
    assert_eq!(status_flags(&writer) & (O_NONBLOCK | 3), O_WRONLY);
    drop(reader);
}

#[test]
fn a_captured_path_is_the_one_of_the_submission() {
    let directory = Directory::new();
    directory.file("right", b"right");
    directory.file("wrong", b"wrong");
    let mut path = directory.c_path("right").into_bytes_with_nul();
    let submitted = sqe(Opcode::Openat).with_fd(CWD).with_addr(address(path.as_ptr()));
    let mut operation = prepare(&submitted).expect("a good SQE");
    operation.capture().expect("a good path");
    let name = path.len() - "right\0".len();
    path[name..].copy_from_slice(b"wrong\0");
    let file = opened(done(attempt(&mut operation, CWD, Patience::Brief)).result);
    let content = std::fs::read(format!("/proc/self/fd/{}", file.0)).expect("a readable file");
    assert_eq!(content, b"right");
}

#[test]
fn a_file_is_opened_into_a_slot() {
    let directory = Directory::new();
    directory.file("there", b"");
    let path = directory.c_path("there");
    let registered = Registered::with_slots(2);
    let result = |sqe: Sqe, registered: &Registered| {
        let mut operation = prepare(&sqe)?;
        Ok(attempt_with(&mut operation, CWD, Patience::Brief, registered, None))
    };
    let open = open_at(&path, 0);
    assert_eq!(result_of(result(open.with_file_index(2), &registered)), 0);
    assert_eq!(registered.is_filled(), [false, true]);
    assert_eq!(result_of(result(open.with_file_index(u32::MAX), &registered)), 0);
    assert_eq!(result_of(result(open.with_file_index(u32::MAX), &registered)), negated(Errno::NFILE));
    assert_eq!(result_of(result(open.with_file_index(3), &registered)), negated(Errno::INVAL));
    assert_eq!(result_of(result(open.with_file_index(1), &Registered::default())), negated(Errno::NXIO));
    let keeps_over_exec = open_at(&path, O_CLOEXEC).with_file_index(1);
    assert_eq!(result_of(result(keeps_over_exec, &registered)), negated(Errno::INVAL));
}

#[test]
fn close_closes_the_number_and_nothing_of_the_engine() {
    let close = |fd: RawFd| result_of(serve(&sqe(Opcode::Close).with_fd(fd)));
    let directory = Directory::new();
    let file = File::open(directory.file("there", b"")).expect("just made");
    // A number that no other test of this process gets in between.
    let duplicate = call::fcntl(file.as_raw_fd(), 0, 100).expect("room for a descriptor") as RawFd;
    assert_eq!(close(duplicate), 0);
    assert_eq!(close(duplicate), negated(Errno::BADF));
    assert_eq!(close(-1), negated(Errno::BADF));
    let of_the_engine = descriptor::duplicate_for_engine(file.as_raw_fd()).expect("room in the range");
    assert_eq!(close(of_the_engine.as_raw_fd()), negated(Errno::BADF));
    assert!(call::fcntl(of_the_engine.as_raw_fd(), F_GETFD, 0).is_ok());
    let slot = serve(&sqe(Opcode::Close).with_file_index(1)).expect("a good SQE");
    assert!(matches!(slot, Outcome::Engine));
    assert_eq!(result_of(serve(&sqe(Opcode::Close).with_file_index(1).with_fd(4))), negated(Errno::INVAL));
}

#[test]
fn statx_fills_the_buffer() {
    const AT_EMPTY_PATH: u32 = 0x1000;
    const SIZE_AT: usize = 40;
    let directory = Directory::new();
    let file = File::open(directory.file("there", b"12345")).expect("just made");
    let path = directory.c_path("there");
    let empty = CString::default();
    let mut buffer = [0_u8; 256];
    let base = sqe(Opcode::Statx).with_len(0x7ff).with_off(address(&raw mut buffer));
    let by_path = base.with_fd(CWD).with_addr(address(path.as_ptr()));
    let by_file =
        base.with_fd(file.as_raw_fd()).with_addr(address(empty.as_ptr())).with_op_flags(AT_EMPTY_PATH);
    for submitted in [by_path, by_file] {
        UserAddress::of(&raw mut buffer).write([0_u8; 256]).expect("a local");
        assert_eq!(result_of(serve(&submitted)), 0);
        let size = UserAddress::of(&raw mut buffer).add(SIZE_AT as u64).read::<u64>();
        assert_eq!(size, Ok(5));
    }
    assert_eq!(result_of(serve(&by_file.with_addr(0))), negated(Errno::FAULT));
    assert_eq!(result_of(serve(&by_file.with_op_flags(0))), negated(Errno::NOENT));
    assert_eq!(result_of(serve(&by_path.with_off(8))), negated(Errno::FAULT));
    assert_eq!(result_of(serve(&by_path.with_len(1 << 31))), negated(Errno::INVAL));
    let mut operation = prepare(&by_path).expect("a good SQE");
    assert!(matches!(attempt(&mut operation, CWD, Patience::None), Outcome::Punt));
}

#[test]
fn what_waits_for_a_device_is_left_to_a_worker() {
    let directory = Directory::new();
    let path = directory.file("there", b"12345");
    let file = File::options().read(true).write(true).open(&path).expect("just made");
    let fd = file.as_raw_fd();
    let requests = [
        sqe(Opcode::Fsync),
        sqe(Opcode::Fsync).with_op_flags(1).with_off(4096).with_len(10),
        sqe(Opcode::SyncFileRange).with_op_flags(7),
        sqe(Opcode::Fallocate).with_addr(4096),
    ];
    for request in requests {
        let mut operation = prepare(&request.with_fd(fd)).expect("a good SQE");
        assert!(matches!(attempt(&mut operation, fd, Patience::None), Outcome::Punt));
        assert!(matches!(attempt(&mut operation, fd, Patience::Brief), Outcome::Punt));
        assert_eq!(done(attempt(&mut operation, fd, Patience::Unlimited)).result, 0, "{request:?}");
    }
    assert_eq!(file.metadata().expect("open").size(), 4096);
    let refused = [
        (sqe(Opcode::Fsync).with_off(1 << 63), Errno::INVAL),
        (sqe(Opcode::Fallocate), Errno::INVAL),
        (sqe(Opcode::SyncFileRange).with_op_flags(8), Errno::INVAL),
    ];
    for (request, errno) in refused {
        let result = prepare(&request).map(|mut operation| attempt(&mut operation, fd, Patience::Unlimited));
        assert_eq!(result_of(result), negated(errno), "{request:?}");
    }
}

#[test]
fn advice_and_size() {
    let directory = Directory::new();
    let path = directory.file("there", b"12345");
    let file = File::options().read(true).write(true).open(&path).expect("just made");
    let fd = file.as_raw_fd();
    let fadvise = sqe(Opcode::Fadvise).with_fd(fd);
    for advice in 0..6 {
        assert_eq!(result_of(serve(&fadvise.with_op_flags(advice))), 0);
    }
    assert_eq!(result_of(serve(&fadvise.with_op_flags(9))), negated(Errno::INVAL));
    // A length that is only representable in `addr`.
    assert_eq!(result_of(serve(&fadvise.with_addr(u64::MAX))), negated(Errno::INVAL));

    let memory = ringer_sys::native::map_anonymous(8192).expect("two pages");
    let madvise = sqe(Opcode::Madvise).with_addr(memory.get()).with_len(4096);
    memory.write(7_u64).expect("writable");
    const DONTNEED: u32 = 4;
    assert_eq!(result_of(serve(&madvise.with_op_flags(DONTNEED))), 0);
    assert_eq!(memory.read::<u64>(), Ok(0));
    assert_eq!(result_of(serve(&madvise.with_op_flags(77))), negated(Errno::INVAL));
    assert_eq!(result_of(serve(&madvise.with_addr(memory.get() + 1))), negated(Errno::INVAL));
    ringer_sys::native::unmap(memory, 8192).expect("mapped here");

    let truncate = sqe(Opcode::Ftruncate).with_fd(fd);
    assert_eq!(result_of(serve(&truncate.with_off(3))), 0);
    assert_eq!(std::fs::read(&path).expect("readable"), b"123");
    assert_eq!(result_of(serve(&truncate.with_off(u64::MAX))), negated(Errno::INVAL));
}

#[test]
fn names_are_made_changed_and_removed() {
    const AT_REMOVEDIR: u32 = 0x200;
    const RENAME_NOREPLACE: u32 = 1;
    let directory = Directory::new();
    directory.file("a", b"content");
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| directory.c_path(name));
    let one = |opcode, path: &CString| sqe(opcode).with_fd(CWD).with_addr(address(path.as_ptr()));
    let two = |opcode, from: &CString, to: &CString| {
        let to_directory = if matches!(opcode, Opcode::Symlinkat) { 0 } else { CWD as u32 };
        one(opcode, from).with_off(address(to.as_ptr())).with_len(to_directory)
    };
    let result = |sqe: Sqe| result_of(serve(&sqe));
    assert_eq!(result(two(Opcode::Linkat, &a, &b)), 0);
    assert_eq!(result(two(Opcode::Renameat, &a, &b).with_op_flags(RENAME_NOREPLACE)), negated(Errno::EXIST));
    assert_eq!(result(two(Opcode::Renameat, &a, &c)), 0);
    assert_eq!(result(two(Opcode::Symlinkat, &b, &a)), 0);
    assert_eq!(std::fs::read(directory.path("a")).expect("a link to a file"), b"content");
    assert_eq!(result(one(Opcode::Mkdirat, &d).with_len(0o700)), 0);
    assert_eq!(result(one(Opcode::Mkdirat, &d).with_len(0o700)), negated(Errno::EXIST));
    assert_eq!(result(one(Opcode::Unlinkat, &d)), negated(Errno::ISDIR));
    assert_eq!(result(one(Opcode::Unlinkat, &d).with_op_flags(AT_REMOVEDIR)), 0);
    for path in [&a, &b, &c] {
        assert_eq!(result(one(Opcode::Unlinkat, path)), 0);
        assert_eq!(result(one(Opcode::Unlinkat, path)), negated(Errno::NOENT));
    }
    let mut operation = prepare(&one(Opcode::Mkdirat, &d)).expect("a good SQE");
    assert!(matches!(attempt(&mut operation, CWD, Patience::None), Outcome::Punt));
}

#[test]
fn extended_attributes_are_set_and_read() {
    let directory = Directory::new();
    let path = directory.file("there", b"");
    let file = File::open(&path).expect("just made");
    let path = directory.c_path("there");
    let name = CString::new("user.ringer").expect("no NUL");
    let mut value = *b"value";
    let value = UserAddress::of(&raw mut value);
    let mut read = [0_u8; 16];
    let read = UserAddress::of(&raw mut read);
    let set = |opcode| {
        sqe(opcode)
            .with_fd(file.as_raw_fd())
            .with_addr(address(name.as_ptr()))
            .with_off(value.get())
            .with_len(5)
            .with_addr3(address(path.as_ptr()))
    };
    let get = |opcode| set(opcode).with_off(read.get()).with_len(16);
    let by_file = set(Opcode::Fsetxattr);
    let first = result_of(serve(&by_file));
    if first == negated(Errno::OPNOTSUPP) {
        println!("skipped: the temporary directory has no user attributes");
        return;
    }
    assert_eq!(first, 0);
    assert_eq!(result_of(serve(&get(Opcode::Getxattr))), 5);
    assert_eq!(read.read::<[u8; 5]>(), Ok(*b"value"));
    const CREATE: u32 = 1;
    assert_eq!(result_of(serve(&set(Opcode::Setxattr).with_op_flags(CREATE))), negated(Errno::EXIST));
    assert_eq!(result_of(serve(&by_file.with_len(70_000))), negated(Errno::TOOBIG));
    let empty = CString::default();
    assert_eq!(result_of(serve(&by_file.with_addr(address(empty.as_ptr())))), negated(Errno::RANGE));
    let long = CString::new(format!("user.{}", "x".repeat(300))).expect("no NUL");
    assert_eq!(result_of(serve(&by_file.with_addr(address(long.as_ptr())))), negated(Errno::RANGE));
    assert_eq!(result_of(serve(&get(Opcode::Fgetxattr).with_op_flags(1))), negated(Errno::INVAL));

    // The value is that of the submission.
    let submitted = set(Opcode::Setxattr);
    let mut operation = prepare(&submitted).expect("a good SQE");
    operation.capture().expect("good addresses");
    value.write(*b"other").expect("a local");
    assert_eq!(done(attempt(&mut operation, -1, Patience::Brief)).result, 0);
    assert_eq!(result_of(serve(&get(Opcode::Fgetxattr))), 5);
    assert_eq!(read.read::<[u8; 5]>(), Ok(*b"value"));
}

#[test]
fn a_registered_file_becomes_a_descriptor() {
    let directory = Directory::new();
    let file = File::open(directory.file("there", b"")).expect("just made");
    let install = sqe(Opcode::FixedFdInstall).with_flags(SqeFlags::FIXED_FILE);
    for (flags, close_on_exec) in [(0, 1), (1, 0)] {
        let mut operation = prepare(&install.with_op_flags(flags)).expect("a good SQE");
        let new = opened(done(attempt(&mut operation, file.as_raw_fd(), Patience::None)).result);
        assert_eq!(call::fcntl(new.0, F_GETFD, 0), Ok(close_on_exec));
    }
    assert_eq!(prepare(&install.with_flags(SqeFlags::empty())).err(), Some(Errno::BADF));
    assert_eq!(prepare(&install.with_personality(1)).err(), Some(Errno::PERM));
}

#[test]
fn vectors_must_lie_in_the_registered_buffer() {
    let directory = Directory::new();
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(directory.path("data"))
        .expect("a fresh name");
    file.write_all(b"0123456789").expect("a writable file");
    let mut memory = [0_u8; 64];
    let start = address(&raw mut memory);
    let registered = Registered { buffer: Some((start, 64)), ..Registered::default() };
    let read = |vectors: &[[u64; 2]], buffer_index: u16| {
        let submitted = sqe(Opcode::ReadvFixed)
            .with_fd(file.as_raw_fd())
            .with_addr(address(vectors.as_ptr()))
            .with_len(vectors.len() as u32)
            .with_buf_index(buffer_index);
        let result = prepare(&submitted).map(|mut operation: Operation| {
            attempt_with(&mut operation, file.as_raw_fd(), Patience::Unlimited, &registered, None)
        });
        result_of(result)
    };
    assert_eq!(read(&[[start, 4], [start + 32, 6]], 0), 10);
    assert_eq!(UserAddress::new(start + 32).read::<[u8; 6]>(), Ok(*b"456789"));
    assert_eq!(read(&[[start, 4], [start + 60, 6]], 0), negated(Errno::FAULT));
    assert_eq!(read(&[[start, 4], [start + 8, 0]], 0), negated(Errno::FAULT));
    assert_eq!(read(&[[start, 0]], 0), negated(Errno::FAULT));
    assert_eq!(read(&[[start, 4]], 3), negated(Errno::FAULT));
    assert_eq!(read(&[[start, 1 << 63]], 0), negated(Errno::INVAL));
    assert_eq!(read(&[], 0), 0);
}
