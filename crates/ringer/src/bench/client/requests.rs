//! The workloads as requests of a ring.

use std::os::fd::RawFd;

use ringer_abi::{Opcode, RegisterOpcode, SetupFlags, Sqe, SqeFlags};
use ringer_client::calls::Calls;
use ringer_client::ring::Ring;
use ringer_sys::UserAddress;
use ringer_sys::alternatives::{Direction, Transfer};

use super::super::data::{BLOCK, Files, SMALL_FILES};
use super::super::workload::Registered;
use super::error::ClientError;
use super::measure::{Plan, Sample, measure};
use super::paths::{BASIC, Paths};
use super::transfers::Transfers;

/// `AT_FDCWD`.
const CURRENT_DIRECTORY: RawFd = -100;

fn operation(opcode: Opcode, fd: RawFd) -> Sqe {
    Sqe::default().with_opcode(opcode.number()).with_fd(fd)
}

/// Submits `depth` requests in one call that waits for all of them, and checks each completion.
#[inline]
fn batch<C: Calls>(
    ring: &mut Ring<C>,
    depth: usize,
    mut request: impl FnMut(usize) -> Sqe,
    mut check: impl FnMut(usize, i32) -> Result<(), ClientError>,
) -> Result<(), ClientError> {
    for slot in 0..depth {
        ring.push(&request(slot).with_user_data(slot as u64))?;
    }
    ring.submit_and_wait(depth as u32)?;
    let mut seen = 0_u64;
    for _ in 0..depth {
        let cqe = ring.pop().ok_or_else(|| ClientError::wrong("a completion is missing"))?;
        take(&mut seen, depth, cqe.user_data)?;
        check(cqe.user_data as usize, cqe.res)?;
    }
    Ok(())
}

/// Each completion is of one of our requests, and of each there is one.
#[inline]
fn take(seen: &mut u64, depth: usize, user_data: u64) -> Result<(), ClientError> {
    if user_data >= depth as u64 || *seen & (1 << user_data) != 0 {
        return Err(ClientError::wrong(format!("a completion with user_data {user_data}")));
    }
    *seen |= 1 << user_data;
    Ok(())
}

/// NOP, `depth` per call.
pub fn nop<C: Calls>(plan: Plan, depth: usize) -> Result<Sample, ClientError> {
    let mut ring = Ring::<C>::new(depth, SetupFlags::empty(), 0)?;
    let request = operation(Opcode::Nop, -1);
    measure(plan, || {
        batch(&mut ring, depth, |_| request, |_, result| ClientError::expect("NOP", result.into(), 0))?;
        Ok(depth as u64)
    })
}

/// NOP on a ring with a polling thread, 32 at a time, without a call.
pub fn nop_polled<C: Calls>(plan: Plan) -> Result<Sample, ClientError> {
    const DEPTH: usize = 32;
    /// Milliseconds: the thread does not sleep while there is work.
    const IDLE: u32 = 1000;
    let mut ring = Ring::<C>::new(DEPTH, SetupFlags::SQPOLL, IDLE)?;
    let request = operation(Opcode::Nop, -1);
    measure(plan, || {
        for slot in 0..DEPTH {
            ring.push(&request.with_user_data(slot as u64))?;
        }
        ring.hand_over()?;
        let (mut seen, mut patience) = (0, Patience::default());
        for _ in 0..DEPTH {
            let cqe = loop {
                match ring.pop() {
                    Some(cqe) => break cqe,
                    None => patience.look_again(),
                }
            };
            take(&mut seen, DEPTH, cqe.user_data)?;
            ClientError::expect("NOP", cqe.res.into(), 0)?;
        }
        while (ring.space() as usize) < DEPTH {
            patience.look_again();
        }
        Ok(DEPTH as u64)
    })
}

/// Spins, and offers the CPU now and then to the polling thread, which may be waiting for it.
#[derive(Default)]
struct Patience(u32);

impl Patience {
    fn look_again(&mut self) {
        const LOOKS: u32 = 10_000;
        self.0 += 1;
        if self.0.is_multiple_of(LOOKS) {
            std::thread::yield_now();
        }
        std::hint::spin_loop();
    }
}

/// The SQE of a transfer.
fn transfer_request(transfer: &Transfer, slot: usize, registered: Registered) -> Sqe {
    let opcode = match (transfer.direction, registered) {
        (Direction::Read, Registered::FilesAndBuffers) => Opcode::ReadFixed,
        (Direction::Write, Registered::FilesAndBuffers) => Opcode::WriteFixed,
        (Direction::Read, _) => Opcode::Read,
        (Direction::Write, _) => Opcode::Write,
    };
    let sqe = operation(opcode, transfer.fd)
        .with_addr(transfer.address.get())
        .with_len(transfer.bytes as u32)
        .with_off(transfer.offset);
    match registered {
        Registered::Nothing => sqe,
        // The first of the registered files; a buffer for each slot.
        Registered::Files => sqe.with_fd(0).with_flags(SqeFlags::FIXED_FILE),
        Registered::FilesAndBuffers => {
            sqe.with_fd(0).with_flags(SqeFlags::FIXED_FILE).with_buf_index(slot as u16)
        }
    }
}

