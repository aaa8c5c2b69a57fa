//! What is refused, before any piece runs, in a sentence that says what, where and how to mend it.

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};
use support::{Door, wait_at, wait_for, watchdog};

#[track_caller]
fn refused<R: multicore::Value>(task: Task<R>, journal: impl Into<Journal>) -> (ErrorKind, String) {
    let error = task.journal(journal).map(drop).unwrap_err();
    assert_eq!((error.piece(), error.attempts()), (None, 0));
    (error.kind(), error.to_string())
}

#[test]
fn a_task_that_cannot_have_a_journal_says_why() {
    let pool = support::busy_pool();
    let place = Place::new();
    let task = || pool.task_or_inline::<u64>();
    let with_piece = task().name("test");
    with_piece.run(|a: u64, b: u64| a + b, 1, 2);
    for (task, message) in [
        (
            task(),
            "a task with a journal needs a name, by which its pieces are known again: set .name() before .journal()",
        ),
        (with_piece, "the task has pieces that its journal would not know: set .journal() before the first run"),
        (
            journalled(&pool, place.journal()),
            "the task has a journal: Journal::also counts the outcomes of another one too",
        ),
    ] {
        assert_eq!(refused(task, place.folder.path().join("new")), (ErrorKind::Config, message.to_string()));
        assert!(!place.folder.path().join("new").exists());
    }
    let many = (0..256).fold(Journal::at(place.journal()), |journal, _| journal.also("x"));
    assert_eq!(refused(new_task::<u64>(&pool), many).0, ErrorKind::Config);
}

#[test]
fn a_path_that_is_no_journal_is_refused_and_left_as_it_is() {
    let pool = support::busy_pool();
    let place = Place::new();
    let path = |name: &str| place.folder.path().join(name);
    std::fs::write(path("text"), "Seq\tHost\tStarttime\n").unwrap();
    std::fs::create_dir(path("folder")).unwrap();
    symlink(path("text"), path("link")).unwrap();
    let fifo = std::ffi::CString::new(path("fifo").to_str().unwrap()).unwrap();
    // SAFETY: the path ends with a NUL.
    assert_eq!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) }, 0);
    std::fs::create_dir(path("open")).unwrap();
    std::fs::set_permissions(path("open"), std::fs::Permissions::from_mode(0o777)).unwrap();
    drop(journalled::<u64>(&pool, path("later")));
    let mut bytes = std::fs::read(path("later")).unwrap();
    bytes[8] = 9;
    std::fs::write(path("damaged"), &bytes).unwrap();
    for (name, why) in [
        ("text", "is no journal, and is left as it is"),
        ("folder", "is refused: it is a folder"),
        ("link", "is refused: it is a symbolic link"),
        ("fifo", "is refused: it is no regular file"),
        ("open/new", "is refused: anyone may replace files in its folder"),
        ("nowhere/new", "cannot be opened: No such file or directory"),
        ("damaged", "is damaged in its first 32 bytes"),
    ] {
        let (kind, message) = refused(new_task::<u64>(&pool), path(name));
        assert_eq!(kind, ErrorKind::Journal);
        assert!(message.contains(why) && message.contains(path(name).to_str().unwrap()), "{message}");
    }
    assert_eq!(std::fs::read_to_string(path("text")).unwrap(), "Seq\tHost\tStarttime\n");
    assert_eq!(std::fs::read(path("damaged")).unwrap(), bytes);
    let (kind, message) = refused(new_task::<u64>(&pool), Journal::at(path("new")).also(path("text")));
    assert_eq!(kind, ErrorKind::Journal, "{message}");
}

/// Bytes of a `u64` would be read as a pair of numbers.
#[test]
fn outcomes_of_another_type_are_refused() {
    let pool = support::busy_pool();
    let place = Place::new();
    let task = place.task(&pool, place.journal(), [1]);
    task.get().unwrap();
    let (kind, message) = refused(new_task::<(u32, u32)>(&pool), place.journal());
    assert_eq!(kind, ErrorKind::Journal);
    assert!(message.contains("whose type was u64") && message.contains("set .version()"), "{message}");
    drop(new_task::<(u32, u32)>(&pool).version("2").journal(place.journal()).unwrap());
    drop(new_task::<(u32, u32)>(&pool).journal(Journal::at(place.journal()).any_types(true)).unwrap());
    // Another name is another task.
    drop(pool.task_or_inline::<String>().name("other").journal(place.journal()).unwrap());
}

/// Two journals of the same piece, each written by a build with one of the binary formats, whose bytes are the other's garbage.
#[test]
fn outcomes_in_another_binary_format_are_refused_and_never_decoded() {
    let pool = support::busy_pool();
    let place = Place::new();
    let by_bincode = (&include_bytes!("written_by_bincode.journal")[..], "u64");
    let by_postcard = (&include_bytes!("written_by_postcard.journal")[..], "u64 in postcard");
    let (own, other) = if cfg!(feature = "bincode") { (by_bincode, by_postcard) } else { (by_postcard, by_bincode) };
    let sum = |task: Task<u64>| {
        task.run(|a: u64, b: u64| a + b, 1000, 2000);
        (task.resumed(), task.get().unwrap())
    };
    std::fs::write(place.journal(), own.0).unwrap();
    assert_eq!(sum(journalled(&pool, place.journal())), (1, vec![3000]));
    std::fs::write(place.journal(), other.0).unwrap();
    let (kind, message) = refused(new_task::<u64>(&pool), place.journal());
    assert_eq!(kind, ErrorKind::Journal);
    let types = format!("whose type was {}, and the task gives {}: set .version()", other.1, own.1);
    assert!(message.contains(&types), "{message}");
    // Whatever types count, that piece is another one here.
    assert_eq!(sum(journalled(&pool, Journal::at(place.journal()).any_types(true))), (0, vec![3000]));
}

