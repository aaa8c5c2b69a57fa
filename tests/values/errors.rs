//! An error names the piece, its function, where it was handed out, the worker, and the cause. It is the same with a pool
//! and without.

#![allow(unsafe_code)]

use crate::support::{self, Marks, add, mark, pool, task};
use multicore::{Cause, Error, ErrorKind, Failure, Format, Pool, Task, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::HashSet;

fn refuse(number: u64, _: u64) -> u64 {
    panic!("number {number} is refused")
}

fn die(_: u64, _: u64) -> u64 {
    // SAFETY: a system call that takes no pointer.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    unreachable!("a process survived SIGKILL")
}

/// The only error of a task with one piece.
#[track_caller]
fn error_of<R: Value>(task: Task<R>) -> Error {
    assert_eq!(task.len(), 1);
    task.get_each().remove(0).err().expect("the piece fails")
}

/// A pool that runs pieces in workers, and one that runs them in this process.
fn both() -> [(&'static str, Pool); 2] {
    [("in a worker", pool(1)), ("inline", support::busy_pool())]
}

#[test]
fn a_panic_says_which_piece_where_and_what() {
    for (place, pool) in both() {
        let task = pool.task_or_inline::<u64>();
        task.run(add, 1, 2);
        let line = line!() + 1;
        task.run(refuse, 17, 0);
        let error = task.get().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Panicked, "{place}");
        assert_eq!((error.piece(), error.attempts(), error.cause()), (Some(1), 1, None), "{place}");
        assert_eq!(error.function(), Some("values::errors::refuse"), "{place}");
        let location = error.location().unwrap();
        assert_eq!((location.file(), location.line()), ("tests/values/errors.rs", line), "{place}");
        let text = error.to_string();
        let start =
            format!("piece 1 (values::errors::refuse at tests/values/errors.rs:{line}) panicked: number 17 is refused");
        assert!(text.starts_with(&start), "{place}: {text}");
        assert!(format!("{error:?}").contains("number 17 is refused"), "{place}: {error:?}");
        if place == "in a worker" {
            let worker = support::workers(&pool)[0];
            assert_eq!((error.worker(), error.pid()), (Some(0), Some(worker.pid)));
        }
    }
}

#[test]
fn a_lost_worker_is_named_with_its_process_and_signal() {
    let pool = pool(1);
    support::assert_works(&pool);
    let pid = support::workers(&pool)[0].pid;
    let task = task::<u64>(&pool);
    let line = line!() + 1;
    task.run(die, 0, 0);
    let error = error_of(task);
    assert_eq!((error.kind(), error.cause()), (ErrorKind::WorkerLost, Some(Cause::Signal(libc::SIGKILL))));
    assert_eq!((error.piece(), error.worker(), error.pid(), error.attempts()), (Some(0), Some(0), Some(pid), 1));
    assert_eq!(
        error.to_string(),
        format!(
            "piece 0 (values::errors::die at tests/values/errors.rs:{line}) lost its worker 0 (pid {pid}): killed by SIGKILL"
        )
    );
}

/// A worker may answer before its pool knows that it was spawned.
#[test]
fn the_first_error_of_a_new_worker_names_its_process_too() {
    for round in 0..40 {
        let pool = pool(1);
        let task = task::<u64>(&pool);
        task.run(refuse, 0, 0);
        let error = if round % 2 == 0 { error_of(task) } else { task.get_timeout(support::DEADLINE).unwrap_err() };
        assert_eq!(error.pid(), Some(support::workers(&pool)[0].pid), "round {round}");
    }
}

#[test]
fn functions_are_called_by_their_path_closures_by_their_place_and_tasks_by_their_name() {
    mod deep {
        pub fn inside(number: u64) -> u64 {
            panic!("{number}")
        }
    }
    fn generic<T: std::fmt::Display>(value: T) -> u64 {
        panic!("{value}")
    }
    for (place, pool) in both() {
        let check = |hand_out: fn(&Task<u64>), expected: &str| {
            let task = pool.task_or_inline::<u64>();
            hand_out(&task);
            let error = error_of(task);
            let function = error.function().unwrap_or_default();
            assert!(function.contains(expected), "{place}: {function}, not {expected}");
            assert!(error.to_string().contains(&format!("({function} at tests/values/errors.rs:")), "{place}: {error}");
        };
        check(|task| task.run(refuse, 0, 0), "errors::refuse");
        check(|task| task.run_all(refuse, [(0, 0)]), "errors::refuse");
        check(|task| task.call(deep::inside, 0), "deep::inside");
        check(|task| task.call(generic::<u64>, 0), "generic");
        check(|task| task.call(|number: u64| panic!("{number}"), 0), "tasks_by_their_name::{{closure}}");
        check(|task| task.run(|a: u64, b: u64| panic!("{a} {b}"), 0, 0), "tasks_by_their_name::{{closure}}");
        let named = pool.task_or_inline::<u64>().name("the sum of parts");
        named.call(|number: u64| panic!("{number}"), 0);
        let error = error_of(named);
        assert_eq!(error.function(), Some("the sum of parts"), "{place}");
        assert!(error.to_string().contains("piece 0 (the sum of parts at "), "{place}: {error}");
    }
}

/// Bincode cannot decode a value that describes its own shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

/// A map with keys that JSON cannot represent.
type Paired = std::collections::BTreeMap<(u64, u64), u64>;

/// A value that fails to be serialised, or to be deserialised.
#[derive(Debug, Clone, PartialEq)]
struct Stubborn {
    written: bool,
}

impl Serialize for Stubborn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.written {
            return Err(serde::ser::Error::custom("it does not want to be written"));
        }
        serializer.serialize_bool(true)
    }
}

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bool::deserialize(deserializer)?;
        Err(serde::de::Error::custom("it does not want to be read"))
    }
}

