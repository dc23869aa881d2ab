//! How a message gets through in several attempts: the rules that sends and receives share.

use std::os::fd::RawFd;

use ringer_sys::{Errno, UserAddress, call};

use crate::net::{MSG_DONTWAIT, MSG_WAITALL, capped, check_socket, goes_on_after_part, message_flags};
use crate::operation::{Completion, Outcome, Until};
use crate::segments::Segments;

/// A `struct msghdr`. The engine's own: the program's is copied in and its results are copied back.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct MessageHeader {
    pub(crate) name: u64,
    pub(crate) name_length: u32,
    pub(crate) padding: u32,
    pub(crate) segments: u64,
    pub(crate) segment_count: u64,
    pub(crate) control: u64,
    pub(crate) control_length: u64,
    pub(crate) flags: u32,
    pub(crate) padding_2: u32,
}

impl MessageHeader {
    /// Reads the program's header.
    ///
    /// # Errors
    /// `EFAULT`.
    pub(crate) fn read(address: u64) -> Result<Self, Errno> {
        let words = UserAddress::new(address).read::<[u64; 7]>()?;
        let [name, name_length, segments, segment_count, control, control_length, flags] = words;
        Ok(Self {
            name,
            name_length: name_length as u32,
            padding: 0,
            segments,
            segment_count,
            control,
            control_length,
            flags: flags as u32,
            padding_2: 0,
        })
    }

    /// Checks the length of the name as the kernel does when it reads a header.
    ///
    /// # Errors
    /// `EINVAL` for a name of negative length.
    pub(crate) fn check_name(&self) -> Result<(), Errno> {
        if self.name != 0 && (self.name_length as i32) < 0 { Err(Errno::INVAL) } else { Ok(()) }
    }

    /// With these segments.
    #[must_use]
    pub(crate) fn with_segments(mut self, segments: &Segments) -> Self {
        let rest = segments.rest();
        self.segments = rest.as_ptr() as u64;
        self.segment_count = rest.len() as u64;
        self
    }

    /// Receives, and takes the results into this header.
    pub(crate) fn receive(&mut self, fd: RawFd, flags: u32) -> Result<usize, Errno> {
        call::recvmsg(fd, UserAddress::of(&raw mut *self), flags)
    }
}

/// One transfer's rules and how far it has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// The `MSG_` flags that the program gave.
    flags: u32,
    /// `IORING_RECVSEND_POLL_FIRST`, until it has been done.
    poll_first: bool,
    /// Bytes that went over in earlier attempts.
    done: u64,
}

/// What one attempt led to.
#[derive(Debug)]
pub(crate) enum Step {
    /// This many bytes went over; the request goes on with the rest when the socket is ready.
    Part(u64),
    /// Nothing went over; the request goes on when the socket is ready.
    NotReady,
    /// The end.
    End(Completion),
}

impl Progress {
    pub(crate) const fn new(flags: u32, poll_first: bool) -> Self {
        Self { flags: message_flags(flags), poll_first, done: 0 }
    }

    /// The flags for a system call that does not wait.
    pub(crate) const fn call_flags(&self) -> u32 {
        self.flags | MSG_DONTWAIT
    }

    /// Whether the program wants no wait at all.
    pub(crate) const fn is_impatient(&self) -> bool {
        self.flags & MSG_DONTWAIT != 0
    }

    /// What `IORING_RECVSEND_POLL_FIRST` asks for before the first attempt. `socket`: what must be one before it is waited for.
    pub(crate) fn first_wait(&mut self, socket: Option<RawFd>, events: u32) -> Option<Outcome> {
        if !std::mem::take(&mut self.poll_first) {
            return None;
        }
        if let Some(Err(errno)) = socket.map(check_socket) {
            return Some(Outcome::failed(errno));
        }
        Some(if self.is_impatient() { Outcome::failed(Errno::AGAIN) } else { wait_for(events, Until::Ready) })
    }

    /// Judges one attempt to move `remaining` bytes.
    ///
    /// With `whole`, fewer are a failure, and streams go on with the rest. With `cut`, the message did
    /// not fit.
    pub(crate) fn step(
        &mut self,
        fd: RawFd,
        result: Result<usize, Errno>,
        remaining: u64,
        whole: bool,
        cut: bool,
    ) -> Step {
        let wait_allowed = !self.is_impatient();
        let wanted = if whole { capped(remaining) } else { 0 };
        match result {
            Err(Errno::AGAIN) if wait_allowed => Step::NotReady,
            Ok(bytes) if bytes > 0 && wait_allowed && (bytes as u64) < wanted && goes_on_after_part(fd) => {
                self.done += bytes as u64;
                Step::Part(bytes as u64)
            }
            Ok(bytes) => {
                let is_short = (bytes as u64) < wanted;
                Step::End(self.end(bytes as u64, is_short || (cut && self.flags & MSG_WAITALL != 0)))
            }
            Err(_) if self.done > 0 => Step::End(self.end(0, true)),
            Err(errno) => Step::End(Completion::error(errno)),
        }
    }

    /// The end by an error that is the engine's: what went over counts.
    pub(crate) fn refuse(&self, errno: Errno) -> Outcome {
        Outcome::Done(if self.done > 0 { self.end(0, true) } else { Completion::error(errno) })
    }

    fn end(&self, bytes: u64, fails_link: bool) -> Completion {
        let completion = Completion::new((self.done + bytes) as i32);
        Completion { fails_link, ..completion }
    }

    /// Whether it is to wait before its first attempt, and has not yet.
    pub(crate) const fn polls_first(&self) -> bool {
        self.poll_first
    }

    /// Whether the request is to move all of its bytes.
    pub(crate) const fn wants_all(&self) -> bool {
        self.flags & MSG_WAITALL != 0
    }

    /// From now on all bytes are wanted.
    pub(crate) const fn want_all(&mut self) {
        self.flags |= MSG_WAITALL;
    }

    /// From now on it does not wait.
    pub(crate) const fn be_impatient(&mut self) {
        self.flags |= MSG_DONTWAIT;
    }

    /// From now on it waits, and has done so before the first attempt.
    pub(crate) const fn be_patient(&mut self) {
        self.flags &= !MSG_DONTWAIT;
        self.poll_first = false;
    }

    /// The next result begins.
    pub(crate) const fn start_over(&mut self) {
        self.done = 0;
    }

    /// The `MSG_` flags that the program gave.
    pub(crate) const fn flags(&self) -> u32 {
        self.flags
    }
}

/// Waits for a state of the socket.
pub(crate) const fn wait_for(events: u32, until: Until) -> Outcome {
    Outcome::WaitFor { events, until }
}
