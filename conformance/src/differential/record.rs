//! What a case saw: an ordered list of labelled values.

use std::fmt::Display;

use ringer_abi::Cqe;

use super::errno::result_name;

/// One observation. Both parts are on one line of printable characters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Observation {
    /// What was looked at.
    pub label: String,
    /// What was seen. Addresses, descriptor numbers and times have no place here.
    pub value: String,
}

/// Every observation of one run of a case, in the order the case made them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    observations: Vec<Observation>,
}

/// The label of an observation that says why there are no others.
const SKIPPED: &str = "SKIPPED";

impl Record {
    /// Adds one observation.
    pub fn add(&mut self, label: impl Display, value: impl Display) {
        let one_line = |text: String| text.replace(['\n', '\t', '\r'], " ");
        self.observations
            .push(Observation { label: one_line(label.to_string()), value: one_line(value.to_string()) });
    }

    /// The observations.
    pub fn observations(&self) -> &[Observation] {
        &self.observations
    }

    /// Why the case cannot be played here.
    pub fn skip(&mut self, why: &str) {
        self.add(SKIPPED, why);
    }

    /// Whether the case could not be played.
    pub fn is_skipped(&self) -> bool {
        self.value(SKIPPED).is_some()
    }

    /// The value under this label, if it was observed.
    pub fn value(&self, label: &str) -> Option<&str> {
        self.observations.iter().find(|seen| seen.label == label).map(|seen| seen.value.as_str())
    }
}

/// A CQE without its `user_data`: `res` by name, and the flags if there are any.
pub fn cqe_text(cqe: &Cqe) -> String {
    let mut text = result_name(cqe.res.into());
    if cqe.flags != 0 {
        text.push_str(&format!(" flags={:#x}", cqe.flags));
    }
    if cqe.extra != [0; 2] {
        text.push_str(&format!(" extra={:x?}", cqe.extra));
    }
    text
}

/// Several CQEs in the order given: `user_data: res flags`.
pub fn cqes_text(cqes: &[Cqe]) -> String {
    let texts: Vec<String> = cqes.iter().map(|cqe| format!("{}: {}", cqe.user_data, cqe_text(cqe))).collect();
    format!("[{}]", texts.join(", "))
}

/// Bytes as text: printable ones as they are, runs of a byte shortened.
pub fn bytes_text(bytes: &[u8]) -> String {
    let mut text = String::new();
    for run in bytes.chunk_by(|left, right| left == right) {
        let one = std::ascii::escape_default(run[0]).to_string();
        if run.len() > 4 {
            text.push_str(&format!("{{{one}*{}}}", run.len()));
        } else {
            text.push_str(&one.repeat(run.len()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_order_and_stays_on_its_lines() {
        let mut record = Record::default();
        record.add("second\nline", 2);
        record.add("first", "a\tb");
        assert_eq!(record.observations()[0].label, "second line");
        assert_eq!(record.value("first"), Some("a b"));
        assert_eq!(record.value("third"), None);
    }

    #[test]
    fn cqes_and_bytes_read_well() {
        assert_eq!(cqes_text(&[Cqe::new(7, -22, 0), Cqe::new(8, 3, 2)]), "[7: -EINVAL, 8: 3 flags=0x2]");
        assert_eq!(bytes_text(b"ab\0\0\0\0\0\0c"), "ab{\\x00*6}c");
    }
}
