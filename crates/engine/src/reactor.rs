//! The reactor of one ring: which descriptors it watches, and how its waiters are woken.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ringer_ring::SharedRing;
use ringer_sys::Errno;
use ringer_sys::ready::{Epoll, Kick, Report, Trigger};

use crate::ring::Ring;

/// The token of the kick; no request has it, as no slot has this number.
pub(crate) const KICK: u64 = u64::MAX;

/// The token of the device's completions, likewise.
pub(crate) const DEVICE: u64 = u64::MAX - 1;

/// An epoll instance with a kick, made when first needed.
#[derive(Debug, Default)]
pub(crate) struct Reactor {
    epoll: OnceLock<Epoll>,
    /// Shared by the processes that have inherited the ring: each may post what another one waits for.
    kick: OnceLock<Arc<Kick>>,
    /// Requests that have a descriptor in the instance, of their own or shared.
    watches: AtomicU32,
    /// The number of the latest report of a watch.
    latest_report: AtomicU64,
    /// Something is armed or a timer runs. Cleared by the background thread when it finds nothing.
    work: AtomicBool,
    /// A timer was queued since the background thread last looked.
    timer_changed: AtomicBool,
    /// How often a thread left while the ring was noticed.
    visits: AtomicU32,
    /// Threads that drive this ring now.
    drivers: AtomicU32,
    owner: AtomicU8,
    /// The background thread takes reports, and has not dealt with all of them.
    is_served: AtomicBool,
}

/// One thread's view of the kicks, each of which leaves one token for every thread that waits.
///
/// A thread that took the token of another would leave that one asleep. So a token is taken by who has not had
/// one of the latest kick yet. Others leave it, for a while: it may be left over from a thread that went away.
pub(crate) struct Kicks<'a> {
    shared: &'a SharedRing,
    waits: bool,
    had: u32,
    left: u32,
}

impl<'a> Kicks<'a> {
    /// For a thread that waits.
    pub(crate) fn of_waiter(ring: &'a Ring) -> Self {
        Self { shared: &ring.shared, waits: true, had: ring.shared.wakeups(), left: 0 }
    }

    /// For a thread that only looks.
    pub(crate) fn of_visitor(ring: &'a Ring) -> Self {
        Self { shared: &ring.shared, waits: false, had: 0, left: 0 }
    }

    fn may_take(&mut self) -> bool {
        const PATIENCE: u32 = 100;
        const PAUSE: Duration = Duration::from_micros(100);
        let others = self.shared.waiters() > u32::from(self.waits);
        let latest = self.shared.wakeups();
        if !others || self.waits && self.had != latest {
            (self.had, self.left) = (latest, 0);
            return true;
        }
        if !self.waits {
            return false;
        }
        self.left += 1;
        if self.left > PATIENCE {
            self.left = 0;
            return true;
        }
        std::thread::sleep(PAUSE);
        false
    }
}

/// Who drives a ring while no thread of the program does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Owner {
    /// Nobody: there is nothing to drive, or a thread of the program does.
    Nobody = 0,
    /// The background thread will look whether it has to.
    Noticed = 1,
    /// The background thread.
    Background = 2,
}

impl Reactor {
    fn instance(&self) -> Result<&Epoll, Errno> {
        if let Some(epoll) = self.epoll.get() {
            return Ok(epoll);
        }
        let epoll = Epoll::new()?;
        epoll.add(self.kick()?.fd(), 0x1, Trigger::Level, KICK)?;
        Ok(self.epoll.get_or_init(|| epoll))
    }

    fn kick(&self) -> Result<&Kick, Errno> {
        if let Some(kick) = self.kick.get() {
            return Ok(kick);
        }
        let kick = Arc::new(Kick::new()?);
        Ok(self.kick.get_or_init(|| kick))
    }

    /// Before a fork: makes what the child must share.
    pub(crate) fn before_fork(&self) {
        // Without descriptors the processes cannot wake each other; each of them still finds what is there when it looks.
        let _ = self.kick();
    }

    /// The reactor of a ring that a child has inherited.
    pub(crate) fn inherited(&self) -> Self {
        let inherited = Self::default();
        if let Some(kick) = self.kick.get() {
            // It is new: nobody else has set it.
            let _ = inherited.kick.set(Arc::clone(kick));
        }
        inherited
    }

    /// Makes sure that waiting will work.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`.
    pub(crate) fn prepare(&self) -> Result<(), Errno> {
        self.instance().map(drop)
    }

    /// Watches a descriptor.
    ///
    /// # Errors
    /// `EPERM` for a file that is always ready, and those of epoll.
    pub(crate) fn add(&self, fd: &OwnedFd, events: u32, trigger: Trigger, token: u64) -> Result<(), Errno> {
        self.instance()?.add(fd, events, trigger, token)
    }

    /// A request has a descriptor there from now on.
    pub(crate) fn adopt(&self) {
        self.watches.fetch_add(1, Ordering::Relaxed);
    }

