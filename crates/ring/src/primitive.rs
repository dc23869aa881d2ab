//! The atomics the protocol is written with: the hardware's, or loom's when a model checks it.

#[cfg(not(loom))]
pub use core::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, Ordering, fence},
};
#[cfg(not(loom))]
use hardware as tenancies;
#[cfg(not(loom))]
pub use hardware::prepare_tenancies;
#[cfg(loom)]
pub use loom::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, Ordering, fence},
};
#[cfg(loom)]
use model as tenancies;
pub(crate) use tenancies::{are_fenced_together, fence_in_all_threads, fence_of_compiler, wait_a_little};

#[cfg(not(loom))]
mod hardware {
    use core::sync::atomic::{AtomicBool, Ordering, compiler_fence};
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    use rustix::thread::{MembarrierCommand, membarrier};

    /// Whether this process, or one that it was forked from, takes part in the fences of others.
    static PREPARED: AtomicBool = AtomicBool::new(false);

    /// Makes it possible for the rings of this process that a thread has them to itself, which makes calls cheaper. Takes less than
    /// a microsecond in a process with one thread, and may take tens of milliseconds in others; so it is only tried with one thread
    /// where this was not called. Returns whether it is possible: it needs `membarrier.2` of Linux 4.16.
    pub fn prepare_tenancies() -> bool {
        let is_possible = membarrier(MembarrierCommand::RegisterGlobalExpedited).is_ok();
        // Relaxed: it only says that the call is quick.
        PREPARED.store(is_possible, Ordering::Relaxed);
        is_possible
    }

    /// Whether [`fence_in_all_threads`] reaches the threads of this process.
    pub(crate) fn are_fenced_together() -> bool {
        // Once more in a child, which may not have inherited it.
        (PREPARED.load(Ordering::Relaxed) || has_one_thread()) && prepare_tenancies()
    }

    fn has_one_thread() -> bool {
        // The directory itself, its parent, and one for each thread.
        std::fs::metadata("/proc/self/task").is_ok_and(|task| task.nlink() == 3)
    }

    /// The half of a fence that [`fence_in_all_threads`] completes.
    #[inline]
    pub(crate) fn fence_of_compiler() {
        compiler_fence(Ordering::SeqCst);
    }

    /// A full fence, here and at some point of every thread of the processes that are prepared.
    pub(crate) fn fence_in_all_threads() {
        if membarrier(MembarrierCommand::GlobalExpedited).is_err() {
            // Somebody has forbidden the call since. A processor keeps a store to itself for far less than a microsecond.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for somebody who is in the middle of something short, or was interrupted there.
    pub(crate) fn wait_a_little(attempt: u32) {
        const SPINS: u32 = 100;
        if attempt < SPINS {
            core::hint::spin_loop();
        } else {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

#[cfg(loom)]
mod model {
    use loom::sync::atomic::{Ordering, fence};

    /// The model has no system call that acts on other threads: where one side makes the fence for both, both have their own.
    pub(crate) fn fence_of_compiler() {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn fence_in_all_threads() {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn are_fenced_together() -> bool {
        true
    }

    pub(crate) fn wait_a_little(_attempt: u32) {
        loom::thread::yield_now();
    }
}
