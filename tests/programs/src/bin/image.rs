//! A host whose executable is not what its path says: `image SITUATION`. Prints the outcomes of its pools.

#![allow(unsafe_code)]

use multicore::{Pool, Task};
use multicore_programs::{another_root, own_task, sum, told};
use std::ffi::c_void;
use std::fs::{self, File};
use std::io;
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};

fn main() {
    // Started through its loader the program has the tests' arguments in their usual places.
    let mut arguments = std::env::args_os().skip(1);
    let situation = arguments.next().unwrap_or_default();
    let mut path = || PathBuf::from(arguments.next().expect("a path"));
    match situation.to_str().unwrap_or_default() {
        "chroot" => another_root(&path()),
        "libraries" => libraries(),
        "closes-descriptors" => closes_descriptors(&path()),
        "without-proc" => without_proc(),
        "without-rights" => without_rights(),
        "fails" => fails(&path()),
        "workers-fail" => workers_fail(&path()),
        "kept" => kept(),
        // Whatever else is given: it may be a program that must not be executed.
        _ => tries(),
    }
}

/// A constructor that runs before the crate's own, as those of libraries do.
#[used]
#[unsafe(link_section = ".init_array.00001")]
static EARLY: extern "C" fn() = early;

/// Sleeps for as many milliseconds as `IMAGE_LOADS_MS` says, and makes a thread if there is `IMAGE_THREAD`. Then, in a
/// process that is started as fork server or as worker: prints what `IMAGE_SAYS` says to the standard error, leaves a mark in
/// the file that `IMAGE_STARTS` names, ends if `IMAGE_FAILS` names a file, and hangs if there is `IMAGE_HANGS`, as a child of it does.
extern "C" fn early() {
    // SAFETY: no other thread changes the environment before `main`, and all strings end in NUL.
    unsafe {
        let loads_ms = libc::getenv(c"IMAGE_LOADS_MS".as_ptr());
        if !loads_ms.is_null() {
            libc::usleep(1000 * libc::atoi(loads_ms) as libc::c_uint);
        }
        if !libc::getenv(c"IMAGE_THREAD".as_ptr()).is_null() {
            let mut thread = std::mem::zeroed();
            libc::pthread_create(&mut thread, std::ptr::null(), sleep, std::ptr::null_mut());
        }
        if libc::getenv(c"MULTICORE_FORK_SERVER".as_ptr()).is_null() {
            return;
        }
        let says = libc::getenv(c"IMAGE_SAYS".as_ptr());
        if !says.is_null() {
            libc::write(2, says.cast(), libc::strlen(says));
            KEPT.store(libc::fcntl(2, libc::F_DUPFD_CLOEXEC, 3), Ordering::Relaxed);
        }
        let marks = libc::getenv(c"IMAGE_STARTS".as_ptr());
        if !marks.is_null() {
            let file = libc::open(marks, libc::O_WRONLY | libc::O_APPEND | libc::O_CLOEXEC);
            libc::write(file, c"s".as_ptr().cast(), 1);
            libc::close(file);
        }
        let fails = libc::getenv(c"IMAGE_FAILS".as_ptr());
        if !fails.is_null() && libc::access(fails, libc::F_OK) == 0 {
            libc::_exit(3);
        }
        if !libc::getenv(c"IMAGE_HANGS".as_ptr()).is_null() {
            libc::fork();
            loop {
                libc::pause();
            }
        }
    }
}

extern "C" fn sleep(_: *mut c_void) -> *mut c_void {
    loop {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }
}

/// A copy of the standard error that the constructor keeps, as a logger does.
static KEPT: AtomicI32 = AtomicI32::new(-1);

/// Pieces print by that.
fn kept() {
    let pool = Pool::builder().workers(1).build().expect("a pool");
    let task: Task<bool> = pool.try_task().expect("the pool is open");
    task.call(
        |()| {
            let (kept, text) = (KEPT.load(Ordering::Relaxed), c"by a piece\n");
            // SAFETY: the text has as many bytes, and the other call takes no pointer.
            unsafe {
                libc::write(kept, text.as_ptr().cast(), 11) == 11
                    && libc::fcntl(kept, libc::F_GETFD) == libc::FD_CLOEXEC
            }
        },
        (),
    );
    println!("written: {:?}", task.get().expect("it does not fail"));
}

/// Workers that are executed load well at first, and then no more.
fn workers_fail(why: &Path) {
    let pool = Pool::builder().workers(1).build().expect("a pool");
    println!("first: {}", own_task(&pool));
    println!("start: {:?}", pool.stats().start);
    fs::write(why, "").expect("it can be made");
    let task: Task<()> = pool.try_task().expect("the pool is open");
    task.call(|()| std::process::abort(), ());
    println!("lost: {:?}", task.get().expect_err("it aborts").kind());
    println!("then: {}", own_task(&pool));
}

