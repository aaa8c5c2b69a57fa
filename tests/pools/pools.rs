//! The promises of a pool: its workers, its hooks, its statistics, and its end.

#![allow(unsafe_code)]

use crate::support::{
    self, Door, Marks, Process, Random, SmallGroup, add, mark, pool, task, wait_at, wait_for, watchdog,
};
use multicore::{ErrorKind, Pool, PoolBuilder, Stats, Task, WorkerStart};
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

fn held(number: u64, (marks, door): (String, String)) -> u64 {
    mark(&marks, number);
    wait_at(&door);
    number
}

fn kinds(task: Task<u64>) -> Vec<Result<u64, ErrorKind>> {
    task.get_each().into_iter().map(|outcome| outcome.map_err(|error| error.kind())).collect()
}

const CANCELLED: Result<u64, ErrorKind> = Err(ErrorKind::Cancelled);

#[test]
fn shutdown_lets_running_pieces_end_and_cancels_what_has_not_begun() {
    let _watch = watchdog();
    let pool = pool(2);
    let (marks, door) = (Marks::new(), Door::closed());
    let [waited, kept] = [task::<u64>(&pool), task::<u64>(&pool)];
    waited.run(held, 0, (marks.path(), door.path()));
    kept.run(held, 0, (marks.path(), door.path()));
    marks.wait_for(2);
    for task in [&waited, &kept] {
        for number in 1..100 {
            task.run(held, number, (marks.path(), door.path()));
        }
        // Too long for the ring.
        task.call(|bytes: Vec<u8>| bytes.len() as u64, vec![0; 1 << 20]);
    }
    let processes = [support::workers(&pool), vec![support::fork_server(&pool)]].concat();
    let waiter = std::thread::spawn(move || kinds(waited));
    let closer = std::thread::spawn(move || pool.shutdown());
    // The pieces that waited are cancelled. `shutdown` waits for those that run.
    wait_for("100 pieces are cancelled", || kept.completed() == 100);
    assert!(!closer.is_finished());
    door.open();
    closer.join().unwrap();
    support::assert_gone(&processes);
    let mut expected = vec![CANCELLED; 101];
    expected[0] = Ok(0);
    assert_eq!(waiter.join().unwrap(), expected);
    kept.run(add, 1, 2);
    expected.push(CANCELLED);
    assert_eq!(kinds(kept), expected);
    assert_eq!(marks.count(), 2);
}

#[test]
fn drop_kills_what_runs_and_tasks_that_outlive_the_pool_end_in_cancelled() {
    let _watch = watchdog();
    let pool = pool(2);
    let (marks, door) = (Marks::new(), Door::closed());
    let done = task::<u64>(&pool);
    done.run(add, 1, 2);
    wait_for("the piece is done", || done.completed() == 1);
    let [waited, kept] = [task::<u64>(&pool), task::<u64>(&pool)];
    for task in [&waited, &kept] {
        task.run(held, 0, (marks.path(), door.path()));
    }
    marks.wait_for(2);
    for task in [&waited, &kept] {
        task.run_all(held, (1..50).map(|number| (number, (marks.path(), door.path()))));
    }
    let empty = task::<u64>(&pool);
    let processes = [support::workers(&pool), vec![support::fork_server(&pool)]].concat();
    let waiter = std::thread::spawn(move || kinds(waited));
    drop(pool);
    support::assert_gone(&processes);
    assert_eq!(waiter.join().unwrap(), vec![CANCELLED; 50]);
    assert_eq!((kept.len(), kept.completed()), (50, 50));
    let error = kept.get().unwrap_err();
    assert_eq!((error.kind(), error.piece()), (ErrorKind::Cancelled, Some(0)));
    assert!(error.to_string().contains("pool was shut down"), "{error}");
    // Results from before are kept.
    assert_eq!(done.get().unwrap(), [3]);
    empty.run(add, 1, 2);
    empty.run_all(add, [(1, 2), (3, 4)]);
    empty.call(|bytes: Vec<u8>| bytes.len() as u64, vec![0; 1 << 20]);
    assert_eq!(empty.len(), 4);
    assert_eq!(kinds(empty), vec![CANCELLED; 4]);
    assert_eq!(marks.count(), 2);
}

