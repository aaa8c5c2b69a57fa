//! `multicore svg`: a picture of a timeline. A row for each worker, a box for each piece.
//!
//! The file is read twice, since the scale must be known before the first box. What is kept is bounded by the picture, whatever
//! the file's length: boxes of a column or more, up to a number, one colour for each column of narrower ones, and names that are cut. The picture
//! is written as it is made.

use crate::trace::{self, Event};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The columns of the picture, each a pixel wide, beside the names of the rows.
const COLUMNS: usize = 1200;
const LEFT: usize = 90;
const ROW: usize = 22;
const TOP: usize = 30;

/// More rows than that nobody reads.
const MAX_ROWS: usize = 1024;

/// The boxes that a picture keeps: what comes beyond is drawn as columns. Viewers are slow with more.
const MAX_BOXES: usize = 100_000;

/// The lost workers whose causes a picture keeps; the lines of others have none.
const MAX_CAUSES: usize = 10_000;

/// The latest time that can be, in microseconds, and the earliest below 0: 31 years. A double tells a microsecond there from the next.
const MAX_TIME: f64 = 1e15;

/// The names with a colour of their own; all others share one.
const NAMED: usize = 12;
const COLORS: [&str; NAMED + 1] = [
    "#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#76b7b2", "#edc948", "#9c755f", "#ff9da7", "#499894", "#d37295",
    "#86bcb6", "#d4a6c8", "#bab0ac",
];

/// Draws the timeline in a file.
///
/// # Errors
/// A line for people: with the line and column where the file stops to be a timeline.
pub fn run(path: &Path, output: Option<&Path>) -> Result<(), String> {
    let shown = path.display();
    let mut file = File::open(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
    let mut span = Span::default();
    read(&mut file, path, |event| span.see(event))?;
    let mut picture = Picture::new(span)?;
    read(&mut file, path, |event| {
        picture.see(event);
        Ok(())
    })?;
    match output {
        Some(target) => {
            let failed = |error: io::Error| format!("{} cannot be written: {error}", target.display());
            if is_same_file(&file, target) {
                return Err(format!("{} is the timeline itself: give another file for the picture", target.display()));
            }
            let mut out = BufWriter::new(File::create(target).map_err(failed)?);
            picture.draw(&mut out).and_then(|()| out.flush()).map_err(failed)
        }
        None => {
            let mut out = BufWriter::new(io::stdout().lock());
            match picture.draw(&mut out).and_then(|()| out.flush()) {
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("cannot print it: {error}")),
                _ => Ok(()),
            }
        }
    }
}

fn is_same_file(file: &File, path: &Path) -> bool {
    let id = |told: std::fs::Metadata| (told.dev(), told.ino());
    file.metadata().map(id).ok().is_some_and(|own| std::fs::metadata(path).map(id).is_ok_and(|other| other == own))
}

fn read(file: &mut File, path: &Path, see: impl FnMut(Event) -> Result<(), String>) -> Result<(), String> {
    let shown = path.display();
    let begun = file.seek(SeekFrom::Start(0));
    begun.map_err(|error| format!("{shown} cannot be read twice, as it must be: {error}; give a file"))?;
    trace::read(file, see).map_err(|error| match error.is_io() {
        true => format!("{shown} cannot be read: {error}"),
        false => format!("{shown} is no timeline of multicore: {error}"),
    })
}

/// What must be known before the first box is drawn.
#[derive(Debug, Default)]
struct Span {
    /// From the first begin to the last end, in microseconds.
    times: Option<(f64, f64)>,
    /// The names of the tracks.
    tracks: BTreeMap<u64, String>,
    /// How long pieces of each name took: of the first ones, which are enough for a legend.
    names: BTreeMap<String, f64>,
}

/// The names of which the times are summed.
const SUMMED: usize = 1000;

impl Span {
    fn see(&mut self, event: Event) -> Result<(), String> {
        let Event { phase, name, track, ts, dur, args } = event;
        match phase.as_str() {
            "M" if name == "thread_name" => {
                self.add_track(track, args.name)?;
                return Ok(());
            }
            "X" | "i" => {}
            _ => return Ok(()),
        }
        let begin = ts.ok_or("an event without a time")?;
        let took = if phase == "X" { dur.ok_or("a piece without a duration")?.max(0.0) } else { 0.0 };
        if begin.abs() > MAX_TIME || took > MAX_TIME {
            return Err(format!("a time beyond {MAX_TIME:e} microseconds (ts {begin:e}, dur {took:e})"));
        }
        self.add_track(track, None)?;
        let (first, last) = self.times.unwrap_or((begin, begin));
        self.times = Some((first.min(begin), last.max(begin + took)));
        if phase == "X" {
            let has_room = self.names.len() < SUMMED;
            match self.names.get_mut(&name) {
                Some(sum) => *sum += took,
                None if has_room => _ = self.names.insert(name, took),
                None => {}
            }
        }
        Ok(())
    }

