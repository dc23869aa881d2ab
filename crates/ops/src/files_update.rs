//! FILES_UPDATE: replaces registered files.

use ringer_abi::{Sqe, SqeFlags};
use ringer_sys::{Errno, UserAddress};

use crate::check::unused;
use crate::operation::{Issue, Op, Outcome, Prepare, Traits};

/// `IORING_OP_FILES_UPDATE`. Source: `io_uring_prep_files_update.3`.
#[derive(Debug)]
pub struct FilesUpdate {
    /// The descriptors, `count` times an `i32`. With [`ALLOCATE`](Self::ALLOCATE) the slots are
    /// written back there.
    pub descriptors: UserAddress,
    /// How many.
    pub count: u32,
    /// The first slot.
    pub offset: u32,
}

impl FilesUpdate {
    /// `IORING_FILE_INDEX_ALLOC` as the offset: each file goes to a free slot.
    pub const ALLOCATE: u32 = u32::MAX;
}

impl Op for FilesUpdate {
    const TRAITS: Traits = Traits { iopoll: true, ..Traits::NONE };

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.op_flags().into(), sqe.file_index().into()])?;
        if sqe.flags().contains(SqeFlags::FIXED_FILE) || sqe.len() == 0 {
            return Err(Errno::INVAL);
        }
        // The kernel keeps the low half of `off` only.
        Ok(Self { descriptors: UserAddress::new(sqe.addr()), count: sqe.len(), offset: sqe.off() as u32 })
    }

    fn issue(&mut self, _context: &mut Issue<'_>) -> Outcome {
        Outcome::Engine
    }
}
