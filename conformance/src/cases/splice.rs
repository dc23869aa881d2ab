//! SPLICE and TEE.

use ringer_abi::{Opcode, RegisterOpcode, Sqe, SqeFlags};

use super::rw::TEXT;
use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::{Case, kinds, prep};

/// `SPLICE_F_FD_IN_FIXED`: the input is a registered file.
const FD_IN_FIXED: u32 = 1 << 31;
const NO_OFFSET: u64 = u64::MAX;

/// SPLICE: the input offset stands in `addr`, the input descriptor in `file_index`.
fn splice(input: i32, input_offset: u64, output: i32, output_offset: u64, bytes: u32, flags: u32) -> Sqe {
    prep::op(Opcode::Splice, output)
        .with_off(output_offset)
        .with_addr(input_offset)
        .with_len(bytes)
        .with_op_flags(flags)
        .with_file_index(input as u32)
}

fn tee(input: i32, output: i32, bytes: u32, flags: u32) -> Sqe {
    prep::op(Opcode::Tee, output).with_len(bytes).with_op_flags(flags).with_file_index(input as u32)
}

const SPLICE: Exemplar = Exemplar::new(
    "splice",
    Opcode::Splice,
    FdRole::File,
    &[Field::Off, Field::Addr, Field::Len, Field::OpFlags, Field::FileIndex],
    &[],
    |session, _| {
        let (file, (read, write)) = (session.file(TEXT), session.pipe());
        Good::new(splice(file, 4, write, NO_OFFSET, 16, 0)).observe(move |session| {
            session.with_kept(read, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a pipe");
            let mut bytes = [0; 64];
            let got = session.with_kept(read, |fd| rustix::io::read(fd, &mut bytes)).unwrap_or(0);
            session.bytes("in the pipe", &bytes[..got]);
            session.record("position", session.position(file));
        })
    },
);

const TEE: Exemplar = Exemplar::new(
    "tee",
    Opcode::Tee,
    FdRole::File,
    &[Field::Len, Field::OpFlags, Field::FileIndex],
    &[],
    |session, _| {
        let ((from_read, from_write), (to_read, to_write)) = (session.pipe(), session.pipe());
        session.write_fd(from_write, b"twice the same");
        Good::new(tee(from_read, to_write, 64, 0)).observe(move |session| {
            for (label, pipe) in [("source", from_read), ("copy", to_read)] {
                session.with_kept(pipe, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a pipe");
                let mut bytes = [0; 64];
                let got = session.with_kept(pipe, |fd| rustix::io::read(fd, &mut bytes)).unwrap_or(0);
                session.bytes(label, &bytes[..got]);
            }
        })
    },
);

/// The cases of SPLICE and TEE.
pub fn cases() -> Vec<Case> {
    let mut cases = SPLICE.cases();
    cases.extend(TEE.cases());
    cases.extend([
        Case::new("splice/directions", Opcode::Splice, |session| {
            let ring = session.ring(8);
            let (read, write) = session.pipe();
            let file = session.file(TEXT);
            session.one_recorded("file to pipe", &ring, splice(file, 60, write, NO_OFFSET, 16, 0));
            let target = session.file(b"................");
            session.one_recorded("pipe to file", &ring, splice(read, NO_OFFSET, target, 2, 16, 0));
            session.bytes("content", &session.content(target));
            session.one_recorded("at the position", &ring, splice(file, NO_OFFSET, write, NO_OFFSET, 5, 0));
            session.record("position", session.position(file));
            let (other_read, other_write) = session.pipe();
            session.one_recorded(
                "pipe to pipe",
                &ring,
                splice(read, NO_OFFSET, other_write, NO_OFFSET, 64, 0),
            );
            session.bytes("moved", &session.read_fd(other_read, 64));
            let (left, right) = session.pair();
            session.write_fd(write, b"to a socket");
            session.one_recorded("pipe to socket", &ring, splice(read, NO_OFFSET, left, NO_OFFSET, 64, 0));
            session.bytes("received", &session.read_fd(right, 64));
            session.write_fd(right, b"from a socket");
            session.one_recorded("socket to pipe", &ring, splice(left, NO_OFFSET, write, NO_OFFSET, 64, 0));
            session.bytes("in the pipe", &session.read_fd(read, 64));
        }),
        Case::new("splice/offsets", Opcode::Splice, |session| {
            let ring = session.ring(8);
            let file = session.file(TEXT);
            for (label, input, output) in [
                ("pipe output with an offset", 0, 0),
                ("negative input offset", 1 << 63, NO_OFFSET),
                ("past the end", 64, NO_OFFSET),
                ("far past the end", 1 << 40, NO_OFFSET),
            ] {
                let (_read, write) = session.pipe();
                session.one_recorded(label, &ring, splice(file, input, write, output, 8, 0));
            }
            let (read, write) = session.pipe();
            session.write_fd(write, b"abcdefgh");
            session.one_recorded("pipe input with an offset", &ring, splice(read, 0, file, 0, 4, 0));
            session.one_recorded(
                "negative output offset",
                &ring,
                splice(read, NO_OFFSET, file, 1 << 63, 4, 0),
            );
            session.one_recorded("no bytes", &ring, splice(read, NO_OFFSET, file, 0, 0, 0));
            let (left, _right) = session.pair();
            session.one_recorded("a socket's input offset", &ring, splice(left, 0, write, NO_OFFSET, 4, 0));
            session.one_recorded("a socket's output offset", &ring, splice(read, NO_OFFSET, left, 0, 4, 0));
            session.one_recorded("no pipe at all", &ring, splice(file, 0, session.file(b""), 0, 4, 0));
            session.one_recorded("the same pipe", &ring, splice(read, NO_OFFSET, write, NO_OFFSET, 4, 0));
        }),
        Case::new("splice/input-kinds", Opcode::Splice, |session| {
            for (label, kind) in kinds::KINDS {
                session.fresh();
                let ring = session.ring(8);
                let (_read, write) = session.pipe();
                let input = kind(session, &ring);
                session.one_recorded(*label, &ring, splice(input, NO_OFFSET, write, NO_OFFSET, 8, 0));
            }
            let ring = session.ring(8);
            let (_read, write) = session.pipe();
            for input in [-1, session.closed_fd(), i32::MAX] {
                let label =
                    if input > 0 && input < i32::MAX { "closed".to_owned() } else { input.to_string() };
                session.one_recorded(label, &ring, splice(input, NO_OFFSET, write, NO_OFFSET, 8, 0));
            }
        }),
        Case::new("splice/wrong-ways", Opcode::Splice, |session| {
            let ring = session.ring(8);
            let ((read, write), (other_read, other_write)) = (session.pipe(), session.pipe());
            session.write_fd(write, b"abc");
            for (label, input, output) in [
                ("right", read, other_write),
                ("from a write end", write, other_write),
                ("to a read end", read, other_read),
            ] {
                for (from, to) in [(NO_OFFSET, NO_OFFSET), (7, NO_OFFSET), (NO_OFFSET, 7)] {
                    let sqe = splice(input, from, output, to, 1, 0);
                    session.one_recorded(format!("{label}, {from:x}, {to:x}"), &ring, sqe);
                }
            }
            // Not waited for, though there is nothing to move.
            let (empty, _writer) = session.pipe();
            let null = session.keep(std::fs::File::open("/dev/null").expect("a device"));
            session.one_recorded(
                "to what is open for reading",
                &ring,
                splice(empty, NO_OFFSET, null, NO_OFFSET, 1, 0),
            );
        }),
        Case::new("splice/nothing-to-splice", Opcode::Splice, |session| {
            let ring = session.ring(8);
            let (read, write) = session.pipe();
            let quiet = session.eventfd(0);
            session.one_recorded("from an eventfd", &ring, splice(quiet, NO_OFFSET, write, NO_OFFSET, 8, 0));
            session.one_recorded("to an eventfd", &ring, splice(read, NO_OFFSET, quiet, NO_OFFSET, 8, 0));
        }),
        Case::new("splice/fixed-input", Opcode::Splice, |session| {
            let ring = session.ring(8);
            let (read, write) = session.pipe();
            session.one_recorded("no table", &ring, splice(0, 0, write, NO_OFFSET, 4, FD_IN_FIXED));
            let table = session.ints(&[session.file(TEXT), write, -1]);
            session.outcome("register", ring.register(RegisterOpcode::Files.number(), table.addr(), 3));
            for input in [0, 2, 3, -1] {
                let sqe = splice(input, 0, write, NO_OFFSET, 4, FD_IN_FIXED);
                session.one_recorded(format!("input {input}"), &ring, sqe);
            }
            let sqe = splice(0, 10, 1, NO_OFFSET, 4, FD_IN_FIXED).with_flags(SqeFlags::FIXED_FILE);
            session.one_recorded("both fixed", &ring, sqe);
            session.bytes("in the pipe", &session.read_fd(read, 64));
        }),
        Case::new("splice/waits", Opcode::Splice, |session| {
            let ring = session.ring(8);
            let ((read, write), target) = (session.pipe(), session.file(b""));
            ring.push(splice(read, NO_OFFSET, target, 0, 16, 0).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.quiet("an empty pipe", &ring);
            session.write_fd(write, b"late");
            session.cqes("then", &ring.collect(1));
            session.bytes("content", &session.content(target));
            const SPLICE_F_NONBLOCK: u32 = 2;
            let sqe = splice(read, NO_OFFSET, target, 0, 16, SPLICE_F_NONBLOCK);
            session.one_recorded("non-blocking", &ring, sqe);
            session.close_kept(write);
            session.one_recorded("writer gone", &ring, splice(read, NO_OFFSET, target, 0, 16, 0));
        }),
        Case::new("tee/kinds", Opcode::Tee, |session| {
            let ring = session.ring(8);
            let ((read, write), (_other_read, other_write)) = (session.pipe(), session.pipe());
            session.write_fd(write, b"abcdefgh");
            let file = session.file(TEXT);
            session.one_recorded("file to pipe", &ring, tee(file, other_write, 4, 0));
            session.one_recorded("pipe to file", &ring, tee(read, file, 4, 0));
            session.one_recorded("the same pipe", &ring, tee(read, write, 4, 0));
            session.one_recorded("no bytes", &ring, tee(read, other_write, 0, 0));
            session.one_recorded("a part", &ring, tee(read, other_write, 4, 0));
            session.one_recorded("closed input", &ring, tee(session.closed_fd(), other_write, 4, 0));
            session.one_recorded("fixed without table", &ring, tee(0, other_write, 4, FD_IN_FIXED));
            let table = session.ints(&[read, other_write]);
            session.outcome("register", ring.register(RegisterOpcode::Files.number(), table.addr(), 2));
            let sqe = tee(0, 1, 4, FD_IN_FIXED).with_flags(SqeFlags::FIXED_FILE);
            session.one_recorded("both fixed", &ring, sqe);
        }),
    ]);
    cases
}
