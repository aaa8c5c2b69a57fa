//! What pieces log comes to the program's logger: in order, before their results, from the worker that wrote it, and in time.

#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

mod support;

use log::{Level, LevelFilter, Log, Metadata, Record};
use multicore::{ErrorKind, Pool, Sink, Task, WorkerState};
use std::io::{Read, Write};
use std::sync::{Mutex, OnceLock, RwLock};
use std::time::{Duration, Instant};
use support::{DEADLINE, Door, add, assert_well, busy_pool, pool, task, wait_at, wait_for, watchdog, workers};

/// A record as the program's logger had it.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    level: Level,
    target: String,
    text: String,
    file: Option<String>,
    line: Option<u32>,
    module: Option<String>,
    worker: Option<u64>,
    piece: Option<u64>,
    thread: Option<String>,
}

/// Keeps what it gets. A text with the path of a door waits there first; one with `panic!` panics.
struct Keeps(Mutex<Vec<Seen>>);

static KEEPS: Keeps = Keeps(Mutex::new(Vec::new()));

/// Held for writing by a test that changes the level, or needs it as it is.
static LEVEL: RwLock<()> = RwLock::new(());

impl Log for Keeps {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let text = record.args().to_string();
        if let Some(door) = text.strip_prefix("wait at ") {
            wait_at(door);
        }
        assert!(!text.contains("panic!"), "a logger that panics");
        let number = |key: &str| record.key_values().get(key.into()).and_then(|value| value.to_u64());
        self.0.lock().unwrap().push(Seen {
            level: record.level(),
            target: record.target().to_string(),
            text,
            file: record.file().map(str::to_string),
            line: record.line(),
            module: record.module_path().map(str::to_string),
            worker: number("worker"),
            piece: number("piece"),
            thread: std::thread::current().name().map(str::to_string),
        });
    }

    fn flush(&self) {}
}

/// The logger is the program's from now on.
fn begin() {
    static BEGUN: OnceLock<()> = OnceLock::new();
    BEGUN.get_or_init(|| {
        log::set_logger(&KEEPS).unwrap();
        log::set_max_level(LevelFilter::Debug);
    });
}

/// The records so far whose texts begin so.
fn seen(prefix: &str) -> Vec<Seen> {
    KEEPS.0.lock().unwrap().iter().filter(|seen| seen.text.starts_with(prefix)).cloned().collect()
}

fn texts(prefix: &str) -> Vec<String> {
    seen(prefix).into_iter().map(|seen| seen.text).collect()
}

/// Logs three records.
fn talks(tag: String, number: u64) -> u64 {
    log::info!("{tag} {number} begins");
    log::warn!(target: "app::odd", "{tag} {number} goes on");
    log::debug!(rows = number; "{tag} {number} ends");
    number
}

#[test]
fn records_come_before_the_result_of_their_piece_and_say_whose_they_are() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    let pool = pool(3);
    let of = task::<u64>(&pool);
    (0..300).for_each(|number| of.run(talks, "whose".to_string(), number));
    let mut came = 0;
    for (piece, number) in of.iter_completed() {
        let number = number.unwrap();
        assert_eq!(number, piece as u64);
        let records = seen(&format!("whose {number} "));
        let [begins, goes_on, ends] = &records[..] else { panic!("{number}: {records:?}") };
        assert_eq!(begins.text, format!("whose {number} begins"));
        assert_eq!((begins.level, goes_on.level, ends.level), (Level::Info, Level::Warn, Level::Debug));
        assert_eq!((begins.target.as_str(), goes_on.target.as_str()), ("logs", "app::odd"));
        assert_eq!(ends.text, format!("whose {number} ends rows={number}"));
        assert!(begins.file.as_ref().unwrap().ends_with("logs.rs") && begins.line < goes_on.line);
        assert_eq!(begins.module.as_deref(), Some("logs"));
        for record in &records {
            assert_eq!(record.piece, Some(number), "{record:?}");
            assert!(record.worker.is_some_and(|worker| worker < 3), "{record:?}");
            assert_eq!(record.thread.as_deref(), Some("multicore-log"));
        }
        came += 1;
    }
    assert_eq!(came, 300);
    assert_well(pool);
}

