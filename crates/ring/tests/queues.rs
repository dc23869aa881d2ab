//! Both sides over mapped pages, in every shape, and across the wrap-around of the counters.
#![cfg(not(loom))]

mod support;

use ringer_abi::{Cqe, SqRingFlags, Sqe};
use ringer_ring::{CqFull, RingShape, SharedRing, SqFull, Taken};
use support::{Program, SMALL, pair, take};

fn user_data(taken: Option<Taken>) -> Option<u64> {
    match taken? {
        Taken::Sqe { sqe, .. } => Some(sqe.user_data()),
        Taken::Dropped => panic!("a good entry was dropped"),
    }
}

#[test]
fn entries_go_through_both_queues_in_order() {
    let (ring, mut program) = pair(SMALL);
    assert!(ring.sq_is_empty() && !ring.sq_is_full());
    for round in 0..10_u64 {
        for slot in 0..4 {
            assert_eq!(program.client.sq_space(), 4 - slot as u32);
            program.client.sq_push(&Sqe::default().with_user_data(round * 4 + slot)).unwrap();
        }
        assert_eq!(program.client.sq_push(&Sqe::default()), Err(SqFull));
        assert_eq!(ring.sq_available(), 0, "nothing is published yet");
        program.client.sq_publish();
        assert_eq!(ring.sq_available(), 4);
        let mut batch = ring.sq_batch(u32::MAX);
        for slot in 0..4 {
            assert_eq!(batch.left(), 4 - slot as u32);
            assert_eq!(user_data(batch.take()), Some(round * 4 + slot));
            ring.cq_push(&Cqe::new(round * 4 + slot, -9, 5)).unwrap();
        }
        assert_eq!(batch.take(), None);
        assert!(ring.sq_is_full(), "the slots are ours until the head is published");
        assert_eq!(program.client.sq_space(), 0);
        batch.publish();
        assert!(!ring.sq_is_full());
        assert_eq!(ring.cq_ready(), 4);
        for slot in 0..4 {
            assert_eq!(program.client.cq_pop(), Some(Cqe::new(round * 4 + slot, -9, 5)));
        }
        assert_eq!((program.client.cq_pop(), ring.cq_ready()), (None, 0));
    }
}

#[test]
fn sqes_of_a_batch_need_not_stand_together() {
    let (ring, mut program) = pair(SMALL);
    for slot in 0..4 {
        program.client.sq_fill_slot(slot, &Sqe::default().with_user_data(slot.into()), &[0; 8]);
    }
    for slot in [2, 0, 3] {
        program.client.sq_push_index(slot).unwrap();
    }
    program.client.sq_publish();
    for slot in [2, 0, 3] {
        assert_eq!(user_data(take(&ring)), Some(slot));
    }
}

#[test]
fn the_snapshot_does_not_follow_the_slot() {
    let (ring, mut program) = pair(SMALL);
    program.client.sq_push(&Sqe::default().with_user_data(1)).unwrap();
    program.client.sq_publish();
    let mut batch = ring.sq_batch(1);
    let (seen, taken) = (batch.peek(), batch.take());
    assert_eq!(seen, Some(Sqe::default().with_user_data(1)));
    program.client.sq_fill_slot(0, &Sqe::default().with_user_data(2), &[0; 8]);
    assert_eq!(user_data(taken), Some(1));
}

#[test]
fn a_full_completion_queue_refuses_and_recovers() {
    let (ring, mut program) = pair(SMALL);
    for user_data in 0..8 {
        ring.cq_push(&Cqe::new(user_data, 0, 0)).unwrap();
    }
    assert_eq!(ring.cq_push(&Cqe::new(8, 0, 0)), Err(CqFull));
    assert_eq!(program.client.cq_pop().map(|cqe| cqe.user_data), Some(0));
    ring.cq_push(&Cqe::new(8, 0, 0)).unwrap();
    let rest: Vec<u64> = std::iter::from_fn(|| program.client.cq_pop()).map(|cqe| cqe.user_data).collect();
    assert_eq!(rest, Vec::from_iter(1..9));
}

