//! The handlers of SIGSEGV and SIGBUS, in a process of their own.

use std::ffi::{c_int, c_void};
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use ringer_sys::signal::{Action, SA_SIGINFO, SIGBUS, SIGSEGV, set_action};
use ringer_sys::{Errno, UserAddress, fault, user};

static CALLS: AtomicU32 = AtomicU32::new(0);
static PAGE: AtomicUsize = AtomicUsize::new(0);
const BYTES: usize = 4096;

/// Makes the page accessible: what faulted goes on.
extern "C" fn open_page(_signal: c_int, _info: *mut c_void, _context: *mut c_void) {
    CALLS.fetch_add(1, Ordering::Relaxed);
    let page = PAGE.load(Ordering::Relaxed) as *mut c_void;
    // SAFETY: a page of this test's own.
    assert_eq!(unsafe { libc::mprotect(page, BYTES, libc::PROT_READ | libc::PROT_WRITE) }, 0);
}

/// How a child of fork ends that runs `body`.
fn in_child(body: impl FnOnce()) -> c_int {
    // SAFETY: the child only runs `body`, which takes no lock, and exits.
    match unsafe { libc::fork() } {
        0 => {
            body();
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) }
        }
        child => {
            let mut status = 0;
            // SAFETY: a child of this test; it ends by itself.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            status
        }
    }
}

#[test]
fn guarded_copies_recover_and_other_faults_go_to_the_handler_before() {
    // SAFETY: makes a page that nobody may touch.
    let page = unsafe {
        libc::mmap(null_mut(), BYTES, libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    assert_ne!(page, libc::MAP_FAILED);
    PAGE.store(page as usize, Ordering::Relaxed);
    let before = Action::new(open_page as *const () as usize, SA_SIGINFO, 0);
    // SAFETY: the handler changes one page.
    unsafe { set_action(SIGSEGV, &before) }.expect("SIGSEGV has handlers");
    // Rust's runtime has a handler there.
    // SAFETY: the default action is no handler.
    unsafe { set_action(SIGBUS, &Action::default()) }.expect("SIGBUS has handlers");

    assert!(!user::has_fault_handler());
    for _ in 0..2 {
        fault::install_handlers().expect("signals have handlers");
        assert!(user::has_fault_handler());
    }

    let here = UserAddress::of(page.cast_const());
    assert_eq!(here.read::<u32>(), Err(Errno::FAULT));
    assert_eq!(here.write(7_u32), Err(Errno::FAULT));
    assert_eq!(UserAddress::new(8).read_path(), Err(Errno::FAULT));
    assert_eq!(CALLS.load(Ordering::Relaxed), 0, "faults of guarded copies are nobody's");

    // SAFETY: the handler makes the page accessible.
    unsafe { page.cast::<u32>().write_volatile(9) };
    assert_eq!(CALLS.load(Ordering::Relaxed), 1, "a fault of the program is its handler's");
    assert_eq!(here.read::<u32>(), Ok(9));

    // SAFETY: raises a signal that has a handler.
    assert_eq!(unsafe { libc::raise(SIGSEGV) }, 0);
    assert_eq!(CALLS.load(Ordering::Relaxed), 2, "so is a signal that somebody sends");

    // SIGBUS had no handler: the default action ends the process, by a fault as by a signal.
    let sent = in_child(|| {
        // SAFETY: ends the child.
        unsafe { libc::raise(SIGBUS) };
    });
    assert!(libc::WIFSIGNALED(sent) && libc::WTERMSIG(sent) == SIGBUS, "status {sent:#x}");
    let file = tempfile();
    // SAFETY: maps a page of a file that has none.
    let beyond =
        unsafe { libc::mmap(null_mut(), BYTES, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    assert_ne!(beyond, libc::MAP_FAILED);
    assert_eq!(UserAddress::of(beyond.cast_const()).read::<u8>(), Err(Errno::FAULT));
    let faulted = in_child(|| {
        // SAFETY: ends the child.
        unsafe { beyond.cast::<u8>().read_volatile() };
    });
    assert!(libc::WIFSIGNALED(faulted) && libc::WTERMSIG(faulted) == SIGBUS, "status {faulted:#x}");
}

/// An empty file without a name.
fn tempfile() -> std::fs::File {
    use std::os::fd::FromRawFd;
    // SAFETY: the name is a string; the descriptor is this function's own.
    unsafe {
        let fd = libc::memfd_create(c"empty".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0);
        std::fs::File::from_raw_fd(fd)
    }
}
