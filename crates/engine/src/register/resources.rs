//! The structures that the register calls for files and buffers share.

use ringer_abi::uapi;
use ringer_sys::{Errno, UserAddress};

/// `struct io_uring_rsrc_register`, checked.
pub(crate) struct ResourceRegister {
    pub(crate) count: u32,
    /// Null for a sparse registration.
    pub(crate) data: UserAddress,
    pub(crate) tags: Option<UserAddress>,
}

impl ResourceRegister {
    /// Reads the structure; the call's `nr_args` is its size.
    ///
    /// # Errors
    /// `EINVAL` for another size, unknown flags, reserved words or a sparse registration with data; `EFAULT`.
    pub(crate) fn read(argument: UserAddress, size: u32) -> Result<Self, Errno> {
        if size as usize != size_of::<[u64; 4]>() {
            return Err(Errno::INVAL);
        }
        let [count_and_flags, reserved, data, tags] = argument.read::<[u64; 4]>()?;
        let (count, flags) = (count_and_flags as u32, (count_and_flags >> 32) as u32);
        if count == 0 || reserved != 0 || flags & !uapi::IORING_RSRC_REGISTER_SPARSE != 0 {
            return Err(Errno::INVAL);
        }
        if flags & uapi::IORING_RSRC_REGISTER_SPARSE != 0 && data != 0 {
            return Err(Errno::INVAL);
        }
        Ok(Self { count, data: UserAddress::new(data), tags: some_address(tags) })
    }
}

/// `struct io_uring_rsrc_update` and `..._update2`, checked.
pub(crate) struct ResourceUpdate {
    pub(crate) offset: u32,
    pub(crate) count: u32,
    pub(crate) data: UserAddress,
    pub(crate) tags: Option<UserAddress>,
}

impl ResourceUpdate {
    /// Reads the older structure; the call's `nr_args` is the number of slots.
    ///
    /// # Errors
    /// `EINVAL` for a reserved word that is not 0, `EFAULT`.
    pub(crate) fn read(argument: UserAddress, count: u32) -> Result<Self, Errno> {
        let [offset_and_reserved, data] = argument.read::<[u64; 2]>()?;
        if offset_and_reserved >> 32 != 0 {
            return Err(Errno::INVAL);
        }
        Ok(Self { offset: offset_and_reserved as u32, count, data: UserAddress::new(data), tags: None })
    }

    /// Reads the newer structure; the call's `nr_args` is its size.
    ///
    /// # Errors
    /// `EINVAL` for another size, no slots or reserved words; `EFAULT`.
    pub(crate) fn read2(argument: UserAddress, size: u32) -> Result<Self, Errno> {
        if size as usize != size_of::<[u64; 4]>() {
            return Err(Errno::INVAL);
        }
        let [offset_and_reserved, data, tags, count_and_reserved] = argument.read::<[u64; 4]>()?;
        let count = count_and_reserved as u32;
        if offset_and_reserved >> 32 != 0 || count_and_reserved >> 32 != 0 || count == 0 {
            return Err(Errno::INVAL);
        }
        Ok(Self {
            offset: offset_and_reserved as u32,
            count,
            data: UserAddress::new(data),
            tags: some_address(tags),
        })
    }
}

fn some_address(address: u64) -> Option<UserAddress> {
    (address != 0).then_some(UserAddress::new(address))
}
