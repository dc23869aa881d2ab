//! The process-shared lock, between threads. `fork.rs` has it between processes.
#![cfg(not(loom))]

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ringer_ring::{Production, SharedLock};

#[test]
fn one_thread_at_a_time() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 50_000;
    let lock = SharedLock::new();
    // A load and a store lose counts when two threads are inside.
    let count = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    let _guard = lock.lock();
                    let seen = count.load(Relaxed);
                    if round % 1000 == 0 {
                        // Makes the others sleep in the futex.
                        std::thread::yield_now();
                    }
                    count.store(seen + 1, Relaxed);
                }
            });
        }
    });
    assert_eq!(count.load(Relaxed), THREADS * ROUNDS);
}

#[test]
fn a_tenant_and_those_who_end_its_tenancy_are_inside_one_at_a_time() {
    const TENANCIES: u64 = 300;
    const ROUNDS: u64 = 2_000;
    if !ringer_ring::prepare_tenancies() {
        eprintln!("SKIPPED: this kernel has no membarrier, so that no lock has a tenant");
        return;
    }
    for _ in 0..TENANCIES {
        let lock = SharedLock::to_let();
        let count = AtomicU64::new(0);
        let add = || {
            let seen = count.load(Relaxed);
            std::hint::spin_loop();
            count.store(seen + 1, Relaxed);
        };
        let started = AtomicU64::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    let _guard = lock.lock_by(NonZeroU32::new(1));
                    add();
                    started.store(round, Relaxed);
                }
            });
            for other in [2, 3] {
                let (add, started, lock) = (&add, &started, &lock);
                scope.spawn(move || {
                    // In the middle of it.
                    while started.load(Relaxed) < ROUNDS / 3 {
                        std::hint::spin_loop();
                    }
                    for _ in 0..ROUNDS / 10 {
                        let _guard =
                            if other == 2 { lock.lock() } else { lock.lock_by(NonZeroU32::new(other)) };
                        add();
                    }
                });
            }
        });
        assert_eq!(count.load(Relaxed), ROUNDS + 2 * (ROUNDS / 10));
    }
}

#[test]
fn a_tenant_learns_of_waiters_as_everybody_does() {
    let lock = SharedLock::to_let();
    assert_eq!(lock.lock_by(NonZeroU32::new(1)).release(), 0);
    lock.announce::<Production>(NonZeroU32::new(1));
    assert_eq!(lock.lock_by(NonZeroU32::new(1)).release(), 1);
    lock.announce::<Production>(NonZeroU32::new(2));
    assert_eq!(lock.lock_by(NonZeroU32::new(1)).release(), 2);
    lock.retire();
    lock.retire();
    assert_eq!(lock.lock_by(NonZeroU32::new(2)).release(), 0);
}
