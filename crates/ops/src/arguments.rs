//! What the fields of an SQE mean to an operation, for those who show one to people.
//!
//! Each row of the table names a list of this file. What stands in other fields is shown by their names in the header, with a question mark.

use std::fmt::{self, Display, Formatter, Write};

use ringer_abi::{Sqe, SqeBytes, SqeFlags};

use crate::flag_names::{
    ACCEPT, CANCEL, FSYNC, FUTEX, MESSAGE, MSG_RING, NEW_FILE, NOP, Names, OPEN, PATH, POLL, POLL_EVENTS,
    RENAME, SEND_RECEIVE, SPLICE, TIMEOUT, TRANSFER, WAIT, write_flags,
};

/// A field of an SQE: where it begins, and how many bytes it has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    start: u8,
    bytes: u8,
}

const IOPRIO: Field = Field::new(2, 2);
const FD: Field = Field::new(4, 4);
const OFF: Field = Field::new(8, 8);
const OFF_LOW: Field = Field::new(8, 4);
const ADDR: Field = Field::new(16, 8);
const ADDR_LOW: Field = Field::new(16, 4);
const ADDR_HIGH: Field = Field::new(20, 4);
const LEN: Field = Field::new(24, 4);
const OP_FLAGS: Field = Field::new(28, 4);
const BUF_INDEX: Field = Field::new(40, 2);
const FILE_INDEX: Field = Field::new(44, 4);
const ADDR_LEN: Field = Field::new(44, 2);
const ADDR3: Field = Field::new(48, 8);

/// The fields that an operation may look at, by the names of the header.
const FIELDS: [(&str, Field); 10] = [
    ("ioprio", IOPRIO),
    ("fd", FD),
    ("off", OFF),
    ("addr", ADDR),
    ("len", LEN),
    ("op_flags", OP_FLAGS),
    ("buf_index", BUF_INDEX),
    ("file_index", FILE_INDEX),
    ("addr3", ADDR3),
    ("pad2", Field::new(56, 8)),
];

impl Field {
    const fn new(start: u8, bytes: u8) -> Self {
        Self { start, bytes }
    }

    /// What stands in it.
    pub fn of(self, sqe: &Sqe) -> u64 {
        let word = sqe.words()[usize::from(self.start / 8)] >> (self.start % 8 * 8);
        if self.bytes == 8 { word } else { word & ((1 << (self.bytes * 8)) - 1) }
    }

    /// Takes it out of the words of an SQE.
    fn blank(self, words: &mut SqeBytes) {
        let bits = if self.bytes == 8 { u64::MAX } else { (1 << (self.bytes * 8)) - 1 };
        words[usize::from(self.start / 8)] &= !(bits << (self.start % 8 * 8));
    }

    /// The same with a sign, where it has four bytes or eight.
    pub fn signed(self, sqe: &Sqe) -> i64 {
        let value = self.of(sqe);
        if self.bytes == 4 { i64::from(value as u32 as i32) } else { value as i64 }
    }
}

/// How a field is shown.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// A descriptor, or an index into the registered files with `IOSQE_FIXED_FILE`.
    File,
    /// A descriptor, or `AT_FDCWD`.
    Directory,
    /// A number with a sign.
    Signed,
    /// A number.
    Number,
    /// A number that is left out where it is zero.
    Index,
    /// The slot of the registered files that the new file goes to, plus one; `IORING_FILE_INDEX_ALLOC`; left out where it is zero.
    Slot,
    /// An address.
    Address,
    /// The address of a string that ends with a zero byte.
    Path,
    /// Permissions, left out where they are zero.
    Mode,
    /// Flags of `open.2`.
    Open,
    /// Flags, left out where there is none.
    Flags(Names),
}

/// A field of an SQE as one operation sees it.
#[derive(Clone, Copy, Debug)]
pub struct Argument {
    /// Its name in the manual page of the operation.
    pub name: &'static str,
    /// Where it stands.
    pub field: Field,
    /// How it is shown.
    pub form: Form,
}

