//! The file fails while pieces run: one error, no further piece, and what was recorded stays.

use super::*;
use std::process::Command;
use std::time::Duration;
use support::{Door, wait_at, watchdog};

/// The journal's file is deleted, or another one is put in its place.
#[test]
fn a_journal_that_is_taken_away_ends_its_task_and_kills_what_runs() {
    let _watch = watchdog();
    for (pool, replaces) in pools().into_iter().flat_map(|pool| [(pool_like(&pool), false), (pool, true)]) {
        let is_inline = pool.task::<()>().is_none();
        let place = Place::new();
        let door = Door::closed();
        let journal = Journal::at(place.journal()).durability(journal::Durability::Each);
        let mut task = journalled::<u64>(&pool, journal);
        let piece = |(door, marks): (String, String), number: u64| {
            mark(&marks, number);
            if number == 2 && door != "none" {
                wait_at(&door);
            }
            number
        };
        let door_of = |number| if is_inline || number != 2 { "none".to_string() } else { door.path() };
        for number in 0..3 {
            task.run(piece, (door_of(number), place.marks.path()), number);
        }
        // Two workers run it and the next one.
        assert!(task.next_completed().unwrap().1.unwrap() <= 1);
        let before = std::fs::read(place.journal()).unwrap();
        let elsewhere = place.folder.path().join("elsewhere");
        std::fs::rename(place.journal(), &elsewhere).unwrap();
        if replaces {
            std::fs::write(place.journal(), "another").unwrap();
        }
        // Piece 1 may have been recorded before that. What is written next finds out.
        task.run(piece, ("none".to_string(), place.marks.path()), 4);
        let mut errors = Vec::new();
        while let Some((number, result)) = task.next_completed() {
            match result {
                // In the caller they may have run ahead.
                Ok(value) => assert!(value == number as u64 && number <= if is_inline { 2 } else { 1 }, "{number}"),
                Err(error) => errors.push(error),
            }
        }
        assert!(errors.len() >= if is_inline { 1 } else { 2 }, "{errors:?}");
        for error in &errors {
            let why = if replaces { "another file has taken its place" } else { "it was deleted" };
            assert_eq!(error.kind(), ErrorKind::Journal);
            assert!(error.to_string().contains(why), "{error}");
        }
        // Nothing of it begins any more, and what is handed out fails too.
        task.run(piece, ("none".to_string(), place.marks.path()), 5);
        assert_eq!(task.next_completed().unwrap().1.unwrap_err().kind(), ErrorKind::Journal);
        let ran = place.marks.settled();
        assert!(!place.ran().contains(&5), "{ran} ran");
        assert_eq!(task.completed(), 5);
        drop(task);
        let after = std::fs::read(&elsewhere).unwrap();
        assert!(after.starts_with(&before) && journal::read(&elsewhere).unwrap().all(|record| record.is_ok()));
        // The worker that was killed is replaced.
        assert_eq!(place.task(&pool, place.folder.path().join("new"), [1]).get().unwrap(), [2]);
    }
}

fn pool_like(pool: &Pool) -> Pool {
    if pool.task::<()>().is_some() { support::pool(2) } else { support::busy_pool() }
}

/// Confirmations fail too: with the error of the first write that failed.
#[test]
fn what_cannot_be_confirmed_any_more_is_told_by_a_later_call() {
    let _watch = watchdog();
    for pool in pools() {
        let place = Place::new();
        let task = place.task(&pool, Journal::at(place.journal()).confirmed(true), [0, 1, 2]);
        let confirmer = task.confirmer();
        assert_eq!(task.get().unwrap(), [0, 2, 4]);
        std::fs::remove_file(place.journal()).unwrap();
        confirmer.confirm(0).unwrap();
        support::wait_for("the error", || confirmer.confirm(1).is_err());
        let error = confirmer.confirm(2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Journal);
        assert!(error.to_string().contains("it was deleted"), "{error}");
    }
}

const ROLE: &str = "MULTICORE_TEST_JOURNAL";

/// Runs a test of this program once more, with its journal, in a process of its own.
pub fn again(test: &str, journal: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(ROLE, journal);
    command
}

/// The journal of such a process.
pub fn role() -> Option<PathBuf> {
    std::env::var_os(ROLE).map(PathBuf::from)
}

