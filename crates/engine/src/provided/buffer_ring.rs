//! A ring of provided buffers: the program moves its tail, the engine its head.
//!
//! The ring lies in memory that the program may write at any time. Each word is loaded once, every index is masked and every
//! loop is bounded, so that nonsense in it costs the program its data and nothing else.

use std::sync::Arc;

use ringer_ops::{Buffer, Segment};
use ringer_ring::ProgramPages;
use ringer_sys::{Errno, UserAddress};

/// One entry of a buffer ring, in bytes: address, length, id. The tail lies in the reserved half-word of the first.
pub(crate) const ENTRY: u64 = 16;
const LENGTH: u64 = 8;
const TAIL: u64 = 14;

/// Where a buffer ring lies.
#[derive(Clone, Debug)]
pub(crate) enum RingMemory {
    /// In memory that the program brought.
    Program(UserAddress),
    /// In pages that the engine allocated (`IOU_PBUF_RING_MMAP`).
    Engine(Arc<ProgramPages>),
}

impl RingMemory {
    fn address(&self) -> UserAddress {
        match self {
            Self::Program(address) => *address,
            Self::Engine(pages) => UserAddress::new(pages.address()),
        }
    }
}

/// A ring of buffers (`IORING_REGISTER_PBUF_RING`).
#[derive(Clone, Debug)]
pub(crate) struct BufferRing {
    pub(super) memory: RingMemory,
    mask: u16,
    pub(super) head: u16,
    /// `IOU_PBUF_RING_INC`: buffers are used up bit by bit.
    incremental: bool,
}

/// An entry as it was read.
struct Entry {
    address: u64,
    length: u32,
    id: u16,
}

impl Entry {
    fn new(address: u64, length_and_id: u64) -> Self {
        Self { address, length: length_and_id as u32, id: (length_and_id >> 32) as u16 }
    }
}

impl BufferRing {
    /// A ring of `entries`, a power of two up to 32768.
    pub(crate) fn new(memory: RingMemory, entries: u16, incremental: bool) -> Self {
        Self { memory, mask: entries - 1, head: 0, incremental }
    }

    pub(super) fn is_incremental(&self) -> bool {
        self.incremental
    }

    fn place(&self, index: u16) -> UserAddress {
        self.memory.address().add(u64::from(index & self.mask) * ENTRY)
    }

    fn entry(&self, index: u16) -> Result<Entry, Errno> {
        let [address, length_and_id] = self.place(index).read::<[u64; 2]>()?;
        Ok(Entry::new(address, length_and_id))
    }

    fn tail(&self) -> Result<u16, Errno> {
        self.memory.address().add(TAIL).read::<u16>()
    }

    /// The next buffer, at most `limit` bytes of it unless that is 0, and its id.
    ///
    /// # Errors
    /// `ENOBUFS`, also when the ring is not readable.
    pub(super) fn peek(&self, limit: u64) -> Result<(Buffer, u16), Errno> {
        let tail = self.memory.address().add(TAIL);
        let (tail, [address, length_and_id]) =
            tail.read_then::<u16, [u64; 2]>(self.place(self.head)).map_err(|_| Errno::NOBUFS)?;
        let Entry { address, length, id } = Entry::new(address, length_and_id);
        // A buffer at address 0 counts as none, as in Linux.
        if tail == self.head || address == 0 {
            return Err(Errno::NOBUFS);
        }
        Ok((Buffer { address: UserAddress::new(address), length }.cut(limit), id))
    }

    /// The next buffers, up to `most`, for `limit` bytes in all. Returns the first one's id, whether the last one was cut or left
    /// out, and whether there are no more.
    ///
    /// # Errors
    /// `ENOBUFS`, also when the ring is not readable or its next buffer has no length.
    pub(super) fn peek_bundle(
        &self,
        limit: u32,
        most: usize,
        segments: &mut Vec<Segment>,
    ) -> Result<(u16, bool, bool), Errno> {
        segments.clear();
        let tail = self.tail().map_err(|_| Errno::NOBUFS)?;
        let mut available = usize::from(tail.wrapping_sub(self.head));
        if available == 0 {
            return Err(Errno::NOBUFS);
        }
        let first = self.entry(self.head).map_err(|_| Errno::NOBUFS)?;
        let id = first.id;
        if limit == 0 {
            available = 1;
        } else if first.length == 0 {
            return Err(Errno::NOBUFS);
        } else {
            // An estimate, as if all were as long as the first.
            available = available.min(limit.div_ceil(first.length) as usize).min(most);
        }
        let mut left = if limit == 0 { i32::MAX as u32 } else { limit };
        let mut index = self.head;
        let mut entry = first;
        let mut is_cut = false;
        loop {
            let mut length = entry.length;
            if length > left {
                length = left;
                if !self.incremental {
                    is_cut = true;
                    if !segments.is_empty() {
                        break;
                    }
                }
            }
            segments.push([entry.address, u64::from(length)]);
            left -= length;
            if left == 0 {
                break;
            }
            index = index.wrapping_add(1);
            if segments.len() == available {
                break;
            }
            entry = match self.entry(index) {
                Ok(entry) => entry,
                Err(_) => break,
            };
        }
        Ok((id, is_cut, index == tail))
    }

