//! Rings as the files of requests.

use ringer_sys::Errno;

use crate::operation::{Outcome, Until};

/// A file that is a ring, which the engine serves itself: its descriptor knows nothing of what is in it.
pub trait RingFile {
    /// The `poll.2` events for which it is ready now.
    fn ready_events(&self) -> u32;
}

/// A transfer from or to a ring, which has nothing to read and takes nothing. That is found once it is ready.
#[derive(Debug, Default)]
pub(crate) struct NoTransfer {
    has_waited: bool,
}

impl NoTransfer {
    /// An attempt, for which the ring has to be ready for one of these events.
    pub(crate) fn attempt(&mut self, ring: &dyn RingFile, events: u32) -> Outcome {
        if std::mem::replace(&mut self.has_waited, true) || ring.ready_events() & events != 0 {
            Outcome::failed(Errno::INVAL)
        } else {
            Outcome::WaitFor { events, until: Until::ReadyAgain }
        }
    }
}