#[test]
fn each_way_of_collecting_waits_for_the_records() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    let pool = pool(2);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for turn in 0..40 {
        let tag = format!("ways{turn}");
        let hand_out = || {
            let mut of = task::<u64>(&pool);
            (0..3).for_each(|number| of.run(talks, tag.clone(), number));
            of.run(talks, tag.clone(), 3);
            let _ = &mut of;
            of
        };
        let mut of = hand_out();
        let numbers: Vec<u64> = match turn % 8 {
            0 => of.get().unwrap(),
            1 => of.get_each().into_iter().map(Result::unwrap).collect(),
            2 => of.iter().map(Result::unwrap).collect(),
            3 => std::iter::from_fn(|| of.next()).map(Result::unwrap).collect(),
            4 => std::iter::from_fn(|| of.next_completed()).map(|(_, number)| number.unwrap()).collect(),
            5 => runtime.block_on(of.into_future()).unwrap(),
            6 => {
                of.wait().unwrap();
                vec![0; 4]
            }
            _ => of.get_timeout(DEADLINE).unwrap(),
        };
        assert_eq!(numbers.len(), 4);
        for number in 0..4 {
            assert_eq!(seen(&format!("{tag} {number} ")).len(), 3, "turn {turn}");
        }
    }
    assert_well(pool);
}

fn talks_and_waits(tag: String, door: String) -> u64 {
    log::info!("{tag}");
    wait_at(&door);
    7
}

/// Nobody waits, and the piece still runs.
#[test]
fn a_record_comes_while_its_piece_runs() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    let pool = pool(1);
    for turn in 0..3 {
        let (door, tag) = (Door::closed(), format!("runs{turn} "));
        let of = task::<u64>(&pool);
        of.run(talks_and_waits, tag.clone(), door.path());
        wait_for("the record comes", || seen(&tag).len() == 1);
        door.open();
        assert_eq!(of.get().unwrap(), [7]);
        // Its log is read each 20 ms for a while; then the worker has to signal the next record. Nothing tells which of both is so.
        std::thread::sleep(Duration::from_millis(80));
    }
    assert_well(pool);
}

fn talks_and_dies(tag: String, number: u64) -> u64 {
    log::error!("{tag} {number} dies");
    std::process::abort()
}

fn talks_and_panics(tag: String, number: u64) -> u64 {
    log::error!("{tag} {number} panics");
    panic!("as it said")
}

#[test]
fn the_last_records_of_a_lost_worker_come_before_the_error() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    let pool = pool(1);
    for number in 0..5 {
        for (f, kind, tag) in [
            (talks_and_dies as fn(String, u64) -> u64, ErrorKind::WorkerLost, "lost"),
            (talks_and_panics, ErrorKind::Panicked, "panicked"),
        ] {
            let of = task::<u64>(&pool);
            of.run(add, 1, 1);
            of.run(f, tag.to_string(), number);
            let outcomes = of.get_each();
            assert_eq!(outcomes[1].as_ref().unwrap_err().kind(), kind);
            let records = seen(&format!("{tag} {number} "));
            assert_eq!(records.len(), 1, "{records:?}");
            assert_eq!(records[0].piece, Some(1));
        }
    }
    assert_well(pool);
}

/// Is set in the worker where the arguments of a macro are evaluated.
static EVALUATED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

fn levels(tag: String, _: u64) -> (u32, bool) {
    let evaluated = || EVALUATED.store(true, std::sync::atomic::Ordering::Relaxed);
    EVALUATED.store(false, std::sync::atomic::Ordering::Relaxed);
    log::info!("{tag}{}", {
        evaluated();
        ""
    });
    (log::max_level() as u32, EVALUATED.load(std::sync::atomic::Ordering::Relaxed))
}

