//! Plans: which faults strike when.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;
use std::time::Duration;

use ringer_abi::{Opcode, Sqe};
use ringer_ops::Way;
use ringer_sys::Errno;

use super::short;

/// A seed and rules. As text: the seed and the rules, with a space between them; a rule is a fault, `@`, opcodes and when it strikes, as
/// `error:5@22,23%10000` (EIO for one in a hundred READs and WRITEs), `late:20000@/3`, `short@26=1,5`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Another seed, other faults.
    pub seed: u64,
    /// Each strikes by itself.
    pub rules: Vec<Rule>,
}

/// A fault, and when it strikes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// What happens.
    pub fault: Fault,
    /// To requests of these opcodes. None: to all that the fault is meant for.
    pub opcodes: Vec<Opcode>,
    /// When.
    pub when: When,
}

/// What happens to a request or a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The request is not made, and ends with this error.
    Error(Errno),
    /// A transfer asks for fewer bytes than the program, but for one at least.
    Short,
    /// The request begins up to so much later. Others overtake it.
    Late(Duration),
    /// The CQE goes behind the CQ, as if that was full: `IORING_SQ_CQ_OVERFLOW` tells of it, and a call for events brings it. Not on rings
    /// with `IORING_SETUP_DEFER_TASKRUN`, where such calls bring CQEs in any case.
    Overflow,
    /// A call takes fewer SQEs than it could. Chains stay whole.
    Partial,
    /// A wait ends with `EINTR`.
    Interrupt,
}

/// Which of those that a rule fits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum When {
    /// So many of a million, by chance.
    Chance(u32),
    /// One of so many.
    Every(u64),
    /// The first is 1.
    At(Vec<u64>),
}

/// Whole chance.
const MILLION: u32 = 1_000_000;

impl When {
    pub(super) fn strikes(&self, count: u64, draw: u64) -> bool {
        match self {
            Self::Chance(chance) => draw % u64::from(MILLION) < u64::from(*chance),
            Self::Every(every) => *every != 0 && count.is_multiple_of(*every),
            Self::At(counts) => counts.contains(&count),
        }
    }
}

impl Fault {
    /// Whether the fault can strike requests of an opcode at all.
    pub fn is_for(self, opcode: Opcode) -> bool {
        match self {
            // What comes late is late already; a limit is no request of its own.
            Self::Late(_) => !matches!(opcode, Opcode::Timeout | Opcode::LinkTimeout),
            Self::Error(_) | Self::Overflow => opcode != Opcode::LinkTimeout,
            Self::Short => short::can_be_cut(opcode),
            Self::Partial | Self::Interrupt => false,
        }
    }

    /// Whether the fault is meant for an opcode unless the plan says otherwise: what the engine does itself, such as a cancellation, is not.
    fn is_meant_for(self, opcode: Opcode) -> bool {
        let is_of_engine = ringer_ops::row(opcode.number()).is_none_or(|row| row.ways == [Way::Engine]);
        self.is_for(opcode) && (!is_of_engine || self == Self::Overflow)
    }
}

impl Rule {
    /// Whether it is about requests such as this one.
    pub(super) fn fits_request(&self, sqe: &Sqe) -> bool {
        let Some(opcode) = Opcode::from_number(sqe.opcode()) else { return false };
        if self.opcodes.is_empty() {
            self.fault.is_meant_for(opcode)
        } else {
            self.opcodes.contains(&opcode) && self.fault.is_for(opcode)
        }
    }
}

/// A text that is no plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAPlan;

impl Display for NotAPlan {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.write_str("not a plan of faults")
    }
}

impl std::error::Error for NotAPlan {}

/// Numbers with commas between them.
fn list<T: Display>(numbers: impl Iterator<Item = T>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

impl Display for Plan {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.seed)?;
        for Rule { fault, opcodes, when } in &self.rules {
            match fault {
                Fault::Error(errno) => write!(out, " error:{}", errno.raw_os_error())?,
                Fault::Short => out.write_str(" short")?,
                Fault::Late(longest) => write!(out, " late:{}", longest.as_micros())?,
                Fault::Overflow => out.write_str(" overflow")?,
                Fault::Partial => out.write_str(" partial")?,
                Fault::Interrupt => out.write_str(" interrupt")?,
            }
            write!(out, "@{}", list(opcodes.iter().map(|opcode| opcode.number())))?;
            match when {
                When::Chance(chance) => write!(out, "%{chance}")?,
                When::Every(every) => write!(out, "/{every}")?,
                When::At(counts) => write!(out, "={}", list(counts.iter()))?,
            }
        }
        Ok(())
    }
}

