//! `IORING_REGISTER_SYNC_CANCEL`: cancels and waits until it is done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringer_ops::cancel::CancelMatch;
use ringer_sys::{Errno, UserAddress};

use crate::ring::Ring;
use crate::turn::{Place, Turn};

/// How long to sleep between looks at a request that runs and cannot be stopped.
const LOOK: Duration = Duration::from_micros(200);

/// Source: `io_uring_register_sync_cancel.3`.
///
/// # Errors
/// `ENOENT` when nothing matches, `ETIME` when it was not done in time, `EINVAL`, `EFAULT`.
pub(crate) fn cancel(ring: &Arc<Ring>, argument: UserAddress, count: u32) -> Result<i32, Errno> {
    if argument.is_null() || count != 1 {
        return Err(Errno::INVAL);
    }
    // `struct io_uring_sync_cancel_reg`: addr, fd and flags, the time, opcode and padding.
    let words = argument.read::<[u64; 8]>()?;
    let flags = (words[1] >> 32) as u32;
    let opcode = words[4] as u8;
    let padding_used = words[4] >> 8 != 0 || words[5..].iter().any(|word| *word != 0);
    if padding_used || flags & !CancelMatch::KNOWN_FLAGS != 0 {
        return Err(Errno::INVAL);
    }
    let wanted = CancelMatch { flags, user_data: words[0], fd: words[1] as i32, opcode };
    let (seconds, nanoseconds) = (words[2] as i64, words[3] as i64);
    let limit = (seconds != -1 || nanoseconds != -1).then(|| {
        let time = Duration::from_secs(seconds.max(0) as u64)
            .saturating_add(Duration::from_nanos(nanoseconds.max(0) as u64));
        Instant::now() + time.min(Duration::from_secs(1 << 30))
    });
    let mut found_running = false;
    loop {
        let mut turn = Turn::new(ring, Place::Reactor);
        let result = turn.cancel(&wanted, None);
        turn.run_ready();
        turn.finish();
        match result {
            Err(Errno::ALREADY) => found_running = true,
            // It ran when we first looked, and is done now.
            Err(Errno::NOENT) if found_running => return Ok(0),
            other => return other,
        }
        if limit.is_some_and(|limit| Instant::now() >= limit) {
            return Err(Errno::TIME);
        }
        std::thread::sleep(LOOK);
    }
}
