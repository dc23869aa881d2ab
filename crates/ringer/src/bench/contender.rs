//! Who does the work: the kernel, Ringer, and what else there is.

use serde::{Deserialize, Serialize};

/// Who does the work.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contender {
    /// The kernel's io_uring, called as liburing does, by `syscall` instructions of the program's own.
    Kernel,
    /// The same program under `ringer run --when always`.
    Ringer,
    /// The same, its calls made by libc's `syscall()` as the `io-uring` crate does.
    RingerLibc,
    /// The engine as a library, without interception.
    Embedded,
    /// One plain system call after the other; for sockets, a thread for each connection.
    Plain,
    /// tokio's thread pool: `tokio::fs` and `spawn_blocking`.
    Tokio,
    /// POSIX AIO of the C library.
    PosixAio,
    /// Linux AIO.
    LinuxAio,
    /// An epoll loop, with mio.
    Epoll,
    /// The same program under a seccomp filter that lets everything pass.
    EmptyFilter,
}

/// Who gets the work of a ring.
const RINGS: [Contender; 4] =
    [Contender::Kernel, Contender::Ringer, Contender::RingerLibc, Contender::Embedded];

/// The io_uring contenders and some alternatives.
pub fn rings_and(alternatives: &[Contender]) -> Vec<Contender> {
    [&RINGS, alternatives].concat()
}

impl Contender {
    /// Its name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Ringer => "ringer",
            Self::RingerLibc => "ringer-libc",
            Self::Embedded => "embedded",
            Self::Plain => "plain",
            Self::Tokio => "tokio",
            Self::PosixAio => "posix-aio",
            Self::LinuxAio => "linux-aio",
            Self::Epoll => "epoll",
            Self::EmptyFilter => "empty-filter",
        }
    }

    /// The contender of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        let others =
            [Self::Plain, Self::Tokio, Self::PosixAio, Self::LinuxAio, Self::Epoll, Self::EmptyFilter];
        rings_and(&others).into_iter().find(|contender| contender.name() == name)
    }

    /// Whether it needs the preload library around it.
    pub fn is_intercepted(self) -> bool {
        matches!(self, Self::Ringer | Self::RingerLibc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for contender in rings_and(&[Contender::Plain, Contender::PosixAio, Contender::EmptyFilter]) {
            assert_eq!(Contender::from_name(contender.name()), Some(contender));
            assert_eq!(serde_json::to_value(contender).expect("a word"), contender.name());
        }
        assert_eq!(Contender::from_name("nobody"), None);
    }
}
