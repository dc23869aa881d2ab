//! The load: a plain epoll loop that keeps one message under way on each connection.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::process::{Signal, set_parent_process_death_signal};

use super::super::super::data::content;
use super::super::error::{ClientError, io, of};
use super::super::measure::{Sample, Times};
use super::MESSAGE;

/// Arguments of `ringer bench-load`.
#[derive(Debug, clap::Args)]
pub struct LoadArgs {
    /// Port of the server on this machine
    port: u16,
    /// Connections
    #[arg(long)]
    connections: usize,
    /// Milliseconds to measure
    #[arg(long)]
    milliseconds: u64,
}

/// Makes the load, and prints a sample as a line of JSON; or says in one line why not.
pub fn load(args: &LoadArgs) -> ExitCode {
    // Whoever started this may be killed: nothing is to be left then.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    match measure(args) {
        Ok(sample) => {
            println!("{}", serde_json::to_string(&sample).expect("numbers"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench-load: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Connection {
    socket: TcpStream,
    /// Of the message under way.
    number: u64,
    sent: Instant,
    received: Vec<u8>,
}

fn message(number: u64) -> [u8; MESSAGE] {
    let mut bytes = [0; MESSAGE];
    for (word, place) in bytes.chunks_exact_mut(size_of::<u64>()).enumerate() {
        place.copy_from_slice(&content(number, word).to_ne_bytes());
    }
    bytes
}

impl Connection {
    fn send(&mut self, number: u64) -> Result<(), ClientError> {
        self.number = number;
        self.received.clear();
        self.sent = Instant::now();
        self.socket.write_all(&message(number)).map_err(io("write to a socket"))
    }

    /// Takes what has come; the time of the message if that was all of it.
    fn receive(&mut self) -> Result<Option<Duration>, ClientError> {
        let mut buffer = [0; MESSAGE];
        let count = self.socket.read(&mut buffer).map_err(io("read from a socket"))?;
        if count == 0 {
            return Err(ClientError::wrong("the server closed a connection"));
        }
        self.received.extend_from_slice(&buffer[..count]);
        if self.received.len() < MESSAGE {
            return Ok(None);
        }
        let time = self.sent.elapsed();
        if self.received != message(self.number) {
            return Err(ClientError::wrong("a message came back with other content"));
        }
        Ok(Some(time))
    }
}

fn measure(args: &LoadArgs) -> Result<Sample, ClientError> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(of("epoll_create"))?;
    let mut connections = Vec::with_capacity(args.connections);
    for index in 0..args.connections {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, args.port)).map_err(io("connect"))?;
        socket.set_nodelay(true).map_err(io("setsockopt"))?;
        let data = epoll::EventData::new_u64(index as u64);
        epoll::add(&poll, &socket, data, epoll::EventFlags::IN).map_err(of("epoll_ctl"))?;
        connections.push(Connection { socket, number: 0, sent: Instant::now(), received: Vec::new() });
    }
    let duration = Duration::from_millis(args.milliseconds);
    let (mut number, mut operations) = (0, 0);
    let mut times = Times::new();
    for connection in &mut connections {
        number += 1;
        connection.send(number)?;
    }
    // What comes in a fifth of the time before is not counted.
    let start = Instant::now() + duration / 5;
    let end = start + duration;
    let mut under_way = connections.len();
    let mut events = Vec::with_capacity(connections.len());
    let mut now = Instant::now();
    // On a busy machine the first may come late.
    while now < end || operations == 0 {
        events.clear();
        match epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other.map_err(of("epoll_wait"))?,
        };
        now = Instant::now();
        for event in &events {
            let connection = &mut connections[event.data.u64() as usize];
            let Some(time) = connection.receive()? else { continue };
            if now >= start {
                operations += 1;
                times.add(time);
            }
            number += 1;
            connection.send(number)?;
        }
    }
    let wall = now - start;
    // The last messages come back, so that the server finds nothing but the end of the connections.
    while under_way > 0 {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None).map_err(of("epoll_wait"))?;
        for event in &events {
            let connection = &mut connections[event.data.u64() as usize];
            if connection.receive()?.is_some() {
                under_way -= 1;
                connection.socket.shutdown(Shutdown::Both).map_err(io("shutdown"))?;
                epoll::delete(&poll, &connection.socket).map_err(of("epoll_ctl"))?;
            }
        }
    }
    Ok(Sample {
        operations,
        wall: wall.as_nanos() as f64 / operations as f64,
        cpu: None,
        latency: Some(times.latency()),
    })
}
