//! A run that is shared: SQEs of one opcode, made by the thread that submits them and by its [helper](crate::helper).
//!
//! The submitter takes them from the front and the helper from the back, until they meet. The results are posted by the submitter, in the
//! order of the SQEs. What an attempt does not finish is served as any other, afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use arrayvec::ArrayVec;
use ringer_abi::Sqe;
use ringer_ops::{Issue, MOST_SHARED, Outcome, Patience, Prepare, Row};

use crate::attempt::note_close;
use crate::ring::Ring;

/// Fewer are not worth it.
pub(crate) const LEAST: usize = 8;

/// SQEs of which none has a result that depends on when another one is made. Those of one run at most.
pub(crate) type Sqes = ArrayVec<Sqe, MOST_SHARED>;

/// No result: it is to be served as any other.
const LEFT: i32 = i32::MIN;

#[derive(Debug)]
pub(crate) struct SharedRun {
    ring: Arc<Ring>,
    row: &'static Row,
    sqes: Sqes,
    /// Written by whom the SQE belongs to.
    results: [AtomicI32; MOST_SHARED],
    /// How many are taken, by either side.
    taken: AtomicUsize,
    /// How many the helper has made.
    made_by_helper: AtomicUsize,
}

impl SharedRun {
    pub(crate) fn new(ring: &Arc<Ring>, row: &'static Row, sqes: Sqes) -> Self {
        Self {
            ring: Arc::clone(ring),
            row,
            sqes,
            results: [const { AtomicI32::new(LEFT) }; MOST_SHARED],
            taken: AtomicUsize::new(0),
            made_by_helper: AtomicUsize::new(0),
        }
    }

    /// Takes some for one side. Returns how many; 0 when there are none left. As many are taken as there are SQEs, whoever takes them: so the
    /// side that counts from the front and the one that counts from the back never come to the same.
    fn take(&self) -> usize {
        let mut taken = self.taken.load(Ordering::Relaxed);
        loop {
            // Several, as to take some costs a trip to the other CPU, and fewer and fewer, so that both sides end at the same time.
            let some = (self.sqes.len() - taken).div_ceil(4);
            // Relaxed, here and above: it says nothing of anything else. The SQEs came with the run.
            match self.taken.compare_exchange_weak(taken, taken + some, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return some,
                Err(now) => taken = now,
            }
        }
    }

    /// The submitter's part. Returns how many that were.
    pub(crate) fn make_from_front(&self) -> usize {
        let mut made = 0;
        loop {
            let end = made + self.take();
            if made == end {
                return made;
            }
            while made < end {
                self.make(made);
                made += 1;
            }
        }
    }

    /// The helper's part.
    pub(crate) fn make_from_back(&self) {
        let mut made = 0;
        loop {
            let end = made + self.take();
            if made == end {
                return;
            }
            while made < end {
                made += 1;
                self.make(self.sqes.len() - made);
            }
            // Release: the results, and what the calls have written. Partner: the load in `is_made`.
            self.made_by_helper.store(made, Ordering::Release);
        }
    }

    /// Whether the submitter has made all, which has made so many.
    pub(crate) fn is_made_by_submitter(&self, made: usize) -> bool {
        made == self.sqes.len()
    }

    /// Whether the helper has made all that the submitter has not, which has made so many.
    pub(crate) fn is_made(&self, by_submitter: usize) -> bool {
        // Acquire. Partner: the store in `make_from_back`.
        by_submitter + self.made_by_helper.load(Ordering::Acquire) >= self.sqes.len()
    }

    /// The SQEs in their order, with the results of those that have one. To be called once all [are made](Self::is_made).
    pub(crate) fn results(&self) -> impl Iterator<Item = (&Sqe, Option<i32>)> {
        self.sqes.iter().zip(&self.results).map(|(sqe, result)| {
            // Relaxed: `is_made` has acquired it.
            let result = result.load(Ordering::Relaxed);
            (sqe, (result != LEFT).then_some(result))
        })
    }

    /// Makes one attempt at one of them.
    fn make(&self, index: usize) {
        let (ring, sqe) = (&*self.ring, &self.sqes[index]);
        let context = Prepare { setup: ring.setup, limits_request: false };
        note_close(sqe.opcode(), sqe.fd());
        // It was prepared before, and is prepared again where it is left: an error is found there.
        let _ = (self.row.start)(sqe, &context, &mut |operation| {
            let patience = ring.patience_of(sqe.opcode());
            if patience == Patience::Brief {
                let mut issue = Issue::new(-1, patience, ring);
                if let Outcome::Done(completion) = ring.latency.time(|| operation.issue(&mut issue)) {
                    // Relaxed: whoever looks at it has learned otherwise that it is there.
                    self.results[index].store(completion.result, Ordering::Relaxed);
                }
            }
            None
        });
    }
}
