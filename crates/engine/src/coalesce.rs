//! Coalescing: reads or writes of adjacent parts of one file, one behind the other in a submission, are one vectored call.
//!
//! Only where the results stay the same. A run consists of plain READs or WRITEs at offsets, of a regular file that is open
//! neither for direct I/O nor to append, nor for writes that end on the device. A vectored call moves the parts in the order of the
//! requests. If it ends early (the end of the file, a page that is not cached, a bad address), the requests that are not complete by
//! then are served one by one from their start: to read or write the same once more changes nothing.

use std::os::fd::RawFd;

use arrayvec::ArrayVec;
use ringer_abi::{Opcode, Sqe, SqeFlags};
use ringer_ops::{Patience, row};
use ringer_sys::call::PlainFor;
use ringer_sys::{UserAddress, call};

use crate::request::{Facts, Held};
use crate::ring::Ring;
use crate::turn::Turn;

/// The transfers of one run at most: each has a bit.
pub(crate) const MOST_OF_A_RUN: usize = 32;

const READ: u8 = Opcode::Read.number();
const WRITE: u8 = Opcode::Write.number();

/// Whether the SQE could be one of a run, as far as it tells itself. Nothing but its offset may then be unusual.
#[inline]
pub(crate) fn may_be_in_run(sqe: &Sqe) -> bool {
    matches!(sqe.opcode(), READ | WRITE) && is_plain(sqe)
}

/// Whether a transfer asks for nothing unusual.
#[inline]
pub(crate) fn is_plain(sqe: &Sqe) -> bool {
    sqe.flags().difference(SqeFlags::FIXED_FILE).is_empty()
        && sqe.op_flags() == 0
        && sqe.ioprio() == 0
        && sqe.personality() == 0
        && sqe.pad2() == 0
}

/// Whether an SQE goes on where the one before it, which may be in a run, ends.
#[inline]
pub(crate) fn follows(before: &Sqe, sqe: &Sqe) -> bool {
    before.off().checked_add(before.len().into()).is_some_and(|end| end == sqe.off() && end < i64::MAX as u64)
        && sqe.opcode() == before.opcode()
        && sqe.fd() == before.fd()
        && sqe.flags() == before.flags()
        && may_be_in_run(sqe)
}

impl Ring {
    /// For which transfers a descriptor is believed to be plain.
    #[inline]
    pub(crate) fn plain_for(&self, fd: RawFd) -> PlainFor {
        self.plain_files.recall(fd).unwrap_or_else(|| {
            let found = PlainFor::of(fd);
            self.plain_files.note(fd, found);
            found
        })
    }

    /// The same for one of the two.
    #[inline]
    pub(crate) fn is_plain_for(&self, fd: RawFd, opcode: u8) -> bool {
        let plain = self.plain_for(fd);
        if opcode == WRITE { plain.writes } else { plain.reads }
    }
}

impl Turn<'_> {
    /// Makes one attempt for all transfers of a run. Returns a bit for each that is complete.
    pub(crate) fn transfer_together(&mut self, run: &[Sqe], held: &mut Held) -> u32 {
        let Some((first, row)) = run.first().and_then(|first| Some((first, row(first.opcode())?))) else {
            return 0;
        };
        let is_write = first.opcode() == WRITE;
        if is_write && self.patience_of(WRITE) != Patience::Brief
            || self.resolve(&Facts::of(first), row, held).is_err()
        {
            return 0;
        }
        let fd = held.file.raw();
        if !self.ring.is_plain_for(fd, first.opcode()) {
            return 0;
        }
        let parts: ArrayVec<[u64; 2], MOST_OF_A_RUN> =
            run.iter().map(|sqe| [sqe.addr(), u64::from(sqe.len())]).collect();
        let address = UserAddress::of(parts.as_ptr());
        let moved = if is_write {
            let write = || call::pwritev2(fd, address, parts.len(), first.off(), 0, 0);
            self.ring.latency.time(write)
        } else {
            call::preadv2(fd, address, parts.len(), first.off(), 0, ringer_ops::rw::RWF_NOWAIT)
        };
        // Even one of no bytes has an error of its own then.
        let Ok(moved) = moved else { return 0 };
        let mut left = moved as u64;
        let is_complete = |sqe: &&Sqe| {
            let rest = left.checked_sub(sqe.len().into());
            left = rest.unwrap_or(0);
            rest.is_some()
        };
        let complete = run.iter().take_while(is_complete).count();
        ((1_u64 << complete) - 1) as u32
    }
}