#[test]
fn pieces_that_end_while_the_pool_does_count_once() {
    let _watch = watchdog();
    let mut random = Random::seeded();
    for round in 0..100 {
        let pool = pool(2);
        let marks = Marks::new();
        let kept = task::<u64>(&pool);
        let piece = |marks: String, number: u64| {
            mark(&marks, number);
            number
        };
        kept.run_all(piece, (0..200).map(|number| (marks.path(), number)));
        marks.wait_for(1 + random.below(20) as usize);
        if round % 2 == 0 {
            drop(pool)
        } else {
            pool.shutdown()
        }
        assert_eq!((kept.len(), kept.completed()), (200, 200), "round {round}");
        let mut well = 0;
        for (number, outcome) in (0..).zip(kinds(kept)) {
            assert!(outcome == Ok(number) || outcome == CANCELLED, "round {round}: {outcome:?}");
            well += usize::from(outcome.is_ok());
        }
        assert!(well <= marks.count(), "round {round}");
        // Only a drop kills pieces that have begun; `shutdown` lets them finish.
        assert!(round % 2 == 0 || well == marks.count(), "round {round}: {well} of {}", marks.count());
    }
}

#[test]
fn an_idle_and_an_unused_pool_end_at_once() {
    for workers in [1, 3] {
        for used in [false, true] {
            for shutdown in [false, true] {
                let pool = pool(workers);
                if used {
                    support::assert_works(&pool);
                }
                let processes = [support::workers(&pool), vec![support::fork_server(&pool)]].concat();
                if shutdown {
                    pool.shutdown()
                } else {
                    drop(pool)
                }
                support::assert_gone(&processes);
                // The same before its workers have started.
                let pool = support::pool(workers);
                if shutdown { pool.shutdown() } else { drop(pool) }
            }
        }
    }
}

#[test]
fn workers_persist_and_are_as_many_as_were_asked_for() {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    fn count(_: u64, _: u64) -> (u32, u64) {
        (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed) + 1)
    }
    for workers in [1, 2, 5] {
        let pool = pool(workers);
        assert_eq!(pool.workers(), workers);
        let mut most = std::collections::HashMap::new();
        for _ in 0..10 {
            let counts = task::<(u32, u64)>(&pool);
            counts.run_all(count, (0..100).map(|number| (number, 0)));
            for (pid, count) in counts.get().unwrap() {
                let most: &mut u64 = most.entry(pid).or_default();
                *most = count.max(*most);
            }
        }
        // Each worker has continued its own count.
        assert_eq!(most.values().sum::<u64>(), 1000, "{most:?}");
        let pids: HashSet<u32> = support::workers(&pool).iter().map(|worker| worker.pid).collect();
        assert!(most.keys().all(|pid| pids.contains(pid)) && pids.len() == workers, "{most:?}, {pids:?}");
        // No piece ran in this process.
        assert_eq!(COUNT.load(Ordering::Relaxed), 0);
    }
}

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn see(what: String) {
    SEEN.lock().unwrap().push(format!("{what} in {}", std::process::id()));
}

fn see_start() {
    see("start".to_string());
}

fn see_preload() {
    see("preload".to_string());
}

fn seen(_: u64, _: u64) -> (u32, Vec<String>) {
    (std::process::id(), SEEN.lock().unwrap().clone())
}

#[test]
fn preload_runs_once_for_all_and_on_worker_start_in_each_before_its_first_piece() {
    let _watch = watchdog();
    let builders: [fn() -> PoolBuilder; 2] = [
        || Pool::builder().preload(see_preload).on_worker_start(see_start),
        || {
            let sent = |text: &str| text.to_string();
            Pool::builder().preload_with(see, sent("preload")).on_worker_start_with(see, sent("start"))
        },
    ];
    for builder in builders {
        let pool = builder().workers(2).build().unwrap();
        let server = support::fork_server(&pool).pid;
        for round in 0..2 {
            let pieces = task::<(u32, Vec<String>)>(&pool);
            pieces.run_all(seen, (0..50).map(|number| (number, 0)));
            for (pid, seen) in pieces.get().unwrap() {
                assert_eq!(seen, [format!("preload in {server}"), format!("start in {pid}")], "round {round}");
            }
            // The same holds in the workers that replace these.
            support::workers(&pool).iter().for_each(|worker| worker.kill(libc::SIGKILL));
        }
        support::assert_works(&pool);
    }
    assert!(SEEN.lock().unwrap().is_empty());
}