impl Argument {
    /// Whether it is the address of a string.
    pub const fn is_path(&self) -> bool {
        matches!(self.form, Form::Path)
    }
}

const fn argument(name: &'static str, field: Field, form: Form) -> Argument {
    Argument { name, field, form }
}

const FILE: Argument = argument("fd", FD, Form::File);
const DIRECTORY: Argument = argument("dfd", FD, Form::Directory);
const BUFFER: Argument = argument("buf", ADDR, Form::Address);
const LENGTH: Argument = argument("len", LEN, Form::Number);
const COUNT: Argument = argument("count", LEN, Form::Number);
const OFFSET: Argument = argument("offset", OFF, Form::Signed);
const BUFFER_INDEX: Argument = argument("buf_index", BUF_INDEX, Form::Number);
/// With `IOSQE_BUFFER_SELECT`.
const GROUP: Argument = argument("buf_group", BUF_INDEX, Form::Index);
const SLOT: Argument = argument("file_index", FILE_INDEX, Form::Slot);
const TRANSFER_FLAGS: Argument = flags("rw_flags", TRANSFER);
const SOCKET_FLAGS: Argument = flags("msg_flags", MESSAGE);
const HOW_TO_SEND: Argument = argument("ioprio", IOPRIO, Form::Flags(SEND_RECEIVE));
const PRIORITY: Argument = argument("ioprio", IOPRIO, Form::Index);
const TIMES: Argument = argument("ts", ADDR, Form::Address);
const NAME: Argument = argument("name", ADDR, Form::Path);
const VALUE: Argument = argument("value", OFF, Form::Address);

const fn flags(name: &'static str, names: Names) -> Argument {
    argument(name, OP_FLAGS, Form::Flags(names))
}

const fn path(name: &'static str, field: Field) -> Argument {
    argument(name, field, Form::Path)
}

/// What an operation looks at, in the order in which it is shown.
pub type Arguments = &'static [Argument];

macro_rules! lists {
    ($($name:ident: $($argument:expr),+;)*) => { $(pub(crate) const $name: Arguments = &[$($argument),+];)* };
}

