//! Many of something: rings, armed polls, timeouts, completions behind a full CQ.

use std::time::Instant;

use ringer_abi::{Opcode, SetupFlags, Sqe};
use ringer_client::calls::{Calls, Embedded, Inline};
use ringer_client::ring::Ring;
use ringer_sys::{Errno, UserAddress};
use rustix::event::EventfdFlags;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::super::contender::Contender;
use super::super::scale::Many;
use super::error::{ClientError, of};

/// Requests of one submission.
const BATCH: u64 = 32;
/// Files that are polled, each many times.
const FILES: u64 = 1000;

/// What was measured of many items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScaleSample {
    /// How many there were in the end.
    pub items: u64,
    /// Why there were no more, if fewer than wanted.
    pub stopped: Option<String>,
    /// Nanoseconds for each of the first tenth.
    pub first: f64,
    /// Nanoseconds for each of the last tenth.
    pub last: f64,
    /// Nanoseconds of a NOP on an idle ring, and while all of them are there.
    pub nop: [f64; 2],
    /// Nanoseconds for each when all are ended, or reaped.
    pub end: f64,
    /// Bytes of the process for each.
    pub bytes: f64,
}

/// Makes many of them.
pub fn sample(many: Many, contender: Contender, count: u64) -> Result<ScaleSample, ClientError> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Where it stays lower, there are fewer items, and the sample says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    match contender {
        Contender::Embedded => by_ring::<Embedded>(many, count),
        _ => by_ring::<Inline>(many, count),
    }
}

fn by_ring<C: Calls>(many: Many, count: u64) -> Result<ScaleSample, ClientError> {
    match many {
        Many::Rings => rings::<C>(count),
        Many::Polls => {
            let files: Vec<_> = (0..FILES.min(count))
                .map(|_| rustix::event::eventfd(0, EventfdFlags::CLOEXEC).map_err(of("eventfd")))
                .collect::<Result<_, _>>()?;
            pending::<C>(count, |item| {
                let file = &files[(item % files.len() as u64) as usize];
                let sqe = Sqe::default().with_opcode(Opcode::PollAdd.number());
                sqe.with_fd(std::os::fd::AsRawFd::as_raw_fd(file)).with_op_flags(1)
            })
        }
        Many::Timeouts => {
            /// Seconds and nanoseconds: beyond the end of the run.
            static HOUR: [i64; 2] = [3600, 0];
            let time = UserAddress::of(HOUR.as_ptr()).get();
            let sqe = Sqe::default().with_opcode(Opcode::Timeout.number()).with_addr(time).with_len(1);
            pending::<C>(count, |_| sqe)
        }
        Many::Overflow => overflow::<C>(count),
    }
}

fn rings<C: Calls>(count: u64) -> Result<ScaleSample, ClientError> {
    let mut idle = Ring::<C>::new(8, SetupFlags::empty(), 0)?;
    let alone = nop(&mut idle)?;
    let mut rings = Vec::new();
    let made = fill(count, 1, |_| {
        rings.push(Ring::<C>::new(8, SetupFlags::empty(), 0)?);
        Ok(())
    })?;
    // Each has work once, so that what a ring makes at its first use counts.
    for ring in &mut rings {
        nop_once(ring)?;
    }
    let bytes = made.bytes();
    let nop = [alone, nop(&mut idle)?];
    let start = Instant::now();
    rings.clear();
    made.sample(start, nop, bytes)
}

/// Requests that stay pending, until the ring is closed.
fn pending<C: Calls>(count: u64, request: impl Fn(u64) -> Sqe) -> Result<ScaleSample, ClientError> {
    let mut ring = Ring::<C>::new(BATCH as usize, SetupFlags::empty(), 0)?;
    let alone = nop(&mut ring)?;
    let made = fill(count, BATCH, |first| {
        for item in first..first + BATCH {
            ring.push(&request(item).with_user_data(item))?;
        }
        ring.submit_and_wait(0)?;
        // Nothing completes but what is refused.
        ring.pop().map_or(Ok(()), |cqe| ClientError::expect("a request", cqe.res.into(), 0))
    })?;
    let bytes = made.bytes();
    // What was refused.
    while ring.pop().is_some() {}
    let nop = [alone, nop(&mut ring)?];
    let start = Instant::now();
    drop(ring);
    made.sample(start, nop, bytes)
}

