//! Limits, kills and orphans.

fn main() {
    multicore_benches::bench(multicore_benches::job::faults::jobs);
}
