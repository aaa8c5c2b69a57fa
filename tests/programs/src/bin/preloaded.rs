//! A program that is run with a library preloaded that makes threads while it is loaded. Prints what its pool does; the pieces
//! multiply matrices, by the library if it is one for that.

#![allow(unsafe_code)]

use multicore::{Pool, Task};
use std::ffi::{c_int, c_void};

/// Rows and columns. OpenBLAS uses its threads from some 30 on.
const SIZE: usize = 160;

type Multiply = unsafe extern "C" fn(
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    c_int,
    f64,
    *const f64,
    c_int,
    *const f64,
    c_int,
    f64,
    *mut f64,
    c_int,
);

fn main() {
    let has_threads = std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count) > 1;
    println!("threads here: {has_threads}");
    println!("multiplies: {}", library().is_some());
    let pool = Pool::builder().workers(2).build().expect("a pool");
    let task: Task<Vec<f64>> = pool.try_task().expect("the pool is open");
    for seed in 0..20 {
        task.call(product, seed);
    }
    let products = task.get().expect("they do not fail");
    println!("right: {}", (0..20).zip(products).all(|(seed, product)| product == expected(seed)));
    let task: Task<()> = pool.try_task().expect("the pool is open");
    task.call(|()| std::process::abort(), ());
    println!("death: {:?}", task.get().expect_err("it aborts").cause());
    let task: Task<Vec<f64>> = pool.try_task().expect("the pool is open");
    for seed in 0..4 {
        task.call(product, seed);
    }
    println!("then: {}", task.get().expect("they do not fail") == (0..4).map(expected).collect::<Vec<_>>());
    let stats = pool.stats();
    println!("start: {:?} {}", stats.start, stats.start_time.is_some_and(|time| !time.is_zero()));
    pool.shutdown();
    let task: Task<Vec<f64>> = Task::try_new().expect("a global pool");
    task.call(product, 7);
    println!("global: {}", task.get().expect("it does not fail") == [expected(7)]);
}

/// `cblas_dgemm` of the library.
fn library() -> Option<Multiply> {
    // SAFETY: the name ends in NUL.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"cblas_dgemm".as_ptr()) };
    // SAFETY: the function of this name has these arguments in all libraries; a null pointer is `None`.
    unsafe { std::mem::transmute::<*mut c_void, Option<Multiply>>(found) }
}

/// Whole numbers, so that sums are exact in any order.
fn matrix(mut seed: u64) -> Vec<f64> {
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((seed >> 40) % 17) as f64
    };
    (0..SIZE * SIZE).map(|_| next()).collect()
}

fn product(seed: u64) -> Vec<f64> {
    let Some(multiply) = library() else { return expected(seed) };
    let (a, b, mut c) = (matrix(seed), matrix(seed + 1), vec![0.0; SIZE * SIZE]);
    let (a, b, size) = (a.as_ptr(), b.as_ptr(), SIZE as c_int);
    // SAFETY: three square matrices of this size, by rows (101), none transposed (111).
    unsafe { multiply(101, 111, 111, size, size, size, 1.0, a, size, b, size, 0.0, c.as_mut_ptr(), size) };
    c
}

fn expected(seed: u64) -> Vec<f64> {
    let (a, b, mut c) = (matrix(seed), matrix(seed + 1), vec![0.0; SIZE * SIZE]);
    for (row, c) in a.chunks(SIZE).zip(c.chunks_mut(SIZE)) {
        for (factor, b) in row.iter().zip(b.chunks(SIZE)) {
            c.iter_mut().zip(b).for_each(|(c, b)| *c += factor * b);
        }
    }
    c
}
