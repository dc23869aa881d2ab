//! BIND: a socket's own address.

use ringer_abi::Sqe;
use ringer_sys::{Errno, UserAddress, call};

use crate::check::unused;
use crate::net::{Address, read_address};
use crate::operation::{Issue, Op, Outcome, Prepare, Traits};

/// `IORING_OP_BIND`. Source: `io_uring_prep_bind.3`.
#[derive(Debug)]
pub struct Bind {
    address: Address,
}

impl Op for Bind {
    const TRAITS: Traits = Traits::FILE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([
            u64::from(sqe.len()),
            u64::from(sqe.buf_index()),
            u64::from(sqe.op_flags()),
            u64::from(sqe.file_index()),
        ])?;
        // The length is an `int` of the call; the upper half of the field is not looked at.
        Ok(Self { address: read_address(sqe.addr(), sqe.off() as u32)? })
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        let address = UserAddress::of(self.address.as_ptr());
        Outcome::from_result(call::bind(context.fd, address, self.address.len()))
    }
}
