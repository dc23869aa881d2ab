//! `io_uring_register`: one file per kind of resource.

mod buffer_rings;
pub(crate) mod buffers;
mod clone_buffers;
pub(crate) mod eventfd;
pub(crate) mod files;
mod probe;
pub(crate) mod region;
mod resize;
mod resources;
pub(crate) mod restrictions;
mod sync_cancel;
mod waiting;
mod without_ring;
mod workers;
mod zero_copy_receive;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringer_abi::{RegisterOpcode, SetupFlags};
use ringer_ops::timeout::Clock;
use ringer_sys::credentials::Credentials;
use ringer_sys::{Errno, UserAddress};

use crate::ring::Ring;

pub(crate) use resources::{ResourceRegister, ResourceUpdate};
use waiting::Napi;
pub(crate) use without_ring::register as without_ring;

/// Registered things that need no file of their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registrations {
    personalities: BTreeMap<u16, Arc<Credentials>>,
    /// The clock of the time limits of `enter`.
    pub(crate) clock: Clock,
    napi: Napi,
}

impl Registrations {
    /// The credentials of an id, if it was registered.
    pub(crate) fn personality(&self, id: u16) -> Option<Arc<Credentials>> {
        self.personalities.get(&id).cloned()
    }

    fn add_personality(&mut self) -> Result<u16, Errno> {
        let id = (1..u16::MAX).find(|id| !self.personalities.contains_key(id)).ok_or(Errno::NOSPC)?;
        self.personalities.insert(id, Arc::new(Credentials::of_this_thread()?));
        Ok(id)
    }
}

/// Carries out a register call on a ring.
///
/// # Errors
/// Those of `io_uring_register.2`.
pub(crate) fn register(
    ring: &Arc<Ring>,
    opcode: u32,
    argument: UserAddress,
    count: u32,
) -> Result<i32, Errno> {
    let opcode = RegisterOpcode::from_number(opcode).ok_or(Errno::INVAL)?;
    check_caller(ring, opcode)?;
    let bare = || if argument.is_null() && count == 0 { Ok(()) } else { Err(Errno::INVAL) };
    match opcode {
        RegisterOpcode::Buffers | RegisterOpcode::Files if argument.is_null() => Err(Errno::FAULT),
        RegisterOpcode::Buffers => buffers::register(ring, argument, count, None),
        RegisterOpcode::Buffers2 => buffers::register2(ring, argument, count),
        RegisterOpcode::BuffersUpdate => buffers::update2(ring, argument, count),
        RegisterOpcode::UnregisterBuffers => bare().and_then(|()| buffers::unregister(ring)),
        RegisterOpcode::Files => files::register(ring, argument, count, None),
        RegisterOpcode::Files2 => files::register2(ring, argument, count),
        RegisterOpcode::FilesUpdate => files::update(ring, argument, count),
        RegisterOpcode::FilesUpdate2 => files::update2(ring, argument, count),
        RegisterOpcode::FileAllocRange => files::set_range(ring, argument, count),
        RegisterOpcode::UnregisterFiles => bare().and_then(|()| files::unregister(ring)),
        RegisterOpcode::Eventfd => eventfd::register(ring, argument, count, false),
        RegisterOpcode::EventfdAsync => eventfd::register(ring, argument, count, true),
        RegisterOpcode::UnregisterEventfd => bare().and_then(|()| eventfd::unregister(ring)),
        RegisterOpcode::Probe => probe::probe(argument, count),
        RegisterOpcode::Personality => {
            bare()?;
            ring.registrations.lock().add_personality().map(i32::from)
        }
        RegisterOpcode::UnregisterPersonality => {
            if !argument.is_null() {
                return Err(Errno::INVAL);
            }
            let known = u16::try_from(count)
                .is_ok_and(|id| ring.registrations.lock().personalities.remove(&id).is_some());
            if known { Ok(0) } else { Err(Errno::INVAL) }
        }
        RegisterOpcode::EnableRings => bare().and_then(|()| enable(ring)),
        RegisterOpcode::IowqAff => workers::set_affinity(argument, count),
        RegisterOpcode::UnregisterIowqAff => bare().map(|()| workers::reset_affinity()),
        RegisterOpcode::IowqMaxWorkers => workers::set_limits(ring, argument, count),
        RegisterOpcode::PbufRing => buffer_rings::register(ring, argument, count),
        RegisterOpcode::UnregisterPbufRing => buffer_rings::unregister(ring, argument, count),
        RegisterOpcode::PbufStatus => buffer_rings::status(ring, argument, count),
        RegisterOpcode::SyncCancel => sync_cancel::cancel(ring, argument, count),
        RegisterOpcode::Restrictions => restrictions::register(ring, argument, count),
        RegisterOpcode::Clock => waiting::set_clock(ring, argument, count),
        RegisterOpcode::Napi => waiting::set_napi(ring, argument, count),
        RegisterOpcode::UnregisterNapi => waiting::unset_napi(ring, argument, count),
        RegisterOpcode::CloneBuffers => clone_buffers::clone(ring, argument, count),
        RegisterOpcode::ResizeRings => resize::resize(ring, argument, count),
        RegisterOpcode::MemRegion => region::register(ring, argument, count),
        RegisterOpcode::ZcrxIfq => zero_copy_receive::register(ring, argument, count),
        RegisterOpcode::Query => without_ring::query(argument, count),
        // The call needs no ring, and takes none; the others are the caller's.
        RegisterOpcode::SendMsgRing | RegisterOpcode::RingFds | RegisterOpcode::UnregisterRingFds => {
            Err(Errno::INVAL)
        }
    }
}

/// Whether the calling thread may make this call on the ring, and the ring's restrictions allow it.
///
/// # Errors
/// `EEXIST` for another thread than the ring's own, `EACCES` for a restriction.
pub(crate) fn check_caller(ring: &Ring, opcode: RegisterOpcode) -> Result<(), Errno> {
    check_owner(ring)?;
    if ring.restrictions.allow_call(opcode) { Ok(()) } else { Err(Errno::ACCESS) }
}

/// A single-issuer ring that has its submitter takes calls of that thread only.
fn check_owner(ring: &Ring) -> Result<(), Errno> {
    if !ring.setup.contains(SetupFlags::SINGLE_ISSUER) {
        return Ok(());
    }
    let owner = ring.submitter.load(Ordering::Relaxed);
    if owner != 0 && owner != ringer_sys::thread::id() { Err(Errno::EXIST) } else { Ok(()) }
}

/// `IORING_REGISTER_ENABLE_RINGS`.
fn enable(ring: &Ring) -> Result<i32, Errno> {
    if !ring.disabled.swap(false, Ordering::AcqRel) {
        return Err(Errno::BADFD);
    }
    ring.restrictions.enforce();
    if ring.setup.contains(SetupFlags::SINGLE_ISSUER) {
        let this = ringer_sys::thread::id();
        ring.submitter.store(this, Ordering::Relaxed);
    }
    if let Some(thread) = ring.poll_thread.get() {
        thread.wake();
    }
    Ok(0)
}
