//! The flag words of the three calls, of the rings and of the entries.

use linux_raw_sys::io_uring as uapi;

bitflags::bitflags! {
    /// `IORING_SETUP_` flags. Source: `io_uring_setup.2`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct SetupFlags: u32 {
        const IOPOLL = uapi::IORING_SETUP_IOPOLL;
        const SQPOLL = uapi::IORING_SETUP_SQPOLL;
        const SQ_AFF = uapi::IORING_SETUP_SQ_AFF;
        const CQSIZE = uapi::IORING_SETUP_CQSIZE;
        const CLAMP = uapi::IORING_SETUP_CLAMP;
        const ATTACH_WQ = uapi::IORING_SETUP_ATTACH_WQ;
        const R_DISABLED = uapi::IORING_SETUP_R_DISABLED;
        const SUBMIT_ALL = uapi::IORING_SETUP_SUBMIT_ALL;
        const COOP_TASKRUN = uapi::IORING_SETUP_COOP_TASKRUN;
        const TASKRUN_FLAG = uapi::IORING_SETUP_TASKRUN_FLAG;
        const SQE128 = uapi::IORING_SETUP_SQE128;
        const CQE32 = uapi::IORING_SETUP_CQE32;
        const SINGLE_ISSUER = uapi::IORING_SETUP_SINGLE_ISSUER;
        const DEFER_TASKRUN = uapi::IORING_SETUP_DEFER_TASKRUN;
        const NO_MMAP = uapi::IORING_SETUP_NO_MMAP;
        const REGISTERED_FD_ONLY = uapi::IORING_SETUP_REGISTERED_FD_ONLY;
        const NO_SQARRAY = uapi::IORING_SETUP_NO_SQARRAY;
        const HYBRID_IOPOLL = uapi::IORING_SETUP_HYBRID_IOPOLL;
        const CQE_MIXED = 1 << 18;
    }

    /// `IORING_FEAT_` bits. Source: `io_uring_setup.2`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Features: u32 {
        const SINGLE_MMAP = uapi::IORING_FEAT_SINGLE_MMAP;
        const NODROP = uapi::IORING_FEAT_NODROP;
        const SUBMIT_STABLE = uapi::IORING_FEAT_SUBMIT_STABLE;
        const RW_CUR_POS = uapi::IORING_FEAT_RW_CUR_POS;
        const CUR_PERSONALITY = uapi::IORING_FEAT_CUR_PERSONALITY;
        const FAST_POLL = uapi::IORING_FEAT_FAST_POLL;
        const POLL_32BITS = uapi::IORING_FEAT_POLL_32BITS;
        const SQPOLL_NONFIXED = uapi::IORING_FEAT_SQPOLL_NONFIXED;
        const EXT_ARG = uapi::IORING_FEAT_EXT_ARG;
        const NATIVE_WORKERS = uapi::IORING_FEAT_NATIVE_WORKERS;
        const RSRC_TAGS = uapi::IORING_FEAT_RSRC_TAGS;
        const CQE_SKIP = uapi::IORING_FEAT_CQE_SKIP;
        const LINKED_FILE = uapi::IORING_FEAT_LINKED_FILE;
        const REG_REG_RING = uapi::IORING_FEAT_REG_REG_RING;
        const RECVSEND_BUNDLE = uapi::IORING_FEAT_RECVSEND_BUNDLE;
        const MIN_TIMEOUT = uapi::IORING_FEAT_MIN_TIMEOUT;
        const RW_ATTR = uapi::IORING_FEAT_RW_ATTR;
        const NO_IOWAIT = uapi::IORING_FEAT_NO_IOWAIT;
    }

    /// `IORING_ENTER_` flags. Source: `io_uring_enter.2`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct EnterFlags: u32 {
        const GETEVENTS = uapi::IORING_ENTER_GETEVENTS;
        const SQ_WAKEUP = uapi::IORING_ENTER_SQ_WAKEUP;
        const SQ_WAIT = uapi::IORING_ENTER_SQ_WAIT;
        const EXT_ARG = uapi::IORING_ENTER_EXT_ARG;
        const REGISTERED_RING = uapi::IORING_ENTER_REGISTERED_RING;
        const ABS_TIMER = uapi::IORING_ENTER_ABS_TIMER;
        const EXT_ARG_REG = uapi::IORING_ENTER_EXT_ARG_REG;
        const NO_IOWAIT = uapi::IORING_ENTER_NO_IOWAIT;
    }

    /// `IORING_SQ_` flags that the serving side shows in the SQ ring.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct SqRingFlags: u32 {
        const NEED_WAKEUP = uapi::IORING_SQ_NEED_WAKEUP;
        const CQ_OVERFLOW = uapi::IORING_SQ_CQ_OVERFLOW;
        const TASKRUN = uapi::IORING_SQ_TASKRUN;
    }

    /// `IOSQE_` flags of one SQE. Source: `io_uring_enter.2`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct SqeFlags: u8 {
        const FIXED_FILE = 1 << 0;
        const IO_DRAIN = 1 << 1;
        const IO_LINK = 1 << 2;
        const IO_HARDLINK = 1 << 3;
        const ASYNC = 1 << 4;
        const BUFFER_SELECT = 1 << 5;
        const CQE_SKIP_SUCCESS = 1 << 6;
    }

    /// `IORING_CQE_F_` flags of one CQE.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct CqeFlags: u32 {
        const BUFFER = uapi::IORING_CQE_F_BUFFER;
        const MORE = uapi::IORING_CQE_F_MORE;
        const SOCK_NONEMPTY = uapi::IORING_CQE_F_SOCK_NONEMPTY;
        const NOTIF = uapi::IORING_CQE_F_NOTIF;
        const BUF_MORE = uapi::IORING_CQE_F_BUF_MORE;
        /// A filler before the end of a mixed CQ: nothing to reap.
        const SKIP = 1 << 5;
        /// A CQE of 32 bytes on a ring that has both sizes.
        const BIG = 1 << 15;
        const _ = !0;
    }
}

/// `IORING_CQ_EVENTFD_DISABLED` in the CQ ring's `flags`: the application wants no eventfd signals now.
pub const CQ_EVENTFD_DISABLED: u32 = uapi::IORING_CQ_EVENTFD_DISABLED;
