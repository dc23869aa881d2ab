//! Changing code that other threads may be executing.
//!
//! A copy of the pages is changed and then moved over them. To other threads that is one step: while the kernel replaces the
//! mapping, under its lock, an instruction fetch there faults and waits for the lock; the translation caches of the
//! other processors are flushed by interrupts, which also discard what they had fetched before. So nobody
//! executes half a change, also of an instruction that crosses a cache line or a page, and no page is ever
//! writable and executable at once. A store into the page would need both at once; `/proc/self/mem` does without, but promises
//! nothing about in how many steps its bytes arrive.
//!
//! What it does not see to: that no thread is *between* two instructions that are replaced by one. Where that matters
//! is said with each kind of patch.

use ringer_engine::Refusal;
use rustix::mm::{
    MapFlags, MprotectFlags, MremapFlags, ProtFlags, mmap_anonymous, mprotect, mremap_fixed, munmap,
};

use crate::memory_map::PAGE;

/// Bytes to put somewhere.
#[derive(Debug)]
pub struct Edit {
    pub address: usize,
    pub bytes: Vec<u8>,
}

/// Makes all the edits in one step. They lie within a few pages, all mapped, readable and executable.
pub fn write(edits: &[Edit]) -> Result<(), Refusal> {
    let start = edits.iter().map(|edit| edit.address).min().unwrap_or(0) & !(PAGE - 1);
    let end =
        edits.iter().map(|edit| edit.address + edit.bytes.len()).max().unwrap_or(0).next_multiple_of(PAGE);
    let length = end - start;
    if length == 0 || length > 4 * PAGE {
        return Err(Refusal::System);
    }
    // SAFETY: the copy is a new mapping that only we know. The pages that it replaces differ from it by the edits only, and what is
    // there is the caller's choice.
    unsafe {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let copy = mmap_anonymous(std::ptr::null_mut(), length, access, MapFlags::PRIVATE)
            .map_err(|_| Refusal::System)?;
        std::ptr::copy_nonoverlapping(start as *const u8, copy.cast::<u8>(), length);
        for edit in edits {
            let to = copy.cast::<u8>().add(edit.address - start);
            std::ptr::copy_nonoverlapping(edit.bytes.as_ptr(), to, edit.bytes.len());
        }
        let moved = mprotect(copy, length, MprotectFlags::READ | MprotectFlags::EXEC)
            .and_then(|()| mremap_fixed(copy, length, length, MremapFlags::MAYMOVE, start as *mut _));
        if moved.is_err() {
            let _ = munmap(copy, length);
            return Err(Refusal::System);
        }
    }
    Ok(())
}
