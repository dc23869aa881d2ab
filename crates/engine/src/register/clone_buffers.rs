//! `IORING_REGISTER_CLONE_BUFFERS`: another ring's registered buffers, in this ring as well.

use std::sync::Arc;

use ringer_abi::uapi;
use ringer_sys::{Errno, UserAddress};

use crate::buffers::MOST_BUFFERS;
use crate::register;
use crate::ring::Ring;
use crate::system::System;

/// Source: `io_uring_clone_buffers.3`.
///
/// # Errors
/// `EBUSY` when there are buffers and they are not to be replaced, `ENXIO` without buffers in the other ring, `EOVERFLOW`
/// beyond them, `EBADF` and `EOPNOTSUPP` for the other ring, `EEXIST` when it belongs to another thread, `EINVAL`, `EFAULT`.
pub(crate) fn clone(ring: &Arc<Ring>, argument: UserAddress, count: u32) -> Result<i32, Errno> {
    const BY_INDEX: u32 = uapi::IORING_REGISTER_SRC_REGISTERED as u32;
    const REPLACE: u32 = uapi::IORING_REGISTER_DST_REPLACE as u32;
    if argument.is_null() || count != 1 {
        return Err(Errno::INVAL);
    }
    // `struct io_uring_clone_buffers`.
    let [source, flags, from, to, wanted, padding @ ..] = argument.read::<[u32; 8]>()?;
    if flags & !(BY_INDEX | REPLACE) != 0 {
        return Err(Errno::INVAL);
    }
    let replaces = flags & REPLACE != 0;
    if !replaces && ring.buffers.lock().is_registered() {
        return Err(Errno::BUSY);
    }
    if padding != [0; 3] {
        return Err(Errno::INVAL);
    }
    let source = System::global().named_ring(source as i32, flags & BY_INDEX != 0)?;
    if !Arc::ptr_eq(&source, ring) {
        register::check_owner(&source)?;
    }
    if wanted == 0 && (from != 0 || to != 0) {
        return Err(Errno::INVAL);
    }
    let available = source.buffers.lock().len()?;
    let wanted = if wanted == 0 { available } else { wanted };
    if wanted > available {
        return Err(Errno::INVAL);
    }
    let from_end = from.checked_add(wanted).filter(|end| *end <= available).ok_or(Errno::OVERFLOW)?;
    let to_end = to.checked_add(wanted).ok_or(Errno::OVERFLOW)?;
    if to_end > MOST_BUFFERS {
        return Err(Errno::INVAL);
    }
    // Both tables are not locked at once: they may be one, and nobody may wait for the other.
    let cloned: Vec<_> = {
        let buffers = source.buffers.lock();
        (from..from_end)
            .map(|index| buffers.get(index as u16).map(|buffer| Arc::new(buffer.silent())))
            .collect()
    };
    let replaced = ring.buffers.lock().replace_range(to, cloned);
    // Here, as their tags take other locks.
    drop(replaced);
    Ok(0)
}
