//! Judges what the kernel and Ringer did.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::case::Case;
use super::player::{Ending, Played};

/// What came of one comparison of all cases.
#[derive(Debug, Default)]
pub struct Report {
    /// Cases with the same record on both sides, or with every expectation met where there is no oracle.
    pub same: usize,
    /// Cases not compared: the kernel refuses io_uring here, or the case needs more rights than this user has.
    pub skipped: usize,
    /// Known differences that were seen.
    pub known: usize,
    /// The names of the cases that failed.
    pub failed: BTreeSet<String>,
    /// Cases that failed once and then did not.
    pub unsteady: Vec<String>,
    /// One text per failure.
    pub failures: Vec<String>,
}

/// All plays of one backend, each a round over all cases.
pub type Rounds = Vec<BTreeMap<String, Played>>;

/// Compares. `oracle` is empty where the kernel refuses io_uring.
pub fn compare(cases: &[Case], oracle: &Rounds, ringer: &Rounds, known: &BTreeMap<String, String>) -> Report {
    let mut report = Report::default();
    for case in cases {
        let name = &case.name;
        let mut trouble = Vec::new();
        let natively = oracle.first().and_then(|round| round.get(name));
        for (backend, rounds) in [("kernel", oracle), ("ringer", ringer)] {
            for round in rounds {
                trouble.extend(unexpected(case, backend, round.get(name)));
            }
        }
        // What is wrong with the case itself is never a known difference.
        for round in oracle.iter().skip(1) {
            if let (Some(first), Some(other)) = (natively, round.get(name))
                && first != other
            {
                let table = side_by_side(first, other, ["kernel", "kernel again"]);
                report.failed.insert(name.clone());
                report.failures.push(format!("{name}: not deterministic natively\n{table}"));
            }
        }
        let mut differs = false;
        for round in ringer {
            if let (Some(first), Some(other)) = (natively, round.get(name))
                && first != other
            {
                differs = true;
                trouble.push(side_by_side(first, other, ["kernel", "ringer"]));
                break;
            }
        }
        match (trouble.is_empty(), known.get(name)) {
            (false, Some(_)) => report.known += 1,
            (false, None) => {
                let what = if differs { "differs" } else { "fails" };
                report.failed.insert(name.clone());
                report.failures.push(format!("{name}: {what}\n{}", trouble.join("\n")));
            }
            (true, Some(_)) if natively.is_some() => {
                report.failed.insert(name.clone());
                report
                    .failures
                    .push(format!("{name}: listed in differences.toml, but no longer differs: remove it"));
            }
            (true, _) if natively.is_none_or(|natively| natively.record.is_skipped()) => report.skipped += 1,
            (true, _) => report.same += 1,
        }
    }
    for name in known.keys().filter(|name| !cases.iter().any(|case| case.name == **name)) {
        report.failures.push(format!("{name}: listed in differences.toml, but there is no such case"));
    }
    report
}

/// What is wrong with one play by itself.
fn unexpected(case: &Case, backend: &str, played: Option<&Played>) -> Vec<String> {
    let Some(played) = played else {
        return vec![format!("  on {backend}: not played")];
    };
    let mut wrong = Vec::new();
    match &played.ending {
        Ending::Finished => {}
        Ending::Panicked(message) => wrong.push(format!("  on {backend}: panicked: {message}")),
        Ending::Hung => wrong.push(format!("  on {backend}: hung")),
        Ending::Died(status) => wrong.push(format!("  on {backend}: its process died: {status}")),
        Ending::NotPlayed => wrong.push(format!("  on {backend}: not played, the budget was used up")),
    }
    for (label, value) in case.expect {
        match played.record.value(label) {
            Some(seen) if seen == *value => {}
            seen => wrong.push(format!("  on {backend}: {label}: expected {value}, saw {seen:?}")),
        }
    }
    wrong
}

