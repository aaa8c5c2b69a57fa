//! The records of files of all shapes, cut everywhere, with workers and without.

use crate::render::piece;
use crate::table::Table;
use crate::{dump, make_file, parts, why_no_pool, workers};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const HEADER: &str = "trip_id,arrival_time,departure_time,stop_id,stop_sequence,stop_headsign,shape_dist_traveled";

/// A file with this text; the folder goes when it is dropped.
fn file(text: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stop_times.txt");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn made(records: u64) -> (TempDir, PathBuf) {
    let (folder, path) = file("");
    make_file(&path, records).unwrap();
    (folder, path)
}

fn text(json: Vec<u8>) -> String {
    String::from_utf8(json).unwrap()
}

/// By a reader that knows nothing of pieces.
fn expected(path: &Path) -> Vec<Value> {
    let seconds = |time: &str| match time.split(':').map(|part| part.parse().unwrap()).collect::<Vec<u64>>()[..] {
        [hours, minutes, seconds] => json!(hours * 3600 + minutes * 60 + seconds),
        _ => Value::Null,
    };
    let mut reader = csv::Reader::from_path(path).unwrap();
    let records = reader.records().map(|record| {
        let record = record.unwrap();
        json!({
            "trip_id": record[0],
            "arrival_time": seconds(&record[1]),
            "departure_time": seconds(&record[2]),
            "stop_id": record[3],
            "stop_sequence": record[4].parse::<u64>().unwrap(),
            "stop_headsign": if record[5].is_empty() { Value::Null } else { json!(record[5]) },
            "shape_dist_traveled": record[6].parse::<f64>().unwrap(),
        })
    });
    records.collect()
}

#[test]
fn workers_give_the_records_of_the_file() {
    assert_eq!(why_no_pool(), None);
    assert!(workers() > 0);
    for count in [0, 1, 100, 30_000] {
        let (_folder, path) = made(count);
        let json = dump(&path, true).unwrap();
        assert_eq!(serde_json::from_slice::<Vec<Value>>(&json).unwrap(), expected(&path), "{count} records");
        assert_eq!(text(dump(&path, false).unwrap()), text(json.clone()), "{count} records serially");
        let given: Vec<Vec<u8>> = parts(&path).unwrap().map(Result::unwrap).collect();
        assert_eq!(text(given.concat()), text(json), "{count} records in parts");
        // More than the closing bracket and one piece, where there are more.
        assert_eq!(given.len() > 2, count == 30_000, "{} parts", given.len());
    }
}

/// Then some ranges have no record.
#[test]
fn a_record_may_be_longer_than_a_piece() {
    let row = |headsign: &str| format!("t,8:00:00,8:00:00,s,1,{headsign},0.5\n");
    let long = row(&"x".repeat(500_000));
    for rows in [[row("a"), long.clone(), row("b")], [long.clone(), row("a"), long.clone()]] {
        let (_folder, path) = file(format!("{HEADER}\n{}", rows.concat()));
        let json = dump(&path, true).unwrap();
        assert_eq!(serde_json::from_slice::<Vec<Value>>(&json).unwrap(), expected(&path));
        assert_eq!(text(dump(&path, false).unwrap()), text(json.clone()));
        assert_eq!(text(parts(&path).unwrap().flat_map(Result::unwrap).collect()), text(json));
    }
}

