//! The supervisor of the liburing suite, on programs that behave badly.
//!
//! It is a process of its own, so that these tests run the program itself.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const SUITE: &str = env!("CARGO_BIN_EXE_liburing-suite");

/// Runs a shell script under a supervisor, and returns its result line and what it printed.
fn supervise(limit: u64, options: &[&str], script: &str) -> (String, String) {
    let mut command = Command::new(SUITE);
    command.args(["supervise", "--limit", &limit.to_string()]).args(options).args(["--", "sh", "-c", script]);
    let Output { stdout, stderr, .. } = command.stdin(Stdio::null()).output().expect("the supervisor starts");
    (String::from_utf8_lossy(&stdout).trim().to_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

/// Whether the process that wrote its number to this file is there and not a zombie.
fn lives(pid_file: &Path) -> bool {
    let pid = fs::read_to_string(pid_file).expect("the script wrote the number");
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn exit_status_and_signal_are_told() {
    assert_eq!(supervise(20, &[], "exit 0").0, "pass");
    assert_eq!(supervise(20, &[], "exit 77").0, "skip");
    assert_eq!(supervise(20, &[], "exit 3").0, "failed 3");
    assert_eq!(supervise(20, &[], "kill -SEGV $$").0, "killed 11");
}

#[test]
fn a_missing_program_is_a_failure_with_a_reason() {
    let output = Command::new(SUITE)
        .args(["supervise", "--limit", "20", "--", "./no-such-program"])
        .output()
        .expect("the supervisor starts");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "failed 127");
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot start ./no-such-program"));
}

#[test]
fn a_grandchild_in_a_session_of_its_own_is_ended_and_reported() {
    let directory = tempfile::tempdir().expect("a directory");
    let pid_file = directory.path().join("pid");
    // The intermediate shell ends at once, so that the daemon loses its parent as well as its session.
    let script = format!(
        "sh -c 'setsid sh -c \"echo \\$\\$ >{0}; exec sleep 600\" &'; until [ -s {0} ]; do sleep 0.05; done",
        pid_file.display()
    );
    let (result, _) = supervise(30, &[], &script);
    assert!(result.starts_with("leftbehind sleep["), "{result}");
    assert!(!lives(&pid_file));
}

#[test]
fn a_child_that_ends_by_itself_soon_after_is_not_held_against_the_test() {
    assert_eq!(supervise(30, &[], "sleep 0.1 & exit 0").0, "pass");
}

#[test]
fn at_the_limit_the_whole_tree_goes() {
    let directory = tempfile::tempdir().expect("a directory");
    let pid_file = directory.path().join("pid");
    let script = format!(
        "setsid sh -c 'trap \"\" TERM; echo $$ >{}; while :; do sleep 1; done' & wait",
        pid_file.display()
    );
    let start = Instant::now();
    let (result, log) = supervise(2, &[], &script);
    assert_eq!(result, "timeout");
    assert!(start.elapsed() < Duration::from_secs(30));
    assert!(log.contains("limit of 2 s reached") && log.contains("sh["), "{log}");
    assert!(!lives(&pid_file));
}

#[test]
fn a_killed_supervisor_takes_the_test_with_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let pid_file = directory.path().join("pid");
    let script = format!("echo $$ >{}; exec sleep 600", pid_file.display());
    let mut supervisor = Command::new(SUITE)
        .args(["supervise", "--limit", "60", "--", "sh", "-c", &script])
        .stdout(Stdio::null())
        .spawn()
        .expect("the supervisor starts");
    let deadline = Instant::now() + Duration::from_secs(30);
    while fs::read_to_string(&pid_file).map_or(true, |text| text.is_empty()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    supervisor.kill().expect("it runs");
    supervisor.wait().expect("it was killed");
    while lives(&pid_file) {
        assert!(Instant::now() < deadline, "the test outlived its supervisor");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn refused_io_uring_is_refused_and_core_dumps_are_off() {
    let (result, log) = supervise(20, &["--refuse-io-uring"], "ulimit -c; grep Seccomp: /proc/self/status");
    assert_eq!(result, "pass");
    assert!(log.starts_with("0\n") && log.contains("Seccomp:\t2"), "{log}");
}
