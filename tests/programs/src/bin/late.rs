//! Uses pools when much of the program has ended: `late WHEN`. In the destructor of a thread-local that outlives those of
//! the crate, in a thread or in the first one, or in a handler of atexit(3).

#![allow(unsafe_code)]

use multicore::{Format, Pool, Task, Value};
use multicore_programs::{Thread, sum, this_thread, wait_until_asleep};
use std::time::Duration;

/// Pieces that end once their caller sleeps: it must wait for them.
const PIECES: u64 = 6;

struct AtEnd(fn());

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.0();
    }
}

thread_local! { static AT_END: std::cell::OnceCell<AtEnd> = const { std::cell::OnceCell::new() } }

fn main() {
    let when = std::env::args().nth(1).expect("when");
    match when.as_str() {
        "thread" => std::thread::spawn(|| wait_and_use_later(everything)).join().expect("it does not panic"),
        "thread-first-use" => {
            let user = std::thread::spawn(|| AT_END.with(|end| drop(end.set(AtEnd(everything)))));
            user.join().expect("it does not panic");
        }
        "main" => wait_and_use_later(everything),
        "atexit" => {
            wait_and_use_later(|| ());
            extern "C" fn handler() {
                everything();
            }
            // SAFETY: the function lives as long as the program.
            unsafe { libc::atexit(handler) };
        }
        other => panic!("{other} is no known time"),
    }
}

/// The thread-local of this program is older than what the crate keeps for a thread that waits, so it is destroyed later.
fn wait_and_use_later(later: fn()) {
    AT_END.with(|end| drop(end.set(AtEnd(later))));
    let waited = slow(Task::new().expect("a pool can run here")).get();
    println!("before: {}", is_right(&waited.expect("sums do not fail")));
}

fn slow_sum(caller: Thread, start: u64) -> u64 {
    wait_until_asleep(caller);
    sum(start, start + 2)
}

fn slow(task: Task<u64>) -> Task<u64> {
    for number in 0..PIECES {
        task.run(slow_sum, this_thread(), number);
    }
    task
}

fn is_right(sums: &[u64]) -> bool {
    sums.iter().copied().eq((0..PIECES).map(|number| 2 * number + 1))
}

fn new<R: Value>() -> Task<R> {
    Task::try_new().expect("a pool can run here")
}

/// Every public call that reaches a pool. Prints a line for each.
fn everything() {
    collect();
    fail();
    follow();
    let pool = Pool::builder().workers(2).build().expect("a pool can run here");
    let own = slow(pool.try_task().expect("the pool is open"));
    println!("own pool: {}", is_right(&own.get().expect("sums do not fail")));
    let inline = slow(pool.task_or_inline());
    println!("own or inline: {}", is_right(&inline.get().expect("sums do not fail")));
    println!("stats: {} {}", pool.stats().workers.len(), pool.ranges(100).len());
    println!("global: {}", Pool::global().is_ok_and(|pool| pool.workers() > 0));
    println!("or inline: {}", is_right(&slow(Task::new_or_inline()).get().expect("sums do not fail")));
    let left = slow(pool.try_task().expect("the pool is open"));
    pool.shutdown();
    drop(left);
    drop(Pool::builder().workers(1).build().expect("a pool can run here"));
    println!("ended");
}

fn collect() {
    println!("get: {}", is_right(&slow(new()).get().expect("sums do not fail")));
    let all = slow(new()).get_timeout(Duration::from_secs(60));
    println!("get_timeout: {}", is_right(&all.expect("sums do not fail")));
    let each: Result<Vec<_>, _> = slow(new()).get_each().into_iter().collect();
    println!("get_each: {}", is_right(&each.expect("sums do not fail")));
    let in_order: Result<Vec<_>, _> = slow(new()).iter().collect();
    println!("iter: {}", is_right(&in_order.expect("sums do not fail")));
    let mut finished: Vec<_> = slow(new()).iter_completed().map(|(number, sum)| (number, sum.expect("one"))).collect();
    finished.sort_unstable();
    println!("iter_completed: {}", is_right(&finished.into_iter().map(|(_, sum)| sum).collect::<Vec<_>>()));
    let text = new::<String>().format(Format::Raw);
    text.call(
        |(caller, text): (Thread, String)| {
            wait_until_asleep(caller);
            text
        },
        (this_thread(), "as it is".to_string()),
    );
    let mut written = Vec::new();
    println!("write_to: {:?}", text.write_to(&mut written).map_err(|error| error.kind()));
    let batch = new::<u64>().name("batch").timeout(Duration::from_secs(60)).retries(1);
    // It does not sleep meanwhile.
    batch.run_all(sum, (0..PIECES).map(|number| (number, number + 2)));
    while batch.completed() < batch.len() {
        std::thread::yield_now();
    }
    println!("run_all: {}", is_right(&batch.get().expect("sums do not fail")));
}

fn fail() {
    let endless = |(), ()| std::thread::sleep(Duration::from_secs(3600));
    let task = new::<()>();
    task.run(endless, (), ());
    println!("too late: {:?}", task.get_timeout(Duration::from_millis(10)).map_err(|error| error.kind()));
    let task = new::<()>().timeout(Duration::from_millis(10));
    task.run(endless, (), ());
    println!("overrun: {:?}", task.get().map_err(|error| error.kind()));
    let task = new::<()>();
    task.run(|(), ()| panic!("no reason"), (), ());
    println!("panic: {:?}", task.get().map_err(|error| error.kind()));
    let task = new::<()>();
    task.run(|(), ()| std::process::abort(), (), ());
    println!("abort: {:?}", task.get().map_err(|error| error.to_string().is_empty()));
    let task = new::<()>();
    task.run(endless, (), ());
    task.canceller().cancel();
    println!("canceller: {:?}", task.get().map_err(|error| error.kind()));
    let task = new::<()>();
    task.run(endless, (), ());
    task.cancel();
    drop(slow(new()));
}

/// Another thread waits before this one, and leads.
fn follow() {
    let endless = new::<()>();
    endless.run(|(), ()| std::thread::sleep(Duration::from_secs(3600)), (), ());
    let canceller = endless.canceller();
    let (tell, told) = std::sync::mpsc::channel();
    let leader = std::thread::spawn(move || {
        tell.send(this_thread()).expect("it is waited for");
        endless.get().map_err(|error| error.kind())
    });
    wait_until_asleep(told.recv().expect("it says so"));
    println!("follower: {}", (0..10).all(|_| is_right(&slow(new()).get().expect("sums do not fail"))));
    canceller.cancel();
    println!("leader: {:?}", leader.join().expect("it does not panic"));
}
