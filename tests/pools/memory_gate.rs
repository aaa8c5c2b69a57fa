//! The limit of what must be available: below it a pool gives no tasks, and runs one piece at a time.

use crate::support::{self, DEADLINE, Door, Marks, SmallGroup, assert_works, mark, task, wait_at, wait_for, watchdog};
use multicore::{ErrorKind, Memory, MemoryAction, MemoryEvent, Pool, PoolBuilder, Task};
use std::sync::Mutex;
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// Tells a test that it runs in a control group of [`GROUP`] bytes.
const VARIABLE: &str = "MULTICORE_TEST_GATE";
const GROUP: u64 = 600 * MIB;
const LIMIT: u64 = 300 * MIB;

/// Runs the test in a small group, where no other program takes memory. True there.
fn in_group(test: &str) -> bool {
    if std::env::var_os(VARIABLE).is_some() {
        return true;
    }
    if let Some(group) = SmallGroup::make(GROUP + test.len() as u64 * 4096) {
        group.run(&group.folder, test, VARIABLE);
    }
    false
}

fn pool(workers: usize, set: impl FnOnce(PoolBuilder) -> PoolBuilder) -> Pool {
    set(Pool::builder().workers(workers)).build().expect("a pool can run here")
}

/// Takes memory from the group, so that less than the limit is left.
fn fill() -> Vec<u8> {
    let mut block = vec![0; 400 * MIB as usize];
    block.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    std::hint::black_box(block)
}

fn is_busy(pool: &Pool) -> bool {
    pool.try_task::<u64>().is_err_and(|error| error.kind() == ErrorKind::Busy)
}

/// Says when it begins and when it ends.
fn marked(marks: String, number: u64) -> u64 {
    mark(&marks, 1);
    std::thread::sleep(Duration::from_millis(2));
    mark(&marks, 2);
    number
}

fn held(marks: String, door: String) -> u64 {
    mark(&marks, 1);
    wait_at(&door);
    mark(&marks, 2);
    0
}

/// No two of the pieces ran at once.
#[track_caller]
fn assert_one_at_a_time(marks: &Marks, pieces: usize) {
    let lines = marks.lines();
    assert_eq!(lines.len(), 2 * pieces);
    assert!(lines.chunks(2).all(|pair| pair == ["1", "2"]), "{lines:?}");
}

fn count(told: &Mutex<Vec<MemoryEvent>>, action: MemoryAction) -> usize {
    told.lock().unwrap().iter().filter(|event| event.action == action).count()
}

#[test]
fn without_memory_one_piece_runs_at_a_time_and_with_memory_again_all_that_can() {
    static TOLD: Mutex<Vec<MemoryEvent>> = Mutex::new(Vec::new());
    if !in_group(support::test_name!()) {
        return;
    }
    let _watch = watchdog();
    let pool = pool(3, |it| {
        it.min_available_memory(Memory::bytes(LIMIT)).on_memory(|event| TOLD.lock().unwrap().push(event.clone()))
    });
    assert_works(&pool);
    let open = task::<u64>(&pool);
    let filled = fill();
    wait_for("it closes", || is_busy(&pool));
    let error = pool.try_task::<u64>().unwrap_err().to_string();
    assert!(error.starts_with("busy: "), "{error}");
    assert!(error.ends_with(" MiB are available, and the pool begins nothing below 300 MiB"), "{error}");
    assert!(pool.task::<u64>().is_none());

    let marks = Marks::new();
    open.run_all(marked, (0..30).map(|number| (marks.path(), number)));
    assert!(open.get_timeout(DEADLINE).unwrap().into_iter().eq(0..30));
    assert_one_at_a_time(&marks, 30);
    wait_for("it is told", || count(&TOLD, MemoryAction::Waits) == 1);
    let told = TOLD.lock().unwrap()[0].clone();
    assert!(told.bytes < LIMIT && told.limit == LIMIT && told.function.is_none(), "{told:?}");

    drop(filled);
    wait_for("it opens", || !is_busy(&pool));
    let (marks, door) = (Marks::new(), Door::closed());
    let together = task::<u64>(&pool);
    (0..3).for_each(|_| together.run(held, marks.path(), door.path()));
    marks.wait_for(3);
    door.open();
    together.get_timeout(DEADLINE).unwrap();
    wait_for("it is told", || count(&TOLD, MemoryAction::GoesOn) == 1);
    assert_eq!(TOLD.lock().unwrap().len(), 2, "once a crossing: {TOLD:?}");
    support::assert_well(pool);
}

