//! Addresses of the program, and guarded copies from and to them.
//!
//! An address in an SQE may point anywhere. Two guards keep a bad one from crashing the program:
//!
//! * the fault guard: a plain copy whose faults are caught by a SIGSEGV/SIGBUS handler
//!   ([`recover_from_fault`] is what the handler calls). It costs nothing when the address is good.
//! * `process_vm_readv` on oneself: about 2 µs, needs no handler. Used until somebody declares by
//!   [`declare_fault_handler`] that the handler is in place.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::io::Errno;

/// An address in the program's memory. It may be wrong; only guarded copies and the kernel look at it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct UserAddress(u64);

/// Types whose every bit pattern is a value, so that they can be copied from anywhere.
///
/// # Safety
/// The type has no padding and no invalid bit pattern.
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($type:ty),*) => { $(
        // SAFETY: integers, and `repr(C)` structures of integers without padding.
        unsafe impl Plain for $type {}
    )* };
}
plain!(u8, u16, u32, u64, i32, i64, usize, ringer_abi::Params, ringer_abi::GetEventsArg);

// SAFETY: an array has no padding between its elements.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

impl UserAddress {
    /// Wraps an address out of an SQE or a system call argument.
    pub const fn new(address: u64) -> Self {
        Self(address)
    }

