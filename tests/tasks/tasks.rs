//! The promises of a task: its results in order, an outcome for each piece, and an end of the pieces that nobody needs any
//! more.

use crate::support::{self, DEADLINE, Door, Marks, Random, add, mark, pool, task, wait_at, wait_for, watchdog};
use multicore::{Error, ErrorKind, Format, Priority, Task};
use std::time::{Duration, Instant};

fn slow_square(number: u64, sleep_us: u64) -> u64 {
    std::thread::sleep(Duration::from_micros(sleep_us));
    number * number
}

fn fail_if(number: u64, fails: bool) -> u64 {
    assert!(!fails, "{number} fails");
    number
}

fn marked(number: u64, marks: String) -> u64 {
    mark(&marks, number);
    number
}

fn held(number: u64, (marks, door): (String, String)) -> u64 {
    mark(&marks, number);
    wait_at(&door);
    number
}

fn kinds(outcomes: &[Result<u64, Error>]) -> Vec<Result<u64, ErrorKind>> {
    outcomes.iter().map(|outcome| outcome.as_ref().map(|&number| number).map_err(Error::kind)).collect()
}

#[test]
fn results_come_in_run_order_however_long_each_piece_takes() {
    let _watch = watchdog();
    let mut random = Random::seeded();
    let pool = pool(3);
    for (pieces, most_us) in [(1, 1), (2, 3000), (7, 3000), (100, 2000), (1000, 100), (5000, 1)] {
        let seed = random.next();
        let hand_out = || {
            let mut random = Random::with_seed(seed);
            let task = task::<u64>(&pool);
            for number in 0..pieces {
                task.run(slow_square, number, random.below(most_us));
            }
            task
        };
        let expected: Vec<u64> = (0..pieces).map(|number| number * number).collect();
        assert_eq!(hand_out().get().unwrap(), expected, "get of {pieces}");
        assert_eq!(hand_out().get_timeout(DEADLINE).unwrap(), expected, "get_timeout of {pieces}");
        let each: Result<Vec<u64>, Error> = hand_out().get_each().into_iter().collect();
        assert_eq!(each.unwrap(), expected, "get_each of {pieces}");
        let each: Result<Vec<u64>, Error> = hand_out().iter().collect();
        assert_eq!(each.unwrap(), expected, "iter of {pieces}");
        let mut completed: Vec<(usize, u64)> =
            hand_out().iter_completed().map(|(number, outcome)| (number, outcome.unwrap())).collect();
        completed.sort_unstable();
        assert_eq!(completed, expected.iter().copied().enumerate().collect::<Vec<_>>(), "iter_completed of {pieces}");
    }
}

#[test]
fn a_task_without_pieces_gives_nothing_at_once() {
    let pool = pool(1);
    let none = || task::<String>(&pool);
    assert!(none().is_empty());
    assert_eq!(none().len(), 0);
    assert_eq!(none().completed(), 0);
    assert_eq!(none().get().unwrap(), Vec::<String>::new());
    assert_eq!(none().get_timeout(Duration::ZERO).unwrap(), Vec::<String>::new());
    assert!(none().get_each().is_empty());
    assert_eq!(none().iter().count(), 0);
    assert_eq!(none().iter_completed().count(), 0);
    let mut written = Vec::new();
    assert_eq!(none().write_to(&mut written).unwrap(), 0);
    assert!(written.is_empty());
}

#[test]
fn run_call_and_run_all_may_be_mixed_and_keep_their_order() {
    let pool = pool(2);
    let task = task::<u64>(&pool);
    task.run(add, 0, 0);
    task.call(|number: u64| number, 1);
    task.run_all(add, (2..1002).map(|number| (number, 0)));
    task.call(|(a, b, c): (u64, u64, u64)| a + b + c, (1000, 1, 1));
    task.run_all(add, std::iter::empty::<(u64, u64)>());
    // Other types of arguments, the same result.
    task.run(|text: String, times: u8| text.len() as u64 * u64::from(times), "x".repeat(17), 59);
    assert_eq!(task.len(), 1004);
    assert!(!task.is_empty());
    assert_eq!(task.get().unwrap(), (0..1004).collect::<Vec<u64>>());
}

