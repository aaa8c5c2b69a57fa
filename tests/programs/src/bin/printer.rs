//! Pieces that print by C's stdio, or leave streams behind that cannot be flushed: `printer WHAT`.

#![allow(unsafe_code)]

use multicore::{Error, Pool, Task};
use std::ffi::{c_char, c_int};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::Duration;

const LINES: u64 = 50;

/// Far longer than any wait of the crate's.
const LATER: Duration = Duration::from_secs(3600);

unsafe extern "C" {
    static mut stdout: *mut libc::FILE;
    fn flockfile(stream: *mut libc::FILE);
}

fn main() {
    let what = std::env::args().nth(1).expect("what");
    match what.as_str() {
        "crash" => lines_and_crash(pool(), say),
        "crash-own-buffer" => {
            let pool = pool();
            run(&pool, own_buffer).expect("it sets a buffer");
            lines_and_crash(pool, say);
        }
        "drop" => {
            let pool = pool();
            let task = say_lines(&pool, say);
            task.get().expect("they print");
            drop(pool);
        }
        "kept-open" => kept_open(),
        "hooks" => hooks(),
        "popen" => left_behind(|_, ()| unread_pipe()),
        "held-input" => left_behind(|_, ()| held_input()),
        "held-output" => left_behind(|_, ()| held_output()),
        "full" => full(|number, ()| {
            // Without an end of the line: musl writes the first line out at once, and so would wait in the piece itself.
            // SAFETY: the format asks for one number, which is given.
            unsafe { libc::printf(c"C %lu;".as_ptr(), number) };
            number
        }),
        "full-rust" => full(|number, ()| {
            print!("Rust {number}");
            number
        }),
        "full-later" => full_later(),
        other => panic!("{other} is not known"),
    }
}

fn pool() -> Pool {
    Pool::builder().workers(1).build().expect("a pool can run here")
}

fn run(pool: &Pool, piece: fn(u64, ()) -> u64) -> Result<u64, Error> {
    let task = pool.try_task().expect("the pool is open");
    task.run(piece, 7, ());
    task.get_timeout(Duration::from_secs(60)).map(|results: Vec<u64>| results[0])
}

fn say(number: u64, _: ()) -> u64 {
    // SAFETY: the format asks for one number, which is given.
    unsafe { libc::printf(c"C line %lu\n".as_ptr(), number) };
    number
}

fn say_lines(pool: &Pool, piece: fn(u64, ()) -> u64) -> Task<u64> {
    let task = pool.try_task().expect("the pool is open");
    for number in 0..LINES {
        task.run(piece, number, ());
    }
    task
}

fn lines_and_crash(pool: Pool, piece: fn(u64, ()) -> u64) {
    let task = say_lines(&pool, piece);
    task.run(|_, ()| std::process::abort(), 0, ());
    let succeeded = task.get_each().iter().filter(|result| result.is_ok()).count();
    eprintln!("{succeeded} succeeded");
    pool.shutdown();
}

fn own_buffer(_: u64, _: ()) -> u64 {
    const BYTES: usize = 1 << 20;
    let buffer: &'static mut [c_char] = Box::leak(vec![0; BYTES].into_boxed_slice());
    // SAFETY: the buffer is leaked, so it lives as long as the stream; nothing else uses either now.
    let refused = unsafe { libc::setvbuf(stdout, buffer.as_mut_ptr(), libc::_IOFBF, BYTES) };
    u64::from(refused != 0)
}

/// A file that a piece opens and never closes is whole after the worker's orderly end.
fn kept_open() {
    let pool = pool();
    let path = std::env::args().nth(2).expect("a path");
    let task = pool.try_task::<()>().expect("the pool is open");
    task.call(
        |path: String| {
            let path = std::ffi::CString::new(path).expect("a path");
            // SAFETY: both strings end in NUL, and the stream stays open.
            unsafe { libc::fputs(c"kept".as_ptr(), libc::fopen(path.as_ptr(), c"w".as_ptr())) };
        },
        path,
    );
    task.get().expect("it writes");
    pool.shutdown();
}

/// What hooks print without a line's end appears once, even if no piece follows.
fn hooks() {
    fn both(what: &std::ffi::CStr) {
        // SAFETY: the format asks for one string, which is given.
        unsafe { libc::printf(c"%s by C\n".as_ptr(), what.as_ptr()) };
        print!("{} by Rust;", what.to_str().expect("ASCII"));
    }
    let pool = Pool::builder().workers(3).preload(|| both(c"preload")).on_worker_start(|| both(c"start"));
    let pool = pool.build().expect("a pool can run here");
    while pool.stats().workers.iter().any(|worker| worker.pid.is_none()) {
        std::thread::yield_now();
    }
    // All three are ready once each has run a piece; they meet at that point.
    let task = pool.try_task::<u32>().expect("the pool is open");
    for _ in 0..300 {
        task.run(|(), ()| std::process::id(), (), ());
    }
    task.get().expect("it answers");
    pool.shutdown();
}

/// A piece leaves something behind. The worker sleeps, is given the next piece, and leaves in order.
fn left_behind(piece: fn(u64, ()) -> u64) {
    let pool = pool();
    println!("first: {:?}", run(&pool, piece).map_err(|error| error.to_string()));
    for round in 0..3 {
        wait_until_asleep(pool.stats().workers[0].pid.expect("it runs"));
        println!("round {round}: {:?}", run(&pool, |number, ()| number + 1).map_err(|error| error.to_string()));
    }
    println!("lost: {}", pool.stats().workers_lost);
    pool.shutdown();
}

