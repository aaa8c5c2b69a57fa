//! Tasks of unknown length: `next`, `call_all`, `wait`, `get_flat` and `detach`, with a pool and without.

#![allow(unsafe_code)]

use crate::support::{self, Door, Marks, assert_well, busy_pool, mark, pool, task, wait_at, wait_for, watchdog};
use futures_executor::block_on;
use multicore::{ErrorKind, Pool, Sink, Task};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

fn text(door: String, number: u64) -> String {
    if !door.is_empty() {
        wait_at(&door);
    }
    assert!(number != 13, "thirteen");
    format!("{number},")
}

fn square(number: u64) -> u64 {
    number * number
}

fn marked(marks: String, number: u64) {
    mark(&marks, number);
    assert!(number != 13, "thirteen");
}

/// A task of ten pieces and two that came later, of which some were taken, and which are left.
fn partly_taken(pool: &Pool, calls: &str) -> (Task<String>, Vec<u64>) {
    let mut task = pool.task_or_inline::<String>();
    task.run_all(text, (0..10).map(|number| (String::new(), number)));
    let mut left: Vec<u64> = (0..12).collect();
    for call in calls.chars() {
        let number = match call {
            'n' => {
                let result = task.next().unwrap().unwrap();
                assert_eq!(result, format!("{},", left[0]), "the lowest one that is left");
                left[0]
            }
            _ => {
                let (number, result) = task.next_completed().unwrap();
                assert_eq!(result.unwrap(), format!("{number},"));
                number as u64
            }
        };
        left.remove(left.iter().position(|&it| it == number).expect("each is given once"));
    }
    task.run(text, String::new(), 10);
    task.run(text, String::new(), 11);
    (task, left)
}

#[test]
fn what_next_has_left_is_collected_in_every_way() {
    let _watch = watchdog();
    for pool in [pool(3), busy_pool()] {
        for calls in ["", "n", "nnnnn", "nc", "cn", "cncnc", "ccccnnnn", "nnncnnncnn"] {
            let taken = || partly_taken(&pool, calls);
            let expect = |left: &[u64]| left.iter().map(|number| format!("{number},")).collect::<Vec<_>>();
            let (it, left) = taken();
            assert_eq!(it.len(), 12);
            assert_eq!(it.get().unwrap(), expect(&left), "{calls}");
            let (it, left) = taken();
            assert_eq!(it.get_timeout(Duration::MAX).unwrap(), expect(&left));
            let (it, left) = taken();
            assert_eq!(it.get_each().into_iter().map(Result::unwrap).collect::<Vec<_>>(), expect(&left));
            let (it, left) = taken();
            assert_eq!(it.iter().len(), left.len());
            let (it, left) = taken();
            assert_eq!(it.iter().map(Result::unwrap).collect::<Vec<_>>(), expect(&left));
            let (it, left) = taken();
            let mut written = Vec::new();
            it.write_to(&mut written).unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), expect(&left).concat());
            let (it, left) = taken();
            let mut read = String::new();
            it.reader().read_to_string(&mut read).unwrap();
            assert_eq!(read, expect(&left).concat(), "{calls}");
            let (it, left) = taken();
            assert_eq!(block_on(it.into_future()).unwrap(), expect(&left), "{calls}");
            let (it, left) = taken();
            let each = block_on(it.get_each_async());
            assert_eq!(each.into_iter().map(Result::unwrap).collect::<Vec<_>>(), expect(&left), "{calls}");
            let (it, left) = taken();
            let mut found: Vec<_> = it.iter_completed().map(|(number, _)| number as u64).collect();
            found.sort_unstable();
            assert_eq!(found, left);
            let (mut it, left) = taken();
            let rest: Vec<_> = std::iter::from_fn(|| it.next()).map(Result::unwrap).collect();
            assert_eq!(rest, expect(&left), "{calls}");
            assert!(it.next().is_none() && it.next_completed().is_none());
            it.wait().unwrap();
            let (it, _) = taken();
            it.wait().unwrap();
        }
    }
}

#[test]
fn after_a_none_it_goes_on() {
    let _watch = watchdog();
    for pool in [pool(2), busy_pool()] {
        let mut task = pool.task_or_inline::<u64>();
        assert!(task.next().is_none());
        for round in 0..50 {
            task.call_all(square, 10 * round..10 * round + 10);
            for number in 10 * round..10 * round + 10 {
                assert_eq!(task.next().unwrap().unwrap(), square(number));
            }
            assert!(task.next().is_none());
        }
        assert_eq!(task.get().unwrap(), [0; 0]);
    }
}

