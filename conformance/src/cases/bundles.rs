//! Bundles: SEND and RECV over several provided buffers at once.

use ringer_abi::{Opcode, Sqe, SqeFlags, uapi};

use crate::differential::buffer_ring::{BufferRing, INCREMENTAL, head};
use crate::differential::{Case, Ring, Session, prep};

const SELECT: SqeFlags = SqeFlags::BUFFER_SELECT;
const BUNDLE: u16 = uapi::IORING_RECVSEND_BUNDLE as u16;
const MULTISHOT: u16 = uapi::IORING_RECV_MULTISHOT as u16;
const POLL_FIRST: u16 = uapi::IORING_RECVSEND_POLL_FIRST as u16;
const MSG_WAITALL: u32 = 0x100;

/// RECV of a bundle.
fn recv(fd: i32, group: u16, len: u32) -> Sqe {
    prep::recv(fd, 0, len, 0).with_buf_index(group).with_flags(SELECT).with_ioprio(BUNDLE)
}

/// SEND of a bundle.
fn send(fd: i32, group: u16, len: u32) -> Sqe {
    prep::send(fd, 0, len, 0).with_buf_index(group).with_flags(SELECT).with_ioprio(BUNDLE)
}

/// Submits one request and records all that completes, in order.
fn play(session: &Session, ring: &Ring, label: &str, sqe: Sqe) {
    ring.push(sqe.with_user_data(1));
    session.outcome(format!("{label}: submit"), ring.submit());
    session.quiet(label, ring);
}

/// Receives three times from a socket pair, 13 bytes and then 40.
fn receive_three(session: &Session, label: &str, (left, right): (i32, i32), flags: u16, len: u32) {
    let ring = session.ring(8);
    let buffers = BufferRing::new(session, &ring, 1, flags);
    buffers.fill(4, 8);
    session.write_fd(right, &LONG[..13]);
    play(session, &ring, label, recv(left, 1, len));
    buffers.record(session, &ring, "after", 4);
    session.write_fd(right, &LONG[..40]);
    play(session, &ring, "again", recv(left, 1, len));
    buffers.record(session, &ring, "again", 4);
    play(session, &ring, "once more", recv(left, 1, len));
    buffers.record(session, &ring, "once more", 4);
    session.bytes("memory", &buffers.memory.bytes());
}

