//! The demo as users run it, and its client alone.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const RINGER: &str = env!("CARGO_BIN_EXE_ringer");
const LIMIT: Duration = Duration::from_secs(180);

/// Runs the command with its temporary files in `directory`, and kills it when it takes too long.
fn ringer(directory: &Path, arguments: &[&str]) -> Output {
    let mut child = Command::new(RINGER)
        .args(arguments)
        .env("TMPDIR", directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command was built");
    let deadline = Instant::now() + LIMIT;
    while child.try_wait().expect("it is our child").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("it is our child");
        }
        thread::sleep(Duration::from_millis(10));
    }
    // The output is far smaller than a pipe holds.
    child.wait_with_output().expect("it has ended")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("plain text")
}

#[test]
fn the_demo_passes_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = ringer(directory.path(), &["demo", "--size", "8", "--messages", "50", "--no-progress"]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{stdout}\n{stderr}", output.status);
    assert!(stdout.ends_with("\ndemo: all checks passed\n"), "{stdout}");
    assert!(stdout.contains("fails, as it must"), "{stdout}");
    for opcode in ["READ", "WRITE", "FSYNC", "ACCEPT", "CONNECT", "SEND", "RECV"] {
        assert!(stdout.lines().any(|line| line.trim_start().starts_with(&format!("{opcode} "))), "{stdout}");
    }
    assert_eq!(stderr, "");
    assert_eq!(std::fs::read_dir(directory.path()).expect("readable").count(), 0);
}

#[test]
fn a_blocked_client_says_so() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let arguments = ["run", "--when", "never", "--block-kernel", "--", RINGER, "demo-client", "echo"];
    let output = ringer(directory.path(), &arguments);
    assert_eq!(output.status.code(), Some(3));
    let event: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    assert_eq!(event["event"], "refused");
    assert_eq!(event["errno"], 1);
    assert_eq!(text(&output.stderr).lines().count(), 1);
}

#[test]
fn the_client_works_on_the_kernels_io_uring() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [source, target] = ["source", "target"].map(|name| directory.path().join(name));
    // Neither a whole number of blocks nor of words.
    let content: Vec<u8> = (0..1_000_003_u32).map(|number| (number ^ (number >> 8)) as u8).collect();
    std::fs::write(&source, &content).expect("writable");
    let [source, target] = [&source, &target].map(|path| path.to_str().expect("plain text"));

    let output = ringer(directory.path(), &["demo-client", "copy", source, target]);
    if output.status.code() == Some(3) {
        eprintln!("skipped: no io_uring here: {}", text(&output.stderr));
        return;
    }
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(std::fs::read(target).expect("readable") == content, "the copy differs");

    // It never overwrites.
    let output = ringer(directory.path(), &["demo-client", "copy", source, target]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("File exists"), "{}", text(&output.stderr));

    let echo = ["demo-client", "echo", "--connections", "5", "--messages", "40"];
    let output = ringer(directory.path(), &echo);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    let last: serde_json::Value =
        serde_json::from_str(lines.lines().last().expect("a result")).expect("a line of JSON");
    assert_eq!(last["messages"], 200);
    assert_eq!(last["client_checksum"], last["server_checksum"]);
}
