//! `Shared`: one copy for all workers, that nobody can change.

#![allow(unsafe_code)]

use crate::support::{self, Door, Marks, busy_pool, mark, pool, wait_at, wait_for, watchdog};
use multicore::{Error, ErrorKind, Format, Pool, Shared, Sink, Task};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsRawFd;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The lines of this process's list of mappings that are of shared tables.
fn mappings() -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("multicore-shared")).map(str::to_string).collect()
}

fn count_mappings(_: ()) -> usize {
    mappings().len()
}

fn sum((table, start): (Shared<[f64]>, usize), end: usize) -> f64 {
    table[start..end].iter().sum()
}

fn halves(count: usize) -> Shared<[f64]> {
    Shared::from_slice(&vec![0.5; count]).unwrap()
}

/// Everything that can be shared, at several depths.
#[derive(Clone, Serialize, Deserialize)]
struct Nested {
    text: Shared<str>,
    maps: Vec<Shared<BTreeMap<u32, String>>>,
    items: Option<Shared<[[u16; 3]]>>,
    own: u64,
}

fn describe(nested: Nested) -> String {
    let items = nested.items.as_ref().map_or(0, |items| items.iter().flatten().map(|&item| u64::from(item)).sum());
    let maps: Vec<String> = nested.maps.iter().map(|map| map.values().cloned().collect::<String>()).collect();
    format!("{} {} {items} {}", &*nested.text, maps.join("/"), nested.own)
}

fn nested(own: u64) -> Nested {
    let map = Shared::new(BTreeMap::from([(1, "one".to_string()), (2, "two".to_string())])).unwrap();
    let items = Shared::from_slice(&[[1, 2, 3], [4, 5, 6]]).unwrap();
    Nested { text: Shared::from_str("söme text").unwrap(), maps: vec![map.clone(), map], items: Some(items), own }
}

#[test]
fn what_is_shared_comes_to_every_piece_in_every_way() {
    let _watch = watchdog();
    for pool in [pool(2), busy_pool()] {
        for format in [Format::Bincode, Format::Json] {
            let table = halves(1000);
            let all = nested(7);
            let texts = pool.task_or_inline::<String>().format(format);
            texts.call(describe, all.clone());
            texts.call_ref(describe, &all);
            texts.call_all(describe, (0..3).map(|own| Nested { own, ..all.clone() }));
            texts.run(|nested: Nested, more: String| describe(nested) + &more, all.clone(), "!".to_string());
            texts.try_call(|nested: Nested| -> Result<String, Error> { Ok(describe(nested)) }, all);
            let text = |own: u64| format!("söme text onetwo/onetwo 21 {own}");
            let expected = [text(7), text(7), text(0), text(1), text(2), text(7) + "!", text(7)];
            assert_eq!(texts.get().unwrap(), expected);
            let sums = pool.task_or_inline::<f64>().format(format);
            sums.run_all(sum, (0..10).map(|part| ((table.clone(), part * 100), part * 100 + 100)));
            assert_eq!(sums.get().unwrap(), [50.0; 10]);
            let mapped = pool.task_or_inline::<f64>().format(format);
            let mapped =
                mapped.map(|(table, at): (Shared<[f64]>, usize)| table[at], (0..1000).map(|at| (table.clone(), at)));
            assert_eq!(mapped.map(Result::unwrap).sum::<f64>(), 500.0);
        }
        let write = |text: Shared<str>, times: usize, sink: &mut Sink| (0..times).for_each(|_| sink.push_str(&text));
        let written = pool.task_or_inline::<String>();
        written.run_into(write, Shared::from_str("ab").unwrap(), 3);
        assert_eq!(written.get().unwrap(), ["ababab"]);
    }
}

