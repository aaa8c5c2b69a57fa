//! The work itself: joins each row of `stop_times.txt` with its trip, route and stop, and writes one JSON object a line.
//!
//! - Every line of a feed has the same keys: the columns of `stop_times.txt` in their order, then `stop_name`,
//!   `route_short_name`, `route_type` and `trip_headsign`. GTFS never distinguishes a missing value from an empty one, so both
//!   are `null`.
//! - What the GTFS reference calls an integer, a float or an enum is a number. All other columns are text, also those that the
//!   reference does not know. A column of `stop_times.txt` with the name of a joined one is replaced by it.
//! - A row is broken if it has too many or too few values, no `trip_id` or no `stop_sequence`, an id that is not in its table,
//!   an invalid number or time, or text that is not UTF-8. A row without `stop_id` is valid if it names an area instead
//!   (`location_id`, `location_group_id`). Then it has no `stop_name`.

use crate::feed::{Feed, JOINED, STOP_TIMES, STOPS, TRIPS};
use crate::json::{Text, is_plain, push_decimal, push_integer, push_text};
use crate::problem::Result;
use crate::table::{Row, Table};
use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The piece: renders the rows from byte `from.1` to byte `end` of the feed in folder `from.0`. A broken row is the piece's error.
pub fn piece(from: (OsString, u64), end: u64, sink: &mut multicore::Sink) -> Result<()> {
    let (folder, start) = from;
    render(&folder, start, end, sink)
}

/// The same for a direct call.
pub fn render(folder: &OsStr, start: u64, end: u64, out: &mut impl Text) -> Result<()> {
    // A worker runs its pieces on one thread, so there is one of these for each worker. It keeps only the last feed.
    thread_local!(static LAST: RefCell<Option<Renderer>> = const { RefCell::new(None) });
    LAST.with_borrow_mut(|last| {
        if last.as_ref().is_none_or(|renderer| renderer.folder != folder) {
            *last = None;
            *last = Some(Renderer::load(folder)?);
        }
        let Some(renderer) = last else { unreachable!("it was put there above") };
        renderer.render(start, end, out)
    })
}

/// A feed's small tables, and the layout of the rows of its `stop_times.txt`.
struct Renderer {
    folder: OsString,
    feed: Feed,
    columns: Vec<Column>,
    trip_id: usize,
    stop_sequence: usize,
    stop_id: Option<usize>,
    /// The columns that can stand for `stop_id`.
    area_ids: Vec<usize>,
}

struct Column {
    name: String,
    /// The text before the value: `{"trip_id":`, `,"arrival_time":`.
    key: String,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Text,
    Time,
    Integer,
    Decimal,
    /// The join has a value with this name.
    LeftOut,
}

impl Kind {
    fn of(column: &str) -> Kind {
        match column {
            "stop_sequence"
            | "pickup_type"
            | "drop_off_type"
            | "continuous_pickup"
            | "continuous_drop_off"
            | "timepoint" => Kind::Integer,
            "shape_dist_traveled" => Kind::Decimal,
            "arrival_time" | "departure_time" | "start_pickup_drop_off_window" | "end_pickup_drop_off_window" => {
                Kind::Time
            }
            joined if JOINED.contains(&joined) => Kind::LeftOut,
            _ => Kind::Text,
        }
    }
}

impl Renderer {
    fn load(folder: &OsStr) -> Result<Renderer> {
        let path = Path::new(folder);
        let feed = Feed::load(path)?;
        let table = Table::open(&path.join(STOP_TIMES))?;
        let area_ids =
            ["location_id", "location_group_id"].into_iter().filter_map(|name| table.column(name)).collect::<Vec<_>>();
        let stop_id = match table.column("stop_id") {
            None if area_ids.is_empty() => Some(table.required_column("stop_id")?),
            stop_id => stop_id,
        };
        let mut opening = '{';
        let columns = table.columns().iter().map(|name| {
            let kind = Kind::of(name);
            let mut key = String::new();
            if kind != Kind::LeftOut {
                key.push(std::mem::replace(&mut opening, ','));
                push_text(&mut key, name);
                key.push(':');
            }
            Column { name: name.to_owned(), key, kind }
        });
        Ok(Renderer {
            columns: columns.collect(),
            trip_id: table.required_column("trip_id")?,
            stop_sequence: table.required_column("stop_sequence")?,
            folder: folder.to_owned(),
            feed,
            stop_id,
            area_ids,
        })
    }

    fn render(&self, start: u64, end: u64, out: &mut impl Text) -> Result<()> {
        let mut table = Table::open_range(&Path::new(&self.folder).join(STOP_TIMES), start, end)?;
        let mut row = Row::new();
        // The rows of a trip follow each other, so the trip is looked up only for the first of them.
        let mut trip_id = String::new();
        let mut trip_end = String::new();
        while table.read(&mut row)? {
            table.check_length(&row, self.columns.len())?;
            if row[self.trip_id] != trip_id || trip_id.is_empty() {
                trip_id.clear();
                trip_id.push_str(&row[self.trip_id]);
                trip_end.clear();
                trip_end.extend(self.trip(&trip_id).map_err(|what| table.problem(&row, what))?);
                trip_end.push_str("}\n");
            }
            self.push_columns(out, &row).map_err(|what| table.problem(&row, what))?;
            out.push_str(self.stop(&row).map_err(|what| table.problem(&row, what))?);
            out.push_str(&trip_end);
        }
        Ok(())
    }