#[test]
fn next_waits_for_its_own_piece_and_gives_each_error_once() {
    let _watch = watchdog();
    let (pool, door) = (pool(2), Door::closed());
    let mut task = task::<String>(&pool);
    task.run(text, door.path(), 0);
    (12..15).for_each(|number| task.run(text, String::new(), number));
    wait_for("the others are done", || task.completed() == 3);
    door.open();
    assert_eq!(task.next().unwrap().unwrap(), "0,");
    assert_eq!(task.next().unwrap().unwrap(), "12,");
    let error = task.next().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.piece()), (ErrorKind::Panicked, Some(2)));
    assert_eq!(task.get().unwrap(), ["14,"]);
}

#[test]
fn call_all_hands_out_what_call_does() {
    let _watch = watchdog();
    for pool in [pool(2), busy_pool()] {
        let lengths = [0, 1, 4095, 4096, 70_000, 5, 200_000, 6];
        let strings = || lengths.map(|length| "x".repeat(length));
        let task = pool.task_or_inline::<usize>();
        task.call_all(|text: String| text.len(), strings());
        assert_eq!(task.get().unwrap(), lengths);
        let task = pool.task_or_inline::<usize>().format(multicore::Format::Json);
        task.call_all(|text: String| text.len(), strings());
        assert_eq!(task.get().unwrap(), lengths);
        let task = pool.task_or_inline::<u64>();
        task.call_all(|(a, b): (u64, Vec<u64>)| a + b.iter().sum::<u64>(), (0..1000).map(|a| (a, vec![a; 3])));
        assert!(task.get().unwrap().into_iter().eq((0..1000).map(|a| 4 * a)));
        let task = pool.task_or_inline::<u64>();
        task.try_call_all(|text: String| text.parse::<u64>(), ["1", "x", "3"].map(String::from));
        assert_eq!(task.get_each().iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    }
}

/// The panic unwinds through the call that asked for the items. What was handed out by then, some pieces at a time, runs; what lay in the
/// batch does not, and the task goes on with what comes later.
#[test]
fn a_panic_of_the_items_leaves_the_task_as_it_was_handed_out() {
    type Items<'a> = &'a mut dyn Iterator<Item = u64>;
    type HandOut = fn(&Task<String>, Items);
    let ways: [(&str, HandOut); 4] = [
        ("call_all", |task, items| task.call_all(|number: u64| text(String::new(), number), items)),
        ("try_call_all", |task, items| {
            task.try_call_all(|number: u64| Ok::<_, String>(text(String::new(), number)), items)
        }),
        ("run_all", |task, items| task.run_all(text, items.map(|number| (String::new(), number)))),
        ("run_all_into", |task, items| {
            let write = |number: u64, (): (), sink: &mut Sink| sink.push_str(&text(String::new(), number));
            task.run_all_into(write, items.map(|number| (number, ())))
        }),
    ];
    let _watch = watchdog();
    for pool in [pool(2), busy_pool()] {
        for (name, hand_out) in ways {
            for panics_at in [0, 1, 300, 1000] {
                let task = pool.task_or_inline::<String>();
                let mut items = (100..).inspect(|number| assert!(*number < 100 + panics_at, "no item"));
                let caught = catch_unwind(AssertUnwindSafe(|| hand_out(&task, &mut items)));
                assert!(caught.is_err(), "{name}: it comes out of the call");
                let first = task.len() as u64;
                assert!(first <= panics_at && panics_at < first + 256, "{name}: {first} of {panics_at}");
                hand_out(&task, &mut (20..25));
                let expected = (100..100 + first).chain(20..25).map(|number| format!("{number},"));
                assert_eq!(task.get().unwrap(), expected.collect::<Vec<_>>(), "{name}, {panics_at}");
            }
        }
    }
}

#[test]
fn wait_waits_for_all_and_gives_the_first_error() {
    let _watch = watchdog();
    for pool in [pool(2), busy_pool()] {
        let marks = Marks::new();
        let task = pool.task_or_inline::<()>();
        task.run_all(marked, (0..10).map(|number| (marks.path(), number)));
        task.wait().unwrap();
        assert_eq!(marks.count(), 10);
        let task = pool.task_or_inline::<()>();
        task.run_all(marked, [5, 13, 13].map(|number| (marks.path(), number)));
        let error = task.wait().unwrap_err();
        assert_eq!((error.kind(), error.piece()), (ErrorKind::Panicked, Some(1)));
    }
    // What nobody decodes cannot fail to be decoded.
    #[derive(serde::Serialize)]
    struct Unread;
    impl<'de> serde::Deserialize<'de> for Unread {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
            panic!("it is decoded")
        }
    }
    support::be_silent();
    let unread = || {
        let task = busy_pool().task_or_inline::<Vec<Unread>>();
        task.call(|()| Vec::<Unread>::new(), ());
        task
    };
    unread().wait().unwrap();
}

