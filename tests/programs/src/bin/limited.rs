//! A host that lacks something: `limited SITUATION`. Prints the outcomes of its pools. A limit that is too low must cause an
//! error that says so, and nothing may be left half made.

#![allow(unsafe_code)]

use multicore::{Error, ErrorKind, Pool, Shared, Task};
use multicore_programs::sum;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let situation = arguments.next().unwrap_or_default();
    match situation.as_str() {
        "descriptors" => descriptors(),
        "descriptors-later" => descriptors_later(),
        "processes" => processes(),
        "processes-later" => processes_later(),
        "no-processes" => no_processes(),
        "file-size" => file_size(),
        "address-space" => address_space(),
        "without-call" => without_call(&arguments.next().unwrap(), arguments.next().unwrap().parse().unwrap()),
        "bare" => bare(),
        other => panic!("{other:?} is not a known situation"),
    }
}

#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = libc::c_int;

/// Sets a soft limit of this process.
fn limit(what: Resource, most: u64) {
    // SAFETY: the limit is valid.
    unsafe {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::getrlimit(what, &mut limit);
        limit.rlim_cur = most.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(what, &limit), 0, "{}", io::Error::last_os_error());
    }
}

/// The outcome of a pool and its first task.
fn outcome() -> Result<(), Error> {
    let pool = Pool::builder().workers(2).build()?;
    works(&pool)
}

