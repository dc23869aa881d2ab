//! `ringer chaos`: what a program whose requests are known (`programs/observed.c`) gets with faults on purpose.

mod support;

use std::path::Path;

use support::observed::{GOTTEN, Place, program};
use support::{Outcome, ringer, run};

/// A run with this plan. Returns what the program printed behind the descriptor that it opened, and the faults of the trace.
fn struck(place: &Place, program: &Path, plan: &str, flags: &[&str]) -> (Outcome, Vec<String>) {
    let (file, trace) = (place.path("plan.toml"), place.path("trace"));
    std::fs::write(&file, plan).expect("room for a plan");
    let mut command = ringer(["chaos", "--plan"]);
    command.arg(file).arg("--trace").arg(&trace).args(flags);
    command.arg("--").arg(program).arg("requests").arg(place.path("file"));
    let outcome = run(&mut command);
    let trace = std::fs::read_to_string(trace).expect("it was written");
    // Without the time and the process.
    let faults = trace.lines().filter(|line| line.contains(" ! "));
    let faults = faults.map(|line| line.splitn(3, ' ').nth(2).expect("more words").to_owned());
    (outcome, faults.collect())
}

/// What the program printed behind the descriptor that it opened.
fn gotten(outcome: &Outcome) -> &str {
    outcome.out.split_once('\n').expect("a first line").1
}

/// A plan of one rule strikes once, which gives these results in the place of others.
#[track_caller]
fn strikes_once(rule: &str, fault: &str, instead: (&str, &str)) {
    let Some(program) = program() else { return };
    let place = Place::new();
    let (outcome, faults) = struck(&place, program, &format!("seed = 1\n[[rule]]\n{rule}"), &[]);
    assert_eq!(outcome.code(), 7, "{outcome:#?}");
    assert_eq!(gotten(&outcome), GOTTEN.replacen(instead.0, instead.1, 1), "{outcome:#?}");
    assert_eq!(faults, [fault], "{outcome:#?}");
    let name = rule.split('\'').nth(1).expect("a quoted fault");
    let summary = format!(
        "ringer: 1 faults in 18 requests: 1 {name}\nringer: the same again: ringer chaos --seed 1 --plan "
    );
    assert!(outcome.err.starts_with(&summary), "{outcome:#?}");
}

#[test]
fn a_request_fails() {
    // Nothing is written, and so nothing is there to be read.
    let instead = ("2: 4096\n3: 4096", "2: -5\n3: 0");
    strikes_once(
        "fault = 'error'\nerrno = 'EIO'\nopcodes = ['WRITE']\nat = [1]",
        "ring 1 #2 ! error EIO",
        instead,
    );
}

#[test]
fn a_failure_breaks_the_chain_as_any_other() {
    // The head of the chain is the second READ.
    let instead = ("4: 0\n5: -125", "4: -28\n5: -125");
    strikes_once(
        "fault = 'error'\nerrno = 'ENOSPC'\nopcodes = ['READ']\nat = [2]",
        "ring 1 #4 ! error ENOSPC",
        instead,
    );
}

#[test]
fn a_request_of_the_engine_fails_if_it_is_named() {
    let instead = ("7: 0\n6: -125\n8: -62", "7: 0\n6: -125\n8: -11");
    strikes_once(
        "fault = 'error'\nerrno = 'EAGAIN'\nopcodes = ['TIMEOUT']\nevery = 1",
        "ring 1 #8 ! error EAGAIN",
        instead,
    );
}

#[test]
fn a_program_hears_that_its_file_cannot_be_opened() {
    let Some(program) = program() else { return };
    let plan = "[[rule]]\nfault = 'error'\nerrno = 'EMFILE'\nopcodes = ['OPENAT']\nevery = 1";
    let (outcome, _) = struck(&Place::new(), program, plan, &[]);
    assert_eq!((outcome.code(), outcome.out.as_str()), (3, "1: -24\n"), "{outcome:#?}");
}

#[test]
fn a_transfer_moves_less() {
    let Some(program) = program() else { return };
    let plan = "[[rule]]\nfault = 'short'\nopcodes = ['WRITE']\nat = [1]";
    let (outcome, faults) = struck(&Place::new(), program, plan, &[]);
    let [fault] = &faults[..] else { panic!("{faults:?}") };
    let moved = fault.strip_prefix("ring 1 #2 ! short ").and_then(|rest| rest.strip_suffix(" of 4096 bytes"));
    let moved = moved.and_then(|moved| moved.parse::<u32>().ok()).filter(|moved| (1..4096).contains(moved));
    let moved = moved.unwrap_or_else(|| panic!("{fault}"));
    // So much is there to be read.
    let expected = GOTTEN.replacen("2: 4096\n3: 4096", &format!("2: {moved}\n3: {moved}"), 1);
    assert_eq!(gotten(&outcome), expected, "{outcome:#?}");
}

