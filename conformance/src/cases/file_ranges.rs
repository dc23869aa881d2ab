//! FSYNC, SYNC_FILE_RANGE, FALLOCATE, FADVISE and MADVISE.

use ringer_abi::{Opcode, Sqe};

use super::rw::TEXT;
use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::{Case, prep};

/// Every value of these fields: to spare no errno of the system calls behind.
const ODD_LENGTHS: [u64; 6] = [0, 1, 4096, i64::MAX as u64, 1 << 63, u64::MAX];

const FSYNC: Exemplar = Exemplar::new(
    "fsync",
    Opcode::Fsync,
    FdRole::File,
    &[Field::Off, Field::Len, Field::OpFlags],
    &[],
    |session, _| Good::new(prep::op(Opcode::Fsync, session.file(TEXT))),
);

const SYNC_FILE_RANGE: Exemplar = Exemplar::new(
    "sync-file-range",
    Opcode::SyncFileRange,
    FdRole::File,
    &[Field::Off, Field::Len, Field::OpFlags],
    &[],
    |session, _| {
        let sqe = prep::op(Opcode::SyncFileRange, session.file(TEXT)).with_off(0).with_len(64);
        Good::new(sqe.with_op_flags(7))
    },
);

/// FALLOCATE: the length stands in `addr`, the mode in `len`.
fn fallocate(fd: i32, mode: u32, off: u64, bytes: u64) -> Sqe {
    prep::op(Opcode::Fallocate, fd).with_off(off).with_addr(bytes).with_len(mode)
}

const FALLOCATE: Exemplar = Exemplar::new(
    "fallocate",
    Opcode::Fallocate,
    FdRole::File,
    &[Field::Off, Field::Addr, Field::Len],
    &[],
    |session, _| {
        let file = session.file(b"abc");
        Good::new(fallocate(file, 0, 2, 6))
            .observe(move |session| session.bytes("content", &session.content(file)))
    },
);

const FADVISE: Exemplar = Exemplar::new(
    "fadvise",
    Opcode::Fadvise,
    FdRole::File,
    &[Field::Off, Field::Addr, Field::Len, Field::OpFlags],
    &[],
    |session, _| Good::new(prep::op(Opcode::Fadvise, session.file(TEXT)).with_len(64).with_op_flags(2)),
);

const MADVISE: Exemplar = Exemplar::new(
    "madvise",
    Opcode::Madvise,
    FdRole::Ignored,
    &[Field::Off, Field::Addr, Field::Len, Field::OpFlags],
    &[Field::Addr],
    |session, _| {
        let memory = session.memory(8192);
        memory.fill(&[7; 8192]);
        let sqe = prep::op(Opcode::Madvise, -1).with_addr(memory.addr()).with_len(4096).with_op_flags(4);
        Good::new(sqe).observe(move |session| session.bytes("memory", &memory.bytes()))
    },
);

