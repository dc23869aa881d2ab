//! Buffers that were taken out of a group for an attempt.

use ringer_abi::CqeFlags;
use ringer_ops::Buffer;

/// Buffers of a group, chosen for one attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Selected {
    pub(super) taken: Taken,
    pub(super) group: u16,
    pub(super) generation: u32,
    /// All of it is used up by the first attempt.
    pub(crate) at_once: bool,
    /// The CQE flags, once the buffers are used up.
    pub(super) settled: Option<u32>,
}

/// Where taken buffers come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// A classic group.
    Classic,
    /// They were put back before, and had lost their place in the ring.
    Apart,
    /// They stand in the ring from this position on.
    At(u16),
}

/// One buffer or several that follow each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Taken {
    pub(super) first: Buffer,
    pub(super) id: u16,
    /// The others of a bundle.
    pub(super) more: Option<Box<Bundle>>,
    /// Bytes at the end of the last one that the attempt must not use.
    pub(super) cut: u32,
    /// The group had no more, and the demand was not met.
    pub(super) emptied: bool,
    pub(super) origin: Origin,
}

/// The second and later buffers of a bundle, with their ids.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Bundle {
    pub(super) buffers: Vec<Buffer>,
    pub(super) ids: Vec<u16>,
}

impl Taken {
    pub(super) fn others(&self) -> &[Buffer] {
        self.more.as_ref().map_or(&[], |more| &more.buffers)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        1 + self.others().len()
    }

    /// The bytes that may be used.
    pub(super) fn length(&self) -> u64 {
        let others: u64 = self.others().iter().map(|buffer| u64::from(buffer.length)).sum();
        u64::from(self.first.length) + others
    }

    /// A buffer with its id, as the attempt sees it.
    pub(super) fn get(&self, index: usize) -> (Buffer, u16) {
        match (index, &self.more) {
            (1.., Some(more)) => (more.buffers[index - 1], more.ids[index - 1]),
            _ => (self.first, self.id),
        }
    }

    /// A buffer with its id, as it was when it was taken.
    pub(super) fn whole(&self, index: usize) -> (Buffer, u16) {
        let (mut buffer, id) = self.get(index);
        if index + 1 == self.count() {
            buffer.length += self.cut;
        }
        (buffer, id)
    }
}

impl Selected {
    /// The first buffer, shortened to what may be used of it.
    pub(crate) fn first(&self) -> Buffer {
        self.taken.first
    }

    /// The others of a bundle.
    pub(crate) fn others(&self) -> &[Buffer] {
        self.taken.others()
    }

    /// Whether PROVIDE_BUFFERS handed it out.
    pub(crate) fn is_classic(&self) -> bool {
        self.taken.origin == Origin::Classic
    }

    /// Whether the group had no more to give.
    pub(crate) fn emptied(&self) -> bool {
        self.taken.emptied
    }

    /// The CQE flags that name the first buffer. `has_more`: a part of the last one is left, to be used later.
    pub(super) fn cqe_flags(&self, has_more: bool) -> u32 {
        let more = if has_more { CqeFlags::BUF_MORE.bits() } else { 0 };
        CqeFlags::BUFFER.bits() | more | u32::from(self.taken.id) << 16
    }
}
