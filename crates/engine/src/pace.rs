//! The pace of runs: whether they come close behind each other, and whether a [helper](crate::helper) makes them faster.
//!
//! It is tried. Some runs are made alone, and the next ones are shared for as long as that is faster. Two CPUs may be two threads of one core, or another
//! thread may need the second one: then runs are made alone for a while, which gets longer each time.

use std::time::Instant;

use ringer_abi::Opcode;

/// Microseconds between two runs, of which the second one comes close behind the first.
const CLOSE: u64 = 20;
/// So many close behind each other are followed by more.
const STEADY: u32 = 16;
/// Runs that are made alone, to know how long that takes.
const SAMPLES: u32 = 16;
/// Shared runs, until it is tried again how long it takes alone.
const SHARED: u32 = 1024;
/// The most that are made alone because it is not worth sharing.
const LONGEST_PAUSE: u32 = 4096;
/// What a shared run counts that has not saved at least a tenth of the time. One that has counts one the other way.
const WEIGHT: u32 = 4;
/// It is not worth sharing when the count reaches this.
const LIMIT: u32 = 8 * WEIGHT;

const OPCODES: usize = 64;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Pace {
    /// When the last run ended.
    ended: Option<Instant>,
    in_a_row: u32,
    judgements: [Judgement; OPCODES],
}

impl Default for Pace {
    fn default() -> Self {
        Self { ended: None, in_a_row: 0, judgements: [Judgement::default(); OPCODES] }
    }
}

impl Pace {
    fn judgement(&mut self, opcode: Opcode) -> &mut Judgement {
        &mut self.judgements[usize::from(opcode.number()) % OPCODES]
    }

    /// A run begins. Returns whether it is to be shared.
    pub(crate) fn begin(&mut self, opcode: Opcode, now: Instant) -> bool {
        let is_close = self.ended.is_some_and(|ended| now.duration_since(ended).as_micros() <= CLOSE.into());
        self.in_a_row = if is_close { self.in_a_row.saturating_add(1) } else { 0 };
        self.in_a_row >= STEADY && self.judgement(opcode).shares
    }

    /// A run of so many ends that began then.
    pub(crate) fn end(&mut self, opcode: Opcode, count: usize, began: Instant, was_shared: bool) {
        let now = Instant::now();
        self.ended = Some(now);
        let time = now.duration_since(began).as_nanos() as u64 / count.max(1) as u64;
        self.judgement(opcode).note(time, was_shared);
    }
}

/// Whether runs of one opcode are worth sharing.
#[derive(Clone, Copy, Debug)]
struct Judgement {
    shares: bool,
    /// Runs until this is to be looked at anew.
    left: u32,
    /// The least time that a request has taken alone, in nanoseconds.
    alone: u64,
    /// How much the last shared runs were not worth it.
    failure: u32,
    /// How long the next pause is, in runs.
    pause: u32,
}

impl Default for Judgement {
    fn default() -> Self {
        Self { shares: false, left: SAMPLES, alone: u64::MAX, failure: 0, pause: SAMPLES }
    }
}

impl Judgement {
    /// Takes note of a run whose requests took `time` nanoseconds each.
    fn note(&mut self, time: u64, was_shared: bool) {
        if self.shares {
            self.note_shared(if was_shared { Some(time) } else { None });
        } else {
            self.note_alone(time);
        }
    }

    fn note_alone(&mut self, time: u64) {
        if self.left <= SAMPLES {
            self.alone = self.alone.min(time);
        }
        self.left -= 1;
        if self.left == 0 {
            (self.shares, self.left, self.failure) = (true, SHARED, 0);
        }
    }

    /// `None`: the helper did not come.
    fn note_shared(&mut self, time: Option<u64>) {
        match time {
            Some(time) if time <= self.alone / 10 * 9 => self.failure = self.failure.saturating_sub(1),
            // As long as several: a thread lost its CPU in the middle.
            Some(time) if time / 4 > self.alone => self.failure += LIMIT / 2,
            Some(_) => self.failure += WEIGHT,
            None => self.failure += 1,
        }
        self.left -= 1;
        if self.left <= SHARED / 2 {
            // It was worth it.
            self.pause = SAMPLES;
        }
        if self.failure >= LIMIT {
            self.make_alone(self.pause);
            self.pause = (2 * self.pause).min(LONGEST_PAUSE);
        } else if self.left == 0 {
            self.make_alone(SAMPLES);
        }
    }

