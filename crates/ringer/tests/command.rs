//! `ringer run` and `ringer probe` as their users see them.

mod support;

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{cases, compile, finish, ringer, run, skip, start};

const ALWAYS: [&str; 4] = ["run", "--when", "always", "--"];

#[test]
fn exit_status_and_signals_pass_through() {
    let sh = |options: &[&str], script: &str| {
        run(ringer(["run", "--when", "always"]).args(options).args(["--", "sh", "-c", script]))
    };
    assert_eq!(sh(&[], "exit 7").status.code(), Some(7));
    assert_eq!(sh(&["--summary"], "exit 7").status.code(), Some(7));
    assert_eq!(sh(&[], "kill -9 $$").status.signal(), Some(9));
    assert_eq!(sh(&["--summary"], "kill -9 $$").status.code(), Some(137));
}

#[test]
fn the_program_gets_its_arguments_and_its_name() {
    let outcome = run(ringer(ALWAYS).args(["sh", "-c", "echo $0 \"$@\"", "zero", "--summary", "two words"]));
    assert_eq!(outcome.expect_success().out, "zero --summary two words\n");
}

#[test]
fn failures_are_one_line_and_have_the_statuses_of_env() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let plain = directory.path().join("plain");
    std::fs::write(&plain, "text").expect("a new file");
    let lost = directory.path().join("lost");
    std::fs::write(&lost, "#!/no/such/interpreter\n").expect("a new file");
    std::fs::set_permissions(&lost, Permissions::from_mode(0o755)).expect("our own file");
    for (program, code, words) in [
        ("no-such-program-anywhere", 127, "no such program"),
        ("/no/such/program", 127, "no such program"),
        ("/etc", 126, "directory"),
        (plain.to_str().expect("a plain path"), 126, "ermission denied"),
        (lost.to_str().expect("a plain path"), 126, "interpreter"),
    ] {
        let outcome = run(ringer(ALWAYS).arg(program));
        assert_eq!(outcome.status.code(), Some(code), "{outcome:#?}");
        assert!(outcome.err.starts_with("ringer: ") && outcome.err.contains(words), "{outcome:#?}");
        assert_eq!(outcome.err.lines().count(), 1, "{outcome:#?}");
    }
    let outcome = run(ringer(ALWAYS).arg("true").env("RINGER_LIBRARY", "/no/such/library"));
    assert_eq!(outcome.status.code(), Some(125));
    assert!(outcome.err.contains("libringer_preload.so is not in /no/such/library"), "{outcome:#?}");
    assert_eq!(run(&mut ringer(["run", "--no-such-option"])).status.code(), Some(125));
    assert_eq!(run(&mut ringer(["run"])).status.code(), Some(125));
}

#[test]
fn a_static_program_is_refused_unless_it_is_left_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let Some(program) = compile(directory.path(), "cases", &["-static"]) else {
        return skip("no C compiler that links statically");
    };
    let outcome = run(ringer(ALWAYS).arg(&program).arg("calls"));
    assert_eq!(outcome.status.code(), Some(126));
    assert!(outcome.err.contains("statically linked"), "{outcome:#?}");
    let script = directory.path().join("script");
    std::fs::write(&script, format!("#!{} calls\n", program.display())).expect("a new file");
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("our own file");
    assert_eq!(run(ringer(ALWAYS).arg(&script)).status.code(), Some(126));
    run(ringer(["run", "--when", "never", "--block-kernel", "--"]).arg(&program).arg("refused"))
        .expect_success();
}

#[test]
fn a_program_that_gains_privileges_is_refused_and_its_plain_copy_is_not() {
    let Some(program) = cases() else { return skip("there is no C compiler") };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let copy = directory.path().join("copy");
    std::fs::copy(program, &copy).expect("room for a copy");
    if chown(&copy, Some(65534), Some(65534)).is_err() {
        return skip("only root can give files away");
    }
    for (mode, word) in [(0o4755, "set-uid"), (0o2755, "set-gid")] {
        std::fs::set_permissions(&copy, Permissions::from_mode(mode)).expect("root may");
        let outcome = run(ringer(ALWAYS).arg(&copy).arg("calls"));
        assert_eq!(outcome.status.code(), Some(126), "{outcome:#?}");
        assert!(outcome.err.contains(word), "{outcome:#?}");
    }
    std::fs::set_permissions(&copy, Permissions::from_mode(0o755)).expect("root may");
    run(ringer(ALWAYS).arg(&copy).arg("calls")).expect_success();
}

