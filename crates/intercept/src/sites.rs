//! The call sites of `io_uring_enter` that trap: each is made a function call on its first trap, if that can be done.
//!
//! | in this order | what is needed | file |
//! |---|---|---|
//! | a short jump into padding | padding of five bytes in reach | `padding.rs` |
//! | a near jump in the place of the instruction before | that this one has five bytes | `neighbours.rs` |
//! | a near jump over the instructions before it too | that nobody comes to the middle of them | `neighbours.rs` |
//!
//! Else the site stays as it is and each call of it traps, which costs 3 µs. The reason is counted.

use std::sync::atomic::Ordering;

use ringer_engine::{Refusal, System};
use ringer_sys::UserAddress;
use ringer_sys::thread::Lock;

use crate::code::{self, Edit};
use crate::functions::Object;
use crate::listing::Listing;
use crate::memory_map::MemoryMap;
use crate::padding::{self, BREAK, Earlier, Way};
use crate::trampoline::{NEAR_JUMP_CODE, SHORT_JUMP, SHORT_JUMP_CODE, Trampolines, near_jump};
use crate::{handlers, neighbours, process, start};

/// Sites that are remembered. More than that are left alone.
const MOST: usize = 1024;

/// What is known of the sites.
struct Sites {
    /// Those that stay as they are, by the address behind them.
    refused: Vec<usize>,
    /// Trampolines by the address behind the site. An object that comes back to the same place finds its own again.
    made: Vec<(usize, usize)>,
    trampolines: Trampolines,
    earlier: Earlier,
    /// Sites whose `syscall` stays, by the address behind them, and where the near jump is that keeps threads away.
    kept: Vec<(usize, usize)>,
}

static SITES: Lock<Sites> = Lock::new(Sites {
    refused: Vec::new(),
    made: Vec::new(),
    trampolines: Trampolines::new(),
    earlier: Earlier { jumps: Vec::new(), returns: Vec::new() },
    kept: Vec::new(),
});

/// Looks at a site that trapped; `back` is the address of the instruction after `syscall`.
pub fn look_at(back: usize) {
    // A child of `vfork` would change its parent's code.
    if process::borrows_memory() {
        return;
    }
    // Not waited for: whoever has the lock may be a thread that did not come along over a fork. The site traps again.
    let Some(mut sites) = SITES.try_lock() else { return };
    let known = sites.refused.len() + sites.earlier.returns.len();
    if known > MOST || sites.refused.contains(&back) || !is_syscall(back - SHORT_JUMP) {
        return;
    }
    // A thread that was past the near jump already. A library that came to the same place later has none.
    if sites.kept.iter().any(|(address, jump)| *address == back && is_near_jump(*jump)) {
        return;
    }
    let counters = System::global().counters();
    match sites.patch(back) {
        Ok(()) => _ = counters.patched_sites.fetch_add(1, Ordering::Relaxed),
        Err(refusal) => {
            sites.refused.push(back);
            counters.unpatched_sites.fetch_add(1, Ordering::Relaxed);
            counters.refusals[refusal as usize].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether the instruction is still there: another thread may have patched it after this one trapped.
fn is_syscall(address: usize) -> bool {
    UserAddress::new(address as u64).read::<[u8; SHORT_JUMP]>() == Ok([0x0f, 0x05])
}

fn is_near_jump(address: usize) -> bool {
    UserAddress::new(address as u64).read() == Ok(NEAR_JUMP_CODE)
}

impl Sites {
    fn patch(&mut self, back: usize) -> Result<(), Refusal> {
        let site = back - SHORT_JUMP;
        if self.refused.len() + self.earlier.returns.len() == MOST {
            return Err(Refusal::TooMany);
        }
        handlers::look();
        let map = MemoryMap::read().ok_or(Refusal::System)?;
        let object = Object::of(site, &map).ok_or(Refusal::Function)?;
        let function = object.function_at(site).ok_or(Refusal::Function)?;
        if start::is_our_code(site) || !map.is_code(&function.range) {
            return Err(Refusal::Function);
        }
        let listing = Listing::of(&function.range)?;
        listing.index_of(site).ok_or(Refusal::Function)?;
        // An object that was unloaded took its jumps along.
        self.earlier.jumps.retain(|jump| {
            let code = UserAddress::new(*jump as u64).read::<u8>();
            matches!(code, Ok(NEAR_JUMP_CODE | SHORT_JUMP_CODE))
        });
        match padding::find(site, &listing, &object, &self.earlier)? {
            Some(way) => self.jump_by(&way, site, &object, &map)?,
            None => {
                let (moved, end) = match neighbours::alone(site, &listing) {
                    Some(moved) => (moved, site),
                    None => (neighbours::find(site, &function, &listing, &object)?, back),
                };
                let from = moved[0].ip() as usize;
                let trampoline = self.trampolines.make(back, moved, object.live())?;
                let mut bytes = near_jump(from, trampoline).ok_or(Refusal::AddressSpace)?.to_vec();
                bytes.resize(end - from, BREAK);
                code::write(&[Edit { address: from, bytes }])?;
                if end == site {
                    self.kept.retain(|(address, _)| *address != back);
                    self.kept.push((back, from));
                }
            }
        }
        self.earlier.returns.push(back);
        Ok(())
    }

    fn jump_by(&mut self, way: &Way, site: usize, object: &Object, map: &MemoryMap) -> Result<(), Refusal> {
        let back = site + SHORT_JUMP;
        let known = self.made.iter().find(|(address, _)| *address == back).map(|(_, trampoline)| *trampoline);
        let trampoline = match known {
            Some(trampoline) => trampoline,
            None => self.trampolines.make(back, &[], object.live())?,
        };
        let near = near_jump(way.end(), trampoline).ok_or(Refusal::AddressSpace)?;
        let edits = way.edits(site, &near).ok_or(Refusal::Function)?;
        if !edits.iter().all(|edit| map.is_code(&(edit.address..edit.address + edit.bytes.len()))) {
            return Err(Refusal::Function);
        }
        code::write(&edits)?;
        if known.is_none() {
            self.made.push((back, trampoline));
        }
        self.earlier.jumps.extend(way.jumps());
        Ok(())
    }
}
