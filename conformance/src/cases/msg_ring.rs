//! MSG_RING, and `IORING_REGISTER_SEND_MSG_RING`.

use ringer_abi::{Opcode, RegisterOpcode, SetupFlags, Sqe, SqeFlags, uapi};

use crate::differential::{Case, Ring, Session, prep};

const SKIP: u32 = uapi::IORING_MSG_RING_CQE_SKIP;
const PASS: u32 = uapi::IORING_MSG_RING_FLAGS_PASS;
const ALLOCATE: u32 = u32::MAX;
const DATA: u64 = 0;
const FILE: u64 = 1;

fn data(to: &Ring, result: u32, user_data: u64) -> Sqe {
    prep::op(Opcode::MsgRing, to.fd).with_addr(DATA).with_len(result).with_off(user_data)
}

/// Slot `source` here goes to the slot before `target` there.
fn file(to: &Ring, source: u64, target: u32) -> Sqe {
    prep::op(Opcode::MsgRing, to.fd).with_addr(FILE).with_off(77).with_addr3(source).with_file_index(target)
}

/// Registers files, or empty slots.
fn table(session: &Session, ring: &Ring, files: &[i32]) {
    let numbers = session.ints(files);
    let opcode = RegisterOpcode::Files.number();
    session.outcome("table", ring.register(opcode, numbers.addr(), files.len() as u32));
}

