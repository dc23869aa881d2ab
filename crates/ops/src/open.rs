//! OPENAT and OPENAT2: a new descriptor, or a new registered file.

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

use ringer_abi::{Opcode, Sqe};
use ringer_sys::{Errno, UserAddress, call};

use crate::check::{no_fixed_file, unused};
use crate::operation::{FileSlot, Issue, Op, Outcome, Patience, Prepare, Sharing, Traits};
use crate::path::Path;

const O_ACCMODE: u64 = 0o3;
const O_CREAT: u64 = 0o100;
const O_EXCL: u64 = 0o200;
const O_TRUNC: u64 = 0o1000;
const O_NONBLOCK: u64 = 0o4000;
const O_DIRECTORY: u64 = 0o200_000;
const O_NOFOLLOW: u64 = 0o400_000;
const O_CLOEXEC: u64 = 0o2_000_000;
const O_PATH: u64 = 0o10_000_000;
/// `__O_TMPFILE`: `O_TMPFILE` without its `O_DIRECTORY`.
const TMPFILE: u64 = 0o20_000_000;
/// Every flag of `open.2`. `openat` ignores others, `openat2` refuses them.
const KNOWN_FLAGS: u64 = 0o37_777_703;
/// What `O_PATH` leaves of the flags.
const PATH_FLAGS: u64 = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
/// `O_APPEND`, `O_DIRECT`, `O_NOATIME`, `O_ASYNC`, which `F_SETFL` sets; it would clear those not given.
const STATUS_FLAGS: u64 = 0o2_000 | 0o40_000 | 0o1_000_000 | 0o20_000;
const PERMISSIONS: u64 = 0o7777;
/// `RESOLVE_CACHED` of `openat2.2`.
const RESOLVE_CACHED: u64 = 0x20;
const F_SETFL: u32 = 4;

/// `struct open_how` of `openat2.2`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

impl OpenHow {
    const SIZE: usize = size_of::<Self>();

    /// What `openat.2` makes of its arguments: it ignores what it does not know.
    fn of_openat(flags: u32, mode: u32) -> Self {
        let mut flags = u64::from(flags) & KNOWN_FLAGS;
        if flags & O_PATH != 0 {
            flags &= PATH_FLAGS;
        }
        let mode = if flags & (O_CREAT | TMPFILE) != 0 { u64::from(mode) & PERMISSIONS } else { 0 };
        Self { flags, mode, resolve: 0 }
    }

    /// Reads the structure; a longer one is of a newer program, and fine while the rest is zero.
    fn read(address: UserAddress, size: u32) -> Result<Self, Errno> {
        const STEP: usize = 4096;
        let size = size as usize;
        if size < Self::SIZE {
            return Err(Errno::INVAL);
        }
        let mut at = Self::SIZE;
        while at < size {
            let step = STEP.min(size - at);
            let rest = address.add(at as u64).read_vec::<u8>(step)?;
            if rest.iter().any(|byte| *byte != 0) {
                return Err(Errno::TOOBIG);
            }
            at += step;
        }
        let [flags, mode, resolve] = address.read::<[u64; 3]>()?;
        Ok(Self { flags, mode, resolve })
    }

    /// The checks of `openat2.2` that `openat.2` does not make.
    fn check(&self) -> Result<(), Errno> {
        let creates = self.flags & (O_CREAT | TMPFILE) != 0;
        let allowed_mode = if creates { PERMISSIONS } else { 0 };
        let allowed_flags = if self.flags & O_PATH != 0 { PATH_FLAGS } else { KNOWN_FLAGS };
        if self.flags & !allowed_flags != 0 || self.mode & !allowed_mode != 0 {
            return Err(Errno::INVAL);
        }
        Ok(())
    }
}

/// `IORING_OP_OPENAT` and `IORING_OP_OPENAT2`. Source: `io_uring_prep_openat.3`, `io_uring_prep_openat2.3`.
///
/// An inline attempt opens with `O_NONBLOCK` and clears it afterwards, as the kernel does. A FIFO
/// opened so for reading does not wait for a writer, and one for writing without a reader is `ENXIO`.
/// With `O_CREAT`, `O_TRUNC` or `IOSQE_ASYNC` the open waits, on a worker; so does Linux.
#[derive(Debug)]
pub struct Open {
    directory: RawFd,
    path: Path,
    how: OpenHow,
    strict: bool,
    slot: Option<FileSlot>,
}

impl Op for Open {
    const TRAITS: Traits = Traits::NONE;
    /// Linux looks for one path beside the other as soon as one has to be looked up on the disk.
    const SHARING: Option<fn(&Self) -> Sharing> =
        Some(|open| if open.slot.is_some() || open.may_change_files() { Sharing::No } else { Sharing::Yes });

