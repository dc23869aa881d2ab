//! Turns a drawn request into an SQE on the objects of a sequence.

use std::os::fd::RawFd;

use ringer_abi::{Opcode, Sqe, SqeFlags};

use super::lanes::{Lane, Lanes, PROVIDED, PROVIDED_SIZE, SLOTS};
use super::sequence::{Fault, LANES, Object, Request, TIMEOUT_MULTISHOT};
use crate::differential::{Session, prep};

/// `IORING_FILE_INDEX_ALLOC`: any free slot.
const ANY_SLOT: u32 = u32::MAX;
const AT_POSITION: u64 = u64::MAX;
/// What `time` makes a time of that is beyond the end of the sequence.
const LATE: u32 = 1;
/// `FUTEX2_SIZE_U32`.
const FUTEX_U32: i32 = 2;
const AT_FDCWD: i32 = -100;
/// A message of MSG_RING has this added to the number of its step as `user_data`.
pub const MESSAGE: u64 = 1000;

/// What a request is prepared with.
pub struct Preparation<'a> {
    /// Where memory comes from.
    pub session: &'a Session,
    /// The objects.
    pub lanes: &'a Lanes,
    /// The descriptors of the rings.
    pub rings: &'a [RawFd],
    /// The number of the step.
    pub number: usize,
}

