//! The wait for the scheduler's lock.

fn main() {
    multicore_benches::bench(multicore_benches::job::lock::jobs);
}
