//! Register calls for rings of provided buffers.

use std::sync::Arc;

use ringer_abi::uapi;
use ringer_ring::ProgramPages;
use ringer_sys::{Errno, UserAddress};

use crate::provided::{BufferRing, ENTRY, RingMemory};
use crate::ring::Ring;

/// The largest buffer ring.
const MOST_ENTRIES: u32 = 1 << 15;
const PAGE: u64 = 4096;
/// `IOU_PBUF_RING_MMAP`: the engine allocates the ring, the program maps it.
const MMAP: u16 = uapi::io_uring_register_pbuf_ring_flags::IOU_PBUF_RING_MMAP as u16;
/// `IOU_PBUF_RING_INC`: buffers are used up bit by bit.
const INCREMENTAL: u16 = uapi::io_uring_register_pbuf_ring_flags::IOU_PBUF_RING_INC as u16;

/// `IORING_REGISTER_PBUF_RING`. Source: `io_uring_register_buf_ring.3`.
///
/// # Errors
/// `EINVAL` for a bad size, address or flag, `EEXIST` for a group with buffers, `EFAULT`, `ENOMEM`.
pub(crate) fn register(ring: &Ring, argument: UserAddress, count: u32) -> Result<i32, Errno> {
    let (address, entries, group, flags) = read(argument, count)?;
    if flags & !(MMAP | INCREMENTAL) != 0 || !entries.is_power_of_two() || entries > MOST_ENTRIES {
        return Err(Errno::INVAL);
    }
    let mut provided = ring.provided.lock();
    provided.check_free(group)?;
    let bytes = u64::from(entries) * ENTRY;
    let memory = if flags & MMAP != 0 {
        RingMemory::Engine(Arc::new(ProgramPages::allocate(bytes as usize)?))
    } else {
        check(address, bytes)?;
        RingMemory::Program(address)
    };
    if flags & INCREMENTAL != 0 {
        ring.bits_in_order.need();
    }
    provided.register_ring(group, BufferRing::new(memory, entries as u16, flags & INCREMENTAL != 0));
    Ok(0)
}

/// Checks memory that the program brings. Linux pins its pages; here it must stay mapped.
fn check(address: UserAddress, bytes: u64) -> Result<(), Errno> {
    if address.is_null() {
        return Err(Errno::FAULT);
    }
    if !address.get().is_multiple_of(PAGE) {
        return Err(Errno::INVAL);
    }
    (0..bytes).step_by(PAGE as usize).try_for_each(|page| address.add(page).read::<u16>().map(drop))
}

/// `IORING_UNREGISTER_PBUF_RING`.
///
/// # Errors
/// `ENOENT` for an unknown group, `EINVAL` when it is no ring, `EFAULT`.
pub(crate) fn unregister(ring: &Ring, argument: UserAddress, count: u32) -> Result<i32, Errno> {
    let (_, _, group, flags) = read(argument, count)?;
    if flags != 0 {
        return Err(Errno::INVAL);
    }
    ring.provided.lock().unregister_ring(group).map(|()| 0)
}

/// `IORING_REGISTER_PBUF_STATUS`: how far the ring was consumed.
///
/// # Errors
/// As for [`unregister`].
pub(crate) fn status(ring: &Ring, argument: UserAddress, count: u32) -> Result<i32, Errno> {
    if argument.is_null() || count != 1 {
        return Err(Errno::INVAL);
    }
    // `struct io_uring_buf_status`: the group, the head, reserved words.
    let words = argument.read::<[u32; 10]>()?;
    if words[2..].iter().any(|word| *word != 0) {
        return Err(Errno::INVAL);
    }
    let group = u16::try_from(words[0]).map_err(|_| Errno::NOENT)?;
    argument.add(4).write(ring.provided.lock().ring_head(group)?)?;
    Ok(0)
}

/// `struct io_uring_buf_reg`: address, entries, group, flags.
fn read(argument: UserAddress, count: u32) -> Result<(UserAddress, u32, u16, u16), Errno> {
    if argument.is_null() || count != 1 {
        return Err(Errno::INVAL);
    }
    let words = argument.read::<[u64; 5]>()?;
    if words[2..].iter().any(|word| *word != 0) {
        return Err(Errno::INVAL);
    }
    Ok((UserAddress::new(words[0]), words[1] as u32, (words[1] >> 32) as u16, (words[1] >> 48) as u16))
}
