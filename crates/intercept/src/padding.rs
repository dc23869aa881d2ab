//! Patching with the help of padding: the two bytes of `syscall` become a short jump to a near jump, which lies in bytes that
//! nothing needs.
//!
//! A thread is before the `syscall` or behind it, never inside; and nobody is inside the padding. So this is safe with any number of
//! threads.

use std::ops::Range;

use iced_x86::Instruction;
use ringer_engine::Refusal;

use crate::functions::{Function, Object};
use crate::listing::{Listing, ends_path, is_padding};
use crate::trampoline::{NEAR_JUMP, SHORT_JUMP};

/// How far a short jump reaches, and what it reaches extends.
const REACH: usize = 128 + NEAR_JUMP;

/// A place for a near jump.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Where the near jump goes.
    pub jump: usize,
    /// What the path that leads through the padding has to get over, by a short jump at its start.
    pub hop: Option<Range<usize>>,
}

/// What earlier patches made of the code.
#[derive(Debug, Default)]
pub struct Earlier {
    /// Near jumps in padding.
    pub jumps: Vec<Range<usize>>,
    /// Where trampolines jump back to. No instruction shows that.
    pub returns: Vec<usize>,
}

/// The best place in reach of the `syscall` at `site`: between functions, as near as possible, else inside this one.
pub fn find(
    site: usize,
    listing: &Listing,
    object: &Object,
    earlier: &Earlier,
) -> Result<Option<Place>, Refusal> {
    let functions = object.functions_near(site, REACH).ok_or(Refusal::Function)?;
    let is_near = |place: &Place| i8::try_from(place.jump as i64 - (site + SHORT_JUMP) as i64).is_ok();
    let mut places = Vec::new();
    for pair in functions.windows(2) {
        if let [before, after] = pair {
            places.extend(between(before, after, &earlier.jumps).filter(is_near));
        }
    }
    if places.is_empty() {
        places.extend(inside(listing, object, &earlier.returns, is_near));
    }
    Ok(places.into_iter().min_by_key(|place| place.jump.abs_diff(site + SHORT_JUMP)))
}

/// The place between two functions, if there is one.
fn between(before: &Function, after: &Function, taken: &[Range<usize>]) -> Option<Place> {
    let gap = before.range.end..after.range.start;
    if gap.len() < NEAR_JUMP || gap.len() > 4 * REACH {
        return None;
    }
    // What others took they took from the front.
    let start = taken.iter().filter(|other| gap.contains(&other.start)).map(|other| other.end).max();
    let gap = start.unwrap_or(gap.start)..gap.end;
    if gap.len() < NEAR_JUMP {
        return None;
    }
    let is_free = Listing::of(&gap).is_ok_and(|listing| listing.instructions.iter().all(is_padding))
        && Listing::of(&before.range).is_ok_and(|listing| listing.ends());
    is_free.then_some(Place { jump: gap.start, hop: None })
}

/// The places inside a function: padding before the targets of jumps.
fn inside(
    listing: &Listing,
    object: &Object,
    returns: &[usize],
    is_near: impl Fn(&Place) -> bool,
) -> Vec<Place> {
    let mut places = Vec::new();
    let mut before: Option<&Instruction> = None;
    for run in listing.instructions.chunk_by(|a, b| is_padding(a) == is_padding(b)) {
        let previous = before.replace(&run[run.len() - 1]);
        if !is_padding(&run[0]) {
            continue;
        }
        let range = run[0].ip() as usize..run[run.len() - 1].next_ip() as usize;
        let dead = Place { jump: range.start, hop: None };
        if range.len() >= NEAR_JUMP
            && is_near(&dead)
            && previous.is_some_and(ends_path)
            && !returns.iter().any(|address| range.contains(address))
            && !listing.jumps_to_computed()
            && !listing.refers_into(&range)
            && object.refers_into(&range, &(0..0)) == Some(false)
        {
            places.push(dead);
        }
        // Threads come through the others. One instruction that is long enough for both jumps has no inside for them.
        places.extend(run.iter().filter(|nop| nop.len() >= SHORT_JUMP + NEAR_JUMP).map(|nop| {
            let (start, end) = (nop.ip() as usize, nop.next_ip() as usize);
            Place { jump: start + SHORT_JUMP, hop: Some(start..end) }
        }));
    }
    places.retain(is_near);
    places
}
