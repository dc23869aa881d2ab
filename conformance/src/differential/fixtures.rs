//! Files, pipes and sockets in a known state, kept open by the session.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::memory::Memory;
use super::session::Session;

const CONTEXT: &str = "a fixture of the case";

/// The size of a `struct sockaddr_in`.
pub const SOCKADDR_IN: usize = 16;

impl Session {
    /// A regular file with this content, open for reading and writing at position 0.
    pub fn file(&self, content: &[u8]) -> RawFd {
        self.file_with(content, OFlags::RDWR)
    }

    /// The same with other open flags.
    pub fn file_with(&self, content: &[u8], flags: OFlags) -> RawFd {
        let path = self.file_path(content);
        self.keep(open(path, flags | OFlags::CLOEXEC, Mode::empty()).expect(CONTEXT))
    }

    /// A closed regular file with this content.
    pub fn file_path(&self, content: &[u8]) -> PathBuf {
        let path = self.new_path();
        std::fs::write(&path, content).expect(CONTEXT);
        path
    }

    /// The content of a kept regular file.
    pub fn content(&self, fd: RawFd) -> Vec<u8> {
        self.with_kept(fd, |fd| {
            let size = rustix::fs::fstat(fd).expect(CONTEXT).st_size as usize;
            let mut bytes = vec![0; size];
            let read = rustix::io::pread(fd, &mut bytes, 0).expect(CONTEXT);
            bytes.truncate(read);
            bytes
        })
    }

    /// The file position of a kept descriptor.
    pub fn position(&self, fd: RawFd) -> u64 {
        self.with_kept(fd, |fd| rustix::fs::tell(fd).expect(CONTEXT))
    }

    /// The case's directory, open.
    pub fn directory_fd(&self) -> RawFd {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.keep(open(self.directory(), flags, Mode::empty()).expect(CONTEXT))
    }

    /// A pipe: the read end and the write end.
    pub fn pipe(&self) -> (RawFd, RawFd) {
        self.pipe_with(PipeFlags::CLOEXEC)
    }

    /// The same with other flags.
    pub fn pipe_with(&self, flags: PipeFlags) -> (RawFd, RawFd) {
        let (read, write) = pipe_with(flags).expect(CONTEXT);
        (self.keep(read), self.keep(write))
    }

    /// A pair of connected Unix stream sockets.
    pub fn pair(&self) -> (RawFd, RawFd) {
        self.pair_of(SocketType::STREAM)
    }

