//! Hosts that are killed in the middle of a run, and go on.

use super::faults::{again, role};
use super::*;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use support::{Process, Random, wait_for, watchdog};

/// Marks its begin and its end, and gives its number.
fn timed(marks: String, number: u64) -> u64 {
    mark(&marks, number);
    std::thread::sleep(Duration::from_millis(20));
    mark(&marks, 1_000_000 + number);
    number
}

const PIECES: u64 = 300;

/// The mark of a run that has opened its journal.
const OPENED: u64 = 9_000_000;

/// What the killed process does.
fn host(journal: &Path) -> Vec<u64> {
    let pool = support::pool(3);
    let task = journalled::<u64>(&pool, Journal::at(journal).durability(journal::Durability::None));
    let marks = journal.with_extension("marks").to_str().unwrap().to_string();
    mark(&marks, OPENED);
    (0..PIECES).for_each(|number| task.run(timed, marks.clone(), number));
    task.get().unwrap()
}

fn start(test: &str, journal: &Path) -> Child {
    again(test, journal).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// No piece that was recorded runs again, few that were not run twice, and no piece of a dead run goes on beside the next one.
#[test]
fn a_run_that_is_killed_again_and_again_goes_on_where_it_stopped() {
    if let Some(journal) = role() {
        assert_eq!(host(&journal), (0..PIECES).collect::<Vec<_>>());
        return;
    }
    let _watch = watchdog();
    let mut random = Random::seeded();
    let place = Place::new();
    let path = place.journal();
    let marks = path.with_extension("marks");
    std::fs::write(&marks, "").unwrap();
    let lines = || -> Vec<u64> {
        let text = std::fs::read_to_string(&marks).unwrap();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    };
    let mut kills = 0;
    loop {
        let begun = lines().len();
        let mut child = start("killed::a_run_that_is_killed_again_and_again_goes_on_where_it_stopped", &path);
        // Killed once it has made some marks more, unless it ends before.
        let enough = begun + 30 + random.below(120) as usize;
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success());
                break true;
            }
            if lines().len() >= enough {
                break false;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        if ended {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    let all = lines();
    let begins = all.iter().filter(|line| **line < 1_000_000).count();
    let repeats = begins - PIECES as usize;
    // Each of three workers held two pieces: the one that it ran, and perhaps one that was done and not recorded, or began after the kill.
    assert!(kills >= 3 && repeats <= 6 * kills, "{repeats} repeats in {kills} kills");
    assert_eq!(recorded(&path), (PIECES as usize, 0), "each is recorded once");
    // In each run a piece's end follows its own begin: an end without one is of a run before.
    let runs: Vec<&[u64]> = all.split(|line| *line == OPENED).skip(1).collect();
    assert_eq!(runs.len(), kills + 1);
    for (run, own) in runs.into_iter().enumerate() {
        for (index, line) in own.iter().enumerate().filter(|(_, line)| **line >= 1_000_000) {
            assert!(own[..index].contains(&(line - 1_000_000)), "piece {} of run {run} ended late", line - 1_000_000);
        }
    }
}

/// Workers die in a storm while their pieces are recorded: each piece is recorded once, with its attempts.
#[test]
fn in_a_storm_of_kills_each_piece_is_recorded_once() {
    let _watch = watchdog();
    let mut random = Random::seeded();
    for level in [journal::Durability::Each, journal::Durability::default()] {
        let pool = support::pool(3);
        let place = Place::new();
        let task = pool.task::<u64>().unwrap().name("storm").retries(100);
        let mut task = task.journal(Journal::at(place.journal()).durability(level)).unwrap();
        let piece = |marks: String, number: u64| {
            mark(&marks, number);
            std::thread::sleep(Duration::from_millis(2));
            number
        };
        (0..PIECES).for_each(|number| task.run(piece, place.marks.path(), number));
        let (mut given, mut kills) = (vec![false; PIECES as usize], 0);
        while let Some((number, result)) = task.next_completed() {
            assert_eq!(result.unwrap(), number as u64);
            assert!(!std::mem::replace(&mut given[number], true), "{number} was given twice");
            if random.below(6) == 0 {
                let workers = support::workers(&pool);
                workers[random.below(workers.len() as u64) as usize].kill(libc::SIGKILL);
                kills += 1;
            }
        }
        drop(task);
        let records: Vec<_> = journal::read(place.journal()).unwrap().map(Result::unwrap).collect();
        let keys: std::collections::BTreeSet<_> = records.iter().map(|record| record.key()).collect();
        assert_eq!((records.len(), keys.len()), (PIECES as usize, PIECES as usize));
        // Each start has its mark, but for one that was killed before it could leave it.
        let starts: u32 = records.iter().map(|record| record.attempts()).sum();
        assert!(place.marks.count() <= starts as usize && kills > 10, "{kills} kills, {starts} starts");
        support::assert_works_again(&pool);
    }
}

/// A holder that lives is named at once.
#[test]
fn a_journal_that_another_process_holds_is_refused_with_its_number() {
    if let Some(journal) = role() {
        let pool = support::busy_pool();
        let _task = journalled::<u64>(&pool, &journal);
        std::fs::write(journal.with_extension("ready"), "").unwrap();
        wait_for("the end of the test", || !journal.exists());
        return;
    }
    let _watch = watchdog();
    let place = Place::new();
    let name = "killed::a_journal_that_another_process_holds_is_refused_with_its_number";
    let mut child = start(name, &place.journal());
    wait_for("the other process", || place.journal().with_extension("ready").exists());
    let pool = support::busy_pool();
    let began = Instant::now();
    let error = new_task::<u64>(&pool).journal(place.journal()).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(error.kind(), ErrorKind::Journal);
    assert!(error.to_string().contains(&format!("is held by pid {}", child.id())), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(journalled::<u64>(&pool, place.journal()));
}

/// A run that was killed leaves processes for a moment: they are waited for. Those that do not end are named, and nothing runs beside them.
#[test]
fn what_a_dead_run_has_left_is_waited_for_and_named() {
    if let Some(journal) = role() {
        let pool = support::pool(1);
        let _task = journalled::<u64>(&pool, &journal);
        // It has a copy of the journal's descriptor, and so of its lock.
        // SAFETY: the child only sleeps, and makes no call that needs what other threads of this process hold.
        let child = unsafe { libc::fork() };
        if child == 0 {
            loop {
                // SAFETY: it touches no memory.
                unsafe { libc::pause() };
            }
        }
        let pids = format!("{} {child}", support::fork_server(&pool).pid);
        std::fs::write(journal.with_extension("pids"), pids).unwrap();
        std::fs::write(journal.with_extension("ready"), "").unwrap();
        wait_for("the end of the test", || !journal.exists());
        return;
    }
    let _watch = watchdog();
    let place = Place::new();
    let mut host = start("killed::what_a_dead_run_has_left_is_waited_for_and_named", &place.journal());
    wait_for("the other process", || place.journal().with_extension("ready").exists());
    let pids = std::fs::read_to_string(place.journal().with_extension("pids")).unwrap();
    let find = |pid: &str| Process::find(pid.parse().unwrap()).unwrap();
    let (server, forked) = pids.split_once(' ').map(|(server, forked)| (find(server), find(forked))).unwrap();
    // As a worker of it would be, which does not end.
    let marker = format!("0.0.0/1/2/3/{}", host.id());
    let mut worker = std::process::Command::new("sleep");
    let mut worker = worker.arg("600").env("MULTICORE_FORK_SERVER", marker).spawn().unwrap();
    host.kill().unwrap();
    host.wait().unwrap();
    let pool = support::busy_pool();
    let refused = || {
        let error = new_task::<u64>(&pool).journal(place.journal()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Journal);
        error.to_string()
    };
    let held = format!("is held by processes of pid {}, which has died: {}:", host.id(), forked.pid);
    let message = refused();
    assert!(message.contains(&held), "{message}");
    assert!(!server.is_running(), "it was waited for");
    forked.kill(libc::SIGKILL);
    wait_for("the end of the child", || !forked.is_running());
    let left = format!("was held by pid {}, which has died, but its processes still run: {}.", host.id(), worker.id());
    let message = refused();
    assert!(message.contains(&left), "{message}");
    worker.kill().unwrap();
    worker.wait().unwrap();
    drop(journalled::<u64>(&pool, place.journal()));
}