#[test]
fn a_request_is_late_and_overtaken() {
    let Some(program) = program() else { return };
    // The fourth is the first of two NOPs: before it are the end of a chain, which never begins, one without a CQE and its neighbour.
    let plan = "[[rule]]\nfault = 'late'\nmilliseconds = 20\nopcodes = ['NOP']\nat = [4]";
    let (outcome, faults) = struck(&Place::new(), program, plan, &[]);
    assert_eq!(gotten(&outcome), GOTTEN.replacen("15: 0\n16: 0", "16: 0\n15: 0", 1), "{outcome:#?}");
    assert!(faults.len() == 1 && faults[0].starts_with("ring 1 #11 ! late "), "{faults:?}");
}

#[test]
fn a_request_that_is_held_back_can_be_cancelled_and_is_no_timeout() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let plan = place.path("plan.toml");
    let rule = "seed = 1\n[[rule]]\nfault = 'late'\nmilliseconds = 30000\nopcodes = ['READ']\nevery = 1";
    std::fs::write(&plan, rule).expect("room for a plan");
    let mut command = ringer(["chaos", "--plan"]);
    command.arg(plan).arg("--").arg(program).arg("cancels");
    let outcome = run(&mut command).expect_success();
    assert_eq!(outcome.out, "2: -2\n3: 0\n1: -125\n", "{outcome:#?}");
    assert!(outcome.err.starts_with("ringer: 2 faults in 4 requests: 2 late\n"), "{outcome:#?}");
}

#[test]
fn a_completion_that_overflows_is_brought_by_the_next_call() {
    strikes_once("fault = 'overflow'\nopcodes = ['NOP']\nat = [4]", "ring 1 #11 ! overflow", ("", ""));
}

#[test]
fn a_thread_that_is_about_to_wait_finds_what_overflows() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let plan = place.path("plan.toml");
    std::fs::write(&plan, "[[rule]]\nfault = 'overflow'\nchance = 1").expect("room for a plan");
    let mut command = ringer(["chaos", "--plan"]);
    let outcome = run(command.arg(plan).arg("--").arg(program).arg("on-workers"));
    assert_eq!((outcome.code(), outcome.out.lines().count()), (0, 40_000), "{}", outcome.err);
}

#[test]
fn a_call_takes_fewer() {
    let Some(program) = program() else { return };
    let plan = "[[rule]]\nfault = 'partial'\nchance = 1";
    let (outcome, faults) = struck(&Place::new(), program, plan, &[]);
    assert_eq!((outcome.code(), gotten(&outcome)), (7, GOTTEN), "{outcome:#?}");
    // There are three calls with two SQEs, and those of one are a chain.
    assert_eq!(faults, ["ring 1 ! partial 1 of 2 SQEs"; 2], "{outcome:#?}");
}

#[test]
fn a_wait_is_interrupted() {
    strikes_once("fault = 'interrupt'\nat = [1]", "ring 1 ! interrupt", ("", ""));
}

#[test]
fn the_same_seed_does_the_same_again() {
    let Some(program) = program() else { return };
    let plan = "[[rule]]\nfault = 'short'\nchance = 0.3\n[[rule]]\nfault = 'late'\nmilliseconds = 3\nchance = 0.3\n[[rule]]\nfault = 'overflow'\nchance = 0.3";
    let with_seed = |seed: u32| {
        let (outcome, faults) = struck(&Place::new(), program, plan, &["--seed", &seed.to_string()]);
        assert_eq!(outcome.code(), 7, "{outcome:#?}");
        assert!(outcome.err.contains(&format!("ringer chaos --seed {seed} --plan ")), "{outcome:#?}");
        faults
    };
    assert_eq!(with_seed(11), with_seed(11));
    assert_ne!(with_seed(11), with_seed(12));
}

#[test]
fn a_bad_plan_is_refused_in_one_line() {
    let Some(program) = program() else { return };
    let place = Place::new();
    let file = place.path("plan.toml");
    std::fs::write(&file, "[[rule]]\nfault = 'short'\nopcodes = ['OPENAT']\nevery = 1")
        .expect("room for a plan");
    let outcome = run(ringer(["chaos", "--plan"]).arg(&file).arg("--").arg(program));
    let line = format!(
        "ringer: {}: rule 1: this fault cannot strike OPENAT; `ringer chaos --print-plan` shows how one is written\n",
        file.display()
    );
    assert_eq!((outcome.code(), outcome.err), (125, line));
}

#[test]
fn the_plan_that_is_built_in_can_be_printed_and_used() {
    let Some(program) = program() else { return };
    let printed = run(&mut ringer(["chaos", "--print-plan"])).expect_success().out;
    let (outcome, _) = struck(&Place::new(), program, &printed, &["--seed", "3"]);
    assert_eq!(outcome.code(), 7, "{outcome:#?}");
}
