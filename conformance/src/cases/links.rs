//! Links and hard links.

use ringer_abi::{RegisterOpcode, SetupFlags, Sqe, SqeFlags};

use super::rw::TEXT;
use crate::differential::{Case, prep};

const LINK: SqeFlags = SqeFlags::IO_LINK;
const HARD: SqeFlags = SqeFlags::IO_HARDLINK;

/// A NOP with a name and flags.
fn nop(user_data: u64, flags: SqeFlags) -> Sqe {
    prep::nop().with_user_data(user_data).with_flags(flags)
}

/// A request that is taken and then fails.
fn failing(user_data: u64, flags: SqeFlags) -> Sqe {
    prep::read(-1, 0, 0, 0).with_user_data(user_data).with_flags(flags)
}

/// A request that is refused when it is taken.
fn refused(user_data: u64, flags: SqeFlags) -> Sqe {
    nop(user_data, flags | SqeFlags::from_bits_retain(0x80))
}

/// The cases of links.
pub fn cases() -> Vec<Case> {
    let mut cases = chains();
    cases.extend(with_files());
    cases
}

fn chains() -> Vec<Case> {
    let none = SqeFlags::empty();
    let chains: Vec<(&'static str, Vec<Sqe>)> = vec![
        ("all succeed", vec![nop(1, LINK), nop(2, LINK), nop(3, none)]),
        ("head fails", vec![failing(1, LINK), nop(2, LINK), nop(3, none)]),
        ("middle fails", vec![nop(1, LINK), failing(2, LINK), nop(3, LINK), nop(4, none)]),
        ("tail fails", vec![nop(1, LINK), nop(2, LINK), failing(3, none)]),
        ("after the chain", vec![failing(1, LINK), nop(2, none), nop(3, none)]),
        ("two chains", vec![failing(1, LINK), nop(2, none), nop(3, LINK), nop(4, none)]),
        ("hard, head fails", vec![failing(1, HARD), nop(2, HARD), nop(3, none)]),
        ("hard, middle fails", vec![nop(1, HARD), failing(2, HARD), nop(3, none)]),
        ("hard then soft", vec![failing(1, HARD), failing(2, LINK), nop(3, none)]),
        ("soft then hard", vec![failing(1, LINK), nop(2, HARD), nop(3, none)]),
        ("hard and soft at once", vec![failing(1, LINK | HARD), nop(2, none)]),
        ("refused head", vec![refused(1, LINK), nop(2, LINK), nop(3, none)]),
        ("refused middle", vec![nop(1, LINK), refused(2, LINK), nop(3, none)]),
        ("refused tail", vec![nop(1, LINK), nop(2, LINK), refused(3, none)]),
        ("refused middle, hard", vec![nop(1, HARD), refused(2, HARD), nop(3, none)]),
        ("open end", vec![nop(1, LINK), nop(2, LINK)]),
        ("open end that fails", vec![failing(1, LINK), nop(2, LINK)]),
        ("async", vec![nop(1, LINK | SqeFlags::ASYNC), nop(2, LINK | SqeFlags::ASYNC), nop(3, none)]),
        ("drain at the head", vec![nop(1, none), nop(2, LINK | SqeFlags::IO_DRAIN), nop(3, none)]),
        ("drain inside", vec![nop(1, LINK), nop(2, LINK | SqeFlags::IO_DRAIN), nop(3, none)]),
        ("skip in a chain", vec![nop(1, LINK | SqeFlags::CQE_SKIP_SUCCESS), nop(2, none)]),
        (
            "skip all but the last",
            vec![
                nop(1, LINK | SqeFlags::CQE_SKIP_SUCCESS),
                nop(2, LINK | SqeFlags::CQE_SKIP_SUCCESS),
                nop(3, none),
            ],
        ),
        ("skip, and the head fails", vec![failing(1, LINK | SqeFlags::CQE_SKIP_SUCCESS), nop(2, none)]),
        (
            "head fails, the others skip",
            vec![
                failing(1, LINK),
                nop(2, LINK | SqeFlags::CQE_SKIP_SUCCESS),
                nop(3, SqeFlags::CQE_SKIP_SUCCESS),
            ],
        ),
        (
            "all skip, middle fails",
            vec![
                nop(1, LINK | SqeFlags::CQE_SKIP_SUCCESS),
                failing(2, LINK | SqeFlags::CQE_SKIP_SUCCESS),
                nop(3, SqeFlags::CQE_SKIP_SUCCESS),
            ],
        ),
    ];
    chains
        .into_iter()
        .map(|(label, chain)| {
            Case::general(format!("links/{}", label.replace([' ', ','], "-")), move |session| {
                let last = chain.last().map_or(none, Sqe::flags);
                for flags in [SetupFlags::empty(), SetupFlags::SUBMIT_ALL, SetupFlags::SQPOLL] {
                    if flags == SetupFlags::SQPOLL && last.intersects(LINK | HARD) {
                        // Whether what follows joins an open chain depends on the thread's pace.
                        continue;
                    }
                    let ring = session.ring_with(8, flags);
                    ring.push_all(&chain);
                    // Everything is served inside the call, or soon after by the polling thread.
                    session.outcome(format!("{flags:?}: submit"), ring.submit());
                    if flags == SetupFlags::SQPOLL {
                        ring.push(nop(100, none | SqeFlags::IO_DRAIN));
                        let _ = ring.submit();
                        ring.wait_for_then_all(100, |all| session.cqes_in_order(format!("{flags:?}"), all));
                    } else {
                        session.record(format!("{flags:?}: left"), ring.unsubmitted());
                        let again = ring.submit();
                        session.outcome(format!("{flags:?}: again"), again);
                        let seen = ring.collect_until(std::time::Duration::from_millis(200), |seen| {
                            seen.len() >= chain.len()
                        });
                        session.cqes_in_order(format!("{flags:?}"), &seen);
                    }
                }
            })
        })
        .collect()
}

