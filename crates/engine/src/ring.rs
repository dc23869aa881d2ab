//! One ring: its shared memory, its settings and what this process keeps of it.

use std::num::NonZeroU32;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use ringer_abi::{Cqe, SetupFlags};
use ringer_ops::{FileSlot, OpenedFor, Resources};
use ringer_ring::SharedRing;
use ringer_sys::call::PlainFor;
use ringer_sys::thread::Lock;
use ringer_sys::{Errno, UserAddress};
use rustix::process::{Resource, getrlimit};

use crate::Served;
use crate::beliefs::Beliefs;
use crate::buffers::BufferTable;
use crate::cancel;
use crate::complete::Completions;
use crate::counters::OwnShare;
use crate::device::Device;
use crate::files::{FileTable, RegisteredFile, Release};
use crate::inflight::Inflight;
use crate::kept::Kept;
use crate::latency::LatencyGuard;
use crate::observed::Observed;
use crate::provided::{BitsInOrder, ProvidedBuffers};
use crate::reactor::Reactor;
use crate::readiness::Readiness;
use crate::register::Registrations;
use crate::register::region::Region;
use crate::register::restrictions::RestrictionState;
use crate::release::Duplicate;
use crate::request::{FileRef, Watching};
use crate::ring_wait::RingWaits;
use crate::sqpoll::PollThread;
use crate::system::System;
use crate::trace::Completed;

/// A ring in this process. Several descriptors may name it.
#[derive(Debug)]
pub(crate) struct Ring {
    pub(crate) shared: Arc<SharedRing>,
    pub(crate) setup: SetupFlags,
    /// What keeps it open.
    holds: AtomicUsize,
    /// It was made before a fork, by another process.
    pub(crate) is_inherited: bool,
    /// The latest question of another process that this one has looked at, or asked.
    pub(crate) seen_question: AtomicU32,
    /// Set until `IORING_REGISTER_ENABLE_RINGS`.
    pub(crate) disabled: AtomicBool,
    /// Some SQE asked to skip its completion: drains are refused from then on.
    pub(crate) skips_completions: AtomicBool,
    /// The thread that may submit (`IORING_SETUP_SINGLE_ISSUER`); 0 while not decided.
    pub(crate) submitter: AtomicU32,
    pub(crate) inflight: Lock<Inflight>,
    /// Something drains, or waits for something that does. Set under the submission lock, by the submission that brings it.
    pub(crate) drains: AtomicBool,
    /// Where the holder of the submission lock counts. `None`: in the process's counters, like everybody else.
    pub(crate) share: Option<OwnShare>,
    pub(crate) completions: Completions,
    pub(crate) files: Lock<FileTable>,
    pub(crate) buffers: Lock<BufferTable>,
    pub(crate) provided: Lock<ProvidedBuffers>,
    pub(crate) bits_in_order: BitsInOrder,
    pub(crate) registrations: Lock<Registrations>,
    pub(crate) restrictions: Arc<RestrictionState>,
    /// Memory for the arguments of waits.
    pub(crate) region: Arc<OnceLock<Region>>,
    pub(crate) reactor: Reactor,
    pub(crate) device: Device,
    pub(crate) kept: Kept,
    pub(crate) latency: LatencyGuard,
    /// The size of files was limited when the ring was made.
    pub(crate) limits_sizes: bool,
    /// What files are open for.
    pub(crate) opened_files: Beliefs<OpenedFor>,
    /// Files whose adjacent transfers may be one.
    pub(crate) plain_files: Beliefs<PlainFor>,
    /// Files that are not worth the question whether they are mapped.
    pub(crate) unmapped_files: Beliefs,
    pub(crate) poll_thread: OnceLock<Arc<PollThread>>,
    pub(crate) readiness: Readiness,
    /// Requests that wait for this ring.
    pub(crate) ring_waits: RingWaits,
    /// `None`: nobody wants to know of its requests.
    pub(crate) observed: Option<Observed>,
}

/// What a ring has registered.
#[derive(Debug)]
pub(crate) struct Registered {
    files: FileTable,
    buffers: BufferTable,
    provided: ProvidedBuffers,
    registrations: Registrations,
}

/// One of the things that keep a ring open: a descriptor, or a place in a thread's table. The last to go closes it.
#[derive(Debug)]
pub(crate) struct Hold(Arc<Ring>);

impl Hold {
    pub(crate) fn new(ring: Arc<Ring>) -> Self {
        // Relaxed: whoever makes another one has one already.
        ring.holds.fetch_add(1, Ordering::Relaxed);
        Self(ring)
    }

    pub(crate) fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.0)
    }
}

impl std::ops::Deref for Hold {
    type Target = Arc<Ring>;

