//! Faults on purpose: a plan says which requests fail, move less, come late, or find the CQ full.
//!
//! What happens to a request depends on the seed, the number of its ring and its own number there, and for rules that count, on the requests
//! that the rule fitted before. A program that submits the same requests in the same order meets the same faults.

mod hold;
mod plan;
mod short;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringer_abi::Sqe;
use ringer_sys::Errno;

use crate::system::System;

pub use plan::{Fault, NotAPlan, Plan, Rule, When};

/// A fault that was injected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Injected {
    /// The request is not made, and ends with this error.
    Error(Errno),
    /// The request asks for fewer bytes.
    Short {
        /// As many as the program asked for.
        from: u32,
        /// As many as are asked for.
        to: u32,
    },
    /// The request begins so much later.
    Late(Duration),
    /// Its CQE goes behind the CQ.
    Overflow,
    /// A call takes fewer SQEs than there are.
    Partial {
        /// How many there are.
        from: u32,
        /// How many it takes.
        to: u32,
    },
    /// A wait ends with `EINTR`.
    Interrupt,
}

/// What is going to happen to a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Fate {
    pub(crate) error: Option<Errno>,
    pub(crate) delay: Option<Duration>,
    pub(crate) overflows: bool,
}

/// A plan at work.
#[derive(Debug)]
pub(crate) struct Chaos {
    plan: Plan,
    /// How often each rule fitted.
    fitted: Vec<AtomicU64>,
}

static CHAOS: OnceLock<Chaos> = OnceLock::new();

impl System {
    /// Has every ring that this process makes from now on meet the faults of a plan. The first plan stays: a later one is given back.
    ///
    /// # Errors
    /// The plan, if there is one already.
    pub fn inject(&self, plan: Plan) -> Result<(), Plan> {
        CHAOS.set(Chaos::new(plan)).map_err(|chaos| chaos.plan)
    }
}

impl Chaos {
    fn new(plan: Plan) -> Self {
        let fitted = plan.rules.iter().map(|_| AtomicU64::new(0)).collect();
        Self { plan, fitted }
    }

    pub(crate) fn of_process() -> Option<&'static Self> {
        CHAOS.get()
    }

    /// The rules of some kind that strike now, each with a number to draw from.
    fn striking(
        &self,
        (ring, number): (u32, u64),
        fits: impl Fn(&Rule) -> bool,
    ) -> impl Iterator<Item = (&Fault, u64)> {
        let fitting = self.plan.rules.iter().enumerate().filter(move |(_, rule)| fits(rule));
        fitting.filter_map(move |(index, rule)| {
            // Relaxed: a number for each.
            let count = self.fitted[index].fetch_add(1, Ordering::Relaxed) + 1;
            let draw = mix(self.plan.seed ^ mix(u64::from(ring) ^ mix(number ^ mix(index as u64))));
            rule.when.strikes(count, draw).then_some((&rule.fault, mix(draw)))
        })
    }

    /// Decides on a request. Returns the SQE to serve in the place of this one, its fate if that is special, and what was injected.
    /// `may_overflow`: its CQE may go behind the CQ.
    pub(crate) fn decide(
        &self,
        place: (u32, u64),
        sqe: &Sqe,
        may_overflow: bool,
    ) -> (Sqe, Option<Fate>, Vec<Injected>) {
        let (mut served, mut fate, mut injected) = (*sqe, Fate::default(), Vec::new());
        for (fault, draw) in self
            .striking(place, |rule| rule.fits_request(sqe) && (may_overflow || rule.fault != Fault::Overflow))
        {
            injected.push(match *fault {
                Fault::Error(errno) => {
                    fate.error = Some(errno);
                    Injected::Error(errno)
                }
                Fault::Short => match short::cut(&served, draw) {
                    Some((cut, injected)) => {
                        served = cut;
                        injected
                    }
                    None => continue,
                },
                Fault::Late(longest) => {
                    let delay = Duration::from_nanos(1 + draw % longest.as_nanos().max(1) as u64);
                    fate.delay = Some(delay);
                    Injected::Late(delay)
                }
                Fault::Overflow => {
                    fate.overflows = true;
                    Injected::Overflow
                }
                // They are not about requests.
                Fault::Partial | Fault::Interrupt => continue,
            });
        }
        (served, (fate != Fate::default()).then_some(fate), injected)
    }

    /// How many of the SQEs that are there a call takes, at least one. `None`: all.
    pub(crate) fn limit(&self, place: (u32, u64), from: u32) -> Option<u32> {
        let (_, draw) = self.striking(place, |rule| rule.fault == Fault::Partial && from > 1).next()?;
        Some(1 + (draw % u64::from(from - 1)) as u32)
    }

    /// Whether a wait ends at once.
    pub(crate) fn interrupts(&self, place: (u32, u64)) -> bool {
        self.striking(place, |rule| rule.fault == Fault::Interrupt).next().is_some()
    }
}

