//! The program's side of a ring, written for inspection and not for speed.
//!
//! Every access is a guarded copy by a system call, which also orders it. Independent of
//! `ringer-ring` on purpose: an error shared by both sides of that crate would not be seen.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ringer_abi::{Cqe, CqeFlags, EnterFlags, GetEventsArg, Params, SetupFlags, Sqe};
use ringer_sys::{Errno, UserAddress, native};

use super::backend::Backend;
use super::memory::{Arena, Memory, PAGE};

/// How long a case waits for something that must come.
pub const LIMIT: Duration = Duration::from_secs(5);

/// Waits of this process that ran into their limit since [`be_patient`].
static DISAPPOINTMENTS: AtomicU32 = AtomicU32::new(0);

/// Forgets earlier waits that ran into their limit: a new case starts.
pub fn be_patient() {
    // Relaxed, as all of its accesses: a hint that orders nothing.
    DISAPPOINTMENTS.store(0, Ordering::Relaxed);
}

/// The limit of the next wait. What is broken is broken: a case that waited in vain does not wait long again.
fn patience(limit: Duration) -> Duration {
    if DISAPPOINTMENTS.load(Ordering::Relaxed) == 0 { limit } else { limit.min(Duration::from_millis(300)) }
}

/// A mapped ring. Closed and unmapped when dropped.
pub struct Ring {
    backend: &'static dyn Backend,
    /// The ring descriptor.
    pub fd: RawFd,
    /// What setup returned.
    pub params: Params,
    rings: UserAddress,
    rings_length: usize,
    sqes: UserAddress,
    sqes_length: usize,
    /// The extended argument, and after it the timeout.
    argument: Memory,
    /// SQEs pushed since the last submission.
    pushed: AtomicU32,
    closed: bool,
}

impl Ring {
    /// Makes a ring and maps it. With `IORING_SETUP_NO_MMAP` and no addresses it lies in the arena.
    ///
    /// # Errors
    /// Those of setup.
    pub fn new(
        backend: &'static dyn Backend,
        arena: &Arena,
        entries: u32,
        params: Params,
    ) -> Result<Self, Errno> {
        let place = arena.allocate(size_of::<Params>());
        let mut params = params;
        if params.flags & SetupFlags::NO_MMAP.bits() != 0 && params.cq_off.user_addr == 0 {
            // Enough for the small rings of cases.
            params.cq_off.user_addr = arena.allocate(2 * PAGE).addr();
            params.sq_off.user_addr = arena.allocate(2 * PAGE).addr();
        }
        place.put(0, params);
        let fd = backend.setup(entries, place.user())?;
        let params: Params = place.get(0);
        let flags = SetupFlags::from_bits_retain(params.flags);
        let cqe_size = if flags.contains(SetupFlags::CQE32) { 32 } else { 16 };
        let sqe_size = if flags.contains(SetupFlags::SQE128) { 128 } else { 64 };
        let sq_end = params.sq_off.array as usize + params.sq_entries as usize * 4;
        let cq_end = params.cq_off.cqes as usize + params.cq_entries as usize * cqe_size;
        let rings_length = sq_end.max(cq_end);
        let sqes_length = params.sq_entries as usize * sqe_size;
        let brought = flags.contains(SetupFlags::NO_MMAP);
        let (rings, sqes) = if brought {
            (UserAddress::new(params.cq_off.user_addr), UserAddress::new(params.sq_off.user_addr))
        } else {
            (
                backend.map(fd, rings_length, ringer_abi::OFF_SQ_RING)?,
                backend.map(fd, sqes_length, ringer_abi::OFF_SQES)?,
            )
        };
        let argument = arena.allocate(64);
        // What the program brought is the arena's.
        let (rings_length, sqes_length) = if brought { (0, 0) } else { (rings_length, sqes_length) };
        Ok(Self {
            backend,
            fd,
            params,
            rings,
            rings_length,
            sqes,
            sqes_length,
            argument,
            pushed: AtomicU32::new(0),
            closed: false,
        })
    }

