//! Plays what threads do to shared rings, and counts what comes back: see `ringer_conformance::conservation`.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use ringer_abi::SetupFlags;
use ringer_client::calls::{Embedded, Inline};
use ringer_conformance::conservation::{Kinds, Play, SETUPS, play};

/// Threads submit requests at random to rings that they share; nothing may be lost, and nothing come twice.
#[derive(Parser)]
struct Args {
    /// Who serves the calls
    #[arg(long, value_enum, default_value = "embedded")]
    by: By,
    /// Seconds of each round
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    seconds: f64,
    /// Rounds of each kind
    #[arg(long, value_name = "N", default_value_t = 1)]
    rounds: u32,
    /// Flags of the rings, by name (`SQPOLL`, `COOP_TASKRUN|SUBMIT_ALL`); those of the test by default
    #[arg(long, value_name = "FLAGS", value_parser = bitflags::parser::from_str::<SetupFlags>)]
    setup: Vec<SetupFlags>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// The engine in this process
    Embedded,
    /// Whoever serves this process: the kernel, or Ringer under `ringer run`
    System,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let setups = if args.setup.is_empty() { &SETUPS[..] } else { &args.setup };
    let time = Duration::from_secs_f64(args.seconds);
    let mut faults = 0;
    for round in 0..args.rounds {
        for setup in setups {
            for kinds in Kinds::ALL {
                let one = Play { setup: *setup, kinds, time };
                let result =
                    if args.by == By::Embedded { play::<Embedded>(&one) } else { play::<Inline>(&one) };
                if let Err(why) = result {
                    println!("round {round}, {setup:?}, {kinds:?}: {why}");
                    faults += 1;
                }
            }
        }
    }
    println!("{faults} faults");
    if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
