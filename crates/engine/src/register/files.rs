//! Register calls for files, and FILES_UPDATE.

use std::sync::Arc;

use ringer_abi::uapi;
use ringer_ops::FileSlot;
use ringer_sys::{Errno, UserAddress};
use rustix::process::{Resource, getrlimit};

use crate::files::{MOST_FILES, RegisteredFile, Release};
use crate::register::{ResourceRegister, ResourceUpdate};
use crate::ring::Ring;

/// "No file in this slot."
const NO_FILE: i32 = -1;
/// `IORING_REGISTER_FILES_SKIP`: leave the slot as it is.
const SKIP: i32 = uapi::IORING_REGISTER_FILES_SKIP;

/// `IORING_REGISTER_FILES`. Source: `io_uring_register_files.3`.
///
/// # Errors
/// `EBUSY`, `EINVAL`, `EMFILE` for too many, `EBADF` for one that is not open or is a ring, `EFAULT`.
pub(crate) fn register(
    ring: &Arc<Ring>,
    descriptors: UserAddress,
    count: u32,
    tags: Option<UserAddress>,
) -> Result<i32, Errno> {
    if ring.files.lock().is_registered() {
        return Err(Errno::BUSY);
    }
    if count == 0 {
        return Err(Errno::INVAL);
    }
    if count > MOST_FILES || getrlimit(Resource::Nofile).current.is_some_and(|most| u64::from(count) > most) {
        return Err(Errno::MFILE);
    }
    let mut slots = Vec::with_capacity(count as usize);
    for index in 0..u64::from(count) {
        // A null address registers empty slots.
        let entry = read_entry(descriptors, index, tags).and_then(|(fd, tag)| match (fd, tag) {
            (NO_FILE, 0) => Ok(None),
            (NO_FILE, _) => Err(Errno::INVAL),
            (fd, tag) => open_slot(ring, fd, tag).map(Some),
        });
        match entry {
            Ok(slot) => slots.push(slot),
            Err(errno) => {
                silence(slots);
                return Err(errno);
            }
        }
    }
    ring.files.lock().register(slots).map(|()| 0)
}

/// Files of a registration that failed: their tags are not posted.
fn silence(slots: Vec<Option<Arc<RegisteredFile>>>) {
    for mut file in slots.into_iter().flatten() {
        if let Some(file) = Arc::get_mut(&mut file) {
            file.silence();
        }
    }
}

fn read_entry(descriptors: UserAddress, index: u64, tags: Option<UserAddress>) -> Result<(i32, u64), Errno> {
    let fd = if descriptors.is_null() { NO_FILE } else { descriptors.add(index * 4).read::<i32>()? };
    let tag = tags.map_or(Ok(0), |tags| tags.add(index * 8).read::<u64>())?;
    Ok((fd, tag))
}

fn open_slot(ring: &Arc<Ring>, fd: i32, tag: u64) -> Result<Arc<RegisteredFile>, Errno> {
    let release = Release { tag, ring: Arc::downgrade(ring) };
    RegisteredFile::duplicate(fd, release).map(Arc::new).map_err(|(errno, mut release)| {
        release.silence();
        errno
    })
}

/// `IORING_REGISTER_FILES2`. Source: `io_uring_register.2`.
///
/// # Errors
/// As for [`register`]; `EINVAL` for a bad structure.
pub(crate) fn register2(ring: &Arc<Ring>, argument: UserAddress, size: u32) -> Result<i32, Errno> {
    let request = ResourceRegister::read(argument, size)?;
    register(ring, request.data, request.count, request.tags)
}

/// `IORING_UNREGISTER_FILES`.
///
/// # Errors
/// `ENXIO` when none are registered.
pub(crate) fn unregister(ring: &Ring) -> Result<i32, Errno> {
    let files = ring.files.lock().unregister()?;
    // Dropped without the lock: their tags are posted.
    drop(files);
    Ok(0)
}

/// `IORING_REGISTER_FILES_UPDATE`. Returns how many slots were updated.
///
/// # Errors
/// As for [`update_slots`].
pub(crate) fn update(ring: &Arc<Ring>, argument: UserAddress, count: u32) -> Result<i32, Errno> {
    if count == 0 {
        return Err(Errno::INVAL);
    }
    let update = ResourceUpdate::read(argument, count)?;
    update_slots(ring, &update)
}

