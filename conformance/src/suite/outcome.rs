//! How one run of a test ended.

use std::fmt;

/// The exit status by which a test says that it cannot run here; liburing's `test/helpers.h`.
const SKIP_STATUS: i32 = 77;

/// How one run of a test ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It exited with status 0.
    Pass,
    /// It said that it cannot run here: exit status 77.
    Skip,
    /// It exited with another status.
    Failed(i32),
    /// A signal ended it.
    Killed(i32),
    /// It ran into its limit and was ended.
    TimedOut,
    /// It ended, whatever its status, but left these processes behind, which were ended.
    LeftBehind(String),
    /// The supervisor itself could not do its work, for this reason.
    Broken(String),
}

/// What the table says of a test: an [`Outcome`] without the details that vary.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Exit status 0.
    Pass,
    /// Exit status 77.
    Skip,
    /// Everything else.
    Fail,
}

impl Outcome {
    /// What an exit status means in liburing's suite.
    pub fn of_exit_status(status: i32) -> Self {
        match status {
            0 => Self::Pass,
            SKIP_STATUS => Self::Skip,
            other => Self::Failed(other),
        }
    }

    /// The outcome as the table knows it.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Pass => Verdict::Pass,
            Self::Skip => Verdict::Skip,
            _ => Verdict::Fail,
        }
    }

    /// The line by which a supervisor reports it to the runner; [`Outcome::from_line`] reads it.
    pub fn to_line(&self) -> String {
        match self {
            Self::Pass => "pass".into(),
            Self::Skip => "skip".into(),
            Self::Failed(status) => format!("failed {status}"),
            Self::Killed(signal) => format!("killed {signal}"),
            Self::TimedOut => "timeout".into(),
            Self::LeftBehind(names) => format!("leftbehind {}", one_line(names)),
            Self::Broken(reason) => format!("broken {}", one_line(reason)),
        }
    }

    /// Reads what [`Outcome::to_line`] wrote; `None` for anything else.
    pub fn from_line(line: &str) -> Option<Self> {
        let line = line.trim_end();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        Some(match word {
            "pass" => Self::Pass,
            "skip" => Self::Skip,
            "failed" => Self::Failed(rest.parse().ok()?),
            "killed" => Self::Killed(rest.parse().ok()?),
            "timeout" => Self::TimedOut,
            "leftbehind" => Self::LeftBehind(rest.into()),
            "broken" => Self::Broken(rest.into()),
            _ => return None,
        })
    }
}

fn one_line(text: &str) -> String {
    text.replace('\n', " ")
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => write!(out, "pass"),
            Self::Skip => write!(out, "skip"),
            Self::Failed(status) => write!(out, "FAIL (exit status {status})"),
            Self::Killed(signal) => write!(out, "CRASH (signal {signal})"),
            Self::TimedOut => write!(out, "TIMEOUT"),
            Self::LeftBehind(names) => write!(out, "LEFT BEHIND ({names})"),
            Self::Broken(reason) => write!(out, "RUNNER BROKEN ({reason})"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Pass => "pass",
            Self::Skip => "skip",
            Self::Fail => "fail",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_brings_every_outcome_across() {
        for outcome in [
            Outcome::Pass,
            Outcome::Skip,
            Outcome::Failed(1),
            Outcome::Killed(11),
            Outcome::TimedOut,
            Outcome::LeftBehind("daemon[7]".into()),
            Outcome::Broken("no pidfd".into()),
        ] {
            assert_eq!(Outcome::from_line(&outcome.to_line()), Some(outcome));
        }
        assert_eq!(Outcome::from_line(""), None);
        assert_eq!(Outcome::from_line("failed x"), None);
    }

    #[test]
    fn the_suite_s_own_skip_status_is_a_skip() {
        assert_eq!(Outcome::of_exit_status(77), Outcome::Skip);
        assert_eq!(Outcome::of_exit_status(0), Outcome::Pass);
        assert_eq!(Outcome::of_exit_status(125).verdict(), Verdict::Fail);
    }
}
