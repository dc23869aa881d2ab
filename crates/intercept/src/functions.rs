//! Where the functions of a loaded object begin and end: its `.eh_frame`, by the sorted table of `.eh_frame_hdr`.
//!
//! Every read is guarded, so that an object that lies about itself is one without functions. Only the encodings
//! that linkers write are understood. Source: the LSB, "Exception Frames"; the gABI for the program headers.

use std::ops::Range;

use ringer_sys::UserAddress;

use crate::gate::Live;
use crate::listing::{LONGEST_INSTRUCTION, Listing, Registers};
use crate::memory_map::{MemoryMap, PAGE};

/// Signed 4-byte words, relative to the start of the table.
const TABLE_ENCODING: u8 = 0x3b;
/// The part of an encoding that says how wide a word is.
const FORMAT: u8 = 0x0f;
const SIGNED_WORD: u8 = 0x0b;
const UNSIGNED_WORD: u8 = 0x03;

/// A function, as far as the unwinder knows one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// Its code.
    pub range: Range<usize>,
    /// Whether exceptions land in it: then there are ways into it that no instruction shows.
    pub has_landing_pads: bool,
}

/// A loaded object with a table of its functions.
#[derive(Debug)]
pub struct Object {
    /// The executable segment with the address that was asked for.
    pub code: Range<usize>,
    header: usize,
    count: usize,
}

fn read<T: ringer_sys::user::Plain>(address: usize) -> Option<T> {
    UserAddress::new(address as u64).read().ok()
}

impl Object {
    /// The object that an address belongs to.
    pub fn of(address: usize, map: &MemoryMap) -> Option<Self> {
        const MAGIC: [u8; 4] = *b"\x7fELF";
        const PROGRAM_HEADERS: usize = 0x20;
        const COUNT: usize = 0x38;
        const HEADER_SIZE: usize = 56;
        let start = map.object_start(address)?;
        if read::<[u8; 4]>(start)? != MAGIC {
            return None;
        }
        let headers = start.checked_add(read::<u64>(start + PROGRAM_HEADERS)? as usize)?;
        let [size, count] = read::<[u16; 2]>(start + COUNT - 2)?;
        if usize::from(size) != HEADER_SIZE {
            return None;
        }
        let (mut bias, mut code, mut table) = (None, None, None);
        for index in 0..usize::from(count) {
            // Type and flags; then offset, address, physical address, size in the file, in memory, alignment.
            let header = headers.checked_add(index * HEADER_SIZE)?;
            let [kind, flags] = read::<[u32; 2]>(header)?;
            let [_, at, _, _, length] = read::<[u64; 5]>(header + 8)?;
            let (at, length) = (at as usize, length as usize);
            match kind {
                libc::PT_LOAD => {
                    let bias = *bias.get_or_insert(start.wrapping_sub(at & !(PAGE - 1)));
                    let from = bias.wrapping_add(at);
                    let range = from..from.checked_add(length)?;
                    if flags & libc::PF_X != 0 && range.contains(&address) {
                        code = Some(range);
                    }
                }
                libc::PT_GNU_EH_FRAME => table = Some(at),
                _ => {}
            }
        }
        let header = bias?.wrapping_add(table?);
        let [version, frame, how, entries] = read::<[u8; 4]>(header)?;
        // The word after these is the address of the frames, which the table spares us.
        let is_usual = version == 1
            && matches!(frame & FORMAT, SIGNED_WORD | UNSIGNED_WORD)
            && how == UNSIGNED_WORD
            && entries == TABLE_ENCODING;
        let count = read::<u32>(header + 8)? as usize;
        is_usual.then_some(Self { code: code?, header, count })
    }

    /// Start and frame of an entry.
    fn entry(&self, index: usize) -> Option<(usize, usize)> {
        let [start, frame] = read::<[i32; 2]>(self.header + 12 + index * 8)?;
        Some((
            self.header.wrapping_add_signed(start as isize),
            self.header.wrapping_add_signed(frame as isize),
        ))
    }

    /// How many entries start at or below an address.
    fn entries_up_to(&self, address: usize) -> Option<usize> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(middle)?.0 <= address { low = middle + 1 } else { high = middle }
        }
        Some(low)
    }

    fn function(&self, index: usize) -> Option<Function> {
        let (start, frame) = self.entry(index)?;
        // Length, distance to the common part, start, length of the code.
        let common = frame.checked_add(4)?.checked_sub(read::<u32>(frame + 4)? as usize)?;
        let augmentation = Augmentation::read(common)?;
        if !matches!(augmentation.addresses & FORMAT, SIGNED_WORD | UNSIGNED_WORD) {
            return None;
        }
        let length = read::<u32>(frame + 12)? as usize;
        let mut has_landing_pads = false;
        if let Some(encoding) = augmentation.landing_pads {
            // The length of what follows, then the address, which is null for a function without.
            has_landing_pads = match encoding & FORMAT {
                SIGNED_WORD | UNSIGNED_WORD => read::<u32>(frame + 17)? != 0,
                _ => true,
            };
        }
        Some(Function { range: start..start.checked_add(length)?, has_landing_pads })
    }

    /// The function that an address lies in.
    pub fn function_at(&self, address: usize) -> Option<Function> {
        let index = self.entries_up_to(address)?.checked_sub(1)?;
        self.function(index).filter(|function| function.range.contains(&address))
    }

    /// The functions around an address, in order: those that begin or end within `reach` of it.
    pub fn functions_near(&self, address: usize, reach: usize) -> Option<Vec<Function>> {
        /// More than fit in the reach of a short jump.
        const MOST: usize = 300;
        let first = self.entries_up_to(address.checked_sub(reach)?)?.saturating_sub(1);
        // One more, as what lies between two functions needs both.
        let end = (self.entries_up_to(address + reach)? + 1).min(self.count).min(first + MOST);
        (first..end).map(|index| self.function(index)).collect()
    }
}