    fn deref(&self) -> &Arc<Ring> {
        &self.0
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // AcqRel, among all drops: the last one sees what was done through the others.
        if self.0.holds.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.close();
        }
    }
}

/// A single-issuer ring that is enabled belongs to the thread that made it.
fn first_submitter(setup: SetupFlags) -> u32 {
    if setup.contains(SetupFlags::SINGLE_ISSUER) && !setup.contains(SetupFlags::R_DISABLED) {
        ringer_sys::thread::id()
    } else {
        0
    }
}

impl Ring {
    /// A ring over its shared memory.
    pub(crate) fn new(shared: Arc<SharedRing>, setup: SetupFlags) -> Self {
        Self {
            shared,
            setup,
            holds: AtomicUsize::new(0),
            is_inherited: false,
            seen_question: AtomicU32::new(0),
            disabled: AtomicBool::new(setup.contains(SetupFlags::R_DISABLED)),
            skips_completions: AtomicBool::new(false),
            submitter: AtomicU32::new(first_submitter(setup)),
            inflight: Lock::default(),
            drains: AtomicBool::new(false),
            share: None,
            completions: Completions::default(),
            files: Lock::default(),
            buffers: Lock::default(),
            provided: Lock::default(),
            bits_in_order: BitsInOrder::default(),
            registrations: Lock::default(),
            restrictions: Arc::default(),
            region: Arc::default(),
            reactor: Reactor::default(),
            device: Device::default(),
            kept: Kept::default(),
            latency: LatencyGuard::default(),
            limits_sizes: getrlimit(Resource::Fsize).current.is_some(),
            opened_files: Beliefs::default(),
            plain_files: Beliefs::default(),
            unmapped_files: Beliefs::default(),
            poll_thread: OnceLock::new(),
            readiness: Readiness::default(),
            ring_waits: RingWaits::default(),
            observed: None,
        }
    }

    /// What is registered, for a child process.
    pub(crate) fn registered(&self) -> Registered {
        Registered {
            files: self.files.lock().clone(),
            buffers: self.buffers.lock().clone(),
            provided: self.provided.lock().clone(),
            registrations: self.registrations.lock().clone(),
        }
    }

    /// The same in the child. `None` when a lock is held for ever.
    pub(crate) fn try_registered(&self) -> Option<Registered> {
        Some(Registered {
            files: self.files.try_lock()?.clone(),
            buffers: self.buffers.try_lock()?.clone(),
            provided: self.provided.try_lock()?.clone(),
            registrations: self.registrations.try_lock()?.clone(),
        })
    }

    /// The ring as a child process has it after fork.
    pub(crate) fn inherited(&self, registered: Registered) -> Self {
        let Registered { files, buffers, provided, registrations } = registered;
        files.iter().for_each(|file| file.forget_watches());
        let mut ring = Self::new(Arc::clone(&self.shared), self.setup);
        ring.is_inherited = true;
        ring.reactor = self.reactor.inherited();
        ring.readiness.share();
        ring.ring_waits = self.ring_waits.inherited();
        ring.observed = self.observed.as_ref().map(Observed::inherited);
        *ring.registrations.get_mut() = registrations;
        ring.restrictions = Arc::clone(&self.restrictions);
        ring.region = Arc::clone(&self.region);
        *ring.files.get_mut() = files;
        *ring.buffers.get_mut() = buffers;
        ring.bits_in_order = BitsInOrder::of(&provided);
        *ring.provided.get_mut() = provided;
        ring.disabled = AtomicBool::new(self.disabled.load(Ordering::Relaxed));
        ring.submitter = AtomicU32::new(self.submitter.load(Ordering::Relaxed));
        if let Some(thread) = self.poll_thread.get() {
            // The thread is the parent's; it serves the shared SQ all the same.
            let _ = ring.poll_thread.set(Arc::clone(thread));
        }
        ring
    }

    /// In a child: gives up the files of requests that are the parent's, which would be open here for as long as the child lives.
    pub(crate) fn drop_files_of_parent(&self) {
        // Held by another thread at the time of the fork: then they stay open.
        if let Some(mut inflight) = self.inflight.try_lock() {
            inflight.watches.abandon();
            for mut request in inflight.take_all() {
                if let Some(Watching::Own { file, .. }) = request.watching.take() {
                    Duplicate::abandon(file);
                }
                match std::mem::take(&mut request.held.file) {
                    FileRef::Owned(duplicate) => Duplicate::abandon(duplicate),
                    FileRef::Registered(file) => RegisteredFile::abandon(file),
                    FileRef::Program(_) | FileRef::None => {}
                }
                // Nothing else of it may be undone here: it goes on in the parent.
                std::mem::forget(request);
            }
        }
    }

