//! The io_uring operations: one file per opcode, or per family that shares preparation, and one table.
//!
//! To add an opcode: write its file with a type that implements [`Op`], and add its row to [`table`], with a list of
//! [`arguments`].
//! Probe, names, documentation and the fuzz decoder derive from the table.
#![forbid(unsafe_code)]

pub mod arguments;
mod check;
mod flag_names;
mod message_transfer;
mod net;
mod operation;
mod path;
mod pollable;
mod ring_file;
mod segments;
mod send_times;
pub mod table;

pub mod accept;
pub mod advise;
pub mod bind;
pub mod cancel;
pub mod close;
pub mod connect;
pub mod epoll;
pub mod fallocate;
pub mod files_update;
pub mod fixed_fd_install;
pub mod fsync;
pub mod ftruncate;
pub mod futex;
pub mod link;
pub mod listen;
pub mod message;
pub mod mkdir;
pub mod msg_ring;
pub mod nop;
pub mod open;
pub mod pipe;
pub mod poll;
pub mod provided_buffers;
pub mod read_multishot;
pub mod recv;
pub mod recv_zc;
pub mod rename;
pub mod rw;
pub mod rw_fixed;
mod selection;
pub mod send;
pub mod shutdown;
pub mod socket;
pub mod socket_command;
pub mod splice;
pub mod statx;
pub mod symlink;
pub mod timeout;
mod transfer_checks;
mod transfer_memory;
pub mod unlink;
pub mod waitid;
pub mod xattr;
pub mod zero_copy;

pub use net::{MORE_TO_READ, has_more_to_read};
pub use operation::{
    Buffer, Completion, DeviceTransfer, DeviceWait, FileSlot, Issue, Op, OpenedFor, Outcome, Patience,
    Prepare, Resources, Sharing, Traits, Until, Way,
};
pub use pollable::is_polled_first;
pub use ring_file::RingFile;
pub use selection::{BufferGroup, Bundle, Segment};
pub use table::{AreIndependent, Attempt, MOST_SHARED, Operation, Row, row};
