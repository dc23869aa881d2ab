//! `IORING_REGISTER_PROBE`: which opcodes are served.

use ringer_abi::Opcode;
use ringer_ops::row;
use ringer_sys::{Errno, UserAddress};

/// `IO_URING_OP_SUPPORTED`.
const SUPPORTED: u16 = 1;
/// `struct io_uring_probe` without its entries, and one entry, in bytes.
const HEADER: usize = 16;
const ENTRY: usize = 8;

/// Writes what is served into the program's `struct io_uring_probe`.
///
/// # Errors
/// `EINVAL` for too many entries or a structure that is not zeroed, `EFAULT`.
pub(crate) fn probe(argument: UserAddress, count: u32) -> Result<i32, Errno> {
    if argument.is_null() || count > 256 {
        return Err(Errno::INVAL);
    }
    let entries = (count as usize).min(Opcode::ALL.len());
    let mut bytes = vec![0_u8; HEADER + entries * ENTRY];
    argument.read_into(&mut bytes)?;
    if bytes.iter().any(|byte| *byte != 0) {
        return Err(Errno::INVAL);
    }
    // `last_op`, `ops_len`.
    bytes[0] = (Opcode::ALL.len() - 1) as u8;
    bytes[1] = entries as u8;
    for (opcode, entry) in bytes[HEADER..].chunks_exact_mut(ENTRY).enumerate() {
        entry[0] = opcode as u8;
        if row(opcode as u8).is_some() {
            entry[2..4].copy_from_slice(&SUPPORTED.to_ne_bytes());
        }
    }
    argument.write_from(&bytes)?;
    Ok(0)
}