    fn prepare(sqe: &Sqe, _context: &Prepare) -> Result<Self, Errno> {
        let strict = sqe.opcode() == Opcode::Openat2.number();
        let how = if strict {
            OpenHow::read(UserAddress::new(sqe.off()), sqe.len())?
        } else {
            OpenHow::of_openat(sqe.op_flags(), sqe.len())
        };
        unused([sqe.buf_index().into()])?;
        no_fixed_file(sqe)?;
        let path = Path::new(sqe.addr())?;
        let slot = FileSlot::from_file_index(sqe.file_index());
        // A registered file is not inherited over exec in any case.
        if slot.is_some() && how.flags & O_CLOEXEC != 0 {
            return Err(Errno::INVAL);
        }
        Ok(Self { directory: sqe.fd(), path, how, strict, slot })
    }

    fn capture(&mut self) -> Result<(), Errno> {
        self.path.capture()
    }

    fn issue(&mut self, context: &mut Issue<'_>) -> Outcome {
        let opened = match context.patience {
            Patience::Unlimited => self.open(self.how),
            Patience::Brief if !self.may_try_briefly() => return Outcome::Punt,
            Patience::Brief => self.open_without_waiting(0),
            Patience::None if self.may_change_files() => return Outcome::Punt,
            Patience::None => self.open_without_waiting(RESOLVE_CACHED),
        };
        if context.patience != Patience::Unlimited && self.deserves_another_attempt(&opened, context.patience)
        {
            return Outcome::Punt;
        }
        match (opened, self.slot) {
            (Err(errno), _) => Outcome::failed(errno),
            (Ok(file), None) => Outcome::done(file.into_raw_fd()),
            (Ok(file), Some(slot)) => match context.resources.install_file(file, slot) {
                Ok(result) => Outcome::done(result),
                Err(errno) => Outcome::failed(errno),
            },
        }
    }
}

impl Open {
    /// The flags that Linux never serves inline: they write to the file system.
    fn may_change_files(&self) -> bool {
        self.how.flags & (O_CREAT | O_TRUNC | TMPFILE) != 0
    }

    /// Whether what it opens is a file that it makes.
    fn makes_its_file(&self) -> bool {
        self.how.flags & TMPFILE != 0 || self.how.flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL
    }

    /// Whether `O_NONBLOCK` cannot make an open succeed that has to wait: a FIFO opened for reading only.
    /// Where the flags do not change files, Linux lets it succeed.
    fn may_try_briefly(&self) -> bool {
        !self.may_change_files() || self.makes_its_file() || self.how.flags & O_ACCMODE != 0
    }

    /// Whether `O_NONBLOCK` makes a difference: to neither a directory nor a new file.
    fn may_wait(&self) -> bool {
        self.how.flags & (O_NONBLOCK | O_PATH | O_DIRECTORY) == 0 && !self.makes_its_file()
    }

    /// Whether the result may be due to the attempt's reluctance.
    fn deserves_another_attempt(&self, opened: &Result<OwnedFd, Errno>, patience: Patience) -> bool {
        match opened {
            // The program itself asked not to wait.
            Err(Errno::AGAIN) => self.how.flags & O_NONBLOCK == 0 && self.how.resolve & RESOLVE_CACHED == 0,
            // A FIFO without a reader.
            Err(Errno::NXIO) => self.may_change_files() && self.how.flags & O_NONBLOCK == 0,
            // A host without openat2, or without RESOLVE_CACHED.
            Err(Errno::NOSYS | Errno::INVAL) => patience == Patience::None,
            _ => false,
        }
    }

    /// Opens with `O_NONBLOCK`, if that makes a difference, and clears it unless it was asked for.
    fn open_without_waiting(&self, resolve: u64) -> Result<OwnedFd, Errno> {
        let mut how = self.how;
        how.resolve |= resolve;
        if !self.may_wait() {
            return self.open(how);
        }
        how.flags |= O_NONBLOCK;
        let file = self.open(how)?;
        call::fcntl(file.as_raw_fd(), F_SETFL, (self.how.flags & STATUS_FLAGS) as usize)?;
        Ok(file)
    }

    fn open(&self, how: OpenHow) -> Result<OwnedFd, Errno> {
        let path = self.path.address();
        // What may wait takes a number of the program.
        let slot = self.slot.filter(|_| how.flags & O_NONBLOCK != 0 || !self.may_wait());
        if self.strict || how.resolve != 0 {
            let how_address = UserAddress::of(&raw const how);
            match FileSlot::make(slot, || call::openat2(self.directory, path, how_address, OpenHow::SIZE)) {
                // Hosts before 5.6 do not have it, and some seccomp filters hide it.
                Err(Errno::NOSYS) if how.resolve == 0 => how.check()?,
                other => return other,
            }
        }
        FileSlot::make(slot, || call::openat(self.directory, path, how.flags as u32, how.mode as u32))
    }
}
