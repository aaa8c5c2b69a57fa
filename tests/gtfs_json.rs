//! Runs the example `gtfs_json` as its users do: with feeds that the GTFS reference allows, with broken feeds, and with
//! Ctrl-C.
//!
//! `cargo test` builds the examples before it runs this test. If only this test is built, run `cargo build --examples`
//! first.
#![cfg(target_os = "linux")]

use std::ffi::OsStr;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// `target/PROFILE/examples/gtfs_json`, as this test is `target/PROFILE/deps/gtfs_json-…`.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples/gtfs_json");
    assert!(program.is_file(), "{program:?} does not exist; `cargo build --examples` builds it");
    program
}

struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Outcome {
    let output = Command::new(program()).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

const STOPS: &str = "stop_id,stop_name\nS1,Main St\nS2,\"Gate \"\"B\"\", east\"\n";
const ROUTES: &str = "route_id,route_short_name,route_type\nR1,7,3\nR2,,0\n";
const TRIPS: &str = "route_id,service_id,trip_id,trip_headsign\nR1,W,T1,Zürich\nR2,W,T2,\n";
const STOP_TIMES: &str = "trip_id,stop_id,stop_sequence\nT1,S1,1\nT2,S2,2\n";

/// The tables of a small feed. Some are replaced or, if `None`, left out.
fn tables<'text>(changes: &[(&'text str, Option<&'text str>)]) -> Vec<(&'text str, &'text str)> {
    let mut tables =
        vec![("stops.txt", STOPS), ("routes.txt", ROUTES), ("trips.txt", TRIPS), ("stop_times.txt", STOP_TIMES)];
    for (name, text) in changes {
        tables.retain(|(other, _)| other != name);
        tables.extend(text.map(|text| (*name, text)));
    }
    tables
}

