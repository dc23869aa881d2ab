//! Which completion belongs to which submission.

use std::collections::HashMap;
use std::time::Duration;

use ringer_abi::{Cqe, CqeFlags, Sqe};
use ringer_engine::chaos::Injected;
use ringer_engine::trace::{Completed, Made, Record, What};
use ringer_ops::arguments::Strings;

/// A request by its process, its ring and its number there.
type Key = (u32, u32, u64);

/// Requests that have not ended.
#[derive(Default)]
pub struct Requests {
    /// When the first event happened.
    start: Option<u64>,
    pending: HashMap<Key, Pending>,
    /// What is added to the numbers of rings, by process and connection. A program that a process executes counts its rings anew, and has
    /// a connection of its own.
    offsets: HashMap<(u32, u32), u32>,
    /// The highest number of a ring, by process.
    highest: HashMap<u32, u32>,
}

/// A request that has not ended.
#[derive(Clone, Debug)]
pub struct Pending {
    pub process: u32,
    pub ring: u32,
    pub request: u64,
    /// Since the first event.
    pub since: Duration,
    pub sqe: Sqe,
}

/// An event and what is known from earlier ones.
#[derive(Debug)]
pub struct Event {
    /// Since the first event.
    pub time: Duration,
    pub process: u32,
    pub thread: u32,
    pub ring: u32,
    pub kind: Kind,
}

#[derive(Debug)]
pub enum Kind {
    Made(Made),
    Submitted { request: u64, sqe: Sqe, strings: Texts },
    Completed { completed: Completed, of: Option<Pending>, took: Option<Duration> },
    Injected { request: Option<u64>, injected: Injected },
}

/// Strings with their addresses.
#[derive(Clone, Debug, Default)]
pub struct Texts(Vec<(u64, Vec<u8>)>);

impl Strings for Texts {
    fn at(&self, address: u64) -> Option<&[u8]> {
        self.0.iter().find(|(at, _)| *at == address).map(|(_, text)| &text[..])
    }
}

/// Whether the request of a CQE goes on.
pub fn has_more(cqe: &Cqe) -> bool {
    CqeFlags::from_bits_retain(cqe.flags).contains(CqeFlags::MORE)
}

impl Requests {
    /// Takes the next event, which came by this connection.
    pub fn take(&mut self, connection: u32, record: Record) -> Event {
        let Record { time, process, thread, ring, what } = record;
        let highest = self.highest.entry(process).or_default();
        let ring = ring + *self.offsets.entry((process, connection)).or_insert(*highest);
        *highest = ring.max(*highest);
        // Threads may tell in another order than that of their clocks.
        let time = Duration::from_nanos(time.saturating_sub(*self.start.get_or_insert(time)));
        let kind = match what {
            What::Made(made) => Kind::Made(made),
            What::Submitted { request, sqe, strings } => {
                let pending = Pending { process, ring, request, since: time, sqe };
                self.pending.insert((process, ring, request), pending);
                Kind::Submitted { request, sqe, strings: Texts(strings) }
            }
            What::Completed(completed) => {
                let key = completed.request.map(|request| (process, ring, request));
                let of = if has_more(&completed.cqe) {
                    key.and_then(|key| self.pending.get(&key).cloned())
                } else {
                    key.and_then(|key| self.pending.remove(&key))
                };
                let took = of.as_ref().map(|pending| time.saturating_sub(pending.since));
                Kind::Completed { completed, of, took }
            }
            What::Injected { request, injected } => Kind::Injected { request, injected },
        };
        Event { time, process, thread, ring, kind }
    }

    /// What has not ended, in the order of submission.
    pub fn pending(&self) -> Vec<Pending> {
        let mut pending: Vec<Pending> = self.pending.values().cloned().collect();
        pending.sort_by_key(|pending| (pending.since, pending.process, pending.ring, pending.request));
        pending
    }
}