#[test]
fn on_worker_exit_runs_in_each_worker_that_leaves_in_order_and_in_no_other() {
    let _watch = watchdog();
    let marks = Marks::new();
    let build = || {
        let leave = |marks: String| mark(&marks, u64::from(std::process::id()));
        Pool::builder().workers(3).on_worker_exit_with(leave, marks.path()).build().unwrap()
    };
    let pool = build();
    let mut pids: Vec<u64> = support::workers(&pool).iter().map(|worker| u64::from(worker.pid)).collect();
    pool.shutdown();
    pids.sort_unstable();
    assert_eq!(marks.numbers(), pids);
    let pool = build();
    support::assert_works(&pool);
    drop(pool);
    assert_eq!(marks.count(), 3);
    // A panic in the hook has no effect.
    let pool = Pool::builder().workers(2).on_worker_exit(|| panic!("on leaving")).build().unwrap();
    support::assert_works(&pool);
    pool.shutdown();
}

#[test]
fn a_preload_that_fails_is_told_by_build() {
    let error = Pool::builder().workers(1).preload(|| panic!("no model at /nowhere")).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::System);
    assert!(error.to_string().contains("no model at /nowhere"), "{error}");
    let error = Pool::builder().workers(1).preload(|| std::process::exit(3)).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::System, "{error}");
    let error = Pool::builder()
        .workers(1)
        .preload(|| {
            std::thread::spawn(|| std::thread::sleep(support::DEADLINE));
        })
        .build()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::System);
    assert!(error.to_string().contains("2 threads"), "{error}");
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let check = |builder: PoolBuilder, expected: &str| {
        let error = builder.build().err().unwrap_or_else(|| panic!("{expected} is accepted"));
        assert_eq!((error.kind(), error.piece()), (ErrorKind::Config, None), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(Pool::builder().workers(0), "0 workers");
    check(Pool::builder().workers(4097), "4097 workers");
    check(Pool::builder().workers(usize::MAX), &usize::MAX.to_string());
    for percent in [-1.0, -0.0001, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        check(Pool::builder().workers(1).max_load_average(percent), &percent.to_string());
    }
    // Valid settings are accepted, also at the ends of their range.
    for builder in [
        Pool::builder().workers(1).warm_memory(0),
        Pool::builder().workers(1).warm_memory(usize::MAX),
        Pool::builder().workers(1).max_load_average(f64::MAX),
        Pool::builder().workers(40),
    ] {
        support::assert_works(&builder.build().unwrap());
    }
}

/// More orders than the socket to the fork server can hold, while the fork server does not read them yet.
#[test]
fn a_pool_has_as_many_workers_as_were_asked_for_however_late_they_are_ordered() {
    let _watch = watchdog();
    let late = || std::thread::sleep(std::time::Duration::from_millis(50));
    let pool = Pool::builder().workers(300).preload(late).build().unwrap();
    assert_eq!(support::workers(&pool).len(), 300);
    support::assert_well(pool);
}

/// A field of the worker's `/proc/self/status`.
fn status(name: String) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or_default();
    line.trim_start_matches(':').trim().to_string()
}

#[test]
fn workers_get_new_rights_unless_they_are_kept_from_it() {
    let _watch = watchdog();
    for (kept, said) in [(false, "0"), (true, "1")] {
        let pool = Pool::builder().workers(1).no_new_privileges(kept).build().unwrap();
        let task: Task<String> = task(&pool);
        task.call(status, "NoNewPrivs".to_string());
        assert_eq!(task.get().unwrap(), [said]);
    }
}

/// The limit of a core file's size in this process.
fn core_limit() -> libc::rlimit {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writing.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_CORE, &mut limit) }, 0);
    limit
}

#[test]
fn workers_leave_core_files_only_where_they_are_wanted() {
    let _watch = watchdog();
    let mut limit = core_limit();
    limit.rlim_cur = limit.rlim_max.min(1 << 20);
    // SAFETY: `limit` is a valid limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_CORE, &limit) }, 0);
    for (wanted, most) in [(false, 0), (true, limit.rlim_cur)] {
        let pool = Pool::builder().workers(1).core_files(wanted).build().unwrap();
        let task: Task<(u64, u64)> = task(&pool);
        task.call(|()| (core_limit().rlim_cur, core_limit().rlim_max), ());
        // The hard limit is unchanged, so a piece may raise its own limit.
        assert_eq!(task.get().unwrap(), [(most, limit.rlim_max)]);
    }
}

