//! A transfer alone: a plain READ or WRITE of a regular file that has no neighbour in its submission, by the shortest way.
//!
//! If the call moves all of it, that is its result. Otherwise it is served as any other: to read or write the same once more changes nothing.

use ringer_abi::{Opcode, Sqe, SqeFlags};
use ringer_ops::{Completion, Patience};
use ringer_sys::{Errno, UserAddress, call};

use crate::coalesce::may_be_in_run;
use crate::ring::Ring;
use crate::turn::Turn;

const READ: u8 = Opcode::Read.number();
const WRITE: u8 = Opcode::Write.number();

/// What came of the call for a transfer alone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Moved {
    /// All of it.
    Whole,
    /// It waits for its device.
    Waits,
    /// Less, or an error.
    Less,
}

impl Ring {
    /// Makes the call for a transfer that is alone. `None`: it is not of the kind.
    #[inline]
    pub(crate) fn move_alone(&self, sqe: &Sqe) -> Option<Moved> {
        let (fd, address, length) = (sqe.fd(), sqe.addr(), sqe.len() as usize);
        let is_of_the_kind = may_be_in_run(sqe)
            && !sqe.flags().contains(SqeFlags::FIXED_FILE)
            && sqe.off() < i64::MAX as u64
            && length != 0
            && self.patience_of(sqe.opcode()) == Patience::Brief
            && self.is_plain_for(fd, sqe.opcode());
        if !is_of_the_kind {
            return None;
        }
        let moved = if sqe.opcode() == WRITE {
            self.latency.time(|| call::pwrite(fd, UserAddress::new(address), length, sqe.off()))
        } else {
            let part = [address, length as u64];
            call::preadv2(fd, UserAddress::of(&raw const part), 1, sqe.off(), 0, ringer_ops::rw::RWF_NOWAIT)
        };
        Some(match moved {
            Ok(bytes) if bytes == length => Moved::Whole,
            Err(Errno::AGAIN) if sqe.opcode() == READ => Moved::Waits,
            _ => Moved::Less,
        })
    }
}

impl Turn<'_> {
    /// Completes a transfer that the call has moved, or goes on with it if it waits for the device. Returns false where it is to be served as any
    /// other.
    pub(crate) fn end_alone(&mut self, sqe: &Sqe, moved: Moved) -> bool {
        match moved {
            Moved::Whole => {
                self.complete_at_once(sqe, &Completion::new(sqe.len() as i32), [0; 2]);
                true
            }
            Moved::Waits => self.lend(sqe),
            Moved::Less => false,
        }
    }
}
