//! Pieces that return an error: `try_run` and `try_call` make it the piece's own, with a pool and without.

use crate::support::{self, Marks, busy_pool, mark, pool, watchdog};
use multicore::{Error, ErrorKind, Failure, Format, Pool, Task};
use std::error::Error as StdError;
use std::fmt;

/// A pool that runs pieces in workers, and one that runs them in this process.
fn both() -> [(&'static str, Pool); 2] {
    [("in a worker", pool(1)), ("inline", busy_pool())]
}

/// The only error of a task with one piece.
#[track_caller]
fn error_of<R: multicore::Value>(task: Task<R>) -> Error {
    assert_eq!(task.len(), 1);
    task.get_each().remove(0).err().expect("the piece fails")
}

/// An error with a source.
#[derive(Debug)]
struct Outer(&'static str, Option<Box<Outer>>);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl StdError for Outer {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.1.as_deref().map(|source| source as &dyn StdError)
    }
}

fn save(number: u64, _: ()) -> Result<u64, Outer> {
    let full = Outer("the disk is full", None);
    match number {
        0 => Ok(7),
        1 => Err(full),
        _ => Err(Outer("cannot save", Some(Box::new(Outer("cannot write: the disk is full", Some(Box::new(full))))))),
    }
}

#[test]
fn an_error_says_which_piece_where_and_all_messages_once() {
    let _watch = watchdog();
    for (place, pool) in both() {
        for format in [Format::Bincode, Format::Json] {
            let task = pool.task_or_inline::<u64>().format(format);
            let line = line!() + 1;
            (0..3).for_each(|number| task.try_run(save, number, ()));
            let mut outcomes = task.get_each();
            assert_eq!(*outcomes[0].as_ref().unwrap(), 7, "{place}");
            let error = outcomes.pop().unwrap().unwrap_err();
            assert_eq!((error.kind(), error.piece(), error.attempts()), (ErrorKind::Failed, Some(2), 1), "{place}");
            assert_eq!((error.cause(), error.function()), (None, Some("values::fallible::save")), "{place}");
            let piece = format!("piece 2 (values::fallible::save at tests/values/fallible.rs:{line})");
            let text = "failed: cannot save: cannot write: the disk is full";
            assert_eq!(error.to_string(), format!("{piece} {text}"), "{place}");
            assert!(error.backtrace().is_none());
            let first = outcomes.pop().unwrap().unwrap_err().to_string();
            assert!(
                first.starts_with("piece 1 (") && first.ends_with(") failed: the disk is full"),
                "{place}: {first}"
            );
            let worker = (place == "in a worker").then(|| support::workers(&pool)[0].pid);
            assert_eq!((error.worker(), error.pid()), (worker.map(|_| 0), worker), "{place}");
        }
        if place == "in a worker" {
            assert_eq!(pool.stats().workers_lost, 0);
        }
    }
}

#[test]
fn every_usual_type_of_error_fits() {
    let _watch = watchdog();
    type Check<'a> = &'a dyn Fn(&str, fn(&Task<String>));
    for (place, pool) in both() {
        let check: Check<'_> = &|expected, hand_out| {
            for format in [Format::Bincode, Format::Json, Format::Raw] {
                let task = pool.task_or_inline::<String>().format(format);
                hand_out(&task);
                let error = error_of(task);
                assert_eq!(error.kind(), ErrorKind::Failed, "{place}, {format:?}: {error}");
                assert!(error.to_string().ends_with(&format!(") failed{expected}")), "{place}, {format:?}: {error}");
            }
        };
        check(": No such file or directory (os error 2)", |task| {
            task.try_call(std::fs::read_to_string, "/nowhere".to_string());
        });
        check(": a text", |task| task.try_call(|(): ()| Err("a text".to_string()), ()));
        check(": a literal", |task| task.try_run(|(): (), (): ()| Err("a literal"), (), ()));
        check(" without a message", |task| task.try_call(|(): ()| Err(""), ()));
        check(": by hand", |task| task.try_call(|(): ()| Err(Failure::new("by hand")), ()));
        check(": cannot save: the disk is full", |task| {
            let piece = |(): ()| -> Result<String, Failure> {
                Err(Outer("cannot save", Some(Box::new(Outer("the disk is full", None)))))?;
                Ok(String::new())
            };
            task.try_call(piece, ());
        });
        check(": invalid digit found in string", |task| {
            let piece = |text: String, (): ()| -> Result<String, Box<dyn StdError + Send + Sync>> {
                Ok(text.parse::<u64>()?.to_string())
            };
            task.try_run(piece, "one".to_string(), ());
        });
        // It converts as anyhow's error does.
        struct Any(Box<dyn StdError + Send + Sync>);
        impl From<Any> for Box<dyn StdError + Send + Sync> {
            fn from(any: Any) -> Self {
                any.0
            }
        }
        check(": any", |task| task.try_call(|(): ()| Err(Any("any".into())), ()));
        // What is right comes back as it is.
        for format in [Format::Bincode, Format::Json, Format::Raw] {
            let task = pool.task_or_inline::<String>().format(format);
            task.try_call(|text: String| Ok::<_, String>(text), "right".to_string());
            task.try_run(|text: String, times: usize| Ok::<_, String>(text.repeat(times)), "ab".to_string(), 50_000);
            let results = task.get().unwrap();
            assert_eq!((results[0].as_str(), results[1].len()), ("right", 100_000), "{place}, {format:?}");
        }
    }
}