#[test]
fn empty_tables_and_lengths_that_are_no_lengths() {
    let _watch = watchdog();
    let pool = pool(1);
    let task = pool.task::<usize>().unwrap();
    task.call(|table: Shared<[u64]>| table.len() + mappings().len(), Shared::from_slice(&[]).unwrap());
    task.call(|text: Shared<str>| text.len() + mappings().len(), Shared::from_str("").unwrap());
    task.call(|nothing: Shared<()>| std::mem::size_of_val(&*nothing), Shared::new(()).unwrap());
    task.call(|table: Shared<[[u8; 0]]>| table.len(), Shared::from_slice(&[[0; 0]; 5]).unwrap());
    assert_eq!(task.get().unwrap(), [0, 0, 0, 5]);
    assert_eq!(Shared::<[u32]>::build(0, |items| assert!(items.is_empty())).unwrap().len(), 0);
    let error = Shared::<[u64]>::build(usize::MAX / 8, |_| unreachable!()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    let error = Shared::<[u8]>::build(1 << 50, |_| unreachable!()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::System, "{error}");
}

#[test]
fn a_table_that_is_built_in_place_is_zeroed_before_and_a_panic_leaves_none() {
    let _watch = watchdog();
    let table = Shared::<[u32]>::build(100_000, |items| {
        assert!(items.iter().all(|&item| item == 0));
        items.iter_mut().enumerate().for_each(|(number, item)| *item = number as u32);
    });
    let pool = pool(2);
    let task = pool.task::<u32>().unwrap();
    task.call(|table: Shared<[u32]>| *table.last().unwrap(), table.unwrap());
    assert_eq!(task.get().unwrap(), [99_999]);
    let built = std::panic::catch_unwind(|| Shared::<[u32]>::build(10, |_| panic!("no")));
    assert!(built.is_err());
}

/// A child that another thread forks while a table is filled would keep its mapping, and the kernel would refuse the seal.
#[test]
fn a_fork_while_a_table_is_filled_does_not_keep_it_from_being_sealed() {
    let _watch = watchdog();
    let door = Door::closed();
    let mut child = 0;
    let table = Shared::<[u8]>::build(1 << 16, |items| {
        items.fill(7);
        // SAFETY: the child of this fork only sleeps, and is killed below.
        child = unsafe { libc::fork() };
        if child == 0 {
            loop {
                // SAFETY: the call has no preconditions.
                unsafe { libc::pause() };
            }
        }
    });
    // SAFETY: the child is ours and not reaped.
    unsafe { libc::kill(child, libc::SIGKILL) };
    // SAFETY: as above; no status is asked for.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    drop(door);
    assert!(table.unwrap().iter().all(|&item| item == 7));
}

/// Tries all that could change the memory of what is shared. Gives what was possible.
fn attack(table: Shared<[u64]>) -> Vec<String> {
    let (start, bytes) = (table.as_ptr().cast_mut().cast::<libc::c_void>(), size_of_val(&*table));
    let mut done = Vec::new();
    let mut tried = |what: &str, worked: bool| {
        if worked {
            done.push(what.to_string());
        }
    };
    // SAFETY: a change of the rights of a mapping touches no memory; that it is refused is what is tested.
    tried("mprotect", unsafe { libc::mprotect(start, bytes, libc::PROT_READ | libc::PROT_WRITE) } == 0);
    let line = mappings().remove(0);
    let range = line.split(' ').next().unwrap();
    // A worker does not keep the descriptor; where the system lets it, it opens the file again.
    for writes in [true, false] {
        let path = format!("/proc/self/map_files/{range}");
        let Ok(file) = std::fs::OpenOptions::new().read(true).write(writes).open(path) else { continue };
        let fd = file.as_raw_fd();
        let rights = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let mapped = unsafe { libc::mmap(std::ptr::null_mut(), bytes, rights, libc::MAP_SHARED, fd, 0) };
        tried("mmap", mapped != libc::MAP_FAILED);
        // SAFETY: these calls take a descriptor and numbers; the buffer is there.
        unsafe {
            tried("write", libc::pwrite(fd, [1u8; 8].as_ptr().cast(), 8, 0) == 8);
            tried("truncate", libc::ftruncate(fd, 0) == 0);
            tried("grow", libc::ftruncate(fd, 2 * bytes as i64) == 0);
            let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            tried("punch", libc::fallocate(fd, punch, 0, bytes as i64) == 0);
            tried("unseal", libc::fcntl(fd, libc::F_ADD_SEALS, 0) == 0);
        }
    }
    use std::os::unix::fs::FileExt;
    let memory = std::fs::OpenOptions::new().write(true).open("/proc/self/mem");
    tried("memory", memory.is_ok_and(|memory| memory.write_at(&[1; 8], start as u64).is_ok()));
    done
}

/// On kernels before 6.7 the mapping is private: there a worker may change its own copy by /proc/self/mem, and nobody else's.
#[test]
fn a_hostile_worker_cannot_change_what_is_shared() {
    let _watch = watchdog();
    let pool = pool(2);
    let table = Shared::<[u64]>::build(100_000, |items| items.fill(0x5eed)).unwrap();
    let is_private = mappings().iter().any(|line| line.contains("r--p"));
    let task = pool.task::<Vec<String>>().unwrap();
    for _ in 0..8 {
        task.call(attack, table.clone());
    }
    for mut done in task.get().unwrap() {
        done.retain(|what| !(is_private && what == "memory"));
        assert_eq!(done, Vec::<String>::new());
    }
    assert!(table.iter().all(|&item| item == 0x5eed));
    // Where a worker is asked for a write that the memory forbids, it is the worker that dies.
    let write = |table: Shared<[u64]>| {
        support::be_silent();
        // SAFETY: none: the test is that the kernel forbids it.
        unsafe { table.as_ptr().cast_mut().write_volatile(1) };
    };
    let task = pool.task::<()>().unwrap();
    task.call(write, table.clone());
    assert_eq!(task.get().unwrap_err().kind(), ErrorKind::WorkerLost);
    assert!(table.iter().all(|&item| item == 0x5eed));
}

/// The bytes of its own that a worker has in the mappings of what is shared.
fn own_bytes(_: Shared<[u64]>) -> u64 {
    let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut is_shared = false;
    let mut own = 0;
    for line in smaps.lines() {
        if line.contains('-') && line.contains(' ') && !line.ends_with("kB") {
            is_shared = line.contains("multicore-shared");
        } else if is_shared && line.starts_with("Anonymous:") {
            own += line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024;
        }
    }
    own
}

#[test]
fn the_machine_has_one_copy_and_a_worker_maps_it_once() {
    let _watch = watchdog();
    let pool = pool(3);
    let table = Shared::<[u64]>::build(1 << 20, |items| items.fill(1)).unwrap();
    let touch = |table: Shared<[u64]>| {
        assert_eq!(table.iter().sum::<u64>(), 1 << 20);
        (mappings().len(), own_bytes(table))
    };
    let task = pool.task::<(usize, u64)>().unwrap();
    for _ in 0..30 {
        task.call(touch, table.clone());
    }
    assert!(task.get().unwrap().iter().all(|&found| found == (1, 0)));
    assert_eq!(pool.stats().shared_bytes, 8 << 20);
}

#[test]
fn with_the_last_handle_the_workers_let_go() {
    let _watch = watchdog();
    let pool = pool(2);
    for round in 0..20 {
        let table = Shared::<[u64]>::build(1000, |items| items.fill(round)).unwrap();
        let other = table.clone();
        let task = pool.task::<u64>().unwrap();
        for _ in 0..20 {
            task.call(|table: Shared<[u64]>| table[999], table.clone());
        }
        drop(table);
        assert_eq!(task.get().unwrap(), [round; 20]);
        assert_eq!(pool.stats().shared_bytes, 8000);
        drop(other);
        wait_for("nothing is shared", || pool.stats().shared_bytes == 0);
    }
    let mapped = || {
        let task = pool.task::<usize>().unwrap();
        task.call_all(count_mappings, [(); 16]);
        task.get().unwrap().into_iter().sum::<usize>()
    };
    wait_for("no worker has a mapping", || mapped() == 0);
}

static KEPT: Mutex<Option<Shared<[u64]>>> = Mutex::new(None);

#[test]
fn a_handle_that_a_piece_keeps_stays_valid() {
    let _watch = watchdog();
    let pool = pool(1);
    let table = Shared::<[u64]>::build(10_000, |items| items.fill(3)).unwrap();
    let task = pool.task::<()>().unwrap();
    task.call(|table: Shared<[u64]>| *KEPT.lock().unwrap() = Some(table), table.clone());
    task.wait().unwrap();
    drop(table);
    wait_for("nothing is shared", || pool.stats().shared_bytes == 0);
    for _ in 0..3 {
        let task = pool.task::<u64>().unwrap();
        task.call(|_: ()| KEPT.lock().unwrap().as_ref().unwrap().iter().sum::<u64>(), ());
        assert_eq!(task.get().unwrap(), [30_000]);
    }
}

/// A task that is dropped, cancelled, stopped, abandoned or detached keeps nothing.
#[test]
fn however_a_task_ends_it_lets_go_of_what_its_pieces_share() {
    let _watch = watchdog();
    let pool = pool(2);
    for end in 0..5 {
        let door = Door::closed();
        let table = halves(5000);
        let task = pool.task::<f64>().unwrap();
        task.run_all(
            |(table, door): (Shared<[f64]>, String), at: usize| {
                wait_at(&door);
                table[at]
            },
            (0..50).map(|at| ((table.clone(), door.path()), at)),
        );
        drop(table);
        assert_eq!(pool.stats().shared_bytes, 40_000);
        match end {
            0 => drop(task),
            1 => task.cancel(),
            2 => {
                let canceller = task.canceller();
                canceller.stop();
                door.open();
                assert!(task.get_each().iter().filter(|result| result.is_ok()).count() <= 4);
            }
            3 => {
                task.canceller().abandon();
                assert!(task.get_each().iter().all(Result::is_err));
            }
            _ => task.detach(),
        }
        door.open();
        wait_for("nothing is shared", || pool.stats().shared_bytes == 0);
    }
}

fn refuse<'de, D: serde::Deserializer<'de>>(_: D) -> Result<u32, D::Error> {
    if is_in_worker() { Err(serde::de::Error::custom("not here")) } else { Ok(1) }
}

/// True in a worker, whose thread has a name of the crate's.
fn is_in_worker() -> bool {
    std::fs::read_to_string("/proc/self/comm").unwrap().starts_with("multicore-")
}

#[derive(Serialize, Deserialize)]
struct Stubborn {
    #[serde(deserialize_with = "refuse")]
    number: u32,
}

#[test]
fn a_value_is_decoded_once_in_each_worker_and_a_failure_is_the_pieces() {
    let _watch = watchdog();
    let pool = pool(1);
    let table = Shared::new(Stubborn { number: 1 }).unwrap();
    assert_eq!(table.number, 1);
    let task = pool.task::<u32>().unwrap();
    task.call(|table: Shared<Stubborn>| table.number, table.clone());
    task.call(|table: Shared<[f64]>| table.len() as u32, halves(4));
    let results = task.get_each();
    let error = results[0].as_ref().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Decode);
    assert!(error.to_string().contains("not here"), "{error}");
    assert_eq!(*results[1].as_ref().unwrap(), 4);
    // The same address in each piece: it was decoded once.
    let map = Shared::new(HashMap::from([(1u32, "one".to_string())])).unwrap();
    let task = pool.task::<usize>().unwrap();
    for _ in 0..5 {
        task.call(|map: Shared<HashMap<u32, String>>| &raw const map[&1] as usize, map.clone());
    }
    let addresses = task.get().unwrap();
    assert!(addresses.iter().all(|address| *address == addresses[0]));
}

