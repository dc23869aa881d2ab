//! Transfers by POSIX AIO and by Linux AIO.

use ringer_sys::alternatives::{LinuxAio, PosixAio};

use super::error::{ClientError, of};
use super::measure::{Plan, Sample, measure};
use super::transfers::Transfers;

/// `aio_read` or `aio_write`, `depth` at a time.
pub fn posix(plan: Plan, mut transfers: Transfers, depth: usize) -> Result<Sample, ClientError> {
    let mut aio = PosixAio::new(depth);
    let sample = measure(plan, || {
        for slot in 0..depth {
            aio.start(slot, &transfers.next(slot)).map_err(of("aio_read or aio_write"))?;
        }
        for slot in 0..depth {
            let count = aio.wait(slot).map_err(of("a transfer"))?;
            transfers.check(slot, count as i64)?;
        }
        Ok(depth as u64)
    })?;
    transfers.finish()?;
    Ok(sample)
}

/// `io_submit`: `depth` in flight, each call submits as many as ended, another waits for one.
pub fn linux(plan: Plan, mut transfers: Transfers, depth: usize) -> Result<Sample, ClientError> {
    let mut aio = LinuxAio::new(depth).map_err(of("io_setup"))?;
    for slot in 0..depth {
        aio.prepare(slot, &transfers.next(slot));
    }
    let mut ended = Vec::with_capacity(depth);
    let sample = measure(plan, || {
        aio.submit().map_err(of("io_submit"))?;
        ended.clear();
        aio.wait(1, |slot, result| ended.push((slot, result))).map_err(of("io_getevents"))?;
        for &(slot, result) in &ended {
            transfers.check(slot, result)?;
            aio.prepare(slot, &transfers.next(slot));
        }
        Ok(ended.len() as u64)
    })?;
    // Waits for what is in flight.
    drop(aio);
    transfers.finish()?;
    Ok(sample)
}
