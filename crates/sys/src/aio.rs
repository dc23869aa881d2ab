//! Linux AIO: transfers to and from devices that complete without a thread waiting for them. Source: `io_submit.2`.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use linux_raw_sys::general as nr;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::UserAddress;
use crate::call::{raw, timespec};
use crate::descriptor::of_engine;

/// What a transfer does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Direction {
    Read,
    Write,
}

/// Transfers of one system call at most. The kernel hands them to the device together, when the call is through: so with fewer the device begins
/// earlier with those of a long submission.
pub const BATCH: usize = 8;

/// One transfer, `struct iocb`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Transfer {
    token: u64,
    key: u32,
    flags: u32,
    opcode: u16,
    priority: i16,
    fd: u32,
    address: u64,
    length: u64,
    offset: i64,
    reserved: u64,
    options: u32,
    eventfd: u32,
}

const _: () = assert!(size_of::<Transfer>() == 64);

/// The memory of a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// One range: address and length.
    Range(UserAddress, u64),
    /// So many vectors (`struct iovec`) at this address. They are read at submission.
    Vectors(UserAddress, usize),
}

/// `IOCB_CMD_PREAD` and so on.
const READ: u16 = 0;
const WRITE: u16 = 1;
const READ_VECTORS: u16 = 7;
const WRITE_VECTORS: u16 = 8;
const POLL: u16 = 5;
/// `IOCB_FLAG_RESFD`: the eventfd is signalled.
const SIGNAL: u32 = 1;

impl Transfer {
    /// A transfer at an offset; `flags` are the `RWF_` flags of `preadv2.2`. Its completion carries the token.
    pub fn new(direction: Direction, fd: RawFd, memory: Memory, offset: i64, flags: u32, token: u64) -> Self {
        let (address, length, opcode) = match (memory, direction) {
            (Memory::Range(address, length), Direction::Read) => (address, length, READ),
            (Memory::Range(address, length), Direction::Write) => (address, length, WRITE),
            (Memory::Vectors(address, count), Direction::Read) => (address, count as u64, READ_VECTORS),
            (Memory::Vectors(address, count), Direction::Write) => (address, count as u64, WRITE_VECTORS),
        };
        Self {
            token,
            key: 0,
            flags,
            opcode,
            priority: 0,
            fd: fd as u32,
            address: address.get(),
            length,
            offset,
            reserved: 0,
            options: 0,
            eventfd: 0,
        }
    }

    /// Not a transfer: it completes once the descriptor reports one of these `poll.2` events. Since Linux 4.19.
    pub fn poll(fd: RawFd, events: u32, token: u64) -> Self {
        let memory = Memory::Range(UserAddress::new(events.into()), 0);
        Self { opcode: POLL, ..Self::new(Direction::Read, fd, memory, 0, 0, token) }
    }

    /// With a signal on the context's eventfd when it completes.
    #[must_use]
    pub fn signalling(self) -> Self {
        Self { options: SIGNAL, ..self }
    }

    /// What its completion carries.
    pub fn token(&self) -> u64 {
        self.token
    }
}

/// A completion, `struct io_event`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Completed {
    /// The transfer's token.
    pub token: u64,
    transfer: u64,
    /// Bytes, or a negated errno.
    pub result: i64,
    second: i64,
}

/// An AIO context with an eventfd that tells of completions.
#[derive(Debug)]
pub struct Aio {
    context: usize,
    eventfd: OwnedFd,
    /// The context's number is the address of its completions.
    is_shown: bool,
}

