//! Structures passed to the three calls.

/// `struct io_sqring_offsets`: where the SQ ring's words stand, in bytes from the start of the mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the uapi's own")]
pub struct SqRingOffsets {
    pub head: u32,
    pub tail: u32,
    pub ring_mask: u32,
    pub ring_entries: u32,
    pub flags: u32,
    pub dropped: u32,
    pub array: u32,
    pub resv1: u32,
    pub user_addr: u64,
}

/// `struct io_cqring_offsets`: where the CQ ring's words stand, in bytes from the start of the mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the uapi's own")]
pub struct CqRingOffsets {
    pub head: u32,
    pub tail: u32,
    pub ring_mask: u32,
    pub ring_entries: u32,
    pub overflow: u32,
    pub cqes: u32,
    pub flags: u32,
    pub resv1: u32,
    pub user_addr: u64,
}

/// `struct io_uring_params`, in and out of `io_uring_setup`. Source: `io_uring_setup.2`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the uapi's own")]
pub struct Params {
    pub sq_entries: u32,
    pub cq_entries: u32,
    pub flags: u32,
    pub sq_thread_cpu: u32,
    /// Milliseconds of idleness after which the polling thread sleeps.
    pub sq_thread_idle: u32,
    pub features: u32,
    pub wq_fd: u32,
    pub resv: [u32; 3],
    pub sq_off: SqRingOffsets,
    pub cq_off: CqRingOffsets,
}

/// `struct io_uring_getevents_arg`, the extended argument of `io_uring_enter`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
#[expect(missing_docs, reason = "the names are the uapi's own")]
pub struct GetEventsArg {
    pub sigmask: u64,
    pub sigmask_sz: u32,
    /// Microseconds to wait for the full `min_complete` (`IORING_FEAT_MIN_TIMEOUT`).
    pub min_wait_usec: u32,
    pub ts: u64,
}