/// The iterator that `run_all` reads may itself hand out pieces.
#[test]
fn run_all_reads_its_pairs_without_holding_the_task() {
    let pool = pool(2);
    let task = task::<u64>(&pool);
    task.run_all(
        add,
        (0..10).map(|number| {
            task.run(add, 100, number);
            (number, 0)
        }),
    );
    let mut results = task.get().unwrap();
    results.sort_unstable();
    assert_eq!(results, (0..10).chain(100..110).collect::<Vec<u64>>());
}

#[test]
fn get_gives_the_error_of_the_failed_piece_with_the_lowest_number() {
    let pool = pool(3);
    for failing in [vec![0], vec![7], vec![3, 4], vec![19, 2, 11]] {
        let task = task::<u64>(&pool);
        for number in 0..20 {
            // Pieces with low numbers fail later than the others.
            let fails = failing.contains(&number);
            task.run(
                |number, (fails, wait_ms): (bool, u64)| {
                    std::thread::sleep(Duration::from_millis(wait_ms));
                    fail_if(number, fails)
                },
                number,
                (fails, if fails { 20 - number } else { 0 }),
            );
        }
        let error = task.get().unwrap_err();
        let lowest = failing.iter().min().map(|&number| number as usize);
        assert_eq!((error.kind(), error.piece()), (ErrorKind::Panicked, lowest), "{error}");
    }
}

#[test]
fn get_each_and_the_iterators_give_each_piece_its_own_outcome() {
    let pool = pool(2);
    let hand_out = || {
        let task = task::<u64>(&pool);
        task.run_all(fail_if, (0..50).map(|number| (number, number % 7 == 3)));
        task
    };
    let expected: Vec<Result<u64, ErrorKind>> =
        (0..50).map(|number| if number % 7 == 3 { Err(ErrorKind::Panicked) } else { Ok(number) }).collect();
    assert_eq!(kinds(&hand_out().get_each()), expected);
    let outcomes: Vec<_> = hand_out().iter().collect();
    assert_eq!(kinds(&outcomes), expected);
    let mut outcomes: Vec<_> = hand_out().iter_completed().collect();
    outcomes.sort_by_key(|(number, _)| *number);
    for (number, outcome) in &outcomes {
        if let Err(error) = outcome {
            assert_eq!(error.piece(), Some(*number));
        }
    }
    let outcomes: Vec<_> = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(kinds(&outcomes), expected);
}

#[test]
fn iterators_say_how_many_are_left_and_end_for_good() {
    let pool = pool(1);
    let task_of = |pieces| {
        let task = task::<u64>(&pool);
        task.run_all(add, (0..pieces).map(|number| (number, 0)));
        task
    };
    let mut iter = task_of(5).iter();
    for left in (0..5).rev() {
        iter.next().unwrap().unwrap();
        assert_eq!((iter.len(), iter.size_hint()), (left, (left, Some(left))));
    }
    assert!(iter.next().is_none() && iter.next().is_none());
    let mut iter = task_of(5).iter_completed();
    for left in (0..5).rev() {
        iter.next().unwrap().1.unwrap();
        assert_eq!((iter.len(), iter.size_hint()), (left, (left, Some(left))));
    }
    assert!(iter.next().is_none() && iter.next().is_none());
}

#[test]
fn iter_gives_a_result_while_later_pieces_run_and_iter_completed_while_earlier_ones_do() {
    let _watch = watchdog();
    // The door holds two of the workers.
    let pool = pool(3);
    let (marks, door) = (Marks::new(), Door::closed());
    let task_of = |held_first: bool| {
        let task = task::<u64>(&pool);
        for number in 0..2 {
            if (number == 0) == held_first {
                task.run(held, number, (marks.path(), door.path()));
            } else {
                task.run(marked, number, marks.path());
            }
        }
        task
    };
    let mut in_order = task_of(false).iter();
    assert_eq!(in_order.next().unwrap().unwrap(), 0);
    let mut completed = task_of(true).iter_completed();
    let (number, outcome) = completed.next().unwrap();
    assert_eq!((number, outcome.unwrap()), (1, 1));
    door.open();
    assert_eq!(in_order.next().unwrap().unwrap(), 1);
    let (number, outcome) = completed.next().unwrap();
    assert_eq!((number, outcome.unwrap()), (0, 0));
}

