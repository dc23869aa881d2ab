//! `ringer run --summary`: what was served and how.

use std::collections::BTreeMap;
use std::fs::File;
use std::mem::offset_of;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ringer_abi::Opcode;
use ringer_engine::{Counters, Refusal, SHARES, Served, Share};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use serde::Serialize;

use crate::failure::Failure;

/// Counters in memory that the program's processes map.
pub struct Shared {
    file: File,
}

/// The counters as words, in the order of [`Counters`].
pub type Words = [u64; WORDS];

const WORDS: usize = size_of::<Counters>() / size_of::<u64>();

impl Shared {
    /// Counters that are all zero.
    pub fn new() -> Result<Self, Failure> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        memfd_create("ringer-counters", flags)
            .and_then(|file| {
                ftruncate(&file, size_of::<Counters>() as u64)?;
                fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
                Ok(Self { file: File::from(file) })
            })
            .map_err(Failure::system("cannot make memory for the summary"))
    }

    /// Where other processes find them, for as long as this one lives.
    ///
    /// A path and not a descriptor: the program has no descriptor that it would not have without us, and can close none.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }

    /// What was counted so far.
    pub fn read(&self) -> Result<Words, Failure> {
        let mut bytes = [0; WORDS * size_of::<u64>()];
        self.file.read_exact_at(&mut bytes, 0).map_err(Failure::system("cannot read the counters"))?;
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(size_of::<u64>())) {
            *word = u64::from_ne_bytes(bytes.try_into().expect("chunks of this size"));
        }
        Ok(words)
    }
}

/// Who served the program's rings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ServedBy {
    /// The engine.
    Ringer,
    /// The kernel, if it does.
    Kernel,
}

/// What was served and how.
#[derive(Debug, Serialize)]
pub struct Summary {
    served_by: ServedBy,
    exit_status: u8,
    rings: u64,
    enters: u64,
    traps: u64,
    patched_sites: u64,
    unpatched_sites: u64,
    /// Why sites stay as they are; reasons that did not occur are left out.
    refusals: BTreeMap<&'static str, u64>,
    requests: u64,
    /// By opcode and way; opcodes without a request are left out.
    opcodes: BTreeMap<String, BTreeMap<&'static str, u64>>,
}

/// The reason in a few words.
const fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Function => "function unknown",
        Refusal::Neighbours => "no padding, neighbours cannot be moved",
        Refusal::Targets => "no padding, neighbours may be jumped to",
        Refusal::Threads => "no padding, other threads or handlers",
        Refusal::AddressSpace => "no free memory near",
        Refusal::System => "system refuses to change code",
        Refusal::Processor => "processor unknown",
        Refusal::TooMany => "too many sites",
    }
}

impl Summary {
    /// Makes sense of the counters.
    pub fn new(served_by: ServedBy, words: &Words, exit_status: u8) -> Self {
        let word = |offset: usize| words[offset / size_of::<u64>()];
        let shared = |offset: usize| -> u64 {
            let shares = offset_of!(Counters, shares);
            (0..SHARES).map(|share| word(shares + share * size_of::<Share>() + offset)).sum()
        };
        let of = |opcode: usize, way: Served| {
            let offset = (opcode * Served::ALL.len() + way as usize) * size_of::<u64>();
            word(offset_of!(Counters, served) + offset) + shared(offset_of!(Share, served) + offset)
        };
        let mut opcodes = BTreeMap::new();
        for opcode in 0..=u8::MAX {
            let Some(name) = Opcode::from_number(opcode).map(Opcode::name) else { continue };
            let ways: BTreeMap<_, _> =
                Served::ALL.into_iter().map(|way| (way.name(), of(usize::from(opcode), way))).collect();
            if ways.values().any(|count| *count > 0) {
                opcodes.insert(name, ways);
            }
        }
        let refusals = Refusal::ALL
            .into_iter()
            .map(|refusal| {
                let offset = offset_of!(Counters, refusals) + refusal as usize * size_of::<u64>();
                (reason(refusal), word(offset))
            })
            .filter(|(_, count)| *count > 0)
            .collect();
        Self {
            served_by,
            exit_status,
            refusals,
            rings: word(offset_of!(Counters, rings)),
            enters: word(offset_of!(Counters, enters)) + shared(offset_of!(Share, enters)),
            traps: word(offset_of!(Counters, traps)),
            patched_sites: word(offset_of!(Counters, patched_sites)),
            unpatched_sites: word(offset_of!(Counters, unpatched_sites)),
            requests: opcodes.values().flat_map(BTreeMap::values).sum(),
            opcodes,
        }
    }

    /// Writes it as JSON.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let mut text = serde_json::to_string_pretty(self).expect("maps with string keys and numbers");
        text.push('\n');
        std::fs::write(path, text).map_err(Failure::system("cannot write the file of --summary-json"))
    }

    /// Prints a table to stderr.
    pub fn print(&self) {
        self.lines().iter().for_each(|line| eprintln!("{line}"));
    }

    fn lines(&self) -> Vec<String> {
        if self.served_by == ServedBy::Kernel {
            return vec!["ringer: not in charge, io_uring was left to the kernel (see --when)".into()];
        }
        let Self { rings, enters, traps, patched_sites, unpatched_sites, requests, .. } = self;
        let mut lines = vec![
            format!("ringer: {requests} requests on {rings} rings, {enters} enter calls, {traps} traps"),
            format!("ringer: enter call sites: {patched_sites} patched, {unpatched_sites} trapping"),
        ];
        lines.extend(
            self.refusals.iter().map(|(reason, count)| format!("ringer:   {count} trapping: {reason}")),
        );
        if self.opcodes.is_empty() {
            return lines;
        }
        let used: Vec<&str> = Served::ALL
            .into_iter()
            .map(Served::name)
            .filter(|way| self.opcodes.values().any(|ways| ways[way] > 0))
            .collect();
        let row = |name: &str, total: &str, cells: Vec<String>| {
            let cells: String = cells.iter().map(|cell| format!(" {cell:>10}")).collect();
            format!("ringer:   {name:<16} {total:>10}{cells}")
        };
        lines.push(row("opcode", "requests", used.iter().map(ToString::to_string).collect()));
        for (name, ways) in &self.opcodes {
            let total: u64 = ways.values().sum();
            lines.push(row(name, &total.to_string(), used.iter().map(|way| ways[way].to_string()).collect()));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_counters_end_up_in_the_right_cells() {
        let shared = Shared::new().expect("memory");
        let other = File::options().write(true).open(shared.path()).expect("its own file by another name");
        let put = |offset: usize, value: u64| {
            other.write_all_at(&value.to_ne_bytes(), offset as u64).expect("room")
        };
        put(offset_of!(Counters, traps), 7);
        put(offset_of!(Counters, served) + (22 * 5 + 2) * 8, 3);
        let summary = Summary::new(ServedBy::Ringer, &shared.read().expect("readable"), 0);
        assert_eq!((summary.traps, summary.requests, summary.rings), (7, 3, 0));
        assert_eq!(summary.opcodes["READ"]["worker"], 3);
        let lines = summary.lines();
        assert_eq!(lines[2], format!("ringer:   {:<16} {:>10} {:>10}", "opcode", "requests", "worker"));
        assert_eq!(lines[3], format!("ringer:   {:<16} {:>10} {:>10}", "READ", 3, 3));
        assert_eq!(lines.len(), 4);
    }
}
