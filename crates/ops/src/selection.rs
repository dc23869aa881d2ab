//! How an operation uses the provided buffers of the group that its request names.

use ringer_sys::Errno;

use crate::operation::Buffer;

/// One `struct iovec`: address and length.
pub type Segment = [u64; 2];

/// The most buffers of one bundle.
pub const MOST_OF_A_BUNDLE: usize = 256;

/// The group of provided buffers of a request with `IOSQE_BUFFER_SELECT`, for the length of one attempt.
///
/// What is looked at stays in the group until it is taken. Between the two nobody else gets it: the group is locked. An
/// operation must therefore take a buffer before it makes a system call that may wait.
pub trait BufferGroup {
    /// Looks at the next buffer, cut to `limit` bytes unless that is 0.
    ///
    /// # Errors
    /// `ENOBUFS` when there is none.
    fn select(&mut self, limit: u64) -> Result<Buffer, Errno>;

    /// Looks at the next buffers, at most `most` of them, for `limit` bytes in all. Without a limit it is one, and of a classic
    /// group it is one.
    ///
    /// # Errors
    /// `ENOENT` when there is no such group, `ENOBUFS` when it has no buffer.
    fn select_bundle(&mut self, limit: u32, most: usize) -> Result<Bundle<'_>, Errno>;

    /// Takes what `bytes` used of what was looked at. The request's next CQE names the first buffer, and tells whether it
    /// can be used further (`IORING_CQE_F_BUF_MORE`).
    fn take(&mut self, bytes: u64);

    /// The same when the request goes on with what it looked at: its CQE does not tell about a further use.
    fn begin(&mut self, bytes: u64);

    /// Whether the group is a buffer ring.
    fn is_ring(&self) -> bool;
}

/// Provided buffers that were looked at together.
#[derive(Clone, Copy, Debug)]
pub struct Bundle<'a> {
    /// Where the bytes go to or come from.
    pub segments: &'a [Segment],
    /// The last one was cut, or left out, as not all of it would be used.
    pub is_cut: bool,
    /// The group has no buffers beyond these.
    pub is_last: bool,
}

impl Bundle<'_> {
    /// The bytes of all segments.
    pub fn length(&self) -> u64 {
        self.segments.iter().map(|[_, length]| *length).fold(0, u64::saturating_add)
    }
}
