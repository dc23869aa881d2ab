//! The process-shared lock, between threads. `fork.rs` has it between processes.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ringer_ring::SharedLock;

#[test]
fn a_held_lock_is_refused() {
    let lock = SharedLock::new();
    let guard = lock.lock();
    assert!(lock.try_lock().is_none());
    drop(guard);
    assert!(lock.try_lock().is_some());
}

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
