//! Counters that `ringer run --summary` shares with every process it starts.

use std::ffi::CStr;
use std::ptr::null_mut;

use ringer_engine::{Counters, System};
use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::mm::{MapFlags, ProtFlags, mmap};

use crate::environment;

/// Counts in the file that `RINGER_COUNTERS` names, if it is there and of the right size.
pub fn begin() {
    if let Some(path) = environment::value(c"RINGER_COUNTERS")
        && let Some(counters) = map(path)
    {
        System::global().count_in(counters);
    }
}

fn map(path: &CStr) -> Option<&'static Counters> {
    let file = open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()?;
    if fstat(&file).ok()?.st_size != size_of::<Counters>() as i64 {
        return None;
    }
    // SAFETY: a new mapping at an address of the kernel's choice.
    let address = unsafe {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        mmap(null_mut(), size_of::<Counters>(), access, MapFlags::SHARED, &file, 0)
    };
    // SAFETY: the mapping is never unmapped, page-aligned, as long as the counters, and they are atomics for which
    // any bytes are values. The command seals the file's size.
    address.ok().map(|address| unsafe { &*address.cast_const().cast::<Counters>() })
}
