//! What the user sees: aligned lines on stdout, a progress bar on stderr.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::failure::Stop;

/// The output of the demo.
#[derive(Debug)]
pub struct Report {
    bar: ProgressBar,
}

impl Report {
    /// With a progress bar on stderr where that is a terminal, unless it is not wanted.
    pub fn new(with_progress: bool) -> Self {
        let bar = if with_progress { ProgressBar::no_length() } else { ProgressBar::hidden() };
        // A fixed template: it is right or wrong for good, and the default style serves as well.
        if let Ok(style) = ProgressStyle::with_template("   {msg:<24} [{bar:32}] {percent:>3}%") {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar }
    }

    /// Starts a piece of work, and gives what moves its bar.
    pub fn work(&self, name: &'static str) -> impl FnMut(u64, u64) + use<> {
        let bar = self.bar.clone();
        bar.reset();
        bar.set_length(1);
        bar.set_message(name);
        bar.enable_steady_tick(Duration::from_millis(100));
        move |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        }
    }

    /// Prints one line.
    pub fn line(&self, line: impl Display) -> Result<(), Stop> {
        self.bar.disable_steady_tick();
        self.bar
            .suspend(|| writeln!(io::stdout(), "{line}"))
            .map_err(|error| Stop::io("write the output", &error))
    }

    /// Prints what was checked and found right.
    pub fn ok(&self, what: &str, details: impl Display) -> Result<(), Stop> {
        self.line(format_args!("   ok  {what:<6} {details}"))
    }

    /// Takes the progress bar away.
    pub fn finish(&self) {
        self.bar.disable_steady_tick();
        self.bar.finish_and_clear();
    }
}

/// Bytes in MiB, with a fraction only where it matters.
pub fn mebibytes(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 20) {
        return format!("{} MiB", bytes >> 20);
    }
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Bytes per second, in MiB/s.
pub fn throughput(bytes: u64, seconds: f64) -> String {
    format!("{:.0} MiB/s", bytes as f64 / f64::from(1 << 20) / seconds.max(1e-9))
}
