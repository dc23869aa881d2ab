//! A ring whose requests own what they refer to, so that the rest of the client needs no `unsafe`.
//!
//! Built on the `io-uring` crate, as any user of io_uring might do it: nothing here knows of Ringer. Each slot has one
//! buffer and at most one request in flight; a request keeps its file open until it completes.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddrV4;
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use io_uring::squeue::Entry;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode};

/// A file or socket that requests may share.
pub type File = Arc<OwnedFd>;

/// A request that came to its end.
#[derive(Debug)]
pub struct Completion {
    /// The slot whose request this was; it is free again.
    pub slot: usize,
    /// Bytes transferred, zero where the operation transfers none.
    pub result: Result<usize>,
    /// The connection, of a successful [`Ring::accept`].
    pub accepted: Option<OwnedFd>,
}

/// A ring could not be made.
#[derive(Debug)]
pub struct Refused(pub Error);

#[derive(Debug)]
struct Slot {
    buffer: Box<[u8]>,
    /// What is in flight: its file, and whether it makes a new descriptor.
    request: Option<(File, bool)>,
}

/// A ring with a fixed number of slots.
pub struct Ring {
    ring: IoUring,
    slots: Vec<Slot>,
    deadline: Instant,
}

impl Ring {
    /// Makes a ring with `slots` buffers of `size` bytes each, whose waits all end at `deadline`.
    ///
    /// # Errors
    ///
    /// The errno of `io_uring_setup`: EPERM where a seccomp filter or `kernel.io_uring_disabled` forbids it, ENOSYS
    /// where the kernel does not know it. `Unsupported` where waits could not be limited (before Linux 5.11).
    pub fn new(slots: usize, size: usize, deadline: Instant) -> std::result::Result<Self, Refused> {
        let entries = u32::try_from(slots.next_power_of_two()).expect("a few slots");
        let ring = IoUring::new(entries).map_err(Refused)?;
        if !ring.params().is_feature_ext_arg() {
            let reason = "this io_uring cannot limit its waits (IORING_FEAT_EXT_ARG is missing)";
            return Err(Refused(Error::new(ErrorKind::Unsupported, reason)));
        }
        let slots = (0..slots).map(|_| Slot { buffer: vec![0; size].into(), request: None }).collect();
        Ok(Self { ring, slots, deadline })
    }

    /// The buffer of a slot that has nothing in flight.
    ///
    /// # Panics
    ///
    /// When the slot has a request in flight.
    pub fn buffer(&mut self, slot: usize) -> &mut [u8] {
        let slot = &mut self.slots[slot];
        assert!(slot.request.is_none(), "the buffer belongs to the request in flight");
        &mut slot.buffer
    }

    /// Reads from `offset` of `file` into `range` of the slot's buffer.
    pub fn read(&mut self, slot: usize, file: &File, range: Range<usize>, offset: u64) -> Result<()> {
        let part = &mut self.buffer(slot)[range];
        let entry = opcode::Read::new(fd(file), part.as_mut_ptr(), part.len() as u32).offset(offset).build();
        self.push(slot, file, entry, false)
    }

    /// Writes `range` of the slot's buffer to `offset` of `file`.
    pub fn write(&mut self, slot: usize, file: &File, range: Range<usize>, offset: u64) -> Result<()> {
        let part = &self.buffer(slot)[range];
        let entry = opcode::Write::new(fd(file), part.as_ptr(), part.len() as u32).offset(offset).build();
        self.push(slot, file, entry, false)
    }

    /// Brings everything written to `file` to its device.
    pub fn fsync(&mut self, slot: usize, file: &File) -> Result<()> {
        self.push(slot, file, opcode::Fsync::new(fd(file)).build(), false)
    }

    /// Accepts one connection on `listener`.
    pub fn accept(&mut self, slot: usize, listener: &File) -> Result<()> {
        let no_address = (std::ptr::null_mut(), std::ptr::null_mut());
        let entry = opcode::Accept::new(fd(listener), no_address.0, no_address.1).build();
        self.push(slot, listener, entry, true)
    }

