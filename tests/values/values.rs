//! Values of any size in both directions: tiny, at the limits of a record and a ring, and far larger.

use crate::support::{self, DEADLINE, Random, pool, task, wait_for, watchdog};
use multicore::{Error, Format, Pool};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

const MIB: usize = 1 << 20;

/// The sizes near a limit: of an inline reply, of a whole record, of a chunk, and of a ring.
fn edges() -> Vec<usize> {
    let mut sizes = vec![0, 1, 2];
    for edge in [8, 16, 32, 16 * 1024, 64 * 1024, 128 * 1024, 256 * 1024, MIB] {
        // A string's length, a header or a length before the value may move a limit by some bytes.
        let near = [-24, -16, -9, -8, -7, -1, 0, 1, 8, 9];
        sizes.extend(near.iter().filter_map(|&more| edge.checked_add_signed(more)));
    }
    sizes
}

/// Bytes that differ everywhere, so that no block can be taken for another one. Cheap without optimisation.
fn bytes(seed: u64, size: usize) -> Vec<u8> {
    const BLOCK: usize = 4099;
    let mut block = [0; BLOCK];
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    for byte in &mut block {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = (state >> 56) as u8;
    }
    let mut bytes = block.repeat(size / BLOCK + 1);
    bytes.truncate(size);
    // Each block begins with its number.
    for (number, block) in bytes.chunks_mut(BLOCK).enumerate() {
        for (place, byte) in block.iter_mut().zip(number.to_le_bytes()) {
            *place = byte;
        }
    }
    bytes
}

fn text(seed: u64, size: usize) -> String {
    bytes(seed, size).into_iter().map(|byte| char::from(b'a' + byte % 26)).collect()
}

#[track_caller]
fn assert_same(left: &[u8], right: &[u8], what: &str) {
    assert_eq!(left.len(), right.len(), "{what}: the length");
    if left != right {
        let place = left.iter().zip(right).position(|(left, right)| left != right);
        panic!("{what}: {} bytes differ at {place:?}", left.len());
    }
}

