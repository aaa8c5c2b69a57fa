//! A host that forks, as servers do that fork their workers after they have loaded everything: `forks SITUATION`.

#![allow(unsafe_code)]

use multicore::{Error, ErrorKind, Pool, Task};
use multicore_programs::{own_task, sum};
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let situation = arguments.next().unwrap_or_default();
    match situation.as_str() {
        "load" => under_load(),
        "start" => at_a_start(arguments.next().expect("a number of rounds").parse().expect("a number")),
        "built" => built(),
        "piece" => in_a_piece(),
        "end" => end_of_a_pool(),
        "figures" => figures(),
        other => panic!("{other:?} is not a known situation"),
    }
}

/// Forks a child that runs `child` and ends with its number. A child that hangs is killed by SIGALRM.
fn fork(child: impl FnOnce() -> c_int) -> c_int {
    // SAFETY: the child uses this crate and prints whole lines, and ends without the exit handlers of its parent.
    unsafe {
        let pid = libc::fork();
        if pid == 0 {
            libc::alarm(120);
            let code = child();
            libc::_exit(code);
        }
        pid
    }
}

/// How a child ended: its number, or 1000 and the signal that killed it.
fn wait(pid: c_int) -> c_int {
    let mut status = 0;
    // SAFETY: it waits for a child of this process.
    while unsafe { libc::waitpid(pid, &mut status, 0) } == -1 {}
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 1000 + libc::WTERMSIG(status) }
}

fn fork_server() -> Result<u32, Error> {
    let task = Task::<u32>::try_new()?;
    task.run(|(), ()| std::os::unix::process::parent_id(), (), ());
    Ok(task.get()?[0])
}

/// Sums by the global pool; the fork server of its workers, if all are right.
fn sums() -> Result<u32, Error> {
    let task = Task::<u64>::try_new()?;
    task.run_all(sum, (0..50).map(|number| (number, number + 2)));
    let right = task.get()? == (0..50).map(|number| 2 * number + 1).collect::<Vec<u64>>();
    assert!(right, "the sums are wrong");
    fork_server()
}

/// Four children, and a child of each, work at once while threads of the parent use its pool. Each has its own workers.
fn under_load() {
    let own = Pool::builder().workers(1).build().expect("a pool can run here");
    let parents = sums().expect("a pool can run here");
    let ended = AtomicBool::new(false);
    let well = std::thread::scope(|scope| {
        let users: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut rounds = 0;
                    while !ended.load(Ordering::Relaxed) {
                        assert_eq!(sums().expect("the parent's pool works on"), parents);
                        rounds += 1;
                        // The children need a core too.
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    rounds
                })
            })
            .collect();
        let inherited = Task::<u64>::try_new().expect("a pool can run here");
        inherited.run(sum, 1, 4);
        let children: Vec<c_int> = (0..4).map(|_| fork(|| child(parents, &own, Some(&inherited)))).collect();
        let codes: Vec<c_int> = children.into_iter().map(wait).collect();
        println!("children: {codes:?}");
        println!("the parent's task: {:?}", inherited.get().expect("sums do not fail"));
        ended.store(true, Ordering::Relaxed);
        users.into_iter().map(|user| user.join().expect("it does not panic")).all(|rounds| rounds > 0)
    });
    println!(
        "parent: {well}, the same workers: {}, lost: {}",
        sums().is_ok_and(|server| server == parents),
        Pool::global().expect("it is there").stats().workers_lost
    );
    println!("own: {}", own_task(&own));
}

/// The number of the first claim that does not hold; 0 if all hold.
fn child(parents: u32, own: &Pool, inherited: Option<&Task<u64>>) -> c_int {
    let refused = |error: &Error| error.kind() == ErrorKind::Unsupported && error.to_string().contains("forked");
    if !own.try_task::<u64>().err().is_some_and(|error| refused(&error)) {
        return 1;
    }
    if let Some(task) = inherited {
        // Its pieces fail, and nothing of the parent's is touched.
        task.run(sum, 0, 1);
        if task.completed() != 0 {
            return 2;
        }
    }
    let Ok(first) = sums() else { return 3 };
    if first == parents {
        return 4;
    }
    if !(0..3).all(|_| sums().is_ok_and(|server| server == first)) {
        return 5;
    }
    if inherited.is_some() {
        if !Pool::builder().workers(1).build().is_ok_and(|pool| own_task(&pool) == "Ok") {
            return 7;
        }
        // A child of this child has its own pool too.
        let grandchild = wait(fork(|| child(first, own, None)));
        if grandchild != 0 {
            return 10 + grandchild;
        }
    }
    if !sums().is_ok_and(|server| server == first) {
        return 6;
    }
    0
}

