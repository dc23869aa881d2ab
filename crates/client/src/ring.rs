//! The program's ring: the same code for whoever serves it.

use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::ptr::NonNull;

use ringer_abi::{Cqe, EnterFlags, OFF_SQ_RING, OFF_SQES, Params, RegisterOpcode, SetupFlags, Sqe};
use ringer_ring::{Bases, MappedClientRing, RingShape};
use ringer_sys::{Errno, UserAddress, native};

use crate::calls::Calls;

/// Why a ring cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// A system call.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What it gave.
        error: Errno,
    },
    /// A ring that cannot be.
    #[error("wrong result: {0}")]
    Wrong(&'static str),
}

/// For `map_err`.
fn of(what: &'static str) -> impl FnOnce(Errno) -> RingError {
    move |error| RingError::System { what, error }
}

/// Start and bytes of the queues, and of the SQEs.
type Areas = [(UserAddress, usize); 2];

/// A mapped ring. Closed and unmapped when dropped.
#[derive(Debug)]
pub struct Ring<C: Calls> {
    fd: RawFd,
    client: MappedClientRing,
    areas: Areas,
    /// SQEs that were pushed and not submitted.
    pushed: u32,
    calls: PhantomData<C>,
}

impl<C: Calls> Ring<C> {
    /// Makes a ring of so many entries and maps it.
    ///
    /// # Errors
    /// Those of `io_uring_setup.2` and `mmap.2`; a ring that cannot be mapped here.
    pub fn new(entries: usize, flags: SetupFlags, idle_milliseconds: u32) -> Result<Self, RingError> {
        let mut params =
            Params { flags: flags.bits(), sq_thread_idle: idle_milliseconds, ..Params::default() };
        let entries = u32::try_from(entries).map_err(|_| RingError::Wrong("too many entries"))?;
        let fd = C::setup(entries, UserAddress::of(&raw mut params)).map_err(of("io_uring_setup"))?;
        let (client, areas) = Self::map(fd, &params)?;
        Ok(Self { fd, client, areas, pushed: 0, calls: PhantomData })
    }

    /// Maps the queues.
    fn map(fd: RawFd, params: &Params) -> Result<(MappedClientRing, Areas), RingError> {
        let shape = RingShape::from_params(params);
        let map = |bytes, offset| {
            let address = C::map(fd, bytes, offset).map_err(of("mmap of the ring"))?;
            let pointer = NonNull::new(address.get() as *mut u8);
            Ok((address, bytes, pointer.ok_or(RingError::Wrong("a ring mapped at zero"))?))
        };
        // Setup reports where the areas end; on every kernel since 5.4 both queues are in one mapping.
        let sq_end = params.sq_off.array as usize + shape.sq_entries as usize * size_of::<u32>();
        let cqe_bytes = if shape.cqe32 { 32 } else { 16 };
        let cq_end = params.cq_off.cqes as usize + shape.cq_entries as usize * cqe_bytes;
        let rings = map(sq_end.max(cq_end), OFF_SQ_RING)?;
        let sqes = map(shape.sqes_bytes(), OFF_SQES)?;
        let bases = Bases { sq_ring: rings.2, cq_ring: rings.2, sqes: sqes.2 };
        // SAFETY: the parameters are those of a successful setup, or resizing; both areas are mapped, as `Calls` promises, until the
        // ring is dropped or mapped anew, and nothing else in this process looks at them.
        let client = unsafe { MappedClientRing::from_mapped(bases, params) };
        Ok((client, [(rings.0, rings.1), (sqes.0, sqes.1)]))
    }

    /// Gives the ring so many entries, and room for twice as many completions.
    ///
    /// # Errors
    /// Those of `IORING_REGISTER_RESIZE_RINGS` (`io_uring_resize_rings.3`), after which the ring is as it was; a ring that cannot be mapped here.
    pub fn resize(&mut self, entries: u32) -> Result<(), RingError> {
        let mut params = Params { sq_entries: entries, ..Params::default() };
        let opcode = RegisterOpcode::ResizeRings as u32;
        C::register(self.fd, opcode, UserAddress::of(&raw mut params), 1).map_err(of("io_uring_register"))?;
        let (client, areas) = Self::map(self.fd, &params)?;
        self.client = client;
        Self::unmap(std::mem::replace(&mut self.areas, areas));
        Ok(())
    }

    fn unmap(areas: Areas) {
        for (address, bytes) in areas {
            // They are this ring's: a failure would be of no consequence.
            let _ = native::unmap(address, bytes);
        }
    }

    /// Its descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.fd
    }

    /// Registers something.
    ///
    /// # Errors
    /// Those of `io_uring_register.2`.
    pub fn register(
        &self,
        opcode: RegisterOpcode,
        argument: UserAddress,
        count: usize,
    ) -> Result<(), RingError> {
        let result = C::register(self.fd, opcode as u32, argument, count as u32);
        result.map(drop).map_err(of("io_uring_register"))
    }

    /// Adds a request to the next submission.
    ///
    /// # Errors
    /// The SQ is full.
    #[inline]
    pub fn push(&mut self, sqe: &Sqe) -> Result<(), RingError> {
        self.client.sq_push(sqe).map_err(|_| RingError::Wrong("the SQ is full"))?;
        self.pushed += 1;
        Ok(())
    }

    /// Submits what was pushed and waits for `count` completions, in one call.
    ///
    /// # Errors
    /// Those of `io_uring_enter.2`, but `EINTR`.
    #[inline]
    pub fn submit_and_wait(&mut self, count: u32) -> Result<(), RingError> {
        self.client.sq_publish();
        loop {
            match C::enter(self.fd, self.pushed, count, EnterFlags::GETEVENTS.bits()) {
                Ok(taken) if taken as u32 == self.pushed => break,
                Ok(taken) => self.pushed -= taken as u32,
                Err(Errno::INTR) => {}
                Err(error) => return Err(of("io_uring_enter")(error)),
            }
        }
        self.pushed = 0;
        Ok(())
    }

    /// Submits what was pushed, and asks for nothing.
    ///
    /// # Errors
    /// Those of `io_uring_enter.2`, but `EINTR`.
    pub fn submit(&mut self) -> Result<(), RingError> {
        self.client.sq_publish();
        while self.pushed > 0 {
            match C::enter(self.fd, self.pushed, 0, 0) {
                Ok(taken) => self.pushed -= taken as u32,
                Err(Errno::INTR) => {}
                Err(error) => return Err(of("io_uring_enter")(error)),
            }
        }
        Ok(())
    }

    /// Hands what was pushed to the polling thread, which is woken if it sleeps.
    ///
    /// # Errors
    /// Those of `io_uring_enter.2`.
    #[inline]
    pub fn hand_over(&mut self) -> Result<(), RingError> {
        self.client.sq_publish();
        self.pushed = 0;
        if self.client.sq_needs_wakeup() {
            C::enter(self.fd, 0, 0, EnterFlags::SQ_WAKEUP.bits()).map_err(of("io_uring_enter"))?;
        }
        Ok(())
    }

    /// Free slots of the SQ: a polling thread may give them back later than it completes what was in them.
    #[inline]
    pub fn space(&self) -> u32 {
        self.client.sq_space()
    }

    /// Takes the next completion, if there is one.
    #[inline]
    pub fn pop(&mut self) -> Option<Cqe> {
        self.client.cq_pop()
    }
}

impl<C: Calls> Drop for Ring<C> {
    fn drop(&mut self) {
        // The process ends soon: a failure has no effect that outlives it.
        let _ = C::close(self.fd);
        Self::unmap(self.areas);
    }
}