    fn push_columns(&self, out: &mut impl Text, row: &Row) -> std::result::Result<(), String> {
        let plain = is_plain(row.as_byte_record().as_slice());
        for (column, value) in self.columns.iter().zip(row) {
            out.push_str(&column.key);
            let well = match column.kind {
                Kind::LeftOut => true,
                _ if value.is_empty() => {
                    out.push_str("null");
                    true
                }
                Kind::Integer => push_integer(out, value),
                Kind::Decimal => push_decimal(out, value),
                Kind::Time if !is_time(value.as_bytes()) => false,
                Kind::Time | Kind::Text if plain => {
                    out.push('"');
                    out.push_str(value);
                    out.push('"');
                    true
                }
                Kind::Time | Kind::Text => {
                    push_text(out, value);
                    true
                }
            };
            if !well {
                return Err(wrong_value(column, value));
            }
        }
        if row[self.stop_sequence].is_empty() {
            return Err("stop_sequence is empty".to_owned());
        }
        Ok(())
    }

    fn trip(&self, trip_id: &str) -> std::result::Result<[&str; 2], String> {
        if trip_id.is_empty() {
            return Err("trip_id is empty".to_owned());
        }
        self.feed.trip(trip_id).ok_or_else(|| format!("{TRIPS} has no trip_id {trip_id:?}"))
    }

    fn stop(&self, row: &Row) -> std::result::Result<&str, String> {
        let stop_id = self.stop_id.map_or("", |stop_id| &row[stop_id]);
        if let Some(stop) = self.feed.stop(stop_id) {
            return Ok(stop);
        }
        if !stop_id.is_empty() {
            return Err(format!("{STOPS} has no stop_id {stop_id:?}"));
        }
        if self.area_ids.iter().all(|area_id| row[*area_id].is_empty()) {
            return Err("stop_id is empty".to_owned());
        }
        Ok(",\"stop_name\":null")
    }
}

/// True for H:MM:SS or HH:MM:SS. Hours after midnight continue from 24. A third digit is for trips of more than four days.
fn is_time(text: &[u8]) -> bool {
    let Some((hours, rest)) = text.len().checked_sub(6).map(|hours| text.split_at(hours)) else {
        return false;
    };
    let [b':', b'0'..=b'5', b'0'..=b'9', b':', b'0'..=b'5', b'0'..=b'9'] = rest else {
        return false;
    };
    matches!(hours.len(), 1..=3) && hours.iter().all(u8::is_ascii_digit)
}

