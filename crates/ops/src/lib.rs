//! The io_uring operations: one file per opcode, or per family that shares preparation, and one table.
//!
//! To add an opcode: write its file with a type that implements [`Op`], and add its row to [`table`].
//! Probe, names, documentation and the fuzz decoder derive from the table.
#![forbid(unsafe_code)]

mod operation;
pub mod table;

pub mod cancel;
pub mod nop;
pub mod poll;
pub mod rw;
pub mod timeout;

pub use operation::{
    Buffer, Completion, FileSlot, Issue, Op, Outcome, Patience, Prepare, Resources, Traits, Way,
};
pub use table::{Operation, Row, row};
