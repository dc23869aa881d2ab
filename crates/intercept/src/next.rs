//! The functions behind the interposed ones: what the program would call without this library.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::{epoll_event, fd_set, nfds_t, off_t, pid_t, pollfd, sigset_t, size_t, timespec, timeval};

/// A function of a library after this one, usually of the C library.
pub struct Next<F> {
    name: &'static CStr,
    address: AtomicUsize,
    _type: PhantomData<F>,
}

impl<F: Copy> Next<F> {
    const fn new(name: &'static CStr) -> Self {
        assert!(size_of::<F>() == size_of::<usize>());
        Self { name, address: AtomicUsize::new(0), _type: PhantomData }
    }

    /// The function, if there is one.
    pub fn find(&self) -> Option<F> {
        // Relaxed: the address is all there is, and whoever looks it up finds the same.
        let mut address = self.address.load(Ordering::Relaxed);
        if address == 0 {
            // SAFETY: the name is NUL-terminated.
            address = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) } as usize;
            self.address.store(address, Ordering::Relaxed);
        }
        // SAFETY: `F` is a function pointer type of the size of an address (asserted), and the symbol is a function of that
        // type by the C library's headers.
        (address != 0).then(|| unsafe { std::mem::transmute_copy::<usize, F>(&address) })
    }
}

macro_rules! next {
    ($($name:ident: fn($($argument:ty),*) -> $result:ty;)*) => {
        $(
            #[allow(non_upper_case_globals, reason = "the names are those of the functions")]
            pub static $name: Next<unsafe extern "C" fn($($argument),*) -> $result> = {
                // The literal is made here and holds no other NUL.
                match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => Next::new(name),
                    Err(_) => unreachable!(),
                }
            };
        )*

        /// Looks all of them up, so that none is looked up in a signal handler later.
        pub fn find_all() {
            $($name.find();)*
        }
    };
}

type Strings = *const *const c_char;

next! {
    close: fn(c_int) -> c_int;
    fclose: fn(*mut libc::FILE) -> c_int;
    close_range: fn(c_uint, c_uint, c_int) -> c_int;
    dup: fn(c_int) -> c_int;
    dup2: fn(c_int, c_int) -> c_int;
    dup3: fn(c_int, c_int, c_int) -> c_int;
    fcntl: fn(c_int, c_int, usize) -> c_int;
    fcntl64: fn(c_int, c_int, usize) -> c_int;
    mmap: fn(*mut c_void, size_t, c_int, c_int, c_int, off_t) -> *mut c_void;
    epoll_ctl: fn(c_int, c_int, c_int, *mut epoll_event) -> c_int;

    poll: fn(*mut pollfd, nfds_t, c_int) -> c_int;
    ppoll: fn(*mut pollfd, nfds_t, *const timespec, *const sigset_t) -> c_int;
    select: fn(c_int, *mut fd_set, *mut fd_set, *mut fd_set, *mut timeval) -> c_int;
    pselect: fn(c_int, *mut fd_set, *mut fd_set, *mut fd_set, *const timespec, *const sigset_t) -> c_int;
    epoll_wait: fn(c_int, *mut epoll_event, c_int, c_int) -> c_int;
    epoll_pwait: fn(c_int, *mut epoll_event, c_int, c_int, *const sigset_t) -> c_int;
    epoll_pwait2: fn(c_int, *mut epoll_event, c_int, *const timespec, *const sigset_t) -> c_int;

    sigaction: fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int;
    signal: fn(c_int, usize) -> usize;
    bsd_signal: fn(c_int, usize) -> usize;
    ssignal: fn(c_int, usize) -> usize;
    sysv_signal: fn(c_int, usize) -> usize;
    __sysv_signal: fn(c_int, usize) -> usize;
    sigset: fn(c_int, usize) -> usize;
    pthread_setcanceltype: fn(c_int, *mut c_int) -> c_int;
    sigprocmask: fn(c_int, *const sigset_t, *mut sigset_t) -> c_int;
    pthread_sigmask: fn(c_int, *const sigset_t, *mut sigset_t) -> c_int;
    sigsuspend: fn(*const sigset_t) -> c_int;
    pthread_attr_setsigmask_np: fn(*mut libc::pthread_attr_t, *const sigset_t) -> c_int;

    execve: fn(*const c_char, Strings, Strings) -> c_int;
    execvpe: fn(*const c_char, Strings, Strings) -> c_int;
    fexecve: fn(c_int, Strings, Strings) -> c_int;
    execveat: fn(c_int, *const c_char, Strings, Strings, c_int) -> c_int;
    posix_spawn: fn(*mut pid_t, *const c_char, *const c_void, *const c_void, Strings, Strings) -> c_int;
    posix_spawnp: fn(*mut pid_t, *const c_char, *const c_void, *const c_void, Strings, Strings) -> c_int;
    posix_spawn_file_actions_addclose: fn(*mut c_void, c_int) -> c_int;
    system: fn(*const c_char) -> c_int;
    popen: fn(*const c_char, *const c_char) -> *mut libc::FILE;
}
