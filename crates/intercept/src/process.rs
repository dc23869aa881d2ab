//! Which process this is: forks and vforks that nobody announced.
//!
//! A page with `MADV_WIPEONFORK` holds the process number. The kernel zeroes it in a child with memory of its own,
//! however it was made; a child that borrows its parent's memory (`vfork`) sees its parent's number.

use std::cell::Cell;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use ringer_engine::System;
use ringer_sys::signal::{How, SignalSet, change_mask};
use ringer_sys::{UserAddress, call};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};

use crate::dispatch::has_rings;
use crate::guest::ENGINE_MASK;
use crate::{disposition, guest, handlers};

static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new(std::ptr::null_mut());

/// Marks this process, and has `fork` mark its children. Called once, by the constructor.
pub fn begin() {
    // SAFETY: a new mapping at an address of the kernel's choice, never unmapped.
    let page = unsafe {
        mmap_anonymous(std::ptr::null_mut(), 4096, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    };
    if let Ok(page) = page {
        // SAFETY: the mapping just made.
        if unsafe { madvise(page, 4096, Advice::LinuxWipeOnFork) }.is_ok() {
            PAGE.store(page.cast(), Ordering::Relaxed);
        }
    }
    mark();
    // SAFETY: the handlers are functions that may run in any child. The allocator's handlers come first, so that the
    // allocator works in ours.
    unsafe {
        libc::atexit(about_to_exit);
        dlmalloc::enable_alloc_after_fork();
        libc::pthread_atfork(Some(about_to_fork), Some(has_forked), Some(was_forked));
    }
}

fn page() -> Option<&'static AtomicU32> {
    // SAFETY: null, or the page of `begin`, which is zeroed, aligned and never unmapped.
    unsafe { PAGE.load(Ordering::Relaxed).as_ref() }
}

fn number() -> u32 {
    rustix::process::getpid().as_raw_nonzero().get().cast_unsigned()
}

fn mark() {
    if let Some(page) = page() {
        page.store(number(), Ordering::Relaxed);
    }
}

extern "C" fn about_to_exit() {
    if !borrows_memory() {
        guest::enter(|_| System::global().at_exit());
    }
}

/// The process is about to execute a file, if that can be. `None`: a file that is looked for elsewhere.
pub fn about_to_execute(path: Option<UserAddress>) {
    const AT_FDCWD: i32 = -100;
    const EXECUTABLE: u32 = 1;
    let can_be = path.is_none_or(|path| call::faccessat(AT_FDCWD, path, EXECUTABLE).is_ok());
    if has_rings() && can_be && !borrows_memory() {
        guest::enter(|_| System::global().at_exec());
    }
}

thread_local! {
    /// The mask of a thread that forks.
    static MASK: Cell<SignalSet> = const { Cell::new(0) };
}

/// The engine has locks from here on, until one of the next two: no handler of the program may run.
extern "C" fn about_to_fork() {
    MASK.set(change_mask(How::Set, ENGINE_MASK));
    guest::enter(|_| System::global().before_fork());
}

extern "C" fn has_forked() {
    guest::enter(|_| System::global().after_fork_in_parent());
    change_mask(How::Set, MASK.get());
}

extern "C" fn was_forked() {
    forked();
    change_mask(How::Set, MASK.get());
}

fn forked() {
    mark();
    disposition::forget_changes();
    handlers::forget_changes();
    System::global().after_fork_in_child();
}

/// Tells the engine when this is a child that was made without `fork` of the C library.
pub fn notice_fork() {
    if page().is_some_and(|page| page.load(Ordering::Relaxed) == 0) {
        forked();
    }
}

/// Whether this process runs in the memory of its parent, as after `vfork`: the engine's state is not its own then.
pub fn borrows_memory() -> bool {
    page().is_some_and(|page| {
        let marked = page.load(Ordering::Relaxed);
        marked != 0 && marked != number()
    })
}
