//! Provided buffers: groups that requests with `IOSQE_BUFFER_SELECT` take a buffer from.

use std::collections::{HashMap, VecDeque};

use ringer_abi::CqeFlags;
use ringer_ops::Buffer;
use ringer_ops::provided_buffers::{MOST_BUFFERS, ProvideBuffers, RemoveBuffers};
use ringer_sys::{Errno, UserAddress};

/// One buffer of a group, chosen for one attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Selected {
    pub(crate) buffer: Buffer,
    group: u16,
    id: u16,
}

impl Selected {
    /// The CQE flags that name the buffer.
    pub(crate) fn cqe_flags(&self) -> u32 {
        CqeFlags::BUFFER.bits() | u32::from(self.id) << 16
    }
}

#[derive(Clone, Debug)]
enum Group {
    /// Handed out by PROVIDE_BUFFERS.
    Classic(VecDeque<(Buffer, u16)>),
    /// A ring in the program's memory (`IORING_REGISTER_PBUF_RING`): it moves the tail, we the head. Buffers that were given
    /// back stand apart: meanwhile another thread may have taken those behind them.
    Ring { address: UserAddress, mask: u16, head: u16, returned: Vec<Selected> },
}

/// The buffer groups of one ring.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProvidedBuffers {
    groups: HashMap<u16, Group>,
}

/// One entry of a buffer ring, in bytes. The tail lies in the reserved half-word of the first.
const ENTRY: u64 = 16;
const TAIL: u64 = 14;

impl ProvidedBuffers {
    /// Takes the next buffer of a group. Give it back with [`put_back`](Self::put_back) if it was not used.
    ///
    /// # Errors
    /// `ENOBUFS` when the group has none, `EFAULT` when its ring is not readable.
    pub(crate) fn select(&mut self, group: u16) -> Result<Selected, Errno> {
        match self.groups.get_mut(&group).ok_or(Errno::NOBUFS)? {
            Group::Classic(buffers) => {
                let (buffer, id) = buffers.pop_front().ok_or(Errno::NOBUFS)?;
                Ok(Selected { buffer, group, id })
            }
            Group::Ring { address, mask, head, returned } => {
                if let Some(selected) = returned.pop() {
                    return Ok(selected);
                }
                if address.add(TAIL).read::<u16>()? == *head {
                    return Err(Errno::NOBUFS);
                }
                let entry = address.add(u64::from(*head & *mask) * ENTRY);
                let [start, length_and_id] = entry.read::<[u64; 2]>()?;
                *head = head.wrapping_add(1);
                let buffer = Buffer { address: UserAddress::new(start), length: length_and_id as u32 };
                Ok(Selected { buffer, group, id: (length_and_id >> 32) as u16 })
            }
        }
    }

    /// Whether there is such a group.
    pub(crate) fn has_group(&self, group: u16) -> bool {
        self.groups.contains_key(&group)
    }

    /// Gives back a buffer that was not used. It is the next one again.
    pub(crate) fn put_back(&mut self, selected: Selected) {
        match self.groups.get_mut(&selected.group) {
            Some(Group::Classic(buffers)) => buffers.push_front((selected.buffer, selected.id)),
            Some(Group::Ring { returned, .. }) => returned.push(selected),
            // The group was removed meanwhile.
            None => {}
        }
    }

    /// Carries out PROVIDE_BUFFERS.
    ///
    /// # Errors
    /// `EINVAL` when the group is a ring, `EOVERFLOW` when it is full.
    pub(crate) fn provide(&mut self, provide: &ProvideBuffers) -> Result<(), Errno> {
        let group = self.groups.entry(provide.group).or_insert_with(|| Group::Classic(VecDeque::new()));
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
        match self.groups.get_mut(&remove.group) {
            None => Err(Errno::NOENT),
            Some(Group::Ring { .. }) => Err(Errno::INVAL),
            Some(Group::Classic(buffers)) => {
                let count = buffers.len().min(remove.count as usize);
                buffers.drain(..count);
                Ok(count as i32)
            }
        }
    }

    /// Registers a ring of buffers.
    ///
    /// # Errors
    /// `EEXIST` when the group has buffers already.
    pub(crate) fn register_ring(
        &mut self,
        group: u16,
        address: UserAddress,
        entries: u16,
    ) -> Result<(), Errno> {
        match self.groups.get(&group) {
            Some(Group::Ring { .. }) => return Err(Errno::EXIST),
            Some(Group::Classic(buffers)) if !buffers.is_empty() => return Err(Errno::EXIST),
            _ => {}
        }
        self.groups.insert(group, Group::Ring { address, mask: entries - 1, head: 0, returned: Vec::new() });
        Ok(())
    }

    /// Takes a ring of buffers back.
    ///
    /// # Errors
    /// `ENOENT` for an unknown group, `EINVAL` when it is not a ring.
    pub(crate) fn unregister_ring(&mut self, group: u16) -> Result<(), Errno> {
        match self.groups.get(&group) {
            None => Err(Errno::NOENT),
            Some(Group::Classic(_)) => Err(Errno::INVAL),
            Some(Group::Ring { .. }) => {
                self.groups.remove(&group);
                Ok(())
            }
        }
    }

    /// How far a ring of buffers was consumed.
    ///
    /// # Errors
    /// `ENOENT` for an unknown group, `EINVAL` when it is not a ring.
    pub(crate) fn ring_head(&self, group: u16) -> Result<u32, Errno> {
        match self.groups.get(&group) {
            None => Err(Errno::NOENT),
            Some(Group::Classic(_)) => Err(Errno::INVAL),
            Some(Group::Ring { head, returned, .. }) => {
                Ok(u32::from(head.wrapping_sub(returned.len() as u16)))
            }
        }
    }
}
