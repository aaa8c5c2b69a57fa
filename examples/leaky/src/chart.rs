//! The chart: a panel for each run, a line for each worker process.
//!
//! All panels have the same axes, so their lines can be compared.

use crate::problem::{Problem, Result};
use crate::run::Outcome;
use crate::samples::{self, Life};
use crate::text::{grouped, mebibytes};
use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;
use std::time::Duration;

const WIDTH: u32 = 1200;
const HEAD_HEIGHT: u32 = 80;
const PANEL_HEIGHT: u32 = 320;
/// From the left edge to the vertical axis, for its numbers and its name.
const LEFT: u32 = 78;
/// From a panel's upper edge to its plot, for its title and caption.
const ABOVE: u32 = 62;
const BELOW: u32 = 44;
/// Between two panels.
const GAP: u32 = 16;
const MARGIN: u32 = 16;
/// The most numbers at an axis.
const LABELS: usize = 10;

const FONT: &str = "sans-serif";
const INK: RGBColor = RGBColor(34, 34, 34);
const PALE: RGBColor = RGBColor(102, 102, 102);
const GRID: RGBColor = RGBColor(225, 225, 225);
/// Okabe and Ito's colours, which colour-blind people tell apart, without yellow, which is too pale for a line.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

type Area<'text> = DrawingArea<SVGBackend<'text>, Shift>;
type Plot<'area, 'text> = ChartContext<'area, SVGBackend<'text>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

const TITLE: &str = "Memory of workers that run a C function with a leak";
const CAPTION: &str = "Each line is a worker process. A dot marks its end; its successor was started a little earlier.";

/// The chart as SVG.
pub fn draw(outcomes: &[Outcome]) -> Result<String> {
    let mut svg = String::new();
    let height = HEAD_HEIGHT + PANEL_HEIGHT * outcomes.len() as u32;
    let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
    draw_all(&root, outcomes).map_err(|error| Problem::new(format_args!("cannot draw the chart: {error}")))?;
    drop(root);
    Ok(svg)
}

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn draw_all(root: &Area, outcomes: &[Outcome]) -> Drawn {
    root.fill(&WHITE)?;
    let (head, below) = root.split_vertically(HEAD_HEIGHT);
    write(&head, TITLE, (MARGIN as i32, 16), &font(26, FontStyle::Bold, &INK))?;
    write(&head, CAPTION, (MARGIN as i32, 52), &font(16, FontStyle::Normal, &PALE))?;
    let (times, sizes) = axes(outcomes);
    let areas = below.split_evenly((outcomes.len(), 1));
    for (area, outcome) in areas.iter().zip(outcomes) {
        draw_panel(area, outcome, times.clone(), sizes.clone())?;
    }
    root.present()?;
    Ok(())
}

/// The ranges of the axes, in seconds and MiB.
fn axes(outcomes: &[Outcome]) -> (Range<f64>, Range<f64>) {
    let time = outcomes.iter().map(|outcome| outcome.time.as_secs_f64()).fold(0.001, f64::max);
    // What a piece takes that is killed for it is far above all else, and would press that flat.
    let limits = outcomes.iter().filter_map(|outcome| outcome.memory_limits);
    let read = |outcome: &Outcome| match outcome.hog {
        Some(_) => 0.0,
        None => largest(outcome),
    };
    let size = limits.map(|(_, max)| mebibytes(max)).chain(outcomes.iter().map(read)).fold(1.0, f64::max);
    (0.0..time * 1.01, 0.0..size * 1.12)
}

/// How many digits after the point tell the numbers at an axis apart.
fn decimals(end: f64) -> usize {
    (LABELS as f64 / end).log10().ceil().clamp(0.0, 9.0) as usize
}

/// The most MiB that a worker was seen to have.
fn largest(outcome: &Outcome) -> f64 {
    let readings = outcome.samples.iter().flat_map(|sample| &sample.readings);
    mebibytes(readings.map(|reading| reading.bytes).max().unwrap_or(0))
}

