//! Plans as TOML.

use std::path::Path;
use std::time::Duration;

use ringer_abi::Opcode;
use ringer_engine::chaos::{Fault, Plan, Rule, When};
use ringer_sys::Errno;
use serde::Deserialize;

use crate::failure::Failure;
use crate::trace::errno;

/// What is done without a plan.
pub const DEFAULT: &str = include_str!("default.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    seed: Option<u64>,
    #[serde(default)]
    rule: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    fault: Kind,
    errno: Option<String>,
    milliseconds: Option<f64>,
    #[serde(default)]
    opcodes: Vec<String>,
    chance: Option<f64>,
    every: Option<u64>,
    at: Option<Vec<u64>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Error,
    Short,
    Late,
    Overflow,
    Partial,
    Interrupt,
}

/// Reads the plan of a file, or takes the one that is built in. A seed of the command line comes before that of the file; without any it is drawn.
pub fn read(path: Option<&Path>, seed: Option<u64>) -> Result<Plan, Failure> {
    let text = match path {
        Some(path) => {
            std::fs::read_to_string(path).map_err(Failure::system("cannot read the file of --plan"))?
        }
        None => DEFAULT.to_owned(),
    };
    parse(&text, seed)
        .map_err(|reason| Failure::Plan { path: path.unwrap_or(Path::new("plan")).to_owned(), reason })
}

fn parse(text: &str, seed: Option<u64>) -> Result<Plan, String> {
    let text: Text = toml::from_str(text).map_err(|error| error.to_string().trim_end().replace('\n', " "))?;
    let seed = seed.or(text.seed).unwrap_or_else(draw);
    let rules = text.rule.iter().enumerate();
    let rules =
        rules.map(|(index, rule)| rule_of(rule).map_err(|reason| format!("rule {}: {reason}", index + 1)));
    Ok(Plan { seed, rules: rules.collect::<Result<_, _>>()? })
}

/// A seed that is easy to type.
fn draw() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) % 1_000_000
}

fn rule_of(rule: &RuleText) -> Result<Rule, String> {
    let fault = fault_of(rule)?;
    let opcodes: Vec<Opcode> = rule.opcodes.iter().map(|name| opcode_of(name)).collect::<Result<_, _>>()?;
    if matches!(fault, Fault::Partial | Fault::Interrupt) && !opcodes.is_empty() {
        return Err("this fault strikes calls, not requests; leave `opcodes` out".into());
    }
    if let Some(other) = opcodes.iter().find(|opcode| !fault.is_for(**opcode)) {
        return Err(format!("this fault cannot strike {}", other.name()));
    }
    let when = match (rule.chance, rule.every, &rule.at) {
        (Some(chance), None, None) if (0.0..=1.0).contains(&chance) => {
            When::Chance((chance * 1e6).round() as u32)
        }
        (Some(chance), None, None) => return Err(format!("`chance` is {chance}; it goes from 0 to 1")),
        (None, Some(0), None) => return Err("`every` is 0; 1 strikes always".into()),
        (None, Some(every), None) => When::Every(every),
        (None, None, Some(at)) if !at.is_empty() && !at.contains(&0) => When::At(at.clone()),
        (None, None, Some(_)) => return Err("`at` is a list of numbers from 1".into()),
        _ => return Err("one of `chance`, `every` and `at` says when it strikes".into()),
    };
    Ok(Rule { fault, opcodes, when })
}

