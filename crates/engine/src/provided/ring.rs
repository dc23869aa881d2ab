//! Rings of buffers (`IORING_REGISTER_PBUF_RING`): the program moves the tail, the engine the head.

use std::collections::VecDeque;
use std::sync::Arc;

use ringer_ops::{Buffer, BufferDemand};
use ringer_ring::BufferPages;
use ringer_sys::{Errno, UserAddress};

use super::selected::Bundle;
use super::{Origin, Taken};

/// One entry, in bytes: address, length, id. The tail lies in the reserved half-word of the first.
const ENTRY: u64 = 16;
const TAIL: u64 = 14;
const LENGTH: u64 = 8;

/// The most buffers of a bundle whose bytes are limited, as in Linux.
const MOST_LIMITED: u64 = 256;
/// The most buffers of a bundle without a limit.
const MOST_UNLIMITED: u64 = 64;

/// One registered ring. Nothing in its memory is trusted: positions are reduced to the ring's size, and every access is guarded.
#[derive(Clone, Debug)]
pub(crate) struct BufferRing {
    address: UserAddress,
    mask: u16,
    /// The next position to take.
    head: u16,
    /// Buffers are used up bit by bit (`IOU_PBUF_RING_INC`).
    incremental: bool,
    /// Buffers that were put back when others after them had been taken, the next one first. Their entries in the ring may
    /// have been written anew.
    apart: VecDeque<(Buffer, u16)>,
    /// The pages of a ring that the engine allocated (`IOU_PBUF_RING_MMAP`).
    pages: Option<Arc<BufferPages>>,
}

impl BufferRing {
    /// A ring in the program's memory. `entries` is a power of two, at most 2^15.
    pub(crate) fn new(address: UserAddress, entries: u16, incremental: bool) -> Self {
        Self { address, mask: entries - 1, head: 0, incremental, apart: VecDeque::new(), pages: None }
    }

