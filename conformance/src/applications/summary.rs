//! What `ringer run --summary-json FILE` says of a run.

use std::path::Path;

use serde_json::Value;

/// An opcode, by its name in the summary.
pub(super) type Opcode = &'static str;

/// Reads of all kinds.
pub(super) const READS: &[Opcode] = &["READ", "READV", "READ_FIXED"];

/// Writes of all kinds.
pub(super) const WRITES: &[Opcode] = &["WRITE", "WRITEV", "WRITE_FIXED"];

/// Reads and writes of all kinds.
pub(super) const TRANSFERS: &[Opcode] = &["READ", "READV", "READ_FIXED", "WRITE", "WRITEV", "WRITE_FIXED"];

/// Flushes of a file.
pub(super) const SYNCS: &[Opcode] = &["FSYNC"];

/// Queries of a file's attributes.
pub(super) const STATS: &[Opcode] = &["STATX"];

/// Counters of one run, over all its processes.
pub(super) struct Summary(Value);

impl Summary {
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("no summary: {error}"))?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| format!("bad summary: {error}"))?;
        if value["served_by"] != "ringer" || !value["requests"].is_u64() {
            return Err(format!("not the summary of a run that Ringer served: {text}"));
        }
        Ok(Self(value))
    }

    /// Finished requests of all opcodes.
    pub(super) fn requests(&self) -> u64 {
        self.0["requests"].as_u64().unwrap_or(0)
    }

    /// Finished requests of these opcodes together.
    pub(super) fn of(&self, opcodes: &[Opcode]) -> u64 {
        opcodes.iter().map(|opcode| sum(&self.0["opcodes"][*opcode])).sum()
    }
}

/// The sum of all numbers in a value.
fn sum(value: &Value) -> u64 {
    match value {
        Value::Number(number) => number.as_u64().unwrap_or(0),
        Value::Array(values) => values.iter().map(sum).sum(),
        Value::Object(fields) => fields.values().map(sum).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;

    #[test]
    fn adds_up_ways_and_opcodes() {
        let text = r#"{"requests":9,"served_by":"ringer","opcodes":{"READ":{"inline":3,"worker":1},"FSYNC":{"worker":5}}}"#;
        let summary = Summary::parse(text).expect("well-formed");
        assert_eq!(summary.requests(), 9);
        assert_eq!(summary.of(&["READ"]), 4);
        assert_eq!(summary.of(&["READ", "FSYNC", "NOP"]), 9);
    }

    #[test]
    fn other_summaries_are_refused() {
        assert!(Summary::parse("").is_err());
        assert!(Summary::parse(r#"{"served_by":"ringer"}"#).is_err());
        assert!(Summary::parse(r#"{"served_by":"kernel","requests":9}"#).is_err());
    }
}
