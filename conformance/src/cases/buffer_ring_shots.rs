//! Incremental rings of buffers, and multishot requests on rings of buffers.

use ringer_abi::{Opcode, SqeFlags, uapi};

use super::buffer_ring_use::{Buffers, INCREMENTAL, MULTISHOT, head, unregister};
use crate::differential::{Case, prep};

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut cases = incremental();
    cases.extend(multishot());
    cases
}

fn incremental() -> Vec<Case> {
    vec![
        Case::new("recv/multishot-that-does-not-wait", Opcode::Recv, |session| {
            const MSG_DONTWAIT: u32 = 0x40;
            for flags in [0, INCREMENTAL] {
                for bytes in [2, 16, 20] {
                    let ring = session.ring(8);
                    let (left, right) = session.pair();
                    let buffers = Buffers::new(session, &ring, 1, 4, 16, flags);
                    session.write_fd(right, &b"abcdefghijklmnopqrstuvwxyz"[..bytes]);
                    let sqe = prep::op(Opcode::Recv, left).with_buf_index(1).with_ioprio(MULTISHOT);
                    let sqe = sqe.with_flags(SqeFlags::BUFFER_SELECT).with_op_flags(MSG_DONTWAIT);
                    ring.push(sqe.with_user_data(1));
                    session.outcome(format!("{flags}, {bytes}: submit"), ring.submit());
                    session.quiet(format!("{flags}, {bytes}"), &ring);
                    session.bytes(format!("{flags}, {bytes}: memory"), &buffers.memory.bytes());
                }
            }
        }),
        Case::new("recv/on-a-worker-with-a-buffer", Opcode::Recv, |session| {
            const MSG_DONTWAIT: u32 = 0x40;
            const BUNDLE: u16 = uapi::IORING_RECVSEND_BUNDLE as u16;
            for flags in [0, INCREMENTAL] {
                for (label, ioprio, op_flags, len) in [
                    ("plain", 0, 0, 0),
                    ("a part", 0, 0, 5),
                    ("impatient", 0, MSG_DONTWAIT, 0),
                    ("impatient part", 0, MSG_DONTWAIT, 5),
                    ("impatient bundle", BUNDLE, MSG_DONTWAIT, 0),
                ] {
                    for (what, text) in [("nothing", ""), ("three", "abc"), ("end", "")] {
                        let ring = session.ring(8);
                        let (left, right) = session.pair();
                        let buffers = Buffers::new(session, &ring, 1, 4, 16, flags);
                        if text.is_empty() && what != "nothing" {
                            session.close_kept(right);
                        } else if !text.is_empty() {
                            session.write_fd(right, text.as_bytes());
                        } else if op_flags == 0 {
                            continue;
                        }
                        let sqe = prep::op(Opcode::Recv, left).with_buf_index(1).with_ioprio(ioprio);
                        let sqe = sqe.with_op_flags(op_flags).with_len(len).with_user_data(1);
                        ring.push(sqe.with_flags(SqeFlags::BUFFER_SELECT | SqeFlags::ASYNC));
                        session.outcome(format!("{flags}, {label}, {what}: submit"), ring.submit());
                        session.quiet(format!("{flags}, {label}, {what}"), &ring);
                        let next = sqe.with_ioprio(0).with_op_flags(MSG_DONTWAIT);
                        ring.push(next.with_flags(SqeFlags::BUFFER_SELECT).with_user_data(2));
                        session.outcome(format!("{flags}, {label}, {what}: next"), ring.submit());
                        session.quiet(format!("{flags}, {label}, {what}, next"), &ring);
                        session.bytes(format!("{flags}, {label}, {what}: memory"), &buffers.memory.bytes());
                    }
                }
            }
        }),
        Case::new("recv/datagrams-shut-down-with-a-buffer", Opcode::Recv, |session| {
            use rustix::net::{Shutdown, shutdown};
            for flags in [0, INCREMENTAL] {
                for opcode in [Opcode::Recv, Opcode::Recvmsg, Opcode::Read, Opcode::ReadMultishot] {
                    for ioprio in [0, MULTISHOT] {
                        let takes_ioprio = matches!(opcode, Opcode::Recv | Opcode::Recvmsg);
                        if ioprio != 0 && !takes_ioprio {
                            continue;
                        }
                        let label = format!("{flags}, {opcode:?}, {ioprio}");
                        let ring = session.ring(8);
                        let (left, _right) = session.udp_pair();
                        let _buffers = Buffers::new(session, &ring, 1, 4, 64, flags);
                        let message = session.message((0, 0), (0, 0), (0, 0)).addr();
                        let sqe = prep::op(opcode, left).with_buf_index(1).with_ioprio(ioprio);
                        let sqe = match opcode {
                            Opcode::Recvmsg => sqe.with_addr(message).with_len(1),
                            _ => sqe,
                        };
                        let sqe = sqe.with_flags(SqeFlags::BUFFER_SELECT).with_user_data(1);
                        ring.push(sqe);
                        session.outcome(format!("{label}: waits"), ring.submit());
                        session.quiet("for a datagram", &ring);
                        session.with_kept(left, |fd| shutdown(fd, Shutdown::Read)).expect("it is connected");
                        session.quiet(format!("{label}: shut down"), &ring);
                        session.record(format!("{label}: head"), head(session, &ring, 1));
                        session.one_recorded(format!("{label}: again"), &ring, sqe);
                        session.record(format!("{label}: head after it"), head(session, &ring, 1));
                    }
                }
            }
        }),
        Case::new("recv/woken-for-what-another-one-took", Opcode::Recv, |session| {
            const BUNDLE: u16 = uapi::IORING_RECVSEND_BUNDLE as u16;
            for (opcode, ioprio) in [
                (Opcode::Recv, 0),
                (Opcode::Recv, MULTISHOT),
                (Opcode::Recv, BUNDLE),
                (Opcode::Recv, BUNDLE | MULTISHOT),
                (Opcode::Recvmsg, 0),
                (Opcode::Recvmsg, MULTISHOT),
                (Opcode::Read, 0),
                (Opcode::ReadMultishot, 0),
            ] {
                for (kind, (left, right)) in [("Unix", session.pair()), ("TCP", session.tcp_pair())] {
                    let label = format!("{opcode:?} {ioprio}, {kind}");
                    let ring = session.ring(8);
                    let _buffers = Buffers::new(session, &ring, 1, 1, 64, 0);
                    let message = session.message((0, 0), (0, 0), (0, 0)).addr();
                    let sqe = prep::op(opcode, left).with_buf_index(1).with_ioprio(ioprio);
                    let sqe = match opcode {
                        Opcode::Recvmsg => sqe.with_addr(message).with_len(1),
                        _ => sqe,
                    };
                    for user_data in [1, 2] {
                        ring.push(sqe.with_flags(SqeFlags::BUFFER_SELECT).with_user_data(user_data));
                    }
                    session.outcome(format!("{label}: both wait"), ring.submit());
                    session.quiet(format!("{label}: for the only buffer"), &ring);
                    session.write_fd(right, b"for one");
                    session.quiet(format!("{label}: one has it"), &ring);
                    session.write_fd(right, b"for nobody");
                    session.quiet(format!("{label}: no buffer is left"), &ring);
                }
            }
        }),
        Case::new("recv/waits-on-a-worker-with-a-buffer", Opcode::Recv, |session| {
            for flags in [0, INCREMENTAL] {
                for (opcode, ioprio) in [
                    (Opcode::Recv, 0),
                    (Opcode::Recv, uapi::IORING_RECVSEND_BUNDLE as u16),
                    (Opcode::Read, 0),
                ] {
                    let ring = session.ring(8);
                    let (left, right) = session.pair();
                    let buffers = Buffers::new(session, &ring, 1, 4, 16, flags);
                    let sqe = prep::op(opcode, left).with_buf_index(1).with_ioprio(ioprio).with_user_data(1);
                    let sqe = sqe.with_flags(SqeFlags::BUFFER_SELECT | SqeFlags::ASYNC);
                    for (label, cancelled) in [("cancelled", true), ("served", false)] {
                        ring.push(sqe);
                        session
                            .outcome(format!("{opcode:?} {ioprio}, {flags}, {label}: submit"), ring.submit());
                        session.quiet(format!("{opcode:?} {ioprio}, {flags}, {label}: waits"), &ring);
                        if cancelled {
                            ring.push(prep::cancel(1, 0).with_user_data(2));
                            let _ = ring.submit();
                        } else {
                            session.write_fd(right, b"late");
                        }
                        let mut seen = ring.collect_until(std::time::Duration::from_millis(60), |_| false);
                        // Whether the wait could be ended is the worker's affair.
                        seen.retain(|cqe| cqe.user_data == 1);
                        seen.iter_mut().for_each(|cqe| cqe.res = cqe.res.max(-125));
                        session.cqes(format!("{opcode:?} {ioprio}, {flags}, {label}"), &seen);
                    }
                    session.bytes(format!("{opcode:?} {ioprio}, {flags}: memory"), &buffers.memory.bytes());
                }
            }
        }),
        Case::new("buffer-ring-use/incremental-recv", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let (left, right) = session.pair();
            let buffers = Buffers::new(session, &ring, 3, 4, 16, INCREMENTAL);
            for (label, text, len) in [
                ("five", &b"12345"[..], 0),
                ("five more", b"67890", 5),
                ("what fits", b"abcdefghijkl", 0),
                ("the rest", b"", 0),
                ("limit", b"0123456789", 3),
                ("all of a buffer", b"xxxxxxxxxx", 40),
            ] {
                session.write_fd(right, text);
                session.one_recorded(label, &ring, buffers.recv(left, len, 0));
                session.record(label, head(session, &ring, 3));
            }
            buffers.look(session, &ring, "then");
            session.close_kept(right);
            session.one_recorded("end", &ring, buffers.recv(left, 0, 0));
            session.one_recorded("end", &ring, buffers.recv(left, 0, 0));
            buffers.look(session, &ring, "end");
        }),
        Case::new("buffer-ring-use/incremental-multishot", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let (left, right) = session.pair();
            let buffers = Buffers::new(session, &ring, 3, 2, 16, INCREMENTAL);
            ring.push(buffers.recv(left, 0, 0).with_ioprio(MULTISHOT).with_user_data(1));
            session.outcome("submit", ring.submit());
            for text in [&b"hello"[..], b" ", b"world and much more"] {
                session.write_fd(right, text);
                session.quiet(format!("{} bytes", text.len()), &ring);
                session.record("head", head(session, &ring, 3));
            }
            session.write_fd(right, b"more than there is left");
            session.quiet("no more buffers", &ring);
            buffers.look(session, &ring, "then");
        }),
        Case::new("buffer-ring-use/incremental-read-multishot", Opcode::ReadMultishot, |session| {
            let ring = session.ring(8);
            let (read, write) = session.pipe();
            let buffers = Buffers::new(session, &ring, 3, 2, 16, INCREMENTAL);
            let sqe = prep::op(Opcode::ReadMultishot, read).with_off(u64::MAX);
            ring.push(buffers.select(sqe).with_user_data(1));
            session.outcome("submit", ring.submit());
            for text in [&b"hello"[..], b" ", b"world and much more"] {
                session.write_fd(write, text);
                session.quiet(format!("{} bytes", text.len()), &ring);
                session.record("head", head(session, &ring, 3));
            }
            session.close_kept(write);
            session.quiet("end", &ring);
            buffers.look(session, &ring, "then");
        }),
    ]
}

