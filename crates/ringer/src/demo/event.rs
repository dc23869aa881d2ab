//! What the client tells its parent: one JSON object a line on stdout.

use std::io::Write;

use serde::{Deserialize, Serialize};

/// One line of the client.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// How far the work is, in bytes or messages.
    Progress {
        /// Finished so far.
        done: u64,
        /// Finished at the end.
        total: u64,
    },
    /// The copy is complete and synced.
    Copy {
        /// Bytes copied.
        bytes: u64,
        /// Time for everything, the final fsync included.
        seconds: f64,
        /// Time for the final fsync alone.
        fsync_seconds: f64,
        /// CRC-32 of the bytes as they were read.
        checksum: u32,
    },
    /// Every message came back.
    Echo {
        /// Connections made.
        connections: u64,
        /// Messages echoed, over all connections.
        messages: u64,
        /// Bytes sent by the client side; as many came back.
        bytes: u64,
        /// Time from the first connect to the last close.
        seconds: f64,
        /// Checksum of what the client side received.
        client_checksum: u32,
        /// Checksum of what the server side received.
        server_checksum: u32,
    },
    /// The ring could not be made.
    Refused {
        /// The error number of `io_uring_setup`.
        errno: i32,
        /// The same in words.
        message: String,
    },
    /// Anything else went wrong.
    Failed {
        /// What, in one line.
        message: String,
    },
}

impl Event {
    /// Writes the event as one line to stdout.
    ///
    /// # Errors
    ///
    /// That of the write: EPIPE when the parent is gone.
    pub fn print(&self) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&line)?;
        stdout.flush()
    }

    /// The event of a line, or `None` where the line is not one of ours.
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }
}

/// Prints [`Event::Progress`] about a hundred times over the whole work, not once per step.
#[derive(Debug)]
pub struct Progress {
    done: u64,
    total: u64,
    next: u64,
}

impl Progress {
    /// Nothing done yet of `total`.
    pub const fn new(total: u64) -> Self {
        Self { done: 0, total, next: 0 }
    }

    /// Adds `amount` to what is done.
    ///
    /// # Errors
    ///
    /// As [`Event::print`].
    pub fn add(&mut self, amount: u64) -> std::io::Result<()> {
        self.done += amount;
        if self.done < self.next {
            return Ok(());
        }
        self.next = self.done + self.total / 100;
        Event::Progress { done: self.done, total: self.total }.print()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_survives_its_line() {
        let event = Event::Copy { bytes: u64::MAX, seconds: 0.25, fsync_seconds: 0.125, checksum: u32::MAX };
        let line = serde_json::to_string(&event).expect("plain data");
        assert!(!line.contains('\n'));
        assert_eq!(Event::parse(&line), Some(event));
    }

    #[test]
    fn other_lines_are_not_events() {
        assert_eq!(Event::parse("hello"), None);
        assert_eq!(Event::parse(r#"{"event":"other"}"#), None);
    }
}
