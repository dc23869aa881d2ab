//! Registered files and buffers, which come and go with tags that are counted.

use std::collections::HashSet;
use std::os::fd::RawFd;
use std::sync::Mutex;

use fastrand::Rng;
use ringer_abi::{Cqe, RegisterOpcode, uapi};
use ringer_client::calls::Calls;
use ringer_client::ring::Ring;
use ringer_sys::UserAddress;

use super::files::Files;
use super::scene::{lasting, lock};

/// Registered files of each ring.
pub(super) const FILES: u32 = 16;
/// The first ones, which are read from. The others are written to.
pub(super) const FILES_TO_READ: u32 = 8;
/// Registered buffers of each ring.
pub(super) const BUFFERS: u16 = 4;
/// Bytes of each.
pub(super) const BUFFER_BYTES: u32 = 64;
/// The `user_data` of all tags, besides their number.
const TAGS: u64 = 1 << 40;

/// `struct io_uring_rsrc_register`: count and flags, reserved, data, tags.
type Registration = [u64; 4];
/// `struct io_uring_rsrc_update2`: offset, data, tags, count.
type Update = [u64; 4];

/// Which tags are to come.
#[derive(Debug, Default)]
struct Tags {
    latest: u64,
    outstanding: HashSet<u64>,
}

/// What one ring has registered.
#[derive(Debug)]
pub(super) struct Resources {
    descriptor: RawFd,
    tags: Mutex<Tags>,
    /// The memory of the registered buffers.
    pub(super) buffers: UserAddress,
}

impl Resources {
    /// Registers empty tables.
    ///
    /// # Errors
    /// A message when the ring refuses.
    pub(super) fn new<C: Calls>(ring: &Ring<C>) -> Result<Self, String> {
        let tables = [(RegisterOpcode::Files2, u64::from(FILES)), (RegisterOpcode::Buffers2, BUFFERS.into())];
        for (opcode, count) in tables {
            let sparse = u64::from(uapi::IORING_RSRC_REGISTER_SPARSE);
            let registration: Registration = [count | sparse << 32, 0, 0, 0];
            ring.register(opcode, UserAddress::of(&raw const registration), size_of::<Registration>())
                .map_err(|error| error.to_string())?;
        }
        let buffers = lasting(&[0; BUFFERS as usize * BUFFER_BYTES as usize]);
        Ok(Self { descriptor: ring.descriptor(), tags: Mutex::default(), buffers })
    }

    /// Puts other files and buffers into the tables, with tags.
    pub(super) fn update<C: Calls>(&self, rng: &mut Rng, files: &Files) {
        // On both sides of the border between those to read and those to write.
        let descriptors = [files.readable(rng), files.writable(rng)];
        let place = UserAddress::of(descriptors.as_ptr());
        self.register::<C>(RegisterOpcode::FilesUpdate2, FILES_TO_READ - 1, place);
        let first = rng.u16(..BUFFERS - 1);
        let part = |number: u16| {
            let address = self.buffers.add(u64::from(number) * u64::from(BUFFER_BYTES));
            [address.get(), u64::from(BUFFER_BYTES)]
        };
        let parts = [part(first), part(first + 1)];
        self.register::<C>(RegisterOpcode::BuffersUpdate, first.into(), UserAddress::of(parts.as_ptr()));
    }

    /// Registers two of a kind from `offset` on, each with a new tag.
    fn register<C: Calls>(&self, opcode: RegisterOpcode, offset: u32, data: UserAddress) {
        // Before the call: what is replaced at once may be told of at once.
        let new = {
            let mut tags = lock(&self.tags);
            tags.latest += 2;
            let new = [TAGS | (tags.latest - 1), TAGS | tags.latest];
            tags.outstanding.extend(new);
            new
        };
        let update: Update = [offset.into(), data.get(), UserAddress::of(new.as_ptr()).get(), 2];
        let address = UserAddress::of(&raw const update);
        let result = C::register(self.descriptor, opcode as u32, address, size_of::<Update>() as u32);
        // A descriptor that is closed at this moment is refused, and what comes behind it.
        let done = result.unwrap_or(0) as usize;
        let mut tags = lock(&self.tags);
        new[done.min(2)..].iter().for_each(|tag| {
            tags.outstanding.remove(tag);
        });
    }

    /// Takes note of a tag. Returns whether it is one.
    ///
    /// # Errors
    /// It was not to come.
    pub(super) fn account(&self, cqe: &Cqe) -> Result<bool, String> {
        if !(TAGS..2 * TAGS).contains(&cqe.user_data) {
            return Ok(false);
        }
        if !lock(&self.tags).outstanding.remove(&cqe.user_data) {
            return Err(format!("a tag that was told of, or never registered: {cqe:?}"));
        }
        Ok(true)
    }

    /// Gives up the tables: every tag that is left is told of.
    pub(super) fn unregister<C: Calls>(&self) {
        for opcode in [RegisterOpcode::UnregisterFiles, RegisterOpcode::UnregisterBuffers] {
            // What fails shows in the tags.
            let _ = C::register(self.descriptor, opcode as u32, UserAddress::new(0), 0);
        }
    }

    /// How many tags have not come.
    pub(super) fn outstanding(&self) -> usize {
        lock(&self.tags).outstanding.len()
    }
}
