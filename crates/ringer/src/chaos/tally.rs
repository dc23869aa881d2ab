//! How many faults there were.

use ringer_engine::chaos::Injected;

use crate::trace::{Event, Kind};

/// Counts faults and requests.
pub struct Tally {
    requests: u64,
    faults: [u64; NAMES.len()],
    again: String,
}

/// As in the plan.
const NAMES: [&str; 6] = ["error", "short", "late", "overflow", "partial", "interrupt"];

impl Tally {
    /// `again`: the command that does the same again.
    pub fn new(again: String) -> Self {
        Self { requests: 0, faults: [0; NAMES.len()], again }
    }

    /// Counts an event.
    pub fn add(&mut self, event: &Event) {
        match &event.kind {
            Kind::Submitted { .. } => self.requests += 1,
            Kind::Injected { injected, .. } => self.faults[place(injected)] += 1,
            Kind::Made(_) | Kind::Completed { .. } => {}
        }
    }

    /// Prints it to stderr.
    pub fn print(&self) {
        let Self { requests, faults, again } = self;
        let total: u64 = faults.iter().sum();
        let each: Vec<String> = NAMES
            .iter()
            .zip(faults)
            .filter(|(_, count)| **count > 0)
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        let each = if each.is_empty() { String::new() } else { format!(": {}", each.join(", ")) };
        eprintln!("ringer: {total} faults in {requests} requests{each}");
        eprintln!("ringer: the same again: {again}");
    }
}

const fn place(injected: &Injected) -> usize {
    match injected {
        Injected::Error(_) => 0,
        Injected::Short { .. } => 1,
        Injected::Late(_) => 2,
        Injected::Overflow => 3,
        Injected::Partial { .. } => 4,
        Injected::Interrupt => 5,
    }
}