    /// A ring in memory of the engine, for the program to map.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn allocate(entries: u16, incremental: bool) -> Result<Self, Errno> {
        let pages = BufferPages::allocate(usize::from(entries) * ENTRY as usize)?;
        let address = UserAddress::new(pages.address());
        Ok(Self { pages: Some(Arc::new(pages)), ..Self::new(address, entries, incremental) })
    }

    /// The pages, of a ring that the engine allocated.
    pub(crate) fn pages(&self) -> Option<&BufferPages> {
        self.pages.as_deref()
    }

    /// How far the ring was consumed (`IORING_REGISTER_PBUF_STATUS`).
    pub(crate) fn consumed(&self) -> u16 {
        self.head.wrapping_sub(self.apart.len() as u16)
    }

    fn entry(&self, position: u16) -> UserAddress {
        self.address.add(u64::from(position & self.mask) * ENTRY)
    }

    fn read(&self, position: u16) -> Result<(Buffer, u16), Errno> {
        self.entry(position).read().map(decode)
    }

    /// Takes the next buffer, or a bundle.
    ///
    /// # Errors
    /// `ENOBUFS`, `EFAULT`.
    pub(super) fn take(&mut self, demand: &BufferDemand) -> Result<Taken, Errno> {
        if let Some((first, id)) = self.apart.front().copied() {
            let taken = Self::one(first, id, Origin::Apart, demand)?;
            self.apart.pop_front();
            return Ok(taken);
        }
        // The tail first: what it counts is written.
        let (tail, entry) = self.address.add(TAIL).read_then::<u16, [u64; 2]>(self.entry(self.head))?;
        let waiting = tail.wrapping_sub(self.head);
        if waiting == 0 {
            return Err(Errno::NOBUFS);
        }
        let (first, id) = decode(entry);
        let mut taken = Self::one(first, id, Origin::At(self.head), demand)?;
        taken.emptied = waiting == 1 && (demand.limit == 0 || demand.limit > u64::from(first.length));
        if demand.bundle && first.length > 0 && taken.cut == 0 {
            self.extend(&mut taken, waiting, demand.limit)?;
        }
        self.head = self.head.wrapping_add(taken.count() as u16);
        Ok(taken)
    }

    /// A single buffer. One at address 0 counts as none, and an empty one where bytes are limited before they are there.
    fn one(mut first: Buffer, id: u16, origin: Origin, demand: &BufferDemand) -> Result<Taken, Errno> {
        let is_null = first.address.is_null() && !demand.bundle && !demand.at_once;
        if is_null || first.length == 0 && (demand.at_once || demand.bundle && demand.limit > 0) {
            return Err(Errno::NOBUFS);
        }
        let cut = demand.excess(first.length);
        first.length -= cut;
        Ok(Taken { first, id, more: None, cut, emptied: false, origin })
    }

    /// Adds what follows the first buffer, up to `limit` bytes (0: without a limit). The last buffer is cut only when the rest
    /// of it can be used later; otherwise it is left.
    fn extend(&self, taken: &mut Taken, waiting: u16, limit: u64) -> Result<(), Errno> {
        let most = match limit {
            0 => MOST_UNLIMITED,
            _ => limit.div_ceil(u64::from(taken.first.length)).min(MOST_LIMITED),
        };
        let count = most.min(u64::from(waiting)) as u16;
        let mut left = if limit == 0 { u64::MAX } else { limit } - u64::from(taken.first.length);
        let mut bundle = Bundle::default();
        let mut ran_out = true;
        for ahead in 1..count {
            if left == 0 {
                ran_out = false;
                break;
            }
            let (mut buffer, id) = self.read(self.head.wrapping_add(ahead))?;
            if u64::from(buffer.length) > left {
                if !self.incremental {
                    ran_out = false;
                    break;
                }
                taken.cut = buffer.length - left as u32;
                buffer.length = left as u32;
            }
            left -= u64::from(buffer.length);
            bundle.buffers.push(buffer);
            bundle.ids.push(id);
        }
        taken.emptied = ran_out && count == waiting && left > 0;
        if !bundle.ids.is_empty() {
            taken.more = Some(Box::new(bundle));
        }
        Ok(())
    }

    /// Uses `bytes` of what was taken, and puts back the rest. Returns whether a part of the last buffer used is left.
    pub(super) fn use_up(&mut self, taken: &Taken, bytes: u64) -> bool {
        if bytes > i32::MAX as u64 {
            // More than a result can tell of; Linux leaves the buffer where it is, too.
            self.put_back(taken, 0);
            return false;
        }
        if !self.incremental && bytes == taken.length() {
            return false;
        }
        let mut left = bytes;
        for index in 0..taken.count() {
            let (buffer, id) = taken.whole(index);
            let usable = if self.incremental { buffer.length } else { taken.get(index).0.length };
            let used = left.min(u64::from(usable)) as u32;
            left -= u64::from(used);
            if self.incremental && (used < buffer.length || used == 0) {
                let rest =
                    Buffer { address: buffer.address.add(u64::from(used)), length: buffer.length - used };
                self.put_back_with(taken, index, Some((rest, id)));
                return true;
            }
            if self.incremental
                && let Origin::At(position) = taken.origin
                && self.is_last(taken)
            {
                self.note(position.wrapping_add(index as u16), Buffer { length: 0, ..buffer });
            }
            if left == 0 {
                self.put_back(taken, index + 1);
                return false;
            }
        }
        false
    }

    /// Whether nothing was taken after these.
    fn is_last(&self, taken: &Taken) -> bool {
        matches!(taken.origin, Origin::At(position) if position.wrapping_add(taken.count() as u16) == self.head)
    }

    /// Gives back what was taken from the buffer with this index on.
    pub(super) fn put_back(&mut self, taken: &Taken, from: usize) {
        self.put_back_with(taken, from, None);
    }

    /// The same, the first of them partly used.
    fn put_back_with(&mut self, taken: &Taken, from: usize, changed: Option<(Buffer, u16)>) {
        match taken.origin {
            Origin::At(position) if self.is_last(taken) && self.apart.is_empty() => {
                self.head = position.wrapping_add(from as u16);
                if let Some((rest, _)) = changed {
                    self.note(self.head, rest);
                }
            }
            _ => {
                let changed = changed.into_iter();
                let from_ring = (from + changed.len()..taken.count()).map(|index| taken.whole(index));
                let returned: Vec<(Buffer, u16)> = changed.chain(from_ring).collect();
                for buffer in returned.into_iter().rev() {
                    self.apart.push_front(buffer);
                }
            }
        }
    }

    /// Writes what is left of a buffer into its entry, where the next take finds it and the program may look.
    fn note(&self, position: u16, rest: Buffer) {
        let entry = self.entry(position);
        // An error means that the program unmapped its ring: the next take fails.
        let _ = entry.write(rest.address.get()).and_then(|()| entry.add(LENGTH).write(rest.length));
    }
}