#[test]
fn of_several_completions_those_are_posted_that_fit() {
    for cqe_mixed in [false, true] {
        let (ring, mut program) = pair(RingShape { cqe_mixed, ..SMALL });
        let cqes: Vec<Cqe> = (0..6).map(|user_data| Cqe::new(user_data, 0, 0)).collect();
        assert_eq!([ring.cq_push_all(&cqes), ring.cq_push_all(&cqes), ring.cq_push_all(&cqes)], [6, 2, 0]);
        let reaped: Vec<u64> =
            std::iter::from_fn(|| program.client.cq_pop()).map(|cqe| cqe.user_data).collect();
        assert_eq!(reaped, [0, 1, 2, 3, 4, 5, 0, 1]);
        assert_eq!(ring.cq_push_all(&[]), 0);
    }
}

#[test]
fn completions_of_a_batch_are_seen_together_or_not_at_all() {
    let (ring, mut program) = pair(SMALL);
    // It is given up.
    ring.cq_batch().push(&Cqe::new(1, 0, 0)).unwrap();
    assert_eq!(program.client.cq_pop(), None);
    let mut batch = ring.cq_batch();
    for user_data in 2..10 {
        batch.push(&Cqe::new(user_data, 0, 0)).unwrap();
    }
    assert_eq!(batch.push(&Cqe::new(10, 0, 0)), Err(CqFull));
    assert_eq!((program.client.cq_pop(), ring.cq_ready()), (None, 0));
    batch.publish();
    let reaped: Vec<u64> = std::iter::from_fn(|| program.client.cq_pop()).map(|cqe| cqe.user_data).collect();
    assert_eq!(reaped, Vec::from_iter(2..10));
}

#[test]
fn positions_wrap_around() {
    let ring = SharedRing::allocate_at(SMALL, u32::MAX - 2, u32::MAX - 5).unwrap();
    let mut program = Program::of(&ring);
    let (mut sent, mut received) = (0, 0);
    for _ in 0..5 {
        while program.client.sq_push(&Sqe::default().with_user_data(sent)).is_ok() {
            sent += 1;
        }
        program.client.sq_publish();
        assert_eq!(ring.sq_available(), 4);
        let mut batch = ring.sq_batch(4);
        while let Some(user_data) = user_data(batch.take()) {
            assert_eq!(ring.cq_push_all(&[Cqe::new(user_data, 0, 0)]), 1);
        }
        batch.publish();
        assert_eq!(ring.cq_ready(), 4);
        while let Some(cqe) = program.client.cq_pop() {
            assert_eq!(cqe.user_data, received);
            received += 1;
        }
    }
    assert_eq!((sent, received), (20, 20));
    assert_eq!(ring.cq_tail(), 20_u32.wrapping_add(u32::MAX - 5));
    // Full across the wrap, too.
    let ring = SharedRing::allocate_at(SMALL, 0, u32::MAX - 3).unwrap();
    for user_data in 0..8 {
        ring.cq_push(&Cqe::new(user_data, 0, 0)).unwrap();
    }
    assert_eq!((ring.cq_push(&Cqe::default()), ring.cq_ready()), (Err(CqFull), 8));
}

