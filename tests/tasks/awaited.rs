//! Tasks that are awaited: with a block_on of our own, under tokio, smol's executor and `futures`, with a pool and without.

#![allow(unsafe_code)]

use crate::support::{
    self, DEADLINE, Door, Marks, add, assert_well, busy_pool, mark, pool, task, wait_at, wait_for, watchdog, workers,
};
use multicore::{ErrorKind, Pool, Shared, Task};
use std::future::{Future, IntoFuture};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

/// Wakes a thread, and counts how often.
struct Unparks {
    thread: Thread,
    count: AtomicUsize,
}

impl Wake for Unparks {
    fn wake(self: Arc<Self>) {
        self.count.fetch_add(1, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// Runs a future on this thread. Gives how often it was woken, too.
fn block_on_counted<T>(future: impl Future<Output = T>) -> (T, usize) {
    let unparks = Arc::new(Unparks { thread: std::thread::current(), count: AtomicUsize::new(0) });
    let (waker, mut future) = (Waker::from(Arc::clone(&unparks)), pin!(future));
    loop {
        let seen = unparks.count.load(Ordering::SeqCst);
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return (value, unparks.count.load(Ordering::SeqCst));
        }
        while unparks.count.load(Ordering::SeqCst) == seen {
            std::thread::park();
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    block_on_counted(future).0
}

fn current_thread<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn multi_thread<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    // On a thread of the runtime, not on this one.
    runtime.block_on(async { tokio::spawn(future).await.unwrap() })
}

/// A future that counts how often it was woken since it was polled first, and is polled by hand.
fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(waker))
}

fn opens(door: String, number: u64) -> u64 {
    if !door.is_empty() {
        wait_at(&door);
    }
    assert!(number != 13, "thirteen");
    number
}

fn marked(marks: String, door: String) -> u64 {
    mark(&marks, u64::from(std::process::id()));
    wait_at(&door);
    1
}

/// Waits at a door, and is lost with its worker at its first start.
fn lost_once(marks: String, number: u64) -> u64 {
    mark(&marks, number);
    if std::fs::read_to_string(&marks).unwrap().lines().count() == 1 {
        // SAFETY: a system call that takes no pointer.
        unsafe { libc::raise(libc::SIGKILL) };
    }
    number
}

/// The executor of smol.
fn async_executor<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let executor = async_executor::Executor::new();
    let task = executor.spawn(future);
    futures_executor::block_on(executor.run(task))
}

fn is_send_and_static<T: Send + Unpin + 'static>(_: &T) {}

#[test]
fn awaited_results_come_in_order_under_each_executor() {
    let _watch = watchdog();
    for pool in [pool(2), busy_pool()] {
        let added = |pool: &Pool| {
            let task = pool.task_or_inline::<u64>();
            task.run_all(add, (0..1000).map(|number| (number, 1)));
            task.into_future()
        };
        let expected: Vec<u64> = (1..=1000).collect();
        is_send_and_static(&added(&pool));
        assert_eq!(block_on(added(&pool)).unwrap(), expected);
        assert_eq!(current_thread(added(&pool)).unwrap(), expected);
        assert_eq!(multi_thread(added(&pool)).unwrap(), expected);
        assert_eq!(futures_executor::block_on(added(&pool)).unwrap(), expected);
        assert_eq!(async_executor(added(&pool)).unwrap(), expected);
        assert!(block_on(pool.task_or_inline::<u64>().into_future()).unwrap().is_empty());
    }
}

#[test]
fn an_error_is_that_of_the_lowest_failed_piece_and_each_has_its_own() {
    let _watch = watchdog();
    for pool in [pool(2), busy_pool()] {
        let some = || {
            let task = pool.task_or_inline::<u64>();
            task.run_all(opens, [12, 13, 14, 13].map(|number| (String::new(), number)));
            task
        };
        let error = current_thread(some().into_future()).unwrap_err();
        assert_eq!((error.kind(), error.piece()), (ErrorKind::Panicked, Some(1)));
        let each = multi_thread(some().get_each_async());
        let kinds: Vec<_> = each.iter().map(|result| result.as_ref().map_err(|error| error.kind())).collect();
        let panicked = Err(ErrorKind::Panicked);
        assert_eq!(kinds, [Ok(&12), panicked, Ok(&14), panicked]);
    }
}

