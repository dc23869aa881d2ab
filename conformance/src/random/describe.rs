//! Sequences in readable form.

use std::fmt::Write;
use std::os::fd::RawFd;

use ringer_abi::{Opcode, Params, SetupFlags, Sqe};

use super::lanes::{Lanes, SLOTS};
use super::prepare::Preparation;
use super::sequence::{Object, Sequence, Step};
use crate::differential::{Ring, Session};

/// One line for each step.
pub fn describe(session: &Session, sequence: &Sequence) -> String {
    let make = |setup: &SetupFlags| session.try_ring(16, Params { flags: setup.bits(), ..Params::default() });
    let Ok(rings) = sequence.setups.iter().map(make).collect::<Result<Vec<Ring>, _>>() else {
        return "no ring could be made to describe the sequence with".to_owned();
    };
    let lanes = Lanes::new(session, &rings, sequence.pairs);
    let descriptors: Vec<RawFd> = rings.iter().map(|ring| ring.fd).collect();
    let mut text = String::new();
    for setup in &sequence.setups {
        // Writing to a String does not fail.
        let _ = writeln!(text, "  a ring with {setup:?}");
    }
    // Writing to a String does not fail.
    let _ = writeln!(text, "  pairs: {:?}", sequence.pairs);
    if let Some(room) = sequence.room {
        // Writing to a String does not fail.
        let _ = writeln!(text, "  whose CQ has room for {room} completions at each submission");
    }
    for (is_said, what) in [
        (sequence.has_eventfd, "an eventfd is registered with ring 0"),
        (sequence.waits_elsewhere, "another thread waits"),
    ] {
        if is_said {
            // Writing to a String does not fail.
            let _ = writeln!(text, "  {what}");
        }
    }
    for (number, step) in &sequence.steps {
        let line = match step {
            Step::Push(request) => {
                let preparation =
                    Preparation { session, lanes: &lanes, rings: &descriptors, number: *number };
                let sqe = preparation.sqe(request);
                format!("ring {}: {}", request.ring, request_text(&lanes, &descriptors, &sqe))
            }
            Step::Submit { wait: false } => "submit".to_owned(),
            Step::Submit { wait: true } => "submit and wait".to_owned(),
            Step::Register(registration) => format!("submit, then {registration:?}"),
            Step::Replace { lane, object } => {
                format!("submit, then put another file where {object:?} {lane} is")
            }
            Step::HangUp { lane, object } => {
                format!("submit, then close {:?} {lane}", object.other_end())
            }
            Step::Feed { lane, object, bytes } => {
                format!("submit, then feed {bytes} bytes to {object:?} {lane}")
            }
        };
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {:>3}  {line}", number + 1);
    }
    lanes.close_spares();
    text
}

fn request_text(lanes: &Lanes, rings: &[RawFd], sqe: &Sqe) -> String {
    let name = match Opcode::from_number(sqe.opcode()) {
        Some(opcode) => format!("{opcode:?}"),
        None => format!("opcode {}", sqe.opcode()),
    };
    let mut text = format!("{name} fd={}", descriptor_text(lanes, rings, sqe));
    let mut field = |name: &str, value: String| {
        let _ = write!(text, " {name}={value}");
    };
    for (name, value) in [("off", sqe.off()), ("addr", sqe.addr()), ("addr3", sqe.addr3())] {
        if value != 0 {
            field(name, address_text(lanes, value));
        }
    }
    for (name, value) in [
        ("len", sqe.len()),
        ("op_flags", sqe.op_flags()),
        ("ioprio", sqe.ioprio().into()),
        ("buf", sqe.buf_index().into()),
        ("personality", sqe.personality().into()),
        ("file_index", sqe.file_index()),
    ] {
        if value != 0 {
            field(name, if value > 4096 { format!("{value:#x}") } else { value.to_string() });
        }
    }
    if sqe.pad2() != 0 {
        field("last word", sqe.pad2().to_string());
    }
    if !sqe.flags().is_empty() {
        field("flags", format!("{:?}", sqe.flags().iter_names().map(|(name, _)| name).collect::<Vec<_>>()));
    }
    text
}

fn descriptor_text(lanes: &Lanes, rings: &[RawFd], sqe: &Sqe) -> String {
    let object = |lane: usize, index: usize| match Object::ALL.get(index) {
        Some(object) => format!("{object:?}{lane}"),
        None => format!("slot{}", lane * SLOTS + index),
    };
    if sqe.flags().contains(ringer_abi::SqeFlags::FIXED_FILE) && sqe.fd() >= 0 {
        return format!("registered:{}", object(sqe.fd() as usize / SLOTS, sqe.fd() as usize % SLOTS));
    }
    if let Some(number) = rings.iter().position(|ring| *ring == sqe.fd()) {
        return format!("ring{number}");
    }
    for (number, lane) in lanes.0.iter().enumerate() {
        if let Some(found) = Object::ALL.iter().find(|object| lane.descriptor(**object) == sqe.fd()) {
            return object(number, found.index());
        }
    }
    sqe.fd().to_string()
}

fn address_text(lanes: &Lanes, value: u64) -> String {
    for (number, lane) in lanes.0.iter().enumerate() {
        if let Some(offset) = value.checked_sub(lane.block.addr()).filter(|offset| *offset < 4096) {
            return format!("block{number}+{offset}");
        }
    }
    match value {
        u64::MAX => "-1".to_owned(),
        0..=4096 => value.to_string(),
        _ => format!("{value:#x}"),
    }
}