#[test]
fn large_entries_carry_both_halves() {
    let (ring, mut program) = pair(RingShape { sqe128: true, cqe32: true, ..SMALL });
    for number in 0..3_u64 {
        let second_half = std::array::from_fn(|word| number * 100 + word as u64);
        program.client.sq_push_wide(&Sqe::default().with_user_data(number), &second_half).unwrap();
    }
    program.client.sq_publish();
    for number in 0..3_u64 {
        let sqe = Sqe::default().with_user_data(number);
        assert_eq!(take(&ring), Some(Taken::Sqe { sqe }));
        let cqe = Cqe { user_data: number, res: 3, flags: 4, extra: [number + 5, 6] };
        ring.cq_push(&cqe).unwrap();
        assert_eq!(program.client.cq_pop(), Some(cqe));
    }
    // The bytes stand where the uapi structures have them.
    assert_eq!(u64::from_ne_bytes(program.sqes.bytes(2 * 128 + 32)), 2, "user_data of the third SQE");
    assert_eq!(u64::from_ne_bytes(program.sqes.bytes(2 * 128 + 64)), 200, "its second half");
    assert_eq!(u64::from_ne_bytes(program.rings.bytes(64 + 2 * 32)), 2, "user_data of the third CQE");
    assert_eq!(i32::from_ne_bytes(program.rings.bytes(64 + 2 * 32 + 8)), 3, "its res");
    assert_eq!(u32::from_ne_bytes(program.rings.bytes(64 + 2 * 32 + 12)), 4, "its flags");
    assert_eq!(u64::from_ne_bytes(program.rings.bytes(64 + 2 * 32 + 16)), 7, "its extra words");
}

#[test]
fn small_entries_leave_their_neighbours_alone() {
    let (ring, mut program) = pair(SMALL);
    let cqe = |user_data| Cqe { user_data, res: 1, flags: 2, extra: [u64::MAX; 2] };
    for number in [1, 2] {
        ring.cq_push(&cqe(number)).unwrap();
    }
    for number in [1, 2] {
        assert_eq!(program.client.cq_pop(), Some(Cqe::new(number, 1, 2)), "no extra words here");
    }
    for number in [1, 2] {
        program.client.sq_push_wide(&Sqe::default().with_user_data(number), &[u64::MAX; 8]).unwrap();
    }
    program.client.sq_publish();
    for number in [1, 2] {
        let sqe = Sqe::default().with_user_data(number);
        assert_eq!(take(&ring), Some(Taken::Sqe { sqe }));
    }
}

#[test]
fn without_the_index_array_slots_are_taken_in_order() {
    let shape = RingShape { no_sqarray: true, ..SMALL };
    assert_eq!(shape.sq_offsets().array, 0);
    let (ring, mut program) = pair(shape);
    for number in 0..9 {
        program.client.sq_push(&Sqe::default().with_user_data(number)).unwrap();
        program.client.sq_publish();
        assert_eq!(user_data(take(&ring)), Some(number));
    }
    let head = shape.sq_offsets().head;
    assert_eq!(
        program.rings.word(head).load(std::sync::atomic::Ordering::Relaxed),
        9,
        "not used as an array"
    );
}

#[test]
fn flags_and_counters_stand_where_the_program_looks() {
    let (ring, mut program) = pair(SMALL);
    ring.sq_set_flags(SqRingFlags::CQ_OVERFLOW | SqRingFlags::TASKRUN);
    ring.sq_clear_flags(SqRingFlags::TASKRUN);
    assert_eq!(ring.sq_flags(), SqRingFlags::CQ_OVERFLOW);
    assert_eq!(program.client.sq_flags(), SqRingFlags::CQ_OVERFLOW);
    ring.cq_count_overflow();
    ring.cq_count_overflow();
    assert_eq!(program.client.cq_overflow(), 2);
    assert!(!ring.cq_eventfd_disabled());
    program.client.cq_disable_eventfd(true);
    assert!(ring.cq_eventfd_disabled());
}

#[test]
fn the_polling_thread_sleeps_only_on_an_empty_queue() {
    let (ring, mut program) = pair(SMALL);
    assert!(ring.sq_announce_sleep());
    assert!(program.client.sq_needs_wakeup());
    ring.sq_clear_flags(SqRingFlags::NEED_WAKEUP);
    program.client.sq_push(&Sqe::default()).unwrap();
    program.client.sq_publish();
    assert!(!ring.sq_announce_sleep());
    assert!(!program.client.sq_needs_wakeup());
}

#[test]
fn waiters_are_counted() {
    let (ring, _program) = pair(SMALL);
    assert_eq!(ring.waiters(), 0);
    ring.announce_waiter(None);
    ring.announce_waiter(None);
    ring.retire_waiter();
    assert_eq!(ring.waiters(), 1);
}