/// An error of a piece ends the wait at once, whatever the others do.
#[test]
fn a_failed_piece_wakes_its_future_while_others_run() {
    let _watch = watchdog();
    let (pool, door) = (pool(2), Door::closed());
    // One that runs on and one that fails behind pieces that are done: what wakes for all must wake for it.
    let of = pool.try_task::<u64>().unwrap();
    of.run(opens, String::new(), 1);
    of.run(opens, String::new(), 13);
    of.run(opens, door.path(), 2);
    let error = block_on(of.into_future()).unwrap_err();
    assert_eq!((error.kind(), error.piece()), (ErrorKind::Panicked, Some(1)));
    drop(door);
    assert_well(pool);
}

#[test]
fn sixty_four_tasks_are_awaited_at_once() {
    let _watch = watchdog();
    let pool = Arc::new(pool(2));
    let all = |pool: Arc<Pool>| async move {
        let tasks: Vec<_> = (0..64_u64)
            .map(|number| {
                let task = task::<u64>(&pool);
                task.run(add, number, 1);
                tokio::spawn(task.into_future())
            })
            .collect();
        for (number, handle) in (1_u64..).zip(tasks) {
            assert_eq!(handle.await.unwrap().unwrap(), [number]);
        }
    };
    for _ in 0..20 {
        current_thread(all(Arc::clone(&pool)));
        multi_thread(all(Arc::clone(&pool)));
    }
    assert_well(Arc::into_inner(pool).unwrap());
}

/// A caller that waits leads, and the supervisor wakes for those that do not wait.
#[test]
fn futures_and_callers_that_wait_share_a_pool() {
    let _watch = watchdog();
    let pool = Arc::new(pool(2));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for number in 0..300 {
                    let task = task::<u64>(&pool);
                    task.run(add, number, 1);
                    assert_eq!(task.get().unwrap(), [number + 1]);
                }
            });
            scope.spawn(|| {
                for number in 0..300 {
                    let task = task::<u64>(&pool);
                    task.run(add, number, 1);
                    assert_eq!(block_on(task.into_future()).unwrap(), [number + 1]);
                }
            });
        }
    });
    assert_well(Arc::into_inner(pool).unwrap());
}

/// Woken for each piece, the future of a long task would be polled as often as it has pieces.
#[test]
fn a_future_that_wants_all_is_woken_once() {
    let _watch = watchdog();
    let (pool, door) = (pool(1), Door::closed());
    let of = task::<u64>(&pool);
    of.run(opens, door.path(), 0);
    (1..50).for_each(|number| of.run(add, number, 0));
    let opener = std::thread::spawn({
        let completed = of.canceller();
        move || {
            // The future is registered by then, or finds all at its first look.
            std::thread::yield_now();
            door.open();
            drop(completed);
            door
        }
    });
    let (results, woken) = block_on_counted(of.into_future());
    assert_eq!(results.unwrap().len(), 50);
    assert!(woken <= 2, "woken {woken} times");
    drop(opener.join().unwrap());
    assert_well(pool);
}

#[test]
fn dropping_a_future_begins_nothing_more_and_loses_no_worker() {
    let _watch = watchdog();
    let (pool, door, marks) = (pool(1), Door::closed(), Marks::new());
    let before = workers(&pool);
    let of = task::<u64>(&pool);
    (0..5).for_each(|_| of.run(marked, marks.path(), door.path()));
    let mut future = of.into_future();
    assert!(poll_once(&mut future, Waker::noop()).is_pending());
    marks.wait_for(1);
    drop(future);
    door.open();
    support::assert_works(&pool);
    assert_eq!((marks.count(), workers(&pool)), (1, before));
    assert_well(pool);
}