#[test]
fn completed_counts_pieces_that_are_done_in_whatever_way() {
    let _watch = watchdog();
    let pool = pool(2);
    let (marks, door) = (Marks::new(), Door::closed());
    let task = task::<u64>(&pool);
    assert_eq!(task.completed(), 0);
    task.run_all(fail_if, (0..10).map(|number| (number, number % 2 == 0)));
    task.run(held, 10, (marks.path(), door.path()));
    // No caller waits for the task, and yet its pieces run.
    wait_for("ten pieces are done", || task.completed() == 10);
    marks.wait_for(1);
    assert_eq!((task.completed(), task.len()), (10, 11));
    door.open();
    wait_for("eleven pieces are done", || task.completed() == 11);
    assert_eq!(task.get_each().len(), 11);
}

#[test]
fn what_has_not_begun_never_begins_once_get_has_failed_or_the_task_was_dropped() {
    let _watch = watchdog();
    type End = fn(Task<u64>);
    let ends: [(&str, End); 5] = [
        ("drop", drop),
        ("get", |task| assert_eq!(task.get().unwrap_err().piece(), Some(0))),
        ("get_timeout", |task| assert_eq!(task.get_timeout(DEADLINE).unwrap_err().piece(), Some(0))),
        ("iter dropped", |task| assert!(task.iter().next().unwrap().is_err())),
        ("iter_completed dropped", |task| assert!(task.iter_completed().next().unwrap().1.is_err())),
    ];
    for (name, end) in ends {
        let pool = pool(1);
        let (first, marks, door) = (Marks::new(), Marks::new(), Door::closed());
        let holder = task::<u64>(&pool);
        let ended = task::<u64>(&pool);
        ended.run(fail_if, 0, true);
        wait_for("the first piece has failed", || ended.completed() == 1);
        holder.run(held, 0, (first.path(), door.path()));
        first.wait_for(1);
        // The only worker is held, so none of these begins. Some were given to it already, and some are being given.
        for number in 0..500 {
            ended.run(marked, number, marks.path());
        }
        for number in 0..5 {
            let text = format!("{number:9}{:8}{}{}", marks.path().len(), marks.path(), "x".repeat(40_000));
            ended.call(marked_long, text);
        }
        end(ended);
        door.open();
        holder.get().unwrap();
        // The worker runs its pieces in order. It has passed all pieces of the other task by now.
        support::assert_works(&pool);
        assert_eq!(marks.count(), 0, "{name}");
        pool.shutdown();
        assert_eq!(marks.count(), 0, "{name}, after the end of the pool");
    }
}

/// As `marked`, with all arguments in one long text.
fn marked_long(text: String) -> u64 {
    let number = text[..9].trim().parse().unwrap();
    let length: usize = text[9..17].trim().parse().unwrap();
    marked(number, text[17..17 + length].to_string())
}

#[test]
fn a_piece_that_runs_when_its_task_is_dropped_comes_to_its_end() {
    let _watch = watchdog();
    let pool = pool(1);
    let (begun, door, ended) = (Marks::new(), Door::closed(), Marks::new());
    let dropped = task::<u64>(&pool);
    dropped.run(
        |(begun, door): (String, String), ended: String| {
            mark(&begun, 1);
            wait_at(&door);
            mark(&ended, 1);
            1
        },
        (begun.path(), door.path()),
        ended.path(),
    );
    begun.wait_for(1);
    let worker = support::workers(&pool)[0];
    drop(dropped);
    door.open();
    ended.wait_for(1);
    support::assert_works(&pool);
    assert!(worker.is_there() && pool.stats().workers_lost == 0);
}

#[test]
fn get_timeout_tells_that_the_time_has_passed_and_kills_what_runs_of_it_alone() {
    let _watch = watchdog();
    let pool = pool(2);
    let (marks, door) = (Marks::new(), Door::closed());
    let innocent = task::<u64>(&pool);
    innocent.run(held, 0, (marks.path(), door.path()));
    marks.wait_for(1);
    let late = task::<u64>(&pool);
    let nowhere = Door::closed();
    late.run(add, 1, 2);
    late.run(held, 1, (marks.path(), nowhere.path()));
    marks.wait_for(2);
    // They wait behind the held pieces. One of them is too long to fit into the ring whole.
    late.run_all(marked, (2..100).map(|number| (number, marks.path())));
    late.call(|text: String| text.len() as u64, "x".repeat(200_000));
    let start = Instant::now();
    let error = late.get_timeout(Duration::from_millis(50)).unwrap_err();
    assert!(start.elapsed() >= Duration::from_millis(50));
    assert_eq!((error.kind(), error.piece(), error.attempts()), (ErrorKind::TimedOut, None, 0));
    let text = error.to_string();
    assert!(text.contains("50ms") && text.contains("1 of its 101 pieces"), "{text}");
    wait_for("the worker is killed", || pool.stats().workers_lost == 1);
    door.open();
    assert_eq!(innocent.get().unwrap(), [0]);
    assert_eq!(marks.count(), 2);
    support::assert_well(pool);
}

