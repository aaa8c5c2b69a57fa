//! `Task::run_into`: results that are written while their pieces run, and handed on while they do.

#![allow(unsafe_code)]

use crate::support::{
    self, DEADLINE, Door, Marks, Random, assert_well, busy_pool, mark, pool, wait_at, wait_for, watchdog, workers,
};
use multicore::{Error, ErrorKind, Format, Pool, Sink, Task};
use std::io::{self, BufRead, Read, Write};
use std::time::{Duration, Instant};

const MIB: usize = 1024 * 1024;

/// A piece's result: text that differs from its neighbours', and whose parts differ from each other wherever a record may end.
fn expected(piece: usize, length: usize) -> Vec<u8> {
    let line: Vec<u8> = (0..997).map(|place| b'!' + ((piece * 31 + place * 7 + place / 251) % 90) as u8).collect();
    let mut all = line.repeat(length / line.len() + 1);
    all.truncate(length);
    all
}

/// Writes a result of this length, in writes of all lengths up to `most`.
fn write_some(piece: usize, (length, most): (usize, usize), sink: &mut Sink) -> io::Result<()> {
    let all = expected(piece, length);
    let (mut rest, mut next) = (&all[..], 1);
    while !rest.is_empty() {
        let (now, later) = rest.split_at(next.min(rest.len()));
        if next % 3 == 0 {
            sink.write_all(now)?
        } else {
            sink.push_str(std::str::from_utf8(now).unwrap())
        }
        rest = later;
        next = next * 2 % most + 1;
    }
    assert_eq!(sink.written(), length as u64);
    Ok(())
}

const LENGTHS: [usize; 12] = [0, 1, 7, 65_535, 65_536, 65_537, 0, 200_000, MIB - 9, MIB + 1, 3 * MIB + 5, 17];

fn hand_out(task: &Task<Vec<u8>>) -> Vec<Vec<u8>> {
    for (piece, length) in LENGTHS.into_iter().enumerate() {
        match piece % 4 {
            3 => task.run(expected, piece, length),
            _ => task.run_into(write_some, piece, (length, 40_000)),
        }
    }
    LENGTHS.into_iter().enumerate().map(|(piece, length)| expected(piece, length)).collect()
}

/// However a task is collected, and with whatever settings.
#[test]
fn each_way_of_collecting_gives_what_was_written() {
    let _watch = watchdog();
    type Collect = fn(Task<Vec<u8>>) -> Vec<u8>;
    let ways: [Collect; 9] = [
        |task| task.get().unwrap().concat(),
        |mut task| {
            let (piece, first) = task.next_completed().unwrap();
            let (mut bytes, first) = (Vec::new(), first.unwrap());
            task.write_to(&mut bytes).unwrap();
            let place = LENGTHS[..piece].iter().sum::<usize>();
            bytes.splice(place..place, first);
            bytes
        },
        |task| task.get_timeout(DEADLINE).unwrap().concat(),
        |task| task.get_each().into_iter().map(Result::unwrap).collect::<Vec<_>>().concat(),
        |task| task.iter().map(Result::unwrap).collect::<Vec<_>>().concat(),
        |task| {
            let mut all: Vec<_> = task.iter_completed().collect();
            all.sort_by_key(|(piece, _)| *piece);
            all.into_iter().map(|(_, bytes)| bytes.unwrap()).collect::<Vec<_>>().concat()
        },
        |task| {
            let mut bytes = Vec::new();
            let writer: &mut dyn Write = &mut bytes;
            let written = task.write_to(writer).unwrap();
            assert_eq!(written, bytes.len() as u64);
            bytes
        },
        |task| {
            let mut bytes = Vec::new();
            task.reader().read_to_end(&mut bytes).unwrap();
            bytes
        },
        |task| {
            let (mut reader, mut bytes) = (task.reader(), Vec::new());
            while let some @ [_, ..] = reader.fill_buf().unwrap() {
                let length = some.len().div_ceil(2);
                bytes.extend_from_slice(&some[..length]);
                reader.consume(length);
            }
            assert_eq!(reader.read(&mut [0; 9]).unwrap(), 0, "it stays at its end");
            bytes
        },
    ];
    type Set = fn(Task<Vec<u8>>) -> Task<Vec<u8>>;
    let settings: [Set; 6] = [
        |task| task,
        |task| task.format(Format::Raw),
        |task| task.max_unread(100_000),
        |task| task.max_unread(0).timeout(DEADLINE),
        |task| task.whole_pieces(true),
        |task| task.retries(2).max_unread(0),
    ];
    for (pool, runs) in [(pool(1), true), (pool(3), true), (busy_pool(), false)] {
        for (setting, set) in settings.iter().enumerate() {
            for (way, collect) in ways.iter().enumerate() {
                let task = set(pool.task_or_inline());
                let expected = hand_out(&task).concat();
                assert!(collect(task) == expected, "way {way}, settings {setting}");
            }
        }
        if runs {
            assert_well(pool);
        }
    }
}

