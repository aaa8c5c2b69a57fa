//! Users as JSON: row numbers are the arguments, text is the result.

use super::{procspawn_pool, rayon_pool};
use crate::floor::forked::Forked;
use crate::{Job, Target, Unit, WORKERS, Who};
use multicore::{Pool, Sink};
use rayon::prelude::*;
use serde::Serialize;
use std::fs::File;
use std::io::Write;
use std::sync::LazyLock;

const USERS: usize = 200_000;
const USERS_A_PIECE: usize = 2_000;
const PIECES: usize = USERS / USERS_A_PIECE;

#[derive(Serialize)]
struct User {
    id: u64,
    name: String,
    email: String,
    city: &'static str,
    country: &'static str,
    age: u8,
    balance: f64,
    is_active: bool,
    created: String,
    visits: u32,
    tags: Vec<&'static str>,
    referrer: Option<u64>,
}

fn user(id: u64) -> User {
    const CITIES: [&str; 4] = ["Lisboa", "Kraków", "Gent", "Århus"];
    const COUNTRIES: [&str; 4] = ["Portugal", "Polska", "België", "Danmark"];
    const TAGS: [&str; 4] = ["new", "loyal", "late \"payer\"", "press"];
    // A step of a linear congruential generator: numbers in no pattern, and the same in each process.
    let noise = id.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 33;
    User {
        id,
        name: format!("User {noise} the {id}th"),
        email: format!("user.{noise}@example.org"),
        city: CITIES[noise as usize % 4],
        country: COUNTRIES[noise as usize % 4],
        age: (noise % 80) as u8 + 18,
        balance: noise as f64 / 100.0,
        is_active: noise.is_multiple_of(3),
        created: format!("20{:02}-{:02}-{:02}", noise % 26, noise % 12 + 1, noise % 28 + 1),
        visits: (noise % 10_000) as u32,
        tags: TAGS[..noise as usize % 4].to_vec(),
        referrer: noise.is_multiple_of(2).then_some(noise),
    }
}

/// Called once in each process, before the measurement.
static TABLE: LazyLock<Vec<User>> = LazyLock::new(|| (0..USERS as u64).map(user).collect());

fn load() {
    LazyLock::force(&TABLE);
}

/// The same function for all subjects.
fn json(start: usize, end: usize) -> String {
    let mut buffer = Vec::new();
    for user in &TABLE[start..end] {
        serde_json::to_writer(&mut buffer, user).expect("a user is JSON");
        buffer.push(b'\n');
    }
    String::from_utf8(buffer).expect("JSON is text")
}

/// The same rows, written while they are made.
fn write_json(start: usize, end: usize, sink: &mut Sink) -> serde_json::Result<()> {
    for user in &TABLE[start..end] {
        serde_json::to_writer(&mut *sink, user)?;
        sink.push_str("\n");
    }
    Ok(())
}

fn ranges() -> impl Iterator<Item = (usize, usize)> {
    (0..PIECES).map(|piece| (piece * USERS_A_PIECE, (piece + 1) * USERS_A_PIECE))
}

fn render(piece: usize) -> String {
    json(piece * USERS_A_PIECE, (piece + 1) * USERS_A_PIECE)
}

fn pool() -> Pool {
    Pool::builder().workers(WORKERS).preload(load).build().expect("a pool runs here")
}

/// The file to which all subjects write: each write is a system call, and the bytes are dropped.
fn sink() -> File {
    File::options().write(true).open("/dev/null").expect("/dev/null can be written")
}

fn write_all(sink: &mut File, text: &[u8]) {
    sink.write_all(text).expect("/dev/null takes everything");
}

