//! PIPE, FIXED_FD_INSTALL, MSG_RING, BIND and LISTEN.

use ringer_abi::{Opcode, RegisterOpcode, Sqe, SqeFlags, uapi};
use ringer_sys::call;

use super::rw::TEXT;
use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::fixtures::SOCKADDR_IN;
use crate::differential::{Case, Ring, Session, prep};

const ALLOC: u32 = uapi::IORING_FILE_INDEX_ALLOC as u32;

/// PIPE: where the two descriptors go stands in `addr`.
fn pipe(place: u64, flags: u32) -> Sqe {
    prep::op(Opcode::Pipe, 0).with_addr(place).with_op_flags(flags)
}

fn install(slot: i32, flags: u32) -> Sqe {
    prep::op(Opcode::FixedFdInstall, slot).with_op_flags(flags).with_flags(SqeFlags::FIXED_FILE)
}

/// MSG_RING: the result in `len`, the user data in `off`, the command in `addr`.
fn message(ring: i32, command: u64, result: u32, user_data: u64) -> Sqe {
    prep::op(Opcode::MsgRing, ring).with_addr(command).with_len(result).with_off(user_data)
}

const PIPE: Exemplar = Exemplar::new(
    "pipe",
    Opcode::Pipe,
    FdRole::Ignored,
    &[Field::Addr, Field::OpFlags, Field::FileIndex],
    &[Field::Addr],
    |session, _| {
        let place = session.ints(&[-7, -7]);
        Good::new(pipe(place.addr(), 0)).observe(move |session| {
            let (read, write) = (place.get::<i32>(0), place.get::<i32>(4));
            session.record("two descriptors", read > 2 && write > 2);
            let text = session.memory_of(b"through");
            session.outcome("write", call::write(write, text.user(), 7).map(|value| value as i64));
            for fd in [read, write] {
                session.outcome("close", call::close(fd).map(|value| value as i64));
            }
        })
    },
);

const BIND: Exemplar = Exemplar::new(
    "bind",
    Opcode::Bind,
    FdRole::File,
    &[Field::Off, Field::Addr],
    &[Field::Addr],
    |session, _| {
        let address = session.sockaddr(0);
        Good::new(
            prep::op(Opcode::Bind, session.tcp_socket())
                .with_addr(address.addr())
                .with_off(SOCKADDR_IN as u64),
        )
    },
);

const LISTEN: Exemplar =
    Exemplar::new("listen", Opcode::Listen, FdRole::File, &[Field::Len], &[], |session, _| {
        let (listener, _) = session.listener();
        Good::new(prep::op(Opcode::Listen, listener).with_len(4))
    });

fn table(session: &Session, ring: &Ring, fds: &[i32]) {
    let array = session.ints(fds);
    session
        .outcome("register", ring.register(RegisterOpcode::Files.number(), array.addr(), fds.len() as u32));
}

