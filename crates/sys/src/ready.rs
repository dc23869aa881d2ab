//! Readiness: an epoll instance whose wait takes nanoseconds and a signal mask.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use linux_raw_sys::general as nr;
use rustix::event::epoll;
use rustix::io::Errno;

use crate::descriptor::of_engine;

/// One report of an [`Epoll`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(target_arch = "x86_64", repr(C, packed))]
#[cfg_attr(not(target_arch = "x86_64"), repr(C))]
pub struct Report {
    /// `EPOLL` bits.
    pub events: u32,
    /// What was registered with the descriptor.
    pub token: u64,
}

/// How a descriptor is watched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trigger {
    /// One report, then nothing until it is armed again.
    Once,
    /// A report for every change.
    Edge,
    /// Reports as long as the state lasts.
    Level,
}

/// An epoll instance in the engine's half of the reserved range.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
}

/// `EPOLLIN`, `EPOLLOUT` and so on have the values of `POLLIN`, `POLLOUT` and so on.
fn flags(events: u32, trigger: Trigger) -> epoll::EventFlags {
    let modifier = match trigger {
        Trigger::Once => epoll::EventFlags::ONESHOT,
        Trigger::Edge => epoll::EventFlags::ET,
        Trigger::Level => epoll::EventFlags::empty(),
    };
    epoll::EventFlags::from_bits_retain(events) | modifier
}

impl Epoll {
    /// A new instance.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`.
    pub fn new() -> Result<Self, Errno> {
        let fd = of_engine(|| epoll::create(epoll::CreateFlags::CLOEXEC))?;
        Ok(Self { fd })
    }

    /// The descriptor: readable while there are reports.
    pub fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Watches a descriptor.
    ///
    /// # Errors
    /// `EPERM` for a file that cannot be waited for, `EEXIST`, `ELOOP`, `ENOSPC`, `ENOMEM`.
    pub fn add(&self, fd: &OwnedFd, events: u32, trigger: Trigger, token: u64) -> Result<(), Errno> {
        epoll::add(&self.fd, fd, epoll::EventData::new_u64(token), flags(events, trigger))
    }

    /// Watches another instance.
    ///
    /// # Errors
    /// As for [`add`](Self::add).
    pub fn add_instance(&self, other: &Self, trigger: Trigger, token: u64) -> Result<(), Errno> {
        self.add(&other.fd, 0x1, trigger, token)
    }

    /// Arms a watched instance again.
    ///
    /// # Errors
    /// `ENOENT` when it is not watched.
    pub fn rearm_instance(&self, other: &Self, trigger: Trigger, token: u64) -> Result<(), Errno> {
        self.rearm(&other.fd, 0x1, trigger, token)
    }

    /// Stops watching another instance.
    pub fn remove_instance(&self, other: &Self) {
        self.remove(&other.fd);
    }

    /// Arms a watched descriptor again.
    ///
    /// # Errors
    /// `ENOENT` when it is not watched, `ENOMEM`.
    pub fn rearm(&self, fd: &OwnedFd, events: u32, trigger: Trigger, token: u64) -> Result<(), Errno> {
        epoll::modify(&self.fd, fd, epoll::EventData::new_u64(token), flags(events, trigger))
    }

    /// Stops watching a descriptor. Needed before it is closed: another descriptor of the same file
    /// would keep the registration alive.
    pub fn remove(&self, fd: &OwnedFd) {
        // Not being watched is the state that is wanted.
        let _ = epoll::delete(&self.fd, fd);
    }

    /// Waits for reports. `timeout` `None` waits without a limit. `mask` is the signal mask to hold while waiting.
    ///
    /// # Errors
    /// `EINTR` when a signal handler ran.
    pub fn wait(
        &self,
        reports: &mut [Report],
        timeout: Option<Duration>,
        mask: Option<u64>,
    ) -> Result<usize, Errno> {
        static NO_PWAIT2: AtomicBool = AtomicBool::new(false);
        let mask_address = mask.as_ref().map_or(0, |mask| std::ptr::from_ref(mask) as usize);
        let common = [self.fd.as_raw_fd() as usize, reports.as_mut_ptr() as usize, reports.len()];
        if !NO_PWAIT2.load(Ordering::Relaxed) {
            let time = timeout.map(crate::call::timespec);
            let time_address = time.as_ref().map_or(0, |time| time.as_ptr() as usize);
            let arguments = [common[0], common[1], common[2], time_address, mask_address, 8];
            // SAFETY: the reports have the layout of `struct epoll_event`; all addresses are of objects that outlive the call.
            match unsafe { crate::call::raw(nr::__NR_epoll_pwait2, arguments) } {
                // Linux before 5.11, gVisor.
                Err(Errno::NOSYS) => NO_PWAIT2.store(true, Ordering::Relaxed),
                other => return other,
            }
        }
        // Milliseconds, rounded up: a wait may be late but never early.
        let milliseconds =
            timeout.map_or(-1, |timeout| timeout.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32);
        let arguments = [common[0], common[1], common[2], milliseconds as usize, mask_address, 8];
        // SAFETY: as above.
        unsafe { crate::call::raw(nr::__NR_epoll_pwait, arguments) }
    }
}

/// An eventfd of the engine that wakes threads out of [`Epoll::wait`].
#[derive(Debug)]
pub struct Kick {
    fd: OwnedFd,
}

impl Kick {
    /// A new one. Each wake-up is a token that one waiting thread takes.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`.
    pub fn new() -> Result<Self, Errno> {
        use rustix::event::{EventfdFlags, eventfd};
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK | EventfdFlags::SEMAPHORE;
        Ok(Self { fd: of_engine(|| eventfd(0, flags))? })
    }

    /// Wakes `threads` threads.
    pub fn wake(&self, threads: u32) {
        // The counter cannot come near its limit of 2^64 - 2, so that the write does not fail.
        let _ = rustix::io::write(&self.fd, &u64::from(threads).to_ne_bytes());
    }

    /// Takes one token, if there is one.
    pub fn take(&self) -> bool {
        rustix::io::read(&self.fd, &mut [0_u8; 8]).is_ok()
    }

    /// The descriptor, to be watched.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// The descriptor alone.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kick_is_reported_and_taken_once() {
        let epoll = Epoll::new().expect("an epoll instance");
        let kick = Kick::new().expect("an eventfd");
        epoll.add(kick.fd(), 0x1, Trigger::Level, 7).expect("an eventfd can be watched");
        let mut reports = [Report::default(); 4];
        assert_eq!(epoll.wait(&mut reports, Some(Duration::ZERO), None), Ok(0));
        kick.wake(1);
        assert_eq!(epoll.wait(&mut reports, Some(Duration::from_secs(5)), None), Ok(1));
        assert_eq!({ reports[0].token }, 7);
        assert!(kick.take());
        assert!(!kick.take());
    }
}
