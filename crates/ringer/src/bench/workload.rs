//! The workloads, their bars, and who takes part.

use super::contender::{Contender, rings_and};

/// Requests of one call where it is not one.
const BATCH: usize = 32;

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// NOP, so many per call.
    Nop {
        /// Requests per call.
        depth: usize,
    },
    /// NOP on a ring with a polling thread: no calls at all.
    NopPolled,
    /// Random reads of 4 KiB in the page cache.
    Read {
        /// Requests per call.
        depth: usize,
        /// What the ring knows beforehand.
        registered: Registered,
    },
    /// Random reads of 4 KiB that are not in the page cache, so many in flight.
    ReadUncached {
        /// Requests in flight.
        depth: usize,
    },
    /// Random writes of 4 KiB through the page cache.
    Write,
    /// `statx` of 32 files.
    Statx,
    /// `openat` and `close` of 32 files.
    Open,
    /// Random reads of 4 KiB with `O_DIRECT`, so many in flight.
    Direct {
        /// Requests in flight.
        depth: usize,
    },
    /// A TCP server that echoes 64 bytes.
    Echo {
        /// Connections at the same time.
        connections: usize,
        /// Multishot RECV with a buffer ring, instead of one RECV for each message.
        multishot: bool,
    },
    /// A read of a pipe or an eventfd that must wait for its writer.
    Wake(Wake),
    /// fio's own rate.
    Fio(FioJob),
    /// A system call that is none of the three, `getppid`.
    OtherCall,
    /// Starting a program that does nothing.
    Start,
}

/// What is registered with the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Registered {
    /// Nothing.
    Nothing,
    /// The file.
    Files,
    /// The file and the buffers.
    FilesAndBuffers,
}

/// What a waiting read waits on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wake {
    /// A pipe.
    Pipe,
    /// An eventfd.
    EventFd,
}

/// A job of fio.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FioJob {
    /// 4 KiB random reads in the page cache.
    ReadCached,
    /// 4 KiB random writes through the page cache.
    WriteBuffered,
    /// 4 KiB random reads with `O_DIRECT`.
    ReadDirect,
}

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    /// Elapsed time per operation.
    TimePerOperation,
    /// The median of the times from the write to the return of the reader.
    MedianLatency,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Short, for the command line.
    pub name: &'static str,
    /// One line.
    pub what: &'static str,
    /// What is done.
    pub work: Work,
    /// The base's time divided by that of the unmodified program under Ringer must be at least this.
    pub bar: Option<f64>,
    /// Who takes part.
    pub contenders: Vec<Contender>,
    /// Whose time the ratios begin with.
    pub base: Contender,
}

impl Workload {
    /// What of its samples is compared.
    pub fn measure(&self) -> Measure {
        match self.work {
            Work::Wake(_) => Measure::MedianLatency,
            _ => Measure::TimePerOperation,
        }
    }

    /// Whether `--only` with this word means it: its name, or the beginning of it up to a hyphen.
    pub fn is_meant(&self, word: &str) -> bool {
        self.name.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }
}

