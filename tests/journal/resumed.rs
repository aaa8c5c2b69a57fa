//! What a later run finds recorded.

use super::*;
use multicore::journal::Durability;
use multicore::{Format, Shared};
use std::time::Duration;
use support::watchdog;

fn each(task: Task<u64>) -> Vec<Result<u64, ErrorKind>> {
    task.get_each().into_iter().map(outcome_of).collect()
}

#[test]
fn what_is_done_is_given_again_and_what_has_failed_runs_again() {
    let _watch = watchdog();
    for pool in pools() {
        let place = Place::new();
        for round in 0..3 {
            let task = place.task(&pool, place.journal(), 0..20);
            assert_eq!(task.resumed(), if round == 0 { 0 } else { 16 });
            assert_eq!(each(task), (0..20).map(expected).collect::<Vec<_>>());
            let failing = [3, 7, 13, 17];
            assert_eq!(place.ran(), if round == 0 { (0..20).collect() } else { failing.to_vec() });
        }
        assert_eq!(recorded(&place.journal()), (16, 12));
    }
}

/// What has failed is told as it was, and nothing runs.
#[test]
fn failures_are_given_again_where_they_are_not_to_run() {
    let _watch = watchdog();
    for pool in pools() {
        let place = Place::new();
        let journal = || Journal::at(place.journal()).resume_failed(false);
        let first = place.task(&pool, journal(), [3, 4, 7]).get_each();
        let second = place.task(&pool, journal(), [4, 7, 3]).get_each();
        assert_eq!(place.ran(), [3, 4, 7]);
        for (before, after) in [(0, 2), (2, 1)] {
            let [before, after] = [&first[before], &second[after]].map(|result| result.as_ref().unwrap_err());
            assert_eq!((after.kind(), after.attempts()), (before.kind(), before.attempts()));
            let told = |error: &Error| error.to_string().split_once(") ").unwrap().1.to_string();
            assert_eq!(told(after), told(before));
        }
        assert_eq!(second[2].as_ref().unwrap_err().piece(), Some(2));
    }
}

/// Each way in which the input of a run may differ from that before: exactly the new and the changed pieces run.
#[test]
fn exactly_what_is_new_or_has_changed_runs() {
    let _watch = watchdog();
    // The first input, the second one, and which pieces of it run.
    for (before, after, runs) in [
        (&[0, 1, 2][..], &[2, 0, 1][..], &[][..]),
        (&[0, 1, 2], &[0, 1, 2, 4, 5], &[4, 5]),
        (&[0, 1, 2], &[1], &[]),
        (&[0, 1, 2], &[8, 1, 2, 9], &[8, 9]),
        (&[0, 1, 2], &[0, 0, 1, 1, 1, 2], &[0, 1, 1]),
        (&[0, 0, 1], &[1, 0, 0, 0], &[0]),
        (&[], &[1], &[1]),
    ] {
        for pool in pools() {
            let place = Place::new();
            each(place.task(&pool, place.journal(), before.iter().copied()));
            place.ran();
            let task = place.task(&pool, place.journal(), after.iter().copied());
            assert_eq!(each(task), after.iter().map(|&number| expected(number)).collect::<Vec<_>>());
            assert_eq!(place.ran(), runs, "{before:?}, then {after:?}");
        }
    }
}

/// Name, version and format are part of what a piece is.
#[test]
fn a_task_of_another_name_version_or_format_runs_its_pieces() {
    let pool = support::pool(2);
    let place = Place::new();
    let tasks: [fn(Task<u64>) -> Task<u64>; 5] = [
        |task| task.name("test"),
        |task| task.name("other"),
        |task| task.name("test").version("2"),
        |task| task.name("test").format(multicore::Format::Json),
        |task| task.name("test").version("1").version(""),
    ];
    let counts = tasks.map(|make| {
        let task = make(pool.task_or_inline::<u64>()).journal(place.journal()).unwrap();
        task.try_run(piece, place.marks.path(), 1);
        assert_eq!(task.get().unwrap(), [2]);
        place.ran().len()
    });
    assert_eq!(counts, [1, 1, 1, 1, 0]);
}