#[test]
fn a_value_that_its_format_cannot_carry_fails_its_piece_alone() {
    fn check<A: Value, R: Value>(format: Format, argument: A, make: fn(A) -> R, begins: bool, expected: ErrorKind) {
        for (place, pool) in both() {
            let task = pool.task_or_inline::<R>().format(format);
            task.call(make, argument_again(&argument));
            let error = error_of(task);
            let case = format!("{place}, {format:?}: {error}");
            assert_eq!(error.kind(), expected, "{case}");
            assert_eq!((error.piece(), error.cause()), (Some(0), None), "{case}");
            assert_eq!(error.attempts(), u32::from(begins), "{case}");
            assert!(error.function().is_some_and(|name| name.contains("errors::")), "{case}");
            assert!(error.to_string().starts_with("piece 0 (values::errors::"), "{case}");
            if place == "in a worker" {
                assert_eq!(pool.stats().workers_lost, 0, "{case}");
                support::assert_works(&pool);
            }
        }
    }
    /// A copy of the argument, which is of one of the types that this test uses.
    fn argument_again<A: Value>(argument: &A) -> A {
        let any: &dyn std::any::Any = argument;
        let copy: Box<dyn std::any::Any> = if let Some(value) = any.downcast_ref::<Stubborn>() {
            Box::new(value.clone())
        } else if let Some(value) = any.downcast_ref::<Untagged>() {
            Box::new(value.clone())
        } else if let Some(value) = any.downcast_ref::<Paired>() {
            Box::new(value.clone())
        } else {
            Box::new(*any.downcast_ref::<u64>().expect("one of the types of this test"))
        };
        *copy.downcast().expect("the same type")
    }
    fn ignore<A>(_: A) -> u64 {
        0
    }
    fn untagged(_: u64) -> Untagged {
        Untagged::Text("text".to_string())
    }
    fn paired(_: u64) -> Paired {
        Paired::from([((1, 2), 3)])
    }
    fn unwritable(_: u64) -> Stubborn {
        Stubborn { written: false }
    }
    fn unreadable(_: u64) -> Stubborn {
        Stubborn { written: true }
    }
    // As an argument.
    check(Format::Bincode, Untagged::Number(1), ignore, true, ErrorKind::Decode);
    check(Format::Raw, Untagged::Number(1), ignore, false, ErrorKind::Encode);
    check(Format::Json, Paired::from([((1, 2), 3)]), ignore, false, ErrorKind::Encode);
    for format in [Format::Bincode, Format::Json] {
        check(format, Stubborn { written: false }, ignore, false, ErrorKind::Encode);
        check(format, Stubborn { written: true }, ignore, true, ErrorKind::Decode);
        // As a result.
        check(format, 0, unwritable, true, ErrorKind::Encode);
        check(format, 0, unreadable, true, ErrorKind::Decode);
    }
    check(Format::Bincode, 0, untagged, true, ErrorKind::Decode);
    check(Format::Json, 0, paired, true, ErrorKind::Encode);
    check(Format::Raw, 0, ignore::<u64>, false, ErrorKind::Encode);
}