    /// Uses up `bytes` of the next buffers, which were looked at as these. Returns whether the last one of them can be
    /// used further.
    pub(super) fn consume(&mut self, bytes: u64, looked_at: &[Segment]) -> bool {
        if bytes > i32::MAX as u64 {
            // More than a result can tell. Linux leaves such a buffer where it is.
            return false;
        }
        if self.incremental {
            return self.consume_bit(bytes);
        }
        let mut left = bytes;
        let mut needed = 0;
        let mut count: u16 = 0;
        for [_, length] in looked_at {
            count += 1;
            if left > 0 || needed == 0 {
                needed = count;
            }
            left -= left.min(*length);
        }
        // When all of them were used, buffers without a length count, too.
        let is_all = bytes >= looked_at.iter().fold(0, |sum, [_, length]| sum + length);
        self.head = self.head.wrapping_add(if is_all { count } else { needed });
        false
    }

    /// The entries in the ring say what is left of their buffers.
    fn consume_bit(&mut self, mut left: u64) -> bool {
        if left == 0 {
            return true;
        }
        while left > 0 {
            let Ok(Entry { address, length, .. }) = self.entry(self.head) else { return false };
            let used = left.min(u64::from(length)) as u32;
            let rest = length - used;
            let place = self.place(self.head);
            // A ring that cannot be written any more is as good as gone: the next look at it fails.
            let written = if rest > 0 || used == 0 {
                place.write(address.wrapping_add(u64::from(used)))
            } else {
                Ok(())
            };
            if written.and_then(|()| place.add(LENGTH).write(rest)).is_err() || rest > 0 || used == 0 {
                return true;
            }
            self.head = self.head.wrapping_add(1);
            left -= u64::from(used);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring of 4 entries with buffers of `length` bytes at 0x1000, 0x2000, …, and this tail.
    fn ring(incremental: bool, length: u64, tail: u16) -> BufferRing {
        let pages = Arc::new(ProgramPages::allocate(64).expect("memory"));
        let ring = BufferRing::new(RingMemory::Engine(pages), 4, incremental);
        for index in 0..4 {
            let entry = [u64::from(index + 1) * 0x1000, length | u64::from(index) << 32];
            ring.place(index).write(entry).expect("the ring's own memory");
        }
        ring.memory.address().add(TAIL).write(tail).expect("the ring's own memory");
        ring
    }

    #[test]
    fn what_is_looked_at_stays_until_it_is_used() {
        let mut ring = ring(false, 8, 3);
        let mut looked_at = Vec::new();
        for _ in 0..2 {
            assert_eq!(ring.peek(5).map(|(buffer, id)| (buffer.length, id)), Ok((5, 0)));
            assert_eq!(ring.peek_bundle(24, 256, &mut looked_at), Ok((0, false, false)));
        }
        assert!(!ring.consume(9, &looked_at));
        assert_eq!((ring.head, ring.peek(0).map(|(_, id)| id)), (2, Ok(2)));
        // The last one would have to be cut, and is left.
        ring.head = 0;
        assert_eq!(ring.peek_bundle(12, 256, &mut looked_at), Ok((0, true, false)));
        assert_eq!(looked_at, [[0x1000, 8]]);
    }

    #[test]
    fn incremental_buffers_are_used_bit_by_bit() {
        let mut ring = ring(true, 8, 3);
        assert!(ring.consume(3, &[]));
        assert_eq!(ring.peek(0).map(|(buffer, _)| (buffer.address.get(), buffer.length)), Ok((0x1003, 5)));
        assert!(!ring.consume(5, &[]));
        assert!(ring.consume(9, &[]));
        assert_eq!(ring.head, 2);
    }

    #[test]
    fn a_hostile_ring_is_bounded() {
        let mut looked_at = Vec::new();
        let mut empty = ring(true, 0, u16::MAX);
        assert_eq!(empty.peek_bundle(u32::MAX, 256, &mut looked_at), Err(Errno::NOBUFS));
        assert!(empty.consume(100, &[]));
        let ring = ring(false, 1, u16::MAX);
        assert_eq!(ring.peek_bundle(u32::MAX, 256, &mut looked_at), Ok((0, false, false)));
        assert_eq!(looked_at.len(), 256);
    }
}
