//! The register calls that need no ring: `IORING_REGISTER_SEND_MSG_RING` and `IORING_REGISTER_QUERY`.

use ringer_abi::{EnterFlags, Opcode, RegisterOpcode, SqeFlags};
use ringer_sys::{Errno, UserAddress};

use crate::{message, setup};

/// Carries out a register call on no ring (`fd` -1).
///
/// # Errors
/// `EINVAL` for a call that needs one, and those of the call.
pub(crate) fn register(opcode: u32, argument: UserAddress, count: u32) -> Result<i32, Errno> {
    match RegisterOpcode::from_number(opcode) {
        Some(RegisterOpcode::SendMsgRing) => message::send_without_ring(argument, count),
        Some(RegisterOpcode::Query) => query(argument, count),
        _ => Err(Errno::INVAL),
    }
}

/// `struct io_uring_query_hdr`, in words of 32 bits: the next one's address, the data's address, what is asked, the data's
/// size, the result, and three reserved words.
const HEADER: usize = 10;
/// The most that is read and written of one answer (`IO_MAX_QUERY_SIZE`), in bytes.
const MOST_BYTES: u32 = 48;
/// The most questions of one call: they might be a circle.
const MOST_QUESTIONS: u32 = 1000;

/// `IORING_REGISTER_QUERY`: what this io_uring can do, as a list of questions. Source: `io_uring/query.h`.
///
/// # Errors
/// `EINVAL` with a count, `EFAULT`, `ERANGE` for too many questions. What is wrong with one question is its result.
pub(crate) fn query(argument: UserAddress, count: u32) -> Result<i32, Errno> {
    if count != 0 {
        return Err(Errno::INVAL);
    }
    let mut place = argument;
    let mut asked = 0;
    while !place.is_null() {
        place = answer(place)?;
        asked += 1;
        if asked >= MOST_QUESTIONS {
            return Err(Errno::RANGE);
        }
    }
    Ok(0)
}

/// Answers one question. Returns the address of the next one.
fn answer(place: UserAddress) -> Result<UserAddress, Errno> {
    let mut header = place.read::<[u32; HEADER]>()?;
    let address = |low: u32, high: u32| UserAddress::new(u64::from(low) | u64::from(high) << 32);
    let (next, data) = (address(header[0], header[1]), address(header[2], header[3]));
    let [_, _, _, _, question, size, result, reserved @ ..] = header;
    let room = size.min(MOST_BYTES) as usize;
    let mut bytes = Vec::new();
    let result = if question != OPCODES {
        Err(Errno::OPNOTSUPP)
    } else if reserved != [0; 3] || result != 0 || size == 0 {
        Err(Errno::INVAL)
    } else {
        data.read_into(&mut [0; MOST_BYTES as usize][..room])?;
        bytes = opcodes();
        Ok(())
    };
    let told = bytes.len().min(size as usize);
    // What the question has room for beyond the answer becomes zero.
    bytes.resize(size as usize, 0);
    data.write_from(&bytes)?;
    header[5] = told as u32;
    header[6] = result.err().map_or(0, |errno: Errno| (-errno.raw_os_error()) as u32);
    place.write(header)?;
    Ok(next)
}

/// `IO_URING_QUERY_OPCODES`.
const OPCODES: u32 = 0;
/// How many kinds of questions there are.
const KINDS: u32 = 1;

/// `struct io_uring_query_opcode`.
fn opcodes() -> Vec<u8> {
    let flags: u8 = SqeFlags::all().bits();
    let mut bytes = Vec::with_capacity(MOST_BYTES as usize);
    bytes.extend((Opcode::ALL.len() as u32).to_ne_bytes());
    bytes.extend((RegisterOpcode::ALL.len() as u32).to_ne_bytes());
    bytes.extend(u64::from(setup::FEATURES.bits()).to_ne_bytes());
    bytes.extend(u64::from(setup::SERVED.bits()).to_ne_bytes());
    bytes.extend(u64::from(EnterFlags::all().bits()).to_ne_bytes());
    bytes.extend(u64::from(flags).to_ne_bytes());
    bytes.extend(KINDS.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes
}
