//! The server side of the echo: ACCEPT, then RECV and SEND until the peer is done.

use std::io::{Error, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::echo::{Plan, Total};
use super::{ClientError, at};
use crate::demo::pattern;
use ringer_client::slots::{Completion, File, Ring};

/// Bytes received at a time.
const BUFFER: usize = 8192;

#[derive(Clone, Copy, Debug)]
enum Phase {
    Receive,
    Send { sent: usize, length: usize },
}

struct Connection {
    socket: File,
    phase: Phase,
    received: crc32fast::Hasher,
}

struct Server {
    ring: Ring,
    listener: File,
    /// The connection of each slot; the slot after the last one accepts.
    connections: Vec<Option<Connection>>,
    accepted: usize,
    bytes: u64,
    checksums: Vec<u32>,
}

/// Echoes on `plan.connections` connections until each peer has closed its side.
pub fn serve(listener: OwnedFd, plan: Plan) -> Result<Total, ClientError> {
    let count = plan.connections;
    let mut server = Server {
        ring: Ring::new(count + 1, BUFFER, plan.deadline)?,
        listener: Arc::new(listener),
        connections: (0..count).map(|_| None).collect(),
        accepted: 0,
        bytes: 0,
        checksums: Vec::new(),
    };
    server.accept()?;
    let mut completions = Vec::new();
    while server.checksums.len() < count {
        server.ring.wait(&mut completions).map_err(at(|| "wait".into()))?;
        for completion in completions.drain(..) {
            if completion.slot == count {
                server.accepted(completion)?;
            } else {
                server.step(completion)?;
            }
        }
    }
    Ok(Total { bytes: server.bytes, checksum: pattern::combine(server.checksums) })
}

impl Server {
    fn accept(&mut self) -> Result<(), ClientError> {
        if self.accepted == self.connections.len() {
            return Ok(());
        }
        let slot = self.connections.len();
        self.ring.accept(slot, &self.listener).map_err(at(|| "prepare ACCEPT".into()))
    }

    fn accepted(&mut self, completion: Completion) -> Result<(), ClientError> {
        match (completion.result, completion.accepted) {
            (Ok(_), Some(socket)) => {
                rustix::net::sockopt::set_tcp_nodelay(&socket, true)
                    .map_err(|errno| ClientError::from(Error::from(errno)).of("TCP_NODELAY"))?;
                let slot = self.accepted;
                self.accepted += 1;
                let received = crc32fast::Hasher::new();
                let connection = Connection { socket: Arc::new(socket), phase: Phase::Receive, received };
                self.connections[slot] = Some(connection);
                self.issue(slot)?;
            }
            (Err(error), _) if retry(&error) => {}
            (Err(error), _) => return Err(error).map_err(at(|| "ACCEPT".into())),
            (Ok(_), None) => return Err(Error::other("ACCEPT gave no descriptor").into()),
        }
        self.accept()
    }

    /// Asks for what the connection in `slot` needs next.
    fn issue(&mut self, slot: usize) -> Result<(), ClientError> {
        let Some(connection) = &self.connections[slot] else { return Ok(()) };
        match connection.phase {
            Phase::Receive => self.ring.recv(slot, &connection.socket, 0..BUFFER),
            Phase::Send { sent, length } => self.ring.send(slot, &connection.socket, sent..length),
        }
        .map_err(at(|| "prepare a request".into()))
    }

    fn step(&mut self, completion: Completion) -> Result<(), ClientError> {
        let slot = completion.slot;
        let Some(connection) = &mut self.connections[slot] else {
            return Err(Error::other("a completion of an idle slot").into());
        };
        let phase = connection.phase;
        let count = match completion.result {
            Err(error) if retry(&error) => return self.issue(slot),
            result => result.map_err(at(|| format!("{phase:?} on connection {slot}")))?,
        };
        connection.phase = match phase {
            Phase::Receive if count == 0 => {
                self.checksums.push(connection.received.clone().finalize());
                self.connections[slot] = None;
                return Ok(());
            }
            Phase::Receive => {
                connection.received.update(&self.ring.buffer(slot)[..count]);
                self.bytes += count as u64;
                Phase::Send { sent: 0, length: count }
            }
            Phase::Send { sent, length } if sent + count < length => {
                Phase::Send { sent: sent + count, length }
            }
            Phase::Send { .. } => Phase::Receive,
        };
        self.issue(slot)
    }
}

/// Whether a request that failed so is simply made again.
pub fn retry(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}
