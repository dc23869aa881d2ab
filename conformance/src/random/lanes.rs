//! The objects that a sequence works on, in a known state, and what became of them.

use std::os::fd::RawFd;
use std::path::PathBuf;

use ringer_abi::RegisterOpcode;

use super::sequence::{INCREMENTAL_GROUPS, LANES, Object, Pair, RING_GROUPS};
use crate::differential::buffer_ring::{self, BufferRing};
use crate::differential::memory::Memory;
use crate::differential::{Ring, Session};

/// What a file begins with.
const TEXT: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-+";
/// Registered files of a lane: its objects, and two slots for direct descriptors.
pub const SLOTS: usize = Object::ALL.len() + 2;
/// Where spare descriptors are: numbers that nothing else gets.
const SPARE: RawFd = 700;
/// A number that is never open.
const CLOSED: RawFd = 690;

/// Where the block of a lane holds bytes to write, room to read into, and buffers to provide.
const ROOM: usize = 1024;
/// The first provided buffer.
pub const PROVIDED: usize = 2048;
/// The size of a provided buffer.
pub const PROVIDED_SIZE: usize = 32;
/// The buffers of the buffer rings: several of that size, and a larger one.
const IN_RING: usize = PROVIDED + 8 * PROVIDED_SIZE;
const IN_RING_COUNT: usize = 4;
const INCREMENTAL: usize = IN_RING + IN_RING_COUNT * PROVIDED_SIZE;
const INCREMENTAL_SIZE: usize = 128;
const BLOCK: usize = 4096;

/// One set of objects.
#[derive(Debug)]
pub struct Lane {
    descriptors: [RawFd; Object::ALL.len()],
    /// Memory that is also a registered buffer.
    pub block: Memory,
    /// The number 1, to write to the eventfd.
    pub one: Memory,
    /// A futex.
    pub word: Memory,
    /// Where the listener listens.
    pub address: Memory,
    port: u16,
    directory: PathBuf,
    /// The path of the file.
    pub file: PathBuf,
}

impl Lane {
    fn new(session: &Session, number: usize, pair: Pair) -> Self {
        let directory = session.directory().join(format!("lane{number}"));
        std::fs::create_dir(&directory).expect("a fresh directory");
        let file = directory.join("file");
        std::fs::write(&file, TEXT).expect("a fresh file");
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
        let open = |path: &PathBuf, flags| {
            session.keep(rustix::fs::open(path, flags, rustix::fs::Mode::empty()).expect("it was just made"))
        };
        let (pipe_read, pipe_write) = session.pipe();
        let (other_read, other_write) = session.pipe();
        let (left, right) = match pair {
            Pair::Stream => session.pair(),
            Pair::Tcp => session.tcp_pair(),
            Pair::Packets => session.pair_of(rustix::net::SocketType::SEQPACKET),
            Pair::Datagrams => session.pair_of(rustix::net::SocketType::DGRAM),
            Pair::Udp => session.udp_pair(),
            Pair::Terminal => session.terminal(),
        };
        let fd = open(&file, flags);
        let spare = session.with_kept(fd, |fd| {
            rustix::io::fcntl_dupfd_cloexec(fd, SPARE + number as RawFd).expect("the number is free")
        });
        let (listener, port) = session.listener();
        let descriptors = [
            fd,
            pipe_read,
            pipe_write,
            other_read,
            other_write,
            left,
            right,
            session.keep(
                rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)
                    .expect("a fixture of the sequence"),
            ),
            session.epoll(),
            open(&directory, rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC),
            session.tcp_socket(),
            listener,
            std::os::fd::IntoRawFd::into_raw_fd(spare),
            CLOSED,
            CLOSED,
            CLOSED,
        ];
        let block = session.memory(BLOCK);
        let first = if number == 1 { b'a' } else { b'A' };
        block.fill(&std::array::from_fn::<u8, ROOM, _>(|byte| first + (byte % 26) as u8));
        Self {
            descriptors,
            block,
            one: session.words(&[1]),
            word: session.words(&[0]),
            address: session.sockaddr(port),
            port,
            directory,
            file,
        }
    }

    /// The descriptor of an object, which is no ring.
    pub fn descriptor(&self, object: Object) -> RawFd {
        self.descriptors[object.index()]
    }

    /// Puts another file where this object was, which is closed and not registered any more.
    pub fn close(&self, number: usize, object: Object, session: &Session, rings: &[Ring]) {
        let nothing = session.ints(&[-1]);
        let update = session.words(&[(number * SLOTS + object.index()) as u64, nothing.addr()]);
        for ring in rings {
            ring.register(RegisterOpcode::FilesUpdate.number(), update.addr(), 1).expect("the slot is there");
        }
        self.replace(object, session);
    }

    /// Puts another file where this object was, which is closed.
    pub fn replace(&self, object: Object, session: &Session) {
        // At once, so that nothing else gets the number.
        let file = std::fs::File::open("/dev/null").expect("it is always there");
        session.replace_kept(self.descriptor(object), file);
    }

    /// Connects to the listener.
    pub fn connect(&self, session: &Session) {
        session.client(self.port);
    }

    /// Room for what the step with this number reads.
    pub fn room(&self, number: usize) -> u64 {
        self.block.addr() + (ROOM + number % 16 * 64) as u64
    }

    /// Gives the lane its two buffer rings.
    fn fill_rings(&self, number: u16, session: &Session, ring: &Ring) {
        let classic = BufferRing::new(session, ring, RING_GROUPS + number, 0);
        for id in 0..IN_RING_COUNT {
            let address = self.block.addr() + (IN_RING + id * PROVIDED_SIZE) as u64;
            classic.add(address, PROVIDED_SIZE as u32, id as u16);
        }
        classic.publish();
        let incremental =
            BufferRing::new(session, ring, INCREMENTAL_GROUPS + number, buffer_ring::INCREMENTAL);
        incremental.add(self.block.addr() + INCREMENTAL as u64, INCREMENTAL_SIZE as u32, 0);
        incremental.publish();
    }

    /// Records what became of the objects.
    fn record(&self, number: usize, session: &Session) {
        let content = std::fs::File::open(&self.file).and_then(|file| {
            let mut bytes = [0; 256];
            let read = std::os::unix::fs::FileExt::read_at(&file, &mut bytes, 0)?;
            Ok((file.metadata()?.len(), bytes[..read].to_vec()))
        });
        match content {
            Ok((size, bytes)) => {
                session.record(format!("size of file {number}"), size);
                session.bytes(format!("file {number}"), &bytes);
            }
            Err(error) => session.record(format!("file {number}"), error.kind()),
        }
        session.record(format!("position of file {number}"), session.position(self.descriptor(Object::File)));
        for object in [Object::PipeRead, Object::OtherRead, Object::Left, Object::Right, Object::Event] {
            let mut left = session.with_kept(self.descriptor(object), all_that_is_left);
            // A large length has more sent than the block, which is not the same in every process.
            left.truncate(BLOCK - ROOM);
            session.bytes(format!("left in {object:?} {number}"), &left);
        }
        let block = self.block.bytes();
        session.bytes(format!("memory {number}"), &block[ROOM..INCREMENTAL + INCREMENTAL_SIZE]);
        let mut names: Vec<String> = std::fs::read_dir(&self.directory)
            .map(|entries| {
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
            })
            .unwrap_or_default();
        names.sort();
        session.record(format!("names {number}"), names.join(" "));
    }

    fn close_spare(&self) {
        // A request may have closed it; the number belongs to nothing else.
        let _ = ringer_sys::native::close(self.descriptor(Object::Spare));
    }
}

