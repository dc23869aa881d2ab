//! The protocol under the loom model checker, with the orderings as they are and with each of them weakened.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p ringer-ring --release --test loom`
//!
//! Each model runs the production code of this crate. loom tries the interleavings of its threads
//! and the values that a weakly ordered machine may let them read. With the production table every one must
//! come out right. With one entry weakened at least one must go wrong, or the model shows nothing:
//! these tests fail if loom accepts the mutant.
//!
//! loom treats `SeqCst` accesses as `AcqRel`, so the protocol has explicit fences where it needs a full barrier.
#![cfg(loom)]

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex};
use loom::thread;
use ringer_abi::{Cqe, SqRingFlags, Sqe};
use ringer_ring::{
    BarrierAfterStore, ClientRing, FullBarrier, HeapMemory, NoBarrier, Orderings, Production, RingShape,
    ServingRing, SharedLock, StoreRelease, Taken,
};

/// The two sides of one ring on the heap.
fn ring<O: Orderings>(
    sq_entries: u32,
    cq_entries: u32,
) -> (ServingRing<HeapMemory, O>, ClientRing<HeapMemory, O>) {
    let shape = RingShape {
        sq_entries,
        cq_entries,
        sqe128: false,
        cqe32: false,
        cqe_mixed: false,
        no_sqarray: false,
    };
    let memory = HeapMemory::new(shape, u32::MAX, u32::MAX);
    (ServingRing::over(memory.clone()), ClientRing::over(memory))
}

/// What a thread sleeps on, as on an eventfd: a ring stays until somebody has waited for it.
struct Bell {
    rung: Mutex<bool>,
    sleeper: Condvar,
}

impl Bell {
    fn new() -> Arc<Self> {
        Arc::new(Self { rung: Mutex::new(false), sleeper: Condvar::new() })
    }

    fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.sleeper.notify_one();
    }

    fn wait(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            rung = self.sleeper.wait(rung).unwrap();
        }
    }
}

/// Runs a model. The bound on preemptions keeps the run short; the faults need one or two.
fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// The program sends more SQEs than there are slots; the serving side gives each slot back after reading it.
fn submission_with_slot_reuse<O: Orderings + 'static>() {
    const ENTRIES: u64 = 2;
    const SENT: u64 = 3;
    check(|| {
        let (serving, mut client) = ring::<O>(ENTRIES as u32, 1);
        let poller = thread::spawn(move || {
            let mut taken = Vec::new();
            while (taken.len() as u64) < SENT {
                let mut batch = serving.sq_batch(1);
                match batch.take() {
                    Some(Taken::Sqe { sqe, .. }) => {
                        taken.push(sqe.user_data());
                        batch.publish();
                    }
                    Some(Taken::Dropped) => panic!("the program wrote no bad index"),
                    None => thread::yield_now(),
                }
            }
            taken
        });
        for user_data in 0..SENT {
            let sqe = Sqe::default().with_user_data(user_data);
            while client.sq_push(&sqe).is_err() {
                thread::yield_now();
            }
            client.sq_publish();
        }
        assert_eq!(poller.join().unwrap(), Vec::from_iter(0..SENT));
    });
}

