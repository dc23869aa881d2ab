//! PROVIDE_BUFFERS and REMOVE_BUFFERS: the older way to hand out buffers that requests select from.

use ringer_abi::Sqe;
use ringer_sys::{Errno, UserAddress};

use crate::check::unused;
use crate::operation::{Issue, Op, Outcome, Prepare, Traits};

/// The most buffers of one group, and one more than the largest buffer id.
pub const MOST_BUFFERS: u32 = 1 << 16;
/// Where the program's half of the address space ends.
const USER_SPACE_END: u64 = (1 << 47) - 4096;

/// `IORING_OP_PROVIDE_BUFFERS`, carried out by the engine. Source: `io_uring_prep_provide_buffers.3`.
///
/// The engine's errors: `EOVERFLOW` when the group is full, `EINVAL` when it is a buffer ring, `ENOMEM`.
#[derive(Debug)]
pub struct ProvideBuffers {
    /// Where the first buffer is; the others follow.
    pub address: UserAddress,
    /// The length of each, in bytes.
    pub length: u32,
    /// How many.
    pub count: u32,
    /// The group.
    pub group: u16,
    /// The id of the first; the others count on.
    pub first_id: u16,
}

impl Op for ProvideBuffers {
    const TRAITS: Traits = Traits { iopoll: true, ..Traits::NONE };

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.op_flags().into(), sqe.file_index().into()])?;
        let count = sqe.fd() as u32;
        if count == 0 || count > MOST_BUFFERS {
            return Err(Errno::TOOBIG);
        }
        let (address, length) = (sqe.addr(), sqe.len());
        if length == 0 {
            return Err(Errno::INVAL);
        }
        let end = address.checked_add(u64::from(length) * u64::from(count)).ok_or(Errno::OVERFLOW)?;
        if end > USER_SPACE_END {
            return Err(Errno::FAULT);
        }
        let first_id = u16::try_from(sqe.off()).map_err(|_| Errno::TOOBIG)?;
        if u32::from(first_id) + count > MOST_BUFFERS {
            return Err(Errno::INVAL);
        }
        Ok(Self { address: UserAddress::new(address), length, count, group: sqe.buf_index(), first_id })
    }

    fn issue(&mut self, _context: &mut Issue<'_>) -> Outcome {
        Outcome::Engine
    }
}

/// `IORING_OP_REMOVE_BUFFERS`, carried out by the engine. Source: `io_uring_prep_remove_buffers.3`.
///
/// The result is how many were removed. The engine's errors: `ENOENT` for an unknown group, `EINVAL`
/// when it is a buffer ring.
#[derive(Debug)]
pub struct RemoveBuffers {
    /// At most how many.
    pub count: u32,
    /// The group.
    pub group: u16,
}

impl Op for RemoveBuffers {
    const TRAITS: Traits = Traits { iopoll: true, ..Traits::NONE };

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.op_flags().into(), sqe.addr(), sqe.len().into(), sqe.off(), sqe.file_index().into()])?;
        let count = sqe.fd() as u32;
        if count == 0 || count > MOST_BUFFERS {
            return Err(Errno::INVAL);
        }
        Ok(Self { count, group: sqe.buf_index() })
    }

    fn issue(&mut self, _context: &mut Issue<'_>) -> Outcome {
        Outcome::Engine
    }
}