fn same(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

#[test]
fn bytes_of_every_size_go_there_and_back() {
    let _watch = watchdog();
    let pool = pool(2);
    for format in [Format::Bincode, Format::Raw] {
        let task = task::<Vec<u8>>(&pool).format(format);
        for (seed, &size) in edges().iter().enumerate() {
            task.call(same, bytes(seed as u64, size));
        }
        for ((seed, &size), result) in edges().iter().enumerate().zip(task.iter()) {
            assert_same(&result.unwrap(), &bytes(seed as u64, size), &format!("{format:?}, {size}"));
        }
    }
    support::assert_works(&pool);
}

#[test]
fn texts_of_every_size_go_there_and_back() {
    let _watch = watchdog();
    let pool = pool(2);
    for format in [Format::Bincode, Format::Json, Format::Raw] {
        let sizes: Vec<usize> = edges().into_iter().filter(|&size| size < MIB / 2).collect();
        let task = task::<String>(&pool).format(format);
        for (seed, &size) in sizes.iter().enumerate() {
            task.call(|text: String| text, text(seed as u64, size));
        }
        for ((seed, &size), result) in sizes.iter().enumerate().zip(task.get_each()) {
            let (result, expected) = (result.unwrap(), text(seed as u64, size));
            assert_same(result.as_bytes(), expected.as_bytes(), &format!("{format:?}, {size}"));
        }
    }
}

/// Large arguments alone, and large results alone.
#[test]
fn each_direction_alone_carries_every_size() {
    let _watch = watchdog();
    let pool = pool(2);
    let sums = task::<(u64, u64)>(&pool);
    let made = task::<Vec<u8>>(&pool);
    let sum = |bytes: &[u8]| (bytes.len() as u64, bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>());
    for &size in edges().iter().filter(|&&size| size < MIB / 2) {
        sums.call(
            |bytes: Vec<u8>| (bytes.len() as u64, bytes.iter().map(|&byte| u64::from(byte)).sum()),
            bytes(1, size),
        );
        sums.run(
            |bytes: Vec<u8>, more: u64| (bytes.len() as u64, more + bytes.iter().map(|&b| u64::from(b)).sum::<u64>()),
            bytes(2, size),
            5,
        );
        made.run(|seed: u64, size: usize| bytes(seed, size), 3, size);
    }
    let sums = sums.get().unwrap();
    for (index, &size) in edges().iter().filter(|&&size| size < MIB / 2).enumerate() {
        let (first, (length, total)) = (sum(&bytes(1, size)), sum(&bytes(2, size)));
        assert_eq!(sums[2 * index], first, "{size}");
        assert_eq!(sums[2 * index + 1], (length, total + 5), "{size} as one of a pair");
    }
    let mut written = Vec::new();
    made.write_to(&mut written).unwrap();
    let expected: Vec<u8> = edges().iter().filter(|&&size| size < MIB / 2).flat_map(|&size| bytes(3, size)).collect();
    assert_same(&written, &expected, "written");
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Shape {
    Point,
    Circle { radius: f64 },
    Polygon(Vec<(i32, i32)>),
    Group(Vec<Shape>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Drawing {
    name: String,
    shapes: Vec<Shape>,
    tags: BTreeMap<String, Option<u64>>,
    preview: Vec<u8>,
}

fn drawing(size: usize) -> Drawing {
    let polygon = |sides: usize| Shape::Polygon((0..sides as i32).map(|side| (side, -side)).collect());
    Drawing {
        name: text(1, size % 1000),
        shapes: vec![Shape::Point, Shape::Circle { radius: 0.5 }, Shape::Group(vec![polygon(size), Shape::Point])],
        tags: (0..size % 100).map(|tag| (format!("tag {tag}"), (tag % 2 == 0).then_some(tag as u64))).collect(),
        preview: bytes(2, size),
    }
}

#[test]
fn structured_values_go_there_and_back() {
    let _watch = watchdog();
    let pool = pool(2);
    for format in [Format::Bincode, Format::Json] {
        let sizes = [0, 1, 10, 100, 1000, 5000, 20_000];
        let task = task::<Drawing>(&pool).format(format);
        task.run_all(|drawing: Drawing, _: ()| drawing, sizes.map(|size| (drawing(size), ())));
        for (size, result) in sizes.into_iter().zip(task.get().unwrap()) {
            assert!(result == drawing(size), "{format:?}, {size}");
        }
    }
}

#[test]
fn big_and_small_values_mix_on_several_workers() {
    let _watch = watchdog();
    let mut random = Random::seeded();
    let pool = pool(3);
    for _ in 0..5 {
        let tasks: Vec<_> = (0..3).map(|_| task::<Vec<u8>>(&pool)).collect();
        let mut sizes = vec![Vec::new(); 3];
        for _ in 0..60 {
            let which = random.below(3) as usize;
            // Most are small.
            let size = match random.below(10) {
                0 => random.below(2 * MIB as u64),
                1 | 2 => random.below(100_000),
                _ => random.below(100),
            } as usize;
            tasks[which].call(same, bytes(size as u64, size));
            sizes[which].push(size);
        }
        for (task, sizes) in tasks.into_iter().zip(sizes) {
            for (size, result) in sizes.into_iter().zip(task.get().unwrap()) {
                assert_same(&result, &bytes(size as u64, size), &format!("{size} among others"));
            }
        }
    }
}

#[test]
fn values_of_64_mib_travel_several_at_once() {
    let _watch = watchdog();
    let pool = pool(3);
    let size = 64 * MIB;
    let task = task::<Vec<u8>>(&pool);
    for seed in 0..3 {
        task.call(same, bytes(seed, size));
    }
    // Small values continue to travel meanwhile.
    let small = support::task::<u64>(&pool);
    small.run_all(support::add, (0..100).map(|number| (number, 0)));
    for (seed, result) in (0..3).zip(task.iter()) {
        assert_same(&result.unwrap(), &bytes(seed, size), "64 MiB");
    }
    assert_eq!(small.get().unwrap().len(), 100);
}

/// No caller waits: the supervisor alone moves both streams.
#[test]
fn big_values_travel_while_nobody_waits() {
    let _watch = watchdog();
    let pool = pool(2);
    let task = task::<Vec<u8>>(&pool);
    for seed in 0..4 {
        task.call(same, bytes(seed, 8 * MIB));
    }
    wait_for("all pieces are done", || pool.stats().pieces_done == 4);
    assert_eq!(task.completed(), 4);
    let results: Result<Vec<Vec<u8>>, Error> = task.get_timeout(DEADLINE);
    for (seed, result) in (0..).zip(results.unwrap()) {
        assert_same(&result, &bytes(seed, 8 * MIB), "8 MiB");
    }
}

/// Fault 81. A worker had not begun a long argument when its task was dropped, and its ring was full of that. The next long
/// argument found no room, and nobody was told when there was some: its caller waited without an end.
#[test]
fn a_long_value_is_sent_after_one_that_nobody_wants_any_more() {
    let _watch = watchdog();
    // Nothing begins before the first task is dropped.
    let takes_a_while = || std::thread::sleep(Duration::from_millis(100));
    let pool = Pool::builder().workers(1).on_worker_start(takes_a_while).build().unwrap();
    let dropped = task::<Vec<u8>>(&pool);
    dropped.call(same, bytes(1, 200_000));
    drop(dropped);
    let task = task::<Vec<u8>>(&pool);
    task.call(same, bytes(2, MIB));
    assert_same(&task.get_timeout(DEADLINE).unwrap()[0], &bytes(2, MIB), "1 MiB");
    support::assert_well(pool);
}

/// The resident memory of this pool's workers.
fn resident_bytes(pool: &Pool) -> u64 {
    support::workers(pool).iter().map(support::Process::resident_bytes).sum()
}

#[test]
fn the_memory_of_big_values_goes_back_when_there_is_quiet() {
    let _watch = watchdog();
    let pool = pool(2);
    support::assert_works(&pool);
    let before = resident_bytes(&pool);
    let task = task::<Vec<u8>>(&pool);
    for seed in 0..4 {
        task.call(
            |mut bytes: Vec<u8>| {
                bytes.reverse();
                bytes
            },
            bytes(seed, 48 * MIB),
        );
    }
    for result in task.iter() {
        assert_eq!(result.unwrap().len(), 48 * MIB);
    }
    wait_for("the memory is returned", || resident_bytes(&pool) < before + 8 * MIB as u64);
    support::assert_works(&pool);
}

/// A round trip of 1 GiB takes some seconds and 5 GiB of memory, so it runs only on request.
#[test]
fn a_value_of_1_gib_goes_there_and_back() {
    if std::env::var_os("MULTICORE_TEST_BIG").is_none() {
        println!("MULTICORE_TEST_BIG=1 runs this");
        return;
    }
    let pool = pool(1);
    let task = task::<Vec<u8>>(&pool);
    task.call(same, bytes(9, 1024 * MIB));
    let result = task.get_timeout(Duration::from_secs(300)).unwrap();
    assert_same(&result[0], &bytes(9, 1024 * MIB), "1 GiB");
}

/// A value that cannot be cloned.
#[derive(Serialize, Deserialize)]
struct Table {
    rows: Vec<u64>,
}

#[test]
fn an_argument_that_is_lent_arrives_as_the_owned_one() {
    let _watch = watchdog();
    let texts = [String::new(), "ß".to_string(), "x".repeat(500), "y".repeat(100_000), "z".repeat(1_100_000)];
    for pool in [pool(2), support::busy_pool()] {
        for format in [Format::Bincode, Format::Raw, Format::Json] {
            let task = pool.task_or_inline::<Vec<u8>>().format(format);
            for text in &texts {
                task.call_ref(String::into_bytes, text.as_str());
                task.call_ref(String::into_bytes, text);
                task.call_ref(|bytes: Vec<u8>| bytes, text.as_bytes());
            }
            let results = task.get().unwrap();
            let expected = texts.iter().flat_map(|text| [text; 3]).map(|text| text.as_bytes().to_vec());
            assert!(results.into_iter().eq(expected), "{format:?}");
        }
        let table = Table { rows: (0..10_000).collect() };
        let task = pool.task_or_inline::<u64>();
        task.call_ref(|table: Table| table.rows.iter().sum(), &table);
        task.call_ref(|rows: Vec<u64>| rows.iter().sum(), &table.rows[..10]);
        task.call_ref(|path: std::path::PathBuf| path.components().count() as u64, std::path::Path::new("/a/b"));
        assert_eq!(task.get().unwrap(), [49_995_000, 45, 3]);
    }
}
