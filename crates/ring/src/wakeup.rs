//! The NEED_WAKEUP handshake: the polling thread goes to sleep, the program must not submit into its sleep.
//!
//! Each side writes its own word and then reads the other's. Without a full fence between the two, on
//! both sides, each may miss the other's write: the thread sleeps and the program does not wake it.
//!
//! ```text
//! polling thread                     program
//!   flags |= NEED_WAKEUP               tail = new tail
//!   full fence                         full fence
//!   tail unchanged? then sleep         NEED_WAKEUP? then enter(SQ_WAKEUP)
//! ```

use crate::memory::{Memory, ServingMemory};
use crate::orderings::Orderings;
use crate::sides::{ClientRing, ServingRing};
use ringer_abi::SqRingFlags;

/// The polling thread's side.
impl<M: ServingMemory, O: Orderings> ServingRing<M, O> {
    /// Shows NEED_WAKEUP and looks once more for work. True: the thread may sleep, the flag stays
    /// until the thread takes it away when it wakes. False: there is work, the flag is gone again.
    pub fn sq_announce_sleep(&self) -> bool {
        self.sq_set_flags(SqRingFlags::NEED_WAKEUP);
        // Partner: submitter_fence in ClientRing::sq_needs_wakeup.
        O::sleeper_fence();
        let may_sleep = self.sq_is_empty();
        if !may_sleep {
            self.sq_clear_flags(SqRingFlags::NEED_WAKEUP);
        }
        may_sleep
    }
}

/// The program's side.
impl<M: Memory, O: Orderings> ClientRing<M, O> {
    /// After [`sq_publish`](Self::sq_publish) on a ring with a polling thread: whether the thread must be woken by
    /// `enter` with `IORING_ENTER_SQ_WAKEUP`.
    #[inline]
    pub fn sq_needs_wakeup(&self) -> bool {
        // Partner: sleeper_fence in ServingRing::sq_announce_sleep.
        O::submitter_fence();
        self.sq_flags().contains(SqRingFlags::NEED_WAKEUP)
    }
}
