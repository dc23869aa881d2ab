//! The generated part of `docs/performance.md`.

use std::fmt::Write;
use std::path::Path;

use super::report::{Outcome, Report, Row};
use super::{plots, table};

const BEGIN: &str = "<!-- begin: written by `ringer bench --write-docs` -->\n";
const END: &str = "<!-- end -->\n";

/// Replaces the generated part of the page, and the plots.
pub fn write(report: &Report, directory: &Path) -> Result<(), String> {
    let path = directory.join("performance.md");
    let cannot = |error: &dyn std::fmt::Display| format!("cannot write {}: {error}", path.display());
    let page = std::fs::read_to_string(&path).map_err(|error| cannot(&error))?;
    let page = replace(&page, &generated(report)).ok_or_else(|| cannot(&"its marks are missing"))?;
    std::fs::write(&path, page).map_err(|error| cannot(&error))?;
    plots::write(report, &directory.join("plots"))
}

fn replace(page: &str, part: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some([before, BEGIN, part, END, after].concat())
}

fn generated(report: &Report) -> String {
    let mut text = String::new();
    let machine = &report.machine;
    let mut line = |line: String| {
        text += &line;
        text.push('\n');
    };
    line(format!(
        "Linux {}, {}, {} CPUs, files on {}; ringer {}; {} rounds of {} ms.",
        machine.kernel,
        machine.processor,
        machine.cpus,
        machine.file_system,
        machine.version,
        report.rounds,
        report.milliseconds
    ));
    if let Some(others) = report.others {
        line(format!("Other processes used {others:.0} % of the CPUs meanwhile."));
    }
    if let Some(why) = &report.kernel_missing {
        line(format!("The kernel refuses io_uring here ({why}): there are no ratios."));
    }
    line("\n![Ratios](plots/ratios.svg)\n".into());
    line("| workload | kernel | ringer | embedded | kernel / ringer (spread) | bar | |".into());
    line("|---|---|---|---|---|---|---|".into());
    for row in report.workloads.iter().filter(|row| row.left_out.is_none()) {
        let [kernel, ringer, embedded] = table::shown(row);
        let bar = row.bar.map_or_else(String::new, |bar| bar.to_string());
        let verdict = match row.met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "",
        };
        line(format!(
            "| {}: {} | {kernel} | {ringer} | {embedded} | {} | {bar} | {verdict} |",
            row.name,
            row.what,
            table::ringer_ratio(row)
        ));
    }
    for row in &report.workloads {
        text += &section(row);
    }
    text
}

fn section(row: &Row) -> String {
    let mut text = format!("\n### {}\n\n", row.name);
    if let Some(why) = &row.left_out {
        let _ = writeln!(text, "Left out: {why}.");
        return text;
    }
    let _ = writeln!(text, "![{}](plots/{}.svg)\n", row.what, row.name);
    let base = row.base.name();
    let _ = writeln!(text, "| | time | least to most | CPU | {base}'s time / this | p50 | p99 | p99.9 |");
    text += "|---|---|---|---|---|---|---|---|\n";
    for outcome in &row.results {
        text += &result(outcome);
    }
    text
}

fn result(outcome: &Outcome) -> String {
    let mut name = outcome.contender.name().to_owned();
    let Some(time) = outcome.time else {
        return format!("| {name} | failed: {} |\n", outcome.failed.as_deref().unwrap_or("no samples"));
    };
    if let Some(why) = &outcome.failed {
        let _ = write!(name, " (failed in a later round: {why})");
    }
    let none = || "–".to_owned();
    let cpu = outcome.cpu.map_or_else(none, |cpu| table::nanoseconds(cpu.median));
    let ratio = outcome.ratio.map_or_else(none, |ratio| table::ratio_with_spread(&ratio));
    let [p50, p99, p999] = outcome.latency.map_or_else(
        || [none(), none(), none()],
        |latency| [latency.p50, latency.p99, latency.p999].map(|time| table::nanoseconds(time as f64)),
    );
    let [median, least, most] = [time.median, time.least, time.most].map(table::nanoseconds);
    format!("| {name} | {median} | {least} to {most} | {cpu} | {ratio} | {p50} | {p99} | {p999} |\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_part_between_the_marks_is_replaced() {
        let page = format!("before\n{BEGIN}old\n{END}after\n");
        assert_eq!(replace(&page, "new\n"), Some(format!("before\n{BEGIN}new\n{END}after\n")));
        assert_eq!(replace("no marks", "new\n"), None);
    }
}