#[test]
fn a_result_is_as_long_as_it_may_be_and_no_longer() {
    let _watch = watchdog();
    let mosts = [100, 100_000, 1_000_000].map(|most| [(most, 1e9), (most, 0.0)]);
    for (most, load) in mosts.into_iter().flatten() {
        let pool = Pool::builder().workers(1).max_result_bytes(most).max_load_average(load).build().unwrap();
        let task: Task<Vec<u8>> = pool.task_or_inline();
        for length in [most, most + 1, 1] {
            task.call(|length: usize| vec![7; length], length);
        }
        let mut outcomes = task.get_each();
        let error = outcomes.remove(1).unwrap_err();
        assert_eq!((error.kind(), error.piece()), (ErrorKind::Encode, Some(1)), "{error}");
        assert!(error.to_string().contains(&format!("takes {} bytes", most + 1)), "{error}");
        let lengths: Vec<usize> = outcomes.into_iter().map(|outcome| outcome.unwrap().len()).collect();
        assert_eq!(lengths, [most, 1]);
        assert_eq!(pool.stats().workers_lost, 0);
    }
}

/// Only the limit of the mount's first group had counted, so a pool in a group of 300 MiB allowed half of the machine's memory.
#[test]
fn a_result_may_take_half_of_what_each_control_group_above_allows() {
    let _watch = watchdog();
    const INNER: &str = "MULTICORE_TEST_IN_A_GROUP_OF_A_SMALL_GROUP";
    const LIMIT: usize = 300 << 20;
    if std::env::var_os(INNER).is_some() {
        let pool = pool(1);
        let task: Task<Vec<u8>> = task(&pool);
        task.call(|length: usize| vec![0; length], LIMIT / 2 + 1);
        let error = task.get().unwrap_err();
        let told = format!("takes {} bytes, and this pool allows {}:", LIMIT / 2 + 1, LIMIT / 2);
        assert!(error.to_string().contains(&told), "{error}");
        return;
    }
    let Some(group) = SmallGroup::make(LIMIT as u64) else { return };
    group.run(&group.inner(), support::test_name!(), INNER);
}

/// The contents of the files behind these descriptors in a worker, or the error of reading them.
fn read_under(numbers: Vec<i32>) -> Vec<String> {
    let read = |number| std::fs::read_to_string(format!("/proc/self/fd/{number}"));
    numbers.into_iter().map(|number| read(number).unwrap_or_else(|error| error.to_string())).collect()
}

#[test]
fn descriptors_that_are_passed_have_their_numbers_in_every_worker() {
    use std::os::fd::{AsFd, AsRawFd};
    let _watch = watchdog();
    let file = |words: &str| {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, words.as_bytes()).unwrap();
        file
    };
    let (one, other, third) = (file("one"), file("other"), file("third"));
    let builder = Pool::builder().workers(2).pass_descriptors(&[one.as_fd(), other.as_fd()]);
    let numbers = vec![one.as_raw_fd(), other.as_raw_fd(), third.as_raw_fd()];
    // The parent may close them afterwards, and use the numbers for other files.
    drop((one, other));
    let _taken = [file("taken"), file("taken")];
    let pool = builder.build().unwrap();
    for _ in 0..2 {
        let task: Task<Vec<String>> = task(&pool);
        task.call(read_under, numbers.clone());
        let said = task.get().unwrap().remove(0);
        assert_eq!(said[..2], ["one", "other"]);
        assert_ne!(said[2], "third");
        // The same holds in workers of a later fork server.
        support::fork_server(&pool).kill(libc::SIGKILL);
        support::assert_works_again(&pool);
    }
    let refused = Pool::builder().workers(1).pass_descriptors(&[std::io::stdin().as_fd()]).build();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Config);
}

/// A worker ignores the signals that a terminal sends to background processes. Its child processes do not ignore them.
#[test]
fn what_a_worker_forks_heeds_the_terminal() {
    let _watch = watchdog();
    let pool = pool(1);
    let task: Task<String> = task(&pool);
    task.call(status, "SigIgn".to_string());
    task.call(
        |()| {
            let mut command = std::process::Command::new("/bin/cat");
            command.arg("/proc/self/status");
            // SAFETY: the hook does nothing. It makes the standard library fork instead of calling posix_spawn.
            unsafe { std::os::unix::process::CommandExt::pre_exec(&mut command, || Ok(())) };
            let status = String::from_utf8(command.output().unwrap().stdout).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
            line.trim().to_string()
        },
        (),
    );
    let ignored = task.get().unwrap();
    let terminal = |mask: &str| u64::from_str_radix(mask, 16).unwrap() >> (libc::SIGTTIN - 1) & 3;
    assert_eq!([terminal(&ignored[0]), terminal(&ignored[1])], [3, 0], "{ignored:?}");
}

