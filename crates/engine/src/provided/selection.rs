//! What one request takes of a group of provided buffers, during one attempt.

use std::sync::MutexGuard;

use ringer_abi::CqeFlags;
use ringer_ops::{Buffer, BufferGroup, Bundle};
use ringer_sys::Errno;
use ringer_sys::thread::Lock;

use super::{Group, ProvidedBuffers};

/// `IORING_CQE_F_BUF_MORE`.
const BUF_MORE: u32 = ringer_abi::uapi::IORING_CQE_F_BUF_MORE;

/// The CQE flags that name the provided buffer which a request has taken.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TakenBuffer(u32);

impl TakenBuffer {
    /// The flags, for one CQE.
    #[inline]
    pub(crate) fn take_flags(&mut self) -> u32 {
        std::mem::take(&mut self.0)
    }
}

/// The group of a request, locked from the first look at it until something is taken or the attempt ends.
pub(crate) struct Selection<'a> {
    provided: &'a Lock<ProvidedBuffers>,
    group: u16,
    locked: Option<MutexGuard<'a, ProvidedBuffers>>,
    /// The id of the first buffer that was looked at.
    id: u16,
    taken: &'a mut TakenBuffer,
}

impl<'a> Selection<'a> {
    pub(crate) fn new(provided: &'a Lock<ProvidedBuffers>, group: u16, taken: &'a mut TakenBuffer) -> Self {
        Self { provided, group, locked: None, id: 0, taken }
    }

    fn locked(&mut self) -> &mut ProvidedBuffers {
        self.locked.get_or_insert_with(|| self.provided.lock())
    }

    fn consume(&mut self, bytes: u64) -> bool {
        let group = self.group;
        let provided = &mut *self.locked();
        let can_go_on = match provided.groups.get_mut(usize::from(group)) {
            Some(Some(Group::Classic(buffers))) => {
                buffers.pop_front();
                false
            }
            Some(Some(Group::Ring(ring))) => ring.consume(bytes, &provided.looked_at),
            // It was there when it was looked at, and is locked since.
            _ => false,
        };
        self.locked = None;
        // A result that took several times is named by the first; the last one tells whether it can be used further.
        if self.taken.0 == 0 {
            self.taken.0 = CqeFlags::BUFFER.bits() | u32::from(self.id) << 16;
        }
        self.taken.0 &= !BUF_MORE;
        can_go_on
    }
}

impl BufferGroup for Selection<'_> {
    fn select(&mut self, limit: u64) -> Result<Buffer, Errno> {
        let group = self.group;
        let provided = self.locked();
        let (buffer, id) = match provided.groups.get(usize::from(group)) {
            Some(Some(Group::Classic(buffers))) => {
                let (buffer, id) = buffers.front().copied().ok_or(Errno::NOBUFS)?;
                (buffer.cut(limit), id)
            }
            Some(Some(Group::Ring(ring))) => ring.peek(limit)?,
            _ => return Err(Errno::NOBUFS),
        };
        provided.looked_at.clear();
        provided.looked_at.push([buffer.address.get(), buffer.length.into()]);
        self.id = id;
        Ok(buffer)
    }

    fn select_bundle(&mut self, limit: u32, most: usize) -> Result<Bundle<'_>, Errno> {
        let group = self.group;
        let ProvidedBuffers { groups, looked_at } = self.locked();
        let (id, is_cut, is_last) = match groups.get(usize::from(group)) {
            Some(Some(Group::Classic(buffers))) => {
                let (buffer, id) = buffers.front().copied().ok_or(Errno::NOBUFS)?;
                let buffer = buffer.cut(limit.into());
                looked_at.clear();
                looked_at.push([buffer.address.get(), buffer.length.into()]);
                (id, false, buffers.len() == 1)
            }
            Some(Some(Group::Ring(ring))) => ring.peek_bundle(limit, most, looked_at)?,
            _ => return Err(Errno::NOENT),
        };
        self.id = id;
        Ok(Bundle { segments: &self.locked().looked_at, is_cut, is_last })
    }

    fn take(&mut self, bytes: u64) {
        if self.consume(bytes) {
            self.taken.0 |= BUF_MORE;
        }
    }

    fn begin(&mut self, bytes: u64) {
        self.consume(bytes);
    }

    fn is_ring(&self) -> bool {
        let is_ring = |provided: &ProvidedBuffers| {
            matches!(provided.groups.get(usize::from(self.group)), Some(Some(Group::Ring(_))))
        };
        match &self.locked {
            Some(provided) => is_ring(provided),
            None => is_ring(&self.provided.lock()),
        }
    }
}
