//! Counts of what the engine served and how, for `ringer run --summary` and the tests.

use std::sync::atomic::{AtomicU64, Ordering};

/// How a request was served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Served {
    /// On the submitting thread, inside `enter`, without waiting.
    Inline = 0,
    /// After its file reported readiness.
    Poll = 1,
    /// By a thread that may block: a worker, or the one that waits in `enter`.
    Worker = 2,
    /// By Linux AIO.
    Aio = 3,
    /// By the engine itself: timeouts, cancellation, registered files.
    Engine = 4,
}

impl Served {
    /// Every way, in the order of the counters.
    pub const ALL: [Self; 5] = [Self::Inline, Self::Poll, Self::Worker, Self::Aio, Self::Engine];

    /// The way in a word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Poll => "poll",
            Self::Worker => "worker",
            Self::Aio => "aio",
            Self::Engine => "engine",
        }
    }
}

/// Why a call site of `enter` was not turned into a function call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Refusal {
    /// Nothing says where its function begins and ends, or the bytes are not plain code.
    Function = 0,
    /// No padding in reach of a short jump, and the instructions before it cannot be moved.
    Neighbours = 1,
    /// The same, as something may jump to the middle of them.
    Targets = 2,
    /// The same, as another thread or a handler may be in the middle of them.
    Threads = 3,
    /// There is no free memory near enough.
    AddressSpace = 4,
    /// A system call was refused that changes code.
    System = 5,
    /// The processor has registers that would not survive.
    Processor = 6,
    /// More sites than are remembered.
    TooMany = 7,
}

impl Refusal {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 8] = [
        Self::Function,
        Self::Neighbours,
        Self::Targets,
        Self::Threads,
        Self::AddressSpace,
        Self::System,
        Self::Processor,
        Self::TooMany,
    ];
}

/// Counters that several processes may add to: they live in shared memory when the command asks for it.
///
/// All zero bytes are the initial state. Relaxed throughout: they order nothing.
#[derive(Debug)]
#[repr(C)]
pub struct Counters {
    /// Rings made.
    pub rings: AtomicU64,
    /// Calls of `io_uring_enter`.
    pub enters: AtomicU64,
    /// Calls that arrived by a SIGSYS trap.
    pub traps: AtomicU64,
    /// Call sites turned into function calls.
    pub patched_sites: AtomicU64,
    /// Call sites that stay trapping.
    pub unpatched_sites: AtomicU64,
    /// Why, by [`Refusal`].
    pub refusals: [AtomicU64; Refusal::ALL.len()],
    /// Finished requests by opcode and by [`Served`].
    pub served: ServedCounts,
    /// What the owners of shares counted by themselves: to be added to the above.
    pub shares: [Share; SHARES],
}

/// Finished requests by opcode and by [`Served`].
pub type ServedCounts = [[AtomicU64; 5]; 64];

/// Rings that count without atomic additions, at a time.
pub const SHARES: usize = 32;

/// The counters of one ring's submitter. Whoever holds the ring's submission lock is the only one to count here, which
/// spares the atomic additions of the hot path.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Share {
    taken: AtomicU64,
    /// Calls of `io_uring_enter` that submitted.
    pub enters: AtomicU64,
    /// Finished requests by opcode and by [`Served`].
    pub served: ServedCounts,
}

const fn no_counts() -> ServedCounts {
    [const { [const { AtomicU64::new(0) }; 5] }; 64]
}

impl Share {
    const fn new() -> Self {
        Self { taken: AtomicU64::new(0), enters: AtomicU64::new(0), served: no_counts() }
    }

    /// Counts finished requests of one kind. For the holder of the submission lock.
    #[inline]
    pub(crate) fn count(&self, opcode: u8, served: Served, count: u64) {
        add(&self.served[usize::from(opcode) % 64][served as usize], count);
    }

    /// Counts a call. For the holder of the submission lock.
    #[inline]
    pub(crate) fn count_enter(&self) {
        add(&self.enters, 1);
    }
}

/// Adds where nobody else does.
#[inline]
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
}

/// The right to count in a share, until dropped.
#[derive(Debug)]
pub(crate) struct OwnShare(&'static Share);

impl std::ops::Deref for OwnShare {
    type Target = Share;

    fn deref(&self) -> &Share {
        self.0
    }
}

impl Drop for OwnShare {
    fn drop(&mut self) {
        // Release, with the Acquire in `take_share`: the next owner goes on from our last numbers.
        self.0.taken.store(0, Ordering::Release);
    }
}

impl Counters {
    /// All zero.
    pub const fn new() -> Self {
        Self {
            rings: AtomicU64::new(0),
            enters: AtomicU64::new(0),
            traps: AtomicU64::new(0),
            patched_sites: AtomicU64::new(0),
            unpatched_sites: AtomicU64::new(0),
            refusals: [const { AtomicU64::new(0) }; Refusal::ALL.len()],
            served: no_counts(),
            shares: [const { Share::new() }; SHARES],
        }
    }

    /// A share that nobody counts in, if there is one.
    pub(crate) fn take_share(&'static self) -> Option<OwnShare> {
        let is_free = |share: &&Share| {
            // Acquire, with the Release of the owner before.
            share.taken.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        self.shares.iter().find(is_free).map(OwnShare)
    }

    /// Counts finished requests of one kind.
    pub fn count(&self, opcode: u8, served: Served, count: u64) {
        self.served[usize::from(opcode) % 64][served as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Finished requests of all opcodes and ways.
    pub fn requests(&self) -> u64 {
        let of = |served: &ServedCounts| -> u64 {
            served.iter().flatten().map(|counter| counter.load(Ordering::Relaxed)).sum()
        };
        of(&self.served) + self.shares.iter().map(|share| of(&share.served)).sum::<u64>()
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

/// Counters in memory shared with other processes, once they were given.
static SHARED: std::sync::OnceLock<&'static Counters> = std::sync::OnceLock::new();

pub(crate) fn use_these(counters: &'static Counters) {
    // Only the first ones count: the preload library gives them before the program starts.
    let _ = SHARED.set(counters);
}

pub(crate) fn in_use() -> &'static Counters {
    static OWN: Counters = Counters::new();
    SHARED.get().copied().unwrap_or(&OWN)
}
