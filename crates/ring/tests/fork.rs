//! A ring inherited over fork works in both processes.
#![cfg(not(loom))]

mod support;

use std::time::{Duration, Instant};

use ringer_abi::Cqe;
use ringer_ring::SharedRing;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::runtime::{Fork, exit_group, kernel_fork};
use support::{SMALL, pair};

const EACH: u64 = 20_000;
const LIMIT: Duration = Duration::from_secs(30);

/// Runs `child` in a child process. It may use memory and make system calls, nothing else:
/// the threads of the test harness do not exist there.
fn fork(child: impl FnOnce()) -> Pid {
    // SAFETY: the child keeps to the above and never returns.
    match unsafe { kernel_fork() }.expect("a child process") {
        Fork::Child(_) => {
            child();
            exit_group(0)
        }
        Fork::ParentOf(pid) => pid,
    }
}

/// Waits until the child has ended well; ends it at the deadline.
fn join(child: Pid, deadline: Instant) {
    loop {
        match waitpid(Some(child), WaitOptions::NOHANG).expect("our own child") {
            Some((_, status)) => return assert_eq!(status.exit_status(), Some(0), "{status:?}"),
            None if Instant::now() > deadline => {
                let _ = kill_process(child, Signal::KILL);
                let _ = waitpid(Some(child), WaitOptions::empty());
                panic!("the child did not end in time");
            }
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Posts CQEs `from ..` one by one under the completion lock, with patience for a full queue.
fn post(ring: &SharedRing, from: u64, deadline: Instant) {
    let mut next = from;
    while next < from + EACH && Instant::now() < deadline {
        let guard = ring.completion_lock().lock();
        let pushed = ring.cq_push(&Cqe::new(next, 0, 0));
        drop(guard);
        match pushed {
            Ok(()) => next += 1,
            Err(_) => std::thread::yield_now(),
        }
    }
}

#[test]
fn the_parent_sees_what_the_child_posts() {
    let (ring, mut program) = pair(SMALL);
    let child = fork(|| {
        let _guard = ring.completion_lock().lock();
        let _ = ring.cq_push(&Cqe::new(42, 1, 2));
        ring.announce_waiter();
    });
    join(child, Instant::now() + LIMIT);
    assert_eq!(ring.cq_ready(), 1);
    assert_eq!(ring.waiters(), 1);
    assert_eq!(program.client.cq_pop(), Some(Cqe::new(42, 1, 2)));
    assert!(ring.completion_lock().try_lock().is_some(), "the child gave the lock back");
}

#[test]
fn parent_and_child_post_at_the_same_time() {
    let (ring, mut program) = pair(SMALL);
    let deadline = Instant::now() + LIMIT;
    let child = fork(|| post(&ring, EACH, deadline));
    let mut seen = [0_u64, EACH];
    std::thread::scope(|scope| {
        scope.spawn(|| post(&ring, 0, deadline));
        while (seen[0] < EACH || seen[1] < 2 * EACH) && Instant::now() < deadline {
            match program.client.cq_pop() {
                // Each process's CQEs come in its order, so each is seen exactly once.
                Some(cqe) => {
                    let next = &mut seen[usize::from(cqe.user_data >= EACH)];
                    assert_eq!(cqe.user_data, *next);
                    *next += 1;
                }
                None => std::thread::yield_now(),
            }
        }
    });
    join(child, deadline);
    assert_eq!(seen, [EACH, 2 * EACH]);
}

#[test]
fn a_lock_held_by_the_child_is_waited_for() {
    let (ring, _program) = pair(SMALL);
    let child = fork(|| {
        let guard = ring.submission_lock().lock();
        ring.announce_waiter();
        let _ = rustix::thread::nanosleep(&rustix::thread::Timespec { tv_sec: 0, tv_nsec: 50_000_000 });
        ring.retire_waiter();
        drop(guard);
    });
    let deadline = Instant::now() + LIMIT;
    while ring.waiters() == 0 {
        assert!(Instant::now() < deadline, "the child did not start in time");
        std::thread::yield_now();
    }
    // A lost wake-up would hang here, so the wait has a limit of its own.
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _guard = ring.submission_lock().lock();
            sender.send(ring.waiters()).expect("the receiver waits");
        });
        let waiters = receiver.recv_timeout(LIMIT).unwrap_or_else(|_| std::process::abort());
        assert_eq!(waiters, 0, "the child was inside when we got the lock");
    });
    join(child, deadline);
}
