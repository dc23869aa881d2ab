//! How the engine served the requests of a child, from the summary of `ringer run`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::failure::Stop;

/// The ways of serving a request, as the summary names them.
const WAYS: [&str; 5] = ["inline", "poll", "worker", "aio", "engine"];

/// Finished requests, by opcode and way.
#[derive(Clone, Debug, Deserialize)]
pub struct Served {
    served_by: String,
    opcodes: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Served {
    /// Reads the file that `ringer run --summary-json` wrote.
    pub fn read(path: &Path) -> Result<Self, Stop> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Stop::bug(format!("`ringer run` left no summary in {}: {error}", path.display()))
        })?;
        Self::parse(&text)
            .map_err(|error| Stop::bug(format!("the summary of `ringer run` is not readable: {error}")))
    }

    fn parse(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// Requests of one opcode.
    pub fn count(&self, opcode: &str) -> u64 {
        self.opcodes.get(opcode).map_or(0, |ways| ways.values().sum())
    }

    /// Fails unless Ringer itself served at least so many requests of each opcode.
    pub fn require(&self, least: &[(&str, u64)]) -> Result<(), Stop> {
        if self.served_by != "ringer" {
            return Err(Stop::bug(format!("the rings were served by the {}, not by ringer", self.served_by)));
        }
        for &(opcode, least) in least {
            let count = self.count(opcode);
            if count < least {
                return Err(Stop::bug(format!(
                    "ringer served {count} {opcode} requests, at least {least} were made"
                )));
            }
        }
        Ok(())
    }

    /// Adds the requests of another run.
    pub fn add(&mut self, other: Self) {
        for (opcode, ways) in other.opcodes {
            let mine = self.opcodes.entry(opcode).or_default();
            for (way, count) in ways {
                *mine.entry(way).or_default() += count;
            }
        }
    }

    /// The lines of a table: one column for each way that was used.
    pub fn table(&self) -> Vec<String> {
        let of = |ways: &BTreeMap<String, u64>, way: &str| ways.get(way).copied().unwrap_or(0);
        let used: Vec<&str> =
            WAYS.into_iter().filter(|way| self.opcodes.values().any(|ways| of(ways, way) > 0)).collect();
        let mut header = format!("{:<10} {:>8}", "opcode", "requests");
        used.iter().for_each(|way| header += &format!(" {way:>8}"));
        let mut lines = vec![header];
        for (opcode, ways) in &self.opcodes {
            if ways.values().sum::<u64>() == 0 {
                continue;
            }
            let mut line = format!("{opcode:<10} {:>8}", self.count(opcode));
            used.iter().for_each(|way| line += &format!(" {:>8}", of(ways, way)));
            lines.push(line);
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPY: &str = r#"{"served_by": "ringer", "rings": 1, "opcodes": {
        "READ": {"inline": 5, "poll": 0, "worker": 2, "aio": 0, "engine": 0},
        "FSYNC": {"inline": 0, "poll": 0, "worker": 1, "aio": 0, "engine": 0}}}"#;

    #[test]
    fn what_was_not_served_is_noticed() {
        let served = Served::parse(COPY).expect("as `ringer run` writes it");
        assert!(served.require(&[("READ", 7), ("FSYNC", 1)]).is_ok());
        assert!(served.require(&[("READ", 8)]).is_err());
        assert!(served.require(&[("WRITE", 1)]).is_err());
        let by_kernel = Served::parse(r#"{"served_by": "kernel", "opcodes": {}}"#).expect("as above");
        assert!(by_kernel.require(&[]).is_err());
    }

    #[test]
    fn the_table_has_the_columns_that_were_used() {
        let mut served = Served::parse(COPY).expect("as `ringer run` writes it");
        served.add(Served::parse(COPY).expect("as before"));
        let words: Vec<Vec<String>> =
            served.table().iter().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
        assert_eq!(words[0], ["opcode", "requests", "inline", "worker"]);
        assert_eq!(words[1], ["FSYNC", "2", "0", "2"]);
        assert_eq!(words[2], ["READ", "14", "10", "4"]);
    }
}