/// A number that has nothing to do with the given one, to look at: the finalizer of SplitMix64.
const fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringer_abi::Opcode;

    fn chaos(rules: &str, seed: u64) -> Chaos {
        let plan: Plan = format!("{seed} {rules}").parse().expect("a plan");
        Chaos::new(plan)
    }

    fn read(length: u32) -> Sqe {
        Sqe::default().with_opcode(Opcode::Read.number()).with_len(length)
    }

    #[test]
    fn the_same_seed_has_the_same_faults_in_any_order_of_the_rings() {
        let (one, other) =
            (chaos("short@%300000 late:5000@%300000", 7), chaos("short@%300000 late:5000@%300000", 7));
        let places: Vec<_> = (0..400).map(|index| (1 + index / 200, u64::from(index % 200))).collect();
        let decide = |chaos: &Chaos, place: &(u32, u64)| chaos.decide(*place, &read(4096), true);
        let forward: Vec<_> = places.iter().map(|place| decide(&one, place)).collect();
        let mut backward: Vec<_> = places.iter().rev().map(|place| decide(&other, place)).collect();
        backward.reverse();
        assert_eq!(forward, backward);
        let struck = forward.iter().filter(|(_, _, injected)| !injected.is_empty()).count();
        assert!((130..290).contains(&struck), "about half of 400: {struck}");
        let third = chaos("short@%300000 late:5000@%300000", 8);
        assert!(places.iter().zip(&forward).any(|(place, decided)| decide(&third, place) != *decided));
    }

    #[test]
    fn rules_that_count_strike_at_their_turn() {
        let strikes = |rules: &str| -> Vec<u64> {
            let chaos = chaos(rules, 1);
            let struck = |index: &u64| {
                chaos.decide((1, *index), &read(10), true).1.is_some_and(|fate| fate.error.is_some())
            };
            (1..=10).filter(struck).collect()
        };
        assert_eq!(strikes("error:5@/3"), [3, 6, 9]);
        assert_eq!(strikes("error:5@=2,7"), [2, 7]);
        assert_eq!(strikes("error:5@%1000000"), (1..=10).collect::<Vec<u64>>());
        assert_eq!(strikes("error:5@%0"), [0; 0]);
        assert_eq!(strikes("error:5@23/1"), [0; 0], "another opcode");
    }

    #[test]
    fn what_is_cut_is_shorter_and_not_nothing() {
        let chaos = chaos("short@%1000000", 3);
        for number in 0..200 {
            let (served, _, injected) = chaos.decide((1, number), &read(2 + number as u32), true);
            assert!(served.len() >= 1 && served.len() < 2 + number as u32, "{injected:?}");
        }
        for length in [0, 1] {
            assert_eq!(chaos.decide((1, 1), &read(length), true).0.len(), length, "there is nothing to cut");
        }
    }

    #[test]
    fn a_call_takes_at_least_one() {
        let chaos = chaos("partial@%1000000 interrupt@%1000000", 3);
        assert_eq!(chaos.limit((1, 1), 1), None);
        for number in 0..100 {
            let limit = chaos.limit((1, number), 8);
            assert!(matches!(limit, Some(1..=7)), "{limit:?}");
        }
        assert!(chaos.interrupts((1, 1)));
        assert_eq!(chaos.decide((1, 1), &read(100), true), (read(100), None, vec![]));
    }
}