#[test]
fn an_abandoned_task_ends_at_once_and_loses_no_worker() {
    let _watch = watchdog();
    for is_awaited in [false, true] {
        let (pool, door, marks) = (pool(1), Door::closed(), Marks::new());
        let before = workers(&pool);
        let of = task::<u64>(&pool);
        (0..3).for_each(|_| of.run(marked, marks.path(), door.path()));
        marks.wait_for(1);
        let canceller = of.canceller();
        let other = std::thread::spawn(move || canceller.abandon());
        let each = if is_awaited { block_on(of.get_each_async()) } else { of.get_each() };
        assert_eq!(each.len(), 3);
        for result in each {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
        }
        other.join().unwrap();
        door.open();
        support::assert_works(&pool);
        assert_eq!((marks.count(), workers(&pool)), (1, before));
        assert_well(pool);
    }
}

#[test]
fn a_piece_that_is_lost_while_it_is_awaited_runs_again_or_fails() {
    let _watch = watchdog();
    let pool = pool(2);
    for (retries, expected) in [(1, Ok(vec![7])), (0, Err(ErrorKind::WorkerLost))] {
        let marks = Marks::new();
        let of = task::<u64>(&pool).retries(retries);
        of.run(lost_once, marks.path(), 7);
        assert_eq!(current_thread(of.into_future()).map_err(|error| error.kind()), expected);
    }
    assert_well(pool);
}

#[test]
fn a_bounded_task_is_awaited_to_its_end() {
    let _watch = watchdog();
    let pool = pool(2);
    for most in [0, 1, 5000] {
        let of = task::<Vec<u8>>(&pool).max_unread(most);
        of.run_all(|length: usize, _: ()| vec![7; length], (0..100).map(|_| (1000, ())));
        assert_eq!(block_on(of.into_future()).unwrap().len(), 100);
    }
    assert_well(pool);
}

/// The last waker counts, and the future may move to another thread between two polls.
#[test]
fn polls_from_two_threads_wake_the_last_one() {
    let _watch = watchdog();
    let (pool, door) = (pool(1), Door::closed());
    let of = task::<u64>(&pool);
    of.run(opens, door.path(), 5);
    let wakers: Vec<_> =
        (0..3).map(|_| Arc::new(Unparks { thread: std::thread::current(), count: AtomicUsize::new(0) })).collect();
    let future = Mutex::new(of.into_future());
    for waker in &wakers {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let waker = Waker::from(Arc::clone(waker));
                assert!(poll_once(&mut *future.lock().unwrap(), &waker).is_pending());
            });
        });
    }
    door.open();
    wait_for("the last waker is woken", || wakers[2].count.load(Ordering::SeqCst) == 1);
    let counts: Vec<_> = wakers.iter().map(|waker| waker.count.load(Ordering::SeqCst)).collect();
    assert_eq!(counts, [0, 0, 1]);
    // The earlier ones were dropped.
    assert!(wakers.iter().all(|waker| Arc::strong_count(waker) == 1));
    assert_eq!(block_on(future.into_inner().unwrap()).unwrap(), [5]);
    assert_well(pool);
}

/// An executor that never polls again holds up nobody, and its task's result waits.
#[test]
fn a_future_that_is_never_polled_again_holds_up_nobody() {
    let _watch = watchdog();
    let pool = pool(1);
    let mut forgotten = Vec::new();
    for _ in 0..20 {
        let of = task::<u64>(&pool);
        of.run(add, 1, 1);
        let mut future = of.into_future();
        if poll_once(&mut future, Waker::noop()).is_pending() {
            forgotten.push(future);
        }
        support::assert_works(&pool);
    }
    for future in forgotten {
        assert_eq!(block_on(future).unwrap(), [2]);
    }
    assert_well(pool);
}

/// Its panics come in the pool's own thread, and must not end it.
struct Panics {
    woken: AtomicUsize,
    in_drop: bool,
}

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::SeqCst);
        assert!(self.in_drop, "a waker that panics");
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        assert!(!self.in_drop, "a waker that panics when it is dropped");
    }
}