#[test]
fn it_travels_nowhere_but_in_the_arguments_of_a_piece() {
    let _watch = watchdog();
    let pool = pool(1);
    for backend in [&pool, &busy_pool()] {
        let task = backend.task_or_inline::<Shared<str>>();
        task.call(|text: Shared<str>| text, Shared::from_str("back").unwrap());
        let error = task.get().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Encode);
        assert!(error.to_string().contains("a Shared travels in the arguments of a piece alone"), "{error}");
        // A number that a piece makes up means nothing, even that of a table that is there.
        let task = backend.task_or_inline::<bool>();
        let forge = |(text, number): (Shared<str>, String)| {
            let right = text.len() == 4;
            right && serde_json::from_str::<Shared<str>>(&number).is_ok()
        };
        task.call(forge, (Shared::from_str("text").unwrap(), format!("\"{:032x}\"", 1)));
        assert_eq!(task.get().unwrap(), [false]);
    }
    let text = Shared::from_str("text").unwrap();
    assert!(serde_json::to_string(&text).is_err());
    assert!(serde_json::from_str::<Shared<str>>("\"00\"").is_err());
    assert_eq!(Shared::new(text.clone()).unwrap_err().kind(), ErrorKind::Encode);
    let builder = || Pool::builder().workers(1);
    let built = [
        ("on_worker_start", builder().on_worker_start_with(|_: Shared<str>| {}, text.clone()).build()),
        ("on_worker_exit", builder().on_worker_exit_with(|_: Shared<str>| {}, text.clone()).build()),
        ("worker_state", builder().worker_state(|text: Shared<str>| Ok(text.len()), text.clone()).build()),
        ("in a state's value", builder().worker_state(|many: Vec<Shared<str>>| Ok(many.len()), vec![text]).build()),
    ];
    for (what, pool) in built {
        let error = pool.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Encode, "{what}: {error}");
        assert!(error.to_string().contains("a Shared travels in the arguments of a piece alone"), "{what}: {error}");
    }
}

