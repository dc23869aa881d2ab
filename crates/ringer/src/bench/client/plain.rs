//! The workloads as plain system calls, one after the other.

use std::os::fd::AsRawFd;

use ringer_sys::alternatives::Direction;
use ringer_sys::call;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::super::data::{Files, SMALL_FILES};
use super::error::{ClientError, of};
use super::measure::{Plan, Sample, measure};
use super::paths::{BASIC, Paths};
use super::transfers::Transfers;

/// `pread` or `pwrite`, of `depth` slots in turn.
pub fn transfer(plan: Plan, mut transfers: Transfers, depth: usize) -> Result<Sample, ClientError> {
    let sample = measure(plan, || {
        for slot in 0..depth {
            let transfer = transfers.next(slot);
            let call = match transfer.direction {
                Direction::Read => call::pread,
                Direction::Write => call::pwrite,
            };
            let result = call(transfer.fd, transfer.address, transfer.bytes, transfer.offset);
            transfers.check(slot, result.map_err(of("a transfer"))? as i64)?;
        }
        Ok(depth as u64)
    })?;
    transfers.finish()?;
    Ok(sample)
}

/// `statx` of all the small files.
pub fn statx(plan: Plan, files: &Files) -> Result<Sample, ClientError> {
    let paths = Paths::new(files)?;
    measure(plan, || {
        for file in 0..SMALL_FILES {
            call::statx(CWD.as_raw_fd(), paths.address(file), 0, BASIC, paths.result(file))
                .map_err(of("statx"))?;
            paths.check(file)?;
        }
        Ok(SMALL_FILES as u64)
    })
}

/// `openat` and `close` of all the small files.
pub fn open(plan: Plan, files: &Files) -> Result<Sample, ClientError> {
    let paths = Paths::new(files)?;
    measure(plan, || {
        for file in 0..SMALL_FILES {
            let opened = openat(CWD, paths.path(file), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            drop(opened.map_err(of("openat"))?);
        }
        Ok(SMALL_FILES as u64)
    })
}

/// `getppid`, a hundred at a time; under a filter that lets everything pass, if that is asked for.
pub fn other_call(plan: Plan, under_filter: bool) -> Result<Sample, ClientError> {
    const BATCH: u64 = 100;
    if under_filter {
        // One instruction: return this constant.
        const RETURN: u16 = 0x06;
        const ALLOW: u32 = 0x7fff_0000;
        let filter = [seccompiler::sock_filter { code: RETURN, jt: 0, jf: 0, k: ALLOW }];
        seccompiler::apply_filter(&filter).map_err(|error| ClientError::wrong(error.to_string()))?;
    }
    let parent = rustix::process::getppid();
    measure(plan, || {
        for _ in 0..BATCH {
            if rustix::process::getppid() != parent {
                return Err(ClientError::wrong("another parent"));
            }
        }
        Ok(BATCH)
    })
}