    /// A request has none there any more.
    pub(crate) fn release(&self) {
        self.watches.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether any descriptor of a request is watched.
    #[inline]
    pub(crate) fn has_watches(&self) -> bool {
        // Relaxed: what this thread watches is seen, and what others watch they drive.
        self.watches.load(Ordering::Relaxed) > 0
    }

    /// A report was taken from the kernel. Returns its number. For the holder of the lock of what is pending.
    pub(crate) fn count_report(&self) -> u64 {
        // Release, for `latest_report`: the attempts of who sees it come after the report.
        self.latest_report.fetch_add(1, Ordering::Release) + 1
    }

    #[inline]
    pub(crate) fn latest_report(&self) -> u64 {
        // Acquire, from `count_report`.
        self.latest_report.load(Ordering::Acquire)
    }

    /// Watches the eventfd of the ring's transfers.
    ///
    /// # Errors
    /// Those of epoll.
    pub(crate) fn watch_device(&self, eventfd: &OwnedFd) -> Result<(), Errno> {
        self.instance()?.add(eventfd, 0x1, Trigger::Edge, DEVICE)
    }

    /// Watches it once more.
    ///
    /// # Errors
    /// Those of epoll.
    pub(crate) fn rearm(&self, fd: &OwnedFd, events: u32, trigger: Trigger, token: u64) -> Result<(), Errno> {
        self.instance()?.rearm(fd, events, trigger, token)
    }

    /// Stops watching a descriptor.
    pub(crate) fn remove(&self, fd: &OwnedFd) {
        if let Some(epoll) = self.epoll.get() {
            epoll.remove(fd);
        }
    }

    /// Waits for reports. `kicks` are taken here; a thread that does not wait for one has none to take.
    ///
    /// # Errors
    /// `EINTR` when a signal handler ran; those of making the instance.
    pub(crate) fn wait(
        &self,
        reports: &mut [Report],
        timeout: Option<Duration>,
        mask: Option<u64>,
        kicks: &mut Kicks<'_>,
    ) -> Result<usize, Errno> {
        let count = self.instance()?.wait(reports, timeout, mask)?;
        if reports[..count].iter().any(|report| { report.token } == KICK)
            && kicks.may_take()
            && let Some(kick) = self.kick.get()
        {
            kick.take();
        }
        Ok(count)
    }

    /// Wakes threads out of [`wait`](Self::wait), in whichever process.
    pub(crate) fn wake(&self, shared: &SharedRing, threads: u32) {
        if let Some(kick) = self.kick.get() {
            kick.wake(threads);
            shared.count_wakeup();
        }
    }

    /// The instance, once there is one.
    pub(crate) fn epoll(&self) -> Option<&Epoll> {
        self.epoll.get()
    }

    /// Something was armed.
    pub(crate) fn has_work(&self) {
        self.work.store(true, Ordering::Relaxed);
    }

    /// A timer was queued.
    pub(crate) fn timer_queued(&self) {
        self.timer_changed.store(true, Ordering::Relaxed);
        self.has_work();
    }

    pub(crate) fn take_timer_change(&self) -> bool {
        self.timer_changed.load(Ordering::Relaxed) && self.timer_changed.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn may_have_work(&self) -> bool {
        self.work.load(Ordering::Relaxed)
    }

    pub(crate) fn no_work(&self) {
        self.work.store(false, Ordering::Relaxed);
    }

    /// A thread drives the ring from now on. SeqCst here and in [`leave`](Self::leave), [`drivers`](Self::drivers),
    /// [`owner`](Self::owner) and [`set_owner`](Self::set_owner): a thread that leaves and the background thread that gives the
    /// ring up must not both believe that the other will look after it.
    pub(crate) fn join(&self) {
        self.drivers.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn leave(&self) {
        self.drivers.fetch_sub(1, Ordering::SeqCst);
    }

    /// The background thread takes reports and deals with them.
    pub(crate) fn serve(&self, body: impl FnOnce()) {
        // SeqCst, here and in `is_served`: whoever finds no reports because they were taken finds this, too.
        self.is_served.store(true, Ordering::SeqCst);
        body();
        self.is_served.store(false, Ordering::SeqCst);
    }

    /// Whether the background thread may have reports that it has not dealt with.
    #[inline]
    pub(crate) fn is_served(&self) -> bool {
        self.is_served.load(Ordering::SeqCst)
    }

    /// A thread leaves a ring that is noticed already.
    pub(crate) fn visit(&self) {
        // Relaxed: one that is missed makes the background thread look a moment too early.
        self.visits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn visits(&self) -> u32 {
        self.visits.load(Ordering::Relaxed)
    }

    pub(crate) fn drivers(&self) -> u32 {
        self.drivers.load(Ordering::SeqCst)
    }

    pub(crate) fn owner(&self) -> Owner {
        match self.owner.load(Ordering::SeqCst) {
            0 => Owner::Nobody,
            1 => Owner::Noticed,
            _ => Owner::Background,
        }
    }

    pub(crate) fn set_owner(&self, owner: Owner) {
        self.owner.store(owner as u8, Ordering::SeqCst);
    }

    /// Moves from `Nobody` to `Noticed`. False if somebody else did, or it is owned.
    pub(crate) fn claim_notice(&self) -> bool {
        self.owner.compare_exchange(0, Owner::Noticed as u8, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }
}