lists! {
    NO_OPERATION: argument("result", LEN, Form::Index), flags("flags", NOP);
    VECTORS: FILE, argument("iov", ADDR, Form::Address), COUNT, OFFSET, TRANSFER_FLAGS, GROUP, PRIORITY;
    BYTES: FILE, BUFFER, LENGTH, OFFSET, TRANSFER_FLAGS, GROUP, PRIORITY;
    FIXED_VECTORS: FILE, argument("iov", ADDR, Form::Address), COUNT, OFFSET, TRANSFER_FLAGS, BUFFER_INDEX, PRIORITY;
    FIXED_BYTES: FILE, BUFFER, LENGTH, OFFSET, TRANSFER_FLAGS, BUFFER_INDEX, PRIORITY;
    MULTISHOT_BYTES: FILE, LENGTH, OFFSET, TRANSFER_FLAGS, GROUP, PRIORITY;
    POLL_ADD: FILE, flags("events", POLL_EVENTS), argument("flags", LEN, Form::Flags(POLL));
    POLL_UPDATE: argument("target", ADDR, Form::Address), argument("new_user_data", OFF, Form::Address),
        flags("events", POLL_EVENTS), argument("flags", LEN, Form::Flags(POLL));
    TIMED: TIMES, LENGTH, argument("count", OFF, Form::Number), flags("flags", TIMEOUT);
    TIME_LIMIT: TIMES, LENGTH, flags("flags", TIMEOUT);
    TIME_UPDATE: argument("target", ADDR, Form::Address), argument("ts", OFF, Form::Address), flags("flags", TIMEOUT);
    CANCELLATION: argument("target", ADDR, Form::Address), argument("fd", FD, Form::Signed),
        argument("opcode", LEN, Form::Index), flags("flags", CANCEL);
    SYNCHRONIZED: FILE, OFFSET, LENGTH, flags("flags", FSYNC);
    RANGE: FILE, OFFSET, LENGTH, flags("flags", &[]);
    ALLOCATED: FILE, argument("mode", LEN, Form::Number), OFFSET, argument("len", ADDR, Form::Number);
    OPENED: DIRECTORY, path("path", ADDR), argument("flags", OP_FLAGS, Form::Open), argument("mode", LEN, Form::Mode), SLOT;
    OPENED_AS: DIRECTORY, path("path", ADDR), argument("how", OFF, Form::Address), argument("size", LEN, Form::Number), SLOT;
    CLOSED: argument("fd", FD, Form::Signed), SLOT;
    NUMBERS: argument("fds", ADDR, Form::Address), COUNT, OFFSET;
    STATUS: DIRECTORY, path("path", ADDR), argument("buf", OFF, Form::Address), argument("mask", LEN, Form::Address),
        flags("flags", PATH);
    FILE_ADVICE: FILE, OFFSET, LENGTH, argument("long_len", ADDR, Form::Index), argument("advice", OP_FLAGS, Form::Number);
    MEMORY_ADVICE: BUFFER, LENGTH, argument("long_len", OFF, Form::Index), argument("advice", OP_FLAGS, Form::Number);
    MOVED: argument("fd_in", FILE_INDEX, Form::Signed), argument("off_in", ADDR, Form::Signed),
        argument("fd_out", FD, Form::File), argument("off_out", OFF, Form::Signed), LENGTH, flags("flags", SPLICE);
    WATCHED: argument("epfd", FD, Form::Signed), argument("op", LEN, Form::Number), argument("fd", OFF_LOW, Form::Signed),
        argument("event", ADDR, Form::Address);
    EVENTS: FILE, argument("events", ADDR, Form::Address), COUNT;
    PROVIDED: BUFFER, LENGTH, argument("count", FD, Form::Number), argument("bid", OFF, Form::Number), argument("bgid", BUF_INDEX, Form::Number);
    REMOVED: argument("count", FD, Form::Number), argument("bgid", BUF_INDEX, Form::Number);
    RENAMED: DIRECTORY, path("path", ADDR), argument("new_dfd", LEN, Form::Directory), path("new_path", OFF), flags("flags", RENAME);
    UNLINKED: DIRECTORY, path("path", ADDR), flags("flags", PATH);
    MADE: DIRECTORY, path("path", ADDR), argument("mode", LEN, Form::Mode);
    POINTED: path("target", ADDR), argument("new_dfd", FD, Form::Directory), path("path", OFF);
    LINKED: DIRECTORY, path("path", ADDR), argument("new_dfd", LEN, Form::Directory), path("new_path", OFF), flags("flags", PATH);
    TOLD: FILE, argument("command", ADDR_LOW, Form::Number), argument("len", LEN, Form::Address), argument("data", OFF, Form::Address),
        argument("source", ADDR3, Form::Index), SLOT, flags("flags", MSG_RING);
    FILE_ATTRIBUTE: FILE, NAME, VALUE, LENGTH, flags("flags", &[]);
    PATH_ATTRIBUTE: path("path", ADDR3), NAME, VALUE, LENGTH, flags("flags", &[]);
    CHILD: argument("id", FD, Form::Signed), argument("which", LEN, Form::Number), argument("info", OFF, Form::Address),
        argument("options", FILE_INDEX, Form::Flags(WAIT));
    FUTEX_ONE: argument("futex", ADDR, Form::Address), argument("value", OFF, Form::Number), argument("mask", ADDR3, Form::Address),
        argument("flags", FD, Form::Flags(FUTEX));
    FUTEX_SEVERAL: argument("futexes", ADDR, Form::Address), COUNT;
    INSTALLED: argument("fd", FD, Form::File), flags("flags", &[("NO_CLOEXEC", 1)]);
    CUT: FILE, argument("len", OFF, Form::Number);
    PIPE: argument("fds", ADDR, Form::Address), flags("flags", NEW_FILE), SLOT;
    MESSAGE_SENT: FILE, argument("msg", ADDR, Form::Address), LENGTH, SOCKET_FLAGS, GROUP, HOW_TO_SEND;
    SENT: FILE, BUFFER, LENGTH, argument("to", OFF, Form::Index), argument("to_len", ADDR_LEN, Form::Index), SOCKET_FLAGS, GROUP, HOW_TO_SEND;
    RECEIVED: FILE, BUFFER, LENGTH, SOCKET_FLAGS, GROUP, HOW_TO_SEND, argument("limit", FILE_INDEX, Form::Index);
    ACCEPTED: FILE, argument("addr", ADDR, Form::Address), argument("addrlen", OFF, Form::Address),
        flags("flags", NEW_FILE), SLOT, argument("ioprio", IOPRIO, Form::Flags(ACCEPT));
    ADDRESSED: FILE, argument("addr", ADDR, Form::Address), argument("addrlen", OFF, Form::Number);
    SHUT: FILE, argument("how", LEN, Form::Number);
    SOCKET: argument("domain", FD, Form::Number), argument("type", OFF, Form::Address), argument("protocol", LEN, Form::Number),
        SLOT, flags("flags", &[]);
    COMMAND: FILE, argument("command", OFF_LOW, Form::Number), argument("level", ADDR_LOW, Form::Index), argument("name", ADDR_HIGH, Form::Index),
        argument("value", ADDR3, Form::Address), argument("value_len", FILE_INDEX, Form::Index), flags("flags", &[("FIXED", 1), ("MULTISHOT", 2)]), GROUP;
    LISTENED: FILE, argument("backlog", LEN, Form::Number);
}

