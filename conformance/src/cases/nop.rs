//! NOP.

use ringer_abi::{Opcode, RegisterOpcode, SetupFlags, Sqe, SqeFlags, uapi};

use crate::differential::Case;
use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::prep;

/// `IORING_NOP_CQE32`, Linux 6.18.
const CQE32: u32 = 1 << 5;

const NOP: Exemplar =
    Exemplar::new("nop", Opcode::Nop, FdRole::Ignored, &[Field::OpFlags], &[], |_, _| Good::new(prep::nop()));

/// The cases of NOP.
pub fn cases() -> Vec<Case> {
    let mut cases = NOP.cases();
    cases.push(
        Case::new("nop/user-data", Opcode::Nop, |session| {
            let ring = session.ring(8);
            let datas = [0, 1, u64::MAX, 1 << 63, 0x0123_4567_89ab_cdef];
            let sqes: Vec<Sqe> = datas.map(|data| prep::nop().with_user_data(data)).to_vec();
            session.batch_in_order("completions", &ring, &sqes, sqes.len());
        })
        .expect(&[("completions: submit", "5")]),
    );
    cases.push(Case::new("nop/unknown-opcodes", Opcode::Nop, |session| {
        for opcode in [63, 64, 100, 128, 255] {
            let ring = session.ring(8);
            let sqe = Sqe::default().with_opcode(opcode).with_user_data(7);
            session.one_recorded(format!("opcode {opcode}"), &ring, sqe);
        }
    }));
    cases.extend(injections());
    cases
}

fn injections() -> Vec<Case> {
    vec![
        Case::new("nop/each-combination", Opcode::Nop, |session| {
            for setup in [SetupFlags::empty(), SetupFlags::CQE32, SetupFlags::IOPOLL] {
                let ring = session.ring_with(8, setup);
                let file = session.file(b"x");
                let files = session.ints(&[file, -1]);
                session.outcome("files", ring.register(RegisterOpcode::Files.number(), files.addr(), 2));
                let memory = session.memory(4096);
                let buffers = session.vectors(&[(memory.addr(), 4096)]);
                session
                    .outcome("buffers", ring.register(RegisterOpcode::Buffers.number(), buffers.addr(), 1));
                for flags in 0..128 {
                    let sqe = prep::nop().with_op_flags(flags).with_len(5).with_off(6).with_addr(7);
                    for (label, fd, buffer) in
                        [("file", file, 0), ("slot", 0, 0), ("empty slot", 1, 0), ("neither", -1, 1)]
                    {
                        let sqe = sqe.with_fd(fd).with_buf_index(buffer);
                        session.one_recorded(format!("{flags:#x}, {label}, {:#x}", setup.bits()), &ring, sqe);
                    }
                }
                let injected = prep::nop().with_op_flags(uapi::IORING_NOP_INJECT_RESULT);
                for result in [0, 1, u32::MAX, 1 << 31, (-125_i32) as u32] {
                    session.one_recorded(format!("result {result:#x}"), &ring, injected.with_len(result));
                }
            }
        }),
        Case::new("nop/injected-failure-in-a-chain", Opcode::Nop, |session| {
            let ring = session.ring_with(8, SetupFlags::CQE32);
            let last = prep::nop().with_user_data(2);
            for (label, flags, len) in [
                ("failure", uapi::IORING_NOP_INJECT_RESULT, (-5_i32) as u32),
                ("success", uapi::IORING_NOP_INJECT_RESULT, 5),
                ("bad file", uapi::IORING_NOP_FILE, 0),
                ("bad file, injected", uapi::IORING_NOP_FILE | uapi::IORING_NOP_INJECT_RESULT, 5),
                ("bad buffer", uapi::IORING_NOP_FIXED_BUFFER, 0),
                ("later", uapi::IORING_NOP_TW, 0),
                ("later, failure", uapi::IORING_NOP_TW | uapi::IORING_NOP_INJECT_RESULT, (-5_i32) as u32),
                ("large", CQE32, 0),
            ] {
                let sqe = prep::nop().with_op_flags(flags).with_len(len).with_user_data(1);
                for flag in [SqeFlags::IO_LINK, SqeFlags::IO_HARDLINK] {
                    let first = sqe.with_flags(flag);
                    session.batch_in_order(format!("{label}, {}", flag.bits()), &ring, &[first, last], 2);
                }
            }
        }),
        Case::new("nop/as-task-work", Opcode::Nop, |session| {
            for setup in [
                SetupFlags::empty(),
                SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN,
                SetupFlags::SQPOLL,
            ] {
                let ring = session.ring_with(16, setup);
                let later = prep::nop().with_op_flags(uapi::IORING_NOP_TW);
                let sqes = [
                    later.with_user_data(1),
                    prep::nop().with_user_data(2),
                    later.with_user_data(3).with_flags(SqeFlags::IO_LINK),
                    prep::nop().with_user_data(4),
                    prep::nop().with_user_data(5),
                ];
                session.batch_in_order(format!("setup {:#x}", setup.bits()), &ring, &sqes, 5);
                let drain = prep::nop().with_flags(SqeFlags::IO_DRAIN).with_user_data(2);
                session.batch_in_order("drained", &ring, &[later.with_user_data(1), drain], 2);
            }
        }),
    ]
}
