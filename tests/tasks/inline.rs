//! A task without a pool: the same pieces, outcomes and errors. The caller that asks for results runs the pieces.

use crate::support::{self, Marks, add, busy_pool, mark, pool};
use multicore::{ErrorKind, Format, Pool, Task};
use std::time::Duration;

fn marked(marks: String, number: u64) -> u64 {
    mark(&marks, number);
    number
}

fn in_this_process(_: u64, _: u64) -> u64 {
    u64::from(std::process::id())
}

#[test]
fn a_busy_pool_gives_no_task_and_says_why() {
    let pool = busy_pool();
    assert!(pool.task::<u64>().is_none());
    let error = pool.try_task::<u64>().unwrap_err();
    assert_eq!((error.kind(), error.piece(), error.cause()), (ErrorKind::Busy, None, None));
    let text = error.to_string();
    assert!(text.contains("load average") && text.contains("0.00"), "{text}");
    // Below the limit there is a task.
    let pool = Pool::builder().workers(1).max_load_average(1e9).build().unwrap();
    assert!(pool.task::<u64>().is_some());
}

#[test]
fn task_or_inline_runs_in_a_worker_if_it_can_and_here_if_not() {
    let here = u64::from(std::process::id());
    for (pool, is_here) in [(pool(1), false), (busy_pool(), true)] {
        let task = pool.task_or_inline::<u64>();
        task.run(in_this_process, 0, 0);
        assert_eq!(task.get().unwrap()[0] == here, is_here);
    }
    // After the end of a pool the caller can still run the pieces.
    let ended = Pool::builder().workers(1).on_worker_start(|| panic!("never")).build().unwrap();
    support::wait_for("the pool has ended", || ended.try_task::<u64>().is_err());
    let task = ended.task_or_inline::<u64>();
    task.run(in_this_process, 0, 0);
    assert_eq!(task.get().unwrap(), [here]);
}

#[test]
fn each_completed_runs_one_piece_and_collecting_the_rest() {
    let marks = Marks::new();
    let task = busy_pool().task_or_inline::<u64>();
    assert_eq!(task.completed(), 0);
    for number in 0..5 {
        task.run(marked, marks.path(), number);
    }
    task.run_all(marked, (5..10).map(|number| (marks.path(), number)));
    assert_eq!((task.len(), task.is_empty(), marks.count()), (10, false, 0));
    for done in 1..=3 {
        assert_eq!((task.completed(), marks.count()), (done, done));
    }
    assert_eq!(task.get().unwrap(), (0..10).collect::<Vec<u64>>());
    assert_eq!(marks.numbers(), (0..10).collect::<Vec<u64>>());
}

#[test]
fn every_way_of_collecting_works_without_a_pool() {
    let busy = busy_pool();
    let task_of = || {
        let task = busy.task_or_inline::<String>();
        task.run_all(|a: u64, b: u64| (a + b).to_string(), (0..12).map(|number| (number, 1)));
        task
    };
    let expected: Vec<String> = (1..=12).map(|number| number.to_string()).collect();
    assert_eq!(task_of().get().unwrap(), expected);
    assert_eq!(task_of().get_timeout(Duration::MAX).unwrap(), expected);
    assert_eq!(task_of().get_each().into_iter().map(Result::unwrap).collect::<Vec<_>>(), expected);
    assert_eq!(task_of().iter().map(Result::unwrap).collect::<Vec<_>>(), expected);
    let completed: Vec<_> = task_of().iter_completed().map(|(number, text)| (number, text.unwrap())).collect();
    assert_eq!(completed, expected.iter().cloned().enumerate().collect::<Vec<_>>());
    let mut written = Vec::new();
    assert_eq!(task_of().write_to(&mut written).unwrap(), 15);
    assert_eq!(written, expected.concat().as_bytes());
    assert!(busy.task_or_inline::<u64>().get().unwrap().is_empty());
}

