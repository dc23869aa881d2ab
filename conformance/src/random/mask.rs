//! Which of the drawn steps are played.

use std::fmt;
use std::str::FromStr;

/// A set of step numbers that are left out. Written as `all`, or as numbers joined by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    dropped: Vec<usize>,
}

impl Mask {
    /// Every step is played.
    pub fn all() -> Self {
        Self::default()
    }

    /// Whether this step is played.
    pub fn keeps(&self, number: usize) -> bool {
        !self.dropped.contains(&number)
    }

    /// The same without these steps.
    #[must_use]
    pub fn without(&self, numbers: &[usize]) -> Self {
        let mut dropped = self.dropped.clone();
        dropped.extend(numbers);
        dropped.sort_unstable();
        dropped.dedup();
        Self { dropped }
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.dropped.is_empty() {
            return f.write_str("all");
        }
        let numbers: Vec<String> = self.dropped.iter().map(ToString::to_string).collect();
        f.write_str(&numbers.join(","))
    }
}

impl FromStr for Mask {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::all());
        }
        let number = |part: &str| part.parse().map_err(|_| format!("{part}: not the number of a step"));
        Ok(Self { dropped: text.split(',').map(number).collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_written_and_read() {
        let mask = Mask::all().without(&[4, 2]);
        assert_eq!(mask.to_string(), "2,4");
        assert_eq!("2,4".parse(), Ok(mask.clone()));
        assert_eq!("all".parse(), Ok(Mask::all()));
        assert!(mask.keeps(3) && !mask.keeps(4));
        assert!("2,x".parse::<Mask>().is_err());
    }
}
