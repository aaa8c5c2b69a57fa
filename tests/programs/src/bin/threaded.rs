//! A program in which a constructor makes a thread before `main`, as OpenBLAS, some allocators and monitoring agents do.
//! Prints what its pool does.

#![allow(unsafe_code)]

use multicore::{Error, Pool, Task};
use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(60);

/// Stands before the crate's own constructor.
#[used]
#[unsafe(link_section = ".init_array.00090")]
static MAKE_THREAD: extern "C" fn() = make_thread;

extern "C" fn make_thread() {
    extern "C" fn sleep(_: *mut c_void) -> *mut c_void {
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    }
    // SAFETY: the thread uses no memory, and its handle is not used.
    unsafe {
        let mut thread = std::mem::zeroed();
        libc::pthread_create(&mut thread, std::ptr::null(), sleep, std::ptr::null_mut());
    }
}

/// The process in which `preload` ran, and what it got.
static PRELOADED_IN: AtomicU32 = AtomicU32::new(0);
static VALUE: AtomicU64 = AtomicU64::new(0);
static STARTED: AtomicU64 = AtomicU64::new(0);

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

fn outcome<R: multicore::Value>(pool: &Pool, piece: fn(()) -> R) -> Result<R, Error> {
    let task: Task<R> = pool.try_task()?.timeout(Duration::from_secs(30));
    task.call(piece, ());
    task.get_timeout(DEADLINE).map(|mut results| results.remove(0))
}

fn main() {
    println!("threads here: {}", threads() > 1);
    // A descriptor that the workers get under its number.
    let mut pipe = [0; 2];
    // SAFETY: writes two descriptors, of which the second has no other owner.
    let (read, write) = unsafe {
        assert_eq!(libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (std::fs::File::from_raw_fd(pipe[0]), std::os::fd::OwnedFd::from_raw_fd(pipe[1]))
    };
    let builder = Pool::builder().workers(2).pass_descriptors(&[write.as_fd()]);
    let builder = builder.preload_with(
        |value: u64| {
            PRELOADED_IN.store(std::process::id(), Ordering::Relaxed);
            VALUE.store(value, Ordering::Relaxed);
        },
        42,
    );
    let pool =
        builder.on_worker_start(|| STARTED.store(VALUE.load(Ordering::Relaxed), Ordering::Relaxed)).build().unwrap();
    works(&pool);
    settles(&pool);
    fails(&pool);
    is_limited();
    let stats = pool.stats();
    println!("start: {:?} {}", stats.start, stats.start_time.is_some_and(|time| time > Duration::ZERO));
    println!("table: {}", stats.to_string().contains("workers are executed, in "));
    let task: Task<()> = pool.try_task().unwrap();
    task.call(
        |number: i32| {
            // SAFETY: the descriptor was passed under this number.
            unsafe { libc::write(number, b"passed\n".as_ptr().cast(), 7) };
        },
        write.as_raw_fd(),
    );
    task.get_timeout(DEADLINE).unwrap();
    pool.shutdown();
    drop(write);
    print!("descriptor: {}", std::io::read_to_string(read).unwrap());
}

fn works(pool: &Pool) {
    let task: Task<u64> = pool.try_task().unwrap();
    for number in 0..1000 {
        task.run(|a: u64, b: u64| a + b, number, 1);
    }
    println!("results: {}", task.get_timeout(DEADLINE).unwrap() == (1..=1000).collect::<Vec<u64>>());
    let big = outcome(pool, |()| vec![7_u8; 20_000_000]).unwrap();
    println!("a big one: {}", big.len());
}

/// A worker is as one that was forked.
fn settles(pool: &Pool) {
    println!("threads in a worker: {}", outcome(pool, |()| threads() > 1).unwrap());
    let preloaded =
        |()| PRELOADED_IN.load(Ordering::Relaxed) == std::process::id() && STARTED.load(Ordering::Relaxed) == 42;
    println!("preload in each, before on_worker_start: {}", outcome(pool, preloaded).unwrap());
    let arguments = outcome(pool, |()| std::env::args().collect::<Vec<_>>()).unwrap();
    println!("arguments: {}", arguments == std::env::args().collect::<Vec<_>>());
    let markers =
        |()| std::env::vars_os().filter(|(name, _)| name.to_string_lossy().contains("MULTICORE_FORK")).count();
    println!("markers: {}", outcome(pool, markers).unwrap());
    println!(
        "a pool in a worker: {:?}",
        outcome(pool, |()| format!("{:?}", Task::<u8>::try_new().map(drop).unwrap_err().kind())).unwrap()
    );
}

/// A death, a limit and a retry.
fn fails(pool: &Pool) {
    let lost = outcome::<()>(pool, |()| std::process::abort()).unwrap_err();
    println!("death: {:?} {:?}", lost.kind(), lost.cause());
    let task: Task<()> = pool.try_task().unwrap().timeout(Duration::from_millis(100)).retries(1);
    task.call(
        |()| loop {
            std::thread::sleep(DEADLINE)
        },
        (),
    );
    let overran = task.get_timeout(DEADLINE).unwrap_err();
    println!("limit: {:?} {}", overran.kind(), overran.attempts());
    let exits = outcome::<()>(pool, |()| std::process::exit(3)).unwrap_err();
    println!("exit: {:?}", exits.cause());
    println!("then: {:?}", outcome(pool, |()| 5_u8).unwrap());
}

/// What `preload` has loaded in each worker does not count for the limit of its memory.
fn is_limited() {
    static TABLE: std::sync::Mutex<Vec<u8>> = std::sync::Mutex::new(Vec::new());
    let builder = Pool::builder().workers(1).preload(|| *TABLE.lock().unwrap() = vec![1; 300 << 20]);
    let pool = builder.worker_data_limit(100 << 20).build().unwrap();
    let allowed = outcome(&pool, |()| vec![1_u8; 50 << 20].len()).unwrap();
    // SAFETY: what is given is never used, and may be null.
    let refused = outcome(&pool, |()| unsafe { libc::malloc(200 << 20) }.is_null()).unwrap();
    println!("data limit: {} {refused}", allowed >> 20);
}
