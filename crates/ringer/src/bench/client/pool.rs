//! The workloads on tokio's thread pool, as its users have them: `spawn_blocking` and `tokio::fs`.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ringer_sys::alternatives::Direction;
use tokio::runtime::{Builder, Runtime};
use tokio::task::spawn_blocking;

use super::super::data::{BLOCK, Files, SMALL_FILES, WORDS};
use super::error::{ClientError, io};
use super::measure::{Plan, Sample, measure};
use super::paths::Paths;
use super::transfers::{Transfers, word};

fn runtime() -> Result<Runtime, ClientError> {
    Builder::new_current_thread().build().map_err(io("tokio's runtime"))
}

/// `depth` blocking transfers at a time.
pub fn transfer(plan: Plan, mut transfers: Transfers, depth: usize) -> Result<Sample, ClientError> {
    let runtime = runtime()?;
    let file = Arc::new(transfers.file().try_clone().map_err(io("dup"))?);
    let direction = transfers.direction();
    // A buffer travels to the pool and back. It is aligned only where all of the memory is: see `Aligned`.
    let mut buffers: Vec<Option<Box<Aligned>>> =
        (0..depth).map(|_| Some(Box::new(Aligned([0; BLOCK])))).collect();
    let sample = measure(plan, || {
        runtime.block_on(async {
            let mut tasks = Vec::with_capacity(depth);
            for (slot, buffer) in buffers.iter_mut().enumerate() {
                let mut buffer = buffer.take().expect("it came back from the last round");
                let block = transfers.next_block(slot);
                let [first, last] = transfers.marks(block);
                let file = Arc::clone(&file);
                tasks.push(spawn_blocking(move || {
                    let offset = block * BLOCK as u64;
                    let result = match direction {
                        Direction::Read => file.read_at(&mut buffer.0, offset),
                        Direction::Write => {
                            buffer.0[..8].copy_from_slice(&first.to_ne_bytes());
                            buffer.0[BLOCK - 8..].copy_from_slice(&last.to_ne_bytes());
                            file.write_at(&buffer.0, offset)
                        }
                    };
                    (buffer, result)
                }));
            }
            for (slot, task) in tasks.into_iter().enumerate() {
                let (buffer, result) = task.await.map_err(|error| ClientError::wrong(error.to_string()))?;
                let count = result.map_err(io("a transfer"))? as i64;
                transfers.check_words(slot, count, [word(&buffer.0, 0), word(&buffer.0, WORDS - 1)])?;
                buffers[slot] = Some(buffer);
            }
            Ok(depth as u64)
        })
    })?;
    transfers.finish()?;
    Ok(sample)
}

/// A block as `O_DIRECT` wants it.
#[repr(align(4096))]
struct Aligned([u8; BLOCK]);

/// `tokio::fs::metadata` of all the small files at a time.
pub fn statx(plan: Plan, files: &Files) -> Result<Sample, ClientError> {
    let (runtime, paths) = (runtime()?, Paths::new(files)?);
    measure(plan, || {
        runtime.block_on(async {
            let tasks: Vec<_> = (0..SMALL_FILES)
                .map(|file| tokio::spawn(tokio::fs::metadata(paths.path(file).clone())))
                .collect();
            for (file, task) in tasks.into_iter().enumerate() {
                let metadata = task.await.map_err(|error| ClientError::wrong(error.to_string()))?;
                Paths::check_size(file, metadata.map_err(io("metadata"))?.len())?;
            }
            Ok(SMALL_FILES as u64)
        })
    })
}

/// `tokio::fs::File::open` of all the small files at a time, and their end.
pub fn open(plan: Plan, files: &Files) -> Result<Sample, ClientError> {
    let (runtime, paths) = (runtime()?, Paths::new(files)?);
    measure(plan, || {
        runtime.block_on(async {
            let tasks: Vec<_> = (0..SMALL_FILES)
                .map(|file| tokio::spawn(tokio::fs::File::open(paths.path(file).clone())))
                .collect();
            for task in tasks {
                let opened = task.await.map_err(|error| ClientError::wrong(error.to_string()))?;
                drop(opened.map_err(io("open"))?);
            }
            Ok(SMALL_FILES as u64)
        })
    })
}
