//! The rings, and what is known of each request.

use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fastrand::Rng;
use ringer_abi::{Cqe, CqeFlags, EnterFlags, Opcode, RegisterOpcode, SetupFlags, Sqe, SqeFlags, uapi};
use ringer_client::calls::Calls;
use ringer_client::ring::{Ring, RingError};
use ringer_sys::{Errno, UserAddress};

use super::buffers::{BUFFER_BYTES, Groups};
use super::files::Files;
use super::regular::RegularFile;
use super::requests::{Draw, Kinds, MEMORY_BYTES, MakeRequest};
use super::resources::Resources;
use crate::differential::prep;

pub(super) const THREADS: usize = 3;
pub(super) const RINGS: usize = 2;
const SLOTS: usize = 40;
const ENTRIES: usize = 64;
/// Of completions that nobody counts.
pub(super) const UNCOUNTED: u64 = u64::MAX;
/// Of the reads that count buffers.
const COUNTS: u64 = u64::MAX - 1;
/// Of requests whose results are new descriptors.
const OPENS: u64 = 1 << 32;

/// A place for one request at a time.
#[derive(Default)]
pub(super) struct Slot {
    is_pending: AtomicBool,
    opcode: AtomicU8,
}

/// What requests are drawn from, besides files.
pub(super) struct Shared {
    pub(super) descriptors: Vec<RawFd>,
    /// The memory of each ring's registered buffers.
    pub(super) buffers: Vec<UserAddress>,
    pub(super) slots: Vec<Slot>,
    pub(super) words: UserAddress,
    pub(super) one: UserAddress,
    pub(super) dot: UserAddress,
    pub(super) empty: UserAddress,
    pub(super) regular: RegularFile,
}

pub(super) struct Scene<C: Calls> {
    rings: Vec<Mutex<Ring<C>>>,
    /// Sends messages to the others when nothing else ends a wait.
    messenger: Mutex<Ring<C>>,
    groups: Vec<Groups>,
    resources: Vec<Resources>,
    files: Files,
    shared: Shared,
    memory: UserAddress,
    /// That of requests on rings that come and go.
    memory_of_others: UserAddress,
    is_polled: bool,
    /// Nothing more is submitted.
    pub(super) is_submitted: AtomicBool,
    /// All is back, or something went wrong.
    pub(super) is_through: AtomicBool,
    waiters: AtomicUsize,
    fault: Mutex<Option<String>>,
}

