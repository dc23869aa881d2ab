//! What the network operations share: constants of `socket.2`, addresses, questions to a socket.

use std::os::fd::RawFd;

use ringer_abi::poll::{POLLERR, POLLIN, POLLPRI, POLLRDHUP};
use ringer_sys::{Errno, UserAddress, call};

pub(crate) const O_NONBLOCK: u32 = 0o4000;
pub(crate) const SOCK_NONBLOCK: u32 = 0o4000;
pub(crate) const SOCK_CLOEXEC: u32 = 0o2_000_000;

pub(crate) const MSG_PEEK: u32 = 0x2;
pub(crate) const MSG_CTRUNC: u32 = 0x8;
pub(crate) const MSG_TRUNC: u32 = 0x20;
pub(crate) const MSG_DONTWAIT: u32 = 0x40;
pub(crate) const MSG_WAITALL: u32 = 0x100;
pub(crate) const MSG_ERRQUEUE: u32 = 0x2000;
pub(crate) const MSG_NOSIGNAL: u32 = 0x4000;
/// `MSG_CMSG_COMPAT`: an inner flag of the kernel that its system calls refuse.
const MSG_CMSG_COMPAT: u32 = 1 << 31;

/// `INT_MAX`: the most bytes that SEND and RECV accept.
pub(crate) const INT_MAX: u32 = i32::MAX as u32;
/// Linux transfers at most this many bytes at once.
const MOST_BYTES: u64 = 0x7fff_f000;
/// The size of `struct sockaddr_storage`: the longest address.
const LONGEST_ADDRESS: u32 = 128;
/// Where the kernel's half of the address space is sure to have begun.
const USER_SPACE_END: u64 = 1 << 47;

pub(crate) const SOL_SOCKET: u32 = 1;
const SO_TYPE: u32 = 3;
const SO_ERROR: u32 = 4;
const SO_ACCEPTCONN: u32 = 30;
const SO_DOMAIN: u32 = 39;
const SOL_TCP: u32 = 6;
const TCP_INFO: u32 = 11;
const SOCK_STREAM: u32 = 1;
const SOCK_SEQPACKET: u32 = 5;
const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;

/// The `MSG_` flags of a request as a system call accepts them.
pub(crate) const fn message_flags(flags: u32) -> u32 {
    flags & !MSG_CMSG_COMPAT
}

/// A socket address, copied from the program.
pub(crate) type Address = Box<[u8]>;

/// Copies a socket address that the program passes with its length.
///
/// # Errors
/// `EINVAL` for a length that no address has, `EFAULT`.
pub(crate) fn read_address(address: u64, length: u32) -> Result<Address, Errno> {
    if length > LONGEST_ADDRESS {
        return Err(Errno::INVAL);
    }
    UserAddress::new(address).read_vec::<u8>(length as usize).map(Vec::into_boxed_slice)
}

/// As [`read_address`], with a length that `struct msghdr` gives: a longer one is cut.
///
/// # Errors
/// `EFAULT`.
pub(crate) fn read_name(address: u64, length: u32) -> Result<Address, Errno> {
    read_address(address, length.min(LONGEST_ADDRESS))
}

/// Checks a range of bytes as the kernel does when it prepares a transfer. Whether it is mapped
/// shows later.
///
/// # Errors
/// `EINVAL` for more bytes than `most`, `EFAULT` for a range that no program can have.
pub(crate) fn check_range(address: u64, length: u32, most: u32) -> Result<(), Errno> {
    if length > most {
        return Err(Errno::INVAL);
    }
    check_user_space(address, u64::from(length))
}

/// Checks that a range is within the program's half of the address space.
///
/// # Errors
/// `EFAULT`.
pub(crate) fn check_user_space(address: u64, length: u64) -> Result<(), Errno> {
    match address.checked_add(length.min(MOST_BYTES)) {
        Some(end) if end <= USER_SPACE_END => Ok(()),
        _ => Err(Errno::FAULT),
    }
}

/// How many of `bytes` one transfer moves at most.
pub(crate) fn capped(bytes: u64) -> u64 {
    bytes.min(MOST_BYTES)
}

/// An option of a socket whose value is an `int`. `getsockopt.2`.
fn option(fd: RawFd, level: u32, name: u32) -> Result<u32, Errno> {
    let mut value = 0_u32;
    let mut size = size_of::<u32>() as u32;
    call::getsockopt(fd, level, name, UserAddress::of(&raw mut value), UserAddress::of(&raw mut size))?;
    Ok(value)
}

/// Checks that this is a socket.
///
/// # Errors
/// `ENOTSOCK`, `EBADF`.
pub(crate) fn check_socket(fd: RawFd) -> Result<(), Errno> {
    option(fd, SOL_SOCKET, SO_TYPE).map(drop)
}

/// Takes the socket's pending error.
///
/// # Errors
/// The pending error, or one of `getsockopt.2`.
pub(crate) fn take_error(fd: RawFd) -> Result<(), Errno> {
    match option(fd, SOL_SOCKET, SO_ERROR)? {
        0 => Ok(()),
        errno => Err(Errno::from_raw_os_error(errno as i32)),
    }
}

/// Whether `MSG_WAITALL` makes the request go on after a part: on streams and sequenced packets.
pub(crate) fn goes_on_after_part(fd: RawFd) -> bool {
    matches!(option(fd, SOL_SOCKET, SO_TYPE), Ok(SOCK_STREAM | SOCK_SEQPACKET))
}

/// Whether this socket listens for connections.
///
/// # Errors
/// `ENOTSOCK`, `EBADF`.
pub(crate) fn is_listening(fd: RawFd) -> Result<bool, Errno> {
    option(fd, SOL_SOCKET, SO_ACCEPTCONN).map(|listens| listens != 0)
}

