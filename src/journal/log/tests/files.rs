//! Journals on a real disk, as their users read them, make them new and repair them.

use super::*;
use crate::error::{Error, ErrorKind};
use crate::journal::format::{Ended, How};
use crate::journal::{Outcome, Record, compact, read, repair};
use crate::sys::record_file::RecordFile;
use std::path::Path;
use std::time::{Duration, SystemTime};

fn ended(number: u8, how: How) -> Ended {
    Ended { key: [number; 16], attempts: 2, finished_ns: 1_500_000_000, took_ns: 30, how }
}

fn write(path: &Path, name: &str, outcomes: &[(u8, How, &str)]) {
    let mut log = Log::open(RecordFile::open(path).unwrap(), FileId::random().unwrap(), false, |_, _| {}).unwrap();
    log.begin_run(&Run { name: name.into(), version: "7".into(), ..Run::default() }).unwrap();
    for &(number, how, text) in outcomes {
        let ended = ended(number, how);
        log.append(ended.kind(), &[&ended.encode().unwrap(), text.as_bytes()]).unwrap();
        log.sync().unwrap();
    }
    log.close().unwrap();
}

const FAILED: How = How::Failed(ErrorKind::Panicked);

/// What a record says in short: its task, its piece, its message or result.
fn short(record: &Record) -> (String, u8, Option<String>) {
    let text = match record.outcome() {
        Outcome::Failed => record.message().map(str::to_string),
        Outcome::Done => record.result().map(|result| String::from_utf8(result.to_vec()).unwrap()),
    };
    (record.name().to_string(), record.key()[0], text)
}

fn all(path: &Path) -> Vec<(String, u8, Option<String>)> {
    read(path).unwrap().map(|record| short(&record.unwrap())).collect()
}

fn expected(rows: &[(&str, u8, Option<&str>)]) -> Vec<(String, u8, Option<String>)> {
    rows.iter().map(|&(name, number, text)| (name.to_string(), number, text.map(str::to_string))).collect()
}

#[test]
fn records_are_read_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    write(&path, "import", &[(1, How::Result, "one"), (2, FAILED, "no such row"), (3, How::NoResult, "")]);
    let records: Vec<Record> = read(&path).unwrap().map(Result::unwrap).collect();
    assert_eq!(
        all(&path),
        expected(&[("import", 1, Some("one")), ("import", 2, Some("no such row")), ("import", 3, None)])
    );
    let failed = &records[1];
    assert_eq!((failed.outcome(), failed.kind(), failed.result()), (Outcome::Failed, Some(ErrorKind::Panicked), None));
    assert_eq!((failed.version(), failed.attempts(), failed.took()), ("7", 2, Duration::from_nanos(30)));
    assert_eq!(failed.finished(), SystemTime::UNIX_EPOCH + Duration::from_millis(1_500));
    assert!(failed.range().start >= records[0].range().end && failed.range().end <= records[2].range().start);
    assert_eq!(records[2].outcome(), Outcome::Done);
}

#[test]
fn a_journal_is_read_while_it_is_written_and_not_changed_by_that() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    write(&path, "first", &[(1, How::Result, "one")]);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..], b"half a record"].concat()).unwrap();
    let _writer = RecordFile::open(&path).unwrap();
    assert_eq!(all(&path).len(), 1);
    assert_eq!(std::fs::read(&path).unwrap().len(), whole.len() + 13);
    // A file that was never more than begun.
    let empty = folder.path().join("empty");
    std::fs::write(&empty, &whole[..20]).unwrap();
    assert_eq!(all(&empty), []);
}

