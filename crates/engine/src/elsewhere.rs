//! Requests of other processes that serve the same ring, as after `fork`: a process that inherited the ring can cancel them.
//!
//! It asks whoever looks at the ring next in the other process: a thread that waits there, or its background thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ringer_ops::cancel::CancelMatch;
use ringer_sys::Errno;

use crate::ring::Ring;
use crate::turn::Turn;

/// How long the question may stay with nobody taking it: then nobody has such a request, or nobody drives the ring there.
const PATIENCE: Duration = Duration::from_millis(20);
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(1);
/// Between two looks for the answer.
const LOOK: Duration = Duration::from_micros(50);

/// Asks the other processes of the ring to cancel what matches. Files have other numbers there, and cannot be asked for.
///
/// # Errors
/// `ENOENT` when nobody has such a request, `EALREADY` when it runs and cannot be stopped.
pub(crate) fn cancel(ring: &Arc<Ring>, wanted: &CancelMatch) -> Result<i32, Errno> {
    if !ring.is_inherited || wanted.by_file() {
        return Err(Errno::NOENT);
    }
    let [low, high] = [wanted.user_data as u32, (wanted.user_data >> 32) as u32];
    let number = ring.shared.ask(&[wanted.flags, low, high, wanted.opcode.into()]).ok_or(Errno::NOENT)?;
    // Relaxed: whoever misses it asks itself, and has nothing to say.
    ring.seen_question.store(number, Ordering::Relaxed);
    ring.reactor.wake(&ring.shared, 1);
    let asked = Instant::now();
    loop {
        if let Some(answer) = ring.shared.take_answer() {
            return if answer < 0 { Err(Errno::from_raw_os_error(-answer)) } else { Ok(answer) };
        }
        if asked.elapsed() > PATIENCE && ring.shared.withdraw_question() {
            return Err(Errno::NOENT);
        }
        if asked.elapsed() > LIMIT {
            ring.shared.abandon_question();
            return Err(Errno::NOENT);
        }
        std::thread::sleep(LOOK);
    }
}

impl Turn<'_> {
    /// Does what another process has asked for, if this one can.
    pub(crate) fn answer_question(&mut self) {
        let ring = self.ring;
        if !ring.readiness.is_shared() {
            return;
        }
        let Some(([flags, low, high, opcode], number)) =
            ring.shared.take_question(ring.seen_question.load(Ordering::Relaxed))
        else {
            return;
        };
        ring.seen_question.store(number, Ordering::Relaxed);
        let user_data = u64::from(high) << 32 | u64::from(low);
        let wanted = CancelMatch { flags, user_data, fd: -1, opcode: opcode as u8 };
        match self.cancel(&wanted, None) {
            Ok(0) if wanted.wants_all() => ring.shared.pass_on(),
            Ok(count) => ring.shared.answer(count),
            Err(Errno::NOENT) => ring.shared.pass_on(),
            Err(errno) => ring.shared.answer(-errno.raw_os_error()),
        }
    }
}
