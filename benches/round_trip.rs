//! One piece there and back: `try_task`, `run`, `get`, a fresh task each time.

// criterion's macros write functions without documentation.
#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use multicore::Pool;
use std::hint::black_box;

fn add(a: u64, b: u64) -> u64 {
    a + b
}

fn round_trip(criterion: &mut Criterion) {
    let pool = Pool::builder().workers(2).build().expect("a pool runs here");
    criterion.bench_function("round_trip", |bencher| {
        bencher.iter(|| {
            let task = pool.try_task::<u64>().expect("the pool is open");
            task.run(add, black_box(1), black_box(2));
            task.get().expect("an addition cannot fail")
        });
    });
}

criterion_group!(benches, round_trip);
criterion_main!(benches);
