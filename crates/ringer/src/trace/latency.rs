//! Latencies by opcode, for `--summary`.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::requests::{Event, Kind, has_more};
use super::text::opcode;

/// What is known of one opcode.
struct Of {
    errors: u64,
    /// In nanoseconds.
    times: Histogram<u64>,
}

/// Requests that ended, by opcode.
#[derive(Default)]
pub struct Latencies(BTreeMap<String, Of>);

impl Latencies {
    /// Counts an event, if it is the end of a request.
    pub fn add(&mut self, event: &Event) {
        let Kind::Completed { completed, of: Some(of), took: Some(took) } = &event.kind else { return };
        if has_more(&completed.cqe) {
            return;
        }
        /// In nanoseconds: an hour.
        const LONGEST: u64 = 3_600_000_000_000;
        let times = || Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds in order, 3 digits");
        let new = || Of { errors: 0, times: times() };
        let of = self.0.entry(opcode(of.sqe.opcode())).or_insert_with(new);
        of.errors += u64::from(completed.cqe.res < 0);
        of.times.saturating_record(took.as_nanos() as u64);
    }

    /// Prints a table to stderr, in microseconds.
    pub fn print(&self) {
        let row = |name: &str, cells: [String; 6]| {
            let cells: String = cells.iter().map(|cell| format!(" {cell:>10}")).collect();
            eprintln!("ringer:   {name:<16}{cells}");
        };
        row("opcode", ["requests", "errors", "p50 µs", "p99 µs", "p99.9 µs", "most µs"].map(String::from));
        for (name, Of { errors, times }) in &self.0 {
            let time = |nanoseconds: u64| format!("{:.1}", nanoseconds as f64 / 1e3);
            let at = |quantile| time(times.value_at_quantile(quantile));
            let counts = [times.len().to_string(), errors.to_string()];
            let [requests, errors] = counts;
            row(name, [requests, errors, at(0.5), at(0.99), at(0.999), time(times.max())]);
        }
    }
}
