//! `IORING_REGISTER_ZCRX_IFQ`: queues of a network device whose memory the program sees.

use std::os::fd::AsRawFd;

use ringer_abi::SetupFlags;
use ringer_sys::{Errno, UserAddress, call, credentials};

use crate::ring::Ring;

/// The most entries of a refill queue.
const MOST_ENTRIES: u32 = 1 << 15;

/// Checked as Linux does, then refused as Linux refuses a device that cannot do it: a process cannot have a queue of
/// a device otherwise. Source: `io_uring_register.2`.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN`, `EINVAL` and `EFAULT` for a bad call, `ENODEV` without the device; `EOPNOTSUPP`.
pub(crate) fn register(ring: &Ring, argument: UserAddress, count: u32) -> Result<i32, Errno> {
    if argument.is_null() || count != 1 {
        return Err(Errno::INVAL);
    }
    if !credentials::may_administer_network() {
        return Err(Errno::PERM);
    }
    let has_big_cqes = ring.setup.intersects(SetupFlags::CQE32 | SetupFlags::CQE_MIXED);
    if !ring.defers_completions() || !has_big_cqes {
        return Err(Errno::INVAL);
    }
    // `struct io_uring_zcrx_ifq_reg`: the device and its queue, entries and flags, two addresses, offsets, the id.
    let [device_and_queue, entries_and_flags, area, region, _, _, _, _, id, reserved @ ..] =
        argument.read::<[u64; 12]>()?;
    UserAddress::new(region).read::<[u64; 8]>()?;
    let (device, queue) = (device_and_queue as u32, (device_and_queue >> 32) as u32);
    let (entries, flags) = (entries_and_flags as u32, (entries_and_flags >> 32) as u32);
    if id != 0 || reserved != [0; 3] || flags != 0 || queue == u32::MAX || entries == 0 {
        return Err(Errno::INVAL);
    }
    if entries > MOST_ENTRIES && !ring.setup.contains(SetupFlags::CLAMP) {
        return Err(Errno::INVAL);
    }
    UserAddress::new(area).read::<[u64; 8]>()?;
    Err(if is_device(device)? { Errno::OPNOTSUPP } else { Errno::NODEV })
}

/// Whether a network device has this number. `netdevice.7`.
fn is_device(number: u32) -> Result<bool, Errno> {
    const AF_UNIX: i32 = 1;
    const SOCK_DGRAM_CLOEXEC: u32 = 0o2000002;
    const SIOCGIFNAME: u32 = 0x8910;
    let socket = call::socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0)?;
    // `struct ifreq`: a name of 16 bytes, then the number.
    let mut request = [0_u32; 10];
    request[4] = number;
    Ok(call::ioctl(socket.as_raw_fd(), SIOCGIFNAME, UserAddress::of(&raw mut request)).is_ok())
}
