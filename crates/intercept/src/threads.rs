//! How many threads the program has, besides those of the engine.

use ringer_sys::thread;

/// Whether the calling thread is the program's only one. Not when in doubt.
pub fn is_only_one() -> bool {
    let engine = thread::alive();
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return false };
    let all = tasks.count();
    // A thread of the engine that ended meanwhile, or began, would be taken for another.
    all == engine + 1 && thread::alive() == engine
}