/// Opens files until the system refuses it.
fn use_up_descriptors(keep: usize) -> usize {
    let mut files = FILES.lock().unwrap();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        files.push(file);
    }
    let left = files.len().saturating_sub(keep);
    files.truncate(left);
    files.len()
}

static FILES: Mutex<Vec<std::fs::File>> = Mutex::new(Vec::new());

#[test]
fn a_worker_without_a_free_descriptor_fails_the_piece_and_not_the_next() {
    let _watch = watchdog();
    let limit = |_: ()| {
        let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
        // SAFETY: the limit is read only.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    };
    let pool = Pool::builder().workers(1).on_worker_start_with(limit, ()).build().unwrap();
    let (table, small) = (halves(10_000), Shared::new(7u32).unwrap());
    for _ in 0..3 {
        let task = pool.task::<usize>().unwrap();
        task.call(use_up_descriptors, 0);
        assert!(task.get().unwrap()[0] > 10);
        let task = pool.task::<f64>().unwrap();
        task.run(sum, (table.clone(), 0), 10_000);
        task.call(|small: Shared<u32>| f64::from(*small), small.clone());
        for error in task.get_each() {
            let error = error.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::System);
            assert!(error.to_string().contains("RLIMIT_NOFILE"), "{error}");
        }
    }
    let task = pool.task::<usize>().unwrap();
    task.call(use_up_descriptors, 5);
    task.wait().unwrap();
    let task = pool.task::<f64>().unwrap();
    task.run(sum, (table, 0), 10_000);
    assert_eq!(task.get().unwrap(), [5000.0]);
    assert_eq!(pool.stats().workers_lost, 0);
}