#[test]
fn the_level_of_the_program_holds_from_the_next_piece_on() {
    let _watch = watchdog();
    let _level = LEVEL.write().unwrap();
    begin();
    let pool = pool(2);
    let many: fn(String, u64) -> (u32, bool) = levels;
    for (turn, level) in [LevelFilter::Off, LevelFilter::Trace, LevelFilter::Warn, LevelFilter::Info, LevelFilter::Off]
        .iter()
        .enumerate()
    {
        log::set_max_level(*level);
        let tag = format!("level{turn} ");
        let of = task::<(u32, bool)>(&pool);
        of.run(many, tag.clone(), 0);
        of.run_all(many, (0..20).map(|number| (tag.clone(), number)));
        let is_on = *level >= LevelFilter::Info;
        assert!(of.get().unwrap().iter().all(|&told| told == (*level as u32, is_on)), "{level}");
        assert_eq!(seen(&tag).len(), if is_on { 21 } else { 0 }, "{level}");
    }
    assert_well(pool);
    // A worker that ran nothing since the level changed has it when it leaves.
    log::set_max_level(LevelFilter::Off);
    let exit = |_: ()| log::info!("level at the end");
    let pool = Pool::builder().workers(2).on_worker_exit_with(exit, ()).build().unwrap();
    workers(&pool);
    wait_for("both are ready", || pool.stats().workers.iter().all(|worker| worker.state == WorkerState::Idle));
    log::set_max_level(LevelFilter::Info);
    // One of them gets it.
    let of = task::<u64>(&pool);
    of.run(add, 1, 2);
    of.get().unwrap();
    pool.shutdown();
    assert_eq!(seen("level at the end").len(), 2);
    log::set_max_level(LevelFilter::Debug);
}

fn floods(tag: String, count: u64) -> u64 {
    (0..count).for_each(|number| log::info!("{tag} {number} {:80}", ""));
    count
}

#[test]
fn as_many_records_as_there_is_room_for_come_all_and_in_order() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    let pool = pool(1);
    let of = task::<u64>(&pool);
    // Less than half a MiB in the ring.
    of.run(floods, "room".to_string(), 2_500);
    of.get().unwrap();
    let expected: Vec<String> = (0..2_500).map(|number| format!("room {number} {:80}", "")).collect();
    assert!(texts("room ") == expected);
    assert_well(pool);
}

/// The program's logger hangs meanwhile.
#[test]
fn a_flood_is_bounded_counted_and_holds_up_nobody() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    let pool = pool(1);
    let (door, count) = (Door::closed(), 60_000);
    let of = task::<u64>(&pool);
    let wait = |door: String, _: u64| {
        log::info!("wait at {door}");
        0
    };
    of.run(wait, door.path(), 0);
    of.run(floods, "flood".to_string(), count);
    let start = Instant::now();
    // The records are awaited for a second.
    assert_eq!(of.get().unwrap(), [0, count]);
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    assert!(texts("flood ").is_empty());
    door.open();
    let dropped = || {
        let told = texts("")
            .into_iter()
            .filter_map(|text| text.split_once(" log records of worker 0 were dropped")?.0.parse().ok());
        told.collect::<Vec<u64>>()
    };
    wait_for("all is told", || dropped().iter().sum::<u64>() + texts("flood ").len() as u64 == count);
    assert_eq!(dropped().len(), 1, "{:?}", dropped());
    let came: Vec<u64> = texts("flood ").iter().map(|text| text.split(' ').nth(1).unwrap().parse().unwrap()).collect();
    assert!(came.is_sorted() && came.len() > 4_000, "{}", came.len());
    assert_well(pool);
}

#[test]
fn a_logger_that_panics_or_collects_harms_no_pool() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    let pool = pool(1);
    let says = |text: String, _: u64| {
        log::info!("{text}");
        1_u64
    };
    let of = task::<u64>(&pool);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    of.run(says, "panic! here".to_string(), 0);
    of.run(says, "after it".to_string(), 0);
    assert_eq!(of.get().unwrap(), [1, 1]);
    std::panic::set_hook(hook);
    assert_eq!(seen("after it").len(), 1);
    assert_well(pool);
}