/// `IORING_REGISTER_FILES_UPDATE2`.
///
/// # Errors
/// As for [`update_slots`].
pub(crate) fn update2(ring: &Arc<Ring>, argument: UserAddress, size: u32) -> Result<i32, Errno> {
    let update = ResourceUpdate::read2(argument, size)?;
    update_slots(ring, &update)
}

/// Replaces files. Stops at the first bad one; if that is not the first, the number before it is the result.
///
/// # Errors
/// `ENXIO` without registered files, `EINVAL` beyond them, `EOVERFLOW`, `EBADF`, `EFAULT`.
pub(crate) fn update_slots(ring: &Arc<Ring>, update: &ResourceUpdate) -> Result<i32, Errno> {
    let end = update.offset.checked_add(update.count).ok_or(Errno::OVERFLOW)?;
    if end > ring.files.lock().len()? {
        return Err(Errno::INVAL);
    }
    let mut done = 0;
    for index in 0..update.count {
        match update_one(ring, update, index) {
            Ok(()) => done += 1,
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(done)
}

fn update_one(ring: &Arc<Ring>, update: &ResourceUpdate, index: u32) -> Result<(), Errno> {
    let fd = update.data.add(u64::from(index) * 4).read::<i32>()?;
    let tag = update.tags.map_or(Ok(0), |tags| tags.add(u64::from(index) * 8).read::<u64>())?;
    if (fd == SKIP || fd == NO_FILE) && tag != 0 {
        return Err(Errno::INVAL);
    }
    if fd == SKIP {
        return Ok(());
    }
    let slot = update.offset + index;
    // The slot is emptied first, as in the kernel: it stays empty when the new file is bad.
    let removed = ring.files.lock().set(slot, None)?;
    drop(removed);
    if fd != NO_FILE {
        let file = open_slot(ring, fd, tag)?;
        let replaced = ring.files.lock().set(slot, Some(file))?;
        drop(replaced);
    }
    Ok(())
}

/// `IORING_REGISTER_FILE_ALLOC_RANGE`. Source: `io_uring_register_file_alloc_range.3`.
///
/// # Errors
/// `EINVAL`, `EOVERFLOW`, `EFAULT`.
pub(crate) fn set_range(ring: &Ring, argument: UserAddress, count: u32) -> Result<i32, Errno> {
    if argument.is_null() || count != 0 {
        return Err(Errno::INVAL);
    }
    let [start, length, reserved_low, reserved_high] = argument.read::<[u32; 4]>()?;
    if reserved_low != 0 || reserved_high != 0 {
        return Err(Errno::INVAL);
    }
    ring.files.lock().set_range(start, length).map(|()| 0)
}

/// CLOSE of a slot of the registered files.
///
/// # Errors
/// `ENXIO` without registered files, `EINVAL` beyond them, `EBADF` for an empty slot.
pub(crate) fn close_slot(ring: &Ring, index: u32) -> Result<(), Errno> {
    let removed = ring.files.lock().set(index, None)?;
    removed.map(drop).ok_or(Errno::BADF)
}

/// FILES_UPDATE with `IORING_FILE_INDEX_ALLOC`: puts files into free slots and writes the slots' numbers back.
/// Returns how many.
///
/// # Errors
/// `ENXIO` without registered files, `ENFILE` when no slot is free, `EBADF`, `EFAULT`; for the first file only.
pub(crate) fn allocate_slots(ring: &Arc<Ring>, descriptors: UserAddress, count: u32) -> Result<i32, Errno> {
    ring.files.lock().len()?;
    let mut done = 0;
    for index in 0..u64::from(count) {
        match allocate_slot(ring, descriptors.add(index * 4)) {
            Ok(()) => done += 1,
            Err(errno) if done == 0 => return Err(errno),
            Err(_) => break,
        }
    }
    Ok(done)
}

fn allocate_slot(ring: &Arc<Ring>, entry: UserAddress) -> Result<(), Errno> {
    let file = open_slot(ring, entry.read::<i32>()?, 0)?;
    let slot = {
        let mut files = ring.files.lock();
        let slot = files.choose(FileSlot::Allocate)?;
        files.set(slot, Some(file))?;
        slot
    };
    if let Err(errno) = entry.write(slot) {
        // The program would never learn of it.
        let removed = ring.files.lock().set(slot, None);
        drop(removed);
        return Err(errno);
    }
    Ok(())
}