    fn add_track(&mut self, track: u64, name: Option<String>) -> Result<(), String> {
        if !self.tracks.contains_key(&track) && self.tracks.len() == MAX_ROWS {
            return Err(format!("more than {MAX_ROWS} tracks, which do not fit into a picture"));
        }
        let known = self.tracks.entry(track).or_insert_with(|| format!("track {track}"));
        if let Some(name) = name {
            *known = name;
        }
        Ok(())
    }
}

/// A piece that is as wide as a column or wider.
#[derive(Debug)]
struct Box {
    begin: f64,
    width: f64,
    color: usize,
    has_failed: bool,
    title: String,
}

#[derive(Debug)]
struct Lane {
    name: String,
    boxes: Vec<Box>,
    /// By column: the colour of narrower pieces and one more than it, and whether one of them failed.
    narrow: Vec<(u8, bool)>,
    /// Columns in which a worker was lost, and how.
    lost: Vec<(usize, Option<String>)>,
}

struct Picture {
    first: f64,
    /// Microseconds a column.
    scale: f64,
    lanes: BTreeMap<u64, Lane>,
    colors: BTreeMap<String, usize>,
    has_others: bool,
    boxes: usize,
    causes: usize,
}

impl Picture {
    fn new(span: Span) -> Result<Picture, String> {
        let Some((first, last)) = span.times else {
            return Err("the timeline has no pieces: nothing can be drawn".to_string());
        };
        let mut names: Vec<(String, f64)> = span.names.into_iter().collect();
        names.sort_by(|one, other| other.1.total_cmp(&one.1));
        names.truncate(NAMED);
        let colors = names.into_iter().enumerate().map(|(color, (name, _))| (name, color)).collect();
        let lane = |name| Lane { name, boxes: Vec::new(), narrow: vec![(0, false); COLUMNS], lost: Vec::new() };
        let lanes = span.tracks.into_iter().filter(|(track, _)| *track > 0).map(|(track, name)| (track, lane(name)));
        let scale = ((last - first) / COLUMNS as f64).max(1e-3);
        Ok(Picture { first, scale, lanes: lanes.collect(), colors, has_others: false, boxes: 0, causes: 0 })
    }

    fn see(&mut self, event: Event) {
        let Event { phase, name, track, ts, dur, args } = event;
        let (Some(ts), Some(lane)) = (ts, self.lanes.get_mut(&track)) else { return };
        let begin = ((ts - self.first) / self.scale).clamp(0.0, COLUMNS as f64);
        let column = (begin as usize).min(COLUMNS - 1);
        if phase == "i" && name == "worker lost" && lane.lost.len() < COLUMNS {
            let cause = args.cause.filter(|_| self.causes < MAX_CAUSES);
            self.causes += usize::from(cause.is_some());
            lane.lost.push((column, cause));
            return;
        }
        let (Some(dur), "X") = (dur, phase.as_str()) else { return };
        let width = (dur.max(0.0) / self.scale).min(COLUMNS as f64 - begin);
        let color = self.colors.get(&name).copied().unwrap_or(NAMED);
        self.has_others |= color == NAMED;
        let outcome = args.outcome.unwrap_or_default();
        let has_failed = !matches!(outcome.as_str(), "done" | "");
        if width < 1.0 || self.boxes == MAX_BOXES {
            let end = (column + (width as usize).max(1)).min(COLUMNS);
            for narrow in &mut lane.narrow[column..end] {
                *narrow = (color as u8 + 1, narrow.1 || has_failed);
            }
            return;
        }
        self.boxes += 1;
        let piece = args.piece.map(|piece| format!(", piece {piece}")).unwrap_or_default();
        let cause = args.cause.map(|cause| format!(": {cause}")).unwrap_or_default();
        let title = format!("{name}{piece}: {}, {outcome}{cause}", time(dur));
        lane.boxes.push(Box { begin, width, color, has_failed, title });
    }

    fn draw(self, out: &mut impl Write) -> io::Result<()> {
        let Picture { scale, lanes, colors, has_others, .. } = self;
        let bottom = TOP + lanes.len() * ROW;
        let mut legend: Vec<(&str, usize)> = colors.iter().map(|(name, color)| (name.as_str(), *color)).collect();
        legend.sort_by_key(|(_, color)| *color);
        legend.extend(has_others.then_some(("others", NAMED)));
        let (width, height) = (LEFT + COLUMNS + 20, bottom + 20 + legend.len() * 18);
        write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        )?;
        draw_axis(out, scale, bottom)?;
        for (number, lane) in lanes.values().enumerate() {
            lane.draw(out, TOP + number * ROW)?;
        }
        for (number, (name, color)) in legend.into_iter().enumerate() {
            let y = bottom + 14 + number * 18;
            writeln!(
                out,
                "<rect x=\"{LEFT}\" y=\"{y}\" width=\"12\" height=\"12\" fill=\"{}\"/><text x=\"{}\" y=\"{}\">{}</text>",
                COLORS[color],
                LEFT + 18,
                y + 11,
                escaped(name)
            )?;
        }
        out.write_all(b"</svg>\n")
    }
}

