//! Signals that come while an unmodified program is in `io_uring_enter`: its handlers run as they would without ringer, and
//! never while the engine runs. The cases are in `programs/handlers.c`.

mod support;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use support::{Outcome, compile, ringer, run, skip};

fn program() -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = PROGRAM.get_or_init(|| compile(directory, "handlers", &["-Wno-deprecated-declarations"]));
    if program.is_none() {
        skip("there is no C compiler");
    }
    program.as_deref()
}

fn case(name: &str) -> Option<Outcome> {
    let program = program()?;
    Some(run(ringer(["run", "--when", "always", "--block-kernel", "--"]).arg(program).arg(name)))
}

macro_rules! cases {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            if let Some(outcome) = case(stringify!($name)) {
                outcome.expect_success();
            }
        }
    )* };
}

cases! {
    submits
    jumps
    together
    interrupted
    once
    information
    blocked
    old_functions
    borrowed
    inline_handler
}

#[test]
fn dies_of_blocked_fault() {
    let Some(outcome) = case("dies_of_blocked_fault") else { return };
    assert_eq!(outcome.status.signal(), Some(11), "{outcome:#?}");
}
