//! Kills, resumption, and two imports at once: the database is always the identical one.

mod support;

use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};
use support::{
    DEADLINE, Place, Run, big_feed, files, is_identical, kill_after, kill_some_workers, kill_while_writing,
    record_ends, rows, wait_until,
};

const POOL: &[&str] = &["--workers", "2"];
const SERIAL: &[&str] = &["--serial"];

fn start(place: &Place, database: &str, arguments: &[&str]) -> Run {
    place.start(place.path(database), arguments)
}

#[test]
fn kills_at_any_time_end_in_the_identical_database() {
    let place = big_feed();
    let serial = place.run_on("feed", "serial.db", SERIAL);
    assert_eq!(serial.code, Some(0), "{}", serial.stderr);
    assert!(serial.rejected() > 100, "{}", serial.stdout);
    let expected = place.path("serial.db");
    for (database, arguments) in [("out.db", POOL), ("own.db", SERIAL)] {
        let committed = || {
            let database = Connection::open_with_flags(place.path(database), OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
            database.query_row("SELECT sum(committed) FROM import_files", [], |row| row.get(0)).ok()
        };
        let kills = kill_while_writing(|| start(&place, database, arguments), committed);
        assert!(kills >= 2, "killed {kills} times");
        let last = place.run_on("feed", database, &[arguments, &["--verify"]].concat());
        assert_eq!((last.code, last.rejected()), (Some(0), serial.rejected()), "{}", last.stderr);
        assert!(is_identical(&place.path(database), &expected), "after {kills} kills");
    }
    assert_eq!(place.left(), ["out.db", "out.db.journal", "own.db", "serial.db"]);
}

#[test]
fn a_kill_behind_each_commit_loses_and_repeats_nothing() {
    let place = big_feed();
    assert_eq!(place.run_on("feed", "serial.db", &["--serial"]).code, Some(0));
    let expected = place.path("serial.db");
    for (database, arguments) in [("out.db", &["--workers", "2"][..]), ("own.db", &["--serial"])] {
        let mut committed = 0;
        for _kill in 0..3 {
            let run = start(&place, database, arguments);
            committed = wait_until(|| committed_pieces(&place, database).filter(|now| *now > committed));
            assert!(!kill_after(run, Duration::ZERO));
        }
        assert_eq!(place.run_on("feed", database, arguments).code, Some(0));
        assert!(is_identical(&place.path(database), &expected), "{database}");
    }
}

/// A kill between a commit and the record of its confirmations made later transactions of other pieces, and so another file.
#[test]
fn pieces_that_were_committed_and_not_confirmed_are_not_written_again() {
    let place = big_feed();
    assert_eq!(place.run_on("feed", "serial.db", &["--serial"]).code, Some(0));
    for (number, kept) in [0, 3].into_iter().enumerate() {
        let database = format!("out{number}.db");
        let run = start(&place, &database, &["--workers", "2"]);
        wait_until(|| committed_pieces(&place, &database).filter(|committed| *committed > 8));
        assert!(!kill_after(run, Duration::ZERO));
        // The journal as it was at an earlier time: it loses its end.
        let journal = place.path(&format!("{database}.journal"));
        let ends = record_ends(&journal);
        let end = if kept == 0 { 0 } else { ends[ends.len() - kept] };
        fs::File::options().write(true).open(&journal).unwrap().set_len(end).unwrap();
        assert_eq!(place.run_on("feed", &database, &["--workers", "2", "--verify"]).code, Some(0));
        assert!(is_identical(&place.path(&database), &place.path("serial.db")), "{kept}");
    }
}

#[test]
fn what_is_in_the_database_is_not_written_again() {
    let place = big_feed();
    let pool = &["--workers", "2"][..];
    for (database, arguments) in [("out.db", pool), ("own.db", &["--serial"]), ("lost.db", pool)] {
        let run = start(&place, database, arguments);
        // The pieces of the first commit are confirmed long before the second.
        wait_until(|| committed_pieces(&place, database).filter(|committed| *committed > 8));
        assert!(!kill_after(run, Duration::ZERO));
        let mark = "PRAGMA foreign_keys = OFF; UPDATE stop_times SET stop_headsign = 'marked' WHERE rowid = 1";
        Connection::open(place.path(database)).unwrap().execute_batch(mark).unwrap();
        if database == "lost.db" {
            // As if the kill had come before the confirmations.
            fs::remove_file(place.path("lost.db.journal")).unwrap();
        }
        assert_eq!(place.run_on("feed", database, arguments).code, Some(0));
        let query = "SELECT stop_headsign = 'marked' FROM stop_times ORDER BY rowid LIMIT 2";
        assert_eq!(rows(&support::open(&place.path(database)), query), ["1", "0"], "{database}");
    }
}

/// The pieces of `stop_times.txt` in the database, if it can be read already.
fn committed_pieces(place: &Place, database: &str) -> Option<u64> {
    let database = Connection::open_with_flags(place.path(database), OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    let query = "SELECT committed FROM import_files WHERE file = 'stop_times.txt'";
    database.query_row(query, [], |row| row.get(0)).ok()
}

#[test]
fn a_killed_worker_costs_only_time() {
    let place = big_feed();
    assert_eq!(place.run_on("feed", "serial.db", &["--serial"]).code, Some(0));
    let run = start(&place, "out.db", &["--workers", "2"]);
    wait_until(|| committed_pieces(&place, "out.db").filter(|committed| *committed > 0));
    kill_some_workers(&place);
    assert!(kill_after(run, DEADLINE), "it ends well");
    assert!(is_identical(&place.path("out.db"), &place.path("serial.db")));
}

#[test]
fn another_number_of_workers_or_none_goes_on_with_the_same_database() {
    let place = big_feed();
    let begin = Instant::now();
    assert_eq!(place.run_on("feed", "serial.db", &["--serial"]).code, Some(0));
    let part = begin.elapsed() / 4;
    let mut kills = 0;
    for arguments in [&["--workers", "1"][..], &["--serial"], &["--workers", "3"], &["--serial"]] {
        kills += u32::from(!kill_after(start(&place, "out.db", arguments), part));
    }
    assert!(kills >= 1);
    assert_eq!(place.run(&["--workers", "2"]).code, Some(0));
    assert!(is_identical(&place.path("out.db"), &place.path("serial.db")));
}

#[test]
fn started_again_when_finished_nothing_changes() {
    let place = Place::of(&files(&[]));
    let first = place.run(&[]);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let look =
        |name| (fs::read(place.path(name)).unwrap(), fs::metadata(place.path(name)).unwrap().modified().unwrap());
    let before = (look("out.db"), look("out.db.journal"));
    let pieces = place.query("SELECT CAST(sum(pieces) AS TEXT) FROM import_files");
    let recorded = multicore::journal::read(place.path("out.db.journal")).unwrap().map(Result::unwrap).count();
    assert_eq!(pieces, [recorded.to_string()]);
    let again = place.run(&[]);
    assert_eq!((again.code, again.rejected()), (Some(0), first.rejected()));
    assert!(again.stdout.starts_with("the database has this feed already\n"), "{}", again.stdout);
    assert!((look("out.db"), look("out.db.journal")) == before);
    assert_eq!(place.left(), ["out.db", "out.db.journal"]);
}

#[test]
fn ctrl_c_ends_with_130_and_the_same_command_goes_on() {
    let place = big_feed();
    assert_eq!(place.run_on("feed", "serial.db", &["--serial"]).code, Some(0));
    for (signal, database) in [(Signal::INT, "int.db"), (Signal::TERM, "term.db")] {
        let mut run = start(&place, database, &["--workers", "2"]);
        wait_until_it_writes(&place, database);
        kill_process(Pid::from_child(&run.0), signal).unwrap();
        assert_eq!(run.0.wait().unwrap().code(), Some(130));
        assert_eq!(place.run_on("feed", database, &["--workers", "2"]).code, Some(0));
        assert!(is_identical(&place.path(database), &place.path("serial.db")));
    }
}

/// Waits until a run has locked the database and made its tables.
fn wait_until_it_writes(place: &Place, database: &str) {
    wait_until(|| place.path(&format!("{database}-wal")).exists().then_some(()));
}

/// The pieces of the other file were committed, and once the old file was back, the next run took them for its own.
#[test]
fn a_file_that_is_edited_meanwhile_and_put_back_leaves_nothing_of_it() {
    let place = big_feed();
    assert_eq!(place.run_on("feed", "serial.db", &["--serial"]).code, Some(0));
    let path = place.path("feed/stop_times.txt");
    let before = fs::read(&path).unwrap();
    // Every headsign, in the same number of bytes.
    let edited = String::from_utf8(before.clone()).unwrap().replace("towards a stop", "towards a shop");
    for (database, arguments) in [("out.db", &["--workers", "2"][..]), ("own.db", &["--serial"])] {
        let mut run = start(&place, database, arguments);
        wait_until(|| committed_pieces(&place, database).filter(|committed| *committed > 0));
        overwrite(&path, edited.as_bytes());
        assert_eq!(run.0.wait().unwrap().code(), Some(1), "{database}");
        overwrite(&path, &before);
        assert_eq!(place.run_on("feed", database, arguments).code, Some(0));
        assert!(is_identical(&place.path(database), &place.path("serial.db")), "{database}");
    }
}

/// Writes into a file that others have open.
fn overwrite(path: &std::path::Path, bytes: &[u8]) {
    std::io::Write::write_all(&mut fs::File::options().write(true).open(path).unwrap(), bytes).unwrap();
}

#[test]
fn a_journal_that_another_import_has_leaves_no_database() {
    let place = big_feed();
    let first = start(&place, "out.db", &["--workers", "1"]);
    wait_until_it_writes(&place, "out.db");
    let journal = place.path("out.db.journal");
    let refusal =
        place.run_on("feed", "second.db", &["--workers", "1", "--journal", journal.to_str().unwrap()]).refusal();
    assert!(refusal.contains("out.db.journal"), "{refusal}");
    assert!(place.left().iter().all(|name| name.starts_with("out.db")), "{:?}", place.left());
    assert!(kill_after(first, DEADLINE), "the first is not disturbed");
}

/// The processes of a killed import end a moment after it, and keep the lock until then.
#[test]
fn a_lock_that_is_released_soon_is_waited_for() {
    let place = Place::of(&files(&[]));
    let held = fs::File::create(place.path("out.db")).unwrap();
    held.lock().unwrap();
    let releaser = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        drop(held);
    });
    let outcome = place.run(&["--serial"]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    releaser.join().unwrap();
}

#[test]
fn of_two_imports_into_one_database_the_second_is_refused() {
    let place = big_feed();
    let first = start(&place, "out.db", &["--workers", "1"]);
    wait_until_it_writes(&place, "out.db");
    // Stopped, so that it cannot end before the second one has looked.
    kill_process(Pid::from_child(&first.0), Signal::STOP).unwrap();
    for arguments in [&["--workers", "1"][..], &["--serial"]] {
        let refusal = place.run(arguments).refusal();
        assert!(refusal.ends_with("another import writes it at the moment; wait for its end"), "{refusal}");
    }
    kill_process(Pid::from_child(&first.0), Signal::CONT).unwrap();
    assert!(kill_after(first, DEADLINE), "the first is not disturbed");
    assert_eq!(place.run(&["--verify"]).code, Some(0));
}