#[test]
fn text_is_checked_when_it_is_collected_whole() {
    let _watch = watchdog();
    let pool = pool(2);
    let cut_off = |_: (), _: (), sink: &mut Sink| sink.write_all("ä".as_bytes().split_last().unwrap().1);
    for inline in [false, true] {
        let task = || if inline { busy_pool().task_or_inline() } else { pool.task_or_inline::<String>() };
        let own = task();
        own.run_into(|_: (), _: (), sink: &mut Sink| sink.push_str("ä"), (), ());
        own.run_into(cut_off, (), ());
        let results = own.get_each();
        assert_eq!(results[0].as_deref().unwrap(), "ä");
        assert_eq!(results[1].as_ref().unwrap_err().kind(), ErrorKind::Decode);
        let own = task();
        own.run_into(cut_off, (), ());
        let mut bytes = Vec::new();
        assert_eq!(own.write_to(&mut bytes).unwrap(), 1);
        let own = task().format(Format::Json);
        own.run_into(cut_off, (), ());
        own.run_all_into(cut_off, [((), ())]);
        assert_eq!(own.len(), 2);
        let error = own.get().unwrap_err();
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::Encode, 0), "{error}");
    }
    assert_well(pool);
}

/// Writes a line, tells it at once, and waits at a door before it writes the next one.
fn lines(doors: Vec<String>, piece: usize, sink: &mut Sink) -> io::Result<()> {
    for (number, door) in doors.iter().enumerate() {
        writeln!(sink, "piece {piece} line {number}")?;
        sink.flush()?;
        wait_at(door);
    }
    sink.push_str("end\n");
    Ok(())
}

#[test]
fn a_part_that_was_flushed_is_read_while_its_piece_runs() {
    let _watch = watchdog();
    let pool = pool(2);
    let doors = [Door::closed(), Door::closed(), Door::closed()];
    let task = pool.task_or_inline::<String>();
    task.run_into(lines, doors.iter().map(Door::path).collect(), 0);
    task.run_into(lines, vec![], 1);
    let mut reader = task.reader();
    for (number, door) in doors.iter().enumerate() {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert_eq!(line, format!("piece 0 line {number}\n"));
        door.open();
    }
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "end\nend\n");
    assert_well(pool);
}

/// A writer that tells how much came, and lets somebody act on it.
struct Watched<F>(usize, F);

impl<F: FnMut(usize)> Write for Watched<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        (self.1)(self.0);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_comes_without_a_flush_is_handed_on_before_the_end() {
    let _watch = watchdog();
    let pool = pool(1);
    let door = Door::closed();
    let task = pool.task_or_inline::<Vec<u8>>();
    task.run_into(
        |door: String, (): (), sink: &mut Sink| {
            sink.write_all(&vec![b'a'; 2 * MIB])?;
            wait_at(&door);
            sink.write_all(b"the end")
        },
        door.path(),
        (),
    );
    let mut opened = false;
    let written = task.write_to(&mut Watched(0, |came| {
        if came >= MIB && !opened {
            opened = true;
            door.open();
        }
    }));
    assert_eq!(written.unwrap(), 2 * MIB as u64 + 7);
    assert_well(pool);
}