#[test]
fn compaction_keeps_the_newest_outcome_of_each_piece() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    write(&path, "first", &[(1, FAILED, "broken"), (2, How::Result, "two")]);
    write(&path, "second", &[(1, How::Result, "one"), (3, FAILED, "again"), (3, FAILED, "and again")]);
    let before = std::fs::metadata(&path).unwrap().len();
    let compacted = compact(&path).unwrap();
    assert_eq!((compacted.outcomes(), compacted.dropped(), compacted.bytes_before()), (3, 2, before));
    assert_eq!(compacted.bytes_after(), std::fs::metadata(&path).unwrap().len());
    let rows = [("first", 2, Some("two")), ("second", 1, Some("one")), ("second", 3, Some("and again"))];
    assert_eq!(all(&path), expected(&rows));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    // What a compaction left that died is taken away; another file of that name is not.
    let left_over = folder.path().join("journal.compacting");
    std::fs::write(&left_over, b"\x89mcjrnl\n").unwrap();
    compact(&path).unwrap();
    assert!(!left_over.exists());
    std::fs::write(&left_over, "somebody's own").unwrap();
    assert!(refusal(compact(&path)).contains("journal.compacting is refused: it is there"));
    assert_eq!(std::fs::read(&left_over).unwrap(), b"somebody's own");
    std::fs::remove_file(left_over).unwrap();
    // It is a journal like any other.
    write(&path, "third", &[(4, How::NoResult, "")]);
    assert_eq!(all(&path).len(), 4);
    assert_eq!(compact(&path).unwrap().dropped(), 0);
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Journal);
    error.to_string()
}

#[test]
fn what_is_damaged_is_told_and_left_out_by_a_repair() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    write(&path, "task", &[(1, How::Result, "one"), (2, How::Result, "two"), (3, How::Result, "three")]);
    let place = read(&path).unwrap().nth(1).unwrap().unwrap().range().start;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[place as usize + 20] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let mut reader = read(&path).unwrap();
    assert!(reader.next().unwrap().is_ok());
    let told = refusal(reader.next().unwrap());
    assert!(told.contains(&format!("is corrupt at byte {place}")) && told.contains("journal::repair"), "{told}");
    assert!(reader.next().is_none());
    assert_eq!(refusal(compact(&path)), told);
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "it is left as it is");
    assert_eq!(repair(&path).unwrap().outcomes(), 2);
    assert_eq!(all(&path), expected(&[("task", 1, Some("one")), ("task", 3, Some("three"))]));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_used_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("text"), "Seq\tHost\n".repeat(9)).unwrap();
    assert!(refusal(read(path("text"))).contains("is no journal, and is left as it is"));
    assert!(refusal(compact(path("text"))).contains("is no journal"));
    assert!(refusal(read(path("none"))).contains("cannot be opened: No such file"));
    assert!(refusal(compact(path("none"))).contains("No such file"));
    assert!(!path("none").exists());
    assert!(refusal(read(folder.path())).contains("it is a folder"));
    write(&path("held"), "task", &[]);
    let _held = RecordFile::open(&path("held")).unwrap();
    assert!(refusal(compact(path("held"))).contains("is held by another task or process"));
    // A later version of the crate wrote it.
    let mut later = std::fs::read(path("held")).unwrap();
    later[8] = 2;
    let sum = crc32c::crc32c(&later[..28]).to_le_bytes();
    later[28..32].copy_from_slice(&sum);
    std::fs::write(path("later"), &later).unwrap();
    assert!(refusal(read(path("later"))).contains("has format 2, and this version of the crate has format 1"));
    later[30] ^= 1;
    std::fs::write(path("later"), &later).unwrap();
    assert!(refusal(repair(path("later"))).contains("is damaged in its first 32 bytes"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn a_file_that_was_replaced_or_deleted_takes_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut log = Log::open(RecordFile::open(&path).unwrap(), FileId::random().unwrap(), false, |_, _| {}).unwrap();
    log.begin_run(&Run::default()).unwrap();
    log.sync().unwrap();
    std::fs::remove_file(&path).unwrap();
    let body = ended(1, How::NoResult).encode().unwrap();
    log.append(Kind::Confirmed, &[&body]).unwrap();
    match log.sync() {
        Err(Fault::System(error)) => assert_eq!(error.to_string(), "it was deleted"),
        other => panic!("{other:?}"),
    }
    assert!(log.close().is_err());
}
