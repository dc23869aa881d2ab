//! Patching with the help of padding: the two bytes of `syscall` become a short jump to a near jump, which lies in bytes that
//! nothing needs. Where no padding in reach is long enough, shorter pieces of it take the jump further.
//!
//! A thread is before the `syscall` or behind it, never inside; and nobody is inside the padding. So this is safe with any number of
//! threads.

use std::collections::VecDeque;
use std::ops::Range;

use iced_x86::{Instruction, Mnemonic};
use ringer_engine::Refusal;

use crate::code::Edit;
use crate::functions::{Function, Object};
use crate::listing::{Listing, ends_path, is_padding};
use crate::trampoline::{NEAR_JUMP, SHORT_JUMP, short_jump};

/// Short jumps before the near jump, at most.
const STEPS: usize = 3;

/// How far the last of them reaches, and what it reaches extends.
const REACH: usize = STEPS * (128 + SHORT_JUMP) + 16;

/// What fills the rest of what jumps replaced: a break, where nobody comes, and whole instructions for who decodes it.
pub const BREAK: u8 = 0xcc;

/// What earlier patches made of the code.
#[derive(Debug, Default)]
pub struct Earlier {
    /// Jumps in padding, by address.
    pub jumps: Vec<usize>,
    /// Where trampolines jump back to. No instruction shows that.
    pub returns: Vec<usize>,
}

/// Padding.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Pad {
    range: Range<usize>,
    /// Whether threads come through it. It is one instruction then, so that it has no inside for them, and they get a jump over
    /// the rest of it.
    is_path: bool,
    /// Whether it lies between two functions.
    is_between: bool,
}

impl Pad {
    /// Where a jump of this length can be put that a short jump at `from` reaches.
    fn place(&self, from: usize, length: usize) -> Option<usize> {
        let first = self.range.start + if self.is_path { SHORT_JUMP } else { 0 };
        let last = self.range.end.checked_sub(length)?;
        let reached = (from + SHORT_JUMP).saturating_sub(128)..=from + SHORT_JUMP + 127;
        let place = first.max(*reached.start());
        (place <= last && place <= *reached.end()).then_some(place)
    }

    /// The padding with a jump in it.
    fn with(&self, place: usize, jump: &[u8]) -> Option<Edit> {
        let mut bytes = vec![BREAK; self.range.len()];
        if self.is_path {
            bytes[..SHORT_JUMP].copy_from_slice(&short_jump(self.range.start, self.range.end)?);
        }
        let offset = place - self.range.start;
        bytes.get_mut(offset..offset + jump.len())?.copy_from_slice(jump);
        Some(Edit { address: self.range.start, bytes })
    }
}

/// A way from a site to a place for a near jump.
#[derive(Debug)]
pub struct Way {
    /// Padding and the place in it; the last one is that of the near jump, the others get short jumps.
    places: Vec<(Pad, usize)>,
}

impl Way {
    /// Where the near jump goes.
    pub fn end(&self) -> usize {
        self.places.last().map_or(0, |(_, place)| *place)
    }

    /// Where all the jumps go.
    pub fn jumps(&self) -> impl Iterator<Item = usize> {
        self.places.iter().map(|(_, place)| *place)
    }

    /// All that is written: the short jump at the site, those on the way, the near jump.
    pub fn edits(&self, site: usize, near: &[u8; NEAR_JUMP]) -> Option<Vec<Edit>> {
        let (_, first) = self.places.first()?;
        let mut edits = vec![Edit { address: site, bytes: short_jump(site, *first)?.to_vec() }];
        for (index, (pad, place)) in self.places.iter().enumerate() {
            edits.push(match self.places.get(index + 1) {
                Some((_, next)) => pad.with(*place, &short_jump(*place, *next)?)?,
                None => pad.with(*place, near)?,
            });
        }
        Some(edits)
    }
}