/// How a piece ends after it has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
enum Fate {
    Returns,
    Fails,
    Panics,
    Exits,
    Crashes,
    Overruns,
    WritesTooMuch,
    PanicsWhileWriting,
}

struct PanicsInDisplay;

impl std::fmt::Display for PanicsInDisplay {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("in the middle")
    }
}

fn ends(fate: Fate, length: usize, sink: &mut Sink) -> Result<(), String> {
    write_some(1, (length, 9000), sink).map_err(|error| error.to_string())?;
    match fate {
        Fate::Returns => Ok(()),
        Fate::Fails => Err("no more".to_string()),
        Fate::Panics => panic!("no more"),
        Fate::Exits => std::process::exit(0),
        // SAFETY: it ends this process.
        Fate::Crashes => unsafe { libc::abort() },
        Fate::Overruns => loop {
            std::thread::sleep(Duration::from_millis(10));
        },
        Fate::WritesTooMuch => {
            let error = sink.write_all(&vec![0; 5 * MIB]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
            Ok(())
        }
        Fate::PanicsWhileWriting => write!(sink, "{PanicsInDisplay}").map_err(|error| error.to_string()),
    }
}

#[test]
fn a_piece_that_fails_gives_its_error_and_harms_no_other() {
    let _watch = watchdog();
    let pool = Pool::builder().workers(2).max_result_bytes(4 * MIB).build().unwrap();
    for (fate, kind) in [
        (Fate::Fails, ErrorKind::Failed),
        (Fate::Panics, ErrorKind::Panicked),
        (Fate::Exits, ErrorKind::WorkerLost),
        (Fate::Crashes, ErrorKind::WorkerLost),
        (Fate::Overruns, ErrorKind::TimedOut),
        (Fate::WritesTooMuch, ErrorKind::Encode),
        (Fate::PanicsWhileWriting, ErrorKind::Panicked),
    ] {
        // Each that overruns takes its limit.
        let lengths = if fate == Fate::Overruns { &[2 * MIB][..] } else { &[0, 10, 70_000, 2 * MIB] };
        for &length in lengths {
            for whole in [false, true] {
                let task = || {
                    let task = pool.task_or_inline::<Vec<u8>>().timeout(Duration::from_secs(1)).whole_pieces(whole);
                    task.run_into(ends, Fate::Returns, length);
                    task.run_into(ends, fate, length);
                    task.run_into(ends, Fate::Returns, 5);
                    task
                };
                let results = task().get_each();
                assert!(results[0].as_ref().unwrap() == &expected(1, length), "{fate:?}, {length}");
                assert_eq!(results[2].as_ref().unwrap(), &expected(1, 5), "{fate:?}, {length}");
                let error = results[1].as_ref().unwrap_err();
                assert_eq!((error.kind(), error.piece()), (kind, Some(1)), "{fate:?}, {length}: {error}");
                assert!(kind != ErrorKind::Failed || error.to_string().ends_with("failed: no more"), "{error}");

                let mut bytes = Vec::new();
                let error = task().write_to(&mut bytes).unwrap_err();
                assert_eq!((error.kind(), error.piece()), (kind, Some(1)), "{fate:?}, {length}: {error}");
                check_prefix(&bytes, length, whole);

                let (mut bytes, mut reader) = (Vec::new(), task().reader());
                let error = reader.read_to_end(&mut bytes).unwrap_err();
                let error = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
                assert_eq!((error.kind(), error.piece()), (kind, Some(1)), "{fate:?}, {length}: {error}");
                check_prefix(&bytes, length, whole);
                assert_eq!(reader.read(&mut [0; 9]).unwrap(), 0, "the error is the end");
            }
        }
    }
    assert_well(pool);
}

/// All of the first piece, and a prefix of the second one, which wrote the same; nothing of it if only whole pieces are handed on.
#[track_caller]
fn check_prefix(bytes: &[u8], length: usize, whole: bool) {
    let (first, second) = bytes.split_at(length);
    assert!(first == expected(1, length));
    if whole {
        assert!(second.is_empty(), "{} bytes of a piece that failed", second.len());
    } else {
        // What wrote too much wrote zeros behind it.
        let own = &second[..second.len().min(length)];
        assert!(own == &expected(1, length)[..own.len()]);
    }
}

#[test]
fn a_piece_that_starts_again_is_seen_once() {
    let _watch = watchdog();
    let (pool, marks) = (pool(2), Marks::new());
    let dies_at_first = |path: String, length: usize, sink: &mut Sink| {
        let first = !std::fs::exists(format!("{path}.{length}")).unwrap();
        mark(&path, length as u64);
        write_some(2, (length, 5000), sink).unwrap();
        if first {
            std::fs::write(format!("{path}.{length}"), "").unwrap();
            std::process::abort();
        }
        std::fs::remove_file(format!("{path}.{length}")).unwrap();
    };
    let lengths = [10, 100_000, 2 * MIB, 20];
    for _ in 0..3 {
        let task = pool.task_or_inline::<Vec<u8>>().retries(1).max_unread(50_000);
        lengths.iter().for_each(|&length| task.run_into(dies_at_first, marks.path(), length));
        let mut bytes = Vec::new();
        task.write_to(&mut bytes).unwrap();
        assert!(bytes == lengths.iter().flat_map(|&length| expected(2, length)).collect::<Vec<_>>());
    }
    assert_eq!(marks.count(), 3 * 2 * lengths.len());
    assert_well(pool);
}

/// One row of a table.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Row {
    number: u64,
    text: String,
    share: Option<f64>,
}

