//! The results of a task as streams: in order, as they come, and as bytes.

#![allow(unsafe_code)]

use crate::support::{self, DEADLINE, Door, Marks, add, assert_well, busy_pool, mark, pool, task, wait_at, watchdog};
use futures_util::{Stream, StreamExt};
use multicore::{ErrorKind, Format, Sink, Task};
use std::io::Write;
use std::time::Duration;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    // What takes longer hangs.
    runtime.block_on(async { tokio::time::timeout(2 * DEADLINE, future).await.expect("it hangs") })
}

fn checked(number: u64, door: String) -> u64 {
    if !door.is_empty() {
        wait_at(&door);
    }
    assert!(number != 13, "thirteen");
    number
}

fn marked(marks: String, bytes: usize) -> Vec<u8> {
    mark(&marks, 1);
    vec![1; bytes]
}

/// Writes `first`, tells the parent, waits at the door, and writes the rest.
fn written(door: String, bytes: usize, sink: &mut Sink) -> std::io::Result<()> {
    sink.write_all(b"first")?;
    sink.flush()?;
    wait_at(&door);
    sink.write_all(&vec![b'x'; bytes])
}

#[test]
fn a_stream_gives_what_the_iterator_gives() {
    let _watch = watchdog();
    for pool in [pool(2), busy_pool()] {
        let some = || {
            let task = pool.task_or_inline::<u64>();
            task.run_all(checked, (0..600).map(|number| (number, String::new())));
            task
        };
        let all: Vec<_> = block_on(some().stream().map(|result| result.map_err(|error| error.kind())).collect());
        let expected = |number| if number == 13 { Err(ErrorKind::Panicked) } else { Ok(number) };
        assert_eq!(all, (0..600).map(expected).collect::<Vec<_>>());

        let mut seen = vec![false; 600];
        let mut stream = some().stream_completed();
        assert_eq!(stream.size_hint(), (600, Some(600)));
        while let Some((number, result)) = block_on(stream.next()) {
            assert!(!std::mem::replace(&mut seen[number], true), "each comes once");
            assert_eq!(result.map_err(|error| error.kind()), expected(number as u64));
        }
        assert!(seen.iter().all(|&seen| seen));
        assert!(block_on(stream.next()).is_none(), "it stays at its end");
    }
}

#[test]
fn the_piece_that_finishes_first_comes_first() {
    let _watch = watchdog();
    let (pool, door) = (pool(2), Door::closed());
    let of = task::<u64>(&pool);
    of.run(checked, 0, door.path());
    of.run(checked, 1, String::new());
    let mut stream = of.stream_completed();
    let (number, result) = block_on(stream.next()).unwrap();
    assert_eq!((number, result.unwrap()), (1, 1));
    door.open();
    assert_eq!(block_on(stream.next()).unwrap().0, 0);
    assert_well(pool);
}

#[test]
fn what_was_taken_before_is_left_out() {
    let _watch = watchdog();
    let pool = pool(2);
    for completed in [false, true] {
        let mut of = task::<u64>(&pool);
        of.run_all(add, (0..10).map(|number| (number, 0)));
        assert_eq!(of.next().unwrap().unwrap(), 0);
        let mut rest: Vec<u64> = match completed {
            false => block_on(of.stream().map(Result::unwrap).collect()),
            true => block_on(of.stream_completed().map(|(_, result)| result.unwrap()).collect()),
        };
        rest.sort_unstable();
        assert_eq!(rest, (1..10).collect::<Vec<u64>>());
    }
    // As bytes: what is left, in order.
    for calls in ["n", "c", "nc", "cn", "nnnnn", "cncnc"] {
        for pool in [&pool, &busy_pool()] {
            let mut of = pool.task_or_inline::<String>();
            of.call_all(|number: u64| format!("{number},"), 0..10);
            let mut left: Vec<u64> = (0..10).collect();
            for call in calls.chars() {
                let place = match call {
                    'n' => of.next().map(|result| result.map(|_| 0)).unwrap().unwrap(),
                    _ => {
                        let (number, result) = of.next_completed().unwrap();
                        assert_eq!(result.unwrap(), format!("{number},"));
                        left.iter().position(|&it| it == number as u64).expect("each comes once")
                    }
                };
                left.remove(place);
            }
            let bytes: Vec<Vec<u8>> = block_on(of.stream_bytes().map(Result::unwrap).collect());
            let expected: String = left.iter().map(|number| format!("{number},")).collect();
            assert_eq!(String::from_utf8(bytes.concat()).unwrap(), expected, "{calls}");
        }
    }
    assert_well(pool);
}