#[test]
fn a_piece_that_cannot_be_encoded_stands_between_those_that_can() {
    for (place, pool) in both() {
        let task = pool.task_or_inline::<u64>();
        let first = |value: Stubborn, number: u64| if value.written { 0 } else { number };
        task.run(add, 0, 0);
        task.run(first, Stubborn { written: false }, 1);
        task.run_all(first, [(Stubborn { written: false }, 2), (Stubborn { written: false }, 3)]);
        task.run(add, 4, 0);
        assert_eq!(task.len(), 5, "{place}");
        for (number, outcome) in task.get_each().into_iter().enumerate() {
            match outcome {
                Ok(result) => assert!(result == number as u64 && [0, 4].contains(&number), "{place}: {number}"),
                Err(error) => {
                    assert_eq!((error.kind(), error.piece()), (ErrorKind::Encode, Some(number)), "{place}: {error}");
                    assert!(error.to_string().contains("it does not want to be written"), "{place}: {error}");
                }
            }
        }
    }
}

/// A piece whose result type has no encoding in its format never begins.
#[test]
fn raw_with_another_result_never_begins() {
    for (place, pool) in both() {
        let marks = Marks::new();
        let task = pool.task_or_inline::<u64>().format(Format::Raw);
        let marked = |marks: String, number: u64| {
            mark(&marks, number);
            number
        };
        task.run(marked, marks.path(), 0);
        task.run_all(marked, [(marks.path(), 1)]);
        for outcome in task.get_each() {
            let error = outcome.unwrap_err();
            assert_eq!((error.kind(), error.attempts()), (ErrorKind::Encode, 0), "{place}: {error}");
            assert!(error.to_string().contains("Format::Raw"), "{place}: {error}");
        }
        assert_eq!(marks.count(), 0, "{place}");
    }
}

#[test]
fn every_format_carries_what_it_should() {
    fn check<A, R>(formats: &[Format], argument: A, function: fn(A) -> R, expected: R)
    where
        A: Value + Clone,
        R: Value + PartialEq + std::fmt::Debug,
    {
        for (place, pool) in both() {
            for &format in formats {
                let task = pool.task_or_inline::<R>().format(format);
                task.call(function, argument.clone());
                let results = task.get().unwrap();
                assert!(results.len() == 1 && results[0] == expected, "{place}, {format:?}: {results:?}");
            }
        }
    }
    use Format::{Bincode, Json, Raw};
    check(&[Bincode, Json, Raw], "grüße".to_string(), |text| text + "!", "grüße!".to_string());
    check(&[Bincode, Json, Raw], vec![0_u8, 255], |bytes| bytes, vec![0_u8, 255]);
    check(&[Bincode, Json, Raw], vec![104_u8, 105], |bytes| String::from_utf8(bytes).unwrap(), "hi".to_string());
    check(&[Bincode, Json, Raw], 7_u64, |number| number.to_string(), "7".to_string());
    check(&[Bincode, Json], u64::MAX, |number| number, u64::MAX);
    check(&[Bincode, Json], i64::MIN, |number| number, i64::MIN);
    check(&[Bincode, Json], 0.1_f64, |number| number, 0.1);
    check(&[Bincode], u128::MAX, |number| number, u128::MAX);
    check(&[Bincode], ('ß', true, Some(()), Some(3_i8)), |tuple| tuple, ('ß', true, Some(()), Some(3)));
    check(&[Bincode, Json], ('ß', true, Some(3_i8)), |tuple| tuple, ('ß', true, Some(3)));
    check(&[Bincode, Json], (), |()| Vec::<String>::new(), Vec::new());
    check(&[Bincode], Paired::from([((1, 2), 3)]), |map| map, Paired::from([((1, 2), 3)]));
    let set = HashSet::from(["a".to_string(), "b".to_string()]);
    check(&[Bincode, Json], set.clone(), |set| set, set);
    check(&[Json], Untagged::Text("t".to_string()), |value| value, Untagged::Text("t".to_string()));
    let value = serde_json::json!({"a": [1, null, "b"], "c": 1.5});
    check(&[Json], value.clone(), |value: serde_json::Value| value, value);
    check(&[Bincode, Json], Ok::<u8, String>(1), |result| result, Ok(1));
}