/// Where the kernel would kill the process for a file that is too large (SIGXFSZ), the task ends in an error.
#[test]
fn a_file_beyond_the_limit_of_the_process_is_an_error() {
    let Some(journal) = role() else {
        let place = Place::new();
        let output = again("faults::a_file_beyond_the_limit_of_the_process_is_an_error", &place.journal());
        let output = { output }.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let all: Vec<_> = journal::read(place.journal()).unwrap().map(Result::unwrap).collect();
        assert!(all.iter().all(|record| record.result().is_some_and(|result| result.len() == 5000)));
        assert!((1..20).contains(&all.len()), "{}", all.len());
        return;
    };
    let _watch = watchdog();
    let pool = support::pool(2);
    let limit = libc::rlimit { rlim_cur: 64 * 1024, rlim_max: 64 * 1024 };
    // The pool's own files are there: workers that are made later could not be.
    support::assert_works(&pool);
    let task = new_task::<Vec<u8>>(&pool).journal(journal).unwrap();
    // SAFETY: the limit is a variable.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &limit) }, 0);
    let mut task = task;
    let piece = |number: u64| vec![number as u8; 5000];
    task.call(piece, 0);
    assert!(task.next_completed().unwrap().1.is_ok());
    (1..40).for_each(|number| task.call(piece, number));
    let results = task.get_each();
    let done = results.iter().filter(|result| result.is_ok()).count();
    let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert!(done < 20 && done + errors.len() == 39, "{done}");
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Journal);
        assert!(error.to_string().contains("this process may not make files that large"), "{error}");
    }
}

/// A disk that is full, where one may be mounted.
#[test]
fn a_full_disk_is_an_error() {
    let Some(journal) = role() else {
        let place = Place::new();
        let folder = place.folder.path().to_str().unwrap();
        let script = "mount -t tmpfs -o size=64k none \"$0\" 2>/dev/null || { echo SKIPPED: nothing can be mounted here; exit 0; }; exec \"$@\"";
        let program = std::env::current_exe().unwrap();
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", script, folder]).arg(program);
        command.args(["--exact", "faults::a_full_disk_is_an_error", "--nocapture"]).env(ROLE, place.journal());
        let output = command.output().unwrap();
        print!("{}", String::from_utf8_lossy(&output.stdout));
        assert!(output.status.success() || output.stdout.starts_with(b"SKIPPED"), "{output:?}");
        return;
    };
    let _watch = watchdog();
    let pool = support::pool(2);
    let task = new_task::<Vec<u8>>(&pool).journal(&journal).unwrap();
    (0..40).for_each(|number: u64| task.call(|number: u64| vec![number as u8; 5000], number));
    let results = task.get_each();
    let errors: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert!(errors.len() > 20, "{}", errors.len());
    for error in &errors {
        assert_eq!(error.kind(), ErrorKind::Journal);
        assert!(error.to_string().contains("No space left on device"), "{error}");
    }
    // What was recorded stays, and with room the run goes on.
    let before = recorded(&journal).0;
    assert!(before >= results.len() - errors.len());
    let remount = Command::new("mount").args(["-o", "remount,size=4m"]).arg(journal.parent().unwrap()).status();
    assert!(remount.unwrap().success());
    let task = new_task::<Vec<u8>>(&pool).journal(&journal).unwrap();
    (0..40).for_each(|number: u64| task.call(|number: u64| vec![number as u8; 5000], number));
    assert_eq!(task.resumed(), before);
    assert_eq!(task.get().unwrap().len(), 40);
}

/// Cancelled and stopped runs keep what was recorded.
#[test]
fn what_was_recorded_before_a_task_was_cancelled_or_stopped_stays() {
    let _watch = watchdog();
    let ends: [fn(&multicore::Task<u64>); 2] = [|task| task.canceller().cancel(), |task| task.canceller().stop()];
    for end in ends {
        for pool in pools() {
            let place = Place::new();
            let mut task = place.task(&pool, place.journal(), [0, 1, 2, 4, 5, 6, 8, 9]);
            let (_, first) = task.next_completed().unwrap();
            assert!(first.is_ok());
            end(&task);
            let rest: Vec<_> = task.get_each().into_iter().map(outcome_of).collect();
            assert!(rest.iter().all(|result| matches!(result, Ok(_) | Err(ErrorKind::Cancelled))), "{rest:?}");
            let done = 1 + rest.iter().filter(|result| result.is_ok()).count();
            assert!(recorded(&place.journal()).0 >= done);
            assert_eq!(recorded(&place.journal()).1, 0, "what was cancelled is not recorded");
            let task = place.task(&pool, place.journal(), [0, 1, 2, 4, 5, 6, 8, 9]);
            assert!(task.resumed() >= done);
            assert_eq!(task.get_timeout(Duration::from_secs(60)).unwrap().len(), 8);
        }
    }
}

/// No worker could be started: the piece never began, and so a later run does not take it for failed.
#[test]
fn what_never_began_is_not_recorded_as_failed() {
    let _watch = watchdog();
    let lame = Pool::builder().workers(1).on_worker_start(|| std::process::exit(3)).build().unwrap();
    let place = Place::new();
    let errors = place.task(&lame, place.journal(), [1, 2]).get_each();
    for error in errors.into_iter().map(Result::unwrap_err) {
        assert_eq!((error.kind(), error.attempts()), (ErrorKind::WorkerLost, 0), "{error}");
    }
    assert_eq!(recorded(&place.journal()), (0, 0));
    let pool = support::pool(1);
    let task = place.task(&pool, Journal::at(place.journal()).resume_failed(false), [1, 2]);
    assert_eq!(task.get().unwrap(), [2, 4]);
}
