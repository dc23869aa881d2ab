//! PIPE: a new pipe, as two descriptors or as two registered files.

use std::os::fd::IntoRawFd;

use ringer_abi::Sqe;
use ringer_sys::{Errno, UserAddress, call};

use crate::check::unused;
use crate::operation::{FileSlot, Issue, Op, Outcome, Prepare, Resources, Traits};

const O_CLOEXEC: u32 = 0o2_000_000;
/// `O_CLOEXEC`, `O_NONBLOCK`, `O_DIRECT`, `O_NOTIFICATION_PIPE` of `pipe.2`.
const KNOWN_FLAGS: u32 = O_CLOEXEC | 0o4_000 | 0o40_000 | 0o200;

/// `IORING_OP_PIPE`. Source: `io_uring_prep_pipe.3`, `io_uring_prep_pipe_direct.3`.
#[derive(Debug)]
pub struct Pipe {
    numbers: UserAddress,
    flags: u32,
    slot: Option<FileSlot>,
}

impl Op for Pipe {
    const TRAITS: Traits = Traits::NONE;

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        unused([sqe.fd() as u64, sqe.off(), sqe.addr3()])?;
        let flags = sqe.op_flags();
        let slot = FileSlot::from_file_index(sqe.file_index());
        if flags & !KNOWN_FLAGS != 0 || (slot.is_some() && flags & O_CLOEXEC != 0) {
            return Err(Errno::INVAL);
        }
        Ok(Self { numbers: UserAddress::new(sqe.addr()), flags, slot })
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        let made = match self.slot {
            None => self.make_descriptors(),
            Some(slot) => self.make_registered(slot, context.resources),
        };
        Outcome::from_result(made.map(|()| 0))
    }
}

impl Pipe {
    fn make_descriptors(&self) -> Result<(), Errno> {
        let [read, write] = call::pipe2(self.flags)?;
        let numbers = [&read, &write].map(std::os::fd::AsRawFd::as_raw_fd);
        self.numbers.write(numbers)?;
        // Known to the program now, so that they are its own.
        let _ = (read.into_raw_fd(), write.into_raw_fd());
        Ok(())
    }

    fn make_registered(&self, slot: FileSlot, resources: &dyn Resources) -> Result<(), Errno> {
        let second = match slot {
            FileSlot::Index(index) => FileSlot::Index(index.checked_add(1).ok_or(Errno::INVAL)?),
            FileSlot::Allocate => FileSlot::Allocate,
        };
        let number = |slot: FileSlot, result: i32| match slot {
            FileSlot::Index(index) => index,
            FileSlot::Allocate => result as u32,
        };
        let [read, write] = FileSlot::make(Some(slot), || call::pipe2(self.flags))?;
        let first = number(slot, resources.install_file(read, slot)?);
        let installed = resources.install_file(write, second).map(|result| number(second, result));
        let told = installed.and_then(|second| self.numbers.write([first, second]));
        if told.is_err() {
            resources.remove_file(first);
            if let Ok(second) = installed {
                resources.remove_file(second);
            }
        }
        told
    }
}