fn rows(start: u64, end: u64) -> impl Iterator<Item = Row> {
    let text = |number: u64| ["plain", "a,b", "\"quoted\"", "two\nlines", "ä", ""][(number % 6) as usize].to_string();
    (start..end).map(move |number| Row {
        number,
        text: text(number),
        share: (!number.is_multiple_of(3)).then_some(number as f64 / 7.0),
    })
}

fn as_json(start: u64, end: u64, sink: &mut Sink) -> serde_json::Result<()> {
    for row in rows(start, end) {
        serde_json::to_writer(&mut *sink, &row)?;
        sink.push_str("\n");
    }
    Ok(())
}

fn as_csv(start: u64, end: u64, sink: &mut Sink) -> csv::Result<()> {
    let mut writer = csv::WriterBuilder::new().has_headers(start == 0).from_writer(sink);
    rows(start, end).try_for_each(|row| writer.serialize(row))?;
    Ok(writer.flush()?)
}

/// Half of a row, of which nothing but an error comes.
fn as_uneven_csv(_: u64, _: u64, sink: &mut Sink) -> csv::Result<()> {
    let mut writer = csv::Writer::from_writer(sink);
    writer.write_record(["a", "b"])?;
    writer.write_record(["only one"])?;
    Ok(writer.flush()?)
}

/// A writer of another crate takes a sink as it takes a file.
#[test]
fn writers_of_other_crates_write_into_a_sink() {
    let _watch = watchdog();
    for pool in [pool(2), busy_pool()] {
        for ends in [&[0, 1][..], &[0, 10, 10, 20], &[0, 40_000, 40_003]] {
            let expected: Vec<Row> = rows(0, *ends.last().unwrap()).collect();
            let pairs = || ends.windows(2).map(|pair| (pair[0], pair[1]));
            let task = pool.task_or_inline::<String>();
            task.run_all_into(as_json, pairs());
            let text = task.get().unwrap().concat();
            let read: Vec<Row> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert!(read == expected, "JSON of {ends:?}");
            let (task, mut text) = (pool.task_or_inline::<Vec<u8>>(), Vec::new());
            task.run_all_into(as_csv, pairs());
            task.write_to(&mut text).unwrap();
            let read: Vec<Row> = csv::Reader::from_reader(&text[..]).into_deserialize().map(Result::unwrap).collect();
            assert!(read == expected, "CSV of {ends:?}");
        }
        let task = pool.task_or_inline::<String>();
        task.run_into(as_uneven_csv, 0, 0);
        let error = task.get().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Failed);
        assert!(error.to_string().contains("found record with 1 fields"), "{error}");
    }
}

