//! The process-wide system: the three calls, and what a program does to a ring descriptor.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ringer_abi::{
    EnterFlags, OFF_CQ_RING, OFF_PBUF_RING, OFF_SQ_RING, OFF_SQES, Params, RegisterOpcode, SetupFlags, uapi,
};
use ringer_ring::Area;
use ringer_sys::{Errno, UserAddress, descriptor};
use rustix::event::{EventfdFlags, eventfd};

use crate::background::Background;
use crate::enter::{self, Enter};
use crate::futex::FutexThreads;
use crate::helper::Helper;
use crate::in_epoll::InEpoll;
use crate::observed::Observed;
use crate::parking::Parking;
use crate::recent::{self, Entered};
use crate::register::region::OFF_REGION;
use crate::ring::{Hold, Ring};
use crate::sqpoll::PollThread;
use crate::worker::WorkerPool;
use crate::{Counters, register, setup};

/// What the engine must know of the thread that calls `enter`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caller {
    /// The signal mask to hold while the call waits.
    pub wait_mask: WaitMask,
}

/// A signal mask to wait with, as one word of 64 signals.
#[derive(Clone, Copy, Debug, Default)]
pub enum WaitMask {
    /// The thread's current mask stays.
    #[default]
    Current,
    /// This one. After a trap the preload library runs the engine with all signals blocked, and passes the mask of the
    /// interrupted program, so that a signal ends the wait with `EINTR`, as it would in the kernel.
    These(u64),
    /// To be asked for when the call is about to wait; no answer is [`WaitMask::Current`].
    Ask(fn() -> Option<u64>),
}

impl WaitMask {
    pub(crate) fn find(self) -> Option<u64> {
        match self {
            Self::Current => None,
            Self::These(mask) => Some(mask),
            Self::Ask(ask) => ask(),
        }
    }
}

/// The arguments of `mmap.2` on a ring descriptor.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names are those of mmap.2")]
pub struct Mapping {
    pub address: UserAddress,
    pub length: usize,
    pub protection: u32,
    pub flags: u32,
    pub offset: u64,
}

impl Mapping {
    /// Where there is room, shared and populated, to be read and written: as most programs map a ring. `length` in bytes.
    pub const fn anywhere(length: usize, offset: u64) -> Self {
        const PROT_READ_WRITE: u32 = 3;
        const MAP_SHARED_POPULATE: u32 = 0x8001;
        let (protection, flags) = (PROT_READ_WRITE, MAP_SHARED_POPULATE);
        Self { address: UserAddress::new(0), length, protection, flags, offset }
    }
}

/// A descriptor of a ring.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) ring: Hold,
    /// The program's descriptor itself, and what kept it open.
    _descriptor: OwnedFd,
}

/// The rings of this process, by the program's descriptors.
pub(crate) type Rings = HashMap<RawFd, Handle>;

/// The engine of this process.
#[derive(Debug)]
pub struct System {
    pub(crate) rings: RwLock<Rings>,
    pub(crate) threads: RwLock<Threads>,
    parking: Parking,
    pub(crate) in_epoll: InEpoll,
    /// A child whose parent's locks were held at the fork, for ever.
    pub(crate) is_orphan: AtomicBool,
}

/// The threads of the engine. A child after fork has none, and starts its own.
#[derive(Debug, Default)]
pub(crate) struct Threads {
    workers: Arc<WorkerPool>,
    background: Arc<Background>,
    futexes: Arc<FutexThreads>,
    helper: Arc<Helper>,
}

/// "No ring", for the register calls that need none.
const NO_RING: RawFd = -1;

/// The bits of an `mmap` offset that name an area (`IORING_OFF_MMAP_MASK`).
const AREA_MASK: u64 = uapi::IORING_OFF_MMAP_MASK as u64;

/// How many ring descriptors one thread may register (`IO_RINGFD_REG_MAX`).
const MOST_REGISTERED_RINGS: usize = 16;

thread_local! {
    /// Whether this thread made a ring or registered one so far.
    static USES_RINGS: Cell<bool> = const { Cell::new(false) };
    /// Ring descriptors that this thread registered (`IORING_REGISTER_RING_FDS`).
    static REGISTERED_RINGS: RefCell<[Option<Hold>; MOST_REGISTERED_RINGS]> = const { RefCell::new([const { None }; MOST_REGISTERED_RINGS]) };
}

