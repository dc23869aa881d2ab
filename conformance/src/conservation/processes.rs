//! Signals that interrupt threads, and children that end at once.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use fastrand::Rng;
use ringer_sys::alternatives::fork_and_end;
use ringer_sys::signal::{How, SignalSet, change_mask, set_of};
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::SigId;
use signal_hook::consts::SIGUSR1;

const SET: SignalSet = set_of(SIGUSR1);

/// The signal is caught while this lives. The thread that sends it keeps it from itself.
#[derive(Debug)]
pub(super) struct Signals {
    handler: SigId,
    before: SignalSet,
}

impl Signals {
    /// # Errors
    /// A message when the signal cannot be caught.
    pub(super) fn catch() -> Result<Self, String> {
        let caught = Arc::new(AtomicBool::new(false));
        let handler = signal_hook::flag::register(SIGUSR1, caught).map_err(|error| error.to_string())?;
        Ok(Self { handler, before: change_mask(How::Block, 0) })
    }

    /// From now on other threads get it: those that were started before.
    pub(super) fn block(&self) {
        change_mask(How::Block, SET);
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        change_mask(How::Set, self.before);
        signal_hook::low_level::unregister(self.handler);
    }
}

/// Sends a signal to whichever thread gets it, and has a child for a moment.
///
/// # Errors
/// A message when there can be no child.
pub(super) fn disturb(rng: &mut Rng) -> Result<(), String> {
    kill_process(getpid(), Signal::USR1).expect("this process may send a signal to itself");
    if rng.u8(..4) == 0 { fork_and_end().map_err(|error| format!("a child: {error}")) } else { Ok(()) }
}
