//! Results that are taken as pieces finish, from a task that stays: `next_completed`, with a pool and without.

use crate::support::{Door, busy_pool, pool, task, wait_at, watchdog};
use multicore::{ErrorKind, Pool, Task};
use std::time::Duration;

/// Waits at the door, and gives the number as text.
fn text(door: String, number: u64) -> String {
    if !door.is_empty() {
        wait_at(&door);
    }
    assert!(number != 13, "thirteen");
    format!("{number},")
}

/// A task of ten pieces of which 0 and 7 wait at a door, and the first `taken` of which were taken as they finished.
#[track_caller]
fn partly_taken(pool: &Pool, taken: usize) -> (Task<String>, Vec<u64>) {
    let door = Door::closed();
    let is_inline = pool.task::<u64>().is_none();
    if is_inline {
        door.open();
    }
    let mut task = pool.task_or_inline::<String>();
    for number in 0..10 {
        let waits = [0, 7].contains(&number);
        task.run(text, if waits { door.path() } else { String::new() }, number);
    }
    let mut left: Vec<u64> = (0..10).collect();
    for _ in 0..taken {
        if left.len() == 2 {
            door.open();
        }
        let (number, result) = task.next_completed().unwrap();
        assert_eq!(result.unwrap(), format!("{number},"));
        let place = left.iter().position(|&it| it == number as u64).expect("each is given once");
        left.remove(place);
    }
    assert!(is_inline || taken > 8 || left.contains(&0) && left.contains(&7), "{left:?}");
    door.open();
    // They come after all others.
    for number in 10..12 {
        task.run(text, String::new(), number);
        left.push(number);
    }
    (task, left)
}

#[test]
fn what_is_left_is_collected_in_every_way() {
    let _watch = watchdog();
    for pool in [pool(3), busy_pool()] {
        for taken in [0, 1, 5, 8, 10] {
            let task = || partly_taken(&pool, taken);
            let expect = |left: &[u64]| left.iter().map(|number| format!("{number},")).collect::<Vec<_>>();
            let (get, left) = task();
            assert_eq!(get.len(), 12);
            assert_eq!(get.get().unwrap(), expect(&left));
            let (get, left) = task();
            assert_eq!(get.get_timeout(Duration::MAX).unwrap(), expect(&left));
            let (each, left) = task();
            assert_eq!(each.get_each().into_iter().map(Result::unwrap).collect::<Vec<_>>(), expect(&left));
            let (iter, left) = task();
            assert_eq!(iter.iter().map(Result::unwrap).collect::<Vec<_>>(), expect(&left));
            let (write, left) = task();
            let mut written = Vec::new();
            write.write_to(&mut written).unwrap();
            assert_eq!(String::from_utf8(written).unwrap(), expect(&left).concat());
            let (finished, left) = task();
            let mut found: Vec<_> =
                finished.iter_completed().map(|(number, text)| (number as u64, text.unwrap())).collect();
            found.sort_unstable();
            assert_eq!(found, left.iter().map(|&number| (number, format!("{number},"))).collect::<Vec<_>>());
        }
    }
}

/// A job that makes more jobs: the ordinary use.
#[test]
fn pieces_that_are_handed_out_meanwhile_come_too() {
    let _watch = watchdog();
    fn halves(start: u64, end: u64) -> Vec<(u64, u64)> {
        let middle = start.midpoint(end);
        if end - start > 1 { vec![(start, middle), (middle, end)] } else { vec![] }
    }
    for pool in [pool(3), busy_pool()] {
        let mut task = pool.task_or_inline::<Vec<(u64, u64)>>();
        assert!(task.next_completed().is_none(), "nothing was handed out");
        let mut seen = Vec::new();
        for round in 1..=3 {
            task.run(halves, 0, 500);
            while let Some((number, parts)) = task.next_completed() {
                seen.push(number);
                task.run_all(halves, parts.unwrap());
            }
            assert_eq!(task.len(), round * 999);
        }
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..3 * 999), "each once");
        assert!(task.next_completed().is_none());
        assert!(task.get().unwrap().is_empty());
    }
}

#[test]
fn a_failed_piece_has_its_number_and_the_others_go_on() {
    let _watch = watchdog();
    for pool in [pool(2), busy_pool()] {
        let mut task = pool.task_or_inline::<String>();
        for number in [1, 13, 2, 3, 13] {
            task.run(text, String::new(), number);
        }
        for _ in 0..3 {
            let (number, result) = task.next_completed().unwrap();
            assert_eq!(
                result.as_ref().err().map(|error| (error.kind(), error.piece())),
                match number {
                    1 | 4 => Some((ErrorKind::Panicked, Some(number))),
                    _ => None,
                }
            );
        }
        let rest = task.get_each();
        assert_eq!(rest.len(), 2);
        for error in rest.iter().filter_map(|result| result.as_ref().err()) {
            assert!([Some(1), Some(4)].contains(&error.piece()), "{error}");
        }
    }
}

#[test]
fn what_was_taken_counts_as_read_when_the_time_is_over() {
    let _watch = watchdog();
    let (pool, door) = (pool(2), Door::closed());
    let mut task = task::<String>(&pool);
    task.run(text, door.path(), 0);
    task.run(text, String::new(), 1);
    assert_eq!(task.next_completed().unwrap().0, 1);
    let error = task.get_timeout(Duration::ZERO).unwrap_err();
    assert_eq!((error.kind(), error.piece()), (ErrorKind::TimedOut, None));
    assert!(error.to_string().contains("1 of its 2 pieces were read"), "{error}");
}

#[test]
fn a_task_that_is_cancelled_is_read_to_its_end() {
    let _watch = watchdog();
    for pool in [pool(2), busy_pool()] {
        let door = Door::closed();
        let mut task = pool.task_or_inline::<String>();
        (1..4).for_each(|number| task.run(text, String::new(), number));
        assert!(task.next_completed().unwrap().1.is_ok());
        task.canceller().cancel();
        task.run(text, door.path(), 9);
        let mut kinds: Vec<_> =
            std::iter::from_fn(|| task.next_completed()).map(|(_, it)| it.err().map(|it| it.kind())).collect();
        assert_eq!((kinds.len(), kinds.pop()), (3, Some(Some(ErrorKind::Cancelled))));
        assert!(kinds.into_iter().flatten().all(|kind| kind == ErrorKind::Cancelled));
    }
}