/// Sets or clears `O_NONBLOCK` and nothing else. `FIONBIO` of `ioctl.2`.
///
/// # Errors
/// `EBADF`.
pub(crate) fn set_nonblocking(fd: RawFd, nonblocking: bool) -> Result<(), Errno> {
    const FIONBIO: u32 = 0x5421;
    let value = i32::from(nonblocking);
    call::ioctl(fd, FIONBIO, UserAddress::of(&raw const value)).map(drop)
}

/// Whether this is a stream socket.
pub(crate) fn is_stream(fd: RawFd) -> bool {
    matches!(option(fd, SOL_SOCKET, SO_TYPE), Ok(SOCK_STREAM))
}

/// Whether this is an IP socket.
pub(crate) fn is_ip(fd: RawFd) -> bool {
    check_is_ip(fd).is_ok()
}

/// Checks that this is an IP socket.
///
/// # Errors
/// `EOPNOTSUPP` for another one, `ENOTSOCK`, `EBADF`.
pub(crate) fn check_is_ip(fd: RawFd) -> Result<(), Errno> {
    match option(fd, SOL_SOCKET, SO_DOMAIN)? {
        AF_INET | AF_INET6 => Ok(()),
        _ => Err(Errno::OPNOTSUPP),
    }
}

/// The error of a request that found no provided buffer, or one that is too small: a descriptor that is wrong counts first.
pub(crate) fn without_buffer(fd: RawFd, errno: Errno) -> Errno {
    match option(fd, SOL_SOCKET, SO_TYPE) {
        Err(wrong @ (Errno::BADF | Errno::NOTSOCK)) => wrong,
        _ => errno,
    }
}

/// How many bytes wait to be read. `FIONREAD` of `ioctl.2`.
pub(crate) fn waiting_bytes(fd: RawFd) -> u32 {
    const FIONREAD: u32 = 0x541b;
    let mut waiting = 0_i32;
    match call::ioctl(fd, FIONREAD, UserAddress::of(&raw mut waiting)) {
        Ok(_) => u32::try_from(waiting).unwrap_or(0),
        Err(_) => 0,
    }
}

/// Whether a socket of datagrams was shut down for reading. It is ready for ever then and has nothing, and a call that waits for
/// something returns 0.
pub(crate) fn is_shut_down(fd: RawFd) -> bool {
    const SOCK_DGRAM: u32 = 2;
    const SOCK_RAW: u32 = 3;
    matches!(option(fd, SOL_SOCKET, SO_TYPE), Ok(SOCK_DGRAM | SOCK_RAW))
        && call::poll_now(fd, POLLRDHUP as u16).is_ok_and(|ready| ready & POLLRDHUP as u16 != 0)
}

/// What a receiving request must know of its socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadKind {
    /// A stream: less than was asked for is all there is.
    pub(crate) is_stream: bool,
    /// It tells whether there is more to read, as far as `IORING_CQE_F_SOCK_NONEMPTY` promises it: TCP and Unix streams
    /// do, other sockets do not.
    pub(crate) tells: bool,
}

impl ReadKind {
    pub(crate) fn of(fd: RawFd) -> Self {
        let is_stream = is_stream(fd);
        let tells =
            is_stream && matches!(option(fd, SOL_SOCKET, SO_DOMAIN), Ok(AF_UNIX | AF_INET | AF_INET6));
        Self { is_stream, tells }
    }
}

/// Whether a TCP connection has been closed by its peer. The kernel counts that end as one more
/// thing to read.
pub(crate) fn is_at_end_of_tcp(fd: RawFd) -> bool {
    const ESTABLISHED: u8 = 1;
    const FIN_WAIT_2: u8 = 5;
    tcp_state(fd).is_some_and(|state| !(ESTABLISHED..=FIN_WAIT_2).contains(&state))
}

/// The state of a TCP connection; of no other socket. `TCP_INFO` of `tcp.7`.
fn tcp_state(fd: RawFd) -> Option<u8> {
    let mut state = 0_u8;
    let mut size = 1_u32;
    // The first byte of `struct tcp_info` is the state.
    let address = UserAddress::of(&raw mut state);
    call::getsockopt(fd, SOL_TCP, TCP_INFO, address, UserAddress::of(&raw mut size)).ok().map(|_| state)
}

/// What has to be known of a socket for [`has_more_to_read`], as `poll.2` bits.
pub const MORE_TO_READ: u16 = (POLLIN | POLLPRI | POLLRDHUP) as u16;

/// Whether a socket that said so when it was asked for [`MORE_TO_READ`] has more to read, as `IORING_CQE_F_SOCK_NONEMPTY` tells it: TCP and Unix
/// streams do, other sockets do not. Of TCP, Linux counts urgent data, and the end that the peer has sent.
pub fn has_more_to_read(fd: RawFd, ready: u16) -> bool {
    const CLOSE: u8 = 7;
    const CLOSE_WAIT: u8 = 8;
    const LAST_ACK: u8 = 9;
    const CLOSING: u8 = 11;
    if ready & MORE_TO_READ == 0 || !ReadKind::of(fd).tells {
        return false;
    }
    waiting_bytes(fd) > 0
        || match tcp_state(fd) {
            None => false,
            Some(CLOSE_WAIT | LAST_ACK | CLOSING) => true,
            // Both sides ended it; or it was reset.
            Some(CLOSE) => u32::from(ready) & POLLERR == 0,
            Some(_) => u32::from(ready) & POLLPRI != 0,
        }
}