#[test]
fn each_record_is_in_one_range_wherever_the_file_is_cut() {
    let rows = ["a,8:00:00,,s,1,,", "b,25:00:01,25:00:59,\"s, t\",2,\"say \"\"x\"\"\",1.5", "", "c,,,s,3,Ø,"];
    for line_end in ["\n", "\r\n"] {
        for (start, end) in [("", line_end), ("\u{feff}", "")] {
            let (_folder, path) = file(format!("{start}{HEADER}{line_end}{}{end}", rows.join(line_end)));
            let table = Table::open(&path).unwrap();
            let records = |start, end| {
                let mut out = Vec::new();
                piece(&table, start, end, &mut out).unwrap();
                text(out)
            };
            let all = records(0, table.len());
            assert_eq!(all.matches("trip_id").count(), 3, "{all}");
            assert!(all.contains(r#""arrival_time":90001,"departure_time":90059,"stop_id":"s, t""#), "{all}");
            assert!(all.contains(r#""stop_headsign":"say \"x\"","shape_dist_traveled":1.5}"#), "{all}");
            for first in 0..=table.len() {
                for second in [first, first + 1, first + 9, table.len()].map(|end| end.min(table.len())) {
                    let cut = [records(0, first), records(first, second), records(second, table.len())].concat();
                    assert_eq!(cut, all, "cut at {first} and {second}");
                }
            }
        }
    }
}

/// The sentences name the file and the line, from whichever piece of the file they come.
#[test]
fn what_is_wrong_with_a_file_is_said_with_its_line() {
    let good = "t,8:00:00,8:00:00,s,1,,0.5\n".repeat(10_000);
    let long = "t".repeat(2 << 20);
    let rows: [(&[u8], &str); 9] = [
        (b"t,8:00,,s,1,,", "line 10002: \"8:00\" is no time; write it as 08:30:00"),
        (b"t,8:60:00,,s,1,,", "line 10002: \"8:60:00\" is no time"),
        (b"t,+8:00:00,,s,1,,", "line 10002: \"+8:00:00\" is no time"),
        (b"t,,,s,one,,", "line 10002: field 4: invalid digit found in string"),
        (b"t,,,s,1,,far", "line 10002: field 6: invalid float literal"),
        (b"t,,,s,1", "line 10002: 5 values for 7 columns"),
        (b"t,,,\"s\nt\",1,,", "line 10002: a quotation mark is not closed; a value must not contain a line end"),
        (b"\xff,,,s,1,,", "line 10002: the text is not UTF-8"),
        (long.as_bytes(), "a line is longer than 1 MiB"),
    ];
    for (row, sentence) in rows {
        let (_folder, path) = file([HEADER.as_bytes(), b"\n", good.as_bytes(), row, b"\n", good.as_bytes()].concat());
        let place = format!("{}: {sentence}", path.display());
        for in_parallel in [true, false] {
            let problem = dump(&path, in_parallel).unwrap_err().to_string();
            assert!(problem.contains(&place), "{problem}\nis not\n{place}");
        }
        let problems: Vec<String> =
            parts(&path).unwrap().filter_map(|part| part.err().map(|problem| problem.to_string())).collect();
        assert!(matches!(problems.as_slice(), [problem] if problem.contains(&place)), "{problems:?}");
    }
}

#[test]
fn what_is_no_table_is_said() {
    let (folder, path) = file("");
    let missing = folder.path().join("missing");
    assert_eq!(dump(&missing, true).unwrap_err().system_error(), Some(2));
    assert!(parts(&missing).is_err());
    assert!(dump(folder.path(), true).unwrap_err().to_string().ends_with("of which parts could be read"));
    // Without records, nothing is missing.
    assert_eq!(text(dump(&path, true).unwrap()), "[]");
    fs::write(&path, "trip_id\nt\n").unwrap();
    assert!(dump(&path, true).unwrap_err().to_string().ends_with("line 2: missing field `arrival_time`"));
}

#[test]
fn a_file_that_changes_meanwhile_is_refused() {
    let (_folder, path) = made(30_000);
    let table = Table::open(&path).unwrap();
    let mut changed = fs::read(&path).unwrap();
    changed.extend_from_slice(b"t,,,s,1,,,\n");
    fs::write(&path, changed).unwrap();
    let problem = piece(&table, 0, table.len(), &mut Vec::new()).unwrap_err();
    assert!(problem.to_string().ends_with("the file was changed while it was read; read it once more"), "{problem}");
}
