//! Names of flags that stand in SQEs, without the prefix that they share.

use std::fmt::{self, Formatter};

use linux_raw_sys::{general, net};
use ringer_abi::{poll, uapi};

/// Flags and their names.
pub type Names = &'static [(&'static str, u64)];

/// Writes the names of the flags that are set, and what has no name as a number.
pub(crate) fn write_flags(names: Names, value: u64, out: &mut Formatter<'_>) -> fmt::Result {
    let mut rest = value;
    let mut separator = "";
    for (name, flag) in names.iter().filter(|(_, flag)| value & flag == *flag) {
        write!(out, "{separator}{name}")?;
        (separator, rest) = ("|", rest & !flag);
    }
    if rest == 0 { Ok(()) } else { write!(out, "{separator}{rest:#x}") }
}

macro_rules! names {
    ($($(#[$meta:meta])* $list:ident: $($name:literal = $value:expr),+;)*) => {
        $($(#[$meta])* pub(crate) const $list: Names = &[$(($name, $value as u64)),+];)*
    };
}

names! {
    /// `nop_flags`.
    NOP: "INJECT_RESULT" = uapi::IORING_NOP_INJECT_RESULT, "FILE" = uapi::IORING_NOP_FILE, "FIXED_FILE" = uapi::IORING_NOP_FIXED_FILE,
        "FIXED_BUFFER" = uapi::IORING_NOP_FIXED_BUFFER, "TW" = uapi::IORING_NOP_TW;
    /// `RWF_`. Source: `preadv2.2`.
    TRANSFER: "HIPRI" = general::RWF_HIPRI, "DSYNC" = general::RWF_DSYNC, "SYNC" = general::RWF_SYNC, "NOWAIT" = general::RWF_NOWAIT,
        "APPEND" = general::RWF_APPEND, "NOAPPEND" = 0x20, "ATOMIC" = 0x40, "DONTCACHE" = 0x80;
    /// `poll.2`.
    POLL_EVENTS: "POLLIN" = poll::POLLIN, "POLLPRI" = 2, "POLLOUT" = poll::POLLOUT, "POLLERR" = poll::POLLERR, "POLLHUP" = poll::POLLHUP,
        "POLLRDNORM" = 0x40, "POLLRDBAND" = 0x80, "POLLWRNORM" = 0x100, "POLLWRBAND" = 0x200, "POLLRDHUP" = 0x2000,
        "EPOLLEXCLUSIVE" = 1 << 28, "EPOLLONESHOT" = 1 << 30, "EPOLLET" = 1_u32 << 31;
    /// `IORING_POLL_`.
    POLL: "ADD_MULTI" = uapi::IORING_POLL_ADD_MULTI, "UPDATE_EVENTS" = uapi::IORING_POLL_UPDATE_EVENTS,
        "UPDATE_USER_DATA" = uapi::IORING_POLL_UPDATE_USER_DATA, "ADD_LEVEL" = uapi::IORING_POLL_ADD_LEVEL;
    /// `IORING_TIMEOUT_`.
    TIMEOUT: "ABS" = uapi::IORING_TIMEOUT_ABS, "UPDATE" = uapi::IORING_TIMEOUT_UPDATE, "BOOTTIME" = uapi::IORING_TIMEOUT_BOOTTIME,
        "REALTIME" = uapi::IORING_TIMEOUT_REALTIME, "LINK_TIMEOUT_UPDATE" = uapi::IORING_LINK_TIMEOUT_UPDATE,
        "ETIME_SUCCESS" = uapi::IORING_TIMEOUT_ETIME_SUCCESS, "MULTISHOT" = uapi::IORING_TIMEOUT_MULTISHOT;
    /// `IORING_ASYNC_CANCEL_`.
    CANCEL: "ALL" = uapi::IORING_ASYNC_CANCEL_ALL, "FD" = uapi::IORING_ASYNC_CANCEL_FD, "ANY" = uapi::IORING_ASYNC_CANCEL_ANY,
        "FD_FIXED" = uapi::IORING_ASYNC_CANCEL_FD_FIXED, "USERDATA" = uapi::IORING_ASYNC_CANCEL_USERDATA, "OP" = uapi::IORING_ASYNC_CANCEL_OP;
    /// `IORING_FSYNC_`.
    FSYNC: "DATASYNC" = uapi::IORING_FSYNC_DATASYNC;
    /// `open.2`, but for the access mode. `O_SYNC` has the bit of `O_DSYNC`, too, and `O_TMPFILE` that of `O_DIRECTORY`.
    OPEN: "O_CREAT" = general::O_CREAT, "O_EXCL" = general::O_EXCL, "O_NOCTTY" = general::O_NOCTTY, "O_TRUNC" = general::O_TRUNC,
        "O_APPEND" = general::O_APPEND, "O_NONBLOCK" = general::O_NONBLOCK, "O_DSYNC" = general::O_DSYNC, "O_DIRECT" = general::O_DIRECT,
        "O_LARGEFILE" = 0o100_000, "O_DIRECTORY" = general::O_DIRECTORY, "O_NOFOLLOW" = general::O_NOFOLLOW, "O_NOATIME" = general::O_NOATIME,
        "O_CLOEXEC" = general::O_CLOEXEC, "O_SYNC" = 0o4_000_000, "O_PATH" = general::O_PATH, "O_TMPFILE" = 0o20_000_000;
    /// Of a new pipe or connection.
    NEW_FILE: "DIRECT" = general::O_DIRECT, "NONBLOCK" = general::O_NONBLOCK, "CLOEXEC" = general::O_CLOEXEC;
    /// `AT_`.
    PATH: "SYMLINK_NOFOLLOW" = general::AT_SYMLINK_NOFOLLOW, "REMOVEDIR" = general::AT_REMOVEDIR, "SYMLINK_FOLLOW" = general::AT_SYMLINK_FOLLOW,
        "NO_AUTOMOUNT" = general::AT_NO_AUTOMOUNT, "EMPTY_PATH" = general::AT_EMPTY_PATH, "STATX_FORCE_SYNC" = general::AT_STATX_FORCE_SYNC,
        "STATX_DONT_SYNC" = general::AT_STATX_DONT_SYNC;
    /// `RENAME_`.
    RENAME: "NOREPLACE" = general::RENAME_NOREPLACE, "EXCHANGE" = general::RENAME_EXCHANGE, "WHITEOUT" = general::RENAME_WHITEOUT;
    /// `SPLICE_F_`.
    SPLICE: "MOVE" = 1, "NONBLOCK" = 2, "MORE" = 4, "GIFT" = 8, "FD_IN_FIXED" = 1_u32 << 31;
    /// `IORING_MSG_RING_`.
    MSG_RING: "CQE_SKIP" = uapi::IORING_MSG_RING_CQE_SKIP, "FLAGS_PASS" = uapi::IORING_MSG_RING_FLAGS_PASS;
    /// Options of `waitid.2`.
    WAIT: "WNOHANG" = general::WNOHANG, "WSTOPPED" = general::WSTOPPED, "WEXITED" = general::WEXITED, "WCONTINUED" = general::WCONTINUED,
        "WNOWAIT" = general::WNOWAIT;
    /// `FUTEX2_`.
    FUTEX: "SIZE_U32" = 2, "NUMA" = 4, "MPOL" = 8, "PRIVATE" = 0x80;
    /// `MSG_`. Source: `send.2`, `recv.2`.
    MESSAGE: "OOB" = net::MSG_OOB, "PEEK" = net::MSG_PEEK, "DONTROUTE" = net::MSG_DONTROUTE, "TRUNC" = net::MSG_TRUNC,
        "DONTWAIT" = net::MSG_DONTWAIT, "EOR" = net::MSG_EOR, "WAITALL" = net::MSG_WAITALL, "CONFIRM" = net::MSG_CONFIRM,
        "ERRQUEUE" = net::MSG_ERRQUEUE, "NOSIGNAL" = net::MSG_NOSIGNAL, "MORE" = net::MSG_MORE, "FASTOPEN" = 0x2000_0000,
        "CMSG_CLOEXEC" = net::MSG_CMSG_CLOEXEC;
    /// `IORING_RECVSEND_` and `IORING_RECV_`, in `ioprio`.
    SEND_RECEIVE: "POLL_FIRST" = uapi::IORING_RECVSEND_POLL_FIRST, "MULTISHOT" = uapi::IORING_RECV_MULTISHOT,
        "FIXED_BUF" = uapi::IORING_RECVSEND_FIXED_BUF, "REPORT_USAGE" = 8, "BUNDLE" = uapi::IORING_RECVSEND_BUNDLE;
    /// `IORING_ACCEPT_`, in `ioprio`.
    ACCEPT: "MULTISHOT" = uapi::IORING_ACCEPT_MULTISHOT, "DONTWAIT" = uapi::IORING_ACCEPT_DONTWAIT, "POLL_FIRST" = uapi::IORING_ACCEPT_POLL_FIRST;
}