fn talks_slowly(tag: String, number: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(10));
    log::info!("{tag} {number}");
    number
}

/// Once each record began the second anew, so the first result came a second after the last one.
#[test]
fn a_logger_that_hangs_holds_each_result_for_a_second_and_no_longer() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    let pool = pool(1);
    let door = Door::closed();
    let says = |door: String, number: u64| {
        log::info!("wait at {door}");
        number
    };
    for turn in 0..3 {
        let mut of = task::<u64>(&pool);
        of.run(says, door.path(), 0);
        of.run_all(talks_slowly, (1..300).map(|number| (format!("hangs{turn}"), number)));
        let (first, rest) = match turn {
            0 => (of.next().unwrap().unwrap(), Some(of)),
            1 => (of.next_completed().unwrap().1.unwrap(), Some(of)),
            _ => (of.iter().next().unwrap().unwrap(), None),
        };
        assert_eq!(first, 0);
        // All of it takes three seconds.
        assert!(texts(&format!("hangs{turn}")).is_empty());
        assert!(rest.is_none_or(|of| of.completed() < 299), "it came before the others");
    }
    door.open();
    assert_well(pool);
}

fn writes_and_talks_for_long(tag: String, parts: u64, sink: &mut Sink) {
    for part in 0..parts {
        std::thread::sleep(Duration::from_millis(20));
        log::info!("{tag} {part}");
        sink.write_all(&[part as u8; 1000]).unwrap();
        sink.flush().unwrap();
    }
}

/// The parts of one piece, which goes on to log.
#[test]
fn a_logger_that_hangs_holds_a_part_for_a_second_and_no_longer() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    let pool = pool(2);
    let door = Door::closed();
    let of = task::<u64>(&pool);
    of.run(
        |door: String, _: u64| {
            log::info!("wait at {door}");
            0
        },
        door.path(),
        0,
    );
    let written = task::<Vec<u8>>(&pool);
    written.run_into(writes_and_talks_for_long, "slow part".to_string(), 200);
    let mut reader = written.reader();
    reader.read_exact(&mut [0]).unwrap();
    assert!(pool.stats().workers.iter().any(|worker| worker.pieces_held > 0), "the piece still writes");
    assert!(texts("slow part").is_empty());
    door.open();
    drop((reader, of));
    assert_well(pool);
}

fn threads_talk(tag: String, _: u64) -> u64 {
    let talk = |number: u64| talks(format!("{tag}{number}"), number);
    std::thread::scope(|scope| {
        let all: Vec<_> =
            (0..4).map(|number| scope.spawn(move || (0..50).map(|_| talk(number)).sum::<u64>())).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).sum()
    })
}

#[test]
fn threads_of_a_piece_log_as_it_does() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    let pool = pool(1);
    let of = task::<u64>(&pool);
    of.run(threads_talk, "threads".to_string(), 0);
    assert_eq!(of.get().unwrap(), [50 * (1 + 2 + 3)]);
    let records = seen("threads");
    assert_eq!(records.len(), 4 * 50 * 3);
    assert!(records.iter().all(|record| record.piece == Some(0)));
    assert_well(pool);
}

fn forks(tag: String, _: u64) -> i32 {
    log::info!("{tag} before");
    // SAFETY: the child calls what is safe after a fork, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        log::info!("{tag} in the child");
        // SAFETY: it ends this process.
        unsafe { libc::_exit(3) };
    }
    let mut status = 0;
    // SAFETY: the pointer is valid for the call.
    unsafe { libc::waitpid(child, &mut status, 0) };
    libc::WEXITSTATUS(status)
}

#[test]
fn a_child_that_a_piece_forks_logs_nothing_and_lives() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    let pool = pool(1);
    let of = task::<i32>(&pool);
    of.run(forks, "forked".to_string(), 0);
    assert_eq!(of.get().unwrap(), [3]);
    assert_eq!(texts("forked"), ["forked before"]);
    assert_well(pool);
}

