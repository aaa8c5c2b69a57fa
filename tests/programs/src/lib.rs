//! What the programs share.

use multicore::{Pool, Task};

/// The sum of the numbers of a range: a piece.
pub fn sum(start: u64, end: u64) -> u64 {
    (start..end).sum()
}

/// The process that runs it: a piece.
pub fn pid(_: (), _: ()) -> u32 {
    std::process::id()
}

/// What becomes of a task of the global pool: `Ok`, or the error's kind.
pub fn global_task() -> String {
    match Task::<u32>::try_new() {
        Ok(task) => outcome(task),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// The same for a pool of its own.
pub fn own_task(pool: &Pool) -> String {
    match pool.try_task::<u32>() {
        Ok(task) => outcome(task),
        Err(error) => format!("{:?}", error.kind()),
    }
}

fn outcome(task: Task<u32>) -> String {
    task.run(pid, (), ());
    match task.get() {
        Ok(pids) if pids[0] != std::process::id() => "Ok".to_string(),
        Ok(_) => "Ok, but in this process".to_string(),
        Err(error) => error.to_string(),
    }
}

/// What a program asks its workers to see that it was built well: the same lines whatever the
/// linker, the C library and the profile.
pub fn answers() {
    println!("task: {}", global_task());
    let task = Task::<u64>::new().expect("a pool can run here");
    for (start, end) in multicore::ranges(1000) {
        task.run(sum, start as u64, end as u64);
    }
    println!("sum: {}", task.get().expect("sums do not fail").iter().sum::<u64>());
    let failures: [(&str, fn(String, ()) -> u64); 3] = [
        ("panic", |why, ()| panic!("{why}")),
        ("abort", |_, ()| std::process::abort()),
        ("exit", |_, ()| std::process::exit(3)),
    ];
    for (name, fails) in failures {
        let task = Task::<u64>::new().expect("a pool can run here");
        task.run(fails, "no reason".to_string(), ());
        let error = task.get().expect_err("it fails");
        println!("{name}: {:?} {:?}", error.kind(), error.cause());
    }
    println!("after: {}", global_task());
}
