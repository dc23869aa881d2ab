//! The program's side over rings that the kernel or the engine has mapped.

use crate::memory::{Bases, MappedMemory};
use crate::orderings::Production;
use crate::shape::RingShape;
use crate::sides::ClientRing;
use ringer_abi::{Params, SetupFlags};

/// The program's side of a mapped ring.
pub type MappedClientRing = ClientRing<MappedMemory, Production>;

impl RingShape {
    /// The shape that `io_uring_setup.2` reported.
    pub fn from_params(params: &Params) -> Self {
        let flags = SetupFlags::from_bits_retain(params.flags);
        Self {
            sq_entries: params.sq_entries,
            cq_entries: params.cq_entries,
            sqe128: flags.contains(SetupFlags::SQE128),
            cqe32: flags.contains(SetupFlags::CQE32),
            cqe_mixed: flags.contains(SetupFlags::CQE_MIXED),
            no_sqarray: flags.contains(SetupFlags::NO_SQARRAY),
        }
    }
}

impl MappedClientRing {
    /// Uses rings that are mapped at `bases`, with the offsets that `io_uring_setup.2` reported.
    ///
    /// # Safety
    /// `params` is as a successful setup left it. For as long as the value is used, the areas of this ring stay
    /// mapped readable and writable at `bases`, and nobody in this process looks at them except through
    /// atomics. Dropping the value unmaps nothing.
    pub unsafe fn from_mapped(bases: Bases, params: &Params) -> Self {
        let shape = RingShape::from_params(params);
        // SAFETY: the caller's promise; setup reports aligned offsets inside the areas.
        let memory = unsafe { MappedMemory::new(shape, bases, &params.sq_off, &params.cq_off) };
        Self::over(memory)
    }
}