/// The cases of the family.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> =
        [FSYNC, SYNC_FILE_RANGE, FALLOCATE, FADVISE, MADVISE].into_iter().flat_map(Exemplar::cases).collect();
    cases.extend([
        Case::new("fsync/ranges", Opcode::Fsync, |session| {
            let (ring, file) = (session.ring(8), session.file(TEXT));
            for flags in [0, 1] {
                for off in ODD_LENGTHS {
                    for len in [0, 1, u32::MAX] {
                        let sqe = prep::op(Opcode::Fsync, file).with_off(off).with_len(len);
                        let label = format!("off {off:#x} len {len:#x} flags {flags}");
                        session.one_recorded(label, &ring, sqe.with_op_flags(flags));
                    }
                }
            }
        }),
        Case::new("sync-file-range/ranges", Opcode::SyncFileRange, |session| {
            let (ring, file) = (session.ring(8), session.file(TEXT));
            for off in ODD_LENGTHS {
                for len in [0, 1, u32::MAX] {
                    let sqe = prep::op(Opcode::SyncFileRange, file).with_off(off).with_len(len);
                    session.one_recorded(format!("off {off:#x} len {len:#x}"), &ring, sqe.with_op_flags(2));
                }
            }
            for flags in 0..9 {
                let sqe = prep::op(Opcode::SyncFileRange, file).with_len(8).with_op_flags(flags);
                session.one_recorded(format!("flags {flags}"), &ring, sqe);
            }
        }),
        Case::new("fallocate/modes", Opcode::Fallocate, |session| {
            let ring = session.ring(8);
            for mode in (0..16).map(|bit| 1_u32 << bit).chain([0, 3, 9, 11, 0x8000_0000, u32::MAX]) {
                let file = session.file(&[b'x'; 16384]);
                session.one_recorded(format!("mode {mode:#x}"), &ring, fallocate(file, mode, 4096, 4096));
                session.bytes(format!("mode {mode:#x}: content"), &session.content(file));
            }
        }),
        Case::new("fallocate/ranges", Opcode::Fallocate, |session| {
            let ring = session.ring(8);
            for off in [0, 3, i64::MAX as u64, 1 << 63, u64::MAX] {
                for len in [0, 5, i64::MAX as u64, 1 << 63, u64::MAX] {
                    let file = session.file(b"abc");
                    let label = format!("off {off:#x} len {len:#x}");
                    session.one_recorded(&label, &ring, fallocate(file, 0, off, len));
                }
            }
        }),
        Case::new("fadvise/advices", Opcode::Fadvise, |session| {
            let (ring, file) = (session.ring(8), session.file(TEXT));
            let sqe = prep::op(Opcode::Fadvise, file);
            for advice in [0, 1, 2, 3, 4, 5, 6, 7, 100, u32::MAX] {
                session.one_recorded(
                    format!("advice {advice}"),
                    &ring,
                    sqe.with_op_flags(advice).with_len(64),
                );
            }
            for off in ODD_LENGTHS {
                for (len, addr) in [(0, 0), (64, 0), (u32::MAX, 0), (0, 64), (64, 1), (0, u64::MAX)] {
                    let label = format!("off {off:#x} len {len:#x} addr {addr:#x}");
                    session.one_recorded(label, &ring, sqe.with_off(off).with_len(len).with_addr(addr));
                }
            }
        }),
        Case::new("madvise/advices", Opcode::Madvise, |session| {
            let ring = session.ring(8);
            let base = prep::op(Opcode::Madvise, -1);
            for advice in (0..26).chain([100, 101, 102, 103, u32::MAX]) {
                let memory = session.memory(8192);
                memory.fill(&[7; 8192]);
                let sqe = base.with_addr(memory.addr()).with_len(8192).with_op_flags(advice);
                // HWPOISON and SOFT_OFFLINE take pages away from the machine.
                if ![100, 101].contains(&advice) {
                    session.one_recorded(format!("advice {advice}"), &ring, sqe);
                }
            }
        }),
        Case::new("madvise/ranges", Opcode::Madvise, |session| {
            let ring = session.ring(8);
            let base = prep::op(Opcode::Madvise, -1).with_op_flags(4);
            let memory = session.memory(8192);
            let ranges = [
                ("unaligned", memory.addr() + 1, 4096, 0),
                ("empty", memory.addr(), 0, 0),
                ("part of a page", memory.addr(), 1, 0),
                ("null", 0, 4096, 0),
                ("null, empty", 0, 0, 0),
                ("length in off", memory.addr(), 0, 4096),
                ("lengths in both", memory.addr(), 4096, 8192),
            ];
            for (label, addr, len, off) in ranges {
                memory.fill(&[7; 8192]);
                session.one_recorded(label, &ring, base.with_addr(addr).with_len(len).with_off(off));
                session.bytes(format!("{label}: memory"), &memory.bytes());
            }
        }),
    ]);
    cases
}