#[test]
fn a_new_worker_gets_what_the_dead_one_had() {
    let _watch = watchdog();
    let pool = pool(2);
    let marks = Marks::new();
    let table = halves(1000);
    let task = pool.task::<f64>().unwrap().retries(3);
    task.run_all(
        |(table, marks): (Shared<[f64]>, String), at: usize| {
            mark(&marks, at as u64);
            let is_first =
                std::fs::read_to_string(&marks).unwrap().lines().filter(|line| **line == at.to_string()).count() == 1;
            if at % 10 == 3 && is_first {
                std::process::abort();
            }
            table[at]
        },
        (0..100).map(|at| ((table.clone(), marks.path()), at)),
    );
    assert_eq!(task.get().unwrap(), [0.5; 100]);
    assert_eq!(pool.stats().workers_lost, 10);
    pool.recycle();
    let task = pool.task::<f64>().unwrap();
    task.run(sum, (table, 0), 1000);
    assert_eq!(task.get().unwrap(), [500.0]);
}

/// More tables than a socket holds, for a worker that does not read: what does not fit waits. Then all of them are forgotten before
/// their pieces began, and the worker, which holds nothing, must empty its socket before it can be given the next one.
#[test]
fn more_tables_than_a_socket_holds_come_all_the_same() {
    let _watch = watchdog();
    let pool = pool(1);
    let first = |(marks, door, table): (String, String, Shared<[u32]>)| {
        mark(&marks, 1);
        wait_at(&door);
        table[0]
    };
    let tables = || (0..700u32).map(|number| Shared::new(vec![number; 3]).unwrap());
    for cancels in [false, true] {
        let door = Door::closed();
        let task = pool.task::<u32>().unwrap();
        let marks = Marks::new();
        task.call(first, (marks.path(), door.path(), Shared::from_slice(&[9]).unwrap()));
        task.call_all(|table: Shared<Vec<u32>>| table[2], tables());
        marks.wait_for(1);
        if cancels {
            let canceller = task.canceller();
            canceller.stop();
        }
        door.open();
        let results = task.get_each();
        assert_eq!(*results[0].as_ref().unwrap(), 9);
        if !cancels {
            let numbers: Vec<u32> = results[1..].iter().map(|result| *result.as_ref().unwrap()).collect();
            assert_eq!(numbers, (0..700).collect::<Vec<_>>());
        }
        drop(results);
        wait_for("nothing is shared", || pool.stats().shared_bytes == 0);
        let task = pool.task::<u32>().unwrap();
        task.call_all(|table: Shared<Vec<u32>>| table[0], tables());
        assert_eq!(task.get().unwrap(), (0..700).collect::<Vec<_>>());
    }
}

static ARMED: AtomicBool = AtomicBool::new(false);

/// A value whose drop panics once that is armed.
#[derive(Serialize, Deserialize)]
struct Bomb(u8);

impl Drop for Bomb {
    fn drop(&mut self) {
        if ARMED.load(Ordering::Relaxed) {
            support::be_silent();
            panic!("dropped");
        }
    }
}

/// In the worker when it forgets the table, and here with the last handle, which the piece has.
#[test]
fn a_panic_in_the_drop_of_what_is_shared_harms_nobody() {
    let _watch = watchdog();
    let pool = pool(1);
    let task = pool.task::<u8>().unwrap();
    let arm = |(bomb, door): (Shared<Bomb>, String)| {
        wait_at(&door);
        ARMED.store(true, Ordering::Relaxed);
        bomb.0
    };
    let door = Door::closed();
    task.call(arm, (Shared::new(Bomb(5)).unwrap(), door.path()));
    ARMED.store(true, Ordering::Relaxed);
    door.open();
    assert_eq!(task.get().unwrap(), [5]);
    wait_for("nothing is shared", || pool.stats().shared_bytes == 0);
    let task = pool.task::<u64>().unwrap();
    task.call(|number: u64| number, 5);
    assert_eq!(task.get().unwrap(), [5]);
    assert_eq!(pool.stats().workers_lost, 0);
}