    /// Maps the ring again, as it is after a change of its size; `params` is what the change returned.
    ///
    /// # Errors
    /// Those of mapping.
    pub fn resized(&mut self, params: Params) -> Result<(), Errno> {
        let flags = self.params.flags;
        let _ = native::unmap(self.rings, self.rings_length);
        let _ = native::unmap(self.sqes, self.sqes_length);
        self.params = Params { flags, ..params };
        if self.params.sq_off.array == 0 && !self.has(SetupFlags::NO_SQARRAY) {
            // Linux 6.18 does not say where the index array is: it has its usual place.
            let scale = if self.has(SetupFlags::CQE32) { 2 } else { 1 };
            self.params.sq_off.array =
                (scale * (params.cq_off.cqes + 16 * params.cq_entries)).next_multiple_of(64);
        }
        let params = self.params;
        if self.has(SetupFlags::NO_MMAP) {
            self.rings = UserAddress::new(params.cq_off.user_addr);
            self.sqes = UserAddress::new(params.sq_off.user_addr);
            return Ok(());
        }
        let cqe_size = if self.has(SetupFlags::CQE32) { 32 } else { 16 };
        let sqe_size = if self.has(SetupFlags::SQE128) { 128 } else { 64 };
        let sq_end = params.sq_off.array as usize + params.sq_entries as usize * 4;
        let cq_end = params.cq_off.cqes as usize + params.cq_entries as usize * cqe_size;
        self.rings_length = sq_end.max(cq_end);
        self.sqes_length = params.sq_entries as usize * sqe_size;
        self.rings = self.backend.map(self.fd, self.rings_length, ringer_abi::OFF_SQ_RING)?;
        self.sqes = self.backend.map(self.fd, self.sqes_length, ringer_abi::OFF_SQES)?;
        Ok(())
    }

    fn has(&self, flag: SetupFlags) -> bool {
        self.params.flags & flag.bits() != 0
    }

    fn word(&self, offset: u32) -> UserAddress {
        self.rings.add(u64::from(offset))
    }

    /// Reads a word of the shared ring by its offset in `params`.
    pub fn read_word(&self, offset: u32) -> u32 {
        self.word(offset).read().expect("the ring is mapped")
    }

    /// Writes a word of the shared ring by its offset in `params`.
    pub fn write_word(&self, offset: u32, value: u32) {
        self.word(offset).write(value).expect("the ring is mapped");
    }

    /// The SQ ring's `flags` word.
    pub fn sq_flags(&self) -> u32 {
        self.read_word(self.params.sq_off.flags)
    }

    /// Requests written and not taken yet.
    pub fn unsubmitted(&self) -> u32 {
        self.read_word(self.params.sq_off.tail).wrapping_sub(self.read_word(self.params.sq_off.head))
    }

    /// Completions posted and not reaped yet.
    pub fn ready(&self) -> u32 {
        self.read_word(self.params.cq_off.tail).wrapping_sub(self.read_word(self.params.cq_off.head))
    }

    /// Writes one SQE and publishes it.
    pub fn push(&self, sqe: Sqe) {
        self.push_all(&[sqe]);
    }

    /// Writes SQEs and publishes them together, so that a polling thread takes them in one batch.
    pub fn push_all(&self, sqes: &[Sqe]) {
        let room = self.params.sq_entries - self.unsubmitted();
        assert!(sqes.len() <= room as usize, "the SQ is full");
        let mut tail = self.read_word(self.params.sq_off.tail);
        for sqe in sqes {
            let slot = tail & (self.params.sq_entries - 1);
            self.write_sqe(slot, *sqe);
            if !self.has(SetupFlags::NO_SQARRAY) {
                self.write_word(self.params.sq_off.array + 4 * slot, slot);
            }
            tail = tail.wrapping_add(1);
        }
        self.write_word(self.params.sq_off.tail, tail);
        // Relaxed, as all of its accesses: one thread submits.
        self.pushed.fetch_add(sqes.len() as u32, Ordering::Relaxed);
    }

