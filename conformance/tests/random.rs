//! Random sequences do on Ringer what they do on the kernel.

use std::io::Write;
use std::path::Path;

use ringer_conformance::random::run::{Plan, run};
use ringer_conformance::random::wish::Wish;

/// The program that plays the sequences.
const PROGRAM: &str = env!("CARGO_BIN_EXE_random");
const DIFFERENCES: &str = include_str!("../random-differences.toml");

#[test]
fn random_sequences_do_what_they_do_on_the_kernel() {
    let plan = Plan { seed: 42, from: 0, count: 1500, wish: Wish::default(), jobs: 8, most: 3, ringer: None };
    let report = run(Path::new(PROGRAM), &plan, DIFFERENCES, |_| {}).expect("the sequences are played");
    let summary = format!(
        "random: seed {}, {} sequences alike, {} known differences, {} unsteady, {} skipped\n",
        plan.seed,
        report.same,
        report.known.values().map(Vec::len).sum::<usize>(),
        report.unsteady.len(),
        report.skipped
    );
    // Past the test harness's capture: a skip is always seen.
    std::io::stderr().write_all(summary.as_bytes()).expect("standard error is open");
    let count = report.differences.len();
    assert!(report.differences.is_empty(), "{count} differences\n\n{}\n", report.differences.join("\n\n"));
}
