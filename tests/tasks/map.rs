//! A function over an iterator: lazy, in order, bounded, with a pool, without one, and with a journal.

#![allow(unsafe_code)]

use crate::support::{self, Door, Marks, Process, busy_pool, mark, pool, task, wait_at, wait_for, watchdog, workers};
use multicore::{ErrorKind, Pool, Task, Value};
use std::cell::Cell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

const WORKERS: usize = 2;

/// The most that is ever ahead.
const MOST: usize = 65_536;

/// Each way to run pieces; the folder is that of its journals.
struct Way {
    name: &'static str,
    pool: Pool,
    #[cfg_attr(not(feature = "journal"), allow(dead_code))]
    journals: Option<(tempfile::TempDir, Cell<usize>)>,
}

impl Way {
    fn all() -> Vec<Way> {
        let mut ways = Vec::new();
        for (name, makes) in [("pool", pool as fn(usize) -> Pool), ("inline", |_| busy_pool())] {
            ways.push(Way { name, pool: makes(WORKERS), journals: None });
            if cfg!(feature = "journal") {
                let journals = Some((tempfile::tempdir().unwrap(), Cell::new(0)));
                ways.push(Way { name, pool: makes(WORKERS), journals });
            }
        }
        ways
    }

    fn task<R: Value>(&self) -> Task<R> {
        let task = self.pool.task_or_inline();
        #[cfg(feature = "journal")]
        if let Some((folder, count)) = &self.journals {
            count.set(count.get() + 1);
            return task.name("map").journal(folder.path().join(count.get().to_string())).unwrap();
        }
        task
    }

    fn is_inline(&self) -> bool {
        self.name == "inline"
    }
}

fn square(number: u64) -> u64 {
    number * number
}

fn even(number: u64) -> Result<u64, String> {
    if number.is_multiple_of(2) { Ok(number) } else { Err(format!("{number} is odd")) }
}

/// The items, and how many of them were taken.
fn counted<'a, T>(items: impl Iterator<Item = T> + 'a, taken: &'a Cell<usize>) -> impl Iterator<Item = T> + 'a {
    items.inspect(|_| taken.set(taken.get() + 1))
}

#[test]
fn results_come_in_the_order_of_their_items_each_once() {
    let _watch = watchdog();
    for way in Way::all() {
        for count in [0, 1, 7, 3000] {
            let results: Vec<u64> = way.task().map(square, 0..count).map(Result::unwrap).collect();
            assert!(results.into_iter().eq((0..count).map(square)), "{}, {count}", way.name);
            let mut found: Vec<(usize, u64)> =
                way.task().map(square, 0..count).unordered().map(|(n, it)| (n, it.unwrap())).collect();
            found.sort_unstable();
            assert!(found.into_iter().eq((0..count).map(|n| (n as usize, n * n))), "{}, {count}", way.name);
        }
    }
    assert_eq!(multicore::map(square, [3, 4]).sum::<Result<u64, _>>().unwrap(), 25);
    let pool = pool(WORKERS);
    assert_eq!(pool.map(square, [3, 4]).sum::<Result<u64, _>>().unwrap(), 25);
}

#[test]
fn it_ends_once_and_an_iterator_that_ended_is_not_asked_again() {
    let _watch = watchdog();
    for way in Way::all() {
        let asked = Cell::new(0);
        let items = std::iter::from_fn(|| {
            asked.set(asked.get() + 1);
            // One that goes on after its end.
            (asked.get() != 4).then(|| asked.get())
        });
        let mut results = way.task().map(square, items);
        assert_eq!(results.by_ref().map(Result::unwrap).collect::<Vec<_>>(), [1, 4, 9], "{}", way.name);
        assert!(results.next().is_none() && results.next().is_none());
        assert_eq!((asked.get(), results.size_hint()), (4, (0, Some(0))));
    }
}

#[test]
fn nothing_is_taken_before_it_is_asked_for_and_little_ahead() {
    let _watch = watchdog();
    for way in Way::all() {
        for is_unordered in [false, true] {
            let taken = Cell::new(0);
            let results = way.task().map(square, counted(0.., &taken));
            assert_eq!((taken.get(), results.size_hint().0), (0, usize::MAX));
            let mut results: Box<dyn Iterator<Item = u64>> = if is_unordered {
                Box::new(results.unordered().map(|(_, result)| result.unwrap()))
            } else {
                Box::new(results.map(Result::unwrap))
            };
            assert_eq!(taken.get(), 0, "{}", way.name);
            for read in 1..3000 {
                assert!(results.next().is_some());
                let (most, ahead) = (if way.is_inline() { 128 } else { MOST }, taken.get() - read);
                assert!(ahead <= most, "{}: {ahead} of {read}", way.name);
            }
            if way.is_inline() && way.journals.is_none() {
                assert_eq!(taken.get(), 2999, "one at a time");
            }
        }
    }
}

