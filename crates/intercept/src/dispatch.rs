//! From a call's number and arguments to the engine.

use std::sync::atomic::{AtomicBool, Ordering};

use linux_raw_sys::general as nr;
use ringer_engine::{Caller, Mapping, System, WaitMask};
use ringer_sys::{Errno, UserAddress};

use crate::{descriptors, handlers};

/// The arguments of a system call.
pub type Arguments = [usize; 6];

/// Set with the first ring of this process (or of one that it was forked from).
static RINGS: AtomicBool = AtomicBool::new(false);

/// Whether this process has made a ring. Without one, interposed functions need not look further.
pub fn has_rings() -> bool {
    // Relaxed: a thread that knows a ring's descriptor has it from the thread that made it.
    RINGS.load(Ordering::Relaxed)
}

/// Whether the call is one of the three.
pub const fn is_io_uring(number: u32) -> bool {
    matches!(number, nr::__NR_io_uring_setup | nr::__NR_io_uring_enter | nr::__NR_io_uring_register)
}

/// Whether [`serve`] may have something to do with the call.
pub fn concerns_us(number: u32, arguments: &Arguments) -> bool {
    let on_ring = |index: usize| descriptors::is_in_ring_half(arguments[index] as i32);
    let on_engine = |index: usize| descriptors::is_in_engine_half(arguments[index] as i32);
    match number {
        nr::__NR_close => on_ring(0) || on_engine(0),
        nr::__NR_dup | nr::__NR_fcntl => on_ring(0),
        nr::__NR_dup2 | nr::__NR_dup3 => on_ring(0) || on_ring(1) || on_engine(1),
        nr::__NR_mmap => on_ring(4),
        nr::__NR_epoll_ctl => on_ring(2),
        nr::__NR_close_range => descriptors::reaches_reserved(arguments[0] as u32, arguments[1] as u32),
        _ => is_io_uring(number),
    }
}

/// Serves a call that [`concerns_us`]. To be called as the engine's guest; `wait_mask` is for
/// waiting.
///
/// # Safety
/// The arguments are those of a call of the program, which answers for what it asks for.
pub unsafe fn serve(number: u32, arguments: &Arguments, wait_mask: WaitMask) -> Result<usize, Errno> {
    let system = System::global();
    let [a, b, c, d, e, f] = *arguments;
    let address = |word: usize| UserAddress::new(word as u64);
    match number {
        nr::__NR_io_uring_setup => {
            handlers::look();
            let fd = system.setup(a as u32, address(b))?;
            descriptors::made(fd);
            RINGS.store(true, Ordering::Relaxed);
            Ok(fd as usize)
        }
        nr::__NR_io_uring_enter => {
            let caller = Caller { wait_mask };
            let (fd, submit, complete, flags) = (a as i32, b as u32, c as u32, d as u32);
            system.enter(fd, submit, complete, flags, address(e), f, &caller).map(|result| result as usize)
        }
        nr::__NR_io_uring_register => {
            system.register(a as i32, b as u32, address(c), d as u32).map(|result| result as usize)
        }
        nr::__NR_mmap => {
            let (fd, offset) = (e as i32, f as u64);
            let mapping =
                Mapping { address: address(a), length: b, protection: c as u32, flags: d as u32, offset };
            // SAFETY: passed on to the caller.
            unsafe { descriptors::map(fd, &mapping) }
        }
        nr::__NR_close => descriptors::close(a as i32),
        nr::__NR_close_range => descriptors::close_range(a as u32, b as u32, c as u32),
        nr::__NR_dup => descriptors::dup(a as i32),
        nr::__NR_dup2 => descriptors::replace(a as i32, b as i32, None),
        nr::__NR_dup3 => descriptors::replace(a as i32, b as i32, Some(c as u32)),
        nr::__NR_fcntl => descriptors::fcntl(a as i32, b as u32, c),
        nr::__NR_epoll_ctl => descriptors::epoll_ctl(a as i32, b as u32, c as i32, d),
        // SAFETY: passed on to the caller.
        _ => unsafe { descriptors::pass_on(number, *arguments) },
    }
}