/// The results as strings, and the results written in order.
#[must_use]
pub fn jobs() -> Vec<Job> {
    load();
    let most_bytes = ranges().map(|(start, end)| json(start, end).len()).max().unwrap_or(0);
    let ours = pool();
    let get = move || {
        let task = ours.try_task::<String>().expect("the pool is open");
        task.run_all(json, ranges());
        task.get().expect("a user is JSON")
    };
    let (ours, mut to) = (pool(), sink());
    let write_to = move || {
        let task = ours.try_task::<String>().expect("the pool is open");
        task.run_all(json, ranges());
        task.write_to(&mut to).expect("/dev/null takes everything")
    };
    let ours = pool();
    let get_into = move || {
        let task = ours.try_task::<String>().expect("the pool is open");
        task.run_all_into(write_json, ranges());
        task.get().expect("a user is JSON")
    };
    let (ours, mut to) = (pool(), sink());
    let write_into = move || {
        let task = ours.try_task::<String>().expect("the pool is open");
        task.run_all_into(write_json, ranges());
        task.write_to(&mut to).expect("/dev/null takes everything")
    };
    let mut forked = Forked::new(PIECES, most_bytes, render);
    let copied = move || {
        let mut results = Vec::with_capacity(PIECES);
        forked.run(|bytes| results.push(bytes.to_vec()));
        results
    };
    let (mut forked, mut to) = (Forked::new(PIECES, most_bytes, render), sink());
    let only_read = move || forked.run(|bytes| write_all(&mut to, bytes));
    let serial_get = || ranges().map(|(start, end)| json(start, end)).collect::<Vec<_>>();
    let mut to = sink();
    let serial_write = move || ranges().for_each(|(start, end)| write_all(&mut to, json(start, end).as_bytes()));
    let collect = |threads: &rayon::ThreadPool| -> Vec<String> {
        threads.install(|| {
            let pieces = (0..PIECES).into_par_iter().with_max_len(1);
            pieces.map(|piece| json(piece * USERS_A_PIECE, (piece + 1) * USERS_A_PIECE)).collect()
        })
    };
    let threads = rayon_pool();
    let rayon_get = move || collect(&threads);
    let (threads, mut to) = (rayon_pool(), sink());
    // What people do whose results must not all lie in memory: some pieces at a time, then they are written.
    let rayon_chunks = move || {
        for first in (0..PIECES).step_by(4 * WORKERS) {
            let texts: Vec<String> = threads.install(|| {
                (first..PIECES.min(first + 4 * WORKERS)).into_par_iter().with_max_len(1).map(render).collect()
            });
            texts.iter().for_each(|text| write_all(&mut to, text.as_bytes()));
        }
    };
    let (threads, mut to) = (rayon_pool(), sink());
    let rayon_write = move || collect(&threads).iter().for_each(|text| write_all(&mut to, text.as_bytes()));
    let processes = procspawn_pool();
    let procspawn = move || -> Vec<String> {
        let spawn = |(start, end)| procspawn::spawn!(in processes, (start => start, end => end) || json(start, end));
        let handles: Vec<_> = ranges().map(spawn).collect();
        handles.into_iter().map(|handle| handle.join().expect("a user is JSON")).collect()
    };
    vec![
        Job::new("200,000 users as JSON, `get`", Unit::Seconds, 1, 21)
            .timed(Who::Multicore, "", get)
            .timed(Who::Multicore, "into", get_into)
            .timed(Who::Floor, "", copied)
            .timed(Who::Serial, "", serial_get)
            .timed(Who::Rayon, "", rayon_get)
            .timed(Who::Procspawn, "", procspawn)
            .target(Target::Times(1.15, Who::Floor, ""))
            .target(Target::Times(1.0, Who::Rayon, "")),
        Job::new("200,000 users as JSON, `write_to`", Unit::Seconds, 1, 21)
            .timed(Who::Multicore, "", write_to)
            .timed(Who::Multicore, "into", write_into)
            .timed(Who::Floor, "", only_read)
            .timed(Who::Serial, "", serial_write)
            .timed(Who::Rayon, "", rayon_write)
            .timed(Who::Rayon, "chunks", rayon_chunks)
            .target(Target::Times(1.0 / 1.85, Who::Serial, ""))
            .target(Target::Times(0.9, Who::Rayon, "")),
    ]
}
