//! The process that plays sequences on one backend. Lines on standard output: `begin INDEX`, `see LABEL VALUE`,
//! `panic MESSAGE` and `end INDEX`, as of the cases.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use super::generate::sequence;
use super::mask::Mask;
use super::play::play;
use super::wish::Wish;
use crate::differential::backend::Backend;
use crate::differential::{Session, ring};

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Which sequences a child plays.
#[derive(Clone, Debug)]
pub struct Task {
    /// The seed.
    pub seed: u64,
    /// The first index.
    pub from: u64,
    /// How many.
    pub count: u64,
    /// Which steps.
    pub mask: Mask,
    /// What is drawn.
    pub wish: Wish,
    /// How long a submission may take.
    pub patience: Duration,
}

/// Plays the sequences of `task`, with files below `directory`.
///
/// # Errors
/// Those of `out` and of making directories.
pub fn run(
    backend: &'static dyn Backend,
    directory: &Path,
    task: &Task,
    mut out: impl Write,
) -> std::io::Result<()> {
    std::panic::set_hook(Box::new(|panic| {
        let mut last = LAST_PANIC.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *last = panic.to_string().replace(['\n', '\t'], " ");
    }));
    for index in task.from..task.from + task.count {
        writeln!(out, "begin\t{index}")?;
        out.flush()?;
        let own = directory.join(format!("{}-{index}", backend.name()));
        std::fs::create_dir_all(&own)?;
        std::env::set_current_dir(&own)?;
        ring::be_patient();
        let sequence = sequence(task.seed, index, &task.wish, &task.mask);
        let session = Session::new(backend, own.clone());
        let result = catch_unwind(AssertUnwindSafe(|| play(&session, &sequence, task.patience)));
        for seen in session.into_record().observations() {
            writeln!(out, "see\t{}\t{}", seen.label, seen.value)?;
        }
        if result.is_err() {
            let last = LAST_PANIC.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            writeln!(out, "panic\t{last}")?;
        }
        writeln!(out, "end\t{index}")?;
        out.flush()?;
        std::fs::remove_dir_all(&own)?;
    }
    Ok(())
}
