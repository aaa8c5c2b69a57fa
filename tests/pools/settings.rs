//! The global pool: it is made once, with settings from the program or else from the environment. Each case runs in a
//! process of its own: this test program, started again with only the test `as_a_child`.

use crate::support::{self, add};
use multicore::{ErrorKind, Pool, Task};
use std::process::Command;

/// The variable that names the child's part.
const ROLE: &str = "MULTICORE_TEST_ROLE";

/// The lines that a child prints.
#[track_caller]
fn child(role: &str, variables: &[(&str, &str)]) -> Vec<String> {
    use std::os::unix::ffi::OsStrExt;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "settings::as_a_child", "--nocapture", "--test-threads=1"]).env(ROLE, role);
    command.env_remove("MULTICORE_WORKERS").env_remove("MULTICORE_MAX_LOAD_AVERAGE");
    for (name, value) in variables {
        // U+FFFD stands for a byte that is not text.
        let bytes: Vec<u8> = value.chars().map(|c| if c == '\u{fffd}' { 0xff } else { c as u8 }).collect();
        command.env(name, std::ffi::OsStr::from_bytes(&bytes));
    }
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{role} {variables:?}: {text}{errors}");
    // The harness may have printed the beginning of the first line.
    text.lines().filter_map(|line| Some(line.split_once("say ")?.1.to_string())).collect()
}

fn say(what: impl std::fmt::Display) {
    println!("\nsay {what}");
}

/// The number of supervisor threads: one for each pool that was started.
fn supervisors() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.trim() == "multicore").count()
}