fn writes_and_talks(tag: String, parts: u64, sink: &mut Sink) {
    for part in 0..parts {
        sink.write_all(&[part as u8; 100_000]).unwrap();
        log::info!("{tag} wrote {part}");
        sink.flush().unwrap();
    }
}

#[test]
fn a_part_of_a_result_comes_after_the_records_before_it() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    let pool = pool(1);
    let of = task::<Vec<u8>>(&pool);
    of.run_into(writes_and_talks, "parts".to_string(), 30);
    let (mut reader, mut part, mut total) = (of.reader(), vec![0; 10_000], 0);
    while let length @ 1.. = reader.read(&mut part).unwrap() {
        total += length;
        // What follows a record was read: the one of the part before has come.
        let (whole, records) = (total.saturating_sub(1) / 100_000, seen("parts wrote ").len());
        assert!(records >= whole, "{total} bytes, {records} records");
    }
    assert_eq!(total, 3_000_000);
    assert_well(pool);
}

/// What is held back stays in its ring, before which the records pass.
#[test]
fn output_that_is_held_back_stops_no_record() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    let pool = pool(2);
    let door = Door::closed();
    let of = task::<Vec<u8>>(&pool).max_unread(4_000_000);
    let first = |door: String, _: u64, _: &mut Sink| wait_at(&door);
    of.run_into(first, door.path(), 0);
    of.run_into(writes_and_talks, "held".to_string(), 100);
    // A MiB is written, and nobody reads.
    wait_for("the records come", || seen("held wrote ").len() >= 8);
    door.open();
    assert_eq!(of.get().unwrap()[1].len(), 10_000_000);
    assert_eq!(seen("held wrote ").len(), 100);
    assert_well(pool);
}

struct OwnLogger;

impl Log for OwnLogger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _: &Record<'_>) {}

    fn flush(&self) {}
}

#[test]
fn a_logger_of_on_worker_start_stays() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    let set = || {
        log::set_logger(&OwnLogger).unwrap();
        log::set_max_level(LevelFilter::Error);
    };
    let pool = Pool::builder().workers(1).on_worker_start(set).build().unwrap();
    let of = task::<(u32, bool)>(&pool);
    of.run(levels, "own ".to_string(), 0);
    assert_eq!(of.get().unwrap(), [(LevelFilter::Error as u32, false)]);
    assert!(seen("own ").is_empty());
    assert_well(pool);
}

#[test]
fn what_a_worker_logs_when_it_leaves_comes_before_the_end_of_its_pool() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    for kill in [false, true] {
        let tag = if kill { "dropped" } else { "left" };
        let exit = |tag: String| log::info!("{tag} at the end");
        let pool = Pool::builder().workers(2).on_worker_exit_with(exit, tag.to_string()).build().unwrap();
        workers(&pool);
        let of = task::<u64>(&pool);
        of.run(talks, tag.to_string(), 1);
        of.get().unwrap();
        if kill {
            drop(pool);
        } else {
            pool.shutdown();
            let records = seen("left at the end");
            assert_eq!(records.len(), 2);
            // No piece ran then.
            assert!(records.iter().all(|record| record.piece.is_none() && record.worker.is_some()));
        }
        assert_eq!(seen(&format!("{tag} 1 ")).len(), 3);
    }
}

#[test]
fn a_long_text_is_cut_and_the_rest_counts() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    let pool = pool(1);
    let long = |length: usize| {
        log::info!(target: &"t".repeat(length), "long {}", "\u{e4}".repeat(length));
        length
    };
    let of = task::<usize>(&pool);
    of.call(long, 20_000);
    of.get().unwrap();
    let records = seen("long ");
    assert_eq!((records[0].target.len(), records[0].text.len()), (1024, 8 * 1024 - 1));
    assert_well(pool);
}

/// Without workers the macros call the program's logger themselves.
#[test]
fn inline_pieces_log_directly() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    let pool = busy_pool();
    let of: Task<u64> = pool.task_or_inline();
    of.run(talks, "inline".to_string(), 1);
    assert_eq!(of.get().unwrap(), [1]);
    let records = seen("inline 1 ");
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|record| record.worker.is_none()));
}

