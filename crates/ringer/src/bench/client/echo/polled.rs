//! The server as an epoll loop, with mio.

use std::io::{ErrorKind, Read, Write};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::super::error::{ClientError, io};
use super::{MESSAGE, Served};

/// Serves all connections in this thread.
pub fn serve(sockets: Vec<std::net::TcpStream>) -> Result<Served, ClientError> {
    let mut poll = Poll::new().map_err(io("epoll_create"))?;
    let mut events = Events::with_capacity(sockets.len());
    let mut connections = Vec::with_capacity(sockets.len());
    for (number, socket) in sockets.into_iter().enumerate() {
        socket.set_nonblocking(true).map_err(io("fcntl"))?;
        let mut socket = TcpStream::from_std(socket);
        poll.registry().register(&mut socket, Token(number), Interest::READABLE).map_err(io("epoll_ctl"))?;
        connections.push(socket);
    }
    let (mut open, mut messages) = (connections.len(), 0);
    // A message is shorter: a buffer that is not full says that the socket is empty, without another call.
    let mut buffer = [0; 2 * MESSAGE];
    while open > 0 {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other.map_err(io("epoll_wait"))?,
        }
        for event in &events {
            let socket = &mut connections[event.token().0];
            match socket.read(&mut buffer) {
                Ok(0) => {
                    poll.registry().deregister(socket).map_err(io("epoll_ctl"))?;
                    open -= 1;
                }
                Ok(count) => {
                    // So little always fits into the socket's buffer.
                    socket.write_all(&buffer[..count]).map_err(io("write to a socket"))?;
                    messages += 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(io("read from a socket")(error)),
            }
        }
    }
    Ok(Served { messages })
}