/// The iterators return the results of pieces that `completed` has run before.
#[test]
fn what_completed_has_run_is_collected_like_the_rest() {
    let busy = busy_pool();
    let marks = Marks::new();
    let task_of = || {
        let task = busy.task_or_inline::<u64>();
        task.run_all(marked, (0..4).map(|number| (marks.path(), number)));
        assert_eq!((task.completed(), task.completed()), (1, 2));
        task
    };
    assert_eq!(task_of().iter().map(Result::unwrap).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let completed: Vec<_> = task_of().iter_completed().map(|(number, result)| (number, result.unwrap())).collect();
    assert_eq!(completed, [(0, 0), (1, 1), (2, 2), (3, 3)]);
    assert_eq!(marks.count(), 8);
}

#[test]
fn pieces_after_the_failed_one_never_begin_and_neither_do_those_of_a_dropped_task() {
    let busy = busy_pool();
    let marks = Marks::new();
    let piece = |marks: String, number: u64| {
        mark(&marks, number);
        assert!(number != 2, "two");
        number
    };
    let task = busy.task_or_inline::<u64>();
    task.run_all(piece, (0..10).map(|number| (marks.path(), number)));
    assert_eq!(task.get().unwrap_err().piece(), Some(2));
    assert_eq!(marks.numbers(), [0, 1, 2]);
    let task = busy.task_or_inline::<u64>();
    task.run(marked, marks.path(), 7);
    drop(task);
    assert_eq!(marks.numbers(), [0, 1, 2]);
}

#[test]
fn get_timeout_acts_between_pieces() {
    let marks = Marks::new();
    let task = busy_pool().task_or_inline::<u64>();
    let slow = |marks: String, number: u64| {
        mark(&marks, number);
        std::thread::sleep(Duration::from_millis(50));
        number
    };
    task.run_all(slow, (0..1000).map(|number| (marks.path(), number)));
    let error = task.get_timeout(Duration::from_millis(60)).unwrap_err();
    assert_eq!((error.kind(), error.piece()), (ErrorKind::TimedOut, None), "{error}");
    assert!((1..1000).contains(&marks.count()));
}

/// Arguments and results are encoded and decoded here too. So a wrong type shows on an idle machine as well as on a busy
/// one.
#[test]
fn values_pass_the_codec_here_too() {
    fn check(format: Format, hand_out: fn(&Task<String>), expected: &str) {
        for pool in [pool(1), busy_pool()] {
            let task = pool.task_or_inline::<String>().format(format);
            hand_out(&task);
            assert_eq!(task.get().unwrap(), [expected], "{format:?}");
        }
    }
    /// A field that is not serialised comes back as its default.
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Cached {
        kept: u64,
        #[serde(skip)]
        cache: u64,
    }
    let piece: fn(&Task<String>) = |task| {
        task.call(|value: Cached| format!("{} {}", value.kept, value.cache), Cached { kept: 1, cache: 2 });
    };
    check(Format::Bincode, piece, "1 0");
    check(Format::Json, piece, "1 0");
}

#[test]
fn a_panic_payload_that_panics_when_dropped_does_no_harm_here_either() {
    struct Trap;
    impl Drop for Trap {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let task = busy_pool().task_or_inline::<u64>();
    task.run(|_: u64, _: u64| std::panic::panic_any(Trap), 0, 0);
    task.run(add, 1, 2);
    let each = task.get_each();
    assert_eq!(each[0].as_ref().unwrap_err().kind(), ErrorKind::Panicked);
    assert_eq!(*each[1].as_ref().unwrap(), 3);
}

#[test]
fn an_inline_task_has_a_name_and_a_debug_form() {
    let task = busy_pool().task_or_inline::<u64>().name("by hand");
    assert!(format!("{task:?}").contains("inline"));
    task.run(|_: u64, _: u64| panic!("no"), 0, 0);
    let error = task.get().unwrap_err();
    assert_eq!((error.function(), error.worker(), error.pid()), (Some("by hand"), None, None));
}
