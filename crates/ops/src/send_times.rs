//! When sent packets left: what a socket tells in its error queue, one piece at a time.

use std::os::fd::RawFd;

use ringer_sys::{Errno, UserAddress, call};

use crate::net::{MSG_DONTWAIT, MSG_ERRQUEUE, SOL_SOCKET, check_is_ip};

const SO_TIMESTAMPING: u32 = 37;
/// Time is told without the data that was sent.
const OPT_TSONLY: u32 = 1 << 11;
/// `SCM_TIMESTAMPING`, and the same with 64-bit times on 32-bit machines.
const TIMES: [u32; 2] = [37, 65];
/// Level and type of `struct sock_extended_err`, `ip.7` and `ipv6.7`.
const ERRORS: [(u32, u32); 2] = [(0, 11), (41, 25)];
/// `SO_EE_ORIGIN_TIMESTAMPING`.
const ORIGIN: u32 = 4;

/// When something was done with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SendTime {
    /// The number of the packet, as the socket counts.
    pub(crate) key: u32,
    /// What was done: `SCM_TSTAMP_SND`, `_SCHED`, `_ACK`.
    pub(crate) kind: u32,
    /// The device's clock said so.
    pub(crate) by_device: bool,
    /// Seconds and nanoseconds.
    pub(crate) time: [u64; 2],
}

/// Takes the next time out of the socket's error queue. `None`: there is none now.
///
/// As in the kernel, a packet that comes back with its data stays for the program to read. Errors of another origin that
/// the program asked for (`IP_RECVERR`) are passed over, and lost.
///
/// # Errors
/// Those of `recvmsg.2`.
pub(crate) fn next(fd: RawFd) -> Result<Option<SendTime>, Errno> {
    if check_is_ip(fd).is_err() || !is_without_data(fd) {
        return Ok(None);
    }
    loop {
        let mut control = [0_u64; 64];
        // `struct msghdr` without an address and without a buffer.
        let mut message = [0, 0, 0, 0, (&raw mut control) as u64, size_of_val(&control) as u64, 0];
        match call::recvmsg(fd, UserAddress::of(&raw mut message), MSG_ERRQUEUE | MSG_DONTWAIT) {
            Ok(_) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(errno) => return Err(errno),
        }
        let length = (message[5] as usize).min(size_of_val(&control));
        if let Some(time) = find(&control, length) {
            return Ok(Some(time));
        }
    }
}

fn is_without_data(fd: RawFd) -> bool {
    let (mut options, mut size) = (0_u32, 4_u32);
    let (value, value_size) = (UserAddress::of(&raw mut options), UserAddress::of(&raw mut size));
    call::getsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, value, value_size).is_ok() && options & OPT_TSONLY != 0
}

/// Looks for a time in control data, whose parts begin with their length, level and type.
fn find(control: &[u64], length: usize) -> Option<SendTime> {
    const HEADER: usize = 2;
    let half = |word: u64, upper: bool| if upper { (word >> 32) as u32 } else { word as u32 };
    let (mut times, mut event) = (None, None);
    let mut rest = control.get(..length / 8)?;
    while rest.len() >= HEADER {
        let words = (rest[0] as usize).div_ceil(8).max(HEADER);
        let (part, behind) = rest.split_at_checked(words)?;
        let (level, kind) = (half(part[1], false), half(part[1], true));
        let content = &part[HEADER..];
        if level == SOL_SOCKET && TIMES.contains(&kind) && content.len() >= 6 {
            let by_software = content[..2] != [0, 0];
            let time = if by_software { &content[..2] } else { &content[4..6] };
            times = Some((!by_software, [time[0], time[1]]));
        } else if ERRORS.contains(&(level, kind)) && content.len() >= 2 {
            let origin = half(content[0], true) & 0xff;
            event = (origin == ORIGIN).then(|| (half(content[1], false), half(content[1], true)));
        }
        rest = behind;
    }
    let ((by_device, time), (kind, key)) = (times?, event?);
    (time != [0, 0]).then_some(SendTime { key, kind, by_device, time })
}
