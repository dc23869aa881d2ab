//! A read that must wait: how long after the write the reader goes on.
//!
//! A thread of the same process writes, so that both times are of one clock, and sleeps in between, so that the
//! reader waits again.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringer_abi::{Opcode, SetupFlags, Sqe};
use ringer_client::calls::Calls;
use ringer_client::ring::Ring;
use rustix::event::EventfdFlags;

use super::super::contender::Contender;
use super::super::workload::Wake;
use super::buffers::Buffers;
use super::error::{ClientError, of};
use super::measure::{Plan, Sample, Times, cpu_time};

/// Between two writes.
const PAUSE: Duration = Duration::from_micros(200);

/// With a ring.
pub fn by_ring<C: Calls>(plan: Plan, kind: Wake) -> Result<Sample, ClientError> {
    let channel = Channel::new(kind)?;
    let buffer = Buffers::new(1);
    let mut ring = Ring::<C>::new(1, SetupFlags::empty(), 0)?;
    let request = Sqe::default()
        .with_opcode(Opcode::Read.number())
        .with_fd(channel.reader.as_raw_fd())
        .with_addr(buffer.address(0).get())
        .with_len(size_of::<u64>() as u32)
        // At the file position, of which there is none.
        .with_off(u64::MAX);
    measure(plan, &channel, || {
        ring.push(&request)?;
        ring.submit_and_wait(1)?;
        let cqe = ring.pop().ok_or_else(|| ClientError::wrong("a completion is missing"))?;
        ClientError::expect("READ", cqe.res.into(), 8)?;
        Ok(buffer.get(0, 0))
    })
}

/// By a blocking read, or by epoll and a read.
pub fn by_alternative(plan: Plan, kind: Wake, contender: Contender) -> Result<Sample, ClientError> {
    let channel = Channel::new(kind)?;
    let read = |fd: BorrowedFd<'_>| {
        let mut bytes = [0; 8];
        let count = rustix::io::read(fd, &mut bytes).map_err(of("read"))?;
        ClientError::expect("read", count as i64, 8)?;
        Ok(u64::from_ne_bytes(bytes))
    };
    if contender == Contender::Plain {
        return measure(plan, &channel, || read(channel.reader.as_fd()));
    }
    let mut poll = mio::Poll::new().map_err(super::error::io("epoll_create"))?;
    let mut events = mio::Events::with_capacity(1);
    let fd = channel.reader.as_raw_fd();
    poll.registry()
        .register(&mut mio::unix::SourceFd(&fd), mio::Token(0), mio::Interest::READABLE)
        .map_err(super::error::io("epoll_ctl"))?;
    measure(plan, &channel, || {
        loop {
            poll.poll(&mut events, None).map_err(super::error::io("epoll_wait"))?;
            if !events.is_empty() {
                return read(channel.reader.as_fd());
            }
        }
    })
}

/// Both ends of a pipe or of an eventfd.
struct Channel {
    reader: OwnedFd,
    writer: OwnedFd,
    /// What a reader of an eventfd gets is a count.
    value: Option<u64>,
}

impl Channel {
    fn new(kind: Wake) -> Result<Self, ClientError> {
        let (reader, writer, value) = match kind {
            Wake::Pipe => {
                let (reader, writer) = rustix::pipe::pipe().map_err(of("pipe"))?;
                (reader, writer, None)
            }
            Wake::EventFd => {
                let reader = rustix::event::eventfd(0, EventfdFlags::empty()).map_err(of("eventfd"))?;
                let writer = reader.try_clone().map_err(super::error::io("dup"))?;
                (reader, writer, Some(1))
            }
        };
        Ok(Self { reader, writer, value })
    }
}

/// Measures a read that returns the eight bytes that were written.
fn measure(
    plan: Plan,
    channel: &Channel,
    mut read: impl FnMut() -> Result<u64, ClientError>,
) -> Result<Sample, ClientError> {
    let zero = Instant::now();
    let now = || zero.elapsed().as_nanos() as u64;
    let (written_at, end) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut times = Times::new();
    let (mut operations, before) = (0_u64, cpu_time());
    let outcome = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            // Relaxed: the write and the read order the time, and the flag alone matters.
            while !end.load(Ordering::Relaxed) {
                std::thread::sleep(PAUSE);
                let time = now();
                written_at.store(time, Ordering::Relaxed);
                let bytes = channel.value.unwrap_or(time).to_ne_bytes();
                rustix::io::write(&channel.writer, &bytes).map_err(of("write"))?;
            }
            Ok(())
        });
        let mut reading = || {
            // On a busy machine the first may come late.
            while zero.elapsed() < plan.duration || operations == 0 {
                let value = read()?;
                let time = now();
                let written = written_at.load(Ordering::Relaxed);
                match channel.value {
                    Some(_) if value == 0 => return Err(ClientError::wrong("an eventfd that was zero")),
                    // The reader was late: the time of the first write is lost.
                    Some(one) if value != one => continue,
                    None if value > written => return Err(ClientError::wrong("the content of a pipe")),
                    _ => {}
                }
                let written = if channel.value.is_none() { value } else { written };
                times.add(Duration::from_nanos(time.saturating_sub(written)));
                operations += 1;
            }
            Ok(())
        };
        let outcome = reading();
        end.store(true, Ordering::Relaxed);
        outcome.and(writer.join().map_err(|_| ClientError::wrong("a thread panicked"))?)
    });
    outcome?;
    let latency = times.latency();
    Ok(Sample {
        operations,
        wall: zero.elapsed().as_nanos() as f64 / operations as f64,
        cpu: Some((cpu_time() - before).as_nanos() as f64 / operations as f64),
        latency: Some(latency),
    })
}
