//! A feed: its files, open, and cut into pieces.
//!
//! Each file is opened once, before the pool starts, whether it lies in a folder or was unpacked from a zip to a file without a
//! name. The workers get these descriptors, so all processes read the same bytes, also if somebody replaces the feed meanwhile.

use crate::problem::{Problem, Result};
use crate::records::{Record, lines_in};
use crate::scan::{Layout, Span, changed, read_span, scan};
use crate::schema::{AREAS, Column, Presence, STOP_TIMES, TABLES, Table};
use crate::unpack::{Found, unpack};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub struct Feed {
    pub path: PathBuf,
    /// In the order of `TABLES`.
    pub files: Vec<FeedFile>,
    /// What is left out, a line each.
    pub notes: Vec<String>,
}

pub struct FeedFile {
    /// The number of its table in `TABLES`.
    pub number: usize,
    pub table: &'static Table,
    pub file: File,
    /// The time of its last change, before it was read.
    changed: Option<SystemTime>,
    pub layout: Layout,
    /// For each column of the file, that of the table.
    pub columns: Vec<Option<usize>>,
}

impl Feed {
    /// Opens a feed and reads all of it once.
    pub fn open(path: &Path) -> Result<Feed> {
        let kind = fs::metadata(path).map_err(|error| Problem::with_path("read the feed", path, error))?;
        // To open a pipe could wait for ever.
        if !kind.is_dir() && !kind.is_file() {
            return Err(Problem::with_path("read the feed", path, "it is neither a folder nor a file"));
        }
        let Found { known: found, others } = if kind.is_dir() { open_folder(path)? } else { unpack(path)? };
        check_presence(path, &found)?;
        let mut feed = Feed { path: path.to_owned(), files: Vec::new(), notes: Vec::new() };
        for (number, table) in TABLES.iter().enumerate() {
            let Some((_, file)) = found.iter().find(|(name, _)| name == table.file) else {
                continue;
            };
            let file = file.try_clone().map_err(|error| Problem::with_path("read", Path::new(table.file), error))?;
            let changed = modified(&file);
            let layout = scan(&file, table.file)?;
            if let Some(why) = left_out(table, &layout) {
                feed.notes.push(format!("{} {why}, and is left out", table.file));
                continue;
            }
            check_columns(table, &layout)?;
            let columns: Vec<_> = layout.header.iter().map(|name| table.column(name)).collect();
            feed.note_columns(table, &layout, &columns);
            feed.files.push(FeedFile { number, table, file, changed, layout, columns });
        }
        check_calendars(&feed)?;
        for name in others.iter().filter(|name| name.ends_with(".txt")) {
            feed.notes.push(format!("{name} is no table of this program and is left out"));
        }
        Ok(feed)
    }

    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.layout.rows).sum()
    }

    /// An error if a file was changed since it was opened: then the workers may have read something else than was counted.
    pub fn check_unchanged(&self) -> Result<()> {
        let is_changed = |file: &&FeedFile| file.changed != modified(&file.file);
        match self.files.iter().find(is_changed) {
            None => Ok(()),
            Some(file) => Err(changed(file.table.file)),
        }
    }

    fn note_columns(&mut self, table: &Table, layout: &Layout, columns: &[Option<usize>]) {
        let unknown = layout.header.iter().zip(columns).filter(|(name, column)| column.is_none() && !name.is_empty());
        let unknown: Vec<_> = unknown.map(|(name, _)| name.as_str()).collect();
        if !unknown.is_empty() {
            self.notes.push(format!("{}: left out, as GTFS has no such columns: {}", table.file, unknown.join(", ")));
        }
    }
}

fn modified(file: &File) -> Option<SystemTime> {
    file.metadata().and_then(|metadata| metadata.modified()).ok()
}

impl FeedFile {
    /// The lines, from 1, at which records of a span begin. Their numbers come in rising order.
    pub fn lines(&self, span: &Span, rows: impl Iterator<Item = u64>) -> Result<Vec<u64>> {
        let (mut rows, mut lines) = (rows.peekable(), Vec::new());
        let mut text = Vec::new();
        read_span(&self.file, span, &mut text, self.table.file)?;
        let (mut record, mut at, mut row, mut line) = (Record::default(), 0, span.row, span.line);
        while at < text.len() {
            let end = record.read(&text, at).at;
            if !record.is_blank() {
                lines.extend(rows.next_if_eq(&row).map(|_| line));
                row += 1;
            }
            line += lines_in(&text[at..end]);
            at = end;
        }
        Ok(lines)
    }
}

fn open_folder(path: &Path) -> Result<Found> {
    let failed = |error| Problem::with_path("read the feed", path, error);
    let mut files = Vec::new();
    for table in &TABLES {
        let place = path.join(table.file);
        let failed = |error| Problem::with_path("read", &place, error);
        match fs::metadata(&place) {
            Ok(kind) if kind.is_file() => files.push((table.file.to_owned(), File::open(&place).map_err(failed)?)),
            // To open a pipe could wait for ever.
            Ok(_) => return Err(Problem::with_path("read", &place, "it is no file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let mut others = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if !files.iter().any(|(known, _)| *known == name) {
            others.push(name);
        }
    }
    others.sort();
    Ok(Found { known: files, others })
}

fn check_presence(path: &Path, found: &[(String, File)]) -> Result<()> {
    let is_there = |table: &&Table| found.iter().any(|(name, _)| name == table.file);
    if let Some(missing) =
        TABLES.iter().filter(|table| table.presence == Presence::Required).find(|table| !is_there(table))
    {
        return Err(Problem::new(format_args!("{path:?} has no {}, which a GTFS feed must have", missing.file)));
    }
    Ok(())
}

/// Files without a header are left out, so it is known only when all are read.
fn check_calendars(feed: &Feed) -> Result<()> {
    match feed.files.iter().any(|file| file.table.presence == Presence::OneOfCalendars) {
        true => Ok(()),
        false => Err(Problem::new(format_args!(
            "{:?} has neither calendar.txt nor calendar_dates.txt, and a GTFS feed must have one of them",
            feed.path
        ))),
    }
}

/// Why a file that a feed need not have is treated as if it were missing.
fn left_out(table: &Table, layout: &Layout) -> Option<&'static str> {
    let has = |name: &str| layout.header.iter().any(|other| other == name);
    if table.presence != Presence::Required && layout.header.is_empty() {
        return Some("has no line with the names of its columns");
    }
    // Google's older format, which GTFS never had.
    (table.name == "translations" && has("trans_id") && has("lang")).then_some("is in an older format")
}

fn check_columns(table: &Table, layout: &Layout) -> Result<()> {
    let has = |name: &str| layout.header.iter().any(|other| other == name);
    let mut required: Vec<_> =
        table.columns.iter().filter(|column| column.is_required).map(|column| column.name).collect();
    if table.name == STOP_TIMES && !AREAS.into_iter().any(has) {
        required.push("stop_id");
    }
    if layout.header.is_empty() {
        return Err(Problem::new(format_args!("{} has no line with the names of its columns", table.file)));
    }
    let is_twice = |column: &&Column| layout.header.iter().filter(|name| *name == column.name).count() > 1;
    if let Some(Column { name, .. }) = table.columns.iter().find(is_twice) {
        return Err(Problem::new(format_args!("{} has two columns {name:?}; rename or remove one", table.file)));
    }
    match required.into_iter().find(|name| !has(name)) {
        None => Ok(()),
        Some(name) => Err(Problem::new(format_args!("{} has no column {name}, which GTFS requires", table.file))),
    }
}
