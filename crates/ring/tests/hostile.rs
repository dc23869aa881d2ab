//! A program that writes nonsense over everything it has mapped.
#![cfg(not(loom))]

mod support;

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ringer_abi::{Cqe, Sqe};
use ringer_ring::{CqFull, RingShape, Taken};
use support::{SMALL, pair, take};

#[test]
fn an_index_beyond_the_array_is_counted_and_skipped() {
    let (ring, mut program) = pair(SMALL);
    for index in [4, u32::MAX] {
        program.client.sq_push_index(index).unwrap();
    }
    program.client.sq_push(&Sqe::default().with_user_data(7)).unwrap();
    program.client.sq_publish();
    let mut batch = ring.sq_batch(4);
    assert_eq!(batch.peek(), None);
    assert_eq!(batch.take(), Some(Taken::Dropped));
    assert_eq!(batch.take(), Some(Taken::Dropped));
    assert!(matches!(batch.take(), Some(Taken::Sqe { sqe, .. }) if sqe.user_data() == 7));
    assert_eq!(program.client.sq_dropped(), 2);
    batch.publish();
    assert_eq!(program.client.sq_space(), 4, "dropped entries give their slots back, too");
}

#[test]
fn masks_and_entries_are_not_read_back() {
    let (ring, mut program) = pair(SMALL);
    for offset in [16, 20, 24, 28] {
        program.rings.word(offset).store(u32::MAX, Relaxed);
    }
    for number in 0..20 {
        program.client.sq_push(&Sqe::default().with_user_data(number)).unwrap();
        program.client.sq_publish();
        assert!(matches!(take(&ring), Some(Taken::Sqe { sqe, .. }) if sqe.user_data() == number));
        ring.cq_push(&Cqe::new(number, 0, 0)).unwrap();
        assert_eq!(program.client.cq_pop().map(|cqe| cqe.user_data), Some(number));
    }
}

#[test]
fn a_wild_tail_offers_no_more_than_the_ring_holds() {
    let (ring, program) = pair(SMALL);
    let tail = program.rings.word(4);
    for wild in [5, 1 << 31, u32::MAX] {
        tail.store(wild, Relaxed);
        assert_eq!(ring.sq_available(), 4);
        assert!(ring.sq_is_full());
        // Takes whatever stands in the slots, again and again, if it is asked to.
        let mut batch = ring.sq_batch(u32::MAX);
        for _ in 0..4 {
            assert!(batch.take().is_some());
        }
        assert_eq!(batch.take(), None);
    }
}

#[test]
fn the_programs_copies_of_our_positions_do_not_matter() {
    let (ring, mut program) = pair(SMALL);
    let (sq_head, cq_tail) = (program.rings.word(0), program.rings.word(12));
    for number in 0..20 {
        program.client.sq_push(&Sqe::default().with_user_data(number)).unwrap();
        program.client.sq_publish();
        sq_head.store(0x5555_5555, Relaxed);
        assert!(matches!(take(&ring), Some(Taken::Sqe { sqe, .. }) if sqe.user_data() == number));
        assert_eq!(sq_head.load(Relaxed), number as u32 + 1);
        cq_tail.store(0x5555_5555, Relaxed);
        ring.cq_push(&Cqe::new(number, 0, 0)).unwrap();
        assert_eq!(cq_tail.load(Relaxed), number as u32 + 1);
        assert_eq!(program.client.cq_pop().map(|cqe| cqe.user_data), Some(number));
    }
}

#[test]
fn a_completion_head_beyond_the_tail_is_a_full_queue() {
    let (ring, program) = pair(SMALL);
    let head = program.rings.word(8);
    for wild in [1, 1 << 31, u32::MAX - 8] {
        head.store(wild, Relaxed);
        assert_eq!(ring.cq_push(&Cqe::default()), Err(CqFull));
        assert_eq!(ring.cq_ready(), 8);
    }
    head.store(0, Relaxed);
    assert_eq!(ring.cq_push(&Cqe::default()), Ok(()));
    assert_eq!(ring.cq_ready(), 1);
}

/// Every word of both areas changes all the time under the serving side.
#[test]
fn constant_scribbling_neither_crashes_nor_hangs() {
    for shape in [SMALL, RingShape { sqe128: true, cqe32: true, no_sqarray: true, ..SMALL }] {
        let (ring, program) = pair(shape);
        let stop = AtomicBool::new(false);
        let deadline = Instant::now() + Duration::from_secs(20);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Any generator will do; the seed makes a failure repeatable.
                let mut random = 0x9e37_79b9_7f4a_7c15_u64;
                while !stop.load(Relaxed) && Instant::now() < deadline {
                    for mapped in [&program.rings, &program.sqes] {
                        for word in 0..1024 {
                            random ^= random << 13;
                            random ^= random >> 7;
                            random ^= random << 17;
                            mapped.word(word * 4).store(random as u32, Relaxed);
                        }
                    }
                }
            });
            for number in 0..200_000 {
                assert!(ring.sq_available() <= 4);
                let _ = take(&ring);
                let _ = ring.cq_push(&Cqe::new(number, 0, 0));
                assert!(ring.cq_ready() <= 8);
                let _ = ring.sq_announce_sleep();
                if number % 4096 == 0 {
                    std::thread::yield_now();
                }
            }
            stop.store(true, Relaxed);
        });
    }
}
