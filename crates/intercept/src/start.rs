//! The constructor: everything that must be in place before the program runs.

use std::ffi::{CStr, CString, c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

use ringer_engine::System;
use ringer_sys::descriptor::reserved;
use ringer_sys::{Errno, seccomp};

use crate::{counting, descriptors, disposition, environment, handlers, next, process, tracing, trap};

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

/// The variable that says which filter a program was executed under, in a form that compares.
const FILTERED: &CStr = c"RINGER_FILTER";

/// Where the library's code lies.
static CODE_START: AtomicUsize = AtomicUsize::new(0);
static CODE_END: AtomicUsize = AtomicUsize::new(0);

/// Whether an instruction is the library's own.
pub fn is_our_code(address: usize) -> bool {
    // Relaxed: set by the constructor, before any other thread.
    address >= CODE_START.load(Ordering::Relaxed) && address < CODE_END.load(Ordering::Relaxed)
}

extern "C" fn start() {
    next::find_all();
    find_code();
    process::begin();
    counting::begin();
    tracing::begin();
    // Without handler or filter the program runs on, as if the library were not there, but for the interposed functions: those
    // serve a program that makes its calls through the C library. `ringer run` has looked before and said so.
    let _ = intercept();
    environment::remember(own_path());
}

fn intercept() -> Result<(), Errno> {
    let range = reserved();
    System::global().closes_are_told();
    descriptors::begin();
    // Before the program has threads.
    ringer_sys::descriptor::prepare();
    // Where it is not possible, every call takes the locks of its ring.
    let _ = ringer_engine::prepare_tenancies();
    disposition::begin()?;
    handlers::look();
    let bounds = format!("{}-{}-{}", range.rings.start, range.engine.start, range.engine.end);
    let same = environment::value(FILTERED).is_some_and(|value| value.to_bytes() == bounds.as_bytes());
    if !(same && trap::inherited()) {
        // SAFETY: the handler is in place, for as long as this program runs. The next one is executed with the library.
        unsafe { seccomp::install(&seccomp::interception::filter(range)) }?;
        if let Ok(bounds) = CString::new(bounds) {
            // SAFETY: both strings are NUL-terminated; no thread has been started.
            unsafe { libc::setenv(FILTERED.as_ptr(), bounds.as_ptr(), 1) };
        }
    }
    Ok(())
}

/// The path by which the dynamic linker found this library.
fn own_path() -> CString {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: the address is one of this library; a found name is a string that stays.
    unsafe {
        if libc::dladdr(start as *const c_void, info.as_mut_ptr()) == 0 {
            return CString::default();
        }
        let name = info.assume_init().dli_fname;
        if name.is_null() { CString::default() } else { CStr::from_ptr(name).to_owned() }
    }
}

fn find_code() {
    unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _size: usize, _data: *mut c_void) -> c_int {
        let here = start as *const () as usize;
        // SAFETY: the dynamic linker passes a valid object and its program headers.
        let (base, headers) = unsafe {
            let info = &*info;
            (
                info.dlpi_addr as usize,
                std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)),
            )
        };
        for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD) {
            let start = base + header.p_vaddr as usize;
            let end = start + header.p_memsz as usize;
            if header.p_flags & libc::PF_X != 0 && (start..end).contains(&here) {
                CODE_START.store(start, Ordering::Relaxed);
                CODE_END.store(end, Ordering::Relaxed);
                return 1;
            }
        }
        0
    }
    // SAFETY: the callback has the type that the function asks for.
    unsafe { libc::dl_iterate_phdr(Some(look), std::ptr::null_mut()) };
}
