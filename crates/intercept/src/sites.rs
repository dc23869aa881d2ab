//! The call sites of `io_uring_enter` that trap.
//!
//! A site traps once and could become a function call then, by patching. This is where that is decided. Today every site
//! stays as it is, as nothing here can rewrite code yet, and each trap costs its 3 µs.

use std::sync::atomic::{AtomicU64, Ordering};

use ringer_engine::System;

/// Sites that were seen. More than that are not counted.
static SEEN: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];

/// Looks at a site that trapped; `address` is that of the instruction after `syscall`.
pub fn look_at(address: u64) {
    let start = address as usize;
    for step in 0..SEEN.len() {
        let slot = &SEEN[(start + step) % SEEN.len()];
        // Relaxed: the addresses order nothing.
        match slot.compare_exchange(0, address, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => {
                System::global().counters().unpatched_sites.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(there) if there == address => return,
            Err(_) => {}
        }
    }
}