/// The pieces that workers were given in advance come back when it closes, and somebody looks again when there is memory.
#[test]
fn what_waits_goes_on_beside_a_long_piece_as_soon_as_there_is_memory() {
    if !in_group(support::test_name!()) {
        return;
    }
    let _watch = watchdog();
    let pool = pool(2, |it| it.min_available_memory(Memory::bytes(LIMIT)).max_queued_bytes(0));
    assert_works(&pool);
    let second = task::<u64>(&pool);
    let (long, short, doors) = (Marks::new(), Marks::new(), [Door::closed(), Door::closed()]);
    let task = task::<u64>(&pool);
    // Two that run, and more than both take in advance.
    doors.iter().for_each(|door| task.run(held, long.path(), door.path()));
    long.wait_for(2);
    task.run_all(marked, (0..8).map(|number| (short.path(), number)));
    wait_for("some are given in advance", || pool.stats().workers.iter().all(|worker| worker.pieces_held > 1));
    let filled = fill();
    wait_for("it closes", || is_busy(&pool));
    // `run` waits for room in the queue where that can come soon, but not for the gate.
    (0..5).for_each(|number| second.run(support::add, number, 1));
    doors[0].open();
    long.wait_for(3);
    assert_eq!(short.settled(), 0);
    drop(filled);
    short.wait_for(16);
    assert_eq!(long.count(), 3, "the other long one runs on");
    doors[1].open();
    assert_eq!(task.get_timeout(DEADLINE).unwrap().len(), 10);
    assert_eq!(second.get_timeout(DEADLINE).unwrap(), [1, 2, 3, 4, 5]);
    support::assert_well(pool);
}

#[test]
fn callers_that_ask_at_once_do_not_all_get_a_task() {
    if !in_group(support::test_name!()) {
        return;
    }
    let _watch = watchdog();
    // Far less than the group has: with what its worker has for each task, that is soon used up.
    let pool = pool(1, |it| {
        it.on_worker_start(|| std::mem::forget(vec![1_u8; 120 * MIB as usize]))
            .min_available_memory(Memory::bytes(LIMIT))
    });
    wait_for("it is measured", || pool.stats().workers[0].memory_at_start >= Some(120 * MIB));
    // Between two readings, which a busy machine may put between any two of the tasks.
    wait_for("some get one", || {
        std::thread::sleep(Duration::from_millis(150));
        let tasks: Vec<Result<Task<u64>, _>> = (0..20).map(|_| pool.try_task()).collect();
        let given = tasks.iter().filter(|task| task.is_ok()).count();
        assert!(tasks.iter().flat_map(|task| task.as_ref().err()).all(|error| error.kind() == ErrorKind::Busy));
        (1..=4).contains(&given)
    });
    wait_for("there is one again", || pool.try_task::<u64>().is_ok());
}

#[test]
fn more_than_the_machine_has_is_no_error_and_its_caller_does_the_work() {
    let _watch = watchdog();
    let pool = pool(2, |it| it.min_available_memory(Memory::bytes(1 << 60)));
    let error = pool.try_task::<u64>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(error.to_string().ends_with("the pool begins nothing below 1,099,511,627,776 MiB"), "{error}");
    let task = pool.task_or_inline::<u32>();
    task.call(|()| std::process::id(), ());
    assert_eq!(task.get().unwrap(), [std::process::id()]);
}

#[test]
fn a_pool_with_memory_works_as_one_without_a_limit() {
    let _watch = watchdog();
    let pool = pool(2, |it| it.min_available_memory(Memory::bytes(MIB)));
    let tiny = task::<u64>(&pool);
    (0..20_000).for_each(|number| tiny.run(support::add, number, 1));
    assert!(tiny.get_timeout(DEADLINE).unwrap().into_iter().eq(1..=20_000));
    for _ in 0..20 {
        // The last reading is too old.
        std::thread::sleep(Duration::from_millis(25));
        assert_works(&pool);
    }
    let (marks, door) = (Marks::new(), Door::closed());
    let together = task::<u64>(&pool);
    std::thread::sleep(Duration::from_millis(300));
    (0..2).for_each(|_| together.run(held, marks.path(), door.path()));
    marks.wait_for(2);
    door.open();
    together.get_timeout(DEADLINE).unwrap();
    support::assert_well(pool);
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    for (least, words) in [
        (Memory::bytes(0), "min_available_memory of 0 bytes makes no sense"),
        (Memory::percent(100.5), "min_available_memory of 100.5 % makes no sense"),
        (Memory::percent(f64::NAN), "min_available_memory of NaN % makes no sense"),
        (Memory::growth(5 * MIB), "min_available_memory cannot be a growth (5.0 MiB)"),
    ] {
        let error = Pool::builder().min_available_memory(least).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().starts_with(words), "{error}");
    }
}
