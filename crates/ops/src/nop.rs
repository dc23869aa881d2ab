//! NOP: completes with 0, or with what its injection flags say.

use ringer_abi::{Sqe, SqeFlags, uapi};
use ringer_sys::{Errno, call};

use crate::check::big_cqe_flags;
use crate::operation::{Completion, Issue, Op, Outcome, Prepare, Traits};

/// `IORING_OP_NOP`. Source: `io_uring_enter.2`, `io_uring_prep_nop.3`.
#[derive(Debug, Default)]
pub struct Nop {
    result: i32,
    wishes: Option<Wishes>,
    /// It is to be done after the submission (`IORING_NOP_TW`): the engine puts it off, and clears this.
    pub is_put_off: bool,
}

/// What few ask for.
#[derive(Debug)]
struct Wishes {
    file: Option<i32>,
    is_registered_file: bool,
    buffer: Option<u16>,
    big: Option<BigCqe>,
}

/// The second half of the CQE, and what says on a mixed ring that it is there.
#[derive(Clone, Copy, Debug)]
struct BigCqe {
    extra: [u64; 2],
    flags: u32,
}

/// `IORING_NOP_CQE32`: the CQE has 32 bytes.
const CQE32: u32 = 1 << 5;

const KNOWN_FLAGS: u32 = uapi::IORING_NOP_INJECT_RESULT
    | uapi::IORING_NOP_FILE
    | uapi::IORING_NOP_FIXED_FILE
    | uapi::IORING_NOP_FIXED_BUFFER
    | uapi::IORING_NOP_TW
    | CQE32;

impl Op for Nop {
    const TRAITS: Traits = Traits { iopoll: true, ..Traits::NONE };

    // Most ask for nothing else, and making the operation would be most of the work.
    const RESULT: Option<i32> = Some(0);

    fn prepare(sqe: &Sqe, context: &Prepare) -> Result<Self, Errno> {
        let flags = sqe.op_flags();
        if flags & !KNOWN_FLAGS != 0 {
            return Err(Errno::INVAL);
        }
        let result = injected_result(sqe);
        let wishes =
            if flags & !uapi::IORING_NOP_INJECT_RESULT == 0 { None } else { Some(Wishes::of(sqe, context)?) };
        Ok(Self { result, wishes, is_put_off: flags & uapi::IORING_NOP_TW != 0 })
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        if self.is_put_off {
            return Outcome::Engine;
        }
        match &self.wishes {
            None => Outcome::Done(Completion::new(self.result)),
            Some(wishes) => wishes.fulfil(self.result, context),
        }
    }
}

fn injected_result(sqe: &Sqe) -> i32 {
    if sqe.op_flags() & uapi::IORING_NOP_INJECT_RESULT != 0 { sqe.len() as i32 } else { 0 }
}

impl Wishes {
    fn of(sqe: &Sqe, context: &Prepare) -> Result<Self, Errno> {
        let has = |flag| sqe.op_flags() & flag != 0;
        let big = if has(CQE32) {
            let extra = [sqe.off(), sqe.addr()];
            Some(BigCqe { extra, flags: big_cqe_flags(context.setup)? })
        } else {
            None
        };
        Ok(Self {
            file: has(uapi::IORING_NOP_FILE).then(|| sqe.fd()),
            is_registered_file: has(uapi::IORING_NOP_FIXED_FILE)
                || sqe.flags().contains(SqeFlags::FIXED_FILE),
            buffer: has(uapi::IORING_NOP_FIXED_BUFFER).then(|| sqe.buf_index()),
            big,
        })
    }

    fn fulfil(&self, result: i32, context: &mut Issue<'_>) -> Outcome {
        let mut flags = 0;
        if let Some(big) = self.big {
            context.extra = big.extra;
            flags = big.flags;
        }
        let looked_up = self.file.map_or(Ok(()), |fd| self.look_up(fd, context));
        let result = match looked_up {
            Err(errno) => Completion::error(errno),
            Ok(()) if self.buffer.is_some_and(|index| !context.resources.has_registered_buffer(index)) => {
                Completion::error(Errno::FAULT)
            }
            Ok(()) => Completion::new(result),
        };
        Outcome::Done(result.with_flags(flags))
    }

    fn look_up(&self, fd: i32, context: &Issue<'_>) -> Result<(), Errno> {
        const F_GETFD: u32 = 1;
        if self.is_registered_file {
            let index = u32::try_from(fd).map_err(|_| Errno::BADF)?;
            context.resources.registered_file(index).map(drop)
        } else {
            call::fcntl(fd, F_GETFD, 0).map(drop)
        }
    }
}