/// Without a bound nothing is held back: what was written lies in this process.
#[test]
fn without_a_reader_or_a_bound_all_is_written() {
    let _watch = watchdog();
    for workers in [1, 2] {
        let pool = pool(workers);
        let task = pool.task_or_inline::<Vec<u8>>();
        (0..3).for_each(|piece| task.run_into(write_some, piece, (4 * MIB, 60_000)));
        wait_for("all have ended", || task.completed() == 3);
        assert!(task.get().unwrap().into_iter().eq((0..3).map(|piece| expected(piece, 4 * MIB))));
        assert_well(pool);
    }
}

/// The only worker is busy with a piece that is held back, because nobody reads its task: a piece of another task waited for ever.
#[test]
fn a_task_that_nobody_reads_does_not_keep_workers_from_others() {
    let _watch = watchdog();
    for workers in [1, 2] {
        let pool = pool(workers);
        for take in [0, 1] {
            let task = pool.task_or_inline::<Vec<u8>>().max_unread(100_000);
            for piece in 0..4 {
                task.run_into(write_some, piece, (4 * MIB, 60_000));
            }
            let mut reader = task.reader();
            reader.read_exact(&mut vec![0; take]).unwrap();
            let other = pool.task_or_inline::<u64>();
            other.run_all(support::add, (0..50).map(|number| (number, 1)));
            assert_eq!(other.get().unwrap().len(), 50);
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).unwrap();
            assert_eq!(rest.len(), 16 * MIB - take);
        }
        assert_well(pool);
    }
}

/// Nothing of the reader's task fills its ring here: what has ended and lies there unread must not hide what comes behind it.
#[test]
fn what_lies_unread_hides_no_piece_behind_it() {
    let _watch = watchdog();
    for (workers, length) in [(1, 300_000), (1, 70_000), (2, 300_000)] {
        let pool = Pool::builder().workers(workers).max_pieces_per_worker(6).build().unwrap();
        let task = pool.task_or_inline::<Vec<u8>>();
        (0..4).for_each(|piece| task.run_into(write_some, piece, (length, 60_000)));
        let mut reader = task.reader();
        let mut first = [0];
        reader.read_exact(&mut first).unwrap();
        // This thread reads on only when it has what others give.
        for number in 0..10 {
            let other = pool.task_or_inline::<u64>();
            other.run(support::add, number, 1);
            assert_eq!(other.get_timeout(DEADLINE).unwrap(), [number + 1], "{workers}, {length}");
        }
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        let all: Vec<u8> = (0..4).flat_map(|piece| expected(piece, length)).collect();
        assert!(first[0] == all[0] && rest == all[1..]);
        assert_well(pool);
    }
}

/// The only worker is held back, and nobody waits for the piece that comes then.
#[test]
fn a_piece_that_nobody_collects_runs_although_its_worker_is_held_back() {
    let _watch = watchdog();
    let (pool, marks) = (pool(1), Marks::new());
    let task = pool.task_or_inline::<Vec<u8>>().max_unread(1000);
    (0..3).for_each(|piece| task.run_into(write_some, piece, (3 * MIB, 60_000)));
    let mut reader = task.reader();
    reader.read_exact(&mut [0; 10]).unwrap();
    wait_for("its worker is held back", || support::state(workers(&pool)[0].pid) == Some('S'));
    let other = pool.task_or_inline::<()>();
    other.run(|marks, number| mark(&marks, number), marks.path(), 1);
    marks.wait_for(1);
    drop(reader);
    assert_well(pool);
}

/// Writes without an end, as quickly as it can.
fn pours(_: usize, _: usize, sink: &mut Sink) -> io::Result<()> {
    loop {
        sink.write_all(&[b'a'; 10_000])?;
    }
}

