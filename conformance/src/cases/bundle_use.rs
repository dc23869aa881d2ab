//! `IORING_RECVSEND_BUNDLE`: several provided buffers for one result.

use ringer_abi::{Opcode, SqeFlags, uapi};

use super::buffer_ring_use::{Buffers, INCREMENTAL, MSG_WAITALL, MULTISHOT};
use crate::differential::{Case, Session, prep};

const BUNDLE: u16 = uapi::IORING_RECVSEND_BUNDLE as u16;
const TEXT: &[u8] =
    b"0123456789abcdefghijklmnopqrstuvwxyz, and then once more: 0123456789abcdefghijklmnopqrstuvwxyz";

/// What a socket that does not block has now.
fn received(session: &Session, socket: i32) -> Vec<u8> {
    let mut bytes = vec![0; 256];
    let read = session.with_kept(socket, |fd| rustix::io::read(fd, &mut bytes)).unwrap_or(0);
    bytes.truncate(read);
    bytes
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut cases = receiving();
    cases.extend(sending());
    cases
}

fn receiving() -> Vec<Case> {
    vec![
        Case::new("bundle-use/recv", Opcode::Recv, |session| {
            for flags in [0, INCREMENTAL] {
                for tcp in [false, true] {
                    for bytes in [1, 15, 16, 17, 18, 32, 40, 64, 90] {
                        for len in [0, 5, 16, 20, 32, 50, 1000] {
                            let ring = session.ring(8);
                            let (left, right) = if tcp { session.tcp_pair() } else { session.pair() };
                            let buffers = Buffers::new(session, &ring, 3, 4, 16, flags);
                            session.write_fd(right, &TEXT[..bytes]);
                            let label = format!("tcp {tcp}, flags {flags}, {bytes} bytes, len {len}");
                            session.one_recorded(
                                &label,
                                &ring,
                                buffers.recv(left, len, 0).with_ioprio(BUNDLE),
                            );
                            buffers.look(session, &ring, &label);
                            session.close_kept(left);
                            session.close_kept(right);
                        }
                        session.fresh();
                    }
                }
            }
        }),
        Case::new("bundle-use/recv-kinds", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let (left, right) = session.pair_of(rustix::net::SocketType::DGRAM);
            let buffers = Buffers::new(session, &ring, 3, 4, 16, 0);
            session.write_fd(right, &TEXT[..40]);
            session.write_fd(right, &TEXT[..40]);
            let recv = buffers.recv(left, 0, 0).with_ioprio(BUNDLE);
            session.one_recorded("datagram", &ring, recv);
            session.one_recorded("datagram, 32", &ring, recv.with_len(32));
            session.one_recorded("would wait", &ring, recv.with_op_flags(0x40));
            session.one_recorded("no such group", &ring, recv.with_buf_index(4));
            buffers.look(session, &ring, "then");
            session.write_fd(right, &TEXT[..40]);
            session.one_recorded("the last", &ring, recv);
            session.write_fd(right, &TEXT[..40]);
            session.one_recorded("no buffers", &ring, recv);
            let plain = session.memory(64);
            let sqe = prep::recv(left, plain.addr(), 64, 0).with_ioprio(BUNDLE);
            session.one_recorded("without a group", &ring, sqe);
            let provide = prep::op(Opcode::ProvideBuffers, 4).with_addr(plain.addr()).with_len(16);
            session.one_recorded("provide", &ring, provide.with_buf_index(5));
            session.write_fd(right, &TEXT[..40]);
            session.one_recorded("classic", &ring, recv.with_buf_index(5));
            session.write_fd(right, &TEXT[..40]);
            session.one_recorded("classic, 8", &ring, recv.with_buf_index(5).with_len(8));
            let message = session.message((0, 0), (0, 0), (0, 0));
            for opcode in [Opcode::Recvmsg, Opcode::Sendmsg] {
                let sqe = prep::op(opcode, left).with_addr(message.addr()).with_ioprio(BUNDLE);
                session.one_recorded(format!("{opcode:?}"), &ring, sqe);
                session.one_recorded(format!("{opcode:?} with a group"), &ring, buffers.select(sqe));
            }
        }),
        Case::new("bundle-use/recv-full-without-group", Opcode::Recv, |session| {
            let ring = session.ring(8);
            let ((left, right), plain) = (session.tcp_pair(), session.memory(64));
            session.write_fd(right, &TEXT[..40]);
            for len in [8, 16, 30] {
                let sqe = prep::recv(left, plain.addr(), len, 0).with_ioprio(BUNDLE);
                session.one_recorded(format!("{len}"), &ring, sqe);
            }
        }),
        Case::new("bundle-use/recv-waits", Opcode::Recv, |session| {
            for (label, flags) in [("", 0), ("waitall, ", MSG_WAITALL)] {
                for len in [0, 40] {
                    let ring = session.ring(8);
                    let (left, right) = session.tcp_pair();
                    let buffers = Buffers::new(session, &ring, 3, 4, 16, 0);
                    ring.push(buffers.recv(left, len, flags).with_ioprio(BUNDLE).with_user_data(1));
                    session.outcome("submit", ring.submit());
                    for bytes in [10, 3, 20, 17] {
                        session.write_fd(right, &TEXT[..bytes]);
                        session.quiet(format!("{label}{len}: {bytes} bytes"), &ring);
                        buffers.look(session, &ring, "then");
                    }
                    session.close_kept(right);
                    session.quiet("closed", &ring);
                    buffers.look(session, &ring, "closed");
                }
            }
        }),
        Case::new("bundle-use/recv-multishot", Opcode::Recv, |session| {
            for flags in [0, INCREMENTAL] {
                for (label, each, total) in [
                    ("none", 0, 0),
                    ("5 each", 5, 0),
                    ("20 each", 20, 0),
                    ("40 each", 40, 0),
                    ("50 in all", 0, 50),
                    ("20 each, 50 in all", 20, 50),
                ] {
                    let ring = session.ring(32);
                    let (left, right) = session.pair();
                    let buffers = Buffers::new(session, &ring, 3, 16, 16, flags);
                    let recv = buffers.recv(left, each, 0).with_ioprio(MULTISHOT | BUNDLE);
                    ring.push(recv.with_file_index(total).with_user_data(1));
                    session.outcome(format!("{label}: submit"), ring.submit());
                    for bytes in [10, 40, 16, 60, 90, 90] {
                        session.write_fd(right, &TEXT[..bytes]);
                        session.quiet(format!("{label}: {bytes} bytes"), &ring);
                        buffers.look(session, &ring, label);
                    }
                    session.close_kept(right);
                    session.quiet("end", &ring);
                }
                session.fresh();
            }
        }),
    ]
}

