//! FUTEX_WAIT, FUTEX_WAKE and FUTEX_WAITV.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringer_abi::{Opcode, RegisterOpcode, SetupFlags, Sqe, SqeFlags, uapi};
use ringer_sys::futex::{self, ANY, MOST_WORDS, PRIVATE, SIZE_32};

use super::buffer_ring_use::{Buffers, INCREMENTAL, head};
use crate::differential::exemplar::{Exemplar, FdRole, Field, Good};
use crate::differential::memory::Memory;
use crate::differential::ring::LIMIT;
use crate::differential::{Case, Ring, Session, prep};

const WORD: u32 = SIZE_32 | PRIVATE;
const FIELDS: &[Field] = &[Field::Addr, Field::Off, Field::Addr3];

/// `fd` holds the flags, `off` the value, `addr3` the mask.
fn wait(address: u64, value: u64, mask: u64) -> Sqe {
    prep::op(Opcode::FutexWait, WORD as i32).with_addr(address).with_off(value).with_addr3(mask)
}

/// `off` is how many to wake.
fn wake(address: u64, count: u64, mask: u64) -> Sqe {
    prep::op(Opcode::FutexWake, WORD as i32).with_addr(address).with_off(count).with_addr3(mask)
}

fn wait_any(address: u64, value: u64) -> Sqe {
    wait(address, value, ANY.into())
}

fn wake_any(address: u64, count: u64) -> Sqe {
    wake(address, count, ANY.into())
}

/// `len` words.
fn waitv(words: u64, count: u32) -> Sqe {
    prep::op(Opcode::FutexWaitv, 0).with_addr(words).with_len(count)
}

/// `struct futex_waitv` for each address and value.
fn words(session: &Session, words: &[(u64, u64)]) -> Memory {
    let fields: Vec<u64> =
        words.iter().flat_map(|(address, value)| [*value, *address, WORD.into()]).collect();
    session.words(&fields)
}

/// The same for words that lie one behind the other and hold 0.
fn many(session: &Session, block: &Memory, count: u64) -> Memory {
    let places: Vec<(u64, u64)> = (0..count).map(|index| (block.addr() + 4 * index, 0)).collect();
    words(session, &places)
}

/// A wake by an ordinary system call.
fn wake_directly(session: &Session, label: &str, address: u64, count: i32, mask: u32) {
    let woken = futex::wake(ringer_sys::UserAddress::new(address), mask, count, WORD);
    session.outcome(format!("{label}: futex_wake"), woken.map(|woken| woken as i64));
}

/// A requests that wakes nobody, and one whose word has changed.
const WAKE: Exemplar =
    Exemplar::new("futex-wake", Opcode::FutexWake, FdRole::Ignored, FIELDS, &[Field::Addr], |session, _| {
        Good::new(wake_any(session.memory(4).addr(), 1))
    });
const WAIT: Exemplar =
    Exemplar::new("futex-wait", Opcode::FutexWait, FdRole::Ignored, FIELDS, &[Field::Addr], |session, _| {
        Good::new(wait_any(session.memory(4).addr(), 1))
    });
const WAITV: Exemplar = Exemplar::new(
    "futex-waitv",
    Opcode::FutexWaitv,
    FdRole::Ignored,
    &[Field::Addr, Field::Len],
    &[Field::Addr],
    |session, _| {
        let word = session.memory(4);
        Good::new(waitv(words(session, &[(word.addr(), 1)]).addr(), 1))
    },
);

/// The cases of futexes.
pub fn cases() -> Vec<Case> {
    let mut cases = WAKE.cases();
    cases.extend(WAIT.cases());
    cases.extend(WAITV.cases());
    cases.extend(fields());
    cases.extend(waking());
    cases.extend(cancelling());
    cases.extend(several());
    cases
}

