//! Plays differential cases: for the test `differential`, and by hand to look into one.
//!
//! ```text
//! differential list [PART]           names of the cases that contain PART
//! differential show [PART] [ROUNDS]  where Ringer differs from the kernel; ROUNDS 0: the kernel from itself
//! differential unmodified RINGER     that the cases, run under this `ringer`, see what they see on the kernel
//! differential oracle PART           what the kernel saw
//! differential play BACKEND DIR      for the test: names on standard input
//! ```
#![forbid(unsafe_code)]

use std::io::{stdin, stdout};
use std::path::Path;
use std::process::ExitCode;

use ringer_conformance::cases;
use ringer_conformance::differential::compare::Report;
use ringer_conformance::differential::runner::{self, Programs};
use ringer_conformance::differential::{backend, child, record::Record, session::Session};

const DIFFERENCES: &str = include_str!("../../differences.toml");

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result =
        match words.as_slice() {
            ["list", rest @ ..] => {
                matching(rest.first()).iter().for_each(|case| println!("{}", case.name));
                Ok(())
            }
            ["show", rest @ ..] => show(rest.first(), rest.get(1)),
            ["unmodified", ringer] => unmodified(Path::new(ringer)),
            ["oracle", part] => oracle(part),
            ["play", name, directory] => match backend::by_name(name) {
                Some(backend) => {
                    child::play(backend, Path::new(directory), &cases::all(), stdin().lock(), stdout().lock())
                        .map_err(|error| error.to_string())
                }
                None => Err(format!("no backend {name}: kernel, ringer or ringer-with-handlers")),
            },
            _ => Err("usage: differential list|show|oracle [PART] | unmodified RINGER | play BACKEND DIR"
                .to_owned()),
        };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn matching(part: Option<&&str>) -> Vec<ringer_conformance::differential::Case> {
    let part = part.copied().unwrap_or_default();
    cases::all().into_iter().filter(|case| case.name.contains(part)).collect()
}

fn show(part: Option<&&str>, rounds: Option<&&str>) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let rounds =
        rounds.map_or(Ok(1), |rounds| rounds.parse().map_err(|_| "ROUNDS is a number".to_owned()))?;
    let programs = Programs { program: &program, ringer: None };
    tell(&runner::run(programs, &matching(part), "", rounds)?)
}

/// All cases but those whose differences are known, played by this program as an unmodified one.
fn unmodified(ringer: &Path) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let programs = Programs { program: &program, ringer: Some(ringer) };
    tell(&runner::run(programs, &cases::all(), DIFFERENCES, 1)?)
}

fn tell(report: &Report) -> Result<(), String> {
    for failure in &report.failures {
        println!("{failure}\n");
    }
    println!(
        "{} same, {} known differences, {} skipped, unsteady: {:?}, {} failures",
        report.same,
        report.known,
        report.skipped,
        report.unsteady,
        report.failures.len()
    );
    if report.failures.is_empty() { Ok(()) } else { Err("differences".to_owned()) }
}

/// Plays in this process, so that a debugger and strace see it.
fn oracle(part: &str) -> Result<(), String> {
    let kernel = backend::by_name("kernel").ok_or("no kernel")?;
    for (index, case) in matching(Some(&part)).into_iter().enumerate() {
        let directory = std::env::temp_dir().join(format!("ringer-oracle-{}-{index}", std::process::id()));
        std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        let mut session = Session::new(kernel, directory.clone());
        (case.run)(&mut session);
        print(&case.name, &session.into_record());
        std::fs::remove_dir_all(&directory).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn print(name: &str, record: &Record) {
    println!("{name}");
    let width = record.observations().iter().map(|seen| seen.label.len()).max().unwrap_or(0);
    for seen in record.observations() {
        println!("  {:width$}  {}", seen.label, seen.value);
    }
}