    /// Writes an SQE to a slot of the SQE array without publishing it.
    pub fn write_sqe(&self, slot: u32, sqe: Sqe) {
        let size = if self.has(SetupFlags::SQE128) { 128 } else { 64 };
        let place = self.sqes.add(u64::from(slot) * size);
        place.write(*sqe.words()).expect("the SQE array is mapped");
    }

    /// Publishes an entry of the index array, whatever it says.
    pub fn push_index(&self, index: u32) {
        let tail = self.read_word(self.params.sq_off.tail);
        let slot = tail & (self.params.sq_entries - 1);
        self.write_word(self.params.sq_off.array + 4 * slot, index);
        self.write_word(self.params.sq_off.tail, tail.wrapping_add(1));
    }

    /// `enter` without an argument.
    ///
    /// # Errors
    /// Those of the call.
    pub fn enter(&self, to_submit: u32, min_complete: u32, flags: EnterFlags) -> Result<i32, Errno> {
        self.enter_with(to_submit, min_complete, flags.bits(), 0, 0)
    }

    /// `enter` with everything.
    ///
    /// # Errors
    /// Those of the call.
    pub fn enter_with(
        &self,
        to_submit: u32,
        min_complete: u32,
        flags: u32,
        argument: u64,
        argument_size: usize,
    ) -> Result<i32, Errno> {
        let indexed = self.has(SetupFlags::REGISTERED_FD_ONLY);
        let flags = if indexed { flags | EnterFlags::REGISTERED_RING.bits() } else { flags };
        self.backend.enter(self.fd, to_submit, min_complete, flags, UserAddress::new(argument), argument_size)
    }

    /// Submits what was pushed.
    ///
    /// # Errors
    /// Those of the call.
    pub fn submit(&self) -> Result<i32, Errno> {
        let pushed = self.pushed.swap(0, Ordering::Relaxed);
        if self.has(SetupFlags::SQPOLL) {
            // The thread may have taken some already. To wake it while it is awake does no harm.
            self.enter(pushed, 0, EnterFlags::SQ_WAKEUP)
        } else {
            self.enter(self.unsubmitted(), 0, EnterFlags::empty())
        }
    }

    /// `register`.
    ///
    /// # Errors
    /// Those of the call.
    pub fn register(&self, opcode: u32, argument: u64, count: u32) -> Result<i32, Errno> {
        const USE_REGISTERED_RING: u32 = 1 << 31;
        let indexed = self.has(SetupFlags::REGISTERED_FD_ONLY);
        let opcode = if indexed { opcode | USE_REGISTERED_RING } else { opcode };
        self.backend.register(self.fd, opcode, UserAddress::new(argument), count)
    }

    /// Reaps one completion that is there.
    pub fn reap(&self) -> Option<Cqe> {
        if self.ready() == 0 {
            return None;
        }
        let head = self.read_word(self.params.cq_off.head);
        let size = if self.has(SetupFlags::CQE32) { 32 } else { 16 };
        let slot = u64::from(head & (self.params.cq_entries - 1));
        let place = self.word(self.params.cq_off.cqes).add(slot * size);
        let read = |size: u64| place.read_vec::<u64>(size as usize / 8).expect("the ring is mapped");
        let mut words = read(size);
        let mut slots = 1;
        if self.has(SetupFlags::CQE_MIXED) && words[1] >> 32 & u64::from(CqeFlags::BIG.bits()) != 0 {
            words = read(32);
            slots = 2;
        }
        self.write_word(self.params.cq_off.head, head.wrapping_add(slots));
        let mut cqe = Cqe::new(words[0], words[1] as i32, (words[1] >> 32) as u32);
        if words.len() == 4 {
            cqe.extra = [words[2], words[3]];
        }
        Some(cqe)
    }