fn fields() -> Vec<Case> {
    vec![
        Case::new("futex-wait/fields", Opcode::FutexWait, |session| {
            let ring = session.ring(8);
            let block = session.memory(64);
            let good = wait_any(block.addr(), 1);
            each_flag(session, &ring, good);
            session.one_recorded("no mask", &ring, good.with_addr3(0));
            session.one_recorded("no mask, value as it is", &ring, wait(block.addr(), 0, 0));
            session.one_recorded("wide mask", &ring, good.with_addr3(1 << 32));
            session.one_recorded("wide value", &ring, good.with_off(1 << 32));
            session.one_recorded("not aligned", &ring, good.with_addr(block.addr() + 2));
            session.one_recorded("not aligned, value as it is", &ring, wait_any(block.addr() + 2, 0));
            session.one_recorded("not aligned, no mask", &ring, wait(block.addr() + 2, 0, 0));
            session.one_recorded("null", &ring, good.with_addr(0));
            session.one_recorded("kernel address", &ring, good.with_addr(1 << 63));
            session.one_recorded("bad address", &ring, good.with_addr(session.bad_address()));
            let shared = good.with_fd(SIZE_32 as i32);
            session.one_recorded("shared", &ring, shared);
            session.one_recorded("shared bad address", &ring, shared.with_addr(session.bad_address()));
        }),
        Case::new("futex-wake/fields", Opcode::FutexWake, |session| {
            let ring = session.ring(8);
            let block = session.memory(64);
            let good = wake_any(block.addr(), 1);
            each_flag(session, &ring, good);
            for count in [0, 2, 1 << 30, 1 << 31, u32::MAX.into(), 1 << 32] {
                session.one_recorded(format!("count {count:#x}"), &ring, good.with_off(count));
            }
            session.one_recorded("no mask", &ring, good.with_addr3(0));
            session.one_recorded("wide mask", &ring, good.with_addr3(1 << 32));
            session.one_recorded("not aligned", &ring, good.with_addr(block.addr() + 2));
            session.one_recorded("not aligned, none", &ring, wake_any(block.addr() + 2, 0));
            session.one_recorded("null", &ring, good.with_addr(0));
            session.one_recorded("kernel address", &ring, good.with_addr(1 << 63));
            session.one_recorded("bad address", &ring, good.with_addr(session.bad_address()));
            let shared = good.with_fd(SIZE_32 as i32);
            session.one_recorded("shared", &ring, shared);
            session.one_recorded("shared bad address", &ring, shared.with_addr(session.bad_address()));
        }),
        Case::new("futex-waitv/fields", Opcode::FutexWaitv, |session| {
            let ring = session.ring(8);
            let block = session.memory(64);
            let entry = |value: u64, address: u64, flags: u64| session.words(&[value, address, flags]).addr();
            for bit in 0..64 {
                let sqe = waitv(entry(1, block.addr(), u64::from(WORD) ^ 1 << bit), 1);
                session.one_recorded(format!("flag bit {bit}"), &ring, sqe);
            }
            let one = |address: u64| waitv(entry(0, address, WORD.into()), 1);
            session.one_recorded("wide value", &ring, waitv(entry(1 << 32, block.addr(), WORD.into()), 1));
            session.one_recorded("not aligned", &ring, one(block.addr() + 2));
            session.one_recorded("null word", &ring, one(0));
            session.one_recorded("kernel address", &ring, one(1 << 63));
            session.one_recorded("bad word", &ring, one(session.bad_address()));
            session.one_recorded("no array", &ring, waitv(0, 1));
            session.one_recorded("bad array", &ring, waitv(session.bad_address(), 1));
            session.one_recorded("no words", &ring, waitv(one(block.addr()).addr(), 0));
            let block = session.memory(1024);
            block.put(4 * 127, 1_u32);
            let array = many(session, &block, 200);
            for count in [127, 128, 129, 200] {
                block.put(4 * (count as usize - 1), 1_u32);
                session.one_recorded(format!("{count} words"), &ring, waitv(array.addr(), count));
            }
            let mixed = words(session, &[(block.addr(), 9), (block.addr() + 2, 0)]);
            session.one_recorded("changed and not aligned", &ring, waitv(mixed.addr(), 2));
            let mixed = words(session, &[(block.addr(), 9), (session.bad_address(), 0)]);
            session.one_recorded("changed and bad", &ring, waitv(mixed.addr(), 2));
        }),
    ]
}

