//! Events as bytes, for a tracer in another process.

use std::time::Duration;

use ringer_abi::{Cqe, SetupFlags, Sqe};
use ringer_sys::Errno;

use super::{Completed, Made};
use crate::Served;
use crate::chaos::Injected;

/// What happened, when and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub time: u64,
    /// The process.
    pub process: u32,
    /// The thread that the engine ran on.
    pub thread: u32,
    /// The number of the ring in its process.
    pub ring: u32,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// A ring was made.
    Made(Made),
    /// An SQE was taken.
    Submitted {
        /// The number of the request.
        request: u64,
        /// The SQE.
        sqe: Sqe,
        /// Strings that it points to, with their addresses; long ones are cut off.
        strings: Vec<(u64, Vec<u8>)>,
    },
    /// A request has a result.
    Completed(Completed),
    /// A fault strikes a request, or a call.
    Injected {
        /// The number of the request.
        request: Option<u64>,
        /// The fault.
        injected: Injected,
    },
}

impl Record {
    /// No record has more bytes.
    pub const LONGEST: usize = 1024;
    /// So many bytes are kept of a string, and so many strings.
    pub const STRING: usize = 255;
    const STRINGS: usize = 3;

    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(Self::LONGEST));
        out.put(self.time).put(pair(self.process, self.thread));
        match &self.what {
            What::Made(made) => {
                out.put(pair(0, self.ring)).put(pair(made.fd as u32, made.setup.bits()));
                out.put(pair(made.sq_entries, made.cq_entries));
            }
            What::Submitted { request, sqe, strings } => {
                out.put(pair(1, self.ring)).put(*request);
                sqe.words().iter().for_each(|word| _ = out.put(*word));
                for (address, text) in strings.iter().take(Self::STRINGS) {
                    let text = &text[..text.len().min(Self::STRING)];
                    out.put(*address).put(text.len() as u64);
                    out.0.extend_from_slice(text);
                }
            }
            What::Completed(completed) => {
                let Completed { request, cqe, served, is_posted } = completed;
                out.put(pair(2, self.ring)).put(request.unwrap_or(0)).put(cqe.user_data);
                out.put(pair(cqe.res as u32, cqe.flags)).put(cqe.extra[0]).put(cqe.extra[1]);
                out.put(pair(*served as u32, u32::from(*is_posted)));
            }
            What::Injected { request, injected } => {
                let (kind, words) = match *injected {
                    Injected::Error(errno) => (0, pair(errno.raw_os_error() as u32, 0)),
                    Injected::Short { from, to } => (1, pair(from, to)),
                    Injected::Late(delay) => (2, delay.as_nanos() as u64),
                    Injected::Overflow => (3, 0),
                    Injected::Partial { from, to } => (4, pair(from, to)),
                    Injected::Interrupt => (5, 0),
                };
                out.put(pair(3, self.ring)).put(request.unwrap_or(0)).put(kind).put(words);
            }
        }
        out.0
    }

    /// From bytes. `None`: no such record.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut bytes = Reader(bytes);
        let time = bytes.take()?;
        let [process, thread] = bytes.halves()?;
        let [kind, ring] = bytes.halves()?;
        let what = match kind {
            0 => {
                let [fd, setup] = bytes.halves()?;
                let [sq_entries, cq_entries] = bytes.halves()?;
                let setup = SetupFlags::from_bits_retain(setup);
                What::Made(Made { fd: fd as i32, setup, sq_entries, cq_entries })
            }
            1 => {
                let request = bytes.take()?;
                let mut words = [0; 8];
                for word in &mut words {
                    *word = bytes.take()?;
                }
                let mut strings = Vec::new();
                while !bytes.0.is_empty() {
                    let (address, length) = (bytes.take()?, bytes.take()?);
                    let (text, rest) = bytes.0.split_at_checked(usize::try_from(length).ok()?)?;
                    strings.push((address, text.to_vec()));
                    bytes.0 = rest;
                }
                What::Submitted { request, sqe: Sqe::from_words(words), strings }
            }
            2 => {
                let request = Some(bytes.take()?).filter(|request| *request != 0);
                let user_data = bytes.take()?;
                let [res, flags] = bytes.halves()?;
                let extra = [bytes.take()?, bytes.take()?];
                let [served, is_posted] = bytes.halves()?;
                let cqe = Cqe { user_data, res: res as i32, flags, extra };
                let served = *Served::ALL.get(served as usize)?;
                What::Completed(Completed { request, cqe, served, is_posted: is_posted != 0 })
            }
            3 => {
                let request = Some(bytes.take()?).filter(|request| *request != 0);
                let (kind, words) = (bytes.take()?, bytes.take()?);
                let (low, high) = (words as u32, (words >> 32) as u32);
                let injected = match kind {
                    0 => Injected::Error(Errno::from_raw_os_error(low as i32)),
                    1 => Injected::Short { from: low, to: high },
                    2 => Injected::Late(Duration::from_nanos(words)),
                    3 => Injected::Overflow,
                    4 => Injected::Partial { from: low, to: high },
                    5 => Injected::Interrupt,
                    _ => return None,
                };
                What::Injected { request, injected }
            }
            _ => return None,
        };
        Some(Self { time, process, thread, ring, what })
    }
}

