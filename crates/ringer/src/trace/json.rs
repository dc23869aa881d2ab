//! Events as JSON, one object per line.

use std::io::{Result, Write};

use ringer_abi::{CqeFlags, Sqe};
use ringer_engine::trace::{Completed, Made};
use ringer_ops::arguments::Strings;
use serde::Serialize;

use super::errno;
use super::requests::{Event, Kind, Texts};
use super::text::{fault, flags, opcode};

/// One line. Times are in nanoseconds, `time` since the first event.
#[derive(Serialize)]
struct Line<'a> {
    time: u64,
    process: u32,
    thread: u32,
    ring: u32,
    #[serde(flatten)]
    event: What<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
enum What<'a> {
    Made {
        fd: i32,
        sq_entries: u32,
        cq_entries: u32,
        flags: String,
    },
    Submitted {
        request: u64,
        opcode: String,
        user_data: u64,
        flags: String,
        personality: u16,
        arguments: Vec<Value<'a>>,
    },
    Completed {
        request: Option<u64>,
        opcode: Option<String>,
        user_data: u64,
        result: i32,
        errno: Option<&'static str>,
        flags: String,
        buffer: Option<u32>,
        extra: [u64; 2],
        posted: bool,
        latency: Option<u64>,
        served: &'static str,
    },
    Injected {
        request: Option<u64>,
        fault: String,
    },
}

/// An argument by its name. Signed where the field is.
#[derive(Serialize)]
struct Value<'a> {
    name: &'static str,
    value: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<std::borrow::Cow<'a, str>>,
}

/// Writes the line of an event.
pub fn write(event: &Event, out: &mut impl Write) -> Result<()> {
    let what = match &event.kind {
        Kind::Made(Made { fd, setup, sq_entries, cq_entries }) => {
            What::Made { fd: *fd, sq_entries: *sq_entries, cq_entries: *cq_entries, flags: flags(setup) }
        }
        Kind::Submitted { request, sqe, strings } => What::Submitted {
            request: *request,
            opcode: opcode(sqe.opcode()),
            user_data: sqe.user_data(),
            flags: flags(&sqe.flags()),
            personality: sqe.personality(),
            arguments: arguments(sqe, strings),
        },
        Kind::Completed { completed: Completed { request, cqe, served, is_posted }, of, took } => {
            let set = CqeFlags::from_bits_retain(cqe.flags & 0xffff);
            What::Completed {
                request: *request,
                opcode: of.as_ref().map(|of| opcode(of.sqe.opcode())),
                user_data: cqe.user_data,
                result: cqe.res,
                errno: errno::name(cqe.res),
                flags: flags(&set),
                buffer: set.contains(CqeFlags::BUFFER).then_some(cqe.flags >> 16),
                extra: cqe.extra,
                posted: *is_posted,
                latency: took.map(|took| took.as_nanos() as u64),
                served: served.name(),
            }
        }
        Kind::Injected { request, injected } => What::Injected { request: *request, fault: fault(injected) },
    };
    let Event { process, thread, ring, .. } = *event;
    let line = Line { time: event.time.as_nanos() as u64, process, thread, ring, event: what };
    let mut line = serde_json::to_vec(&line).map_err(std::io::Error::other)?;
    line.push(b'\n');
    out.write_all(&line)
}

fn arguments<'a>(sqe: &Sqe, strings: &'a Texts) -> Vec<Value<'a>> {
    let arguments = ringer_ops::row(sqe.opcode()).map_or(&[][..], |row| row.arguments);
    arguments
        .iter()
        .map(|argument| {
            let text = argument.is_path().then(|| strings.at(argument.field.of(sqe))).flatten();
            Value {
                name: argument.name,
                value: argument.field.signed(sqe),
                text: text.map(String::from_utf8_lossy),
            }
        })
        .collect()
}