/// The serving side posts more CQEs than there are slots. What finds no slot goes to the backlog,
/// which the program has flushed, as by `enter`, when it sees the overflow flag.
fn completion_with_overflow<O: Orderings + 'static>() {
    const POSTED: u64 = 3;
    check(|| {
        let (serving, mut client) = ring::<O>(1, 1);
        // The backlog and the completion lock.
        let serving = Arc::new((serving, Mutex::new(VecDeque::new())));
        let poster = thread::spawn({
            let serving = serving.clone();
            move || {
                for user_data in 0..POSTED {
                    let (ring, backlog) = &*serving;
                    let mut backlog = backlog.lock().unwrap();
                    let cqe = Cqe::new(user_data, 0, 0);
                    if !backlog.is_empty() || ring.cq_push_all(&[cqe]) == 0 {
                        backlog.push_back(cqe);
                        ring.sq_set_flags(SqRingFlags::CQ_OVERFLOW);
                    }
                }
            }
        });
        let mut reaped = Vec::new();
        let mut reap = || match client.cq_pop() {
            Some(cqe) => reaped.push(cqe.user_data),
            None if client.sq_flags().contains(SqRingFlags::CQ_OVERFLOW) => {
                let (ring, backlog) = &*serving;
                let mut backlog = backlog.lock().unwrap();
                while backlog.front().is_some_and(|cqe| ring.cq_push(cqe).is_ok()) {
                    backlog.pop_front();
                }
                if backlog.is_empty() {
                    ring.sq_clear_flags(SqRingFlags::CQ_OVERFLOW);
                }
            }
            None => thread::yield_now(),
        };
        // Alongside the poster, and then what is left: at most a flush before each CQE.
        for _ in 0..2 {
            reap();
        }
        poster.join().unwrap();
        for _ in 0..2 * POSTED {
            reap();
        }
        assert_eq!(reaped, Vec::from_iter(0..POSTED), "each CQE once and in order");
        assert!(!client.sq_flags().contains(SqRingFlags::CQ_OVERFLOW));
    });
}

/// The polling thread goes to sleep while the program submits. A lost wake-up is a deadlock.
fn polling_thread_sleeps<O: Orderings + 'static>() {
    check(|| {
        let (serving, mut client) = ring::<O>(1, 1);
        let bell = Bell::new();
        let poller = thread::spawn({
            let bell = bell.clone();
            move || {
                if serving.sq_announce_sleep() {
                    bell.wait();
                    serving.sq_clear_flags(SqRingFlags::NEED_WAKEUP);
                }
                assert_eq!(serving.sq_available(), 1, "woken for a reason");
                assert!(!serving.sq_flags().contains(SqRingFlags::NEED_WAKEUP));
            }
        });
        client.sq_push(&Sqe::default()).unwrap();
        client.sq_publish();
        if client.sq_needs_wakeup() {
            bell.ring();
        }
        poller.join().unwrap();
    });
}

/// A thread waits in `enter` for a CQE while another thread posts it. A lost wake-up is a deadlock;
/// and the program must see the CQE when its `enter` returns. They have these numbers for the completion lock.
fn waiter_and_poster<O: Orderings + 'static>(waiter: Option<NonZeroU32>, poster: Option<NonZeroU32>) {
    check(move || {
        let (serving, mut client) = ring::<O>(1, 1);
        let serving = Arc::new(serving);
        let bell = Bell::new();
        let poster = thread::spawn({
            let (serving, bell) = (serving.clone(), bell.clone());
            move || {
                let guard = serving.lock_completions_by(poster);
                assert_eq!(serving.cq_push_all(&[Cqe::new(7, 0, 0)]), 1);
                if guard.release() != 0 {
                    bell.ring();
                }
            }
        });
        serving.announce_waiter(waiter);
        if serving.cq_ready() == 0 {
            bell.wait();
        }
        serving.retire_waiter();
        assert_eq!(client.cq_pop(), Some(Cqe::new(7, 0, 0)), "the program sees what enter waited for");
        poster.join().unwrap();
    });
}

/// Something that a lock guards.
struct Guarded<O> {
    lock: SharedLock,
    orderings: PhantomData<fn() -> O>,
    visits: UnsafeCell<u32>,
}

// SAFETY: loom ends the execution before a second access happens that is not ordered with the first.
unsafe impl<O> Sync for Guarded<O> {}
// SAFETY: as above.
unsafe impl<O> Send for Guarded<O> {}

impl<O: Orderings> Guarded<O> {
    fn by(lock: SharedLock) -> Arc<Self> {
        Arc::new(Self { lock, orderings: PhantomData, visits: UnsafeCell::new(0) })
    }

    /// By the thread that has this number for the lock.
    fn visit(&self, thread: Option<NonZeroU32>) {
        let _guard = self.lock.lock_by_as::<O>(thread);
        // SAFETY: the pointer is valid inside the closure, and loom checks the access.
        self.visits.with_mut(|visits| unsafe { *visits += 1 });
    }

    fn visits(&self) -> u32 {
        // SAFETY: as in `visit`.
        self.visits.with(|visits| unsafe { *visits })
    }
}

