//! What `mmap.2` of a ring descriptor gives a program: a second mapping of the engine's pages.
//!
//! No descriptor is needed for it: `mremap` with an old size of zero makes a new mapping of the
//! same shared pages (`mremap.2`).

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use linux_raw_sys::general as uapi;
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags};

/// What decides where the mapping goes: handed to the kernel as it is.
const PLACEMENT: u32 = uapi::MAP_FIXED | uapi::MAP_FIXED_NOREPLACE | MAP_32BIT;
/// Only x86 has it.
const MAP_32BIT: u32 = if cfg!(target_arch = "x86_64") { 0x40 } else { 0 };
/// What the kernel refuses for a ring descriptor.
const REFUSED: u32 = uapi::MAP_GROWSDOWN | uapi::MAP_HUGETLB;

/// No program has more address space than this.
const LARGEST: usize = 1 << 47;

/// Maps new pages of a shared mapping, of which [`duplicate`] can make a second.
///
/// # Errors
/// `ENOMEM`, as `mmap.2`.
pub(crate) fn allocate(length: usize) -> Result<NonNull<u8>, Errno> {
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nobody.
    let base = unsafe {
        rustix::mm::mmap_anonymous(
            ptr::null_mut(),
            length,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
        )
    }?;
    NonNull::new(base.cast()).ok_or(Errno::NOMEM)
}

/// Maps the `bytes` at `start` once more. Arguments and answers as those of `mmap.2` for a ring
/// descriptor on Linux 6.18, found by trying:
///
/// - an address of the program's choice is refused, `MAP_FIXED` or not: `EINVAL`;
/// - executable pages are refused: `EPERM`;
/// - a length beyond the area is granted, what lies behind the area cannot be touched (`SIGSEGV` here,
///   `SIGBUS` in the kernel);
/// - less than the `whole` array of SQEs is refused: `EFAULT`; of the rings a part is granted;
/// - `MAP_PRIVATE` is granted, but as if it were `MAP_SHARED`; in the kernel the program's writes would
///   stay its own. No program can use a ring that way.
///
/// # Safety
/// The `bytes` at `start` are whole pages of a shared mapping.
pub(crate) unsafe fn duplicate(
    start: NonNull<u8>,
    bytes: usize,
    whole: bool,
    address: u64,
    length: usize,
    protection: u32,
    flags: u32,
) -> Result<usize, Errno> {
    let page = rustix::param::page_size();
    let typed =
        matches!(flags & uapi::MAP_TYPE, uapi::MAP_SHARED | uapi::MAP_PRIVATE | uapi::MAP_SHARED_VALIDATE);
    if length == 0 || !typed || flags & REFUSED != 0 {
        return Err(Errno::INVAL);
    }
    let length = length.checked_next_multiple_of(page).ok_or(Errno::NOMEM)?;
    if length > LARGEST {
        return Err(Errno::NOMEM);
    }
    // A hint inside the first page counts as no hint.
    let fixed = flags & (uapi::MAP_FIXED | uapi::MAP_FIXED_NOREPLACE) != 0;
    if address >= page as u64 || fixed && address != 0 {
        return Err(Errno::INVAL);
    }

    // Take the place first: the kernel finds or checks it, and nobody can get in between.
    let place = match flags & PLACEMENT {
        0 => reserve_like(start, length)?,
        // SAFETY: without MAP_FIXED a new mapping disturbs nobody; with it, at address zero only, the program asks for it.
        placement => unsafe { reserve(0, length, placement) }?,
    };
    // SAFETY: `start` is the caller's promise, and `place` was mapped just now for this purpose.
    let filled = unsafe { fill(start, bytes.min(length), place, protection) }
        .and(if whole && length < bytes { Err(Errno::FAULT) } else { Ok(()) });
    if let Err(error) = filled {
        give_up(place, length);
        return Err(error);
    }
    if flags & uapi::MAP_POPULATE != 0 && protection & uapi::PROT_WRITE != 0 {
        // SAFETY: the advice changes no contents. It is a wish, and kernels before 5.14 do not know it.
        let _ = unsafe { rustix::mm::madvise(place, bytes.min(length), Advice::LinuxPopulateWrite) };
    }
    Ok(place as usize)
}

