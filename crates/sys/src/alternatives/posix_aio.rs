//! POSIX AIO as the C library has it (`aio.7`): on Linux with glibc, threads that it keeps itself.

use std::pin::Pin;

use rustix::io::Errno;

use super::{Direction, Transfer};

/// A fixed number of slots, each with at most one transfer in flight. Dropping it waits for what is in flight.
pub struct PosixAio {
    /// The C library keeps their addresses while a transfer is in flight: they stay in this allocation.
    blocks: Pin<Box<[libc::aiocb]>>,
    in_flight: Vec<bool>,
}

impl PosixAio {
    /// Makes the slots.
    pub fn new(slots: usize) -> Self {
        // SAFETY: a structure of numbers and addresses, for which zero is a value.
        let blocks = (0..slots).map(|_| unsafe { std::mem::zeroed::<libc::aiocb>() }).collect();
        Self { blocks: Pin::new(blocks), in_flight: vec![false; slots] }
    }

    /// Starts a transfer: `aio_read.3`, `aio_write.3`.
    ///
    /// # Errors
    /// Those of the functions.
    ///
    /// # Panics
    /// When there is no such slot, or it has a transfer in flight.
    pub fn start(&mut self, slot: usize, transfer: &Transfer) -> Result<(), Errno> {
        assert!(!self.in_flight[slot], "one transfer at a time");
        let block = &mut self.blocks[slot];
        block.aio_fildes = transfer.fd;
        block.aio_buf = transfer.address.get() as *mut libc::c_void;
        block.aio_nbytes = transfer.bytes;
        block.aio_offset = transfer.offset as libc::off_t;
        block.aio_sigevent.sigev_notify = libc::SIGEV_NONE;
        // SAFETY: the block stays where it is until the transfer has ended; the memory is the caller's, see `Transfer`.
        let result = unsafe {
            match transfer.direction {
                Direction::Read => libc::aio_read(block),
                Direction::Write => libc::aio_write(block),
            }
        };
        decode(result as isize)?;
        self.in_flight[slot] = true;
        Ok(())
    }

    /// Waits for the transfer of a slot and returns its result: `aio_suspend.3`, `aio_error.3`, `aio_return.3`.
    ///
    /// # Errors
    /// Those of the transfer.
    pub fn wait(&mut self, slot: usize) -> Result<usize, Errno> {
        let block = &raw mut self.blocks[slot];
        // SAFETY: a block that was started, see `start`; the list has one element.
        unsafe {
            while libc::aio_error(block) == libc::EINPROGRESS {
                libc::aio_suspend(&block.cast_const(), 1, std::ptr::null());
            }
            let error = libc::aio_error(block);
            let result = libc::aio_return(block);
            self.in_flight[slot] = false;
            if error == 0 { decode(result) } else { Err(Errno::from_raw_os_error(error)) }
        }
    }
}

impl Drop for PosixAio {
    fn drop(&mut self) {
        for slot in 0..self.in_flight.len() {
            if self.in_flight[slot] {
                // Its result has nobody to go to; its memory must not be written to any more.
                let _ = self.wait(slot);
            }
        }
    }
}

fn decode(result: isize) -> Result<usize, Errno> {
    usize::try_from(result).map_err(|_| {
        let error = std::io::Error::last_os_error();
        Errno::from_io_error(&error).unwrap_or(Errno::INVAL)
    })
}
