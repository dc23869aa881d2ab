//! WAITID.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ringer_abi::{Opcode, Sqe, SqeFlags, uapi};

use crate::differential::memory::Memory;
use crate::differential::{Case, Session, prep};

const P_ALL: u32 = 0;
const P_PID: u32 = 1;
const P_PGID: u32 = 2;
const P_PIDFD: u32 = 3;
const WNOHANG: u32 = 1;
const WSTOPPED: u32 = 2;
const WEXITED: u32 = 4;
const WCONTINUED: u32 = 8;
const WNOWAIT: u32 = 0x0100_0000;

/// `fd` is the id, `len` its kind, `file_index` the options, `off` where the result goes.
fn waitid(kind: u32, id: i32, options: u32, info: u64) -> Sqe {
    prep::op(Opcode::Waitid, id).with_len(kind).with_file_index(options).with_off(info)
}

/// A child that ends, with this status, once its standard input is closed.
fn child(status: u8) -> Child {
    Command::new("sh")
        .args(["-c", &format!("read -r line; exit {status}")])
        .stdin(Stdio::piped())
        .spawn()
        .expect("there is a shell")
}

/// A child in a process group of its own.
fn child_in_a_group() -> Child {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("sh");
    command.args(["-c", "read -r line"]).stdin(Stdio::piped()).process_group(0);
    command.spawn().expect("there is a shell")
}

/// Records a `siginfo_t` of a child's: signal, errno, code, whether it is that of the child, and the status.
fn record_info(session: &Session, label: &str, info: Memory, child: u32) {
    let [signal, errno, code, pid, status] = [0, 4, 8, 16, 24].map(|at| info.get::<i32>(at));
    let is_own = pid == child as i32;
    session.record(format!("{label}: info"), format!("{signal} {errno} {code} {is_own} {status}"));
}

