//! Registered buffers: ranges of the program's memory, named by an index.

use std::sync::Arc;

use ringer_ops::Buffer;
use ringer_sys::{Errno, UserAddress};

use crate::files::Release;

/// The most buffers one ring may register (`IORING_MAX_REG_BUFFERS`).
pub(crate) const MOST_BUFFERS: u32 = 1 << 14;
/// The largest registered buffer: 1 GiB.
const MOST_BYTES: u64 = 1 << 30;

/// One registered buffer.
#[derive(Debug)]
pub(crate) struct RegisteredBuffer {
    address: u64,
    length: u64,
    pub(crate) release: Release,
}

impl RegisteredBuffer {
    /// Checks a range as registration does. `None`: an empty slot (null address and length).
    ///
    /// # Errors
    /// `EFAULT` for a null address or length alone, or one too long; `EOVERFLOW` when it wraps.
    pub(crate) fn check(address: u64, length: u64) -> Result<Option<(u64, u64)>, Errno> {
        if length > i64::MAX as u64 {
            return Err(Errno::INVAL);
        }
        if address == 0 {
            return if length == 0 { Ok(None) } else { Err(Errno::FAULT) };
        }
        if length == 0 || length > MOST_BYTES {
            return Err(Errno::FAULT);
        }
        if address.checked_add(length).is_none_or(|end| end > u64::MAX - 4095) {
            return Err(Errno::OVERFLOW);
        }
        fault_in(address, length)?;
        Ok(Some((address, length)))
    }

    pub(crate) fn new((address, length): (u64, u64), release: Release) -> Self {
        Self { address, length, release }
    }

    /// The same buffer for another table, without a tag.
    pub(crate) fn silent(&self) -> Self {
        Self::new((self.address, self.length), Release::silent())
    }

    /// The part of it that a request names.
    ///
    /// # Errors
    /// `EFAULT` when the range is not inside.
    pub(crate) fn range(&self, address: u64, length: u32) -> Result<Buffer, Errno> {
        self.contains(address, u64::from(length))?;
        Ok(Buffer { address: UserAddress::new(address), length })
    }

    /// Checks that a range is inside.
    ///
    /// # Errors
    /// `EFAULT` when it is not.
    pub(crate) fn contains(&self, address: u64, length: u64) -> Result<(), Errno> {
        let end = address.checked_add(length).ok_or(Errno::FAULT)?;
        if address < self.address || end > self.address + self.length { Err(Errno::FAULT) } else { Ok(()) }
    }
}

/// The kernel pins a buffer's pages, for writing, when it is registered. Here they are made present and
/// writable; what cannot be written is refused.
pub(crate) fn fault_in(address: u64, length: u64) -> Result<(), Errno> {
    const PAGE: u64 = 4096;
    const MADV_POPULATE_READ: u32 = 22;
    const MADV_POPULATE_WRITE: u32 = 23;
    let first = address & !(PAGE - 1);
    let end = address.checked_add(length).and_then(|end| end.checked_next_multiple_of(PAGE));
    let bytes = end.ok_or(Errno::OVERFLOW)? - first;
    match ringer_sys::call::madvise(UserAddress::new(first), bytes, MADV_POPULATE_WRITE) {
        Ok(_) => Ok(()),
        // It cannot be asked for before Linux 5.14, nor of device memory; or the pages are not writable.
        Err(Errno::INVAL) => {
            match ringer_sys::call::madvise(UserAddress::new(first), bytes, MADV_POPULATE_READ) {
                Ok(_) => Err(Errno::FAULT),
                Err(_) => probe_pages(address, length),
            }
        }
        Err(_) => Err(Errno::FAULT),
    }
}

/// The kernel pins a buffer's pages when it is registered, so that a range which is not mapped is
/// refused then. One byte of the first and the last page is looked at, and of pages between.
fn probe_pages(address: u64, length: u64) -> Result<(), Errno> {
    const PAGE: u64 = 4096;
    const MOST_PROBES: u64 = 256;
    let first = address & !(PAGE - 1);
    let last = (address + length - 1) & !(PAGE - 1);
    let pages = (last - first) / PAGE + 1;
    let step = PAGE * pages.div_ceil(MOST_PROBES);
    let mut page = first;
    while page <= last {
        UserAddress::new(page.max(address)).read::<u8>()?;
        page += step;
    }
    UserAddress::new(last.max(address)).read::<u8>().map(drop)
}

/// The ring's table of registered buffers.
#[derive(Clone, Debug, Default)]
pub(crate) struct BufferTable {
    slots: Option<Vec<Option<Arc<RegisteredBuffer>>>>,
}

impl BufferTable {
    /// # Errors
    /// `EBUSY` when buffers are registered already.
    pub(crate) fn register(&mut self, slots: Vec<Option<Arc<RegisteredBuffer>>>) -> Result<(), Errno> {
        if self.slots.is_some() {
            return Err(Errno::BUSY);
        }
        self.slots = Some(slots);
        Ok(())
    }

    /// Puts buffers into the slots from `first` on, in a table that becomes as large as that needs. Returns what was
    /// there, to be dropped once no lock is held.
    pub(crate) fn replace_range(
        &mut self,
        first: u32,
        buffers: Vec<Option<Arc<RegisteredBuffer>>>,
    ) -> Vec<Option<Arc<RegisteredBuffer>>> {
        let slots = self.slots.get_or_insert_default();
        let first = first as usize;
        let end = first + buffers.len();
        if slots.len() < end {
            slots.resize(end, None);
        }
        slots.splice(first..end, buffers).collect()
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.slots.is_some()
    }

    /// Takes all buffers out, to be dropped once no lock is held.
    ///
    /// # Errors
    /// `ENXIO` when none are registered.
    pub(crate) fn unregister(&mut self) -> Result<Vec<Option<Arc<RegisteredBuffer>>>, Errno> {
        self.slots.take().ok_or(Errno::NXIO)
    }

    /// How many slots there are.
    ///
    /// # Errors
    /// `ENXIO` when none are registered.
    pub(crate) fn len(&self) -> Result<u32, Errno> {
        self.slots.as_ref().map(|slots| slots.len() as u32).ok_or(Errno::NXIO)
    }

    pub(crate) fn get(&self, index: u16) -> Option<Arc<RegisteredBuffer>> {
        self.slots.as_ref()?.get(usize::from(index))?.clone()
    }

    /// Puts a buffer into a slot. Returns what was there, to be dropped once no lock is held.
    ///
    /// # Errors
    /// `ENXIO` without a table, `EINVAL` beyond it.
    pub(crate) fn set(
        &mut self,
        index: u32,
        buffer: Option<Arc<RegisteredBuffer>>,
    ) -> Result<Option<Arc<RegisteredBuffer>>, Errno> {
        let slots = self.slots.as_mut().ok_or(Errno::NXIO)?;
        let slot = slots.get_mut(index as usize).ok_or(Errno::INVAL)?;
        Ok(std::mem::replace(slot, buffer))
    }
}
