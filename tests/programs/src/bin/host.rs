//! A host program in one of several situations: `host SITUATION`. Prints the outcomes of its pools.

#![allow(unsafe_code)]

use multicore::{Pool, Task};
use multicore_programs::{global_task, own_task, pid, sum};
use std::ffi::{CStr, CString, c_int, c_void};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::FromRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let situation = arguments.next().unwrap_or_default();
    match situation.to_str().unwrap_or_default() {
        "task" => task(),
        "wait" => wait(),
        "load" => load(Path::new(&arguments.next().expect("a path"))),
        "deleted" => moved(|program| fs::remove_file(program).expect("it can be deleted")),
        "replaced" => moved(|program| {
            fs::remove_file(program).expect("it can be deleted");
            fs::write(program, "#!/bin/sh\necho the wrong program\n").expect("it can be written");
            fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("it can be made executable");
        }),
        "not-executable" => moved(|program| {
            fs::set_permissions(program, fs::Permissions::from_mode(0o644)).expect("it can be changed");
        }),
        "later" => later(),
        "terminal" => terminal(),
        "threads" => threads(),
        "closed" => closed(),
        "closed-before" => closed_before(),
        "speak-abort" => speak(|()| std::process::abort()),
        "speak-exit" => speak(|()| {
            // SAFETY: it ends the process without running its exit handlers.
            unsafe { libc::_exit(0) }
        }),
        "fork" => fork(),
        "forked" => forked(),
        "hooks" => hooks(),
        "inner" => inner(),
        "inner-pool" => inner_pool(),
        "preload-child" => preload_child(),
        "preload-threads" => refused(|| {
            std::thread::spawn(std::thread::park);
            std::thread::spawn(std::thread::park);
        }),
        "preload-panics" => refused(|| panic!("nothing to load")),
        "preload-exits" => refused(|| std::process::exit(0)),
        other => panic!("{other:?} is not a known situation"),
    }
}

/// At a terminal: for each line of input, a piece prints.
fn terminal() {
    let pool = Pool::builder().workers(2).build().expect("a pool can run here");
    while pool.stats().workers.iter().any(|worker| worker.pid.is_none()) {}
    println!("ready");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let task: Task<()> = pool.try_task().expect("the pool is open");
        task.call(|line: String| println!("piece: {line}"), line);
        task.get().expect("it is only printed");
        println!("printed");
    }
}

/// The host forks while it has a pool and tasks. The child calls every method of its copies. The parent's pool and tasks
/// must not change.
fn forked() {
    let pool = Pool::builder().workers(2).build().expect("a pool can run here");
    // Each task has finished and unfinished pieces, and there are arguments and results in the rings at that moment.
    let tasks: Vec<Task<u64>> = (0..6).map(|_| pool.try_task().expect("the pool is open")).collect();
    let slow = |number: u64, us: u64| {
        std::thread::sleep(std::time::Duration::from_micros(us));
        number
    };
    for task in &tasks {
        task.run_all(slow, (0..200).map(|number| (number, 100)));
    }
    while tasks[0].completed() == 0 {}
    // SAFETY: the child uses this crate and prints. It takes no lock that another thread may hold.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let kind = |error: multicore::Error| format!("{:?}", error.kind());
        let all = |kinds: Vec<String>| kinds.len() > 200 && kinds.iter().all(|kind| kind == "Unsupported");
        println!("pool: {}", own_task(&pool));
        println!("stats: {}", pool.stats().workers.len());
        let mut tasks = tasks.into_iter();
        let mut next = || {
            let task = tasks.next().expect("one for each way");
            for number in 0..2000 {
                task.run(slow, number, 0);
            }
            task.canceller().cancel();
            task
        };
        println!("completed: {}", next().completed());
        println!("get: {}", kind(next().get().expect_err("it is another's")));
        println!("get_each: {}", all(next().get_each().into_iter().map(|one| kind(one.expect_err("no"))).collect()));
        println!("iter: {}", all(next().iter().map(|one| kind(one.expect_err("no"))).collect()));
        let completed = next().iter_completed().map(|(_, one)| kind(one.expect_err("no")));
        println!("iter_completed: {}", all(completed.collect()));
        drop(next());
        drop(pool);
        // SAFETY: it ends the child without running its exit handlers.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: it waits for the child that was just forked; a null status is allowed.
    unsafe { libc::waitpid(child, &mut status, 0) };
    println!("child: {status}");
    let whole = |task: Task<u64>| task.get().is_ok_and(|results| results == (0..200).collect::<Vec<u64>>());
    println!("parent: {}, lost: {}", tasks.into_iter().all(whole), pool.stats().workers_lost);
}

/// Prints whether this program has more rights than its caller, whether the marker is still there, and the outcome of a
/// task.
fn task() {
    // SAFETY: a query of the auxiliary vector.
    println!("privileged: {}", unsafe { libc::getauxval(libc::AT_SECURE) } != 0);
    println!("marker: {:?}", std::env::var_os("MULTICORE_FORK_SERVER"));
    println!("task: {}", global_task());
    match Pool::builder().workers(1).build() {
        Ok(pool) => println!("pool: {}", own_task(&pool)),
        Err(error) => println!("pool: {error}"),
    }
}