/// Pieces beyond the limit wait until the stream was read on.
#[test]
fn a_stream_that_is_not_read_is_bounded() {
    let _watch = watchdog();
    let (pool, marks) = (pool(1), Marks::new());
    let of = task::<Vec<u8>>(&pool).max_unread(10_000);
    (0..100).for_each(|_| of.run(marked, marks.path(), 1000));
    let mut stream = of.stream();
    for _ in 0..3 {
        assert_eq!(block_on(stream.next()).unwrap().unwrap().len(), 1000);
    }
    let begun = marks.settled();
    assert!(begun < 40, "{begun} pieces have begun");
    assert_eq!(block_on(stream.count()), 97);
    assert_eq!(marks.count(), 100);
    assert_well(pool);
}

#[test]
fn parts_of_a_piece_come_while_it_runs() {
    let _watch = watchdog();
    let (pool, door) = (pool(1), Door::closed());
    let of = task::<Vec<u8>>(&pool);
    of.run_into(written, door.path(), 5_000_000);
    of.run(|_: (), _: ()| Vec::new(), (), ());
    of.run(|length: usize, _: ()| vec![b'y'; length], 3_000_000, ());
    let mut stream = of.stream_bytes();
    assert_eq!(block_on(stream.next()).unwrap().unwrap(), b"first", "it waits at the door");
    door.open();
    let (mut bytes, mut next) = (Vec::new(), block_on(stream.next()));
    while let Some(item) = next {
        let item = item.unwrap();
        assert!((1..=1024 * 1024).contains(&item.len()), "{} bytes", item.len());
        bytes.extend(item);
        next = block_on(stream.next());
    }
    let expected = [vec![b'x'; 5_000_000], vec![b'y'; 3_000_000]].concat();
    assert!(bytes == expected, "{} bytes", bytes.len());
    assert_well(pool);
}

#[test]
fn a_stream_of_bytes_ends_after_its_first_error() {
    let _watch = watchdog();
    let text = |number: u64, _: ()| {
        assert!(number != 13, "thirteen");
        format!("{number}")
    };
    for pool in [pool(2), busy_pool()] {
        let of = pool.task_or_inline::<String>();
        of.run_all(text, [11, 12, 13, 14].map(|number| (number, ())));
        let items: Vec<_> = block_on(of.stream_bytes().map(|item| item.map_err(|error| error.piece())).collect());
        assert_eq!(items, [Ok(b"11".to_vec()), Ok(b"12".to_vec()), Err(Some(2))]);

        let numbers = pool.task_or_inline::<u64>();
        numbers.run(add, 1, 2);
        let refused: [(&str, Vec<_>); 2] = [
            ("numbers", block_on(numbers.stream_bytes().collect())),
            ("JSON", block_on(pool.task_or_inline::<String>().format(Format::Json).stream_bytes().collect())),
        ];
        for (what, items) in refused {
            assert_eq!(items.len(), 1, "{what}");
            assert_eq!(items[0].as_ref().unwrap_err().kind(), ErrorKind::Encode, "{what}");
        }
    }
}

#[test]
fn streams_move_between_threads() {
    fn is_send_and_static<T: Send + Unpin + 'static>(_: T) {}
    let of = || busy_pool().task_or_inline::<Vec<u8>>();
    is_send_and_static(of().stream());
    is_send_and_static(of().stream_completed());
    is_send_and_static(of().stream_bytes());
}

/// Dropped before and after their first results, while a piece hangs.
#[test]
fn a_stream_that_is_dropped_kills_what_runs() {
    let _watch = watchdog();
    let pool = pool(2);
    type End = fn(Task<u64>, bool);
    let ends: [(&str, End); 3] = [
        ("stream", |task, reads| {
            let mut stream = task.stream();
            assert!(!reads || block_on(stream.next()).unwrap().is_ok());
        }),
        ("stream_completed", |task, reads| {
            let mut stream = task.stream_completed();
            assert!(!reads || block_on(stream.next()).unwrap().1.is_ok());
        }),
        ("stream_bytes", |task, _| drop(task.stream_bytes())),
    ];
    let hang = |marks: String, door: String| {
        mark(&marks, u64::from(std::process::id()));
        wait_at(&door);
        1
    };
    for (name, end) in ends {
        for reads in [false, true] {
            let (door, marks) = (Door::closed(), Marks::new());
            let of = task::<u64>(&pool).kill_on_drop(true);
            of.run(add, 1, 2);
            of.run(hang, marks.path(), door.path());
            marks.wait_for(1);
            let worker = support::Process::find(marks.numbers()[0] as u32).unwrap();
            end(of, reads);
            support::wait_for(&format!("the worker is gone: {name}"), || !worker.is_running());
        }
    }
    assert_well(pool);
}