/// Tries the flags of a word, of which some mean that a second word follows.
fn each_flag(session: &Session, ring: &Ring, good: Sqe) {
    for bit in 0..32 {
        session.one_recorded(format!("flag bit {bit}"), ring, good.with_fd((WORD ^ 1 << bit) as i32));
    }
    session.one_recorded("no flags", ring, good.with_fd(0));
}

fn waking() -> Vec<Case> {
    vec![
        Case::new("futex-wake/same-batch", Opcode::FutexWake, |session| {
            let ring = session.ring(16);
            let word = session.memory(4).addr();
            for (label, value) in [("one", 1), ("two", 2), ("more than there are", 9)] {
                let mut sqes = [1, 2, 3].map(|data| wait_any(word, 0).with_user_data(data)).to_vec();
                sqes.push(wake_any(word, value).with_user_data(9));
                let woken = value.min(3) as usize;
                session.batch_of(label, &ring, &sqes, 1 + woken);
                session.quiet("nobody else", &ring);
                session.batch_of("the rest", &ring, &[wake_any(word, 9)], 1 + 3 - woken);
            }
        }),
        Case::new("futex-wait/async", Opcode::FutexWait, |session| {
            let ring = session.ring(8);
            let word = session.memory(4).addr();
            ring.push(wait_any(word, 0).with_user_data(1).with_flags(SqeFlags::ASYNC));
            session.outcome("submit", ring.submit());
            session.quiet("asleep", &ring);
            session.batch_of("awake", &ring, &[wake_any(word, 9).with_flags(SqeFlags::ASYNC)], 2);
        }),
        Case::new("futex-wait/woken-by-the-call", Opcode::FutexWait, |session| {
            let ring = session.ring(8);
            for shared in [false, true] {
                let word = session.memory(4);
                let flags = if shared { SIZE_32 } else { WORD };
                for round in 0..5 {
                    ring.push(wait_any(word.addr(), 0).with_fd(flags as i32).with_user_data(round));
                    session.outcome("submit", ring.submit());
                    let woken = futex::wake(word.user(), ANY, 1, flags);
                    session.outcome("futex_wake", woken.map(|woken| woken as i64));
                    session.cqes("completion", &ring.collect(1));
                }
            }
        }),
        Case::new("futex-wait/masks", Opcode::FutexWait, |session| {
            let ring = session.ring(8);
            let word = session.memory(4).addr();
            for mask in [1, 2, 3] {
                ring.push(wait(word, 0, mask).with_user_data(mask));
            }
            session.outcome("submit", ring.submit());
            session.batch_of("none", &ring, &[wake(word, 9, 4).with_user_data(8)], 1);
            session.quiet("nobody", &ring);
            session.batch_of("two", &ring, &[wake(word, 9, 1).with_user_data(8)], 3);
            std::thread::sleep(Duration::from_millis(50));
            wake_directly(session, "the last", word, 9, 6);
            session.cqes("last", &ring.collect(1));
        }),
        Case::new("futex-wait/later", Opcode::FutexWait, |session| {
            for setup in [
                SetupFlags::empty(),
                SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN,
                SetupFlags::SQPOLL,
                SetupFlags::IOPOLL,
            ] {
                let ring = session.ring_with(8, setup);
                let word = session.memory(4).addr();
                ring.push(wait_any(word, 0).with_user_data(1));
                session.outcome("submit", ring.submit());
                let end = Instant::now() + LIMIT;
                while ring.unsubmitted() > 0 && Instant::now() < end {
                    std::thread::sleep(Duration::from_millis(1));
                }
                session.quiet("asleep", &ring);
                wake_directly(session, &format!("setup {:#x}", setup.bits()), word, 1, ANY);
                if !setup.contains(SetupFlags::IOPOLL) {
                    session.cqes("awake", &ring.collect(1));
                }
            }
        }),
        Case::new("futex-wait/in-a-chain", Opcode::FutexWait, |session| {
            let ring = session.ring(8);
            let word = session.memory(4).addr();
            let chain = [
                wait_any(word, 0).with_user_data(1).with_flags(SqeFlags::IO_LINK),
                wake_any(word, 1).with_user_data(2).with_flags(SqeFlags::IO_LINK),
                wait_any(word, 7).with_user_data(3).with_flags(SqeFlags::IO_LINK),
                prep::nop().with_user_data(4),
            ];
            ring.push_all(&chain);
            session.outcome("submit", ring.submit());
            session.quiet("asleep", &ring);
            wake_directly(session, "chain", word, 1, ANY);
            session.cqes("all", &ring.collect(4));
            let skipped = wait_any(word, 0).with_user_data(5).with_flags(SqeFlags::CQE_SKIP_SUCCESS);
            session.batch_of("skipped", &ring, &[skipped, wake_any(word, 1).with_user_data(6)], 1);
            session.quiet("nothing more", &ring);
        }),
        Case::new("futex-wait/what-follows", Opcode::FutexWait, |session| {
            let first = wait_any(session.memory(4).addr(), 0).with_user_data(1).with_flags(SqeFlags::IO_LINK);
            for flags in [0, INCREMENTAL] {
                for opcode in [Opcode::Read, Opcode::ReadMultishot] {
                    for count in [0, 2] {
                        let label = format!("{flags}, {opcode:?}, {count} buffers");
                        let ring = session.ring(8);
                        let (reader, writer) = session.pipe();
                        let _buffers = Buffers::new(session, &ring, 1, count, 16, flags);
                        let read = prep::op(opcode, reader).with_off(u64::MAX).with_buf_index(1);
                        ring.push_all(&[first, read.with_flags(SqeFlags::BUFFER_SELECT).with_user_data(2)]);
                        session.outcome(format!("{label}: submit"), ring.submit());
                        session.quiet(format!("{label}: asleep"), &ring);
                        wake_directly(session, &label, first.addr(), 1, ANY);
                        session.quiet(format!("{label}: awake"), &ring);
                        session.record(format!("{label}: head"), head(session, &ring, 1));
                        session.write_fd(writer, b"abc");
                        session.quiet(format!("{label}: written"), &ring);
                        ring.push(prep::cancel(2, 0).with_user_data(3));
                        session.outcome(format!("{label}: cancel"), ring.submit());
                        session.quiet(format!("{label}: cancelled"), &ring);
                    }
                }
            }
        }),
        Case::new("futex-wait/signals", Opcode::FutexWait, |session| {
            for opcode in [RegisterOpcode::Eventfd, RegisterOpcode::EventfdAsync] {
                let ring = session.ring(8);
                let word = session.memory(4).addr();
                let counter = session.eventfd(0);
                let argument = session.ints(&[counter]);
                session.outcome("register", ring.register(opcode.number(), argument.addr(), 1));
                ring.push(wait_any(word, 0).with_user_data(1));
                session.outcome("submit", ring.submit());
                wake_directly(session, "the wait", word, 1, ANY);
                session.quiet("awake", &ring);
                session.record(format!("{opcode:?}"), session.eventfd_count(counter));
            }
        }),
        Case::new("futex-wait/many", Opcode::FutexWait, |session| {
            let ring = session.ring(256);
            let word = session.memory(4).addr();
            let sqes: Vec<Sqe> = (0..200).map(|data| wait_any(word, 0).with_user_data(data)).collect();
            ring.push_all(&sqes);
            session.outcome("submit", ring.submit());
            session.one_recorded("some", &ring, wake_any(word, 77).with_user_data(1000));
            wake_directly(session, "the rest", word, i32::MAX, ANY);
            let mut seen = ring.collect_until(Duration::from_secs(5), |seen| seen.len() >= 123);
            seen.extend(ring.collect_until(Duration::from_millis(100), |_| false));
            session.record("all good", seen.iter().all(|cqe| cqe.res == 0));
        }),
    ]
}