/// A piece that writes at full speed is ended in whatever way, at once, and without what it wrote being kept.
#[test]
fn a_piece_that_never_stops_writing_is_ended() {
    support::alone!();
    let _watch = watchdog();
    let pool = pool(2);
    let own = support::Process::find(std::process::id()).unwrap();
    type End = fn(Task<Vec<u8>>);
    let ends: [(&str, End); 6] = [
        ("limit", |task| {
            let task = task.timeout(Duration::from_millis(100));
            task.run_into(pours, 0, 0);
            assert_eq!(task.write_to(&mut io::sink()).unwrap_err().kind(), ErrorKind::TimedOut);
        }),
        ("whole limit", |task| {
            let task = task.max_unread(1000).timeout(Duration::from_millis(100)).whole_pieces(true);
            task.run_into(pours, 0, 0);
            assert_eq!(task.write_to(&mut io::sink()).unwrap_err().kind(), ErrorKind::TimedOut);
        }),
        ("dropped", |task| {
            task.run_into(pours, 0, 0);
            let mut reader = task.reader();
            reader.read_exact(&mut [0; 100_000]).unwrap();
        }),
        ("cancelled", |task| {
            task.run_into(pours, 0, 0);
            task.cancel();
        }),
        ("timed out", |task| {
            task.run_into(pours, 0, 0);
            assert_eq!(task.get_timeout(Duration::from_millis(50)).unwrap_err().kind(), ErrorKind::TimedOut);
        }),
        ("detached", |task| {
            task.run_into(pours, 0, 0);
            task.detach();
        }),
    ];
    for (name, end) in ends {
        let before = own.resident_bytes();
        end(pool.task_or_inline());
        if ["dropped", "detached"].contains(&name) {
            // What runs on takes no memory here, and the other worker is free.
            support::assert_works(&pool);
            let begin = Instant::now();
            wait_for("it has written for a while", || begin.elapsed() > Duration::from_millis(200));
        }
        let grew = own.resident_bytes().saturating_sub(before);
        assert!(grew < 400 * MIB as u64, "{name}: {grew} bytes more");
    }
    drop(pool);
}

/// A result may be as long as the pool allows, and not a byte longer; a panic because of that is the same error. Without workers the limit
/// held for nothing once.
#[test]
fn a_result_of_just_the_limit_is_allowed() {
    let _watch = watchdog();
    const LIMIT: usize = 300_000;
    let builder = || Pool::builder().workers(1).max_result_bytes(LIMIT);
    let (pool, busy) = (builder().build().unwrap(), builder().max_load_average(0.0).build().unwrap());
    let writes = |length: usize, at_once: usize, sink: &mut Sink| {
        for part in expected(5, length).chunks(at_once) {
            sink.write_all(part).unwrap();
        }
    };
    let cases = [1000, 65_536, 70_000, LIMIT].map(|at_once| [(&pool, at_once), (&busy, at_once)]);
    for (pool, at_once) in cases.into_iter().flatten() {
        let task = pool.task_or_inline::<Vec<u8>>();
        task.run_into(writes, LIMIT, at_once);
        task.run_into(writes, LIMIT + 1, at_once);
        let results = task.get_each();
        assert!(results[0].as_ref().unwrap() == &expected(5, LIMIT), "{at_once}");
        let error = results[1].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Encode, "{at_once}: {error}");
        assert!(error.to_string().contains("300000"), "{error}");
    }
    assert_well(pool);
}

/// A child that a piece forks has no part in the piece's result.
#[test]
fn a_forked_child_writes_nothing_into_the_result() {
    let _watch = watchdog();
    let pool = pool(1);
    let forks = |before: usize, after: usize, sink: &mut Sink| {
        sink.write_all(&vec![b'a'; before])?;
        // SAFETY: the child only writes, returns, and is waited for.
        let child = unsafe { libc::fork() };
        if child == 0 {
            sink.write_all(&vec![b'x'; after])?;
            return Ok(());
        }
        // SAFETY: no status is asked for.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        sink.write_all(&vec![b'b'; after])
    };
    for (before, after) in [(0, 10), (10, 10), (100_000, 10), (10, 200_000)] {
        let task = pool.task_or_inline::<Vec<u8>>();
        task.run_into(forks, before, after);
        let mut bytes = Vec::new();
        task.write_to(&mut bytes).unwrap();
        let (first, second) = bytes.split_at(before);
        assert!(first.iter().all(|&byte| byte == b'a') && second.len() == after, "{before}, {after}: {}", bytes.len());
        assert!(second.iter().all(|&byte| byte == b'b'), "{before}, {after}");
    }
    assert_well(pool);
}