#[test]
fn auto_serves_only_where_the_kernel_does_not() {
    let preload = |options: &[&str]| {
        let outcome = run(ringer(["run"]).args(options).args(["--", "sh", "-c", "echo $LD_PRELOAD"]));
        outcome.expect_success().out.contains("libringer_preload.so")
    };
    assert!(preload(&["--block-kernel"]));
    assert!(preload(&["--when", "always"]));
    if ringer_sys::probe::kernel_io_uring().is_ok() {
        assert!(!preload(&[]));
    } else {
        assert!(preload(&[]));
    }
}

#[test]
fn a_summary_counts_what_all_processes_did() {
    let Some(program) = cases() else { return skip("there is no C compiler") };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let json = directory.path().join("summary.json");
    let summary = |name: &str| {
        let mut command =
            ringer(["run", "--when", "always", "--block-kernel", "--summary", "--summary-json"]);
        let outcome = run(command.arg(&json).arg("--").arg(program).arg(name)).expect_success();
        assert!(outcome.err.starts_with("ringer: "), "{outcome:#?}");
        let text = std::fs::read(&json).expect("it was written");
        serde_json::from_slice::<Value>(&text).expect("it is JSON")
    };
    let calls = summary("calls");
    assert_eq!(calls["served_by"], "ringer");
    // Three calls of the program's own making; the one through libc does not trap.
    assert_eq!(calls["traps"], 3);
    assert_eq!(calls["patched_sites"], 1);
    assert_eq!(calls["unpatched_sites"], 0);
    assert_eq!(calls["exit_status"], 0);
    // Fifteen programs that are executed in the course of it make three each.
    assert!(summary("executes")["traps"].as_u64().is_some_and(|traps| traps >= 3 * 15));
    assert!(!directory.path().join("no").exists());
}

#[test]
fn a_signal_goes_on_to_the_program() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let ready = directory.path().join("ready");
    let script = format!("trap 'exit 9' TERM; touch {}; while :; do sleep 0.05; done", ready.display());
    let mut command = ringer(["run", "--when", "always", "--summary", "--", "sh", "-c"]);
    let child = start(command.arg(script));
    let limit = Instant::now() + Duration::from_secs(30);
    while !ready.exists() {
        assert!(Instant::now() < limit, "the program does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("our own child");
    assert_eq!(finish(child).status.code(), Some(9));
}

#[test]
fn probe_sees_the_block_and_says_who_serves() {
    let command = env!("CARGO_BIN_EXE_ringer");
    let outcome =
        run(&mut ringer(["run", "--when", "never", "--block-kernel", "--", command, "probe", "--json"]));
    let report: Value = serde_json::from_str(&outcome.expect_success().out).expect("it is JSON");
    assert_eq!(report["kernel_io_uring"]["usable"], false);
    assert_eq!(report["kernel_io_uring"]["setup"], "EPERM");
    assert_eq!(report["kernel_io_uring"]["seccomp"], "filter");
    assert_eq!(report["auto"], "ringer");
    let lines = run(&mut ringer(["probe"])).out;
    assert!(lines.lines().any(|line| line.starts_with("--when auto")), "{lines}");
}

#[test]
fn help_manual_and_completions_come_from_one_definition() {
    let text = |arguments: &[&str]| run(&mut ringer(arguments)).expect_success().out;
    assert!(text(&["run", "--help"]).contains("--block-kernel"));
    assert!(text(&["man"]).contains(".TH"));
    assert!(text(&["completions", "bash"]).contains("block-kernel"));
}
