//! Call sites of `io_uring_enter` in unmodified programs become function calls on their first trap. The sites are
//! in `programs/sites.c`; each case calls one before and after, and checks results, registers and stack itself.

mod support;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;
use support::{compile, ringer, run, skip};

/// Cargo's place for what tests make.
const DIRECTORY: &str = env!("CARGO_TARGET_TMPDIR");

struct Programs {
    sites: PathBuf,
    narrow: PathBuf,
    leaves: PathBuf,
    caller: PathBuf,
    lower: PathBuf,
    lower_leaves: PathBuf,
    lower_caller: PathBuf,
    library: PathBuf,
}

fn programs() -> Option<&'static Programs> {
    static PROGRAMS: OnceLock<Option<Programs>> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(|| {
        let directory = Path::new(DIRECTORY);
        let sites = compile(directory, "sites", &[])?;
        let narrow = compile(directory, "sites", &["-DNARROW"])?;
        let leaves = compile(directory, "sites", &["-DNARROW", "-DLEAVES"])?;
        let caller = compile(directory, "sites", &["-DNARROW", "-DCALLER"])?;
        let lower = compile(directory, "sites", &["-DLOWER"])?;
        let lower_leaves = compile(directory, "sites", &["-DLOWER", "-DLEAVES"])?;
        let lower_caller = compile(directory, "sites", &["-DLOWER", "-DCALLER"])?;
        let library = compile(directory, "sites", &["-shared", "-fPIC", "-DLIBRARY"])?;
        Some(Programs { sites, narrow, leaves, caller, lower, lower_leaves, lower_caller, library })
    });
    if programs.is_none() {
        skip("there is no C compiler");
    }
    programs.as_ref()
}

/// Runs a case under ringer, which must succeed. What the summary says of it.
#[track_caller]
fn summary(programs: &Programs, program: &Path, case: &str) -> Value {
    let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let json = Path::new(DIRECTORY).join(format!("{name}-{case}.json"));
    let flags = ["run", "--when", "always", "--block-kernel", "--summary", "--summary-json"];
    let mut command = ringer(flags);
    command.arg(&json).arg("--").arg(program).arg(case).arg(&programs.library);
    run(&mut command).expect_success();
    read(&json)
}

fn read(json: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(json).expect("it was written")).expect("it is JSON")
}

/// Runs a case of a program that has one site, which must have been patched.
#[track_caller]
fn is_patched(program: fn(&Programs) -> &Path, case: &str) {
    let Some(programs) = programs() else { return };
    let summary = summary(programs, program(programs), case);
    assert_eq!(summary["patched_sites"], 1, "{summary:#}");
    assert_eq!(summary["unpatched_sites"], 0, "{summary:#}");
}

macro_rules! patched {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            is_patched(|programs| &programs.sites, stringify!($name));
        }
    )* };
}

patched! {
    padded
    far
    red_zone
    hopped
    chained
    movable
    movable_with_threads
    short_ones
    threads_before
    jump_behind
    other_calls
    all_registers
    threads
    handler
    handlers
}

macro_rules! refused {
    ($($name:ident: $reason:literal;)*) => { $(
        #[test]
        fn $name() {
            let Some(programs) = programs() else { return };
            let summary = summary(programs, &programs.sites, stringify!($name));
            assert_eq!(summary["patched_sites"], 0, "{summary:#}");
            assert_eq!(summary["unpatched_sites"], 1, "{summary:#}");
            assert_eq!(summary["refusals"][$reason], 1, "{summary:#}");
        }
    )* };
}

refused! {
    onto: "no padding, neighbours may be jumped to";
    unbounded: "function unknown";
    short_ones_with_threads: "no padding, other threads or handlers";
    short_ones_with_handler: "no padding, other threads or handlers";
}

#[test]
fn twice() {
    let Some(programs) = programs() else { return };
    let summary = summary(programs, &programs.sites, "twice");
    assert_eq!(summary["patched_sites"], 2, "{summary:#}");
    assert_eq!(summary["unpatched_sites"], 0, "{summary:#}");
}

#[test]
fn reloaded() {
    let Some(programs) = programs() else { return };
    let summary = summary(programs, &programs.sites, "reloaded");
    // The library is loaded four times, at the same address or at others.
    assert_eq!(summary["patched_sites"], 4, "{summary:#}");
    assert_eq!(summary["unpatched_sites"], 0, "{summary:#}");
}

#[test]
fn all_registers_of_a_program_without_avx512() {
    is_patched(|programs| &programs.narrow, "all_registers");
}

#[test]
fn all_registers_of_a_program_without_avx() {
    is_patched(|programs| &programs.lower, "all_registers");
}

#[test]
fn upper_halves_that_only_leaf_functions_use_are_not_kept() {
    is_patched(|programs| &programs.lower_leaves, "wide_registers");
}

#[test]
fn upper_halves_that_a_caller_may_use_are_kept() {
    is_patched(|programs| &programs.lower_caller, "wide_registers");
}

#[test]
fn registers_of_avx512_that_only_leaf_functions_use_are_not_kept() {
    is_patched(|programs| &programs.leaves, "wide_registers");
}

#[test]
fn registers_of_avx512_that_a_caller_may_use_are_kept() {
    is_patched(|programs| &programs.caller, "wide_registers");
}
