//! `ringer bench --scale`: what very many rings, polls, timeouts and unreaped completions cost, each.

use std::process::{Command, ExitCode};
use std::time::Duration;

use super::client::{ScaleSample, scale_sample};
use super::contender::Contender;
use super::process::{Interrupt, Process};
use super::table::nanoseconds;

/// A contender may take this long for one kind.
const LIMIT: Duration = Duration::from_secs(180);

/// Of what there are many.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Many {
    /// Rings of 8 entries.
    Rings,
    /// Polls of a thousand files that do not become ready.
    Polls,
    /// Timeouts of an hour.
    Timeouts,
    /// Completions behind a full CQ.
    Overflow,
}

impl Many {
    const ALL: [Self; 4] = [Self::Rings, Self::Polls, Self::Timeouts, Self::Overflow];

    const fn name(self) -> &'static str {
        match self {
            Self::Rings => "rings",
            Self::Polls => "polls",
            Self::Timeouts => "timeouts",
            Self::Overflow => "overflow",
        }
    }

    /// How many. 256 MiB of CQEs are 16,777,216.
    const fn count(self) -> u64 {
        match self {
            Self::Rings => 10_000,
            Self::Polls => 100_000,
            Self::Timeouts => 1_000_000,
            Self::Overflow => (256 << 20) / 16,
        }
    }
}

/// Arguments of `ringer bench-scale`, the program that is measured.
#[derive(Debug, clap::Args)]
pub struct ScaleArgs {
    /// Of what
    many: Many,
    /// The contender
    contender: String,
    /// How many
    count: u64,
}

/// Measures, and prints the sample as a line of JSON; or says in one line why not.
pub fn client(args: &ScaleArgs) -> ExitCode {
    let contender = Contender::from_name(&args.contender).unwrap_or(Contender::Kernel);
    match scale_sample(args.many, contender, args.count) {
        Ok(sample) => {
            println!("{}", serde_json::to_string(&sample).expect("numbers and text"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench-scale: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Measures all kinds and prints the table, in Markdown. `quick`: a hundredth of each.
pub fn run(quick: bool, kernel_missing: bool, interrupt: &Interrupt) -> Result<(), String> {
    println!(
        "| many | contender | count | first tenth | last tenth | NOP alone | NOP among them | end of each | memory of each |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for many in Many::ALL {
        for contender in [Contender::Kernel, Contender::Ringer, Contender::Embedded] {
            if contender == Contender::Kernel && kernel_missing {
                continue;
            }
            let count = if quick { many.count() / 100 } else { many.count() };
            let text = Process::start(&mut command(many, contender, count)?)?.finish(LIMIT, interrupt)?;
            let sample: ScaleSample =
                serde_json::from_str(&text).map_err(|error| format!("cannot read a sample: {error}"))?;
            println!("{}", row(many, contender, &sample));
        }
    }
    Ok(())
}

fn command(many: Many, contender: Contender, count: u64) -> Result<Command, String> {
    let program =
        std::env::current_exe().map_err(|error| format!("cannot find this command's own path: {error}"))?;
    let mut command = Command::new(&program);
    if contender.is_intercepted() {
        command.args(["run", "--when", "always", "--"]).arg(&program);
    }
    command.args(["bench-scale", many.name(), contender.name(), &count.to_string()]);
    Ok(command)
}

fn row(many: Many, contender: Contender, sample: &ScaleSample) -> String {
    let stopped = sample.stopped.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
    // The kernel's memory is not the process's.
    let bytes = match contender {
        Contender::Kernel => "–".to_owned(),
        _ => format!("{:.0} B", sample.bytes),
    };
    let times = [sample.first, sample.last, sample.nop[0], sample.nop[1], sample.end].map(nanoseconds);
    format!(
        "| {} | {} | {}{stopped} | {} | {bytes} |",
        many.name(),
        contender.name(),
        sample.items,
        times.join(" | ")
    )
}
