//! One comparison of all cases, from start to report.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::backend::{FAST, PLAIN, UNMODIFIED};
use super::case::Case;
use super::compare::{Report, Rounds, compare};
use super::known;
use super::memory::Arena;
use super::player::{Played, Player};

/// How often the kernel plays each case.
const ORACLE_ROUNDS: usize = 2;
/// Processes that share a round's cases: most cases wait more than they work.
const LANES: usize = 4;
/// More failures than these are not the machine's fault, and are not played again.
const MOST_REPLAYED: usize = 20;
/// After this the cases that are left are not played, which is a failure.
const BUDGET: Duration = Duration::from_secs(300);

/// Whether the kernel's io_uring works here.
pub fn kernel_works() -> bool {
    let arena = Arena::new();
    let params = arena.allocate(size_of::<ringer_abi::Params>());
    match ringer_sys::native::io_uring_setup(1, params.user()) {
        Ok(fd) => ringer_sys::call::close(fd).is_ok(),
        Err(_) => false,
    }
}

/// A directory for one run, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("ringer-differential-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing can be done about a directory that cannot be removed.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// By whom the cases are played.
#[derive(Clone, Copy, Debug)]
pub struct Programs<'a> {
    /// The `differential` program.
    pub program: &'a Path,
    /// The `ringer` command, when Ringer's player is to be an unmodified program, and not the engine as a library.
    pub ringer: Option<&'a Path>,
}

/// Plays `cases` on both backends and compares.
///
/// `rounds` is how often Ringer plays each case in each of its ways: the two of the library, or the one of an unmodified program.
///
/// # Errors
/// A message when the program cannot be started or the list of known differences cannot be read.
pub fn run(
    programs: Programs<'_>,
    cases: &[Case],
    differences: &str,
    rounds: usize,
) -> Result<Report, String> {
    let known = known::parse(differences)?;
    let mut report = compare_once(programs, cases, &known, rounds)?;
    let again: Vec<Case> = cases.iter().filter(|case| report.failed.contains(&case.name)).cloned().collect();
    if again.is_empty() || again.len() > MOST_REPLAYED {
        return Ok(report);
    }
    // A busy machine makes the kernel late, too. A case counts as failed if it fails twice; what failed once is told.
    let listed = known.iter().filter(|(name, _)| report.failed.contains(*name));
    let listed = listed.map(|(name, reason)| (name.clone(), reason.clone())).collect();
    let second = compare_once(programs, &again, &listed, rounds)?;
    report.same += second.same;
    report.known += second.known;
    report.unsteady = report.failed.iter().filter(|name| !second.failed.contains(*name)).cloned().collect();
    (report.failed, report.failures) = (second.failed, second.failures);
    Ok(report)
}

fn compare_once(
    programs: Programs<'_>,
    cases: &[Case],
    known: &BTreeMap<String, String>,
    rounds: usize,
) -> Result<Report, String> {
    let scratch = Scratch::new().map_err(|error| format!("a directory for the run: {error}"))?;
    let names: Vec<String> = cases.iter().map(|case| case.name.clone()).collect();
    let end = Instant::now() + BUDGET;
    let play_lane = |backend: &'static str, round: usize, lane: usize| {
        let names: Vec<String> = names.iter().skip(lane).step_by(LANES).cloned().collect();
        let directory = scratch.0.join(format!("{backend}-{round}-{lane}"));
        let (program, ringer) = (programs.program.to_owned(), programs.ringer.map(Path::to_owned));
        let player = Player { program, backend, ringer, directory, end };
        player.play(&names).map_err(|error| format!("{}: {error}", programs.program.display()))
    };
    let play = |backend: &'static str, round: usize| -> Result<BTreeMap<String, Played>, String> {
        std::thread::scope(|scope| {
            let play_lane = &play_lane;
            let lanes: Vec<_> =
                (0..LANES).map(|lane| scope.spawn(move || play_lane(backend, round, lane))).collect();
            let mut all = BTreeMap::new();
            for lane in lanes {
                all.append(&mut lane.join().expect("a player does not panic")?);
            }
            Ok(all)
        })
    };
    let oracle_rounds = if kernel_works() { ORACLE_ROUNDS } else { 0 };
    let (oracle, ringer): (Result<Rounds, String>, Result<Rounds, String>) = std::thread::scope(|scope| {
        let play = &play;
        let oracle: Vec<_> =
            (0..oracle_rounds).map(|round| scope.spawn(move || play("kernel", round))).collect();
        let ways: &[&str] = if programs.ringer.is_some() { &[UNMODIFIED] } else { &[PLAIN, FAST] };
        let ringer: Vec<_> = ways
            .iter()
            .flat_map(|way| (0..rounds).map(move |round| (*way, round)))
            .map(|(way, round)| scope.spawn(move || play(way, round)))
            .collect();
        let join = |threads: Vec<std::thread::ScopedJoinHandle<'_, _>>| -> Result<Rounds, String> {
            threads.into_iter().map(|thread| thread.join().expect("a player does not panic")).collect()
        };
        (join(oracle), join(ringer))
    });
    Ok(compare(cases, &oracle?, &ringer?, known))
}
