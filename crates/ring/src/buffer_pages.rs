//! Pages for a ring of provided buffers that the program maps (`IOU_PBUF_RING_MMAP`).

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};

use crate::program_mapping;

/// Zeroed shared pages. Dropping them unmaps the engine's mapping only.
#[derive(Debug)]
pub struct BufferPages {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the pages are reached by their address and guarded copies only, which any thread may make.
unsafe impl Send for BufferPages {}
// SAFETY: as above.
unsafe impl Sync for BufferPages {}

impl BufferPages {
    /// Maps pages for `bytes` bytes.
    ///
    /// # Errors
    /// `ENOMEM`, as `mmap.2`.
    pub fn allocate(bytes: usize) -> Result<Self, Errno> {
        let length = bytes.next_multiple_of(rustix::param::page_size());
        // SAFETY: a new mapping at an address of the kernel's choice disturbs nobody.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
            )
        }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?;
        Ok(Self { base, length })
    }

    /// Where the engine has them.
    pub fn address(&self) -> u64 {
        self.base.as_ptr() as u64
    }

    /// Maps them for the program, as `mmap.2` of a ring descriptor does. Returns the address.
    ///
    /// # Errors
    /// As [`ServingRing::map`](crate::ServingRing::map).
    pub fn map(&self, address: u64, length: usize, protection: u32, flags: u32) -> Result<usize, Errno> {
        // SAFETY: whole pages of our own shared mapping.
        unsafe {
            program_mapping::duplicate(self.base, self.length, false, address, length, protection, flags)
        }
    }
}

impl Drop for BufferPages {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody has a reference into.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast::<c_void>(), self.length) };
        debug_assert!(unmapped.is_ok(), "a whole mapping of our own can be unmapped");
    }
}
