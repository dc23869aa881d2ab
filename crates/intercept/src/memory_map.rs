//! What is mapped where in this process, from `/proc/self/maps`.
//!
//! Read once for each site that is looked at. The dynamic linker could be asked instead, but not from a signal handler: the
//! thread that holds its lock may be waiting for the one that trapped.

use std::ops::Range;

use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::read;

/// The size of a page.
pub const PAGE: usize = 4096;

/// One line of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// The addresses.
    pub range: Range<usize>,
    /// As the file has it: `r-xp`.
    pub access: [u8; 4],
    /// Where it starts in its file.
    pub offset: u64,
    /// The file; 0 for memory without one.
    pub inode: u64,
}

/// The mappings of this process in ascending order.
#[derive(Debug)]
pub struct MemoryMap(Vec<Mapping>);

impl MemoryMap {
    /// The mappings as they are now. `None` where `/proc` cannot be read.
    pub fn read() -> Option<Self> {
        // Large enough for most at once: what is read in pieces may change in between.
        let mut text = Vec::with_capacity(1 << 16);
        // Not by the C library: its functions are where a thread that was cancelled ends, with our lock.
        let maps = open("/proc/self/maps", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        while read(&maps, spare_capacity(&mut text)).ok()? > 0 {
            if text.spare_capacity_mut().is_empty() {
                text.reserve(text.len());
            }
        }
        Some(Self::parse(&text))
    }

    fn parse(text: &[u8]) -> Self {
        Self(text.split(|byte| *byte == b'\n').filter_map(line).collect())
    }

    /// The mapping of an address.
    pub fn at(&self, address: usize) -> Option<&Mapping> {
        self.0.iter().find(|mapping| mapping.range.contains(&address))
    }

    /// Whether all of a range is code that its program does not write: private, readable, executable, not writable.
    pub fn is_code(&self, range: &Range<usize>) -> bool {
        let mut next = range.start;
        while next < range.end {
            match self.at(next) {
                Some(mapping) if mapping.access == *b"r-xp" => next = mapping.range.end,
                _ => return false,
            }
        }
        true
    }

    /// Where the object that an address belongs to begins: the next file at or below it that is mapped from its start.
    pub fn object_start(&self, address: usize) -> Option<usize> {
        let starts = self.0.iter().rev().filter(|mapping| mapping.range.start <= address);
        starts
            .filter(|mapping| mapping.inode != 0 && mapping.offset == 0)
            .map(|mapping| mapping.range.start)
            .next()
    }

    /// A free range of some length below an address, at most `reach` away. What grows (the heap, a stack) grows
    /// from elsewhere.
    pub fn free_below(&self, address: usize, length: usize, reach: usize) -> Option<usize> {
        /// The kernel hands out nothing below.
        const LOWEST: usize = 1 << 16;
        let mut end = address;
        for mapping in self.0.iter().rev().filter(|mapping| mapping.range.start < address) {
            // A page to either side stays free.
            if end.saturating_sub(mapping.range.end.max(LOWEST)) >= length + 2 * PAGE {
                break;
            }
            end = mapping.range.start;
        }
        let start = end.checked_sub(length + PAGE)?;
        (start >= LOWEST && address - start <= reach).then_some(start)
    }
}

fn line(line: &[u8]) -> Option<Mapping> {
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let access = words.next()?.as_bytes().try_into().ok()?;
    let offset = u64::from_str_radix(words.next()?, 16).ok()?;
    let inode = words.nth(1)?.parse().ok()?;
    let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
    Some(Mapping { range, access, offset, inode })
}
