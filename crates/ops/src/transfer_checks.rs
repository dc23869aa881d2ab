//! What is checked of every transfer, whichever kind it is of.

use ringer_abi::{Sqe, uapi};
use ringer_sys::{Errno, UserAddress, call};

use crate::rw::FILE_POSITION;

/// An error that is noticed once it is known how the file is open: an empty transfer finds that out.
pub(crate) fn of_file_open_for(fd: i32, is_write: bool, errno: Errno) -> Errno {
    let transfer = if is_write { call::pwritev2 } else { call::preadv2 };
    let result = transfer(fd, UserAddress::new(0), 0, FILE_POSITION, 0, 0);
    result.err().filter(|found| *found == Errno::BADF).unwrap_or(errno)
}

/// The I/O priority classes of `ioprio_set.2`: real-time (1, for the privileged), best effort (2), idle (3).
///
/// # Errors
/// `EINVAL` for an unknown class or a level without one.
pub(crate) fn check_priority(priority: u16) -> Result<(), Errno> {
    match priority >> 13 {
        0 if priority & 0x7 != 0 => Err(Errno::INVAL),
        0..=3 => Ok(()),
        _ => Err(Errno::INVAL),
    }
}

/// The attributes of a transfer (`attr_type_mask` and `attr_ptr`): protection information is the only kind,
/// and there is no way to pass it on from user space.
///
/// # Errors
/// `EINVAL`; `EFAULT` for a bad address.
pub(crate) fn check_attributes(sqe: &Sqe) -> Result<(), Errno> {
    /// `struct io_uring_attr_pi`, in bytes.
    const PROTECTION_BYTES: usize = 32;
    match sqe.pad2() {
        0 => Ok(()),
        mask if mask == u64::from(uapi::IORING_RW_ATTR_FLAG_PI) => {
            UserAddress::new(sqe.addr3()).read::<[u8; PROTECTION_BYTES]>()?;
            Err(Errno::INVAL)
        }
        _ => Err(Errno::INVAL),
    }
}
