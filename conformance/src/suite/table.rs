//! The table of expected results, `conformance/liburing-2.3.toml`.
//!
//! One row per test. `native` and `null` are measured by `baseline`, `counts` follows from them,
//! `ringer` is what is expected under Ringer and changes by hand or by `check --update`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::Failure;
use super::outcome::Verdict;

/// The reason that a new row starts with.
pub const NOT_MEASURED: &str = "not yet measured under Ringer";

const HEADER: &str = "\
# Results of the tests of liburing 2.3; conformance/README.md says what the columns mean.
# `native`, `null` and `counts` are rewritten by `liburing-suite baseline`; edit `ringer` and `reason` by hand,
# or let `liburing-suite check --update` take over tests that have come to pass.

";

/// One test's row.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Result on the kernel's io_uring.
    pub native: Verdict,
    /// Result with io_uring refused.
    pub null: Verdict,
    /// Whether it tells something about io_uring: passes natively and not in the null run.
    pub counts: bool,
    /// Expected result under Ringer.
    pub ringer: Verdict,
    /// Why it is expected to fail or to be skipped. One line; absent for a pass.
    pub reason: Option<String>,
}

impl Row {
    /// A row after its first measurement.
    pub fn measured(native: Verdict, null: Verdict) -> Self {
        let reason = Some(NOT_MEASURED.to_owned());
        Self { native, null, counts: counts(native, null), ringer: Verdict::Fail, reason }
    }

    /// Takes a new measurement over, and leaves the expectation under Ringer.
    pub fn remeasure(&mut self, native: Verdict, null: Verdict) {
        (self.native, self.null, self.counts) = (native, null, counts(native, null));
    }
}

fn counts(native: Verdict, null: Verdict) -> bool {
    native == Verdict::Pass && null != Verdict::Pass
}

/// All rows, by the test's name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The rows.
    pub tests: BTreeMap<String, Row>,
}

impl Table {
    /// Reads a table; a file that is not there is an empty one.
    ///
    /// # Errors
    /// When the file cannot be read or breaks a rule of the table.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).map_err(Failure::at(path))?;
        Self::parse(&text).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
    }

    /// Writes the table.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn store(&self, path: &Path) -> Result<(), Failure> {
        let new = path.with_extension("toml.new");
        fs::write(&new, self.to_toml()).map_err(Failure::at(&new))?;
        fs::rename(&new, path).map_err(Failure::at(path))
    }

    /// Parses and checks a table.
    ///
    /// # Errors
    /// Says which row breaks which rule.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let table: Self = toml::from_str(text).map_err(|error| Failure::new(error.to_string()))?;
        for (name, row) in &table.tests {
            let wrong = |what: &str| Err(Failure::new(format!("row {name}: {what}")));
            if row.counts != counts(row.native, row.null) {
                return wrong("`counts` must say: passes natively and not in the null run");
            }
            match (row.ringer, row.reason.as_deref()) {
                (Verdict::Pass, Some(_)) => return wrong("a pass needs no reason"),
                (Verdict::Fail | Verdict::Skip, None | Some("")) => return wrong("a reason is missing"),
                (_, Some(reason)) if reason.contains('\n') => return wrong("the reason must be one line"),
                _ => {}
            }
        }
        Ok(table)
    }

    /// The text of the file: one line per test.
    pub fn to_toml(&self) -> String {
        let mut text = format!("{HEADER}[tests]\n");
        let width = self.tests.keys().map(String::len).max().unwrap_or(0) + 2;
        for (name, row) in &self.tests {
            let quoted = |verdict: Verdict| format!("\"{verdict}\"");
            let reason = row.reason.as_ref().map_or(String::new(), |reason| {
                format!(", reason = {}", toml::Value::String(reason.clone()))
            });
            // Writing to a String does not fail.
            let _ = writeln!(
                text,
                "{:width$} = {{ native = {}, null = {}, counts = {:<5}, ringer = {}{reason} }}",
                quoted_key(name),
                quoted(row.native),
                quoted(row.null),
                row.counts,
                quoted(row.ringer),
            );
        }
        text
    }
}

fn quoted_key(name: &str) -> String {
    toml::Value::String(name.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Table {
        let mut table = Table::default();
        table.tests.insert(
            "nop".into(),
            Row { ringer: Verdict::Pass, reason: None, ..Row::measured(Verdict::Pass, Verdict::Fail) },
        );
        table.tests.insert("232c93d07b74".into(), Row::measured(Verdict::Pass, Verdict::Pass));
        table.tests.insert(
            "rw_merge_test".into(),
            Row {
                reason: Some("needs \"quotes\" and \\".into()),
                ..Row::measured(Verdict::Skip, Verdict::Fail)
            },
        );
        table
    }

    #[test]
    fn what_is_written_is_read_back() {
        let table = example();
        assert_eq!(Table::parse(&table.to_toml()).expect("own output"), table);
        assert_eq!(table.to_toml().lines().filter(|line| line.contains("native =")).count(), 3);
    }

    #[test]
    fn a_test_counts_when_only_io_uring_makes_it_pass() {
        let table = example();
        let counting: Vec<_> =
            table.tests.iter().filter(|(_, row)| row.counts).map(|(name, _)| name.as_str()).collect();
        assert_eq!(counting, ["nop"]);
    }

    #[test]
    fn broken_rows_are_refused() {
        for (row, complaint) in [
            (r#"{ native = "pass", null = "pass", counts = true, ringer = "pass" }"#, "counts"),
            (r#"{ native = "pass", null = "fail", counts = true, ringer = "fail" }"#, "reason is missing"),
            (
                r#"{ native = "pass", null = "fail", counts = true, ringer = "pass", reason = "x" }"#,
                "no reason",
            ),
            (
                r#"{ native = "pass", null = "fail", counts = true, ringer = "fail", reason = "a\nb" }"#,
                "one line",
            ),
            (r#"{ native = "good", null = "fail", counts = true, ringer = "pass" }"#, "good"),
            (r#"{ native = "pass", null = "fail", counts = true, ringer = "pass", more = 1 }"#, "more"),
        ] {
            let error = Table::parse(&format!("[tests]\nt = {row}\n")).expect_err(row);
            assert!(error.to_string().contains(complaint), "{row}: {error}");
        }
    }

    #[test]
    fn a_new_measurement_keeps_the_expectation() {
        let mut row =
            Row { ringer: Verdict::Pass, reason: None, ..Row::measured(Verdict::Fail, Verdict::Fail) };
        row.remeasure(Verdict::Pass, Verdict::Fail);
        assert_eq!((row.counts, row.ringer, row.reason), (true, Verdict::Pass, None));
    }
}
