//! Which files can be waited for.

use std::os::fd::{AsRawFd, RawFd};

use ringer_sys::nowait::can_be_asked_not_to_wait;
use ringer_sys::{Errno, UserAddress, call};

use crate::net::O_NONBLOCK;

/// Whether the file can be waited for: pipes can, of others an epoll instance knows.
pub(crate) fn is_pollable(fd: RawFd) -> Result<bool, Errno> {
    const EPOLL_CTL_ADD: u32 = 1;
    if call::is_pipe(fd) {
        return Ok(true);
    }
    let epoll = rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC)?;
    let event = [0_u32; 4];
    match call::epoll_ctl(epoll.as_raw_fd(), EPOLL_CTL_ADD, fd, UserAddress::of(&raw const event)) {
        Ok(_) => Ok(true),
        Err(Errno::PERM) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Whether it is waited for by poll before it is read or written, as it cannot be asked not to wait: a terminal, a FIFO, an inotify
/// instance, unless they are open with `O_NONBLOCK`.
pub fn is_polled_first(fd: RawFd) -> bool {
    !can_be_asked_not_to_wait(fd)
        && is_nonblocking(fd).is_ok_and(|nonblocking| !nonblocking)
        && is_pollable(fd).is_ok_and(|pollable| pollable)
}

/// Whether it is open with `O_NONBLOCK` now: asked before a call that would wait without. What is known of a registered file may be
/// old.
///
/// # Errors
/// `EBADF`.
pub(crate) fn is_nonblocking(fd: RawFd) -> Result<bool, Errno> {
    Ok(call::status_flags(fd)? & O_NONBLOCK != 0)
}
