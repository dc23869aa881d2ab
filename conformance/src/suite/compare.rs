//! Holds the results of a run under Ringer against the table.

use std::collections::BTreeMap;

use super::outcome::{Outcome, Verdict};
use super::table::Table;

/// What a result means for the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    /// As the table says, and a pass.
    Passed,
    /// As the table says: skipped, or a failure with a known reason.
    Known,
    /// Better than the table says; the table wants an update.
    Better,
    /// Worse than the table says, or processes left behind, or a test that the table does not know.
    Regression,
}

/// Judges one result.
pub fn judge(expected: Option<Verdict>, outcome: &Outcome) -> Finding {
    if matches!(outcome, Outcome::LeftBehind(_) | Outcome::Broken(_)) {
        // No table entry excuses these.
        return Finding::Regression;
    }
    let Some(expected) = expected else { return Finding::Regression };
    match (expected, outcome.verdict()) {
        (Verdict::Pass, Verdict::Pass) => Finding::Passed,
        (Verdict::Skip, Verdict::Skip) | (Verdict::Fail, Verdict::Fail) => Finding::Known,
        (_, Verdict::Pass) | (Verdict::Fail, Verdict::Skip) => Finding::Better,
        (_, Verdict::Skip | Verdict::Fail) => Finding::Regression,
    }
}

/// The sums of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Tests that passed.
    pub passed: usize,
    /// Regressions.
    pub failed: usize,
    /// Skipped, or failed for the reason that the table gives.
    pub skipped: usize,
    /// Tests that passed, of those that count.
    pub score: usize,
    /// Tests of this run that count.
    pub counting: usize,
}

/// Sums up the results of a run, by test name.
pub fn summarize(table: &Table, results: &BTreeMap<String, Outcome>) -> Summary {
    let mut sum = Summary::default();
    for (name, outcome) in results {
        let row = table.tests.get(name);
        let passes = *outcome == Outcome::Pass;
        match judge(row.map(|row| row.ringer), outcome) {
            Finding::Regression => sum.failed += 1,
            _ if passes => sum.passed += 1,
            _ => sum.skipped += 1,
        }
        if row.is_some_and(|row| row.counts) {
            sum.counting += 1;
            sum.score += usize::from(passes);
        }
    }
    sum
}

/// Takes the results that are better than expected over into the table. Never makes it more lenient.
pub fn take_over(table: &mut Table, results: &BTreeMap<String, Outcome>) -> Vec<String> {
    let mut changed = Vec::new();
    for (name, outcome) in results {
        let Some(row) = table.tests.get_mut(name) else { continue };
        if judge(Some(row.ringer), outcome) == Finding::Better {
            row.ringer = outcome.verdict();
            row.reason = (row.ringer == Verdict::Skip).then(|| "skips itself under Ringer".to_owned());
            changed.push(name.clone());
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::table::Row;

    fn table() -> Table {
        let row = |ringer| Row { ringer, ..Row::measured(Verdict::Pass, Verdict::Fail) };
        let mut table = Table::default();
        table.tests.insert("good".into(), Row { reason: None, ..row(Verdict::Pass) });
        table.tests.insert("bad".into(), row(Verdict::Fail));
        table.tests.insert(
            "null".into(),
            Row { reason: None, ringer: Verdict::Pass, ..Row::measured(Verdict::Pass, Verdict::Pass) },
        );
        table
    }

    fn results(list: &[(&str, Outcome)]) -> BTreeMap<String, Outcome> {
        list.iter().map(|(name, outcome)| ((*name).to_owned(), outcome.clone())).collect()
    }

    #[test]
    fn every_way_to_get_worse_is_a_regression() {
        for outcome in [Outcome::Failed(1), Outcome::Killed(6), Outcome::TimedOut, Outcome::Skip] {
            assert_eq!(judge(Some(Verdict::Pass), &outcome), Finding::Regression, "{outcome}");
        }
        assert_eq!(judge(Some(Verdict::Skip), &Outcome::Failed(1)), Finding::Regression);
        assert_eq!(judge(None, &Outcome::Pass), Finding::Regression);
    }

    #[test]
    fn a_known_failure_does_not_excuse_a_left_process() {
        assert_eq!(judge(Some(Verdict::Fail), &Outcome::TimedOut), Finding::Known);
        assert_eq!(judge(Some(Verdict::Fail), &Outcome::LeftBehind("x[1]".into())), Finding::Regression);
    }

    #[test]
    fn the_sums_count_each_test_once() {
        let results =
            results(&[("good", Outcome::Killed(11)), ("bad", Outcome::Failed(1)), ("null", Outcome::Pass)]);
        let sum = summarize(&table(), &results);
        assert_eq!(sum, Summary { passed: 1, failed: 1, skipped: 1, score: 0, counting: 2 });
    }

    #[test]
    fn an_update_only_tightens_the_table() {
        let mut table = table();
        let changed =
            take_over(&mut table, &results(&[("good", Outcome::Failed(1)), ("bad", Outcome::Pass)]));
        assert_eq!(changed, ["bad"]);
        assert_eq!((table.tests["bad"].ringer, &table.tests["bad"].reason), (Verdict::Pass, &None));
        assert_eq!(table.tests["good"].ringer, Verdict::Pass);
    }
}
