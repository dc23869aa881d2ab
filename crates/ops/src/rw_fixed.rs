//! READ_FIXED, WRITE_FIXED, READV_FIXED and WRITEV_FIXED: transfers whose memory is that of a registered buffer.

use ringer_abi::Sqe;
use ringer_sys::{Errno, UserAddress};

use crate::check::of_open_file;
use crate::operation::{DeviceTransfer, DeviceWait, Issue, Op, Outcome, Prepare, Traits};
use crate::rw::Transfer;
use crate::transfer_memory::Memory;

/// A transfer whose memory is a range of a registered buffer. The engine has checked the range.
#[derive(Debug)]
pub struct FixedTransfer(Transfer);

impl Op for FixedTransfer {
    const TRAITS: Traits =
        Traits { needs_file: true, ioprio: true, iopoll: true, buffer_select: false, fixed_buffer: true };

    fn prepare(sqe: &Sqe, context: &Prepare) -> Result<Self, Errno> {
        Transfer::prepare(sqe, context).map(Self)
    }

    fn device_transfer(&self) -> Option<DeviceTransfer> {
        self.0.device_transfer()
    }

    fn device_wait(&self) -> Option<DeviceWait> {
        self.0.device_wait()
    }

    fn refuse(&mut self, errno: Errno) -> Outcome {
        self.0.refused(errno)
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        self.0.issue(context)
    }
}

/// READV_FIXED and WRITEV_FIXED: each range of the vector lies in one registered buffer.
/// Source: `io_uring_prep_readv_fixed.3`.
#[derive(Debug)]
pub struct FixedVectors {
    transfer: Transfer,
    buffer_index: u16,
    checked: bool,
}

impl Op for FixedVectors {
    const TRAITS: Traits =
        Traits { needs_file: true, ioprio: true, iopoll: true, buffer_select: false, fixed_buffer: false };

    fn prepare(sqe: &Sqe, context: &Prepare) -> Result<Self, Errno> {
        if sqe.len() > i32::MAX as u32 {
            return Err(Errno::NOMEM);
        }
        let transfer = Transfer::prepare(sqe, context)?;
        Ok(Self { transfer, buffer_index: sqe.buf_index(), checked: false })
    }

    fn device_transfer(&self) -> Option<DeviceTransfer> {
        self.transfer.device_transfer()
    }

    fn device_wait(&self) -> Option<DeviceWait> {
        self.transfer.device_wait()
    }

    fn refuse(&mut self, errno: Errno) -> Outcome {
        self.transfer.refused(errno)
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        if !std::mem::replace(&mut self.checked, true)
            && let Err(errno) = self.check(context)
        {
            return Outcome::failed(of_open_file(context.fd, errno));
        }
        self.transfer.issue(context)
    }
}

impl FixedVectors {
    /// An empty range is refused, too.
    fn check(&self, context: &Issue<'_>) -> Result<(), Errno> {
        let vectors = match &self.transfer.memory {
            Memory::Range(vector) => std::slice::from_ref(vector),
            Memory::Vectors(vectors) => vectors,
        };
        for [address, length] in vectors {
            if *length == 0 {
                return Err(Errno::FAULT);
            }
            context.resources.check_registered_range(
                self.buffer_index,
                UserAddress::new(*address),
                *length,
            )?;
        }
        Ok(())
    }
}
