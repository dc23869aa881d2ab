//! The table of operations: one row per opcode that is served.

use ringer_abi::{Opcode, Sqe};
use ringer_sys::Errno;

use crate::arguments::{self, Arguments};
use crate::operation::{Issue, Op, Outcome, Prepare, Sharing, Traits, Way};

/// An operation of any kind, for the length of one attempt.
pub trait Attempt {
    /// See [`Op::refuse`].
    fn refuse(&mut self, errno: Errno) -> Outcome;

    /// See [`Op::issue`].
    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome;
}

impl<T: Op> Attempt for T {
    fn refuse(&mut self, errno: Errno) -> Outcome {
        Op::refuse(self, errno)
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        Op::issue(self, context)
    }
}

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
    /// What it looks at in an SQE.
    pub arguments: Arguments,
    /// An attempt with [`Patience::Brief`](crate::Patience::Brief) may touch a device: the engine takes its time.
    pub may_be_slow: bool,
    /// See [`Op::RESULT`].
    pub result: Option<i32>,
    /// Whether these SQEs of the opcode may be made at the same time by several threads: each is good, and see [`Op::SHARING`].
    pub are_independent: Option<AreIndependent>,
    /// Prepares an SQE and makes the first attempt in one go.
    pub start: Start,
}

/// Prepares an SQE of one opcode and makes the first attempt in one go, so that an operation that is done by it is never moved.
/// `attempt` returns the outcome if it goes on. Returns what goes on; the errors are those of [`Operation::prepare`].
pub type Start =
    fn(&Sqe, &Prepare, attempt: FirstAttempt<'_>) -> Result<Option<Box<(Operation, Outcome)>>, Errno>;

/// See [`Row::are_independent`].
pub type AreIndependent = fn(&[Sqe], &Prepare) -> bool;

/// The most SQEs that are shared at a time. See [`Row::are_independent`].
pub const MOST_SHARED: usize = 32;

/// What [`Start`] does with the prepared operation.
pub type FirstAttempt<'a> = &'a mut dyn FnMut(&mut dyn Attempt) -> Option<Outcome>;

fn start<T: Op>(
    sqe: &Sqe,
    context: &Prepare,
    attempt: FirstAttempt<'_>,
    operation_of: fn(T) -> Operation,
) -> Result<Option<Box<(Operation, Outcome)>>, Errno> {
    let mut operation = T::prepare(sqe, context)?;
    let outcome = attempt(&mut operation);
    Ok(outcome.map(|outcome| Box::new((operation_of(operation), outcome))))
}

fn are_independent<T: Op>(sqes: &[Sqe], context: &Prepare) -> bool {
    let Some(sharing) = T::SHARING else { return false };
    let mut files = [0; MOST_SHARED];
    let mut known = 0;
    sqes.len() <= MOST_SHARED
        && sqes.iter().all(|sqe| match T::prepare(sqe, context).as_ref().map_or(Sharing::No, sharing) {
            Sharing::No => false,
            Sharing::Yes => true,
            Sharing::OfOtherFiles(fd) => {
                let is_new = !files[..known].contains(&fd);
                files[known] = fd;
                known += 1;
                is_new
            }
        })
}

impl Row {
    /// Whether its operations use no file and no registered buffer of the engine's.
    #[inline]
    pub const fn needs_nothing(&self) -> bool {
        !self.traits.needs_file && !self.traits.fixed_buffer
    }
}

/// What a worker may have to do can also be slow when it is tried with brief patience. Reads are not: they ask the
/// kernel not to wait.
const fn may_be_slow(opcode: Opcode, ways: &[Way]) -> bool {
    let mut index = 0;
    while index < ways.len() {
        if matches!(ways[index], Way::Worker) {
            return !matches!(opcode, Opcode::Read | Opcode::Readv | Opcode::ReadFixed | Opcode::ReadvFixed);
        }
        index += 1;
    }
    false
}

macro_rules! operations {
    ($($opcode:ident => $module:ident :: $type:ident, ($major:literal, $minor:literal), [$($way:ident),*], $arguments:ident;)*) => {
        /// A prepared operation of any kind.
        #[derive(Debug)]
        #[expect(missing_docs, reason = "the names are the opcodes'")]
        pub enum Operation { $($opcode(crate::$module::$type),)* }

        const ROWS: &[Row] = &[$(Row {
            opcode: Opcode::$opcode,
            since: ($major, $minor),
            traits: <crate::$module::$type as Op>::TRAITS,
            ways: &[$(Way::$way),*],
            may_be_slow: may_be_slow(Opcode::$opcode, &[$(Way::$way),*]),
            arguments: arguments::$arguments,
            result: <crate::$module::$type as Op>::RESULT,
            are_independent: match <crate::$module::$type as Op>::SHARING {
                Some(_) => Some(are_independent::<crate::$module::$type>),
                None => None,
            },
            start: |sqe, context, attempt| start(sqe, context, attempt, Operation::$opcode),
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

            /// Stands in for an SQE that was refused: never issued.
            pub fn refused() -> Self {
                Self::Nop(crate::nop::Nop::default())
            }

            /// See [`Op::capture`].
            ///
            /// # Errors
            /// Those of the operation.
            pub fn capture(&mut self) -> Result<(), Errno> {
                match self { $(Self::$opcode(operation) => operation.capture(),)* }
            }

            /// See [`Op::device_transfer`].
            pub fn device_transfer(&self) -> Option<crate::DeviceTransfer> {
                match self { $(Self::$opcode(operation) => operation.device_transfer(),)* }
            }

            /// See [`Op::device_wait`].
            pub fn device_wait(&self) -> Option<crate::DeviceWait> {
                match self { $(Self::$opcode(operation) => operation.device_wait(),)* }
            }

            /// See [`Op::refused`].
            pub fn refusal(&self) -> Option<Errno> {
                match self { $(Self::$opcode(operation) => Op::refused(operation),)* }
            }

            /// See [`Op::waits_to_start`].
            pub fn waits_to_start(&self) -> Option<u32> {
                match self { $(Self::$opcode(operation) => operation.waits_to_start(),)* }
            }

            /// See [`Op::wait_to_start`].
            pub fn wait_to_start(&mut self) {
                match self { $(Self::$opcode(operation) => operation.wait_to_start(),)* }
            }

            /// See [`Op::has_several_results`].
            pub fn has_several_results(&self) -> bool {
                match self { $(Self::$opcode(operation) => operation.has_several_results(),)* }
            }

            /// See [`Op::waits_for`].
            pub fn waits_for(&self) -> Option<std::os::fd::RawFd> {
                match self { $(Self::$opcode(operation) => operation.waits_for(),)* }
            }

        }

        impl Attempt for Operation {
            fn refuse(&mut self, errno: Errno) -> Outcome {
                match self { $(Self::$opcode(operation) => Op::refuse(operation, errno),)* }
            }

            fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
                match self { $(Self::$opcode(operation) => Op::issue(operation, context),)* }
            }
        }
    };
}

operations! {
    Nop => nop::Nop, (5, 1), [Inline, Engine], NO_OPERATION;
    Readv => rw::Transfer, (5, 1), [Inline, Aio, Poll, Worker], VECTORS;
    Writev => rw::Write, (5, 1), [Inline, Aio, Poll, Worker], VECTORS;
    ReadFixed => rw_fixed::FixedTransfer, (5, 1), [Inline, Aio, Poll, Worker], FIXED_BYTES;
    WriteFixed => rw_fixed::FixedTransfer, (5, 1), [Inline, Aio, Poll, Worker], FIXED_BYTES;
    PollAdd => poll::PollAdd, (5, 1), [Inline, Poll], POLL_ADD;
    PollRemove => poll::PollRemove, (5, 1), [Engine], POLL_UPDATE;
    Timeout => timeout::Timeout, (5, 4), [Engine], TIMED;
    TimeoutRemove => timeout::TimeoutRemove, (5, 5), [Engine], TIME_UPDATE;
    AsyncCancel => cancel::AsyncCancel, (5, 5), [Engine], CANCELLATION;
    LinkTimeout => timeout::LinkTimeout, (5, 5), [Engine], TIME_LIMIT;
    Fsync => fsync::Fsync, (5, 1), [Worker], SYNCHRONIZED;
    SyncFileRange => fsync::SyncFileRange, (5, 2), [Worker], RANGE;
    Fallocate => fallocate::Fallocate, (5, 6), [Worker], ALLOCATED;
    Openat => open::Open, (5, 6), [Inline, Worker], OPENED;
    Close => close::Close, (5, 6), [Inline, Worker, Engine], CLOSED;
    FilesUpdate => files_update::FilesUpdate, (5, 6), [Engine], NUMBERS;
    Statx => statx::Statx, (5, 6), [Inline, Worker], STATUS;
    Fadvise => advise::Fadvise, (5, 6), [Inline, Worker], FILE_ADVICE;
    Madvise => advise::Madvise, (5, 6), [Inline, Worker], MEMORY_ADVICE;
    Openat2 => open::Open, (5, 6), [Inline, Worker], OPENED_AS;
    Splice => splice::Splice, (5, 7), [Inline, Poll, Worker], MOVED;
    Tee => splice::Tee, (5, 8), [Inline, Poll, Worker], MOVED;
    EpollCtl => epoll::EpollCtl, (5, 6), [Inline], WATCHED;
    ProvideBuffers => provided_buffers::ProvideBuffers, (5, 7), [Engine], PROVIDED;
    RemoveBuffers => provided_buffers::RemoveBuffers, (5, 7), [Engine], REMOVED;
    Renameat => rename::Rename, (5, 11), [Inline, Worker], RENAMED;
    Unlinkat => unlink::Unlink, (5, 11), [Inline, Worker], UNLINKED;
    Mkdirat => mkdir::Mkdir, (5, 15), [Inline, Worker], MADE;
    Symlinkat => symlink::Symlink, (5, 15), [Inline, Worker], POINTED;
    Linkat => link::Link, (5, 15), [Inline, Worker], LINKED;
    MsgRing => msg_ring::MsgRing, (5, 18), [Engine], TOLD;
    Fsetxattr => xattr::FileSetxattr, (5, 19), [Inline, Worker], FILE_ATTRIBUTE;
    Setxattr => xattr::PathSetxattr, (5, 19), [Inline, Worker], PATH_ATTRIBUTE;
    Fgetxattr => xattr::FileGetxattr, (5, 19), [Inline, Worker], FILE_ATTRIBUTE;
    Getxattr => xattr::PathGetxattr, (5, 19), [Inline, Worker], PATH_ATTRIBUTE;
    ReadMultishot => read_multishot::ReadMultishot, (6, 7), [Inline, Poll, Worker], MULTISHOT_BYTES;
    Waitid => waitid::Waitid, (6, 7), [Inline, Poll, Worker], CHILD;
    FutexWait => futex::FutexWait, (6, 7), [Engine], FUTEX_ONE;
    FutexWake => futex::FutexWake, (6, 7), [Inline], FUTEX_ONE;
    FutexWaitv => futex::FutexWaitv, (6, 7), [Engine], FUTEX_SEVERAL;
    FixedFdInstall => fixed_fd_install::FixedFdInstall, (6, 8), [Inline], INSTALLED;
    Ftruncate => ftruncate::Ftruncate, (6, 9), [Inline, Worker], CUT;
    EpollWait => epoll::EpollWait, (6, 15), [Inline, Poll], EVENTS;
    ReadvFixed => rw_fixed::FixedVectors, (6, 15), [Inline, Aio, Poll, Worker], FIXED_VECTORS;
    WritevFixed => rw_fixed::FixedVectors, (6, 15), [Inline, Aio, Poll, Worker], FIXED_VECTORS;
    Pipe => pipe::Pipe, (6, 16), [Inline], PIPE;
    Read => rw::Transfer, (5, 6), [Inline, Aio, Poll, Worker], BYTES;
    Write => rw::Write, (5, 6), [Inline, Aio, Poll, Worker], BYTES;
    Sendmsg => message::Sendmsg, (5, 3), [Inline, Poll], MESSAGE_SENT;
    Recvmsg => message::Recvmsg, (5, 3), [Inline, Poll], MESSAGE_SENT;
    Accept => accept::Accept, (5, 5), [Inline, Poll, Worker], ACCEPTED;
    Connect => connect::Connect, (5, 5), [Inline, Poll, Worker], ADDRESSED;
    Send => send::Send, (5, 6), [Inline, Poll], SENT;
    Recv => recv::Recv, (5, 6), [Inline, Poll], RECEIVED;
    Shutdown => shutdown::Shutdown, (5, 11), [Inline], SHUT;
    Socket => socket::Socket, (5, 19), [Inline], SOCKET;
    UringCmd => socket_command::SocketCommand, (5, 19), [Inline, Poll], COMMAND;
    SendZc => zero_copy::ZeroCopySend, (6, 0), [Inline, Poll], SENT;
    SendmsgZc => zero_copy::ZeroCopySend, (6, 1), [Inline, Poll], MESSAGE_SENT;
    RecvZc => recv_zc::ZeroCopyReceive, (6, 15), [Inline], RECEIVED;
    Bind => bind::Bind, (6, 11), [Inline], ADDRESSED;
    Listen => listen::Listen, (6, 11), [Inline], LISTENED;
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