impl Preparation<'_> {
    /// The SQE of this request.
    pub fn sqe(&self, request: &Request) -> Sqe {
        let mut sqe = self.operation(request).with_user_data(self.number as u64 + 1);
        let mut flags = request.flags | sqe.flags();
        let index = request.lane * SLOTS + request.object.index();
        let fd = self.descriptor(request);
        let is_index = matches!(request.opcode, Opcode::Close | Opcode::FixedFdInstall);
        if request.fixed && sqe.fd() == fd && !is_index {
            sqe = sqe.with_fd(index as i32);
            flags |= SqeFlags::FIXED_FILE;
        }
        if request.select {
            sqe = sqe.with_buf_index(request.group());
            flags |= SqeFlags::BUFFER_SELECT;
        }
        let sqe = sqe.with_flags(flags);
        match request.fault {
            Some(fault) => self.with_fault(sqe, fault, request),
            None => sqe,
        }
    }

    fn with_fault(&self, sqe: Sqe, fault: Fault, request: &Request) -> Sqe {
        let opcode = request.opcode;
        // Lengths stand there, and the file system would take a large one at its word.
        let no_pointer = matches!(opcode, Opcode::Fallocate | Opcode::Ftruncate | Opcode::Fadvise);
        match fault {
            Fault::BadAddress if !no_pointer => sqe.with_addr(self.session.bad_address()),
            Fault::Ioprio(value) => sqe.with_ioprio(value),
            // That bit makes an index of a number which is another one in every process.
            Fault::OpFlag(0x8000_0000) if matches!(opcode, Opcode::Splice | Opcode::Tee) => sqe,
            // `MSG_OOB`: the difference that `recv/before-urgent-data` shows.
            Fault::OpFlag(1) if matches!(opcode, Opcode::Send | Opcode::Sendmsg) => sqe,
            Fault::OpFlag(bit) if opcode != Opcode::Timeout || bit != 0x40 => {
                sqe.with_op_flags(sqe.op_flags() ^ bit)
            }
            Fault::BufIndex(index) => sqe.with_buf_index(index),
            Fault::Personality => sqe.with_personality(5),
            // A descriptor stands there: a number that is open in no process.
            Fault::FileIndex(index) if matches!(opcode, Opcode::Splice | Opcode::Tee) => {
                sqe.with_file_index(index.saturating_add(600))
            }
            Fault::FileIndex(index) => sqe.with_file_index(index),
            Fault::LastWord => sqe.with_pad2(1),
            Fault::UnknownFlag => sqe.with_flags(SqeFlags::from_bits_retain(sqe.flags().bits() | 0x80)),
            Fault::UnknownOpcode => sqe.with_opcode(200),
            // More than a stream takes: the notification of a zero-copy send, which is a copy here, waits for the rest to be read there.
            Fault::Len(_) if opcode == Opcode::SendZc => sqe,
            Fault::Len(len) if opcode != Opcode::Madvise => sqe.with_len(len),
            // Registered files of other requests, which a worker of the kernel looks up later.
            Fault::Off(0 | 1) if opcode == Opcode::FilesUpdate => sqe,
            Fault::Off(off) if !no_pointer && opcode != Opcode::Timeout && request.object == Object::File => {
                sqe.with_off(off)
            }
            Fault::BadAddress | Fault::Len(_) | Fault::Off(_) | Fault::OpFlag(_) => sqe,
        }
    }

    fn operation(&self, request: &Request) -> Sqe {
        let lane = &self.lanes.0[request.lane];
        let fd = self.descriptor(request);
        let [first, second, third, fourth] = request.draws;
        let op = |fd| prep::op(request.opcode, fd);
        match request.opcode {
            Opcode::Nop => self.nop(first, second),
            Opcode::Read
            | Opcode::Write
            | Opcode::Readv
            | Opcode::Writev
            | Opcode::ReadFixed
            | Opcode::WriteFixed
            | Opcode::ReadvFixed
            | Opcode::WritevFixed
            | Opcode::ReadMultishot => self.transfer(request, lane),
            Opcode::Fsync => op(fd).with_op_flags(first % 2),
            Opcode::SyncFileRange => op(fd).with_off(0).with_len(64).with_op_flags(first % 8),
            Opcode::PollAdd => op(fd)
                // A ring that defers task work says twice at the first poll of all that it has room.
                .with_op_flags(match first as usize % 5 {
                    2 | 3 if request.polls_ring() && request.polls_again() => 1,
                    kind => [1, 1, 4, 5, 0x2001][kind],
                })
                .with_len(request.polls_again().into()),
            Opcode::PollRemove => {
                let update = if first % 4 == 0 { 2 } else { 0 };
                op(-1).with_addr(self.target(request)).with_len(update).with_op_flags(if update > 0 {
                    5
                } else {
                    0
                })
            }
            Opcode::Timeout => {
                let flags = request.timeout_flags();
                let count = match second % 4 {
                    // As often as that: forever would keep a sequence from coming to rest.
                    _ if flags == TIMEOUT_MULTISHOT => 2,
                    0 => u64::from(third % 4),
                    _ => 0,
                };
                op(-1).with_addr(self.time(first)).with_len(1).with_off(count).with_op_flags(flags)
            }
            Opcode::TimeoutRemove => {
                let update = first % 3 == 0;
                // Late: a timeout that repeats does so for ever once it was updated.
                let (time, flags) = if update { (self.time(LATE), 2) } else { (0, 0) };
                op(-1).with_addr(self.target(request)).with_off(time).with_op_flags(flags)
            }
            Opcode::LinkTimeout => op(-1).with_addr(self.time(first)).with_len(1),
            Opcode::AsyncCancel => self.cancel(request, fd),
            Opcode::Openat => {
                let name = self.name(first);
                // O_RDWR, perhaps with O_CREAT, O_EXCL, O_TRUNC.
                let flags = [0, 2, 0o102, 0o302, 0o1102][second as usize % 5];
                let slot = self.direct(request, third);
                op(fd).with_addr(name).with_op_flags(flags).with_len(0o600).with_file_index(slot)
            }
            Opcode::Openat2 => {
                let flags = [0, 2, 0o102, 0o302, 0o1102][second as usize % 5];
                let mode = if flags & 0o100 == 0 { 0 } else { 0o600 };
                // None, no symbolic links, beneath, in root.
                let resolve = [0, 0, 4, 8, 16][fourth as usize % 5];
                let how = self.session.words(&[flags, mode, resolve]);
                op(fd)
                    .with_addr(self.name(first))
                    .with_off(how.addr())
                    .with_len(24)
                    .with_file_index(self.direct(request, third))
            }
            Opcode::FutexWait => op(FUTEX_U32)
                .with_addr(lane.word.addr())
                .with_off(u64::from(first % 4 == 0))
                .with_addr3(u64::from([u32::MAX, 1, 2][second as usize % 3])),
            Opcode::FutexWake => op(FUTEX_U32)
                .with_addr(lane.word.addr())
                .with_off(u64::from(first % 3))
                .with_addr3(u64::from([u32::MAX, 1, 2][second as usize % 3])),
            // There is no such child.
            Opcode::Waitid => {
                op(1 << 30).with_len(first % 4).with_file_index([4, 4, 5, 0][second as usize % 4])
            }
            // SIOCINQ, SIOCOUTQ, and one that is not known.
            Opcode::UringCmd => op(fd).with_off([0, 0, 1, 77][first as usize % 4]),
            Opcode::Close => match first % 3 {
                // Nothing else may be closed: the sequence still uses it.
                0 if matches!(request.object, Object::Spare | Object::Closed) => op(fd),
                _ => op(0).with_file_index(self.slot(request, second) + 1),
            },
            Opcode::Statx => {
                let name = self.name(first);
                op(fd).with_addr(name).with_len(0x7ff).with_off(self.session.memory(256).addr())
            }
            Opcode::Fallocate => op(fd)
                .with_off(u64::from(first % 128))
                .with_addr(u64::from(second % 200))
                .with_len([0, 1, 3][third as usize % 3]),
            Opcode::Ftruncate => op(fd).with_off(u64::from(first % 200)),
            Opcode::Fadvise => op(fd).with_len(64).with_op_flags(first % 7),
            Opcode::Madvise => {
                op(-1).with_addr(self.session.memory(4096).addr()).with_len(4096).with_op_flags(first % 5)
            }
            Opcode::Send | Opcode::SendZc => {
                let sqe = op(fd).with_addr(lane.block.addr()).with_len(first % 24 + 1);
                let sqe = sqe.with_ioprio(request.sends());
                if request.sends_registered() { sqe.with_buf_index(request.lane as u16) } else { sqe }
            }
            Opcode::Recv => {
                let flags = request.receive_flags();
                // How much is received at once is the buffer's affair where there may be several.
                let len = if request.is_multishot() || request.takes_several() { 0 } else { first % 32 + 1 };
                op(fd)
                    .with_addr(lane.room(self.number))
                    .with_len(len)
                    .with_op_flags(flags)
                    .with_ioprio(request.receives())
            }
            Opcode::Sendmsg | Opcode::SendmsgZc | Opcode::Recvmsg => self.message(request, lane),
            Opcode::Shutdown => op(fd).with_len(first % 4),
            Opcode::Socket => {
                let slot = if third % 3 == 0 { ANY_SLOT } else { 0 };
                op([1, 2, 77][first as usize % 3]).with_off(u64::from(second % 3)).with_file_index(slot)
            }
            Opcode::Accept => op(fd)
                .with_op_flags([0, 0o2_000_000, 0o4000, 1][first as usize % 4])
                .with_file_index(match third % 4 {
                    1 => ANY_SLOT,
                    2 => self.slot(request, third / 4) + 1,
                    _ => 0,
                })
                .with_ioprio(request.accepts()),
            Opcode::Connect => {
                op(fd).with_addr(lane.address.addr()).with_off([16, 16, 16, 3][first as usize % 4])
            }
            Opcode::Bind => {
                op(fd).with_addr(self.session.sockaddr(0).addr()).with_off([16, 16, 3][first as usize % 3])
            }
            Opcode::Listen => op(fd).with_len(first % 8),
            Opcode::Splice => self.splice(request, lane),
            Opcode::Tee => {
                op(lane.descriptor(Object::OtherWrite)).with_file_index(fd as u32).with_len(first % 24)
            }
            Opcode::ProvideBuffers => op(first as i32 % 4 + 1)
                .with_addr(lane.block.addr() + PROVIDED as u64 + u64::from(second % 4) * PROVIDED_SIZE as u64)
                .with_len(PROVIDED_SIZE as u32)
                .with_off(u64::from(second % 4))
                .with_buf_index(request.lane as u16),
            Opcode::RemoveBuffers => op(first as i32 % 4 + 1).with_buf_index(request.lane as u16),
            Opcode::EpollCtl => {
                let event = self.session.memory(16);
                event.put(0, [1u32, 4, 5][first as usize % 3]);
                event.put(4, u64::from(second));
                op(lane.descriptor(Object::Epoll))
                    .with_len([1, 1, 1, 2, 3][third as usize % 5])
                    .with_off(fd as u32 as u64)
                    .with_addr(event.addr())
            }
            Opcode::EpollWait => op(fd).with_addr(lane.room(self.number)).with_len(first % 4 + 1),
            Opcode::FilesUpdate => {
                let with = match second % 6 {
                    0 | 1 => -1,
                    2 => self.rings[request.ring],
                    _ => lane.descriptor(Object::File),
                };
                let array = self.session.ints(&[with, lane.descriptor(Object::Event)]);
                op(-1)
                    .with_addr(array.addr())
                    .with_len(first % 2 + 1)
                    .with_off(u64::from(self.slot(request, 0)))
            }
            Opcode::MsgRing => self.message_to_ring(request),
            Opcode::Setxattr | Opcode::Fsetxattr | Opcode::Getxattr | Opcode::Fgetxattr => {
                self.attribute(request, lane)
            }
            Opcode::Renameat => op(fd)
                .with_addr(self.name(first))
                .with_len(fd as u32)
                .with_off(self.name(second))
                .with_op_flags([0, 0, 1, 2][third as usize % 4]),
            Opcode::Linkat => {
                op(fd).with_addr(self.name(first)).with_len(fd as u32).with_off(self.name(second))
            }
            Opcode::Unlinkat => {
                op(fd).with_addr(self.name(first)).with_op_flags([0, 0x200][second as usize % 2])
            }
            Opcode::Mkdirat => op(fd).with_addr(self.name(first)).with_len(0o700),
            Opcode::Symlinkat => op(fd).with_addr(self.name(first)).with_off(self.name(second)),
            Opcode::Pipe => op(0)
                .with_addr(self.session.ints(&[-1, -1]).addr())
                .with_file_index(if first % 2 == 0 { ANY_SLOT } else { 0 }),
            Opcode::FixedFdInstall => op((request.lane * SLOTS) as i32 + first as i32 % SLOTS as i32)
                .with_flags(SqeFlags::FIXED_FILE)
                .with_op_flags(second % 2),
            _ => op(fd),
        }
    }

    /// NOP, which can be told its result.
    fn nop(&self, first: u32, second: u32) -> Sqe {
        const INJECT_RESULT: u32 = 1;
        match first % 4 {
            0 => prep::nop().with_op_flags(INJECT_RESULT).with_len(-(second as i32 % 100) as u32),
            _ => prep::nop(),
        }
    }

    fn transfer(&self, request: &Request, lane: &Lane) -> Sqe {
        let [first, second, third, _] = request.draws;
        let fd = self.descriptor(request);
        let event = request.object == Object::Event;
        let writes = request.writes();
        let offset = match second % 4 {
            _ if request.object != Object::File => [0, AT_POSITION][second as usize % 2],
            0 => AT_POSITION,
            _ => u64::from(third % 80),
        };
        let len = if event { 8 } else { first % 40 + 1 };
        let addr = match (writes, event) {
            (true, true) => lane.one.addr(),
            (true, false) => lane.block.addr() + u64::from(third % 500),
            (false, _) => lane.room(self.number),
        };
        let sqe = prep::op(request.opcode, fd).with_off(offset);
        match request.opcode {
            Opcode::ReadMultishot => sqe.with_off(AT_POSITION),
            Opcode::Readv | Opcode::Writev | Opcode::ReadvFixed | Opcode::WritevFixed => {
                let part = u64::from(if request.select || event { len } else { len / 2 });
                let rest = (addr + part, u64::from(len) - part);
                let vectors = self.session.vectors(&[(addr, part), rest]);
                let count = if rest.1 == 0 { 1 } else { 2 };
                sqe.with_addr(vectors.addr()).with_len(count).with_buf_index(self.buffer(request))
            }
            Opcode::ReadFixed | Opcode::WriteFixed => {
                sqe.with_addr(addr).with_len(len).with_buf_index(self.buffer(request))
            }
            _ => sqe.with_addr(addr).with_len(len),
        }
    }

    /// The registered buffer of the lane, for the operations that take one.
    fn buffer(&self, request: &Request) -> u16 {
        match request.opcode {
            Opcode::Readv | Opcode::Writev => 0,
            _ => request.lane as u16,
        }
    }

    fn message(&self, request: &Request, lane: &Lane) -> Sqe {
        let [first, second, third, fourth] = request.draws;
        let sends = matches!(request.opcode, Opcode::Sendmsg | Opcode::SendmsgZc);
        let addr = if sends { lane.block.addr() } else { lane.room(self.number) };
        let vectors =
            self.session.vectors(&[(addr, u64::from(first % 16 + 1)), (addr + 16, u64::from(second % 16))]);
        let count = if request.select { 1 } else { request.vectors().into() };
        // With several results these say how the buffers are divided. Nothing comes to be written there but the family.
        let (name, control) = match request.is_multishot() {
            true => (third / 2 % 3, u64::from(fourth / 4 % 3 * 4)),
            false => (0, 0),
        };
        let message = self.session.message((0, name), (vectors.addr(), count), (0, control));
        prep::op(request.opcode, self.descriptor(request))
            .with_addr(message.addr())
            .with_len(1)
            .with_ioprio(request.ioprio())
    }

    /// A message, or a registered file, perhaps one that is not there.
    fn message_to_ring(&self, request: &Request) -> Sqe {
        const SEND_FILE: u64 = 1;
        const FLAGS_PASS: u32 = 2;
        let [_, second, third, fourth] = request.draws;
        let sqe = prep::op(Opcode::MsgRing, self.descriptor(request)).with_off(MESSAGE + self.number as u64);
        if !request.sends_file() {
            let flags = if fourth % 8 == 0 { FLAGS_PASS } else { 0 };
            // Without `IORING_CQE_F_MORE`.
            let passed = if flags == 0 { 0 } else { (third % 128) & !2 };
            return sqe.with_len(second % 100).with_op_flags(flags).with_file_index(passed);
        }
        let sent = match second % 4 {
            0 => self.slot(request, second / 4),
            _ => (request.lane * SLOTS + second as usize / 4 % SLOTS) as u32,
        };
        let into = if third % 3 == 2 { ANY_SLOT } else { self.slot(request, third / 3) + 1 };
        // `IORING_MSG_RING_CQE_SKIP` and what does not exist.
        let flags = [0, 0, 0, 1, 4][fourth as usize % 5];
        sqe.with_addr(SEND_FILE).with_addr3(sent.into()).with_file_index(into).with_op_flags(flags)
    }

    /// The descriptor of the object that a request works on.
    fn descriptor(&self, request: &Request) -> RawFd {
        let ring = request.object.among(self.rings, request.ring);
        ring.copied().unwrap_or_else(|| self.lanes.0[request.lane].descriptor(request.object))
    }

    fn splice(&self, request: &Request, lane: &Lane) -> Sqe {
        let [first, second, third, _] = request.draws;
        let input = self.descriptor(request);
        let (output, input_offset, output_offset) = match request.object {
            Object::File => (Object::PipeWrite, u64::from(second % 80), AT_POSITION),
            Object::PipeRead if third % 2 == 0 => (Object::File, AT_POSITION, u64::from(second % 80)),
            Object::PipeRead => (Object::OtherWrite, AT_POSITION, AT_POSITION),
            _ => (Object::PipeWrite, AT_POSITION, AT_POSITION),
        };
        prep::op(Opcode::Splice, lane.descriptor(output))
            .with_off(output_offset)
            .with_addr(input_offset)
            .with_len(first % 24)
            .with_file_index(input as u32)
    }

    fn attribute(&self, request: &Request, lane: &Lane) -> Sqe {
        let [first, second, third, _] = request.draws;
        let name = self.session.memory_of([b"user.a\0", b"user.b\0", b"bad.cc\0"][first as usize % 3]);
        let value = match request.opcode {
            Opcode::Setxattr | Opcode::Fsetxattr => lane.block.addr(),
            _ => lane.room(self.number),
        };
        let fd = self.descriptor(request);
        let flags = match request.opcode {
            Opcode::Setxattr | Opcode::Fsetxattr => third % 3,
            _ => 0,
        };
        let sqe = prep::op(request.opcode, fd)
            .with_addr(name.addr())
            .with_off(value)
            .with_len(second % 16)
            .with_op_flags(flags);
        match request.opcode {
            Opcode::Setxattr | Opcode::Getxattr => {
                sqe.with_fd(AT_FDCWD).with_addr3(self.session.path(&lane.file).addr())
            }
            _ => sqe,
        }
    }

    fn cancel(&self, request: &Request, fd: i32) -> Sqe {
        const ALL: u32 = 1;
        const BY_FD: u32 = 2;
        const ANY: u32 = 4;
        const BY_OPCODE: u32 = 16;
        let [first, second, ..] = request.draws;
        let sqe = prep::op(Opcode::AsyncCancel, -1);
        let all = if second % 2 == 0 { ALL } else { 0 };
        match first % 8 {
            0 => sqe.with_op_flags(ANY | ALL),
            1 => sqe.with_op_flags(BY_FD | all).with_fd(fd),
            2 => {
                let opcodes = [Opcode::PollAdd, Opcode::Read, Opcode::Timeout, Opcode::Recv];
                sqe.with_op_flags(BY_OPCODE | all).with_len(u32::from(opcodes[second as usize % 4].number()))
            }
            3 => sqe.with_addr(self.target(request)).with_op_flags(ALL),
            _ => sqe.with_addr(self.target(request)),
        }
    }

    /// The `user_data` of the request that this one is about.
    fn target(&self, request: &Request) -> u64 {
        (self.number as u64 + 1).saturating_sub(request.back as u64)
    }

    /// A timeout: soon, or never within a sequence.
    fn time(&self, draw: u32) -> u64 {
        match draw % 3 {
            0 => self.session.timespec(0, 300_000).addr(),
            _ => self.session.timespec(1000, 0).addr(),
        }
    }

    /// A name in a lane's directory; few, so that they meet.
    fn name(&self, draw: u32) -> u64 {
        self.session.path(["file", "new", "other", "none/file"][draw as usize % 4]).addr()
    }

    /// A slot for a direct descriptor of the lane.
    fn slot(&self, request: &Request, draw: u32) -> u32 {
        (request.lane * SLOTS + Object::ALL.len()) as u32 + draw % 2
    }

    /// `file_index` of what makes a descriptor: none, or a slot of the lane.
    fn direct(&self, request: &Request, draw: u32) -> u32 {
        if draw.is_multiple_of(2) { 0 } else { self.slot(request, draw / 2) + 1 }
    }
}

/// Whether the result of a request is a descriptor that it made.
pub fn makes_descriptor(sqe: &Sqe) -> bool {
    match Opcode::from_number(sqe.opcode()) {
        Some(Opcode::Openat | Opcode::Openat2 | Opcode::Socket | Opcode::Accept) => sqe.file_index() == 0,
        Some(Opcode::FixedFdInstall) => true,
        _ => false,
    }
}

/// The number of registered files that sequences have.
pub const FILES: usize = LANES * SLOTS;
