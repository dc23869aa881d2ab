//! What a run found, as it is written to JSON.

use serde::{Deserialize, Serialize};

use super::client::{Latency, Sample};
use super::contender::Contender;
use super::statistics::Spread;
use super::workload::{Measure, Workload};

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Where it ran.
    pub machine: Machine,
    /// Rounds of each workload.
    pub rounds: usize,
    /// Milliseconds of each sample.
    pub milliseconds: u64,
    /// Why the kernel's io_uring took no part, if so.
    pub kernel_missing: Option<String>,
    /// Percent of the CPUs that other processes used meanwhile, where that can be told.
    pub others: Option<f64>,
    /// The rows.
    pub workloads: Vec<Row>,
}

/// Where it ran.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Of the kernel.
    pub kernel: String,
    /// As `/proc/cpuinfo` names it.
    pub processor: String,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// Where the files were, by its number in `statfs`.
    pub file_system: String,
    /// Of Ringer.
    pub version: String,
}

/// A workload and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Its name on the command line.
    pub name: String,
    /// One line.
    pub what: String,
    /// What is compared: `time_per_operation` or `median_latency`.
    pub measure: String,
    /// Whose time the ratios begin with.
    pub base: Contender,
    /// The bar for the unmodified program.
    pub bar: Option<f64>,
    /// Whether it is met; `None` where there is nothing to compare.
    pub met: Option<bool>,
    /// By contender.
    pub results: Vec<Outcome>,
    /// Why the whole workload was left out, if so.
    pub left_out: Option<String>,
}

/// A contender in a workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Who.
    pub contender: Contender,
    /// Nanoseconds, of what is compared.
    pub time: Option<Spread>,
    /// CPU nanoseconds per operation.
    pub cpu: Option<Spread>,
    /// The base's time, usually the kernel's, divided by this one, round by round; above 1 is faster.
    pub ratio: Option<Spread>,
    /// Of the round with the median p50.
    pub latency: Option<Latency>,
    /// All samples, in the order of the rounds.
    pub samples: Vec<Sample>,
    /// Why there are no samples, or not as many as rounds.
    pub failed: Option<String>,
}

/// What one contender did in each round: a sample, or why not.
pub type Rounds = Vec<(Contender, Vec<Result<Sample, String>>)>;

impl Row {
    /// Makes sense of the rounds of a workload.
    pub fn new(workload: &Workload, rounds: &Rounds) -> Self {
        let measure = workload.measure();
        let value = |sample: &Sample| match measure {
            Measure::TimePerOperation => Some(sample.wall),
            Measure::MedianLatency => sample.latency.map(|latency| latency.p50 as f64),
        };
        let values = |samples: &[Result<Sample, String>]| -> Vec<Option<f64>> {
            samples.iter().map(|sample| sample.as_ref().ok().and_then(value)).collect()
        };
        let base = rounds
            .iter()
            .find(|(contender, _)| *contender == workload.base)
            .map(|(_, samples)| values(samples));
        let results: Vec<Outcome> = rounds
            .iter()
            .map(|(contender, results)| {
                let samples: Vec<Sample> = results.iter().flatten().cloned().collect();
                let times = values(results);
                let ratios = base.iter().flat_map(|base| base.iter().zip(&times));
                Outcome {
                    contender: *contender,
                    time: Spread::of(times.iter().flatten().copied()),
                    cpu: Spread::of(samples.iter().filter_map(|sample| sample.cpu)),
                    ratio: Spread::of(ratios.filter_map(|(base, time)| Some((*base)? / (*time)?))),
                    latency: middle(&samples),
                    samples,
                    failed: results.iter().find_map(|result| result.as_ref().err().cloned()),
                }
            })
            .collect();
        let ringer = results.iter().find(|outcome| outcome.contender == Contender::Ringer);
        // Who fails does not meet a bar, however fast.
        let met = workload.bar.zip(ringer).and_then(|(bar, ringer)| match &ringer.failed {
            Some(_) => Some(false),
            None => ringer.ratio.map(|ratio| ratio.median >= bar),
        });
        Self {
            name: workload.name.into(),
            what: workload.what.into(),
            measure: match measure {
                Measure::TimePerOperation => "time_per_operation",
                Measure::MedianLatency => "median_latency",
            }
            .into(),
            base: workload.base,
            bar: workload.bar,
            met,
            results,
            left_out: None,
        }
    }

    /// A workload that could not be run here.
    pub fn left_out(workload: &Workload, why: String) -> Self {
        Self { left_out: Some(why), ..Self::new(workload, &Vec::new()) }
    }

    /// What a contender did.
    pub fn of(&self, contender: Contender) -> Option<&Outcome> {
        self.results.iter().find(|outcome| outcome.contender == contender)
    }
}

/// The percentiles of the sample with the median p50.
fn middle(samples: &[Sample]) -> Option<Latency> {
    let mut latencies: Vec<Latency> = samples.iter().filter_map(|sample| sample.latency).collect();
    latencies.sort_by_key(|latency| latency.p50);
    latencies.get(latencies.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::super::workload::by_name;
    use super::*;

    fn sample(wall: f64) -> Result<Sample, String> {
        Ok(Sample { operations: 10, wall, cpu: Some(wall / 2.0), latency: None })
    }

    #[test]
    fn ratios_are_of_the_same_round_and_failures_are_kept() {
        let workload = by_name("statx-32").expect("it is in the table");
        let rounds = vec![
            (Contender::Kernel, vec![sample(100.0), sample(300.0), sample(90.0)]),
            (Contender::Ringer, vec![sample(50.0), sample(100.0), Err("lost".into())]),
        ];
        let row = Row::new(&workload, &rounds);
        let ringer = row.of(Contender::Ringer).expect("it took part");
        assert_eq!(ringer.ratio, Some(Spread { median: 2.5, least: 2.0, most: 3.0 }));
        assert_eq!((ringer.samples.len(), ringer.failed.as_deref()), (2, Some("lost")));
        assert_eq!((row.bar, row.met), (Some(2.5), Some(false)), "fast enough, but a round was lost");
        let sound: Rounds = rounds.iter().map(|(who, samples)| (*who, samples[..2].to_vec())).collect();
        assert_eq!(Row::new(&workload, &sound).met, Some(true));
        assert!(row.of(Contender::Embedded).is_none());
        let alone = Row::new(&workload, &sound[1..].to_vec());
        assert_eq!((alone.met, alone.results[0].ratio), (None, None));
    }
}
