//! What `ringer trace` and `ringer chaos` ask of every process they start: events, each of which is a message on a socket, and faults.
//!
//! The socket keeps messages whole and in order, holds the thread up while the reader is behind, and says so when there is no
//! reader any more; the program goes on then. A child has its parent's socket.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use ringer_abi::Sqe;
use ringer_engine::System;
use ringer_engine::chaos::{Injected, Plan};
use ringer_engine::trace::{Completed, Made, Record, Tracer, What};
use ringer_sys::{Errno, UserAddress, descriptor, thread};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, socket_with,
};
use rustix::time::{ClockId, clock_gettime};

use crate::environment;

/// Strikes with the plan that `RINGER_CHAOS` holds, if there is one, and tells the reader whose address `RINGER_TRACE` names, if there is one.
pub fn begin() {
    let plan = environment::value(c"RINGER_CHAOS").and_then(|plan| plan.to_str().ok()?.parse::<Plan>().ok());
    if let Some(plan) = plan {
        // The constructor runs once: there is no other plan.
        let _ = System::global().inject(plan);
    }
    static STREAM: OnceLock<Stream> = OnceLock::new();
    if let Some(name) = environment::value(c"RINGER_TRACE")
        && let Ok(socket) = connected(name)
    {
        let stream = STREAM.get_or_init(|| Stream { socket, is_over: AtomicBool::new(false) });
        // The constructor runs once: there is no other tracer.
        let _ = System::global().trace_to(stream);
    }
}

fn connected(name: &CStr) -> Result<OwnedFd, Errno> {
    let address = SocketAddrUnix::new_abstract_name(name.to_bytes())?;
    descriptor::of_engine(|| {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &address)?;
        Ok(socket)
    })
}

struct Stream {
    socket: OwnedFd,
    /// Nobody reads any more.
    is_over: AtomicBool,
}

impl Stream {
    fn tell(&self, ring: u32, what: What) {
        // Relaxed: it only saves calls.
        if self.is_over.load(Ordering::Relaxed) {
            return;
        }
        let now = clock_gettime(ClockId::Monotonic);
        let record = Record {
            time: now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64,
            process: std::process::id(),
            thread: thread::id(),
            ring,
            what,
        };
        let bytes = record.to_bytes();
        loop {
            match send(&self.socket, &bytes, SendFlags::NOSIGNAL) {
                Ok(_) => return,
                Err(Errno::INTR) => {}
                Err(_) => return self.is_over.store(true, Ordering::Relaxed),
            }
        }
    }
}

impl Tracer for Stream {
    fn made(&self, ring: u32, made: &Made) {
        self.tell(ring, What::Made(*made));
    }

    fn submitted(&self, ring: u32, request: u64, sqe: &Sqe) {
        self.tell(ring, What::Submitted { request, sqe: *sqe, strings: strings_of(sqe) });
    }

    fn completed(&self, ring: u32, completed: &Completed) {
        self.tell(ring, What::Completed(*completed));
    }

    fn injected(&self, ring: u32, request: Option<u64>, injected: &Injected) {
        self.tell(ring, What::Injected { request, injected: *injected });
    }
}

/// The strings that an SQE points to, as far as they can be read.
fn strings_of(sqe: &Sqe) -> Vec<(u64, Vec<u8>)> {
    let arguments = ringer_ops::row(sqe.opcode()).map_or(&[][..], |row| row.arguments);
    let paths = arguments.iter().filter(|argument| argument.is_path());
    paths
        .filter_map(|argument| {
            let address = argument.field.of(sqe);
            let mut text = UserAddress::new(address).read_path().ok()?.into_bytes();
            text.truncate(Record::STRING);
            Some((address, text))
        })
        .collect()
}