/// Makes a second mapping, for the engine, of pages that the program has.
///
/// # Errors
/// `EINVAL` for private memory, `ENOMEM`: as `mremap.2`.
///
/// # Safety
/// At `theirs` are `length` bytes of whole pages that the program may write to.
pub(crate) unsafe fn second(theirs: NonNull<u8>, length: usize) -> Result<NonNull<u8>, Errno> {
    let place = reserve_like(theirs, length)?;
    // SAFETY: the caller's promise, and a place that was mapped just now for this purpose.
    let filled = unsafe { fill(theirs, length, place, uapi::PROT_READ | uapi::PROT_WRITE) };
    match filled {
        Ok(()) => NonNull::new(place.cast()).ok_or(Errno::NOMEM),
        Err(error) => {
            give_up(place, length);
            Err(error)
        }
    }
}

/// Takes a place for a second mapping of what is mapped at `first`.
///
/// Some processors guess by the lower 32 bits of an address in which way of the cache its line is. A line that is looked at by two
/// addresses in turn is found late each time, unless these bits are the same: measured on AMD's Zen 5, a load takes 3.6 ns in place of 1.2.
fn reserve_like(first: NonNull<u8>, length: usize) -> Result<*mut c_void, Errno> {
    const DISTANCE: usize = 1 << 32;
    /// A program may map the two queues each by itself.
    const ATTEMPTS: usize = 4;
    let first = first.as_ptr() as usize;
    for index in 1..=ATTEMPTS {
        let Some(address) = first.checked_sub(index * DISTANCE) else { break };
        // SAFETY: a new mapping where there is none.
        match unsafe { reserve(address, length, uapi::MAP_FIXED_NOREPLACE) } {
            // There is something; or the system keeps low addresses for itself.
            Err(Errno::EXIST | Errno::PERM) => {}
            // A kernel before 4.17 takes the address for a wish.
            place => return place,
        }
    }
    // SAFETY: a new mapping at an address of the kernel's choice disturbs nobody.
    unsafe { reserve(0, length, 0) }
}

/// Takes a place for a mapping.
///
/// # Safety
/// What `placement` has replaced is nobody's.
unsafe fn reserve(address: usize, length: usize, placement: u32) -> Result<*mut c_void, Errno> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::from_bits_retain(placement);
    // SAFETY: the caller's promise.
    unsafe { rustix::mm::mmap_anonymous(address as *mut c_void, length, ProtFlags::empty(), flags) }
}

/// Gives back a place that was taken and not handed out.
fn give_up(place: *mut c_void, length: usize) {
    // SAFETY: the callers took it just now, and nobody else knows of it.
    let unmapped = unsafe { rustix::mm::munmap(place, length) };
    debug_assert!(unmapped.is_ok(), "a whole mapping of our own can be unmapped");
}

/// Puts a second mapping of the pages at `start` at `place`.
///
/// # Safety
/// `start` leads to `bytes` of a shared mapping; `place` to a mapping of at least as many that nobody uses.
unsafe fn fill(start: NonNull<u8>, bytes: usize, place: *mut c_void, protection: u32) -> Result<(), Errno> {
    if protection & uapi::PROT_EXEC != 0 {
        return Err(Errno::PERM);
    }
    // SAFETY: with an old size of zero the old mapping stays as it is; the new one replaces what the caller gave for it.
    unsafe {
        rustix::mm::mremap_fixed(start.as_ptr().cast::<c_void>(), 0, bytes, MremapFlags::MAYMOVE, place)
    }?;
    let asked = protection & (uapi::PROT_READ | uapi::PROT_WRITE);
    if asked != uapi::PROT_READ | uapi::PROT_WRITE {
        // SAFETY: the new mapping only, which nobody uses yet.
        unsafe { rustix::mm::mprotect(place, bytes, MprotectFlags::from_bits_retain(asked)) }?;
    }
    Ok(())
}