impl Aio {
    /// A context for so many transfers at a time.
    ///
    /// # Errors
    /// `EAGAIN` beyond `/proc/sys/fs/aio-max-nr`, `ENOSYS` where the kernel has none, `ENOMEM`, `EMFILE`.
    pub fn new(transfers: u32) -> Result<Self, Errno> {
        let eventfd = of_engine(|| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK))?;
        let mut context = 0_usize;
        let arguments = [transfers as usize, (&raw mut context) as usize, 0, 0, 0, 0];
        // SAFETY: the kernel writes the word, which outlives the call.
        unsafe { raw(nr::__NR_io_setup, arguments) }?;
        let mut aio = Self { context, eventfd, is_shown: false };
        // A kernel that shows nothing gives out numbers that are no addresses: looked at by a guarded copy.
        let header = UserAddress::new(context as u64).read::<[u32; 8]>();
        if let Ok([_, size, _, _, magic, _, incompatible, header_bytes]) = header {
            aio.is_shown = magic == Shown::MAGIC
                && incompatible == 0
                && header_bytes as usize == size_of::<Shown>()
                && size > 0;
        }
        Ok(aio)
    }

    /// Readable once something completed. To be watched for changes: nobody takes the count away.
    pub fn eventfd(&self) -> &OwnedFd {
        &self.eventfd
    }

    /// Submits transfers, [`BATCH`] at most. Returns how many were taken, from the first on: less than all when there is no room, or
    /// the next one is refused.
    ///
    /// The vectors are read during the call; the buffers must stay the program's until the completion, as with any transfer.
    ///
    /// # Errors
    /// That of the first transfer if none was taken; `EAGAIN` without room.
    pub fn submit(&self, transfers: &mut [Transfer]) -> Result<usize, Errno> {
        let mut addresses = [std::ptr::null::<Transfer>(); BATCH];
        let mut count = 0;
        for (transfer, address) in transfers.iter_mut().zip(&mut addresses) {
            transfer.eventfd = self.eventfd.as_raw_fd() as u32;
            *address = std::ptr::from_ref(transfer);
            count += 1;
        }
        let arguments = [self.context, count, addresses.as_ptr() as usize, 0, 0, 0];
        // SAFETY: the transfers and their addresses outlive the call; the kernel checks what they name.
        unsafe { raw(nr::__NR_io_submit, arguments) }
    }

    /// Whether there may be completions to take. Costs no system call where the kernel shows them in memory.
    #[inline]
    pub fn has_completed(&self) -> bool {
        self.shown().is_none_or(|shown| {
            // Relaxed: a hint. `take` orders what it takes.
            shown.head.load(Ordering::Relaxed) != shown.tail.load(Ordering::Relaxed)
        })
    }

    /// Takes completions, without waiting. Returns how many. One thread at a time, and only while nobody [waits](Self::wait).
    ///
    /// # Errors
    /// None that a context in use can have.
    pub fn take(&self, completed: &mut [Completed]) -> Result<usize, Errno> {
        match self.shown() {
            Some(shown) => Ok(shown.take(completed)),
            None => self.take_beside_waiters(completed),
        }
    }

    /// [`take`](Self::take) by a system call: others may do so, too, or wait.
    ///
    /// # Errors
    /// None that a context in use can have.
    pub fn take_beside_waiters(&self, completed: &mut [Completed]) -> Result<usize, Errno> {
        let none = [0_i64; 2];
        let (place, count) = (completed.as_mut_ptr() as usize, completed.len());
        let arguments = [self.context, 0, count, place, none.as_ptr() as usize, 0];
        // SAFETY: the kernel writes at most that many completions, which are plain integers.
        unsafe { raw(nr::__NR_io_getevents, arguments) }
    }

    /// Waits for a completion and takes what is there. Returns how many: none when the time is over. Source: `io_getevents.2`.
    ///
    /// # Errors
    /// `EINTR` when a signal handler ran, with the mask that is set for the wait. `ENOSYS` before Linux 4.18.
    pub fn wait(
        &self,
        completed: &mut [Completed],
        timeout: Option<Duration>,
        mask: Option<u64>,
    ) -> Result<usize, Errno> {
        let time = timeout.map(timespec);
        let time_address = time.as_ref().map_or(0, |time| time.as_ptr() as usize);
        let mask_address = mask.as_ref().map_or(0, |mask| std::ptr::from_ref(mask) as usize);
        // `struct __aio_sigset`.
        let set = [mask_address, size_of::<u64>()];
        let (place, count) = (completed.as_mut_ptr() as usize, completed.len());
        let arguments = [self.context, 1, count, place, time_address, set.as_ptr() as usize];
        // SAFETY: the kernel writes at most that many completions, which are plain integers; all addresses are of objects that
        // outlive the call.
        unsafe { raw(nr::__NR_io_pgetevents, arguments) }
    }

    /// The completions in memory, if the kernel shows them in the form that we know.
    #[inline]
    fn shown(&self) -> Option<&Shown> {
        // SAFETY: `new` looked at the header: the context's address is that of its ring, mapped until the context is destroyed.
        self.is_shown.then(|| unsafe { &*(self.context as *const Shown) })
    }
}

/// The ring of completions that the kernel maps at a context's address, as `libaio` and others read it.
#[derive(Debug)]
#[repr(C)]
struct Shown {
    _id: u32,
    size: u32,
    head: AtomicU32,
    tail: AtomicU32,
    _magic: u32,
    _compatible: u32,
    _incompatible: u32,
    _header_bytes: u32,
}

impl Shown {
    const MAGIC: u32 = 0xa10a_10a1;

    fn take(&self, completed: &mut [Completed]) -> usize {
        let mut head = self.head.load(Ordering::Relaxed);
        // Acquire, with the kernel's barrier between writing a completion and the tail.
        let tail = self.tail.load(Ordering::Acquire);
        let mut count = 0;
        while head != tail && count < completed.len() && head < self.size {
            // SAFETY: the kernel maps `size` completions behind the header; this one was written before the tail.
            let place = unsafe { std::ptr::from_ref(self).add(1).cast::<Completed>().add(head as usize) };
            // SAFETY: as above. Volatile, as the kernel writes there.
            completed[count] = unsafe { place.read_volatile() };
            count += 1;
            head = (head + 1) % self.size;
        }
        // Release: the kernel may use the slots again, with its barrier between reading the head and writing there.
        self.head.store(head, Ordering::Release);
        count
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        // SAFETY: the context is ours. The call waits for what is on its way; nothing else can be done about an error.
        let _ = unsafe { raw(nr::__NR_io_destroy, [self.context, 0, 0, 0, 0, 0]) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_transfer_is_taken_and_completes_with_its_token() {
        let mut file = tempfile();
        file.write_all(b"0123456789").expect("a file can be written");
        let aio = match Aio::new(8) {
            Ok(aio) => aio,
            Err(errno) => return eprintln!("skipped: no AIO here: {errno}"),
        };
        let mut buffer = [0_u8; 4];
        let memory = Memory::Range(UserAddress::of(buffer.as_mut_ptr()), 4);
        let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
        let mut transfers = [Transfer::new(Direction::Read, fd, memory, 3, 0, 7)];
        assert_eq!(aio.submit(&mut transfers), Ok(1));
        let mut completed = [Completed::default(); 4];
        for _ in 0..1000 {
            if aio.take(&mut completed) == Ok(1) {
                assert_eq!((completed[0].token, completed[0].result), (7, 4));
                assert_eq!(&buffer, b"3456");
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("not completed in time");
    }

    /// A file without a name.
    fn tempfile() -> std::fs::File {
        use rustix::fs::{Mode, OFlags, open};
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        std::fs::File::from(
            open(std::env::temp_dir(), flags, Mode::RUSR | Mode::WUSR).expect("a temporary file"),
        )
    }
}
