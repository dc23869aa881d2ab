//! SQEs of one opcode that stand one behind the other and may be made at the same time: see [`shared_run`].

use std::sync::Arc;
use std::time::Instant;

use ringer_abi::Sqe;
use ringer_ops::{AreIndependent, Completion, Patience, Prepare, Row};

use super::{Batch, plain_row};
use crate::helper::Helper;
use crate::pace::Pace;
use crate::request::FileRef;
use crate::shared_run::{self, SharedRun};
use crate::system::System;

impl Batch<'_> {
    /// Serves a plain SQE of such an opcode, and those of it that stand behind it. Returns how many more were taken, and whether none was refused.
    #[inline(never)]
    pub(super) fn take_together(
        &mut self,
        first: &Sqe,
        row: &'static Row,
        are_independent: AreIndependent,
    ) -> (u32, bool) {
        if self.sqes.peek().is_none_or(|next| next.opcode() != first.opcode()) {
            return (0, self.start_plain(first, row));
        }
        let began = Instant::now();
        let mut ahead = self.sqes.clone();
        let mut run = shared_run::Sqes::new();
        run.push(*first);
        while !run.is_full()
            && let Some(sqe) = ahead.peek()
            && sqe.opcode() == first.opcode()
            && plain_row(&sqe).is_some()
        {
            ahead.take_peeked();
            run.push(sqe);
        }
        let ring = self.turn.ring;
        let context = Prepare { setup: ring.setup, limits_request: false };
        if run.len() < shared_run::LEAST
            || ring.poll_thread.get().is_some()
            || ring.patience_of(first.opcode()) != Patience::Brief
            || !are_independent(&run, &context)
        {
            return self.take_in_turn(&run, row);
        }
        let helper = System::global().helper();
        let Some(mut pace) = helper.pace() else { return self.take_in_turn(&run, row) };
        self.sqes = ahead;
        self.turn.settle_before(first.opcode(), &FileRef::None);
        self.serve_run(&helper, &mut pace, run, row, began)
    }

    /// Takes them one by one: one that is refused may end the batch.
    fn take_in_turn(&mut self, run: &[Sqe], row: &Row) -> (u32, bool) {
        for (more, sqe) in run.iter().enumerate() {
            if more > 0 {
                self.sqes.take_peeked();
            }
            if !self.start_plain(sqe, row) {
                return (more as u32, false);
            }
        }
        (run.len() as u32 - 1, true)
    }

    /// Serves a run that was taken, alone or with the helper. None is refused: each was prepared before.
    fn serve_run(
        &mut self,
        helper: &Arc<Helper>,
        pace: &mut Pace,
        run: shared_run::Sqes,
        row: &'static Row,
        began: Instant,
    ) -> (u32, bool) {
        let count = run.len();
        let mut was_shared = false;
        if pace.begin(row.opcode, began) {
            let run = Arc::new(SharedRun::new(self.turn.ring, row, run));
            was_shared = helper.make(&run);
            for (sqe, result) in run.results() {
                match result {
                    Some(result) => self.turn.complete_at_once(sqe, &Completion::new(result), [0; 2]),
                    None => _ = self.start_plain(sqe, row),
                }
            }
        } else {
            for sqe in &run {
                self.start_plain(sqe, row);
            }
        }
        pace.end(row.opcode, count, began, was_shared);
        (count as u32 - 1, true)
    }
}