impl FromStr for Plan {
    type Err = NotAPlan;

    fn from_str(text: &str) -> Result<Self, NotAPlan> {
        let mut parts = text.split(' ');
        let seed = parts.next().and_then(|seed| seed.parse().ok()).ok_or(NotAPlan)?;
        let rules = parts.map(|rule| rule_of(rule).ok_or(NotAPlan)).collect::<Result<_, _>>()?;
        Ok(Self { seed, rules })
    }
}

fn rule_of(text: &str) -> Option<Rule> {
    let (fault, rest) = text.split_once('@')?;
    let (name, argument) = fault.split_once(':').unwrap_or((fault, ""));
    let fault = match (name, argument) {
        ("error", errno) => Fault::Error(Errno::from_raw_os_error(errno.parse().ok()?)),
        ("late", microseconds) => Fault::Late(Duration::from_micros(microseconds.parse().ok()?)),
        ("short", "") => Fault::Short,
        ("overflow", "") => Fault::Overflow,
        ("partial", "") => Fault::Partial,
        ("interrupt", "") => Fault::Interrupt,
        _ => return None,
    };
    let split = rest.find(['%', '/', '='])?;
    let (opcodes, when) = rest.split_at(split);
    let opcodes = match opcodes {
        "" => Vec::new(),
        numbers => numbers
            .split(',')
            .map(|number| Opcode::from_number(number.parse().ok()?))
            .collect::<Option<_>>()?,
    };
    let argument = &when[1..];
    let when = match when.as_bytes()[0] {
        b'%' => When::Chance(argument.parse().ok().filter(|chance| *chance <= MILLION)?),
        b'/' => When::Every(argument.parse().ok().filter(|every| *every > 0)?),
        _ => When::At(argument.split(',').map(|count| count.parse().ok()).collect::<Option<_>>()?),
    };
    Some(Rule { fault, opcodes, when })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_comes_back_from_its_text() {
        let rule = |fault, opcodes: &[Opcode], when| Rule { fault, opcodes: opcodes.to_vec(), when };
        let plan = Plan {
            seed: u64::MAX,
            rules: vec![
                rule(Fault::Error(Errno::IO), &[Opcode::Read, Opcode::Write], When::Chance(10_000)),
                rule(Fault::Short, &[], When::Every(3)),
                rule(Fault::Late(Duration::from_millis(20)), &[Opcode::Send], When::At(vec![1, 5])),
                rule(Fault::Overflow, &[], When::Chance(MILLION)),
                rule(Fault::Partial, &[], When::Chance(0)),
                rule(Fault::Interrupt, &[], When::At(vec![2])),
            ],
        };
        let text = plan.to_string();
        assert_eq!(
            text,
            "18446744073709551615 error:5@22,23%10000 short@/3 late:20000@26=1,5 overflow@%1000000 partial@%0 interrupt@=2"
        );
        assert_eq!(text.parse(), Ok(plan));
    }

    #[test]
    fn what_is_no_plan_is_refused() {
        for text in [
            "",
            "x",
            "1 short",
            "1 short@",
            "1 short:3@%1",
            "1 error@%1",
            "1 what@%1",
            "1 short@200%1",
            "1 short@%1000001",
            "1 short@/0",
            "1 short@=a",
            "1  short@%1",
        ] {
            assert_eq!(text.parse::<Plan>(), Err(NotAPlan), "{text:?}");
        }
    }

    #[test]
    fn a_fault_is_meant_for_what_it_can_strike() {
        for row in ringer_ops::table::rows() {
            for fault in [Fault::Error(Errno::IO), Fault::Short, Fault::Late(Duration::ZERO), Fault::Overflow]
            {
                assert!(
                    !fault.is_meant_for(row.opcode) || fault.is_for(row.opcode),
                    "{fault:?} {:?}",
                    row.opcode
                );
            }
        }
        assert!(!Fault::Error(Errno::IO).is_meant_for(Opcode::AsyncCancel));
        assert!(Fault::Error(Errno::IO).is_for(Opcode::AsyncCancel));
    }
}