/// Of pieces that take long there are no more ahead than two look-aheads, however slow the reader is.
#[test]
fn a_slow_reader_has_few_items_taken() {
    fn slow(number: u64) -> u64 {
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(1) {}
        number
    }
    let _watch = watchdog();
    let pool = pool(WORKERS);
    let taken = Cell::new(0);
    let mut results = task(&pool).map(slow, counted(0.., &taken));
    for read in 1..50 {
        assert_eq!(results.next().unwrap().unwrap(), read as u64 - 1);
        let ahead = taken.get() - read;
        assert!(ahead < 2 * 600 / 150 * WORKERS, "{ahead} of {read}");
    }
}

#[test]
fn arguments_and_results_ahead_stay_below_the_bound_and_a_larger_item_goes_alone() {
    fn length(bytes: Vec<u8>) -> u64 {
        bytes.len() as u64
    }
    const BOUND: usize = 1_000_000;
    let _watch = watchdog();
    for way in Way::all() {
        // Bytes of each item, and how many may be taken that nobody has read: one may be taken and wait.
        for (bytes, most) in [(1000, 1000), (100_000, 10), (499_999, 3), (2_000_000, 2)] {
            let taken = Cell::new(0);
            let items = counted((0..200).map(|_| vec![1; bytes]).take(20_000_000 / bytes), &taken);
            let results = way.task::<u64>().max_unread(BOUND).map(length, items);
            let mut read = 0;
            for result in results {
                assert_eq!(result.unwrap(), bytes as u64);
                read += 1;
                let ahead = taken.get() - read;
                assert!(ahead <= most, "{}, {bytes}: {ahead}", way.name);
            }
            assert_eq!(read, taken.get());
        }
        let taken = Cell::new(0);
        let mut results = way.task().max_unread(0).map(square, counted(0..50, &taken));
        for read in 1..=50 {
            results.next().unwrap().unwrap();
            // One is ahead at a time, and one may wait for it.
            assert!(taken.get() <= read + 1, "{}", way.name);
        }
        assert!(results.next().is_none());
    }
}

#[test]
fn an_error_is_an_item_and_a_collect_ends_at_it() {
    let _watch = watchdog();
    for way in Way::all() {
        let results: Vec<_> = way.task().try_map(even, 0..6).collect();
        for (number, result) in results.into_iter().enumerate() {
            match result {
                Ok(it) => assert_eq!((it, number % 2), (number as u64, 0)),
                Err(error) => {
                    assert_eq!((error.kind(), error.piece(), number % 2), (ErrorKind::Failed, Some(number), 1));
                    assert!(error.location().unwrap().file().ends_with("map.rs"));
                }
            }
        }
        // Also of one that does not end.
        let collected: Result<Vec<u64>, _> = way.task().try_map(even, 0..).collect();
        assert_eq!(collected.unwrap_err().piece(), Some(1), "{}", way.name);
        let panics = |number: u64| {
            assert!(number != 2, "two");
            number
        };
        let kinds: Vec<_> = way.task().map(panics, 0..4).map(|result| result.err().map(|it| it.kind())).collect();
        assert_eq!(kinds, [None, None, Some(ErrorKind::Panicked), None]);
    }
}

#[test]
fn an_argument_that_cannot_be_encoded_fails_alone() {
    #[derive(Debug, serde::Deserialize)]
    struct Odd(u64);
    impl serde::Serialize for Odd {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match self.0 % 3 {
                1 => Err(serde::ser::Error::custom("no")),
                2 => panic!("never"),
                _ => serializer.serialize_newtype_struct("Odd", &self.0),
            }
        }
    }
    let _watch = watchdog();
    for way in Way::all() {
        let kinds: Vec<_> =
            way.task().map(|odd: Odd| odd.0, (0..6).map(Odd)).map(|it| it.map_err(|error| error.kind())).collect();
        let failed = Err(ErrorKind::Encode);
        assert_eq!(kinds, [Ok(0), failed, failed, Ok(3), failed, failed], "{}", way.name);
    }
}

