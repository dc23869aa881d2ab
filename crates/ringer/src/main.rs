//! The `ringer` command.
#![forbid(unsafe_code)]

mod bench;
mod block;
mod chaos;
mod child;
mod cli;
mod demo;
mod failure;
mod library;
mod probe;
mod program;
mod run;
mod summary;
mod trace;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use self::cli::{Cli, Command};

/// The exit status of a command line that makes no sense.
const EXIT_USAGE: u8 = 125;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Where nothing can be printed there is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        Command::Run(args) => run::run(&args).unwrap_or_else(|failure| failure.report()),
        Command::Trace(args) => trace::run(&args).unwrap_or_else(|failure| failure.report()),
        Command::Chaos(args) => chaos::run(&args).unwrap_or_else(|failure| failure.report()),
        Command::Probe(args) => probe::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::DemoClient(args) => demo::client(&args),
        Command::Bench(args) => bench::run(&args),
        Command::BenchClient(args) => bench::client(&args),
        Command::BenchScale(args) => bench::scale_client(&args),
        Command::BenchLoad(args) => bench::load(&args),
        Command::Man => print(|out| clap_mangen::Man::new(Cli::command()).render(out)),
        Command::Completions { shell } => print(|out| {
            clap_complete::generate(shell, &mut Cli::command(), "ringer", out);
            Ok(())
        }),
    }
}

/// Prints what `render` makes. A reader that has seen enough is no error.
fn print(render: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> ExitCode {
    use std::io::Write;
    let mut text = Vec::new();
    match render(&mut text).and_then(|()| std::io::stdout().write_all(&text)) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("ringer: cannot print: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