#[test]
fn a_waker_that_panics_harms_no_pool() {
    // Other tests keep what their panics say.
    support::alone!();
    let _watch = watchdog();
    std::panic::set_hook(Box::new(|_| {}));
    let pool = pool(1);
    for in_drop in [false, true] {
        let door = Door::closed();
        let of = task::<u64>(&pool);
        of.run(opens, door.path(), 5);
        let mut future = of.into_future();
        // The last waker that is dropped is the one that the task keeps: in the thread that wakes, or at the next poll.
        let panics = Arc::new(Panics { woken: AtomicUsize::new(0), in_drop });
        let waker = Waker::from(Arc::clone(&panics));
        assert!(poll_once(&mut future, &waker).is_pending());
        drop(waker);
        if in_drop {
            drop(panics);
            let other = Arc::new(Unparks { thread: std::thread::current(), count: AtomicUsize::new(0) });
            assert!(poll_once(&mut future, &Waker::from(other)).is_pending());
            door.open();
        } else {
            door.open();
            wait_for("it is woken", || panics.woken.load(Ordering::SeqCst) == 1);
        }
        assert_eq!(block_on(future).unwrap(), [5]);
    }
    drop(std::panic::take_hook());
    assert_well(pool);
}

/// A waker whose clone panics. A poll that looks and finds nothing clones it, under no lock.
fn waker_that_is_not_cloned() -> Waker {
    const TABLE: RawWakerVTable =
        RawWakerVTable::new(|_| panic!("a waker that panics when it is cloned"), |_| (), |_| (), |_| ());
    // SAFETY: no function of the table uses its pointer.
    unsafe { Waker::from_raw(RawWaker::new(std::ptr::null(), &TABLE)) }
}

#[test]
fn a_panic_in_the_clone_of_a_waker_is_its_callers() {
    let _watch = watchdog();
    let pool = pool(1);
    let door = Door::closed();
    let of = task::<u64>(&pool);
    of.run(opens, door.path(), 5);
    let mut future = of.into_future();
    let waker = waker_that_is_not_cloned();
    let polled = std::panic::catch_unwind(AssertUnwindSafe(|| poll_once(&mut future, &waker).is_ready()));
    let message = *polled.unwrap_err().downcast::<&str>().unwrap();
    assert_eq!(message, "a waker that panics when it is cloned");
    door.open();
    // The future is what it was before.
    assert_eq!(block_on(future).unwrap(), [5]);
    assert_well(pool);
}

/// Without a pool a poll runs one piece, so that an executor's other tasks get their turn.
#[test]
fn without_a_pool_each_poll_runs_one_piece() {
    let _watch = watchdog();
    let pool = busy_pool();
    let of = pool.task_or_inline::<u64>();
    (0..5).for_each(|number| of.run(add, number, 0));
    let mut future = of.into_future();
    (0..4).for_each(|number| assert!(poll_once(&mut future, Waker::noop()).is_pending(), "poll {number}"));
    assert!(matches!(poll_once(&mut future, Waker::noop()), Poll::Ready(Ok(results)) if results == [0, 1, 2, 3, 4]));
    // Each of them wakes itself.
    let of = pool.task_or_inline::<u64>();
    (0..5).for_each(|number| of.run(add, number, 0));
    assert_eq!(block_on_counted(of.into_future()).1, 4);
}

#[test]
fn a_pool_that_ends_ends_what_is_awaited() {
    let _watch = watchdog();
    let (pool, door) = (pool(1), Door::closed());
    let of = task::<u64>(&pool);
    of.run(opens, door.path(), 5);
    let mut future = of.into_future();
    assert!(poll_once(&mut future, Waker::noop()).is_pending());
    let other = std::thread::spawn(move || block_on(future));
    drop(pool);
    assert_eq!(other.join().unwrap().unwrap_err().kind(), ErrorKind::Cancelled);
}

#[cfg(feature = "journal")]
#[test]
fn a_journalled_task_is_awaited_and_resumed() {
    let _watch = watchdog();
    for pool in [pool(2), busy_pool()] {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let of = pool.task_or_inline::<u64>().name("awaited");
            let of = of.journal(folder.path().join("journal")).unwrap();
            of.run_all(add, (0..300).map(|number| (number, 1)));
            assert_eq!(block_on(of.into_future()).unwrap(), (1..=300).collect::<Vec<u64>>());
        }
    }
}

