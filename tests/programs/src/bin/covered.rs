//! A program that is built with a coverage counter: `covered WAY`. Its numbers of calls are easily found in the files. With
//! `--cfg gcov` the functions that count are C's, and the test links them.

#![allow(unsafe_code)]

use multicore::{Pool, Task};
use std::hint::black_box;

const PIECES: u64 = 12_345;
const PRELOADED: u64 = 54_321;

#[cfg(gcov)]
unsafe extern "C" {
    safe fn multiply(a: u64, b: u64) -> u64;
    safe fn add_one(a: u64) -> u64;
}

#[cfg(not(gcov))]
fn multiply(a: u64, b: u64) -> u64 {
    a * b
}

#[cfg(not(gcov))]
fn add_one(a: u64) -> u64 {
    a + 1
}

#[inline(never)]
fn in_piece(a: u64, b: u64) -> u64 {
    multiply(black_box(a), b)
}

#[inline(never)]
fn in_preload(a: u64) -> u64 {
    add_one(black_box(a))
}

fn main() {
    let way = std::env::args().nth(1).expect("a way");
    let builder = Pool::builder().workers(1).preload(|| {
        for number in 0..PRELOADED {
            black_box(in_preload(number));
        }
    });
    if way == "global" {
        builder.build_global().expect("a pool can run here");
        return work(Task::new().expect("a pool can run here"));
    }
    let pool = builder.build().expect("a pool can run here");
    work(pool.try_task().expect("the pool is open"));
    match way.as_str() {
        "shutdown" => pool.shutdown(),
        "drop" => drop(pool),
        other => panic!("{other} is no known way"),
    }
}

/// No code of the host's is called as often as the pieces.
fn work(task: Task<u64>) {
    task.run_all(in_piece, std::iter::repeat_n((3, 2), PIECES as usize));
    println!("right: {}", task.get().expect("they only multiply") == vec![6; PIECES as usize]);
}
