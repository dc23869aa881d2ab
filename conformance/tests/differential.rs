//! Ringer does what the kernel does.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use ringer_conformance::cases;
use ringer_conformance::differential::runner::{self, Programs};

/// The program that plays the cases.
const PROGRAM: &str = env!("CARGO_BIN_EXE_differential");
const DIFFERENCES: &str = include_str!("../differences.toml");

#[test]
fn ringer_does_what_the_kernel_does() {
    let programs = Programs { program: Path::new(PROGRAM), ringer: None };
    let report = runner::run(programs, &cases::all(), DIFFERENCES, 1).expect("the cases are played");
    let summary = format!(
        "differential: {} cases alike, {} known differences, unsteady: {:?}, skipped: {} (the kernel refuses io_uring here, or they are for root)\n",
        report.same, report.known, report.unsteady, report.skipped
    );
    // Past the test harness's capture: a skip is always seen.
    std::io::stderr().write_all(summary.as_bytes()).expect("standard error is open");
    let count = report.failures.len();
    assert!(report.failures.is_empty(), "{count} cases fail\n\n{}\n", report.failures.join("\n\n"));
}

#[test]
fn every_opcode_that_is_served_has_cases() {
    let covered: BTreeSet<_> = cases::all().iter().flat_map(|case| case.covers.clone()).collect();
    let served = ringer_ops::table::rows().iter().map(|row| row.opcode);
    let missing: Vec<_> = served.chain(cases::ISSUE_2).filter(|opcode| !covered.contains(opcode)).collect();
    assert!(missing.is_empty(), "opcodes without a case: {missing:?}");
}

#[test]
fn case_names_are_unique() {
    let mut names = BTreeSet::new();
    for case in cases::all() {
        assert!(names.insert(case.name.clone()), "{} exists twice", case.name);
    }
}
