//! NOP with its flags: results, files, buffers, and CQEs of both sizes.

use ringer_abi::{EnterFlags, Opcode, RegisterOpcode, SetupFlags, Sqe, SqeFlags, uapi};

use crate::differential::{Case, prep};

/// Flags of NOP: what it is to do, or to complete with.
pub fn cases() -> Vec<Case> {
    const RESULT: u32 = uapi::IORING_NOP_INJECT_RESULT;
    const FILE: u32 = uapi::IORING_NOP_FILE;
    const FIXED_FILE: u32 = uapi::IORING_NOP_FIXED_FILE;
    const FIXED_BUFFER: u32 = uapi::IORING_NOP_FIXED_BUFFER;
    const TASK_WORK: u32 = uapi::IORING_NOP_TW;
    const BIG: u32 = 1 << 5;
    let big = |data: u64| {
        prep::nop().with_op_flags(BIG).with_off(0x1111 * data).with_addr(0x2222 * data).with_user_data(data)
    };
    vec![
        Case::new("nop/injected-results", Opcode::Nop, |session| {
            let ring = session.ring(8);
            for result in [0, 1, i32::MAX, -1, -4, -11, -512, -529, i32::MIN] {
                let sqe = prep::nop().with_op_flags(RESULT).with_len(result as u32);
                session.one_recorded(format!("{result}"), &ring, sqe);
                session.one_recorded(format!("{result}, flag not set"), &ring, sqe.with_op_flags(0));
                let later = sqe.with_op_flags(RESULT | TASK_WORK);
                session.one_recorded(format!("{result}, task work"), &ring, later);
                // -EAGAIN says to a worker of Linux that the request would wait.
                if result != -11 {
                    let sqe = sqe.with_flags(SqeFlags::ASYNC);
                    session.one_recorded(format!("{result}, on a worker"), &ring, sqe);
                }
            }
            let failing = prep::nop().with_op_flags(RESULT).with_len(-5_i32 as u32).with_user_data(1);
            for (label, flags) in [("link", SqeFlags::IO_LINK), ("hard link", SqeFlags::IO_HARDLINK)] {
                let sqes = [failing.with_flags(flags), prep::nop().with_user_data(2)];
                session.batch(label, &ring, &sqes);
            }
            let skipping = failing.with_flags(SqeFlags::CQE_SKIP_SUCCESS);
            session.one_recorded("a failure is not skipped", &ring, skipping);
        }),
        Case::new("nop/files-and-buffers", Opcode::Nop, |session| {
            let ring = session.ring(8);
            let nop = |flags: u32, fd: i32| prep::nop().with_op_flags(flags).with_fd(fd);
            let file = session.file(b"");
            session.one_recorded("file", &ring, nop(FILE, file));
            session.one_recorded("no file", &ring, nop(FILE, -1));
            session.one_recorded("closed file", &ring, nop(FILE, session.closed_fd()));
            session.one_recorded("fixed file, none registered", &ring, nop(FILE | FIXED_FILE, 0));
            session.one_recorded("fixed file alone", &ring, nop(FIXED_FILE, 77));
            session.one_recorded("by the SQE's flag", &ring, nop(FILE, 0).with_flags(SqeFlags::FIXED_FILE));
            session.one_recorded("buffer, none registered", &ring, nop(FIXED_BUFFER, -1));
            let files = session.ints(&[file, -1]);
            let register = |opcode: RegisterOpcode, argument, count| {
                session.outcome(format!("{opcode:?}"), ring.register(opcode.number(), argument, count));
            };
            register(RegisterOpcode::Files, files.addr(), 2);
            let memory = session.memory(4096);
            let buffers = session.vectors(&[(memory.addr(), 4096), (0, 0)]);
            register(RegisterOpcode::Buffers, buffers.addr(), 2);
            for index in [0, 1, 2, -1] {
                session.one_recorded(format!("fixed file {index}"), &ring, nop(FILE | FIXED_FILE, index));
                let both = nop(FILE, index).with_flags(SqeFlags::FIXED_FILE);
                session.one_recorded(format!("SQE's fixed file {index}"), &ring, both);
                let buffer = nop(FIXED_BUFFER, -1).with_buf_index(index as u16);
                session.one_recorded(format!("buffer {index}"), &ring, buffer);
            }
            let all = nop(FILE | FIXED_FILE | FIXED_BUFFER | RESULT | TASK_WORK, 0).with_len(7);
            session.one_recorded("all together", &ring, all);
            session.one_recorded("bad file and buffer", &ring, all.with_fd(9).with_buf_index(9));
        }),
        Case::new("nop/big-completions", Opcode::Nop, move |session| {
            let kinds = [SetupFlags::empty(), SetupFlags::CQE32, SetupFlags::CQE_MIXED];
            for flags in kinds {
                let ring = session.ring_with(4, flags);
                session.one_recorded(
                    format!("{flags:?}: plain"),
                    &ring,
                    prep::nop().with_off(1).with_addr(2),
                );
                session.one_recorded(format!("{flags:?}: big"), &ring, big(3));
                let later = big(4).with_op_flags(BIG | TASK_WORK);
                session.one_recorded(format!("{flags:?}: task work"), &ring, later);
                let failing = big(5).with_op_flags(BIG | RESULT).with_len(-7_i32 as u32);
                session.one_recorded(format!("{flags:?}: failing"), &ring, failing);
            }
        }),
        Case::new("nop/mixed-completions-around-the-end", Opcode::Nop, move |session| {
            let ring = session.ring_with(4, SetupFlags::CQE_MIXED);
            let words = |label: &str| {
                let (head, tail) = (ring.params.cq_off.head, ring.params.cq_off.tail);
                session.record(label, format!("{} {}", ring.read_word(head), ring.read_word(tail)));
            };
            for round in 0..12 {
                ring.push(big(2 * round + 1));
                ring.push(prep::nop().with_user_data(2 * round + 2));
                session.outcome(format!("{round}: submit"), ring.submit());
                words(&format!("{round}: head and tail"));
                session.cqes_in_order(format!("{round}"), &ring.reap_all());
            }
        }),
        Case::new("nop/mixed-completions-overflow", Opcode::Nop, move |session| {
            let ring = session.ring_with(4, SetupFlags::CQE_MIXED);
            for round in 0..3 {
                for part in 0..2 {
                    // Each fills two places, so that none is left over before the end: Linux 6.18 writes past
                    // the program's head when a large one is to go where a single place is free.
                    let sqes: Vec<Sqe> = (0..4).map(|index| big(100 * round + 10 * part + index)).collect();
                    ring.push_all(&sqes);
                    session.outcome(format!("{round} {part}: submit"), ring.submit());
                    session.record(format!("{round} {part}: ready"), ring.ready());
                    session.record(format!("{round} {part}: flags"), ring.sq_flags());
                }
                session.cqes_in_order(format!("{round}: first"), &ring.reap_all());
                session.outcome(format!("{round}: flush"), ring.enter(0, 0, EnterFlags::GETEVENTS));
                session.cqes_in_order(format!("{round}: second"), &ring.reap_all());
                session.outcome(format!("{round}: flush"), ring.enter(0, 0, EnterFlags::GETEVENTS));
                session.cqes_in_order(format!("{round}: third"), &ring.reap_all());
            }
        }),
    ]
}
