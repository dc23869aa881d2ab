//! Where the events of all processes arrive.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use ringer_engine::trace::Record;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{Errno, write};
use rustix::net::{
    AddressFamily, RecvFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, recv,
    socket_with,
};
use rustix::rand::{GetRandomFlags, getrandom};

use crate::failure::Failure;

/// A socket that processes connect to, each by itself; children share their parent's connection. When it goes, they are not traced any more.
pub struct Reader {
    name: String,
    listener: OwnedFd,
    bell: Bell,
}

/// Says that the program has ended.
#[derive(Clone)]
pub struct Bell(Arc<OwnedFd>);

impl Bell {
    /// The program has ended.
    pub fn ring(&self) {
        // A counter that is zero has room for one.
        let _ = write(&*self.0, &1_u64.to_ne_bytes());
    }
}

/// More connections wait for their turn.
const BACKLOG: i32 = 128;

impl Reader {
    /// Waits for connections from now on.
    pub fn new() -> Result<Self, Failure> {
        // Others may connect, too: they would have to guess.
        let mut random = [0; 8];
        getrandom(&mut random, GetRandomFlags::empty()).map_err(Failure::system("cannot draw a number"))?;
        let name = format!("ringer-trace-{}-{:016x}", std::process::id(), u64::from_ne_bytes(random));
        let make = || {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
            bind(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
            listen(&socket, BACKLOG)?;
            Ok::<_, Errno>((socket, Bell(Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?))))
        };
        let (listener, bell) = make().map_err(Failure::system("cannot make a socket for the trace"))?;
        Ok(Self { name, listener, bell })
    }

    /// Its name, in the abstract namespace of `unix.7`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What says that the program has ended.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Reads events, with the numbers of the connections that they came by, until the program has ended, and then what is there already. Processes that it has left behind are not traced any more.
    pub fn read(self, mut event: impl FnMut(u32, Record) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut connections: Vec<(u32, OwnedFd)> = Vec::new();
        let mut numbers = 0_u32..;
        loop {
            let fds = [&self.listener, &*self.bell.0].into_iter().chain(connections.iter().map(|(_, fd)| fd));
            let mut polled: Vec<PollFd<'_>> = fds.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
            match poll(&mut polled, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(Failure::system("cannot wait for the trace")(error)),
            }
            // What was sent before the end is read after it is known.
            let is_over = !polled[1].revents().is_empty();
            while let Ok(connection) =
                accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
            {
                connections.extend(numbers.next().map(|number| (number, connection)));
            }
            let mut result = Ok(());
            connections.retain(|(number, connection)| match read_all(*number, connection, &mut event) {
                Ok(is_open) => is_open,
                Err(failure) => {
                    result = Err(failure);
                    false
                }
            });
            result?;
            if is_over {
                return Ok(());
            }
        }
    }
}

/// Reads what is there. Returns whether more may come.
fn read_all(
    number: u32,
    connection: &OwnedFd,
    event: &mut impl FnMut(u32, Record) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let mut bytes = [0; Record::LONGEST];
    loop {
        match recv(connection, &mut bytes[..], RecvFlags::empty()) {
            Ok((0, _)) => return Ok(false),
            Ok((length, _)) => {
                if let Some(record) = Record::from_bytes(&bytes[..length]) {
                    event(number, record)?;
                }
            }
            Err(Errno::AGAIN) => return Ok(true),
            Err(Errno::INTR) => {}
            // It went with something unread.
            Err(_) => return Ok(false),
        }
    }
}