#[test]
fn every_way_of_collecting_gives_what_was_recorded() {
    let _watch = watchdog();
    for pool in pools() {
        let place = Place::new();
        let numbers = || (0..40).filter(|number| expected(*number).is_ok());
        let all: Vec<u64> = numbers().map(|number| number * 2).collect();
        let ways: [fn(Task<u64>) -> Vec<u64>; 6] = [
            |task| task.get().unwrap(),
            |task| task.get_timeout(Duration::from_secs(60)).unwrap(),
            |task| task.iter().map(Result::unwrap).collect(),
            |mut task| {
                let mut found: Vec<_> = std::iter::from_fn(|| task.next_completed()).collect();
                found.sort_by_key(|(number, _)| *number);
                found.into_iter().map(|(_, result)| result.unwrap()).collect()
            },
            |task| {
                let mut found: Vec<_> = task.iter_completed().collect();
                found.sort_by_key(|(number, _)| *number);
                found.into_iter().map(|(_, result)| result.unwrap()).collect()
            },
            |task| {
                while task.completed() < task.len() {
                    std::thread::yield_now();
                }
                task.get().unwrap()
            },
        ];
        for collect in ways {
            // Half of it was recorded before.
            let place = Place::new();
            each(place.task(&pool, place.journal(), numbers().step_by(2)));
            place.ran();
            assert_eq!(collect(place.task(&pool, place.journal(), numbers())), all);
            assert_eq!(place.ran().len(), all.len() / 2);
        }
        // And all of it by `run_all` and `write_to`.
        let write = || {
            let task = journalled::<String>(&pool, place.folder.path().join("texts.journal"));
            task.run_all(|a: u64, b: u64| format!("{a}+{b},"), (0..1000).map(|a| (a, 1)));
            let (resumed, mut bytes) = (task.resumed(), Vec::new());
            task.write_to(&mut bytes).unwrap();
            (resumed, bytes)
        };
        let (first, second) = (write(), write());
        assert_eq!((first.0, second.0), (0, 1000));
        assert!(first.1.starts_with(b"0+1,1+1,2+1,") && first.1 == second.1);
    }
}

/// Long results too, whose records are read in parts.
#[test]
fn results_of_any_length_come_back() {
    let _watch = watchdog();
    let pool = support::pool(2);
    let place = Place::new();
    let lengths = [0, 1, 15, 16, 1000, 65_536, 65_537, 3_000_000];
    for round in 0..2 {
        let task = journalled::<Vec<u8>>(&pool, place.journal());
        lengths.iter().for_each(|&length| task.call(|length: usize| vec![length as u8; length], length));
        assert_eq!(task.resumed(), round * lengths.len());
        for (result, length) in task.iter().zip(lengths) {
            assert!(result.unwrap() == vec![length as u8; length], "{length}");
        }
    }
}

/// `AlreadyDone`: in `get_each` and `iter`, left out by those who take pieces as they finish, the error of the others.
#[test]
fn results_that_were_not_kept_are_already_done() {
    let _watch = watchdog();
    for pool in pools() {
        let place = Place::new();
        let journal = || Journal::at(place.journal()).results(false);
        // The first run has the results.
        assert_eq!(place.task(&pool, journal(), [1, 2]).get().unwrap(), [2, 4]);
        let task = || place.task(&pool, journal(), [1, 2, 4]);
        let done = || Err(ErrorKind::AlreadyDone);
        assert_eq!(each(task()), [done(), done(), Ok(8)]);
        place.ran();
        let error = task().get().unwrap_err();
        assert_eq!((error.kind(), error.piece()), (ErrorKind::AlreadyDone, Some(0)));
        assert!(task().iter().all(|result| result.unwrap_err().kind() == ErrorKind::AlreadyDone));
        let mut with_new = place.task(&pool, journal(), [1, 2, 4, 5]);
        assert_eq!(with_new.next_completed().map(|(number, result)| (number, result.unwrap())), Some((3, 10)));
        assert!(with_new.next_completed().is_none());
        drop(with_new);
        let completed = place.task(&pool, journal(), [1, 2, 4, 5, 6]).iter_completed();
        assert_eq!(completed.len(), 1);
        assert_eq!(completed.map(|(number, result)| (number, result.unwrap())).collect::<Vec<_>>(), [(4, 12)]);
        assert_eq!(place.ran(), [5, 6]);
        // A result of no bytes is always there.
        for round in 0..2 {
            let task = journalled::<()>(&pool, Journal::at(place.folder.path().join("units")).results(false));
            task.run_all(|_: u64, _: u64| (), (0..9).map(|number| (number, 0)));
            assert_eq!((task.resumed(), task.get().unwrap().len()), (9 * round, 9));
        }
    }
}