fn draw_panel(area: &Area, outcome: &Outcome, times: Range<f64>, sizes: Range<f64>) -> Drawn {
    let lives = samples::lives(&outcome.samples);
    write(area, &outcome.plan.title(), (MARGIN as i32, 8), &font(19, FontStyle::Bold, &INK))?;
    write(area, &caption(outcome, lives.len()), (MARGIN as i32, 34), &font(15, FontStyle::Normal, &PALE))?;
    draw_legend(area, &lives)?;
    let seconds_end = times.end;
    let mut plot = ChartBuilder::on(area)
        .margin_left(MARGIN)
        .margin_right(MARGIN)
        .margin_top(ABOVE)
        .margin_bottom(GAP)
        .x_label_area_size(BELOW)
        .y_label_area_size(LEFT - MARGIN)
        .build_cartesian_2d(times, sizes.clone())?;
    plot.configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(GRID)
        .axis_style(PALE)
        .label_style(font(14, FontStyle::Normal, &INK))
        .axis_desc_style(font(14, FontStyle::Normal, &INK))
        .x_labels(LABELS)
        .y_labels(LABELS)
        .x_label_formatter(&|seconds| format!("{seconds:.*}", decimals(seconds_end)))
        .y_label_formatter(&|size| format!("{size:.*}", decimals(sizes.end)))
        .x_desc("time, s")
        .y_desc("memory of a worker, MiB")
        .draw()?;
    for life in &lives {
        draw_life(&mut plot, life, sizes.end, outcome.time)?;
    }
    draw_limits(&mut plot, outcome)?;
    draw_kill(&mut plot, outcome, sizes.end)
}

/// The line below a panel's title.
fn caption(outcome: &Outcome, processes: usize) -> String {
    let sum = outcome.samples.iter().map(|sample| sample.sum).max().unwrap_or(0);
    format!(
        "{} pieces in {:.2} s; {} processes, the largest with {:.1} MiB; all together at most {:.1} MiB",
        grouped(outcome.stats.pieces_done),
        outcome.time.as_secs_f64(),
        processes,
        largest(outcome),
        mebibytes(sum),
    )
}

/// The colours of the workers, from the right edge to the left.
fn draw_legend(area: &Area, lives: &[Life]) -> Drawn {
    let mut workers: Vec<usize> = lives.iter().map(|life| life.worker).collect();
    workers.sort_unstable();
    workers.dedup();
    // With more workers than colours a legend would tell nothing.
    if workers.len() > COLOURS.len() {
        return Ok(());
    }
    let mut right = WIDTH as i32 - MARGIN as i32;
    for worker in workers.into_iter().rev() {
        let style = font(15, FontStyle::Normal, &INK).pos(Pos::new(HPos::Right, VPos::Top));
        write(area, &format!("worker {worker}"), (right, 34), &style)?;
        let swatch = [(right - 88, 41), (right - 66, 41)];
        area.draw(&PathElement::new(swatch.to_vec(), colour(worker).stroke_width(3)))?;
        right -= 104;
    }
    Ok(())
}

/// A worker process: a line, with a dot where it was replaced.
fn draw_life(plot: &mut Plot, life: &Life, top: f64, end: Duration) -> Drawn {
    let point = |&(at, bytes): &(Duration, u64)| (at.as_secs_f64(), mebibytes(bytes).min(top));
    let points: Vec<(f64, f64)> = life.points.iter().map(point).collect();
    plot.draw_series(LineSeries::new(points.iter().copied(), colour(life.worker).stroke_width(2)))?;
    let last = life.points.last().zip(points.last());
    if let Some((_, &at)) = last.filter(|((at, _), _)| *at < end) {
        plot.draw_series([Circle::new(at, 4, colour(life.worker).filled())])?;
    }
    Ok(())
}

fn draw_limits(plot: &mut Plot, outcome: &Outcome) -> Drawn {
    let Some((high, max)) = outcome.memory_limits else { return Ok(()) };
    let times = plot.x_range();
    for (what, limit) in [("replaced", high), ("killed", max)] {
        let limit = mebibytes(limit);
        let line = [(times.start, limit), (times.end, limit)];
        plot.draw_series(DashedLineSeries::new(line, 7, 5, INK.stroke_width(1)))?;
        // At the left, since there all lines are low.
        let style = font(14, FontStyle::Normal, &INK).pos(Pos::new(HPos::Left, VPos::Bottom));
        let label = Text::new(format!("{what} above {limit:.0} MiB"), (8, -2), style);
        plot.draw_series([EmptyElement::at((times.start, limit)) + label])?;
    }
    Ok(())
}

