//! Pages that the engine allocates and the program maps: rings of provided buffers with `IOU_PBUF_RING_MMAP`.

use core::ffi::c_void;
use core::ptr::NonNull;

use rustix::io::Errno;

use crate::program_mapping;

/// Zeroed shared pages. Dropping them unmaps the engine's mapping only; the program's stay.
#[derive(Debug)]
pub struct ProgramPages {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the pages are only looked at through guarded copies by their address.
unsafe impl Send for ProgramPages {}
// SAFETY: as above.
unsafe impl Sync for ProgramPages {}

impl ProgramPages {
    /// Maps as many pages as `bytes` need.
    ///
    /// # Errors
    /// `ENOMEM`, as `mmap.2`.
    pub fn allocate(bytes: usize) -> Result<Self, Errno> {
        let length = bytes.checked_next_multiple_of(rustix::param::page_size()).ok_or(Errno::NOMEM)?;
        Ok(Self { base: program_mapping::allocate(length)?, length })
    }

    /// Where the engine has them.
    pub fn address(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    /// Maps them for the program; all of them or none. Returns the address.
    ///
    /// # Errors
    /// Those of `mmap.2` for a ring descriptor.
    pub fn map(&self, address: u64, length: usize, protection: u32, flags: u32) -> Result<usize, Errno> {
        // SAFETY: the pages are a shared mapping of our own.
        unsafe {
            program_mapping::duplicate(self.base, self.length, true, address, length, protection, flags)
        }
    }
}

impl Drop for ProgramPages {
    fn drop(&mut self) {
        // SAFETY: our own mapping, to which nothing holds a reference.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast::<c_void>(), self.length) };
        debug_assert!(unmapped.is_ok(), "a whole mapping of our own can be unmapped");
    }
}
