//! NOP.

use ringer_abi::{Opcode, Sqe};

use crate::differential::Case;
use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::prep;

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
    cases
}
