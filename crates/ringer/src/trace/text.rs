//! Events as lines for people.
//!
//! ```text
//! 0.000153 4242 ring 1 #1 > READ fd=5 buf=0x7f32c0001000 len=4096 offset=0 user_data=0x1 IO_LINK
//! 0.000155 4242 ring 1 #1 ! short 17 of 4096 bytes
//! 0.000181 4242 ring 1 #1 < READ 17 user_data=0x1 28.1 µs inline
//! ```

use std::fmt::{self, Display, Formatter};
use std::io::{Result, Write};
use std::time::Duration;

use ringer_abi::{Cqe, CqeFlags, Opcode, Sqe, SqeFlags};
use ringer_engine::chaos::Injected;
use ringer_engine::trace::{Completed, Made};
use ringer_ops::arguments::Shown;

use super::errno;
use super::requests::{Event, Kind, Pending, Texts};

/// Writes the line of an event.
pub fn write(event: &Event, out: &mut impl Write) -> Result<()> {
    let Event { time, process, ring, .. } = event;
    let time = time.as_secs_f64();
    // In one go: lines of the program and of the trace may meet on one terminal.
    let line = match &event.kind {
        Kind::Made(made) => format!("{}", Ring(made)),
        Kind::Submitted { request, sqe, strings } => format!("#{request} > {}", Submission { sqe, strings }),
        Kind::Completed { completed, of, took } => {
            let number = completed.request.map_or(String::new(), |request| format!("#{request} "));
            let opcode = of.as_ref().map_or(String::new(), |of| format!("{} ", opcode(of.sqe.opcode())));
            format!("{number}< {opcode}{}", Completion { completed, took: *took })
        }
        Kind::Injected { request, injected } => {
            let number = request.map_or(String::new(), |request| format!("#{request} "));
            format!("{number}! {}", fault(injected))
        }
    };
    out.write_all(format!("{time:.6} {process} ring {ring} {line}\n").as_bytes())
}

/// Writes what has not ended.
pub fn write_pending(pending: &[Pending], out: &mut impl Write) -> Result<()> {
    for Pending { process, ring, request, sqe, .. } in pending {
        let name = opcode(sqe.opcode());
        writeln!(
            out,
            "{process} ring {ring} #{request} {name} has not completed, user_data={:#x}",
            sqe.user_data()
        )?;
    }
    Ok(())
}

/// The name of an opcode.
pub fn opcode(number: u8) -> String {
    Opcode::from_number(number).map_or_else(|| format!("opcode {number}"), Opcode::name)
}

/// A fault in a few words.
pub fn fault(injected: &Injected) -> String {
    match injected {
        Injected::Error(errno) => {
            let number = errno.raw_os_error();
            format!("error {}", errno::name(-number).map_or_else(|| number.to_string(), str::to_owned))
        }
        Injected::Short { from, to } => format!("short {to} of {from} bytes"),
        Injected::Late(delay) => format!("late {:.3} ms", delay.as_secs_f64() * 1e3),
        Injected::Overflow => "overflow".into(),
        Injected::Partial { from, to } => format!("partial {to} of {from} SQEs"),
        Injected::Interrupt => "interrupt".into(),
    }
}

/// Names of flags, as `A|B`.
pub fn flags<F: bitflags::Flags>(flags: &F) -> String {
    let names: Vec<&str> = flags.iter_names().map(|(name, _)| name).collect();
    names.join("|")
}

struct Ring<'a>(&'a Made);

impl Display for Ring<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Made { fd, setup, sq_entries, cq_entries } = self.0;
        write!(out, "made fd={fd} sq_entries={sq_entries} cq_entries={cq_entries}")?;
        if setup.is_empty() { Ok(()) } else { write!(out, " {}", flags(setup)) }
    }
}

struct Submission<'a> {
    sqe: &'a Sqe,
    strings: &'a Texts,
}

impl Display for Submission<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { sqe, strings } = self;
        write!(
            out,
            "{}{} user_data={:#x}",
            opcode(sqe.opcode()),
            Shown::new(sqe, *strings),
            sqe.user_data()
        )?;
        if sqe.personality() != 0 {
            write!(out, " personality={}", sqe.personality())?;
        }
        let flags_of_all = sqe.flags();
        if flags_of_all.is_empty() {
            return Ok(());
        }
        let unknown = flags_of_all.difference(SqeFlags::all()).bits();
        let known = flags(&flags_of_all.intersection(SqeFlags::all()));
        let separator = if known.is_empty() || unknown == 0 { "" } else { "|" };
        let unknown = if unknown == 0 { String::new() } else { format!("{unknown:#x}") };
        write!(out, " {known}{separator}{unknown}")
    }
}

struct Completion<'a> {
    completed: &'a Completed,
    took: Option<Duration>,
}

impl Display for Completion<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Completed { cqe, served, is_posted, .. } = self.completed;
        match errno::name(cqe.res) {
            Some(name) => write!(out, "-{name}")?,
            None => write!(out, "{}", cqe.res)?,
        }
        write!(out, " user_data={:#x}{}", cqe.user_data, CqeFlagsShown(cqe))?;
        if cqe.extra != [0; 2] {
            write!(out, " extra={:#x},{:#x}", cqe.extra[0], cqe.extra[1])?;
        }
        if !is_posted {
            out.write_str(" no CQE")?;
        }
        if let Some(took) = self.took {
            write!(out, " {:.1} µs {}", took.as_nanos() as f64 / 1e3, served.name())?;
        }
        Ok(())
    }
}

/// The flags of a CQE: the number of the buffer by itself.
struct CqeFlagsShown<'a>(&'a Cqe);

impl Display for CqeFlagsShown<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let set = CqeFlags::from_bits_retain(self.0.flags & 0xffff);
        if set.contains(CqeFlags::BUFFER) {
            write!(out, " buffer={}", self.0.flags >> 16)?;
        }
        let rest = set.difference(CqeFlags::BUFFER);
        if rest.is_empty() { Ok(()) } else { write!(out, " {}", flags(&rest)) }
    }
}
