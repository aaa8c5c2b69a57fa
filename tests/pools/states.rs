//! `PoolBuilder::worker_state`: a value that is made once in each worker, for the pieces that ask.

use crate::support::{self, Marks, busy_pool, mark, pool, watchdog};
use multicore::{Error, ErrorKind, Failure, Pool};

const MADE: u64 = 1;
const DROPPED: u64 = 2;
const LEFT: u64 = 3;

/// Marks its life.
struct Counter {
    marks: String,
    count: u64,
}

impl Drop for Counter {
    fn drop(&mut self) {
        mark(&self.marks, DROPPED);
    }
}

/// Fails or panics as long as the file says so.
fn make((marks, trouble): (String, String)) -> Result<Counter, Failure> {
    mark(&marks, MADE);
    match std::fs::read_to_string(&trouble).unwrap_or_default().as_str() {
        "panic" => panic!("no state today"),
        "" => Ok(Counter { marks, count: 0 }),
        _ => Err("no table".parse::<u64>().unwrap_err().into()),
    }
}

fn count(counter: &mut Counter, by: u64) -> u64 {
    counter.count += by;
    counter.count
}

/// What has happened, in its order.
fn life(marks: &Marks) -> Vec<u64> {
    marks.lines().iter().map(|line| line.parse().unwrap()).collect()
}

fn stateful(workers: usize, marks: &Marks, trouble: &str) -> Pool {
    let value = (marks.path(), trouble.to_string());
    let leave = |marks: String| mark(&marks, LEFT);
    let builder = Pool::builder().workers(workers).worker_state(make, value);
    builder.on_worker_exit_with(leave, marks.path()).build().unwrap()
}

#[test]
fn a_state_is_made_once_before_the_first_piece_that_asks_and_dropped_at_the_end() {
    let _watch = watchdog();
    let marks = Marks::new();
    let pool = stateful(1, &marks, "/nowhere");
    let task = pool.task::<u64>().unwrap();
    task.call(|number: u64| number, 5);
    assert_eq!(task.get().unwrap(), [5]);
    assert!(life(&marks).is_empty(), "no piece has asked");
    for round in 0..3 {
        let task = pool.task::<u64>().unwrap();
        task.call_with(count, 1);
        task.run(|a: u64, b: u64| a + b, 1, 2);
        task.run_with(|counter: &mut Counter, start: u64, end: u64| count(counter, end - start), 10, 20);
        let base = round * 11;
        assert_eq!(task.get().unwrap(), [base + 1, 3, base + 11]);
    }
    assert_eq!(life(&marks), [MADE]);
    pool.shutdown();
    assert_eq!(life(&marks), [MADE, LEFT, DROPPED]);
}

#[test]
fn each_worker_has_its_own_and_a_lost_worker_another() {
    let _watch = watchdog();
    let marks = Marks::new();
    let pool = stateful(1, &marks, "/nowhere");
    let task = pool.task::<u64>().unwrap();
    task.call_with(count, 1);
    task.call_with(|_: &mut Counter, (): ()| std::process::abort(), ());
    task.call_with(count, 1);
    let results = task.get_each();
    assert_eq!((*results[0].as_ref().unwrap(), *results[2].as_ref().unwrap()), (1, 1));
    assert_eq!(results[1].as_ref().unwrap_err().kind(), ErrorKind::WorkerLost);
    pool.recycle();
    support::wait_for("the worker leaves", || life(&marks).ends_with(&[LEFT, DROPPED]));
    let task = pool.task::<u64>().unwrap();
    task.call_with(count, 4);
    assert_eq!(task.get().unwrap(), [4]);
    assert_eq!(life(&marks), [MADE, MADE, LEFT, DROPPED, MADE]);
    // More than one worker.
    let marks = Marks::new();
    let pool = stateful(2, &marks, "/nowhere");
    let door = support::Door::closed();
    let task = pool.task::<u64>().unwrap();
    let hold = |counter: &mut Counter, door: String| {
        mark(&counter.marks, 9);
        support::wait_at(&door);
        count(counter, 1)
    };
    (0..2).for_each(|_| task.call_with(hold, door.path()));
    support::wait_for("both have begun", || life(&marks).iter().filter(|&&number| number == 9).count() == 2);
    door.open();
    assert_eq!(task.get().unwrap(), [1, 1]);
    assert_eq!(life(&marks).iter().filter(|&&number| number == MADE).count(), 2);
}