#[cold]
fn wrong_value(column: &Column, value: &str) -> String {
    let wanted = match column.kind {
        Kind::Time => "a time such as 08:05:00",
        Kind::Integer => "a whole number",
        _ => "a number",
    };
    format!("{} {value:?} is not {wanted}", column.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::{ROUTES, STOPS, TRIPS};
    use crate::rows;

    const S: &str = "stop_id,stop_name\nS1,Zoo\nS2,\"Gate \"\"B\"\"\"\n";
    const R: &str = "route_id,route_short_name,route_type\nR1,7,3\nR2,,0\n";
    const T: &str = "route_id,trip_id,trip_headsign\nR1,T1,Zürich\nR2,T2,\n";
    const T1: &str = r#""route_short_name":"7","route_type":3,"trip_headsign":"Zürich"}"#;
    const T2: &str = r#""route_short_name":null,"route_type":0,"trip_headsign":null}"#;

    /// Renders a feed with this `stop_times.txt`, cut into as many ranges as it has rows.
    fn render_text(stop_times: &str) -> Result<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [(STOPS, S), (ROUTES, R), (TRIPS, T), (STOP_TIMES, stop_times)] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let layout = rows::cut(&folder.path().join(STOP_TIMES), |bytes| (0..bytes).map(|byte| (byte, byte + 1)))?;
        assert_eq!(layout.ranges.len() as u64, layout.rows);
        let mut text = String::new();
        for (start, end) in &layout.ranges {
            render(folder.path().as_os_str(), *start, *end, &mut text)?;
        }
        Ok(text)
    }

    #[test]
    fn a_row_becomes_one_object_with_the_columns_first_and_the_joined_values_last() {
        let rows = [
            (
                "trip_id,stop_id,stop_sequence\nT1,S1,1\n",
                format!(r#"{{"trip_id":"T1","stop_id":"S1","stop_sequence":1,"stop_name":"Zoo",{T1}"#),
            ),
            (
                "stop_sequence,stop_id,trip_id\r\n\r\n02,S2,T2",
                format!(r#"{{"stop_sequence":2,"stop_id":"S2","trip_id":"T2","stop_name":"Gate \"B\"",{T2}"#),
            ),
            (
                "trip_id,arrival_time,departure_time,stop_id,stop_sequence,shape_dist_traveled,timepoint\nT1,8:05:00,,S1,1,.5,1\n",
                format!(
                    r#"{{"trip_id":"T1","arrival_time":"8:05:00","departure_time":null,"stop_id":"S1","stop_sequence":1,"shape_dist_traveled":0.5,"timepoint":1,"stop_name":"Zoo",{T1}"#
                ),
            ),
            (
                "trip_id,stop_id,stop_sequence,stop_headsign,\"odd \"\"column\"\"\"\nT1,S1,1,\"a, \"\"b\"\"\r\nc\",\\\n",
                format!(
                    r#"{{"trip_id":"T1","stop_id":"S1","stop_sequence":1,"stop_headsign":"a, \"b\"\r\nc","odd \"column\"":"\\","stop_name":"Zoo",{T1}"#
                ),
            ),
            (
                "stop_name,trip_id,stop_id,stop_sequence\nmine,T1,S1,1\n",
                format!(r#"{{"trip_id":"T1","stop_id":"S1","stop_sequence":1,"stop_name":"Zoo",{T1}"#),
            ),
            (
                "trip_id,location_id,stop_sequence\nT1,area,1\n",
                format!(r#"{{"trip_id":"T1","location_id":"area","stop_sequence":1,"stop_name":null,{T1}"#),
            ),
        ];
        for (text, line) in rows {
            assert_eq!(render_text(text).unwrap(), format!("{line}\n"), "{text:?}");
        }
    }

    #[test]
    fn rows_keep_their_order_and_each_its_own_trip() {
        let text = "trip_id,stop_id,stop_sequence\nT1,S1,1\nT1,S2,2\nT2,S1,1\nT1,S1,3\n";
        let json = render_text(text).unwrap();
        let keys = json.lines().map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {} {}", row["trip_id"], row["stop_sequence"], row["route_type"])
        });
        assert_eq!(keys.collect::<Vec<_>>(), [r#""T1" 1 3"#, r#""T1" 2 3"#, r#""T2" 1 0"#, r#""T1" 3 3"#]);
    }

    #[test]
    fn a_broken_row_is_named_by_file_and_line_and_what_is_wrong_with_it() {
        let header = "trip_id,arrival_time,stop_id,stop_sequence,shape_dist_traveled,location_id\nT1,,S1,1,,\n\n";
        let rows = [
            ("T1,,S1,2,", "line 4: 5 values where there are 6 columns"),
            ("T1,,S1,2,,,", "line 4: 7 values where there are 6 columns"),
            ("T9,,S1,2,,", "line 4: trips.txt has no trip_id \"T9\""),
            (",,S1,2,,", "line 4: trip_id is empty"),
            ("T1,,S\\9,2,,", "line 4: stops.txt has no stop_id \"S\\\\9\""),
            ("T1,,,2,,", "line 4: stop_id is empty"),
            ("T1,,S1,,,", "line 4: stop_sequence is empty"),
            ("T1,,S1,two,,", "line 4: stop_sequence \"two\" is not a whole number"),
            ("T1,,S1,-2,,", "line 4: stop_sequence \"-2\" is not a whole number"),
            ("T1,,S1,2,far,", "line 4: shape_dist_traveled \"far\" is not a number"),
            ("T1,24:60:00,S1,2,,", "line 4: arrival_time \"24:60:00\" is not a time such as 08:05:00"),
            ("\"T1\n\",,S1,2,,", "line 4: trips.txt has no trip_id \"T1\\n\""),
        ];
        for (row, message) in rows {
            let problem = render_text(&format!("{header}{row}\nT1,,S1,3,,\n")).unwrap_err();
            assert_eq!(problem.to_string(), format!("stop_times.txt {message}"));
        }
        let rows = [
            ("stop_id,stop_sequence\n", "trip_id"),
            ("trip_id,stop_id\n", "stop_sequence"),
            ("trip_id,stop_sequence\n", "stop_id"),
        ];
        for (header, column) in rows {
            let problem = render_text(&format!("{header}1,2\n")).unwrap_err();
            assert_eq!(problem.to_string(), format!("stop_times.txt line 1: there is no column {column:?}"));
        }
    }

    #[test]
    fn times_are_hours_minutes_and_seconds() {
        for time in ["8:05:00", "08:05:00", "00:00:00", "25:59:59", "123:00:00"] {
            assert!(is_time(time.as_bytes()), "{time}");
        }
        for text in [
            "",
            "8",
            ":05:00",
            "08:05",
            "08:5:00",
            "08:60:00",
            "08:05:60",
            "1234:00:00",
            "-8:05:00",
            " 8:05:00",
            "08:05:00 ",
            "08-05-00",
            "ö:05:00",
        ] {
            assert!(!is_time(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_broken_row_leaves_a_piece_by_unwinding_with_the_message() {
        let folder = tempfile::tempdir().unwrap();
        let run = || piece((folder.path().as_os_str().to_owned(), 0), 1);
        let message = std::panic::catch_unwind(run).unwrap_err().downcast::<String>().unwrap();
        assert!(message.starts_with("cannot open"), "{message}");
    }
}
