//! What is drawn.

use std::os::fd::RawFd;

use fastrand::Rng;
use ringer_abi::{Opcode, Sqe, SqeFlags, uapi};
use ringer_sys::UserAddress;

use super::buffers::GROUPS;
use super::files::Files;
use super::regular::{OF_REGULAR_FILES, OF_UNCACHED_FILES};
use super::resources::{BUFFER_BYTES, BUFFERS, FILES, FILES_TO_READ};
use super::scene::{RINGS, Shared, UNCOUNTED};
use super::streams;
use crate::differential::prep;

/// Bytes of the memory that a request has for itself.
pub(super) const MEMORY_BYTES: u64 = 256;
const FILE_POSITION: u64 = u64::MAX;
pub(super) const MSG_NOSIGNAL: u32 = 0x4000;
const SEND_FD: u64 = uapi::io_uring_msg_ring_flags::IORING_MSG_SEND_FD as u64;

/// What a request is drawn from.
pub(super) struct Draw<'a> {
    pub(super) rng: &'a mut Rng,
    pub(super) shared: &'a Shared,
    pub(super) files: &'a Files,
    /// Memory of its own.
    pub(super) memory: UserAddress,
}

/// Makes a request.
pub(super) type MakeRequest = fn(&mut Draw<'_>) -> Sqe;

/// Which requests are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kinds {
    /// All.
    All,
    /// Those that end by themselves, some with `IOSQE_IO_DRAIN`: what is endless would hold back what drains.
    Draining,
    /// Those of a regular file, which is not in the page cache for long. They end by themselves, too, and threads with a ring of their own wait for them.
    OfFiles,
}

impl Kinds {
    /// Every one of them.
    pub const ALL: [Self; 3] = [Self::All, Self::Draining, Self::OfFiles];

    pub(super) fn draw(self, rng: &mut Rng) -> MakeRequest {
        let lists: &[&[MakeRequest]] = match self {
            Self::All => &[SINGLE, OF_REGULAR_FILES, streams::SINGLE, ENDLESS, streams::ENDLESS],
            Self::Draining => &[SINGLE, OF_REGULAR_FILES, streams::SINGLE],
            Self::OfFiles => &[OF_REGULAR_FILES, OF_UNCACHED_FILES, OF_UNCACHED_FILES],
        };
        let count: usize = lists.iter().map(|list| list.len()).sum();
        let index = rng.usize(..count);
        *lists.iter().copied().flatten().nth(index).expect("an index into them")
    }

    pub(super) fn drains(self) -> bool {
        self == Self::Draining
    }
}

impl Draw<'_> {
    pub(super) fn buffer(&self) -> u64 {
        self.memory.get()
    }

    /// Where a short time is, drawn anew.
    pub(super) fn time(&mut self) -> u64 {
        let place = self.memory.add(64);
        place.write([0, self.rng.u64(0..3_000_000)]).expect("memory of this test");
        place.get()
    }

    pub(super) fn vectors(&self) -> u64 {
        let place = self.memory.add(80);
        place.write([self.memory.get(), 32]).expect("memory of this test");
        place.get()
    }

    /// Registers other files. One that is read from is not written to and the other way round: who waits for it might wait for ever.
    fn update_files(&mut self) -> Sqe {
        let place = self.memory.add(96);
        let is_read = self.rng.bool();
        let slot = if is_read { self.slot_to_read() } else { self.slot_to_write() };
        for index in 0..2 {
            let file = match self.rng.u8(..6) {
                0 => -1,
                _ if is_read => self.readable(),
                _ => self.writable(),
            };
            place.add(4 * index).write(file).expect("memory of this test");
        }
        let update = prep::op(Opcode::FilesUpdate, -1).with_addr(place.get());
        // The one behind the last is of the other kind.
        update.with_len(if slot % FILES_TO_READ == FILES_TO_READ - 1 { 1 } else { 2 }).with_off(slot.into())
    }

    pub(super) fn readable(&mut self) -> RawFd {
        self.files.readable(self.rng)
    }

    pub(super) fn writable(&mut self) -> RawFd {
        self.files.writable(self.rng)
    }

    fn slot_to_read(&mut self) -> u32 {
        self.rng.u32(..FILES_TO_READ)
    }

    fn slot_to_write(&mut self) -> u32 {
        self.rng.u32(FILES_TO_READ..FILES)
    }

    /// A request for a registered file that is read from.
    fn of_registered(&mut self, sqe: Sqe) -> Sqe {
        let slot = self.slot_to_read() as RawFd;
        sqe.with_fd(slot).with_flags(sqe.flags() | SqeFlags::FIXED_FILE)
    }

    /// A request with a provided buffer.
    pub(super) fn buffered(&mut self, sqe: Sqe) -> Sqe {
        let group = *self.rng.choice(&GROUPS).expect("there are groups");
        sqe.with_flags(sqe.flags() | SqeFlags::BUFFER_SELECT).with_buf_index(group)
    }

    /// A request with a registered buffer of some ring, maybe not of the one that it is for.
    pub(super) fn with_fixed(&mut self, opcode: Opcode, fd: RawFd) -> Sqe {
        let buffer = self.rng.u16(..BUFFERS);
        let memory = self.shared.buffers[self.rng.usize(..RINGS)];
        let address = memory.add(u64::from(buffer) * u64::from(BUFFER_BYTES));
        let sqe = prep::op(opcode, fd).with_addr(address.get()).with_off(FILE_POSITION);
        sqe.with_len(8).with_buf_index(buffer)
    }

    /// The `user_data` of any request.
    pub(super) fn other(&mut self) -> u64 {
        self.rng.u64(..self.shared.slots.len() as u64)
    }

    fn ring(&mut self) -> RawFd {
        self.shared.descriptors[self.rng.usize(..RINGS)]
    }

    pub(super) fn word(&mut self) -> u64 {
        self.shared.words.add(8 * self.rng.u64(..4)).get()
    }

    fn futex(&mut self, opcode: Opcode) -> Sqe {
        let word = self.word();
        prep::op(opcode, 2).with_addr(word).with_addr3(u64::from(u32::MAX))
    }

    pub(super) fn one(&self) -> u64 {
        self.shared.one.get()
    }
}

