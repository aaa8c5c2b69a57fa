//! What many pieces and tasks take from the memory of the program that runs them. This test is alone in its process,
//! since it measures the whole of it.

#![allow(unsafe_code)]

#[cfg(not(target_env = "gnu"))]
use crate::support::Process;
use crate::support::{self, Door, Marks, add, mark, pool, task, wait_at, wait_for, watchdog};
use multicore::{ErrorKind, Task};

const MB: u64 = 1_000_000;

/// What this process has allocated. What the allocator keeps for itself does not count: even where all was freed it gave back
/// 37 MB in some runs, and 26 in others.
#[cfg(target_env = "gnu")]
fn taken() -> u64 {
    // SAFETY: a call that takes no pointer, and may be made at any time.
    let info = unsafe { libc::mallinfo() };
    // The fields wrap around at 4 GiB.
    u64::from(info.uordblks.cast_unsigned()) + u64::from(info.hblkhd.cast_unsigned())
}

/// The same where the allocator does not tell.
#[cfg(not(target_env = "gnu"))]
fn taken() -> u64 {
    Process::find(std::process::id()).expect("this process").resident_bytes()
}

#[test]
fn cancelled_pieces_take_no_memory_and_a_burst_of_tasks_gives_it_back() {
    support::alone!();
    let _watch = watchdog();
    let pool = pool(2);
    let (marks, door) = (Marks::new(), Door::closed());
    let hold = |marks: String, door: String| {
        mark(&marks, 0);
        wait_at(&door);
        0
    };
    let before = task::<u64>(&pool);
    (0..2).for_each(|_| before.run(hold, marks.path(), door.path()));
    marks.wait_for(2);

    // Each cancelled piece once took 200 bytes for an error: 80 MB here, in one hold of the scheduler's lock.
    const PIECES: u64 = 400_000;
    let cancelled = task::<u64>(&pool);
    cancelled.run_all(add, (0..PIECES).map(|number| (number, 1)));
    let waiting = taken();
    cancelled.canceller().cancel();
    assert_eq!(cancelled.completed() as u64, PIECES);
    let grown = taken().saturating_sub(waiting);
    assert!(grown < 20 * MB, "{grown} bytes more for {PIECES} cancelled pieces");
    for (number, outcome) in cancelled.iter().enumerate().step_by(40_000) {
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.piece()), (ErrorKind::Cancelled, Some(number)));
    }
    door.open();
    drop(before.get().unwrap());

    // What each of many tasks had taken once stayed until the pool was dropped: 140 MB of 30,000 tasks.
    let quiet = taken();
    let burst: Vec<Task<u64>> = (0..6_000).map(|_| task(&pool)).collect();
    burst.iter().for_each(|task| task.run_all(add, (0..64).map(|number| (number, 1))));
    wait_for("all is done", || burst.iter().all(|task| task.completed() == 64));
    let open = taken() - quiet;
    for task in burst {
        assert_eq!(task.get().unwrap().len(), 64);
    }
    let left = taken().saturating_sub(quiet);
    assert!(left < open / 3, "{left} of {open} bytes are left of a burst of tasks");
    support::assert_well(pool);
}
