//! Which fields of an SQE each file operation refuses. The expectations are what Linux 6.18 answered to
//! the same entries.

mod file_support;

use std::ffi::CString;

use file_support::{CWD, address, prepare, sqe};
use ringer_abi::{Opcode, Sqe, SqeFlags};
use ringer_sys::Errno;

/// Sets one field to a value that means nothing to any of the operations.
type Setter = fn(Sqe) -> Sqe;

const FIELDS: [(&str, Setter); 9] = [
    ("off", |sqe| sqe.with_off(4096)),
    ("addr", |sqe| sqe.with_addr(4096)),
    ("len", |sqe| sqe.with_len(77)),
    ("op_flags", |sqe| sqe.with_op_flags(1 << 30)),
    ("buf_index", |sqe| sqe.with_buf_index(1)),
    ("file_index", |sqe| sqe.with_file_index(1)),
    ("addr3", |sqe| sqe.with_addr3(8)),
    ("pad2", |sqe| sqe.with_pad2(8)),
    ("fixed", |sqe| sqe.with_flags(sqe.flags() | SqeFlags::FIXED_FILE)),
];

/// The fields that preparation refuses, with their errnos.
fn refused(base: Sqe) -> Vec<(&'static str, Errno)> {
    prepare(&base).unwrap_or_else(|errno| panic!("the base of {:?} is refused: {errno}", base.opcode()));
    FIELDS.iter().filter_map(|(name, set)| prepare(&set(base)).err().map(|errno| (*name, errno))).collect()
}

