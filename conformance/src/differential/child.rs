//! The process that plays cases: one backend, case names on standard input, what was seen on standard output.
//!
//! One line each, fields separated by tabs: `begin NAME`, `see LABEL VALUE`, `panic MESSAGE`, `end NAME`.
//! A crash or a hang therefore belongs to the last case begun.

use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;

use super::backend::Backend;
use super::case::Case;
use super::ring;
use super::session::Session;

static LAST_PANIC: Mutex<String> = Mutex::new(String::new());

/// Plays the cases named on `names`, with files below `directory`, and writes what they saw to `out`.
///
/// # Errors
/// Those of `out` and of making directories.
pub fn play(
    backend: &'static dyn Backend,
    directory: &Path,
    cases: &[Case],
    names: impl BufRead,
    mut out: impl Write,
) -> std::io::Result<()> {
    std::panic::set_hook(Box::new(|panic| {
        let mut last = LAST_PANIC.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *last = panic.to_string().replace(['\n', '\t'], " ");
    }));
    for (index, name) in names.lines().enumerate() {
        let name = name?;
        let Some(case) = cases.iter().find(|case| case.name == name) else {
            continue;
        };
        writeln!(out, "begin\t{name}")?;
        out.flush()?;
        let own = directory.join(format!("{}-{index}", backend.name()));
        std::fs::create_dir_all(&own)?;
        // Relative names are looked up where nothing of other cases is.
        std::env::set_current_dir(&own)?;
        ring::be_patient();
        let mut session = Session::new(backend, own.clone());
        let result = catch_unwind(AssertUnwindSafe(|| (case.run)(&mut session)));
        for seen in session.into_record().observations() {
            writeln!(out, "see\t{}\t{}", seen.label, seen.value)?;
        }
        if result.is_err() {
            let last = LAST_PANIC.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            writeln!(out, "panic\t{last}")?;
        }
        writeln!(out, "end\t{name}")?;
        out.flush()?;
        std::fs::remove_dir_all(&own)?;
    }
    Ok(())
}