/// A result is in the file before anyone gets it, at every level.
#[test]
fn what_was_given_is_in_the_file() {
    let _watch = watchdog();
    let levels = [Durability::Each, Durability::Group(Duration::from_millis(20)), Durability::None];
    for (pool, level) in pools().into_iter().flat_map(|pool| levels.map(|level| (pool_of(&pool), level))) {
        let place = Place::new();
        let mut task = place.task(&pool, Journal::at(place.journal()).durability(level), [0, 1, 2, 3, 4]);
        for given in 1..=5 {
            assert!(task.next_completed().is_some());
            let (done, failed) = recorded(&place.journal());
            assert!(done + failed >= given, "{level:?}: {given} were given, {done} and {failed} are recorded");
        }
    }
}

/// Another pool of the same kind.
fn pool_of(pool: &Pool) -> Pool {
    if pool.task::<()>().is_some() { support::pool(2) } else { support::busy_pool() }
}

/// The records of a piece tell what a reader wants to know.
#[test]
fn records_tell_attempts_times_kinds_and_messages() {
    let _watch = watchdog();
    for pool in pools() {
        let place = Place::new();
        let task = pool.task_or_inline::<u64>().name("naps").version("7").retries(2).retry_panics(true);
        let task = task.journal(place.journal()).unwrap();
        task.try_call(
            |number: u64| {
                std::thread::sleep(Duration::from_millis(20));
                match number {
                    0 => Ok(5),
                    1 => Err("no row".to_string()),
                    _ => panic!("never"),
                }
            },
            0,
        );
        // The same function.
        let again: fn(u64) -> Result<u64, String> = |_| Ok(1);
        task.try_call(again, 1);
        let results = task.get_each();
        assert_eq!(results[1].as_ref().unwrap_err().kind(), ErrorKind::Config);
        let record = journal::read(place.journal()).unwrap().next().unwrap().unwrap();
        assert_eq!((record.name(), record.version(), record.attempts()), ("naps", "7", 1));
        assert_eq!((record.outcome(), record.kind(), record.message()), (Outcome::Done, None, None));
        assert!(record.took() >= Duration::from_millis(20) && record.took() < Duration::from_secs(60));
        assert!(record.finished().elapsed().unwrap() < Duration::from_secs(60));
        assert_eq!(recorded(&place.journal()), (1, 0), "an error by the task itself is not recorded");
    }
}

#[test]
fn a_piece_that_was_tried_again_has_one_record_with_its_attempts() {
    let _watch = watchdog();
    let pool = support::pool(1);
    let place = Place::new();
    let task = pool.task::<u64>().unwrap().name("tries").retries(2).journal(place.journal()).unwrap();
    let marks = Marks::new();
    task.run(
        |marks: String, number: u64| {
            mark(&marks, number);
            if std::fs::read_to_string(&marks).unwrap().lines().count() < 3 {
                std::process::exit(9);
            }
            number
        },
        marks.path(),
        4,
    );
    task.run(|_: String, _: u64| std::process::abort(), String::new(), 0);
    let results = task.get_each();
    assert_eq!(*results[0].as_ref().unwrap(), 4);
    let record = journal::read(place.journal()).unwrap().next().unwrap().unwrap();
    assert_eq!((record.attempts(), record.outcome()), (3, Outcome::Done));
}

/// The same for errors that count as lost starts: none of them is recorded as a failure.
#[test]
fn an_error_that_is_tried_again_is_not_recorded() {
    let _watch = watchdog();
    for pool in pools() {
        let (place, marks) = (Place::new(), Marks::new());
        let task = pool.task_or_inline::<u64>().name("tries").retries(2).retry_failures(true);
        let task = task.journal(place.journal()).unwrap();
        task.try_run(
            |marks: String, number: u64| {
                mark(&marks, number);
                let begun = std::fs::read_to_string(&marks).unwrap().lines().count();
                if begun < 3 { Err("locked") } else { Ok(number) }
            },
            marks.path(),
            4,
        );
        assert_eq!(task.get().unwrap(), [4]);
        let records: Vec<_> = journal::read(place.journal()).unwrap().map(Result::unwrap).collect();
        assert_eq!(records.len(), 1);
        assert_eq!((records[0].attempts(), records[0].outcome()), (3, Outcome::Done));
    }
}

/// Marks that it has begun, and waits at the door.
fn behind_a_door((marks, door): (String, String), number: u64) -> u64 {
    mark(&marks, number);
    support::wait_at(&door);
    number
}

