//! One read-only table for all workers.

fn main() {
    multicore_benches::bench(multicore_benches::job::shared::jobs);
}