/// The observations that differ, in two columns.
pub fn side_by_side(left: &Played, right: &Played, titles: [&str; 2]) -> String {
    let (left_seen, right_seen) = (left.record.observations(), right.record.observations());
    let mut rows = Vec::new();
    let mut same = 0;
    for index in 0..left_seen.len().max(right_seen.len()) {
        let (one, other) = (left_seen.get(index), right_seen.get(index));
        if one == other {
            same += 1;
            continue;
        }
        let label = match (one, other) {
            (Some(one), Some(other)) if one.label != other.label => {
                format!("{} / {}", one.label, other.label)
            }
            (Some(seen), _) | (None, Some(seen)) => seen.label.clone(),
            (None, None) => String::new(),
        };
        let value = |seen: Option<&super::record::Observation>| {
            seen.map_or("(nothing)".to_owned(), |seen| seen.value.clone())
        };
        rows.push([label, value(one), value(other)]);
    }
    if left.ending != right.ending {
        rows.push(["the end".to_owned(), format!("{:?}", left.ending), format!("{:?}", right.ending)]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (first, second) = (width(0), width(1).max(titles[0].len()));
    let mut text = format!("  {:first$}  {:second$}  {}\n", "", titles[0], titles[1]);
    for [label, one, other] in &rows {
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {label:first$}  {one:second$}  {other}");
    }
    let _ = write!(text, "  ({same} observations alike)");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::differential::record::Record;

    fn played(value: &str) -> Played {
        let mut record = Record::default();
        record.add("label", value);
        Played { record, ending: Ending::Finished }
    }

    #[test]
    fn what_cannot_be_played_is_skipped_on_both_sides_or_differs() {
        let skipped = || {
            let mut played = played("1");
            played.record.skip("for root");
            played
        };
        let rounds_of = |played| vec![BTreeMap::from([("a/b".to_owned(), played)])];
        let cases = [Case::general("a/b", |_| ())];
        let known = BTreeMap::new();
        assert_eq!(compare(&cases, &rounds_of(skipped()), &rounds_of(skipped()), &known).skipped, 1);
        assert_eq!(compare(&cases, &rounds(&["1"]), &rounds_of(skipped()), &known).failures.len(), 1);
    }

    fn rounds(values: &[&str]) -> Rounds {
        values.iter().map(|value| BTreeMap::from([("a/b".to_owned(), played(value))])).collect()
    }

    fn judge(
        oracle: &[&str],
        ringer: &[&str],
        known: &[&str],
        expect: super::super::case::Expectation,
    ) -> Report {
        let cases = [Case::general("a/b", |_| ()).expect(expect)];
        let known = known.iter().map(|name| ((*name).to_owned(), "a reason".to_owned())).collect();
        compare(&cases, &rounds(oracle), &rounds(ringer), &known)
    }

    #[test]
    fn a_difference_fails_unless_it_is_known() {
        assert_eq!(judge(&["1", "1"], &["1"], &[], &[]).same, 1);
        assert_eq!(judge(&["1"], &["2"], &[], &[]).failures.len(), 1);
        assert_eq!(judge(&["1"], &["1", "2"], &[], &[]).failures.len(), 1);
        let report = judge(&["1"], &["2"], &["a/b"], &[]);
        assert_eq!((report.known, report.failures.len()), (1, 0));
    }

    #[test]
    fn a_known_difference_must_differ_and_exist() {
        assert_eq!(judge(&["1"], &["1"], &["a/b"], &[]).failures.len(), 1);
        assert_eq!(judge(&["1"], &["1"], &["a/c"], &[]).failures.len(), 1);
    }

    #[test]
    fn an_oracle_that_changes_its_mind_fails_even_when_known() {
        assert_eq!(judge(&["1", "2"], &["1"], &[], &[]).failures.len(), 1);
        assert_eq!(judge(&["1", "2"], &["3"], &["a/b"], &[]).failures.len(), 1);
    }

    #[test]
    fn without_an_oracle_expectations_count_and_the_comparison_is_skipped() {
        assert_eq!(judge(&[], &["1"], &[], &[]).skipped, 1);
        assert_eq!(judge(&[], &["1"], &[], &[("label", "1")]).skipped, 1);
        assert_eq!(judge(&[], &["1"], &[], &[("label", "2")]).failures.len(), 1);
        assert_eq!(judge(&[], &["1"], &[], &[("other", "1")]).failures.len(), 1);
    }
}
