//! Copies a file through the ring: 32 blocks in flight, each read and then written, one fsync at the end.

use std::fs::OpenOptions;
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{ClientError, at};
use crate::demo::event::{Event, Progress};
use ringer_client::slots::{Completion, File, Ring};

/// Blocks in flight.
pub const DEPTH: usize = 32;
/// Bytes of a block.
pub const BLOCK: usize = 128 * 1024;

#[derive(Clone, Copy, Debug)]
enum Phase {
    Read,
    Write,
}

/// The block that a slot works on.
#[derive(Clone, Copy, Debug)]
struct Block {
    number: u64,
    length: usize,
    /// Bytes of the block that the present phase has behind it.
    done: usize,
    phase: Phase,
}

impl Block {
    const fn start(&self) -> u64 {
        self.number * BLOCK as u64
    }
}

struct Copy {
    ring: Ring,
    source: File,
    target: File,
    length: u64,
    next: u64,
    blocks: [Option<Block>; DEPTH],
    checksums: Vec<crc32fast::Hasher>,
    progress: Progress,
}

/// Copies `source` to `target`, which must not exist yet.
pub fn copy(source: &Path, target: &Path, limit: Duration) -> Result<Event, ClientError> {
    let ring = Ring::new(DEPTH, BLOCK, Instant::now() + limit)?;
    let from = std::fs::File::open(source).map_err(at(|| format!("open {}", source.display())))?;
    let length = from.metadata().map_err(at(|| format!("stat {}", source.display())))?.len();
    let to = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(target)
        .map_err(at(|| format!("create {}", target.display())))?;
    let blocks = length.div_ceil(BLOCK as u64);
    let copy = Copy {
        ring,
        source: Arc::new(from.into()),
        target: Arc::new(to.into()),
        length,
        next: 0,
        blocks: [None; DEPTH],
        checksums: vec![crc32fast::Hasher::new(); usize::try_from(blocks).expect("64-bit")],
        progress: Progress::new(length),
    };
    copy.run()
}

impl Copy {
    fn run(mut self) -> Result<Event, ClientError> {
        let start = Instant::now();
        for slot in 0..DEPTH {
            self.begin(slot)?;
        }
        let mut completions = Vec::new();
        while self.blocks.iter().any(Option::is_some) {
            self.ring.wait(&mut completions).map_err(at(|| "copy".into()))?;
            for completion in completions.drain(..) {
                self.step(completion)?;
            }
        }
        let before_fsync = Instant::now();
        self.fsync()?;
        let mut whole = crc32fast::Hasher::new();
        self.checksums.iter().for_each(|block| whole.combine(block));
        Ok(Event::Copy {
            bytes: self.length,
            seconds: start.elapsed().as_secs_f64(),
            fsync_seconds: before_fsync.elapsed().as_secs_f64(),
            checksum: whole.finalize(),
        })
    }

    /// Starts the next block of the file in `slot`, if one is left.
    fn begin(&mut self, slot: usize) -> Result<(), ClientError> {
        let start = self.next * BLOCK as u64;
        self.blocks[slot] = None;
        if start >= self.length {
            return Ok(());
        }
        let length = usize::try_from(self.length - start).unwrap_or(BLOCK).min(BLOCK);
        self.blocks[slot] = Some(Block { number: self.next, length, done: 0, phase: Phase::Read });
        self.next += 1;
        self.issue(slot)
    }

    /// Asks for what the block in `slot` still lacks in its phase.
    fn issue(&mut self, slot: usize) -> Result<(), ClientError> {
        let Some(block) = self.blocks[slot] else { return Ok(()) };
        let offset = block.start() + block.done as u64;
        let range = block.done..block.length;
        match block.phase {
            Phase::Read => self.ring.read(slot, &self.source, range, offset),
            Phase::Write => self.ring.write(slot, &self.target, range, offset),
        }
        .map_err(at(|| "prepare a request".into()))
    }

    fn step(&mut self, completion: Completion) -> Result<(), ClientError> {
        let slot = completion.slot;
        let mut block = self.blocks[slot].ok_or_else(|| Error::other("a completion of an idle slot"))?;
        match completion.result {
            Ok(0) => return Err(Error::from(ErrorKind::UnexpectedEof)).map_err(at(|| name(&block))),
            // Short transfers are ordinary: go on from there.
            Ok(count) => block.done += count,
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error).map_err(at(|| name(&block))),
        }
        if block.done < block.length {
            self.blocks[slot] = Some(block);
            return self.issue(slot);
        }
        match block.phase {
            Phase::Read => {
                let bytes = &self.ring.buffer(slot)[..block.length];
                self.checksums[block.number as usize].update(bytes);
                self.blocks[slot] = Some(Block { done: 0, phase: Phase::Write, ..block });
                self.issue(slot)
            }
            Phase::Write => {
                self.progress.add(block.length as u64).map_err(at(|| "report progress".into()))?;
                self.begin(slot)
            }
        }
    }

    fn fsync(&mut self) -> Result<(), ClientError> {
        self.ring.fsync(0, &self.target).map_err(at(|| "prepare a request".into()))?;
        let mut completions = Vec::new();
        self.ring.wait(&mut completions).map_err(at(|| "fsync".into()))?;
        let results = completions.into_iter().map(|completion| completion.result);
        results.collect::<Result<Vec<usize>, Error>>().map_err(at(|| "FSYNC".into()))?;
        Ok(())
    }
}

fn name(block: &Block) -> String {
    let operation = match block.phase {
        Phase::Read => "READ",
        Phase::Write => "WRITE",
    };
    format!("{operation} of {} bytes at {}", block.length - block.done, block.start() + block.done as u64)
}
