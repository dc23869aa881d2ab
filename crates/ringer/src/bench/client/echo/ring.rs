//! The server with a ring.

use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};

use ringer_abi::{Cqe, Opcode, RegisterOpcode, SetupFlags, Sqe, SqeFlags};
use ringer_client::calls::Calls;
use ringer_client::ring::Ring;
use ringer_sys::UserAddress;

use super::super::buffers::Buffers;
use super::super::error::ClientError;
use super::{MESSAGE, Served};

/// `MSG_NOSIGNAL`.
const NO_SIGNAL: u32 = 0x4000;
/// `IORING_CQE_F_BUFFER`.
const WITH_BUFFER: u32 = 1;
/// `IORING_CQE_F_MORE`.
const MORE: u32 = 2;
/// In `user_data`: this was a SEND. Below are the connection, and above the buffer.
const SEND: u64 = 1 << 16;

fn connection_of(cqe: &Cqe, count: usize) -> Result<usize, ClientError> {
    let connection = (cqe.user_data & (SEND - 1)) as usize;
    if connection < count { Ok(connection) } else { Err(ClientError::wrong("the user_data of a completion")) }
}

/// One RECV for each message.
pub fn single_shot<C: Calls>(sockets: &[TcpStream]) -> Result<Served, ClientError> {
    let count = sockets.len();
    let buffers = Buffers::new(count);
    let mut ring = Ring::<C>::new(count.next_power_of_two(), SetupFlags::empty(), 0)?;
    let request = |opcode: Opcode, connection: usize, bytes: usize| {
        Sqe::default()
            .with_opcode(opcode.number())
            .with_fd(sockets[connection].as_raw_fd())
            .with_addr(buffers.address(connection).get())
            .with_len(bytes as u32)
            .with_user_data(connection as u64)
    };
    for connection in 0..count {
        ring.push(&request(Opcode::Recv, connection, MESSAGE))?;
    }
    let (mut open, mut messages) = (count, 0);
    let mut received = vec![0; count];
    while open > 0 {
        ring.submit_and_wait(1)?;
        while let Some(cqe) = ring.pop() {
            let connection = connection_of(&cqe, count)?;
            if cqe.user_data & SEND != 0 {
                ClientError::expect("SEND", cqe.res.into(), received[connection])?;
                ring.push(&request(Opcode::Recv, connection, MESSAGE))?;
            } else if cqe.res > 0 {
                received[connection] = cqe.res.into();
                messages += 1;
                let sqe = request(Opcode::Send, connection, cqe.res as usize).with_op_flags(NO_SIGNAL);
                ring.push(&sqe.with_user_data(connection as u64 | SEND))?;
            } else {
                ClientError::expect("RECV", cqe.res.into(), 0)?;
                open -= 1;
            }
        }
    }
    Ok(Served { messages })
}

/// One RECV for each connection, with buffers from a buffer ring.
pub fn multishot<C: Calls>(sockets: &[TcpStream]) -> Result<Served, ClientError> {
    /// `IORING_RECV_MULTISHOT`.
    const MULTISHOT: u64 = 2;
    let count = sockets.len();
    // Each connection has one message under way: there is always a buffer for it.
    let entries = (2 * count).next_power_of_two();
    let mut ring = Ring::<C>::new(entries, SetupFlags::empty(), 0)?;
    let mut provided = BufferRing::new(entries);
    ring.register(RegisterOpcode::PbufRing, UserAddress::of(provided.registration().as_ptr()), 1)?;
    let receive = |connection: usize| {
        let sqe = Sqe::from_words([u64::from(Opcode::Recv.number()) | MULTISHOT << 16, 0, 0, 0, 0, 0, 0, 0]);
        sqe.with_fd(sockets[connection].as_raw_fd())
            .with_flags(SqeFlags::BUFFER_SELECT)
            .with_buf_index(BufferRing::GROUP)
            .with_user_data(connection as u64)
    };
    for connection in 0..count {
        ring.push(&receive(connection))?;
    }
    let (mut open, mut messages) = (count, 0);
    while open > 0 {
        ring.submit_and_wait(1)?;
        while let Some(cqe) = ring.pop() {
            let connection = connection_of(&cqe, count)?;
            if cqe.user_data & SEND != 0 {
                let [buffer, bytes] = [cqe.user_data >> 32, cqe.user_data >> 17 & 0x7fff];
                ClientError::expect("SEND", cqe.res.into(), bytes as i64)?;
                provided.give_back(buffer as usize);
                continue;
            }
            if cqe.res <= 0 {
                ClientError::expect("multishot RECV", cqe.res.into(), 0)?;
                open -= 1;
                continue;
            }
            if cqe.flags & WITH_BUFFER == 0 {
                return Err(ClientError::wrong("a multishot RECV without a buffer"));
            }
            let buffer = u64::from(cqe.flags >> 16);
            messages += 1;
            let sqe = Sqe::default()
                .with_opcode(Opcode::Send.number())
                .with_fd(sockets[connection].as_raw_fd())
                .with_addr(provided.address(buffer as usize).get())
                .with_len(cqe.res as u32)
                .with_op_flags(NO_SIGNAL);
            let bytes = cqe.res as u64;
            ring.push(&sqe.with_user_data(connection as u64 | SEND | bytes << 17 | buffer << 32))?;
            if cqe.flags & MORE == 0 {
                ring.push(&receive(connection))?;
            }
        }
    }
    Ok(Served { messages })
}

/// A ring of provided buffers. Source: `io_uring_register.2`, `IORING_REGISTER_PBUF_RING`.
struct BufferRing {
    /// `struct io_uring_buf`, two words each; the tail stands in the upper 16 bits of the second word of the first.
    entries: Buffers,
    count: usize,
    messages: Box<[[AtomicU64; MESSAGE / 8]]>,
    tail: u16,
    /// `struct io_uring_buf_reg`.
    registration: [u64; 5],
}

impl BufferRing {
    const GROUP: u16 = 7;

    /// So many buffers, all of them provided. A power of two, at most 256, so that the ring fits in one page.
    fn new(count: usize) -> Self {
        let entries = Buffers::new(1);
        let messages = (0..count).map(|_| std::array::from_fn(|_| AtomicU64::new(0))).collect();
        let registration = [entries.address(0).get(), count as u64 | u64::from(Self::GROUP) << 32, 0, 0, 0];
        let mut ring = Self { entries, count, messages, tail: 0, registration };
        for buffer in 0..count {
            ring.give_back(buffer);
        }
        ring
    }

    fn registration(&self) -> &[u64; 5] {
        &self.registration
    }

    fn address(&self, buffer: usize) -> UserAddress {
        UserAddress::of(self.messages[buffer].as_ptr())
    }

    /// Provides a buffer, again.
    fn give_back(&mut self, buffer: usize) {
        let slot = usize::from(self.tail) % self.count;
        self.tail = self.tail.wrapping_add(1);
        self.entries.set(0, slot * 2, self.address(buffer).get());
        let length_and_id = MESSAGE as u64 | (buffer as u64) << 32;
        if slot != 0 {
            self.entries.set(0, slot * 2 + 1, length_and_id);
        }
        // Release: the entry first. Partner: whoever serves the ring, taking a buffer.
        std::sync::atomic::fence(Ordering::Release);
        let first = if slot == 0 { length_and_id } else { self.entries.get(0, 1) & (u64::MAX >> 16) };
        self.entries.set(0, 1, first | u64::from(self.tail) << 48);
    }
}
