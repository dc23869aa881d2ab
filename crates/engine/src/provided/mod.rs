//! Provided buffers: groups that requests with `IOSQE_BUFFER_SELECT` take buffers from.

mod buffer_ring;
mod selection;
mod used_up;

use std::collections::VecDeque;
use std::sync::Arc;

use ringer_ops::provided_buffers::{MOST_BUFFERS, ProvideBuffers, RemoveBuffers};
use ringer_ops::{Buffer, Segment};
use ringer_ring::ProgramPages;
use ringer_sys::Errno;

pub(crate) use buffer_ring::{BufferRing, ENTRY, RingMemory};
pub(crate) use selection::{Selection, TakenBuffer};
pub(crate) use used_up::BitsInOrder;

#[derive(Clone, Debug)]
enum Group {
    /// Handed out by PROVIDE_BUFFERS.
    Classic(VecDeque<(Buffer, u16)>),
    /// A ring in shared memory (`IORING_REGISTER_PBUF_RING`).
    Ring(BufferRing),
}

/// The buffer groups of one ring.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProvidedBuffers {
    /// By number, as far as there are any.
    groups: Vec<Option<Group>>,
    /// The buffers that the holder of the lock has looked at. Kept, so that a receive allocates nothing.
    looked_at: Vec<Segment>,
}

impl ProvidedBuffers {
    fn group(&mut self, number: u16) -> Option<&mut Group> {
        self.groups.get_mut(usize::from(number))?.as_mut()
    }

    fn place(&mut self, number: u16) -> &mut Option<Group> {
        let number = usize::from(number);
        if self.groups.len() <= number {
            self.groups.resize_with(number + 1, || None);
        }
        &mut self.groups[number]
    }

    fn ring(&mut self, number: u16) -> Result<&mut BufferRing, Errno> {
        match self.group(number) {
            None => Err(Errno::NOENT),
            Some(Group::Classic(_)) => Err(Errno::INVAL),
            Some(Group::Ring(ring)) => Ok(ring),
        }
    }

    /// Whether buffers of a group are used up bit by bit.
    fn has_incremental(&self) -> bool {
        self.groups.iter().flatten().any(|group| matches!(group, Group::Ring(ring) if ring.is_incremental()))
    }

    /// Carries out PROVIDE_BUFFERS.
    ///
    /// # Errors
    /// `EINVAL` when the group is a ring, `EOVERFLOW` when it is full.
    pub(crate) fn provide(&mut self, provide: &ProvideBuffers) -> Result<(), Errno> {
        let group = self.place(provide.group).get_or_insert_with(|| Group::Classic(VecDeque::new()));
        let Group::Classic(buffers) = group else { return Err(Errno::INVAL) };
        let room = (MOST_BUFFERS as usize).saturating_sub(buffers.len());
        if room == 0 {
            return Err(Errno::OVERFLOW);
        }
        // What finds no room is left out without an error, as long as something was added.
        for index in 0..provide.count.min(room as u32) {
            let address = provide.address.add(u64::from(index) * u64::from(provide.length));
            let id = provide.first_id.wrapping_add(index as u16);
            buffers.push_back((Buffer { address, length: provide.length }, id));
        }
        Ok(())
    }

    /// Carries out REMOVE_BUFFERS. Returns how many there were to remove.
    ///
    /// # Errors
    /// `ENOENT` for an unknown group, `EINVAL` when it is a ring.
    pub(crate) fn remove(&mut self, remove: &RemoveBuffers) -> Result<i32, Errno> {
        match self.group(remove.group) {
            None => Err(Errno::NOENT),
            Some(Group::Ring(_)) => Err(Errno::INVAL),
            Some(Group::Classic(buffers)) => {
                let count = buffers.len().min(remove.count as usize);
                buffers.drain(..count);
                Ok(count as i32)
            }
        }
    }

    /// Whether a ring may be registered as this group.
    ///
    /// # Errors
    /// `EEXIST` when the group has buffers already.
    pub(crate) fn check_free(&mut self, number: u16) -> Result<(), Errno> {
        match self.group(number) {
            Some(Group::Ring(_)) => Err(Errno::EXIST),
            Some(Group::Classic(buffers)) if !buffers.is_empty() => Err(Errno::EXIST),
            _ => Ok(()),
        }
    }

    /// Registers a ring of buffers. The group is [free](Self::check_free).
    pub(crate) fn register_ring(&mut self, number: u16, ring: BufferRing) {
        *self.place(number) = Some(Group::Ring(ring));
    }

    /// Takes a ring of buffers back.
    ///
    /// # Errors
    /// `ENOENT` for an unknown group, `EINVAL` when it is not a ring.
    pub(crate) fn unregister_ring(&mut self, number: u16) -> Result<(), Errno> {
        self.ring(number)?;
        *self.place(number) = None;
        Ok(())
    }

    /// How far a ring of buffers was consumed.
    ///
    /// # Errors
    /// `ENOENT` for an unknown group, `EINVAL` when it is not a ring.
    pub(crate) fn ring_head(&mut self, number: u16) -> Result<u32, Errno> {
        self.ring(number).map(|ring| u32::from(ring.head))
    }

    /// The pages of a ring that the program is to map.
    pub(crate) fn pages(&mut self, number: u16) -> Option<Arc<ProgramPages>> {
        match &self.ring(number).ok()?.memory {
            RingMemory::Engine(pages) => Some(Arc::clone(pages)),
            RingMemory::Program(_) => None,
        }
    }
}