fn cancelling() -> Vec<Case> {
    vec![
        Case::new("futex-wait/cancelled", Opcode::FutexWait, |session| {
            let ring = session.ring(8);
            let word = session.memory(4).addr();
            for mask in [ANY.into(), 5] {
                ring.push(wait(word, 0, mask).with_user_data(1));
                session.outcome("submit", ring.submit());
                let sqes = [prep::cancel(1, 0).with_user_data(2), wake(word, 1, mask).with_user_data(3)];
                session.batch_of("cancelled in time", &ring, &sqes, 3);
                session.batch_of("gone", &ring, &[prep::cancel(1, 0).with_user_data(2)], 1);
                let waits = [4, 4, 5].map(|data| wait(word, 0, mask).with_user_data(data));
                ring.push_all(&waits);
                session.outcome("submit", ring.submit());
                let all = prep::cancel(4, uapi::IORING_ASYNC_CANCEL_ALL).with_user_data(6);
                session.batch_of("all of one kind", &ring, &[all], 3);
                let any = prep::cancel(0, uapi::IORING_ASYNC_CANCEL_ANY).with_user_data(6);
                session.batch_of("any", &ring, &[any], 2);
            }
            ring.push(wait_any(word, 0).with_user_data(1));
            session.outcome("submit", ring.submit());
            let by_file = prep::cancel(0, uapi::IORING_ASYNC_CANCEL_FD).with_fd(0).with_user_data(2);
            session.batch_of("by file", &ring, &[by_file], 1);
            let by_opcode = prep::cancel(0, uapi::IORING_ASYNC_CANCEL_OP)
                .with_len(Opcode::FutexWait.number().into())
                .with_user_data(2);
            session.batch_of("by opcode", &ring, &[by_opcode], 2);
        }),
        Case::new("futex-wait/cancelled-in-a-chain", Opcode::FutexWait, |session| {
            let word = session.words(&[0]);
            let entries = words(session, &[(word.addr(), 0)]);
            for (label, sqe) in [("one", wait_any(word.addr(), 0)), ("several", waitv(entries.addr(), 1))] {
                for flags in [SqeFlags::IO_LINK, SqeFlags::IO_LINK | SqeFlags::CQE_SKIP_SUCCESS] {
                    let ring = session.ring(8);
                    ring.push(sqe.with_user_data(1).with_flags(flags));
                    ring.push(prep::nop().with_user_data(2));
                    session.outcome(format!("{label}, {flags:?}: submit"), ring.submit());
                    ring.push(prep::cancel(1, 0).with_user_data(3));
                    session.outcome(format!("{label}, {flags:?}: cancel"), ring.submit());
                    session.quiet(format!("{label}, {flags:?}"), &ring);
                }
            }
        }),
        Case::new("futex-wait/sync-cancelled", Opcode::FutexWait, |session| {
            let ring = session.ring(8);
            let word = session.memory(4).addr();
            ring.push(wait_any(word, 0).with_user_data(1));
            session.outcome("submit", ring.submit());
            let argument = session.words(&[1, 0, u64::MAX, u64::MAX, 0, 0, 0, 0]);
            let opcode = RegisterOpcode::SyncCancel.number();
            session.outcome("cancel", ring.register(opcode, argument.addr(), 1));
            session.cqes("completion", &ring.collect(1));
            session.outcome("again", ring.register(opcode, argument.addr(), 1));
        }),
        Case::new("futex-wait/limited", Opcode::FutexWait, |session| {
            let ring = session.ring(8);
            let word = session.memory(4).addr();
            let soon = session.timespec(0, 20_000_000).addr();
            let late = session.timespec(60, 0).addr();
            for mask in [ANY.into(), 5] {
                let limited = wait(word, 0, mask).with_user_data(1).with_flags(SqeFlags::IO_LINK);
                let limit = |time: u64| prep::link_timeout(time, 0).with_user_data(2);
                session.batch("in vain", &ring, &[limited, limit(soon)]);
                session.one_recorded("nobody left", &ring, wake(word, 1, mask).with_user_data(3));
                session.batch(
                    "in time",
                    &ring,
                    &[limited, limit(late), wake(word, 1, mask).with_user_data(3)],
                );
            }
        }),
        Case::new("futex-wait/ring-closed", Opcode::FutexWait, |session| {
            let ring = session.ring(8);
            let word = session.memory(4).addr();
            ring.push_all(&[wait_any(word, 0), wait(word, 0, 5)]);
            session.outcome("submit", ring.submit());
            // The kernel needs a moment for it.
            drop(ring);
            std::thread::sleep(Duration::from_millis(50));
            wake_directly(session, "after", word, 9, ANY);
        }),
    ]
}