/// Three threads of the serving side, more than may wait at a time without sleeping.
fn three_threads_take_the_lock<O: Orderings + 'static>() {
    check(|| {
        let guarded = Guarded::<O>::by(SharedLock::default());
        let others = [(); 2].map(|()| {
            let guarded = guarded.clone();
            thread::spawn(move || guarded.visit(None))
        });
        guarded.visit(None);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(guarded.visits(), 3);
    });
}

/// The tenant of a lock, while another thread comes, and comes again when the tenancy has ended.
fn tenant_and_other<O: Orderings + 'static>() {
    check(|| {
        let [one, another] = [1, 2].map(NonZeroU32::new);
        let guarded = Guarded::<O>::by(SharedLock::to_let());
        guarded.visit(one);
        let other = thread::spawn({
            let guarded = guarded.clone();
            move || {
                guarded.visit(another);
                guarded.visit(another);
            }
        });
        guarded.visit(one);
        guarded.visit(one);
        other.join().unwrap();
        assert_eq!(guarded.visits(), 5);
    });
}

/// A table of orderings with one entry replaced.
macro_rules! mutant {
    ($name:ident, $publication:ty) => {
        enum $name {}
        impl Orderings for $name {
            type SqHead = $publication;
        }
    };
    ($name:ident, relaxed $entry:ident) => {
        enum $name {}
        impl Orderings for $name {
            type SqHead = StoreRelease;
            const $entry: std::sync::atomic::Ordering = std::sync::atomic::Ordering::Relaxed;
        }
    };
    ($name:ident, without $fence:ident) => {
        enum $name {}
        impl Orderings for $name {
            type SqHead = StoreRelease;
            fn $fence() {}
        }
    };
}

/// The four variants of the original thread, by name.
mod head_publication {
    use super::*;

    mutant!(WithFullBarrier, FullBarrier);
    mutant!(WithNoBarrier, NoBarrier);
    mutant!(WithBarrierAfterStore, BarrierAfterStore);

    #[test]
    fn store_release() {
        submission_with_slot_reuse::<Production>();
    }

