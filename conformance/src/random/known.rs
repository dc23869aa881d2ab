//! `random-differences.toml`: differences between sequences that are known, each with its reason.

use serde::Deserialize;

use crate::differential::player::Played;

/// One kind of difference.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// What the label of the observation contains.
    pub label: String,
    /// What the kernel's value contains.
    pub kernel: String,
    /// What Ringer's value contains.
    pub ringer: String,
    /// What the label of another observation contains, when there must be one.
    pub with: Option<String>,
    /// Why they differ.
    pub reason: String,
}

#[derive(Debug, Default, Deserialize)]
struct File {
    #[serde(default)]
    known: Vec<Known>,
}

/// Reads the list.
///
/// # Errors
/// A message when it is not such a list, or a reason is missing.
pub fn parse(text: &str) -> Result<Vec<Known>, String> {
    let file: File = toml::from_str(text).map_err(|error| format!("random-differences.toml: {error}"))?;
    match file.known.iter().find(|known| known.reason.trim().is_empty()) {
        Some(known) => Err(format!("random-differences.toml: {} has no reason", known.label)),
        None => Ok(file.known),
    }
}

/// The known difference that explains why these differ. Only the first difference of a request chain needs to be known:
/// what follows from it is not told apart, so the first one decides.
pub fn explanation<'a>(list: &'a [Known], kernel: &Played, ringer: &Played) -> Option<&'a Known> {
    let (left, right) = (kernel.record.observations(), ringer.record.observations());
    let (one, other) = left.iter().zip(right).find(|(one, other)| one != other)?;
    let has = |part: &str| left.iter().any(|one| one.label.contains(part));
    list.iter().filter(|_| one.label == other.label).find(|known| {
        one.label.contains(&known.label)
            && one.value.contains(&known.kernel)
            && other.value.contains(&known.ringer)
            && known.with.as_deref().is_none_or(has)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_difference_has_a_reason() {
        assert!(parse("").is_ok_and(|list| list.is_empty()));
        assert!(parse("[[known]]\nlabel = \"Poll\"\nkernel = \"1\"\nringer = \"2\"\nreason = \"\"").is_err());
        assert!(parse("[[known]]\nlabel = \"Poll\"").is_err());
    }
}