/// The shortest way from the `syscall` at `site`, between functions rather than inside this one.
pub fn find(
    site: usize,
    listing: &Listing,
    object: &Object,
    earlier: &Earlier,
) -> Result<Option<Way>, Refusal> {
    let functions = object.functions_near(site, REACH).ok_or(Refusal::Function)?;
    let mut pads = Vec::new();
    for pair in functions.windows(2) {
        if let [before, after] = pair {
            between(before, after, &earlier.jumps, &mut pads);
        }
    }
    inside(listing, &earlier.returns, &mut pads);
    while let Some(way) = shortest(site, &pads) {
        // Asked last, as all of the object is looked at.
        let reached = way.places.iter().find(|(pad, _)| {
            !pad.is_between && !pad.is_path && object.refers_into(&pad.range, &(0..0)) != Some(false)
        });
        match reached {
            Some((pad, _)) => pads.retain(|other| other != pad),
            None => return Ok(Some(way)),
        }
    }
    Ok(None)
}

fn shortest(site: usize, pads: &[Pad]) -> Option<Way> {
    let mut found = VecDeque::from([Vec::new()]);
    let mut seen = vec![false; pads.len()];
    while let Some(way) = found.pop_front() {
        let from = way.last().map_or(site, |(_, place)| *place);
        let ends = pads.iter().filter(|pad| way.iter().all(|(other, _)| other != *pad));
        if let Some(end) = ends.clone().find_map(|pad| Some((pad.clone(), pad.place(from, NEAR_JUMP)?))) {
            return Some(Way { places: [way, vec![end]].concat() });
        }
        if way.len() == STEPS {
            continue;
        }
        for (index, pad) in pads.iter().enumerate() {
            if !seen[index]
                && let Some(place) = pad.place(from, SHORT_JUMP)
            {
                seen[index] = true;
                found.push_back([way.clone(), vec![(pad.clone(), place)]].concat());
            }
        }
    }
    None
}

/// Adds what is between two functions, if it is padding throughout, or was before we put jumps into it.
fn between(before: &Function, after: &Function, jumps: &[usize], pads: &mut Vec<Pad>) {
    let gap = before.range.end..after.range.start;
    if gap.is_empty() || gap.len() > REACH {
        return;
    }
    let Ok(listing) = Listing::of(&gap) else { return };
    let is_known =
        |instruction: &Instruction| is_padding(instruction) || jumps.contains(&(instruction.ip() as usize));
    let runs = listing.instructions.chunk_by(|a, b| is_padding(a) == is_padding(b));
    if listing.instructions.iter().all(is_known) {
        if Listing::of(&before.range).is_ok_and(|listing| listing.ends()) {
            let padding = runs.filter(|run| is_padding(&run[0]));
            pads.extend(padding.map(|run| Pad { range: range_of(run), is_path: false, is_between: true }));
        }
    } else if let Some(last) = runs.last().filter(|run| is_padding(&run[0])) {
        // Code that the unwinder does not know, as that of the start-up files: only what is right before a function that it does know.
        let code = listing.instructions.len() - last.len();
        if listing.instructions[..code].last().is_some_and(ends_path) {
            pads.push(Pad { range: range_of(last), is_path: false, is_between: false });
        }
    }
}

/// Adds the padding inside a function, before the targets of jumps.
fn inside(listing: &Listing, returns: &[usize], pads: &mut Vec<Pad>) {
    let mut before: Option<&Instruction> = None;
    for run in listing.instructions.chunk_by(|a, b| is_padding(a) == is_padding(b)) {
        let previous = before.replace(&run[run.len() - 1]);
        if !is_padding(&run[0]) {
            continue;
        }
        let range = range_of(run);
        let is_dead = previous.is_some_and(ends_path)
            && !returns.iter().any(|address| range.contains(address))
            && !listing.jumps_to_computed()
            && !listing.refers_into(&range);
        if is_dead {
            pads.push(Pad { range, is_path: false, is_between: false });
            continue;
        }
        let nops = run.iter().filter(|instruction| instruction.mnemonic() == Mnemonic::Nop);
        pads.extend(nops.map(|nop| range_of(std::slice::from_ref(nop))).filter_map(|range| {
            let is_whole = !listing.refers_into(&(range.start + 1..range.end));
            (range.len() >= 2 * SHORT_JUMP && is_whole).then_some(Pad {
                range,
                is_path: true,
                is_between: false,
            })
        }));
    }
}

fn range_of(run: &[Instruction]) -> Range<usize> {
    let start = run.first().map_or(0, |first| first.ip() as usize);
    start..run.last().map_or(start, |last| last.next_ip() as usize)
}
