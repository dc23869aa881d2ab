//! `differences.toml`: the differences that are known, each with its reason.

use std::collections::BTreeMap;

/// Reads the list: case names and reasons.
///
/// # Errors
/// A message when it is not a table of `"case" = "reason"` or a reason is missing.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let table: toml::Table = text.parse().map_err(|error| format!("differences.toml: {error}"))?;
    let mut known = BTreeMap::new();
    for (case, reason) in table {
        match reason.as_str().map(str::trim) {
            Some(reason) if !reason.is_empty() => known.insert(case, reason.to_owned()),
            _ => return Err(format!("differences.toml: {case} has no reason")),
        };
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_difference_has_a_reason() {
        let known = parse("\"a/b\" = \"because\"").expect("a good table");
        assert_eq!(known["a/b"], "because");
        assert!(parse("\"a/b\" = \"\"").is_err());
        assert!(parse("\"a/b\" = 3").is_err());
        assert!(parse("a b").is_err());
    }
}