/// All workloads, in the order of the table.
pub fn all() -> Vec<Workload> {
    use Contender::{Epoll, LinuxAio, Plain, PosixAio, Tokio};
    let row = |name, what, work, bar, alternatives: &[Contender]| Workload {
        name,
        what,
        work,
        bar,
        contenders: rings_and(alternatives),
        base: Contender::Kernel,
    };
    let read = |depth, registered| Work::Read { depth, registered };
    let echo = |connections, multishot| Work::Echo { connections, multishot };
    let files = [Plain, Tokio, PosixAio, LinuxAio];
    let paths = [Plain, Tokio];
    let sockets = [Plain, Epoll];
    let mut rows = vec![
        row("nop-1", "NOP, 1 per call", Work::Nop { depth: 1 }, Some(10.0), &[]),
        row("nop-32", "NOP, 32 per call", Work::Nop { depth: BATCH }, Some(5.0), &[]),
        row("nop-sqpoll", "NOP under SQPOLL, no calls, 32 at a time", Work::NopPolled, Some(1.0), &[]),
        row(
            "read-1",
            "cached 4 KiB random read, 1 per call",
            read(1, Registered::Nothing),
            Some(1.2),
            &files,
        ),
        row(
            "read-32",
            "cached 4 KiB random read, 32 per call",
            read(BATCH, Registered::Nothing),
            Some(1.0),
            &files,
        ),
        row(
            "read-32-files",
            "cached 4 KiB random read, 32 per call, registered file",
            read(BATCH, Registered::Files),
            Some(1.0),
            &files,
        ),
        row(
            "read-32-buffers",
            "cached 4 KiB random read, 32 per call, registered file and buffers",
            read(BATCH, Registered::FilesAndBuffers),
            Some(1.0),
            &files,
        ),
        row(
            "uncached-1",
            "uncached 4 KiB random read, 1 in flight",
            Work::ReadUncached { depth: 1 },
            None,
            &files,
        ),
        row(
            "uncached-32",
            "uncached 4 KiB random read, 32 in flight",
            Work::ReadUncached { depth: BATCH },
            None,
            &files,
        ),
        row("write-32", "buffered 4 KiB random write, 32 per call", Work::Write, Some(2.5), &files),
        row("statx-32", "statx, 32 per call", Work::Statx, Some(2.5), &paths),
        row("open-32", "openat and close, 32 per call", Work::Open, Some(0.85), &paths),
        row(
            "direct-1",
            "O_DIRECT 4 KiB random read, 1 in flight",
            Work::Direct { depth: 1 },
            Some(0.95),
            &files,
        ),
        row(
            "direct-32",
            "O_DIRECT 4 KiB random read, 32 in flight",
            Work::Direct { depth: BATCH },
            Some(0.95),
            &files,
        ),
        row("echo-1", "TCP echo 64 B, 1 connection", echo(1, false), Some(0.9), &sockets),
        row("echo-16", "TCP echo 64 B, 16 connections", echo(16, false), Some(0.9), &sockets),
        row("echo-128", "TCP echo 64 B, 128 connections", echo(128, false), Some(0.9), &sockets),
        row("echo-multishot-1", "TCP echo 64 B, 1 connection, multishot", echo(1, true), Some(0.9), &sockets),
        row(
            "echo-multishot-16",
            "TCP echo 64 B, 16 connections, multishot",
            echo(16, true),
            Some(0.9),
            &sockets,
        ),
        row(
            "echo-multishot-128",
            "TCP echo 64 B, 128 connections, multishot",
            echo(128, true),
            Some(0.9),
            &sockets,
        ),
        row(
            "wake-pipe",
            "read of a pipe that must wait: wake-up",
            Work::Wake(Wake::Pipe),
            Some(0.8),
            &sockets,
        ),
        row(
            "wake-eventfd",
            "read of an eventfd that must wait: wake-up",
            Work::Wake(Wake::EventFd),
            Some(0.8),
            &sockets,
        ),
    ];
    let fio = |name, what, job| Workload {
        name,
        what,
        work: Work::Fio(job),
        bar: Some(0.95),
        // fio has no engine of its own for the others.
        contenders: vec![Contender::Kernel, Contender::Ringer, Plain, PosixAio, LinuxAio],
        base: Contender::Kernel,
    };
    rows.extend([
        fio("fio-read", "fio: 4 KiB random read, cached, depth 32", FioJob::ReadCached),
        fio("fio-write", "fio: 4 KiB random write, buffered, depth 32", FioJob::WriteBuffered),
        fio("fio-direct", "fio: 4 KiB random read, O_DIRECT, depth 32", FioJob::ReadDirect),
    ]);
    rows.extend([
        Workload {
            name: "other-call",
            what: "a system call that is none of the three (getppid), against an empty seccomp filter",
            work: Work::OtherCall,
            bar: Some(1.0),
            contenders: vec![Contender::EmptyFilter, Contender::Ringer, Plain],
            base: Contender::EmptyFilter,
        },
        Workload {
            name: "start",
            what: "start and end of a program that does nothing",
            work: Work::Start,
            bar: None,
            contenders: vec![Plain, Contender::Ringer],
            base: Plain,
        },
    ]);
    rows
}

/// The workload of this name.
pub fn by_name(name: &str) -> Option<Workload> {
    all().into_iter().find(|workload| workload.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different_and_words_mean_their_groups() {
        let all = all();
        let names: std::collections::BTreeSet<_> = all.iter().map(|workload| workload.name).collect();
        assert_eq!(names.len(), all.len());
        let meant = |word: &str| all.iter().filter(|workload| workload.is_meant(word)).count();
        assert_eq!([meant("nop"), meant("nop-1"), meant("no"), meant("echo"), meant("")], [3, 1, 0, 6, 0]);
        assert!(by_name("statx-32").is_some_and(|workload| workload.work == Work::Statx));
    }
}