    /// Nothing keeps it open any more: everything pending is cancelled, the polling thread ends.
    fn close(self: &Arc<Self>) {
        if let Some(thread) = self.poll_thread.get() {
            thread.stop();
        }
        cancel::cancel_all(self);
        self.unlink_watches(|_| true);
        // A thread may keep the ring for its next call: what the program registered goes now. An error means that there is nothing.
        let files = self.files.lock().unregister();
        let buffers = self.buffers.lock().unregister();
        drop((files, buffers));
    }

    /// The number of this thread, by which it may have the ring's locks to itself. `None` where the ring was inherited: the number may
    /// be that of a thread of the other process, if that sees other numbers.
    #[inline]
    pub(crate) fn own_thread(&self) -> Option<NonZeroU32> {
        if self.is_inherited { None } else { NonZeroU32::new(ringer_sys::thread::id()) }
    }

    /// Whether the program, as far as it has said, hears of completions in `enter` and by looking, and nowhere else.
    pub(crate) fn is_waited_for_in_enter_only(&self) -> bool {
        self.poll_thread.get().is_none()
            && !self.shared.is_watched()
            && !self.completions.eventfd.is_registered()
    }

    /// Counts a call that submits. For the holder of the submission lock.
    #[inline]
    pub(crate) fn count_enter(&self) {
        match &self.share {
            Some(share) => share.count_enter(),
            None => {
                System::global().counters().enters.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Counts requests that are finished by their submission. For the holder of the submission lock.
    #[inline(always)]
    pub(crate) fn count_submitted(&self, opcode: u8, served: Served, count: u64) {
        match &self.share {
            Some(share) => share.count(opcode, served, count),
            None => System::global().counters().count(opcode, served, count),
        }
    }

    /// Whether asynchronous completions wait for the submitter to ask for them.
    pub(crate) fn defers_completions(&self) -> bool {
        self.setup.contains(SetupFlags::DEFER_TASKRUN)
    }

    /// Posts the tag of a registered resource that nobody uses any more.
    pub(crate) fn post_tag(&self, tag: u64) {
        let cqe = Cqe::new(tag, 0, 0);
        if let Some(observed) = &self.observed {
            observed.completed(&Completed { request: None, cqe, served: Served::Engine, is_posted: true });
        }
        let waiters = self.post(&[cqe], 0, true, self.own_thread()).waiters;
        self.announce_completions(waiters);
    }
}

impl Ring {
    /// Puts a descriptor of the engine into a slot of the registered files, as [`Resources::install_file`] does.
    pub(crate) fn install(&self, file: Duplicate, slot: FileSlot) -> Result<i32, Errno> {
        let file = Arc::new(RegisteredFile::adopt(file, Release::silent()));
        let replaced;
        let result;
        {
            let mut files = self.files.lock();
            let index = files.choose(slot)?;
            replaced = files.set(index, Some(file))?;
            result = if slot == FileSlot::Allocate { index as i32 } else { 0 };
        }
        // Dropped here, as its tag takes other locks.
        drop(replaced);
        Ok(result)
    }
}

impl Resources for Ring {
    fn install_file(&self, file: OwnedFd, slot: FileSlot) -> Result<i32, Errno> {
        // The program's numbers are for its own descriptors: it may close whatever it finds there, or put a file there.
        let there = Duplicate::of(file.as_raw_fd());
        drop(Duplicate::from(file));
        self.install(there?, slot)
    }

    fn registered_file(&self, index: u32) -> Result<RawFd, Errno> {
        // The table keeps the file open; taking it out while an attempt runs is the program's race.
        self.files.lock().get(index).map(|file| file.fd()).ok_or(Errno::BADF)
    }

    fn is_ring(&self, fd: RawFd) -> bool {
        System::global().is_ring(fd)
    }

    fn note_in_epoll(&self, epoll: RawFd, operation: u32, fd: RawFd, events: u32) -> Result<(), Errno> {
        System::global().note_in_epoll(epoll, operation, fd, events)
    }

    fn look_at_rings_in_epoll(&self, file: RawFd) -> Option<u32> {
        System::global().look_at_rings_in_epoll(file)
    }

    fn remove_file(&self, index: u32) {
        let removed = self.files.lock().set(index, None);
        // Dropped here, as its tag takes other locks. An error means that there is nothing to remove.
        drop(removed);
    }

    fn has_registered_buffer(&self, index: u16) -> bool {
        self.buffers.lock().get(index).is_some()
    }

    fn check_registered_range(&self, index: u16, address: UserAddress, length: u64) -> Result<(), Errno> {
        let buffer = self.buffers.lock().get(index).ok_or(Errno::FAULT)?;
        buffer.contains(address.get(), length)
    }
}