#[test]
fn a_journal_is_held_by_one_task_at_a_time() {
    let _watch = watchdog();
    for pool in pools() {
        let place = Place::new();
        let task = place.task(&pool, place.journal(), [1]);
        let (kind, message) = refused(new_task::<u64>(&pool), place.journal());
        assert_eq!(kind, ErrorKind::Journal);
        assert!(message.contains("is held by this process"), "{message}");
        assert_eq!(journal::compact(place.journal()).unwrap_err().kind(), ErrorKind::Journal);
        // Read it may be.
        assert!(journal::read(place.journal()).unwrap().count() <= 1);
        assert_eq!(task.get().unwrap(), [2]);
        // In turn is fine, whatever is left of the first: a canceller holds nothing.
        let canceller = place.task(&pool, place.journal(), [1]).canceller();
        drop(journalled::<u64>(&pool, place.journal()));
        drop(canceller);
    }
}

/// A dropped task's running piece is recorded as it ends. Until then the file stays locked.
#[test]
fn a_dropped_task_holds_its_journal_until_its_pieces_have_ended() {
    let _watch = watchdog();
    let pool = support::pool(2);
    let place = Place::new();
    let door = Door::closed();
    let task = journalled::<u64>(&pool, place.journal());
    for number in 0..10 {
        task.run(
            |(door, marks): (String, String), number: u64| {
                mark(&marks, number);
                wait_at(&door);
                number
            },
            (door.path(), place.marks.path()),
            number,
        );
    }
    place.marks.wait_for(2);
    drop(task);
    let (_, message) = refused(new_task::<u64>(&pool), place.journal());
    assert!(message.contains("is held by this process"), "{message}");
    door.open();
    wait_for("the journal is unlocked", || new_task::<u64>(&pool).journal(place.journal()).is_ok());
    let ran = place.ran();
    assert_eq!(recorded(&place.journal()), (ran.len(), 0));
    assert!(ran.len() <= 3, "what had not begun never did: {ran:?}");
}

/// A name or version that the journal does not know would make pieces pass for others.
#[test]
fn a_task_that_is_named_after_its_journal_was_opened_has_no_pieces() {
    let pool = support::busy_pool();
    let place = Place::new();
    let ways: [fn(Task<u64>) -> Task<u64>; 2] = [|task| task.name("other"), |task| task.version("2")];
    for change in ways {
        let task = change(journalled(&pool, place.journal()));
        task.run(|a: u64, b: u64| a + b, 1, 2);
        task.run_all(|a: u64, b: u64| a + b, [(1, 2)]);
        let kinds: Vec<_> = task.get_each().into_iter().map(outcome_of).collect();
        assert_eq!(kinds, [Err(ErrorKind::Config); 2]);
    }
    assert_eq!(recorded(&place.journal()), (0, 0));
}

#[test]
fn a_second_function_is_refused_and_the_first_goes_on() {
    for pool in pools() {
        let place = Place::new();
        let task = journalled::<u64>(&pool, place.journal());
        task.run(|a: u64, b: u64| a + b, 1, 2);
        task.run_all(|a: u64, b: u64| a * b + 1, [(1, 2), (3, 4)]);
        let results: Vec<_> = task.get_each().into_iter().map(outcome_of).collect();
        assert_eq!(results, [Ok(3), Err(ErrorKind::Config), Err(ErrorKind::Config)]);
        assert_eq!(recorded(&place.journal()), (1, 0));
    }
}

/// A child that the host forks has a copy of everything, and harms nothing.
#[test]
fn a_forked_child_gets_errors_and_writes_nothing() {
    let _watch = watchdog();
    let pool = support::pool(1);
    let place = Place::new();
    let task = place.task(&pool, Journal::at(place.journal()).confirmed(true), [0, 1]);
    let confirmer = task.confirmer();
    // SAFETY: the child makes calls of this crate, which are made for that, and ends without anything else.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let kind = confirmer.confirm(0).map_err(|error| error.kind());
        let is_refused = kind == Err(ErrorKind::Unsupported) && task.completed() == 0 && task.resumed() == 0;
        let other = task.get().map_err(|error| error.kind());
        drop(confirmer);
        let is_well = is_refused && other == Err(ErrorKind::Unsupported);
        // SAFETY: nothing is to be run at this end.
        unsafe { libc::_exit(i32::from(!is_well)) };
    }
    let mut status = 0;
    // SAFETY: it is this process's child, and the status is written to a variable.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    assert_eq!(task.get().unwrap(), [0, 2]);
    confirmer.confirm(1).unwrap();
    drop(confirmer);
    assert_eq!(recorded(&place.journal()), (1, 0));
}
