//! TCP echo over loopback: a server and a client side, each with a ring and a thread of its own.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::{ClientError, at, connector, responder};
use crate::demo::event::Event;

/// What to echo.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Connections at the same time.
    pub connections: usize,
    /// Messages of each connection, one after the other.
    pub messages: u64,
    /// Where the content of the messages comes from.
    pub seed: u64,
    /// When every wait ends.
    pub deadline: Instant,
}

/// What one side of the echo transferred.
#[derive(Clone, Copy, Debug)]
pub struct Total {
    /// Bytes received.
    pub bytes: u64,
    /// Checksum of the bytes received, over all connections.
    pub checksum: u32,
}

/// Runs both sides and compares what they saw.
pub fn echo(connections: usize, messages: u64, seed: u64, limit: Duration) -> Result<Event, ClientError> {
    let plan = Plan { connections, messages, seed, deadline: Instant::now() + limit };
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(at(|| "listen on 127.0.0.1".into()))?;
    let port = listener.local_addr().map_err(at(|| "getsockname".into()))?.port();
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let listener = OwnedFd::from(listener);

    let start = Instant::now();
    let (sender, results) = mpsc::channel();
    let client_sender = sender.clone();
    let server = move || sender.send((Side::Server, responder::serve(listener, plan)));
    let client = move || client_sender.send((Side::Client, connector::send(address, plan)));
    let spawned = thread::Builder::new().name("server".into()).spawn(server);
    spawned.map_err(at(|| "start the server thread".into()))?;
    let spawned = thread::Builder::new().name("client".into()).spawn(client);
    spawned.map_err(at(|| "start the client thread".into()))?;

    // The first side that fails ends the echo: the process exits without waiting for the other one.
    let mut totals = [None; 2];
    for _ in 0..2 {
        let (side, total) =
            results.recv().map_err(|_| std::io::Error::other("a side of the echo panicked"))?;
        totals[side as usize] = Some(total.map_err(|error| error.of(side.name()))?);
    }
    let [Some(server), Some(client)] = totals else {
        return Err(std::io::Error::other("one side of the echo answered twice").into());
    };
    if server.bytes != client.bytes {
        let message = format!("the server received {} bytes, the client {}", server.bytes, client.bytes);
        return Err(std::io::Error::other(message).into());
    }
    Ok(Event::Echo {
        connections: connections as u64,
        messages: messages * connections as u64,
        bytes: client.bytes,
        seconds: start.elapsed().as_secs_f64(),
        client_checksum: client.checksum,
        server_checksum: server.checksum,
    })
}

#[derive(Clone, Copy, Debug)]
enum Side {
    Server,
    Client,
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Server => "echo server",
            Self::Client => "echo client",
        }
    }
}
