//! A word that threads of several processes can sleep on, or its model.

use crate::primitive::AtomicU32;

/// A process-shared futex word. `futex.2`.
#[cfg(not(loom))]
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Futex {
    pub(crate) word: AtomicU32,
}

#[cfg(not(loom))]
impl Futex {
    pub(crate) const fn new(value: u32) -> Self {
        Self { word: AtomicU32::new(value) }
    }

    /// Sleeps while the word is `expected`. May return early.
    #[cold]
    pub(crate) fn wait(&self, expected: u32) {
        // An error means that the word has changed or that a signal came: the caller looks again in both cases.
        let _ =
            rustix::thread::futex::wait(&self.word, rustix::thread::futex::Flags::empty(), expected, None);
    }

    /// Wakes one sleeper.
    #[cold]
    pub(crate) fn wake_one(&self) {
        // It can only fail for a bad address.
        let _ = rustix::thread::futex::wake(&self.word, rustix::thread::futex::Flags::empty(), 1);
    }
}

/// The kernel looks at the word and puts the thread to sleep in one step, as seen by those who wake: so does this mutex.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct Futex {
    pub(crate) word: AtomicU32,
    step: loom::sync::Mutex<()>,
    sleepers: loom::sync::Condvar,
}

#[cfg(loom)]
impl Futex {
    pub(crate) fn new(value: u32) -> Self {
        Self {
            word: AtomicU32::new(value),
            step: loom::sync::Mutex::new(()),
            sleepers: loom::sync::Condvar::new(),
        }
    }

    pub(crate) fn wait(&self, expected: u32) {
        let step = self.step.lock().expect("loom ends the model at the first panic");
        if self.word.load(crate::primitive::Ordering::Relaxed) == expected {
            drop(self.sleepers.wait(step));
        }
    }

    pub(crate) fn wake_one(&self) {
        let _step = self.step.lock();
        self.sleepers.notify_one();
    }
}