/// The pieces that the killed worker would have run next go to another one. The replies that it had sent count.
#[test]
fn a_task_whose_time_passes_takes_no_other_along() {
    let _watch = watchdog();
    let mut random = Random::seeded();
    let pool = pool(2);
    for round in 0..100 {
        let (late, others) = (task::<u64>(&pool), task::<u64>(&pool));
        for number in 0..30 {
            late.run(slow_square, number, random.below(200));
            others.run(slow_square, number, random.below(200));
        }
        // It never ends in time, however slow or fast the machine is.
        late.run(slow_square, 0, 1_000_000);
        let error = late.get_timeout(Duration::from_micros(random.below(3000))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let expected: Vec<u64> = (0..30).map(|number| number * number).collect();
        assert_eq!(others.get().unwrap(), expected, "round {round}");
    }
    support::assert_well(pool);
}

#[test]
fn get_timeout_of_no_time_gives_what_is_there() {
    let pool = pool(1);
    let done = task::<u64>(&pool);
    done.run_all(add, [(1, 2), (3, 4)]);
    wait_for("both pieces are done", || done.completed() == 2);
    assert_eq!(done.get_timeout(Duration::ZERO).unwrap(), [3, 7]);
    let done = task::<u64>(&pool);
    done.run(add, 1, 2);
    assert_eq!(done.get_timeout(Duration::MAX).unwrap(), [3]);
}

#[test]
fn write_to_writes_the_results_one_after_the_other() {
    let pool = pool(2);
    let piece = |number: u64, length: u64| number.to_string().repeat(length as usize);
    let lengths = [0, 1, 3, 10_000, 0, 70_000, 5];
    let expected: String = (0..).zip(lengths).map(|(number, length)| piece(number, length)).collect();
    for format in [Format::Bincode, Format::Raw] {
        let texts = task::<String>(&pool).format(format);
        texts.run_all(piece, (0..).zip(lengths));
        let mut written = Vec::new();
        assert_eq!(texts.write_to(&mut written).unwrap(), expected.len() as u64);
        assert!(written == expected.as_bytes(), "{format:?}");
        let bytes = task::<Vec<u8>>(&pool).format(format);
        bytes.run_all(|number, length| number.to_string().repeat(length as usize).into_bytes(), zip(lengths));
        let mut written = Vec::new();
        assert_eq!(bytes.write_to(&mut written).unwrap(), expected.len() as u64);
        assert!(written == expected.as_bytes(), "{format:?}");
    }
}

fn zip<const N: usize>(lengths: [u64; N]) -> impl Iterator<Item = (u64, u64)> {
    (0..).zip(lengths)
}

#[test]
fn write_to_ends_at_the_failed_piece_with_what_came_before_it_written() {
    let pool = pool(2);
    let texts = task::<String>(&pool);
    texts.run_all(|number, _| format!("{};", fail_if(number, number == 3)), zip([0; 6]));
    let mut written = Vec::new();
    let error = texts.write_to(&mut written).unwrap_err();
    assert_eq!((error.kind(), error.piece()), (ErrorKind::Panicked, Some(3)));
    assert_eq!(written, b"0;1;2;");
}

#[test]
fn write_to_refuses_results_that_are_no_bytes() {
    let pool = pool(1);
    let mut written = Vec::new();
    let numbers = task::<u64>(&pool);
    numbers.run(add, 1, 2);
    assert_eq!(numbers.write_to(&mut written).unwrap_err().kind(), ErrorKind::Encode);
    let json = task::<String>(&pool).format(Format::Json);
    json.call(|text: String| text, "a".to_string());
    assert_eq!(json.write_to(&mut written).unwrap_err().kind(), ErrorKind::Encode);
    assert!(written.is_empty());
}

#[test]
fn write_to_tells_what_the_writer_said() {
    struct Full(usize);
    impl std::io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.0 < bytes.len() {
                return Err(std::io::Error::other("the disk is full"));
            }
            self.0 -= bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let pool = pool(2);
    let texts = task::<String>(&pool);
    texts.run_all(|number: u64, _: u64| number.to_string().repeat(10), zip([0; 8]));
    let error = texts.write_to(&mut Full(35)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::System);
    let text = error.to_string();
    assert!(text.contains("the disk is full") && text.contains("piece 3"), "{text}");
    support::assert_well(pool);
}

/// It once was ignored, or held for some of the pieces.
#[test]
fn a_setting_after_the_first_piece_ends_what_has_not_begun() {
    let _watch = watchdog();
    type Set = fn(Task<String>) -> Task<String>;
    let settings: [(&str, Set); 8] = [
        ("retries", |task| task.retries(3)),
        ("retry_panics", |task| task.retry_panics(true)),
        ("retry_failures", |task| task.retry_failures(true)),
        ("timeout", |task| task.timeout(Duration::MAX).timeout(Duration::ZERO)),
        ("priority", |task| task.priority(Priority::High)),
        ("max_unread", |task| task.max_unread(1 << 30)),
        ("format", |task| task.format(Format::Raw)),
        ("whole_pieces", |task| task.whole_pieces(true)),
    ];
    let (one, inline) = (pool(1), support::busy_pool());
    for (setting, set) in settings {
        for (pool, format) in [(&one, Format::Bincode), (&inline, Format::Bincode), (&one, Format::Json)] {
            let (marks, door) = (Marks::new(), support::Door::closed());
            let task = pool.task_or_inline::<String>().format(format);
            let is_inline = std::ptr::eq(pool, &inline);
            let begins = |(marks, door): (String, String), number: u64| {
                mark(&marks, number);
                support::wait_at(&door);
                number.to_string()
            };
            if !is_inline {
                // It runs when the setting comes.
                task.run(begins, (marks.path(), door.path()), 0);
                marks.wait_for(1);
            }
            task.run_all(begins, (1..4).map(|number| ((marks.path(), door.path()), number)));
            let task = set(task);
            task.call(|number: u64| number.to_string(), 4);
            task.run_into(|(): (), (): (), _: &mut multicore::Sink| (), (), ());
            // The first one is told, and the name may come at any time.
            let task = task.max_unread(0).name("late");
            door.open();
            let outcomes = task.get_each();
            assert_eq!(outcomes.len(), if is_inline { 5 } else { 6 }, "{setting}");
            for (number, outcome) in outcomes.into_iter().enumerate() {
                match outcome {
                    Ok(text) => assert_eq!((number, is_inline, text.as_str()), (0, false, "0"), "{setting}"),
                    Err(error) => {
                        assert!(number > 0 || is_inline, "{setting}: {error}");
                        let found = (error.kind(), error.piece(), error.attempts());
                        assert_eq!(found, (ErrorKind::Config, Some(number), 0), "{setting}");
                        let words = format!(" never began: {setting} came after the first piece: set it before");
                        assert!(error.to_string().ends_with(&words), "{error}");
                    }
                }
            }
            assert_eq!(marks.numbers(), if is_inline { vec![] } else { vec![0] }, "{setting}");
        }
    }
    // Reading sets a bound, and is no setting of the caller's.
    let mut task = one.task_or_inline::<String>();
    task.run(|a: u64, b: u64| (a + b).to_string(), 1, 2);
    assert_eq!(task.next().unwrap().unwrap(), "3");
    task.run(|a: u64, b: u64| (a + b).to_string(), 3, 4);
    assert_eq!(task.iter().map(Result::unwrap).collect::<Vec<_>>(), ["7"]);
    support::assert_well(one);
}

#[test]
fn a_task_can_be_filled_collected_and_dropped_by_other_threads() {
    let pool = pool(2);
    let task = task::<u64>(&pool);
    task.run(add, 1, 1);
    let task = std::thread::spawn(move || {
        task.run(add, 2, 2);
        task
    });
    let task = task.join().unwrap();
    task.run(add, 3, 3);
    let results = std::thread::spawn(move || task.get()).join().unwrap();
    assert_eq!(results.unwrap(), [2, 4, 6]);
}
