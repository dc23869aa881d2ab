//! SVG plots: one for each workload, and one of all ratios.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::contender::Contender;
use super::report::{Report, Row};
use super::table::nanoseconds;

const FONT: &str = "sans-serif";
const WIDTH: u32 = 760;
/// Height of a bar with the space around it.
const STEP: i32 = 26;
/// Where bars begin and where they end at most.
const BARS: (i32, i32) = (190, 620);
const TOP: i32 = 46;

type Failure = Box<dyn std::error::Error>;

/// Writes the plots, replacing those of before.
pub fn write(report: &Report, directory: &Path) -> Result<(), String> {
    let cannot =
        |error: &dyn std::fmt::Display| format!("cannot write plots to {}: {error}", directory.display());
    std::fs::create_dir_all(directory).map_err(|error| cannot(&error))?;
    for row in report.workloads.iter().filter(|row| row.left_out.is_none()) {
        let path = directory.join(format!("{}.svg", row.name));
        workload(row, &path).map_err(|error| cannot(&error))?;
    }
    let path = directory.join("ratios.svg");
    ratios(report, &path).map_err(|error| cannot(&error))
}

fn colour(contender: Contender) -> RGBColor {
    match contender {
        Contender::Kernel => RGBColor(90, 90, 90),
        Contender::Ringer => RGBColor(200, 80, 30),
        Contender::RingerLibc | Contender::Embedded => RGBColor(230, 150, 90),
        _ => RGBColor(120, 160, 200),
    }
}

/// A horizontal bar with its label and its value.
struct Bar {
    label: String,
    value: String,
    /// Part of the longest bar.
    length: f64,
    /// Least and most, likewise.
    spread: Option<(f64, f64)>,
    colour: RGBColor,
    /// Whether the value stands in a column of its own, away from what is drawn beside the bar.
    in_column: bool,
}

fn canvas<'a>(
    path: &'a Path,
    lines: usize,
    title: &str,
) -> Result<DrawingArea<SVGBackend<'a>, Shift>, Failure> {
    let height = TOP + STEP * lines as i32 + 12;
    let area = SVGBackend::new(path, (WIDTH, height as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    area.draw(&Text::new(title.to_owned(), (12, 12), (FONT, 16).into_font()))?;
    Ok(area)
}

fn draw(area: &DrawingArea<SVGBackend<'_>, Shift>, line: usize, bar: &Bar) -> Result<(), Failure> {
    let top = TOP + STEP * line as i32;
    let middle = top + STEP / 2 - 3;
    let at = |length: f64| BARS.0 + (f64::from(BARS.1 - BARS.0) * length.clamp(0.0, 1.0)) as i32;
    let text = (FONT, 13).into_font();
    area.draw(&Text::new(bar.label.clone(), (12, top + 4), text.clone()))?;
    let corners = [(BARS.0, top), (at(bar.length).max(BARS.0 + 1), top + STEP - 6)];
    area.draw(&Rectangle::new(corners, bar.colour.filled()))?;
    let mut end = at(bar.length);
    if let Some((least, most)) = bar.spread {
        area.draw(&PathElement::new(vec![(at(least), middle), (at(most), middle)], BLACK))?;
        end = end.max(at(most));
    }
    let end = if bar.in_column { BARS.1 } else { end };
    area.draw(&Text::new(bar.value.clone(), (end + 8, top + 4), text))?;
    Ok(())
}

fn workload(row: &Row, path: &Path) -> Result<(), Failure> {
    let shown: Vec<_> =
        row.results.iter().filter_map(|outcome| outcome.time.map(|time| (outcome.contender, time))).collect();
    let longest = shown.iter().map(|(_, time)| time.median).fold(f64::MIN_POSITIVE, f64::max);
    let what = if row.measure == "median_latency" { "median latency" } else { "time per operation" };
    let area = canvas(path, shown.len(), &format!("{}: {what}, shorter is better", row.what))?;
    for (line, (contender, time)) in shown.into_iter().enumerate() {
        let bar = Bar {
            label: contender.name().to_owned(),
            value: nanoseconds(time.median),
            length: time.median / longest,
            spread: Some((time.least / longest, time.most / longest)),
            colour: colour(contender),
            in_column: false,
        };
        draw(&area, line, &bar)?;
    }
    Ok(area.present()?)
}

/// The ratios of the unmodified program on a logarithmic scale, from a tenth to a hundred.
fn ratios(report: &Report, path: &Path) -> Result<(), Failure> {
    let place = |ratio: f64| (ratio.log10() + 1.0) / 3.0;
    let rows: Vec<_> =
        report.workloads.iter().filter_map(|row| Some((row, row.of(Contender::Ringer)?.ratio?))).collect();
    let title = "kernel's time / ringer's time, unmodified program; logarithmic, the mark is the bar";
    let area = canvas(path, rows.len(), title)?;
    for (line, (row, ratio)) in rows.iter().enumerate() {
        let bar = Bar {
            label: row.name.clone(),
            value: format!("{:.2}", ratio.median),
            length: place(ratio.median),
            spread: Some((place(ratio.least), place(ratio.most))),
            colour: if row.met == Some(false) { RGBColor(230, 150, 90) } else { RGBColor(80, 150, 90) },
            in_column: true,
        };
        draw(&area, line, &bar)?;
        if let Some(bar) = row.bar {
            let x = BARS.0 + (f64::from(BARS.1 - BARS.0) * place(bar)) as i32;
            let top = TOP + STEP * line as i32;
            area.draw(&PathElement::new(vec![(x, top - 2), (x, top + STEP - 4)], BLACK.stroke_width(2)))?;
        }
    }
    let one = BARS.0 + (BARS.1 - BARS.0) / 3;
    let bottom = TOP + STEP * rows.len() as i32;
    area.draw(&PathElement::new(vec![(one, TOP - 8), (one, bottom)], RGBColor(160, 160, 160)))?;
    area.draw(&Text::new("1", (one - 3, TOP - 18), (FONT, 11).into_font()))?;
    Ok(area.present()?)
}