/// The deadline is no outcome of a piece: a later run runs it, even where failures are given again.
#[test]
fn what_a_deadline_has_ended_runs_again() {
    let _watch = watchdog();
    for resumes_failed in [true, false] {
        let (pool, place, door, open) =
            (support::pool(1), Place::new(), support::Door::closed(), support::Door::closed());
        open.open();
        let run = |deadline: Option<Duration>| {
            let task = journalled::<u64>(&pool, Journal::at(place.journal()).resume_failed(resumes_failed));
            (0..3).for_each(|number| {
                let door = if number == 1 { door.path() } else { open.path() };
                task.run(behind_a_door, (place.marks.path(), door), number);
            });
            let count = task.resumed();
            let Some(left) = deadline else { return (count, each(task)) };
            support::wait_for("the second one hangs", || task.completed() == 1 && place.marks.count() == 2);
            (count, each(task.deadline(std::time::Instant::now() + left)))
        };
        let late = Err(ErrorKind::TimedOut);
        assert_eq!(run(Some(Duration::from_millis(20))), (0, vec![Ok(0), late, late]));
        assert_eq!(place.ran(), [0, 1]);
        door.open();
        assert_eq!(run(None), (1, vec![Ok(0), Ok(1), Ok(2)]), "{resumes_failed}");
        assert_eq!(place.ran(), [1, 2]);
    }
    // What never began.
    for pool in pools() {
        let place = Place::new();
        let journal = || Journal::at(place.journal()).resume_failed(false);
        let task = journalled::<u64>(&pool, journal()).deadline(std::time::Instant::now());
        (0..3).for_each(|number| task.try_run(piece, place.marks.path(), number));
        assert_eq!(each(task), [Err(ErrorKind::TimedOut); 3]);
        let task = place.task(&pool, journal(), 0..3);
        assert_eq!((task.resumed(), each(task)), (0, vec![Ok(0), Ok(2), Ok(4)]));
        assert_eq!(place.ran(), [0, 1, 2]);
    }
}

/// A crash is told by what happened.
#[test]
fn a_lost_worker_is_recorded_with_its_cause() {
    let _watch = watchdog();
    let pool = support::pool(1);
    let place = Place::new();
    let run = || {
        let task = journalled::<u64>(&pool, Journal::at(place.journal()).resume_failed(false));
        task.call(|_: u64| std::process::exit(9), 1);
        task.get_each().pop().unwrap().unwrap_err()
    };
    let (first, second) = (run(), run());
    assert_eq!((first.kind(), second.kind()), (ErrorKind::WorkerLost, ErrorKind::WorkerLost));
    let record = journal::read(place.journal()).unwrap().next().unwrap().unwrap();
    assert_eq!(record.message(), Some("it exited with code 9 while it ran the piece"));
    assert!(second.to_string().ends_with("lost its worker; it exited with code 9 while it ran the piece"), "{second}");
    assert_eq!(recorded(&place.journal()), (0, 1));
}

/// Pieces beyond the bound wait, and what was recorded takes no memory.
#[test]
fn a_bounded_task_runs_no_more_than_its_reader_takes() {
    let _watch = watchdog();
    for (pool, most) in pools().into_iter().zip([60, 8]) {
        let place = Place::new();
        let task = pool.task_or_inline::<Vec<u8>>().name("long").max_unread(100_000);
        let task = task.journal(place.journal()).unwrap();
        let marks = Marks::new();
        for number in 0..200 {
            task.run(
                |marks: String, number: u64| {
                    mark(&marks, number);
                    vec![number as u8; 50_000]
                },
                marks.path(),
                number,
            );
        }
        let mut results = task.iter();
        for number in 0..2 {
            assert_eq!(results.next().unwrap().unwrap()[0], number);
        }
        let ran = marks.settled();
        assert!(ran >= 2 && ran <= most, "{ran} pieces ran for two that were taken");
        assert_eq!(results.count(), 198);
    }
}

/// The outcomes of other journals count, and they are not written.
#[test]
fn other_journals_count_too() {
    let _watch = watchdog();
    for pool in pools() {
        let place = Place::new();
        let path = |name: &str| place.folder.path().join(name);
        for (share, numbers) in [("a", [0, 1, 3]), ("b", [4, 5, 7])] {
            each(place.task(&pool, path(share), numbers));
        }
        let before = [path("a"), path("b")].map(|path| std::fs::read(path).unwrap());
        place.ran();
        let merged = || Journal::at(path("merged")).also(path("a")).also(path("b"));
        for runs in [&[3, 6, 7][..], &[3, 7]] {
            let task = place.task(&pool, merged(), 0..8);
            let ran = 8 - task.resumed();
            assert_eq!(each(task), (0..8).map(expected).collect::<Vec<_>>());
            // 2 was in no journal.
            let own = place.ran();
            assert_eq!(own.iter().filter(|number| **number != 2).copied().collect::<Vec<_>>(), runs);
            assert_eq!(own.len(), ran);
        }
        assert_eq!([path("a"), path("b")].map(|path| std::fs::read(path).unwrap()), before);
    }
}