/// The time for which a reader, or the turn of a piece, holds a worker back is not the piece's.
#[test]
fn time_held_back_does_not_count_for_the_limit() {
    let _watch = watchdog();
    let pool = pool(2);
    let task = pool.task_or_inline::<Vec<u8>>().max_unread(10_000).timeout(Duration::from_millis(1500));
    for piece in 0..3 {
        task.run_into(write_some, piece, (3 * MIB, 60_000));
    }
    let mut reader = task.reader();
    let begin = Instant::now();
    let mut some = vec![0; 1000];
    reader.read_exact(&mut some).unwrap();
    // Longer than the limit: it must not pass meanwhile.
    wait_for("the limit has passed", || begin.elapsed() > Duration::from_millis(2500));
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len(), 9 * MIB - 1000);
    // Nor that of a piece which waits behind a short one that has ended, and nobody has read.
    let task = pool.task_or_inline::<Vec<u8>>().max_unread(10_000).timeout(Duration::from_millis(1500));
    for (piece, length) in [3 * MIB, 300_000, 3 * MIB, 3 * MIB].into_iter().enumerate() {
        task.run_into(write_some, piece, (length, 60_000));
    }
    let (mut reader, begin) = (task.reader(), Instant::now());
    reader.read_exact(&mut some).unwrap();
    wait_for("the limit has passed", || begin.elapsed() > Duration::from_millis(2500));
    reader.read_to_end(&mut Vec::new()).unwrap();
    // But a piece that does not write runs out of time.
    let task = pool.task_or_inline::<Vec<u8>>().timeout(Duration::from_millis(50));
    task.run_into(ends, Fate::Overruns, 2 * MIB);
    assert_eq!(task.write_to(&mut io::sink()).unwrap_err().kind(), ErrorKind::TimedOut);
    assert_well(pool);
}

/// A result of any length takes little memory, in the worker and here.
#[test]
fn a_long_result_takes_little_memory() {
    support::alone!();
    let _watch = watchdog();
    let pool = pool(2);
    let long = |piece: usize, mebibytes: usize, sink: &mut Sink| {
        let line = expected(piece, 1000);
        (0..mebibytes * MIB / 1000).try_for_each(|_| sink.write_all(&line))
    };
    let warm = pool.task_or_inline::<Vec<u8>>();
    (0..8).for_each(|piece| warm.run_into(long, piece, 4));
    warm.write_to(&mut io::sink()).unwrap();
    let workers = workers(&pool);
    let peaks = || workers.iter().map(|worker| worker.resident_bytes()).collect::<Vec<_>>();
    let (before, own) = (peaks(), support::Process::find(std::process::id()).unwrap());
    let own_before = own.resident_bytes();
    let task = pool.task_or_inline::<Vec<u8>>().max_unread(8 * MIB);
    (0..4).for_each(|piece| task.run_into(long, piece, 150));
    let (mut most, mut looked) = ((0, 0), 0);
    let written = task.write_to(&mut Watched(0, |came| {
        if came >= looked {
            looked += 8 * MIB;
            let worker =
                peaks().into_iter().zip(&before).map(|(now, before)| now.saturating_sub(*before)).max().unwrap();
            most = (most.0.max(worker), most.1.max(own.resident_bytes().saturating_sub(own_before)));
        }
    }));
    assert_eq!(written.unwrap(), 4 * (150 * MIB as u64 / 1000 * 1000));
    assert!(most.0 <= 8 * MIB as u64, "a worker grew by {} bytes", most.0);
    assert!(most.1 <= 48 * MIB as u64, "this process grew by {} bytes", most.1);
    assert_well(pool);
}

