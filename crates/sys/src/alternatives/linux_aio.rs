//! Linux AIO: `io_setup.2`, `io_submit.2`, `io_getevents.2`.

use linux_raw_sys::general as nr;
use rustix::io::Errno;

use super::{Direction, Transfer};
use crate::call::raw;

/// `struct iocb`, as words. Source: `io_submit.2`, `linux/aio_abi.h`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct ControlBlock {
    data: u64,
    key_and_flags: u64,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    bytes: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    event_fd: u32,
}

/// `struct io_event`. Source: `io_getevents.2`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Event {
    data: u64,
    block: u64,
    result: i64,
    result2: i64,
}

const IOCB_CMD_PREAD: u16 = 0;
const IOCB_CMD_PWRITE: u16 = 1;

/// A context with a fixed number of slots, each with at most one transfer in flight.
///
/// Dropping it waits for what is in flight (`io_destroy.2`).
#[derive(Debug)]
pub struct LinuxAio {
    context: usize,
    blocks: Box<[ControlBlock]>,
    /// Addresses of the blocks to be submitted.
    prepared: Vec<u64>,
    events: Box<[Event]>,
}

impl LinuxAio {
    /// Makes a context.
    ///
    /// # Errors
    /// Those of `io_setup.2`.
    pub fn new(slots: usize) -> Result<Self, Errno> {
        let mut context = 0_usize;
        // SAFETY: the kernel writes one word, which is live.
        unsafe { raw(nr::__NR_io_setup, [slots, (&raw mut context) as usize, 0, 0, 0, 0]) }?;
        Ok(Self {
            context,
            blocks: vec![ControlBlock::default(); slots].into(),
            prepared: Vec::with_capacity(slots),
            events: vec![Event::default(); slots].into(),
        })
    }

    /// Adds a transfer to the next submission.
    ///
    /// # Panics
    /// When there is no such slot.
    pub fn prepare(&mut self, slot: usize, transfer: &Transfer) {
        let block = &mut self.blocks[slot];
        *block = ControlBlock {
            data: slot as u64,
            opcode: match transfer.direction {
                Direction::Read => IOCB_CMD_PREAD,
                Direction::Write => IOCB_CMD_PWRITE,
            },
            fd: transfer.fd as u32,
            buffer: transfer.address.get(),
            bytes: transfer.bytes as u64,
            offset: transfer.offset as i64,
            ..ControlBlock::default()
        };
        self.prepared.push((&raw const *block) as u64);
    }

    /// Submits what was prepared.
    ///
    /// # Errors
    /// Those of `io_submit.2`; `EAGAIN` when only a part was taken.
    pub fn submit(&mut self) -> Result<(), Errno> {
        let count = self.prepared.len();
        let arguments = [self.context, count, self.prepared.as_ptr() as usize, 0, 0, 0];
        // SAFETY: the blocks are live and read during the call; the memory they name is the caller's, see `Transfer`.
        let taken = unsafe { raw(nr::__NR_io_submit, arguments) }?;
        self.prepared.clear();
        if taken == count { Ok(()) } else { Err(Errno::AGAIN) }
    }

    /// Waits for at least `least` transfers and hands each one's slot and result to `each`.
    ///
    /// # Errors
    /// Those of `io_getevents.2`.
    pub fn wait(&mut self, least: usize, mut each: impl FnMut(usize, i64)) -> Result<(), Errno> {
        let events = &mut *self.events;
        let arguments = [self.context, least, events.len(), events.as_mut_ptr() as usize, 0, 0];
        // SAFETY: the kernel writes at most that many events, which are live.
        let count = unsafe { raw(nr::__NR_io_getevents, arguments) }?;
        for event in &events[..count] {
            each(event.data as usize, event.result);
        }
        Ok(())
    }
}

impl Drop for LinuxAio {
    fn drop(&mut self) {
        // SAFETY: the context of `new`. A failure would leave it to the end of the process.
        let _ = unsafe { raw(nr::__NR_io_destroy, [self.context, 0, 0, 0, 0, 0]) };
    }
}