/// Memory that stays: a request that is never heard of again may still point to it.
pub(super) fn lasting(bytes: &[u8]) -> UserAddress {
    let memory: &'static mut [u8] = bytes.to_vec().leak();
    UserAddress::of(memory)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const fn slots_of(thread: usize) -> Range<usize> {
    thread * SLOTS..(thread + 1) * SLOTS
}

const fn user_data(thread: usize, slot: usize) -> u64 {
    (thread * SLOTS + slot) as u64
}

impl<C: Calls> Scene<C> {
    /// # Errors
    /// A message when rings cannot be made.
    pub(super) fn new(setup: SetupFlags) -> Result<Self, String> {
        let is_owned = setup.contains(SetupFlags::SINGLE_ISSUER);
        let setup = if is_owned { setup | SetupFlags::R_DISABLED } else { setup };
        let ring = || Ring::<C>::new(ENTRIES, setup, 5).map_err(|error| error.to_string());
        let rings: Vec<_> = (0..RINGS).map(|_| ring()).collect::<Result<_, _>>()?;
        let groups = rings.iter().map(Groups::new).collect::<Result<_, _>>()?;
        let resources = rings.iter().map(Resources::new).collect::<Result<Vec<_>, _>>()?;
        let messenger = Mutex::new(Ring::new(4, SetupFlags::empty(), 0).map_err(|error| error.to_string())?);
        let count = THREADS * SLOTS;
        Ok(Self {
            messenger,
            groups,
            files: Files::new(),
            shared: Shared {
                descriptors: rings.iter().map(Ring::descriptor).collect(),
                buffers: resources.iter().map(|resources| resources.buffers).collect(),
                slots: (0..count).map(|_| Slot::default()).collect(),
                words: lasting(&[0; 64]),
                one: lasting(&1_u64.to_ne_bytes()),
                dot: lasting(b".\0"),
                empty: lasting(b"\0"),
                regular: RegularFile::new(),
            },
            resources,
            rings: rings.into_iter().map(Mutex::new).collect(),
            memory: lasting(&vec![0; count * MEMORY_BYTES as usize]),
            memory_of_others: lasting(&[0; MEMORY_BYTES as usize]),
            is_polled: setup.contains(SetupFlags::SQPOLL),
            is_submitted: AtomicBool::new(false),
            is_through: AtomicBool::new(false),
            waiters: AtomicUsize::new(RINGS),
            fault: Mutex::new(None),
        })
    }

    /// Whether nothing more is to be submitted.
    pub(super) fn is_over(&self) -> bool {
        self.is_submitted.load(Relaxed)
    }

    /// What went wrong first.
    pub(super) fn fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }

    fn fail(&self, why: String) {
        lock(&self.fault).get_or_insert(why);
        self.is_submitted.store(true, Relaxed);
    }

    /// Takes note of what went wrong, if anything did.
    pub(super) fn note(&self, result: Result<(), String>) {
        if let Err(why) = result {
            self.fail(why);
        }
    }

    /// A request for a free slot of this thread, if there is one.
    fn draw(&self, rng: &mut Rng, thread: usize, make: MakeRequest) -> Option<Sqe> {
        let first = rng.usize(..SLOTS);
        let is_free =
            |slot: &usize| !self.shared.slots[user_data(thread, *slot) as usize].is_pending.load(Relaxed);
        let number = user_data(thread, (first..SLOTS).find(is_free)?);
        let memory = self.memory.add(number * MEMORY_BYTES);
        let sqe = make(&mut Draw { rng, shared: &self.shared, files: &self.files, memory });
        let slot = &self.shared.slots[number as usize];
        slot.is_pending.store(true, Relaxed);
        slot.opcode.store(sqe.opcode(), Relaxed);
        Some(sqe.with_user_data(number | if opens(&sqe) { OPENS } else { 0 }))
    }

    /// From now on the ring is this thread's.
    pub(super) fn own(&self, target: usize) {
        let result = lock(&self.rings[target]).register(RegisterOpcode::EnableRings, UserAddress::new(0), 0);
        if let Err(error) = result {
            self.fail(format!("a ring is not enabled: {error}"));
        }
    }

    /// Submits a few requests to a ring, some of them in chains.
    pub(super) fn submit(&self, rng: &mut Rng, thread: usize, target: usize, kinds: Kinds) {
        let mut ring = lock(&self.rings[target]);
        self.groups[target].give_back(&mut ring);
        let mut make = kinds.draw(rng);
        for _ in 0..rng.u32(1..6) {
            if ring.space() == 0 {
                break;
            }
            // Sometimes several of a kind: adjacent parts of a file are served together.
            if rng.u8(..3) > 0 {
                make = kinds.draw(rng);
            }
            let mut next = self.draw(rng, thread, make);
            while let Some(sqe) = next.take() {
                // Room for what follows.
                let goes_on = rng.u8(..5) == 0 && ring.space() > 2;
                if goes_on {
                    let make = if rng.u8(..4) == 0 {
                        |draw: &mut Draw<'_>| prep::link_timeout(draw.time(), 0)
                    } else {
                        kinds.draw(rng)
                    };
                    next = self.draw(rng, thread, make);
                }
                let mut flags = sqe.flags();
                flags.set(SqeFlags::ASYNC, rng.u8(..6) == 0 && sqe.opcode() != Opcode::LinkTimeout.number());
                flags.set(SqeFlags::IO_DRAIN, kinds.drains() && rng.u8(..40) == 0);
                if next.is_some() {
                    flags |= if rng.bool() { SqeFlags::IO_LINK } else { SqeFlags::IO_HARDLINK };
                }
                ring.push(&sqe.with_flags(flags)).expect("there is room");
            }
        }
        self.send(&mut ring);
    }

    fn send(&self, ring: &mut Ring<C>) {
        let sent = if self.is_polled { ring.hand_over() } else { ring.submit() };
        if let Err(error) = sent {
            self.fail(format!("a submission: {error}"));
        }
    }

    pub(super) fn cancel_all(&self, target: usize) {
        let mut ring = lock(&self.rings[target]);
        let all = uapi::IORING_ASYNC_CANCEL_ANY | uapi::IORING_ASYNC_CANCEL_ALL;
        if ring.space() > 0 {
            ring.push(&prep::cancel(0, all).with_user_data(UNCOUNTED)).expect("there is room");
            self.send(&mut ring);
        }
        // A call that asks for completions brings those that the CQ had no room for.
        if let Err(error) = ring.submit_and_wait(0) {
            self.fail(format!("a call: {error}"));
        }
    }

    /// Waits for completions again and again, without holding the ring.
    pub(super) fn wait(&self, target: usize) {
        let mut rng = Rng::new();
        while !self.is_over() {
            // An error is a reason to wait again.
            let flags = EnterFlags::GETEVENTS.bits();
            let _ = C::enter(self.shared.descriptors[target], 0, rng.u32(1..4), flags);
        }
        self.waits_no_more();
    }

    /// Has a thread wait for one completion on its own ring, if there is one to come.
    pub(super) fn wait_for_own(&self, thread: usize) {
        if !self.pending(slots_of(thread)).is_empty()
            && let Err(error) = lock(&self.rings[thread]).submit_and_wait(1)
        {
            self.fail(format!("a wait: {error}"));
        }
    }

    /// A thread does not wait again.
    pub(super) fn waits_no_more(&self) {
        self.waiters.fetch_sub(1, Relaxed);
    }

    pub(super) fn feed(&self) {
        self.files.feed();
    }

    /// Gives the thread's own ring another size.
    pub(super) fn resize(&self, rng: &mut Rng, target: usize) {
        let mut ring = lock(&self.rings[target]);
        match ring.resize((ENTRIES as u32) << rng.u32(..3)) {
            // Where what is there does not fit, it stays as it is.
            Ok(()) | Err(RingError::System { error: Errno::OVERFLOW, .. }) => {}
            Err(error) => self.fail(format!("another size: {error}")),
        }
    }

    /// Replaces files, and has a ring for a moment. What waits for a file that is replaced must be cancelled, which drains hold up.
    pub(super) fn disturb(&self, rng: &mut Rng, kinds: Kinds) {
        if !kinds.drains() {
            self.files.replace(rng);
        }
        self.note(self.have_another_ring(rng, kinds));
    }

    /// Registers other files and buffers.
    pub(super) fn register(&self, rng: &mut Rng, target: usize) {
        self.resources[target].update::<C>(rng, &self.files);
    }

    /// A ring that comes and goes, with whatever waits there.
    ///
    /// # Errors
    /// A message when it cannot be made or does not take requests.
    fn have_another_ring(&self, rng: &mut Rng, kinds: Kinds) -> Result<(), String> {
        let setup = [SetupFlags::empty(), SetupFlags::SINGLE_ISSUER | SetupFlags::DEFER_TASKRUN];
        let setup = setup[rng.usize(..setup.len())];
        let mut ring = Ring::<C>::new(ENTRIES, setup, 0).map_err(|error| error.to_string())?;
        for _ in 0..rng.u32(..8) {
            let make = kinds.draw(rng);
            let sqe = make(&mut Draw {
                rng,
                shared: &self.shared,
                files: &self.files,
                memory: self.memory_of_others,
            });
            // What it opens would stay open, and registered files and groups it has none.
            if !opens(&sqe) {
                ring.push(&sqe.with_user_data(UNCOUNTED)).map_err(|error| error.to_string())?;
            }
        }
        ring.submit().map_err(|error| error.to_string())
    }

    pub(super) fn reap(&self, target: usize) {
        let mut ring = lock(&self.rings[target]);
        while let Some(cqe) = ring.pop() {
            self.note(self.account(target, &cqe));
        }
    }

    /// # Errors
    /// It comes behind the last one of its request; what it names was not to be named.
    fn account(&self, target: usize, cqe: &Cqe) -> Result<(), String> {
        self.groups[target].account(cqe)?;
        if self.resources[target].account(cqe)? {
            return Ok(());
        }
        let flags = CqeFlags::from_bits_retain(cqe.flags);
        // In Linux the notification of a zero-copy send that failed may come behind a completion that does not announce it.
        if cqe.user_data == UNCOUNTED || flags.contains(CqeFlags::NOTIF) {
            return Ok(());
        }
        if cqe.user_data & OPENS != 0 && cqe.res >= 0 {
            C::close_file(cqe.res).map_err(|error| format!("no new descriptor, {error}: {cqe:?}"))?;
        }
        let slot = &self.shared.slots[(cqe.user_data & !OPENS) as usize];
        if !slot.is_pending.load(Relaxed) {
            let opcode = slot.opcode.load(Relaxed);
            return Err(format!("behind the last completion of opcode {opcode}: {cqe:?}"));
        }
        if !flags.contains(CqeFlags::MORE) || slot.opcode.load(Relaxed) == Opcode::SendZc.number() {
            slot.is_pending.store(false, Relaxed);
        }
        Ok(())
    }

    fn pending(&self, slots: Range<usize>) -> Vec<u8> {
        let pending = self.shared.slots[slots].iter().filter(|slot| slot.is_pending.load(Relaxed));
        pending.map(|slot| slot.opcode.load(Relaxed)).collect()
    }

    /// Waits until all is back, and counts the buffers.
    pub(super) fn end(&self, limit: Instant) {
        self.end_requests(0..self.shared.slots.len(), 0..RINGS, limit);
        self.end_waits(limit);
        (0..RINGS).for_each(|target| self.count(target));
    }

    /// Ends the waits of all threads.
    pub(super) fn end_waits(&self, limit: Instant) {
        while self.waiters.load(Relaxed) > 0 {
            if Instant::now() > limit + Duration::from_secs(5) {
                // They cannot be ended.
                panic!("not woken by a message: {} threads; {:?}", self.waiters.load(Relaxed), self.fault());
            }
            self.send_messages();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until all is back that a thread has submitted to its own ring, and counts the buffers.
    pub(super) fn end_own(&self, thread: usize, limit: Instant) {
        self.end_requests(slots_of(thread), thread..thread + 1, limit);
        self.count(thread);
    }

    /// Counts what is left, if nothing went wrong.
    fn count(&self, target: usize) {
        if self.fault().is_none() {
            self.count_buffers(target);
        }
        if self.fault().is_none() {
            self.count_tags(target);
        }
    }

    /// All tags come when the tables are given up.
    fn count_tags(&self, target: usize) {
        self.resources[target].unregister::<C>();
        let end = Instant::now() + Duration::from_secs(5);
        while self.resources[target].outstanding() > 0 {
            if Instant::now() > end {
                return self.fail(format!("{} tags never came", self.resources[target].outstanding()));
            }
            if let Err(error) = lock(&self.rings[target]).submit_and_wait(0) {
                return self.fail(format!("a call: {error}"));
            }
            self.reap(target);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn end_requests(&self, slots: Range<usize>, rings: Range<usize>, limit: Instant) {
        while !self.pending(slots.clone()).is_empty() {
            if Instant::now() > limit {
                self.fail(format!("never heard of again, by opcode: {:?}", self.pending(slots)));
                break;
            }
            for target in rings.clone() {
                self.cancel_all(target);
                self.reap(target);
            }
            self.files.empty();
            self.feed();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends waits.
    fn send_messages(&self) {
        let mut messenger = lock(&self.messenger);
        for descriptor in &self.shared.descriptors {
            let message = prep::op(Opcode::MsgRing, *descriptor).with_off(UNCOUNTED);
            messenger.push(&message).expect("there is room");
        }
        messenger.submit_and_wait(RINGS as u32).expect("a call");
        while messenger.pop().is_some() {}
    }

    /// All buffers that no completion has named are still there.
    fn count_buffers(&self, target: usize) {
        let mut ring = lock(&self.rings[target]);
        let (read, write) = rustix::pipe::pipe().expect("a pipe");
        for (group, provided) in self.groups[target].provided() {
            let mut found = 0;
            loop {
                rustix::io::write(&write, &[0; BUFFER_BYTES as usize]).expect("there is room");
                let read = prep::read(read.as_raw_fd(), 0, 0, u64::MAX);
                let sqe = read.with_flags(SqeFlags::BUFFER_SELECT).with_buf_index(group);
                ring.push(&sqe.with_user_data(COUNTS)).expect("there is room");
                self.send(&mut ring);
                let end = Instant::now() + Duration::from_secs(5);
                let cqe = loop {
                    // One that the CQ had no room for comes only to who asks.
                    if let Err(error) = ring.submit_and_wait(0) {
                        return self.fail(format!("a call: {error}"));
                    }
                    match ring.pop() {
                        Some(cqe) if cqe.user_data == COUNTS => break cqe,
                        Some(cqe) => {
                            if let Err(why) = self.account(target, &cqe) {
                                return self.fail(why);
                            }
                        }
                        None if Instant::now() > end => {
                            return self.fail("a read of a pipe that is full".into());
                        }
                        None => {}
                    }
                };
                if cqe.res < 0 {
                    break;
                }
                if let Err(why) = self.groups[target].account(&cqe) {
                    return self.fail(why);
                }
                found += usize::from(!CqeFlags::from_bits_retain(cqe.flags).contains(CqeFlags::BUF_MORE));
            }
            if found != provided {
                self.fail(format!(
                    "{found} buffers of {provided} that were provided are left in group {group}"
                ));
            }
        }
    }
}

/// Whether its results are new descriptors.
fn opens(sqe: &Sqe) -> bool {
    const OPENAT: u8 = Opcode::Openat.number();
    const SOCKET: u8 = Opcode::Socket.number();
    const ACCEPT: u8 = Opcode::Accept.number();
    const INSTALL: u8 = Opcode::FixedFdInstall.number();
    matches!(sqe.opcode(), OPENAT | SOCKET | ACCEPT | INSTALL) && sqe.file_index() == 0
}