/// Not even where a panic would be.
#[test]
fn an_error_is_an_answer_that_is_not_asked_for_again() {
    let _watch = watchdog();
    for (place, pool) in both() {
        let marks = Marks::new();
        let task = pool.task_or_inline::<u64>().retries(5).retry_panics(true);
        task.try_run(
            |marks: String, number: u64| {
                mark(&marks, number);
                Err("no")
            },
            marks.path(),
            1,
        );
        let error = error_of(task);
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::Failed, 1), "{place}: {error}");
        assert_eq!(marks.numbers(), [1], "{place}");
    }
}

/// As an import that meets a locked database.
#[test]
fn an_error_counts_as_a_lost_start_where_the_task_says_so() {
    let _watch = watchdog();
    fn locked_until(marks: String, needed: u64) -> Result<u64, String> {
        mark(&marks, needed);
        let begun = std::fs::read_to_string(&marks).unwrap().lines().count() as u64;
        if begun < needed { Err(format!("locked {begun}")) } else { Ok(begun) }
    }
    for (place, pool) in both() {
        // Whether errors and panics are retried, the starts that the piece needs, the starts that it gets.
        for (failures, panics, needed, starts) in
            [(false, false, 2, 1), (false, true, 2, 1), (true, false, 2, 2), (true, false, 3, 3), (true, true, 4, 3)]
        {
            let marks = Marks::new();
            // A long argument streams, and is read again as well.
            let argument = (marks.path(), "x".repeat(if needed == 3 { 300_000 } else { 3 }));
            let task = pool.task_or_inline::<u64>().retries(2).retry_panics(panics).retry_failures(failures);
            task.try_run(|(marks, _): (String, String), needed| locked_until(marks, needed), argument, needed);
            let counts = task.get_each().remove(0);
            assert_eq!(marks.count(), starts, "{place}");
            match counts {
                Ok(begun) => assert_eq!((begun, needed), (starts as u64, starts as u64), "{place}"),
                Err(error) => {
                    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Failed, starts as u32), "{place}");
                    assert!(error.to_string().ends_with(&format!(" failed: locked {starts}")), "{place}: {error}");
                }
            }
        }
        // Each is asked for on its own.
        let marks = Marks::new();
        let task = pool.task_or_inline::<u64>().retries(2).retry_failures(true);
        task.try_call(
            |marks: String| -> Result<u64, String> {
                mark(&marks, 0);
                panic!("a panic")
            },
            marks.path(),
        );
        assert_eq!((error_of(task).attempts(), marks.count()), (1, 1), "{place}");
        // One that writes its result starts it anew.
        let marks = Marks::new();
        let task = pool.task_or_inline::<String>().retries(2).retry_failures(true);
        task.run_into(
            |marks: String, needed: u64, sink: &mut multicore::Sink| {
                sink.push_str(&"a".repeat(200_000));
                locked_until(marks, needed).map(drop)
            },
            marks.path(),
            2,
        );
        assert_eq!(task.get().unwrap()[0].len(), 200_000, "{place}");
        if place == "in a worker" {
            assert_eq!(pool.stats().workers_lost, 0);
        }
    }
}

#[test]
fn a_message_of_any_length_is_cut_and_the_same_in_both_places() {
    let _watch = watchdog();
    let texts = both().map(|(_, pool)| {
        let task = pool.task_or_inline::<u64>();
        task.try_call(|(): ()| Err("ß".repeat(10_000_000)), ());
        error_of(task).to_string()
    });
    let message = |text: &str| text.split_once(") failed: ").unwrap().1.to_string();
    assert_eq!(message(&texts[0]), "ß".repeat(4096));
    assert_eq!(message(&texts[0]), message(&texts[1]));
}

/// An error whose own code panics: in its text, its source or its drop.
#[derive(Debug)]
struct Trap(u8);

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        assert!(self.0 != 0, "no text");
        f.write_str("a trap")
    }
}

impl StdError for Trap {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        assert!(self.0 != 1, "no source");
        None
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        assert!(self.0 != 2, "no drop");
    }
}

#[test]
fn a_panic_of_the_errors_own_code_is_the_pieces_panic() {
    let _watch = watchdog();
    for (place, pool) in both() {
        for (number, expected) in [(0, "no text"), (1, "no source"), (2, "no drop")] {
            let task = pool.task_or_inline::<u64>();
            task.try_run(|number: u8, (): ()| Err(Trap(number)), number, ());
            let error = error_of(task);
            assert_eq!(error.kind(), ErrorKind::Panicked, "{place}: {error}");
            assert!(error.to_string().contains(&format!("panicked: {expected}")), "{place}: {error}");
        }
        let task = pool.task_or_inline::<u64>();
        task.try_call(|number: u64| Ok::<_, String>(number + 1), 1);
        assert_eq!(task.get().unwrap(), [2], "{place}");
        if place == "in a worker" {
            assert_eq!(pool.stats().workers_lost, 0);
        }
    }
}

/// What fails before or after the function is told as for `run`.
#[test]
fn what_cannot_travel_is_no_failure_of_the_function() {
    let _watch = watchdog();
    for (place, pool) in both() {
        let task = pool.task_or_inline::<u64>().format(Format::Raw);
        task.try_call(|number: u64| Ok::<_, String>(number), 1);
        assert_eq!(error_of(task).kind(), ErrorKind::Encode, "{place}");
        let task = pool.task_or_inline::<Option<Option<u64>>>().format(Format::Json);
        task.try_call(|(): ()| Ok::<_, String>(Some(None)), ());
        assert_eq!(error_of(task).kind(), ErrorKind::Encode, "{place}");
        let task = pool.task_or_inline::<u64>();
        task.try_call(|number: u64| -> Result<u64, String> { panic!("{number} is refused") }, 3);
        assert_eq!(error_of(task).kind(), ErrorKind::Panicked, "{place}");
    }
}