/// All lanes of a sequence.
#[derive(Debug)]
pub struct Lanes(pub [Lane; LANES]);

impl Lanes {
    /// Fresh objects, registered with the rings.
    pub fn new(session: &Session, rings: &[Ring], pairs: [Pair; LANES]) -> Self {
        let lanes = Self(std::array::from_fn(|number| Lane::new(session, number, pairs[number])));
        rings.iter().for_each(|ring| lanes.register(session, ring));
        lanes
    }

    fn register(&self, session: &Session, ring: &Ring) {
        let mut files = Vec::new();
        for lane in &self.0 {
            files.extend(lane.descriptors);
            files.extend([-1; SLOTS - Object::ALL.len()]);
        }
        for (index, file) in files.iter_mut().enumerate() {
            if (Object::Closed.index()..Object::ALL.len()).contains(&(index % SLOTS)) {
                *file = -1;
            }
        }
        let table = session.ints(&files);
        ring.register(RegisterOpcode::Files.number(), table.addr(), files.len() as u32)
            .expect("the files are good");
        let blocks: Vec<(u64, u64)> = self.0.iter().map(|lane| (lane.block.addr(), BLOCK as u64)).collect();
        let vectors = session.vectors(&blocks);
        ring.register(RegisterOpcode::Buffers.number(), vectors.addr(), LANES as u32)
            .expect("the buffers are good");
        for (number, lane) in self.0.iter().enumerate() {
            lane.fill_rings(number as u16, session, ring);
        }
    }

    /// Records what became of everything.
    pub fn record(&self, session: &Session) {
        for (number, lane) in self.0.iter().enumerate() {
            lane.record(number, session);
        }
    }

    /// Closes what the session does not keep.
    pub fn close_spares(&self) {
        self.0.iter().for_each(Lane::close_spare);
    }
}

/// What can be read without waiting. A stream may give a part at a time, datagrams come one by one.
fn all_that_is_left(fd: rustix::fd::BorrowedFd<'_>) -> Vec<u8> {
    const MOST: usize = 1 << 16;
    let mut left = Vec::new();
    let mut bytes = [0; 4096];
    if rustix::io::ioctl_fionbio(fd, true).is_ok() {
        while let Ok(read @ 1..) = rustix::io::read(fd, &mut bytes)
            && left.len() < MOST
        {
            left.extend_from_slice(&bytes[..read]);
        }
    }
    left
}
