//! The table of operations: one row per opcode that is served.

use ringer_abi::{Opcode, Sqe};
use ringer_sys::Errno;

use crate::operation::{Issue, Op, Outcome, Prepare, Traits, Way};

/// What the table says of one opcode.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The opcode.
    pub opcode: Opcode,
    /// The first kernel that had it, as (major, minor).
    pub since: (u8, u8),
    /// What the engine checks before preparation.
    pub traits: Traits,
    /// How its requests may be served.
    pub ways: &'static [Way],
}

macro_rules! operations {
    ($($opcode:ident => $module:ident :: $type:ident, ($major:literal, $minor:literal), [$($way:ident),*];)*) => {
        /// A prepared operation of any kind.
        #[derive(Debug)]
        #[expect(missing_docs, reason = "the names are the opcodes'")]
        pub enum Operation { $($opcode(crate::$module::$type),)* }

        const ROWS: &[Row] = &[$(Row {
            opcode: Opcode::$opcode,
            since: ($major, $minor),
            traits: <crate::$module::$type as Op>::TRAITS,
            ways: &[$(Way::$way),*],
        },)*];

        impl Operation {
            /// Prepares an SQE. See [`Op::prepare`].
            ///
            /// # Errors
            /// `EINVAL` for an opcode without a row, else those of the operation.
            pub fn prepare(sqe: &Sqe, context: &Prepare) -> Result<Self, Errno> {
                match Opcode::from_number(sqe.opcode()) {
                    $(Some(Opcode::$opcode) => Op::prepare(sqe, context).map(Self::$opcode),)*
                    #[allow(unreachable_patterns, reason = "reached while the table is not complete")]
                    _ => Err(Errno::INVAL),
                }
            }

            /// See [`Op::capture`].
            ///
            /// # Errors
            /// Those of the operation.
            pub fn capture(&mut self) -> Result<(), Errno> {
                match self { $(Self::$opcode(operation) => operation.capture(),)* }
            }

            /// See [`Op::issue`].
            pub fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
                match self { $(Self::$opcode(operation) => operation.issue(context),)* }
            }
        }
    };
}

operations! {
    Nop => nop::Nop, (5, 1), [Inline];
    Readv => rw::Transfer, (5, 1), [Inline, Poll, Worker];
    Writev => rw::Transfer, (5, 1), [Inline, Poll, Worker];
    ReadFixed => rw::FixedTransfer, (5, 1), [Inline, Poll, Worker];
    WriteFixed => rw::FixedTransfer, (5, 1), [Inline, Poll, Worker];
    PollAdd => poll::PollAdd, (5, 1), [Inline, Poll];
    PollRemove => poll::PollRemove, (5, 1), [Engine];
    Timeout => timeout::Timeout, (5, 4), [Engine];
    TimeoutRemove => timeout::TimeoutRemove, (5, 5), [Engine];
    AsyncCancel => cancel::AsyncCancel, (5, 5), [Engine];
    LinkTimeout => timeout::LinkTimeout, (5, 5), [Engine];
    Read => rw::Transfer, (5, 6), [Inline, Poll, Worker];
    Write => rw::Transfer, (5, 6), [Inline, Poll, Worker];
}

/// Rows by opcode number.
static BY_NUMBER: [Option<&Row>; 256] = {
    let mut by_number = [None; 256];
    let mut index = 0;
    while index < ROWS.len() {
        by_number[ROWS[index].opcode.number() as usize] = Some(&ROWS[index]);
        index += 1;
    }
    by_number
};

/// The row of an opcode number, if it is served.
#[inline]
pub fn row(opcode: u8) -> Option<&'static Row> {
    BY_NUMBER[usize::from(opcode)]
}

/// Every row, in the table's order.
pub const fn rows() -> &'static [Row] {
    ROWS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_opcode_has_at_most_one_row() {
        for (index, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..index].iter().all(|other| other.opcode != row.opcode), "{:?}", row.opcode);
        }
    }

    #[test]
    fn an_operation_stays_small_enough_to_live_on_the_stack() {
        assert!(size_of::<Operation>() <= 160, "{}", size_of::<Operation>());
    }
}