/// In each round a fresh process forks while another thread of it starts the global pool, later in each round. The child
/// asks for its own pool, and gets it.
fn at_a_start(rounds: u32) {
    let mut wrong = Vec::new();
    for round in 0..rounds {
        let moment = Duration::from_micros(u64::from(round * 2000 / rounds));
        let code = wait(fork(|| {
            let starts = std::thread::spawn(|| Task::<u64>::new().is_some());
            // No sleep: its granularity is as long as a start.
            let began = Instant::now();
            while began.elapsed() < moment {
                std::hint::spin_loop();
            }
            let child = wait(fork(|| c_int::from(sums().is_err())));
            let parent = starts.join().expect("it does not panic") && sums().is_ok();
            if child != 0 { child.min(200) } else { c_int::from(!parent) * 2 }
        }));
        if code != 0 {
            wrong.push((moment, code));
        }
    }
    println!("wrong: {wrong:?}");
}

/// The child sets its global pool itself.
fn built() {
    Pool::builder().workers(3).build_global().expect("a pool can run here");
    let again = |workers| Pool::builder().workers(workers).build_global().map_err(|error| error.kind());
    println!("parent: {:?}", again(2));
    println!(
        "child: {}",
        wait(fork(|| {
            assert_eq!(multicore::ranges(1000).len() % 4, 0);
            let first = again(2);
            let well = first.is_ok() && Pool::global().expect("just built").workers() == 2 && sums().is_ok();
            c_int::from(!(well && again(2) == Err(ErrorKind::Config)))
        }))
    );
    println!("parent's workers: {}", Pool::global().expect("just built").workers());
}

/// A piece forks. Its child is in a worker too.
fn in_a_piece() {
    let task = Task::<String>::try_new().expect("a pool can run here");
    task.call(
        |()| {
            let code = wait(fork(|| match Task::<u64>::try_new() {
                Err(error) if error.kind() == ErrorKind::InWorker => 7,
                _ => 8,
            }));
            format!("child of a piece: {code}, piece: {:?}", Task::<u64>::try_new().map_err(|error| error.kind()).err())
        },
        (),
    );
    println!("{}", task.get().expect("it answers")[0]);
}

/// A child that lives on has all descriptors of the parent's pool. The pool ends in order all the same.
fn end_of_a_pool() {
    let pool =
        Pool::builder().workers(1).on_worker_exit(|| println!("left in order")).build().expect("a pool can run here");
    println!("task: {}", own_task(&pool));
    let child = fork(|| {
        loop {
            // SAFETY: a system call that takes no pointer.
            unsafe { libc::pause() };
        }
    });
    let began = Instant::now();
    pool.shutdown();
    // One that does not hear of the end is killed after 2 s.
    println!("without a kill: {}", began.elapsed() < Duration::from_secs(2));
    // SAFETY: the child is there until it is killed.
    unsafe { libc::kill(child, libc::SIGKILL) };
    println!("child: {}", wait(child));
}

/// A child asks the pool that it inherited for its figures, and then has a pool of its own.
fn figures() {
    let pool = Pool::builder().workers(1).build().expect("a pool can run here");
    println!("task: {}", own_task(&pool));
    let stats = |pool: &Pool| {
        let stats = pool.stats();
        (stats.pieces_done, stats.functions.len(), stats.suspects().len())
    };
    println!("before: {:?}", stats(&pool));
    let child = fork(|| {
        let inherited = stats(&pool);
        let text = pool.stats().to_string();
        let own = Pool::builder().workers(1).build().expect("a pool can run here");
        println!("child: {inherited:?}, text: {}, task: {}, own: {:?}", !text.is_empty(), own_task(&own), stats(&own));
        3
    });
    println!("ended: {}", wait(child));
    println!("task: {}, after: {:?}", own_task(&pool), stats(&pool));
}
