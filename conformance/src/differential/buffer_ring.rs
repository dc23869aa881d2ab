//! A ring of provided buffers, as a program makes and fills it.

use ringer_abi::{RegisterOpcode, uapi};
use ringer_sys::{Errno, UserAddress};

use super::memory::Memory;
use super::ring::Ring;
use super::session::Session;

/// Where the tail lies in the first entry.
const TAIL: u64 = 14;

/// A registered buffer ring, and the memory of its buffers.
pub struct BufferRing {
    entries: UserAddress,
    mask: u16,
    tail: std::cell::Cell<u16>,
    incremental: bool,
    /// The group.
    pub group: u16,
    /// The memory that the buffers are cut from.
    pub memory: Memory,
}

/// `struct io_uring_buf_reg`: address, entries, group, flags.
pub fn buffer_registration(session: &Session, address: u64, entries: u32, group: u16, flags: u16) -> Memory {
    let numbers = u64::from(entries) | u64::from(group) << 32 | u64::from(flags) << 48;
    session.words(&[address, numbers, 0, 0, 0])
}

/// The bits of the registration's flags.
pub const INCREMENTAL: u16 = uapi::io_uring_register_pbuf_ring_flags::IOU_PBUF_RING_INC as u16;
/// As above.
pub const MAPPED: u16 = uapi::io_uring_register_pbuf_ring_flags::IOU_PBUF_RING_MMAP as u16;

impl BufferRing {
    /// Registers an empty ring of 8 entries for buffers in 256 bytes of memory.
    pub fn new(session: &Session, ring: &Ring, group: u16, flags: u16) -> Self {
        Self::with_memory(session, ring, group, flags, 8, 256)
    }

    /// The same with other sizes.
    pub fn with_memory(
        session: &Session,
        ring: &Ring,
        group: u16,
        flags: u16,
        entries: u16,
        bytes: usize,
    ) -> Self {
        let address = if flags & MAPPED == 0 {
            session.memory((usize::from(entries) * 16).max(4096)).addr()
        } else {
            0
        };
        let registration = buffer_registration(session, address, entries.into(), group, flags);
        ring.register(RegisterOpcode::PbufRing as u32, registration.addr(), 1).expect("a good registration");
        let address = if flags & MAPPED == 0 {
            UserAddress::new(address)
        } else {
            map(session, ring, group, usize::from(entries) * 16).expect("a ring of the kernel's")
        };
        let memory = session.memory(bytes);
        Self {
            entries: address,
            mask: entries - 1,
            tail: std::cell::Cell::new(0),
            incremental: flags & INCREMENTAL != 0,
            group,
            memory,
        }
    }

    /// Whether its buffers are used up bit by bit.
    pub fn is_incremental(&self) -> bool {
        self.incremental
    }

    /// Adds a buffer without publishing it.
    pub fn add(&self, address: u64, length: u32, id: u16) {
        let slot = self.entries.add(u64::from(self.tail.get() & self.mask) * 16);
        slot.write([address]).expect("the ring is mapped");
        slot.add(8).write([length]).expect("the ring is mapped");
        slot.add(12).write([id]).expect("the ring is mapped");
        self.tail.set(self.tail.get().wrapping_add(1));
    }

    /// Adds `count` buffers of `size` bytes, one after the other in the memory, with ids from 10, and publishes them.
    pub fn fill(&self, count: u16, size: u32) {
        for index in 0..count {
            self.add(self.memory.addr() + u64::from(index) * u64::from(size), size, 10 + index);
        }
        self.publish();
    }

    /// Publishes what was added.
    pub fn publish(&self) {
        self.set_tail(self.tail.get());
    }

    /// Publishes the next `count` entries as they are.
    pub fn publish_again(&self, count: u16) {
        self.tail.set(self.tail.get().wrapping_add(count));
        self.publish();
    }

    /// Writes the tail, whatever it is.
    pub fn set_tail(&self, tail: u16) {
        self.entries.add(TAIL).write([tail]).expect("the ring is mapped");
    }

    /// An entry as it is now: the address relative to the memory, the length, the id.
    pub fn entry(&self, index: u16) -> String {
        let [address, rest] = self
            .entries
            .add(u64::from(index & self.mask) * 16)
            .read::<[u64; 2]>()
            .expect("the ring is mapped");
        format!("+{} {} id {}", address.wrapping_sub(self.memory.addr()), rest as u32, (rest >> 32) as u16)
    }

    /// Records how far the ring was consumed, and its first entries.
    pub fn record(&self, session: &Session, ring: &Ring, label: &str, entries: u16) {
        session.record(format!("{label}: head"), head(session, ring, self.group.into()));
        for index in 0..entries {
            session.record(format!("{label}: entry {index}"), self.entry(index));
        }
    }
}

/// Maps a ring that the backend allocated.
///
/// # Errors
/// Those of `mmap.2`.
pub fn map(session: &Session, ring: &Ring, group: u16, length: usize) -> Result<UserAddress, Errno> {
    let offset = ringer_abi::OFF_PBUF_RING | u64::from(group) << uapi::IORING_OFF_PBUF_SHIFT;
    session.backend().map(ring.fd, length, offset)
}

/// What `IORING_REGISTER_PBUF_STATUS` says of a group.
pub fn head(session: &Session, ring: &Ring, group: u32) -> String {
    let status = session.ints(&[group as i32, -1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let result = ring.register(RegisterOpcode::PbufStatus as u32, status.addr(), 1);
    format!("{} head {}", super::errno::outcome_name(result), status.get::<i32>(4))
}
