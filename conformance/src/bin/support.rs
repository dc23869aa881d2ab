//! Writes `docs/SUPPORT.md`, or says with `--check` whether it is up to date.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/SUPPORT.md");
    let page = match ringer_conformance::support::page(
        include_str!("../../differences.toml"),
        include_str!("../../random-differences.toml"),
    ) {
        Ok(page) => page,
        Err(message) => {
            eprintln!("support: {message}");
            return ExitCode::FAILURE;
        }
    };
    if std::env::args().nth(1).as_deref() == Some("--check") {
        let is_same = std::fs::read_to_string(&path).is_ok_and(|text| text == page);
        if !is_same {
            eprintln!(
                "support: docs/SUPPORT.md is not up to date, run `cargo run -p ringer-conformance --bin support`"
            );
        }
        return if is_same { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match std::fs::write(&path, page) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("support: {}: {error}", path.display());
            ExitCode::FAILURE
        }
    }
}