/// Rings of every kind that has a say in who posts there, by name.
fn kinds() -> [(&'static str, SetupFlags); 6] {
    [
        ("plain", SetupFlags::empty()),
        ("deferring", SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN),
        (
            "deferring, flagged",
            SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN | SetupFlags::TASKRUN_FLAG,
        ),
        ("polled", SetupFlags::SQPOLL),
        ("for polled completion", SetupFlags::IOPOLL),
        ("with large CQEs", SetupFlags::CQE32),
    ]
}

/// Sends from a ring that may be polled, and looks at both sides.
fn send(session: &Session, label: &str, from: &Ring, to: &Ring, sqe: Sqe) {
    session.one_recorded(label, from, sqe.with_user_data(9));
    let came = to.collect_until(std::time::Duration::from_millis(30), |seen| !seen.is_empty());
    session.cqes(format!("{label}: there"), &came);
}

/// The cases of MSG_RING.
pub fn cases() -> Vec<Case> {
    let mut cases = data_cases();
    cases.extend(file_cases());
    cases.extend(register_cases());
    cases
}

fn data_cases() -> Vec<Case> {
    vec![
        Case::new("msg-ring/kinds-of-rings", Opcode::MsgRing, |session| {
            for (to_name, to_flags) in kinds() {
                for (from_name, from_flags) in kinds() {
                    let (from, to) = (session.ring_with(8, from_flags), session.ring_with(8, to_flags));
                    let label = format!("{from_name} to {to_name}");
                    send(session, &label, &from, &to, data(&to, 5, 77));
                    send(session, &label, &from, &to, data(&to, 6, 78).with_flags(SqeFlags::ASYNC));
                }
            }
        }),
        Case::new("msg-ring/to-files-of-every-kind", Opcode::MsgRing, |session| {
            for (label, kind) in crate::differential::kinds::KINDS {
                let ring = session.ring(8);
                let fd = kind(session, &ring);
                let sqe = prep::op(Opcode::MsgRing, fd).with_len(5).with_off(77);
                session.one_recorded(label, &ring, sqe.with_user_data(9));
                let place = session.words(sqe.words());
                let opcode = RegisterOpcode::SendMsgRing.number();
                session.outcome(
                    format!("{label}: without a ring"),
                    session.register(-1, opcode, place.addr(), 1),
                );
                session.fresh();
            }
        }),
        Case::new("msg-ring/fields", Opcode::MsgRing, |session| {
            let (from, to) = (session.ring(8), session.ring(8));
            let good = data(&to, 5, 77);
            for bit in 0..32 {
                send(session, &format!("flag bit {bit}"), &from, &to, good.with_op_flags(1 << bit));
            }
            for bit in 0..64 {
                send(session, &format!("command bit {bit}"), &from, &to, good.with_addr(1 << bit));
            }
            for (label, sqe) in [
                ("addr3", good.with_addr3(1)),
                ("addr3, its upper half", good.with_addr3(1 << 32)),
                ("pad2", good.with_pad2(1)),
                ("file_index", good.with_file_index(1)),
                ("file_index and flags", good.with_file_index(u32::MAX).with_op_flags(PASS)),
                ("no file_index but flags", good.with_op_flags(PASS)),
                ("flags that mean something", good.with_file_index(1 << 16 | 2).with_op_flags(PASS)),
                ("skip and flags", good.with_op_flags(PASS | SKIP)),
                ("buf_index", good.with_buf_index(1)),
                ("fixed file", good.with_flags(SqeFlags::FIXED_FILE).with_fd(0)),
                ("negative descriptor", good.with_fd(-1)),
                ("buffer", good.with_flags(SqeFlags::BUFFER_SELECT)),
            ] {
                send(session, label, &from, &to, sqe);
            }
        }),
        Case::new("msg-ring/to-itself", Opcode::MsgRing, |session| {
            for (name, flags) in kinds() {
                let ring = session.ring_with(8, flags);
                let sqes = [prep::nop().with_user_data(1), data(&ring, 5, 2).with_user_data(3)];
                if flags.contains(SetupFlags::IOPOLL) {
                    session.batch_of(name, &ring, &sqes[1..], 2);
                } else {
                    session.batch_in_order(name, &ring, &sqes, 3);
                }
            }
        }),
        Case::new("msg-ring/disabled", Opcode::MsgRing, |session| {
            for flags in [SetupFlags::empty(), SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN] {
                let from = session.ring(8);
                let to = session.ring_with(8, flags | SetupFlags::R_DISABLED);
                table(session, &from, &[session.file(b"x")]);
                session.one_recorded("data", &from, data(&to, 5, 77));
                session.one_recorded("bad data", &from, data(&to, 5, 77).with_addr3(1));
                session.one_recorded("file", &from, file(&to, 0, 1));
                session.one_recorded("unknown command", &from, data(&to, 5, 77).with_addr(5));
                session.outcome("enable", to.register(RegisterOpcode::EnableRings.number(), 0, 0));
                send(session, "enabled", &from, &to, data(&to, 5, 77));
            }
        }),
        Case::new("msg-ring/overflow", Opcode::MsgRing, |session| {
            for (name, flags) in kinds() {
                if flags.contains(SetupFlags::SQPOLL) {
                    continue;
                }
                let (from, to) = (session.ring(16), session.ring_with(1, flags));
                let sqes: Vec<Sqe> =
                    (0..6).map(|number| data(&to, number, number.into()).with_user_data(9)).collect();
                session.batch(format!("{name}: here"), &from, &sqes);
                session.record(format!("{name}: overflow"), to.read_word(to.params.cq_off.overflow));
                session.cqes_in_order(format!("{name}: there"), &to.collect(6));
            }
        }),
        Case::new("msg-ring/in-a-chain", Opcode::MsgRing, |session| {
            let (from, to) = (session.ring(8), session.ring(8));
            let nop = prep::nop().with_user_data(2);
            for (label, sqe) in [("good", data(&to, 5, 77)), ("bad", data(&to, 5, 77).with_addr(9))] {
                let linked = sqe.with_user_data(1).with_flags(SqeFlags::IO_LINK);
                session.batch_in_order(label, &from, &[linked, nop], 2);
            }
            let negative = data(&to, (-5_i32) as u32, 77).with_user_data(1).with_flags(SqeFlags::IO_LINK);
            session.batch_in_order("a negative result", &from, &[negative, nop], 2);
            let skipped = data(&to, 5, 77).with_flags(SqeFlags::CQE_SKIP_SUCCESS);
            session.batch_of("skipped here", &from, &[skipped], 0);
            session.cqes("there", &to.collect(3));
            session.quiet("here", &from);
        }),
        Case::new("msg-ring/counted", Opcode::MsgRing, |session| {
            let (from, to) = (session.ring(8), session.ring(8));
            let late = session.timespec(60, 0);
            to.push(prep::timeout(late.addr(), 2, 0).with_user_data(1));
            session.outcome("timeout", to.submit());
            session.one_recorded("first", &from, data(&to, 5, 77));
            session.cqes("after the first", &to.collect(1));
            session.one_recorded("second", &from, data(&to, 6, 77));
            session.cqes("after the second", &to.collect(2));
        }),
        Case::new("msg-ring/eventfd", Opcode::MsgRing, |session| {
            for (label, opcode) in
                [("eventfd", RegisterOpcode::Eventfd), ("async eventfd", RegisterOpcode::EventfdAsync)]
            {
                let (from, to) = (session.ring(8), session.ring(8));
                let counter = session.eventfd(0);
                session.with_kept(counter, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("an eventfd");
                let number = session.ints(&[counter]);
                session.outcome(label, to.register(opcode.number(), number.addr(), 1));
                session.one_recorded("message", &from, data(&to, 5, 77));
                let mut value = [0; 8];
                let read = session.with_kept(counter, |fd| rustix::io::read(fd, &mut value));
                session.record("signalled", read.is_ok());
                session.one_recorded("to itself", &to, data(&to, 5, 78));
                let read = session.with_kept(counter, |fd| rustix::io::read(fd, &mut value));
                session.record("signalled", read.is_ok());
            }
        }),
    ]
}

fn file_cases() -> Vec<Case> {
    vec![
        Case::new("msg-ring/file-fields", Opcode::MsgRing, |session| {
            let (from, to) = (session.ring(8), session.ring(8));
            let good = file(&to, 0, 1);
            send(session, "no tables", &from, &to, good);
            table(session, &from, &[session.file(b"x"), -1]);
            send(session, "no table there", &from, &to, good);
            send(session, "no table there, any slot", &from, &to, file(&to, 0, ALLOCATE));
            send(session, "no table there, no file here", &from, &to, file(&to, 1, 1));
            table(session, &to, &[-1, -1]);
            for bit in 0..32 {
                send(session, &format!("flag bit {bit}"), &from, &to, good.with_op_flags(1 << bit));
            }
            for (label, sqe) in [
                ("no target", file(&to, 0, 0)),
                ("no target, no file", file(&to, 1, 0)),
                ("wide source", file(&to, 1 << 32, 1)),
                ("source far out", file(&to, u32::MAX.into(), 1)),
                ("target far out", file(&to, 0, u32::MAX - 1)),
                ("len", good.with_len(1)),
                ("skip", file(&to, 0, 2).with_op_flags(SKIP)),
                ("skip and flags", file(&to, 0, 2).with_op_flags(SKIP | PASS)),
                ("pad2", good.with_pad2(1)),
                ("any", file(&to, 0, ALLOCATE)),
                ("none free", file(&to, 0, ALLOCATE)),
                ("none free, skip", file(&to, 0, ALLOCATE).with_op_flags(SKIP)),
                ("to itself", file(&from, 0, 2)),
                ("to itself, empty slot", file(&from, 1, 2)),
                ("to itself, no target", file(&from, 1, 0)),
                ("to a file", good.with_fd(session.file(b"y"))),
            ] {
                send(session, label, &from, &to, sqe);
            }
        }),
        Case::new("msg-ring/file-kinds-of-rings", Opcode::MsgRing, |session| {
            for (to_name, to_flags) in kinds() {
                for (from_name, from_flags) in kinds() {
                    let (from, to) = (session.ring_with(8, from_flags), session.ring_with(8, to_flags));
                    let label = format!("{from_name} to {to_name}");
                    table(session, &from, &[session.file(b"x")]);
                    table(session, &to, &[-1, -1, -1]);
                    for (what, sqe) in [
                        ("a slot", file(&to, 0, 2)),
                        ("any", file(&to, 0, ALLOCATE)),
                        ("no such", file(&to, 0, 9)),
                        ("skip", file(&to, 0, 2).with_op_flags(SKIP)),
                    ] {
                        send(session, &format!("{label}, {what}"), &from, &to, sqe);
                    }
                }
            }
        }),
        Case::new("msg-ring/file-overflow", Opcode::MsgRing, |session| {
            let (from, to) = (session.ring(16), session.ring(1));
            table(session, &from, &[session.file(b"x")]);
            table(session, &to, &[-1; 8]);
            let sqes: Vec<Sqe> = (0..6).map(|_| file(&to, 0, ALLOCATE).with_user_data(9)).collect();
            session.batch("here", &from, &sqes);
            session.cqes_in_order("there", &to.collect(6));
        }),
    ]
}

fn register_cases() -> Vec<Case> {
    let call = |session: &Session, label: &str, fd: i32, sqe: Sqe, count: u32| {
        let words = session.words(sqe.words());
        let opcode = RegisterOpcode::SendMsgRing.number();
        session.outcome(label, session.register(fd, opcode, words.addr(), count));
    };
    vec![
        Case::general("register-send-msg-ring/data", move |session| {
            for (name, flags) in kinds() {
                let to = session.ring_with(8, flags);
                call(session, &format!("{name}: call"), -1, data(&to, 5, 77), 1);
                call(session, "again", -1, data(&to, 6, 78).with_op_flags(PASS).with_file_index(3), 1);
                session.cqes("there", &to.collect(2));
            }
            let to = session.ring_with(8, SetupFlags::R_DISABLED);
            call(session, "disabled", -1, data(&to, 5, 77), 1);
        }),
        Case::general("register-send-msg-ring/refused", move |session| {
            let to = session.ring(8);
            let good = data(&to, 5, 77);
            call(session, "on a ring", to.fd, good, 1);
            call(session, "on a file", session.file(b"x"), good, 1);
            call(session, "on a bad descriptor", session.closed_fd(), good, 1);
            call(session, "minus two", -2, good, 1);
            for count in [0, 2] {
                call(session, &format!("count {count}"), -1, good, count);
            }
            for (label, sqe) in [
                ("another opcode", good.with_opcode(0)),
                ("flags of the SQE", good.with_flags(SqeFlags::ASYNC)),
                ("fixed file", good.with_flags(SqeFlags::FIXED_FILE)),
                ("ioprio", good.with_ioprio(1)),
                ("buf_index", good.with_buf_index(1)),
                ("personality", good.with_personality(1)),
                ("pad2", good.with_pad2(1)),
                ("addr3", good.with_addr3(1)),
                ("file_index", good.with_file_index(1)),
                ("skip", good.with_op_flags(SKIP)),
                ("unknown flag", good.with_op_flags(4)),
                ("a file", file(&to, 0, 1)),
                ("unknown command", good.with_addr(2)),
                ("to a file", good.with_fd(session.file(b"x"))),
                ("to a closed one", good.with_fd(session.closed_fd())),
                ("bad command to a file", good.with_fd(session.file(b"x")).with_addr(2)),
            ] {
                call(session, label, -1, sqe, 1);
            }
            let opcode = RegisterOpcode::SendMsgRing.number();
            session.outcome("null", session.register(-1, opcode, 0, 1));
            session.outcome("bad address", session.register(-1, opcode, session.bad_address(), 1));
            let other = RegisterOpcode::Files.number();
            session.outcome("another call", session.register(-1, other, 0, 1));
            session.cqes("there", &to.reap_all());
        }),
    ]
}
