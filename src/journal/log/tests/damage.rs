//! Files that are damaged in all ways: the records before the damage are read, or the damage is told with its place.

use super::disk::{Disk, Random, done, open, record};
use super::*;
use crate::journal::format::HEAD_BYTES;

/// A file of 20 records in groups of four, closed in order; and where each of its records begins.
fn file() -> (Disk, Vec<u64>) {
    file_of(true)
}

/// The same; `is_closed`: in order, else its process was killed.
fn file_of(is_closed: bool) -> (Disk, Vec<u64>) {
    let mut log = open(Disk::default()).unwrap();
    for number in 0..20 {
        record(&mut log, number).unwrap();
        if number % 4 == 3 {
            log.sync().unwrap();
        }
    }
    if is_closed {
        log.close().unwrap();
    }
    let mut starts = Vec::new();
    read_all(&log.storage, id_of(&log.storage).unwrap().unwrap(), false, |found, _| starts.push(found.offset)).unwrap();
    (log.storage, starts)
}

#[test]
fn a_file_that_is_cut_anywhere_gives_the_records_before_the_cut() {
    let (disk, starts) = file();
    let all = disk.now.len();
    for length in 0..all {
        let cut = Disk { now: disk.now[..length].to_vec(), ..Disk::default() };
        let recorded = done(&cut, false).unwrap();
        let whole = starts.iter().filter(|&&start| start < length as u64).count();
        let count = recorded.len() as u64;
        assert!(recorded.into_iter().eq(0..count), "{length}");
        assert!(count as usize <= whole, "{length}");
        let log = open(cut).unwrap();
        assert_eq!(done(&log.storage, false).unwrap().len() as u64, count, "{length}, opened");
    }
    assert_eq!(done(&disk, false).unwrap().len(), 20);
}

#[test]
fn a_flipped_bit_is_told_with_its_place_and_never_gives_another_record() {
    let (disk, starts) = file();
    let last = *starts.last().unwrap();
    for bit in HEADER_BYTES * 8..disk.now.len() * 8 {
        let mut damaged = disk.clone();
        damaged.now[bit / 8] ^= 1 << (bit % 8);
        let begins = *starts.iter().rfind(|&&start| start <= bit as u64 / 8).unwrap();
        match done(&damaged, false) {
            Err(Fault::Corrupt { offset }) => {
                assert_eq!(offset, begins, "bit {bit}");
                let repaired = done(&damaged, true).unwrap();
                assert!(repaired.len() >= 19, "bit {bit}: {repaired:?}");
                assert!(repaired.is_sorted() && repaired.iter().all(|&number| number < 20), "bit {bit}");
            }
            // Only what closes the file may pass for a torn tail: nothing is behind it.
            Ok(recorded) => assert!(begins == last && recorded.into_iter().eq(0..20), "bit {bit}"),
            Err(fault) => panic!("bit {bit}: {fault:?}"),
        }
    }
}

/// Nothing is behind the last group of a run that was killed: damage there looks like a torn tail. What was on the disk before that group
/// was written is known to have been.
#[test]
fn a_flipped_bit_in_the_file_of_a_killed_run_is_told_but_for_its_last_group() {
    let (disk, starts) = file_of(false);
    // A run, and five groups that each begin with a record of their own; the first of these comes before the run.
    let last_group = starts[starts.len() - 5];
    for bit in HEADER_BYTES * 8..disk.now.len() * 8 {
        let mut damaged = disk.clone();
        damaged.now[bit / 8] ^= 1 << (bit % 8);
        let is_last = bit as u64 / 8 >= last_group;
        match done(&damaged, false) {
            Err(Fault::Corrupt { .. }) => assert!(!is_last, "bit {bit}"),
            Ok(recorded) => assert!(is_last && (16..=20).contains(&recorded.len()), "bit {bit}: {recorded:?}"),
            Err(fault) => panic!("bit {bit}: {fault:?}"),
        }
    }
}

/// A power cut may tear a record before a whole one. Only a sync that covers the torn one makes it damage.
#[test]
fn a_whole_record_behind_a_bad_one_that_was_never_synced_is_cut_off_with_it() {
    let mut log = open(Disk::default()).unwrap();
    record(&mut log, 0).unwrap();
    let bytes = log.into_storage().now;
    let torn = [&bytes[..HEADER_BYTES], b"torn", &bytes[HEADER_BYTES..]].concat();
    let disk = Disk { now: torn, ..Disk::default() };
    assert!(done(&disk, false).unwrap().is_empty());
    assert_eq!(open(disk).unwrap().run, 1);
}

#[test]
fn zeros_and_garbage_behind_the_records_are_a_torn_tail() {
    let (disk, _) = file();
    for tail in [vec![0; 5_000], vec![0xa7; 700], b"\xa7mr\x15".repeat(100), vec![0xff; 3]] {
        let longer = Disk { now: [&disk.now[..], &tail].concat(), ..Disk::default() };
        assert_eq!(done(&longer, false).unwrap().len(), 20);
        let log = open(longer).unwrap();
        assert_eq!(done(&log.storage, false).unwrap().len(), 20);
    }
}

