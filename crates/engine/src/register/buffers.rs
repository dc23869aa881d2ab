//! Register calls for buffers.

use std::sync::Arc;

use ringer_sys::{Errno, UserAddress};

use crate::buffers::{MOST_BUFFERS, RegisteredBuffer};
use crate::files::Release;
use crate::register::{ResourceRegister, ResourceUpdate};
use crate::ring::Ring;

type Slot = Option<Arc<RegisteredBuffer>>;

/// `IORING_REGISTER_BUFFERS`. Source: `io_uring_register_buffers.3`.
///
/// # Errors
/// `EBUSY`, `EINVAL` for none or too many, `EFAULT` for one that is not mapped or a bad array.
pub(crate) fn register(
    ring: &Arc<Ring>,
    vectors: UserAddress,
    count: u32,
    tags: Option<UserAddress>,
) -> Result<i32, Errno> {
    if ring.buffers.lock().is_registered() {
        return Err(Errno::BUSY);
    }
    if count == 0 || count > MOST_BUFFERS {
        return Err(Errno::INVAL);
    }
    let mut slots: Vec<Slot> = Vec::with_capacity(count as usize);
    for index in 0..u64::from(count) {
        match read_slot(ring, vectors, tags, index) {
            Ok(slot) => slots.push(slot),
            Err(errno) => {
                for mut buffer in slots.into_iter().flatten() {
                    if let Some(buffer) = Arc::get_mut(&mut buffer) {
                        buffer.release.silence();
                    }
                }
                return Err(errno);
            }
        }
    }
    ring.buffers.lock().register(slots).map(|()| 0)
}

fn read_slot(
    ring: &Arc<Ring>,
    vectors: UserAddress,
    tags: Option<UserAddress>,
    index: u64,
) -> Result<Slot, Errno> {
    // A null address registers empty slots.
    let [address, length] =
        if vectors.is_null() { [0, 0] } else { vectors.add(index * 16).read::<[u64; 2]>()? };
    let tag = tags.map_or(Ok(0), |tags| tags.add(index * 8).read::<u64>())?;
    match RegisteredBuffer::check(address, length)? {
        None if tag != 0 => Err(Errno::INVAL),
        None => Ok(None),
        Some(range) => {
            let release = Release { tag, ring: Arc::downgrade(ring) };
            Ok(Some(Arc::new(RegisteredBuffer::new(range, release))))
        }
    }
}

/// `IORING_REGISTER_BUFFERS2`. Source: `io_uring_register.2`.
///
/// # Errors
/// As for [`register`]; `EINVAL` for a bad structure.
pub(crate) fn register2(ring: &Arc<Ring>, argument: UserAddress, size: u32) -> Result<i32, Errno> {
    let request = ResourceRegister::read(argument, size)?;
    register(ring, request.data, request.count, request.tags)
}

/// `IORING_UNREGISTER_BUFFERS`.
///
/// # Errors
/// `ENXIO` when none are registered.
pub(crate) fn unregister(ring: &Ring) -> Result<i32, Errno> {
    let buffers = ring.buffers.lock().unregister()?;
    // Dropped without the lock: their tags are posted.
    drop(buffers);
    Ok(0)
}

/// `IORING_REGISTER_BUFFERS_UPDATE`. Returns how many slots were updated.
///
/// # Errors
/// `ENXIO` without registered buffers, `EINVAL` beyond them, `EOVERFLOW`, `EFAULT`.
pub(crate) fn update2(ring: &Arc<Ring>, argument: UserAddress, size: u32) -> Result<i32, Errno> {
    let update = ResourceUpdate::read2(argument, size)?;
    let end = update.offset.checked_add(update.count).ok_or(Errno::OVERFLOW)?;
    if end > ring.buffers.lock().len()? {
        return Err(Errno::INVAL);
    }
    let mut done = 0;
    for index in 0..update.count {
        if update.data.is_null() {
            return Err(Errno::FAULT);
        }
        let replaced = read_slot(ring, update.data, update.tags, u64::from(index))
            .and_then(|slot| ring.buffers.lock().set(update.offset + index, slot));
        match replaced {
            Ok(replaced) => drop(replaced),
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
        done += 1;
    }
    Ok(done)
}