/// A host that runs until it is killed.
fn wait() {
    println!("task: {}", global_task());
    std::thread::park();
}

/// Loads a plug-in between two tasks and calls its check.
fn load(object: &Path) {
    println!("before: {}", global_task());
    let path = CString::new(object.as_os_str().as_bytes()).expect("a path");
    // SAFETY: the plug-in's constructors are those of the loader and this crate, and the function has this type.
    let answer = unsafe {
        let handle = libc::dlopen(path.as_ptr(), libc::RTLD_NOW);
        assert!(!handle.is_null(), "{:?}", CStr::from_ptr(libc::dlerror()));
        let function = libc::dlsym(handle, c"plug_in_check".as_ptr());
        assert!(!function.is_null(), "it has no function");
        std::mem::transmute::<*mut c_void, extern "C" fn() -> c_int>(function)()
    };
    println!("plug-in: {answer}");
    println!("after: {}", global_task());
}

/// Changes to the program's file after its start must not affect the first fork server or a later one.
fn moved(change: fn(&Path)) {
    change(&std::env::current_exe().expect("there is /proc"));
    let pool = match Pool::builder().workers(2).build() {
        Ok(pool) => pool,
        Err(error) => return println!("{:?}: {error}", error.kind()),
    };
    println!("first: {}", own_task(&pool));
    let server = fork_server(&pool).expect("it answers");
    // SAFETY: the fork server is there until it is killed.
    unsafe { libc::kill(server as c_int, libc::SIGKILL) };
    // Until its death is known, tasks may still fail, or run in a worker that is about to die.
    while fork_server(&pool).is_none_or(|now| now == server) {}
    println!("another: Ok");
}

fn fork_server(pool: &Pool) -> Option<u32> {
    let task = pool.try_task::<u32>().expect("the pool is open");
    task.run(|(), ()| std::os::unix::process::parent_id(), (), ());
    Some(task.get().ok()?[0])
}

/// Once the pool runs, changes the settings that a fork server inherits, and kills the fork server.
fn later() {
    println!("host: {}", surroundings(()));
    let pool = Pool::builder().workers(1).build().expect("a pool can run here");
    let server = fork_server(&pool).expect("it answers");
    // SAFETY: umask takes no pointer, and no other thread reads the environment.
    unsafe {
        libc::umask(0o077);
        std::env::set_var("LATER", "set");
    }
    std::env::set_current_dir("/usr").expect("it is there");
    // SAFETY: the fork server is there until it is killed.
    unsafe { libc::kill(server as c_int, libc::SIGKILL) };
    while fork_server(&pool).is_none_or(|now| now == server) {}
    let task = pool.try_task::<String>().expect("the pool is open");
    task.call(surroundings, ());
    println!("worker: {}", task.get().expect("it answers")[0]);
}

fn surroundings(_: ()) -> String {
    let status = fs::read_to_string("/proc/self/status").expect("there is /proc");
    let umask = status.lines().find(|line| line.starts_with("Umask")).unwrap_or_default();
    let directory = std::env::current_dir().expect("it is there");
    format!("{umask} {directory:?} {:?}", std::env::var_os("LATER"))
}

/// The fork server must not end with the thread that started it.
fn threads() {
    let make = || Pool::builder().workers(1).build().expect("a pool can run here");
    let pool = std::thread::spawn(make).join().expect("it made one");
    println!("of one thread: {}", (0..100).all(|_| own_task(&pool) == "Ok"));
    let makers: Vec<_> = (0..50).map(|_| std::thread::spawn(make)).collect();
    let pools: Vec<Pool> = makers.into_iter().map(|maker| maker.join().expect("it made one")).collect();
    println!("of 50 threads: {}", pools.iter().all(|pool| own_task(pool) == "Ok"));
    // 50 threads use the global pool at the same time: there is only one.
    let users: Vec<_> = (0..50)
        .map(|_| {
            std::thread::spawn(|| {
                let task = Task::<u32>::new().expect("a pool can run here");
                task.run(|(), ()| std::os::unix::process::parent_id(), (), ());
                task.get().expect("it answers")[0]
            })
        })
        .collect();
    let mut servers: Vec<u32> = users.into_iter().map(|user| user.join().expect("it ran")).collect();
    servers.dedup();
    println!("fork servers of the global pool: {}", servers.len());
}

/// A host that closes its standard streams, as daemons do. The pool's descriptors must not get their numbers: printed output
/// would be written to them.
fn closed() {
    // SAFETY: the call returns a new descriptor, which has no other owner.
    let mut answers = unsafe { File::from_raw_fd(libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 100)) };
    for fd in 0..3 {
        // SAFETY: this is the only thread, and it does not use them from here on.
        unsafe { libc::close(fd) };
    }
    let pool = Pool::builder().workers(2).build().expect("a pool can run here");
    let task = own_task(&pool);
    // SAFETY: queries.
    let taken = || (0..3).filter(|&fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1).collect::<Vec<c_int>>();
    // A file of /proc that the pool reads has such a number for a moment.
    let deadline = Instant::now() + Duration::from_secs(10);
    while !taken().is_empty() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    writeln!(answers, "task: {task}\ntaken: {:?}", taken()).expect("the test reads");
}

