//! The server with a thread for each connection.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::super::error::{ClientError, io};
use super::{MESSAGE, Served};

/// Serves each connection in a thread.
pub fn serve(sockets: Vec<TcpStream>) -> Result<Served, ClientError> {
    let threads: Vec<_> =
        sockets.into_iter().map(|socket| std::thread::spawn(move || serve_one(socket))).collect();
    let mut messages = 0;
    for thread in threads {
        messages += thread.join().map_err(|_| ClientError::wrong("a thread panicked"))??;
    }
    Ok(Served { messages })
}

fn serve_one(mut socket: TcpStream) -> Result<u64, ClientError> {
    let mut buffer = [0; MESSAGE];
    let mut messages = 0;
    loop {
        let count = socket.read(&mut buffer).map_err(io("read from a socket"))?;
        if count == 0 {
            return Ok(messages);
        }
        socket.write_all(&buffer[..count]).map_err(io("write to a socket"))?;
        messages += 1;
    }
}
