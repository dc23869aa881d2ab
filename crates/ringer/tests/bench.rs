//! The benchmark as its users see it.

mod support;

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;
use support::{finish, ringer, run, skip, start};

#[test]
fn a_quick_run_has_a_table_and_json_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let json = directory.path().join("bench.json");
    let files = directory.path().join("files");
    std::fs::create_dir(&files).expect("a new directory");
    let outcome = run(ringer(["bench", "--quick", "--milliseconds", "10", "--only", "nop"])
        .arg("--directory")
        .arg(&files)
        .arg("--json")
        .arg(&json))
    .expect_success();
    assert_eq!(outcome.err, "");
    assert_eq!(std::fs::read_dir(&files).expect("readable").count(), 0);
    for start in ["nop-1: NOP, 1 per call", "nop-32: ", "nop-sqpoll: ", "  ringer ", "  embedded ", "bars "] {
        assert!(outcome.out.lines().any(|line| line.starts_with(start)), "{start}: {}", outcome.out);
    }

    let report: Value = serde_json::from_slice(&std::fs::read(&json).expect("it was written")).expect("JSON");
    assert_eq!(report["rounds"], 3);
    let with_kernel = report["kernel_missing"].is_null();
    let rows = report["workloads"].as_array().expect("a list");
    assert_eq!(rows.len(), 3);
    for row in rows {
        assert_eq!(row["met"].is_boolean(), with_kernel, "{row}");
        let results = row["results"].as_array().expect("a list");
        assert_eq!(results.len(), if with_kernel { 4 } else { 3 });
        for outcome in results {
            assert!(outcome["failed"].is_null(), "{outcome}");
            let time = &outcome["time"];
            assert!(time["least"].as_f64() > Some(0.0) && time["least"].as_f64() <= time["most"].as_f64());
            let samples = outcome["samples"].as_array().expect("a list");
            assert_eq!(samples.len(), 3);
            assert!(samples.iter().all(|sample| sample["operations"].as_u64() > Some(0)));
            assert_eq!(outcome["latency"].is_object(), row["name"] == "nop-1");
        }
    }
}

#[test]
fn where_the_kernel_refuses_io_uring_its_column_is_left_out() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let program = env!("CARGO_BIN_EXE_ringer");
    let arguments = ["bench", "--quick", "--milliseconds", "10", "--rounds", "1", "--only", "statx"];
    let outcome = run(ringer(["run", "--when", "never", "--block-kernel", "--", program])
        .args(arguments)
        .arg("--directory")
        .arg(directory.path()))
    .expect_success();
    assert!(outcome.out.contains("kernel: left out, it refuses io_uring here"), "{}", outcome.out);
    assert!(!outcome.out.lines().any(|line| line.starts_with("  kernel")), "{}", outcome.out);
    assert!(outcome.out.ends_with("0 of 0 bars met\n"), "{}", outcome.out);
}

#[test]
fn many_of_something_are_measured_too() {
    let outcome = run(&mut ringer(["bench", "--scale", "--quick"])).expect_success();
    assert_eq!(outcome.err, "");
    for (many, count) in [("rings", 100), ("polls", 1000), ("timeouts", 10_000), ("overflow", 167_772)] {
        for contender in ["ringer", "embedded"] {
            let start = format!("| {many} | {contender} | ");
            let row = outcome.out.lines().find_map(|line| line.strip_prefix(&start));
            let number = row.and_then(|row| row.split(' ').next()).and_then(|number| number.parse().ok());
            // A submission is never begun in vain.
            assert!(number.is_some_and(|number: u64| number >= count), "{start}: {}", outcome.out);
        }
    }
}

#[test]
fn work_that_waits_has_latencies_and_plots() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let [json, plots, docs] = ["bench.json", "plots", "docs"].map(|name| directory.path().join(name));
    std::fs::create_dir(&docs).expect("a new directory");
    let [begin, end] = ["<!-- begin: written by `ringer bench --write-docs` -->", "<!-- end -->"];
    std::fs::write(docs.join("performance.md"), format!("before\n{begin}\nold\n{end}\nafter\n"))
        .expect("a new file");
    let only = [
        "--only",
        "echo-1",
        "--only",
        "wake-pipe",
        "--only",
        "direct-1",
        "--only",
        "write",
        "--only",
        "other-call",
    ];
    let outcome = run(ringer(["bench", "--quick", "--milliseconds", "10", "--rounds", "1"])
        .args(only)
        .current_dir(directory.path())
        .args([
            OsStr::new("--json"),
            json.as_os_str(),
            OsStr::new("--plots"),
            plots.as_os_str(),
            OsStr::new("--write-docs"),
            docs.as_os_str(),
        ]))
    .expect_success();
    let report: Value = serde_json::from_slice(&std::fs::read(&json).expect("it was written")).expect("JSON");
    for row in report["workloads"].as_array().expect("a list") {
        if let Some(why) = row["left_out"].as_str() {
            skip(why);
            continue;
        }
        for result in row["results"].as_array().expect("a list") {
            assert!(result["failed"].is_null(), "{}: {result}", row["name"]);
            assert_eq!(
                result["latency"]["p50"].is_u64(),
                !["write-32", "other-call"].contains(&row["name"].as_str().expect("a name")),
                "{}",
                outcome.out
            );
        }
        let name = format!("{}.svg", row["name"].as_str().expect("a name"));
        for plots in [&plots, &docs.join("plots")] {
            let plot = std::fs::read_to_string(plots.join(&name)).expect("a plot for each workload");
            assert!(plot.starts_with("<svg") && plot.contains("ringer"), "{plot}");
        }
    }
    let page = std::fs::read_to_string(docs.join("performance.md")).expect("it is there");
    assert!(page.starts_with("before\n") && page.ends_with("after\n") && !page.contains("old"), "{page}");
    assert!(page.contains("| embedded |"), "{page}");
    // Nothing but what was asked for.
    let mut left: Vec<_> = std::fs::read_dir(directory.path())
        .expect("readable")
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["bench.json", "docs", "plots"]);
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let child = start(ringer(["bench", "--quick", "--milliseconds", "2000"]).current_dir(directory.path()));
    let files = || std::fs::read_dir(directory.path()).expect("readable").count();
    let limit = Instant::now() + Duration::from_secs(20);
    while files() == 0 {
        assert!(Instant::now() < limit, "the files do not appear");
        std::thread::sleep(Duration::from_millis(5));
    }
    rustix::process::kill_process(Pid::from_child(&child), Signal::INT).expect("it is our child");
    let outcome = finish(child);
    assert_eq!((outcome.code(), files()), (130, 0), "{outcome:?}");
    assert_eq!(outcome.err, "bench: interrupted, files removed\n");
}

#[test]
fn the_list_names_all_and_errors_are_one_line() {
    let list = run(&mut ringer(["bench", "--list"])).expect_success().out;
    assert!(list.lines().count() > 20 && list.contains("echo-multishot-16"), "{list}");
    for (arguments, part) in [
        (["bench", "--only", "nothing"], "there is no workload nothing"),
        (["bench", "--directory", "/no/such/directory"], "see --directory"),
    ] {
        let outcome = run(&mut ringer(arguments));
        assert_eq!((outcome.code(), outcome.err.lines().count()), (1, 1), "{outcome:?}");
        assert!(outcome.err.starts_with("bench: ") && outcome.err.contains(part), "{outcome:?}");
    }
}