#[test]
fn raw_sends_the_pair_of_run_all_the_same() {
    for (place, pool) in both() {
        let task = pool.task_or_inline::<String>().format(Format::Raw);
        task.run(|text: String, more: (u64, Option<bool>)| format!("{text}{more:?}"), "a".to_string(), (1, None));
        assert_eq!(task.get().unwrap(), ["a(1, None)"], "{place}");
    }
}

/// Bytes that are not text travel unchanged as bytes.
#[test]
fn raw_bytes_that_are_no_text_are_refused_as_text() {
    for (place, pool) in both() {
        let task = pool.task_or_inline::<Vec<u8>>().format(Format::Raw);
        task.call(|bytes: Vec<u8>| bytes, vec![0xff, 0xfe]);
        assert_eq!(task.get().unwrap(), [[0xff, 0xfe]], "{place}");
    }
}

#[test]
fn a_failure_keeps_the_messages_of_all_its_sources() {
    #[derive(Debug)]
    struct Outer(Option<Box<Outer>>, &'static str);
    impl std::fmt::Display for Outer {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.1)
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(self.0.as_deref()?)
        }
    }
    fn fallible(depth: u64, _: u64) -> Result<u64, Failure> {
        match depth {
            0 => Ok(0),
            1 => Ok("x".parse::<u64>()?),
            2 => Err(Failure::new("by hand")),
            _ => {
                let inner = Outer(None, "the disk is full");
                let middle = Outer(Some(Box::new(inner)), "cannot write");
                Err(Outer(Some(Box::new(middle)), "cannot save"))?
            }
        }
    }
    for (place, pool) in both() {
        for format in [Format::Bincode, Format::Json] {
            let task = pool.task_or_inline::<Result<u64, Failure>>().format(format);
            task.run_all(fallible, (0..4).map(|depth| (depth, 0)));
            // A failure is a result: the task itself succeeds.
            let results = task.get().unwrap();
            assert_eq!(results[0], Ok(0), "{place}");
            let messages = |number: usize| -> Vec<String> {
                results[number].as_ref().unwrap_err().messages().map(str::to_string).collect()
            };
            assert_eq!(messages(1), ["invalid digit found in string"], "{place}");
            assert_eq!(messages(2), ["by hand"], "{place}");
            assert_eq!(messages(3), ["cannot save", "cannot write", "the disk is full"], "{place}");
            let shown = results[3].as_ref().unwrap_err().to_string();
            assert_eq!(shown, "cannot save: cannot write: the disk is full", "{place}");
        }
    }
}

#[test]
fn a_panics_message_is_cut_and_may_be_no_text() {
    let pool = pool(1);
    let check = |piece: fn(u64) -> u64, expected: &str, at_most: usize| {
        let task = task::<u64>(&pool);
        task.call(piece, 0);
        let error = error_of(task);
        assert_eq!(error.kind(), ErrorKind::Panicked);
        let text = error.to_string();
        assert!(text.contains(expected) && text.len() < at_most, "{} bytes: {text:.200}", text.len());
    };
    check(|_| panic!("a literal"), "panicked: a literal (at tests/values/errors.rs:", 200);
    check(|n| panic!("a text with {n}"), "panicked: a text with 0 (at tests/values/errors.rs:", 200);
    check(|_| std::panic::panic_any(17_u64), "a value that is no text", 200);
    check(|_| std::panic::resume_unwind(Box::new("resumed")), "panicked: resumed", 200);
    check(|_| panic!("{}", "ß".repeat(1_000_000)), "ßßß", 20_000);
    check(|n| [0_u64][n as usize + 1], "index out of bounds", 240);
    support::assert_works(&pool);
    assert_eq!(pool.stats().workers_lost, 0);
}

