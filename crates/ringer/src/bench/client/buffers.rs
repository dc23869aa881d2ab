//! Memory that others write to while we have it: blocks of words, each of them atomic.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ringer_sys::UserAddress;

use super::super::data::{BLOCK, WORDS};

/// Blocks of 4 KiB, aligned to their size.
pub struct Buffers {
    words: Box<[AtomicU64]>,
    /// Index of the first aligned word.
    start: usize,
}

impl Buffers {
    /// So many blocks of zeroes.
    pub fn new(count: usize) -> Self {
        let words: Box<[AtomicU64]> = (0..(count + 1) * WORDS).map(|_| AtomicU64::new(0)).collect();
        let start = words.as_ptr().align_offset(BLOCK);
        Self { words, start }
    }

    /// Where a block begins.
    #[inline]
    pub fn address(&self, block: usize) -> UserAddress {
        UserAddress::new((&raw const self.words[self.start + block * WORDS]) as u64)
    }

    /// A word of a block.
    #[inline]
    pub fn get(&self, block: usize, word: usize) -> u64 {
        self.words[self.start + block * WORDS + word].load(Relaxed)
    }

    /// Sets a word of a block.
    #[inline]
    pub fn set(&self, block: usize, word: usize, value: u64) {
        self.words[self.start + block * WORDS + word].store(value, Relaxed);
    }
}