/// Requests that end by themselves once their files are fed.
const SINGLE: &[MakeRequest] = &[
    |draw| prep::read(draw.readable(), draw.buffer(), 24, FILE_POSITION),
    |draw| prep::readv(draw.readable(), draw.vectors(), 1, FILE_POSITION),
    |draw| prep::recv(draw.readable(), draw.buffer(), 16, 0),
    |draw| {
        let read = prep::read(draw.readable(), 0, 0, FILE_POSITION);
        draw.buffered(read)
    },
    |draw| {
        let receive = prep::recv(draw.readable(), 0, 0, 0);
        draw.buffered(receive)
    },
    |draw| prep::write(draw.writable(), draw.one(), 8, FILE_POSITION),
    |draw| prep::send(draw.writable(), draw.one(), 8, MSG_NOSIGNAL),
    |draw| {
        let send = prep::op(Opcode::SendZc, draw.writable()).with_addr(draw.one());
        send.with_len(8).with_op_flags(MSG_NOSIGNAL)
    },
    |draw| prep::poll(draw.readable(), 1),
    |_| prep::nop(),
    |draw| prep::timeout(draw.time(), draw.rng.u64(..3), 0),
    |draw| prep::timeout_remove(draw.other()),
    |draw| prep::poll_remove(draw.other()),
    |draw| prep::cancel(draw.other(), 0),
    |draw| {
        prep::cancel(0, uapi::IORING_ASYNC_CANCEL_FD | uapi::IORING_ASYNC_CANCEL_ALL).with_fd(draw.readable())
    },
    |draw| draw.futex(Opcode::FutexWake).with_off(2),
    |draw| prep::op(Opcode::Openat, draw.files.directory()).with_addr(draw.shared.dot.get()),
    |_| prep::op(Opcode::Socket, 1).with_off(1),
    |draw| prep::accept(draw.files.listener(), 0),
    |draw| prep::op(Opcode::MsgRing, draw.ring()).with_off(UNCOUNTED),
    |draw| {
        let file = draw.readable();
        draw.with_fixed(Opcode::ReadFixed, file)
    },
    |draw| {
        let file = draw.writable();
        draw.with_fixed(Opcode::WriteFixed, file)
    },
    |draw| {
        let read = draw.with_fixed(Opcode::ReadFixed, 0);
        draw.of_registered(read)
    },
    // Registered files: used, set, closed, installed, sent to the other ring.
    |draw| {
        let read = prep::read(0, draw.buffer(), 24, FILE_POSITION);
        draw.of_registered(read)
    },
    |draw| {
        let receive = prep::recv(0, 0, 0, 0);
        let receive = draw.buffered(receive);
        draw.of_registered(receive)
    },
    |draw| {
        let write = prep::write(draw.slot_to_write() as RawFd, draw.one(), 8, FILE_POSITION);
        write.with_flags(SqeFlags::FIXED_FILE)
    },
    |draw| {
        let poll = prep::poll(0, 1);
        draw.of_registered(poll)
    },
    |draw| draw.update_files(),
    |draw| prep::op(Opcode::Close, 0).with_file_index(draw.rng.u32(..FILES) + 1),
    |draw| {
        let install = prep::op(Opcode::FixedFdInstall, 0);
        draw.of_registered(install)
    },
    |draw| prep::accept(draw.files.listener(), 0).with_file_index(draw.slot_to_read() + 1),
    |draw| {
        let (from, to) = (u64::from(draw.slot_to_read()), draw.slot_to_read() + 1);
        let send = prep::op(Opcode::MsgRing, draw.ring()).with_addr(SEND_FD);
        send.with_off(UNCOUNTED).with_addr3(from).with_file_index(to)
    },
];

/// Requests that only end when they are cancelled, or woken by another one.
const ENDLESS: &[MakeRequest] = &[
    |draw| prep::poll(draw.readable(), 1).with_len(uapi::IORING_POLL_ADD_MULTI),
    |draw| {
        let receive = prep::recv(draw.readable(), 0, 0, 0).with_ioprio(uapi::IORING_RECV_MULTISHOT as u16);
        draw.buffered(receive)
    },
    |draw| {
        let receive = prep::recv(0, 0, 0, 0).with_ioprio(uapi::IORING_RECV_MULTISHOT as u16);
        let receive = draw.buffered(receive);
        draw.of_registered(receive)
    },
    |draw| {
        let read = prep::op(Opcode::ReadMultishot, draw.readable()).with_off(FILE_POSITION);
        draw.buffered(read)
    },
    |draw| prep::accept(draw.files.listener(), 0).with_ioprio(uapi::IORING_ACCEPT_MULTISHOT as u16),
    |draw| prep::timeout(draw.time(), 20, uapi::IORING_TIMEOUT_MULTISHOT),
    |draw| draw.futex(Opcode::FutexWait),
];