/// A search for the next record once read a window anew for each mark, and summed up all that a head claimed at each place: minutes for a MiB.
#[test]
fn a_file_that_was_made_to_be_slow_is_read_in_no_time() {
    let (disk, _) = file_of(false);
    let id = id_of(&disk).unwrap().unwrap();
    let marks = format::MARK.repeat(1 << 20);
    let most = 4 << 20;
    let claims: Vec<u8> = (0..most / HEAD_BYTES)
        .flat_map(|index| format::Head { kind: Kind::Done, run: 1, body_bytes: most - index * HEAD_BYTES }.encode(id))
        .collect();
    // A record at the end says that all was on the disk.
    let mut marked = disk.now.clone();
    let start = marked.len() as u64;
    marked.extend_from_slice(b"torn");
    marked.extend_from_slice(&claims);
    let synced = start + 4;
    format::append(&mut marked, id, (Kind::Synced, 1), &[&synced.to_le_bytes()]).unwrap();
    for (tail, is_corrupt) in [(marks, false), (claims, false), (marked[disk.now.len() + 4..].to_vec(), true)] {
        let longer = Disk { now: [&disk.now[..], b"torn", &tail].concat(), ..Disk::default() };
        let start = std::time::Instant::now();
        assert_eq!(done(&longer, false).is_err(), is_corrupt);
        assert_eq!(done(&longer, true).unwrap().len(), 20);
        assert!(start.elapsed() < std::time::Duration::from_secs(30), "{:?}", start.elapsed());
    }
}

/// Records that were moved, doubled or taken from another file.
#[test]
fn what_an_earlier_file_left_behind_is_no_record_of_this_one() {
    let (disk, starts) = file();
    let first = starts[2] as usize..starts[3] as usize;
    let doubled = [&disk.now[..], &disk.now[first.clone()]].concat();
    assert_eq!(done(&Disk { now: doubled, ..Disk::default() }, false).unwrap().len(), 21, "the newest counts");
    let mut other = Log::open(Disk::default(), FileId([3; 16]), false, |_, _| {}).unwrap();
    other.begin_run(&Run::default()).unwrap();
    record(&mut other, 7).unwrap();
    other.close().unwrap();
    let foreign = other.storage.now[HEADER_BYTES..].to_vec();
    let mixed = Disk { now: [&disk.now[..], &foreign].concat(), ..Disk::default() };
    assert_eq!(done(&mixed, false).unwrap().len(), 20);
}

#[test]
fn what_is_no_journal_is_refused_and_left_as_it_is() {
    for (bytes, expected) in [
        (b"Seq\tHost\tStarttime\n".to_vec(), HeaderFault::Foreign),
        (b"SQLite format 3\0 and more than thirty-two bytes".to_vec(), HeaderFault::Foreign),
        (vec![0; 33], HeaderFault::Foreign),
    ] {
        let disk = Disk { now: bytes.clone(), ..Disk::default() };
        match id_of(&disk) {
            Err(Fault::Header(fault)) => assert_eq!(fault, expected),
            other => panic!("{other:?}"),
        }
        assert!(matches!(open(disk), Err(Fault::Header(_))));
    }
}

/// The tail of the last run was cut; a new run writes behind it, and the numbers of runs grow.
#[test]
fn each_run_goes_on_behind_the_one_before() {
    let mut disk = Disk::default();
    for run in 1..=5 {
        let mut log = open(disk).unwrap();
        assert_eq!(log.run, run);
        record(&mut log, u64::from(run) - 1).unwrap();
        log.sync().unwrap();
        // It dies in mid-record.
        log.storage.now.extend(b"\xa7mr\x15half");
        disk = log.storage;
    }
    assert!(done(&disk, false).unwrap().into_iter().eq(0..5));
}

#[test]
fn a_record_that_is_too_long_is_refused_and_the_next_one_is_written() {
    let mut log = open(Disk::default()).unwrap();
    let long = vec![0; format::MAX_BODY_BYTES + 1];
    assert!(matches!(log.append(Kind::Done, &[&long]), Err(Fault::TooLong { .. })));
    record(&mut log, 0).unwrap();
    log.sync().unwrap();
    assert_eq!(done(&log.storage, false).unwrap(), [0]);
}

/// Edits of all kinds, several at once: what is read are records of the file, in their order.
#[test]
fn no_edit_of_a_file_gives_a_record_that_was_never_written() {
    let (disk, _) = file();
    let runs = if cfg!(miri) { 10 } else { 20_000 };
    for seed in 0..runs {
        let random = &mut Random::new(seed);
        let mut bytes = disk.now.clone();
        for _ in 0..1 + random.below(4) {
            let (from, to) = (HEADER_BYTES + random.below(bytes.len() - HEADER_BYTES + 1), random.below(300));
            let end = (from + to).min(bytes.len());
            match random.below(4) {
                0 => bytes[from..end].fill(random.below(256) as u8),
                1 => drop(bytes.drain(from..end)),
                2 => bytes.truncate(from.max(HEADER_BYTES + 1)),
                _ => {
                    let copy = bytes[from..end].to_vec();
                    let place = HEADER_BYTES + random.below(bytes.len() - HEADER_BYTES + 1);
                    bytes.splice(place..place, copy);
                }
            }
        }
        for repair in [false, true] {
            // Each must have what its piece gave: `done` sees to that.
            match done(&Disk { now: bytes.clone(), ..Disk::default() }, repair) {
                Ok(recorded) => assert!(recorded.iter().all(|&number| number < 20), "seed {seed}"),
                Err(Fault::Corrupt { offset }) => assert!(!repair && offset >= HEADER_BYTES as u64, "seed {seed}"),
                Err(fault) => panic!("seed {seed}: {fault:?}"),
            }
        }
    }
}