/// The pool's own thread ends a task at its deadline, and comes late on a busy machine: what was handed out meanwhile ran.
#[test]
fn what_is_handed_out_after_the_deadline_fails_at_once() {
    let _watch = watchdog();
    for pool in [pool(1), busy_pool()] {
        let of = pool.task_or_inline::<u64>().deadline(Instant::now());
        of.run(add, 1, 1);
        let error = block_on(of.into_future()).unwrap_err();
        assert_eq!((error.kind(), error.piece()), (ErrorKind::TimedOut, Some(0)), "{error}");
        let (of, table) = (pool.task_or_inline::<u64>().deadline(Instant::now()), Shared::new(1_u64).unwrap());
        of.call_all(|number: u64| number, 0..300);
        of.call(|table: Shared<u64>| *table, table);
        for result in of.get_each() {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
        }
        // One that ends before its deadline is like any other; the last one of a builder counts.
        let later = Instant::now() + 2 * DEADLINE;
        let of = pool.task_or_inline::<u64>().deadline(Instant::now()).deadline(later);
        of.run(add, 1, 1);
        if let Err(error) = of.get() {
            // The first one may have passed before the second came.
            assert_eq!(error.kind(), ErrorKind::TimedOut);
        }
    }
}

/// A child that the program forks has a copy of the task, and none of its pool: it is told so, and waits for nothing.
#[test]
fn a_future_that_a_forked_child_polls_is_refused() {
    let _watch = watchdog();
    let pool = pool(1);
    let door = Door::closed();
    let task = pool.task::<u64>().unwrap();
    task.run(opens, door.path(), 7);
    let mut future = task.into_future();
    assert!(poll_once(&mut future, Waker::noop()).is_pending());
    // SAFETY: the child only polls, and ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let answer = match poll_once(&mut future, Waker::noop()) {
            Poll::Ready(Err(error)) if error.kind() == ErrorKind::Unsupported => 0,
            Poll::Ready(Err(_)) => 1,
            Poll::Ready(Ok(_)) => 2,
            Poll::Pending => 3,
        };
        // SAFETY: it ends this process, and runs nothing of the parent's.
        unsafe { libc::_exit(answer) };
    }
    let mut status = 0;
    // SAFETY: the child is ours, and the status is written to a number.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status));
    assert_eq!(libc::WEXITSTATUS(status), 0, "1: another error, 2: a result, 3: it waits");
    door.open();
    assert_eq!(block_on(future).unwrap(), [7]);
}

/// A result whose drop panics, but for that of the proof of its encoding.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Bomb(u64);

static ARMED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

impl Drop for Bomb {
    fn drop(&mut self) {
        if ARMED.load(Ordering::SeqCst) && !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

/// It unwinds through the caller who drops the results, and concerns nobody else.
#[test]
fn a_panic_in_the_drop_of_a_result_harms_no_pool() {
    let _watch = watchdog();
    for pool in [pool(2), busy_pool()] {
        let some = || {
            let task = pool.task_or_inline::<Bomb>();
            task.try_call_all(|number: u64| if number == 5 { Err("five") } else { Ok(Bomb(number)) }, 0..10);
            task
        };
        let armed = |act: &dyn Fn()| {
            ARMED.store(true, Ordering::SeqCst);
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
            ARMED.store(false, Ordering::SeqCst);
            panicked.is_err()
        };
        assert_eq!(some().get().unwrap_err().kind(), ErrorKind::Failed);
        let collect: [&dyn Fn(Task<Bomb>); 3] =
            [&|task| drop(task.get_each()), &|task| drop(block_on(task.get_each_async())), &|task| {
                task.iter().for_each(drop)
            }];
        for collect in collect {
            let task = some();
            wait_for("all have run", || task.completed() == 10);
            let task = Mutex::new(Some(task));
            assert!(armed(&|| collect(task.lock().unwrap().take().unwrap())), "nobody caught it in between");
        }
        let after = pool.task_or_inline::<u64>();
        after.run(add, 1, 2);
        assert_eq!(after.get().unwrap(), [3]);
        assert_eq!(pool.stats().workers_lost, 0);
    }
}