const fn pair(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

struct Writer(Vec<u8>);

impl Writer {
    fn put(&mut self, word: u64) -> &mut Self {
        self.0.extend_from_slice(&word.to_ne_bytes());
        self
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self) -> Option<u64> {
        let (word, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_ne_bytes(*word))
    }

    fn halves(&mut self) -> Option<[u32; 2]> {
        let word = self.take()?;
        Some([word as u32, (word >> 32) as u32])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(what: What) -> Record {
        Record { time: u64::MAX - 1, process: 7, thread: u32::MAX, ring: 3, what }
    }

    fn injected(request: Option<u64>, injected: Injected) -> Record {
        record(What::Injected { request, injected })
    }

    fn records() -> Vec<Record> {
        let cqe = Cqe { user_data: 1 << 63, res: -125, flags: u32::MAX, extra: [1, 2] };
        let made = Made { fd: -1, setup: SetupFlags::SQPOLL, sq_entries: 8, cq_entries: 16 };
        let long = vec![b'x'; Record::STRING];
        let sqe = Sqe::from_words([1, 2, 3, 4, 5, 6, 7, u64::MAX]);
        let strings = vec![(9, b"a path".to_vec()), (10, Vec::new()), (11, long)];
        let completed = Completed { request: Some(5), cqe, served: Served::Engine, is_posted: false };
        vec![
            record(What::Made(made)),
            record(What::Submitted { request: 5, sqe, strings }),
            record(What::Completed(completed)),
            record(What::Completed(Completed { request: None, is_posted: true, ..completed })),
            injected(Some(9), Injected::Error(Errno::IO)),
            injected(Some(9), Injected::Short { from: 8, to: 7 }),
            injected(Some(9), Injected::Late(Duration::from_nanos(u64::MAX))),
            injected(Some(9), Injected::Overflow),
            injected(None, Injected::Partial { from: 8, to: 7 }),
            injected(None, Injected::Interrupt),
        ]
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        for record in records() {
            let bytes = record.to_bytes();
            assert!(bytes.len() <= Record::LONGEST, "{}", bytes.len());
            assert_eq!(Record::from_bytes(&bytes), Some(record));
        }
    }

    #[test]
    fn what_is_cut_off_is_no_record_or_has_fewer_strings() {
        for record in records() {
            let bytes = record.to_bytes();
            for length in 0..bytes.len() {
                let same = Record::from_bytes(&bytes[..length]).is_some_and(|read| read == record);
                assert!(!same, "{length} bytes of {record:?}");
            }
        }
    }
}
