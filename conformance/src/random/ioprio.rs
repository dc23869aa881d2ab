//! What `ioprio` says of a request on a socket.

use ringer_abi::{Opcode, uapi};

use super::sequence::Request;

const POLL_FIRST: u16 = uapi::IORING_RECVSEND_POLL_FIRST as u16;
const MULTISHOT: u16 = uapi::IORING_RECV_MULTISHOT as u16;
const FIXED_BUFFER: u16 = uapi::IORING_RECVSEND_FIXED_BUF as u16;
const REPORT_USAGE: u16 = uapi::IORING_SEND_ZC_REPORT_USAGE as u16;
const BUNDLE: u16 = uapi::IORING_RECVSEND_BUNDLE as u16;
const ACCEPT_MULTISHOT: u16 = uapi::IORING_ACCEPT_MULTISHOT as u16;
const ACCEPT_DONTWAIT: u16 = uapi::IORING_ACCEPT_DONTWAIT as u16;
const ACCEPT_POLL_FIRST: u16 = uapi::IORING_ACCEPT_POLL_FIRST as u16;

impl Request {
    /// `ioprio` of a request that receives, sends or accepts. Of all others none.
    pub fn ioprio(&self) -> u16 {
        self.receives() | self.sends() | self.accepts()
    }

    /// Of one that receives: whether it has several results, takes several buffers at a time, waits before it tries.
    pub fn receives(&self) -> u16 {
        let several = match self.opcode {
            Opcode::Recv if self.select => {
                [0, 0, MULTISHOT, BUNDLE, MULTISHOT | BUNDLE][self.draws[2] as usize % 5]
            }
            Opcode::Recvmsg if self.select => [0, MULTISHOT][self.draws[2] as usize % 2],
            Opcode::Recv | Opcode::Recvmsg => 0,
            _ => return 0,
        };
        let waits_first = (self.draws[1] / 6).is_multiple_of(6);
        several | if waits_first { POLL_FIRST } else { 0 }
    }

    /// Of one that sends: whether it takes several buffers at a time or a registered one, tells whether it copied, waits before
    /// it tries.
    pub fn sends(&self) -> u16 {
        match self.opcode {
            Opcode::Send if self.select => [0, BUNDLE, BUNDLE][self.draws[1] as usize % 3],
            Opcode::Send => [0, 0, 0, POLL_FIRST][self.draws[1] as usize % 4],
            Opcode::Sendmsg => [0, 0, 0, POLL_FIRST][self.draws[3] as usize % 4],
            Opcode::SendZc => [0, REPORT_USAGE, FIXED_BUFFER, FIXED_BUFFER | REPORT_USAGE, POLL_FIRST]
                [self.draws[1] as usize % 5],
            Opcode::SendmsgZc => [0, REPORT_USAGE, POLL_FIRST][self.draws[3] as usize % 3],
            _ => 0,
        }
    }

    /// Of an ACCEPT: whether it has several results, must not wait, waits before it tries.
    pub fn accepts(&self) -> u16 {
        match self.opcode {
            Opcode::Accept => [
                0,
                0,
                0,
                ACCEPT_MULTISHOT,
                ACCEPT_DONTWAIT,
                ACCEPT_POLL_FIRST,
                ACCEPT_MULTISHOT | ACCEPT_POLL_FIRST,
            ][self.draws[1] as usize % 7],
            _ => 0,
        }
    }

    /// Whether it has several results until it is cancelled or fails.
    pub fn is_multishot(&self) -> bool {
        self.opcode == Opcode::ReadMultishot
            || self.receives() & MULTISHOT != 0
            || self.accepts() & ACCEPT_MULTISHOT != 0
    }

    /// Whether it takes several provided buffers at a time.
    pub fn takes_several(&self) -> bool {
        (self.receives() | self.sends()) & BUNDLE != 0
    }

    /// Whether it waits for its socket before it tries.
    pub fn polls_first(&self) -> bool {
        (self.receives() | self.sends()) & POLL_FIRST != 0
    }

    /// Whether it is about a registered buffer.
    pub fn sends_registered(&self) -> bool {
        self.sends() & FIXED_BUFFER != 0
    }
}
