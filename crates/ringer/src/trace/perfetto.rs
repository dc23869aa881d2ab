//! A timeline in the format that Perfetto and Chrome read: "Trace Event Format", JSON.
//!
//! Each ring is a track of its process; a request is an asynchronous slice there, from its submission to its last completion, with
//! a mark for each completion before.

use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::time::Duration;

use ringer_ops::arguments::Shown;
use serde_json::{Value, json};

use super::errno;
use super::requests::{Event, Kind, Pending, has_more};
use super::text::{fault, opcode};

/// A file that is being written.
pub struct Perfetto {
    out: BufWriter<File>,
    is_empty: bool,
    /// When the last event was.
    end: Duration,
}

impl Perfetto {
    /// Begins the file.
    pub fn new(mut out: BufWriter<File>) -> Result<Self> {
        out.write_all(b"{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
        Ok(Self { out, is_empty: true, end: Duration::ZERO })
    }

    fn put(&mut self, event: &Value) -> Result<()> {
        self.out.write_all(if self.is_empty { b"\n" } else { b",\n" })?;
        self.is_empty = false;
        serde_json::to_writer(&mut self.out, event)?;
        Ok(())
    }

    /// Writes what an event is in the timeline.
    pub fn write(&mut self, event: &Event) -> Result<()> {
        let Event { time, process, ring, .. } = event;
        self.end = self.end.max(*time);
        match &event.kind {
            Kind::Made(_) => {
                let name = format!("ring {ring}");
                self.put(&json!({ "ph": "M", "pid": process, "tid": ring, "name": "thread_name", "args": { "name": name } }))
            }
            Kind::Submitted { request, sqe, strings } => {
                let arguments = Shown::new(sqe, strings).to_string();
                let args = json!({ "request": request, "arguments": arguments.trim_start(), "user_data": sqe.user_data() });
                self.put(&slice("b", *process, *ring, *request, *time, &opcode(sqe.opcode()), &args))
            }
            Kind::Injected { injected, .. } => {
                let name = fault(injected);
                let time = microseconds(*time);
                self.put(
                    &json!({ "ph": "i", "s": "t", "pid": process, "tid": ring, "ts": time, "name": name }),
                )
            }
            Kind::Completed { completed, of, .. } => {
                let cqe = &completed.cqe;
                let result =
                    errno::name(cqe.res).map_or_else(|| cqe.res.to_string(), |name| format!("-{name}"));
                let args = json!({ "result": result, "flags": cqe.flags, "served": completed.served.name() });
                match (of, completed.request) {
                    (Some(of), Some(request)) => {
                        let phase = if has_more(cqe) { "n" } else { "e" };
                        self.put(&slice(phase, *process, *ring, request, *time, &opcode(of.sqe.opcode()), &args))
                    }
                    _ => self.put(&json!({
                        "ph": "i", "s": "t", "pid": process, "tid": ring, "ts": microseconds(*time), "name": "CQE", "args": args,
                    })),
                }
            }
        }
    }

    /// Ends the file. What has not ended ends with it.
    pub fn finish(mut self, pending: &[Pending]) -> Result<()> {
        let end = self.end;
        for Pending { process, ring, request, sqe, .. } in pending {
            let args = json!({ "result": "has not completed" });
            self.put(&slice("e", *process, *ring, *request, end, &opcode(sqe.opcode()), &args))?;
        }
        self.out.write_all(b"\n]}\n")?;
        self.out.flush()
    }
}

/// The begin, a mark or the end of an asynchronous slice.
fn slice(
    phase: &str,
    process: u32,
    ring: u32,
    request: u64,
    time: Duration,
    name: &str,
    args: &Value,
) -> Value {
    json!({
        "ph": phase, "cat": "request", "id2": { "local": format!("{ring}.{request}") }, "pid": process, "tid": ring,
        "ts": microseconds(time), "name": name, "args": args,
    })
}

/// The format's unit.
fn microseconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}