#[test]
fn a_panic_of_the_items_comes_out_and_nothing_is_lost() {
    let _watch = watchdog();
    support::be_silent();
    for way in Way::all() {
        let items = (0..10_u64).inspect(|number| assert!(!matches!(number, 3 | 7), "no item"));
        let mut results = way.task().map(square, items);
        let (mut found, mut panics) = (Vec::new(), 0);
        loop {
            match catch_unwind(AssertUnwindSafe(|| results.next())) {
                Ok(Some(result)) => found.push(result.unwrap()),
                Ok(None) => break,
                Err(_) => panics += 1,
            }
        }
        assert_eq!((found, panics), ([0, 1, 2, 4, 5, 6, 8, 9].map(square).to_vec(), 2), "{}", way.name);
        // And one that is dropped then.
        let mut results = way.task().map(square, (0..).inspect(|number| assert!(*number < 5, "no item")));
        while catch_unwind(AssertUnwindSafe(|| results.next())).is_ok() {}
    }
}

#[test]
fn items_may_use_tasks_themselves() {
    let _watch = watchdog();
    for way in Way::all() {
        let items = (0..20).map(|number| way.pool.map(square, 0..number).map(Result::unwrap).sum::<u64>());
        let nested = way.task().map(|sum: u64| sum + 1, items.take(10));
        let expected = (0..10).map(|number| (0..number).map(square).sum::<u64>() + 1);
        assert!(nested.map(Result::unwrap).eq(expected), "{}", way.name);
    }
}

#[test]
fn pieces_that_a_task_has_come_first() {
    let _watch = watchdog();
    for way in Way::all() {
        let task = way.task::<u64>();
        task.call(square, 100);
        task.call(square, 101);
        let results: Vec<_> = task.map(square, 0..3).map(Result::unwrap).collect();
        assert_eq!(results, [10_000, 10_201, 0, 1, 4], "{}", way.name);
        let mut task = way.task::<u64>();
        task.call_all(square, 100..110);
        assert_eq!(task.next().unwrap().unwrap(), 10_000);
        // One that becomes unordered goes on.
        let mut ordered = way.task::<u64>().map(square, 0..1000);
        assert_eq!([0; 3].map(|_| ordered.next().unwrap().unwrap()), [0, 1, 4]);
        let rest: HashSet<_> = ordered.unordered().map(|(number, it)| (number as u64, it.unwrap())).collect();
        assert_eq!(rest, (3..1000).map(|it| (it, it * it)).collect());
        let found: HashSet<_> = task.map(square, 0..3).unordered().map(|(number, it)| (number, it.unwrap())).collect();
        let expected = (101..110).chain(0..3).zip(1..).map(|(it, number)| (number, it * it));
        assert_eq!(found, expected.collect(), "{}", way.name);
    }
}

#[test]
fn items_begin_while_earlier_pieces_run() {
    fn wait((door, marks): (String, String)) {
        if !door.is_empty() {
            wait_at(&door);
        }
        mark(&marks, 1);
    }
    let _watch = watchdog();
    let (pool, door, marks) = (pool(WORKERS), Door::closed(), Marks::new());
    let task = task::<()>(&pool);
    task.call(wait, (door.path(), marks.path()));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            marks.wait_for(1);
            door.open();
        });
        let items = (0..3).map(|_| (String::new(), marks.path()));
        assert_eq!(task.map(wait, items).filter(Result::is_ok).count(), 4);
    });
}

#[test]
fn a_map_that_is_dropped_half_way_begins_nothing_more() {
    fn wait(door: String, marks: String) -> u64 {
        mark(&marks, 1);
        wait_at(&door);
        0
    }
    let _watch = watchdog();
    let (pool, door, marks) = (pool(WORKERS), Door::closed(), Marks::new());
    let items = (0..1000).map(|_| (door.path(), marks.path()));
    let mut results =
        task(&pool).map(|(door, marks)| wait(door, marks), std::iter::once((String::new(), marks.path())).chain(items));
    assert!(results.next().unwrap().is_ok());
    marks.wait_for(1 + WORKERS);
    drop(results);
    door.open();
    assert_eq!(pool.map(square, 0..100).map(Result::unwrap).max(), Some(99 * 99));
    assert_eq!(marks.count(), 1 + WORKERS);
}