fn with_files() -> Vec<Case> {
    vec![
        Case::general("links/short-read-breaks", |session| {
            let (ring, file, buffer) = (session.ring(8), session.file(TEXT), session.memory(128));
            let read = |len| prep::read(file, buffer.addr(), len, 0).with_user_data(1);
            session.batch_in_order("full", &ring, &[read(64).with_flags(LINK), nop(2, SqeFlags::empty())], 2);
            session.batch_in_order(
                "short",
                &ring,
                &[read(65).with_flags(LINK), nop(2, SqeFlags::empty())],
                2,
            );
            session.batch_in_order(
                "short, hard",
                &ring,
                &[read(65).with_flags(HARD), nop(2, SqeFlags::empty())],
                2,
            );
            let vectors = session.vectors(&[(buffer.addr(), 60), (buffer.addr() + 60, 10)]);
            let readv = prep::readv(file, vectors.addr(), 2, 0).with_user_data(1).with_flags(LINK);
            session.batch_in_order("short readv", &ring, &[readv, nop(2, SqeFlags::empty())], 2);
            let end = prep::read(file, buffer.addr(), 8, 64).with_user_data(1).with_flags(LINK);
            session.batch_in_order("end of file", &ring, &[end, nop(2, SqeFlags::empty())], 2);
            let none = prep::read(file, buffer.addr(), 0, 0).with_user_data(1).with_flags(LINK);
            session.batch_in_order("no bytes", &ring, &[none, nop(2, SqeFlags::empty())], 2);
        }),
        Case::general("links/short-recv", |session| {
            let (ring, buffer) = (session.ring(8), session.memory(64));
            for (label, flags) in [("plain", 0), ("MSG_WAITALL", 0x100)] {
                let (left, right) = session.pair();
                session.write_fd(right, b"hello");
                session.close_kept(right);
                let recv = prep::recv(left, buffer.addr(), 10, flags).with_user_data(1).with_flags(LINK);
                session.batch_in_order(label, &ring, &[recv, nop(2, SqeFlags::empty())], 2);
            }
        }),
        Case::general("links/write-then-read", |session| {
            let (ring, file) = (session.ring(8), session.file(b""));
            let (text, buffer) = (session.memory_of(b"written"), session.memory(16));
            let sqes = [
                prep::write(file, text.addr(), 7, 0).with_user_data(1).with_flags(LINK),
                prep::op(ringer_abi::Opcode::Fsync, file).with_user_data(2).with_flags(LINK),
                prep::read(file, buffer.addr(), 7, 0).with_user_data(3),
            ];
            session.batch_in_order("write, sync, read", &ring, &sqes, 3);
            session.bytes("buffer", &buffer.bytes());
        }),
        Case::general("links/waiting-head", |session| {
            let (ring, buffer) = (session.ring(8), session.memory(8));
            let (read, write) = session.pipe();
            let sqes = [
                prep::read(read, buffer.addr(), 4, 0).with_user_data(1).with_flags(LINK),
                nop(2, LINK),
                nop(3, SqeFlags::empty()),
                nop(4, SqeFlags::empty()),
            ];
            ring.push_all(&sqes);
            session.outcome("submit", ring.submit());
            session.quiet("only what is not in the chain", &ring);
            session.write_fd(write, b"data");
            session.cqes_in_order("the chain", &ring.collect(3));
        }),
        Case::general("links/waiting-head-fails", |session| {
            let (ring, buffer) = (session.ring(8), session.memory(8));
            let (read, write) = session.pipe();
            let sqes = [
                prep::read(read, buffer.addr(), 4, 0).with_user_data(1).with_flags(LINK),
                nop(2, LINK),
                nop(3, SqeFlags::empty()),
            ];
            ring.push_all(&sqes);
            session.outcome("submit", ring.submit());
            session.write_fd(write, b"x");
            session.cqes_in_order("a short read", &ring.collect(3));
        }),
        Case::general("links/file-closed-inside", |session| {
            // Every member resolves its descriptor when it starts.
            let (ring, buffer) = (session.ring(8), session.memory(8));
            let file = session.file(TEXT);
            session.forget(file);
            let sqes = [
                prep::op(ringer_abi::Opcode::Close, file).with_user_data(1).with_flags(LINK),
                prep::read(file, buffer.addr(), 4, 0).with_user_data(2),
            ];
            session.batch_in_order("close, read", &ring, &sqes, 2);
        }),
        Case::general("links/fixed-file-changed-inside", |session| {
            let (ring, buffer) = (session.ring(8), session.memory(8));
            let table = session.ints(&[session.file(b"old content")]);
            session.outcome("register", ring.register(RegisterOpcode::Files.number(), table.addr(), 1));
            let array = session.ints(&[session.file(b"new content")]);
            let sqes = [
                prep::op(ringer_abi::Opcode::FilesUpdate, -1)
                    .with_addr(array.addr())
                    .with_len(1)
                    .with_user_data(1)
                    .with_flags(LINK),
                prep::read(0, buffer.addr(), 3, 0).with_user_data(2).with_flags(SqeFlags::FIXED_FILE),
            ];
            session.batch_in_order("update, read", &ring, &sqes, 2);
            session.bytes("buffer", &buffer.bytes());
        }),
        Case::general("links/not-followed-in-a-closed-ring", |session| {
            let (mut ring, buffer) = (session.ring(8), session.memory_of(b"12345678"));
            let ((waits, _writer), (left, right)) = (session.pipe(), session.pipe());
            ring.push(prep::read(waits, buffer.addr(), 8, 0).with_user_data(1).with_flags(HARD));
            ring.push(prep::write(right, buffer.addr(), 8, 0).with_user_data(2));
            session.outcome("submit", ring.submit());
            session.outcome("close", ring.close().map(|()| 0_i32));
            std::thread::sleep(std::time::Duration::from_millis(30));
            let written = session.with_kept(left, |fd| rustix::io::ioctl_fionread(fd));
            session.outcome("written", written.map(|bytes| bytes as i64));
        }),
        Case::general("links/long-chain", |session| {
            let ring = session.ring(128);
            let sqes: Vec<Sqe> = (0..128).map(|data| nop(data, LINK)).collect();
            ring.push_all(&sqes);
            session.outcome("submit", ring.submit());
            let seen = ring.collect(128);
            session.record(
                "in order",
                seen.iter().enumerate().all(|(index, cqe)| cqe.user_data == index as u64),
            );
            session.record("all", seen.len());
        }),
    ]
}