/// The buffer of an entry, and its id.
fn decode([start, length_and_id]: [u64; 2]) -> (Buffer, u16) {
    let buffer = Buffer { address: UserAddress::new(start), length: length_and_id as u32 };
    (buffer, (length_and_id >> 32) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: BufferDemand = BufferDemand { limit: 0, bundle: false, at_once: false };

    /// A ring of 4 entries with buffers of 8 bytes at 0x1000, 0x2000, …
    fn ring(incremental: bool, published: u16) -> BufferRing {
        let ring = BufferRing::allocate(4, incremental).expect("memory");
        for position in 0..published {
            provide(&ring, position, u64::from(position + 1) * 0x1000);
        }
        ring
    }

    fn provide(ring: &BufferRing, position: u16, address: u64) {
        let entry = ring.entry(position);
        entry.write([address, 8 | u64::from(position) << 32]).expect("the ring's own memory");
        ring.address.add(TAIL).write(position + 1).expect("the ring's own memory");
    }

    fn take(ring: &mut BufferRing) -> Option<Taken> {
        ring.take(&ONE).ok()
    }

    fn start(taken: &Taken) -> u64 {
        taken.first.address.get()
    }

    #[test]
    fn a_buffer_given_back_late_is_the_next_and_is_given_out_once() {
        let mut ring = ring(false, 3);
        let first = take(&mut ring).expect("three are there");
        let second = take(&mut ring).expect("two are there");
        assert!(!ring.use_up(&second, 5));
        ring.put_back(&first, 0);
        assert_eq!(ring.consumed(), 1);
        // The program may write the entry of a buffer that it did not get back anew.
        provide(&ring, 3, 0x4000);
        provide(&ring, 4, 0x5000);
        let order: Vec<u64> = std::iter::from_fn(|| take(&mut ring)).map(|taken| start(&taken)).collect();
        assert_eq!(order, [0x1000, 0x3000, 0x4000, 0x5000]);
        assert_eq!(ring.consumed(), 5);
    }

    #[test]
    fn the_rest_of_an_incremental_buffer_comes_first() {
        let mut ring = ring(true, 3);
        let first = take(&mut ring).expect("three are there");
        let second = take(&mut ring).expect("two are there");
        assert!(ring.use_up(&first, 3));
        assert!(ring.use_up(&second, 6));
        let rests: Vec<(u64, u32)> =
            std::iter::from_fn(|| take(&mut ring)).map(|taken| (start(&taken), taken.first.length)).collect();
        // The order of what was given back: the latest first, and never a byte twice.
        assert_eq!(rests, [(0x2006, 2), (0x1003, 5), (0x3000, 8)]);
    }

    #[test]
    fn a_bundle_gives_back_what_it_did_not_use() {
        let mut ring = ring(false, 4);
        let all = ring.take(&BufferDemand { bundle: true, ..ONE }).expect("four are there");
        assert_eq!(all.count(), 4);
        assert!(!ring.use_up(&all, 9));
        assert_eq!(ring.consumed(), 2);
        let limited = ring.take(&BufferDemand { bundle: true, limit: 12, ..ONE }).expect("two are there");
        // The second would have to be cut.
        assert_eq!(limited.count(), 1);
        ring.put_back(&limited, 0);
        assert_eq!(ring.consumed(), 2);
    }

    #[test]
    fn a_hostile_ring_is_bounded() {
        let mut ring = ring(false, 0);
        ring.address.add(TAIL).write(u16::MAX).expect("the ring's own memory");
        let bundle = ring.take(&BufferDemand { bundle: true, limit: u64::MAX, ..ONE });
        // Entries of no length: they count as none where bytes are limited.
        assert_eq!(bundle.map(|taken| taken.count()), Err(Errno::NOBUFS));
        for position in 0..4 {
            ring.entry(position).write([0x1000_u64, 1]).expect("the ring's own memory");
        }
        ring.address.add(TAIL).write(u16::MAX).expect("the ring's own memory");
        let bundle = ring.take(&BufferDemand { bundle: true, limit: u64::MAX, ..ONE });
        assert_eq!(bundle.map(|taken| taken.count()), Ok(MOST_LIMITED as usize));
    }
}
