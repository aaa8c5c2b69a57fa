//! Results that nobody read go back to the system with their task. This test is alone in its process, since it measures the
//! whole of it.

use crate::support::{self, Process, pool, task, wait_for, watchdog};
use std::hint::black_box;

const MB: u64 = 1_000_000;

/// glibc keeps freed memory at the end of its heap: twice as much as the largest block that was ever freed, up to 64 MiB. In a
/// program that had freed a block of 32 MiB once, 66 to 102 MB of 256 stayed after a task with these results was dropped.
#[test]
fn results_of_a_dropped_task_go_back_to_the_system() {
    support::alone!();
    let _watch = watchdog();
    drop(black_box(vec![1_u8; 31 << 20]));
    let pool = pool(2);
    let own = || Process::find(std::process::id()).expect("this process").resident_bytes();
    let before = own();
    const RESULTS: usize = 200;
    let dropped = task::<Vec<u8>>(&pool);
    (0..RESULTS).for_each(|_| dropped.call(|bytes: usize| vec![1_u8; bytes], 1_000_000));
    wait_for("all results", || dropped.completed() == RESULTS);
    // Something that is allocated after them keeps the heap from being cut at its end.
    let later = black_box(vec![1_u8; 1000]);
    assert!(own() > before + 150 * MB, "they are not here");
    drop(dropped);
    // The supervisor's part follows in a moment.
    wait_for("the memory goes back", || own() < before + 20 * MB);
    drop(later);
}