/// Asks for 2,000 tasks while no fork server can start, and then until one can.
fn fails(why: &Path) {
    let none = (0..2000).all(|_| Task::<u64>::new().is_none());
    println!("none: {none}");
    println!("{}", Task::<u64>::try_new().map_or_else(|error| told(&error), |_| "Ok".into()));
    fs::remove_file(why).expect("it is there");
    while Task::<u64>::new().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    println!("later: {}", multicore_programs::global_task());
}

/// Three tries, which must give the same answer.
fn tries() {
    let tries: Vec<String> =
        (0..3).map(|_| Task::<u64>::try_new().map_or_else(|error| told(&error), |_| "Ok".into())).collect();
    println!("{}", tries[0]);
    println!("the same again: {}", tries.iter().all(|one| *one == tries[0]));
    println!("own: {}", Pool::builder().workers(1).build().map_or_else(|error| told(&error), |pool| own_task(&pool)));
    let task = Task::<u64>::new_or_inline();
    task.run(sum, 1, 4);
    println!("inline: {:?}", task.get().expect("sums do not fail"));
}

/// The files that this program was loaded from, as the kernel names them.
fn libraries() {
    let maps = fs::read_to_string("/proc/self/maps").expect("there is /proc");
    let mut files: Vec<&str> = maps.lines().filter_map(|line| Some(&line[line.find('/')?..])).collect();
    files.dedup();
    files.iter().filter(|file| !file.contains("/image")).for_each(|file| println!("{file}"));
}

/// The host closes all descriptors above 2 between two pools, as daemons do, and opens a program under each number.
fn closes_descriptors(program: &Path) {
    let pool = || Pool::builder().workers(1).build().map_or_else(|error| told(&error), |pool| own_task(&pool));
    println!("before: {}", pool());
    for fd in 3..200 {
        // SAFETY: no pool is there, and nothing else has a descriptor that is used later.
        unsafe { libc::close(fd) };
    }
    let opened = (0..100).map(|_| File::open(program).expect("it can be opened").into_raw_fd());
    println!("occupied: {}", opened.filter(|fd| *fd < 103).count());
    println!("after: {}", pool());
}

/// A host that gives up its rights before its first pool. It may not read /proc/self/auxv then.
fn without_rights() {
    // SAFETY: system calls without pointers, or with none.
    let given_up = unsafe {
        libc::setgroups(0, std::ptr::null()) == 0
            && libc::setresgid(65534, 65534, 65534) == 0
            && libc::setresuid(65534, 65534, 65534) == 0
    };
    if !given_up {
        return println!("skipped: {}", io::Error::last_os_error());
    }
    println!("readable: {}", File::open("/proc/self/auxv").is_ok());
    tries();
    let pool = Pool::builder().workers(1).build().expect("a pool");
    let task: Task<Vec<String>> = pool.try_task().expect("the pool is open");
    task.call(|()| rights(), ());
    let found = task.get().expect("it reads a file").remove(0);
    println!("the same rights: {}", found == rights());
    println!("users: {}", found[0]);
}

/// The lines of this process's status that tell its rights.
fn rights() -> Vec<String> {
    let status = fs::read_to_string("/proc/self/status").expect("there is /proc");
    let tells =
        |line: &&str| ["Uid:", "Gid:", "Groups:", "CapPrm:", "CapEff:"].iter().any(|name| line.starts_with(name));
    status.lines().filter(tells).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// There never was a /proc, or an empty folder stands in its place, before the first pool.
fn without_proc() {
    let none = c"none".as_ptr();
    // SAFETY: all strings end in NUL.
    let hidden = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, std::ptr::null()) == 0
            && libc::mount(c"tmpfs".as_ptr(), c"/proc".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()) == 0
    };
    if !hidden {
        return println!("skipped: {}", io::Error::last_os_error());
    }
    tries();
    // What looks like /proc is none.
    fs::create_dir("/proc/self").expect("it is a folder");
    std::os::unix::fs::symlink("/bin/false", "/proc/self/exe").expect("it can be made");
    fs::write("/proc/self/auxv", [9_usize, main as *const () as usize].map(usize::to_ne_bytes).concat())
        .expect("it can be written");
    println!(
        "forged: {}",
        Pool::builder().workers(1).build().map_or_else(|error| told(&error), |pool| own_task(&pool))
    );
    // SAFETY: the path ends in NUL.
    unsafe { libc::umount(c"/proc".as_ptr()) };
    println!(
        "with /proc again: {}",
        Pool::builder().workers(1).build().map_or_else(|error| told(&error), |pool| own_task(&pool))
    );
}