/// Compaction leaves out what is older, and a later run goes on with what is left.
#[test]
fn a_compacted_journal_is_gone_on_with() {
    let _watch = watchdog();
    let pool = support::pool(2);
    let place = Place::new();
    for _ in 0..3 {
        each(place.task(&pool, place.journal(), 0..10));
    }
    place.ran();
    let compacted = journal::compact(place.journal()).unwrap();
    assert_eq!((compacted.outcomes(), compacted.dropped()), (10, 4));
    let task = place.task(&pool, place.journal(), 0..11);
    assert_eq!(task.resumed(), 8);
    each(task);
    assert_eq!(place.ran(), [3, 7, 10]);
}

/// What an earlier run has recorded is told as done, and makes the rate no better.
#[test]
fn progress_tells_what_an_earlier_run_has_done() {
    let _watch = watchdog();
    for pool in pools() {
        let place = Place::new();
        each(place.task(&pool, place.journal(), [0, 1, 2, 3]));
        for sets_journal_first in [false, true] {
            let told = std::sync::Arc::new(std::sync::Mutex::new(None));
            let noted = std::sync::Arc::clone(&told);
            let note = move |progress: &multicore::Progress| *noted.lock().unwrap() = Some(*progress);
            let task = new_task::<u64>(&pool);
            let task = match sets_journal_first {
                true => task.journal(place.journal()).unwrap().progress(note),
                false => task.progress(note).journal(place.journal()).unwrap(),
            };
            [0, 1, 2, 3].into_iter().for_each(|number| task.try_run(piece, place.marks.path(), number));
            each(task);
            let last = told.lock().unwrap().unwrap();
            assert_eq!((last.total(), last.done(), last.failed(), last.resumed()), (4, 3, 1, 3));
            assert!((last.rate() * last.elapsed().as_secs_f64() - 1.0).abs() < 0.01, "one ran: {last:?}");
        }
    }
}

/// What a piece writes while it runs is recorded as any result: whole, and given again without a run.
#[test]
fn what_a_piece_writes_is_recorded_and_given_again() {
    let _watch = watchdog();
    fn write((marks, number): (String, u64), length: usize, sink: &mut multicore::Sink) -> Result<(), String> {
        support::mark(&marks, number);
        sink.push_str(&number.to_string().repeat(length));
        if number == 2 { Err("two".to_string()) } else { Ok(()) }
    }
    for pool in pools() {
        let place = Place::new();
        for round in 0..3 {
            let task = journalled::<String>(&pool, place.journal()).max_unread(if round == 0 { 0 } else { 10_000_000 });
            let marks = place.marks.path();
            (0..5).for_each(|number| {
                task.run_into(write, (marks.clone(), number), [0, 10, 20, 300_000, 3_000_000][number as usize])
            });
            assert_eq!(task.resumed(), if round == 0 { 0 } else { 4 });
            let mut text = Vec::new();
            if round == 1 {
                let error = task.write_to(&mut text).unwrap_err();
                assert_eq!((error.kind(), error.piece()), (ErrorKind::Failed, Some(2)));
                assert_eq!(text, b"1".repeat(10));
            } else {
                for (number, result) in task.iter().enumerate().filter(|(number, _)| *number != 2) {
                    assert!(result.unwrap() == number.to_string().repeat([0, 10, 0, 300_000, 3_000_000][number]));
                }
            }
            assert_eq!(place.ran(), if round == 0 { vec![0, 1, 2, 3, 4] } else { vec![2] });
        }
    }
}

/// In each run the tables have other numbers. A piece is known by what they contain.
#[test]
fn what_pieces_share_counts_by_its_content() {
    let _watch = watchdog();
    let sum = |(marks, table): (String, Shared<[u64]>), number: u64| {
        mark(&marks, number);
        table.iter().sum::<u64>() + number
    };
    for pool in pools() {
        for format in [Format::Bincode, Format::Json] {
            let place = Place::new();
            for (base, ran) in [(0, &[0, 1, 2, 3][..]), (0, &[]), (1, &[0, 1, 2, 3]), (0, &[]), (1, &[])] {
                let task = new_task::<u64>(&pool).format(format).journal(place.journal()).unwrap();
                let table = Shared::from_slice(&[base; 100]).unwrap();
                for number in 0..4 {
                    task.run(sum, (place.marks.path(), table.clone()), number);
                }
                assert_eq!(task.get().unwrap(), [0, 1, 2, 3].map(|number| 100 * base + number));
                assert_eq!(place.ran(), ran, "{base}, {format:?}");
            }
        }
    }
}
