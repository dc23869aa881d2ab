//! RECV_ZC: receiving into memory that a network card has been given.

use ringer_abi::Sqe;
use ringer_sys::Errno;

use crate::operation::{Issue, Op, Outcome, Prepare, Traits};

/// `IORING_OP_RECV_ZC`. It needs a receive queue of a network card that the ring has registered
/// (`IORING_REGISTER_ZCRX_IFQ`). User space cannot have one, so that each request is refused as Linux refuses it without.
#[derive(Debug)]
pub enum ZeroCopyReceive {}

impl Op for ZeroCopyReceive {
    const TRAITS: Traits = Traits { ioprio: true, ..Traits::FILE };

    fn prepare(_sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        Err(Errno::INVAL)
    }

    fn issue(&mut self, _context: &mut Issue<'_>) -> Outcome {
        match *self {}
    }
}
