//! `ringer chaos`: a program meets faults on purpose, the same again with the same seed.

mod plan;
mod tally;

use std::path::Path;
use std::process::ExitCode;

use crate::cli::ChaosArgs;
use crate::failure::Failure;
use crate::trace::{self, Output};

pub use self::tally::Tally;

/// Runs the program with the faults of the plan.
pub fn run(args: &ChaosArgs) -> Result<ExitCode, Failure> {
    if args.print_plan {
        return Ok(crate::print(|out| {
            out.extend_from_slice(plan::DEFAULT.as_bytes());
            Ok(())
        }));
    }
    let plan = plan::read(args.plan.as_deref(), args.seed)?;
    let mut output = Output::to_file(args.trace.as_deref(), args.json)?;
    output.count_faults(Tally::new(again(plan.seed, args.plan.as_deref(), &args.program)));
    trace::follow(&args.program, &[("RINGER_CHAOS", plan.to_string())], output)
}

/// The command line that does the same again.
fn again(seed: u64, plan: Option<&Path>, program: &[std::ffi::OsString]) -> String {
    let plan = plan.map(|plan| format!(" --plan {}", plan.display())).unwrap_or_default();
    let program: Vec<_> = program.iter().map(|word| word.to_string_lossy()).collect();
    format!("ringer chaos --seed {seed}{plan} -- {}", program.join(" "))
}
