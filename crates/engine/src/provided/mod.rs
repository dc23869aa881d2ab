//! Provided buffers: groups that requests with `IOSQE_BUFFER_SELECT` take buffers from.
//!
//! A group is either classic (handed out by PROVIDE_BUFFERS) or a ring in memory shared with the program. An attempt takes
//! its buffers first; afterwards they are used up, or put back. Meanwhile other threads may take others.

mod classic;
mod ring;
mod selected;

use std::collections::HashMap;

use ringer_ops::BufferDemand;
use ringer_ops::provided_buffers::{ProvideBuffers, RemoveBuffers};
use ringer_sys::Errno;

use classic::Classic;
pub(crate) use ring::BufferRing;
pub(crate) use selected::Selected;
use selected::{Origin, Taken};

#[derive(Clone, Debug)]
enum Kind {
    Classic(Classic),
    Ring(BufferRing),
}

#[derive(Clone, Debug)]
struct Group {
    kind: Kind,
    /// Tells it from a group that had its number before.
    generation: u32,
}

/// The buffer groups of one ring.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProvidedBuffers {
    groups: HashMap<u16, Group>,
    generations: u32,
}

impl ProvidedBuffers {
    /// Takes buffers of a group. They are [used up](Self::use_up) or [put back](Self::put_back) later.
    ///
    /// # Errors
    /// `ENOBUFS` when the group has none, `EFAULT` when its ring is not readable.
    pub(crate) fn select(&mut self, group: u16, demand: &BufferDemand) -> Result<Selected, Errno> {
        let found = self.groups.get_mut(&group).ok_or(Errno::NOBUFS)?;
        let taken = match &mut found.kind {
            Kind::Classic(classic) => classic.take(demand)?,
            Kind::Ring(ring) => ring.take(demand)?,
        };
        let generation = found.generation;
        Ok(Selected { taken, group, generation, at_once: demand.at_once, settled: None })
    }

    /// Whether there is such a group.
    pub(crate) fn has_group(&self, group: u16) -> bool {
        self.groups.contains_key(&group)
    }

    /// The buffers are used: `bytes` of them, or all if it is their way. Returns the CQE flags that tell of it.
    pub(crate) fn use_up(&mut self, selected: &mut Selected, bytes: u64) -> u32 {
        if let Some(flags) = selected.settled {
            return flags;
        }
        let bytes = if selected.at_once { selected.taken.length() } else { bytes };
        let has_more = match self.origin(selected) {
            Some(Kind::Ring(ring)) => ring.use_up(&selected.taken, bytes),
            _ => false,
        };
        *selected.settled.insert(selected.cqe_flags(has_more))
    }

    /// Gives back buffers that were not used. They are the next ones again.
    pub(crate) fn put_back(&mut self, selected: Selected) {
        if selected.settled.is_some() {
            return;
        }
        match self.origin(&selected) {
            Some(Kind::Classic(classic)) => classic.put_back(&selected.taken),
            Some(Kind::Ring(ring)) => ring.put_back(&selected.taken, 0),
            // The group was removed meanwhile.
            None => {}
        }
    }

    /// The group that buffers are of, if it is still there.
    fn origin(&mut self, selected: &Selected) -> Option<&mut Kind> {
        self.groups
            .get_mut(&selected.group)
            .filter(|group| group.generation == selected.generation)
            .map(|group| &mut group.kind)
    }

    fn insert(&mut self, group: u16, kind: Kind) {
        self.generations = self.generations.wrapping_add(1);
        self.groups.insert(group, Group { kind, generation: self.generations });
    }

    /// Carries out PROVIDE_BUFFERS.
    ///
    /// # Errors
    /// `EINVAL` when the group is a ring, `EOVERFLOW` when it is full.
    pub(crate) fn provide(&mut self, provide: &ProvideBuffers) -> Result<(), Errno> {
        if !self.has_group(provide.group) {
            self.insert(provide.group, Kind::Classic(Classic::default()));
        }
        match self.groups.get_mut(&provide.group).map(|group| &mut group.kind) {
            Some(Kind::Classic(classic)) => classic.provide(provide),
            _ => Err(Errno::INVAL),
        }
    }

    /// Carries out REMOVE_BUFFERS. Returns how many there were to remove.
    ///
    /// # Errors
    /// `ENOENT` for an unknown group, `EINVAL` when it is a ring.
    pub(crate) fn remove(&mut self, remove: &RemoveBuffers) -> Result<i32, Errno> {
        match self.groups.get_mut(&remove.group).map(|group| &mut group.kind) {
            None => Err(Errno::NOENT),
            Some(Kind::Ring(_)) => Err(Errno::INVAL),
            Some(Kind::Classic(classic)) => Ok(classic.remove(remove.count as usize)),
        }
    }

    /// Checks that a ring may be registered for a group.
    ///
    /// # Errors
    /// `EEXIST` when the group has buffers already.
    pub(crate) fn check_free(&self, group: u16) -> Result<(), Errno> {
        match self.groups.get(&group).map(|group| &group.kind) {
            Some(Kind::Ring(_)) => Err(Errno::EXIST),
            Some(Kind::Classic(classic)) if !classic.is_empty() => Err(Errno::EXIST),
            _ => Ok(()),
        }
    }

    /// Registers a ring of buffers.
    ///
    /// # Errors
    /// As [`check_free`](Self::check_free).
    pub(crate) fn register_ring(&mut self, group: u16, ring: BufferRing) -> Result<(), Errno> {
        self.check_free(group)?;
        self.insert(group, Kind::Ring(ring));
        Ok(())
    }

    /// Takes a ring of buffers back.
    ///
    /// # Errors
    /// `ENOENT` for an unknown group, `EINVAL` when it is not a ring.
    pub(crate) fn unregister_ring(&mut self, group: u16) -> Result<(), Errno> {
        self.ring(group)?;
        self.groups.remove(&group);
        Ok(())
    }

    /// A ring of buffers.
    ///
    /// # Errors
    /// `ENOENT` for an unknown group, `EINVAL` when it is not a ring.
    pub(crate) fn ring(&self, group: u16) -> Result<&BufferRing, Errno> {
        match self.groups.get(&group).map(|group| &group.kind) {
            None => Err(Errno::NOENT),
            Some(Kind::Classic(_)) => Err(Errno::INVAL),
            Some(Kind::Ring(ring)) => Ok(ring),
        }
    }
}
