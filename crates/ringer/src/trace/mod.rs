//! `ringer trace`: every SQE and CQE of a program, decoded, with latency.

mod errno;
mod json;
mod latency;
mod perfetto;
mod reader;
mod requests;
mod text;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::{Command, ExitCode};

use ringer_engine::trace::Record;

use self::latency::Latencies;
use self::perfetto::Perfetto;
use self::reader::Reader;
use self::requests::{Event, Requests};
use crate::cli::TraceArgs;
use crate::failure::Failure;
use crate::{child, program, run};

/// Runs the program and writes what it submits and what completes.
pub fn run(args: &TraceArgs) -> Result<ExitCode, Failure> {
    let (name, arguments) = args.program.split_first().expect("the command line asks for at least one");
    let path = program::find(name)?;
    let mut command = Command::new(&path);
    {
        use std::os::unix::process::CommandExt;
        command.arg0(name).args(arguments);
    }
    run::serve(&path, &mut command)?;
    let reader = Reader::new()?;
    command.env("RINGER_TRACE", reader.name());
    let mut output = Output::new(args)?;

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
struct Output {
    requests: Requests,
    lines: Box<dyn Write + Send>,
    as_json: bool,
    perfetto: Option<Perfetto>,
    latencies: Option<Latencies>,
}

impl Output {
    fn new(args: &TraceArgs) -> Result<Self, Failure> {
        let create = |path: &Path| File::create(path).map(BufWriter::new);
        let lines: Box<dyn Write + Send> = match &args.output {
            Some(path) => {
                Box::new(create(path).map_err(Failure::system("cannot write the file of --output"))?)
            }
            None => Box::new(std::io::stderr()),
        };
        let perfetto = args.perfetto.as_deref().map(|path| create(path).and_then(Perfetto::new));
        Ok(Self {
            requests: Requests::default(),
            lines,
            as_json: args.json,
            perfetto: perfetto.transpose().map_err(Failure::system("cannot write the file of --perfetto"))?,
            latencies: args.summary.then(Latencies::default),
        })
    }

    fn write(&mut self, connection: u32, record: Record) -> Result<(), Failure> {
        let event = self.requests.take(connection, record);
        self.write_event(&event).map_err(Failure::system("cannot write the trace"))
    }

    fn write_event(&mut self, event: &Event) -> std::io::Result<()> {
        if self.as_json {
            json::write(event, &mut self.lines)?
        } else {
            text::write(event, &mut self.lines)?
        }
        if let Some(perfetto) = &mut self.perfetto {
            perfetto.write(event)?;
        }
        if let Some(latencies) = &mut self.latencies {
            latencies.add(event);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        let written = || {
            let pending = self.requests.pending();
            if !self.as_json {
                text::write_pending(&pending, &mut self.lines)?;
            }
            self.lines.flush()?;
            if let Some(perfetto) = self.perfetto {
                perfetto.finish(&pending)?;
            }
            if let Some(latencies) = self.latencies {
                latencies.print();
            }
            Ok::<(), std::io::Error>(())
        };
        written().map_err(Failure::system("cannot write the trace"))
    }
}
