//! System calls of the engine's threads, interrupted from outside: a request that waits in a call of a worker can be cancelled.
//!
//! A signal does it, whose handler the process has for the faults of guarded copies ([`fault`](crate::fault)): the threads of the
//! engine block all others. A signal may come at any time, also for what the thread did before. So each piece of work has a number: a
//! call for other work goes on, or ends with `EINTR` and is to be made again, as the flags of the process's handlers have it.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};

use linux_raw_sys::general as nr;

use crate::signal::{self, SIGBUS};
use crate::{call, thread, user};

/// A thread whose calls can be interrupted.
#[derive(Debug)]
struct Interruptible {
    thread: u32,
    /// The work that a call may wait for just now. 0: none.
    waiting: AtomicU64,
    /// The work that is to be interrupted.
    wanted: AtomicU64,
    /// A signal came meanwhile that was for something else.
    is_disturbed: AtomicBool,
}

thread_local! {
    /// Keeps this thread's own alive.
    static OWN: RefCell<Option<Arc<Interruptible>>> = const { RefCell::new(None) };
    /// The same for the handler, which must not meet a borrowed cell. Null on threads that are none of the engine's.
    static OF_HANDLER: AtomicPtr<Interruptible> = const { AtomicPtr::new(std::ptr::null_mut()) };
}

/// Names of work. 0 is none.
static WORK: AtomicU64 = AtomicU64::new(1);

/// Work of a thread that can be interrupted.
#[derive(Clone, Debug)]
pub struct Work {
    on: Arc<Interruptible>,
    number: u64,
}

impl Work {
    /// Work that the calling thread begins, one of the engine's.
    pub fn begin() -> Self {
        let on = OWN.with_borrow_mut(|own| {
            Arc::clone(own.get_or_insert_with(|| {
                let new = Arc::new(Interruptible {
                    thread: thread::id(),
                    waiting: AtomicU64::new(0),
                    wanted: AtomicU64::new(0),
                    is_disturbed: AtomicBool::new(false),
                });
                // Relaxed, here and below: the handler that looks at it runs on this thread.
                OF_HANDLER.with(|place| place.store(Arc::as_ptr(&new).cast_mut(), Ordering::Relaxed));
                new
            }))
        });
        // Relaxed: a number that nobody else gets.
        Self { on, number: WORK.fetch_add(1, Ordering::Relaxed) }
    }

    /// Makes calls that may wait, on the thread that began the work.
    pub fn while_waiting<R>(&self, body: impl FnOnce() -> R) -> R {
        self.on.is_disturbed.store(false, Ordering::Relaxed);
        self.on.waiting.store(self.number, Ordering::Relaxed);
        let result = body();
        self.on.waiting.store(0, Ordering::Relaxed);
        result
    }

    /// Whether a signal came in the calls of the last [`while_waiting`](Self::while_waiting) that was for something else. One that ended
    /// with `EINTR` is to be made again then.
    pub fn was_disturbed(&self) -> bool {
        self.on.is_disturbed.load(Ordering::Relaxed)
    }

    /// Interrupts a call that waits for this work. A call that is about to be made goes unharmed: to be repeated until the work is
    /// over. Nothing happens in a process that does not have the handlers, or has replaced them.
    pub fn interrupt(&self) {
        let handler = user::fault_handler();
        // Another handler would not know what the signal is for.
        if handler == 0 || signal::action(SIGBUS).map(|action| action.handler) != Ok(handler) {
            return;
        }
        // Release: who takes the signal sees it; the partner is the kernel's delivery, and the Acquire in `is_meant`.
        self.on.wanted.store(self.number, Ordering::Release);
        let process = rustix::process::getpid().as_raw_nonzero().get() as usize;
        let arguments = [process, self.on.thread as usize, SIGBUS as usize, 0, 0, 0];
        // A thread that has ended has no work left.
        // SAFETY: the call touches no memory. The threads of the engine that began work do not end by this signal.
        let _ = unsafe { call::raw(nr::__NR_tgkill, arguments) };
    }
}

/// For the handler of the signal: whether it came to a thread of the engine, and is for nobody else. If so, and the call that it
/// interrupted is one for the work that was meant, `resume` is asked to let it end with `EINTR`.
pub(crate) fn arrived(resume: impl FnOnce()) -> bool {
    let place = OF_HANDLER.try_with(|place| place.load(Ordering::Relaxed)).unwrap_or(std::ptr::null_mut());
    // SAFETY: null, or this thread's own, which `OWN` keeps until the thread has ended.
    let Some(this) = (unsafe { place.as_ref() }) else { return false };
    if this.is_meant() {
        resume();
    } else {
        this.is_disturbed.store(true, Ordering::Relaxed);
    }
    true
}

impl Interruptible {
    fn is_meant(&self) -> bool {
        let waiting = self.waiting.load(Ordering::Relaxed);
        // Acquire: partner of the Release in `interrupt`.
        waiting != 0 && waiting == self.wanted.load(Ordering::Acquire)
    }
}

impl Drop for Interruptible {
    fn drop(&mut self) {
        // The last one to go may be on another thread, whose own is another.
        let own = std::ptr::from_mut(self);
        let _ = OF_HANDLER.try_with(|place| {
            let _ = place.compare_exchange(own, std::ptr::null_mut(), Ordering::Relaxed, Ordering::Relaxed);
        });
    }
}