fn all(errno: Errno, names: &[&'static str]) -> Vec<(&'static str, Errno)> {
    names.iter().map(|name| (*name, errno)).collect()
}

#[test]
fn operations_on_a_file_refuse_what_they_do_not_use() {
    let common = ["buf_index", "file_index"];
    let cases: [(Opcode, &[&'static str]); 9] = [
        (Opcode::Fsync, &["addr", "op_flags", "buf_index", "file_index"]),
        (Opcode::SyncFileRange, &["addr", "buf_index", "file_index"]),
        (Opcode::Fallocate, &["op_flags", "buf_index", "file_index"]),
        (Opcode::Ftruncate, &["addr", "len", "op_flags", "buf_index", "file_index", "addr3"]),
        (Opcode::Fadvise, &common),
        (Opcode::Madvise, &common),
        (Opcode::EpollWait, &["off", "op_flags", "buf_index", "file_index"]),
        (Opcode::Tee, &["off", "addr", "op_flags"]),
        (Opcode::Splice, &["op_flags"]),
    ];
    for (opcode, names) in cases {
        assert_eq!(refused(sqe(opcode)), all(Errno::INVAL, names), "{opcode:?}");
    }
}

#[test]
fn operations_on_paths_refuse_what_they_do_not_use() {
    let path = CString::new("some/path").expect("no NUL");
    let buffer = [0_u8; 256];
    let (path, buffer) = (address(path.as_ptr()), address(&raw const buffer));
    let bad = |name| (name, Errno::FAULT);
    let fixed = ("fixed", Errno::BADF);
    let one_path = |opcode| sqe(opcode).with_fd(CWD).with_addr(path);
    let two_paths = |opcode| one_path(opcode).with_off(path);
    let cases: [(Sqe, Vec<(&str, Errno)>); 8] = [
        (one_path(Opcode::Statx).with_off(buffer), {
            let mut refused = vec![bad("addr")];
            refused.extend(all(Errno::INVAL, &["buf_index", "file_index"]));
            refused
        }),
        (one_path(Opcode::Openat), vec![bad("addr"), ("buf_index", Errno::INVAL)]),
        (two_paths(Opcode::Renameat), {
            let mut refused = vec![bad("off"), bad("addr")];
            refused.extend(all(Errno::INVAL, &["buf_index", "file_index"]));
            refused
        }),
        (two_paths(Opcode::Linkat), {
            let mut refused = vec![bad("off"), bad("addr")];
            refused.extend(all(Errno::INVAL, &["buf_index", "file_index"]));
            refused
        }),
        (one_path(Opcode::Unlinkat), {
            let mut refused = vec![("off", Errno::INVAL), bad("addr")];
            refused.extend(all(Errno::INVAL, &["len", "op_flags", "buf_index", "file_index"]));
            refused
        }),
        (one_path(Opcode::Mkdirat), {
            let mut refused = vec![("off", Errno::INVAL), bad("addr")];
            refused.extend(all(Errno::INVAL, &["op_flags", "buf_index", "file_index"]));
            refused
        }),
        (two_paths(Opcode::Symlinkat), {
            let mut refused = vec![bad("off"), bad("addr")];
            refused.extend(all(Errno::INVAL, &["len", "op_flags", "buf_index", "file_index"]));
            refused
        }),
        (one_path(Opcode::Setxattr).with_off(buffer).with_len(5).with_addr3(path), {
            vec![bad("off"), bad("addr"), ("op_flags", Errno::INVAL), bad("addr3")]
        }),
    ];
    for (base, mut expected) in cases {
        expected.push(fixed);
        assert_eq!(refused(base), expected, "opcode {}", base.opcode());
    }
}

#[test]
fn operations_on_the_ring_refuse_what_they_do_not_use() {
    let numbers = [0_i32; 2];
    let numbers = address(&raw const numbers);
    let event = [0_u32; 4];
    let close = all(Errno::INVAL, &["off", "addr", "len", "op_flags", "buf_index"]);
    let cases: [(Sqe, Vec<(&str, Errno)>); 8] = [
        (sqe(Opcode::Close), [close, vec![("fixed", Errno::BADF)]].concat()),
        (
            sqe(Opcode::FilesUpdate).with_addr(numbers).with_len(1),
            all(Errno::INVAL, &["op_flags", "file_index", "fixed"]),
        ),
        (sqe(Opcode::Pipe).with_addr(numbers), all(Errno::INVAL, &["off", "op_flags", "addr3"])),
        (
            sqe(Opcode::FixedFdInstall).with_flags(SqeFlags::FIXED_FILE),
            all(Errno::INVAL, &["off", "addr", "len", "op_flags", "buf_index", "file_index", "addr3"]),
        ),
        (
            sqe(Opcode::EpollCtl).with_len(1).with_addr(address(&raw const event)),
            [vec![("addr", Errno::FAULT)], all(Errno::INVAL, &["buf_index", "file_index"])].concat(),
        ),
        (
            sqe(Opcode::ProvideBuffers).with_fd(1).with_addr(numbers).with_len(8),
            all(Errno::INVAL, &["op_flags", "file_index"]),
        ),
        (
            sqe(Opcode::RemoveBuffers).with_fd(1),
            all(Errno::INVAL, &["off", "addr", "len", "op_flags", "file_index"]),
        ),
        (
            sqe(Opcode::ReadMultishot).with_flags(SqeFlags::BUFFER_SELECT),
            all(Errno::INVAL, &["addr", "len", "pad2"]),
        ),
    ];
    for (base, expected) in cases {
        assert_eq!(refused(base), expected, "opcode {}", base.opcode());
    }
}

#[test]
fn counts_and_ids_of_provided_buffers_are_bounded() {
    let buffer = [0_u8; 16];
    let base = sqe(Opcode::ProvideBuffers).with_addr(address(&raw const buffer)).with_len(1);
    let errno = |sqe: Sqe| prepare(&sqe).err();
    assert_eq!(errno(base.with_fd(0)), Some(Errno::TOOBIG));
    assert_eq!(errno(base.with_fd(65536)), None);
    assert_eq!(errno(base.with_fd(65537)), Some(Errno::TOOBIG));
    assert_eq!(errno(base.with_fd(-1)), Some(Errno::TOOBIG));
    assert_eq!(errno(base.with_fd(1).with_len(0)), Some(Errno::INVAL));
    assert_eq!(errno(base.with_fd(1).with_off(65535)), None);
    assert_eq!(errno(base.with_fd(1).with_off(65536)), Some(Errno::TOOBIG));
    assert_eq!(errno(base.with_fd(2).with_off(65535)), Some(Errno::INVAL));
    assert_eq!(errno(base.with_fd(1).with_addr(1 << 63)), Some(Errno::FAULT));
    assert_eq!(errno(base.with_fd(1).with_addr(u64::MAX)), Some(Errno::OVERFLOW));
    let remove = sqe(Opcode::RemoveBuffers);
    assert_eq!(errno(remove.with_fd(0)), Some(Errno::INVAL));
    assert_eq!(errno(remove.with_fd(65537)), Some(Errno::INVAL));
}

#[test]
fn messages_to_rings_are_decoded() {
    use ringer_ops::msg_ring::Message;
    use ringer_ops::{FileSlot, Operation};

    const SKIP: u32 = 1;
    const PASS: u32 = 2;
    let decode = |sqe: Sqe| match prepare(&sqe) {
        Ok(Operation::MsgRing(message)) => message.message,
        Ok(other) => panic!("not a message: {other:?}"),
        Err(errno) => Err(errno),
    };
    let data = sqe(Opcode::MsgRing).with_off(7).with_len(5);
    assert_eq!(decode(data), Ok(Message::Data { result: 5, cqe_flags: 0 }));
    assert_eq!(
        decode(data.with_op_flags(PASS).with_file_index(9)),
        Ok(Message::Data { result: 5, cqe_flags: 9 })
    );
    assert_eq!(decode(data.with_file_index(9)), Err(Errno::INVAL));
    assert_eq!(decode(data.with_op_flags(SKIP)), Err(Errno::INVAL));
    assert_eq!(decode(data.with_addr3(1)), Err(Errno::INVAL));
    assert_eq!(decode(data.with_op_flags(4)), Err(Errno::INVAL));
    assert_eq!(decode(data.with_addr(2)), Err(Errno::INVAL));
    let file = data.with_addr(1).with_addr3(3).with_len(0);
    assert_eq!(decode(file.with_file_index(2)), Ok(Message::File { from: 3, to: Some(FileSlot::Index(1)) }));
    assert_eq!(
        decode(file.with_file_index(u32::MAX)),
        Ok(Message::File { from: 3, to: Some(FileSlot::Allocate) })
    );
    // That there is no such slot is seen after the rings are.
    assert_eq!(decode(file), Ok(Message::File { from: 3, to: None }));
    assert_eq!(decode(file.with_file_index(2).with_len(1)), Err(Errno::INVAL));
}
