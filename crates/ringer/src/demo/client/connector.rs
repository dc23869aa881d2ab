//! The client side of the echo: CONNECT, then each message by SEND and back by RECV, compared byte by byte.

use std::io::{Error, ErrorKind};
use std::net::SocketAddrV4;
use std::sync::Arc;

use ringer_client::slots::{Completion, File, Ring};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::echo::{Plan, Total};
use super::responder::retry;
use super::{ClientError, at};
use crate::demo::event::Progress;
use crate::demo::pattern::{self, Messages};

#[derive(Clone, Copy, Debug)]
enum Phase {
    Connect,
    Send,
    Receive,
}

struct Connection {
    socket: File,
    phase: Phase,
    content: Messages,
    /// Messages that came back.
    number: u64,
    /// The present message, kept to compare what comes back.
    message: [u8; Messages::LONGEST],
    length: usize,
    /// Bytes of the message that the present phase has behind it.
    done: usize,
    received: crc32fast::Hasher,
}

struct Client {
    ring: Ring,
    address: SocketAddrV4,
    plan: Plan,
    connections: Vec<Option<Connection>>,
    bytes: u64,
    checksums: Vec<u32>,
    progress: Progress,
}

/// Sends the messages of `plan` to the server at `address` and checks what comes back.
pub fn send(address: SocketAddrV4, plan: Plan) -> Result<Total, ClientError> {
    let mut client = Client {
        ring: Ring::new(plan.connections, Messages::LONGEST, plan.deadline)?,
        address,
        plan,
        connections: Vec::new(),
        bytes: 0,
        checksums: Vec::new(),
        progress: Progress::new(plan.messages * plan.connections as u64),
    };
    for slot in 0..plan.connections {
        client.connections.push(Some(connection(plan.seed, slot)?));
        client.issue(slot)?;
    }
    let mut completions = Vec::new();
    while client.checksums.len() < plan.connections {
        client.ring.wait(&mut completions).map_err(at(|| "wait".into()))?;
        for completion in completions.drain(..) {
            client.step(completion)?;
        }
    }
    Ok(Total { bytes: client.bytes, checksum: pattern::combine(client.checksums) })
}

fn connection(seed: u64, slot: usize) -> Result<Connection, ClientError> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|errno| ClientError::from(Error::from(errno)).of("socket"))?;
    rustix::net::sockopt::set_tcp_nodelay(&socket, true)
        .map_err(|errno| ClientError::from(Error::from(errno)).of("TCP_NODELAY"))?;
    Ok(Connection {
        socket: Arc::new(socket),
        phase: Phase::Connect,
        content: Messages::new(seed, slot as u64),
        number: 0,
        message: [0; Messages::LONGEST],
        length: 0,
        done: 0,
        received: crc32fast::Hasher::new(),
    })
}

impl Client {
    /// Asks for what the connection in `slot` needs next.
    fn issue(&mut self, slot: usize) -> Result<(), ClientError> {
        let Some(connection) = &self.connections[slot] else { return Ok(()) };
        let range = connection.done..connection.length;
        match connection.phase {
            Phase::Connect => self.ring.connect(slot, &connection.socket, self.address),
            Phase::Send => self.ring.send(slot, &connection.socket, range),
            Phase::Receive => self.ring.recv(slot, &connection.socket, range),
        }
        .map_err(at(|| "prepare a request".into()))
    }

    fn step(&mut self, completion: Completion) -> Result<(), ClientError> {
        let slot = completion.slot;
        let Some(connection) = &mut self.connections[slot] else {
            return Err(Error::other("a completion of an idle slot").into());
        };
        let (phase, number) = (connection.phase, connection.number);
        let count = match completion.result {
            Err(error) if retry(&error) => return self.issue(slot),
            result => result.map_err(at(|| format!("{phase:?} of message {number} on connection {slot}")))?,
        };
        connection.done += count;
        match phase {
            Phase::Connect => self.next_message(slot),
            Phase::Receive if count == 0 => {
                let error = Error::from(ErrorKind::UnexpectedEof);
                Err(error).map_err(at(|| format!("message {number} on connection {slot}")))
            }
            _ if connection.done < connection.length => self.issue(slot),
            Phase::Send => {
                connection.done = 0;
                connection.phase = Phase::Receive;
                // The message was sent from this buffer: what is compared later must have come over the wire.
                self.ring.buffer(slot).fill(0);
                self.issue(slot)
            }
            Phase::Receive => {
                let echoed = &self.ring.buffer(slot)[..connection.length];
                connection.received.update(echoed);
                if echoed != &connection.message[..connection.length] {
                    let message = format!("message {number} on connection {slot} came back changed");
                    return Err(Error::new(ErrorKind::InvalidData, message).into());
                }
                self.bytes += connection.length as u64;
                connection.number += 1;
                self.progress.add(1).map_err(at(|| "report progress".into()))?;
                self.next_message(slot)
            }
        }
    }

    /// Sends the next message, or closes the connection after the last one.
    fn next_message(&mut self, slot: usize) -> Result<(), ClientError> {
        let Some(connection) = &mut self.connections[slot] else { return Ok(()) };
        if connection.number == self.plan.messages {
            self.checksums.push(connection.received.clone().finalize());
            self.connections[slot] = None;
            return Ok(());
        }
        connection.length = connection.content.write(connection.number, &mut connection.message);
        connection.done = 0;
        connection.phase = Phase::Send;
        self.ring.buffer(slot)[..connection.length].copy_from_slice(&connection.message[..connection.length]);
        self.issue(slot)
    }
}