    #[test]
    fn full_barrier() {
        submission_with_slot_reuse::<WithFullBarrier>();
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn no_barrier_is_caught() {
        submission_with_slot_reuse::<WithNoBarrier>();
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn barrier_after_store_is_caught() {
        submission_with_slot_reuse::<WithBarrierAfterStore>();
    }
}

/// The other entries of the submission queue.
mod submission {
    use super::*;

    mutant!(RelaxedHeadLoad, relaxed SQ_HEAD_LOAD);
    mutant!(RelaxedTailStore, relaxed SQ_TAIL_STORE);
    mutant!(RelaxedTailLoad, relaxed SQ_TAIL_LOAD);

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn relaxed_head_load_is_caught() {
        submission_with_slot_reuse::<RelaxedHeadLoad>();
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn relaxed_tail_store_is_caught() {
        submission_with_slot_reuse::<RelaxedTailStore>();
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn relaxed_tail_load_is_caught() {
        submission_with_slot_reuse::<RelaxedTailLoad>();
    }
}

mod completion {
    use super::*;

    mutant!(RelaxedHeadStore, relaxed CQ_HEAD_STORE);
    mutant!(RelaxedHeadLoad, relaxed CQ_HEAD_LOAD);
    mutant!(RelaxedTailStore, relaxed CQ_TAIL_STORE);
    mutant!(RelaxedTailLoad, relaxed CQ_TAIL_LOAD);

    #[test]
    fn nothing_is_lost_when_the_queue_overflows() {
        completion_with_overflow::<Production>();
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn relaxed_head_store_is_caught() {
        completion_with_overflow::<RelaxedHeadStore>();
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn relaxed_head_load_is_caught() {
        completion_with_overflow::<RelaxedHeadLoad>();
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn relaxed_tail_store_is_caught() {
        completion_with_overflow::<RelaxedTailStore>();
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn relaxed_tail_load_is_caught() {
        completion_with_overflow::<RelaxedTailLoad>();
    }
}

mod need_wakeup {
    use super::*;

    mutant!(NoSleeperFence, without sleeper_fence);
    mutant!(NoSubmitterFence, without submitter_fence);

    #[test]
    fn no_wakeup_is_lost() {
        polling_thread_sleeps::<Production>();
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn sleeper_without_fence_is_caught() {
        polling_thread_sleeps::<NoSleeperFence>();
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn submitter_without_fence_is_caught() {
        polling_thread_sleeps::<NoSubmitterFence>();
    }
}

mod waiter {
    use super::*;

    mutant!(RelaxedAnnounce, relaxed ANNOUNCE);
    mutant!(RelaxedUnlock, relaxed UNLOCK);
    mutant!(RelaxedCountStore, relaxed CQ_COUNT_STORE);
    mutant!(RelaxedCountLoad, relaxed CQ_COUNT_LOAD);

    #[test]
    fn no_wakeup_is_lost() {
        waiter_and_poster::<Production>(None, None);
    }

    #[test]
    fn no_wakeup_is_lost_by_a_tenant() {
        let [one, other] = [1, 2].map(NonZeroU32::new);
        for (waiter, poster) in [(one, other), (None, one)] {
            waiter_and_poster::<Production>(waiter, poster);
        }
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn relaxed_announcement_is_caught() {
        waiter_and_poster::<RelaxedAnnounce>(None, None);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn relaxed_unlock_is_caught() {
        waiter_and_poster::<RelaxedUnlock>(None, None);
    }

    #[test]
    #[should_panic(expected = "the program sees what enter waited for")]
    fn relaxed_count_store_is_caught() {
        waiter_and_poster::<RelaxedCountStore>(None, None);
    }

    #[test]
    #[should_panic(expected = "the program sees what enter waited for")]
    fn relaxed_count_load_is_caught() {
        waiter_and_poster::<RelaxedCountLoad>(None, None);
    }
}

mod lock {
    use super::*;

    mutant!(RelaxedLock, relaxed LOCK);
    mutant!(RelaxedUnlock, relaxed UNLOCK);

    #[test]
    fn one_holder_at_a_time_and_nobody_sleeps_on() {
        three_threads_take_the_lock::<Production>();
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn relaxed_lock_is_caught() {
        three_threads_take_the_lock::<RelaxedLock>();
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn relaxed_unlock_is_caught() {
        three_threads_take_the_lock::<RelaxedUnlock>();
    }
}

/// A process asks another one, and takes the question back where nobody has taken it.
#[test]
fn a_question_is_answered_or_withdrawn() {
    const WORDS: [u32; 4] = [1, 2, 3, 4];
    check(|| {
        let (serving, _client) = ring::<Production>(1, 1);
        let serving = Arc::new(serving);
        let other = Arc::clone(&serving);
        let number = serving.ask(&WORDS).expect("no other question is put");
        let answers = thread::spawn(move || {
            let taken = other.take_question(0);
            if let Some((words, taken)) = taken {
                assert_eq!((words, taken), (WORDS, number));
                other.answer(-7);
            }
            taken.is_some()
        });
        let is_withdrawn = serving.withdraw_question();
        let is_taken = answers.join().unwrap();
        assert!(is_withdrawn != is_taken);
        assert_eq!(serving.take_answer(), is_taken.then_some(-7));
        assert!(serving.ask(&WORDS).is_some_and(|next| next != number));
    });
}

mod tenancy {
    use super::*;

    mutant!(NoTenantFence, without tenant_fence);
    mutant!(NoEvictionFence, without eviction_fence);
    mutant!(RelaxedLeave, relaxed UNLOCK);
    mutant!(RelaxedEviction, relaxed LOCK);

    #[test]
    fn tenant_and_other_are_inside_one_at_a_time() {
        tenant_and_other::<Production>();
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn tenant_without_fence_is_caught() {
        tenant_and_other::<NoTenantFence>();
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn eviction_without_fence_is_caught() {
        tenant_and_other::<NoEvictionFence>();
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn relaxed_leaving_is_caught() {
        tenant_and_other::<RelaxedLeave>();
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn relaxed_eviction_is_caught() {
        tenant_and_other::<RelaxedEviction>();
    }
}