/// The cases of WAITID.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("waitid/child-that-ends-later", Opcode::Waitid, |session| {
            for (label, flags) in [("plain", SqeFlags::empty()), ("async", SqeFlags::ASYNC)] {
                let ring = session.ring(8);
                let info = session.memory(128);
                let mut child = child(7);
                let id = child.id() as i32;
                ring.push(waitid(P_PID, id, WEXITED, info.addr()).with_flags(flags).with_user_data(1));
                session.outcome(format!("{label}: submit"), ring.submit());
                session.quiet(format!("{label}: while it lives"), &ring);
                drop(child.stdin.take());
                session.cqes(format!("{label}: completion"), &ring.collect(1));
                record_info(session, label, info, child.id());
                // Its end was collected: there is no such child any more.
                session.one_recorded(
                    format!("{label}: again"),
                    &ring,
                    waitid(P_PID, id, WEXITED, info.addr()),
                );
                let _ = child.wait();
            }
        }),
        Case::new("waitid/no-child-and-info", Opcode::Waitid, |session| {
            let ring = session.ring(8);
            let info = session.memory(128);
            info.fill(&[7; 128]);
            session.one_recorded("good", &ring, waitid(P_PID, 1 << 30, WEXITED, info.addr()));
            session.bytes("info", &info.bytes());
            let bad = session.bad_address();
            session.one_recorded("bad", &ring, waitid(P_PID, 1 << 30, WEXITED, bad));
            session.one_recorded("bad options", &ring, waitid(P_PID, 1 << 30, 1 << 20, bad));
        }),
        Case::new("waitid/child-that-ended", Opcode::Waitid, |session| {
            let ring = session.ring(8);
            let info = session.memory(128);
            let mut child = child(3);
            let id = child.id() as i32;
            session.one_recorded("no hang", &ring, waitid(P_PID, id, WEXITED | WNOHANG, info.addr()));
            session.record("pid", info.get::<i32>(16));
            drop(child.stdin.take());
            let stays = waitid(P_PID, id, WEXITED | WNOWAIT, info.addr());
            session.one_recorded("left to be collected", &ring, stays);
            session.one_recorded("without info", &ring, waitid(P_PID, id, WEXITED, 0));
            let _ = child.wait();
        }),
        Case::new("waitid/cancelled", Opcode::Waitid, |session| {
            let ring = session.ring(8);
            let mut child = child(0);
            let id = child.id() as i32;
            ring.push(waitid(P_PID, id, WEXITED, 0).with_user_data(1));
            session.outcome("submit", ring.submit());
            ring.push(prep::cancel(1, 0).with_user_data(2));
            session.outcome("cancel", ring.submit());
            let mut seen = ring.collect_until(Duration::from_secs(2), |seen| seen.len() >= 2);
            seen.sort_by_key(|cqe| cqe.user_data);
            session.cqes("all", &seen);
            drop(child.stdin.take());
            let _ = child.wait();
        }),
        Case::new("waitid/cancelled-together-or-by-time", Opcode::Waitid, |session| {
            let ring = session.ring(8);
            let mut child = child(0);
            let waits =
                [1, 2, 3].map(|data| waitid(P_PID, child.id() as i32, WEXITED, 0).with_user_data(data));
            ring.push_all(&waits);
            session.outcome("submit", ring.submit());
            const ALL: u32 = uapi::IORING_ASYNC_CANCEL_ALL | uapi::IORING_ASYNC_CANCEL_ANY;
            ring.push(prep::cancel(0, ALL).with_user_data(9));
            session.outcome("cancel", ring.submit());
            session.cqes("all", &ring.collect(4));
            let time = session.timespec(0, 10_000_000);
            session.batch(
                "link timeout",
                &ring,
                &[
                    waits[0].with_flags(SqeFlags::IO_LINK),
                    prep::link_timeout(time.addr(), 0).with_user_data(2),
                ],
            );
            drop(child.stdin.take());
            let _ = child.wait();
        }),
        Case::new("waitid/stops-and-continues", Opcode::Waitid, |session| {
            for (label, kind) in [("pid", P_PID), ("group", P_PGID), ("pidfd", P_PIDFD), ("any", P_ALL)] {
                let ring = session.ring(8);
                let info = session.memory(128);
                let mut child = child_in_a_group();
                let pid = rustix::process::Pid::from_child(&child);
                let id = match kind {
                    P_PIDFD => session.keep(
                        rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
                            .expect("a child"),
                    ),
                    P_ALL => 0,
                    _ => child.id() as i32,
                };
                let steps = [
                    ("stops", WSTOPPED, Some(rustix::process::Signal::STOP)),
                    ("continues", WCONTINUED, Some(rustix::process::Signal::CONT)),
                    ("is killed", WEXITED | WSTOPPED | WCONTINUED, Some(rustix::process::Signal::KILL)),
                    ("is gone", WEXITED, None),
                ];
                for (step, options, signal) in steps {
                    let label = format!("{label}: {step}");
                    ring.push(waitid(kind, id, options, info.addr()).with_user_data(1));
                    session.outcome(format!("{label}: submit"), ring.submit());
                    if let Some(signal) = signal {
                        session.quiet(format!("{label}: before"), &ring);
                        rustix::process::kill_process(pid, signal).expect("a child");
                    }
                    session.cqes(format!("{label}: completion"), &ring.collect(1));
                    record_info(session, &label, info, child.id());
                    info.fill(&[0; 128]);
                }
                let _ = child.wait();
            }
        }),
        Case::new("waitid/two-for-one-child", Opcode::Waitid, |session| {
            for (label, options) in [("both collect", WEXITED), ("both leave it", WEXITED | WNOWAIT)] {
                let ring = session.ring(8);
                let mut child = child(5);
                let id = child.id() as i32;
                for data in [1, 2] {
                    ring.push(waitid(P_PID, id, options, 0).with_user_data(data));
                }
                session.outcome(format!("{label}: submit"), ring.submit());
                drop(child.stdin.take());
                let mut results: Vec<i32> = ring.collect(2).iter().map(|cqe| cqe.res).collect();
                results.sort_unstable();
                session.record(format!("{label}: results"), format!("{results:?}"));
                let _ = child.wait();
            }
        }),
        Case::new("waitid/kinds-of-children", Opcode::Waitid, |session| {
            const NOTHREAD: u32 = 0x2000_0000;
            const ALL: u32 = 0x4000_0000;
            const CLONE: u32 = 0x8000_0000;
            for (label, options) in
                [("own", NOTHREAD), ("all", ALL), ("clones", CLONE), ("all own", ALL | NOTHREAD)]
            {
                for flags in [SqeFlags::empty(), SqeFlags::ASYNC] {
                    let label = format!("{label}, {flags:?}");
                    let ring = session.ring(8);
                    let info = session.memory(128);
                    let mut child = child(5);
                    let sqe = waitid(P_PID, child.id() as i32, WEXITED | options, info.addr());
                    ring.push(sqe.with_user_data(1).with_flags(flags));
                    session.outcome(format!("{label}: submit"), ring.submit());
                    session.quiet(format!("{label}: before"), &ring);
                    drop(child.stdin.take());
                    session.quiet(format!("{label}: then"), &ring);
                    record_info(session, &label, info, child.id());
                    session.one_recorded(format!("{label}: cancel"), &ring, prep::cancel(1, 0));
                    let _ = child.wait();
                }
            }
        }),
        Case::new("waitid/refused", Opcode::Waitid, |session| {
            let ring = session.ring(8);
            let info = session.memory(128);
            let good = waitid(P_PID, i32::MAX, WEXITED, info.addr());
            session.one_recorded("no such child", &ring, good);
            session.one_recorded("no options", &ring, good.with_file_index(0));
            session.one_recorded("unknown options", &ring, good.with_file_index(WEXITED | 1 << 10));
            session.one_recorded("unknown kind", &ring, good.with_len(9));
            session.one_recorded("negative id", &ring, good.with_fd(-1));
            session.one_recorded("addr", &ring, good.with_addr(1));
            session.one_recorded("op_flags", &ring, good.with_op_flags(1));
            session.one_recorded("buf_index", &ring, good.with_buf_index(1));
            session.one_recorded("addr3", &ring, good.with_addr3(1));
            session.one_recorded("no child at all", &ring, waitid(P_ALL, 0, WEXITED, info.addr()));
        }),
    ]
}