    /// Connects `socket`. The slot's buffer holds the address meanwhile.
    pub fn connect(&mut self, slot: usize, socket: &File, address: SocketAddrV4) -> Result<()> {
        let family = rustix::net::AddressFamily::INET.as_raw().to_ne_bytes();
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&family);
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        bytes[4..8].copy_from_slice(&address.ip().octets());
        let part = &mut self.buffer(slot)[..bytes.len()];
        part.copy_from_slice(&bytes);
        let entry = opcode::Connect::new(fd(socket), part.as_ptr().cast(), part.len() as u32).build();
        self.push(slot, socket, entry, false)
    }

    /// Receives up to `range.len()` bytes into `range` of the slot's buffer.
    pub fn recv(&mut self, slot: usize, socket: &File, range: Range<usize>) -> Result<()> {
        let part = &mut self.buffer(slot)[range];
        let entry = opcode::Recv::new(fd(socket), part.as_mut_ptr(), part.len() as u32).build();
        self.push(slot, socket, entry, false)
    }

    /// Sends `range` of the slot's buffer. A peer that is gone is EPIPE, not a signal.
    pub fn send(&mut self, slot: usize, socket: &File, range: Range<usize>) -> Result<()> {
        let no_signal = rustix::net::SendFlags::NOSIGNAL.bits().cast_signed();
        let part = &self.buffer(slot)[range];
        let entry = opcode::Send::new(fd(socket), part.as_ptr(), part.len() as u32).flags(no_signal).build();
        self.push(slot, socket, entry, false)
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.slots.iter().filter(|slot| slot.request.is_some()).count()
    }

    /// Submits what was prepared, waits for at least one completion and appends all there are to `completions`.
    ///
    /// # Errors
    ///
    /// `TimedOut` at the deadline; else the errno of `io_uring_enter`.
    pub fn wait(&mut self, completions: &mut Vec<Completion>) -> Result<()> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let message = format!("time limit reached with {} requests in flight", self.in_flight());
                return Err(Error::new(ErrorKind::TimedOut, message));
            }
            let limit = Timespec::from(left);
            let outcome = self.ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&limit));
            let before = completions.len();
            self.reap(completions)?;
            match outcome.map_err(|error| (rustix::io::Errno::from_io_error(&error), error)) {
                _ if completions.len() > before => return Ok(()),
                Ok(_) => {}
                // A signal, a full completion queue, no memory for now, or the limit: look again.
                Err((Some(errno), _)) if TRANSIENT.contains(&errno) => {}
                Err((_, error)) => return Err(error),
            }
        }
    }

    fn reap(&mut self, completions: &mut Vec<Completion>) -> Result<()> {
        let Self { ring, slots, .. } = self;
        for entry in ring.completion() {
            completions.push(complete(slots, &entry)?);
        }
        Ok(())
    }

    fn push(&mut self, slot: usize, file: &File, entry: Entry, makes_descriptor: bool) -> Result<()> {
        assert!(self.slots[slot].request.is_none(), "one request per slot");
        let entry = entry.user_data(slot as u64);
        // SAFETY: the entry points into the buffer of `slot` at most. The buffer stays where it is and untouched while
        // `request` is set (`buffer` refuses), `complete` alone clears that, and `drop` gives up the buffers of
        // requests still in flight. `request` also keeps the file open.
        unsafe { self.ring.submission().push(&entry) }.map_err(Error::other)?;
        self.slots[slot].request = Some((Arc::clone(file), makes_descriptor));
        Ok(())
    }
}

/// Errors of `io_uring_enter` that call for another try.
const TRANSIENT: [rustix::io::Errno; 4] =
    [rustix::io::Errno::INTR, rustix::io::Errno::BUSY, rustix::io::Errno::AGAIN, rustix::io::Errno::TIME];

fn fd(file: &File) -> Fd {
    Fd(file.as_raw_fd())
}

fn complete(slots: &mut [Slot], entry: &cqueue::Entry) -> Result<Completion> {
    let unexpected = || Error::other(format!("a completion that nobody asked for: {entry:?}"));
    let slot = usize::try_from(entry.user_data()).map_err(|_| unexpected())?;
    let request = slots.get_mut(slot).and_then(|slot| slot.request.take());
    let (_file, makes_descriptor) = request.ok_or_else(unexpected)?;
    let result = match usize::try_from(entry.result()) {
        Ok(count) => Ok(count),
        Err(_) => Err(Error::from_raw_os_error(-entry.result())),
    };
    let descriptor = result.as_ref().ok().filter(|_| makes_descriptor).map(|_| entry.result());
    // SAFETY: a successful ACCEPT gives a new descriptor that nobody else knows of.
    let accepted = descriptor.map(|raw| unsafe { OwnedFd::from_raw_fd(raw) });
    Ok(Completion { slot, result, accepted })
}

impl Drop for Ring {
    fn drop(&mut self) {
        for slot in &mut self.slots {
            if slot.request.is_some() {
                // The request may still write here after the ring is closed.
                std::mem::forget(std::mem::take(&mut slot.buffer));
            }
        }
    }
}