/// The cases of the family.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [PIPE, BIND, LISTEN].into_iter().flat_map(Exemplar::cases).collect();
    cases.extend([
        Case::new("pipe/into-slots", Opcode::Pipe, |session| {
            let ring = session.ring(8);
            let place = session.ints(&[-7, -7]);
            session.one_recorded("no table", &ring, pipe(place.addr(), 0).with_file_index(1));
            table(session, &ring, &[-1, -1, -1]);
            for index in [1, 2, 3, ALLOC, ALLOC] {
                session.one_recorded(
                    format!("index {index}"),
                    &ring,
                    pipe(place.addr(), 0).with_file_index(index),
                );
                session.record("written", format!("{} {}", place.get::<i32>(0), place.get::<i32>(4)));
            }
            session.one_recorded("bad place", &ring, pipe(session.bad_address(), 0).with_file_index(1));
        }),
        Case::new("fixed-file/changed-in-the-submission", Opcode::FilesUpdate, |session| {
            let (file, buffer) = (session.file(b"before"), session.memory(16));
            for (label, before, after) in [
                ("filled", -1, session.file(b"later")),
                ("emptied", file, -1),
                ("changed", file, session.file(b"later")),
            ] {
                for flags in [SqeFlags::empty(), SqeFlags::ASYNC] {
                    let ring = session.ring(8);
                    let (slots, array) = (session.ints(&[before]), session.ints(&[after]));
                    session.outcome(label, ring.register(RegisterOpcode::Files.number(), slots.addr(), 1));
                    let read = prep::read(0, buffer.addr(), 16, 0).with_flags(SqeFlags::FIXED_FILE | flags);
                    let update = prep::op(Opcode::FilesUpdate, -1).with_addr(array.addr()).with_len(1);
                    ring.push(read.with_user_data(1));
                    ring.push(update.with_user_data(2));
                    session.outcome(format!("{label}, {flags:?}"), ring.submit());
                    session.cqes(format!("{label}, {flags:?}"), &ring.collect(2));
                    session.bytes("read", &buffer.bytes());
                }
            }
        }),
        Case::new("fixed-fd-install/use", Opcode::FixedFdInstall, |session| {
            let ring = session.ring(8);
            session.one_recorded("no table", &ring, install(0, 0));
            table(session, &ring, &[session.file(TEXT), -1]);
            for (label, sqe) in [
                ("good", install(0, 0)),
                ("without close-on-exec", install(0, 1)),
                ("async", install(0, 0).with_flags(SqeFlags::FIXED_FILE | SqeFlags::ASYNC)),
            ] {
                let result = session.one(&ring, sqe).map_or(-1, |cqe| cqe.res);
                session.record(label, result > 2);
                session.outcome("close-on-exec", call::fcntl(result, 1, 0).map(|value| value as i64));
                session.outcome("close", call::close(result).map(|value| value as i64));
            }
            for (label, sqe) in [
                ("not fixed", install(0, 0).with_flags(SqeFlags::empty())),
                ("empty slot", install(1, 0)),
                ("past the end", install(2, 0)),
                ("unknown flag", install(0, 2)),
                ("off", install(0, 0).with_off(1)),
                ("addr", install(0, 0).with_addr(1)),
                ("len", install(0, 0).with_len(1)),
                ("buf_index", install(0, 0).with_buf_index(1)),
                ("file_index", install(0, 0).with_file_index(1)),
                ("addr3", install(0, 0).with_addr3(1)),
                ("ioprio", install(0, 0).with_ioprio(1)),
                ("personality", install(0, 0).with_personality(1)),
            ] {
                session.one_recorded(label, &ring, sqe);
            }
        }),
        Case::new("msg-ring/data", Opcode::MsgRing, |session| {
            let (ring, other) = (session.ring(8), session.ring(8));
            let send = |command, result| message(other.fd, command, result, 77);
            session.one_recorded("data", &ring, send(0, 5));
            session.cqes("arrived", &other.collect(1));
            session.one_recorded("a large result", &ring, send(0, u32::MAX));
            session.cqes("arrived", &other.collect(1));
            session.one_recorded("skipped", &ring, send(0, 5).with_op_flags(1));
            session.quiet("nothing", &other);
            session.one_recorded("flags passed on", &ring, send(0, 5).with_op_flags(2).with_file_index(3));
            session.cqes("arrived", &other.collect(1));
            session.one_recorded("unknown command", &ring, send(7, 5));
            session.one_recorded("unknown flag", &ring, send(0, 5).with_op_flags(4));
            session.one_recorded("to itself", &ring, message(ring.fd, 0, 5, 78).with_user_data(1));
            session.one_recorded("to a file", &ring, message(session.file(b""), 0, 5, 78));
            session.one_recorded("to a closed one", &ring, message(session.closed_fd(), 0, 5, 78));
            session.one_recorded("ioprio", &ring, send(0, 5).with_ioprio(1));
            session.one_recorded("buf_index", &ring, send(0, 5).with_buf_index(1));
            session.one_recorded("personality", &ring, send(0, 5).with_personality(1));
        }),
        Case::new("msg-ring/file", Opcode::MsgRing, |session| {
            let (ring, other) = (session.ring(8), session.ring(8));
            table(session, &ring, &[session.file(TEXT), -1]);
            table(session, &other, &[-1, -1]);
            // The source slot stands in `addr3`, the target slot plus one in `file_index`.
            let send = |source: u64, target: u32| {
                message(other.fd, 1, 0, 77).with_addr3(source).with_file_index(target)
            };
            session.one_recorded("slot 0 to slot 1", &ring, send(0, 2));
            session.cqes("arrived", &other.collect(1));
            session.one_recorded("to any", &ring, send(0, ALLOC));
            session.cqes("arrived", &other.collect(1));
            session.one_recorded("an empty one", &ring, send(1, 1));
            session.one_recorded("past the end", &ring, send(2, 1));
            session.one_recorded("target past the end", &ring, send(0, 3));
            session.one_recorded("with a length", &ring, send(0, 1).with_len(1));
            let buffer = session.memory(8);
            let fixed = prep::read(1, buffer.addr(), 4, 0).with_flags(SqeFlags::FIXED_FILE);
            session.one_recorded("it can be read there", &other, fixed);
        }),
        Case::new("bind/lengths-and-states", Opcode::Bind, |session| {
            let ring = session.ring(8);
            let bind = |fd: i32, address: u64, length: u64| {
                prep::op(Opcode::Bind, fd).with_addr(address).with_off(length)
            };
            let address = session.sockaddr(0);
            for length in [0, 1, 8, 15, 16, 128, 129, u64::MAX] {
                let place = session.memory(256);
                place.fill(&address.bytes());
                session.one_recorded(
                    format!("length {length}"),
                    &ring,
                    bind(session.tcp_socket(), place.addr(), length),
                );
            }
            let socket = session.tcp_socket();
            session.one_recorded("first", &ring, bind(socket, address.addr(), 16));
            session.one_recorded("twice", &ring, bind(socket, address.addr(), 16));
            let (_listener, port) = session.listener();
            session.one_recorded(
                "in use",
                &ring,
                bind(session.tcp_socket(), session.sockaddr(port).addr(), 16),
            );
        }),
        Case::new("listen/states", Opcode::Listen, |session| {
            let ring = session.ring(8);
            let listen = |fd: i32, backlog: u32| prep::op(Opcode::Listen, fd).with_len(backlog);
            session.one_recorded("unbound", &ring, listen(session.tcp_socket(), 4));
            session.one_recorded("no backlog", &ring, listen(session.tcp_socket(), 0));
            session.one_recorded("huge backlog", &ring, listen(session.tcp_socket(), u32::MAX));
            session.one_recorded("connected", &ring, listen(session.tcp_pair().0, 4));
            session.one_recorded("datagrams", &ring, listen(session.udp().0, 4));
        }),
    ]);
    cases
}