#[test]
fn a_reader_that_leaves_and_a_pool_that_ends_wait_for_nothing() {
    let _watch = watchdog();
    let task = |pool: &Pool| {
        let task = pool.task_or_inline::<Vec<u8>>().max_unread(1000);
        (0..6).for_each(|piece| task.run_into(write_some, piece, (3 * MIB, 60_000)));
        task
    };
    let two = pool(2);
    // Dropped while its pieces are held back, after some bytes, by a writer that fails, by a panic in a writer.
    for bytes in [0, 1, MIB, 4 * MIB] {
        let mut reader = task(&two).reader();
        reader.read_exact(&mut vec![0; bytes]).unwrap();
        drop(reader);
        support::assert_works(&two);
    }
    struct Fails;
    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = task(&two).write_to(&mut Fails).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::System, "{error}");
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        task(&two).write_to(&mut Watched(0, |came| assert!(came < MIB, "enough")))
    }));
    assert!(panicked.is_err());
    support::assert_works(&two);
    // The pieces that run are held back, and come to their end all the same.
    let mut reader = task(&two).reader();
    reader.read_exact(&mut [0; 10]).unwrap();
    two.shutdown();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.get_ref().unwrap().downcast_ref::<Error>().unwrap().kind(), ErrorKind::Cancelled);
    let three = pool(3);
    let mut reader = task(&three).reader();
    reader.read_exact(&mut [0; 10]).unwrap();
    drop(three);
    assert!(reader.read_to_end(&mut Vec::new()).is_err());
}

/// Random tasks, bounds and lengths while workers are killed: each byte comes once and in order, and nothing hangs.
#[test]
fn a_storm_of_deaths_changes_no_byte_and_stops_nobody() {
    let _watch = watchdog();
    let mut random = Random::seeded();
    for count in [1, 2, 3] {
        let pool = pool(count);
        let over = std::sync::atomic::AtomicBool::new(false);
        let rounds = std::env::var("MULTICORE_STORM_ROUNDS").ok().and_then(|it| it.parse().ok()).unwrap_or(6);
        let (seeds, killer) = ([random.next(), random.next()], random.next());
        std::thread::scope(|scope| {
            let submitters = seeds.map(|seed| {
                let pool = &pool;
                scope.spawn(move || (0..rounds).for_each(|_| storm_task(pool, &mut Random::with_seed(seed))))
            });
            scope.spawn(|| {
                let mut random = Random::with_seed(killer);
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_micros(random.below(20_000)));
                    let pids: Vec<_> = pool.stats().workers.iter().filter_map(|worker| worker.pid).collect();
                    if let Some(pid) = pids.get(random.below(8) as usize) {
                        support::Process::find(*pid).inspect(|worker| worker.kill(libc::SIGKILL));
                    }
                }
            });
            submitters.into_iter().for_each(|it| it.join().unwrap());
            over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        drop(pool);
    }
}

fn storm_task(pool: &Pool, random: &mut Random) {
    let bound = [0, 1000, 100_000, 10_000_000][random.below(4) as usize];
    let mut length = || {
        let most = [100, 70_000, 3_000_000][random.below(3) as usize];
        random.below(most) as usize
    };
    let lengths: Vec<_> = (0..9).map(|_| length()).collect();
    let way = random.below(5);
    let retries = if way == 4 { 0 } else { u32::MAX };
    let task = pool.task_or_inline::<Vec<u8>>().retries(retries).max_unread(bound);
    for (piece, &length) in lengths.iter().enumerate() {
        task.run_into(write_some, piece, (length, 1 + random.below(90_000) as usize));
    }
    let all = || lengths.iter().enumerate().flat_map(|(piece, &length)| expected(piece, length)).collect::<Vec<u8>>();
    match way {
        0 => {
            let mut bytes = Vec::new();
            task.write_to(&mut bytes).unwrap();
            assert!(bytes == all());
        }
        1 => {
            let mut bytes = Vec::new();
            task.reader().read_to_end(&mut bytes).unwrap();
            assert!(bytes == all());
        }
        2 => assert!(task.iter().map(Result::unwrap).collect::<Vec<_>>().concat() == all()),
        3 => {
            task.iter_completed().for_each(|(piece, bytes)| assert!(bytes.unwrap() == expected(piece, lengths[piece])))
        }
        _ => {
            // Without retries: a prefix, and an error or all.
            let mut bytes = Vec::new();
            let whole = task.write_to(&mut bytes);
            let length = bytes.len();
            assert!(bytes == all()[..length]);
            assert!(whole.is_err() || length == lengths.iter().sum::<usize>());
        }
    }
}