    /// The address of a buffer of our own, to hand to calls that take the program's addresses.
    pub fn of<T: ?Sized>(value: *const T) -> Self {
        Self(value.cast::<u8>() as u64)
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether it is the null address.
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// The address `bytes` further on; wraps, as the address may be nonsense anyway.
    #[must_use]
    pub const fn add(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }

    /// Reads one value.
    ///
    /// # Errors
    /// `EFAULT` when any byte of it is not readable.
    pub fn read<T: Plain>(self) -> Result<T, Errno> {
        let mut value = MaybeUninit::<T>::uninit();
        copy(self.0, value.as_mut_ptr() as u64, size_of::<T>(), Direction::FromUser)?;
        // SAFETY: the copy filled every byte, and every bit pattern of a `Plain` type is a value.
        Ok(unsafe { value.assume_init() })
    }

    /// Reads a value here, and then one elsewhere: one system call for both where there is no fault handler.
    ///
    /// # Errors
    /// `EFAULT` when any byte of them is not readable.
    pub fn read_then<A: Plain, B: Plain>(self, other: Self) -> Result<(A, B), Errno> {
        if has_fault_handler() {
            return Ok((self.read()?, other.read()?));
        }
        let mut first = MaybeUninit::<A>::uninit();
        let mut second = MaybeUninit::<B>::uninit();
        let (a, b) = (size_of::<A>() as u64, size_of::<B>() as u64);
        let ours = [[first.as_mut_ptr() as u64, a], [second.as_mut_ptr() as u64, b]];
        crate::call::copy_all_by_kernel(&ours, &[[self.0, a], [other.0, b]], false)?;
        // SAFETY: the copy filled every byte of both, and every bit pattern of a `Plain` type is a value.
        Ok(unsafe { (first.assume_init(), second.assume_init()) })
    }

    /// Writes one value.
    ///
    /// # Errors
    /// `EFAULT` when any byte of it is not writable.
    pub fn write<T: Plain>(self, value: T) -> Result<(), Errno> {
        copy((&raw const value) as u64, self.0, size_of::<T>(), Direction::ToUser)
    }

    /// Reads `count` values.
    ///
    /// # Errors
    /// `EFAULT` when any of them is not readable.
    pub fn read_vec<T: Plain>(self, count: usize) -> Result<Vec<T>, Errno> {
        let mut values = Vec::<T>::with_capacity(count);
        copy(self.0, values.as_mut_ptr() as u64, count * size_of::<T>(), Direction::FromUser)?;
        // SAFETY: the copy filled `count` elements of a `Plain` type, and the capacity is at least that.
        unsafe { values.set_len(count) };
        Ok(values)
    }

    /// Reads into a buffer.
    ///
    /// # Errors
    /// `EFAULT` when any byte is not readable.
    pub fn read_into(self, buffer: &mut [u8]) -> Result<(), Errno> {
        copy(self.0, buffer.as_mut_ptr() as u64, buffer.len(), Direction::FromUser)
    }

    /// Writes a buffer.
    ///
    /// # Errors
    /// `EFAULT` when any byte is not writable.
    pub fn write_from(self, buffer: &[u8]) -> Result<(), Errno> {
        copy(buffer.as_ptr() as u64, self.0, buffer.len(), Direction::ToUser)
    }

    /// Reads a NUL-terminated path.
    ///
    /// # Errors
    /// `EFAULT` when it is not readable, `ENAMETOOLONG` beyond `PATH_MAX` (4096 with the NUL),
    /// `ENOMEM` without memory for it.
    pub fn read_path(self) -> Result<std::ffi::CString, Errno> {
        const PATH_MAX: usize = 4096;
        const STEP: usize = 256;
        let mut bytes = Vec::new();
        while bytes.len() < PATH_MAX {
            // A step ends at a boundary of its own size, so that it never touches a page the string does not reach.
            let here = self.add(bytes.len() as u64);
            let step = STEP - (here.0 as usize % STEP);
            let mut chunk = [0_u8; STEP];
            here.read_into(&mut chunk[..step])?;
            if let Some(end) = chunk[..step].iter().position(|byte| *byte == 0) {
                bytes.extend_from_slice(&chunk[..end]);
                if bytes.len() >= PATH_MAX {
                    break;
                }
                // `position` found the first NUL, so that there is none inside.
                return std::ffi::CString::new(bytes).map_err(|_| Errno::INVAL);
            }
            bytes.extend_from_slice(&chunk[..step]);
        }
        Err(Errno::NAMETOOLONG)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    FromUser,
    ToUser,
}

/// The process's handler of SIGSEGV and SIGBUS, which calls [`recover_from_fault`]. 0: there is none.
static FAULT_HANDLER: AtomicUsize = AtomicUsize::new(0);

/// Declares that the process's SIGSEGV and SIGBUS handler, which is at this address, calls [`recover_from_fault`].
///
/// # Safety
/// It does, for as long as the process lives, on every thread that runs the engine.
pub unsafe fn declare_fault_handler(address: usize) {
    // Relaxed: the handlers were installed by this thread or before the other one was made.
    FAULT_HANDLER.store(address, Ordering::Relaxed);
}

/// Whether somebody declared so.
#[inline]
pub fn has_fault_handler() -> bool {
    fault_handler() != 0
}

/// Where the handler is that was declared; 0 for none.
#[inline]
pub(crate) fn fault_handler() -> usize {
    // Relaxed: as in `declare_fault_handler`.
    FAULT_HANDLER.load(Ordering::Relaxed)
}

/// Copies from a mapping of ours, whose pages may be gone, to the program's memory. Only where there is a fault handler.
pub(crate) fn copy_between(from: u64, to: u64, bytes: usize) -> Result<(), Errno> {
    if to.checked_add(bytes as u64).is_none_or(|end| end > USER_SPACE_END) {
        return Err(Errno::FAULT);
    }
    guarded::copy(from, to, bytes)
}

/// Addresses from the end of which the whole range would leave the user half of the address space.
const USER_SPACE_END: u64 = 1 << 47;

fn copy(from: u64, to: u64, bytes: usize, direction: Direction) -> Result<(), Errno> {
    if bytes == 0 {
        return Ok(());
    }
    let user = if direction == Direction::FromUser { from } else { to };
    if user.checked_add(bytes as u64).is_none_or(|end| end > USER_SPACE_END) {
        return Err(Errno::FAULT);
    }
    if has_fault_handler() {
        guarded::copy(from, to, bytes)
    } else {
        let (ours, theirs) = if direction == Direction::FromUser { (to, from) } else { (from, to) };
        crate::call::copy_by_kernel(ours, theirs, bytes, direction == Direction::ToUser)
    }
}

/// If the fault happened inside the guarded copy, returns where execution must go on.
///
/// To be called by the SIGSEGV and SIGBUS handlers with the interrupted instruction pointer.
/// `None`: the fault is the program's own.
pub fn recover_from_fault(instruction_pointer: u64) -> Option<u64> {
    guarded::recovery_for(instruction_pointer)
}

#[cfg(target_arch = "x86_64")]
mod guarded {
    use super::Errno;

    std::arch::global_asm!(
        ".pushsection .text.ringer_guarded_copy,\"ax\",@progbits",
        ".p2align 4",
        "ringer_guarded_copy_start:",
        // rdi: to, rsi: from, rdx: bytes. Returns 0, or 1 after a fault.
        "mov rcx, rdx",
        "rep movsb",
        "xor eax, eax",
        "ret",
        "ringer_guarded_copy_recovery:",
        "mov eax, 1",
        "ret",
        ".popsection",
    );

    unsafe extern "C" {
        fn ringer_guarded_copy_start(to: u64, from: u64, bytes: usize) -> u32;
        fn ringer_guarded_copy_recovery();
    }

    pub(super) fn copy(from: u64, to: u64, bytes: usize) -> Result<(), Errno> {
        // The copy is made of single byte moves in assembly, so that a racing write by the program is not undefined here.
        // SAFETY: one of the two ranges is a live object of the caller, exclusively held when written, or its mapping of a file;
        // the other is the program's. A fault in either is turned into a return by the declared handlers.
        let faulted = unsafe { ringer_guarded_copy_start(to, from, bytes) };
        if faulted == 0 { Ok(()) } else { Err(Errno::FAULT) }
    }

    pub(super) fn recovery_for(instruction_pointer: u64) -> Option<u64> {
        let start = ringer_guarded_copy_start as *const () as u64;
        let recovery = ringer_guarded_copy_recovery as *const () as u64;
        (start..recovery).contains(&instruction_pointer).then_some(recovery)
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod guarded {
    use super::Errno;

    pub(super) fn copy(_from: u64, _to: u64, _bytes: usize) -> Result<(), Errno> {
        Err(Errno::NOSYS)
    }

    pub(super) fn recovery_for(_instruction_pointer: u64) -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_addresses_are_copied_and_bad_ones_fault() {
        let mut value = 7_u64;
        let here = UserAddress::of(&raw mut value);
        assert_eq!(here.read::<u64>(), Ok(7));
        here.write(9_u64).expect("a local variable is writable");
        assert_eq!(value, 9);
        assert_eq!(UserAddress::new(8).read::<u64>(), Err(Errno::FAULT));
        assert_eq!(here.read_then::<u64, u32>(here), Ok((9, 9)));
        assert_eq!(here.read_then::<u64, u32>(UserAddress::new(8)), Err(Errno::FAULT));
        assert_eq!(UserAddress::new(8).read_then::<u64, u32>(here), Err(Errno::FAULT));
        assert_eq!(UserAddress::new(8).write(1_u32), Err(Errno::FAULT));
        assert_eq!(UserAddress::new(u64::MAX - 3).read::<u64>(), Err(Errno::FAULT));
        assert_eq!(UserAddress::new(0xffff_8000_0000_0000).read::<u8>(), Err(Errno::FAULT));
    }

    #[test]
    fn paths_end_at_their_nul_and_are_bounded() {
        let path = std::ffi::CString::new("/tmp/x").expect("no NUL inside");
        assert_eq!(UserAddress::of(path.as_ptr()).read_path(), Ok(path));
        let long = vec![b'a'; 5000];
        assert_eq!(UserAddress::of(long.as_ptr()).read_path(), Err(Errno::NAMETOOLONG));
        assert_eq!(UserAddress::new(0).read_path(), Err(Errno::FAULT));
    }
}
