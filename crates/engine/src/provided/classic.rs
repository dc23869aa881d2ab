//! Classic groups: buffers that PROVIDE_BUFFERS handed out.

use std::collections::VecDeque;

use ringer_ops::provided_buffers::{MOST_BUFFERS, ProvideBuffers};
use ringer_ops::{Buffer, BufferDemand};
use ringer_sys::Errno;

use super::{Origin, Taken};

/// The buffers of a group, the next one first.
#[derive(Clone, Debug, Default)]
pub(super) struct Classic {
    buffers: VecDeque<(Buffer, u16)>,
}

impl Classic {
    pub(super) fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// Takes the next one; there are no bundles of several here.
    ///
    /// # Errors
    /// `ENOBUFS`.
    pub(super) fn take(&mut self, demand: &BufferDemand) -> Result<Taken, Errno> {
        let (mut first, id) = self.buffers.pop_front().ok_or(Errno::NOBUFS)?;
        // A send takes no notice of its length here, as in Linux.
        let cut = if demand.at_once { 0 } else { demand.excess(first.length) };
        first.length -= cut;
        let emptied = self.buffers.is_empty();
        Ok(Taken { first, id, more: None, cut, emptied, origin: Origin::Classic })
    }

    pub(super) fn put_back(&mut self, taken: &Taken) {
        self.buffers.push_front(taken.whole(0));
    }

    /// # Errors
    /// `EOVERFLOW` when the group is full.
    pub(super) fn provide(&mut self, provide: &ProvideBuffers) -> Result<(), Errno> {
        let room = (MOST_BUFFERS as usize).saturating_sub(self.buffers.len());
        if room == 0 {
            return Err(Errno::OVERFLOW);
        }
        // What finds no room is left out without an error, as long as something was added.
        for index in 0..provide.count.min(room as u32) {
            let address = provide.address.add(u64::from(index) * u64::from(provide.length));
            let id = provide.first_id.wrapping_add(index as u16);
            self.buffers.push_back((Buffer { address, length: provide.length }, id));
        }
        Ok(())
    }

    /// Removes up to `count`; returns how many there were.
    pub(super) fn remove(&mut self, count: usize) -> i32 {
        let count = self.buffers.len().min(count);
        self.buffers.drain(..count);
        count as i32
    }
}