const LONG: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The cases of the family.
pub fn cases() -> Vec<Case> {
    vec![
        Case::new("bundles/arguments", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let text = session.memory_of(b"hello there");
            let (left, right) = session.pair();
            let message = session.message((0, 0), (session.vectors(&[(text.addr(), 5)]).addr(), 1), (0, 0));
            session.write_fd(right, LONG);
            for (label, sqe) in [
                ("send without selection", prep::send(left, text.addr(), 5, 0).with_ioprio(BUNDLE)),
                ("recv without selection", prep::recv(left, text.addr(), 5, 0).with_ioprio(BUNDLE)),
                ("sendmsg", prep::op(Opcode::Sendmsg, left).with_addr(message.addr()).with_ioprio(BUNDLE)),
                ("recvmsg", prep::op(Opcode::Recvmsg, left).with_addr(message.addr()).with_ioprio(BUNDLE)),
                (
                    "send_zc",
                    prep::op(Opcode::SendZc, left).with_addr(text.addr()).with_len(5).with_ioprio(BUNDLE),
                ),
                ("send, no group", send(left, 9, 0)),
                ("recv, no group", recv(left, 9, 0)),
                (
                    "sendmsg, select",
                    prep::op(Opcode::Sendmsg, left).with_addr(message.addr()).with_flags(SELECT),
                ),
                (
                    "sendmsg, select, bundle",
                    prep::op(Opcode::Sendmsg, left)
                        .with_addr(message.addr())
                        .with_flags(SELECT)
                        .with_ioprio(BUNDLE),
                ),
                (
                    "recvmsg, select, bundle",
                    prep::op(Opcode::Recvmsg, left)
                        .with_addr(message.addr())
                        .with_flags(SELECT)
                        .with_ioprio(BUNDLE),
                ),
                (
                    "send_zc, select",
                    prep::op(Opcode::SendZc, left).with_addr(text.addr()).with_len(5).with_flags(SELECT),
                ),
                (
                    "send vectorized, select",
                    send(left, 9, 0).with_ioprio(uapi::IORING_SEND_VECTORIZED as u16),
                ),
                ("send with an address", send(left, 9, 0).with_addr(text.addr())),
                ("recv with an address", recv(left, 9, 0).with_addr(text.addr())),
                ("recv of too much", recv(left, 9, u32::MAX)),
                ("send of too much", send(left, 9, u32::MAX)),
            ] {
                play(session, &ring, label, sqe);
            }
        }),
        Case::new("bundles/recv", Opcode::Recv, |session| {
            use rustix::net::SocketType;
            for (kind, flags, len) in [
                (SocketType::STREAM, 0, 0),
                (SocketType::STREAM, 0, 5),
                (SocketType::STREAM, 0, 20),
                (SocketType::STREAM, 0, 100),
                (SocketType::STREAM, INCREMENTAL, 0),
                (SocketType::STREAM, INCREMENTAL, 20),
                (SocketType::STREAM, INCREMENTAL, 100),
                (SocketType::DGRAM, 0, 5),
                (SocketType::DGRAM, 0, 8),
                (SocketType::DGRAM, 0, 20),
                (SocketType::DGRAM, 0, 100),
                (SocketType::DGRAM, INCREMENTAL, 5),
                (SocketType::DGRAM, INCREMENTAL, 20),
                (SocketType::DGRAM, INCREMENTAL, 100),
            ] {
                let (left, right) = session.pair_of(kind);
                receive_three(
                    session,
                    &format!("{kind:?}, flags {flags}, limit {len}"),
                    (left, right),
                    flags,
                    len,
                );
            }
        }),
        Case::new("bundles/recv-appended", Opcode::Recv, |session| {
            // All that was asked for came, and there is more: Linux goes on with the next buffers.
            for (flags, len) in [(0, 8), (INCREMENTAL, 5), (INCREMENTAL, 8)] {
                receive_three(session, &format!("flags {flags}, limit {len}"), session.pair(), flags, len);
            }
        }),
        Case::new("bundles/recv-one-by-one", Opcode::Recv, |session| {
            // Without a limit Linux begins with one buffer, and cuts a datagram that is longer.
            let pair = session.pair_of(rustix::net::SocketType::DGRAM);
            receive_three(session, "datagram", pair, 0, 0);
            let ring = session.ring(8);
            let buffers = BufferRing::new(session, &ring, 1, 0);
            buffers.fill(8, 8);
            let (left, right) = session.pair();
            session.write_fd(right, &LONG[..30]);
            play(session, &ring, "multishot", recv(left, 1, 0).with_ioprio(BUNDLE | MULTISHOT));
            buffers.record(session, &ring, "after", 8);
        }),
        Case::new("bundles/recv-tcp", Opcode::Recv, |session| {
            for (flags, len) in [(0, 0), (0, 5), (0, 20), (INCREMENTAL, 0), (INCREMENTAL, 20)] {
                let ring = session.ring(8);
                let buffers = BufferRing::new(session, &ring, 1, flags);
                buffers.fill(4, 8);
                let (left, right) = session.tcp_pair();
                play(session, &ring, &format!("flags {flags}, {len}: waits"), recv(left, 1, len));
                session.write_fd(right, &LONG[..13]);
                session.quiet("data", &ring);
                buffers.record(session, &ring, "after", 4);
                session.write_fd(right, &LONG[..40]);
                play(session, &ring, "again", recv(left, 1, len));
                buffers.record(session, &ring, "again", 4);
                play(session, &ring, "once more", recv(left, 1, len));
                session.close_kept(right);
                play(session, &ring, "end", recv(left, 1, len));
                buffers.record(session, &ring, "end", 4);
                session.bytes("memory", &buffers.memory.bytes());
            }
        }),
        Case::new("bundles/recv-multishot", Opcode::Recv, |session| {
            for flags in [0, INCREMENTAL] {
                for len in [0, 5, 20] {
                    let ring = session.ring(8);
                    let buffers = BufferRing::new(session, &ring, 1, flags);
                    buffers.fill(8, 8);
                    let (left, right) = session.pair();
                    let sqe = recv(left, 1, len).with_ioprio(BUNDLE | MULTISHOT);
                    play(session, &ring, &format!("flags {flags}, {len}: waits"), sqe);
                    for count in [13, 3, 40, 20] {
                        session.write_fd(right, &LONG[..count]);
                        session.quiet(format!("{count} bytes"), &ring);
                        buffers.record(session, &ring, "after", 8);
                    }
                    session.close_kept(right);
                    session.quiet("end", &ring);
                    session.bytes("memory", &buffers.memory.bytes());
                }
            }
        }),
        Case::new("bundles/recv-multishot-at-once", Opcode::Recv, |session| {
            for len in [5, 20] {
                let ring = session.ring(8);
                let buffers = BufferRing::new(session, &ring, 1, 0);
                buffers.fill(8, 8);
                let (left, right) = session.pair();
                session.write_fd(right, &LONG[..30]);
                let sqe = recv(left, 1, len).with_ioprio(BUNDLE | MULTISHOT);
                play(session, &ring, &format!("{len}"), sqe);
                buffers.record(session, &ring, "after", 8);
                session.close_kept(right);
                session.quiet("end", &ring);
            }
        }),
        Case::new("bundles/recv-waitall", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let buffers = BufferRing::new(session, &ring, 1, 0);
            buffers.fill(4, 8);
            let (left, right) = session.pair();
            play(session, &ring, "submitted", recv(left, 1, 20).with_op_flags(MSG_WAITALL));
            session.write_fd(right, &LONG[..13]);
            session.quiet("a part", &ring);
            buffers.record(session, &ring, "a part", 4);
            session.write_fd(right, &LONG[..13]);
            session.quiet("all", &ring);
            buffers.record(session, &ring, "all", 4);
            session.bytes("memory", &buffers.memory.bytes());
        }),
        Case::new("bundles/send", Opcode::Send, |session| {
            for flags in [0, INCREMENTAL] {
                for (kind, label) in
                    [(rustix::net::SocketType::STREAM, "unix"), (rustix::net::SocketType::DGRAM, "datagram")]
                {
                    for len in [0, 5, 20, 100] {
                        let ring = session.ring(16);
                        let buffers = BufferRing::new(session, &ring, 1, flags);
                        buffers.memory.fill(LONG);
                        buffers.fill(5, 8);
                        let (left, right) = session.pair_of(kind);
                        play(session, &ring, &format!("{label}, flags {flags}, {len}"), send(left, 1, len));
                        buffers.record(session, &ring, "after", 5);
                        session.with_kept(right, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
                        session.bytes("received", &session.read_fd(right, 200));
                        play(session, &ring, "none left", send(left, 1, len));
                    }
                }
            }
        }),
        Case::new("bundles/send-kinds", Opcode::Send, |session| {
            for (label, ioprio, op_flags) in
                [("waitall", BUNDLE, MSG_WAITALL), ("poll first", BUNDLE | POLL_FIRST, 0)]
            {
                let ring = session.ring(16);
                let buffers = BufferRing::new(session, &ring, 1, 0);
                buffers.memory.fill(LONG);
                buffers.fill(5, 8);
                let (left, right) = session.pair();
                play(session, &ring, label, send(left, 1, 0).with_ioprio(ioprio).with_op_flags(op_flags));
                buffers.record(session, &ring, "after", 5);
                session.bytes("received", &session.read_fd(right, 200));
                session.close_kept(right);
                buffers.fill(3, 8);
                play(
                    session,
                    &ring,
                    "peer gone",
                    send(left, 1, 0).with_ioprio(ioprio).with_op_flags(op_flags),
                );
                buffers.record(session, &ring, "peer gone", 5);
            }
        }),
        Case::new("bundles/classic", Opcode::Recv, |session| {
            let ring = session.ring(16);
            let memory = session.memory(64);
            let provide = prep::op(Opcode::ProvideBuffers, 6).with_addr(memory.addr()).with_len(8);
            session.one_recorded("provide", &ring, provide.with_buf_index(1).with_user_data(9));
            let (left, right) = session.pair();
            session.write_fd(right, b"short");
            play(session, &ring, "recv", recv(left, 1, 0));
            session.write_fd(right, b"text");
            play(session, &ring, "recv of 5", recv(left, 1, 5));
            play(session, &ring, "multishot", recv(left, 1, 5).with_ioprio(BUNDLE | MULTISHOT));
            session.write_fd(right, &LONG[..13]);
            session.quiet("more", &ring);
            session.bytes("memory", &memory.bytes());
            memory.fill(LONG);
            session.one_recorded("provide", &ring, provide.with_buf_index(2).with_user_data(9));
            let (left, right) = session.pair();
            play(session, &ring, "send", send(left, 2, 0));
            session.bytes("sent", &session.read_fd(right, 100));
            session.one_recorded("left", &ring, prep::op(Opcode::RemoveBuffers, 10).with_buf_index(2));
            session.one_recorded("provide", &ring, provide.with_buf_index(2).with_user_data(9));
            for len in [0, 3, 100] {
                play(session, &ring, &format!("single send, {len}"), send(left, 2, len).with_ioprio(0));
                session.bytes("sent", &session.read_fd(right, 100));
            }
        }),
        Case::new("bundles/hostile", Opcode::Recv, |session| {
            for (address, length) in [
                (session.bad_address(), 8),
                (session.memory(64).addr(), 0),
                (0, 8),
                (0xffff_8000_0000_0000, 8),
            ] {
                for flags in [0, INCREMENTAL] {
                    for place in 0..3 {
                        let ring = session.ring(16);
                        let buffers = BufferRing::new(session, &ring, 1, flags);
                        for index in 0..3 {
                            let good = buffers.memory.addr() + u64::from(index) * 8;
                            let (address, length) =
                                if index == place { (address, length) } else { (good, 8) };
                            buffers.add(address, length, index);
                        }
                        buffers.publish();
                        let (left, right) = session.pair();
                        let label = format!("{place} of flags {flags}");
                        play(session, &ring, &format!("{label}: send"), send(left, 1, 7));
                        play(session, &ring, "rest", send(left, 1, 0));
                        session.record("head", head(session, &ring, 1));
                        // What is received into such a bundle is not compared: Linux tells by how much it looked at.
                        buffers.publish_again(3);
                        session.write_fd(right, &LONG[..20]);
                        ring.push(recv(left, 1, 0).with_user_data(1));
                        session.outcome("recv: submit", ring.submit());
                        let told = ring.wait_for(1, std::time::Duration::from_secs(1));
                        session.record("told of once", told.is_some() && ring.reap().is_none());
                    }
                }
            }
        }),
        Case::new("recv/multishot-limits", Opcode::Recv, |session| {
            for bundle in [0, BUNDLE] {
                for (len, total) in [(0, 10), (0, 16), (3, 10), (5, 5), (0, 1), (100, 100), (0, u32::MAX)] {
                    let ring = session.ring(16);
                    let buffers = BufferRing::new(session, &ring, 1, 0);
                    buffers.fill(8, 8);
                    let (left, right) = session.pair();
                    let sqe = recv(left, 1, len).with_ioprio(bundle | MULTISHOT).with_file_index(total);
                    play(session, &ring, &format!("bundle {bundle}, {len} of {total}"), sqe);
                    session.write_fd(right, &LONG[..30]);
                    session.quiet("30 bytes", &ring);
                    buffers.record(session, &ring, "after", 8);
                }
            }
            let ring = session.ring(16);
            let (left, _right) = session.pair();
            play(session, &ring, "without multishot", recv(left, 1, 0).with_ioprio(0).with_file_index(7));
        }),
    ]
}