impl System {
    /// The engine of this process, made on first use.
    #[inline]
    pub fn global() -> &'static Self {
        static SYSTEM: OnceLock<System> = OnceLock::new();
        SYSTEM.get_or_init(Self::new)
    }

    fn new() -> Self {
        Self {
            rings: RwLock::default(),
            threads: RwLock::default(),
            parking: Parking::default(),
            in_epoll: InEpoll::default(),
            is_orphan: AtomicBool::new(false),
        }
    }

    pub(crate) fn workers(&self) -> Arc<WorkerPool> {
        Arc::clone(&self.threads.read().unwrap_or_else(PoisonError::into_inner).workers)
    }

    pub(crate) fn helper(&self) -> Arc<Helper> {
        Arc::clone(&self.threads.read().unwrap_or_else(PoisonError::into_inner).helper)
    }

    pub(crate) fn background(&self) -> Arc<Background> {
        Arc::clone(&self.threads.read().unwrap_or_else(PoisonError::into_inner).background)
    }

    pub(crate) fn parking(&self) -> &Parking {
        &self.parking
    }

    /// Promises that [`closing`](Self::closing) is called for the descriptors that the program closes. The engine then keeps
    /// duplicates of files that requests waited for, which saves later requests most of the cost of waiting.
    pub fn closes_are_told(&self) {
        self.parking.enable();
    }

    /// The program is about to close this descriptor, or to put another file there. Returns whether
    /// [`closed`](Self::closed) must be called as well. This call takes no lock.
    #[inline]
    pub fn closing(&self, fd: RawFd) -> bool {
        self.parking.closing(fd)
    }

    /// Gives up what the engine has kept of this descriptor.
    pub fn closed(&self, fd: RawFd) {
        self.parking.forget(fd);
    }

    /// [`closing`](Self::closing) for a range of numbers, both ends included.
    pub fn closing_range(&self, first: u32, last: u32) -> bool {
        self.parking.closing_range(first, last)
    }

    /// [`closed`](Self::closed) for a range of numbers, both ends included.
    pub fn closed_range(&self, first: u32, last: u32) {
        self.parking.forget_range(first, last);
    }

    pub(crate) fn futexes(&self) -> Arc<FutexThreads> {
        Arc::clone(&self.threads.read().unwrap_or_else(PoisonError::into_inner).futexes)
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Rings> {
        self.rings.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Rings> {
        self.rings.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, fd: RawFd, handle: Handle) {
        let replaced = self.write().insert(fd, handle);
        // Here, as it may be the last of its ring, which takes other locks, this one among them.
        drop(replaced);
    }

    /// The ring of a descriptor.
    ///
    /// # Errors
    /// `EBADF` for a descriptor that is not open, `EOPNOTSUPP` for one that is no ring.
    fn ring(&self, fd: RawFd) -> Result<Arc<Ring>, Errno> {
        if let Some(handle) = self.read().get(&fd) {
            return Ok(handle.ring.ring());
        }
        ringer_sys::call::check_open(fd).and(Err(Errno::OPNOTSUPP))
    }

    /// The ring of a descriptor, if it is one.
    pub(crate) fn ring_of(&self, fd: RawFd) -> Option<Arc<Ring>> {
        self.read().get(&fd).map(|handle| handle.ring.ring())
    }

    pub(crate) fn registered_ring(&self, index: RawFd) -> Result<Arc<Ring>, Errno> {
        // A thread that never used a ring has no table at all.
        let empty = if USES_RINGS.get() { Errno::BADF } else { Errno::INVAL };
        if self.is_ring(index) {
            // A ring's descriptor by mistake: natively a small number, and so an empty place of the table.
            return Err(empty);
        }
        let index = usize::try_from(index).map_err(|_| Errno::INVAL)?;
        REGISTERED_RINGS.with_borrow(|rings| match rings.get(index) {
            None => Err(Errno::INVAL),
            Some(None) => Err(empty),
            Some(Some(ring)) => Ok(ring.ring()),
        })
    }

    /// The ring that a register call names, by descriptor or by index.
    ///
    /// # Errors
    /// `EBADF`, `EOPNOTSUPP` when it is no ring, `EINVAL` for an index beyond the table.
    pub(crate) fn named_ring(&self, fd: RawFd, by_index: bool) -> Result<Arc<Ring>, Errno> {
        if by_index { self.registered_ring(fd) } else { self.ring(fd) }
    }

    /// Counts from now on in `counters`, which may lie in memory shared with other processes.
    /// Without this call the process counts in memory of its own.
    pub fn count_in(&self, counters: &'static Counters) {
        crate::counters::use_these(counters);
    }

    /// The counters in use.
    pub fn counters(&self) -> &'static Counters {
        crate::counters::in_use()
    }

    /// `io_uring_setup.2`. Returns the ring descriptor.
    ///
    /// # Errors
    /// `EFAULT` for a bad address, `EINVAL` for bad parameters, `EMFILE` and `ENOMEM` without room.
    pub fn setup(&self, entries: u32, params: UserAddress) -> Result<RawFd, Errno> {
        let mut filled = params.read::<Params>()?;
        let mut ring = setup::make_ring(entries, &mut filled)?;
        self.counters().rings.fetch_add(1, Ordering::Relaxed);
        ring.share = self.counters().take_share();
        ring.observed = Observed::new(ring.setup);
        let ring = Arc::new(ring);
        if ring.setup.contains(SetupFlags::ATTACH_WQ) {
            let other = self.ring(filled.wq_fd as RawFd).map_err(|errno| match errno {
                Errno::OPNOTSUPP => Errno::INVAL,
                Errno::BADF => Errno::NXIO,
                other => other,
            })?;
            if ring.setup.contains(SetupFlags::SQPOLL) && !other.setup.contains(SetupFlags::SQPOLL) {
                return Err(Errno::INVAL);
            }
        }
        let hold = Hold::new(ring);
        // Before there is another thread: the kernel's table of descriptors grows without a wait then.
        let descriptor = if hold.setup.contains(SetupFlags::REGISTERED_FD_ONLY) {
            None
        } else {
            let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            Some(descriptor::into_ring_range(eventfd)?)
        };
        if hold.setup.contains(SetupFlags::SQPOLL) {
            PollThread::start(&hold, &filled)?;
        }
        params.write(filled)?;
        let Some(descriptor) = descriptor else {
            let ring = hold.ring();
            let index = put_into_table(hold, None)? as RawFd;
            ring.tell_of(index);
            return Ok(index);
        };
        let fd = descriptor.as_raw_fd();
        hold.tell_of(fd);
        USES_RINGS.set(true);
        self.put(fd, Handle { ring: hold, _descriptor: descriptor });
        Ok(fd)
    }

    /// `io_uring_enter.2`. `argument` is a sigset, or an extended argument with `EXT_ARG`.
    ///
    /// # Errors
    /// Those of the man page.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the call, and the caller")]
    pub fn enter(
        &self,
        fd: RawFd,
        to_submit: u32,
        min_complete: u32,
        flags: u32,
        argument: UserAddress,
        argument_size: usize,
        caller: &Caller,
    ) -> Result<i32, Errno> {
        let flags = EnterFlags::from_bits(flags)
            .filter(|flags| enter::SERVED.contains(*flags))
            .ok_or(Errno::INVAL)?;
        let arguments = Enter { to_submit, min_complete, flags, argument, argument_size };
        let by_index = flags.contains(EnterFlags::REGISTERED_RING);
        let recent = if by_index {
            None
        } else {
            let find = || self.ring(fd).map(Entered::by_this_thread);
            recent::enter(fd, find, |entered| enter::enter(entered, arguments, caller))
        };
        recent.unwrap_or_else(|| self.enter_once(fd, by_index, arguments, caller))
    }

    /// The same for a ring that the thread does not keep.
    #[cold]
    fn enter_once(&self, fd: RawFd, by_index: bool, arguments: Enter, caller: &Caller) -> Result<i32, Errno> {
        let entered = Entered::by_this_thread(self.named_ring(fd, by_index)?);
        enter::enter(&entered, arguments, caller)
    }

    /// `io_uring_register.2`.
    ///
    /// # Errors
    /// Those of the man page.
    pub fn register(&self, fd: RawFd, opcode: u32, argument: UserAddress, count: u32) -> Result<i32, Errno> {
        let by_index = opcode & uapi::io_uring_register_op::IORING_REGISTER_USE_REGISTERED_RING as u32 != 0;
        let opcode = opcode & !(uapi::io_uring_register_op::IORING_REGISTER_USE_REGISTERED_RING as u32);
        if RegisterOpcode::from_number(opcode).is_none() {
            return Err(Errno::INVAL);
        }
        if fd == NO_RING {
            return register::without_ring(opcode, argument, count);
        }
        let ring = self.named_ring(fd, by_index)?;
        match RegisterOpcode::from_number(opcode) {
            Some(RegisterOpcode::RingFds) => {
                register::check_caller(&ring, RegisterOpcode::RingFds)?;
                self.register_rings(argument, count)
            }
            Some(RegisterOpcode::UnregisterRingFds) => {
                register::check_caller(&ring, RegisterOpcode::UnregisterRingFds)?;
                Self::unregister_rings(argument, count)
            }
            _ => {
                let result = register::register(&ring, opcode, argument, count);
                ring.announce_completions(0);
                result
            }
        }
    }

    /// `IORING_REGISTER_RING_FDS`. Source: `io_uring_register_ring_fd.3`.
    fn register_rings(&self, argument: UserAddress, count: u32) -> Result<i32, Errno> {
        if count == 0 || count as usize > MOST_REGISTERED_RINGS {
            return Err(Errno::INVAL);
        }
        let mut done = 0;
        for index in 0..u64::from(count) {
            match self.register_one_ring(argument.add(index * 16)) {
                Ok(()) => done += 1,
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    fn register_one_ring(&self, entry: UserAddress) -> Result<(), Errno> {
        // `struct io_uring_rsrc_update`: offset, reserved, the descriptor.
        let [offset, reserved, fd, _] = entry.read::<[u32; 4]>()?;
        if reserved != 0 {
            return Err(Errno::INVAL);
        }
        let ring = self.ring(fd as RawFd)?;
        let slot = put_into_table(Hold::new(ring), (offset != u32::MAX).then_some(offset))?;
        entry.write(slot)
    }

    /// `IORING_UNREGISTER_RING_FDS`.
    fn unregister_rings(argument: UserAddress, count: u32) -> Result<i32, Errno> {
        if count == 0 || count as usize > MOST_REGISTERED_RINGS {
            return Err(Errno::INVAL);
        }
        let mut done = 0;
        for index in 0..u64::from(count) {
            let [offset, reserved, data_low, data_high] = argument.add(index * 16).read::<[u32; 4]>()?;
            if reserved != 0 || data_low != 0 || data_high != 0 || offset as usize >= MOST_REGISTERED_RINGS {
                return if done == 0 { Err(Errno::INVAL) } else { Ok(done) };
            }
            let removed = REGISTERED_RINGS.with_borrow_mut(|rings| rings[offset as usize].take());
            // Here, as it may be the ring's last.
            drop(removed);
            done += 1;
        }
        Ok(done)
    }

    /// `mmap.2` of a ring descriptor: maps the SQ/CQ ring, the SQE array or a ring of buffers. Returns the address.
    ///
    /// # Errors
    /// `EBADF` when it is not a ring, `ENOMEM` for another offset and for a group without a ring to map, `EINVAL` for a place of
    /// the program's choice.
    pub fn map(&self, fd: RawFd, mapping: &Mapping) -> Result<usize, Errno> {
        let ring = self.ring(fd)?;
        // The upper bits say which area; the mapping starts at its first page whatever the others say.
        if !mapping.offset.is_multiple_of(rustix::param::page_size() as u64) {
            return Err(Errno::INVAL);
        }
        if let Some(region) = ring.region.get().and_then(|region| region.allocated.as_ref())
            && mapping.offset & AREA_MASK == OFF_REGION
        {
            return region.map(mapping.address.get(), mapping.length, mapping.protection, mapping.flags);
        }
        // There is nothing to map of a ring in memory of the program.
        let is_mappable = !ring.setup.contains(SetupFlags::NO_MMAP);
        let area = match mapping.offset & AREA_MASK {
            OFF_SQ_RING | OFF_CQ_RING | OFF_SQES if !is_mappable => return Err(Errno::NOMEM),
            OFF_SQ_RING | OFF_CQ_RING => Area::Rings,
            OFF_SQES => Area::Sqes,
            OFF_PBUF_RING => return map_buffer_ring(&ring, mapping),
            _ => return Err(Errno::NOMEM),
        };
        ring.shared.map(area, mapping.address.get(), mapping.length, mapping.protection, mapping.flags)
    }

    /// Makes what an embedded engine does with the program's memory cheaper: from now on it is copied to and from directly, where else
    /// each copy is a system call of a microsecond, and cached reads may be copied from mappings. For that the process gets
    /// handlers of SIGSEGV and SIGBUS, which hand on whatever is not the engine's. With them a request can be cancelled that waits in a
    /// call of a worker, too. To be called before the first ring; calls after the
    /// first do nothing.
    ///
    /// Handlers that are installed later must call those that they replace, as is the custom. Behind one that does not, a bad
    /// address in an SQE ends the process instead of being `EFAULT`.
    ///
    /// # Errors
    /// Those of `rt_sigaction.2`. The engine goes on without the handlers then.
    ///
    /// # Examples
    /// ```
    /// ringer_engine::System::global().handle_faults().expect("signals may have handlers");
    /// ```
    pub fn handle_faults(&self) -> Result<(), Errno> {
        ringer_sys::fault::install_handlers()
    }

    /// A duplicate of one of the ring's descriptors, for the engine. `None` where it has none, or no descriptor is left.
    pub(crate) fn duplicate_of(&self, ring: &Ring) -> Option<OwnedFd> {
        let rings = self.read();
        let (&fd, _) = rings.iter().find(|(_, handle)| std::ptr::eq(&raw const **handle.ring, ring))?;
        descriptor::duplicate_for_engine(fd).ok()
    }

    /// Whether this descriptor is a ring of this process.
    pub fn is_ring(&self, fd: RawFd) -> bool {
        self.read().contains_key(&fd)
    }

    /// `close.2` of a ring descriptor. The last descriptor of a ring, or its last place in a thread's table of registered
    /// rings, cancels what is pending and frees it.
    ///
    /// # Errors
    /// `EBADF` when it is not open.
    pub fn close(&self, fd: RawFd) -> Result<(), Errno> {
        let handle = self.write().remove(&fd).ok_or(Errno::BADF)?;
        recent::forget_all();
        self.in_epoll.forget(fd);
        // Here, as it may be the ring's last, which takes other locks.
        drop(handle);
        Ok(())
    }

    /// `dup.2`, `fcntl(F_DUPFD)` of a ring descriptor: another descriptor of the same ring, in the reserved range.
    ///
    /// # Errors
    /// `EBADF` when it is not a ring, `EMFILE` when the range is full.
    pub fn duplicate(&self, fd: RawFd, close_on_exec: bool) -> Result<RawFd, Errno> {
        let ring = self.ring(fd).map_err(|_| Errno::BADF)?;
        let duplicate = descriptor::duplicate_ring(fd)?;
        if !close_on_exec {
            rustix::io::fcntl_setfd(&duplicate, rustix::io::FdFlags::empty())?;
        }
        let new = duplicate.as_raw_fd();
        self.put(new, Handle { ring: Hold::new(ring), _descriptor: duplicate });
        Ok(new)
    }

    /// Says that the program waits for this ring descriptor by poll, select or epoll, so that the
    /// engine keeps the descriptor's readiness true from now on. Returns whether it is a ring's.
    ///
    /// # Errors
    /// `ENOMEM` when the engine has no descriptor left to do so.
    pub fn watch(&self, fd: RawFd) -> Result<bool, Errno> {
        match self.ring_of(fd) {
            // What `poll.2` and `epoll_ctl.2` say when the kernel lacks something.
            Some(ring) => ring.watch(fd).map_err(|_| Errno::NOMEM).map(|()| true),
            None => Ok(false),
        }
    }
}

/// Maps a ring of provided buffers that the engine allocated. The middle bits of the offset are the group.
///
/// # Errors
/// `ENOMEM` when there is no such ring.
fn map_buffer_ring(ring: &Ring, mapping: &Mapping) -> Result<usize, Errno> {
    let group = (mapping.offset & !AREA_MASK) >> uapi::IORING_OFF_PBUF_SHIFT;
    let group = u16::try_from(group).map_err(|_| Errno::NOMEM)?;
    let pages = ring.provided.lock().pages(group).ok_or(Errno::NOMEM)?;
    pages.map(mapping.address.get(), mapping.length, mapping.protection, mapping.flags)
}

/// In a child after fork: this thread's table is its parent's, and begins anew.
pub(crate) fn forget_table() {
    REGISTERED_RINGS.with_borrow_mut(|table| table.iter_mut().for_each(|slot| std::mem::forget(slot.take())));
    USES_RINGS.set(false);
}

/// Puts a ring into this thread's table, at this place or the first that is free.
///
/// # Errors
/// `EINVAL` beyond the table, `EBUSY` when the place is taken, or all are.
fn put_into_table(ring: Hold, place: Option<u32>) -> Result<u32, Errno> {
    REGISTERED_RINGS.with_borrow_mut(|rings| {
        let place = match place {
            None => rings.iter().position(Option::is_none).ok_or(Errno::BUSY)?,
            Some(place) => place as usize,
        };
        let slot = rings.get_mut(place).ok_or(Errno::INVAL)?;
        if slot.is_some() {
            return Err(Errno::BUSY);
        }
        *slot = Some(ring);
        USES_RINGS.set(true);
        Ok(place as u32)
    })
}
