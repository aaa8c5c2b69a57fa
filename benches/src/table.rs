//! Measures subjects in turn and prints the table of the results.

use crate::{Job, Subject, Target, Unit, Who};
use std::fmt::Write;

/// The figures of one subject's turns, for one repetition, in ascending order.
#[derive(Debug)]
pub struct Figures {
    who: Who,
    how: &'static str,
    sorted: Vec<f64>,
}

impl Figures {
    fn median(&self) -> f64 {
        self.sorted[self.sorted.len() / 2]
    }
}

/// A goal and its result: the ratio or figure, the limit, and the subject for comparison.
type Reached = (f64, f64, Option<(Who, &'static str)>);

/// The results of a job.
#[derive(Debug)]
pub struct Row {
    name: &'static str,
    unit: Unit,
    figures: Vec<Figures>,
    targets: Vec<Reached>,
}

/// Does a job with its subjects in turn, so that other load on the machine affects all of them equally. Only one in `share`
/// of its turns is done.
#[must_use]
pub fn measure(mut job: Job, share: usize) -> Row {
    let rounds = (job.rounds / share).max(1);
    let once = |subject: &mut Subject, iterations: u64| (subject.run)(iterations) / iterations as f64;
    for subject in &mut job.subjects {
        once(subject, job.iterations.div_ceil(10));
    }
    let mut turns = vec![Vec::new(); job.subjects.len()];
    for round in 0..rounds {
        for index in 0..job.subjects.len() {
            let index = (index + round) % job.subjects.len();
            turns[index].push(once(&mut job.subjects[index], job.iterations));
        }
    }
    let ours = &turns[0];
    let targets = job.targets.iter().map(|&target| match target {
        Target::AtMost(limit) => (median(ours), limit, None),
        Target::Times(limit, who, how) => {
            let is_meant = |subject: &Subject| subject.who == who && subject.how == how;
            let other = job.subjects.iter().position(is_meant).expect("a target names a subject of its job");
            // The ratio of each round, so that slow phases of the machine cancel out.
            let ratios: Vec<f64> = ours.iter().zip(&turns[other]).map(|(ours, theirs)| ours / theirs).collect();
            (median(&ratios), limit, Some((who, how)))
        }
    });
    let targets: Vec<Reached> = targets.collect();
    let figures = job.subjects.iter().zip(turns).map(|(subject, turns)| Figures {
        who: subject.who,
        how: subject.how,
        sorted: sorted(turns),
    });
    Row { name: job.name, unit: job.unit, figures: figures.collect(), targets }
}

fn sorted(mut figures: Vec<f64>) -> Vec<f64> {
    figures.sort_by(f64::total_cmp);
    figures
}

fn median(figures: &[f64]) -> f64 {
    sorted(figures.to_vec())[figures.len() / 2]
}

/// A figure with its unit and three digits.
fn tell(unit: Unit, figure: f64) -> String {
    match unit {
        Unit::Count => format!("{figure:.0}"),
        Unit::Pieces(pieces) => {
            let rate = pieces as f64 / figure;
            if rate >= 1e6 { format!("{} M/s", digits(rate / 1e6)) } else { format!("{} k/s", digits(rate / 1e3)) }
        }
        Unit::Seconds => match figure {
            ..1e-6 => format!("{} ns", digits(figure * 1e9)),
            ..1e-3 => format!("{} us", digits(figure * 1e6)),
            ..1.0 => format!("{} ms", digits(figure * 1e3)),
            _ => format!("{} s", digits(figure)),
        },
    }
}

fn digits(figure: f64) -> String {
    match figure {
        ..10.0 => format!("{figure:.2}"),
        ..100.0 => format!("{figure:.1}"),
        _ => format!("{figure:.0}"),
    }
}

/// Prints the table as Markdown, with a row for each job and a column for each library. The figures of `multicore` have their
/// spread. The last columns are the goals.
pub fn print(rows: &[Row]) {
    let columns: Vec<Who> =
        Who::ALL.into_iter().filter(|who| rows.iter().any(|row| row.figures.iter().any(|it| it.who == *who))).collect();
    let mut table = vec![vec!["what".to_string()]];
    table[0].extend(columns.iter().map(|who| who.name().to_string()));
    table[0].extend(["ratio".to_string(), "target".to_string()]);
    for row in rows {
        let mut cells = vec![row.name.to_string()];
        cells.extend(columns.iter().map(|&who| {
            let mut cell = String::new();
            for figures in row.figures.iter().filter(|figures| figures.who == who) {
                let sep = if cell.is_empty() { "" } else { ", " };
                let how = if figures.how.is_empty() { String::new() } else { format!("{}: ", figures.how) };
                let _ = write!(cell, "{sep}{how}{}", tell(row.unit, figures.median()));
                if who == Who::Multicore && figures.sorted.len() > 1 {
                    let last = figures.sorted.len() - 1;
                    let (low, high) = (figures.sorted[0], figures.sorted[last]);
                    let _ = write!(cell, " ({} to {})", tell(row.unit, low), tell(row.unit, high));
                }
            }
            if cell.is_empty() { "-".to_string() } else { cell }
        }));
        let (mut ratios, mut limits) = (Vec::new(), Vec::new());
        for &(reached, limit, against) in &row.targets {
            let missed = if reached <= limit { "" } else { "**" };
            match against {
                None => {
                    ratios.push(format!("{missed}{}{missed}", tell(row.unit, reached)));
                    limits.push(tell(row.unit, limit));
                }
                // A higher rate is better, so the ratio is inverted.
                Some((who, how)) => {
                    let rate = matches!(row.unit, Unit::Pieces(_)) || who == Who::Serial;
                    let (reached, limit, sign) =
                        if rate { (1.0 / reached, 1.0 / limit, ">=") } else { (reached, limit, "<=") };
                    let whom = format!("{} {how}", who.name());
                    ratios.push(format!("{missed}{}{missed}", digits(reached)));
                    limits.push(format!("{sign} {} x {}", digits(limit), whom.trim()));
                }
            }
        }
        cells.push(if ratios.is_empty() { "-".to_string() } else { ratios.join("; ") });
        cells.push(if limits.is_empty() { "-".to_string() } else { limits.join("; ") });
        table.push(cells);
    }
    let widths: Vec<usize> =
        (0..table[0].len()).map(|column| table.iter().map(|row| row[column].len()).max().unwrap_or(0)).collect();
    for (number, row) in table.iter().enumerate() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:<width$} |"));
        println!("|{}", cells.collect::<String>());
        if number == 0 {
            let lines = widths.iter().map(|width| format!("{}|", "-".repeat(width + 2)));
            println!("|{}", lines.collect::<String>());
        }
    }
}