/// A string that an argument of [`Form::Path`] points to, if it could be read. It may be cut off.
pub trait Strings {
    /// The string at an address.
    fn at(&self, address: u64) -> Option<&[u8]>;
}

/// An SQE for people: the arguments of its operation by their names.
pub struct Shown<'a, S> {
    sqe: &'a Sqe,
    strings: &'a S,
}

impl<'a, S: Strings> Shown<'a, S> {
    /// Shows an SQE.
    pub fn new(sqe: &'a Sqe, strings: &'a S) -> Self {
        Self { sqe, strings }
    }

    fn write(&self, argument: &Argument, value: u64, out: &mut Formatter<'_>) -> fmt::Result {
        let Argument { name, field, form } = argument;
        let signed = field.signed(self.sqe);
        match form {
            Form::Index | Form::Slot | Form::Mode | Form::Flags(_) if value == 0 => return Ok(()),
            _ => write!(out, " {name}=")?,
        }
        match form {
            Form::File if self.sqe.flags().contains(SqeFlags::FIXED_FILE) => write!(out, "fixed {signed}"),
            Form::Directory if signed == AT_FDCWD => out.write_str("AT_FDCWD"),
            Form::File | Form::Directory | Form::Signed => write!(out, "{signed}"),
            Form::Index => write!(out, "{signed}"),
            Form::Number => write!(out, "{value}"),
            Form::Slot if value == u64::from(u32::MAX) => out.write_str("ALLOC"),
            Form::Slot => write!(out, "{value}"),
            Form::Address => write!(out, "{value:#x}"),
            Form::Path => match self.strings.at(value) {
                Some(text) => write!(out, "\"{}\"", text.escape_ascii()),
                None => write!(out, "{value:#x}"),
            },
            Form::Mode => write!(out, "0{value:o}"),
            Form::Open => {
                out.write_str(["O_RDONLY", "O_WRONLY", "O_RDWR", "3"][(value & 3) as usize])?;
                let rest = value & !3;
                if rest == 0 {
                    return Ok(());
                }
                out.write_char('|')?;
                write_flags(OPEN, rest, out)
            }
            Form::Flags(names) => write_flags(names, value, out),
        }
    }
}

const AT_FDCWD: i64 = -100;