fn works(pool: &Pool) -> Result<(), Error> {
    let task: Task<u64> = pool.try_task()?.retries(20);
    for number in 0..10 {
        task.run(sum, number, number + 2);
    }
    let results = task.get_timeout(DEADLINE)?;
    assert_eq!(results, (0..10).map(|number| 2 * number + 1).collect::<Vec<u64>>());
    Ok(())
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Counts the outcomes of a sweep over limits. Each outcome must be one of those that `add` names.
#[derive(Default)]
struct Sweep(BTreeMap<&'static str, u32>);

impl Sweep {
    fn add(&mut self, outcome: Result<(), Error>) {
        let name = match outcome {
            Ok(()) => "well",
            Err(error) if [ErrorKind::System, ErrorKind::Unsupported].contains(&error.kind()) => "refused",
            Err(error) => panic!("{:?}: {error}", error.kind()),
        };
        *self.0.entry(name).or_default() += 1;
    }

    fn print(&self) {
        println!("both: {}", self.0.len() == 2);
    }
}

/// Fault 31: every limit, from the number of open descriptors upwards.
fn descriptors() {
    let before = open_descriptors();
    let mut sweep = Sweep::default();
    for more in 0..40 {
        limit(libc::RLIMIT_NOFILE, before as u64 + more);
        sweep.add(outcome());
        limit(libc::RLIMIT_NOFILE, 1024);
        // The executable stays open from the first start on.
        let left = open_descriptors() - before;
        assert!(left <= 1, "something is left of a pool with {more} descriptors");
    }
    assert_eq!(open_descriptors(), before + 1);
    sweep.print();
}

/// Fault 31: the descriptors are used up while the pool runs, and then its workers die.
fn descriptors_later() {
    let pool = Pool::builder().workers(2).build().unwrap();
    works(&pool).unwrap();
    limit(libc::RLIMIT_NOFILE, 256);
    let mut files = Vec::new();
    while let Ok(file) = fs::File::open("/dev/null") {
        files.push(file);
    }
    works(&pool).unwrap();
    println!("without descriptors: well");
    // One by one. With the spare pair and the descriptors that dead workers release, a new worker may start or not.
    for round in 0..4 {
        let pids: Vec<u32> = pool.stats().workers.iter().filter_map(|worker| worker.pid).collect();
        if let Some(&pid) = pids.first() {
            // SAFETY: a system call that takes no pointer.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        }
        while pool.stats().workers.iter().any(|worker| worker.pid.is_some() && worker.pid == pids.first().copied()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        match works(&pool) {
            Ok(()) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::System, "round {round}: {error}"),
        }
    }
    drop(files);
    let start = Instant::now();
    while works(&pool).is_err() || pool.stats().workers.iter().any(|worker| worker.pid.is_none()) {
        assert!(start.elapsed() < DEADLINE, "it never recovers");
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("with descriptors again: well");
}

/// Becomes another user, who has no other processes and may have at most `processes`.
fn become_somebody(processes: u64) {
    // SAFETY: system calls that take no pointers.
    unsafe {
        // A user that nobody else is: otherwise the processes of other tests would count.
        let user = 1_000_000 + std::process::id();
        if libc::setgid(user) != 0 || libc::setuid(user) != 0 {
            println!("skipped: not root");
            std::process::exit(0);
        }
    }
    limit(libc::RLIMIT_NPROC, processes);
}

/// Fault 32, at the start of the pool.
fn processes() {
    let mut sweep = Sweep::default();
    become_somebody(100);
    for most in (0..12).chain([100]) {
        limit(libc::RLIMIT_NPROC, most);
        sweep.add(outcome());
    }
    sweep.print();
}

/// Fault 32: the fork server runs, and cannot fork further workers.
fn processes_later() {
    become_somebody(100);
    // At that time this process has two threads and the fork server has one.
    let few = || limit(libc::RLIMIT_NPROC, 5);
    let pool = Pool::builder().workers(8).preload(few).build().unwrap();
    // The pool works with fewer workers than requested.
    works(&pool).unwrap();
    let alive = pool.stats().workers.iter().filter(|worker| worker.pid.is_some()).count();
    println!("some: {}", (1..8).contains(&alive));
}

/// Fault 32: no worker can be forked.
fn no_processes() {
    become_somebody(100);
    let none = || limit(libc::RLIMIT_NPROC, 0);
    let pool = Pool::builder().workers(2).preload(none).build().unwrap();
    for _ in 0..2 {
        let task: Task<u64> = pool.try_task().unwrap().retries(3);
        task.run(sum, 1, 2);
        let error = task.get_timeout(DEADLINE).unwrap_err();
        println!("{:?}: {}", error.kind(), error.to_string().split(": ").skip(1).collect::<Vec<_>>().join(": "));
    }
    pool.shutdown();
}

/// Fault 34: a memfd that grows beyond the limit would end the process by SIGXFSZ.
fn file_size() {
    limit(libc::RLIMIT_FSIZE, 4096);
    println!("{}", outcome().unwrap_err());
    println!("shared: {}", Shared::from_slice(&[0_u64; 10_000]).unwrap_err());
    println!("built: {}", Shared::<[u64]>::build(10_000, |_| ()).unwrap_err());
    limit(libc::RLIMIT_FSIZE, libc::RLIM_INFINITY);
    println!("later: {}", outcome().is_ok() && Shared::from_slice(&[0_u64; 10_000]).is_ok());
}

/// Fault 33.
fn address_space() {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    let mut sweep = Sweep::default();
    for more in 0..60 {
        limit(libc::RLIMIT_AS, pages * 4096 + 512 * 1024 + more * 128 * 1024);
        sweep.add(outcome());
        limit(libc::RLIMIT_AS, libc::RLIM_INFINITY);
    }
    sweep.print();
}

/// Fault 36: a sandbox in which a system call does not exist or is forbidden.
fn without_call(name: &str, errno: u32) {
    let number = match name {
        "memfd_create" => libc::SYS_memfd_create,
        "pidfd_open" => libc::SYS_pidfd_open,
        "fallocate" => libc::SYS_fallocate,
        "close_range" => libc::SYS_close_range,
        "prctl" => libc::SYS_prctl,
        "eventfd2" => libc::SYS_eventfd2,
        "socketpair" => libc::SYS_socketpair,
        "getrandom" => libc::SYS_getrandom,
        "clone" => libc::SYS_clone,
        "execveat" => libc::SYS_execveat,
        "madvise" => libc::SYS_madvise,
        "setpgid" => libc::SYS_setpgid,
        other => panic!("{other:?} has no number here"),
    };
    // Load the number of the call. If it is this one, return the error, else allow the call.
    let statement = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut program = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number as u32),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter is valid.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let set = libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter);
        if set != 0 {
            return println!("skipped: {}", io::Error::last_os_error());
        }
    }
    match outcome() {
        Ok(()) => println!("well"),
        Err(error) => println!("{:?}: {error}", error.kind()),
    }
    match Shared::from_str("a text") {
        Ok(text) => println!("shared: {}", &*text),
        Err(error) => println!("shared: {:?}: {error}", error.kind()),
    }
}

/// Faults 20 and 37: there is no /proc, and /dev/shm is full and read-only.
fn bare() {
    let mount = |kind: &[u8], place: &[u8], flags| {
        // SAFETY: all strings end in NUL.
        unsafe {
            libc::mount(kind.as_ptr().cast(), place.as_ptr().cast(), kind.as_ptr().cast(), flags, std::ptr::null())
        }
    };
    // SAFETY: a system call that takes no pointer.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0
        || mount(b"none\0", b"/\0", libc::MS_REC | libc::MS_PRIVATE) != 0
        || mount(b"tmpfs\0", b"/dev/shm\0", libc::MS_RDONLY) != 0
    {
        return println!("skipped: {}", io::Error::last_os_error());
    }
    println!("without /dev/shm: {}", if outcome().is_ok() { "well" } else { "lost" });
    if mount(b"tmpfs\0", b"/proc\0", 0) != 0 {
        return println!("skipped: {}", io::Error::last_os_error());
    }
    assert!(!fs::exists("/proc/self").unwrap());
    match outcome() {
        Ok(()) => println!("without /proc: well"),
        Err(error) => println!("without /proc: {error}"),
    }
}