    /// A pair of connected Unix sockets.
    pub fn pair_of(&self, kind: SocketType) -> (RawFd, RawFd) {
        let (left, right) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).expect(CONTEXT);
        (self.keep(left), self.keep(right))
    }

    /// A TCP listener on loopback, and its port.
    pub fn listener(&self) -> (RawFd, u16) {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect(CONTEXT);
        let port = listener.local_addr().expect(CONTEXT).port();
        (self.keep(OwnedFd::from(listener)), port)
    }

    /// A TCP client connected to this port on loopback.
    pub fn client(&self, port: u16) -> RawFd {
        let stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect(CONTEXT);
        self.keep(OwnedFd::from(stream))
    }

    /// Two connected TCP sockets.
    pub fn tcp_pair(&self) -> (RawFd, RawFd) {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect(CONTEXT);
        let port = listener.local_addr().expect(CONTEXT).port();
        let client = self.client(port);
        let (server, _) = listener.accept().expect(CONTEXT);
        let pair = (client, self.keep(OwnedFd::from(server)));
        for end in [pair.0, pair.1] {
            // Else what is sent may wait until the other side acknowledges what was sent before.
            self.with_kept(end, |fd| rustix::net::sockopt::set_tcp_nodelay(fd, true)).expect(CONTEXT);
        }
        pair
    }

    /// An unconnected TCP socket.
    pub fn tcp_socket(&self) -> RawFd {
        self.keep(
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect(CONTEXT),
        )
    }

    /// A UDP socket bound to loopback, and its port.
    pub fn udp(&self) -> (RawFd, u16) {
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect(CONTEXT);
        let port = socket.local_addr().expect(CONTEXT).port();
        (self.keep(OwnedFd::from(socket)), port)
    }

    /// Two connected UDP sockets on loopback.
    pub fn udp_pair(&self) -> (RawFd, RawFd) {
        let bind = || std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect(CONTEXT);
        let (left, right) = (bind(), bind());
        left.connect(right.local_addr().expect(CONTEXT)).expect(CONTEXT);
        right.connect(left.local_addr().expect(CONTEXT)).expect(CONTEXT);
        (self.keep(OwnedFd::from(left)), self.keep(OwnedFd::from(right)))
    }

    /// A named pipe of the working directory, open for reading and writing.
    pub fn fifo(&self) -> RawFd {
        // Any number of them have one name after the other.
        let path = self.directory().join("fifo");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect(CONTEXT);
        let opened = rustix::fs::open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).expect(CONTEXT);
        std::fs::remove_file(&path).expect(CONTEXT);
        self.keep(opened)
    }

    /// A terminal that passes everything on as it comes: the side that controls it, and the terminal itself.
    pub fn terminal(&self) -> (RawFd, RawFd) {
        use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let controller = openpt(flags).expect(CONTEXT);
        grantpt(&controller).and_then(|()| unlockpt(&controller)).expect(CONTEXT);
        let name = ptsname(&controller, Vec::new()).expect(CONTEXT);
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = rustix::fs::open(name.as_c_str(), flags, Mode::empty()).expect(CONTEXT);
        let mut settings = rustix::termios::tcgetattr(&terminal).expect(CONTEXT);
        settings.make_raw();
        rustix::termios::tcsetattr(&terminal, rustix::termios::OptionalActions::Now, &settings)
            .expect(CONTEXT);
        (self.keep(controller), self.keep(terminal))
    }

    /// Writes to a kept descriptor.
    pub fn write_fd(&self, fd: RawFd, bytes: &[u8]) {
        let written = self.with_kept(fd, |fd| rustix::io::write(fd, bytes)).expect(CONTEXT);
        assert_eq!(written, bytes.len());
    }

    /// Reads what a kept descriptor has now.
    ///
    /// # Errors
    /// Those of the call; the descriptor must not block.
    pub fn read_fd(&self, fd: RawFd, at_most: usize) -> Vec<u8> {
        let mut bytes = vec![0; at_most];
        let read = self.with_kept(fd, |fd| rustix::io::read(fd, &mut bytes)).expect(CONTEXT);
        bytes.truncate(read);
        bytes
    }

    /// An eventfd with this count, non-blocking.
    pub fn eventfd(&self, count: u32) -> RawFd {
        self.keep(eventfd(count, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect(CONTEXT))
    }

    /// The count of a non-blocking eventfd, reset to 0 by this.
    pub fn eventfd_count(&self, fd: RawFd) -> u64 {
        let mut bytes = [0; 8];
        match self.with_kept(fd, |fd| rustix::io::read(fd, &mut bytes)) {
            Ok(_) => u64::from_ne_bytes(bytes),
            Err(_) => 0,
        }
    }

    /// A timerfd that expired once.
    pub fn expired_timerfd(&self) -> RawFd {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC).expect(CONTEXT);
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: 0, tv_nsec: 1 },
        };
        timerfd_settime(&fd, TimerfdTimerFlags::empty(), &once).expect(CONTEXT);
        std::thread::sleep(std::time::Duration::from_millis(1));
        self.keep(fd)
    }

    /// An epoll instance that watches nothing.
    pub fn epoll(&self) -> RawFd {
        self.keep(rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC).expect(CONTEXT))
    }

    /// A number that is not open.
    pub fn closed_fd(&self) -> RawFd {
        let number = self.eventfd(0);
        // A high number, so that nothing else the case opens gets it.
        let high = rustix::io::fcntl_dupfd_cloexec(
            self.with_kept(number, |fd| fd.try_clone_to_owned()).expect(CONTEXT),
            700,
        )
        .expect(CONTEXT);
        use std::os::fd::AsRawFd;
        let closed = high.as_raw_fd();
        drop(high);
        self.close_kept(number);
        closed
    }

    /// A `struct sockaddr_in` of loopback and this port.
    pub fn sockaddr(&self, port: u16) -> Memory {
        let memory = self.memory(SOCKADDR_IN);
        memory.fill(&sockaddr_bytes(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)));
        memory
    }

    /// A `struct msghdr`.
    pub fn message(&self, name: (u64, u32), vectors: (u64, u64), control: (u64, u64)) -> Memory {
        self.words(&[name.0, u64::from(name.1), vectors.0, vectors.1, control.0, control.1, 0])
    }
}

/// The bytes of a `struct sockaddr_in`.
pub fn sockaddr_bytes(address: SocketAddrV4) -> [u8; SOCKADDR_IN] {
    const AF_INET: u16 = 2;
    let mut bytes = [0; SOCKADDR_IN];
    bytes[..2].copy_from_slice(&AF_INET.to_ne_bytes());
    bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
    bytes[4..8].copy_from_slice(&address.ip().octets());
    bytes
}
