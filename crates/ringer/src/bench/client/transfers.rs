//! Random transfers of blocks: what is asked for, and whether it was done. The same for every contender.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;

use ringer_sys::UserAddress;
use ringer_sys::alternatives::{Direction, Transfer};
use rustix::fs::{Advice, fadvise};

use super::super::data::{BLOCK, Files, Random, WORDS, content, mark};
use super::buffers::Buffers;
use super::error::{ClientError, io, of};

/// Pages are evicted so many times while as much is read as the file has: of 16 reads less than one is of what was read before.
const EVICTIONS: u64 = 8;

/// Transfers of one kind on one file, with a buffer for each slot.
pub struct Transfers {
    direction: Direction,
    file: File,
    buffers: Buffers,
    random: Random,
    blocks: u64,
    seed: u64,
    /// The block of each slot's transfer.
    current: Vec<u64>,
    /// Blocks that were written.
    written: Vec<bool>,
    /// The file's pages go now and then.
    evicts: bool,
    /// Transfers so far.
    count: u64,
}

impl Transfers {
    /// Reads from the page cache, where the whole file is brought first.
    pub fn read_cached(files: &Files, slots: usize, seed: u64) -> Result<Self, ClientError> {
        let file = File::open(files.read()).map_err(io("open of the file that is read"))?;
        let mut buffer = vec![0; 1 << 20];
        for offset in (0..files.blocks * BLOCK as u64).step_by(buffer.len()) {
            file.read_at(&mut buffer, offset).map_err(io("read of the whole file"))?;
        }
        Ok(Self::new(Direction::Read, file, files, slots, seed))
    }

    /// Reads of what is not in the page cache. Of what was read before some is.
    pub fn read_uncached(files: &Files, slots: usize, seed: u64) -> Result<Self, ClientError> {
        let file = File::open(files.read()).map_err(io("open of the file that is read"))?;
        fadvise(&file, 0, None, Advice::Random).map_err(of("posix_fadvise"))?;
        Ok(Self { evicts: true, ..Self::new(Direction::Read, file, files, slots, seed) })
    }

    /// Reads past the page cache.
    pub fn read_direct(files: &Files, slots: usize, seed: u64) -> Result<Self, ClientError> {
        let file = files.open_direct().map_err(io("open with O_DIRECT"))?;
        Ok(Self::new(Direction::Read, file, files, slots, seed))
    }

    /// Writes to the page cache.
    pub fn write(files: &Files, slots: usize, seed: u64) -> Result<Self, ClientError> {
        let file = File::options().read(true).write(true).open(files.write());
        let file = file.map_err(io("open of the file that is written"))?;
        Ok(Self::new(Direction::Write, file, files, slots, seed))
    }

    fn new(direction: Direction, file: File, files: &Files, slots: usize, seed: u64) -> Self {
        Self {
            direction,
            file,
            buffers: Buffers::new(slots),
            random: Random::new(seed),
            blocks: files.blocks,
            seed,
            current: vec![0; slots],
            written: vec![false; files.blocks as usize],
            evicts: false,
            count: 0,
        }
    }

    /// The file.
    pub fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// The file, for a contender that keeps it itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Which way.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Where a slot's buffer is.
    pub fn buffer(&self, slot: usize) -> UserAddress {
        self.buffers.address(slot)
    }

    /// The next transfer of a slot.
    #[inline]
    pub fn next(&mut self, slot: usize) -> Transfer {
        let block = self.next_block(slot);
        if self.direction == Direction::Write {
            self.buffers.set(slot, 0, mark(block, self.seed));
            self.buffers.set(slot, WORDS - 1, !mark(block, self.seed));
        }
        Transfer {
            direction: self.direction,
            fd: self.file.as_raw_fd(),
            address: self.buffers.address(slot),
            bytes: BLOCK,
            offset: block * BLOCK as u64,
        }
    }

    /// The block of the next transfer of a slot.
    #[inline]
    pub fn next_block(&mut self, slot: usize) -> u64 {
        if self.evicts && self.count.is_multiple_of(self.blocks / EVICTIONS) {
            // What cannot go is found in the page cache; nothing is wrong with that.
            let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
        }
        self.count += 1;
        let block = self.random.below(self.blocks);
        self.current[slot] = block;
        block
    }

    /// What a write leaves in the first and the last word of a block.
    pub fn marks(&self, block: u64) -> [u64; 2] {
        [mark(block, self.seed), !mark(block, self.seed)]
    }

    /// Checks a result: the number of bytes, and of a read the first and the last word.
    #[inline]
    pub fn check(&mut self, slot: usize, result: i64) -> Result<(), ClientError> {
        self.check_words(slot, result, [self.buffers.get(slot, 0), self.buffers.get(slot, WORDS - 1)])
    }

    /// The same, of a buffer that lies elsewhere.
    #[inline]
    pub fn check_words(&mut self, slot: usize, result: i64, words: [u64; 2]) -> Result<(), ClientError> {
        ClientError::expect("a transfer of 4096 bytes", result, BLOCK as i64)?;
        let block = self.current[slot];
        match self.direction {
            Direction::Read if words != [content(block, 0), content(block, WORDS - 1)] => {
                return Err(ClientError::wrong(format!("the content of block {block}")));
            }
            Direction::Read => {}
            Direction::Write => self.written[block as usize] = true,
        }
        Ok(())
    }

    /// Looks at all that was written, and brings it to the device, so that the next measurement begins without it.
    pub fn finish(&self) -> Result<(), ClientError> {
        if self.direction == Direction::Read {
            return Ok(());
        }
        let mut block = [0; BLOCK];
        for number in 0..self.blocks {
            if self.written[number as usize] {
                let offset = number * BLOCK as u64;
                self.file.read_exact_at(&mut block, offset).map_err(io("read of what was written"))?;
                if [word(&block, 0), word(&block, WORDS - 1)] != self.marks(number) {
                    return Err(ClientError::wrong(format!("what was written to block {number}")));
                }
            }
        }
        self.file.sync_data().map_err(io("fdatasync"))
    }
}

/// A word of a block of bytes.
pub fn word(block: &[u8], index: usize) -> u64 {
    let bytes = &block[index * size_of::<u64>()..][..size_of::<u64>()];
    u64::from_ne_bytes(bytes.try_into().expect("a slice of this size"))
}
