//! Ctrl-C and its like, noticed between two pieces of work so that the temporary files go away.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::failure::Stop;

/// Whether the user asked the demo to end.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Watches SIGINT, SIGTERM and SIGHUP from now on. A second one ends the process at once.
    ///
    /// # Errors
    ///
    /// That of `sigaction`.
    pub fn watch() -> io::Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first signal finds the flag unset and only sets it.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&flag))?;
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Self(flag))
    }

    /// Never interrupted.
    #[cfg(test)]
    pub fn never() -> Self {
        Self(Arc::default())
    }

    /// Ends the work in progress when the user asked for it.
    ///
    /// # Errors
    ///
    /// [`Stop::Interrupted`].
    pub fn check(&self) -> Result<(), Stop> {
        // Relaxed: the flag alone matters.
        if self.0.load(Ordering::Relaxed) { Err(Stop::Interrupted) } else { Ok(()) }
    }
}