fn folder_of(tables: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in tables {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn zip_of(tables: &[(&str, &str)], method: zip::CompressionMethod) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in tables {
        zip.start_file(*name, zip::write::SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

/// Runs the program on a feed, checks everything that it prints, and returns the JSON lines.
fn lines_of(feed: &Path, arguments: &[&str]) -> String {
    let kept = tempfile::tempdir().unwrap();
    let output = kept.path().join("rows.json");
    let arguments =
        arguments.iter().map(OsStr::new).chain([feed.as_os_str(), OsStr::new("--output"), output.as_os_str()]);
    let outcome = run(arguments);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{}", outcome.stdout);
    let lines = fs::read_to_string(output).unwrap();
    let said: Vec<_> = outcome.stdout.lines().collect();
    // How often the two ways were timed.
    assert!(said[said.len() - 7].starts_with("rounds "), "{}", outcome.stdout);
    let (last, said) = said[said.len() - 6..].split_last().unwrap();
    assert_eq!(*last, "outputs identical: yes");
    let number = |line: &str, name: &str, unit: &str| -> f64 {
        let number = line.strip_prefix(name).and_then(|line| line.strip_suffix(unit));
        number
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("{line:?} should be {name:?}, a number, {unit:?}"))
    };
    assert!(number(said[0], "parallel ", " s") >= 0.0);
    assert!(number(said[1], "serial ", " s") >= 0.0);
    assert!(number(said[2], "ratio ", "") >= 0.0);
    assert_eq!(number(said[3], "rows ", "") as usize, lines.lines().count());
    assert_eq!(number(said[4], "bytes ", "") as usize, lines.len());
    assert_eq!(entries(kept.path()), 1, "only the output is left in its folder");
    lines
}

#[track_caller]
fn check(changes: &[(&str, Option<&str>)], expected: &[&str]) {
    let feed = folder_of(&tables(changes));
    let expected: String = expected.iter().map(|line| format!("{line}\n")).collect();
    for arguments in [&["--workers", "2"][..], &["--workers", "1", "--pieces", "1"], &["--workers=2", "--pieces=100"]] {
        assert_eq!(lines_of(feed.path(), arguments), expected, "{arguments:?} {changes:?}");
    }
}

#[test]
fn rows_are_joined_in_file_order() {
    check(
        &[],
        &[
            r#"{"trip_id":"T1","stop_id":"S1","stop_sequence":1,"stop_name":"Main St","route_short_name":"7","route_type":3,"trip_headsign":"Zürich"}"#,
            r#"{"trip_id":"T2","stop_id":"S2","stop_sequence":2,"stop_name":"Gate \"B\", east","route_short_name":null,"route_type":0,"trip_headsign":null}"#,
        ],
    );
}

#[test]
fn crlf_a_byte_order_mark_and_empty_lines_change_nothing() {
    let line = r#"{"trip_id":"T1","stop_id":"S1","stop_sequence":1,"stop_name":"Main St","route_short_name":"7","route_type":3,"trip_headsign":null}"#;
    let stop_times = "trip_id,stop_id,stop_sequence\nT1,S1,1\n";
    let trips = "route_id,trip_id\nR1,T1\n";
    for (stop_times, trips) in [
        (stop_times.to_owned(), trips.to_owned()),
        (stop_times.replace('\n', "\r\n"), trips.replace('\n', "\r\n")),
        (format!("\u{feff}{stop_times}"), format!("\u{feff}{trips}")),
        (stop_times.replace('\n', "\n\n"), trips.replace('\n', "\n\n")),
        (format!("\u{feff}\r\n{}", stop_times.replace('\n', "\r\n\r\n\n")), trips.trim_end().to_owned()),
        (stop_times.trim_end().to_owned(), trips.to_owned()),
    ] {
        check(&[("stop_times.txt", Some(&stop_times)), ("trips.txt", Some(&trips))], &[line]);
    }
}

#[test]
fn quotes_commas_and_line_ends_within_quotes_are_text() {
    check(
        &[(
            "stop_times.txt",
            Some(
                "\"trip_id\",stop_id,stop_sequence,stop_headsign\n\"T1\",S1,\"1\",\"a \"\"b\"\", c\"\nT1,S2,2,\"d\r\n\n\"\"\n\"\nT1,S1,3,\"\"\nT1,S1,4,\\\t\n",
            ),
        )],
        &[
            r#"{"trip_id":"T1","stop_id":"S1","stop_sequence":1,"stop_headsign":"a \"b\", c","stop_name":"Main St","route_short_name":"7","route_type":3,"trip_headsign":"Zürich"}"#,
            r#"{"trip_id":"T1","stop_id":"S2","stop_sequence":2,"stop_headsign":"d\r\n\n\"\n","stop_name":"Gate \"B\", east","route_short_name":"7","route_type":3,"trip_headsign":"Zürich"}"#,
            r#"{"trip_id":"T1","stop_id":"S1","stop_sequence":3,"stop_headsign":null,"stop_name":"Main St","route_short_name":"7","route_type":3,"trip_headsign":"Zürich"}"#,
            r#"{"trip_id":"T1","stop_id":"S1","stop_sequence":4,"stop_headsign":"\\\t","stop_name":"Main St","route_short_name":"7","route_type":3,"trip_headsign":"Zürich"}"#,
        ],
    );
}

#[test]
fn missing_optional_columns_are_null_and_columns_keep_their_types() {
    check(
        &[
            ("stops.txt", Some("stop_id\nS1\n")),
            ("routes.txt", Some("route_type,route_id,route_long_name\n2,R1,Long\n")),
            ("trips.txt", Some("trip_id,route_id\nT1,R1\n")),
            (
                "stop_times.txt",
                Some(
                    "stop_sequence,arrival_time,departure_time,stop_id,trip_id,pickup_type,shape_dist_traveled,vendor\n007,25:00:00,,S1,T1,,1.50,12\n",
                ),
            ),
        ],
        &[
            r#"{"stop_sequence":7,"arrival_time":"25:00:00","departure_time":null,"stop_id":"S1","trip_id":"T1","pickup_type":null,"shape_dist_traveled":1.50,"vendor":"12","stop_name":null,"route_short_name":null,"route_type":2,"trip_headsign":null}"#,
        ],
    );
}

#[test]
fn a_feed_without_rows_gives_no_lines() {
    check(&[("stop_times.txt", Some("trip_id,stop_id,stop_sequence\n"))], &[]);
}

#[test]
fn a_zip_gives_the_same_lines_as_its_folder_and_leaves_nothing_behind() {
    let tables = tables(&[]);
    let folder = folder_of(&tables);
    let zip = tempfile::tempdir().unwrap();
    let path = zip.path().join("feed.zip");
    fs::write(&path, zip_of(&tables, zip::CompressionMethod::Deflated)).unwrap();
    let temporary = tempfile::tempdir().unwrap();
    let output = zip.path().join("rows.json");
    let status = Command::new(program())
        .arg(&path)
        .arg("--output")
        .arg(&output)
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::null())
        .status();
    assert!(status.unwrap().success());
    assert_eq!(fs::read_to_string(output).unwrap(), lines_of(folder.path(), &[]));
    assert_eq!(entries(temporary.path()), 0);
}

/// A failure is one line on stderr, nothing on stdout, exit code 1, and no output file.
#[track_caller]
fn check_failure(feed: &Path, parts: &[&str]) {
    let kept = tempfile::tempdir().unwrap();
    let output = kept.path().join("rows.json");
    let outcome = run([feed.as_os_str(), OsStr::new("--workers=2"), OsStr::new("--output"), output.as_os_str()]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{}", outcome.stderr);
    assert_eq!(outcome.stderr.lines().count(), 1, "{:?}", outcome.stderr);
    assert!(!outcome.stderr.contains("RUST_BACKTRACE"), "{:?}", outcome.stderr);
    for part in parts {
        assert!(outcome.stderr.contains(part), "{:?} should contain {part:?}", outcome.stderr);
    }
    assert_eq!(entries(kept.path()), 0, "no output file is left");
}

#[test]
fn a_broken_row_is_an_error_with_file_and_line() {
    let rows = [
        (
            "stop_times.txt",
            "trip_id,stop_id,stop_sequence\nT1,S1,1\nT1,S1\n",
            "stop_times.txt line 3: 2 values where there are 3 columns",
        ),
        (
            "stop_times.txt",
            "trip_id,stop_id,stop_sequence\n\nT1,S1,1\n\"T\n1\",S1,1\n",
            "stop_times.txt line 4: trips.txt has no trip_id",
        ),
        (
            "stop_times.txt",
            "trip_id,stop_id,stop_sequence\nT1,S1,x\n",
            "stop_times.txt line 2: stop_sequence \"x\" is not a whole number",
        ),
        (
            "stop_times.txt",
            "trip_id,stop_id,stop_sequence\nT1,S9,1\n",
            "stop_times.txt line 2: stops.txt has no stop_id \"S9\"",
        ),
        (
            "stop_times.txt",
            "trip_id,stop_id,stop_sequence\nT1,S1,1\nT1,\"S1,1\n",
            "stop_times.txt line 3: a quotation mark is not closed",
        ),
        ("stop_times.txt", "trip_id,stop_id\nT1,S1\n", "stop_times.txt line 1: there is no column \"stop_sequence\""),
        ("stop_times.txt", "", "stop_times.txt line 1: there is no line with the names of the columns"),
        ("trips.txt", "route_id,trip_id\nR1,T1\nR7,T2\n", "trips.txt line 3: routes.txt has no route_id \"R7\""),
        ("routes.txt", "route_id,route_type\nR1\n", "routes.txt line 2: 1 values where there are 2 columns"),
        ("stops.txt", "stop_id,stop_name\nS1,a \"b\"\n", "stops.txt line 2: a quotation mark stands in a value"),
    ];
    for (name, text, message) in rows {
        check_failure(folder_of(&tables(&[(name, Some(text))])).path(), &[message]);
    }
    let feed = folder_of(&tables(&[]));
    fs::write(feed.path().join("stop_times.txt"), b"trip_id,stop_id,stop_sequence\nT1,S1,1\nT1,\xff,1\n").unwrap();
    check_failure(feed.path(), &["stop_times.txt line 3: the text is not UTF-8"]);
}

#[test]
fn the_first_of_many_broken_rows_is_named_and_the_last_row_of_many_is_found() {
    let mut rows = format!("trip_id,stop_id,stop_sequence\n{}", "T1,S1,1\n".repeat(100_000));
    rows.push_str("T1,S1,second to last\nT1,S1,last\n");
    check_failure(
        folder_of(&tables(&[("stop_times.txt", Some(&rows))])).path(),
        &["stop_times.txt line 100002: ", "second to last"],
    );
}

#[test]
fn a_feed_that_is_not_there_or_not_whole_is_an_error() {
    for name in ["stop_times.txt", "trips.txt", "routes.txt", "stops.txt"] {
        check_failure(folder_of(&tables(&[(name, None)])).path(), &["has no", name]);
    }
    let folder = tempfile::tempdir().unwrap();
    check_failure(&folder.path().join("nothing"), &["cannot read the feed", "nothing"]);
    let whole = zip_of(&tables(&[]), zip::CompressionMethod::Deflated);
    let without = zip_of(&tables(&[("stop_times.txt", None)]), zip::CompressionMethod::Deflated);
    for (name, bytes, part) in [
        ("torn.zip", &whole[..whole.len() / 2], "neither a folder nor a whole zip"),
        ("end.zip", &whole[..whole.len() - 1], "neither a folder nor a whole zip"),
        ("text.txt", b"no zip at all".as_slice(), "neither a folder nor a whole zip"),
        ("without.zip", &without, "has no stop_times.txt"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        check_failure(&path, &[part, name]);
    }
}

#[test]
fn an_old_output_survives_a_failure_and_a_device_is_not_replaced() {
    let feed = folder_of(&tables(&[("stop_times.txt", Some("trip_id,stop_id,stop_sequence\nT1,S1,x\n"))]));
    let kept = tempfile::tempdir().unwrap();
    let output = kept.path().join("rows.json");
    fs::write(&output, "old").unwrap();
    let outcome = run([feed.path(), Path::new("--output"), &output]);
    assert_eq!(outcome.code, Some(1));
    assert_eq!(fs::read_to_string(&output).unwrap(), "old");
    assert_eq!(entries(kept.path()), 1);

    let link = kept.path().join("link");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    let outcome = run([folder_of(&tables(&[])).path(), Path::new("--output"), &link]);
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.contains("no file"), "{}", outcome.stderr);
}

#[test]
fn a_wrong_option_is_one_clear_line() {
    let rows: [(&[&str], &str); 6] = [
        (&["--wokers", "3"], "gtfs_json: there is no option \"--wokers\"; see --help\n"),
        (&["--workers", "many"], "gtfs_json: --workers takes a whole number from 1 up, not \"many\"\n"),
        (&["--pieces=0"], "gtfs_json: --pieces takes a whole number from 1 up, not \"0\"\n"),
        (
            &["--max-load", "high"],
            "gtfs_json: --max-load takes percent as a number from 0 up, such as 85 or 85.5, not \"high\"\n",
        ),
        (&["--output"], "gtfs_json: --output needs a value after it; see --help\n"),
        (&["one", "two"], "gtfs_json: two feeds are named, \"one\" and \"two\"; name one\n"),
    ];
    for (arguments, line) in rows {
        let outcome = run(arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()), (Some(1), "", line));
    }
    let outcome = run(["--help"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
    for option in ["--workers", "--pieces", "--output", "--max-load", "--make-rows", "--help"] {
        assert!(outcome.stdout.contains(option), "{option}");
    }
}

#[test]
fn without_a_feed_one_is_made_and_kept() {
    let rows = 1234;
    let folder = program().ancestors().nth(3).unwrap().join(format!("gtfs-{rows}"));
    let _ = fs::remove_dir_all(&folder);
    let arguments = ["--make-rows".to_owned(), rows.to_string()];
    let first = run(&arguments);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    assert!(first.stdout.contains(&format!("\nrows {rows}\n")), "{}", first.stdout);
    assert!(first.stderr.contains("making a feed"), "{}", first.stderr);
    let second = run(&arguments);
    assert_eq!((second.code, second.stderr.as_str()), (Some(0), ""));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn an_interrupted_run_leaves_neither_folder_nor_output() {
    let stop_times = format!("trip_id,stop_id,stop_sequence\n{}", "T1,S1,1\nT2,S2,2\n".repeat(400_000));
    let folder = tempfile::tempdir().unwrap();
    let feed = folder.path().join("feed.zip");
    fs::write(&feed, zip_of(&tables(&[("stop_times.txt", Some(&stop_times))]), zip::CompressionMethod::Stored))
        .unwrap();
    for signal in ["-INT", "-TERM"] {
        let (temporary, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut command = Command::new(program());
        command.arg(&feed).arg("--output").arg(kept.path().join("rows.json")).env("TMPDIR", temporary.path());
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let unpacking = || entries(temporary.path()) > 0 && entries(kept.path()) > 0;
        let deadline = Instant::now() + Duration::from_secs(20);
        while !unpacking() {
            assert!(
                Instant::now() < deadline && child.try_wait().unwrap().is_none(),
                "the program should be unpacking"
            );
            std::thread::yield_now();
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_eq!((entries(temporary.path()), entries(kept.path())), (0, 0), "{signal}");
    }
}