fn wait_until_asleep(pid: u32) {
    let mut looks = 0;
    // Three looks, since a worker may sleep for a moment for another reason.
    while looks < 3 {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        let sleeps = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'));
        looks = if sleeps { looks + 1 } else { 0 };
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn unread_pipe() -> u64 {
    // SAFETY: all strings end in NUL; the stream, if there is one, stays open. Its buffer is full when the pipe is.
    unsafe {
        let stream = libc::popen(c"sleep 3600".as_ptr(), c"w".as_ptr());
        libc::fwrite([b'x'; 65536].as_ptr().cast(), 1, 65536, stream);
        libc::fputs(c"rest".as_ptr(), stream) as u64
    }
}

fn held_input() -> u64 {
    let (send, held) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut ends = [0; 2];
        let mut line = [0; 80];
        // SAFETY: all arguments are valid for the calls; nothing is ever written to the pipe, so the last call never
        // returns, and it holds the stream.
        unsafe {
            libc::pipe(ends.as_mut_ptr());
            let stream = libc::fdopen(ends[0], c"r".as_ptr());
            flockfile(stream);
            send.send(()).expect("it waits");
            libc::fgets(line.as_mut_ptr(), line.len() as c_int, stream);
        }
    });
    held.recv().expect("it holds the stream");
    1
}

fn held_output() -> u64 {
    let (send, held) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // SAFETY: the standard output is always there.
        unsafe { flockfile(stdout) };
        send.send(()).expect("it waits");
        std::thread::sleep(LATER);
    });
    held.recv().expect("it holds the stream");
    // SAFETY: as above. This stays in the buffer until the thread unlocks the stream, so for ever.
    unsafe {
        unsafe extern "C" {
            fn putc_unlocked(character: c_int, stream: *mut libc::FILE) -> c_int;
        }
        putc_unlocked(c_int::from(b'x'), stdout) as u64
    }
}

/// A standard output that nobody reads, full already.
struct Unread {
    answers: File,
    reader: File,
}

impl Unread {
    fn new() -> Self {
        let mut ends = [0; 2];
        // SAFETY: the array is valid for writing; the new descriptors have no other owner; the last call replaces
        // the standard output.
        let (answers, reader, writer) = unsafe {
            assert_eq!(libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC), 0);
            let answers = File::from_raw_fd(libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 100));
            libc::dup2(ends[1], 1);
            (answers, File::from_raw_fd(ends[0]), File::from_raw_fd(ends[1]))
        };
        drop(writer);
        Unread { answers, reader }
    }

    fn tell(&mut self, name: &str, answer: impl std::fmt::Debug) {
        writeln!(self.answers, "{name}: {answer:?}").expect("the test reads");
    }

    fn drain(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // SAFETY: sets a flag of a descriptor that is open.
        unsafe { libc::fcntl(self.reader.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        let _ = self.reader.read_to_end(&mut bytes);
        bytes
    }
}

/// Fills the standard output to the last byte, by an open file description of its own.
fn fill() {
    let again = std::fs::OpenOptions::new().write(true).open("/proc/self/fd/1").expect("there is /proc");
    // SAFETY: sets a flag of a description that only this function has.
    unsafe { libc::fcntl(again.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    while (&again).write(&[b'.'; 4096]).is_ok() {}
    while (&again).write(b".").is_ok() {}
}

fn full(piece: fn(u64, ()) -> u64) {
    let mut unread = Unread::new();
    fill();
    let pool = pool();
    for round in 0..3 {
        unread.tell(&format!("round {round}"), run(&pool, piece).map_err(|error| error.to_string()));
    }
    unread.drain();
    unread.tell("drained", run(&pool, piece).map_err(|error| error.to_string()));
    let text = String::from_utf8_lossy(&unread.drain()).into_owned();
    unread.tell("printed", text.contains('7'));
    unread.tell("lost", pool.stats().workers_lost);
    fill();
    pool.shutdown();
    unread.tell("ended", ());
}

/// It becomes full while a piece runs, and has room for a part of the text.
fn full_later() {
    let mut unread = Unread::new();
    let pool = pool();
    let flooded = run(&pool, |number, ()| {
        own_buffer(0, ());
        for line in 0..20_000 {
            say(line, ());
        }
        number
    });
    unread.tell("flooded", flooded.map_err(|error| error.to_string()));
    let task = say_lines(&pool, say);
    unread.tell("lines", task.get_timeout(Duration::from_secs(60)).map(|lines| lines.len()).map_err(|e| e.to_string()));
    unread.tell("broken", run(&pool, |_, ()| u64::from(unsafe_broken())).map_err(|error| error.to_string()));
    unread.drain();
    run(&pool, say).expect("it answers");
    let text = String::from_utf8_lossy(&unread.drain()).into_owned();
    unread.tell("printed", text.ends_with("C line 7\n"));
    unread.tell("lost", pool.stats().workers_lost);
    pool.shutdown();
}

/// True if C's standard output is marked as broken.
fn unsafe_broken() -> bool {
    // SAFETY: the standard output is always there.
    unsafe { libc::ferror(stdout) != 0 }
}