/// Workers are killed meanwhile. What a record says of itself is true, and each result has its own.
#[test]
fn under_kills_each_result_has_its_records() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    let pool = pool(3);
    let mut random = support::Random::seeded();
    let of = task::<u64>(&pool).retries(1000);
    let count = 400;
    (0..count).for_each(|number| of.run(talks, "killed".to_string(), number));
    for (piece, number) in of.iter_completed() {
        let number = number.unwrap();
        assert_eq!(piece as u64, number);
        let records = seen(&format!("killed {number} "));
        assert!(records.iter().all(|record| record.piece == Some(number)), "{records:?}");
        // What ran to its end has logged all three, one behind the other from one worker.
        let whole = records.windows(3).any(|three| {
            three[0].text.ends_with(" begins")
                && three[1].text.ends_with(" goes on")
                && three[2].text.contains(" ends ")
        });
        assert!(whole, "{records:?}");
        if random.below(8) == 0
            && let Some(worker) = pool.stats().workers.iter().filter_map(|worker| worker.pid).next()
            && let Some(worker) = support::Process::find(worker)
        {
            worker.kill(libc::SIGKILL);
        }
    }
    assert_well(pool);
}

#[test]
fn a_lost_piece_of_a_detached_task_is_told() {
    let _watch = watchdog();
    let _level = LEVEL.read().unwrap();
    begin();
    let pool = pool(1);
    let of = task::<u64>(&pool);
    of.run(add, 1, 2);
    of.run(talks_and_dies, "detached".to_string(), 7);
    of.run(talks_and_panics, "detached".to_string(), 8);
    of.detach();
    let told = || {
        let all = seen("a piece of a detached task has failed");
        let ours = |seen: &Seen| seen.text.contains("talks_and_");
        all.into_iter().filter(ours).collect::<Vec<_>>()
    };
    wait_for("both are told", || told().len() == 2);
    // One alone, of which nothing else tells the pool.
    let of = task::<u64>(&pool);
    let door = Door::closed();
    let waits = |door: String, _: u64| {
        wait_at(&door);
        panic!("in silence")
    };
    of.run(waits, door.path(), 2);
    of.detach();
    // Until the pool's own thread sleeps: what it did before would make it look. Nothing tells that it does.
    std::thread::sleep(Duration::from_millis(300));
    door.open();
    wait_for("it is told, too", || {
        seen("a piece of a detached task has failed").iter().any(|seen| seen.text.contains("in silence"))
    });
    let [lost, panicked] = &told()[..] else { unreachable!("they were counted") };
    assert!(lost.text.contains("piece 1 (logs::talks_and_dies") && lost.text.contains("SIGABRT"), "{lost:?}");
    assert!(
        panicked.text.contains("piece 2 (logs::talks_and_panics") && panicked.text.contains("as it said"),
        "{panicked:?}"
    );
    assert_eq!((lost.level, lost.target.as_str(), lost.worker), (Level::Warn, "multicore", None));
    assert_well(pool);
}

/// A process that carries the marker of a fork server has no pool, for good.
#[test]
fn a_process_without_a_pool_says_so_once() {
    const NAME: &str = "a_process_without_a_pool_says_so_once";
    const CHILD: &str = "MULTICORE_TEST_WITHOUT_POOL";
    if std::env::var_os(CHILD).is_none() {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env(CHILD, "")
            .output()
            .unwrap();
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
        return;
    }
    let _watch = watchdog();
    // SAFETY: no other thread of this program reads or writes the environment now.
    unsafe { std::env::set_var("MULTICORE_FORK_SERVER", "forged") };
    begin();
    for _ in 0..3 {
        assert!(Task::<u64>::new().is_none() && Task::<u64>::try_new().is_err());
        let of = Task::<u64>::new_or_inline();
        of.run(add, 1, 2);
        assert_eq!(of.get().unwrap(), [3]);
    }
    let told = seen("this process has no pool, so pieces run in their callers: ");
    assert_eq!((told.len(), told[0].level), (1, Level::Warn), "{told:?}");
}
