//! `ringer trace`: what it says of a program whose requests are known (`programs/observed.c`).

mod support;

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;
use support::observed::{GOTTEN, Place, program};
use support::{Outcome, ringer, run};

fn traced(place: &Place, program: &Path, flags: &[&str]) -> Outcome {
    let mut command = ringer(["trace"]);
    command.args(flags).arg("--").arg(program).arg("requests").arg(place.path("file"));
    run(&mut command)
}

/// A line without what differs from run to run: time, process, addresses, latency.
fn normal(line: &str) -> String {
    let words = line.split(' ').skip(2).map(|word| match word.split_once('=') {
        Some((name @ ("buf" | "ts"), _)) => format!("{name}=…"),
        Some(("fd", number)) if number.len() > 2 => "fd=…".into(),
        _ => word.to_owned(),
    });
    let line = words.collect::<Vec<_>>().join(" ");
    match line.split_once(" µs ") {
        Some((before, way)) => {
            let (before, took) = before.rsplit_once(' ').expect("a number before its unit");
            assert!(took.parse::<f64>().is_ok_and(|took| took > 0.0), "{line}");
            format!("{before} T {way}")
        }
        None => line,
    }
}

#[test]
fn text_has_a_line_for_each_event() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let outcome = traced(&place, program, &[]);
    assert_eq!(outcome.code(), 7, "{outcome:#?}");
    let (opened, rest) = outcome.out.split_once('\n').expect("a first line");
    assert!(opened.starts_with("1: ") && rest == GOTTEN, "{outcome:#?}");
    let file = opened.trim_start_matches("1: ");
    let lines: Vec<String> = outcome.err.lines().map(normal).collect();
    let path = place.path("file");
    let expected = format!(
        r#"ring 1 made fd=… sq_entries=8 cq_entries=16
ring 1 #1 > OPENAT dfd=AT_FDCWD path="{path}" flags=O_RDWR|O_CREAT|O_TRUNC|O_CLOEXEC mode=0600 user_data=0x1
ring 1 #1 < OPENAT {file} user_data=0x1 T inline
ring 1 #2 > WRITE fd={file} buf=… len=4096 offset=0 user_data=0x2
ring 1 #2 < WRITE 4096 user_data=0x2 T inline
ring 1 #3 > READ fd={file} buf=… len=4096 offset=0 user_data=0x3
ring 1 #3 < READ 4096 user_data=0x3 T inline
ring 1 #4 > READ fd={file} buf=… len=100 offset=8192 user_data=0x4 IO_LINK
ring 1 #5 > NOP user_data=0x5
ring 1 #4 < READ 0 user_data=0x4 T inline
ring 1 #5 < NOP -ECANCELED user_data=0x5 T engine"#,
        path = path.display()
    );
    let expected: Vec<&str> = expected.lines().collect();
    assert_eq!(lines[..expected.len()], expected, "{outcome:#?}");
    for line in [
        "ring 1 #6 < POLL_ADD 1 user_data=0x6 MORE T poll",
        "ring 1 #6 < POLL_ADD -ECANCELED user_data=0x6 T poll",
        "ring 1 #8 < TIMEOUT -ETIME user_data=0x8 T engine",
        "ring 1 #9 < NOP 0 user_data=0x9 no CQE T inline",
        "ring 1 < 77 user_data=0xc",
        "ring 1 #13 < MSG_RING 0 user_data=0xb T engine",
        "ring 1 #14 < CLOSE -EBADF user_data=0xd T inline",
    ] {
        assert_eq!(lines.iter().filter(|other| *other == line).count(), 1, "{line}: {lines:#?}");
    }
    // Of the child and of the program that was executed: rings of their own.
    let nops =
        |number| lines.iter().filter(|line| line.contains(&format!("NOP 0 user_data={number} "))).count();
    assert_eq!((nops("0x14"), nops("0x1e")), (1, 1), "{lines:#?}");
    assert!(
        lines.last().is_some_and(|last| last.ends_with("#2 READ has not completed, user_data=0x1f")),
        "{lines:#?}"
    );
}

