//! What a program registers and asks between its submissions.

use fastrand::Rng;
use ringer_abi::RegisterOpcode;

use super::lanes::{Lanes, SLOTS};
use super::sequence::{INCREMENTAL_GROUPS, LANES, Object, RING_GROUPS};
use crate::differential::{Ring, Session};

/// One call of `io_uring_register`.
#[derive(Clone, Debug)]
pub struct Registration {
    kind: Kind,
    ring: usize,
    lane: usize,
    /// The object whose slot it is about.
    object: Object,
    draw: u32,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A request is cancelled, and its end waited for.
    SyncCancel,
    /// A slot of the registered files is emptied, or has its file again.
    UpdateFile,
    /// The registered buffer of the lane is replaced by a part of it.
    UpdateBuffer,
    /// A buffer ring is taken away.
    UnregisterRing,
    /// How far a buffer ring is used up.
    RingStatus,
}

const KINDS: [Kind; 7] = [
    Kind::SyncCancel,
    Kind::SyncCancel,
    Kind::SyncCancel,
    Kind::UpdateFile,
    Kind::UpdateBuffer,
    Kind::UnregisterRing,
    Kind::RingStatus,
];

impl Registration {
    /// Draws one.
    pub fn draw(rng: &mut Rng, rings: usize) -> Self {
        Self {
            kind: KINDS[rng.usize(..KINDS.len())],
            ring: rng.usize(..rings),
            lane: rng.usize(..LANES),
            object: Object::ALL[rng.usize(..Object::ALL.len())],
            draw: rng.u32(..),
        }
    }

    /// Whether it cancels a request.
    pub fn cancels(&self) -> bool {
        matches!(self.kind, Kind::SyncCancel)
    }

    /// Makes the call as step `number`. Returns its label and its outcome.
    pub fn perform(
        &self,
        number: usize,
        session: &Session,
        lanes: &Lanes,
        rings: &[Ring],
    ) -> (String, String) {
        let ring = &rings[self.ring];
        let lane = &lanes.0[self.lane];
        let slot = (self.lane * SLOTS + self.object.index()) as u64;
        let group = self.lane as u64 + u64::from([RING_GROUPS, INCREMENTAL_GROUPS][self.draw as usize % 2]);
        let named = self.object.among(rings, self.ring);
        let fd = named.map_or_else(|| lane.descriptor(self.object), |ring| ring.fd);
        let (opcode, argument, count) = match self.kind {
            Kind::SyncCancel => (RegisterOpcode::SyncCancel, session.words(&self.cancel(number, fd)), 1),
            Kind::UpdateFile => {
                let file = if self.draw.is_multiple_of(2) { fd } else { -1 };
                let files = session.ints(&[file]);
                (RegisterOpcode::FilesUpdate, session.words(&[slot, files.addr()]), 1)
            }
            Kind::UpdateBuffer => {
                const UPDATE: u32 = 32;
                let part = session.vectors(&[(lane.block.addr(), u64::from(self.draw % 4) * 1024)]);
                let words = [self.lane as u64, part.addr(), 0, 1];
                (RegisterOpcode::BuffersUpdate, session.words(&words), UPDATE)
            }
            Kind::UnregisterRing => {
                (RegisterOpcode::UnregisterPbufRing, session.words(&[0, group << 32, 0, 0, 0]), 1)
            }
            Kind::RingStatus => (RegisterOpcode::PbufStatus, session.words(&[group, 0, 0, 0, 0]), 1),
        };
        let outcome = match (ring.register(opcode.number(), argument.addr(), count), self.kind) {
            // Of many that were cancelled those on workers are not all counted.
            (Ok(1..), Kind::SyncCancel) => Ok(0),
            (outcome, _) => outcome,
        };
        let told = match self.kind {
            Kind::RingStatus => format!(", head {}", argument.get::<u64>(0) >> 32),
            _ => String::new(),
        };
        let outcome = crate::differential::errno::outcome_name(outcome);
        (format!("{} {opcode:?}", number + 1), format!("{outcome}{told}"))
    }

    /// A `struct io_uring_sync_cancel_reg`.
    fn cancel(&self, number: usize, fd: i32) -> [u64; 8] {
        const ALL: u64 = 1;
        const BY_FD: u64 = 2;
        const ANY: u64 = 4;
        const NANOSECONDS: u64 = 50_000_000;
        let target = (number as u64 + 1).saturating_sub(u64::from(self.draw / 16 % 8));
        let flags = match self.draw % 16 {
            0 => ANY | ALL,
            1 => BY_FD,
            2 => BY_FD | ALL,
            _ => 0,
        };
        [target, u64::from(fd as u32) | flags << 32, 0, NANOSECONDS, 0, 0, 0, 0]
    }
}
