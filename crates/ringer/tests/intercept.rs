//! Programs under the preload library, with the kernel's io_uring blocked: what they do around io_uring must not
//! break them, and what they ask of io_uring must reach the engine. The cases are in `programs/cases.c`.

mod support;

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use support::{Outcome, cases, compile, ringer, run, skip};

const SERVED: [&str; 5] = ["run", "--when", "always", "--block-kernel", "--"];

/// Runs a case under ringer. `None` where it cannot be compiled.
#[track_caller]
fn case(name: &str) -> Option<Outcome> {
    let Some(program) = cases() else {
        skip("there is no C compiler");
        return None;
    };
    Some(run(ringer(SERVED).arg(program).arg(name)))
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
    calls
    blocked
    in_handler
    own_fault
    own_trap_handler
    forks
    executes
    spawns_closing
    closes_all
    ring
    closes_what_was_waited_for
    shares_a_watch
    has_room_for_rings
    drains_behind_workers
    interrupts_workers
    writes_by_one_worker
    synchronous_writes
    limits_workers
    catches_up
    waits_for_either_file
    waits_for_a_ring
    waits_for_an_inherited_ring
    files_among_rings
    keeps_numbers
    shares_ring_over_fork
    cancels_over_fork
    tells_of_a_file_once
    leaves_timeouts
    forks_among_threads
    restricts_over_fork
    keeps_record_locks
    changes_user
    sleeps_while_idle
    transfers_together
    reads_of_a_registered_file
    reads_of_a_file_of_the_program
    reads_of_a_changing_file
}

/// Runs a case where the calls of newer kernels fail.
fn case_on_old_kernel(name: &str, flags: &[&str]) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (Some(program), Some(kernel)) = (cases(), compile(directory, "old_kernel", flags)) else {
        return skip("there is no C compiler");
    };
    let ringer = ringer(SERVED);
    let mut command = Command::new(kernel);
    command.arg(ringer.get_program()).args(ringer.get_args()).arg(program).arg(name);
    run(&mut command).expect_success();
}

/// The cases that do not themselves need what is missing.
#[test]
fn cases_on_an_old_kernel() {
    for name in [
        "calls",
        "blocked",
        "in_handler",
        "forks",
        "executes",
        "ring",
        "closes_what_was_waited_for",
        "waits_for_either_file",
        "waits_for_a_ring",
        "waits_for_an_inherited_ring",
        "files_among_rings",
        "keeps_numbers",
        "shares_ring_over_fork",
        "cancels_over_fork",
        "leaves_timeouts",
        "forks_among_threads",
        "restricts_over_fork",
        "keeps_record_locks",
        "sleeps_while_idle",
        "transfers_together",
        "reads_of_a_registered_file",
        "reads_of_a_changing_file",
    ] {
        case_on_old_kernel(name, &[]);
    }
}

/// Where `F_DUPFD_QUERY` is missing, `kcmp` says whether a descriptor still is the file that is watched.
#[test]
fn shares_a_watch_on_an_old_kernel() {
    case_on_old_kernel("shares_a_watch", &["-DMAY_TRACE"]);
}

#[test]
fn other_things_end_a_wait_for_a_device() {
    let Some(outcome) = case("waits_for_a_device") else { return };
    if outcome.status.code() == Some(77) {
        return skip("the temporary directory has no direct I/O");
    }
    let was_too_fast = outcome.out.contains('0');
    outcome.expect_success();
    if was_too_fast {
        skip("the device was faster than what happened meanwhile");
    }
}

#[test]
fn what_is_not_cached_is_read_by_the_thread_that_waits() {
    let Some(outcome) = case("waits_for_uncached_data") else { return };
    if outcome.status.code() == Some(77) {
        return skip("the temporary directory is never without its data, or slow");
    }
    outcome.expect_success();
}

#[test]
fn a_fault_ends_the_program_as_it_would_without_ringer() {
    for name in ["dies_of_fault", "dies_of_sent_fault"] {
        let Some(outcome) = case(name) else { return };
        assert_eq!(outcome.status.signal(), Some(11), "{outcome:#?}");
        assert_eq!(outcome.err, "");
    }
}

#[test]
fn without_ringer_the_block_is_there() {
    let Some(program) = cases() else { return skip("there is no C compiler") };
    run(ringer(["run", "--when", "never", "--block-kernel", "--"]).arg(program).arg("refused"))
        .expect_success();
}

#[test]
fn the_library_changes_nothing_that_a_shell_sees() {
    let script = "ulimit -n; umask; pwd; echo $-; ls /proc/self/fd";
    let without = run(std::process::Command::new("sh").args(["-c", script]));
    let with = run(ringer(SERVED).args(["sh", "-c", script]));
    assert_eq!((with.out, with.err), (without.out, without.err));
}