#[test]
fn json_has_an_object_for_each_event() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let output = place.path("trace.json");
    let flags = ["--json", "--output", output.to_str().expect("a plain path")];
    let outcome = traced(&place, program, &flags);
    assert_eq!((outcome.code(), outcome.err.as_str()), (7, ""), "{outcome:#?}");
    let text = std::fs::read_to_string(output).expect("it was written");
    let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let key = |event: &Value| format!("{} {} {}", event["process"], event["ring"], event["request"]);
    let mut ends = HashMap::new();
    for event in events.iter().filter(|event| event["event"] == "submitted") {
        assert!(ends.insert(key(event), 0).is_none(), "{event}");
    }
    for event in events.iter().filter(|event| event["event"] == "completed" && !event["request"].is_null()) {
        let is_last = !event["flags"].as_str().expect("a string").split('|').any(|flag| flag == "MORE");
        *ends.get_mut(&key(event)).expect("it was submitted") += i32::from(is_last);
        assert!(event["latency"].as_u64().is_some_and(|latency| latency > 0), "{event}");
    }
    assert_eq!(ends.len(), 18);
    assert_eq!(ends.values().filter(|count| **count == 1).count(), 17, "{ends:#?}");
    let open = events.iter().find(|event| event["opcode"] == "OPENAT").expect("it was submitted");
    let path = &open["arguments"][1];
    assert_eq!((&path["name"], &path["text"]), (&"path".into(), &place.path("file").to_str().into()));
    let closed = events.iter().rfind(|event| event["opcode"] == "CLOSE").expect("it completed");
    assert_eq!((&closed["result"], &closed["errno"]), (&(-9).into(), &"EBADF".into()));
}

#[test]
fn a_timeline_has_a_slice_for_each_request() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let timeline = place.path("timeline.json");
    let flags = ["--perfetto", timeline.to_str().expect("a plain path"), "--output", "/dev/null"];
    assert_eq!(traced(&place, program, &flags).code(), 7);
    let text = std::fs::read_to_string(timeline).expect("it was written");
    let timeline: Value = serde_json::from_str(&text).expect("JSON");
    let events = timeline["traceEvents"].as_array().expect("a list");
    let of = |phase: &str| {
        let phase = events.iter().filter(|event| event["ph"] == phase);
        let mut ids: Vec<String> = phase.map(|event| format!("{} {}", event["pid"], event["id2"])).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(of("b").len(), 18, "{text}");
    assert_eq!(of("b"), of("e"));
    assert_eq!(of("n").len(), 1, "one result that was not the last");
    assert_eq!(of("M").len(), 3, "a name for each ring");
}

#[test]
fn a_summary_has_latencies_by_opcode() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let outcome = traced(&place, program, &["--summary", "--output", "/dev/null"]);
    assert_eq!(outcome.code(), 7, "{outcome:#?}");
    let row = |name: &str| {
        let line = outcome.err.lines().find(|line| line.split_whitespace().nth(1) == Some(name));
        line.unwrap_or_else(|| panic!("no {name}: {outcome:#?}"))
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (timeout, nop) = (row("TIMEOUT"), row("NOP"));
    assert_eq!((&timeout[2][..], &timeout[3][..], &nop[2][..], &nop[3][..]), ("1", "1", "7", "1"));
    assert!(timeout[4].parse::<f64>().is_ok_and(|median| median >= 1000.0), "{timeout:?}");
}

#[test]
fn a_program_outlives_a_trace_that_cannot_be_written() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let outcome = traced(&place, program, &["--output", "/dev/full"]);
    // The program's output is whole; the command says what is wrong.
    assert!(outcome.out.ends_with("30: 0\n"), "{outcome:#?}");
    assert_eq!(outcome.code(), 125);
    assert!(outcome.err.starts_with("ringer: cannot write the trace: No space left"), "{outcome:#?}");
}
