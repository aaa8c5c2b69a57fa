//! A host with journalled tasks is killed at each step of the journal's life, and at each system call on its file. What it was
//! given is recorded, nothing that was recorded runs again, and the next run goes on.

use crate::failpoint::VARIABLE;
use crate::failpoint::tests::process::Run;
use crate::journal::{self, Durability, Journal};
use crate::{Pool, Task};
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Set in a host: how its task runs.
const HOST: &str = "MULTICORE_JOURNAL_HOST";

const PIECES: u64 = 24;

/// The steps that ARCHITECTURE.md lists.
fn listed() -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    text.split('`').skip(1).step_by(2).filter(|name| is_step(name)).map(str::to_string).collect()
}

fn is_step(name: &str) -> bool {
    name.starts_with("journal-") && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

/// How the host's task runs, in a word: where, how durable, and who says what is done.
const WAYS: [&str; 5] = ["pool/group", "pool/each", "inline/group", "inline/none", "pool/confirmed"];

#[test]
#[ignore = "other tests start it"]
fn host() {
    let Ok(way) = std::env::var(HOST) else { return };
    let (place, level) = way.split_once('/').unwrap();
    let pool = (place == "pool").then(|| Pool::builder().workers(2).build().unwrap());
    let task = match &pool {
        Some(pool) => pool.task::<u64>().unwrap(),
        None => {
            let (backend, key) = crate::backend::inline::open(None);
            Task::opened(backend, key)
        }
    };
    let folder = PathBuf::from(std::env::var_os("TMPDIR").unwrap());
    let journal = Journal::at(folder.join("journal")).confirmed(level == "confirmed").durability(match level {
        "each" => Durability::Each,
        "none" => Durability::None,
        _ => Durability::Group(Duration::from_millis(2)),
    });
    let mut task = task.name("killed").journal(journal).unwrap();
    let marks = folder.join("marks").to_str().unwrap().to_string();
    for number in 0..PIECES {
        task.run(ran, marks.clone(), number);
    }
    let confirmer = task.confirmer();
    while let Some((number, result)) = task.next_completed() {
        assert_eq!(result.unwrap(), number as u64);
        add_line(&folder.join("given"), number as u64);
        if level == "confirmed" {
            confirmer.confirm(number).unwrap();
        }
    }
    // Half of a task's pieces may be dropped, and the journal outlives it.
    drop(task);
    drop(confirmer);
    fs::write(folder.join("well"), "").unwrap();
}

fn ran(marks: String, number: u64) -> u64 {
    add_line(Path::new(&marks), number);
    number
}

/// In one call: others add to it at the same time.
fn add_line(path: &Path, number: u64) {
    let file = fs::OpenOptions::new().append(true).create(true).open(path);
    file.unwrap().write_all(format!("{number}\n").as_bytes()).unwrap();
}

fn numbers(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // A line may have been cut.
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')?.parse().ok()).collect()
}

fn command_of(way: &str, folder: &Path, wrapper: &[String]) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    };
    command.args(["--exact", "journal::tests::host", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(HOST, way).env("TMPDIR", folder);
    command
}

/// Runs the host until it has come to its end, killed at most once. Gives true if it was killed.
#[track_caller]
fn check(way: &str, what: &str, first: impl FnOnce(&Path) -> Command) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut command = first(folder.path());
    command.stdin(std::process::Stdio::null());
    let outcome = Run::start(command).finish();
    let was_killed = !path("well").exists();
    assert_eq!(was_killed, !outcome.status.success(), "{way}, {what}: {outcome:?}");
    let recorded = match fs::exists(path("journal")).unwrap() {
        // What stands in it checks, or is a torn tail.
        true => journal::read(path("journal")).unwrap().map(|record| record.map(drop)).collect::<Result<Vec<_>, _>>(),
        false => Ok(Vec::new()),
    };
    let recorded = recorded.unwrap_or_else(|error| panic!("{way}, {what}: {error}"));
    let given = numbers(&path("given"));
    if way != "pool/confirmed" {
        assert!(recorded.len() >= given.len(), "{way}, {what}: {given:?} were given");
    }
    let ran_before = numbers(&path("marks")).len();
    let again = Run::start(command_of(way, folder.path(), &[])).finish();
    assert!(again.status.success(), "{way}, {what}: {again:?}");
    let ran_again = numbers(&path("marks")).len() - ran_before;
    assert_eq!(ran_again, PIECES as usize - recorded.len(), "{way}, {what}: exactly what was not recorded runs");
    let all = journal::read(path("journal")).unwrap().map(|record| record.unwrap().key());
    assert_eq!(all.collect::<BTreeSet<_>>().len(), PIECES as usize, "{way}, {what}");
    was_killed
}

