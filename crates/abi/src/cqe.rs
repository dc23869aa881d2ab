//! The completion queue entry.

/// One completion queue entry: what became of one request.
///
/// `extra` is written only on rings made with `IORING_SETUP_CQE32`, and on those made with
/// `IORING_SETUP_CQE_MIXED` if the flags say so.
/// Source: `io_uring_enter.2`, `struct io_uring_cqe`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cqe {
    /// The request's `user_data`, untouched.
    pub user_data: u64,
    /// The result, or a negated errno.
    pub res: i32,
    /// `IORING_CQE_F_` bits; the buffer id in the upper 16 bits.
    pub flags: u32,
    /// `big_cqe`: the second 16 bytes of a 32-byte CQE.
    pub extra: [u64; 2],
}

impl Cqe {
    /// A plain CQE without extra words.
    pub const fn new(user_data: u64, res: i32, flags: u32) -> Self {
        Self { user_data, res, flags, extra: [0; 2] }
    }
}
