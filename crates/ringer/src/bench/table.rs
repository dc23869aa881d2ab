//! The tables on the terminal.

use super::report::{Outcome, Report, Row};
use super::statistics::Spread;

/// A workload with all who took part.
pub fn row(row: &Row) -> String {
    let mut text = format!("{}: {}\n", row.name, row.what);
    if let Some(why) = &row.left_out {
        return text + &format!("  left out: {why}\n");
    }
    text += &format!(
        "  {:<12} {:>9} {:>8} {:>9}   {}'s time / this\n",
        "",
        "time",
        "spread",
        "CPU",
        row.base.name()
    );
    for outcome in &row.results {
        text += &line(outcome, row);
    }
    text
}

fn line(outcome: &Outcome, row: &Row) -> String {
    let name = outcome.contender.name();
    let Some(time) = outcome.time else {
        return format!("  {name:<12} FAILED: {}\n", outcome.failed.as_deref().unwrap_or("no samples"));
    };
    let cpu = outcome.cpu.map_or_else(|| "-".into(), |cpu| nanoseconds(cpu.median));
    let mut text = format!("  {name:<12} {:>9} {:>8} {cpu:>9}", nanoseconds(time.median), percent(&time));
    if let Some(ratio) = &outcome.ratio {
        text += &format!("   {}", ratio_with_spread(ratio));
        if let (super::contender::Contender::Ringer, Some(bar)) = (outcome.contender, row.bar) {
            text += &format!("  {}", verdict(bar, row.met));
        }
    }
    if let Some(latency) = outcome.latency {
        let [p50, p99, max] = [latency.p50, latency.p99, latency.max].map(|time| nanoseconds(time as f64));
        text += &format!("  p50 {p50}, p99 {p99}, max {max}");
    }
    if let Some(why) = &outcome.failed {
        text += &format!("  FAILED in a later round: {why}");
    }
    text + "\n"
}

/// The bars, and whether they are met.
pub fn bars(report: &Report) -> String {
    let mut text = format!(
        "{:<20} {:>9} {:>9} {:>9}  {:<20} {}\n",
        "bars", "kernel", "ringer", "embedded", "ratio (spread)", "bar"
    );
    for row in &report.workloads {
        if let Some(why) = &row.left_out {
            text += &format!("{:<20} left out: {why}\n", row.name);
            continue;
        }
        let [kernel, ringer, embedded] = shown(row);
        let ratio = ringer_ratio(row);
        let verdict = row.bar.map_or_else(String::new, |bar| verdict(bar, row.met));
        text += &format!("{:<20} {kernel:>9} {ringer:>9} {embedded:>9}  {ratio:<20} {verdict}\n", row.name);
    }
    let bars = report.workloads.iter().filter(|row| row.met.is_some()).count();
    let met = report.workloads.iter().filter(|row| row.met == Some(true)).count();
    if let Some(others) = report.others {
        text += &format!("other processes used {others:.0} % of the CPUs meanwhile\n");
    }
    text += &format!("{met} of {bars} bars met\n");
    text
}

/// The times of the kernel, of the unmodified program and of the embedded engine.
pub fn shown(row: &Row) -> [String; 3] {
    use super::contender::Contender::{Embedded, Kernel, Ringer};
    [Kernel, Ringer, Embedded].map(|contender| {
        let time = row.of(contender).and_then(|outcome| outcome.time);
        time.map_or_else(|| "-".into(), |time| nanoseconds(time.median))
    })
}

/// The ratio of the unmodified program.
pub fn ringer_ratio(row: &Row) -> String {
    let ratio = row.of(super::contender::Contender::Ringer).and_then(|outcome| outcome.ratio);
    ratio.map_or_else(|| "-".into(), |ratio| ratio_with_spread(&ratio))
}

/// `1.05 (0.98-1.10)`.
pub fn ratio_with_spread(ratio: &Spread) -> String {
    format!("{} ({}-{})", number(ratio.median), number(ratio.least), number(ratio.most))
}

fn verdict(bar: f64, met: Option<bool>) -> String {
    let word = match met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "not compared",
    };
    format!("{bar} {word}")
}

/// A number with about three digits.
fn number(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Half of the way from the least to the most, in percent of the median.
fn percent(spread: &Spread) -> String {
    format!("±{:.0}%", (spread.most - spread.least) / 2.0 / spread.median * 100.0)
}

/// A time with about three digits and its unit.
pub fn nanoseconds(value: f64) -> String {
    let (value, unit) = match value {
        ..1e3 => (value, "ns"),
        ..1e6 => (value / 1e3, "µs"),
        ..1e9 => (value / 1e6, "ms"),
        _ => (value / 1e9, "s"),
    };
    match value {
        ..10.0 => format!("{value:.2} {unit}"),
        ..100.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        assert_eq!(
            [4.321, 43.21, 432.1, 4321.0, 43.21e6, 4.3e9].map(nanoseconds),
            ["4.32 ns", "43.2 ns", "432 ns", "4.32 µs", "43.2 ms", "4.30 s"]
        );
    }

    #[test]
    fn spreads_are_told() {
        let spread = Spread { median: 2.0, least: 1.5, most: 12.0 };
        assert_eq!(ratio_with_spread(&spread), "2.00 (1.50-12.0)");
        assert_eq!(verdict(0.85, Some(false)), "0.85 MISSED");
    }
}
