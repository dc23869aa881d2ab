//! A TCP server that echoes messages of 64 bytes. The server is what is measured; the load comes from another process.

mod load;
mod polled;
mod ring;
mod threads;

pub use self::load::{LoadArgs, load};

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use super::super::contender::Contender;
use super::error::{ClientError, io};
use super::measure::{Sample, cpu_time};
use ringer_client::calls::Calls;

/// Bytes of a message.
pub const MESSAGE: usize = 64;

/// What the server did.
struct Served {
    /// Messages that it echoed.
    messages: u64,
}

/// Serves with a ring.
pub fn by_ring<C: Calls>(connections: usize, multishot: bool) -> Result<Sample, ClientError> {
    measure(connections, |sockets| {
        if multishot { ring::multishot::<C>(&sockets) } else { ring::single_shot::<C>(&sockets) }
    })
}

/// Serves with something else.
pub fn by_alternative(connections: usize, contender: Contender) -> Result<Sample, ClientError> {
    measure(connections, |sockets| match contender {
        Contender::Plain => threads::serve(sockets),
        Contender::Epoll => polled::serve(sockets),
        _ => Err(ClientError::wrong("this contender does not do this work")),
    })
}

/// Accepts the connections and serves them to their end. Elapsed time is the load's to tell; this is about CPU time.
fn measure(
    connections: usize,
    serve: impl FnOnce(Vec<TcpStream>) -> Result<Served, ClientError>,
) -> Result<Sample, ClientError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io("bind"))?;
    let port = listener.local_addr().map_err(io("getsockname"))?.port();
    println!("{port}");
    std::io::stdout().flush().map_err(io("write to stdout"))?;
    let mut sockets = Vec::with_capacity(connections);
    for _ in 0..connections {
        let (socket, _) = listener.accept().map_err(io("accept"))?;
        socket.set_nodelay(true).map_err(io("setsockopt"))?;
        sockets.push(socket);
    }
    let before = cpu_time();
    let served = serve(sockets)?;
    let cpu = (cpu_time() - before).as_nanos() as f64 / served.messages as f64;
    Ok(Sample { operations: served.messages, wall: 0.0, cpu: Some(cpu), latency: None })
}
