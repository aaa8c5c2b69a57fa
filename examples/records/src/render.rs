//! The work itself: the records of a range as JSON.
//!
//! Each record is checked and written as an object with `,\n` behind it. `parts` makes an array of what pieces give.

use crate::problem::Result;
use crate::table::Table;
use csv::StringRecord;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use std::borrow::Cow;
use std::io::Write;

/// What stands behind each record.
pub const SEPARATOR: &[u8] = b",\n";

/// A record of `stop_times.txt`. Columns that are not listed here are left out.
#[derive(Deserialize, Serialize)]
struct StopTime<'a> {
    #[serde(borrow)]
    trip_id: Cow<'a, str>,
    /// In seconds from noon minus twelve hours; a trip that runs past midnight has more than 86,400.
    #[serde(deserialize_with = "seconds")]
    arrival_time: Option<u32>,
    #[serde(deserialize_with = "seconds")]
    departure_time: Option<u32>,
    stop_id: Cow<'a, str>,
    stop_sequence: u32,
    #[serde(default)]
    stop_headsign: Option<Cow<'a, str>>,
    #[serde(default)]
    shape_dist_traveled: Option<f64>,
}

/// The piece: it reads its own part of the file. A broken record is the piece's error.
pub fn piece(table: &Table, start: usize, end: usize, out: &mut impl Write) -> Result<()> {
    let (header, records) = table.read(start, end)?;
    if let Some(offset) = records.line_with_open_quotes() {
        return Err(table.problem(offset, "a quotation mark is not closed; a value must not contain a line end"));
    }
    let broken = |position: Option<&csv::Position>, error: &csv::Error| {
        table.problem(records.start + position.map_or(0, csv::Position::byte), sentence(error))
    };
    let mut names = csv::Reader::from_reader(header.as_slice());
    let names = names.headers().map_err(|error| table.problem(0, sentence(&error)))?;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(records.bytes.as_slice());
    let mut record = StringRecord::new();
    loop {
        let more = reader.read_record(&mut record).map_err(|error| broken(error.position(), &error))?;
        if !more {
            return Ok(());
        }
        if record.len() != names.len() {
            let what = format_args!("{} values for {} columns", record.len(), names.len()).to_string();
            return Err(table.problem(records.start + record.position().map_or(0, csv::Position::byte), what));
        }
        let stop_time: StopTime = record.deserialize(Some(names)).map_err(|error| broken(record.position(), &error))?;
        serde_json::to_writer(&mut *out, &stop_time)
            .and_then(|()| out.write_all(SEPARATOR).map_err(serde_json::Error::io))
            .map_err(|error| table.problem(records.start, error))?;
    }
}

/// What is wrong with a record, without csv's own place, which counts from the start of the piece.
fn sentence(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => err.to_string(),
        csv::ErrorKind::Utf8 { err, .. } => format!("the text is not UTF-8 ({err})"),
        _ => error.to_string(),
    }
}

/// Reads `H:MM:SS` or `HH:MM:SS`, or nothing.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<u32>, D::Error> {
    let time = <Cow<'de, str>>::deserialize(deserializer)?;
    if time.is_empty() {
        return Ok(None);
    }
    let [hours, minutes, seconds] = match *time.split(':').collect::<Vec<_>>() {
        [hours, minutes, seconds] => [hours, minutes, seconds].map(two_digits),
        _ => [None; 3],
    };
    match (hours, minutes, seconds) {
        (Some(hours), Some(minutes @ 0..60), Some(seconds @ 0..60)) => Ok(Some(hours * 3600 + minutes * 60 + seconds)),
        _ => Err(D::Error::custom(format_args!("{time:?} is no time; write it as 08:30:00"))),
    }
}

fn two_digits(digits: &str) -> Option<u32> {
    let is_number = matches!(digits.len(), 1 | 2) && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}