/// A host that was started without standard streams. It writes its answers to descriptor 3.
fn closed_before() {
    // SAFETY: the call returns a new descriptor, which has no other owner.
    let mut answers = unsafe { File::from_raw_fd(libc::fcntl(3, libc::F_DUPFD_CLOEXEC, 100)) };
    writeln!(answers, "task: {}", global_task()).expect("the test reads");
}

/// The output of a piece appears even if the next piece ends the process.
fn speak(end: fn(()) -> ()) {
    let pool = Pool::builder().workers(1).build().expect("a pool can run here");
    let task = pool.try_task::<()>().expect("the pool is open");
    task.call(|()| print!("said by a piece"), ());
    task.call(end, ());
    let ends: Vec<bool> = task.get_each().iter().map(Result::is_ok).collect();
    println!("; well: {ends:?}");
}

/// A piece forks, and both processes return from it.
fn fork() {
    let pool = Pool::builder().workers(1).build().expect("a pool can run here");
    let task = pool.try_task::<(bool, u32)>().expect("the pool is open");
    task.call(
        |()| {
            // SAFETY: the worker has one thread.
            let child = unsafe { libc::fork() };
            (child != 0, std::process::id())
        },
        (),
    );
    task.call(|()| (true, std::process::id()), ());
    let results = task.get().expect("neither piece fails");
    println!("the worker's own: {}", results[0].0 && results[0] == results[1]);
    let stats = pool.stats();
    println!("results: {}, workers lost: {}", stats.pieces_done, stats.workers_lost);
}

/// Each hook prints where and when it runs.
fn hooks() {
    let pool = Pool::builder()
        .workers(2)
        .preload(|| println!("preload before main: {}", std::env::args().count() > 0))
        .on_worker_start(|| println!("start"))
        .on_worker_exit(|| println!("exit"))
        .build()
        .expect("a pool can run here");
    // Both workers must have started, so that both exit in order.
    let task = pool.try_task::<u64>().expect("the pool is open");
    for number in 0..100 {
        task.run(sum, number, number + 10);
    }
    println!("sums: {}", task.get().expect("sums do not fail").len());
    while pool.stats().workers.iter().any(|worker| worker.pid.is_none()) {}
    pool.shutdown();
    let killed = Pool::builder().workers(1).on_worker_exit(|| println!("never said")).build();
    println!("task: {}", own_task(killed.as_ref().expect("a pool can run here")));
    drop(killed);
    let broken = Pool::builder().workers(1).on_worker_start(|| panic!("no database")).build();
    let task = broken.as_ref().expect("a pool can run here").try_task::<u32>();
    let error = task.and_then(|task| {
        task.run(pid, (), ());
        task.get()
    });
    println!("broken: {}", error.map_or_else(|error| error.to_string(), |_| "Ok".to_string()));
}

/// A program that a piece starts may have a pool of its own.
fn inner() {
    let pool = Pool::builder().workers(1).build().expect("a pool can run here");
    let task = pool.try_task::<String>().expect("the pool is open");
    task.call(
        |()| {
            let program = std::env::current_exe().expect("there is /proc");
            let output = std::process::Command::new(program).arg("task").output().expect("it runs");
            String::from_utf8_lossy(&output.stdout).into_owned()
        },
        (),
    );
    print!("{}", task.get().expect("it answers")[0]);
}

/// A piece starts a program with a pool of its own, which continues to run. Then the worker is killed.
#[expect(clippy::zombie_processes, reason = "the test checks how the program ends then")]
fn inner_pool() {
    let pool = Pool::builder().workers(1).build().expect("a pool can run here");
    let task = pool.try_task::<u32>().expect("the pool is open");
    task.call(
        |()| {
            let program = std::env::current_exe().expect("there is /proc");
            std::process::Command::new(program).arg("wait").spawn().expect("it runs");
            std::process::id()
        },
        (),
    );
    let worker = task.get().expect("it answers")[0];
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("the test sends a line");
    // SAFETY: the worker is there until it is killed.
    unsafe { libc::kill(worker as c_int, libc::SIGKILL) };
    println!("killed");
    std::thread::park();
}

/// A program that preload starts ends with the fork server.
fn preload_child() {
    let preload = || drop(std::process::Command::new("sleep").arg("3600").spawn().expect("there is sleep"));
    let pool = Pool::builder().workers(1).preload(preload).build().expect("a pool can run here");
    println!("task: {}", own_task(&pool));
}

/// A preload that makes forking impossible.
fn refused(preload: fn()) {
    match Pool::builder().workers(1).preload(preload).build() {
        Ok(_) => println!("a pool was made"),
        Err(error) => println!("{:?}: {error}", error.kind()),
    }
}
