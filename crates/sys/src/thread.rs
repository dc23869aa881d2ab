//! Threads of the engine, and locks between them.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use linux_raw_sys::general as nr;

use crate::signal;

/// Stack of an engine thread, in bytes.
const STACK_BYTES: usize = 256 * 1024;

/// Engine threads that run.
static ALIVE: AtomicUsize = AtomicUsize::new(0);

/// How many threads of the engine run. There may be more that have not started yet, or are about to end.
pub fn alive() -> usize {
    ALIVE.load(Ordering::Relaxed)
}

/// A child of `fork` has no threads of the engine, and the thread that it has got another number.
pub fn forget_all() {
    ALIVE.store(0, Ordering::Relaxed);
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// How often this process came out of a fork as the child.
static FORKS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// This thread's number, and the forks when it was asked for. 0: not yet.
    static OWN_ID: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

/// The calling thread's number, asked for once in each process. `gettid.2`.
#[inline]
pub fn id() -> u32 {
    // Relaxed: the child has one thread when it counts, and starts the others.
    let forks = FORKS.load(Ordering::Relaxed);
    match OWN_ID.get() {
        (id, then) if id != 0 && then == forks => id,
        _ => {
            let id = rustix::thread::gettid().as_raw_nonzero().get() as u32;
            OWN_ID.set((id, forks));
            id
        }
    }
}

/// Whether the process has a thread with this number, as far as can be seen. `tgkill.2`.
pub fn is_alive(id: u32) -> bool {
    let arguments = [std::process::id() as usize, id as usize, 0, 0, 0, 0];
    // SAFETY: no signal is sent: the kernel only looks for the thread.
    let found = unsafe { crate::call::raw(nr::__NR_tgkill, arguments) };
    found != Err(rustix::io::Errno::SRCH)
}

/// Starts a thread of the engine. It blocks all signals but those that an instruction raises and those of the C
/// library: the program's handlers run on the program's threads, and `setuid` and its like wait for every thread.
///
/// # Errors
/// `EAGAIN` when no thread can be made.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), rustix::io::Errno> {
    let body = move || {
        // Relaxed: a number, never more than there are.
        ALIVE.fetch_add(1, Ordering::Relaxed);
        body();
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    };
    let before = exchange_signal_mask(!(signal::RAISED_BY_INSTRUCTIONS | signal::OF_THE_C_LIBRARY));
    let result = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(body);
    exchange_signal_mask(before);
    result.map(drop).map_err(|_| rustix::io::Errno::AGAIN)
}

/// `struct sched_attr` of `sched_setattr.2`.
#[repr(C)]
#[derive(Debug, Default)]
struct Scheduling {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// In nanoseconds. Of an ordinary thread: how long its turns are (from Linux 6.12 on).
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Asks the scheduler for short turns of the calling thread, which then come soon after it is woken, also where all CPUs are busy. For a
/// thread that looks and sleeps again. Before Linux 6.12 it changes nothing. `sched_setattr.2`.
pub fn ask_for_short_turns() {
    const SCHED_OTHER: u32 = 0;
    if let Some(now) = scheduling().filter(|now| now.policy == SCHED_OTHER) {
        let wanted = Scheduling { size: size_of::<Scheduling>() as u32, runtime: TURN, ..now };
        // SAFETY: the call only reads the local, whose size it is told there.
        let _ = unsafe {
            crate::call::raw(nr::__NR_sched_setattr, [0, (&raw const wanted) as usize, 0, 0, 0, 0])
        };
        // Where it is refused, turns stay as they are.
    }
}

/// The turn that is asked for, in nanoseconds: the least that Linux grants.
const TURN: u64 = 100_000;

/// How the calling thread is scheduled. `sched_getattr.2`.
fn scheduling() -> Option<Scheduling> {
    let mut found = Scheduling::default();
    let arguments = [0, (&raw mut found) as usize, size_of::<Scheduling>(), 0, 0, 0];
    // SAFETY: the local is of the size given, and the call writes no more.
    unsafe { crate::call::raw(nr::__NR_sched_getattr, arguments) }.ok()?;
    Some(found)
}

/// Sets this thread's signal mask, one bit a signal. Returns the one before.
fn exchange_signal_mask(mask: u64) -> u64 {
    const SIG_SETMASK: usize = 2;
    let mut before = 0_u64;
    let arguments = [SIG_SETMASK, (&raw const mask) as usize, (&raw mut before) as usize, 8, 0, 0];
    // SAFETY: both words are locals that outlive the call; the caller puts the old mask back.
    let result = unsafe { crate::call::raw(nr::__NR_rt_sigprocmask, arguments) };
    // The arguments are valid, so that the call cannot fail.
    debug_assert!(result.is_ok());
    before
}

/// A mutex without poisoning: the engine's state is consistent at every point where it could panic.
#[derive(Debug, Default)]
pub struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    /// A lock around `value`.
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Takes the lock.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock if nobody has it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }

    /// The value, when nobody else can have the lock.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_there_until_it_ends() {
        let ended = std::thread::spawn(|| {
            assert!(is_alive(id()));
            id()
        });
        let ended = ended.join().expect("nothing above panicked");
        // Its number is given back a moment after it was joined.
        let limit = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while is_alive(ended) && std::time::Instant::now() < limit {
            std::thread::yield_now();
        }
        assert!(!is_alive(ended) && is_alive(id()));
    }

    #[test]
    fn short_turns_are_asked_for_and_change_nothing_else() {
        std::thread::spawn(|| {
            let before = scheduling().expect("the call is there");
            ask_for_short_turns();
            let after = scheduling().expect("the call is there");
            // Kernels before 6.12 leave it as it was.
            assert!(after.runtime == TURN || after.runtime == before.runtime);
            assert_eq!((after.policy, after.nice), (before.policy, before.nice));
        })
        .join()
        .expect("nothing above panicked");
    }
}
