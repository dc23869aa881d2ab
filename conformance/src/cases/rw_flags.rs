//! The flags of READ and WRITE (`RWF_`) on every kind of file.

use ringer_abi::{Opcode, SqeFlags};

use super::rw::TEXT;
use crate::differential::kinds::KINDS;
use crate::differential::{Case, prep};

/// One more bit than there are flags.
const BITS: u32 = 10;
/// `RWF_NOWAIT`.
const NOWAIT: u32 = 0x8;

/// The cases.
pub fn cases() -> Vec<Case> {
    let case = |name, opcode, writes: bool, extra: SqeFlags| {
        Case::new(name, opcode, move |session| {
            for (label, make) in KINDS.iter().filter(|(label, _)| *label != "the ring") {
                for bit in 0..BITS {
                    let ring = session.ring(8);
                    let (fd, bytes) = (make(session, &ring), session.memory_of(TEXT));
                    let sqe = match writes {
                        true => prep::write(fd, bytes.addr(), 8, u64::MAX),
                        false => prep::read(fd, bytes.addr(), 8, u64::MAX),
                    };
                    ring.push(sqe.with_op_flags(1 << bit).with_flags(extra).with_user_data(1));
                    session.outcome(format!("{label}, bit {bit}: submit"), ring.submit());
                    let limit = std::time::Duration::from_millis(20);
                    let seen = ring.collect_until(limit, |seen| !seen.is_empty());
                    session.cqes(format!("{label}, bit {bit}"), &seen);
                }
                session.fresh();
            }
        })
    };
    vec![
        Case::new("write/nowait-of-an-eventfd-that-waits", Opcode::Write, |session| {
            let (ring, one) = (session.ring(8), session.words(&[1]));
            for flags in [rustix::event::EventfdFlags::empty(), rustix::event::EventfdFlags::NONBLOCK] {
                let counter = session.keep(rustix::event::eventfd(0, flags).expect("an eventfd"));
                let sqe = prep::write(counter, one.addr(), 8, u64::MAX).with_op_flags(NOWAIT);
                session.one_recorded(format!("{flags:?}"), &ring, sqe);
            }
        }),
        case("read/flags-of-every-file", Opcode::Read, false, SqeFlags::empty()),
        case("write/flags-of-every-file", Opcode::Write, true, SqeFlags::empty()),
        case("read/flags-of-every-file-on-a-worker", Opcode::Read, false, SqeFlags::ASYNC),
        case("write/flags-of-every-file-on-a-worker", Opcode::Write, true, SqeFlags::ASYNC),
    ]
}