    fn make_alone(&mut self, runs: u32) {
        (self.shares, self.left, self.alone) = (false, runs, u64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ALONE: u64 = 1000;
    const FASTER: u64 = 700;
    const NOT_FASTER: u64 = 950;

    /// Runs alone until it is tried. Returns how many.
    fn alone(judgement: &mut Judgement) -> u32 {
        let mut runs = 0;
        while !judgement.shares {
            judgement.note(ALONE + 100 * u64::from(runs % 2), false);
            runs += 1;
        }
        runs
    }

    /// Shared runs until no more are. Returns how many.
    fn shared(judgement: &mut Judgement, time: impl Fn(u32) -> u64) -> u32 {
        let mut runs = 0;
        while judgement.shares {
            judgement.note(time(runs), true);
            runs += 1;
        }
        runs
    }

    #[test]
    fn what_is_faster_goes_on_and_is_tried_again() {
        let mut judgement = Judgement::default();
        for _ in 0..3 {
            assert_eq!(alone(&mut judgement), SAMPLES);
            // Some take longer.
            let time = |run: u32| if run.is_multiple_of(8) { NOT_FASTER } else { FASTER };
            assert_eq!(shared(&mut judgement, time), SHARED);
        }
    }

    #[test]
    fn what_is_not_faster_ends_soon_and_for_longer_and_longer() {
        let mut judgement = Judgement::default();
        let mut pause = SAMPLES;
        for _ in 0..12 {
            assert_eq!(alone(&mut judgement), pause.max(SAMPLES));
            assert_eq!(shared(&mut judgement, |_| NOT_FASTER), LIMIT / WEIGHT);
            pause = if judgement.left > SAMPLES { judgement.left } else { pause };
        }
        assert_eq!(alone(&mut judgement), LONGEST_PAUSE);
        assert_eq!(shared(&mut judgement, |_| 20 * ALONE), 2);
        // It is worth it again.
        assert_eq!(alone(&mut judgement), LONGEST_PAUSE);
        assert_eq!(shared(&mut judgement, |_| FASTER), SHARED);
        assert_eq!(alone(&mut judgement), SAMPLES);
        assert_eq!(shared(&mut judgement, |_| NOT_FASTER), LIMIT / WEIGHT);
        assert_eq!(alone(&mut judgement), SAMPLES);
    }

    #[test]
    fn a_helper_that_does_not_come_is_not_asked_for_ever() {
        let mut judgement = Judgement::default();
        alone(&mut judgement);
        for _ in 0..LIMIT {
            assert!(judgement.shares);
            judgement.note(ALONE, false);
        }
        assert!(!judgement.shares);
    }

    #[test]
    fn one_interruption_is_forgiven() {
        let mut judgement = Judgement::default();
        alone(&mut judgement);
        let time = |run: u32| if run.is_multiple_of(64) { 100 * ALONE } else { FASTER };
        assert_eq!(shared(&mut judgement, time), SHARED);
    }

    #[test]
    fn runs_are_shared_once_they_come_close_behind_each_other() {
        let mut pace = Pace::default();
        let start = Instant::now();
        let mut begin = |at: u64, ended: u64| {
            pace.ended = Some(start + Duration::from_micros(ended));
            pace.judgement(Opcode::Close).shares = true;
            assert!(!pace.judgement(Opcode::Openat).shares);
            pace.begin(Opcode::Close, start + Duration::from_micros(at))
        };
        for run in 1..100 {
            assert_eq!(begin(100 * run, 100 * run - CLOSE), run >= STEADY.into());
        }
        assert!(!begin(20_000, 20_000 - CLOSE - 1));
        assert!(!begin(20_000, 20_000));
        assert!(!pace.begin(Opcode::Openat, start + Duration::from_micros(20_000)));
    }
}