#[test]
fn handles_may_be_used_and_dropped_by_many_threads_while_pools_come_and_go() {
    let _watch = watchdog();
    let table = halves(4096);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let table = table.clone();
            scope.spawn(move || {
                for round in 0..15 {
                    let pool = pool(1 + (thread + round) % 2);
                    let own = halves(100);
                    let task = pool.task::<f64>().unwrap();
                    for part in 0..20 {
                        task.run(sum, (table.clone(), part), part + 10);
                        task.run(sum, (own.clone(), part), part + 10);
                    }
                    drop(own);
                    match round % 3 {
                        0 => drop(task),
                        1 => assert_eq!(task.get().unwrap(), [5.0; 40]),
                        _ => drop((pool, task)),
                    }
                }
            });
        }
    });
    let task = Task::<f64>::new_or_inline();
    task.run(sum, (table, 0), 4096);
    assert_eq!(task.get().unwrap(), [2048.0]);
}

#[test]
fn a_time_limit_does_not_count_what_a_table_takes_to_come() {
    let _watch = watchdog();
    let pool = pool(2);
    let task = pool.task::<f64>().unwrap().timeout(Duration::from_secs(20)).retries(1);
    task.run(sum, (halves(1 << 20), 0), 1 << 20);
    assert_eq!(task.get().unwrap(), [524_288.0]);
}

/// A task that lives on keeps nothing of its pieces that have ended, whichever way.
#[test]
fn a_piece_keeps_what_it_shares_until_it_has_its_outcome_and_no_longer() {
    let _watch = watchdog();
    let pool = pool(1);
    let nothing_is_shared = || wait_for("nothing is shared", || pool.stats().shared_bytes == 0);
    let mut task = pool.task::<f64>().unwrap();
    task.run(sum, (halves(10), 0), 10);
    nothing_is_shared();
    assert_eq!(task.next().unwrap().unwrap(), 5.0);
    let fail = |table: Shared<[f64]>| -> Result<f64, String> { Err(format!("{}", table.len())) };
    task.try_call(fail, halves(10));
    nothing_is_shared();
    task.call(|_: Shared<[f64]>| -> f64 { std::process::exit(1) }, halves(10));
    nothing_is_shared();
    assert_eq!(task.next().unwrap().unwrap_err().kind(), ErrorKind::Failed);
    assert_eq!(task.next().unwrap().unwrap_err().kind(), ErrorKind::WorkerLost);
    // Those of an ended task end before their workers do.
    let door = Door::closed();
    let wait = |(_, door): (Shared<[f64]>, String)| {
        wait_at(&door);
        0.0
    };
    task.call_all(wait, (0..10).map(|_| (halves(10), door.path())));
    task.canceller().abandon();
    nothing_is_shared();
    door.open();
    assert!(task.get_each().iter().all(Result::is_err));
}

/// What lies in a socket that is full belongs to pieces that never began, and is still shared: so nothing is forgotten.
#[test]
fn a_worker_that_holds_nothing_empties_its_full_socket() {
    let _watch = watchdog();
    let pool = pool(1);
    let tables = |from: u32| (from..from + 700).map(|number| Shared::new(number).unwrap()).collect::<Vec<_>>();
    let (stale, new) = (tables(0), tables(1000));
    let value = |table: Shared<u32>| *table;
    for _ in 0..3 {
        let door = Door::closed();
        let task = pool.task::<u32>().unwrap();
        let marks = Marks::new();
        let first = |(marks, door): (String, String)| {
            mark(&marks, 1);
            wait_at(&door);
            7
        };
        task.call(first, (marks.path(), door.path()));
        task.call_all(value, stale.iter().cloned());
        marks.wait_for(1);
        task.canceller().stop();
        door.open();
        assert_eq!(*task.get_each()[0].as_ref().unwrap(), 7);
        let task = pool.task::<u32>().unwrap();
        task.call_all(value, new.iter().cloned());
        assert_eq!(task.get().unwrap(), (1000..1700).collect::<Vec<_>>());
        pool.renew_workers();
    }
}

