//! The submission queue entry, as one immutable snapshot.

use crate::flags::SqeFlags;

/// The 64 bytes of an SQE (the first half of a 128-byte one), as eight words.
pub type SqeBytes = [u64; 8];

/// One submission queue entry, read once from the ring and never re-read.
///
/// The uapi structure is a nest of unions. Here it is eight words with one accessor per
/// name that an operation uses, so that a name says which interpretation is meant.
/// Source: `io_uring_enter.2`, `struct io_uring_sqe`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C, align(8))]
pub struct Sqe {
    words: SqeBytes,
}

impl Sqe {
    /// Wraps the words of a ring slot.
    pub const fn from_words(words: SqeBytes) -> Self {
        Self { words }
    }

    /// The words as they stand in the ring.
    pub const fn words(&self) -> &SqeBytes {
        &self.words
    }

    const fn low(&self, word: usize) -> u32 {
        self.words[word] as u32
    }

    const fn high(&self, word: usize) -> u32 {
        (self.words[word] >> 32) as u32
    }

    fn set_low(&mut self, word: usize, value: u32) {
        self.words[word] = (self.words[word] & !0xffff_ffff) | u64::from(value);
    }

    fn set_high(&mut self, word: usize, value: u32) {
        self.words[word] = (self.words[word] & 0xffff_ffff) | (u64::from(value) << 32);
    }

    /// `opcode`: the operation's number.
    pub const fn opcode(&self) -> u8 {
        self.words[0] as u8
    }

    /// `flags`: the `IOSQE_` bits, unknown ones kept.
    pub const fn flags(&self) -> SqeFlags {
        SqeFlags::from_bits_retain((self.words[0] >> 8) as u8)
    }

    /// `ioprio`: the I/O priority, or extra flags of socket operations.
    pub const fn ioprio(&self) -> u16 {
        (self.words[0] >> 16) as u16
    }

    /// `fd`: a descriptor, or an index into the registered files.
    pub const fn fd(&self) -> i32 {
        self.high(0) as i32
    }

    /// `off` (also `addr2`): the file offset or a second address.
    pub const fn off(&self) -> u64 {
        self.words[1]
    }

    /// `cmd_op`: the command of URING_CMD, the low half of `off`.
    pub const fn cmd_op(&self) -> u32 {
        self.low(1)
    }

    /// The high half of `off`: `__pad1` beside `cmd_op`.
    pub const fn off_high(&self) -> u32 {
        self.high(1)
    }

    /// `addr` (also `splice_off_in`): a buffer, an array, a path, an offset.
    pub const fn addr(&self) -> u64 {
        self.words[2]
    }

    /// The low half of `addr`: `level` of a socket command.
    pub const fn addr_low(&self) -> u32 {
        self.low(2)
    }

    /// The high half of `addr`: `optname` of a socket command.
    pub const fn addr_high(&self) -> u32 {
        self.high(2)
    }

    /// `len`: bytes, or a number of elements.
    #[expect(clippy::len_without_is_empty, reason = "a field of the SQE, not a container")]
    pub const fn len(&self) -> u32 {
        self.low(3)
    }

    /// The operation's own flags (`rw_flags`, `msg_flags`, `poll32_events`, …).
    pub const fn op_flags(&self) -> u32 {
        self.high(3)
    }

    /// `user_data`: handed back untouched in the CQE.
    pub const fn user_data(&self) -> u64 {
        self.words[4]
    }

    /// `buf_index` (also `buf_group`).
    pub const fn buf_index(&self) -> u16 {
        self.words[5] as u16
    }

    /// `personality`: an id from `IORING_REGISTER_PERSONALITY`, 0 for none.
    pub const fn personality(&self) -> u16 {
        (self.words[5] >> 16) as u16
    }

    /// `file_index` (also `splice_fd_in`, `optlen`, `addr_len`).
    pub const fn file_index(&self) -> u32 {
        self.high(5)
    }

    /// `splice_fd_in`: the input descriptor of SPLICE and TEE.
    pub const fn splice_fd_in(&self) -> i32 {
        self.high(5) as i32
    }

    /// `addr_len`: the low 16 bits of `file_index`.
    pub const fn addr_len(&self) -> u16 {
        self.high(5) as u16
    }

    /// `__pad3`: the high 16 bits of `file_index`.
    pub const fn addr_len_pad(&self) -> u16 {
        (self.high(5) >> 16) as u16
    }

    /// `addr3` (also `attr_ptr`, `optval`).
    pub const fn addr3(&self) -> u64 {
        self.words[6]
    }

    /// `__pad2` (also `attr_type_mask`).
    pub const fn pad2(&self) -> u64 {
        self.words[7]
    }

    /// Sets `opcode`.
    #[must_use]
    pub fn with_opcode(mut self, opcode: u8) -> Self {
        self.words[0] = (self.words[0] & !0xff) | u64::from(opcode);
        self
    }

    /// Sets `flags`.
    #[must_use]
    pub fn with_flags(mut self, flags: SqeFlags) -> Self {
        self.words[0] = (self.words[0] & !0xff00) | (u64::from(flags.bits()) << 8);
        self
    }

    /// Sets `ioprio`.
    #[must_use]
    pub fn with_ioprio(mut self, ioprio: u16) -> Self {
        self.words[0] = (self.words[0] & !0xffff_0000) | (u64::from(ioprio) << 16);
        self
    }

    /// Sets `fd`.
    #[must_use]
    pub fn with_fd(mut self, fd: i32) -> Self {
        self.set_high(0, fd as u32);
        self
    }

    /// Sets `off`.
    #[must_use]
    pub fn with_off(mut self, off: u64) -> Self {
        self.words[1] = off;
        self
    }

    /// Sets `addr`.
    #[must_use]
    pub fn with_addr(mut self, addr: u64) -> Self {
        self.words[2] = addr;
        self
    }

    /// Sets `len`.
    #[must_use]
    pub fn with_len(mut self, len: u32) -> Self {
        self.set_low(3, len);
        self
    }

    /// Sets the operation's own flags.
    #[must_use]
    pub fn with_op_flags(mut self, flags: u32) -> Self {
        self.set_high(3, flags);
        self
    }

    /// Sets `user_data`.
    #[must_use]
    pub fn with_user_data(mut self, user_data: u64) -> Self {
        self.words[4] = user_data;
        self
    }

    /// Sets `buf_index` (also `buf_group`).
    #[must_use]
    pub fn with_buf_index(mut self, index: u16) -> Self {
        self.words[5] = (self.words[5] & !0xffff) | u64::from(index);
        self
    }

    /// Sets `personality`.
    #[must_use]
    pub fn with_personality(mut self, id: u16) -> Self {
        self.words[5] = (self.words[5] & !0xffff_0000) | (u64::from(id) << 16);
        self
    }

    /// Sets `file_index` (also `splice_fd_in`).
    #[must_use]
    pub fn with_file_index(mut self, index: u32) -> Self {
        self.set_high(5, index);
        self
    }

    /// Sets `addr3`.
    #[must_use]
    pub fn with_addr3(mut self, addr: u64) -> Self {
        self.words[6] = addr;
        self
    }

    /// Sets `__pad2`.
    #[must_use]
    pub fn with_pad2(mut self, value: u64) -> Self {
        self.words[7] = value;
        self
    }
}
