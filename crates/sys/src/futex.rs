//! Waiting for words of the program's memory.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

use rustix::io::Errno;

use crate::{UserAddress, call};

/// A word to wait for, as `futex_waitv(2)` takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct FutexWord {
    /// What the word must be for the wait to begin.
    pub value: u64,
    /// Where the word is.
    pub address: UserAddress,
    /// `FUTEX2_` bits.
    pub flags: u32,
    reserved: u32,
}

/// `FUTEX2_PRIVATE`: the word is in memory of this process alone.
pub const PRIVATE: u32 = linux_raw_sys::general::FUTEX2_PRIVATE;
/// `FUTEX2_SIZE_U32`.
pub const SIZE_32: u32 = linux_raw_sys::general::FUTEX2_SIZE_U32;
/// The most words of one wait (`FUTEX_WAITV_MAX`).
pub const MOST_WORDS: usize = 128;
/// A wake with any mask wakes it (`FUTEX_BITSET_MATCH_ANY`).
pub const ANY: u32 = u32::MAX;

const CLOCK_MONOTONIC: u32 = 1;
const WAIT_BITSET: u32 = 9;
const WAKE_BITSET: u32 = 10;
const CMP_REQUEUE: u32 = 4;
/// `FUTEX_PRIVATE_FLAG` of the old call has the value of `FUTEX2_PRIVATE`.
const OLD_PRIVATE: u32 = 128;

impl FutexWord {
    /// A word of the program.
    pub const fn new(address: UserAddress, value: u64, flags: u32) -> Self {
        Self { value, address, flags, reserved: 0 }
    }

    /// A word of the engine.
    pub fn own(word: &AtomicU32, value: u32) -> Self {
        Self::new(UserAddress::of(word), value.into(), SIZE_32 | PRIVATE)
    }
}

/// Waits until one of several words is woken, with any mask. Returns its place; the last one's if there are several.
///
/// # Errors
/// `EAGAIN` when a word has another value, `ETIMEDOUT` at the deadline of the monotonic clock, `EFAULT` and `EINVAL` for a bad
/// word, `ENOSYS` before Linux 5.16.
pub fn wait_for_several(words: &[FutexWord], deadline: Option<Duration>) -> Result<usize, Errno> {
    let time = deadline.map(call::timespec);
    let timeout = time.as_ref().map_or(UserAddress::new(0), |time| UserAddress::of(time));
    known(call::futex_waitv(UserAddress::of(words.as_ptr()), words.len(), 0, timeout, CLOCK_MONOTONIC))
}

/// Waits until one word is woken by a mask that has a bit in common with `mask`.
///
/// # Errors
/// As for [`wait_for_several`].
pub fn wait_for_one(word: &FutexWord, mask: u32, deadline: Duration) -> Result<(), Errno> {
    let time = call::timespec(deadline);
    let timeout = UserAddress::of(&time);
    let mask_word = u64::from(mask);
    let new = call::futex_wait(word.address, word.value, mask_word, word.flags, timeout, CLOCK_MONOTONIC);
    let result = match known(new) {
        Err(Errno::NOSYS) if is_for_old_call(word.flags) => {
            let operation = WAIT_BITSET | word.flags & OLD_PRIVATE;
            call::futex(word.address, operation, word.value as u32, timeout.get(), UserAddress::new(0), mask)
        }
        // What only a newer kernel knows is not known here.
        Err(Errno::NOSYS) => Err(Errno::INVAL),
        result => result,
    };
    result.map(drop)
}

/// Wakes up to `count` of those that wait for a word. Returns how many there were.
///
/// # Errors
/// `EFAULT` and `EINVAL` for a bad word, `EINVAL` without a mask.
pub fn wake(address: UserAddress, mask: u32, count: i32, flags: u32) -> Result<usize, Errno> {
    match known(call::futex_wake(address, mask.into(), count, flags)) {
        Err(Errno::NOSYS) if is_for_old_call(flags) => {
            // The old call takes 0 for 1.
            if count == 0 {
                if mask == 0 || !address.get().is_multiple_of(4) {
                    return Err(Errno::INVAL);
                }
                return Ok(0);
            }
            let operation = WAKE_BITSET | flags & OLD_PRIVATE;
            call::futex(address, operation, count as u32, 0, UserAddress::new(0), mask)
        }
        Err(Errno::NOSYS) => Err(Errno::INVAL),
        result => result,
    }
}

/// Wakes the thread that waits for a word of the engine.
pub fn wake_own(word: &AtomicU32) {
    // It can only fail for a bad address.
    let _ = wake(UserAddress::of(word), ANY, 1, SIZE_32 | PRIVATE);
}

/// Whether a thread waits for a word. False if the word has another value.
pub fn has_waiter(word: &FutexWord) -> bool {
    // Nobody is woken and one is moved, from the word to itself: it is counted. An error means that there is none.
    let (address, operation) = (word.address, CMP_REQUEUE | word.flags & OLD_PRIVATE);
    call::futex(address, operation, 0, 1, address, word.value as u32).is_ok_and(|count| count > 0)
}

/// Whether the call of before Linux 6.7 can have these flags.
const fn is_for_old_call(flags: u32) -> bool {
    flags & !PRIVATE == SIZE_32
}

/// A filter of system calls may refuse a call that it does not know by another errno than a kernel would.
fn known(result: Result<usize, Errno>) -> Result<usize, Errno> {
    result.map_err(|errno| if errno == Errno::PERM { Errno::NOSYS } else { errno })
}