impl Object {
    /// Whether there are bytes in the code that could be a jump into a range, a call, or an address of it relative to the
    /// instruction. Those in `except` do not count. What is none of these may look like one.
    ///
    /// Short jumps are not looked for: a function has no business in the middle of another one, and what is split off one
    /// lies far from it.
    pub fn refers_into(&self, range: &Range<usize>, except: &Range<usize>) -> Option<bool> {
        const STEP: usize = 16 * PAGE;
        /// Up to two bytes that say what it is, and the distance.
        const REFERENCE: usize = 6;
        /// More takes too long for a signal handler.
        const MOST: usize = 64 << 20;
        if self.code.len() > MOST {
            return None;
        }
        for start in self.code.clone().step_by(STEP) {
            // What begins in this step reaches into the next.
            let length = (STEP + REFERENCE - 1).min(self.code.end - start);
            let bytes = UserAddress::new(start as u64).read_vec::<u8>(length).ok()?;
            for (index, reference) in bytes.windows(REFERENCE).enumerate() {
                let &[escape, code, a, b, c, d] = reference else { continue };
                let behind = start + index + REFERENCE;
                let to = behind.wrapping_add_signed(i32::from_le_bytes([a, b, c, d]) as isize);
                let is_one = || match code {
                    0xe8 | 0xe9 => true,
                    0x80..=0x8f => escape == 0x0f,
                    // A memory operand without registers.
                    _ => code & 0xc7 == 0x05,
                };
                if range.contains(&to) && is_one() && !except.contains(&(behind - 1)) {
                    return Some(true);
                }
            }
        }
        Some(false)
    }
}

impl Object {
    /// Which registers its code may have something in at a call site.
    pub fn live(&self) -> Live {
        let may_keep = |registers| self.keeps(registers).unwrap_or(true);
        match (may_keep(Registers::Avx512), may_keep(Registers::UpperHalves)) {
            (true, _) => Live::All,
            (false, true) => Live::NoneOfAvx512,
            (false, false) => Live::NoneOfAvx,
        }
    }

    /// Whether a function may have something in such registers while it calls another one. `None`: not known.
    fn keeps(&self, registers: Registers) -> Option<bool> {
        /// More takes too long for a signal handler.
        const MOST: usize = 4 << 20;
        const STEP: usize = 16 * PAGE;
        if self.code.len() > MOST {
            return None;
        }
        let mut looked_at = 0..0;
        for start in self.code.clone().step_by(STEP) {
            // What begins in this step reaches into the next.
            let length = (STEP + LONGEST_INSTRUCTION - 1).min(self.code.end - start);
            let bytes = UserAddress::new(start as u64).read_vec::<u8>(length).ok()?;
            for index in registers.places(&bytes).filter(|index| *index < STEP) {
                let address = start + index;
                if looked_at.contains(&address) {
                    continue;
                }
                // Of code that is in no known function nothing is known.
                let function = self.function_at(address)?;
                if Listing::of(&function.range).ok()?.keeps(registers) {
                    return Some(true);
                }
                looked_at = function.range;
            }
        }
        Some(false)
    }
}

/// What the common part of a frame says of its functions.
struct Augmentation {
    addresses: u8,
    landing_pads: Option<u8>,
}

impl Augmentation {
    fn read(common: usize) -> Option<Self> {
        /// Longer ones are not written.
        const MOST: usize = 8;
        let mut at = common + 9;
        let mut letters = Vec::new();
        loop {
            let letter = read::<u8>(at)?;
            at += 1;
            match letter {
                0 => break,
                _ if letters.len() == MOST => return None,
                _ => letters.push(letter),
            }
        }
        let mut letters = letters.into_iter();
        if read::<u8>(common + 8)? != 1 || letters.next() != Some(b'z') {
            return None;
        }
        // Two factors, the register of the return address (one byte in this version), the length of the rest.
        at = skip_number(skip_number(at)?)? + 1;
        at = skip_number(at)?;
        let mut found = Self { addresses: 0, landing_pads: None };
        for letter in letters {
            let encoding = read::<u8>(at)?;
            match letter {
                b'R' => found.addresses = encoding,
                b'L' => found.landing_pads = Some(encoding),
                b'P' if matches!(encoding & FORMAT, SIGNED_WORD | UNSIGNED_WORD) => at += 4,
                // A frame of a signal handler, without a byte of its own.
                b'S' => continue,
                _ => return None,
            }
            at += 1;
        }
        Some(found)
    }
}

/// The address after a number of variable length.
fn skip_number(mut at: usize) -> Option<usize> {
    while read::<u8>(at)? & 0x80 != 0 {
        at += 1;
    }
    Some(at + 1)
}