#[test]
fn lists_are_joined_in_order() {
    let _watch = watchdog();
    for pool in [pool(2), busy_pool()] {
        let task = pool.task_or_inline::<Vec<u64>>();
        task.run_all(|start: u64, end: u64| (start..end).collect(), (0..1000).map(|it| (it * it, (it + 1) * (it + 1))));
        assert!(task.get_flat().unwrap().into_iter().eq(0..1_000_000));
        let task = pool.task_or_inline::<Vec<u8>>();
        task.call_all(|it: u64| vec![it as u8; 2], 0..3);
        assert_eq!(task.get_flat().unwrap(), [0, 0, 1, 1, 2, 2]);
        let mut task = pool.task_or_inline::<Vec<u64>>();
        task.call_all(|it: u64| [it].repeat((5 / it) as usize), [5, 4, 0, 1]);
        assert_eq!(task.next().unwrap().unwrap(), [5]);
        assert_eq!(task.get_flat().unwrap_err().piece(), Some(2));
    }
}

#[test]
fn a_detached_task_runs_to_its_end() {
    let _watch = watchdog();
    let (pool, door, marks) = (pool(2), Door::closed(), Marks::new());
    let wait = |(door, marks): (String, String)| {
        wait_at(&door);
        mark(&marks, 99);
        vec![0_u8; 100_000]
    };
    let detached = task::<Vec<u8>>(&pool);
    detached.call_all(wait, (0..100).map(|_| (door.path(), marks.path())));
    detached.detach();
    door.open();
    marks.wait_for(100);
    // With nobody who waits, and with another task that is read.
    let (few, many) = (Marks::new(), Marks::new());
    for round in 0..20 {
        let it = task::<()>(&pool);
        it.run_all(marked, (0..50).map(|number| (few.path(), number)));
        it.detach();
        if round % 5 == 0 {
            let it = task::<()>(&pool);
            it.run_all(marked, (20..30).map(|number| (many.path(), number)));
            it.wait().unwrap();
        }
    }
    few.wait_for(1000);
    assert_eq!(many.count(), 40);
    wait_for("all its tasks are closed", || {
        // A look at what workers have said.
        pool.map(square, 0..10).count() == 10 && pool.stats().tasks == 0
    });
    assert_well(pool);
    // Without a pool they have run by then, and one that fails stops no other.
    let marks = Marks::new();
    let it = busy_pool().task_or_inline::<()>();
    it.run_all(marked, (10..15).map(|number| (marks.path(), number)));
    it.detach();
    assert_eq!(marks.numbers(), [10, 11, 12, 13, 14]);
}

#[test]
fn a_detached_task_ends_with_its_pool_and_its_canceller() {
    let _watch = watchdog();
    let (door, marks) = (Door::closed(), Marks::new());
    let wait = |(door, marks): (String, String)| {
        mark(&marks, 1);
        wait_at(&door);
        mark(&marks, 2);
    };
    let hang = |pool: &Pool| {
        let it = task::<()>(pool);
        let canceller = it.canceller();
        it.call_all(wait, (0..10).map(|_| (door.path(), marks.path())));
        it.detach();
        canceller
    };
    let (first, second) = (pool(2), pool(2));
    hang(&first);
    marks.wait_for(2);
    drop(first);
    let canceller = hang(&second);
    marks.wait_for(4);
    canceller.cancel();
    wait_for("it is closed", || second.map(square, 0..10).count() == 10 && second.stats().tasks == 0);
    door.open();
    assert_eq!(marks.numbers(), [1; 4]);
    assert_well(second);
}

/// With a journal what ends is recorded, though its owner has left.
#[cfg(feature = "journal")]
#[test]
fn a_detached_task_is_recorded_to_its_end() {
    let _watch = watchdog();
    let folder = tempfile::tempdir().unwrap();
    for (name, pool) in [("pool", pool(2)), ("inline", busy_pool())] {
        let (path, marks) = (folder.path().join(name), Marks::new());
        let open = || pool.task_or_inline::<()>().name("detached").journal(&path);
        let it = open().unwrap();
        it.run_all(marked, (20..420).map(|number| (marks.path(), number)));
        it.detach();
        marks.wait_for(400);
        // It is unlocked then.
        wait_for("the journal is free", || open().is_ok());
        let it = open().unwrap();
        it.run_all(marked, (20..420).map(|number| (marks.path(), number)));
        assert_eq!((it.resumed(), it.wait().is_ok()), (400, true));
        assert_eq!(marks.count(), 400);
    }
}
