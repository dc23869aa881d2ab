//! Files that come and go while requests use them.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use fastrand::Rng;
use ringer_sys::alternatives::replace_by_libc;
use rustix::event::{EventfdFlags, epoll, eventfd};
use rustix::fs::OFlags;
use rustix::io::ReadWriteFlags;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with,
    socketpair,
};

use super::regular::reopen;
use super::scene::lock;

/// Of each kind.
const FILES: usize = 4;
const KINDS: usize = 5;
/// So many of the first keep their numbers. They are pipes.
const STAYING: usize = 2;

/// Two descriptors: what is written to one is read from the other.
#[derive(Debug)]
struct Pair {
    kind: usize,
    /// The numbers, which may be looked at while they change.
    numbers: [AtomicI32; 2],
    ends: Mutex<(OwnedFd, OwnedFd)>,
}

/// All files of a scene.
#[derive(Debug)]
pub(super) struct Files {
    pairs: Vec<Pair>,
    listener: OwnedFd,
    address: SocketAddrUnix,
    directory: OwnedFd,
    /// Watches what requests add.
    epoll: OwnedFd,
}

fn new_pair(kind: usize) -> (OwnedFd, OwnedFd) {
    let sockets =
        |kind| socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).expect("a pair of sockets");
    let (read, write) = match kind {
        0 => rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe"),
        1 => sockets(SocketType::STREAM),
        2 => sockets(SocketType::DGRAM),
        3 => {
            let file: OwnedFd = tempfile::tempfile().expect("a file").into();
            (reopen(&file, OFlags::RDONLY), file)
        }
        _ => {
            let eventfd = eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
            return (eventfd.try_clone().expect("a descriptor"), eventfd);
        }
    };
    rustix::io::ioctl_fionbio(&write, true).expect("any file");
    (read, write)
}

fn stream() -> OwnedFd {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("a socket")
}

impl Files {
    pub(super) fn new() -> Self {
        let pair = |number: usize| {
            let kind = number / FILES;
            let ends = new_pair(kind);
            let numbers = [ends.0.as_raw_fd(), ends.1.as_raw_fd()].map(AtomicI32::new);
            Pair { kind, numbers, ends: Mutex::new(ends) }
        };
        let listener = stream();
        // The kernel chooses an address.
        bind(&listener, &SocketAddrUnix::new_unnamed()).expect("an address");
        listen(&listener, 64).expect("a socket");
        let address = getsockname(&listener).expect("a socket").try_into().expect("an address of its family");
        Self {
            pairs: (0..KINDS * FILES).map(pair).collect(),
            listener,
            address,
            directory: std::fs::File::open("/").expect("there is a root").into(),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll instance"),
        }
    }

    fn any(&self, rng: &mut Rng) -> &Pair {
        rng.choice(&self.pairs).expect("there are files")
    }

    pub(super) fn readable(&self, rng: &mut Rng) -> RawFd {
        self.any(rng).numbers[0].load(Relaxed)
    }

    pub(super) fn writable(&self, rng: &mut Rng) -> RawFd {
        self.any(rng).numbers[1].load(Relaxed)
    }

    /// The read end of a pipe. Its number is always that of a pipe.
    pub(super) fn pipe(&self, rng: &mut Rng) -> RawFd {
        rng.choice(&self.pairs[..STAYING]).expect("there are pipes").numbers[0].load(Relaxed)
    }

    pub(super) fn listener(&self) -> RawFd {
        self.listener.as_raw_fd()
    }

    pub(super) fn directory(&self) -> RawFd {
        self.directory.as_raw_fd()
    }

    pub(super) fn epoll(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// Writes to each, and connects once.
    pub(super) fn feed(&self) {
        for pair in &self.pairs {
            // One that is full is fed well enough.
            let _ = rustix::io::write(&lock(&pair.ends).1, &1_u64.to_ne_bytes());
        }
        // Where nobody accepts, no more fit into the line.
        let _ = connect(stream(), &self.address);
    }

    /// Takes what is there, for who waits for room. Who drains waits for that, and holds up whoever would take it.
    pub(super) fn empty(&self) {
        for pair in &self.pairs {
            let mut bytes = [0; 4096];
            let buffer = std::io::IoSliceMut::new(&mut bytes);
            // The engine may be faster.
            let position = u64::MAX;
            let _ = rustix::io::preadv2(&lock(&pair.ends).0, &mut [buffer], position, ReadWriteFlags::NOWAIT);
        }
    }

    /// Puts new files in the place of a pair: under the same numbers, by calls that the preload library hears of or not, or by closing it, which gives the numbers to whoever comes next.
    pub(super) fn replace(&self, rng: &mut Rng) {
        let index = rng.usize(..self.pairs.len());
        let pair = &self.pairs[index];
        let (read, write) = new_pair(pair.kind);
        let mut ends = lock(&pair.ends);
        match rng.u8(..if index < STAYING { 2 } else { 3 }) {
            0 => {
                replace_by_libc(&read, &mut ends.0).expect("an open descriptor");
                replace_by_libc(&write, &mut ends.1).expect("an open descriptor");
            }
            1 => {
                rustix::io::dup2(&read, &mut ends.0).expect("an open descriptor");
                rustix::io::dup2(&write, &mut ends.1).expect("an open descriptor");
            }
            _ => {
                pair.numbers[0].store(read.as_raw_fd(), Relaxed);
                pair.numbers[1].store(write.as_raw_fd(), Relaxed);
                *ends = (read, write);
            }
        }
    }
}
