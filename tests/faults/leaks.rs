//! A hundred pools leave nothing behind. This test is alone in its process, since it counts what the whole of it
//! has.

use crate::support::{self, Door, Marks, add, mark, pool, task, wait_at, wait_for, watchdog};
use multicore::ErrorKind;
use std::fs;

fn count(directory: &str) -> usize {
    fs::read_dir(directory).expect("a directory of /proc").count()
}

fn maps() -> (usize, usize) {
    let maps = fs::read_to_string("/proc/self/maps").expect("our own maps");
    let ours = maps.lines().filter(|line| line.contains("multicore-")).count();
    (maps.lines().count(), ours)
}

/// The life of one pool: it is used, loses a worker or its fork server, and ends in one of the ways.
fn live(round: u64) {
    let pool = pool(2);
    support::assert_works(&pool);
    let (marks, door) = (Marks::new(), Door::closed());
    let outliving = task::<u64>(&pool);
    if round % 4 == 1 {
        support::workers(&pool)[0].kill(libc::SIGKILL);
        wait_for("the worker is replaced", || pool.stats().workers_lost == 1);
    }
    if round % 8 == 2 {
        let server = support::fork_server(&pool);
        server.kill(libc::SIGKILL);
        wait_for("the fork server is dead", || !server.is_running());
        support::assert_works(&pool);
    }
    if round.is_multiple_of(3) {
        outliving.run(
            |marks: String, door: String| {
                mark(&marks, 0);
                wait_at(&door);
                0
            },
            marks.path(),
            door.path(),
        );
        marks.wait_for(1);
    }
    outliving.run(add, 1, 2);
    let big = task::<Vec<u8>>(&pool);
    big.call(|bytes: Vec<u8>| bytes, vec![0; 300_000]);
    let processes = [support::workers(&pool), vec![support::fork_server(&pool)]].concat();
    if round.is_multiple_of(2) {
        drop(pool);
    } else {
        door.open();
        pool.shutdown();
    }
    support::assert_gone(&processes);
    for outcome in outliving.get_each() {
        assert!(outcome.is_ok() || outcome.is_err_and(|error| error.kind() == ErrorKind::Cancelled));
    }
    drop(big);
}

#[test]
fn a_hundred_pools_leave_no_process_descriptor_mapping_thread_or_file() {
    support::alone!();
    let _watch = watchdog();
    // The first pools create what is made once and kept: buffers, arenas of the allocator, files that std opens.
    for round in 0..24 {
        live(round);
    }
    let names = || {
        let shared = fs::read_dir("/dev/shm").into_iter().flatten().flatten();
        shared.filter(|entry| entry.file_name().to_string_lossy().contains("multicore")).count()
    };
    wait_for("joined threads have ended", || count("/proc/self/task") <= 3);
    let (descriptors, threads, (mappings, _)) = (count("/proc/self/fd"), count("/proc/self/task"), maps());
    for round in 0..100 {
        live(round);
    }
    assert_eq!(count("/proc/self/fd"), descriptors);
    wait_for("the threads of the pools have ended", || count("/proc/self/task") <= threads);
    let (mappings_now, ours) = maps();
    assert_eq!(ours, 0, "memory of a dropped pool is still mapped");
    assert!(mappings_now <= mappings + 8, "{mappings} mappings before, {mappings_now} after");
    assert_eq!(names(), 0);
}