fn fault_of(rule: &RuleText) -> Result<Fault, String> {
    if rule.errno.is_some() != (rule.fault == Kind::Error) {
        return Err("`errno` belongs to the fault \"error\", and to no other".into());
    }
    if rule.milliseconds.is_some() != (rule.fault == Kind::Late) {
        return Err("`milliseconds` belongs to the fault \"late\", and to no other".into());
    }
    Ok(match (rule.fault, &rule.errno, rule.milliseconds) {
        (Kind::Error, Some(name), _) => {
            let number = errno::number(name).ok_or_else(|| format!("there is no errno {name:?}"))?;
            Fault::Error(Errno::from_raw_os_error(number))
        }
        (Kind::Late, _, Some(milliseconds)) => {
            let time = Duration::try_from_secs_f64(milliseconds / 1e3).ok().filter(|time| *time >= SHORTEST);
            Fault::Late(time.ok_or_else(|| format!("`milliseconds` is {milliseconds}; at least 0.001"))?)
        }
        (Kind::Short, ..) => Fault::Short,
        (Kind::Overflow, ..) => Fault::Overflow,
        (Kind::Partial, ..) => Fault::Partial,
        (Kind::Interrupt, ..) => Fault::Interrupt,
        (Kind::Error | Kind::Late, ..) => return Err("its argument is missing".into()),
    })
}

/// Delays are handed on in this unit.
const SHORTEST: Duration = Duration::from_micros(1);

fn opcode_of(name: &str) -> Result<Opcode, String> {
    let found = Opcode::ALL.iter().find(|opcode| opcode.name() == name);
    found.copied().ok_or_else(|| format!("there is no opcode {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_that_is_built_in_is_one() {
        let plan = parse(DEFAULT, Some(7)).expect("it is a plan");
        assert_eq!(
            plan.to_string(),
            "7 short@%100000 late:10000@%50000 overflow@%20000 partial@%100000 interrupt@%50000"
        );
        // What it says of errors holds as well.
        let with_errors = DEFAULT.replace("\n# [[", "\n[[").replace("\n# fault", "\nfault");
        let with_errors = with_errors
            .replace("\n# errno", "\nerrno")
            .replace("\n# opcodes = ", "\nopcodes = ")
            .replace("\n# chance", "\nchance");
        let plan = parse(&with_errors, Some(7)).expect("it is a plan");
        assert_eq!(
            plan.rules.last().map(|rule| rule.opcodes.clone()),
            Some(vec![Opcode::Read, Opcode::Write])
        );
    }

    #[test]
    fn the_seed_is_that_of_the_command_line_or_of_the_file() {
        let seed = |text: &str, given| parse(text, given).expect("a plan").seed;
        assert_eq!((seed("seed = 3", None), seed("seed = 3", Some(4)), seed("", Some(5))), (3, 4, 5));
        assert!((0..20).any(|_| seed("", None) != seed("", None)), "without any it is drawn");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let reason = |rule: &str| parse(&format!("[[rule]]\n{rule}"), None).expect_err("it is no plan");
        for (rule, expected) in [
            ("fault = 'short'\nchance = 2", "rule 1: `chance` is 2; it goes from 0 to 1"),
            ("fault = 'short'", "rule 1: one of `chance`, `every` and `at` says when it strikes"),
            ("fault = 'short'\nevery = 0", "rule 1: `every` is 0; 1 strikes always"),
            ("fault = 'short'\nat = [0]", "rule 1: `at` is a list of numbers from 1"),
            ("fault = 'short'\nevery = 1\nopcodes = ['OPENAT']", "rule 1: this fault cannot strike OPENAT"),
            ("fault = 'short'\nevery = 1\nopcodes = ['read']", "rule 1: there is no opcode \"read\""),
            ("fault = 'error'\nevery = 1", "rule 1: `errno` belongs to the fault \"error\", and to no other"),
            ("fault = 'error'\nerrno = 'EFOO'\nevery = 1", "rule 1: there is no errno \"EFOO\""),
            ("fault = 'late'\nmilliseconds = 0\nevery = 1", "rule 1: `milliseconds` is 0; at least 0.001"),
            (
                "fault = 'partial'\nevery = 1\nopcodes = ['READ']",
                "rule 1: this fault strikes calls, not requests; leave `opcodes` out",
            ),
        ] {
            assert_eq!(reason(rule), expected, "{rule}");
        }
        assert!(reason("fault = 'what'\nevery = 1").contains("unknown variant `what`"));
        assert!(reason("fault = 'short'\nevry = 1").contains("unknown field `evry`"));
    }
}