/// Compiles only for a type that is not `Send`: for another one there are two ways to infer the `_`.
macro_rules! assert_not_send {
    ($($type:ty),*) => {$({
        trait Ambiguous<A> {
            fn name() {}
        }
        struct IsSend;
        impl<T: ?Sized> Ambiguous<()> for T {}
        impl<T: ?Sized + Send> Ambiguous<IsSend> for T {}
        <$type as Ambiguous<_>>::name();
    })*};
}

#[test]
fn what_belongs_to_one_thread_stays_there() {
    use multicore::{Map, MapUnordered, Shared, Sink};
    use std::{cell::Cell, rc::Rc};
    assert_not_send!(Sink, &mut Sink);
    // As what they hold: a handle leads several threads to one value, and a map takes its items where it is read.
    assert_not_send!(Shared<Cell<u64>>, Shared<[Rc<u64>]>, Map<Rc<u64>, u64>, MapUnordered<Rc<u64>, u64>);
}

#[test]
fn what_travels_between_threads_may() {
    fn send<T: Send + 'static>() {}
    fn shared<T: Send + Sync + 'static>() {}
    fn error<T: std::error::Error>() {}
    shared::<Pool>();
    shared::<Error>();
    shared::<Failure>();
    shared::<ErrorKind>();
    shared::<Cause>();
    shared::<multicore::Stats>();
    shared::<multicore::Ranges>();
    shared::<multicore::PoolBuilder>();
    send::<Task<u64>>();
    send::<Task<std::cell::Cell<u64>>>();
    send::<multicore::Iter<u64>>();
    send::<multicore::IterCompleted<u64>>();
    send::<multicore::Get<u64>>();
    send::<multicore::Map<std::ops::Range<u64>, u64>>();
    send::<multicore::MapUnordered<std::ops::Range<u64>, u64>>();
    send::<multicore::Reader<String>>();
    shared::<multicore::Canceller>();
    shared::<multicore::Shared<[u64]>>();
    shared::<multicore::Shared<str>>();
    shared::<multicore::Shared<Vec<String>>>();
    error::<Error>();
    fn copied<T: Copy + Eq + std::hash::Hash + std::fmt::Debug>() {}
    copied::<ErrorKind>();
    copied::<Cause>();
    copied::<Format>();
}

/// A value whose serde code panics: 1 when it is serialised, 2 when it is deserialised.
#[derive(Clone, Debug, PartialEq)]
struct Bad(u8);

impl serde::Serialize for Bad {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(self.0 != 1, "no way out");
        serializer.serialize_u8(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Bad {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(deserializer)?;
        assert!(number != 2, "no way in");
        Ok(Bad(number))
    }
}

#[test]
fn serde_code_that_panics_in_the_caller_is_the_pieces_error() {
    let pool = Pool::builder().workers(1).build().unwrap();
    let busy = Pool::builder().workers(1).max_load_average(0.0).build().unwrap();
    for inline in [false, true] {
        let task = || if inline { busy.task_or_inline::<Bad>() } else { pool.try_task().unwrap() };
        for (argument, result, kind) in [
            (1, 0, ErrorKind::Encode),
            (0, 1, ErrorKind::Panicked),
            (2, 0, ErrorKind::Panicked),
            (0, 2, ErrorKind::Decode),
        ] {
            let task = task();
            task.run(|_: Bad, result: u8| Bad(result), Bad(argument), result);
            task.run(|_: Bad, result: u8| Bad(result), Bad(0), 3);
            task.run_all(|_: Bad, result: u8| Bad(result), [(Bad(argument), result), (Bad(0), 3)]);
            let outcomes = task.get_each();
            for (number, outcome) in outcomes.iter().enumerate() {
                match outcome {
                    Ok(value) => assert!(number % 2 == 1 && *value == Bad(3), "{number}: {value:?}"),
                    Err(error) => {
                        assert_eq!((number % 2, error.kind()), (0, kind), "{argument} {result}: {error}");
                        assert!(error.to_string().contains("no way"), "{error}");
                    }
                }
            }
            assert_eq!(outcomes.len(), 4);
        }
    }
}