#[test]
fn a_deadline_ends_a_stream() {
    let _watch = watchdog();
    let pool = pool(1);
    let hang = |marks: String, door: String| {
        mark(&marks, 1);
        wait_at(&door);
        "late".to_string()
    };
    type Way = fn(Task<String>) -> Vec<Result<String, multicore::Error>>;
    let ways: [(&str, Way); 3] = [
        ("stream", |task| block_on(task.stream().collect())),
        ("stream_completed", |task| block_on(task.stream_completed().map(|(_, result)| result).collect())),
        ("stream_bytes", |task| {
            block_on(task.stream_bytes().map(|item| item.map(|it| String::from_utf8(it).unwrap())).collect())
        }),
    ];
    for (name, collect) in ways {
        let (door, marks) = (Door::closed(), Marks::new());
        let of = task::<String>(&pool);
        of.call(|(): ()| "first".to_string(), ());
        of.run(hang, marks.path(), door.path());
        marks.wait_for(1);
        support::wait_for("the first is done", || of.completed() == 1);
        let results = collect(of.deadline(std::time::Instant::now() + Duration::from_millis(20)));
        assert_eq!((results.len(), results[0].as_deref().unwrap()), (2, "first"), "{name}");
        let error = results[1].as_ref().unwrap_err();
        assert_eq!((error.kind(), error.piece()), (ErrorKind::TimedOut, Some(1)), "{name}");
    }
    assert_well(pool);
}

/// A client that goes away: the body is dropped in the middle of a piece.
#[test]
fn a_body_that_is_dropped_kills_its_piece() {
    let _watch = watchdog();
    let (pool, door) = (pool(1), Door::closed());
    let before = support::workers(&pool);
    let of: Task<Vec<u8>> = task(&pool).kill_on_drop(true);
    of.run_into(written, door.path(), 1);
    let mut stream = of.stream_bytes();
    assert_eq!(block_on(stream.next()).unwrap().unwrap(), b"first");
    let more = block_on(async { tokio::time::timeout(Duration::from_millis(1), stream.next()).await });
    assert!(more.is_err(), "it waits at the door");
    drop(stream);
    support::wait_for("the worker is gone", || !before[0].is_running());
    assert_well(pool);
}

/// A stream of a task with a journal gives what an earlier run has recorded, and that does not run.
#[cfg(feature = "journal")]
#[test]
fn a_journalled_stream_is_resumed() {
    let _watch = watchdog();
    for pool in [pool(2), busy_pool()] {
        let (folder, marks) = (tempfile::tempdir().unwrap(), Marks::new());
        let journal = folder.path().join("journal");
        let some = |count: usize| {
            let task = pool.task_or_inline::<Vec<u8>>().name("stream").journal(&journal).unwrap();
            task.run_all(marked, (0..count).map(|number| (marks.path(), 10 + number)));
            task
        };
        // The first run is dropped half way.
        let mut stream = some(40).stream();
        for number in 0..10 {
            assert_eq!(block_on(stream.next()).unwrap().unwrap().len(), 10 + number);
        }
        drop(stream);
        let ran = marks.settled();
        let task = some(40);
        let resumed = task.resumed();
        assert!(resumed >= 10, "what was given was recorded");
        let lengths: Vec<_> = block_on(task.stream().map(|result| result.unwrap().len()).collect());
        assert_eq!(lengths, (10..50).collect::<Vec<_>>());
        assert_eq!(marks.count(), ran + 40 - resumed);
        let bytes: usize =
            block_on(some(40).stream_bytes().map(|part| part.unwrap().len()).collect::<Vec<_>>()).iter().sum();
        assert_eq!(bytes, (10..50).sum::<usize>());
        assert_eq!(some(41).stream_completed().size_hint(), (41, Some(41)));
    }
}
