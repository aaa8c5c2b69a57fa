//! `multicore::note`: the error of a piece that is lost or fails tells what the piece noted last.

#![allow(unsafe_code)]

use crate::support::{Marks, busy_pool, mark, pool, watchdog};
use multicore::{ErrorKind, Sink, note};
use std::time::Duration;

/// Notes two numbers, and ends in this way.
fn end(way: String, number: u64) -> Result<u64, String> {
    note(number + 1);
    note(number);
    match way.as_str() {
        "abort" => std::process::abort(),
        "exit" => std::process::exit(0),
        "panic" => panic!("a panic"),
        "hang" => std::thread::sleep(Duration::from_secs(600)),
        "late" => std::thread::sleep(Duration::from_millis(300)),
        "fail" => return Err("an error".to_string()),
        _ => {}
    }
    Ok(number)
}

#[test]
fn an_error_tells_what_its_piece_noted_last() {
    let _watch = watchdog();
    let (workers, inline) = (pool(1), busy_pool());
    // What ends so must not end this process.
    for (way, kind, is_lost) in [
        ("abort", ErrorKind::WorkerLost, true),
        ("exit", ErrorKind::WorkerLost, true),
        ("hang", ErrorKind::TimedOut, true),
        ("late", ErrorKind::TimedOut, false),
        ("panic", ErrorKind::Panicked, false),
        ("fail", ErrorKind::Failed, false),
    ] {
        for pool in [&workers, &inline] {
            if is_lost && std::ptr::eq(pool, &inline) {
                continue;
            }
            for number in [0, 4711, u64::MAX - 1] {
                let task = pool.task_or_inline::<u64>();
                let task = if kind == ErrorKind::TimedOut { task.timeout(Duration::from_millis(100)) } else { task };
                task.try_run(end, "well".to_string(), 5);
                task.try_run(end, way.to_string(), number);
                let error = task.get_each().pop().unwrap().unwrap_err();
                assert_eq!((error.kind(), error.note()), (kind, Some(number)), "{way}: {error}");
                let text = error.to_string();
                assert!(text.ends_with(&format!(" (noted {number})")), "{way}: {text}");
                assert_eq!(text.matches("noted").count(), 1, "{text}");
            }
        }
    }
}

/// The piece before it noted something in the same worker, and so did those that run next while its error is read.
#[test]
fn a_note_is_of_one_piece() {
    let _watch = watchdog();
    for pool in [pool(1), busy_pool()] {
        let task = pool.task_or_inline::<u64>();
        for number in 0..300 {
            task.try_run(end, if number % 3 == 0 { "fail" } else { "well" }.to_string(), number);
            task.call(|number: u64| -> u64 { panic!("{number}") }, number);
        }
        for (number, outcome) in task.get_each().into_iter().enumerate() {
            let (piece, is_panic) = (number as u64 / 2, number % 2 == 1);
            match outcome {
                Ok(value) => assert_eq!((value, piece % 3 == 0), (piece, false)),
                Err(error) if is_panic => assert_eq!(error.note(), None, "{error}"),
                Err(error) => assert_eq!((error.note(), piece % 3), (Some(piece), 0), "{error}"),
            }
        }
    }
    // A worker's first piece, and one that is lost.
    let pool = pool(1);
    for _ in 0..2 {
        let task = pool.task::<u64>().unwrap();
        task.call(|(): ()| std::process::abort(), ());
        let error = task.get().unwrap_err();
        assert_eq!(error.note(), None);
        assert!(!error.to_string().contains("noted"), "{error}");
    }
}

#[test]
fn the_last_attempt_counts_and_threads_note_too() {
    let _watch = watchdog();
    let (pool, marks) = (pool(1), Marks::new());
    let task = pool.task::<u64>().unwrap().retries(2);
    task.run(
        |marks: String, number: u64| -> u64 {
            mark(&marks, number);
            let begun = std::fs::read_to_string(&marks).unwrap().lines().count() as u64;
            if begun < 3 {
                note(begun);
            } else {
                std::thread::spawn(move || note(100 + begun)).join().unwrap();
            }
            std::process::abort()
        },
        marks.path(),
        0,
    );
    let error = task.get().unwrap_err();
    assert_eq!((error.attempts(), error.note()), (3, Some(103)), "{error}");
    // One that writes its result, and notes meanwhile.
    let task = pool.task::<String>().unwrap();
    task.run_into(
        |(): (), (): (), sink: &mut Sink| {
            for row in 0..100_000_u64 {
                note(row);
                sink.push_str("a row of some length\n");
            }
            Err("no more")
        },
        (),
        (),
    );
    assert_eq!(task.get().unwrap_err().note(), Some(99_999));
}

/// A child of a piece has no memory of the worker's to note in.
#[test]
fn a_note_in_a_child_or_outside_of_pieces_does_nothing() {
    let _watch = watchdog();
    note(1);
    let inline = busy_pool().task_or_inline::<u64>();
    inline.call(|(): ()| -> u64 { panic!("nothing noted") }, ());
    assert_eq!(inline.get().unwrap_err().note(), None);
    note(2);
    let pool = pool(1);
    let task = pool.task::<i32>().unwrap();
    task.call(
        |(): ()| {
            // SAFETY: the child calls nothing that another thread could hold locked.
            match unsafe { libc::fork() } {
                0 => {
                    note(7);
                    // SAFETY: ends this process.
                    unsafe { libc::_exit(3) }
                }
                child => {
                    let mut status = 0;
                    // SAFETY: `status` is valid for a write.
                    unsafe { libc::waitpid(child, &mut status, 0) };
                    assert!(libc::WIFEXITED(status), "{status}");
                    assert_eq!(libc::WEXITSTATUS(status), 4);
                    0
                }
            }
        },
        (),
    );
    let error = task.get().unwrap_err();
    assert_eq!(error.note(), None, "{error}");
    assert!(error.to_string().contains("left: 3"), "{error}");
}