/// Completions that nobody reaps.
fn overflow<C: Calls>(count: u64) -> Result<ScaleSample, ClientError> {
    let mut ring = Ring::<C>::new(BATCH as usize, SetupFlags::empty(), 0)?;
    let alone = nop(&mut ring)?;
    let request = Sqe::default().with_opcode(Opcode::Nop.number()).with_fd(-1);
    let made = fill(count, BATCH, |first| {
        for item in first..first + BATCH {
            ring.push(&request.with_user_data(item))?;
        }
        Ok(ring.submit()?)
    })?;
    let bytes = made.bytes();
    let start = Instant::now();
    for item in 0..made.items {
        let cqe = loop {
            match ring.pop() {
                Some(cqe) => break cqe,
                None => ring.submit_and_wait(1)?,
            }
        };
        if cqe.user_data != item {
            return Err(ClientError::wrong(format!("completion {} where {item} was due", cqe.user_data)));
        }
    }
    let sample = made.sample(start, [alone, 0.0], bytes)?;
    Ok(ScaleSample { nop: [alone, nop(&mut ring)?], ..sample })
}

/// Items that were made one after the other.
struct Made {
    items: u64,
    stopped: Option<String>,
    first: f64,
    last: f64,
    /// Resident bytes before there were any.
    before: u64,
}

/// Makes `count` items, `step` at a time, or as many as can be had.
fn fill(
    count: u64,
    step: u64,
    mut make: impl FnMut(u64) -> Result<(), ClientError>,
) -> Result<Made, ClientError> {
    let tenth = (count / 10).max(step);
    let before = resident()?;
    let mut made = Made { items: 0, stopped: None, first: 0.0, last: 0.0, before };
    let begin = Instant::now();
    let (mut start, mut since) = (begin, 0);
    while made.items < count {
        if let Err(error) = make(made.items) {
            let is_limit = matches!(error, ClientError::System { error: Errno::MFILE | Errno::NOMEM, .. });
            if !is_limit || made.items == 0 {
                return Err(error);
            }
            made.stopped = Some(error.to_string());
            break;
        }
        made.items += step;
        since += step;
        if since >= tenth {
            made.last = start.elapsed().as_nanos() as f64 / since as f64;
            if made.items == since {
                made.first = made.last;
            }
            (start, since) = (Instant::now(), 0);
        }
    }
    if made.first == 0.0 {
        let each = begin.elapsed().as_nanos() as f64 / made.items as f64;
        (made.first, made.last) = (each, each);
    }
    Ok(made)
}

impl Made {
    fn bytes(&self) -> f64 {
        // It could be read before.
        resident().map_or(0.0, |now| now.saturating_sub(self.before) as f64 / self.items as f64)
    }

    fn sample(self, start: Instant, nop: [f64; 2], bytes: f64) -> Result<ScaleSample, ClientError> {
        let end = start.elapsed().as_nanos() as f64 / self.items as f64;
        let Self { items, stopped, first, last, .. } = self;
        Ok(ScaleSample { items, stopped, first, last, nop, end, bytes })
    }
}

/// Nanoseconds of a NOP, one per call.
fn nop<C: Calls>(ring: &mut Ring<C>) -> Result<f64, ClientError> {
    const CALLS: u32 = 20_000;
    let start = Instant::now();
    for _ in 0..CALLS {
        nop_once(ring)?;
    }
    Ok(start.elapsed().as_nanos() as f64 / f64::from(CALLS))
}

fn nop_once<C: Calls>(ring: &mut Ring<C>) -> Result<(), ClientError> {
    ring.push(&Sqe::default().with_opcode(Opcode::Nop.number()).with_fd(-1))?;
    ring.submit_and_wait(1)?;
    let cqe = ring.pop().ok_or_else(|| ClientError::wrong("a completion is missing"))?;
    ClientError::expect("NOP", cqe.res.into(), 0)
}

/// Resident bytes of this process. `proc_pid_statm.5`.
fn resident() -> Result<u64, ClientError> {
    let text = std::fs::read_to_string("/proc/self/statm").map_err(super::error::io("/proc/self/statm"))?;
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.map(|pages| pages * rustix::param::page_size() as u64).ok_or_else(|| ClientError::wrong("statm"))
}