#[test]
fn a_hooks_value_that_cannot_be_sent_is_told_by_build() {
    #[derive(serde::Deserialize)]
    struct Unsent;
    impl serde::Serialize for Unsent {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it stays"))
        }
    }
    for builder in [
        Pool::builder().preload_with(drop, Unsent),
        Pool::builder().on_worker_start_with(drop, Unsent),
        Pool::builder().on_worker_exit_with(drop, Unsent),
    ] {
        let error = builder.workers(1).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Encode);
        assert!(error.to_string().contains("it stays"), "{error}");
    }
}

#[test]
fn a_worker_has_no_pool_of_its_own_and_runs_its_pieces_itself() {
    fn inside(number: u64, _: u64) -> (Vec<String>, Vec<u64>, u32) {
        let refused = [
            Pool::builder().workers(1).build().err(),
            Pool::builder().workers(1).build_global().err(),
            Pool::global().err(),
            Task::<u64>::try_new().err(),
        ];
        assert!(Task::<u64>::new().is_none());
        let inline = Task::<u64>::new_or_inline();
        inline.run_all(add, (0..3).map(|more| (number, more)));
        inline.call(|_: u64| u64::from(std::process::id()), 0);
        let kinds = refused.map(|error| format!("{:?}", error.map(|error| error.kind())));
        (kinds.to_vec(), inline.get().unwrap(), std::process::id())
    }
    let pool = pool(1);
    let task = task::<(Vec<String>, Vec<u64>, u32)>(&pool);
    task.run(inside, 5, 0);
    let (refused, results, pid) = task.get().unwrap().remove(0);
    assert_eq!(refused, ["Some(InWorker)"; 4]);
    assert_eq!(results, [5, 6, 7, u64::from(pid)]);
}

#[test]
fn ranges_are_four_for_each_worker() {
    for workers in [1, 2, 7] {
        let pool = pool(workers);
        assert_eq!(pool.ranges(1000).len(), 4 * workers);
        assert_eq!(pool.ranges(3).collect::<Vec<_>>(), [(0, 1), (1, 2), (2, 3)]);
        assert_eq!(pool.ranges(0).count(), 0);
        let sums = task::<usize>(&pool);
        sums.run_all(|start: usize, end: usize| (start..end).sum(), pool.ranges(1000).with_max_len(10));
        assert_eq!(sums.len(), 100);
        assert_eq!(sums.get().unwrap().into_iter().sum::<usize>(), 499_500);
    }
}

#[test]
fn stats_count_what_happens() {
    let _watch = watchdog();
    let pool = pool(2);
    let workers = support::workers(&pool);
    let stats = pool.stats();
    assert_eq!((stats.tasks, stats.pieces_waiting, stats.pieces_done, stats.workers_lost), (0, 0, 0, 0));
    assert_eq!(stats.workers.len(), 2);
    for (number, worker) in stats.workers.iter().enumerate() {
        assert_eq!((worker.worker, worker.pid, worker.generation), (number, Some(workers[number].pid), 1));
        assert_eq!((worker.pieces_held, worker.pieces_done), (0, 0));
    }
    let (marks, door) = (Marks::new(), Door::closed());
    let task = task::<u64>(&pool);
    task.run_all(held, (0..100).map(|number| (number, (marks.path(), door.path()))));
    marks.wait_for(2);
    let stats = pool.stats();
    let held: usize = stats.workers.iter().map(|worker| worker.pieces_held).sum();
    assert_eq!((stats.tasks, stats.pieces_done), (1, 0));
    assert!((2..100).contains(&held) && stats.pieces_waiting + held == 100, "{stats:?}");
    assert!(stats.workers.iter().all(|worker| worker.pieces_held > 0), "{stats:?}");
    door.open();
    task.get().unwrap();
    let stats = pool.stats();
    assert_eq!((stats.tasks, stats.pieces_waiting, stats.pieces_done), (0, 0, 100));
    assert_eq!(stats.workers.iter().map(|worker| worker.pieces_done).sum::<u64>(), 100);
    workers[1].kill(libc::SIGKILL);
    wait_for("the worker is replaced", || pool.stats().workers[1].generation == 2);
    let stats = pool.stats();
    assert_eq!((stats.workers_lost, stats.pieces_done), (1, 100));
    assert_eq!((stats.workers[0].pid, stats.workers[1].pieces_done), (Some(workers[0].pid), 0));
}

