//! `ringer trace`: every SQE and CQE of a program, decoded, with latency.

pub mod errno;
mod json;
mod latency;
mod perfetto;
mod reader;
mod requests;
mod text;

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use ringer_engine::trace::Record;

use self::latency::Latencies;
use self::perfetto::Perfetto;
use self::reader::Reader;
use self::requests::Requests;
pub use self::requests::{Event, Kind};
use crate::chaos::Tally;
use crate::cli::TraceArgs;
use crate::failure::Failure;
use crate::{child, program, run};

/// Runs the program and writes what it submits and what completes.
pub fn run(args: &TraceArgs) -> Result<ExitCode, Failure> {
    follow(&args.program, &[], Output::new(args)?)
}

/// Runs a program with these variables in its environment, and hands all its events on.
pub fn follow(
    command_line: &[OsString],
    variables: &[(&str, String)],
    mut output: Output,
) -> Result<ExitCode, Failure> {
    let (name, arguments) = command_line.split_first().expect("the command line asks for at least one");
    let path = program::find(name)?;
    let mut command = Command::new(&path);
    command.arg0(name).args(arguments);
    run::serve(&path, &mut command)?;
    let reader = Reader::new()?;
    command.env("RINGER_TRACE", reader.name());
    command.envs(variables.iter().map(|(name, value)| (name, value)));

    let bell = reader.bell();
    let writer = std::thread::spawn(move || {
        let written = reader.read(|connection, record| output.write(connection, record));
        written.and_then(|()| output.finish())
    });
    let status = child::run(&mut command, &path);
    bell.ring();
    let written = writer.join().expect("it does not panic");
    status.and_then(|status| written.map(|()| ExitCode::from(status)))
}

/// Where events go, and in which form.
pub struct Output {
    requests: Requests,
    lines: Option<Box<dyn Write + Send>>,
    as_json: bool,
    perfetto: Option<Perfetto>,
    latencies: Option<Latencies>,
    faults: Option<Tally>,
}

fn create(path: &Path, what: &'static str) -> Result<BufWriter<File>, Failure> {
    File::create(path).map(BufWriter::new).map_err(Failure::system(what))
}

impl Output {
    fn new(args: &TraceArgs) -> Result<Self, Failure> {
        let mut output = Self::to_file(args.output.as_deref(), args.json)?;
        if args.output.is_none() {
            output.lines = Some(Box::new(std::io::stderr()));
        }
        if let Some(path) = &args.perfetto {
            let what = "cannot write the file of --perfetto";
            output.perfetto = Some(Perfetto::new(create(path, what)?).map_err(Failure::system(what))?);
        }
        output.latencies = args.summary.then(Latencies::default);
        Ok(output)
    }

    /// To a file, or nowhere.
    pub fn to_file(path: Option<&Path>, as_json: bool) -> Result<Self, Failure> {
        let file = path.map(|path| create(path, "cannot write the file of the trace")).transpose()?;
        let lines = file.map(|file| Box::new(file) as Box<dyn Write + Send>);
        let requests = Requests::default();
        Ok(Self { requests, lines, as_json, perfetto: None, latencies: None, faults: None })
    }

    /// Has faults counted, too.
    pub fn count_faults(&mut self, tally: Tally) {
        self.faults = Some(tally);
    }

    fn write(&mut self, connection: u32, record: Record) -> Result<(), Failure> {
        let event = self.requests.take(connection, record);
        self.write_event(&event).map_err(Failure::system("cannot write the trace"))
    }

    fn write_event(&mut self, event: &Event) -> std::io::Result<()> {
        match &mut self.lines {
            Some(lines) if self.as_json => json::write(event, lines)?,
            Some(lines) => text::write(event, lines)?,
            None => {}
        }
        if let Some(perfetto) = &mut self.perfetto {
            perfetto.write(event)?;
        }
        if let Some(latencies) = &mut self.latencies {
            latencies.add(event);
        }
        if let Some(faults) = &mut self.faults {
            faults.add(event);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        let written = || {
            let pending = self.requests.pending();
            if let Some(lines) = &mut self.lines {
                if !self.as_json {
                    text::write_pending(&pending, lines)?;
                }
                lines.flush()?;
            }
            if let Some(perfetto) = self.perfetto {
                perfetto.finish(&pending)?;
            }
            if let Some(latencies) = self.latencies {
                latencies.print();
            }
            if let Some(faults) = self.faults {
                faults.print();
            }
            Ok::<(), std::io::Error>(())
        };
        written().map_err(Failure::system("cannot write the trace"))
    }
}