#[test]
fn a_state_that_cannot_be_made_fails_its_piece_and_the_next_asks_anew() {
    let _watch = watchdog();
    let (marks, trouble) = (Marks::new(), Marks::new());
    let pool = stateful(1, &marks, &trouble.path());
    let error_of = |text: &str| -> Error {
        std::fs::write(trouble.path(), text).unwrap();
        let task = pool.task::<u64>().unwrap();
        task.call_with(count, 1);
        task.get().unwrap_err()
    };
    let error = error_of("fail");
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Failed, 1));
    let words = "failed: its worker's state could not be made: invalid digit found in string";
    assert!(error.to_string().ends_with(words), "{error}");
    let error = error_of("panic");
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert!(error.to_string().contains("no state today"), "{error}");
    std::fs::write(trouble.path(), "").unwrap();
    let task = pool.task::<u64>().unwrap();
    task.call_with(count, 7);
    assert_eq!(task.get().unwrap(), [7]);
    assert_eq!(life(&marks), [MADE, MADE, MADE]);
    assert_eq!(pool.stats().workers_lost, 0);
}

#[test]
fn a_panic_in_a_piece_with_a_state_drops_it() {
    let _watch = watchdog();
    let marks = Marks::new();
    let pool = stateful(1, &marks, "/nowhere");
    let task = pool.task::<u64>().unwrap();
    task.call_with(count, 1);
    task.call_with(
        |counter: &mut Counter, (): ()| {
            counter.count = 1000;
            panic!("half changed")
        },
        (),
    );
    task.call_with(count, 1);
    // One that asks for no state leaves it alone.
    task.call(|(): ()| panic!("elsewhere"), ());
    task.call_with(count, 1);
    let results = task.get_each();
    let counts: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok().copied()).collect();
    assert_eq!(counts, [1, 1, 2]);
    assert_eq!(results[1].as_ref().unwrap_err().kind(), ErrorKind::Panicked);
    assert_eq!(life(&marks), [MADE, DROPPED, MADE]);
}

#[test]
fn a_piece_that_can_have_no_state_never_begins() {
    let _watch = watchdog();
    let marks = Marks::new();
    let (other, none, inline) = (stateful(1, &marks, "/nowhere"), pool(1), busy_pool());
    for (pool, words) in [
        (&other, "it needs a state of type `alloc::string::String`, and its pool makes `pools::states::Counter`"),
        (&none, "it needs a state of type `alloc::string::String`, and its pool makes none: set worker_state"),
        (&inline, "it needs a worker's state of type `alloc::string::String`, and its task has no workers"),
    ] {
        let task = pool.task_or_inline::<u64>();
        task.call_with(|text: &mut String, (): ()| text.len() as u64, ());
        task.run_with(|text: &mut String, (): (), (): ()| text.len() as u64, (), ());
        task.call(|number: u64| number, 3);
        let results = task.get_each();
        for (number, result) in results[..2].iter().enumerate() {
            let error = result.as_ref().unwrap_err();
            let found = (error.kind(), error.piece(), error.attempts());
            assert_eq!(found, (ErrorKind::Config, Some(number), 0), "{error}");
            assert!(error.to_string().contains(&format!("never began: {words}")), "{error}");
        }
        assert_eq!(*results[2].as_ref().unwrap(), 3);
    }
    assert!(life(&marks).is_empty());
}

#[test]
fn a_value_that_cannot_be_read_back_is_refused_by_build() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Torn {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        list: Vec<u8>,
        number: u8,
    }
    let value = Torn { list: vec![], number: 1 };
    let built = Pool::builder().workers(1).worker_state(|torn: Torn| Ok(torn.number), value).build();
    assert_eq!(built.unwrap_err().kind(), ErrorKind::Encode);
}