impl Lane {
    fn draw(&self, out: &mut impl Write, y: usize) -> io::Result<()> {
        let (middle, top, height) = (y + ROW - 7, y + 2, ROW - 4);
        writeln!(out, "<text x=\"4\" y=\"{middle}\">{}</text>", escaped(&self.name))?;
        let mut column = 0;
        while column < COLUMNS {
            let (color, has_failed) = self.narrow[column];
            let same = self.narrow[column..].iter().take_while(|it| **it == (color, has_failed)).count();
            if let Some(color) = usize::from(color).checked_sub(1) {
                let edge = if has_failed { " stroke=\"#d00\"" } else { "" };
                let x = LEFT + column;
                writeln!(
                    out,
                    "<rect x=\"{x}\" y=\"{top}\" width=\"{same}\" height=\"{height}\" fill=\"{}\"{edge}/>",
                    COLORS[color]
                )?;
            }
            column += same;
        }
        for Box { begin, width, color, has_failed, title } in &self.boxes {
            let edge = if *has_failed { "#d00\" stroke-width=\"2" } else { "white\" stroke-width=\"0.3" };
            let (x, color, title) = (LEFT as f64 + begin, COLORS[*color], escaped(title));
            writeln!(
                out,
                "<rect x=\"{x:.2}\" y=\"{top}\" width=\"{width:.2}\" height=\"{height}\" fill=\"{color}\" stroke=\"{edge}\">\
                 <title>{title}</title></rect>"
            )?;
        }
        for (column, cause) in &self.lost {
            let x = LEFT + column;
            let cause = cause.as_ref().map(|cause| format!(": {}", escaped(cause))).unwrap_or_default();
            writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"2\" height=\"{ROW}\" fill=\"#d00\"><title>worker lost{cause}</title></rect>"
            )?;
        }
        Ok(())
    }
}

/// Lines at round times: about ten of them.
fn draw_axis(out: &mut impl Write, scale: f64, bottom: usize) -> io::Result<()> {
    let all = scale * COLUMNS as f64;
    let step = round_step(all / 10.0);
    for number in 0..=(all / step) as usize {
        let at = number as f64 * step;
        let x = LEFT as f64 + at / scale;
        writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#ddd\"/><text x=\"{x:.1}\" y=\"16\" \
             text-anchor=\"middle\" fill=\"#555\">{}</text>",
            TOP - 8,
            time(at)
        )?;
    }
    Ok(())
}

/// The least of 1, 2 and 5 times a power of ten that is as much.
fn round_step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * power).find(|step| *step >= least).unwrap_or(least)
}

/// Microseconds, in the unit that fits.
fn time(us: f64) -> String {
    let (number, unit) = match us {
        0.0 => return "0".to_string(),
        _ if us < 1.0 => (us * 1e3, "ns"),
        _ if us < 1e3 => (us, "us"),
        _ if us < 1e6 => (us / 1e3, "ms"),
        _ => (us / 1e6, "s"),
    };
    let digits = format!("{number:.3}");
    format!("{} {unit}", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// A text of XML, in which control characters may not stand.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            char if char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}') => escaped.push('?'),
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_steps_are_round() {
        for (us, expected) in [(0.0, "0"), (0.25, "250 ns"), (12.5, "12.5 us"), (1500.0, "1.5 ms"), (2e6, "2 s")] {
            assert_eq!(time(us), expected);
        }
        for (least, expected) in [(0.9, 1.0), (1.0, 1.0), (1.1, 2.0), (3.0, 5.0), (7.0, 10.0), (120.0, 200.0)] {
            assert_eq!(round_step(least), expected);
        }
    }

    fn drawn(picture: Picture) -> String {
        let mut out = Vec::new();
        picture.draw(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// A million pieces are a bounded picture.
    #[test]
    fn what_is_narrower_than_a_column_is_drawn_as_one() {
        let event = |number: u64| Event {
            phase: "X".to_string(),
            name: format!("name {}", number % 40),
            track: 1,
            ts: Some(number as f64),
            dur: Some(0.9),
            args: trace::Args { outcome: Some("done".to_string()), ..trace::Args::default() },
        };
        let (mut span, pieces) = (Span::default(), 200_000);
        (0..pieces).for_each(|number| span.see(event(number)).unwrap());
        let mut picture = Picture::new(span).unwrap();
        (0..pieces).for_each(|number| picture.see(event(number)));
        assert!(picture.lanes[&1].boxes.is_empty());
        let text = drawn(picture);
        assert!(text.len() < 300_000, "{} bytes", text.len());
        assert!(text.contains(">others<") && !text.contains("NaN"));
    }

    #[test]
    fn names_break_no_xml() {
        assert_eq!(escaped("<fn(&str) as F>::\"x\"\u{1}"), "&lt;fn(&amp;str) as F&gt;::&quot;x&quot;?");
    }
}
