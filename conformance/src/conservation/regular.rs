//! A regular file that all requests share, and what is asked of it.
//!
//! Its adjacent parts are read and written by several requests of one submission, its pages are evicted and cut off meanwhile, and another descriptor of it
//! goes to the device.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use ringer_abi::Opcode;
use ringer_sys::UserAddress;
use rustix::fs::{Mode, OFlags, open};

use super::requests::{Draw, MakeRequest};
use super::scene::lasting;
use crate::differential::prep;

/// Bytes of a part.
const PART: u64 = 8;
/// The parts that most requests are for.
const PARTS: u64 = 4;
const PAGE: u64 = 4096;
const PAGES: u64 = 16;
/// `POSIX_FADV_RANDOM`, `POSIX_FADV_DONTNEED` and `POSIX_FADV_WILLNEED` of `posix_fadvise.2`.
const RANDOM: u32 = 1;
const DONTNEED: u32 = 4;
const WILLNEED: u32 = 3;
/// `RWF_DSYNC` of `pwritev2.2`: a worker writes.
const DATA_SYNC: u32 = 0x2;
/// `AT_EMPTY_PATH` of `statx.2`.
const EMPTY_PATH: u32 = 0x1000;

#[derive(Debug)]
pub(super) struct RegularFile {
    cached: OwnedFd,
    direct: OwnedFd,
    /// What nobody looks at is read into this page and written from it.
    page: UserAddress,
}

impl RegularFile {
    pub(super) fn new() -> Self {
        let cached: OwnedFd = tempfile::tempfile().expect("a file").into();
        rustix::io::write(&cached, &[0; (PAGES * PAGE) as usize]).expect("a new file");
        let direct = reopen(&cached, OFlags::RDWR | OFlags::DIRECT);
        let page = lasting(&[0; 2 * PAGE as usize]).get().next_multiple_of(PAGE);
        Self { cached, direct, page: UserAddress::new(page) }
    }

    fn fd(&self) -> RawFd {
        self.cached.as_raw_fd()
    }

    fn direct(&self) -> RawFd {
        self.direct.as_raw_fd()
    }
}

/// Another description of the same file.
pub(super) fn reopen(file: &OwnedFd, flags: OFlags) -> OwnedFd {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let open = |flags| open(&path, flags | OFlags::CLOEXEC, Mode::empty());
    // Not every file system knows direct I/O.
    open(flags).or_else(|_| open(flags - OFlags::DIRECT)).expect("the file is there")
}

impl Draw<'_> {
    fn regular(&self) -> RawFd {
        self.shared.regular.fd()
    }

    fn page(&self) -> u64 {
        self.shared.regular.page.get()
    }

    fn part(&mut self) -> u64 {
        PART * self.rng.u64(..PARTS)
    }

    fn page_of_file(&mut self) -> u64 {
        PAGE * self.rng.u64(..PAGES)
    }
}

/// All of them end by themselves.
pub(super) const OF_REGULAR_FILES: &[MakeRequest] = &[
    |draw| prep::read(draw.regular(), draw.buffer(), PART as u32, draw.part()),
    |draw| prep::write(draw.regular(), draw.one(), PART as u32, draw.part()),
    |draw| prep::write(draw.regular(), draw.one(), PART as u32, draw.part()).with_op_flags(DATA_SYNC),
    |draw| {
        let write = prep::write(draw.regular(), draw.page(), PAGE as u32, draw.page_of_file() + draw.part());
        write.with_op_flags(DATA_SYNC)
    },
    |draw| prep::write(draw.regular(), draw.one(), PART as u32, u64::MAX).with_op_flags(DATA_SYNC),
    |draw| prep::readv(draw.regular(), draw.vectors(), 1, draw.part()),
    |draw| prep::writev(draw.regular(), draw.vectors(), 1, draw.part()),
    |draw| prep::read(draw.regular(), draw.page(), PAGE as u32, draw.page_of_file()),
    |draw| prep::write(draw.regular(), draw.page(), PAGE as u32, draw.page_of_file()),
    |draw| {
        let read = prep::read(draw.regular(), 0, 0, draw.part());
        draw.buffered(read)
    },
    |draw| {
        let file = draw.regular();
        draw.with_fixed(Opcode::ReadFixed, file).with_off(0)
    },
    |draw| {
        let file = draw.regular();
        draw.with_fixed(Opcode::WriteFixed, file).with_off(0)
    },
    |draw| prep::read(draw.shared.regular.direct(), draw.page(), PAGE as u32, draw.page_of_file()),
    |draw| prep::read(draw.shared.regular.direct(), draw.page(), PAGE as u32, draw.page_of_file()),
    |draw| prep::write(draw.shared.regular.direct(), draw.page(), PAGE as u32, draw.page_of_file()),
    |draw| prep::op(Opcode::Fsync, draw.regular()),
    |draw| prep::op(Opcode::Fallocate, draw.regular()).with_addr(PAGE).with_off(draw.page_of_file()),
    |draw| prep::op(Opcode::Ftruncate, draw.regular()).with_off(draw.page_of_file() + draw.part()),
    |draw| prep::op(Opcode::Ftruncate, draw.regular()).with_off(PAGES * PAGE),
    |draw| prep::op(Opcode::Fadvise, draw.regular()).with_op_flags(DONTNEED),
    |draw| prep::op(Opcode::Fadvise, draw.regular()).with_op_flags(WILLNEED),
    |draw| {
        let statx = prep::op(Opcode::Statx, draw.regular()).with_addr(draw.shared.empty.get());
        statx.with_off(draw.page()).with_op_flags(EMPTY_PATH)
    },
];

/// The same. Each of them makes it likelier that the next one has to wait for the device.
pub(super) const OF_UNCACHED_FILES: &[MakeRequest] = &[
    |draw| prep::read(draw.regular(), draw.page(), PAGE as u32, draw.page_of_file()),
    |draw| prep::read(draw.regular(), draw.buffer(), PART as u32, draw.page_of_file()),
    |draw| prep::readv(draw.regular(), draw.vectors(), 1, draw.page_of_file()),
    |draw| prep::write(draw.regular(), draw.one(), PART as u32, draw.page_of_file()).with_op_flags(DATA_SYNC),
    |draw| prep::op(Opcode::Fsync, draw.regular()),
    |draw| prep::op(Opcode::Fadvise, draw.regular()).with_op_flags(RANDOM),
    |draw| prep::op(Opcode::Fadvise, draw.regular()).with_op_flags(DONTNEED),
    |draw| prep::op(Opcode::Fadvise, draw.regular()).with_op_flags(DONTNEED),
    |draw| prep::cancel(draw.other(), 0),
];