#[test]
fn as_a_child() {
    match std::env::var(ROLE).as_deref() {
        Ok("start") => {
            say(Task::<u64>::new().is_some());
            match Task::<u64>::try_new() {
                Ok(_) => say(format!("workers {}", Pool::global().unwrap().workers())),
                Err(error) => {
                    say(format!("{:?}", error.kind()));
                    say(error);
                }
            }
            // There is never another pool, and always a result.
            let inline = Task::<u64>::new_or_inline();
            inline.run(add, 1, 2);
            assert_eq!(inline.get().unwrap(), [3]);
            say(format!("kind {:?}", Pool::global().err().map(|error| error.kind())));
        }
        Ok("ranges") => {
            say(multicore::ranges(1_000_000).len());
            say(format!("threads {}", supervisors()));
        }
        Ok("global twice") => {
            Pool::builder().workers(3).build_global().unwrap();
            say(Pool::global().unwrap().workers());
            let error = Pool::builder().workers(2).build_global().unwrap_err();
            say(format!("{:?}", error.kind()));
            say(error);
            say(multicore::ranges(1_000_000).len());
            let task = Task::<u64>::new().unwrap();
            task.run(add, 1, 2);
            assert_eq!(task.get().unwrap(), [3]);
            assert!(std::ptr::eq(Pool::global().unwrap(), Pool::global().unwrap()));
        }
        Ok("global limit") => {
            Pool::builder().workers(1).max_load_average(0.0).max_result_bytes(10).build_global().unwrap();
            let task = Task::<String>::new_or_inline();
            task.call_all(|length: usize| "x".repeat(length), [10, 11]);
            say(format!(
                "{:?}",
                task.get_each().into_iter().map(|it| it.map_err(|it| it.kind()).map(|it| it.len())).collect::<Vec<_>>()
            ));
        }
        Ok("global late") => {
            drop(Task::<u64>::new().unwrap());
            say(format!("{:?}", Pool::builder().build_global().unwrap_err().kind()));
        }
        Ok("global after failure") => {
            say(format!("{:?}", Pool::builder().workers(0).build_global().unwrap_err().kind()));
            Pool::builder().workers(2).build_global().unwrap();
            say(Pool::global().unwrap().workers());
        }
        Ok("own pool") => say(Pool::builder().build().map(|pool| pool.workers()).unwrap()),
        Ok("threads") => {
            let pools: Vec<usize> = std::thread::scope(|scope| {
                let ask = || std::ptr::from_ref(Pool::global().unwrap()) as usize;
                let threads: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(pools.iter().all(|&pool| pool == pools[0]));
            // The thread sets its name when it first runs.
            support::wait_for("the supervisor runs", || supervisors() > 0);
            say(supervisors());
        }
        _ => {}
    }
}

#[test]
fn the_environment_sets_the_global_pool() {
    for workers in [1, 2, 5] {
        let text = workers.to_string();
        let said = child("start", &[("MULTICORE_WORKERS", &text)]);
        assert_eq!(said, ["true", &format!("workers {workers}"), "kind None"]);
        assert_eq!(child("ranges", &[("MULTICORE_WORKERS", &text)])[0], (4 * workers).to_string());
    }
    let cpus = num_cpus::get();
    assert_eq!(child("start", &[])[1], format!("workers {cpus}"));
    // The variables have no effect on other pools.
    assert_eq!(child("own pool", &[("MULTICORE_WORKERS", "7")]), [cpus.to_string()]);
    assert_eq!(child("own pool", &[("MULTICORE_WORKERS", "x")]), [cpus.to_string()]);
    let busy = child("start", &[("MULTICORE_MAX_LOAD_AVERAGE", "0")]);
    assert_eq!(busy[..2], ["false", "Busy"]);
    let quiet = child("start", &[("MULTICORE_MAX_LOAD_AVERAGE", "1e6"), ("MULTICORE_WORKERS", "2")]);
    assert_eq!(quiet[..2], ["true", "workers 2"]);
}

#[test]
fn a_malformed_variable_is_told_with_its_name_and_value_and_never_taken_for_another() {
    let check = |name: &str, value: &str| {
        let said = child("start", &[(name, value)]);
        assert_eq!(said[..2], ["false", "Config"], "{name}={value}: {said:?}");
        assert_eq!(said[3], "kind Some(Config)", "{name}={value}: {said:?}");
        let shown = if value.is_ascii() { value } else { "" };
        assert!(said[2].contains(name) && said[2].contains(shown), "{name}={value}: {said:?}");
        // `ranges` works all the same, and starts no pool.
        let ranges = child("ranges", &[(name, value)]);
        assert!(ranges[0].parse::<usize>().is_ok_and(|pieces| pieces > 0), "{name}={value}: {ranges:?}");
        assert_eq!(ranges[1], "threads 0");
    };
    for value in ["", " ", "x", "four", "-1", "1.5", "2x", "0x2", "1e3", "99999999999999999999999", "\u{fffd}", "0"] {
        check("MULTICORE_WORKERS", value);
    }
    check("MULTICORE_WORKERS", "4097");
    check("MULTICORE_WORKERS", &usize::MAX.to_string());
    for value in ["", "x", "85%", "8 5", "\u{fffd}", "-1", "NaN", "inf", "-inf"] {
        check("MULTICORE_MAX_LOAD_AVERAGE", value);
    }
}

#[test]
fn the_global_pool_is_built_once_and_before_its_first_use() {
    let said = child("global twice", &[("MULTICORE_WORKERS", "5")]);
    assert_eq!(said[..2], ["3", "Config"]);
    assert!(said[2].contains("global pool already"), "{said:?}");
    assert_eq!(said[3], "12");
    assert_eq!(child("global late", &[]), ["Config"]);
    assert_eq!(child("global after failure", &[]), ["Config", "2"]);
    assert_eq!(format!("{:?}", ErrorKind::Config), "Config");
}

#[test]
fn the_limit_of_results_holds_where_the_global_pool_is_busy() {
    assert_eq!(child("global limit", &[]), ["[Ok(10), Err(Encode)]"]);
}

#[test]
fn threads_that_ask_at_once_get_one_pool() {
    for _ in 0..3 {
        assert_eq!(child("threads", &[("MULTICORE_WORKERS", "2")]), ["1"]);
    }
}

#[test]
fn ranges_start_nothing() {
    assert_eq!(child("ranges", &[]), [(4 * num_cpus::get()).to_string(), "threads 0".to_string()]);
}
