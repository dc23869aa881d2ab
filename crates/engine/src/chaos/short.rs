//! Transfers that move fewer bytes than were asked for.

use ringer_abi::{Opcode, Sqe, SqeFlags};
use ringer_sys::UserAddress;

use super::Injected;

/// A transfer as it is cut.
enum Shape {
    /// `len` is the number of bytes.
    Bytes,
    /// `addr` leads to `len` vectors. A transfer of one part of memory, with this opcode, takes the place of it.
    Vectors(Opcode),
}

fn shape(opcode: Opcode) -> Option<Shape> {
    match opcode {
        Opcode::Read
        | Opcode::Write
        | Opcode::ReadFixed
        | Opcode::WriteFixed
        | Opcode::Send
        | Opcode::Recv => Some(Shape::Bytes),
        Opcode::Readv => Some(Shape::Vectors(Opcode::Read)),
        Opcode::Writev => Some(Shape::Vectors(Opcode::Write)),
        _ => None,
    }
}

/// Whether requests of an opcode can be cut.
pub(super) fn can_be_cut(opcode: Opcode) -> bool {
    shape(opcode).is_some()
}

/// Cuts a transfer to at least one byte. `None`: there is nothing to cut, or it would not be what Linux does.
pub(super) fn cut(sqe: &Sqe, draw: u64) -> Option<(Sqe, Injected)> {
    let opcode = Opcode::from_number(sqe.opcode())?;
    if sqe.flags().contains(SqeFlags::BUFFER_SELECT) || waits_for_all(sqe, opcode) {
        return None;
    }
    let (first, from, cut) = match shape(opcode)? {
        Shape::Bytes => (u64::from(sqe.len()), sqe.len(), *sqe),
        Shape::Vectors(single) => {
            let (address, first, all) = first_of(sqe)?;
            (first, all, sqe.with_opcode(single.number()).with_addr(address))
        }
    };
    // Not all that was asked for: of the first vector of several, all may be.
    let most = first.min(u64::from(from.checked_sub(1)?));
    let to = 1 + draw.checked_rem(most)? as u32;
    Some((cut.with_len(to), Injected::Short { from, to }))
}

/// Address and bytes of the first vector, and the bytes of all.
fn first_of(sqe: &Sqe) -> Option<(u64, u64, u32)> {
    /// `IOV_MAX`.
    const MOST: usize = 1024;
    let count = usize::try_from(sqe.len()).ok().filter(|count| *count <= MOST)?;
    let vectors = UserAddress::new(sqe.addr()).read_vec::<[u64; 2]>(count).ok()?;
    let [address, first] = *vectors.first()?;
    let all = vectors.iter().try_fold(0_u64, |sum, [_, bytes]| sum.checked_add(*bytes))?;
    Some((address, first, u32::try_from(all).ok()?))
}

/// Whether a transfer on a socket is to move all (`MSG_WAITALL`).
fn waits_for_all(sqe: &Sqe, opcode: Opcode) -> bool {
    const MSG_WAITALL: u32 = 0x100;
    matches!(opcode, Opcode::Send | Opcode::Recv) && sqe.op_flags() & MSG_WAITALL != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(opcode: Opcode) -> Sqe {
        Sqe::default().with_opcode(opcode.number())
    }

    #[test]
    fn vectors_become_a_part_of_the_first() {
        let memory = [[0x1000_u64, 8], [0x2000, 100]];
        let sqe = of(Opcode::Readv).with_addr(memory.as_ptr() as u64).with_len(2).with_off(7).with_fd(3);
        let mut lengths = [false; 9];
        for draw in 0..100 {
            let (cut, injected) = super::cut(&sqe, draw).expect("there is something to cut");
            assert_eq!(injected, Injected::Short { from: 108, to: cut.len() });
            let expected = of(Opcode::Read).with_addr(0x1000).with_len(cut.len()).with_off(7).with_fd(3);
            assert_eq!(cut, expected);
            lengths[cut.len() as usize] = true;
        }
        assert_eq!(lengths, [false, true, true, true, true, true, true, true, true]);
        let single = sqe.with_len(1);
        assert!((0..100).all(|draw| super::cut(&single, draw).is_some_and(|(cut, _)| cut.len() < 8)));
    }

    #[test]
    fn what_cannot_be_cut_stays() {
        let nothing = [[0x1000_u64, 0]];
        let vectors = of(Opcode::Writev).with_addr(nothing.as_ptr() as u64);
        for sqe in [
            of(Opcode::Read),
            of(Opcode::Read).with_len(1),
            of(Opcode::Recv).with_len(100).with_op_flags(0x100),
            of(Opcode::Recv).with_len(100).with_flags(SqeFlags::BUFFER_SELECT),
            of(Opcode::Openat).with_len(100),
            vectors,
            vectors.with_len(1),
            vectors.with_len(1).with_addr(16),
        ] {
            assert_eq!(cut(&sqe, 5), None, "{sqe:?}");
        }
    }
}