fn sending() -> Vec<Case> {
    vec![
        Case::new("bundle-use/send", Opcode::Send, |session| {
            for flags in [0, INCREMENTAL] {
                for len in [0, 5, 16, 20, 32, 100] {
                    let ring = session.ring(8);
                    let (left, right) = session.pair();
                    session.with_kept(right, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
                    let buffers = Buffers::new(session, &ring, 3, 4, 16, flags);
                    buffers.memory.fill(&TEXT[..64]);
                    let send = buffers.select(prep::send(left, 0, len, 0)).with_ioprio(BUNDLE);
                    ring.push(send.with_user_data(1));
                    session.outcome(format!("{len}: submit"), ring.submit());
                    session.quiet(format!("{len}"), &ring);
                    session.bytes("received", &received(session, right));
                    buffers.look(session, &ring, "then");
                    session.one_recorded("none left", &ring, send);
                    buffers.set_tail(6);
                    session.one_recorded("two more", &ring, send);
                    session.bytes("received", &received(session, right));
                    buffers.look(session, &ring, "then");
                    session.close_kept(right);
                    buffers.set_tail(8);
                    ring.push(send.with_user_data(2));
                    session.outcome("submit", ring.submit());
                    session.quiet("peer gone", &ring);
                }
                session.fresh();
            }
        }),
        Case::new("bundle-use/send-many", Opcode::Send, |session| {
            let ring = session.ring(16);
            let (left, right) = session.tcp_pair();
            let place = session.memory(16 * 1024);
            let argument = session.words(&[place.addr(), 1024 | 3 << 32, 0, 0, 0]);
            let register = ringer_abi::RegisterOpcode::PbufRing.number();
            session.outcome("register", ring.register(register, argument.addr(), 1));
            let text = session.memory_of(&[b'x'; 1024]);
            for index in 0..1000_usize {
                place.put(16 * index, text.addr());
                place.put(16 * index + 8, 8_u32);
                place.put(16 * index + 12, index as u16);
            }
            place.put(14, 1000_u16);
            let send = prep::send(left, 0, 0, 0).with_buf_index(3).with_flags(SqeFlags::BUFFER_SELECT);
            ring.push(send.with_ioprio(BUNDLE).with_user_data(1));
            session.outcome("submit", ring.submit());
            session.quiet("all", &ring);
            let mut received = 0;
            while received < 8000 {
                received += session.read_fd(right, 65536).len();
            }
        }),
        Case::new("bundle-use/send-kinds", Opcode::Send, |session| {
            let ring = session.ring(8);
            let (left, right) = session.pair_of(rustix::net::SocketType::DGRAM);
            let buffers = Buffers::new(session, &ring, 3, 4, 16, 0);
            let send = buffers.select(prep::send(left, 0, 0, 0)).with_ioprio(BUNDLE);
            session.one_recorded("datagram", &ring, send);
            session.record("received", session.read_fd(right, 256).len());
            session.one_recorded("no such group", &ring, send.with_buf_index(9));
            let plain = session.memory_of(&TEXT[..64]);
            let provide = prep::op(Opcode::ProvideBuffers, 4).with_addr(plain.addr()).with_len(16);
            session.one_recorded("provide", &ring, provide.with_buf_index(5));
            ring.push(send.with_buf_index(5).with_user_data(7));
            session.outcome("classic: submit", ring.submit());
            session.quiet("classic", &ring);
            session.one_recorded("left", &ring, prep::op(Opcode::RemoveBuffers, 9).with_buf_index(5));
            let sqe = prep::send(left, plain.addr(), 20, 0).with_ioprio(BUNDLE);
            ring.push(sqe.with_user_data(8));
            session.outcome("without a group: submit", ring.submit());
            session.quiet("without a group", &ring);
            buffers.set_tail(8);
            session.one_recorded(
                "skip",
                &ring,
                send.with_flags(SqeFlags::BUFFER_SELECT | SqeFlags::CQE_SKIP_SUCCESS),
            );
            for opcode in [Opcode::SendZc, Opcode::SendmsgZc] {
                ring.push(
                    prep::op(opcode, left).with_addr(plain.addr()).with_ioprio(BUNDLE).with_user_data(3),
                );
                session.outcome(format!("{opcode:?}: submit"), ring.submit());
                session.quiet(format!("{opcode:?}"), &ring);
            }
        }),
        Case::new("bundle-use/send-waits", Opcode::Send, |session| {
            let ring = session.ring(8);
            let (left, right) = session.pair();
            let buffers = Buffers::new(session, &ring, 3, 4, 16, 0);
            session.with_kept(left, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
            while session.with_kept(left, |fd| rustix::io::write(fd, &[0; 4096])).is_ok() {}
            session.with_kept(left, |fd| rustix::io::ioctl_fionbio(fd, false)).expect("a socket");
            let send = buffers.select(prep::send(left, 0, 20, 0)).with_ioprio(BUNDLE);
            ring.push(send.with_user_data(1));
            session.outcome("submit", ring.submit());
            session.quiet("waits", &ring);
            session.with_kept(right, |fd| rustix::io::ioctl_fionbio(fd, true)).expect("a socket");
            while session
                .with_kept(right, |fd| rustix::io::read(fd, &mut [0_u8; 65536][..]))
                .is_ok_and(|read| read > 0)
            {}
            session.quiet("then drained", &ring);
            buffers.look(session, &ring, "then");
        }),
    ]
}
