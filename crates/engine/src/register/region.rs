//! `IORING_REGISTER_MEM_REGION`: memory for the arguments of waits, which are then named by their offset.

use ringer_abi::SetupFlags;
use ringer_abi::uapi::{self, io_uring_mem_region_reg, io_uring_region_desc};
use ringer_ring::SharedRegion;
use ringer_sys::{Errno, UserAddress};
use std::sync::atomic::Ordering;

use crate::buffers;
use crate::ring::Ring;

/// Where the program maps a region that the engine allocated (`IORING_MAP_OFF_PARAM_REGION`).
pub(crate) const OFF_REGION: u64 = 0x2000_0000;

/// A registered region.
#[derive(Debug)]
pub(crate) struct Region {
    address: UserAddress,
    size: u64,
    holds_waits: bool,
    /// `None`: the memory is the program's.
    pub(crate) allocated: Option<SharedRegion>,
}

impl Region {
    /// The bytes of a wait's argument at this offset.
    ///
    /// # Errors
    /// `EFAULT` when it does not lie inside of a region for waits.
    pub(crate) fn wait_argument(&self, offset: u64) -> Result<[u64; 8], Errno> {
        let end = offset.checked_add(size_of::<[u64; 8]>() as u64).ok_or(Errno::FAULT)?;
        if !self.holds_waits || !offset.is_multiple_of(8) || end > self.size {
            return Err(Errno::FAULT);
        }
        self.address.add(offset).read()
    }
}

/// Source: `io_uring_register_region.3`.
///
/// # Errors
/// `EBUSY` when there is one, `EINVAL`, `EFAULT`, `E2BIG`, `EOVERFLOW`, `ENOMEM`.
pub(crate) fn register(ring: &Ring, argument: UserAddress, count: u32) -> Result<i32, Errno> {
    const FOR_WAITS: u64 = uapi::IORING_MEM_REGION_REG_WAIT_ARG as u64;
    if argument.is_null() || count != 1 {
        return Err(Errno::INVAL);
    }
    if ring.region.get().is_some() {
        return Err(Errno::BUSY);
    }
    let [description, flags, reserved @ ..] =
        argument.read::<[u64; size_of::<io_uring_mem_region_reg>() / 8]>()?;
    let description = UserAddress::new(description);
    let words = description.read::<[u64; size_of::<io_uring_region_desc>() / 8]>()?;
    if reserved != [0; 2] || flags & !FOR_WAITS != 0 {
        return Err(Errno::INVAL);
    }
    let holds_waits = flags & FOR_WAITS != 0;
    // Nobody may wait while it changes.
    if holds_waits && !(ring.setup.contains(SetupFlags::R_DISABLED) && ring.disabled.load(Ordering::Relaxed))
    {
        return Err(Errno::INVAL);
    }
    let region = create(&words, holds_waits)?;
    if region.allocated.is_some() {
        let mut told = words;
        told[3] = OFF_REGION;
        description.write(told)?;
    } else {
        description.write(words)?;
    }
    ring.region.set(region).map(|()| 0).map_err(|_| Errno::BUSY)
}

/// Checks a `struct io_uring_region_desc` and makes what it describes.
fn create(words: &[u64; 8], holds_waits: bool) -> Result<Region, Errno> {
    const OF_PROGRAM: u32 = uapi::IORING_MEM_REGION_TYPE_USER as u32;
    const PAGE: u64 = 4096;
    let [address, size, flags_and_id, offset, reserved @ ..] = *words;
    let (flags, id) = (flags_and_id as u32, flags_and_id >> 32);
    if reserved != [0; 4] || flags & !OF_PROGRAM != 0 {
        return Err(Errno::INVAL);
    }
    if (flags & OF_PROGRAM != 0) != (address != 0) {
        return Err(Errno::FAULT);
    }
    if size == 0 || offset != 0 || id != 0 {
        return Err(Errno::INVAL);
    }
    if size / PAGE > i32::MAX as u64 {
        return Err(Errno::TOOBIG);
    }
    if !(address | size).is_multiple_of(PAGE) {
        return Err(Errno::INVAL);
    }
    address.checked_add(size).ok_or(Errno::OVERFLOW)?;
    // The kernel finds no memory for the list of so many pages.
    if size / PAGE >= 1 << 28 {
        return Err(Errno::NOMEM);
    }
    if flags & OF_PROGRAM != 0 {
        buffers::fault_in(address, size)?;
        return Ok(Region { address: UserAddress::new(address), size, holds_waits, allocated: None });
    }
    let allocated = SharedRegion::allocate(size as usize)?;
    let address = UserAddress::new(allocated.address());
    Ok(Region { address, size, holds_waits, allocated: Some(allocated) })
}