fn draw_kill(plot: &mut Plot, outcome: &Outcome, top: f64) -> Drawn {
    let Some((at, bytes)) = outcome.hog.as_ref().and_then(|hog| hog.kill) else { return Ok(()) };
    let size = mebibytes(bytes);
    let at = (at.as_secs_f64(), size.min(top));
    plot.draw_series([Cross::new(at, 7, INK.stroke_width(3))])?;
    let style = font(14, FontStyle::Bold, &INK).pos(Pos::new(HPos::Left, VPos::Top));
    plot.draw_series([EmptyElement::at(at) + Text::new(format!("killed with {size:.0} MiB"), (12, -4), style)])?;
    Ok(())
}

fn colour(worker: usize) -> RGBColor {
    COLOURS[worker % COLOURS.len()]
}

fn font(size: u32, style: FontStyle, colour: &'static RGBColor) -> TextStyle<'static> {
    TextStyle::from((FONT, size).into_font().style(style)).color(colour)
}

fn write(area: &Area, text: &str, at: (i32, i32), style: &TextStyle) -> Drawn {
    area.draw(&Text::new(text.to_string(), at, style.clone()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Hog, Plan};
    use crate::samples::{Reading, Sample};
    use multicore::Stats;

    const MIB: u64 = 1 << 20;

    fn outcome(plan: Plan, pids: &[u32]) -> Outcome {
        let sample = |(number, pid): (usize, &u32)| {
            let bytes = (2 + number as u64) * MIB;
            let readings = vec![Reading { worker: number % 2, pid: *pid, bytes }];
            Sample { at: Duration::from_millis(20 * number as u64), readings, sum: bytes }
        };
        let samples: Vec<Sample> = pids.iter().enumerate().map(sample).collect();
        let time = samples.last().map_or(Duration::ZERO, |sample| sample.at);
        Outcome { plan, time, sum: 0, stats: Stats::default(), samples, memory_limits: None, hog: None }
    }

    #[test]
    fn a_chart_has_a_line_for_each_process_and_a_panel_for_each_run() {
        let mut limited = outcome(Plan::BothTiers, &[1, 2, 3, 4]);
        limited.memory_limits = Some((4 * MIB, 8 * MIB));
        let kill = Some((Duration::from_millis(30), 300 * MIB));
        limited.hog = Some(Hog { sentence: String::new(), kill });
        let svg = draw(&[outcome(Plan::NoLimits, &[7, 8, 7, 8, 7, 8]), limited]).unwrap();
        assert!(svg.starts_with("<svg "), "{svg}");
        let words = [
            "Without limits",
            "Both tiers",
            "2 processes, the largest with 7.0 MiB",
            "4 processes",
            "replaced above 4 MiB",
            "killed above 8 MiB",
            "killed with 300 MiB",
            "memory of a worker, MiB",
            "time, s",
            "worker 1",
        ];
        for word in words {
            assert!(svg.contains(word), "{word}: {svg}");
        }
        // The width of lines and swatches.
        let lines = |width: u32| svg.matches(&format!("stroke-width=\"{width}\" points")).count();
        assert_eq!((lines(2), lines(3)), (2 + 4, 2 + 2), "{svg}");
    }

    #[test]
    fn a_run_without_readings_has_a_chart() {
        assert!(draw(&[outcome(Plan::Recycling, &[])]).unwrap().starts_with("<svg "));
    }

    #[test]
    fn numbers_at_an_axis_differ() {
        for (end, expected) in [(15.0, 0), (10.0, 0), (9.0, 1), (2.0, 1), (0.99, 2), (0.0011, 4)] {
            assert_eq!(decimals(end), expected, "{end}");
        }
    }
}
