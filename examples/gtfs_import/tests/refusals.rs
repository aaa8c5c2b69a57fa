//! What is refused: in one line that tells what is wrong, and without a trace of it.

mod support;

use rusqlite::Connection;
use rustix::fs::{CWD, Mode, mkfifoat};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use support::{Place, STOP_TIMES, STOPS, dump, files, program, run, zip_of};

/// A feed with changes is refused, and leaves no database.
#[track_caller]
fn check(changes: &[(&'static str, Option<&[u8]>)], message: &str) {
    for arguments in [&["--workers", "2"][..], &["--serial"]] {
        let place = Place::of(&files(changes));
        let refusal = place.run(arguments).refusal();
        assert!(refusal.contains(message), "{refusal:?} should contain {message:?}");
        assert!(place.left().is_empty(), "{:?}", place.left());
    }
}

#[test]
fn a_feed_without_a_file_or_a_column_that_it_must_have_leaves_no_database() {
    for name in ["agency.txt", "stops.txt", "routes.txt", "trips.txt", "stop_times.txt"] {
        check(&[(name, None)], &format!("has no {name}, which a GTFS feed must have"));
    }
    check(&[("calendar.txt", None)], "has neither calendar.txt nor calendar_dates.txt");
    for (name, text, message) in [
        ("stops.txt", &b"stop_name\nx\n"[..], "stops.txt has no column stop_id, which GTFS requires"),
        ("routes.txt", b"route_id\nR1\n", "routes.txt has no column route_type"),
        ("trips.txt", b"route_id,trip_id\nR1,T1\n", "trips.txt has no column service_id"),
        ("stop_times.txt", b"trip_id,stop_sequence\nT1,1\n", "stop_times.txt has no column stop_id"),
        ("stop_times.txt", b"trip_id,stop_id\nT1,S1\n", "stop_times.txt has no column stop_sequence"),
        ("agency.txt", b"agency_id\nA\n", "agency.txt has no column agency_name"),
        ("shapes.txt", b"shape_id,shape_pt_lat,shape_pt_lon\n", "shapes.txt has no column shape_pt_sequence"),
        ("stops.txt", b"", "stops.txt has no line with the names of its columns"),
        ("calendar.txt", b"", "has neither calendar.txt nor calendar_dates.txt"),
        ("stops.txt", b"stop_id\rS1\r", "stops.txt:1: a carriage return stands inside the name of a column"),
        ("stops.txt", b"stop_id,stop_id\n", "stops.txt has two columns \"stop_id\""),
        ("stops.txt", b"stop_id,stop_name\nS1,x\nS2,\"y\n", "stops.txt:3: a quotation mark is not closed"),
    ] {
        check(&[(name, Some(text))], message);
    }
}

#[test]
fn a_feed_that_cannot_be_read_leaves_no_database() {
    let feed: Vec<_> = files(&[]).into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
    let whole = zip_of(&feed);
    let mut flipped = whole.clone();
    // Among the compressed bytes of the first file.
    flipped[60] ^= 0x55;
    let two: Vec<_> = ["a", "b"]
        .iter()
        .flat_map(|folder| feed.iter().map(move |(name, text)| (format!("{folder}/{name}"), text.clone())))
        .collect();
    for (bytes, message) in [
        (whole[..whole.len() - 30].to_vec(), "neither a folder nor a whole zip"),
        (whole[..whole.len() / 2].to_vec(), "neither a folder nor a whole zip"),
        (Vec::new(), "neither a folder nor a whole zip"),
        (STOPS.as_bytes().to_vec(), "neither a folder nor a whole zip"),
        (flipped, "cannot unpack agency.txt of"),
        (zip_of(&feed[1..]), "has no agency.txt"),
        (zip_of(&[]), "has no agency.txt"),
        (zip_of(&two), "its folders \"a\" and \"b\" both look like one"),
    ] {
        let place = Place::of(&[]);
        fs::write(place.path("feed.zip"), bytes).unwrap();
        let refusal = place.run_on("feed.zip", "out.db", &[]).refusal();
        assert!(refusal.contains(message), "{refusal:?} should contain {message:?}");
        assert!(place.left().is_empty(), "{:?}", place.left());
    }
    let place = Place::of(&[]);
    // It waited for ever.
    mkfifoat(CWD, place.path("feed.pipe"), Mode::RWXU).unwrap();
    let refusal = place.run_on("feed.pipe", "out.db", &[]).refusal();
    assert!(refusal.ends_with("it is neither a folder nor a file"), "{refusal}");
    let refusal = place.run_on("nothing", "out.db", &[]).refusal();
    assert!(refusal.starts_with("cannot read the feed"), "{refusal}");
}

#[test]
fn what_is_no_database_of_this_import_is_refused_and_stays_as_it_was() {
    let place = Place::of(&files(&[]));
    fs::write(place.path("text.db"), "no database, but a text that is longer than a hundred bytes, ".repeat(9))
        .unwrap();
    Connection::open(place.path("other.db")).unwrap().execute_batch("CREATE TABLE stops (a)").unwrap();
    Connection::open(place.path("version.db"))
        .unwrap()
        .execute_batch("CREATE TABLE import_state (key, value); CREATE TABLE import_files (file)")
        .unwrap();
    let earlier = Place::of(&files(&[("stops.txt", Some(format!("{STOPS}S3,x,1,1\n").as_bytes()))]));
    assert_eq!(earlier.run(&[]).code, Some(0));
    fs::copy(earlier.path("out.db"), place.path("feed.db")).unwrap();
    for (name, message) in [
        ("text.db", "it is no SQLite database; name another one"),
        ("other.db", "it was not made by this program; name another one"),
        ("version.db", "it was made by another version of this program; name another one"),
        ("feed.db", "stops.txt differs; name another one"),
        ("feed", "it is no file"),
        ("nowhere/out.db", "cannot open the database"),
    ] {
        let before = fs::read(place.path(name)).ok();
        for arguments in [&["--workers", "1"][..], &["--serial"]] {
            let refusal = place.run_on("feed", name, arguments).refusal();
            assert!(refusal.contains(message), "{refusal:?} should contain {message:?}");
        }
        assert!(fs::read(place.path(name)).ok() == before, "{name}");
    }
    assert_eq!(place.left(), ["other.db", "text.db", "version.db"]);
}

#[test]
fn what_is_no_journal_of_this_import_is_refused_and_leaves_no_database() {
    let place = Place::of(&files(&[]));
    let earlier = Place::of(&files(&[("stops.txt", Some(format!("{STOPS}S3,x,1,1\n").as_bytes()))]));
    assert_eq!(earlier.run(&[]).code, Some(0));
    fs::copy(earlier.path("out.db.journal"), place.path("feed.journal")).unwrap();
    fs::write(place.path("text.journal"), "a text").unwrap();
    let same = Place::of(&files(&[]));
    assert_eq!(same.run(&[]).code, Some(0));
    fs::copy(same.path("out.db.journal"), place.path("lost.journal")).unwrap();
    for (name, message) in [
        ("feed.journal", "it has other pieces than those of"),
        ("lost.journal", "it has pieces, and the database is not there; remove it, or name another one"),
        ("text.journal", "text.journal"),
        ("feed", "feed"),
    ] {
        let before = fs::read(place.path(name)).ok();
        let path = place.path(name);
        let refusal = place.run(&["--journal", path.to_str().unwrap()]).refusal();
        assert!(refusal.contains(message), "{refusal:?} should contain {message:?}");
        assert!(!place.path("out.db").exists(), "{name}");
        assert!(fs::read(place.path(name)).ok() == before, "{name}");
    }
    // A database without its journal has all that it needs.
    fs::remove_file(same.path("out.db.journal")).unwrap();
    assert_eq!(same.run(&[]).code, Some(0));
}

/// The journal was opened after the database had been made.
#[test]
fn a_journal_that_cannot_be_made_leaves_no_database() {
    let place = Place::of(&files(&[]));
    fs::create_dir(place.path("feed-open")).unwrap();
    fs::set_permissions(place.path("feed-open"), fs::Permissions::from_mode(0o777)).unwrap();
    for (journal, message) in [
        ("nowhere/journal", "nowhere/journal"),
        ("feed-open/journal", "feed-open"),
        ("./out.db", "the journal and the database are one file; name another one for --journal"),
        ("feed/../out.db", "the journal and the database are one file; name another one for --journal"),
    ] {
        let path = format!("{}/{journal}", place.folder.path().display());
        let refusal = place.run(&["--workers", "1", "--journal", &path]).refusal();
        assert!(refusal.contains(message), "{refusal:?} should contain {message:?}");
        assert!(place.left().is_empty(), "{journal}: {:?}", place.left());
    }
}

#[test]
fn a_database_may_have_a_name_that_is_a_uri_to_sqlite() {
    let place = Place::of(&files(&[]));
    let mut command = program();
    let output = command.args(["feed", "file:out.db?mode=ro"]).current_dir(place.folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(place.left(), ["file:out.db?mode=ro", "file:out.db?mode=ro.journal"]);
}

/// A closed stderr was a panic, and the exit code 101.
#[test]
fn a_closed_stderr_changes_nothing() {
    let place = Place::of(&files(&[("stop_times.txt", Some(format!("{STOP_TIMES}T9,,,S1,1\n").as_bytes()))]));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let status = program()
        .arg(place.path("feed"))
        .arg(place.path("out.db"))
        .stdout(Stdio::null())
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_feed_with_another_file_or_one_less_is_another_feed() {
    let place = Place::of(&files(&[("levels.txt", Some(b"level_id,level_index\nL,0\n"))]));
    assert_eq!(place.run(&["--serial"]).code, Some(0));
    let before = dump(&place.path("out.db"));
    fs::remove_file(place.path("feed/levels.txt")).unwrap();
    assert!(place.run(&["--serial"]).refusal().contains("levels.txt differs"));
    fs::write(place.path("feed/levels.txt"), "level_id,level_index\nL,1\n").unwrap();
    assert!(place.run(&["--serial"]).refusal().contains("levels.txt differs"));
    fs::write(place.path("feed/levels.txt"), "level_id,level_index\nL,0\n").unwrap();
    assert_eq!(place.run(&["--serial"]).code, Some(0));
    assert!(dump(&place.path("out.db")) == before);
}

#[test]
fn a_wrong_option_is_told_in_one_line() {
    for (arguments, message) in [
        (&[][..], "name a feed and a database: gtfs_import FEED DB; see --help"),
        (&["feed", "out.db", "--wokers", "2"], "there is no option \"--wokers\"; see --help"),
        (&["feed", "out.db", "--workers", "0"], "--workers takes a whole number from 1 to 4096, not \"0\""),
    ] {
        assert_eq!(run(arguments).refusal(), message);
    }
    let help = run(["--help"]);
    assert!(help.code == Some(0) && help.stdout.starts_with("Imports a whole GTFS feed") && help.stderr.is_empty());
}

#[test]
fn strict_fails_for_rejected_rows_and_imports_the_rest() {
    for (extra, code) in [("", 0), ("T9,08:00:00,08:00:00,S1,1\n", 1)] {
        let place = Place::of(&files(&[("stop_times.txt", Some(format!("{STOP_TIMES}{extra}").as_bytes()))]));
        // Also when it is started again.
        for _run in 0..2 {
            let outcome = place.run(&["--strict"]);
            assert_eq!((outcome.code, outcome.rejected()), (Some(code), code as u64), "{}", outcome.stderr);
        }
        assert_eq!(place.query("SELECT count(*) FROM stop_times"), ["3"]);
    }
}

#[test]
fn verify_finds_rows_that_were_lost_or_refer_to_nothing() {
    for (damage, message) in [
        (
            "DELETE FROM stop_times WHERE rowid = 2",
            "stop_times.txt has 3 rows, and the database 2 of them and 0 rejected ones",
        ),
        ("UPDATE stop_times SET stop_id = 'S9' WHERE rowid = 2", "stop_times: 1 rows: stop_id is not in stops.txt"),
        (
            "UPDATE trips SET service_id = 'S9' WHERE rowid = 2",
            "trips: 1 rows: service_id is neither in calendar.txt nor in calendar_dates.txt",
        ),
    ] {
        let place = Place::of(&files(&[]));
        let outcome = place.run(&["--verify"]);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{}", outcome.stdout);
        let database = Connection::open(place.path("out.db")).unwrap();
        database.execute_batch(&format!("PRAGMA foreign_keys = OFF; {damage}")).unwrap();
        drop(database);
        let outcome = place.run(&["--verify"]);
        assert_eq!(outcome.code, Some(1), "{damage}");
        assert!(outcome.told().contains(&message), "{}", outcome.stderr);
        assert_eq!(place.run(&[]).code, Some(0), "only --verify looks");
    }
}
