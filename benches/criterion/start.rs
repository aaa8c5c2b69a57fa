//! Starts and deaths.

fn main() {
    multicore_benches::bench(multicore_benches::job::start::jobs);
}