fn ring_for<C: Calls>(
    transfers: &Transfers,
    depth: usize,
    registered: Registered,
) -> Result<Ring<C>, ClientError> {
    let ring = Ring::<C>::new(depth, SetupFlags::empty(), 0)?;
    if registered != Registered::Nothing {
        let files = [transfers.fd()];
        ring.register(RegisterOpcode::Files, UserAddress::of(files.as_ptr()), files.len())?;
    }
    if registered == Registered::FilesAndBuffers {
        // `struct iovec`.
        let buffers: Vec<[u64; 2]> =
            (0..depth).map(|slot| [transfers.buffer(slot).get(), BLOCK as u64]).collect();
        ring.register(RegisterOpcode::Buffers, UserAddress::of(buffers.as_ptr()), buffers.len())?;
    }
    Ok(ring)
}

/// Transfers, `depth` per call.
pub fn transfer<C: Calls>(
    plan: Plan,
    mut transfers: Transfers,
    depth: usize,
    registered: Registered,
) -> Result<Sample, ClientError> {
    let mut ring = ring_for::<C>(&transfers, depth, registered)?;
    let transfers = std::cell::RefCell::new(&mut transfers);
    let sample = measure(plan, || {
        let request = |slot| transfer_request(&transfers.borrow_mut().next(slot), slot, registered);
        batch(&mut ring, depth, request, |slot, result| transfers.borrow_mut().check(slot, result.into()))?;
        Ok(depth as u64)
    })?;
    transfers.into_inner().finish()?;
    Ok(sample)
}

/// Transfers, always `depth` in flight: each call submits as many as ended, and waits for one.
pub fn transfer_in_flight<C: Calls>(
    plan: Plan,
    mut transfers: Transfers,
    depth: usize,
) -> Result<Sample, ClientError> {
    let mut ring = ring_for::<C>(&transfers, depth, Registered::Nothing)?;
    let push = |ring: &mut Ring<C>, transfers: &mut Transfers, slot: usize| {
        let sqe = transfer_request(&transfers.next(slot), slot, Registered::Nothing);
        ring.push(&sqe.with_user_data(slot as u64))
    };
    for slot in 0..depth {
        push(&mut ring, &mut transfers, slot)?;
    }
    let sample = measure(plan, || {
        ring.submit_and_wait(1)?;
        let mut operations = 0;
        while let Some(cqe) = ring.pop() {
            let slot = cqe.user_data as usize;
            if slot >= depth {
                return Err(ClientError::wrong(format!("a completion with user_data {slot}")));
            }
            transfers.check(slot, cqe.res.into())?;
            push(&mut ring, &mut transfers, slot)?;
            operations += 1;
        }
        Ok(operations)
    })?;
    // What is in flight still writes to the buffers: its end is awaited. The requests that were pushed last go along.
    ring.submit_and_wait(depth as u32)?;
    Ok(sample)
}

/// `statx` of all the small files in one call.
pub fn statx<C: Calls>(plan: Plan, files: &Files) -> Result<Sample, ClientError> {
    let paths = Paths::new(files)?;
    let mut ring = Ring::<C>::new(SMALL_FILES, SetupFlags::empty(), 0)?;
    let request = |file: usize| {
        operation(Opcode::Statx, CURRENT_DIRECTORY)
            .with_addr(paths.address(file).get())
            .with_len(BASIC)
            .with_off(paths.result(file).get())
    };
    measure(plan, || {
        batch(&mut ring, SMALL_FILES, request, |file, result| {
            ClientError::expect("STATX", result.into(), 0)?;
            paths.check(file)
        })?;
        Ok(SMALL_FILES as u64)
    })
}

/// `openat` of all the small files in one call, `close` of all in another. An operation is the pair.
pub fn open<C: Calls>(plan: Plan, files: &Files) -> Result<Sample, ClientError> {
    const READ_ONLY_CLOSE_ON_EXEC: u32 = 0o2_000_000;
    let paths = Paths::new(files)?;
    let mut ring = Ring::<C>::new(SMALL_FILES, SetupFlags::empty(), 0)?;
    let mut opened = [-1; SMALL_FILES];
    measure(plan, || {
        let request = |file: usize| {
            operation(Opcode::Openat, CURRENT_DIRECTORY)
                .with_addr(paths.address(file).get())
                .with_op_flags(READ_ONLY_CLOSE_ON_EXEC)
        };
        batch(&mut ring, SMALL_FILES, request, |file, result| {
            opened[file] = result;
            if result < 0 { ClientError::expect("OPENAT", result.into(), 0) } else { Ok(()) }
        })?;
        let request = |file: usize| operation(Opcode::Close, opened[file]);
        batch(&mut ring, SMALL_FILES, request, |_, result| ClientError::expect("CLOSE", result.into(), 0))?;
        Ok(SMALL_FILES as u64)
    })
}