#[test]
fn each_step_is_listed_and_has_one_failpoint() {
    let mut armed = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/journal")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                let text = fs::read_to_string(entry.path()).unwrap();
                let names = text.split("failpoint!(\"").skip(1).filter_map(|rest| rest.split('"').next());
                armed.extend(names.filter(|name| is_step(name)).map(str::to_string));
            }
        }
    }
    let once: BTreeSet<String> = armed.iter().cloned().collect();
    assert_eq!(once.len(), armed.len(), "a name stands at two places: {armed:?}");
    assert_eq!(once, listed());
}

#[test]
fn a_run_that_is_killed_at_any_step_goes_on() {
    let mut reached = BTreeSet::new();
    for way in WAYS {
        for step in listed() {
            for hit in [1, 2, 6] {
                let was_killed = check(way, &format!("{step}, hit {hit}"), |folder| {
                    let mut command = command_of(way, folder, &[]);
                    command.env(VARIABLE, format!("{step}/kill/{hit}/1/{}", folder.display()));
                    command
                });
                if was_killed {
                    reached.insert(step.clone());
                } else {
                    // It does not come by that often.
                    break;
                }
            }
        }
    }
    assert_eq!(reached, listed());
}

/// Each write, sync and cut of the file in turn is the last call of the process.
#[test]
fn a_run_that_is_killed_at_any_call_on_its_file_goes_on() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("SKIPPED: kills at system calls, since there is no strace");
        return;
    }
    for way in ["inline/group", "pool/confirmed"] {
        for call in ["pwrite64", "fdatasync", "ftruncate"] {
            let mut kills = 0;
            loop {
                let was_killed = check(way, &format!("{call} {}", kills + 1), |folder| {
                    let inject = format!("inject={call}:signal=KILL:when={}", kills + 1);
                    let trace = format!("trace={call}");
                    let wrapper = ["strace", "-qq", "-f", "-o", "/dev/null", "-e", &trace, "-e", &inject, "--"];
                    command_of(way, folder, &wrapper.map(str::to_string))
                });
                if !was_killed {
                    break;
                }
                kills += 1;
            }
            assert!(kills >= 1, "{way}: {call} is never made");
        }
    }
}

/// The same where a call fails: the first error ends the run, and what was given before is recorded.
#[test]
fn a_run_whose_file_has_errors_ends_and_the_next_one_goes_on() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("SKIPPED: errors of system calls, since there is no strace");
        return;
    }
    for (call, error) in [("pwrite64", "EIO"), ("pwrite64", "ENOSPC"), ("fdatasync", "EIO")] {
        for when in [2, 3, 5] {
            let failed = check("pool/each", &format!("{error} of {call} {when}"), |folder| {
                let (trace, inject) = (format!("trace={call}"), format!("inject={call}:error={error}:when={when}"));
                let wrapper = ["strace", "-qq", "-f", "-o", "/dev/null", "-e", &trace, "-e", &inject, "--"];
                command_of("pool/each", folder, &wrapper.map(str::to_string))
            });
            // Each thread has its own count, and a busy machine records all in few calls.
            assert!(failed || when > 2, "{error} of {call} was never seen");
        }
    }
}