#[test]
fn a_worker_that_is_killed_loses_nothing_where_pieces_are_retried() {
    fn kill_now_and_then(number: u64) -> u64 {
        static CALLS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        // Of each process, so the next one gets on.
        if CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 400 {
            // SAFETY: a system call that takes no pointer.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
        number
    }
    let _watch = watchdog();
    for way in Way::all().into_iter().filter(|way| !way.is_inline()) {
        let results = way.task::<u64>().retries(5).map(kill_now_and_then, 0..4000);
        assert!(results.map(Result::unwrap).eq(0..4000));
        let found = way.task::<u64>().retries(5).map(kill_now_and_then, 0..4000).unordered();
        assert_eq!(
            found.map(|(number, it)| (number, it.unwrap() as usize)).filter(|(number, it)| number == it).count(),
            4000
        );
        // Without retries it is one item each time, and no other.
        let lost = way.task::<u64>().map(kill_now_and_then, 0..4000);
        let errors: Vec<_> = lost.filter_map(Result::err).collect();
        assert!((1..40).contains(&errors.len()) && errors.iter().all(|it| it.kind() == ErrorKind::WorkerLost));
    }
}

#[test]
fn one_that_is_cancelled_ends_in_errors() {
    let _watch = watchdog();
    for way in Way::all() {
        let task = way.task::<u64>();
        let canceller = task.canceller();
        let mut results = task.map(square, 0..);
        assert_eq!(results.next().unwrap().unwrap(), 0);
        canceller.cancel();
        // Some may have been done out of their turn.
        for _ in 0..100 {
            let error = results.find_map(Result::err).unwrap();
            assert_eq!(error.kind(), ErrorKind::Cancelled, "{}", way.name);
        }
        assert!(results.next().unwrap().is_err(), "{}", way.name);
    }
}

/// Pieces of which nothing is left but that they are done are left out where results come as they finish, and are items in order.
#[cfg(feature = "journal")]
#[test]
fn what_an_earlier_run_has_done_ends_no_map_early() {
    use multicore::journal::Journal;
    let _watch = watchdog();
    let folder = tempfile::tempdir().unwrap();
    for (name, pool) in [("pool", pool(WORKERS)), ("inline", busy_pool())] {
        let task = || {
            let journal = Journal::at(folder.path().join(name)).results(false);
            pool.task_or_inline::<u64>().name("map").journal(journal).unwrap()
        };
        assert_eq!(task().map(square, 0..1000).filter(Result::is_ok).count(), 1000);
        // The first of another thousand is the 1,001st.
        let found: HashSet<_> =
            task().map(square, 0..1500).unordered().map(|(it, square)| (it, square.unwrap())).collect();
        assert_eq!(found, (1000..1500).map(|it| (it, (it * it) as u64)).collect());
        let (mut kinds, mut task) = (Vec::new(), task());
        task.call_all(square, (1499..1502).rev());
        for _ in 0..2 {
            kinds.push(task.next().unwrap().map_err(|error| error.kind()));
            kinds.extend(task.next_completed().map(|(_, it)| it.map_err(|error| error.kind())));
        }
        kinds.sort_by_key(|it| it.unwrap_or_default());
        assert_eq!(kinds, [Err(ErrorKind::AlreadyDone), Ok(1500 * 1500), Ok(1501 * 1501)], "{name}");
    }
}

/// Each piece once left 24 bytes in the parent.
#[test]
fn memory_stays_bounded_over_many_pieces() {
    support::alone!();
    const PIECES: u64 = 700_000;
    let _watch = watchdog();
    let pool = pool(WORKERS);
    let own = Process::find(std::process::id()).unwrap();
    let mut ways: [Box<dyn FnMut(u64)>; 3] = [
        Box::new(|pieces| assert_eq!(task(&pool).map(square, 0..pieces).filter(Result::is_ok).count() as u64, pieces)),
        Box::new(|pieces| {
            let results = task(&pool).map(square, 0..pieces).unordered();
            assert_eq!(results.filter(|(_, it)| it.is_ok()).count() as u64, pieces);
        }),
        Box::new(|pieces| {
            let (inline, pieces) = (busy_pool(), pieces / 4);
            assert_eq!(inline.map(square, 0..pieces).filter(Result::is_ok).count() as u64, pieces);
        }),
    ];
    for way in &mut ways {
        way(PIECES / 10);
        let before = own.resident_bytes();
        way(PIECES);
        let more = own.resident_bytes().saturating_sub(before);
        assert!(more < 4 << 20, "{more} bytes");
    }
}

#[test]
fn its_settings_hold_for_each_piece() {
    let _watch = watchdog();
    let pool = pool(WORKERS);
    let nap = |milliseconds: u64| std::thread::sleep(Duration::from_millis(milliseconds));
    let results = task::<()>(&pool).timeout(Duration::from_millis(200)).map(nap, [0, 100_000, 0]);
    let kinds: Vec<_> = results.map(|it| it.err().map(|error| error.kind())).collect();
    assert_eq!(kinds, [None, Some(ErrorKind::TimedOut), None]);
    let never = task::<u64>(&pool).timeout(Duration::ZERO).map(square, 0..3);
    assert!(never.map(|it| it.unwrap_err().kind()).eq([ErrorKind::TimedOut; 3]));
    wait_for("all workers are back", || workers(&pool).len() == WORKERS);
}