fn multishot() -> Vec<Case> {
    vec![
        Case::new("recv-multishot-use/limits", Opcode::Recv, |session| {
            for (label, each, total) in [
                ("none", 0, 0),
                ("5 each", 5, 0),
                ("20 in all", 0, 20),
                ("5 each, 12 in all", 5, 12),
                ("16 in all", 0, 16),
                ("40 each", 40, 40),
                ("negative", 0, u32::MAX),
            ] {
                let ring = session.ring(8);
                let (left, right) = session.pair();
                let buffers = Buffers::new(session, &ring, 3, 8, 16, 0);
                let recv = buffers.recv(left, each, 0).with_ioprio(MULTISHOT).with_file_index(total);
                ring.push(recv.with_user_data(1));
                session.outcome(format!("{label}: submit"), ring.submit());
                for text in [&b"0123456789abcdefghi"[..], b"hello", b"twenty-one bytes long"] {
                    session.write_fd(right, text);
                    session.quiet(format!("{label}: {}", text.len()), &ring);
                }
                buffers.look(session, &ring, label);
            }
            let ring = session.ring(8);
            let (left, right) = session.pair();
            session.write_fd(right, b"hello");
            let buffers = Buffers::new(session, &ring, 3, 8, 16, 0);
            session.one_recorded("total of one shot", &ring, buffers.recv(left, 5, 0).with_file_index(5));
            let message = session.message((0, 0), (0, 0), (0, 0));
            let recvmsg = buffers.select(prep::op(Opcode::Recvmsg, left).with_addr(message.addr()));
            session.one_recorded("of a message", &ring, recvmsg.with_file_index(5));
            session.one_recorded("of messages", &ring, recvmsg.with_file_index(5).with_ioprio(MULTISHOT));
        }),
        Case::new("recvmsg-multishot-use/limits", Opcode::Recvmsg, |session| {
            for (limit, len) in [(0, 0), (8, 0), (20, 0), (40, 0), (0, 20), (20, 40)] {
                let ring = session.ring(8);
                let (left, right) = session.pair_of(rustix::net::SocketType::DGRAM);
                let buffers = Buffers::new(session, &ring, 3, 4, 32, 0);
                let vectors = session.vectors(&[(0, limit)]);
                let message = session.message((0, 0), (vectors.addr(), 1), (0, 0));
                let sqe = prep::op(Opcode::Recvmsg, left).with_addr(message.addr()).with_len(len);
                ring.push(buffers.select(sqe).with_ioprio(MULTISHOT).with_user_data(1));
                session.outcome("submit", ring.submit());
                for text in [&b"four"[..], b"more than sixteen bytes, truncated"] {
                    session.write_fd(right, text);
                    session.quiet(format!("{limit}: {}", text.len()), &ring);
                }
                buffers.look(session, &ring, "then");
            }
        }),
        Case::new("recv-multishot-use/ends", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let (left, right) = session.pair();
            let buffers = Buffers::new(session, &ring, 3, 2, 16, 0);
            let recv = buffers.recv(left, 0, 0).with_ioprio(MULTISHOT).with_user_data(1);
            session.write_fd(right, b"more bytes than both buffers hold, so that some are left");
            ring.push(recv);
            session.outcome("submit", ring.submit());
            session.cqes("buffers run out", &ring.collect(3));
            session.record("head", head(session, &ring, 3));
            buffers.set_tail(4);
            ring.push(recv.with_user_data(2));
            session.outcome("submit", ring.submit());
            session.quiet("again", &ring);
            session.close_kept(right);
            session.quiet("closed", &ring);
            buffers.set_tail(6);
            session.one_recorded("at the end", &ring, recv.with_user_data(3));
            let (left, _right) = session.pair();
            ring.push(recv.with_fd(left).with_user_data(4));
            session.outcome("submit", ring.submit());
            session.batch("cancel", &ring, &[prep::cancel(4, 0).with_user_data(5)]);
            session.quiet("cancelled", &ring);
            ring.push(recv.with_fd(left).with_user_data(6));
            session.outcome("submit", ring.submit());
            session.outcome("unregister", unregister(session, &ring, 3));
            session.write_fd(_right, b"text");
            session.quiet("the group is gone", &ring);
        }),
        Case::new("recv-multishot-use/datagrams", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let (left, right) = session.pair_of(rustix::net::SocketType::DGRAM);
            let buffers = Buffers::new(session, &ring, 3, 8, 16, 0);
            for text in [&b"one"[..], b"two", b"three that is too long for it", b"four"] {
                session.write_fd(right, text);
            }
            ring.push(buffers.recv(left, 0, 0).with_ioprio(MULTISHOT).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.quiet("there already", &ring);
            session.write_fd(right, b"later");
            session.quiet("later", &ring);
            session.write_fd(right, b"");
            session.quiet("empty", &ring);
            buffers.look(session, &ring, "then");
        }),
    ]
}