fn several() -> Vec<Case> {
    vec![
        Case::new("futex-waitv/woken", Opcode::FutexWaitv, |session| {
            let ring = session.ring(8);
            for count in [1_u32, 2, 3, 126, 127, MOST_WORDS as u32] {
                let block = session.memory(4 * count as usize);
                let array = many(session, &block, count.into());
                for place in [0, count / 2, count - 1] {
                    ring.push(waitv(array.addr(), count).with_user_data(1));
                    session.outcome("submit", ring.submit());
                    let woken = block.addr() + 4 * u64::from(place);
                    wake_directly(session, &format!("{place} of {count}"), woken, 9, ANY);
                    session.cqes("completion", &ring.collect(1));
                }
            }
        }),
        Case::new("futex-waitv/two-at-once", Opcode::FutexWaitv, |session| {
            let ring = session.ring(8);
            let block = session.memory(16);
            let array = many(session, &block, 4);
            let sqes = [
                waitv(array.addr(), 4).with_user_data(1),
                wait_any(block.addr() + 4, 0).with_user_data(2),
                wake_any(block.addr() + 4, 9).with_user_data(3),
                wake_any(block.addr() + 8, 9).with_user_data(4),
            ];
            ring.push_all(&sqes[..2]);
            session.outcome("submit", ring.submit());
            session.batch_of("one word", &ring, &sqes[2..3], 3);
            session.batch_of("too late", &ring, &sqes[3..], 1);
        }),
        Case::new("futex-wait/wakes-and-cancellations-race", Opcode::FutexWait, |session| {
            // What wakes counted is what waits saw, and every wait ends once.
            for mask in [ANY, 5] {
                let ring = session.ring(8);
                let word = session.memory(4).user();
                let is_over = Arc::new(AtomicBool::new(false));
                let waker = std::thread::spawn({
                    let is_over = Arc::clone(&is_over);
                    move || {
                        let mut woken = 0;
                        // Relaxed: the last look of all comes after the thread is joined.
                        while !is_over.load(Ordering::Relaxed) {
                            woken += futex::wake(word, mask, 1, WORD).unwrap_or(0);
                            std::thread::yield_now();
                        }
                        woken
                    }
                });
                let (mut ended, mut successes) = (0, 0);
                let rounds = if mask == ANY { 200 } else { 30 };
                for _ in 0..rounds {
                    ring.push(wait(word.get(), 0, mask.into()).with_user_data(1));
                    let _ = ring.submit();
                    ring.push(prep::cancel(1, 0).with_user_data(2));
                    let _ = ring.submit();
                    let seen = ring.collect(2);
                    ended += seen.iter().filter(|cqe| cqe.user_data == 1).count();
                    successes += seen.iter().filter(|cqe| cqe.user_data == 1 && cqe.res == 0).count();
                }
                is_over.store(true, Ordering::Relaxed);
                let woken = waker.join().expect("it does not panic");
                session.record(format!("mask {mask:#x}: ended once each"), ended == rounds);
                session.record(format!("mask {mask:#x}: none lost"), woken == successes);
                session.quiet("nothing more", &ring);
            }
        }),
        Case::new("futex-waitv/cancelled", Opcode::FutexWaitv, |session| {
            let ring = session.ring(8);
            let block = session.memory(1024);
            for count in [2, 128] {
                let array = many(session, &block, count);
                ring.push(waitv(array.addr(), count as u32).with_user_data(1));
                session.outcome("submit", ring.submit());
                // The array was read at submission.
                array.fill(&[0xff; 16]);
                session.quiet("asleep", &ring);
                session.batch_of("cancelled", &ring, &[prep::cancel(1, 0).with_user_data(2)], 2);
                session.one_recorded("gone", &ring, wake_any(block.addr(), 1));
            }
        }),
    ]
}