#[test]
fn stats_show_as_a_table_and_travel_as_data() {
    let pool = pool(2);
    support::assert_works(&pool);
    let workers: Vec<Process> = support::workers(&pool);
    let stats = pool.stats();
    let table = stats.to_string();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    let mib = |bytes: Option<u64>| match bytes {
        Some(bytes) => vec![format!("{:.1}", bytes as f64 / f64::from(1 << 20)), "MiB".to_string()],
        None => vec!["-".to_string()],
    };
    assert_eq!(
        lines[0],
        ["worker", "pid", "state", "function", "done", "age", "memory", "at", "start", "peak", "replaced"]
    );
    for (number, worker) in stats.workers.iter().enumerate() {
        let mut expected = vec![
            number.to_string(),
            workers[number].pid.to_string(),
            "idle".to_string(),
            "-".to_string(),
            worker.pieces_done.to_string(),
            format!("{:.1}", worker.age.expect("it is there").as_secs_f64()),
            "s".to_string(),
        ];
        expected.extend([worker.memory, worker.memory_at_start, worker.memory_peak].into_iter().flat_map(mib));
        expected.push("-".to_string());
        assert_eq!(lines[1 + number], expected);
    }
    let took_ms = stats.start_time.expect("all workers are ready").as_secs_f64() * 1000.0;
    let work = format!("0 tasks, 0 pieces waiting, 100 done; workers are forked, in {took_ms:.1} ms");
    let last_two: Vec<&str> = table.lines().rev().take(2).collect();
    assert_eq!((last_two[1], stats.start), (&*work, WorkerStart::Forked));
    assert!(last_two[0].contains(" available; 0 recycled, 0 over limit, 0 lost"), "{table}");
    // The columns are aligned with their heads.
    let columns = |line: &str| [line.find("idle").or(line.find("state")), line.rfind([' '])];
    let heads = columns(table.lines().next().unwrap());
    assert!(table.lines().skip(1).take(2).all(|line| columns(line) == heads), "{table}");
    workers[1].kill(libc::SIGKILL);
    wait_for("the worker is replaced", || pool.stats().to_string().contains("1 (died)"));
    let again: Stats = serde_json::from_str(&serde_json::to_string(&stats).unwrap()).unwrap();
    assert_eq!(again, stats);
    assert_eq!(again.clone(), again);
}

/// Such a value was found out only in the workers, each of which died, and the pool with them.
#[test]
fn a_hooks_value_that_cannot_be_read_back_is_refused_by_build() {
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(untagged)]
    enum Untagged {
        Number(u64),
    }

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Flat {
        #[serde(flatten)]
        rest: std::collections::BTreeMap<String, u8>,
    }

    let cure = "hooks have no other format: send a String, such as the value's JSON";
    let binary = if cfg!(feature = "bincode") { "bincode" } else { "postcard" };
    let describes = format!(
        "a hook's value cannot be sent: {binary} cannot decode `pools::pools::a_hooks_value_that_cannot_be_read_back_is_refused_by_build\
         ::Untagged`, which describes its own shape, as an untagged enum does: {cure}"
    );
    for builder in [
        Pool::builder().preload_with(drop, Untagged::Number(1)),
        Pool::builder().on_worker_start_with(drop, Untagged::Number(1)),
        Pool::builder().on_worker_exit_with(drop, Untagged::Number(1)),
    ] {
        let error = builder.workers(1).build().unwrap_err();
        assert_eq!((error.kind(), error.to_string()), (ErrorKind::Encode, describes.clone()));
    }
    for error in [
        Pool::builder().preload_with(drop, vec![serde_json::json!({ "a": 1 })]).build().unwrap_err(),
        Pool::builder().preload_with(drop, Flat { rest: [("a".to_string(), 1)].into() }).build().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Encode);
        let text = error.to_string();
        assert!(text.ends_with(cure) && !text.contains("Format::Json"), "{text}");
    }
}