/// The ring of a worker that does not read is full: it hears of it later, though it gets no further piece.
#[test]
fn a_worker_without_room_forgets_once_it_has_some() {
    let _watch = watchdog();
    let pool = pool(1);
    let table = halves(1000);
    let task = pool.task::<f64>().unwrap();
    task.run(sum, (table.clone(), 0), 1000);
    assert_eq!(task.get().unwrap(), [500.0]);
    let worker = pool.stats().workers[0].pid.unwrap();
    let has_table = || {
        let maps = std::fs::read_to_string(format!("/proc/{worker}/maps")).unwrap();
        maps.contains("multicore-shared")
    };
    assert!(has_table());
    let door = Door::closed();
    let task = pool.task::<usize>().unwrap();
    task.run_all(
        |door: String, filling: Vec<u8>| {
            wait_at(&door);
            filling.len()
        },
        (0..100).map(|_| (door.path(), vec![1; 40_000])),
    );
    drop(table);
    wait_for("nothing is shared", || pool.stats().shared_bytes == 0);
    assert!(has_table());
    door.open();
    assert_eq!(task.get().unwrap(), [40_000; 100]);
    wait_for("it was forgotten", || !has_table());
}

/// Nobody waits, and the worker holds nothing: it is asked all the same to empty its socket, and to say so.
#[test]
fn a_piece_of_more_tables_than_a_socket_holds_begins_though_nobody_waits() {
    let _watch = watchdog();
    let pool = pool(1);
    let marks = Marks::new();
    let tables: Vec<_> = (0..2000u32).map(|number| Shared::new(number).unwrap()).collect();
    let task = pool.task::<()>().unwrap();
    task.run(
        |marks: String, tables: Vec<Shared<u32>>| mark(&marks, tables.iter().map(|table| u64::from(**table)).sum()),
        marks.path(),
        tables,
    );
    marks.wait_for(1);
    assert_eq!(marks.numbers(), [1999 * 1000]);
    task.wait().unwrap();
}

#[test]
fn pieces_that_fail_keep_nothing_and_those_that_come_too_late_neither() {
    let _watch = watchdog();
    let pool = pool(1);
    let mut task = pool.task::<f64>().unwrap();
    let fail = |table: Shared<[f64]>| -> Result<f64, String> { Err(format!("{}", table.len())) };
    for _ in 0..100 {
        task.try_call(fail, halves(1000));
        assert!(task.next().unwrap().is_err());
        wait_for("little is shared", || pool.stats().shared_bytes <= 8000);
    }
    task.canceller().cancel();
    for _ in 0..20 {
        task.run(sum, (halves(1000), 0), 1000);
    }
    wait_for("nothing is shared", || pool.stats().shared_bytes == 0);
    assert!(task.get_each().iter().all(Result::is_err));
}

/// The descriptor that this process has of a table.
fn descriptor_of(table: &Shared<[f64]>) -> i32 {
    let start = format!("{:x}-", table.as_ptr() as usize);
    let line = mappings().into_iter().find(|line| line.starts_with(&start)).unwrap();
    let inode: u64 = line.split_whitespace().nth(4).unwrap().parse().unwrap();
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let numbers = descriptors.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_it = |fd: &i32| {
        let file = std::fs::metadata(format!("/proc/self/fd/{fd}"));
        file.is_ok_and(|file| std::os::unix::fs::MetadataExt::ino(&file) == inode)
    };
    numbers.into_iter().find(is_it).unwrap()
}

/// As a program does that closes all descriptors that it does not know, while the piece waits.
#[test]
fn a_piece_whose_table_was_closed_by_the_host_fails_and_no_other() {
    let _watch = watchdog();
    let pool = pool(1);
    let door = Door::closed();
    let blocked = pool.task::<()>().unwrap();
    blocked.call_all(|door: String| wait_at(&door), [door.path(), door.path()]);
    let (closed, open) = (halves(1000), halves(500));
    // The worker's ring is full of these, so the pieces that follow wait in this process.
    let filling = pool.task::<usize>().unwrap();
    filling.call_all(|bytes: Vec<u8>| bytes.len(), (0..40).map(|_| vec![0; 60_000]));
    let task = pool.task::<f64>().unwrap();
    for table in [&closed, &open, &closed] {
        task.run(sum, (table.clone(), 0), table.len());
    }
    // SAFETY: the table's own descriptor, which the crate then no longer takes for its own.
    unsafe { libc::close(descriptor_of(&closed)) };
    door.open();
    let results = task.get_each();
    for number in [0, 2] {
        let error = results[number].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::System, "{error}");
        assert!(error.to_string().contains("has closed the descriptor"), "{error}");
    }
    assert_eq!(*results[1].as_ref().unwrap(), 250.0);
    assert_eq!(closed.iter().sum::<f64>(), 500.0, "it stays mapped here");
    blocked.wait().unwrap();
    filling.wait().unwrap();
    assert_eq!(pool.stats().pieces_failed, 2);
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Unsigned(Shared<u64>),
    Signed(Shared<i64>),
}

