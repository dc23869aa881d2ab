//! The shape of a ring and the layout that follows from it.

use ringer_abi::{CqRingOffsets, SqRingOffsets};

/// How many entries a ring has and how large they are. Fixed when the ring is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingShape {
    /// Entries of the submission queue, a power of two.
    pub sq_entries: u32,
    /// Entries of the completion queue, a power of two.
    pub cq_entries: u32,
    /// `IORING_SETUP_SQE128`: entries of 128 bytes instead of 64.
    pub sqe128: bool,
    /// `IORING_SETUP_CQE32`: entries of 32 bytes instead of 16.
    pub cqe32: bool,
    /// `IORING_SETUP_CQE_MIXED`: a CQE may take two slots of 16 bytes.
    pub cqe_mixed: bool,
    /// `IORING_SETUP_NO_SQARRAY`: no index array, SQEs are taken in the order of their slots.
    pub no_sqarray: bool,
}

/// Where the CQEs start. All words of both rings stand before them, in the first cache line.
const CQES: u32 = 64;
/// The index array starts on a cache line of its own.
const CACHE_LINE: usize = 64;

impl RingShape {
    /// Where the words of the submission ring stand, as `io_uring_setup.2` reports them.
    pub fn sq_offsets(&self) -> SqRingOffsets {
        SqRingOffsets {
            head: 0,
            tail: 4,
            ring_mask: 16,
            ring_entries: 24,
            flags: 36,
            dropped: 32,
            array: if self.no_sqarray { 0 } else { self.array_offset() as u32 },
            resv1: 0,
            user_addr: 0,
        }
    }

    /// Where the words of the completion ring stand, as `io_uring_setup.2` reports them.
    pub fn cq_offsets(&self) -> CqRingOffsets {
        CqRingOffsets {
            head: 8,
            tail: 12,
            ring_mask: 20,
            ring_entries: 28,
            overflow: 44,
            cqes: CQES,
            flags: 40,
            resv1: 0,
            user_addr: 0,
        }
    }

    /// Bytes of the area that holds the words of both rings, the CQEs and the index array: whole pages.
    pub fn rings_bytes(&self) -> usize {
        let array = if self.no_sqarray { 0 } else { self.sq_entries as usize * size_of::<u32>() };
        whole_pages(self.array_offset() + array)
    }

    /// Bytes of the area that holds the SQEs: whole pages.
    pub fn sqes_bytes(&self) -> usize {
        whole_pages(self.sq_entries as usize * self.sqe_words() * size_of::<u64>())
    }

    /// 64-bit words of one SQE slot.
    pub(crate) fn sqe_words(&self) -> usize {
        if self.sqe128 { 16 } else { 8 }
    }

    /// 64-bit words of one CQE slot.
    #[cfg(not(loom))]
    pub(crate) fn cqe_words(&self) -> usize {
        if self.cqe32 { 4 } else { 2 }
    }

    /// Where the index array starts. With `IORING_SETUP_CQE32` the kernel doubles all that lies before it, the
    /// words included: the offsets are part of what a program sees, so that they are the same here.
    fn array_offset(&self) -> usize {
        let words_and_cqes = CQES as usize + self.cq_entries as usize * 2 * size_of::<u64>();
        let bytes = if self.cqe32 { 2 * words_and_cqes } else { words_and_cqes };
        bytes.next_multiple_of(CACHE_LINE)
    }
}

fn whole_pages(bytes: usize) -> usize {
    bytes.next_multiple_of(rustix::param::page_size())
}