impl<S: Strings> Display for Shown<'_, S> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let arguments = crate::row(self.sqe.opcode()).map_or(&[][..], |row| row.arguments);
        let mut rest = *self.sqe.words();
        for argument in arguments {
            self.write(argument, argument.field.of(self.sqe), out)?;
            argument.field.blank(&mut rest);
        }
        let rest = Sqe::from_words(rest);
        for (name, field) in FIELDS {
            // No descriptor is what stands there where none is needed.
            if field.of(&rest) != 0 && !(field == FD && rest.fd() == -1) {
                write!(out, " {name}?={:#x}", field.of(&rest))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringer_abi::Opcode;

    struct Known(&'static [(u64, &'static str)]);

    impl Strings for Known {
        fn at(&self, address: u64) -> Option<&[u8]> {
            self.0.iter().find(|(at, _)| *at == address).map(|(_, text)| text.as_bytes())
        }
    }

    fn shown(sqe: &Sqe, known: &'static [(u64, &'static str)]) -> String {
        Shown::new(sqe, &Known(known)).to_string()
    }

    fn of(opcode: Opcode) -> Sqe {
        Sqe::default().with_opcode(opcode.number())
    }

    #[test]
    fn arguments_have_their_names() {
        let read = of(Opcode::Read)
            .with_fd(5)
            .with_addr(0x1000)
            .with_len(4096)
            .with_off(u64::MAX)
            .with_op_flags(0x8 | 0x1000);
        assert_eq!(shown(&read, &[]), " fd=5 buf=0x1000 len=4096 offset=-1 rw_flags=NOWAIT|0x1000");
        let fixed = read.with_flags(SqeFlags::FIXED_FILE).with_op_flags(0);
        assert_eq!(shown(&fixed, &[]), " fd=fixed 5 buf=0x1000 len=4096 offset=-1");
        let receive = of(Opcode::Recv).with_fd(5).with_ioprio(2).with_buf_index(7);
        assert_eq!(shown(&receive, &[]), " fd=5 buf=0x0 len=0 buf_group=7 ioprio=MULTISHOT");
    }

    #[test]
    fn strings_are_quoted_where_they_are_known() {
        let rename = of(Opcode::Renameat).with_fd(-100).with_addr(1).with_len(-100_i32 as u32).with_off(2);
        let known = shown(&rename, &[(1, "a \"b\""), (2, "c\n")]);
        assert_eq!(known, r#" dfd=AT_FDCWD path="a \"b\"" new_dfd=AT_FDCWD new_path="c\n""#);
        assert_eq!(shown(&rename, &[]), " dfd=AT_FDCWD path=0x1 new_dfd=AT_FDCWD new_path=0x2");
    }

    #[test]
    fn flags_of_an_open_have_their_names() {
        let open = of(Opcode::Openat).with_fd(3).with_len(0o644);
        assert_eq!(shown(&open.with_op_flags(0), &[]), " dfd=3 path=0x0 flags=O_RDONLY mode=0644");
        let flags = shown(&open.with_op_flags(0o4_010_000 | 0o102), &[]);
        assert_eq!(flags, " dfd=3 path=0x0 flags=O_RDWR|O_CREAT|O_DSYNC|O_SYNC mode=0644");
    }

    #[test]
    fn what_the_operation_does_not_look_at_is_shown_as_well() {
        let nop = of(Opcode::Nop).with_fd(-1);
        assert_eq!(shown(&nop, &[]), "");
        assert_eq!(shown(&nop.with_off(9).with_fd(4), &[]), " fd?=0x4 off?=0x9");
        let unknown = Sqe::default().with_opcode(255).with_addr(1);
        assert_eq!(shown(&unknown, &[]), " addr?=0x1");
    }

    #[test]
    fn no_field_is_shown_twice() {
        for row in crate::table::rows() {
            let mut rest = [u64::MAX; 8];
            for Argument { name, field, .. } in row.arguments {
                let bits = field.of(&Sqe::from_words(rest));
                assert_eq!(bits.count_ones(), u32::from(field.bytes) * 8, "{:?}: {name}", row.opcode);
                field.blank(&mut rest);
            }
        }
    }
}