/// JSON tries one type after the other: the number of a table alone fits both.
#[test]
fn a_value_is_never_taken_for_one_of_another_type() {
    let _watch = watchdog();
    for pool in [pool(1), busy_pool()] {
        let signed = Shared::new(4i64).unwrap();
        for _ in 0..2 {
            let task = pool.task_or_inline::<String>().format(Format::Json);
            let describe = |either: Either| match either {
                Either::Unsigned(number) => format!("unsigned {}", *number),
                Either::Signed(number) => format!("signed {}", *number),
            };
            task.call(describe, Either::Signed(signed.clone()));
            task.call(|number: Shared<i64>| number.to_string(), signed.clone());
            assert_eq!(task.get().unwrap(), ["signed 4", "4"]);
        }
    }
}

/// Marks which process drops it.
#[derive(Serialize, Deserialize)]
struct Marked(String);

impl Drop for Marked {
    fn drop(&mut self) {
        if !self.0.is_empty() && std::path::Path::new(&self.0).exists() {
            mark(&self.0, u64::from(std::process::id()));
        }
    }
}

#[test]
fn a_detached_task_lets_go_though_nobody_looks() {
    let _watch = watchdog();
    let pool = pool(1);
    let (marks, door) = (Marks::new(), Door::closed());
    let value = Shared::new(Marked(marks.path())).unwrap();
    // What the proof of its encoding dropped.
    let before = marks.count();
    let task = pool.task::<usize>().unwrap();
    let wait = |(value, door): (Shared<Marked>, String)| {
        wait_at(&door);
        value.0.len()
    };
    task.call(wait, (value, door.path()));
    task.detach();
    door.open();
    let here = u64::from(std::process::id());
    let dropped_here = || marks.numbers().iter().filter(|&&process| process == here).count() > before;
    wait_for("it was dropped here", dropped_here);
}

/// A piece that lacks one of its tables does not make the worker lose count of the other.
#[test]
fn what_came_beside_a_table_that_did_not_is_forgotten_too() {
    let _watch = watchdog();
    let limit = |_: ()| {
        let limit = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
        // SAFETY: the limit is read only.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    };
    let pool = Pool::builder().workers(1).on_worker_start_with(limit, ()).build().unwrap();
    let (first, second) = (halves(1000), halves(2000));
    let task = pool.task::<f64>().unwrap();
    task.run(sum, (first.clone(), 0), 1000);
    task.wait().unwrap();
    let worker = pool.stats().workers[0].pid.unwrap();
    let task = pool.task::<usize>().unwrap();
    task.call(use_up_descriptors, 0);
    task.wait().unwrap();
    let both = |(first, second): (Shared<[f64]>, Shared<[f64]>)| first.len() + second.len();
    for keep in [0, 5] {
        let task = pool.task::<usize>().unwrap();
        task.call(both, (first.clone(), second.clone()));
        match keep {
            0 => assert_eq!(task.get().unwrap_err().kind(), ErrorKind::System),
            _ => assert_eq!(task.get().unwrap(), [3000]),
        }
        let task = pool.task::<usize>().unwrap();
        task.call(use_up_descriptors, 5);
        task.wait().unwrap();
    }
    drop((first, second));
    let maps = || std::fs::read_to_string(format!("/proc/{worker}/maps")).unwrap();
    wait_for("both are forgotten", || !maps().contains("multicore-shared"));
    assert_eq!(pool.stats().workers_lost, 0);
}

#[cfg(feature = "bytemuck")]
mod pod {
    use super::*;

    #[derive(Clone, Copy, PartialEq, Debug, Default)]
    #[repr(C)]
    struct Place {
        latitude: f64,
        longitude: f64,
        id: u64,
    }

    // SAFETY: three numbers of eight bytes: no padding, and every value of bytes is one.
    unsafe impl bytemuck::Zeroable for Place {}
    // SAFETY: as above.
    unsafe impl bytemuck::Pod for Place {}

    #[test]
    fn items_of_a_users_own_type_are_shared_as_they_are() {
        let _watch = watchdog();
        let places: Vec<Place> =
            (0..1000).map(|id| Place { latitude: id as f64 / 10.0, longitude: -1.5, id }).collect();
        let table = Shared::from_slice(&places).unwrap();
        assert_eq!(&*table, &places[..]);
        for pool in [pool(2), busy_pool()] {
            let task = pool.task_or_inline::<(u64, f64)>();
            let find = |table: Shared<[Place]>, id: u64| {
                let place = table.iter().find(|place| place.id == id).unwrap();
                (place.id, place.latitude + place.longitude)
            };
            task.run(find, table.clone(), 500);
            assert_eq!(task.get().unwrap(), [(500, 48.5)]);
        }
        let pairs = Shared::from_slice(&[[1u8, 2], [3, 4]]).unwrap();
        assert_eq!(pairs[1], [3, 4]);
    }
}