    /// Reaps everything that is there, without a call.
    pub fn reap_all(&self) -> Vec<Cqe> {
        // A head that went past the tail never meets it.
        let is_sound = || self.ready() <= self.params.cq_entries;
        std::iter::from_fn(|| is_sound().then(|| self.reap()).flatten()).collect()
    }

    /// Waits for one more completion to be ready, by `enter` with a timeout. False when it does not come.
    fn wait_one(&self, limit: Duration) -> bool {
        // The argument and the timespec that it points to.
        let timespec = self.argument.addr() + 32;
        self.argument.put(32, [limit.as_secs(), u64::from(limit.subsec_nanos())]);
        self.argument.put(0, GetEventsArg { ts: timespec, ..GetEventsArg::default() });
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        let _ = self.enter_with(0, 1, flags.bits(), self.argument.addr(), size_of::<GetEventsArg>());
        self.ready() > 0
    }

    /// Reaps completions until `enough` says so or `limit` has passed.
    pub fn collect_until(&self, limit: Duration, mut enough: impl FnMut(&[Cqe]) -> bool) -> Vec<Cqe> {
        let end = Instant::now() + patience(limit);
        let mut seen = self.reap_all();
        let mut has_called = false;
        while !enough(&seen) {
            let left = end.saturating_duration_since(Instant::now());
            // One call in any case: it brings what waits behind a full CQ.
            if left.is_zero() && has_called {
                if limit == LIMIT {
                    DISAPPOINTMENTS.fetch_add(1, Ordering::Relaxed);
                }
                break;
            }
            has_called = true;
            if !self.wait_one(left.min(Duration::from_millis(200))) {
                // Refused at once, on a disabled ring for one: do not spin.
                std::thread::sleep(Duration::from_micros(200));
            }
            seen.extend(self.reap_all());
        }
        seen
    }

    /// Reaps `count` completions within the usual limit; fewer when they do not come.
    pub fn collect(&self, count: usize) -> Vec<Cqe> {
        self.collect_until(LIMIT, |seen| seen.len() >= count)
    }

    /// Reaps until the completion with this `user_data` came, and returns it.
    pub fn wait_for(&self, user_data: u64, limit: Duration) -> Option<Cqe> {
        let is_it = |cqe: &&Cqe| cqe.user_data == user_data;
        let seen = self.collect_until(limit, |seen| seen.iter().any(|cqe| is_it(&cqe)));
        seen.iter().find(is_it).copied()
    }

    /// Reaps until the completion with this `user_data` came, and hands on what came before it.
    pub fn wait_for_then_all(&self, user_data: u64, look: impl FnOnce(&[Cqe])) {
        let is_it = |cqe: &&Cqe| cqe.user_data == user_data;
        let mut seen = self.collect_until(LIMIT, |seen| seen.iter().any(|cqe| is_it(&cqe)));
        seen.retain(|cqe| !is_it(&cqe));
        look(&seen);
    }

    /// Closes the descriptor now; the mapping stays until the ring is dropped.
    ///
    /// # Errors
    /// Those of the call.
    pub fn close(&mut self) -> Result<(), Errno> {
        self.closed = true;
        if self.has(SetupFlags::REGISTERED_FD_ONLY) {
            // Its place in the thread's table is all that keeps it open.
            self.argument.put(0, [self.fd as u64, 0]);
            let opcode = ringer_abi::RegisterOpcode::UnregisterRingFds.number();
            return self.register(opcode, self.argument.addr(), 1).map(drop);
        }
        self.backend.close(self.fd)
    }

    /// Tells the backend that the ring descriptor is about to be polled.
    pub fn watch(&self) {
        self.backend.watch(self.fd);
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if !self.closed {
            // A failure here has been or will be seen by the case that looks at it.
            let _ = self.close();
        }
        if self.rings_length > 0 {
            let _ = native::unmap(self.rings, self.rings_length);
            let _ = native::unmap(self.sqes, self.sqes_length);
        }
    }
}
