//! Patching by moving the instructions before the `syscall` into the trampoline: a near jump takes their place and, unless one
//! has room enough, that of the `syscall`, so that the address behind it stays what it was.
//!
//! One instruction of five bytes, as `mov eax, 426` is, becomes one of five bytes: nobody can be inside, so that there may be any
//! number of threads and handlers. Who was behind it finds the `syscall` as ever.
//!
//! Where several move, it must not be possible to come to the middle of them. Jumps are looked for in the function and, as distances, in all code of the
//! object. And no thread may be in the middle already: that is so when the only thread of the program is the one in the trap,
//! and no handler of the program has interrupted anything. With more threads nobody could say where each one is; such
//! a site is refused.

use iced_x86::{FlowControl, Instruction, Mnemonic};
use ringer_engine::Refusal;

use crate::functions::{Function, Object};
use crate::listing::Listing;
use crate::trampoline::{NEAR_JUMP, SHORT_JUMP};
use crate::{handlers, threads};

/// The instruction before the `syscall` at `site`, if it alone makes room for a near jump. Not where a jump leads to the `syscall`
/// itself: that would trap as before.
pub fn alone(site: usize, listing: &Listing) -> Option<&[Instruction]> {
    let last = listing.index_of(site)?;
    let moved = listing.instructions.get(last.checked_sub(1)?..last)?;
    let is_possible = moved.iter().all(is_movable)
        && site - moved[0].ip() as usize >= NEAR_JUMP
        && !listing.refers_into(&(site..site + 1));
    is_possible.then_some(moved)
}

/// The instructions to move: those before the `syscall` at `site`, as few as make room for a near jump.
pub fn find<'listing>(
    site: usize,
    function: &Function,
    listing: &'listing Listing,
    object: &Object,
) -> Result<&'listing [Instruction], Refusal> {
    let last = listing.index_of(site).ok_or(Refusal::Function)?;
    let end = site + SHORT_JUMP;
    let first = (0..last)
        .rev()
        .find(|index| end - listing.instructions[*index].ip() as usize >= NEAR_JUMP)
        .ok_or(Refusal::Neighbours)?;
    let moved = &listing.instructions[first..last];
    if !moved.iter().all(is_movable) {
        return Err(Refusal::Neighbours);
    }
    let inside = moved[0].ip() as usize + 1..end;
    if function.has_landing_pads || listing.jumps_to_computed() || listing.refers_into(&inside) {
        return Err(Refusal::Targets);
    }
    if object.refers_into(&inside, &(inside.start - 1..end)) != Some(false) {
        return Err(Refusal::Targets);
    }
    if handlers::had_one() || !threads::is_only_one() {
        return Err(Refusal::Threads);
    }
    Ok(moved)
}

/// Whether an instruction does the same somewhere else. What depends on its place but for an address in memory does not.
fn is_movable(instruction: &Instruction) -> bool {
    instruction.flow_control() == FlowControl::Next
        && !matches!(instruction.mnemonic(), Mnemonic::Endbr64 | Mnemonic::Syscall)
}
